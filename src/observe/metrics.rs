use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use http::StatusCode;
use metrics::{Counter, Histogram, SharedString, counter, histogram};

use super::{
    gauges::Gauges,
    labels,
    names::{self, Kind},
};
use crate::{
    admission::Handle,
    event::{Event, EventKind, Observer},
};

/// Counts a layer's decisions with the `metrics` facade: for Prometheus, OpenTelemetry, or whatever records there.
///
/// [`_operating`](crate::_operating) has the table of all metrics, and says what to watch. All names begin with
/// `tower_throttle_`, and all metrics have the label `layer`. The label `endpoint` is what was configured: a template, a
/// name, a group, or a constant of [`Endpoints`](crate::Endpoints); never a path, and nothing of partitions. So there
/// are as many series as the configuration has lines, whatever requests come.
///
/// Install the recorder before the first request: what is counted goes to the recorder that was there when the endpoint
/// was first seen.
///
/// Counters and histograms follow the events. Gauges are read from a snapshot, when [`record`](Self::record) is called.
///
/// ```
/// use tower_throttle::{Endpoints, Metrics, Quota, ThrottleLayer};
///
/// // Here an exporter is installed, with these buckets for the names that end in `_duration_seconds`.
/// let buckets = Metrics::DURATION_BUCKETS;
///
/// let metrics = Metrics::new("weather");
/// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)))
///     .observe(metrics.clone());
/// let handle = layer.handle();
///
/// // And before each scrape:
/// metrics.record(&handle);
/// # let _ = buckets;
/// ```
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    layer: SharedString,
    endpoints: RwLock<HashMap<Box<str>, Arc<OfEndpoint>, foldhash::fast::RandomState>>,
    gauges: Mutex<Gauges>,
}

/// What is counted of one endpoint with every request, so that it is looked up once.
struct OfEndpoint {
    endpoint: SharedString,
    queued: Counter,
    dispatched: Counter,
    failed: Counter,
    queue_time: Histogram,
    pause_time: Histogram,
    answer_time: Histogram,
    in_flight_time: Histogram,
    /// By status.
    answered: RwLock<Vec<(StatusCode, Counter)>>,
}

impl Metrics {
    /// Upper bounds for the buckets of the histograms, in seconds: those of OpenTelemetry's
    /// `http.client.request.duration`, and more above, since waiting takes longer than answering.
    pub const DURATION_BUCKETS: [f64; 18] = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0,
        60.0, 120.0, 300.0,
    ];

    /// For the layer of this name, which tells it from others: the API that it is for. Describes all metrics to the
    /// recorder that is there.
    pub fn new(layer: impl Into<String>) -> Self {
        for metric in names::ALL {
            match metric.kind {
                Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
                Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
                Kind::Histogram => {
                    metrics::describe_histogram!(metric.name, metric.unit, metric.help);
                }
            }
        }
        let layer: Arc<str> = layer.into().into();
        Self(Arc::new(Shared {
            layer: layer.into(),
            endpoints: RwLock::default(),
            gauges: Mutex::default(),
        }))
    }

    /// Sets all gauges to what the layer is doing now. To be called before each scrape, or every few seconds.
    ///
    /// Takes a [snapshot](Handle::snapshot), which takes time in proportion to the number of buckets. Where an endpoint
    /// has several, for partitions or paths, amounts are added up, and of times and parts of windows the largest counts,
    /// of limits the smallest. What is gone since the last call is set to 0.
    pub fn record(&self, handle: &Handle) {
        let mut gauges = self.0.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.record(&self.0.layer, &handle.snapshot());
    }

    fn of(&self, endpoint: &str) -> Arc<OfEndpoint> {
        let known = self.0.endpoints.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = known.get(endpoint) {
            return Arc::clone(of);
        }
        drop(known);
        let endpoints = self.0.endpoints.write();
        let mut endpoints = endpoints.unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(OfEndpoint::new(&self.0.layer, endpoint));
        Arc::clone(endpoints.entry(endpoint.into()).or_insert_with(new))
    }

    /// Counts one more, of what does not happen with every request.
    fn count(&self, name: &'static str, endpoint: &str) {
        let endpoint = self.of(endpoint).endpoint.clone();
        counter!(name, "layer" => self.0.layer.clone(), "endpoint" => endpoint).increment(1);
    }

    fn count_by(
        &self,
        name: &'static str,
        endpoint: &str,
        label: &'static str,
        value: &'static str,
    ) {
        let endpoint = self.of(endpoint).endpoint.clone();
        let layer = self.0.layer.clone();
        counter!(name, "layer" => layer, "endpoint" => endpoint, label => value).increment(1);
    }

    /// Of retries, which know no endpoint.
    fn count_retry(&self, name: &'static str) {
        counter!(name, "layer" => self.0.layer.clone()).increment(1);
    }

    fn answered(&self, endpoint: &str, status: StatusCode) {
        let of = self.of(endpoint);
        let known = of.answered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(known, _)| *known == status) {
            return counter.increment(1);
        }
        drop(known);
        let counter = counter!(
            names::ANSWERED,
            "layer" => self.0.layer.clone(),
            "endpoint" => of.endpoint.clone(),
            "http_response_status_code" => status.as_str().to_owned(),
        );
        counter.increment(1);
        let known = of.answered.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if known.iter().all(|(known, _)| *known != status) {
            known.push((status, counter));
        }
    }
}

impl OfEndpoint {
    fn new(layer: &SharedString, endpoint: &str) -> Self {
        let endpoint: Arc<str> = endpoint.into();
        let endpoint = SharedString::from(endpoint);
        let labels = || {
            [
                metrics::Label::new("layer", layer.clone()),
                metrics::Label::new("endpoint", endpoint.clone()),
            ]
            .to_vec()
        };
        Self {
            queued: counter!(names::QUEUED, labels()),
            dispatched: counter!(names::DISPATCHED, labels()),
            failed: counter!(names::FAILED, labels()),
            queue_time: histogram!(names::QUEUE_TIME, labels()),
            pause_time: histogram!(names::PAUSE_TIME, labels()),
            answer_time: histogram!(names::ANSWER_TIME, labels()),
            in_flight_time: histogram!(names::IN_FLIGHT_TIME, labels()),
            answered: RwLock::default(),
            endpoint,
        }
    }
}

impl Observer for Metrics {
    fn on_event(&self, event: &Event<'_>) {
        let endpoint = event.endpoint;
        match &event.kind {
            EventKind::Queued { .. } => self.of(endpoint).queued.increment(1),
            EventKind::Dispatched { queued, paused } => {
                let of = self.of(endpoint);
                of.dispatched.increment(1);
                of.queue_time.record(*queued);
                of.pause_time.record(*paused);
            }
            EventKind::Answered { status, time } => {
                self.of(endpoint).answer_time.record(*time);
                match status {
                    Some(status) => self.answered(endpoint, *status),
                    None => self.of(endpoint).failed.increment(1),
                }
            }
            EventKind::Ended { in_flight } => self.of(endpoint).in_flight_time.record(*in_flight),
            EventKind::Throttled(signal) => {
                let kind = labels::kind(signal.kind());
                self.count_by(names::THROTTLED, endpoint, "kind", kind);
            }
            EventKind::Refused(refused) => {
                let reason = labels::reason(refused.reason());
                self.count_by(names::REFUSED, endpoint, "reason", reason);
            }
            EventKind::Paused { cause, .. } => {
                self.count_by(names::PAUSES, endpoint, "cause", labels::cause(*cause));
            }
            EventKind::Learned(_) => self.count_by(names::LESSONS, endpoint, "change", "learned"),
            EventKind::Eased(_) => self.count_by(names::LESSONS, endpoint, "change", "eased"),
            EventKind::GivenBack => self.count(names::GIVEN_BACK, endpoint),
            EventKind::Absent => self.count(names::ABSENT, endpoint),
            EventKind::NotSettled => self.count(names::UNSETTLED, endpoint),
            EventKind::StoreAway(_) => self.count(names::STORE_AWAY, endpoint),
            EventKind::Disagrees(_) => self.count(names::DISAGREEMENTS, endpoint),
            EventKind::BodyOpen { .. } => self.count(names::BODIES_KEPT, endpoint),
            EventKind::RetryScheduled { .. } => self.count_retry(names::RETRIES),
            EventKind::GivenUp { .. } => self.count_retry(names::GIVEN_UP),
            EventKind::Admitted { .. }
            | EventKind::Settled(_)
            | EventKind::Resumed
            | EventKind::Closed
            | EventKind::StoreBack { .. }
            | EventKind::Swept => {}
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("layer", &self.0.layer)
            .finish_non_exhaustive()
    }
}

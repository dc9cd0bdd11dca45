//! The gateway's own metrics, and the page that has all of them.

use std::sync::{Mutex, OnceLock, PoisonError};

use http::StatusCode;
use metrics::{SharedString, counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tower_throttle::{BoxError, Handle, Metrics};

/// Each metric, its type and what it means, as `docs/gateway.md` has them.
pub(crate) const ALL: [(&str, &str, &str); 8] = [
    (ANSWERS, "counter", "Answers to callers, by status."),
    (
        OWN_ANSWERS,
        "counter",
        "Answers that are not the API's, by reason.",
    ),
    (
        CUTS,
        "counter",
        "Connections and answers that ended because the caller took too long.",
    ),
    (RELOADS, "counter", "How often the file was read again."),
    (CONNECTIONS, "gauge", "Connections of callers."),
    (
        REQUESTS,
        "gauge",
        "Requests of callers that are not answered to the end, those that wait included.",
    ),
    (TUNNELS, "gauge", "Websockets that are open."),
    (
        READY,
        "gauge",
        "1 while requests are taken on, and 0 after an interrupt.",
    ),
];

const ANSWERS: &str = "tower_throttle_gateway_answers_total";
const OWN_ANSWERS: &str = "tower_throttle_gateway_own_answers_total";
const CUTS: &str = "tower_throttle_gateway_cuts_total";
const RELOADS: &str = "tower_throttle_gateway_reloads_total";
const CONNECTIONS: &str = "tower_throttle_gateway_connections";
const REQUESTS: &str = "tower_throttle_gateway_requests";
const TUNNELS: &str = "tower_throttle_gateway_tunnels";
const READY: &str = "tower_throttle_gateway_ready";

/// What a caller took too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The head of a request.
    Header,
    /// Any request.
    Idle,
    /// The next part of a request's body.
    Body,
    /// To read its answer.
    Read,
}

impl Cut {
    fn name(self) -> &'static str {
        match self {
            Self::Header => "header_timeout",
            Self::Idle => "idle_timeout",
            Self::Body => "body_timeout",
            Self::Read => "read_timeout",
        }
    }
}

/// What is counted of one gateway. All gateways of a process share one exporter, and differ in the label `layer`.
#[derive(Debug)]
pub(crate) struct Meters {
    layer: SharedString,
    of_layer: Metrics,
    exporter: PrometheusHandle,
}

impl Meters {
    /// # Errors
    ///
    /// If another recorder of metrics is installed in this process.
    pub(crate) fn new(layer: &str) -> Result<Self, BoxError> {
        let exporter = exporter()?;
        for (name, kind, help) in ALL {
            match kind {
                "counter" => metrics::describe_counter!(name, help),
                _ => metrics::describe_gauge!(name, help),
            }
        }
        Ok(Self {
            layer: SharedString::from(layer.to_owned()),
            of_layer: Metrics::new(layer),
            exporter,
        })
    }

    /// What counts the decisions of the layer.
    pub(crate) fn observer(&self) -> Metrics {
        self.of_layer.clone()
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        let status = status.as_str().to_owned();
        counter!(ANSWERS, "layer" => self.layer.clone(), "http_response_status_code" => status)
            .increment(1);
    }

    pub(crate) fn answered_itself(&self, reason: &'static str) {
        counter!(OWN_ANSWERS, "layer" => self.layer.clone(), "reason" => reason).increment(1);
    }

    pub(crate) fn cut(&self, cut: Cut) {
        counter!(CUTS, "layer" => self.layer.clone(), "cause" => cut.name()).increment(1);
    }

    pub(crate) fn reloaded(&self, is_done: bool) {
        let result = if is_done { "done" } else { "failed" };
        counter!(RELOADS, "layer" => self.layer.clone(), "result" => result).increment(1);
    }

    /// All metrics as they are now, in the text format of Prometheus.
    pub(crate) fn page(&self, handle: &Handle, now: Now) -> String {
        self.of_layer.record(handle);
        let gauge =
            |name: &'static str, value: f64| gauge!(name, "layer" => self.layer.clone()).set(value);
        #[expect(clippy::cast_precision_loss, reason = "nobody has so many connections")]
        {
            gauge(CONNECTIONS, now.connections as f64);
            gauge(REQUESTS, now.requests as f64);
            gauge(TUNNELS, now.tunnels as f64);
        }
        gauge(READY, f64::from(u8::from(now.is_ready)));
        self.exporter.render()
    }

    /// Makes room: what histograms have been given is kept one by one until it is added up.
    pub(crate) fn tidy(&self) {
        self.exporter.run_upkeep();
    }
}

/// What a page shows that is not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) connections: usize,
    /// Of callers, that are not answered to the end.
    pub(crate) requests: usize,
    pub(crate) tunnels: usize,
    pub(crate) is_ready: bool,
}

/// The one that all of this process records to, installed when it is first asked for.
fn exporter() -> Result<PrometheusHandle, BoxError> {
    static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();
    static INSTALLS: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(exporter) = EXPORTER.get() {
        return Ok(exporter.clone());
    }
    let durations = Matcher::Suffix("_duration_seconds".to_owned());
    let exporter = PrometheusBuilder::new()
        .set_buckets_for_metric(durations, &Metrics::DURATION_BUCKETS)?
        .install_recorder()?;
    Ok(EXPORTER.get_or_init(|| exporter).clone())
}

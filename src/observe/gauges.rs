//! What a layer is doing, as gauges.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics::{Label, SharedString, gauge};

use super::names;
use crate::admission::{BucketSnapshot, QueueHead, Snapshot};

/// The last figures, so that what is gone is set to 0.
#[derive(Default)]
pub(super) struct Gauges {
    endpoints: BTreeMap<Arc<str>, OfEndpoint>,
}

/// All buckets of one endpoint.
#[derive(Default)]
struct OfEndpoint {
    buckets: usize,
    waiting: usize,
    in_flight: usize,
    open_bodies: usize,
    learned: usize,
    limit: Option<usize>,
    oldest_body: Duration,
    head_wait: Duration,
    paused: Duration,
    windows: BTreeMap<Arc<str>, f64>,
}

impl Gauges {
    pub(super) fn record(&mut self, layer: &SharedString, snapshot: &Snapshot) {
        for of in self.endpoints.values_mut() {
            of.forget();
        }
        for bucket in snapshot.buckets() {
            let of = match self.endpoints.get_mut(bucket.endpoint()) {
                Some(of) => of,
                None => self.endpoints.entry(bucket.endpoint().into()).or_default(),
            };
            of.add(bucket);
        }
        for (endpoint, of) in &self.endpoints {
            of.set(layer, endpoint);
        }
        // All of the layer's windows are gone, and there is nothing to be set to 0 any more.
        self.endpoints.retain(|_, of| of.buckets > 0);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let backing_off = snapshot.backing_off() as f64;
        gauge!(names::BACKING_OFF, "layer" => layer.clone()).set(backing_off);
    }
}

impl OfEndpoint {
    /// Begins anew, with the same windows.
    fn forget(&mut self) {
        let mut windows = std::mem::take(&mut self.windows);
        for used in windows.values_mut() {
            *used = 0.0;
        }
        *self = Self {
            windows,
            ..Self::default()
        };
    }

    #[expect(clippy::cast_precision_loss, reason = "a part of a window")]
    fn add(&mut self, bucket: &BucketSnapshot) {
        self.buckets += 1;
        self.waiting += bucket.waiting();
        self.in_flight += bucket.in_flight();
        self.open_bodies += bucket.open_bodies();
        self.learned += usize::from(bucket.learned().is_some());
        let limits = [self.limit, bucket.concurrency()];
        self.limit = limits.into_iter().flatten().min();
        let oldest = bucket.oldest_body().unwrap_or_default();
        self.oldest_body = self.oldest_body.max(oldest);
        let head = bucket.head().map(QueueHead::waiting_for);
        self.head_wait = self.head_wait.max(head.unwrap_or_default());
        let paused = bucket.paused_for().unwrap_or_default();
        self.paused = self.paused.max(paused);
        for window in bucket.windows() {
            let used = window.used() as f64 / window.window().n() as f64;
            let of = self.windows.entry(window.window().to_string().into());
            let of = of.or_default();
            *of = of.max(used);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    fn set(&self, layer: &SharedString, endpoint: &Arc<str>) {
        let labels = || {
            let endpoint = SharedString::from(Arc::clone(endpoint));
            vec![
                Label::new("layer", layer.clone()),
                Label::new("endpoint", endpoint),
            ]
        };
        let amount = |name, amount: usize| gauge!(name, labels()).set(amount as f64);
        amount(names::BUCKETS, self.buckets);
        amount(names::WAITING, self.waiting);
        amount(names::IN_FLIGHT, self.in_flight);
        amount(names::OPEN_BODIES, self.open_bodies);
        amount(names::LEARNED, self.learned);
        let time = |name, time: Duration| gauge!(name, labels()).set(time.as_secs_f64());
        time(names::OLDEST_BODY, self.oldest_body);
        time(names::HEAD_WAIT, self.head_wait);
        time(names::PAUSED, self.paused);
        let limit = self.limit.map_or(f64::INFINITY, |limit| limit as f64);
        gauge!(names::LIMIT, labels()).set(limit);
        for (window, used) in &self.windows {
            let mut labels = labels();
            labels.push(Label::new("window", SharedString::from(Arc::clone(window))));
            gauge!(names::WINDOW_USE, labels).set(*used);
        }
    }
}

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use tower_throttle::{
    ConcurrencyLayer, Endpoints, Event, EventKind, Observer, PauseCause, RefusedReason, RpsLayer,
    signal::SignalKind,
};

use super::{AnyLayer, Face, throttle, whole};

/// A layer with an observer.
pub fn observed(face: Face, endpoints: Endpoints, observer: impl Observer) -> AnyLayer {
    match face {
        Face::Rps => AnyLayer::Rps(RpsLayer::new(endpoints).observe(observer)),
        Face::Concurrency => {
            AnyLayer::Concurrency(ConcurrencyLayer::new(endpoints).observe(observer))
        }
        Face::Throttle => AnyLayer::Throttle(throttle(endpoints).observe(observer)),
    }
}

/// What an event says, without its bucket and time. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Queued(usize),
    Admitted(u64),
    Dispatched,
    Answered(Option<u16>),
    Ended,
    Refused(RefusedReason, Option<Duration>),
    Throttled(SignalKind, Option<Duration>),
    Paused(Duration, PauseCause),
    Resumed,
    /// As `Debug` has it.
    Learned(String),
    Eased(Option<String>),
    GivenBack,
    Absent,
    BodyOpen(u64),
    Closed,
    StoreAway(String),
    StoreBack(u64),
    Disagrees(String),
    Swept,
}

use What::{
    Absent, Admitted, Answered, Dispatched, Eased, Ended, GivenBack, Learned, Paused, Queued,
    Resumed, Swept, Throttled,
};

#[derive(Clone, Debug)]
pub struct Told {
    pub bucket: String,
    pub partition: Option<u64>,
    pub sequence: u64,
    pub at: Instant,
    pub what: What,
    pub shown: String,
}

/// An observer that keeps all that it is told.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub start: Instant,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Observer for Recorder {
    fn on_event(&self, event: &Event<'_>) {
        let what = match &event.kind {
            EventKind::Queued { waiting } => Queued(*waiting),
            EventKind::Admitted { waited } => Admitted(whole(*waited)),
            EventKind::Dispatched { .. } => Dispatched,
            EventKind::Answered { status, .. } => Answered(status.map(|status| status.as_u16())),
            EventKind::Ended { .. } => Ended,
            EventKind::Refused(refused) => What::Refused(refused.reason(), refused.retry_after()),
            EventKind::Throttled(signal) => Throttled(signal.kind(), signal.retry_after()),
            EventKind::Paused { time, cause } => Paused(*time, *cause),
            EventKind::Resumed => Resumed,
            EventKind::Learned(learned) => Learned(format!("{learned:?}")),
            EventKind::Eased(learned) => Eased(learned.map(|learned| format!("{learned:?}"))),
            EventKind::GivenBack => GivenBack,
            EventKind::Absent => Absent,
            EventKind::BodyOpen { time } => What::BodyOpen(whole(*time)),
            EventKind::Closed => What::Closed,
            EventKind::StoreAway(error) => What::StoreAway(error.to_string()),
            EventKind::StoreBack { time } => What::StoreBack(whole(*time)),
            EventKind::Disagrees(warning) => What::Disagrees(format!(
                "{} {}: {} here, {}",
                warning.what, warning.unit, warning.mine, warning.theirs
            )),
            EventKind::Swept => Swept,
            other => panic!("a limiting layer does not tell {other:?}"),
        };
        self.told.lock().unwrap().push(Told {
            bucket: event.bucket.to_owned(),
            partition: event.partition,
            sequence: event.sequence,
            at: event.at,
            what,
            shown: format!("{event:?} {event:#?}"),
        });
    }
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            told: Arc::default(),
        }
    }

    pub fn all(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// What was told of a bucket, and when.
    pub fn of(&self, bucket: &str) -> Vec<(u64, What)> {
        let all = self.all().into_iter();
        all.filter(|told| told.bucket == bucket)
            .map(|told| (whole(told.at - self.start), told.what))
            .collect()
    }

    /// What was told of a bucket that is of one of these kinds.
    pub fn only(&self, bucket: &str, wanted: impl Fn(&What) -> bool) -> Vec<(u64, What)> {
        let mut all = self.of(bucket);
        all.retain(|(_, what)| wanted(what));
        all
    }

    pub fn count(&self, bucket: &str, wanted: impl Fn(&What) -> bool) -> usize {
        self.only(bucket, wanted).len()
    }

    /// Forgets what it was told before.
    pub fn forget(&self) {
        self.told.lock().unwrap().clear();
    }

    /// In a test of one thread: each bucket's sequence counts from 1 without gaps, and time does not go back.
    pub fn check(&self) {
        let mut next = BTreeMap::new();
        let mut last = self.start;
        for told in self.all() {
            let next = next
                .entry((told.bucket.clone(), told.partition))
                .or_insert(1);
            assert_eq!(told.sequence, *next, "{told:?}");
            *next = if told.what == Swept { 1 } else { *next + 1 };
            assert!(told.at >= last, "{told:?}");
            last = told.at;
        }
    }
}

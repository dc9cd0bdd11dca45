use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use tokio::time::Instant;
use tower_throttle::{Event, EventKind, Observer};

use crate::{
    current::{Request, current},
    lane::{self, Lane},
    layer::TimelineLayer,
    picture::{self, Heading},
};

/// Records what becomes of each request, and draws it.
///
/// It is an observer of one limiting layer, and makes the layer that goes above that. Clones share what they record.
/// It keeps everything until it is dropped, so it is for runs of some hundreds of requests: a test, a demonstration, a
/// minute of a program that behaves strangely.
#[derive(Clone, Debug, Default)]
pub struct Timeline(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
pub(crate) struct Records {
    /// In order of arrival.
    pub(crate) requests: Vec<Vec<(Instant, Step)>>,
    /// In order of time.
    pub(crate) pauses: Vec<Pause>,
    /// How many requests were dispatched that did not pass the layer above.
    strangers: usize,
}

/// What was heard of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was called.
    Came,
    /// It entered the queue of an endpoint.
    Queued,
    /// The inner service was called. `was_paused` says whether the request waited for a pause.
    Dispatched { endpoint: String, was_paused: bool },
    /// `None` is an error.
    Answered(Option<StatusCode>),
    /// The answer said that it was asked for too much.
    Throttled,
    /// The answer has ended.
    Ended,
    /// It is sent again.
    Retried,
    /// The limiting layer refused it.
    Refused,
    /// Its caller got an error.
    Failed,
    /// Its caller dropped it.
    Dropped,
}

/// Nothing was admitted at an endpoint or a wider scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) endpoint: String,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

impl Timeline {
    /// Nothing is recorded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The layer that goes directly above the limiting layer: with nothing between them that moves requests to another
    /// task, as tower's `Buffer` does.
    pub fn layer(&self) -> TimelineLayer {
        TimelineLayer::new(self.clone())
    }

    /// What became of each request so far, in order of arrival. What is not over ends now.
    pub fn lanes(&self) -> Vec<Lane> {
        lane::lanes(&self.records(), Instant::now())
    }

    /// Draws what was recorded so far as an SVG, with a ground of its own: it can be read on light and dark pages.
    pub fn svg(&self, heading: &Heading) -> String {
        picture::svg(heading, &self.lanes(), self.strangers())
    }

    /// How many requests were dispatched that did not pass the [`layer`](Self::layer), such as those of a
    /// [`Handle`](tower_throttle::Handle). They are not drawn; the picture says how many there were.
    pub fn strangers(&self) -> usize {
        self.records().strangers
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // What it holds is right after each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// A request is called.
    pub(crate) fn came(&self) -> Request {
        let timeline = self.id();
        let mut records = self.records();
        let number = records.requests.len();
        records.requests.push(vec![(Instant::now(), Step::Came)]);
        Request { timeline, number }
    }

    /// Something happens to a request now.
    pub(crate) fn step(&self, request: Request, step: Step) {
        self.records().requests[request.number].push((Instant::now(), step));
    }
}

impl Records {
    fn pause(&mut self, endpoint: &str, from: Instant, until: Instant) {
        let endpoint = endpoint.to_owned();
        self.pauses.push(Pause {
            endpoint,
            from,
            until,
        });
    }

    fn resume(&mut self, endpoint: &str, at: Instant) {
        let of_it = |pause: &&mut Pause| pause.endpoint == endpoint;
        for pause in self.pauses.iter_mut().filter(of_it) {
            pause.until = pause.until.min(at);
        }
    }
}

impl Observer for Timeline {
    fn on_event(&self, event: &Event<'_>) {
        let at = event.at;
        let step = match event.kind {
            EventKind::Paused { time, .. } => {
                let until = at.checked_add(time).unwrap_or(at);
                return self.records().pause(event.endpoint, at, until);
            }
            EventKind::Resumed => return self.records().resume(event.endpoint, at),
            // What another call decides is not about the request that this thread is busy with.
            _ if event.elsewhere => return,
            EventKind::Queued { .. } => Step::Queued,
            EventKind::Dispatched { paused, .. } => Step::Dispatched {
                endpoint: event.endpoint.to_owned(),
                was_paused: !paused.is_zero(),
            },
            EventKind::Answered { status, .. } => Step::Answered(status),
            EventKind::Throttled(_) => Step::Throttled,
            EventKind::Ended { .. } => Step::Ended,
            EventKind::RetryScheduled { .. } => Step::Retried,
            _ => return,
        };
        match current() {
            Some(request) if request.timeline == self.id() => {
                self.records().requests[request.number].push((at, step));
            }
            _ if matches!(step, Step::Dispatched { .. }) => self.records().strangers += 1,
            _ => {}
        }
    }
}

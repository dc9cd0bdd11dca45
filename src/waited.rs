//! [`Waited`]: for how long a request was held back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// For how long a request was held back before it went out: a response extension.
///
/// Responses have it if the layer's `report_waited` asks for it. Of a request that was retried, it sums up all
/// attempts: those that failed without an answer, too. In a stack by hand each limiting layer that is asked adds its
/// queue, and [`RetryLayer::report_waited`](crate::RetryLayer::report_waited) adds up the attempts; without that it is
/// about the last one.
///
/// Errors have no extensions: what was refused or failed in the end is in the [events](crate::EventKind).
///
/// ```
/// use tower_throttle::{Endpoints, Quota, ThrottleLayer, Waited};
///
/// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5))).report_waited();
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(waited) = response.extensions().get::<Waited>() {
///         println!("queued for {:?}, {} attempts", waited.queued(), waited.attempts());
///     }
/// }
/// # let _ = layer;
/// # log(&http::Response::new(()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    queued: Duration,
    paused: Duration,
    attempts: u32,
}

impl Waited {
    pub(crate) fn in_queue(queued: Duration, paused: Duration) -> Self {
        Self {
            queued,
            paused,
            ..Self::default()
        }
    }

    /// From its entry into the queue until it was dispatched. Zero if it went at once.
    pub fn queued(&self) -> Duration {
        self.queued
    }

    /// For how much of that its endpoint, or a wider scope of it, was paused: by an answer or by
    /// [`Handle::pause`](crate::Handle::pause).
    ///
    /// Of more than 64 pauses of the layer within one wait, the last 64 count.
    pub fn paused(&self) -> Duration {
        self.paused
    }

    /// How many times it was sent; at least 1.
    ///
    /// [`Attempts::waited`](crate::Attempts::waited) says how long its retries were put off. What a retry waits out in
    /// the queue, as a pause that an answer asked for, is in both: do not add them up.
    pub fn attempts(&self) -> u32 {
        self.attempts.max(1)
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// With another queue that it waited in.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.queued = self.queued.saturating_add(other.queued);
        self.paused = self.paused.saturating_add(other.paused);
        self
    }
}

/// Adds up the queues that a request and its retries wait in: a request extension that a retrying layer sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<Waited>>);

impl Tally {
    fn sum(&self) -> MutexGuard<'_, Waited> {
        // Only values are assigned under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, waited: &Waited) {
        let mut sum = self.sum();
        *sum = sum.and(waited);
    }

    pub(crate) fn get(&self) -> Waited {
        *self.sum()
    }
}

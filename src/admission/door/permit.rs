use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::Asked;
use crate::{
    admission::{deadline::Deadline, hint::RetryHint, permit::InFlight, setbacks::Setbacks},
    costs::Cost,
    request_head::RequestHead,
    signal::Signal,
};

/// Work that is under way, and no request of a service: from [`Admission::dispatch`](crate::Admission::dispatch).
///
/// Keep it for as long as the server works: it holds the permits of a concurrency limit. Dropping it ends them, and
/// says that the server has accepted the request, which teaches the layer as an answer does. Anything else has to be
/// said before: [`throttled`](Self::throttled) if the server refused it, [`failed`](Self::failed) if nothing is known
/// of it. So a future that may be dropped in the middle of its work has a success counted, unless it takes care of
/// that. During a panic, a permit that is dropped counts as failed.
///
/// There is no head of an answer, so [`Quota::release_at_head`](crate::Quota::release_at_head) has no effect; and
/// the caller ends it, so [`Quota::grace`](crate::Quota::grace) has none.
///
/// ```
/// use std::time::Duration;
/// use http::Request;
/// use tower_throttle::{BoxError, Handle, signal::{Signal, SignalKind}};
///
/// # struct Sdk;
/// # enum SdkError { TooManyRequests { wait: Duration }, Other(BoxError) }
/// # impl Sdk { async fn speak(&self, _: &str) -> Result<Vec<u8>, SdkError> { Ok(Vec::new()) } }
/// async fn speak(handle: &Handle, sdk: &Sdk, text: &str) -> Result<Vec<u8>, BoxError> {
///     let head = Request::post("/v1/text-to-speech/narrator").body(())?;
///     let mut permit = handle.admit(&head).await?.dispatched().await?;
///     loop {
///         match sdk.speak(text).await {
///             Ok(audio) => return Ok(audio),
///             Err(SdkError::TooManyRequests { wait }) => {
///                 let signal = Signal::new(SignalKind::Rate).with_retry_after(wait);
///                 if permit.throttled(&signal).is_none() {
///                     return Err("too many requests, and no retry helps".into());
///                 }
///                 permit = handle.admit_again(permit).await?.dispatched().await?;
///             }
///             Err(SdkError::Other(error)) => {
///                 permit.failed();
///                 return Err(error);
///             }
///         }
///     }
/// }
/// ```
#[must_use = "dropping a permit ends it"]
pub struct Permit {
    held: Held,
    asked: Box<Asked>,
}

impl Permit {
    pub(super) fn new(in_flight: InFlight, asked: Box<Asked>) -> Self {
        Self {
            held: Held::new(in_flight),
            asked,
        }
    }

    /// The server throttled it: its bucket is paused for everyone, requests of services too, and learns from it, as
    /// from an answer to such a request. What was estimated to be its cost is settled to nothing but requests, unless
    /// the layer [counts](crate::ThrottleLayer::count_throttled) what was throttled.
    ///
    /// Returns when it can be sent again, as far as can be told. Nobody has to wait until then:
    /// [`Handle::admit_again`](crate::Handle::admit_again) does. If that depends on the end of another request, it is
    /// the present. If this is the trouble of this request alone, which is throttled again and again while others are
    /// accepted, nobody else is held up.
    ///
    /// `None` if there is nothing to wait for, and a retry would be of no use: its credits are used up, the server
    /// does not want a retry, or it asks for more than `max_pause`; the bucket opens too late for `max_wait` or the
    /// deadline; or the layer has no limit of this kind (as an [`RpsLayer`](crate::RpsLayer) has none of the requests
    /// at once) and the server named no delay.
    ///
    /// Call it once: the first call of this or [`failed`](Self::failed) counts. A second call of this returns the same, and one
    /// after `failed` returns `None`.
    ///
    /// # Panics
    ///
    /// If an [`Observer`](crate::Observer) panics.
    pub fn throttled(&self, signal: &Signal) -> Option<Instant> {
        let Held { in_flight, .. } = &self.held;
        let in_flight = in_flight.as_ref()?;
        // Nothing of ours is locked while the observer is told.
        if !self.held.tell(Outcome::Throttled(Throttled::default())) {
            return self.held.outcome().throttled()?.opens;
        }
        if in_flight.is_charged() {
            // First, as the way back is computed without it.
            in_flight.settle_as_throttled(false);
        }
        let mut setbacks = Setbacks::default();
        let hint = in_flight.throttled(signal, &mut setbacks);
        let (opens, not_before) = match hint {
            Some(RetryHint::NotBefore(opens)) => (Some(opens), None),
            Some(RetryHint::Alone(opens)) => (Some(opens), Some(opens)),
            Some(RetryHint::Forbidden) | None => (None, None),
        };
        let deadline = Deadline::of(self.asked.head.extensions());
        let in_time = |opens: &Instant| deadline.is_none_or(|Deadline(latest)| *opens <= latest);
        let opens = opens
            .filter(in_time)
            .filter(|_| signal.should_retry() != Some(false));
        *self.held.outcome() = Outcome::Throttled(Throttled {
            setbacks,
            opens,
            not_before,
        });
        opens
    }

    /// Nothing is known of it: it was lost, or the server has failed. It stays counted as it was estimated, and
    /// teaches nothing.
    ///
    /// Call it once: the first call of this or [`throttled`](Self::throttled) counts. The permit lasts until it is
    /// dropped.
    ///
    /// # Panics
    ///
    /// If an [`Observer`](crate::Observer) panics.
    pub fn failed(&self) {
        let Some(in_flight) = &self.held.in_flight else {
            return;
        };
        if self.held.tell(Outcome::Failed) && in_flight.is_observed() {
            in_flight.answered(None);
        }
    }

    /// What it has cost, in each unit that is stated: counts in place of the estimate, as with
    /// [`Settlement::settle`](crate::Settlement::settle).
    ///
    /// Less than was estimated lets others go at once; more closes the window for as long as it takes. What is stated
    /// of a unit that the endpoint does not count, of requests and of permits has no effect. The last call counts.
    ///
    /// # Panics
    ///
    /// If an [`Observer`](crate::Observer) panics.
    pub fn settle(&self, actual: Cost) {
        if let Some(in_flight) = &self.held.in_flight {
            let is_accepted = matches!(*self.held.outcome(), Outcome::Open);
            in_flight.settle_by_hand(actual, is_accepted);
        }
    }

    /// Ends it. Returns what is asked for again, and until when only that has to wait.
    pub(super) fn end_for_retry(self) -> (Box<Asked>, Option<Instant>) {
        // A success is not tried again.
        self.failed();
        let Self { held, mut asked } = self;
        let throttled = held.outcome().throttled().map(std::mem::take);
        drop(held);
        let Throttled {
            setbacks,
            not_before,
            ..
        } = throttled.unwrap_or_default();
        asked.mark_as_retry(setbacks);
        (asked, not_before)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit")
            .field(&RequestHead::from(&self.asked.head))
            .finish()
    }
}

/// What a permit holds until it is dropped.
struct Held {
    /// `None` only while it is dropped.
    in_flight: Option<InFlight>,
    outcome: Mutex<Outcome>,
}

/// What is known of the answer.
enum Outcome {
    Open,
    Throttled(Throttled),
    Failed,
}

#[derive(Default)]
struct Throttled {
    /// For the layer, with the retry.
    setbacks: Setbacks,
    /// When it can be sent again.
    opens: Option<Instant>,
    /// The same, if the layer holds nobody back until then.
    not_before: Option<Instant>,
}

impl Outcome {
    fn throttled(&mut self) -> Option<&mut Throttled> {
        match self {
            Self::Throttled(throttled) => Some(throttled),
            Self::Open | Self::Failed => None,
        }
    }
}

impl Held {
    fn new(in_flight: InFlight) -> Self {
        Self {
            in_flight: Some(in_flight),
            outcome: Mutex::new(Outcome::Open),
        }
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        // Only values are assigned under this lock.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first that is told of the answer.
    fn tell(&self, told: Outcome) -> bool {
        let mut outcome = self.outcome();
        let is_first = matches!(*outcome, Outcome::Open);
        if is_first {
            *outcome = told;
        }
        is_first
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        // Whose thread panics has not done its work.
        let is_accepted = matches!(*self.outcome(), Outcome::Open) && !std::thread::panicking();
        if is_accepted {
            in_flight.accepted(None);
        }
        in_flight.end(!is_accepted);
    }
}

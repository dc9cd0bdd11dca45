//! The events that an observer of a layer gets.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;
use tower_throttle_store::{StoreError, protocol::Warning};

use crate::{bucket::Learned, costs::Cost, error::Refused, signal::Signal};

/// Gets an event for every decision of a layer.
///
/// Given to a limiting layer or to [`RetryLayer`](crate::RetryLayer) with `observe`. Each [`Event`] is told
/// once, by the thread that decided and after the layer's lock was released, so an observer may call the
/// layer's [`Handle`](crate::Handle). One thread tells its events in the order in which it decided. Where
/// several threads decide about one bucket, [`Event::sequence`] has the order.
///
/// An observer runs within the call that decided: a `call`, a `poll` or a drop of a future or a body, a method
/// of the handle, or tokio's timer. So it should be quick and must not block.
///
/// # Panics
///
/// If an observer panics, the other events are told all the same, the layer's state is consistent, and the panic
/// reaches the caller of the layer. What a timer decides (a wait that is over, an absent waiter, a body that is
/// open for too long) has no caller: a panic at that reaches the next caller of the layer. While a thread unwinds from another panic, that one goes on
/// and the observer's is dropped.
///
/// ```
/// use tower_throttle::{Endpoints, Event, EventKind, Observer, Quota, ThrottleLayer};
///
/// struct Log;
///
/// impl Observer for Log {
///     fn on_event(&self, event: &Event<'_>) {
///         if let EventKind::Throttled(signal) = event.kind {
///             eprintln!("{} was throttled: {signal:?}", event.bucket);
///         }
///     }
/// }
///
/// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5))).observe(Log);
/// # let _ = layer;
/// ```
///
/// # An observer that asks the handle
///
/// `observe` comes before the layer has a handle, so the observer gets the handle later. Observer and layer then keep
/// each other in memory: that is right for a layer that lives as long as its process.
///
/// ```
/// use std::sync::{Arc, OnceLock};
/// use tower_throttle::{Endpoints, Event, EventKind, Handle, Observer, Quota, ThrottleLayer};
///
/// #[derive(Default)]
/// struct Own {
///     handle: OnceLock<Handle>,
/// }
///
/// impl Observer for Own {
///     fn on_event(&self, event: &Event<'_>) {
///         let (EventKind::Throttled(_), Some(handle)) = (event.kind, self.handle.get()) else {
///             return;
///         };
///         let snapshot = handle.snapshot();
///         for window in snapshot.bucket(event.bucket).into_iter().flat_map(|bucket| bucket.windows()) {
///             eprintln!("{}: {} used of {}", event.bucket, window.used(), window.window());
///         }
///     }
/// }
///
/// let own = Arc::new(Own::default());
/// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5))).observe(Arc::clone(&own));
/// assert!(own.handle.set(layer.handle()).is_ok());
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Gets one event.
    fn on_event(&self, event: &Event<'_>);
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on_event(&self, event: &Event<'_>) {
        (**self).on_event(event);
    }
}

/// Both get each event, the first one first. If it panics, the second does not get that event.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn on_event(&self, event: &Event<'_>) {
        self.0.on_event(event);
        self.1.on_event(event);
    }
}

/// One decision of a layer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// What the bucket is configured as: the template or the name of its endpoint, the name of a group, or one of the
    /// constants of [`Endpoints`](crate::Endpoints). There are as many of these as were configured, whatever paths
    /// requests have: it is a label for metrics. Empty for events of a retrying layer.
    pub endpoint: &'a str,
    /// The bucket that the event is about, by its [`BucketSnapshot::name`](crate::BucketSnapshot::name). For a
    /// request it is the bucket of its endpoint. It is the [`endpoint`](Self::endpoint), or host and path of requests
    /// where a path has a bucket to itself. Empty for events of a retrying layer, which knows no buckets.
    pub bucket: &'a str,
    /// The partition of the bucket, if there are partitions: as
    /// [`BucketSnapshot::partition`](crate::BucketSnapshot::partition) has it.
    pub partition: Option<u64>,
    /// The number of this event among the bucket's, from 1, in the order in which they were decided. A bucket
    /// that was forgotten begins anew. An event of a retrying layer is numbered among the layer's own.
    pub sequence: u64,
    /// When it was decided, by tokio's clock. An observer may get the event later.
    pub at: Instant,
    /// Whether the event is about a request and was decided by another's call, by a handle or by the timer: what the
    /// thread is doing, and its current span, have nothing to do with the request then.
    pub elsewhere: bool,
    /// What was decided.
    pub kind: EventKind<'a>,
}

/// What was decided.
///
/// The events of a request are `Queued` (if it has to wait), `Admitted`, `Dispatched`, `Answered`, perhaps
/// `Throttled`, and `Ended`. If its endpoint counts something besides requests, `Settled` comes after `Answered`, any
/// number of times, and after `Ended` if it is settled by hand so late. A request can leave this way at three points:
///
/// - `Refused` is its last event.
/// - `GivenBack` comes between `Admitted` and `Dispatched`: the request waits again, or was dropped.
/// - If its future is dropped, there is no event for a queued request, and no `Answered` before its answer.
///
/// What a [`Handle`](crate::Handle) admits has no answer with a status: `Answered` is told if it
/// [failed](crate::Permit::failed), and not otherwise.
///
/// What an answer does to its bucket (`Paused`, `Learned`, `Eased`) is told with the answer. A retry is a request
/// of its own.
///
/// More kinds may be added: match the ones that you know.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A request has to wait: it entered the queue of its endpoint.
    Queued {
        /// How many requests wait at its endpoint, this one included.
        waiting: usize,
    },
    /// A request has its places and permits.
    Admitted {
        /// How long it was queued; zero if it did not have to wait.
        waited: Duration,
    },
    /// The inner service was called: `call` has returned, or panicked.
    Dispatched {
        /// How long it was queued: from its entry into the queue until its inner service was ready and it still had its
        /// places. Zero if it did not have to wait.
        queued: Duration,
        /// For how much of that its endpoint, or a wider scope, was paused. Of more than 64 pauses of the layer within
        /// one wait, the last 64 count.
        paused: Duration,
    },
    /// The head of the inner service's answer came, or an error.
    Answered {
        /// The status; `None` for an error.
        status: Option<StatusCode>,
        /// The time since it was dispatched.
        time: Duration,
    },
    /// A request's permit at its endpoint ended: with its response body, or with the head
    /// ([`Quota::release_at_head`](crate::Quota::release_at_head)). Under [`RpsLayer`](crate::RpsLayer), which
    /// has no permits, nothing ends.
    Ended {
        /// The time since it was dispatched.
        in_flight: Duration,
    },
    /// What a request has cost is known, at least in part: this much. Told each time that more is known, by a
    /// [`Settle`](crate::Settle) or by hand, in the units that are named then. It is not told that a request has cost
    /// nothing because it was throttled or not accepted.
    Settled(&'a Cost),
    /// An answer has ended in which a [`Settle`](crate::Settle) has found nothing: the estimate stays. Not told of an
    /// answer whose body failed or was dropped before its end.
    NotSettled,
    /// A request was refused by the layer, on entry or while it was queued.
    Refused(&'a Refused),
    /// The server throttled a request, or its credits are used up: what the answer said, once it is understood.
    Throttled(&'a Signal),
    /// Nothing is admitted for a time. Told again when the pause becomes longer, and not when it is over by
    /// itself. For a [`Handle::pause`](crate::Handle::pause) there is one event, under the name that was paused.
    Paused {
        /// How long the pause lasts from [`Event::at`] on.
        time: Duration,
        /// Why.
        cause: PauseCause,
    },
    /// [`Handle::resume`](crate::Handle::resume) ended all pauses of a scope: one event, under the name that was
    /// resumed.
    Resumed,
    /// Answers taught the bucket something. This is all that it has learned by now, and from what.
    Learned(Learned),
    /// A lesson was given back, in part or altogether. This is what is left; `None` if nothing is.
    Eased(Option<Learned>),
    /// An admitted request was not dispatched, and what it held went back: it was dropped, its inner service
    /// failed to become ready, it was called back by a pause or a new quota, or it was absent and others took its
    /// turn over.
    GivenBack,
    /// A request was offered its turn and did not take it in time, because its future is not polled or its
    /// inner service is not ready. It keeps its age, and others go. It is admitted again when it is polled and
    /// there is room.
    Absent,
    /// The body of an answer has been open for 30 s, while a request that stands first in its queue waited for a permit
    /// that it holds: at its endpoint, or at a wider scope. It is being streamed, or kept and not read.
    ///
    /// Told at that instant and once for each body, as long as it is open and such a request waits without a break,
    /// though not always the same. The bucket is that of the answer's endpoint. What waits is in the
    /// [snapshot](crate::BucketSnapshot::head). If no runtime with timers drives the layer, it is told late.
    BodyOpen {
        /// For how long the body has been open.
        time: Duration,
    },
    /// [`Handle::close`](crate::Handle::close) closed the layer: one event, under the name `overall`, when it is called
    /// first. `Refused` follows for each request that waits.
    Closed,
    /// The layer's [store](crate::ThrottleLayer::store) did not answer a call, or refused it: why. The event is told
    /// under the name `overall`, and not again until the store has answered. The call is repeated;
    /// [`Snapshot::store_away`](crate::Snapshot::store_away) has the last error, and says for how long.
    StoreAway(&'a StoreError),
    /// The store answers again: under the name `overall`, after each [`StoreAway`](Self::StoreAway).
    StoreBack {
        /// The time since that.
        time: Duration,
    },
    /// Another member of the fleet that shares the store is configured otherwise, and the stricter of the two counts for
    /// all. The event is told under the name of the scope, and once for each difference, of however many keys it is.
    Disagrees(&'a Warning),
    /// A request failed and is to be sent again.
    ///
    /// It is not sent if its future is dropped before, if a limiting layer below refuses it, or if the inner
    /// service fails to become ready. Then the retrying layer has no further event for it.
    RetryScheduled {
        /// The number of the attempt that comes, from 2.
        attempt: u32,
        /// The time from [`Event::at`] until the retry at the earliest. Above a limiting layer that holds the
        /// request back, the time for which that layer is known to do so; zero if it waits for another request
        /// to end.
        delay: Duration,
    },
    /// A request that failed and could have been retried is handed up: attempts, time, budget or the server's
    /// delay forbade it, a limiting layer below would send it too early or refuse it, or its body cannot be
    /// sent again.
    ///
    /// The table of [`retry`](crate::retry) says which failures of which requests can be retried. There is no
    /// event for any other failure: a status that is not on the list, a request that may not be repeated, the
    /// server's word against it, credits that are used up, a [`Refused`] of our own.
    GivenUp {
        /// How many attempts there were, from 1.
        attempts: u32,
    },
    /// The bucket of an idle key was forgotten: the last event of this bucket. If the key is used again, its new
    /// bucket numbers its events from 1.
    Swept,
}

/// Why a bucket is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PauseCause {
    /// The server named the time.
    Asked,
    /// The server throttled without naming a time, and this is a back-off.
    BackOff,
    /// The server's quota headers said that nothing is left until the end of the pause.
    QuotaHeaders,
    /// [`Handle::pause`](crate::Handle::pause).
    Handle,
    /// Another member of the fleet that shares the layer's store was paused.
    Store,
}

/// A layer's observer, as its settings keep it.
#[derive(Clone)]
pub(crate) struct SharedObserver(Arc<Shared<dyn Observer>>);

struct Shared<O: ?Sized> {
    /// The number of events of retrying layers, which have no bucket to count them.
    told_of_retries: AtomicU64,
    observer: O,
}

impl SharedObserver {
    pub(crate) fn new(observer: impl Observer) -> Self {
        Self(Arc::new(Shared {
            told_of_retries: AtomicU64::new(0),
            observer,
        }))
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        self.0.observer.on_event(event);
    }

    /// Tells what a retrying layer has decided.
    pub(crate) fn tell_of_retry(&self, at: Instant, kind: EventKind<'_>) {
        // Relaxed, as nothing but the number depends on it.
        let before = self.0.told_of_retries.fetch_add(1, Ordering::Relaxed);
        self.tell(&Event {
            endpoint: "",
            bucket: "",
            partition: None,
            sequence: before + 1,
            at,
            elsewhere: false,
            kind,
        });
    }
}

impl fmt::Debug for SharedObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer(..)")
    }
}

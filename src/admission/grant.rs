use std::{borrow::Borrow, fmt, sync::Arc, time::Duration};

use super::{Engine, ready::ReadyAt, state::Taken};
use crate::signal::{QuotaReport, Signal};

/// Places and permits of a request that has been admitted and not yet dispatched.
///
/// Dropped as it is, it gives everything back. [`dispatch`](Self::dispatch) is the way to spend it.
#[must_use = "dropping a grant gives its places back"]
pub(crate) struct Grant<E: Borrow<Arc<Engine>>> {
    /// Borrowed where a request is admitted within `call`, which spares two atomic operations.
    engine: E,
    /// Taken out when the grant is spent.
    taken: Option<Taken>,
}

impl<E: Borrow<Arc<Engine>>> Grant<E> {
    pub(super) fn new(engine: E, taken: Taken) -> Self {
        Self {
            engine,
            taken: Some(taken),
        }
    }

    /// Whether a pause has begun since the request was admitted: then it must not go out.
    pub(crate) fn is_called_back(&self) -> bool {
        let paused = |taken| {
            let engine: &Engine = self.engine.borrow();
            engine.with(|state, now, _| state.is_paused(taken, now))
        };
        self.taken.is_some_and(paused)
    }

    /// Calls the inner service, and stamps the places with the time at which that has returned.
    ///
    /// The stamp comes after: a request that is still on its way out of `call` may go out later than
    /// a stamp taken before would say, and the window would be broken by that much. If `call`
    /// panics, the request may still have gone out: the places are stamped all the same, and the
    /// permits end.
    pub(crate) fn dispatch<T>(mut self, call: impl FnOnce() -> T) -> (T, Permit) {
        let Some(taken) = self.taken.take() else {
            unreachable!("a grant is spent once, by value")
        };
        let mut stamp = Stamp {
            engine: self.engine.borrow(),
            taken,
            permits: taken.permits,
        };
        let result = call();
        stamp.permits = 0;
        drop(stamp);
        let permit = Permit {
            engine: Arc::clone(self.engine.borrow()),
            taken,
        };
        (result, permit)
    }
}

impl<E: Borrow<Arc<Engine>>> Drop for Grant<E> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.engine.borrow().with(|state, now, wakes| {
                state.give_back(taken);
                state.settle(taken.leaf, now, wakes);
            });
        }
    }
}

impl<E: Borrow<Arc<Engine>>> fmt::Debug for Grant<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grant").field(&self.taken).finish()
    }
}

/// Stamps on drop, so that a panic in the inner service's `call` stamps too.
struct Stamp<'a> {
    engine: &'a Engine,
    taken: Taken,
    /// To be released on drop: those of a call that did not return.
    permits: u8,
}

impl Drop for Stamp<'_> {
    fn drop(&mut self) {
        let Self {
            engine,
            taken,
            permits,
        } = *self;
        if taken.places != 0 {
            engine.with(|state, now, wakes| state.stamp(taken, now, wakes));
        }
        if permits != 0 {
            engine.release(taken, permits);
        }
    }
}

/// The permits of a dispatched request, if its engine has any. Dropping it ends them.
#[must_use = "dropping a permit ends it"]
pub(crate) struct Permit {
    engine: Arc<Engine>,
    taken: Taken,
}

impl Permit {
    /// The answer was a refusal: its bucket hears of it, and everyone who waits there. Returns when the
    /// endpoint opens again, as far as can be told, unless this is nothing to wait for.
    pub(crate) fn refused(&self, signal: &Signal) -> Option<ReadyAt> {
        self.engine.refused(self.taken, signal)
    }

    /// The answer was no refusal, and said this about what is left.
    pub(crate) fn succeeded(&self, quota: Option<&QuotaReport>) {
        self.engine.succeeded(self.taken, quota);
    }

    /// The head of the answer names a delay, and its body is still to be looked at.
    pub(crate) fn asked_to_wait(&self, delay: Duration) {
        self.engine.asked_to_wait(self.taken, delay);
    }

    /// All permits end with the response head.
    pub(crate) fn until_head(mut self) -> Self {
        self.taken.at_head = u8::MAX;
        self
    }

    fn release(&mut self, mask: u8) {
        let ended = self.taken.permits & mask;
        if ended != 0 {
            self.taken.permits &= !ended;
            self.engine.release(self.taken, ended);
        }
    }

    /// Ends those permits that last until the response head only. `None` if none is left.
    pub(crate) fn head_arrived(mut self) -> Option<Self> {
        self.release(self.taken.at_head);
        // With no permit left there is nothing to come back for.
        (self.taken.permits & !Taken::PIN != 0).then_some(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release(u8::MAX);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.taken).finish()
    }
}

impl Engine {
    fn release(&self, taken: Taken, permits: u8) {
        let mut wakes = super::Wakes::default();
        let mut state = self.lock();
        state.release(taken.leaf, permits);
        if state.is_contested(taken.leaf) {
            let now = state.now(self.clock.now());
            state.settle(taken.leaf, now, &mut wakes);
        }
        drop(state);
        wakes.run();
    }
}

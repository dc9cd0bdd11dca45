use std::{fmt, sync::Arc, time::Duration};

use super::{Engine, Setup, hint::RetryHint, taken::Taken};
use crate::signal::{QuotaReport, Signal};

/// Places and permits of a request that has been admitted and not yet dispatched.
///
/// Dropped as it is, it gives everything back. [`depart`](Self::depart) is the way to spend it.
#[must_use = "dropping a grant gives its places back"]
#[derive(Debug)]
pub(crate) struct Grant {
    /// Taken out when the grant is spent.
    permit: Option<Permit>,
}

impl Grant {
    pub(super) fn new(setup: Arc<Setup>, taken: Taken) -> Self {
        let permit = Some(Permit { setup, taken });
        Self { permit }
    }

    /// Whether a pause has begun since the request was admitted: then it must not go out.
    pub(crate) fn is_called_back(&self) -> bool {
        self.permit.as_ref().is_some_and(|permit| {
            let engine = &permit.setup.engine;
            engine.with(|state, now, _| state.tree.is_paused(permit.taken, now))
        })
    }

    /// The request goes out now: what follows is the inner service's `call`, and then
    /// [`Departure::gone`].
    #[inline]
    pub(crate) fn depart(mut self) -> Departure {
        let permit = self.permit.take();
        Departure { permit }
    }
}

impl Drop for Grant {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut permit) = self.permit.take() {
            permit.setup.engine.give_back(permit.taken);
            // Given back with the places: there is nothing left to release.
            permit.taken.permits = 0;
        }
    }
}

/// A request whose inner service is being called.
///
/// Its places are stamped with the time at which that has returned. A request that is still on its way out
/// of `call` may go out later than a stamp taken before would say, and the window would be broken by that
/// much. If `call` panics, the request may still have gone out: the places are stamped all the same, and
/// the permits end.
#[must_use = "dropping a departure ends its permits"]
pub(crate) struct Departure {
    /// Taken out when the call has returned.
    permit: Option<Permit>,
}

impl Departure {
    #[inline]
    pub(crate) fn gone(mut self) -> Permit {
        let permit = self.permit.take().expect("a grant is spent once, by value");
        permit.stamp();
        permit
    }
}

impl Drop for Departure {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = &self.permit {
            permit.stamp();
        }
    }
}

/// The permits of a dispatched request, if its engine has any. Dropping it ends them.
#[must_use = "dropping a permit ends it"]
pub(crate) struct Permit {
    setup: Arc<Setup>,
    taken: Taken,
}

impl Permit {
    #[inline]
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    #[inline]
    fn stamp(&self) {
        if self.taken.places != 0 {
            self.setup.engine.stamp(self.taken);
        }
    }

    /// The answer was a refusal: its bucket hears of it, and everyone who waits there. Returns what a retry
    /// has to know, unless the layer does not hold requests back because of this answer.
    pub(crate) fn refused(&self, signal: &Signal) -> Option<RetryHint> {
        self.setup.engine.refused(self.taken, signal)
    }

    /// The answer was no refusal, and said this about what is left.
    #[inline]
    pub(crate) fn succeeded(&self, quota: Option<&QuotaReport>) {
        self.setup.engine.succeeded(self.taken, quota);
    }

    /// The head of the answer names a delay, and its body is still to be looked at.
    pub(crate) fn asked_to_wait(&self, delay: Duration) {
        self.setup.engine.asked_to_wait(self.taken, delay);
    }

    /// All permits end with the response head.
    pub(crate) fn until_head(&mut self) {
        self.taken.at_head = u8::MAX;
    }

    #[inline]
    fn release(&mut self, mask: u8) {
        let ended = self.taken.permits & mask;
        if ended != 0 {
            self.taken.permits &= !ended;
            self.setup.engine.release(self.taken, ended);
        }
    }

    /// Ends those permits that last until the response head only. `None` if none is left.
    #[inline]
    pub(crate) fn head_arrived(mut self) -> Option<Self> {
        self.release(self.taken.at_head);
        // With no permit left there is nothing to come back for.
        (self.taken.permits & !Taken::PIN != 0).then_some(self)
    }
}

impl Drop for Permit {
    #[inline]
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
    fn give_back(&self, taken: Taken) {
        self.with(|state, now, wakes| {
            state.tree.give_back(taken);
            state.settle(taken.leaf, now, wakes);
        });
    }

    fn stamp(&self, taken: Taken) {
        let now = self.clock.now();
        let mut state = self.lock();
        let now = state.tree.now(now);
        if state.tree.stamp(taken, now) {
            // Until now nobody could say when the next place comes; now its head can set a timer.
            Self::settle(state, taken.leaf, now);
        }
    }

    fn release(&self, taken: Taken, permits: u8) {
        let mut state = self.lock();
        if state.tree.release(taken.leaf, permits) {
            let now = state.tree.now(self.clock.now());
            Self::settle(state, taken.leaf, now);
        }
    }
}

use std::{fmt, time::Duration};

use super::{Engine, ready::ReadyAt, state::Taken};
use crate::signal::{QuotaReport, Signal};

/// What keeps an engine for as long as a request has something to give back to it.
pub(crate) trait Keeper {
    fn engine(&self) -> &Engine;
}

/// Where a request is admitted within `call`, the service keeps it.
impl Keeper for &Engine {
    #[inline]
    fn engine(&self) -> &Engine {
        self
    }
}

/// Places and permits of a request that has been admitted and not yet dispatched.
///
/// Dropped as it is, it gives everything back. [`depart`](Self::depart) is the way to spend it.
#[must_use = "dropping a grant gives its places back"]
pub(crate) struct Grant<K: Keeper> {
    keeper: K,
    /// Taken out when the grant is spent.
    taken: Option<Taken>,
}

impl<K: Keeper> Grant<K> {
    pub(super) fn new(keeper: K, taken: Taken) -> Self {
        Self {
            keeper,
            taken: Some(taken),
        }
    }

    /// Whether a pause has begun since the request was admitted: then it must not go out.
    pub(crate) fn is_called_back(&self) -> bool {
        let paused = |taken| {
            let engine = self.keeper.engine();
            engine.with(|state, now, _| state.is_paused(taken, now))
        };
        self.taken.is_some_and(paused)
    }

    /// The request goes out now: what follows is the inner service's `call`, and then
    /// [`Departure::gone`]. The permit gets a keeper of its own, of the same engine.
    #[inline]
    pub(crate) fn depart<P: Keeper>(mut self, keeper: P) -> Departure<P> {
        debug_assert!(
            std::ptr::eq(keeper.engine(), self.keeper.engine()),
            "a permit goes back to the engine that gave it"
        );
        let permit = self.taken.take().map(|taken| Permit { keeper, taken });
        Departure { permit }
    }
}

impl<K: Keeper> Drop for Grant<K> {
    #[inline]
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.keeper.engine().give_back(taken);
        }
    }
}

impl<K: Keeper> fmt::Debug for Grant<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grant").field(&self.taken).finish()
    }
}

/// A request whose inner service is being called.
///
/// Its places are stamped with the time at which that has returned. A request that is still on its way out
/// of `call` may go out later than a stamp taken before would say, and the window would be broken by that
/// much. If `call` panics, the request may still have gone out: the places are stamped all the same, and
/// the permits end.
#[must_use = "dropping a departure ends its permits"]
pub(crate) struct Departure<K: Keeper> {
    /// Taken out when the call has returned.
    permit: Option<Permit<K>>,
}

impl<K: Keeper> Departure<K> {
    #[inline]
    pub(crate) fn gone(mut self) -> Permit<K> {
        let permit = self.permit.take().expect("a grant is spent once, by value");
        permit.stamp();
        permit
    }
}

impl<K: Keeper> Drop for Departure<K> {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = &self.permit {
            permit.stamp();
        }
    }
}

/// The permits of a dispatched request, if its engine has any. Dropping it ends them.
#[must_use = "dropping a permit ends it"]
pub(crate) struct Permit<K: Keeper> {
    keeper: K,
    taken: Taken,
}

impl<K: Keeper> Permit<K> {
    #[inline]
    pub(crate) fn keeper(&self) -> &K {
        &self.keeper
    }

    #[inline]
    fn stamp(&self) {
        if self.taken.places != 0 {
            self.keeper.engine().stamp(self.taken);
        }
    }

    /// The answer was a refusal: its bucket hears of it, and everyone who waits there. Returns when the
    /// endpoint opens again, as far as can be told, unless this is nothing to wait for.
    pub(crate) fn refused(&self, signal: &Signal) -> Option<ReadyAt> {
        self.keeper.engine().refused(self.taken, signal)
    }

    /// The answer was no refusal, and said this about what is left.
    #[inline]
    pub(crate) fn succeeded(&self, quota: Option<&QuotaReport>) {
        self.keeper.engine().succeeded(self.taken, quota);
    }

    /// The head of the answer names a delay, and its body is still to be looked at.
    pub(crate) fn asked_to_wait(&self, delay: Duration) {
        self.keeper.engine().asked_to_wait(self.taken, delay);
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
            self.keeper.engine().release(self.taken, ended);
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

impl<K: Keeper> Drop for Permit<K> {
    #[inline]
    fn drop(&mut self) {
        self.release(u8::MAX);
    }
}

impl<K: Keeper> fmt::Debug for Permit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.taken).finish()
    }
}

impl Engine {
    fn give_back(&self, taken: Taken) {
        self.with(|state, now, wakes| {
            state.give_back(taken);
            state.settle(taken.leaf, now, wakes);
        });
    }

    fn stamp(&self, taken: Taken) {
        let now = self.clock.now();
        let mut state = self.lock();
        let now = state.now(now);
        if state.stamp(taken, now) {
            // Until now nobody could say when the next place comes; now its head can set a timer.
            Self::settle(state, taken.leaf, now);
        }
    }

    fn release(&self, taken: Taken, permits: u8) {
        let mut state = self.lock();
        if state.release(taken.leaf, permits) {
            let now = state.now(self.clock.now());
            Self::settle(state, taken.leaf, now);
        }
    }
}

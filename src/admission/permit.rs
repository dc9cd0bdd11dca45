use std::{fmt, sync::Arc, time::Duration};

use http::{Extensions, StatusCode};

use super::{
    core::{Claim, Core, Decision, Effects, NodeId, Reopens, Setback, says_something},
    engine::{Engine, Hold, Unadmitted},
    hint::RetryHint,
    setbacks::Setbacks,
    shared::Shared,
};
use crate::{
    bucket::Tick,
    late::Listen,
    signal::{QuotaReport, Signal, SignalKind},
};

/// A request whose inner service is being called.
///
/// Its places are stamped with the time at which that has returned. A request that is still on its way out
/// of `call` may go out later than a stamp taken before would say, and the window would be broken by that
/// much. If `call` panics, the request may still have gone out: the places are stamped all the same, and
/// the permits end.
#[must_use = "dropping a dispatch ends its permits"]
pub(crate) struct Dispatch {
    permit: Permit,
}

impl Dispatch {
    pub(super) fn new(shared: Arc<Shared>, claim: Claim, setback: Option<Box<Setback>>) -> Self {
        let permit = Permit {
            shared,
            claim,
            setback,
        };
        Self { permit }
    }

    /// The inner service's `call` has returned.
    #[inline]
    pub(crate) fn done(self) -> Permit {
        let mut permit = self.permit;
        permit.stamp();
        permit
    }
}

impl Shared {
    /// Admits a request at once, if every scope has room and nobody stands in its queue.
    #[inline]
    pub(crate) fn admit<B>(
        self: &Arc<Self>,
        request: &http::Request<B>,
    ) -> Result<Dispatch, Unadmitted> {
        let claim = self.engine.admit(request)?;
        let setback = self.engine.setback(request.extensions());
        Ok(Dispatch::new(Arc::clone(self), claim, setback))
    }
}

/// A dispatched request: its permits, if its engine has any, and the way for its answer to be heard.
/// Dropping it ends the permits.
#[must_use = "dropping a permit ends it"]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    claim: Claim,
    /// What came of the attempt before. Boxed, as few have one.
    setback: Option<Box<Setback>>,
}

impl Permit {
    #[inline]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Turns the places into stamps, unless that has been done.
    #[inline]
    fn stamp(&mut self) {
        if self.claim.places != 0 {
            let claim = self.claim;
            self.claim.places = 0;
            self.shared.engine.stamp(claim);
        }
    }

    /// Whether an observer wants to hear what becomes of it.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.claim.observed
    }

    /// The inner service answered; `None` is an error.
    #[cold]
    pub(crate) fn answered(&self, status: Option<StatusCode>) {
        self.shared.engine.answered(self.claim, status);
    }

    /// The answer was a throttling one: its bucket hears of it, and everyone who waits there. Returns when
    /// the request can be sent again, as far as can be told, unless there is nothing to wait for. What it has
    /// to know of this answer then is left in `setbacks`.
    pub(crate) fn throttled(&self, signal: &Signal, setbacks: &mut Setbacks) -> Option<RetryHint> {
        let engine = &self.shared.engine;
        let mut setback = self.setback.as_deref().copied();
        let hint = engine.throttled(self.claim, signal, &mut setback);
        if let Some(setback) = setback {
            setbacks.set(engine.id(), setback);
        }
        hint
    }

    /// The answer was none, and said this about what is left.
    #[inline]
    pub(crate) fn accepted(&self, quota: Option<&QuotaReport>) {
        self.shared.engine.accepted(self.claim, quota);
    }

    /// The head of the answer names a delay, and its body is still to be looked at.
    pub(crate) fn asked_to_wait(&self, delay: Duration) {
        let setback = self.setback.as_deref();
        (self.shared.engine).asked_to_wait(self.claim, delay, setback);
    }

    /// Hears what the body of the answer says, should that come later than it is waited for.
    pub(crate) fn listener(&self) -> Arc<dyn Listen> {
        let (shared, claim) = (Arc::clone(&self.shared), self.claim);
        shared.engine.with(|core, _, _| core.pin(claim.leaf));
        Arc::new(Listener { shared, claim })
    }

    /// All permits end with the response head.
    pub(crate) fn until_head(&mut self) {
        self.claim.at_head = u8::MAX;
    }

    #[inline]
    fn release(&mut self, mask: u8) {
        let ended = self.claim.permits & mask;
        if ended != 0 {
            self.claim.permits &= !ended;
            self.shared.engine.release(self.claim, ended);
        }
    }

    /// Ends those permits that last until the response head only. `None` if none is left.
    #[inline]
    pub(crate) fn head_arrived(mut self) -> Option<Self> {
        self.release(self.claim.at_head);
        // With no permit left there is nothing to come back for.
        (self.claim.permits & !Claim::PIN != 0).then_some(self)
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        // There are places left if `call` has panicked.
        self.stamp();
        self.release(u8::MAX);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.claim).finish()
    }
}

/// Keeps the leaf of a request whose body has yet to say what it means.
struct Listener {
    shared: Arc<Shared>,
    claim: Claim,
}

impl Listen for Listener {
    /// The head has been acted on: what is new is a delay.
    fn hear(&self, signal: &Signal) {
        let is_limit = signal.kind() != SignalKind::QuotaExhausted;
        if let Some(delay) = signal.retry_after().filter(|_| is_limit) {
            self.shared.engine.asked_to_wait(self.claim, delay, None);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        (self.shared.engine).with(|core, _, _| core.unpin(self.claim.leaf));
    }
}

impl Engine {
    fn asked_to_wait(&self, claim: Claim, delay: Duration, setback: Option<&Setback>) {
        let random = fastrand::f64();
        self.with(|core, now, fx| core.asked_to_wait(claim, delay, setback, random, now, fx));
    }

    fn stamp(&self, claim: Claim) {
        let now = self.clock.now();
        let mut locked = self.lock();
        // A clock that was set back: the timer is to be set anew.
        let is_behind = now < locked.core.tree.latest();
        let now = if is_behind {
            self.time(&mut locked.core)
        } else {
            locked.core.tree.set_time(now)
        };
        let contested = locked.core.tree.stamp(claim, now);
        if contested || claim.observed || is_behind {
            self.dispatched(locked, claim, contested);
        }
    }

    /// Somebody waits at a scope of a request that has gone out, or observes it.
    #[cold]
    fn dispatched(&self, locked: Hold<'_>, claim: Claim, contested: bool) {
        // Until now nobody could say when the next place comes; now a timer can be set.
        self.step(locked, |core, now, fx| {
            let leaf = claim.leaf;
            core.tree.tell(leaf, now, fx, || Decision::Dispatched);
            core.settle_after(leaf, contested, now, fx);
        });
    }

    fn release(&self, claim: Claim, permits: u8) {
        let mut locked = self.lock();
        if claim.observed {
            return self.end_observed(locked, claim, permits);
        }
        if locked.core.tree.release(claim.leaf, permits) {
            self.ended(locked, claim.leaf);
        }
    }

    /// Somebody waits at a scope of a request whose permits have ended.
    #[cold]
    fn ended(&self, locked: Hold<'_>, leaf: NodeId) {
        self.step(locked, |core, now, fx| {
            core.settle_after(leaf, true, now, fx);
        });
    }

    #[cold]
    fn end_observed(&self, locked: Hold<'_>, claim: Claim, permits: u8) {
        self.step(locked, |core, now, fx| {
            let leaf = claim.leaf;
            if permits & Claim::LEAF != 0 {
                // Told while the permits keep the leaf.
                core.tree.tell(leaf, now, fx, || Decision::Ended);
            }
            let contested = core.tree.release(leaf, permits);
            core.settle_after(leaf, contested, now, fx);
        });
    }

    fn answered(&self, claim: Claim, status: Option<StatusCode>) {
        self.with(|core: &mut Core, now: Tick, fx: &mut Effects| {
            let told = || Decision::Answered { status };
            core.tree.tell(claim.leaf, now, fx, told);
        });
    }

    fn throttled(
        &self,
        claim: Claim,
        signal: &Signal,
        setback: &mut Option<Setback>,
    ) -> Option<RetryHint> {
        let random = fastrand::f64();
        let reopens =
            self.with(|core, now, fx| core.throttled(claim, signal, setback, random, now, fx))?;
        let hint = match reopens {
            Reopens::At(tick) => self.clock.instant(tick).map(RetryHint::NotBefore),
            Reopens::Alone(tick) => self.clock.instant(tick).map(RetryHint::Alone),
            Reopens::TooLate => None,
        };
        Some(hint.unwrap_or(RetryHint::Forbidden))
    }

    /// What came of the attempt before, if a request is a retry. Where nothing was refused, none is.
    #[inline]
    pub(super) fn setback(&self, request: &Extensions) -> Option<Box<Setback>> {
        if self.listening.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            return None;
        }
        let setback = request.get::<Setbacks>()?.of(self.id())?;
        Some(Box::new(setback))
    }

    /// Tells the engines of a stack apart.
    fn id(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    #[inline]
    fn accepted(&self, claim: Claim, quota: Option<&QuotaReport>) {
        // Relaxed: a success that just misses the first lesson would not have been counted by it.
        let listening = self.listening.load(std::sync::atomic::Ordering::Relaxed) != 0;
        if listening || quota.is_some() {
            self.report(claim, quota, listening);
        }
    }

    fn report(&self, claim: Claim, quota: Option<&QuotaReport>, listening: bool) {
        if listening || quota.is_some_and(says_something) {
            let locked = self.lock();
            let tree = &locked.core.tree;
            // With discovery most successes are of buckets that have no use for them.
            if quota.is_some() || !tree.discovers() || tree.listens(claim.leaf) {
                self.step(locked, |core, now, fx| core.accepted(claim, quota, now, fx));
            }
        }
    }
}

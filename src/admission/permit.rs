use std::{fmt, io::IoSlice, sync::Arc, time::Duration};

use bytes::Buf;
use http::{Extensions, Response, StatusCode};
use http_body::Frame;
use tokio::time::Instant;
use tower::BoxError;

use super::{
    aside::Aside,
    core::{
        Abandoned, Claim, Core, Decision, Effects, NodeId, Reopens, Setback, Settler,
        says_something,
    },
    engine::{Engine, Hold, Unadmitted},
    hint::RetryHint,
    setbacks::Setbacks,
    settlement::Settlement,
    shared::Shared,
};
use crate::{
    bucket::Tick,
    costs::{AnswerHead, Cost, SettleBody},
    late::Listen,
    signal::{QuotaReport, Signal, SignalKind, SignalScope},
    waited::{Tally, Waited},
};

/// A request whose inner service is being called.
///
/// Its places are stamped with the time at which that has returned. A request that is still on its way out
/// of `call` may go out later than a stamp taken before would say, and the window would be broken by that
/// much. If `call` panics, the request may still have gone out: the places are stamped all the same, and
/// the permits end.
#[must_use = "dropping a dispatch ends its permits"]
pub(crate) struct Dispatch {
    permit: InFlight,
}

impl Dispatch {
    pub(super) fn new(shared: Arc<Shared>, claim: Claim, aside: Aside) -> Self {
        let permit = InFlight {
            shared,
            claim,
            aside,
        };
        Self { permit }
    }

    /// The inner service's `call` has returned.
    #[inline]
    pub(crate) fn done(self) -> InFlight {
        let mut permit = self.permit;
        permit.stamp();
        permit
    }
}

impl Dispatch {
    /// Adds the time for which the request was queued to that of its other attempts, if somebody wants to know.
    #[cold]
    pub(crate) fn tally(&self, request: &Extensions) {
        if let Some(tally) = request.get::<Tally>() {
            tally.add(&self.permit.aside.waited());
        }
    }
}

impl Shared {
    /// Admits a request at once, if every scope has room and nobody stands in its queue.
    #[inline]
    pub(crate) fn admit<B>(
        self: &Arc<Self>,
        request: &http::Request<B>,
    ) -> Result<Dispatch, Unadmitted>
    where
        B: 'static,
    {
        let asks = self.pricing.asks_of(request);
        let claim = self.engine.admit(request, asks)?;
        let aside = self.engine.aside(request.extensions());
        Ok(Dispatch::new(Arc::clone(self), claim, aside))
    }
}

/// A dispatched request: its permits, if its engine has any, and the way for its answer to be heard.
/// Dropping it ends the permits.
#[must_use = "dropping a permit ends it"]
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    claim: Claim,
    aside: Aside,
}

impl InFlight {
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
            self.shared.engine.stamp(claim, &mut self.aside);
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
        let dispatched = self.aside.dispatched();
        self.shared.engine.answered(self.claim, status, dispatched);
    }

    /// Tells an observer of the answer, if there is one.
    #[inline]
    pub(crate) fn observe<B, E>(&self, result: &Result<Response<B>, E>) {
        if self.is_observed() {
            self.answered(result.as_ref().ok().map(Response::status));
        }
    }

    /// Says with an answer for how long its request was held back, if that is asked for.
    #[inline]
    pub(crate) fn report_waited<B>(&self, response: &mut Response<B>) {
        if self.shared.reports_waited {
            self.insert_waited(response);
        }
    }

    /// Here, and below.
    #[cold]
    fn insert_waited<B>(&self, response: &mut Response<B>) {
        let mut waited = self.aside.waited();
        if let Some(below) = response.extensions().get::<Waited>() {
            waited = waited.and(below);
        }
        response.extensions_mut().insert(waited.with_attempts(1));
    }

    /// The answer was a throttling one: its bucket hears of it, and everyone who waits there. Returns when
    /// the request can be sent again, as far as can be told, unless there is nothing to wait for. What it has
    /// to know of this answer then is left in `setbacks`.
    pub(crate) fn throttled(&self, signal: &Signal, setbacks: &mut Setbacks) -> Option<RetryHint> {
        let now = Instant::now();
        let Shared { engine, limits, .. } = &*self.shared;
        let mut setback = self.aside.setback().copied();
        let hint = engine.throttled(self.claim, signal, &mut setback);
        if let Some(setback) = setback {
            setbacks.set(engine.id(), setback);
        }
        if engine.is_closed() {
            return Some(RetryHint::Forbidden);
        }
        Some(match hint? {
            RetryHint::NotBefore(opens) if !limits.allow(opens.saturating_duration_since(now)) => {
                RetryHint::Forbidden
            }
            hint => hint,
        })
    }

    /// The answer was none, and said this about what is left.
    #[inline]
    pub(crate) fn accepted(&self, quota: Option<&QuotaReport>) {
        self.shared.engine.accepted(self.claim, quota);
    }

    /// The head of the answer names a delay, and its body is still to be looked at.
    pub(crate) fn asked_to_wait(&self, delay: Duration) {
        let setback = self.aside.setback();
        (self.shared.engine).asked_to_wait(self.claim, delay, setback);
    }

    /// Hears what the body of the answer says, should that come later than it is waited for.
    pub(crate) fn listener(&self) -> Arc<dyn Listen> {
        let (shared, claim) = (Arc::clone(&self.shared), self.claim);
        shared
            .engine
            .with_at(claim.leaf, |core, _, _| core.pin(claim.leaf));
        Arc::new(Listener { shared, claim })
    }

    /// All permits end with the response head.
    pub(crate) fn until_head(&mut self) {
        self.claim.at_head = Claim::SCOPES | Claim::CHARGE;
    }

    /// Whether its request takes something else than one request and one permit.
    #[inline]
    pub(crate) fn is_charged(&self) -> bool {
        self.claim.is_charged()
    }

    /// The answer was a success, or may have cost something all the same: it can be settled from now on.
    #[cold]
    pub(crate) fn settle_answer<B>(&mut self, response: &mut Response<B>, is_over: bool) {
        let status = response.status();
        let is_accepted = !status.is_client_error() && !status.is_server_error();
        if let Some(settlement) = Settlement::new(&self.shared, self.claim, is_accepted) {
            response.extensions_mut().insert(settlement);
        }
        if status.is_server_error() {
            return;
        }
        if status.is_client_error() {
            self.cost_nothing(is_over);
        }
        if let Some(settle) = self.shared.pricing.settle() {
            let head = AnswerHead::from(&*response);
            let (of_head, reader) = (settle.head(&head), settle.body(&head));
            self.aside.read_by(reader, !is_accepted);
            self.read_cost(of_head);
        }
    }

    /// The answer was a throttling one: its request is settled to nothing, unless that is not wanted.
    #[cold]
    pub(crate) fn settle_throttled<B>(&self, response: &mut Response<B>, is_over: bool) {
        if let Some(settlement) = Settlement::new(&self.shared, self.claim, false) {
            response.extensions_mut().insert(settlement);
        }
        self.settle_as_throttled(is_over);
    }

    /// The same, where nobody can settle it by hand.
    #[cold]
    pub(super) fn settle_as_throttled(&self, is_over: bool) {
        if !self.shared.pricing.counts_throttled() {
            self.cost_nothing(is_over);
        }
    }

    /// What the request has cost is said by hand.
    #[cold]
    pub(super) fn settle_by_hand(&self, actual: Cost, is_accepted: bool) {
        if let Some(settlement) = Settlement::new(&self.shared, self.claim, is_accepted) {
            settlement.settle(actual);
        }
    }

    /// The request was not accepted. If its answer is over, its permits end at once, and those that wait hear of both
    /// together: nobody passes one that needs both.
    #[cold]
    pub(super) fn cost_nothing(&self, is_over: bool) {
        let claim = self.claim;
        self.shared.engine.with_at(claim.leaf, |core, now, fx| {
            core.settled_to_nothing(claim, is_over, now, fx);
        });
    }

    /// Data of the body is on its way up.
    #[inline]
    pub(crate) fn saw<D: Buf>(&mut self, frame: &Frame<D>) {
        if self.aside.is_some() {
            self.read(frame);
        }
    }

    #[cold]
    fn read<D: Buf>(&mut self, frame: &Frame<D>) {
        let Some(data) = frame.data_ref() else {
            return;
        };
        let mut at_once = [IoSlice::new(&[]); 16];
        let pieces = data.chunks_vectored(&mut at_once);
        let whole: usize = at_once[..pieces].iter().map(|piece| piece.len()).sum();
        // Of data in more pieces, only the first can be had without taking them.
        let seen = if whole == data.remaining() {
            &at_once[..pieces]
        } else {
            &[][..]
        };
        for piece in seen {
            let cost = self.aside.reader().and_then(|reader| reader.chunk(piece));
            self.read_cost(cost);
        }
    }

    fn read_cost(&mut self, cost: Option<Cost>) {
        let Some((cost, reading)) = cost.zip(self.aside.reading()) else {
            return;
        };
        reading.found |= !cost.is_empty();
        let (claim, by) = (self.claim, Settler::Reader);
        self.shared.engine.with_at(claim.leaf, |core, now, fx| {
            core.settled(claim, &cost, by, now, fx);
        });
    }

    /// The work is over, as its body has ended or failed: all permits end.
    #[inline]
    pub(crate) fn end(mut self, failed: bool) {
        if self.aside.is_some() && !failed {
            self.end_reading();
        }
        if failed && self.is_charged() {
            self.lose();
        }
        self.release(u8::MAX);
    }

    /// Nobody knows what it has cost: the average of its endpoint is not changed by that.
    #[cold]
    #[inline(never)]
    fn lose(&self) {
        self.shared.engine.with_at(self.claim.leaf, |core, _, _| {
            core.tree.lose_charge(self.claim);
        });
    }

    /// The inner service has failed: all permits end.
    #[cold]
    pub(crate) fn end_with(self, error: impl Into<BoxError>) -> BoxError {
        self.end(true);
        error.into()
    }

    #[cold]
    #[inline(never)]
    fn end_reading(&mut self) {
        let cost = self.aside.reader().and_then(SettleBody::end);
        self.read_cost(cost);
        if self.aside.reading().is_some_and(|reading| !reading.found) {
            let claim = self.claim;
            let told = || Decision::NotSettled;
            self.shared
                .engine
                .with(|core, now, fx| core.tree.tell(claim.leaf, now, fx, told));
        }
    }

    /// The caller is gone, and the server may not know: permits are kept for as long as the quota says.
    #[cold]
    fn abandon(&mut self) {
        if self.is_charged() {
            self.lose();
        }
        let claim = self.claim;
        self.claim.permits = 0;
        self.shared.engine.abandon(claim, &self.aside);
    }

    #[inline]
    fn release(&mut self, mask: u8) {
        let ended = self.claim.permits & mask;
        if ended != 0 {
            let claim = self.claim;
            self.claim.permits &= !ended;
            if ended == Claim::ALIVE {
                return self.shared.engine.left(claim.leaf);
            }
            if claim.observed {
                let dispatched = self.aside.dispatched();
                let engine = &self.shared.engine;
                return engine.end_observed(engine.lock(), claim, ended, dispatched);
            }
            self.shared.engine.release(claim, ended);
        }
    }

    /// Ends those permits that last until the response head only. The body is to follow.
    #[inline]
    pub(crate) fn head_arrived(mut self) -> Self {
        let has_permits = self.claim.permits & Claim::SCOPES != 0;
        self.release(self.claim.at_head);
        let left = self.claim.permits;
        if left & Claim::PIN != 0 && left & (Claim::SCOPES | Claim::CHARGE) == 0 {
            self.let_go();
        } else if has_permits {
            self.shared.engine.open_body(&mut self.claim);
        }
        self
    }

    /// With no permit left there is nothing to come back for: its key is not kept.
    #[inline(never)]
    fn let_go(&mut self) {
        let leaf = self.claim.leaf;
        self.claim.permits = Claim::ALIVE;
        self.aside = Aside::NONE;
        self.shared.engine.lock().core.tree.let_go(leaf);
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        // There are places left if `call` has panicked.
        self.stamp();
        if self.claim.permits != 0 {
            self.abandon();
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlight").field(&self.claim).finish()
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

/// Whether an answer is about a limit that all requests share: then all buckets are looked at.
fn is_of_everything(scope: SignalScope) -> bool {
    scope == SignalScope::Everything
}

/// How long ago it was dispatched.
fn since(dispatched: Option<Tick>, now: Tick) -> Duration {
    dispatched.map_or(Duration::ZERO, |dispatched| now.since(dispatched))
}

/// Tells the observer, if there is one, and notes the time for what it is told later.
fn tell_dispatched(core: &mut Core, claim: Claim, aside: &mut Aside, now: Tick, fx: &mut Effects) {
    if !claim.observed {
        return;
    }
    let waited = aside.waited();
    aside.set_dispatched(now);
    let told = || Decision::Dispatched {
        queued: waited.queued(),
        paused: waited.paused(),
    };
    core.tree.tell(claim.leaf, now, fx, told);
}

impl Engine {
    fn asked_to_wait(&self, claim: Claim, delay: Duration, setback: Option<&Setback>) {
        let random = fastrand::f64();
        self.with_at(claim.leaf, |core, now, fx| {
            core.asked_to_wait(claim, delay, setback, random, now, fx);
        });
    }

    fn stamp(&self, claim: Claim, aside: &mut Aside) {
        if claim.is_charged() {
            return self.stamp_charged(claim, aside);
        }
        let now = self.clock.now();
        if !claim.observed && self.detached.stamp(claim.leaf, now, &self.clock) {
            return;
        }
        let mut locked = self.lock_at(claim.leaf);
        // A clock that was set back: the timer is to be set anew.
        let is_behind = now < locked.core.tree.latest();
        let now = if is_behind {
            self.time(&mut locked.core)
        } else {
            locked.core.tree.set_time(now)
        };
        let contested = locked.core.tree.stamp(claim, now);
        if contested || claim.observed || is_behind {
            self.dispatched(locked, claim, aside, contested);
        }
    }

    #[cold]
    #[inline(never)]
    fn stamp_charged(&self, claim: Claim, aside: &mut Aside) {
        self.with_at(claim.leaf, |core, now, fx| {
            let contested = core.tree.stamp_charged(claim, now);
            tell_dispatched(core, claim, aside, now, fx);
            core.settle_after(claim.leaf, contested, now, fx);
        });
    }

    /// Somebody waits at a scope of a request that has gone out, or observes it.
    #[cold]
    fn dispatched(&self, locked: Hold<'_>, claim: Claim, aside: &mut Aside, contested: bool) {
        // Until now nobody could say when the next place comes; now a timer can be set.
        self.step(locked, |core, now, fx| {
            tell_dispatched(core, claim, aside, now, fx);
            core.settle_after(claim.leaf, contested, now, fx);
        });
    }

    /// The head of an answer has come, and its body is to follow.
    fn open_body(&self, claim: &mut Claim) {
        if self.detached.open_body(claim) {
            return;
        }
        let mut locked = self.lock_at(claim.leaf);
        locked.core.open_body(claim);
        if locked.core.watches_bodies() {
            let claim = *claim;
            self.step(locked, |core, now, _| core.watch_body(claim, now));
        }
    }

    fn release(&self, claim: Claim, permits: u8) {
        if !self.detached.release(claim, permits) {
            self.release_locked(self.lock_at(claim.leaf), claim, permits);
        }
    }

    fn release_locked(&self, mut locked: Hold<'_>, claim: Claim, permits: u8) {
        if !claim.is_plain() {
            return self.release_other(locked, claim, permits);
        }
        if locked.core.tree.release_plain(claim.leaf, permits) {
            self.ended(locked, claim.leaf);
        }
    }

    /// Of a request with a body, for one.
    #[inline(never)]
    fn release_other(&self, mut locked: Hold<'_>, claim: Claim, permits: u8) {
        if permits & Claim::BODY != 0 {
            locked.core.close_body(claim);
        }
        if claim.is_charged() {
            return self.end_charged(locked, claim, permits);
        }
        let now = locked.core.tree.latest();
        if locked.core.tree.release(claim, permits, now) {
            self.ended(locked, claim.leaf);
        }
    }

    #[cold]
    fn end_charged(&self, locked: Hold<'_>, claim: Claim, permits: u8) {
        self.step(locked, |core, now, fx| {
            let contested = core.tree.release(claim, permits, now);
            core.settle_after(claim.leaf, contested, now, fx);
        });
    }

    fn abandon(&self, claim: Claim, aside: &Aside) {
        if claim.permits == Claim::ALIVE {
            return self.left(claim.leaf);
        }
        if self.detached.release(claim, claim.permits) {
            return;
        }
        let locked = self.lock_at(claim.leaf);
        if locked.core.tree.keeps_abandoned(claim.leaf) {
            let dispatched = aside.dispatched().unwrap_or(Tick::NEVER);
            let of = Abandoned { claim, dispatched };
            self.step(locked, |core, now, fx| core.abandon(of, now, fx));
        } else if claim.observed {
            self.end_observed(locked, claim, claim.permits, aside.dispatched());
        } else {
            self.release_locked(locked, claim, claim.permits);
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
    fn end_observed(&self, locked: Hold<'_>, claim: Claim, permits: u8, dispatched: Option<Tick>) {
        self.step(locked, |core, now, fx| {
            let leaf = claim.leaf;
            if permits & Claim::BODY != 0 {
                core.close_body(claim);
            }
            if permits & Claim::LEAF != 0 {
                let in_flight = since(dispatched, now);
                // Told while the permits keep the leaf.
                core.tree
                    .tell(leaf, now, fx, || Decision::Ended { in_flight });
            }
            let contested = core.tree.release(claim, permits, now);
            core.settle_after(leaf, contested, now, fx);
        });
    }

    fn answered(&self, claim: Claim, status: Option<StatusCode>, dispatched: Option<Tick>) {
        self.with(|core: &mut Core, now: Tick, fx: &mut Effects| {
            let time = since(dispatched, now);
            let told = || Decision::Answered { status, time };
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
        let _attached = is_of_everything(signal.scope()).then(|| self.attach_all());
        let reopens = self.with_at(claim.leaf, |core, now, fx| {
            core.throttled(claim, signal, setback, random, now, fx)
        })?;
        let hint = match reopens {
            Reopens::At(tick) => self.clock.instant(tick).map(RetryHint::NotBefore),
            Reopens::Alone(tick) => self.clock.instant(tick).map(RetryHint::Alone),
            Reopens::TooLate => None,
        };
        Some(hint.unwrap_or(RetryHint::Forbidden))
    }

    /// What came of the attempt before, if a request is a retry. Where nothing was refused, none is.
    #[inline]
    pub(super) fn aside(&self, request: &Extensions) -> Aside {
        if self.listening.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            return Aside::NONE;
        }
        let setbacks = request.get::<Setbacks>();
        Aside::with(setbacks.and_then(|setbacks| setbacks.of(self.id())))
    }

    /// Tells the engines of a stack apart.
    fn id(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    #[inline]
    fn accepted(&self, claim: Claim, quota: Option<&QuotaReport>) {
        // Relaxed: a success that just misses the first lesson would not have been counted by it.
        let listening = self.listening.load(std::sync::atomic::Ordering::Relaxed) != 0
            || self.detached.listens();
        if listening || quota.is_some() {
            self.report(claim, quota, listening);
        }
    }

    fn report(&self, claim: Claim, quota: Option<&QuotaReport>, listening: bool) {
        if listening || quota.is_some_and(says_something) {
            if self.detached.accepted(claim, quota, &self.clock) {
                return;
            }
            let of_everything = quota.filter(|quota| is_of_everything(quota.scope()));
            let _attached = of_everything.map(|_| self.attach_all());
            let locked = self.lock_at(claim.leaf);
            let tree = &locked.core.tree;
            // With discovery most successes are of buckets that have no use for them.
            if quota.is_some() || !tree.discovers() || tree.listens(claim.leaf) {
                self.step(locked, |core, now, fx| core.accepted(claim, quota, now, fx));
            }
        }
    }
}

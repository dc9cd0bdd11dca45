use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower::BoxError;

use super::{
    arrival::Arrival,
    aside::Aside,
    core::{Claim, Core, Effects, Entry, NodeId, TakeOutcome, WaitLimit, WaitOutcome, WaiterId},
    deadline::Deadline,
    engine::Unadmitted,
    permit::Dispatch,
    shared::Shared,
    timer::NoTimer,
};
use crate::{bucket::Tick, costs::Asks, endpoints::UnknownEndpoint};

/// A request that waits for its turn: the future's half.
///
/// Entered into the queue of its endpoint by the first poll. Dropping it leaves the queue, or gives back
/// what it was offered meanwhile. It needs no timer: the engine has one for all.
#[derive(Debug)]
pub(crate) struct Acquire {
    shared: Arc<Shared>,
    state: State,
    aside: Aside,
}

#[derive(Debug)]
enum State {
    /// Not polled yet. The leaf is pinned, and was found in this epoch.
    New((NodeId, u32)),
    /// The engine keeps it as a waiter.
    Waiting(WaiterId),
    /// It has its places, and goes out.
    Taken(Claim),
    /// The engine has forgotten it.
    Done,
}

/// What happens to a request whose inner service is ready.
pub(crate) enum Turn {
    /// It goes out: the caller calls the inner service, and then [`Dispatch::done`].
    Dispatch(Dispatch),
    /// A pause has begun since its turn came. It waits again, and its inner service must hold nothing.
    CalledBack,
    /// Its inner service was not ready in time, and another request took its places. It waits again, and the
    /// inner service stays ready.
    Lost,
}

impl Acquire {
    pub(super) fn new(shared: Arc<Shared>, leaf: (NodeId, u32), asks: Option<Box<Asks>>) -> Self {
        let state = State::New(leaf);
        Self {
            shared,
            state,
            aside: Aside::asking(asks),
        }
    }

    /// Ready when the request's turn has come: the caller now makes the inner service ready.
    ///
    /// # Errors
    ///
    /// If it was refused, or if it has to wait for a time and no runtime has timers.
    pub(crate) fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        request: &http::Request<B>,
    ) -> Poll<Result<(), BoxError>> {
        let Self {
            shared,
            state,
            aside,
        } = self;
        let engine = &shared.engine;
        let mut asks = None;
        if let State::New(found) = state {
            match engine.find_anew(*found, request) {
                Ok(leaf) => *found = leaf,
                Err(unknown) => {
                    self.cancel();
                    return Poll::Ready(Err(unknown.into()));
                }
            }
            asks = aside.take_asks();
            *aside = engine.aside(request.extensions());
        }
        let leaf = match state {
            &mut State::New((leaf, _)) => Some(leaf),
            _ => None,
        };
        let has_timer = engine.join_timer();
        // Cloned before the lock is taken, as cloning is foreign code.
        let waker = Some(cx.waker().clone());
        // The state changes under the lock: an observer may panic before this returns.
        let step = |core: &mut Core, now: Tick, fx: &mut Effects| {
            let outcome = match state {
                &mut State::New((leaf, _)) => {
                    let entry = shared.entry(leaf, asks.take(), request, now);
                    core.enter(entry, now, fx)
                }
                &mut State::Waiting(id) => core.poll(id, now, fx),
                State::Taken(_) | State::Done => panic!("polled after it was done"),
            };
            let (new, waits) = match outcome {
                WaitOutcome::Wait { id, .. } => (State::Waiting(id), Some(id)),
                WaitOutcome::Reserved(id) => (State::Waiting(id), None),
                WaitOutcome::Refused(_) => (State::Done, None),
            };
            *state = new;
            (outcome, waits)
        };
        // A bucket stays in the tree while anybody waits there.
        let locked = leaf.map_or_else(|| engine.lock(), |leaf| engine.lock_at(leaf));
        let (mut outcome, _waker) = engine.step_as(locked, waker, step);
        if engine.is_joint() {
            if let WaitOutcome::Wait { id, .. } = outcome {
                // The store may have answered at once.
                outcome = shared.look_again(id, state, cx);
            }
        }
        match outcome {
            WaitOutcome::Reserved(_) => Poll::Ready(Ok(())),
            WaitOutcome::Refused(refused) => Poll::Ready(Err(refused)),
            WaitOutcome::Wait { timed, .. } => {
                if has_timer || !timed {
                    return Poll::Pending;
                }
                self.cancel();
                Poll::Ready(Err(NoTimer.into()))
            }
        }
    }

    /// The inner service is not ready. Ready with the refusal of a request that lost its turn meanwhile, and
    /// was refused.
    pub(crate) fn poll_refused(&mut self, cx: &Context<'_>) -> Poll<BoxError> {
        let Self { shared, state, .. } = self;
        let State::Waiting(id) = *state else {
            unreachable!("its turn has come")
        };
        let waker = Some(cx.waker().clone());
        let step = |core: &mut Core, now: Tick, fx: &mut Effects| {
            let refused = core.poll_unready(id, now, fx);
            if refused.is_some() {
                *state = State::Done;
            }
            let waits = refused.is_none().then_some(id);
            (refused, waits)
        };
        let engine = &shared.engine;
        let (refused, _waker) = engine.step_as(engine.lock(), waker, step);
        refused.map_or(Poll::Pending, |refused| Poll::Ready(refused))
    }

    /// The inner service is ready: the request goes out, if it is still its turn.
    ///
    /// # Errors
    ///
    /// If it lost its turn and was refused meanwhile.
    pub(crate) fn take(&mut self) -> Result<Turn, BoxError> {
        let Self {
            shared,
            state,
            aside,
        } = self;
        let State::Waiting(id) = *state else {
            unreachable!("its turn has come")
        };
        let turn = shared.engine.with(|core, now, fx| {
            let outcome = core.take_reserved(id, now, fx);
            match &outcome {
                TakeOutcome::Taken(claim, _) => *state = State::Taken(*claim),
                TakeOutcome::Refused(_) => *state = State::Done,
                TakeOutcome::CalledBack | TakeOutcome::Wait => {}
            }
            outcome
        });
        match turn {
            TakeOutcome::Taken(claim, waited) => {
                *state = State::Done;
                aside.set_waited(waited);
                let dispatch = Dispatch::new(Arc::clone(shared), claim, std::mem::take(aside));
                Ok(Turn::Dispatch(dispatch))
            }
            TakeOutcome::CalledBack => Ok(Turn::CalledBack),
            TakeOutcome::Wait => Ok(Turn::Lost),
            TakeOutcome::Refused(refused) => Err(refused),
        }
    }

    /// Whether it went out, or was refused: then it is not to be polled any more.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn cancel(&mut self) {
        let engine = &self.shared.engine;
        match std::mem::replace(&mut self.state, State::Done) {
            State::New((leaf, _)) => engine.with(|core, _, _| core.unpin(leaf)),
            State::Waiting(id) => engine.with(|core, now, fx| core.cancel(id, now, fx)),
            State::Taken(claim) => {
                engine.with_at(claim.leaf, |core, now, fx| core.give_back(claim, now, fx));
            }
            State::Done => {}
        }
    }
}

impl Shared {
    /// The wait of a request that was not admitted.
    ///
    /// # Errors
    ///
    /// If it names an endpoint that does not exist.
    #[cold]
    pub(crate) fn wait(
        self: &Arc<Self>,
        unadmitted: Unadmitted,
    ) -> Result<Acquire, UnknownEndpoint> {
        match unadmitted {
            Unadmitted::Waits(leaf, asks) => Ok(Acquire::new(Arc::clone(self), leaf, asks)),
            Unadmitted::Unknown(error) => Err(*error),
        }
    }

    /// Fetches a waiter's news, which was polled just now.
    #[cold]
    fn look_again(&self, id: WaiterId, state: &mut State, cx: &Context<'_>) -> WaitOutcome {
        let waker = Some(cx.waker().clone());
        let step = |core: &mut Core, now: Tick, fx: &mut Effects| {
            let outcome = core.poll(id, now, fx);
            let waits = match outcome {
                WaitOutcome::Wait { id, .. } => Some(id),
                WaitOutcome::Reserved(_) => None,
                WaitOutcome::Refused(_) => {
                    *state = State::Done;
                    None
                }
            };
            (outcome, waits)
        };
        let engine = &self.engine;
        engine.step_as(engine.lock(), waker, step).0
    }

    fn entry<B>(
        &self,
        leaf: NodeId,
        asks: Option<Box<Asks>>,
        request: &http::Request<B>,
        now: Tick,
    ) -> Entry {
        let arrival = request.extensions().get().copied();
        let deadline = Deadline::of(request.extensions());
        let deadline = deadline.map(|Deadline(instant)| self.engine.clock.tick(instant));
        let max_wait = self.limits.max_wait.map(|wait| now.after(wait.into()));
        Entry {
            leaf,
            // A retry has waited in this queue before. It comes back to its place, and does not make the queue
            // longer.
            max_waiting: self.limits.max_waiting.filter(|_| arrival.is_none()),
            arrival: arrival.unwrap_or_else(Arrival::next),
            limit: WaitLimit::new(max_wait, deadline),
            asks: asks.map(|asks| *asks).unwrap_or_default(),
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        self.cancel();
    }
}

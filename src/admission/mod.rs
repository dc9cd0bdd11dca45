//! The engine: who may go, in which order, at which instant.
//!
//! One [`Engine`] belongs to one layer and is shared by all of its services. It decides under one
//! lock (DESIGN.md says what was measured), and admits a request in all of its scopes in one step,
//! or not at all: nobody holds a place in one scope while waiting for another.
//!
//! - [`state`]: what there is; taking and giving back. Time is a parameter.
//! - [`contest`]: who is next, from the leaves to the root.
//! - [`queue`]: a request's way through the queue of its endpoint.
//! - [`slots`]: when its turn comes, and who need not wait for it.
//! - [`lessons`], [`answers`]: what answers mean, and to whom.
//! - [`table`]: buckets that come and go with the keys in use; [`index`] finds them, [`arena`] keeps them.
//! - [`ranked`]: sorted sets that tell ranks.
//! - [`wait`]: the future's half of waiting, with the timers.
//! - [`grant`]: what an admitted request holds, returned on drop.

mod age;
mod answers;
mod arena;
mod clock;
mod contest;
mod grant;
mod handle;
mod hint;
mod ids;
mod index;
mod lessons;
mod node;
mod queue;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the queue still has sets of its own")
)]
mod ranked;
mod setup;
mod slots;
mod snapshot;
mod spec;
mod state;
mod table;
mod taken;
mod text;
mod tree;
mod wait;
mod waiter;
mod wakes;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time::Instant;

pub(crate) use self::{
    age::Age,
    grant::{Grant, Permit},
    hint::RetryHint,
    setup::Setup,
    wait::Waiting,
};
pub use self::{
    handle::Handle,
    snapshot::{BucketSnapshot, Snapshot},
    wait::Deadline,
};

use self::{clock::Clock, ids::NodeId, state::State, taken::Taken, wakes::Wakes};
use crate::{
    bucket::{Face, Learning, Tick},
    endpoints::{Endpoints, Routes, Target, UnknownEndpoint},
};

/// The state of one limiting layer.
pub(crate) struct Engine {
    routes: Arc<Routes>,
    clock: Clock,
    state: Mutex<State>,
    /// How many buckets have learned something, as the state last said. Most clients never see a
    /// refusal, and need not take the lock to report a success.
    learned: AtomicUsize,
}

/// For how long, and behind how many others, a request is prepared to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    pub(crate) max_waiting: Option<usize>,
    pub(crate) max_wait: Option<Duration>,
}

impl Patience {
    pub(crate) fn allows(self, wait: Duration) -> bool {
        self.max_wait.is_none_or(|most| wait <= most)
    }
}

impl Engine {
    pub(crate) fn new(endpoints: &Endpoints, face: Face) -> Self {
        let routes = Arc::new(endpoints.compile());
        let clock = Clock::new();
        let state = Mutex::new(State::new(&routes, face, clock.now()));
        Self {
            routes,
            clock,
            state,
            learned: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set_learning(&self, learning: Learning) {
        self.lock().tree.set_learning(learning);
    }

    pub(crate) fn set_max_pause(&self, time: Duration) {
        self.lock().tree.max_pause = time;
    }

    pub(crate) fn set_max_keys(&self, n: usize) {
        self.lock().tree.table.set_max_keys(n);
    }

    /// Admits a request at once, if every scope has room and nobody older waits.
    ///
    /// # Errors
    ///
    /// If the request names an endpoint that does not exist.
    fn admit<B>(&self, request: &http::Request<B>) -> Result<Option<Taken>, UnknownEndpoint> {
        let target = self.routes.resolve(request)?;
        let deadline = request.extensions().get();
        if deadline.is_some_and(|&Deadline(instant)| instant < Instant::now()) {
            // It is refused where all refusals are: on its way into the queue.
            return Ok(None);
        }
        Ok(self.admit_to(&target))
    }

    #[inline]
    fn admit_to(&self, target: &Target<'_>) -> Option<Taken> {
        let mut state = self.lock();
        // The clock is read only where it matters. What has room at an earlier time has room now.
        let mut now = state.tree.latest();
        if state.tree.wants_to_know_the_time() {
            now = state.tree.now(self.clock.now());
        }
        let leaf = state.tree.locate(target, now);
        match state.tree.admit(leaf, now) {
            Some(taken) => Some(taken),
            None => self.admit_by_the_clock(state, leaf),
        }
    }

    /// Of a request that had no room at the latest time that was known.
    fn admit_by_the_clock(&self, mut state: MutexGuard<'_, State>, leaf: NodeId) -> Option<Taken> {
        let mut wakes = Wakes::default();
        let now = state.tree.now(self.clock.now());
        if state.tree.is_contested(leaf) {
            // A gate may have opened since the last timer tick; those in front go first.
            state.settle(leaf, now, &mut wakes);
        }
        let taken = state.tree.admit(leaf, now);
        drop(state);
        wakes.run();
        taken
    }

    /// Something was given back or stamped at a scope where somebody waits.
    #[cold]
    fn settle(mut state: MutexGuard<'_, State>, leaf: NodeId, now: Tick) {
        let mut wakes = Wakes::default();
        state.settle(leaf, now, &mut wakes);
        drop(state);
        wakes.run();
    }

    /// Runs `f` under the lock, with the present time, and wakes whom it names afterwards.
    fn with<T>(&self, f: impl FnOnce(&mut State, Tick, &mut Wakes) -> T) -> T {
        let mut wakes = Wakes::default();
        let now = self.clock.now();
        let result = {
            let mut state = self.lock();
            let now = state.tree.now(now);
            f(&mut state, now, &mut wakes)
        };
        wakes.run();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, so only a bug of ours can poison it, and the state it
        // leaves is no worse for the next caller than a panic would be.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handle(self: &Arc<Self>) -> Handle {
        Handle::new(Arc::clone(self))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

//! What follows from a decision: the waiters to wake, and the events to tell.

use std::time::Duration;

use http::StatusCode;
use tower_throttle_store::{StoreError, protocol::Warning};

use super::{ids::WaiterId, keys::Garbage};
use crate::{
    bucket::{Learned, Tick},
    costs::Cost,
    error::Refused,
    event::PauseCause,
    signal::Signal,
};

/// What one hold of the lock leaves to be done, and how much more it may do.
#[derive(Debug)]
pub(in crate::admission) struct Effects {
    /// The waiters whose futures have news.
    pub(in crate::admission) wake: Vec<WaiterId>,
    /// The waiter that the core has forgotten: its waker is to be dropped. Only a waiter's own future takes it
    /// out, so a hold forgets one at most.
    pub(in crate::admission) gone: Option<WaiterId>,
    /// The events for the observer, in this order.
    pub(in crate::admission) told: Vec<Told>,
    /// The waiter whose future is being polled or dropped. What is told of others has another caller than theirs.
    pub(in crate::admission) caller: Option<WaiterId>,
    /// Memory to be freed after the lock was released.
    pub(in crate::admission) garbage: Garbage,
    /// How many more waiters or nodes may be served before the lock is released.
    pub(super) budget: usize,
    /// What each of them takes of that.
    weight: usize,
}

/// How many waiters or nodes one hold of the lock serves at most. What is left goes into
/// [`Work`](super::task::Work), and is done in further holds.
pub(super) const BATCH: usize = 64;

/// So many are served at least, whatever each of them takes. A hold that takes up a piece of work and cannot serve
/// anybody leaves that piece as it was, for ever.
const LEAST: usize = 4;

impl Default for Effects {
    fn default() -> Self {
        Self {
            wake: Vec::new(),
            gone: None,
            told: Vec::new(),
            caller: None,
            garbage: Garbage::default(),
            budget: BATCH,
            weight: 1,
        }
    }
}

impl Effects {
    pub(super) fn wake(&mut self, id: WaiterId) {
        self.wake.push(id);
    }

    /// Whose call decides about a waiter.
    pub(super) fn decider(&self, id: WaiterId) -> Decider {
        if self.caller == Some(id) {
            Decider::Itself
        } else {
            Decider::Another
        }
    }

    /// For waiters each of which takes so many times the work of one that takes a request and a permit.
    pub(in crate::admission) fn weighing(weight: usize) -> Self {
        Self {
            weight: weight.min(BATCH / LEAST),
            ..Self::default()
        }
    }

    /// Takes from the budget what one waiter or node takes; `false` if the budget is spent.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.budget > 0;
        self.budget = self.budget.saturating_sub(self.weight);
        left
    }
}

/// Whose call, poll or drop decides about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Decider {
    Itself,
    /// Another request, a handle, or the timer.
    Another,
}

/// An event, as it leaves the lock.
#[derive(Debug)]
pub(in crate::admission) struct Told {
    pub(in crate::admission) decider: Decider,
    /// The name of its scope, as configured.
    pub(in crate::admission) endpoint: Box<str>,
    /// Host and path, if the bucket stands for these.
    pub(in crate::admission) key: Option<Box<str>>,
    pub(in crate::admission) partition: Option<u64>,
    pub(in crate::admission) sequence: u64,
    pub(in crate::admission) at: Tick,
    pub(in crate::admission) decision: Decision,
}

/// [`EventKind`](crate::EventKind), with what it borrows.
#[derive(Debug)]
pub(in crate::admission) enum Decision {
    Queued {
        waiting: usize,
    },
    Admitted {
        waited: Duration,
    },
    Dispatched {
        queued: Duration,
        paused: Duration,
    },
    Answered {
        status: Option<StatusCode>,
        time: Duration,
    },
    Ended {
        in_flight: Duration,
    },
    Settled(Box<Cost>),
    NotSettled,
    Refused(Box<Refused>),
    Throttled(Box<Signal>),
    Paused {
        time: Duration,
        cause: PauseCause,
    },
    Resumed,
    Learned(Learned),
    Eased(Option<Learned>),
    GivenBack,
    Absent,
    BodyOpen {
        time: Duration,
    },
    Closed,
    StoreAway(Box<StoreError>),
    StoreBack {
        time: Duration,
    },
    Disagrees(Box<Warning>),
    Swept,
}

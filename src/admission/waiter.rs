use std::task::Waker;

use super::{
    age::Age,
    ids::{NodeId, WaiterId},
    node::{Entrant, Place},
    taken::Taken,
};
use crate::{
    bucket::Tick,
    error::{Refused, RefusedReason},
};

/// A request that waits, as the engine sees it. Its future has the other half
/// ([`Waiting`](super::wait::Waiting)).
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) leaf: NodeId,
    pub(super) age: Age,
    pub(super) stage: Stage,
    /// Registered by each poll that stays pending, taken by the first wake after it.
    pub(super) waker: Option<Waker>,
    /// When the node that this waiter heads is due to open; `NEVER` for everyone who is no head.
    pub(super) alarm: Tick,
    /// When the future's timer will make it look again. An alarm that is earlier needs a wake.
    pub(super) armed: Tick,
    /// When it gives up, and what it says then: see [`Limit`].
    until: Tick,
    reason: RefusedReason,
}

impl Waiter {
    /// Of a request that joins a queue.
    pub(super) fn new(leaf: NodeId, age: Age, limit: Limit) -> Self {
        Self {
            leaf,
            age,
            stage: Stage::Queued,
            waker: None,
            alarm: Tick::NEVER,
            armed: Tick::NEVER,
            until: limit.until,
            reason: limit.reason,
        }
    }

    /// Its place in the queue of its leaf, where it is known as `id`.
    pub(super) fn place(&self, id: WaiterId) -> Place {
        (self.age.get(), Entrant::Waiter(id))
    }

    pub(super) fn limit(&self) -> Limit {
        Limit {
            until: self.until,
            reason: self.reason,
        }
    }

    pub(super) fn is_queued(&self) -> bool {
        matches!(self.stage, Stage::Queued)
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    Queued,
    /// It has left the queue and has its places; its future has yet to fetch them.
    Granted(Taken),
    Refused(Box<Refused>),
}

/// Until when a request is prepared to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) until: Tick,
    /// What to say when it is known that this will not be enough.
    pub(super) reason: RefusedReason,
}

impl Limit {
    /// The earlier of the two.
    pub(super) fn new(max_wait: Option<Tick>, deadline: Option<Tick>) -> Self {
        let max_wait = max_wait.unwrap_or(Tick::NEVER);
        let deadline = deadline.unwrap_or(Tick::NEVER);
        if deadline < max_wait {
            Self {
                until: deadline,
                reason: RefusedReason::DeadlineWouldPass,
            }
        } else {
            Self {
                until: max_wait,
                reason: RefusedReason::WouldWaitTooLong,
            }
        }
    }

    pub(super) fn is_some(&self) -> bool {
        self.until != Tick::NEVER
    }
}

use super::{
    claim::Claim,
    floors::Counted,
    ids::{Contender, NodeId, Order, QueueKey, WaiterId},
    scope::SCOPES,
};
use crate::{
    admission::arrival::Arrival,
    bucket::Tick,
    costs::Priority,
    error::{Refused, RefusedReason},
};

/// How many queues there can be above that of a leaf.
pub(super) const LEVELS: usize = SCOPES - 1;

/// A request that waits, or has been admitted after a wait and has not been dispatched yet.
///
/// Its future has the other half ([`Acquire`](crate::admission::Acquire)).
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) leaf: NodeId,
    pub(super) arrival: Arrival,
    pub(super) priority: Priority,
    pub(super) counted: Counted,
    pub(super) marks: Marks,
    pub(super) stage: Stage,
    pub(super) limit: WaitLimit,
    /// When it entered the queue.
    pub(super) since: Tick,
    /// When its turn was offered.
    pub(super) offered: Tick,
    /// By level, from its leaf up: the order that it had in the parent's queue when it was offered its turn
    /// or became absent. It comes back to that once.
    pub(super) kept_orders: [Option<Order>; LEVELS],
    /// When it counts as absent unless it does something before; [`Tick::NEVER`] without an offer.
    pub(super) absent_at: Tick,
}

/// What else is so of a waiter: one bit each, as there is one of these for each request that waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

/// One of these.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// It has a flow.
    Flow = 1,
    /// What it has was given to its flow.
    Served = 2,
    /// It had its places, and lost them to a pause or a quota.
    CalledBack = 4,
    /// It may be refused for one of a higher class.
    Sheddable = 8,
}

impl Marks {
    pub(super) fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    pub(super) fn set(&mut self, mark: Mark, is_set: bool) {
        if is_set {
            self.0 |= mark as u8;
        } else {
            self.0 &= !(mark as u8);
        }
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    /// In the queue of its leaf.
    Queued,
    /// It did not take its turn. It is in no queue until it is polled.
    Absent,
    /// It has its places. Its future was woken, and has yet to fetch them.
    Offered(Claim),
    /// Its future has fetched the places, and waits for the inner service.
    Reserved(Claim),
    Refused(Box<Refused>),
}

impl Waiter {
    /// Its place in the queue of its leaf.
    pub(super) fn order(&self) -> Order {
        Order::new(self.priority, self.arrival.get())
    }

    pub(super) fn key(&self, id: WaiterId) -> QueueKey {
        QueueKey {
            order: self.order(),
            contender: Contender::Waiter(id),
        }
    }

    /// Whether its turn counted for what lower classes are owed.
    pub(super) fn has_counted(&self) -> bool {
        self.counted.contains(&true)
    }

    pub(super) fn is_queued(&self) -> bool {
        matches!(self.stage, Stage::Queued)
    }

    /// Whether it counts as waiting.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Absent)
    }

    pub(super) fn claim(&self) -> Option<Claim> {
        match self.stage {
            Stage::Offered(claim) | Stage::Reserved(claim) => Some(claim),
            Stage::Queued | Stage::Absent | Stage::Refused(_) => None,
        }
    }
}

/// Until when a request is prepared to wait.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct WaitLimit {
    /// [`Tick::NEVER`] for as long as it takes.
    pub(super) until: Tick,
    /// What to say when it is known that this will not be enough.
    pub(super) reason: RefusedReason,
}

impl WaitLimit {
    /// The earlier of the two.
    pub(in crate::admission) fn new(max_wait: Option<Tick>, deadline: Option<Tick>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each request that waits.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_waiter_takes_104_bytes() {
        assert_eq!(size_of::<Waiter>(), 104);
    }
}

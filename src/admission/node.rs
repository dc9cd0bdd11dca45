use std::collections::BTreeSet;

use super::{
    ids::{NodeId, WaiterId},
    text::Text,
};
use crate::{bucket::Bucket, endpoints::SpecId};

/// One bucket of one scope, and who waits for it.
///
/// Nodes form trees that mirror the scopes: an endpoint's node is a leaf, its parent is its group's
/// or the overall one, and so on. A request enters at a leaf and needs every node up to the root.
#[derive(Debug)]
// Three lines of the cache, and no part of a fourth.
#[repr(align(64))]
pub(super) struct Node {
    pub(super) spec: SpecId,
    pub(super) parent: Option<NodeId>,
    /// How many know this node by its index, if it is one that comes and goes, and so need it to stay:
    /// the nodes whose parent it is, and the requests that have been admitted here. Each of those counts
    /// until its last permit, in whatever scope, has ended.
    pub(super) pins: u32,
    /// Of the key, as the table of dynamic nodes keeps it.
    pub(super) hash: u32,
    pub(super) partition: u64,
    pub(super) text: Text,
    pub(super) bucket: Bucket,
    pub(super) counters: Counters,
    /// Present while somebody waits here or below.
    pub(super) contest: Option<Box<Contest>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) admitted: u64,
    pub(super) refused: u64,
    pub(super) throttled: u64,
}

/// The order in which those who wait at a node are served.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// How many requests wait here or below.
    pub(super) waiting: usize,
    /// At a leaf: the waiting requests by age. Further up: the children whose gates are open, by the
    /// order in which their heads got here; only heads compete.
    pub(super) queue: BTreeSet<Place>,
    /// At a leaf: those who have left the queue with their places, and have yet to be polled. They go
    /// out in the order of the queue, and before anyone who comes later.
    pub(super) leaving: BTreeSet<Place>,
    /// This node's own entry in its parent's contest.
    pub(super) seat: Option<Seat>,
}

/// A place in a contest's queue: an age or a ticket, and who stands there.
///
/// That tells apart two requests of one age as well: a request that was cloned between a retry and us.
pub(super) type Place = (u64, Entrant);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entrant {
    Waiter(WaiterId),
    Child(NodeId),
}

impl Entrant {
    /// Comes before all others.
    pub(super) const FIRST: Self = Self::Waiter(WaiterId(0));
}

/// A node that is open takes part in its parent's contest, for the request at its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) ticket: u64,
    pub(super) head: WaiterId,
}

impl Node {
    pub(super) fn new(spec: SpecId, parent: Option<NodeId>) -> Self {
        Self {
            spec,
            parent,
            pins: 0,
            hash: 0,
            partition: 0,
            text: Text::EMPTY,
            bucket: Bucket::default(),
            counters: Counters::default(),
            contest: None,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.contest.as_ref().map_or(0, |contest| contest.waiting)
    }

    pub(super) fn seat(&self) -> Option<Seat> {
        self.contest.as_ref().and_then(|contest| contest.seat)
    }

    /// Whether somebody stands in front of a newcomer to this node.
    pub(super) fn has_contenders(&self) -> bool {
        self.contest
            .as_ref()
            .is_some_and(|contest| !(contest.queue.is_empty() && contest.leaving.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Among a million, each line of the cache that a call has to fetch counts; and each byte for a million.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_node_takes_three_lines_of_the_cache() {
        assert_eq!((size_of::<Node>(), align_of::<Node>()), (192, 64));
    }
}

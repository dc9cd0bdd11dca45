use std::{collections::BTreeSet, ops::Bound::Excluded};

use super::ids::{NodeId, Order, WaiterId};
use crate::{costs::Priority, steps};

/// The waiters that have their places and have not gone out, by endpoint and in the order of their queue.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    claimants: BTreeSet<(NodeId, Order, WaiterId)>,
}

impl Claimants {
    pub(super) fn insert(&mut self, leaf: NodeId, order: Order, id: WaiterId) {
        steps::count_way_down(self.claimants.len());
        self.claimants.insert((leaf, order, id));
    }

    pub(super) fn remove(&mut self, leaf: NodeId, order: Order, id: WaiterId) {
        steps::count_way_down(self.claimants.len());
        self.claimants.remove(&(leaf, order, id));
    }

    /// Whether there are any at a leaf.
    pub(super) fn any_at(&self, leaf: NodeId) -> bool {
        steps::count_way_down(self.claimants.len());
        let from = (leaf, Order::first_of(Priority::HIGH), WaiterId::new(0));
        let first = self.claimants.range(from..).next();
        first.is_some_and(|&(of, _, _)| of == leaf)
    }

    /// The last at a leaf of those that come after this one.
    pub(super) fn last_after(&self, leaf: NodeId, order: Order, id: WaiterId) -> Option<WaiterId> {
        steps::count_way_down(self.claimants.len());
        let this = (leaf, order, id);
        let end = (leaf, Order::after_all_of(Priority::LOW), WaiterId::new(0));
        let mut younger = self.claimants.range((Excluded(this), Excluded(end)));
        younger.next_back().map(|&(_, _, id)| id)
    }
}

use std::collections::BTreeSet;

use super::ids::{NodeId, WaiterId};
use crate::{bucket::Tick, steps};

/// Offers that were not taken in time, listed at each node of which they hold a place or a permit. A waiter
/// that needs it and is polled may take such an offer over.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    offers: BTreeSet<(NodeId, Tick, WaiterId)>,
}

impl Overdue {
    pub(super) fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    pub(super) fn insert(&mut self, node: NodeId, offered: Tick, id: WaiterId) {
        steps::count_way_down(self.offers.len());
        self.offers.insert((node, offered, id));
    }

    pub(super) fn remove(&mut self, node: NodeId, offered: Tick, id: WaiterId) {
        steps::count_way_down(self.offers.len());
        self.offers.remove(&(node, offered, id));
    }

    pub(super) fn contains(&self, node: NodeId, offered: Tick, id: WaiterId) -> bool {
        steps::count_way_down(self.offers.len());
        self.offers.contains(&(node, offered, id))
    }

    /// The oldest offer that holds something of this node.
    pub(super) fn first_at(&self, node: NodeId) -> Option<(Tick, WaiterId)> {
        steps::count_way_down(self.offers.len());
        let from = (node, Tick::NONE, WaiterId::new(0));
        let &(of, offered, id) = self.offers.range(from..).next()?;
        (of == node).then_some((offered, id))
    }
}

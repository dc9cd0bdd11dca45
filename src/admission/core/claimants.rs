use std::{collections::BTreeSet, ops::Bound::Excluded};

use super::ids::{NodeId, WaiterId};
use crate::{admission::arrival::Arrival, steps};

/// The waiters that have their places and have not gone out, by endpoint and by age.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    claimants: BTreeSet<(NodeId, u64, WaiterId)>,
}

impl Claimants {
    pub(super) fn insert(&mut self, leaf: NodeId, arrival: Arrival, id: WaiterId) {
        steps::count_way_down(self.claimants.len());
        self.claimants.insert((leaf, arrival.get(), id));
    }

    pub(super) fn remove(&mut self, leaf: NodeId, arrival: Arrival, id: WaiterId) {
        steps::count_way_down(self.claimants.len());
        self.claimants.remove(&(leaf, arrival.get(), id));
    }

    /// The youngest at a leaf of those that are younger than this one.
    pub(super) fn youngest_after(
        &self,
        leaf: NodeId,
        arrival: Arrival,
        id: WaiterId,
    ) -> Option<WaiterId> {
        steps::count_way_down(self.claimants.len());
        let this = (leaf, arrival.get(), id);
        let end = (leaf, u64::MAX, WaiterId::new(0));
        let mut younger = self.claimants.range((Excluded(this), Excluded(end)));
        younger.next_back().map(|&(_, _, id)| id)
    }
}

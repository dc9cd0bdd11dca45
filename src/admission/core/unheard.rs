use std::collections::BTreeMap;

use super::ids::NodeId;
use crate::steps;

/// The waiters of each leaf that have been refused, and whose futures have not been polled since.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    of: BTreeMap<NodeId, usize>,
}

impl Unheard {
    pub(super) fn add(&mut self, leaf: NodeId) {
        steps::count_way_down(self.of.len());
        *self.of.entry(leaf).or_default() += 1;
    }

    pub(super) fn take(&mut self, leaf: NodeId) {
        steps::count_way_down(self.of.len());
        if let Some(n) = self.of.get_mut(&leaf) {
            *n -= 1;
            if *n == 0 {
                self.of.remove(&leaf);
            }
        }
    }

    pub(super) fn at(&self, leaf: NodeId) -> usize {
        steps::count_way_down(self.of.len());
        self.of.get(&leaf).copied().unwrap_or(0)
    }
}

//! What lower classes get while higher ones have a backlog.
//!
//! That is law L15 of `CONTRIBUTING.md`: one part in eight of what is given out, by what it takes of the tightest
//! limit. It is kept once, at the widest limited scope that a request passes.

use super::{
    floors::{BORDERS, Counted},
    ids::{NodeId, QueueKey, WaiterId},
    state::Core,
    tree::Tree,
};
use crate::{bucket::Demand, costs::Priority};

impl Tree {
    fn limits(&self, id: NodeId) -> bool {
        let node = self.node(id);
        node.bucket.has_learned() || self.scope(node.spec).rules.limits()
    }

    /// The widest limited scope that requests to this leaf pass.
    fn floor_of(&self, leaf: NodeId) -> NodeId {
        let limited = self.path(leaf).filter(|&id| self.limits(id));
        limited.last().unwrap_or(leaf)
    }

    /// Whether that is this node, for those who stand there.
    fn keeps_floor(&self, id: NodeId) -> bool {
        let queue = self.node(id).wait_queue.as_ref();
        let is_leaf = queue.is_some_and(|queue| queue.children.is_empty());
        let mut wider = self.path(id).skip(1);
        (is_leaf || self.limits(id)) && !wider.any(|id| self.limits(id))
    }
}

impl Core {
    /// Who goes next at a node although those of a higher class stand there, as its class is owed so much.
    pub(super) fn picked(&self, id: NodeId) -> Option<QueueKey> {
        const HIGH: Priority = Priority::HIGH;
        let others = i128::from(self.tree.floor?) - 1;
        let queue = self.tree.node(id).wait_queue.as_ref()?;
        if !self.tree.keeps_floor(id) {
            return None;
        }
        let first_of = |priority| {
            let lines = queue.lines();
            lines
                .filter_map(|(needs, _)| queue.first_of(&self.links, needs, priority))
                .min()
        };
        let is_owed = |border: usize, key: QueueKey| {
            let head = self.head_of(key);
            let share = self
                .tree
                .share(self.waiter(head).leaf, &self.demand_of(head));
            queue.floors.owe(border) >= i128::from(share) * others
        };
        let (normal, low) = (first_of(Priority::NORMAL), first_of(Priority::LOW));
        let lowest = low.filter(|&low| normal.is_some() && is_owed(1, low));
        if !queue.has(HIGH) {
            return lowest;
        }
        let lower = lowest.or(normal).or(low);
        lower.filter(|&lower| is_owed(0, lower))
    }

    /// A waiter is given what it needs, and stands in its queues yet.
    pub(super) fn count_turn(&mut self, id: WaiterId, demand: &Demand) {
        let Some(one_in) = self.tree.floor.filter(|_| self.classed > 0) else {
            return;
        };
        let (leaf, priority) = (self.waiter(id).leaf, self.waiter(id).priority);
        let floor = self.tree.floor_of(leaf);
        let share = i128::from(self.tree.share(leaf, demand));
        let Some(queue) = &mut self.tree.node_mut(floor).wait_queue else {
            return;
        };
        let counted: Counted = std::array::from_fn(|border| {
            let (above, below) = (Priority::ALL[border], &Priority::ALL[border + 1..]);
            // What goes to a still higher class would have gone to neither.
            let concerns = priority <= above;
            concerns && queue.has(above) && below.iter().any(|&below| queue.has(below))
        });
        for border in (0..BORDERS).filter(|&border| counted[border]) {
            let is_below = priority < Priority::ALL[border];
            (queue.floors).give(border, share, i128::from(one_in) - 1, is_below);
        }
        self.waiter_mut(id).counted = counted;
    }

    /// It gives that back.
    pub(super) fn uncount_turn(&mut self, id: WaiterId, demand: &Demand) {
        let counted = std::mem::take(&mut self.waiter_mut(id).counted);
        let Some(one_in) = self.tree.floor.filter(|_| counted.contains(&true)) else {
            return;
        };
        let (leaf, priority) = (self.waiter(id).leaf, self.waiter(id).priority);
        let floor = self.tree.floor_of(leaf);
        let share = i128::from(self.tree.share(leaf, demand));
        // If nobody waits there any more, nobody is owed anything.
        let Some(queue) = &mut self.tree.node_mut(floor).wait_queue else {
            return;
        };
        for border in (0..BORDERS).filter(|&border| counted[border]) {
            let is_below = priority < Priority::ALL[border];
            (queue.floors).give(border, -share, i128::from(one_in) - 1, is_below);
        }
    }
}

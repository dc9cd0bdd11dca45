//! Who makes room for a newcomer where too many wait.

use super::{
    effects::Effects,
    ids::{NodeId, WaiterId},
    node::WaitQueue,
    queue::Entry,
    state::Core,
};
use crate::{
    bucket::{Demand, Tick},
    costs::Priority,
    error::RefusedReason,
};

impl Core {
    /// Who has to go for a newcomer where too many wait: the youngest of the lowest class at its own endpoint, if that
    /// is below the newcomer's.
    pub(super) fn victim(&self, entry: &Entry) -> Option<WaiterId> {
        let most = entry.max_waiting?;
        let queue = self.tree.node(entry.leaf).wait_queue.as_ref()?;
        let last = queue.sheddable.last(&self.links)?;
        let is_full = queue.waiting >= most;
        (is_full && last.order.priority() < entry.asks.priority).then(|| self.head_of(last))
    }

    pub(super) fn shed(&mut self, victim: Option<WaiterId>, now: Tick, fx: &mut Effects) {
        if let Some(victim) = victim {
            self.turn_away(victim, RefusedReason::QueueFull, now, fx);
        }
    }

    /// Whether a newcomer goes at once, though others wait at its endpoint: all of them are of lower classes, and wait
    /// for more than it takes. Nobody has to make room for it, and it does not wait.
    pub(super) fn goes_before_all(&self, entry: &Entry, demand: &Demand, now: Tick) -> bool {
        let (leaf, priority) = (entry.leaf, entry.asks.priority);
        let is_first = |id: NodeId| {
            let queue = self.tree.node(id).wait_queue.as_deref();
            let is_first = queue.is_none_or(|queue| has_only_below(queue, priority));
            is_first && self.picked(id).is_none()
        };
        let goes = |id: NodeId| {
            self.tree.is_open_for(id, demand, now)
                && (is_first(id) || self.lets_pass(id, leaf, demand, now))
                && !self.tree.has_kin_before(id)
        };
        entry.limit.until >= now && self.tree.path(leaf).all(goes)
    }
}

/// Whether all who stand in a queue are of lower classes.
fn has_only_below(queue: &WaitQueue, priority: Priority) -> bool {
    let mut classes = Priority::ALL.into_iter();
    let same_or_higher = classes.any(|class| class >= priority && queue.has(class));
    !same_or_higher && !queue.has_leaving()
}

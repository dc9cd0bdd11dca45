//! Requests that wait go on at another bucket, where a reload has given their endpoint a new one.
//!
//! They keep their age, their class and their flow. No request goes at the new bucket until the last one has moved. An
//! admitted request stays at the old bucket, and goes out before the moved ones. If it is called back, or comes back
//! from an absence, it moves as well.

use super::{
    effects::Effects,
    ids::{NodeId, WaiterId},
    state::Core,
    task::{Progress, Task},
    tree::Tree,
    waiter::LEVELS,
};
use crate::bucket::Tick;

impl Core {
    /// Everyone who waits goes on where its endpoint is now, a few with each hold of the lock.
    pub(in crate::admission) fn move_on(&mut self, now: Tick, fx: &mut Effects) {
        let to = self.waiters.end();
        self.work.push(Task::Move { from: 0, to });
        self.run(now, fx);
    }

    /// A waiter stands where nobody goes any more: it is moved soon.
    pub(super) fn move_later(&mut self, id: WaiterId) {
        let (from, to) = (id.index(), id.index() + 1);
        self.work.push(Task::Move { from, to });
    }

    /// Moves the waiters whose indices are in a range.
    pub(super) fn move_waiters(&mut self, mut from: usize, to: usize, now: Tick, fx: &mut Effects) {
        while from < to.min(self.waiters.end()) {
            if !fx.spend() {
                return self.work.push(Task::Move { from, to });
            }
            if self.waiters.get(from).is_some() {
                self.move_waiter(WaiterId::new(from), now, fx);
            }
            from += 1;
        }
    }

    fn move_waiter(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        let old = self.waiter(id).leaf;
        let is_queued = self.waiter(id).is_queued();
        if !self.waiter(id).is_waiting() {
            return;
        }
        let Some(new) = self.tree.heir_of(old) else {
            return;
        };
        if is_queued {
            self.leave_queue(id);
        } else {
            self.uncount(id);
        }
        self.pin(new);
        self.unpin(old);
        let waiter = self.waiter_mut(id);
        waiter.leaf = new;
        waiter.kept_orders = [None; LEVELS];
        self.count(id);
        if is_queued {
            self.stand_in_queue(id);
        }
        self.settle(old, now, fx);
        self.settle(new, now, fx);
        if self.tree.node(old).waiting() == 0 {
            // Their turns may come too late by now.
            let after = Progress::Begun;
            self.work.push(Task::Recheck { node: new, after });
        }
    }
}

impl Tree {
    /// Whether requests that wait at a leaf go on at another bucket.
    pub(super) fn has_heir(&self, leaf: NodeId) -> bool {
        self.scope(self.node(leaf).spec).heir.is_some()
    }

    /// The bucket at which requests that wait at a leaf go on, made if it is new.
    fn heir_of(&mut self, leaf: NodeId) -> Option<NodeId> {
        let node = self.node(leaf);
        let heir = self.scope(node.spec).heir?;
        if !self.scope(heir).has_keys() {
            return Some(self.scope(heir).node);
        }
        let (partition, text) = (node.partition, node.text.clone());
        let new = self.keys.of_key(&self.scopes, heir, partition, &text.key());
        self.adopt(new);
        self.inherit_tier(leaf, new);
        Some(new)
    }
}

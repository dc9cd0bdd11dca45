//! A layer that is closed: nobody is let through any more (law L20 of `CONTRIBUTING.md`).
//!
//! Newcomers are refused from the first step on. Those who wait are refused a few at a time, or when they are polled.
//! What has been dispatched goes on.

use super::{
    effects::{Decider, Decision, Effects},
    ids::{NodeId, WaiterId},
    state::Core,
    task::Task,
    tree::Tree,
    waiter::Stage,
};
use crate::{
    bucket::Tick,
    error::{Refused, RefusedReason},
};

impl Core {
    /// Nothing is admitted from now on, and everyone who waits is refused as [`run`](Self::run) gets to them.
    pub(in crate::admission) fn close(&mut self, now: Tick, fx: &mut Effects) {
        if self.tree.closed {
            return;
        }
        if !self.has_waiters() {
            self.bodies.watch(now);
        }
        self.tree.closed = true;
        self.tree.looks_twice = true;
        if let Some(overall) = self.tree.overall {
            self.tree
                .tell_of_scope(overall, now, fx, || Decision::Closed);
        }
        self.work.push(Task::Close { from: 0 });
        self.run(now, fx);
    }

    /// Refuses the waiters from an index on. There are no new ones.
    pub(super) fn close_waiters(&mut self, mut from: usize, now: Tick, fx: &mut Effects) {
        while from < self.waiters.end() {
            if !fx.spend() {
                return self.work.push(Task::Close { from });
            }
            if self.waiters.get(from).is_some() {
                self.shut_out_if_closed(WaiterId::new(from), now, fx);
            }
            from += 1;
        }
    }

    /// Refuses a waiter, admitted or not, if the layer is closed.
    pub(super) fn shut_out_if_closed(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        if !self.tree.closed || matches!(self.waiter(id).stage, Stage::Refused(_)) {
            return;
        }
        let leaf = self.waiter(id).leaf;
        self.shut_out(id, now, fx);
        self.settle(leaf, now, fx);
    }

    /// The same. What follows for its queue is for [`settle`](Self::settle).
    pub(super) fn shut_out(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        match self.waiter(id).stage {
            Stage::Queued => self.leave_queue(id),
            Stage::Absent => self.uncount(id),
            Stage::Offered(_) | Stage::Reserved(_) => self.give_up_claim(id, now, fx),
            Stage::Refused(_) => return,
        }
        let (leaf, decider) = (self.waiter(id).leaf, fx.decider(id));
        let refused = self.refuse_closed(leaf, decider, now, fx);
        self.set_refused(id, refused, fx);
    }

    /// No turn would ever come.
    pub(super) fn refuse_closed(
        &mut self,
        leaf: NodeId,
        decider: Decider,
        now: Tick,
        fx: &mut Effects,
    ) -> Refused {
        let never = (Tick::NEVER, leaf);
        self.refuse(leaf, never, RefusedReason::Closed, decider, now, fx)
    }

    /// Whether the layer is closed, and neither a response future that was polled nor a body is alive.
    pub(in crate::admission) fn is_drained(&self) -> bool {
        self.tree.closed
            && self.away == 0
            && !self.has_waiters()
            && self.tree.admitted == self.tree.ended
    }

    /// How many of the waiters at a leaf were refused, and have not been polled since.
    pub(in crate::admission) fn unheard(&self, leaf: NodeId) -> usize {
        self.unheard.at(leaf)
    }
}

impl Tree {
    /// Of requests at this leaf, so many have neither a response future nor a body any more.
    pub(in crate::admission) fn end(&mut self, leaf: NodeId, n: u32) {
        self.ended += u64::from(n);
        let has_permits = self.enforced.permits;
        self.each(leaf, |node, _, _| {
            if has_permits {
                node.take_besides(n);
            } else {
                node.add_besides(n);
            }
        });
    }

    /// A request at this leaf, which is not kept for it any more, has a body: that is counted by itself from now on.
    pub(in crate::admission) fn let_go(&mut self, leaf: NodeId) {
        self.end(leaf, 1);
        self.ended -= 1;
        self.node_mut(leaf).pins -= 1;
        self.other_bodies += 1;
    }

    /// So many of those have ended.
    pub(in crate::admission) fn end_others(&mut self, n: u32) {
        self.ended += u64::from(n);
        self.other_bodies = self.other_bodies.wrapping_sub(n);
    }

    /// How many buckets there are that do not come and go: their indices are the first.
    pub(in crate::admission) fn fixed(&self) -> usize {
        self.keys.fixed
    }
}

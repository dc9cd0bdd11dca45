//! Nobody waits for a future that is not polled.
//!
//! That is law L13 of `CONTRIBUTING.md`: a waiter that does not take its turn within 10 ms loses it to one
//! that is polled, and keeps its age.
//!
//! 1. A waiter that is offered a turn has [`PATIENCE`] to take it. Until somebody else takes it over, it may
//!    take longer.
//! 2. When that time is over the offer is *overdue*, and the waiters that would go next are woken: their turn to
//!    take it over is an offer, too.
//! 3. A waiter that is being polled, stands first, and is held up by an overdue offer takes it over. Who
//!    had it is *absent*: it keeps its arrival, and stands in no queue until it is polled.
//!
//! A busy runtime polls in the order of its wakes, so it costs nobody its turn: who was offered it first
//! is polled before the waiters that were woken to take it over.

use super::{
    charge::Needs,
    effects::{Decision, Effects},
    ids::{NodeId, WaiterId},
    state::Core,
    task::Task,
    waiter::{Mark, Stage},
};
use crate::bucket::{Gate, Span, Tick};

/// How long others wait for a future that was offered its turn: 10 ms.
const PATIENCE: Span = Span(10_000_000);

impl Core {
    /// A waiter has to do something by the time that [`PATIENCE`] is over.
    pub(super) fn await_presence(&mut self, id: WaiterId, now: Tick) {
        self.mark_in_time(id);
        self.waiter_mut(id).offered = now;
        self.set_absent_at(id, now.after(PATIENCE));
    }

    fn set_absent_at(&mut self, id: WaiterId, due: Tick) {
        let before = std::mem::replace(&mut self.waiter_mut(id).absent_at, due);
        self.timers.set_absence(id, before, due);
    }

    /// Nothing is expected of a waiter any more.
    pub(super) fn forget_offer(&mut self, id: WaiterId) {
        self.mark_in_time(id);
        self.set_absent_at(id, Tick::NEVER);
    }

    /// Its offer is not, or no longer, overdue.
    fn mark_in_time(&mut self, id: WaiterId) {
        if !self.is_overdue(id) {
            return;
        }
        let waiter = self.waiter(id);
        let (leaf, offered, key) = (waiter.leaf, waiter.offered, waiter.key(id));
        for node in self.tree.path(leaf) {
            self.overdue.remove(node, offered, id);
        }
        if let Some(queue) = &mut self.tree.node_mut(leaf).wait_queue {
            if queue.late.remove(&mut self.links, &key) {
                queue.leaving.insert(&mut self.links, key);
            }
        }
    }

    /// Its offer is overdue.
    fn mark_late(&mut self, id: WaiterId) {
        let waiter = self.waiter(id);
        let (leaf, offered, key) = (waiter.leaf, waiter.offered, waiter.key(id));
        for node in self.tree.path(leaf) {
            self.overdue.insert(node, offered, id);
        }
        if let Some(queue) = &mut self.tree.node_mut(leaf).wait_queue {
            if queue.leaving.remove(&mut self.links, &key) {
                queue.late.insert(&mut self.links, key);
            }
        }
    }

    /// A waiter is being polled.
    pub(super) fn note_presence(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        match self.waiter(id).stage {
            Stage::Absent => {
                self.set_absent_at(id, Tick::NEVER);
                self.waiter_mut(id).stage = Stage::Queued;
                self.stand_in_queue(id);
                let leaf = self.waiter(id).leaf;
                self.settle(leaf, now, fx);
            }
            // A waiter that has to leave before it may be absent; it is not.
            Stage::Queued | Stage::Offered(_) => self.forget_offer(id),
            Stage::Reserved(_) | Stage::Refused(_) => {}
        }
        self.take_over(id, now, fx);
    }

    /// A waiter did nothing for as long as others have patience.
    pub(super) fn patience_ends(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        self.set_absent_at(id, Tick::NEVER);
        let leaf = self.waiter(id).leaf;
        match self.waiter(id).stage {
            Stage::Offered(_) | Stage::Reserved(_) => {
                self.mark_late(id);
                self.let_leave(leaf, now, fx);
                if self.tree.counts_elsewhere(leaf) {
                    // Those that wait for what it holds are not known here, and cannot take it over.
                    self.revoke(id, now, fx);
                }
                // The next waiter is invited.
                self.settle(leaf, now, fx);
            }
            Stage::Queued => {
                self.stand_aside(id);
                self.mark_absent(id, now, fx);
                self.settle(leaf, now, fx);
            }
            Stage::Absent | Stage::Refused(_) => {}
        }
    }

    /// It did not take its turn, and stands in no queue.
    fn mark_absent(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        self.keep_orders(id);
        let waiter = self.waiter_mut(id);
        waiter.stage = Stage::Absent;
        waiter.marks.set(Mark::CalledBack, false);
        let leaf = self.waiter(id).leaf;
        let decider = fx.decider(id);
        self.tree
            .tell_by(decider, leaf, now, fx, || Decision::Absent);
    }

    /// Wakes the head of a node if it is held up there by an overdue offer: it can take that over.
    pub(super) fn invite(&mut self, node: NodeId, head: WaiterId, now: Tick, fx: &mut Effects) {
        if self.overdue.is_empty() || self.waiter(head).absent_at != Tick::NEVER {
            return;
        }
        // Who is leaving there goes before it, and takes the turn over that the absent one did not take.
        let leaf = self.waiter(head).leaf;
        if node == leaf && self.next_to_leave(leaf).is_some() {
            return;
        }
        if self.overdue.first_at(node).is_some() {
            self.set_absent_at(head, now.after(PATIENCE));
            fx.wake(head);
        }
    }

    /// Has a waiter that is being polled take over overdue offers, as far as they hold it up.
    pub(super) fn take_over(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        while !self.overdue.is_empty() && self.stands_first(id) {
            let leaf = self.waiter(id).leaf;
            let demand = self.demand_of(id);
            let is_closed = |&node: &NodeId| self.tree.gate(node, &demand, now) != Gate::Open;
            let closed = self.tree.path(leaf).filter(is_closed);
            let blocking = closed.filter_map(|node| self.overdue.first_at(node)).min();
            let Some((_, blocking)) = blocking else {
                break;
            };
            if !fx.spend() {
                // It is woken to go on.
                return self.work.push(Task::Settle(leaf));
            }
            self.revoke(blocking, now, fx);
        }
    }

    /// Whether it is the first of its class in the queue of its leaf.
    fn stands_first(&self, id: WaiterId) -> bool {
        let waiter = self.waiter(id);
        let queue = self.tree.node(waiter.leaf).wait_queue.as_ref();
        let first =
            queue.and_then(|queue| queue.first_of(&self.links, Needs::DEFAULT, waiter.priority));
        waiter.is_queued() && first == Some(waiter.key(id))
    }

    /// The oldest that leaves this leaf and is not late.
    pub(super) fn next_to_leave(&self, leaf: NodeId) -> Option<WaiterId> {
        let queue = self.tree.node(leaf).wait_queue.as_ref()?;
        let first = queue.leaving.first(&self.links)?;
        Some(self.head_of(first))
    }

    pub(super) fn is_overdue(&self, id: WaiterId) -> bool {
        let waiter = self.waiter(id);
        !self.overdue.is_empty() && self.overdue.contains(waiter.leaf, waiter.offered, id)
    }

    /// Takes its offer from a waiter that is late.
    pub(super) fn revoke(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        let leaf: NodeId = self.waiter(id).leaf;
        // Counted first, so that its queue stays.
        self.count(id);
        self.give_up_claim(id, now, fx);
        self.mark_absent(id, now, fx);
        let until = self.waiter(id).limit.until;
        self.timers.set_limit(id, Tick::NEVER, until);
        self.settle(leaf, now, fx);
    }

    /// Does what has become due by itself, as far as the budget goes: gates first, so that what can go at
    /// this instant goes, before it is told that it has waited too long.
    pub(super) fn fire(&mut self, now: Tick, fx: &mut Effects) {
        self.end_graces(now, fx);
        self.attend_to_store(now);
        while let Some(id) = self.timers.due_gate(now) {
            if !fx.spend() {
                return;
            }
            // It has another timer then, or none.
            self.settle(id, now, fx);
        }
        while let Some(id) = self.timers.due_limit(now) {
            if !fx.spend() {
                return;
            }
            self.limit_passed(id, now, fx);
        }
        while let Some(id) = self.timers.due_absence(now) {
            if !fx.spend() {
                return;
            }
            self.patience_ends(id, now, fx);
        }
        while let Some(node) = self.bodies.due(now) {
            if !fx.spend() {
                return;
            }
            self.tell_open_body(node, now, fx);
        }
    }
}

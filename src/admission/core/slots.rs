//! When the turn of a request comes, as far as that can be computed, and who need not wait for it.

use super::{
    charge::Class,
    effects::{Decision, Effects},
    ids::{Contender, NodeId, QueueKey, WaiterId},
    node::WaitQueue,
    queue::Entry,
    scope::SCOPES,
    state::Core,
    task::{Progress, Task},
    waiter::Stage,
};
use std::time::Duration;

use crate::{
    bucket::{Demand, Learning, Tick},
    costs::Cost,
    endpoints::SpecId,
    error::{Refused, RefusedReason},
    event::PauseCause,
    quota::Quota,
    steps,
};

/// What a slot at one scope depends on.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    node: NodeId,
    /// How many heads go before the head of the leaf, in the queues up to this one.
    head: usize,
    /// How many other heads stand in the queues up to this one. Each of them goes once before a request that
    /// is not the head of the leaf.
    others: usize,
}

impl Ahead {
    fn of(self, rank: usize) -> usize {
        if rank == 0 {
            self.head
        } else {
            rank + self.others
        }
    }
}

impl Core {
    /// Why a request may not even begin to wait.
    pub(super) fn refuse_entry(
        &mut self,
        entry: &Entry,
        now: Tick,
        fx: &mut Effects,
    ) -> Option<Box<Refused>> {
        let Entry {
            leaf,
            arrival,
            limit,
            max_waiting,
            ref stated,
        } = *entry;
        if let Some(scope) = self.never_fits(leaf, stated.as_deref()) {
            let slot = (Tick::NEVER, scope);
            let reason = RefusedReason::NeverFits;
            return Some(Box::new(self.refuse(leaf, slot, reason, now, fx)));
        }
        let demand = self.tree.demand(leaf, stated.as_deref());
        if self.tree.is_closed(leaf, now) {
            let slot = self.slot(leaf, &demand, 0, now);
            let reason = RefusedReason::ServerClosed;
            return Some(Box::new(self.refuse(leaf, slot, reason, now, fx)));
        }
        let full = max_waiting.and_then(|most| {
            let mut path = self.tree.path(leaf);
            path.find(|&id| self.tree.node(id).waiting() >= most)
        });
        if full.is_none() && !limit.is_some() {
            return None;
        }
        let queue = self.tree.node(leaf).wait_queue.as_ref();
        let rank = queue.map_or(0, |queue| {
            queue
                .queue
                .rank(&self.links, &QueueKey::before(arrival.get()))
        });
        let (slot, scope) = self.slot(leaf, &demand, rank, now);
        let (reason, scope) = match full {
            Some(full) => (RefusedReason::QueueFull, full),
            // A limit of zero means "now or never": this is no longer now.
            None if slot > limit.until || limit.until <= now => (limit.reason, scope),
            None => return None,
        };
        Some(Box::new(self.refuse(leaf, (slot, scope), reason, now, fx)))
    }

    /// The scope at which a request can never fit.
    pub(super) fn never_fits(&self, leaf: NodeId, stated: Option<&Cost>) -> Option<NodeId> {
        self.tree.never_fits(leaf, stated?)
    }

    fn refuse(
        &mut self,
        leaf: NodeId,
        (slot, scope): (Tick, NodeId),
        reason: RefusedReason,
        now: Tick,
        fx: &mut Effects,
    ) -> Refused {
        self.tree
            .each(leaf, |node, _, _| node.counters.refused += 1);
        let wait = slot.since(now);
        let refused = Refused::new(
            &self.tree.name(self.tree.node(leaf)),
            &self.tree.name(self.tree.node(scope)),
            reason,
            (!wait.is_zero() && slot != Tick::NEVER).then_some(wait),
        );
        self.tree.tell(leaf, now, fx, || {
            Decision::Refused(Box::new(refused.clone()))
        });
        refused
    }

    /// Refuses a request that waits, and takes it out of its queue; its future is told. What follows for
    /// others is for [`settle`](Self::settle).
    pub(super) fn turn_away(
        &mut self,
        id: WaiterId,
        reason: RefusedReason,
        now: Tick,
        fx: &mut Effects,
    ) {
        let leaf = self.waiter(id).leaf;
        let stated = self.tree.charges.stated(id);
        let slot = match self.never_fits(leaf, stated) {
            Some(scope) => (Tick::NEVER, scope),
            None => self.slot_of(id, now),
        };
        if self.waiter(id).is_queued() {
            self.leave_queue(id);
        } else {
            self.uncount(id);
        }
        let refused = self.refuse(leaf, slot, reason, now, fx);
        self.forget_offer(id);
        self.waiter_mut(id).stage = Stage::Refused(Box::new(refused));
        fx.wake(id);
    }

    /// Whether a waiter has to be refused because a bucket is closed by its server.
    pub(super) fn is_shut_out(&self, id: WaiterId, now: Tick) -> bool {
        let waiter = self.waiter(id);
        matches!(waiter.stage, Stage::Queued) && self.tree.is_closed(waiter.leaf, now)
    }

    /// Whether a waiter takes more than a quota allows by now.
    pub(super) fn can_never_go(&self, id: WaiterId) -> bool {
        let stated = self.tree.charges.stated(id);
        self.never_fits(self.waiter(id).leaf, stated).is_some()
    }

    /// What a waiter would take now.
    pub(super) fn demand_of(&self, id: WaiterId) -> Demand {
        if self.tree.charges.are_plain() {
            return Demand::ONE;
        }
        let stated = self.tree.charges.stated(id);
        self.tree.demand(self.waiter(id).leaf, stated)
    }

    /// The turn of a queued request is known to come too late for it.
    pub(super) fn refuse_late(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        let reason = if self.is_shut_out(id, now) {
            RefusedReason::ServerClosed
        } else if self.can_never_go(id) {
            RefusedReason::NeverFits
        } else {
            self.waiter(id).limit.reason
        };
        self.turn_away(id, reason, now, fx);
    }

    /// The same of the head of a leaf: those behind it may have no better prospects.
    pub(super) fn refuse_head(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        self.refuse_late(id, now, fx);
        let node = self.waiter(id).leaf;
        let queue = self.tree.node(node).wait_queue.as_ref();
        if queue.is_some_and(|queue| queue.limited > 0) {
            let after = Progress::Begun;
            self.work.push(Task::Recheck { node, after });
        }
    }

    /// When a request that waits can go out at the earliest, and which scope says so.
    pub(super) fn slot_of(&self, id: WaiterId, now: Tick) -> (Tick, NodeId) {
        let waiter = self.waiter(id);
        let queue = self.tree.node(waiter.leaf).wait_queue.as_ref();
        let rank = queue.map_or(0, |queue| queue.queue.rank(&self.links, &waiter.key(id)));
        self.slot(waiter.leaf, &self.demand_of(id), rank, now)
    }

    /// When a request that `rank` others of its endpoint precede can go out at the earliest, and
    /// which scope says so. Permits count as free.
    pub(super) fn slot(
        &self,
        leaf: NodeId,
        demand: &Demand,
        rank: usize,
        now: Tick,
    ) -> (Tick, NodeId) {
        let class = self.tree.charges.class(demand);
        self.slot_among(&self.ahead(leaf, class), demand, rank, leaf, now)
    }

    fn slot_among(
        &self,
        ahead: &[Option<Ahead>; SCOPES],
        demand: &Demand,
        rank: usize,
        leaf: NodeId,
        now: Tick,
    ) -> (Tick, NodeId) {
        let mut latest = (Tick::NONE, leaf);
        for ahead in ahead.iter().flatten() {
            let node = self.tree.node(ahead.node);
            let scope = self.tree.scope(node.spec);
            let start = now.max(scope.paused_until);
            // Who counts as no request may be among those before it.
            let rank = ahead.of(rank).saturating_sub(self.tree.charges.free);
            let slot = (node.bucket).slot(&scope.rules, demand, rank, now, start);
            if slot > latest.0 {
                latest = (slot, ahead.node);
            }
        }
        latest
    }

    /// How many precede the requests of a leaf, at each node up to the root.
    fn ahead(&self, leaf: NodeId, class: Class) -> [Option<Ahead>; SCOPES] {
        let mut all = [None; SCOPES];
        let (mut head, mut others) = (0, 0);
        let mut child: Option<NodeId> = None;
        for (node, place) in self.tree.path(leaf).zip(&mut all) {
            if let (Some(child), Some(queue)) = (child, &self.tree.node(node).wait_queue) {
                // Heads of other classes may go later.
                let mut tickets = self.tree.node(child).tickets();
                let ticket = tickets.find(|ticket| ticket.class == class);
                let queue = queue.queue_of(class);
                let heads = queue.map_or(0, |queue| queue.len(&self.links));
                let before = ticket.zip(queue).map_or(heads, |(ticket, queue)| {
                    let key = QueueKey::before(ticket.order);
                    queue.rank(&self.links, &key)
                });
                let besides = heads - usize::from(ticket.is_some());
                // A head that waits for others in a narrower queue comes to this one behind all who are here.
                head += if head == 0 { before } else { besides };
                others += besides;
            }
            *place = Some(Ahead { node, head, others });
            child = Some(node);
        }
        all
    }

    /// A scope has another quota: newcomers go by it from now on, and waiting requests as
    /// [`run`](Self::run) gets to them.
    pub(in crate::admission) fn set_quota(&mut self, scope: SpecId, quota: Quota) {
        self.tree.set_quota(scope, quota);
        if self.tree.discovers() {
            // Narrower scopes discover only where this one limits nothing.
            self.work.push(Task::Rules { from: 0 });
        }
        self.change(scope, false);
    }

    /// Nothing is admitted to any bucket of a scope for `time`.
    pub(in crate::admission) fn pause(
        &mut self,
        scope: SpecId,
        time: Duration,
        now: Tick,
        fx: &mut Effects,
    ) {
        let cause = PauseCause::Handle;
        self.tree.pause(scope, now.after(time.into()));
        self.tree
            .tell_of_scope(scope, now, fx, || Decision::Paused { time, cause });
        self.change(scope, false);
    }

    /// Ends the pauses of all buckets of a scope.
    pub(in crate::admission) fn resume(&mut self, scope: SpecId, now: Tick, fx: &mut Effects) {
        self.tree.resume(scope);
        self.tree
            .tell_of_scope(scope, now, fx, || Decision::Resumed);
        self.change(scope, true);
    }

    fn change(&mut self, scope: SpecId, resume: bool) {
        let from = 0;
        self.work.push(Task::Scope {
            scope,
            resume,
            from,
        });
    }

    /// What is learned from now on.
    pub(in crate::admission) fn set_learning(&mut self, learning: Learning) {
        self.tree.set_learning(learning);
        self.work.push(Task::Rules { from: 0 });
    }

    /// Refuses requests that wait at a node or below and whose turn is now known to come after their limit.
    pub(super) fn recheck(&mut self, id: NodeId, after: Progress, now: Tick, fx: &mut Effects) {
        let Some(node) = self.tree.keys.nodes.get(id.index()) else {
            return;
        };
        let is_closed = self.tree.is_closed(id, now);
        let queue = node.wait_queue.as_ref();
        let states = self.tree.charges.has_stated();
        let concerns = |queue: &&WaitQueue| queue.limited > 0 || is_closed || states;
        let Some(queue) = queue.map(|queue| &**queue).filter(concerns) else {
            return;
        };
        if queue.children.is_empty() {
            return self.recheck_leaf(id, after, now, fx);
        }
        let mut after = after;
        loop {
            let queue = self.tree.node(id).wait_queue.as_ref();
            let Some(queue) = queue else { return };
            steps::count_way_down(queue.children.len());
            let next = match after {
                Progress::Child(child) => {
                    use std::ops::Bound::{Excluded, Unbounded};
                    queue.children.range((Excluded(child), Unbounded)).next()
                }
                Progress::Begun | Progress::Waiter(_) => queue.children.first(),
            };
            let Some(&child) = next else { return };
            if !fx.spend() {
                return self.work.push(Task::Recheck { node: id, after });
            }
            let begun = Progress::Begun;
            self.work.push(Task::Recheck {
                node: child,
                after: begun,
            });
            after = Progress::Child(child);
        }
    }

    fn recheck_leaf(&mut self, leaf: NodeId, after: Progress, now: Tick, fx: &mut Effects) {
        let of_most = self.ahead(leaf, Class::DEFAULT);
        let is_closed = self.tree.is_closed(leaf, now);
        let mut stayed = match after {
            Progress::Waiter(key) => Some(key),
            Progress::Begun | Progress::Child(_) => None,
        };
        let mut rank = None;
        let mut refused = false;
        loop {
            let queue = self.tree.node(leaf).wait_queue.as_ref();
            let Some(queue) = queue else { break };
            let next = match &stayed {
                None => queue.queue.first(&self.links),
                Some(key) => queue.queue.after(&self.links, key),
            };
            let Some(next) = next else { break };
            let rank = rank.get_or_insert_with(|| queue.queue.rank(&self.links, &next));
            let Contender::Waiter(id) = next.contender else {
                unreachable!("a leaf has no children")
            };
            if !fx.spend() {
                let after = stayed.map_or(Progress::Begun, Progress::Waiter);
                self.work.push(Task::Recheck { node: leaf, after });
                break;
            }
            let limit = self.waiter(id).limit;
            let is_late = || {
                let demand = self.demand_of(id);
                let class = self.tree.charges.class(&demand);
                let slot = if class == Class::DEFAULT {
                    self.slot_among(&of_most, &demand, *rank, leaf, now)
                } else {
                    self.slot(leaf, &demand, *rank, now)
                };
                limit.is_some() && slot.0 > limit.until
            };
            if is_closed || is_late() || self.can_never_go(id) {
                self.refuse_late(id, now, fx);
                refused = true;
            } else {
                *rank += 1;
                stayed = Some(next);
            }
        }
        if refused {
            self.settle(leaf, now, fx);
        }
    }
}

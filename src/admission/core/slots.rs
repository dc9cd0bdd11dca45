//! When the turn of a request comes, as far as that can be computed, and who need not wait for it.

use super::{
    charge::Needs,
    effects::{Decider, Decision, Effects},
    flows::FlowId,
    ids::{NodeId, Order, QueueKey, WaiterId},
    line::Line,
    node::WaitQueue,
    pauses::Paused,
    queue::Entry,
    ranked::Links,
    scope::SCOPES,
    state::Core,
    task::{Place, Progress, Task},
    waiter::Stage,
};
use std::{ops::AddAssign, time::Duration};

use crate::{
    admission::arrival::Arrival,
    bucket::{Demand, Learning, Tick},
    costs::{Asks, Cost, Flow, Priority},
    endpoints::SpecId,
    error::{Refused, RefusedReason},
    event::PauseCause,
    quota::Quota,
    steps,
};

/// How many others go before a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rank {
    /// Of its class and of higher ones.
    pub(super) all: usize,
    /// Of its class.
    pub(super) own: usize,
}

impl Rank {
    /// The place of `key` in a line.
    fn in_line(line: &Line, links: &Links<QueueKey>, key: &QueueKey) -> Self {
        let all = line.rank(links, key);
        let higher = line.len_from(key.order.priority()) - line.len_of(key.order.priority());
        Self {
            all,
            own: all - higher,
        }
    }
}

impl AddAssign for Rank {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.own += other.own;
    }
}

/// What a slot at one scope depends on.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    node: NodeId,
    /// How many heads go before the head of the leaf, in the queues up to this one.
    head: Rank,
    /// How many other heads stand in the queues up to this one. Each of them goes once before a request that
    /// is not the head of the leaf.
    others: Rank,
}

impl Ahead {
    /// For one with so many before it in the queue of its leaf.
    fn of(self, rank: Rank) -> Rank {
        let mut all = rank;
        all += if rank.own == 0 {
            self.head
        } else {
            self.others
        };
        all
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
            ref asks,
        } = *entry;
        let by = Decider::Itself;
        if self.tree.closed {
            return Some(Box::new(self.refuse_closed(leaf, by, now, fx)));
        }
        let (stated, priority) = (asks.cost.as_ref(), asks.priority);
        if let Some(scope) = self.never_fits(leaf, stated) {
            let slot = (Tick::NEVER, scope);
            let reason = RefusedReason::NeverFits;
            return Some(Box::new(self.refuse(leaf, slot, reason, by, now, fx)));
        }
        let demand = self.tree.demand(leaf, stated);
        if self.tree.is_closed(leaf, now) {
            let slot = self.slot(leaf, &demand, priority, Rank::default(), now);
            let reason = RefusedReason::ServerClosed;
            return Some(Box::new(self.refuse(leaf, slot, reason, by, now, fx)));
        }
        if self.goes_before_all(entry, &demand, now) {
            return None;
        }
        let victim = self.victim(entry);
        // It takes the victim's place, in wider scopes too.
        let to_go = usize::from(victim.is_some());
        let full = max_waiting.and_then(|most| {
            let mut path = self.tree.path(leaf);
            // With a store, everyone who comes enters the queue to ask.
            let most = most.max(usize::from(self.tree.is_joint()));
            path.find(|&id| self.tree.node(id).waiting() - to_go >= most)
        });
        if full.is_none() && !limit.is_some() {
            self.shed(victim, now, fx);
            return None;
        }
        let place = QueueKey::before(Order::new(priority, arrival.get()));
        let rank = self.rank(leaf, asks.flow, &place);
        let (slot, scope) = self.slot(leaf, &demand, priority, rank, now);
        let (reason, scope) = match full {
            Some(full) => (RefusedReason::QueueFull, full),
            // A limit of zero means "now or never": this is no longer now, unless a store is asked first.
            None if slot > limit.until || limit.until <= now && !self.tree.is_joint() => {
                (limit.reason, scope)
            }
            None => {
                self.shed(victim, now, fx);
                return None;
            }
        };
        let slot = (slot, scope);
        Some(Box::new(self.refuse(leaf, slot, reason, by, now, fx)))
    }

    /// How long a request would wait that came now, as far as windows and pauses tell; `None` if it could never go.
    pub(in crate::admission) fn wait_of_newcomer(
        &self,
        leaf: NodeId,
        asks: &Asks,
        arrival: Arrival,
        now: Tick,
    ) -> Option<Duration> {
        let (stated, priority) = (asks.cost.as_ref(), asks.priority);
        if self.never_fits(leaf, stated).is_some() {
            return None;
        }
        let demand = self.tree.demand(leaf, stated);
        let place = QueueKey::before(Order::new(priority, arrival.get()));
        let rank = self.rank(leaf, asks.flow, &place);
        let (slot, _) = self.slot(leaf, &demand, priority, rank, now);
        (slot != Tick::NEVER).then(|| slot.since(now))
    }

    /// The scope at which a request can never fit.
    pub(super) fn never_fits(&self, leaf: NodeId, stated: Option<&Cost>) -> Option<NodeId> {
        self.tree.never_fits(leaf, stated?)
    }

    pub(super) fn refuse(
        &mut self,
        leaf: NodeId,
        (slot, scope): (Tick, NodeId),
        reason: RefusedReason,
        decider: Decider,
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
        self.tree.tell_by(decider, leaf, now, fx, || {
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
        if self.tree.closed {
            return self.shut_out(id, now, fx);
        }
        let leaf = self.waiter(id).leaf;
        let stated = self.tree.charges.stated(id);
        let slot = match self.never_fits(leaf, stated) {
            Some(scope) => (Tick::NEVER, scope),
            None => self.slot_of(id, now),
        };
        let slot = if reason == RefusedReason::QueueFull {
            (slot.0, leaf)
        } else {
            slot
        };
        if self.waiter(id).is_queued() {
            self.leave_queue(id);
        } else {
            self.uncount(id);
        }
        let decider = fx.decider(id);
        let refused = self.refuse(leaf, slot, reason, decider, now, fx);
        self.set_refused(id, refused, fx);
    }

    /// A waiter is told that it was refused, when its future is polled.
    pub(super) fn set_refused(&mut self, id: WaiterId, refused: Refused, fx: &mut Effects) {
        self.forget_offer(id);
        self.waiter_mut(id).stage = Stage::Refused(Box::new(refused));
        let leaf = self.waiter(id).leaf;
        self.unheard.add(leaf);
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

    /// How many go before the place of `key` at a leaf in any case: those before it in its own flow.
    fn rank(&self, leaf: NodeId, flow: Option<Flow>, key: &QueueKey) -> Rank {
        let Some(queue) = self.tree.node(leaf).wait_queue.as_ref() else {
            return Rank::default();
        };
        let Some(flows) = &queue.flows else {
            if flow.is_some() {
                // Requests without a flow are one flow beside it: it may go before all of them.
                return Rank::default();
            }
            return Rank::in_line(&queue.queue, &self.links, key);
        };
        let own = if flow.is_none() {
            Rank::in_line(&queue.queue, &self.links, key).own
        } else {
            let line = flows.line(FlowId::new(key.order.priority(), flow));
            line.map_or(0, |line| line.rank(&self.links, key))
        };
        Rank { all: own, own }
    }

    /// When a request that waits can go out at the earliest, and which scope says so.
    pub(super) fn slot_of(&self, id: WaiterId, now: Tick) -> (Tick, NodeId) {
        let waiter = self.waiter(id);
        let rank = self.rank(waiter.leaf, self.flow_of(id), &waiter.key(id));
        let demand = self.demand_of(id);
        self.slot(waiter.leaf, &demand, waiter.priority, rank, now)
    }

    /// When a request of a class that `rank` others of its endpoint precede can go out at the earliest, and
    /// which scope says so. Permits count as free.
    pub(super) fn slot(
        &self,
        leaf: NodeId,
        demand: &Demand,
        priority: Priority,
        rank: Rank,
        now: Tick,
    ) -> (Tick, NodeId) {
        let needs = self.tree.charges.needs(demand);
        let ahead = self.ahead(leaf, needs, priority);
        self.slot_among(&ahead, demand, rank, leaf, now)
    }

    fn slot_among(
        &self,
        ahead: &[Option<Ahead>; SCOPES],
        demand: &Demand,
        rank: Rank,
        leaf: NodeId,
        now: Tick,
    ) -> (Tick, NodeId) {
        let mut latest = (Tick::NONE, leaf);
        for ahead in ahead.iter().flatten() {
            let node = self.tree.node(ahead.node);
            let scope = self.tree.scope(node.spec);
            let start = now.max(scope.paused_until);
            // Who counts as no request may be among those before it.
            let rank = self.fewest(ahead.of(rank));
            let rank = rank.saturating_sub(self.tree.charges.free);
            let slot = (node.bucket).slot(&scope.rules, demand, rank, now, start);
            let slot = if scope.kin > 0 {
                self.tree
                    .slot_together(ahead.node, demand, rank, now, start)
            } else {
                slot
            };
            if slot > latest.0 {
                latest = (slot, ahead.node);
            }
        }
        latest
    }

    /// How many go first in any case: of higher classes not all do.
    fn fewest(&self, rank: Rank) -> usize {
        match self.tree.floor {
            Some(one_in) if self.tree.charges.are_plain() => {
                rank.all.min(rank.own.saturating_mul(one_in as usize))
            }
            // Of requests that take little many may go for one that takes much.
            Some(_) => rank.own,
            None => rank.all,
        }
    }

    /// How many precede the requests of a class at a leaf, at each node up to the root.
    fn ahead(&self, leaf: NodeId, needs: Needs, priority: Priority) -> [Option<Ahead>; SCOPES] {
        let mut all = [None; SCOPES];
        let (mut head, mut others) = (Rank::default(), Rank::default());
        let mut child: Option<NodeId> = None;
        for (node, place) in self.tree.path(leaf).zip(&mut all) {
            if let (Some(child), Some(queue)) = (child, &self.tree.node(node).wait_queue) {
                // Heads with other needs may go later.
                let line = queue.line(needs);
                let heads = line.map_or_else(Rank::default, |line| Rank {
                    all: line.len_from(priority),
                    own: line.len_of(priority),
                });
                // Those of the same child have been counted below it.
                let mut same = Rank::default();
                let mut ticket = None;
                for of in self.tree.node(child).tickets() {
                    if of.needs == needs && of.order.priority() >= priority {
                        same.all += 1;
                    }
                    if of.needs == needs && of.order.priority() == priority {
                        same.own += 1;
                        ticket = Some(of);
                    }
                }
                let besides = Rank {
                    all: heads.all - same.all,
                    own: heads.own - same.own,
                };
                let before = ticket.zip(line).map_or(besides, |(ticket, line)| {
                    let key = QueueKey::before(ticket.order);
                    let rank = Rank::in_line(line, &self.links, &key);
                    Rank {
                        all: rank.all - (same.all - same.own),
                        own: rank.own,
                    }
                });
                // A head that waits for others in a narrower queue comes to this one behind all who are here.
                head += if head.own == 0 { before } else { besides };
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
        self.tell_store(scope, false);
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
        let until = now.after(time.into());
        self.tree.pause(scope, until);
        self.pauses.begin(Paused::Scope(scope), until, now);
        self.tree
            .tell_of_scope(scope, now, fx, || Decision::Paused { time, cause });
        self.change(scope, false);
        self.tell_store(scope, false);
    }

    /// Ends the pauses of all buckets of a scope.
    pub(in crate::admission) fn resume(&mut self, scope: SpecId, now: Tick, fx: &mut Effects) {
        self.tree.resume(scope);
        self.pauses.end(scope, now);
        self.tree
            .tell_of_scope(scope, now, fx, || Decision::Resumed);
        self.change(scope, true);
        self.tell_store(scope, true);
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
        // What requests are estimated to take may have changed with the quota of a wider scope.
        let estimates = !self.tree.charges.are_plain();
        let concerns = |queue: &&WaitQueue| queue.limited > 0 || is_closed || estimates;
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
                Progress::Begun | Progress::Leaf(_) => queue.children.first(),
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
        let mut of_most = None;
        let is_closed = self.tree.is_closed(leaf, now);
        let mut place = match after {
            Progress::Leaf(place) => place,
            Progress::Begun | Progress::Child(_) => Place::default(),
        };
        let mut rank = None;
        let mut changed = self.tree.counts_units(leaf);
        loop {
            let queue = self.tree.node(leaf).wait_queue.as_ref();
            let Some(queue) = queue else { break };
            let next = self.next_in(queue, place);
            let next_flow = queue
                .flows
                .as_ref()
                .and_then(|flows| flows.after(place.flow));
            if next.is_none() && next_flow.is_none() {
                break;
            }
            if !fx.spend() {
                let after = Progress::Leaf(place);
                self.work.push(Task::Recheck { node: leaf, after });
                break;
            }
            let Some(next) = next else {
                (place, rank) = (
                    Place {
                        flow: next_flow,
                        last: None,
                    },
                    None,
                );
                continue;
            };
            let id = self.head_of(next);
            let rank: &mut Rank =
                rank.get_or_insert_with(|| self.rank(leaf, self.flow_of(id), &next));
            let priority = next.order.priority();
            if of_most.is_some_and(|(of, _)| of != priority) {
                of_most = None;
                rank.own = 0;
            }
            let &mut (_, ref of_most) = of_most
                .get_or_insert_with(|| (priority, self.ahead(leaf, Needs::DEFAULT, priority)));
            let limit = self.waiter(id).limit;
            let is_late = || {
                let demand = self.demand_of(id);
                let needs = self.tree.charges.needs(&demand);
                let slot = if needs == Needs::DEFAULT {
                    self.slot_among(of_most, &demand, *rank, leaf, now)
                } else {
                    self.slot(leaf, &demand, priority, *rank, now)
                };
                limit.is_some() && slot.0 > limit.until
            };
            if is_closed || is_late() || self.can_never_go(id) {
                self.refuse_late(id, now, fx);
                changed = true;
            } else {
                *rank += Rank { all: 1, own: 1 };
                place.last = Some(next);
            }
        }
        if changed {
            self.settle(leaf, now, fx);
        }
    }

    /// The request of a leaf that comes next in the line of its flow.
    fn next_in(&self, queue: &WaitQueue, place: Place) -> Option<QueueKey> {
        let links = &self.links;
        match (place.flow, place.last) {
            (None, None) => queue.queue.first(links),
            (None, Some(last)) => queue.queue.after(links, &last),
            (Some(flow), None) => queue.flows.as_ref()?.line(flow)?.first(links),
            (Some(flow), Some(last)) => queue.flows.as_ref()?.line(flow)?.after(links, &last),
        }
    }
}

//! A request's way through the queue of its endpoint: in, polled now and then, and out.

use super::{
    claim::Claim,
    effects::{Decision, Effects},
    floors::Counted,
    flows::FlowId,
    ids::{Contender, NodeId, Order, QueueKey, WaiterId},
    state::Core,
    task::{Progress, Task},
    waiter::{LEVELS, Mark, Marks, Stage, WaitLimit, Waiter},
};
use crate::{
    admission::arrival::Arrival,
    bucket::{Demand, Tick},
    costs::{Asks, Flow, Priority},
    error::{Refused, RefusedReason},
    steps,
    waited::Waited,
};

/// A request that cannot go at once.
#[derive(Debug)]
pub(in crate::admission) struct Entry {
    /// Pinned for it.
    pub(in crate::admission) leaf: NodeId,
    pub(in crate::admission) arrival: Arrival,
    pub(in crate::admission) limit: WaitLimit,
    /// How many may wait before it, at each scope.
    pub(in crate::admission) max_waiting: Option<usize>,
    pub(in crate::admission) asks: Asks,
}

/// How many of the requests that were offered their places at a leaf are woken at a time.
///
/// They leave by age, so a request that is polled before an older one has left is polled twice. If the oldest
/// is absent, all that were woken are.
pub(super) const AT_ONCE: usize = 8;

/// What a poll finds.
#[derive(Debug)]
pub(in crate::admission) enum WaitOutcome {
    /// It has its places: the inner service can be made ready.
    Reserved(WaiterId),
    Wait {
        id: WaiterId,
        /// Whether it waits for a time, too, and not only for others.
        timed: bool,
    },
    /// It is no waiter any more.
    Refused(Box<Refused>),
}

/// What a request finds that is about to be dispatched.
#[derive(Debug)]
pub(in crate::admission) enum TakeOutcome {
    /// It is no waiter any more: it goes out now.
    Taken(Claim, Waited),
    /// A pause has begun since it was admitted, and it is in its place in the queue again.
    CalledBack,
    /// Its places were taken over while it was not ready. It is in its place in the queue again.
    Wait,
    /// It is no waiter any more.
    Refused(Box<Refused>),
}

/// What comes of a look at what a request was admitted to.
#[derive(Clone, Copy, Debug)]
enum Review {
    Keeps,
    /// It is in its place in the queue again.
    CalledBack,
    /// There are more to call back before it than the budget allows.
    Unfinished,
}

impl Core {
    /// Keeps a leaf where it is for a request that is going to wait there.
    pub(in crate::admission) fn pin(&mut self, leaf: NodeId) {
        self.tree.node_mut(leaf).pins += 1;
    }

    /// Such a request was dropped before its first poll.
    pub(in crate::admission) fn unpin(&mut self, leaf: NodeId) {
        self.tree.node_mut(leaf).pins -= 1;
    }

    /// An admitted request is not dispatched.
    pub(in crate::admission) fn give_back(&mut self, claim: Claim, now: Tick, fx: &mut Effects) {
        let leaf = claim.leaf;
        // Told while the claim keeps the leaf.
        self.tree.tell(leaf, now, fx, || Decision::GivenBack);
        self.tree.give_back(claim);
        self.settle(leaf, now, fx);
    }

    /// A request enters the queue of its endpoint, unless it can go at once or must not wait.
    pub(in crate::admission) fn enter(
        &mut self,
        entry: Entry,
        now: Tick,
        fx: &mut Effects,
    ) -> WaitOutcome {
        // A gate may have opened since the last timer tick; those in front go first.
        self.run(now, fx);
        let leaf = entry.leaf;
        let in_time = entry.limit.until >= now;
        let stated = entry.asks.cost.as_ref();
        let never_fits = stated.is_some_and(|stated| self.tree.never_fits(leaf, stated).is_some());
        let claim = if !in_time || never_fits || self.tree.closed {
            None
        } else if self.tree.is_closed(leaf, now) {
            self.tree.admit_probe(leaf, stated, now)
        } else {
            self.admit(leaf, Some(&entry.asks), now)
        };
        if let Some(claim) = claim {
            let id = self.insert(entry, Stage::Reserved(claim), now);
            self.claimants.insert(leaf, self.waiter(id).order(), id);
            self.await_presence(id, now);
            let waited = std::time::Duration::ZERO;
            fx.caller = Some(id);
            self.tree
                .tell(leaf, now, fx, || Decision::Admitted { waited });
            return WaitOutcome::Reserved(id);
        }
        if let Some(refused) = self.refuse_entry(&entry, now, fx) {
            self.unpin(leaf);
            return WaitOutcome::Refused(refused);
        }
        let id = self.insert(entry, Stage::Queued, now);
        fx.caller = Some(id);
        self.join_queue(id);
        let waiting = self.tree.node(leaf).waiting();
        self.tree
            .tell(leaf, now, fx, || Decision::Queued { waiting });
        self.settle(leaf, now, fx);
        self.take_over(id, now, fx);
        self.outcome(id, now, fx)
    }

    /// A waiter's future is polled: fetches its news.
    pub(in crate::admission) fn poll(
        &mut self,
        id: WaiterId,
        now: Tick,
        fx: &mut Effects,
    ) -> WaitOutcome {
        fx.caller = Some(id);
        self.run(now, fx);
        self.note_presence(id, now, fx);
        self.outcome(id, now, fx)
    }

    /// A waiter's inner service is not ready: fetches its refusal, if it has lost its places and been refused.
    pub(in crate::admission) fn poll_unready(
        &mut self,
        id: WaiterId,
        now: Tick,
        fx: &mut Effects,
    ) -> Option<Box<Refused>> {
        fx.caller = Some(id);
        self.run(now, fx);
        self.shut_out_if_closed(id, now, fx);
        let Stage::Refused(_) = self.waiter(id).stage else {
            return None;
        };
        match self.outcome(id, now, fx) {
            WaitOutcome::Refused(refused) => Some(refused),
            outcome => unreachable!("it was refused: {outcome:?}"),
        }
    }

    /// A waiter's inner service is ready: it goes out, if it still has its places.
    pub(in crate::admission) fn take_reserved(
        &mut self,
        id: WaiterId,
        now: Tick,
        fx: &mut Effects,
    ) -> TakeOutcome {
        fx.caller = Some(id);
        self.run(now, fx);
        self.shut_out_if_closed(id, now, fx);
        if !matches!(self.waiter(id).stage, Stage::Reserved(_)) {
            self.note_presence(id, now, fx);
            match self.outcome(id, now, fx) {
                WaitOutcome::Reserved(_) => {}
                WaitOutcome::Wait { .. } => return TakeOutcome::Wait,
                WaitOutcome::Refused(refused) => return TakeOutcome::Refused(refused),
            }
        }
        if self.loses_slot(id, now, fx) {
            return TakeOutcome::Wait;
        }
        match self.review_claim(id, now, fx) {
            Review::Keeps => {}
            Review::CalledBack => return TakeOutcome::CalledBack,
            // It comes again at once, and goes on.
            Review::Unfinished => return TakeOutcome::Wait,
        }
        let waited = self.waited(id, now);
        match self.remove(id, fx).stage {
            Stage::Reserved(claim) => TakeOutcome::Taken(claim, waited),
            stage => unreachable!("it had its places: {stage:?}"),
        }
    }

    /// For how long it has been in here, as far as somebody wants to know.
    fn waited(&self, id: WaiterId, now: Tick) -> Waited {
        if !self.pauses.tracked {
            return Waited::default();
        }
        let Waiter { leaf, since, .. } = *self.waiter(id);
        let nodes = self.tree.path(leaf).map(|id| {
            let node = self.tree.node(id);
            (self.tree.base(node.spec), node)
        });
        let nodes: Vec<_> = nodes.collect();
        let paused = self.pauses.within(&nodes, since, now);
        Waited::in_queue(now.since(since), paused)
    }

    /// A waiter's future was dropped.
    pub(in crate::admission) fn cancel(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        fx.caller = Some(id);
        let leaf = self.waiter(id).leaf;
        match self.waiter(id).stage {
            Stage::Queued => self.leave_queue(id),
            Stage::Absent => self.uncount(id),
            Stage::Offered(_) | Stage::Reserved(_) => self.give_up_claim(id, now, fx),
            Stage::Refused(_) => {}
        }
        self.settle(leaf, now, fx);
        self.remove(id, fx);
    }

    /// What a waiter that is being polled finds.
    pub(super) fn outcome(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) -> WaitOutcome {
        self.shut_out_if_closed(id, now, fx);
        let leaf = self.waiter(id).leaf;
        self.loses_slot(id, now, fx);
        let offered = matches!(self.waiter(id).stage, Stage::Offered(_));
        if offered && matches!(self.review_claim(id, now, fx), Review::Unfinished) {
            // It is woken to go on.
            self.ask(id, now, fx);
            return WaitOutcome::Wait { id, timed: true };
        }
        loop {
            let waiter = self.waiter(id);
            match waiter.stage {
                Stage::Queued if self.is_shut_out(id, now) || self.can_never_go(id) => {
                    self.refuse_late(id, now, fx);
                    self.settle(leaf, now, fx);
                }
                Stage::Queued | Stage::Absent => {
                    let timed = waiter.limit.is_some()
                        || self.opens_at_a_time(leaf)
                        || self.tree.is_paused(leaf, now);
                    return WaitOutcome::Wait { id, timed };
                }
                Stage::Reserved(_) => return WaitOutcome::Reserved(id),
                Stage::Refused(_) => match self.remove(id, fx).stage {
                    Stage::Refused(refused) => return WaitOutcome::Refused(refused),
                    stage => unreachable!("it was refused: {stage:?}"),
                },
                Stage::Offered(claim) => {
                    let key = waiter.key(id);
                    let queue = self.tree.node(leaf).wait_queue.as_ref();
                    let queue = queue.expect("somebody leaves");
                    let first = queue.first_leaving(&self.links).unwrap_or(key);
                    let first = self.head_of(first);
                    if first == id {
                        self.stop_leaving(leaf, key, now, fx);
                        self.waiter_mut(id).stage = Stage::Reserved(claim);
                        self.await_presence(id, now);
                        if self.overdue.is_empty() && !self.tree.counts_together() {
                            self.tidy(leaf);
                        } else {
                            // It may have been the last before the head, which can take over what is overdue. And
                            // moved requests go behind it.
                            self.settle(leaf, now, fx);
                        }
                    } else if !self.is_overdue(first) {
                        // An older one has its places too, and has yet to be polled: it goes first.
                        return WaitOutcome::Wait { id, timed: true };
                    } else if fx.spend() {
                        self.revoke(first, now, fx);
                    } else {
                        // There are many late ones. It is woken to go on.
                        self.ask(id, now, fx);
                        return WaitOutcome::Wait { id, timed: true };
                    }
                }
            }
        }
    }

    fn opens_at_a_time(&self, leaf: NodeId) -> bool {
        self.tree.path(leaf).any(|id| {
            let queue = self.tree.node(id).wait_queue.as_ref();
            queue.is_some_and(|queue| queue.opens.is_some())
        })
    }

    /// Calls a request that has its places back if a pause has begun since, or if a new quota has no room for
    /// it.
    ///
    /// The last of its endpoint make room for those before them, and are called back first.
    fn review_claim(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) -> Review {
        let (leaf, order) = (self.waiter(id).leaf, self.waiter(id).order());
        let Some(claim) = self.waiter(id).claim() else {
            return Review::Keeps;
        };
        if self.tree.calls_back(claim, now) || self.stands_in_the_way(claim, order, now) {
            self.put_back(id, now, fx);
            return Review::CalledBack;
        }
        let mut made_room = false;
        let review = loop {
            if self.tree.still_fits(claim, now) {
                break Review::Keeps;
            }
            let Some(last) = self.claimants.last_after(leaf, order, id) else {
                break Review::CalledBack;
            };
            if !fx.spend() {
                // Those that were called back stay where they are until the rest is done: who costs nothing of what is
                // lacking would be admitted again at once, and called back again, for ever. The queue is brought up to
                // date when this one goes back, or goes out.
                return Review::Unfinished;
            }
            self.call_back(last, now, fx);
            made_room = true;
        };
        if made_room {
            // Their turns may come too late by now.
            let after = Progress::Begun;
            self.work.push(Task::Recheck { node: leaf, after });
        }
        if matches!(review, Review::CalledBack) {
            self.put_back(id, now, fx);
        } else if made_room {
            self.settle(leaf, now, fx);
        }
        review
    }

    /// Whether one that goes before this one waits for what this one has: it was called back, and there is less by now.
    fn stands_in_the_way(&self, claim: Claim, order: Order, now: Tick) -> bool {
        let queue = self.tree.node(claim.leaf).wait_queue.as_ref();
        let first = queue.and_then(|queue| queue.first(&self.links));
        let Some(first) = first.filter(|first| first.order < order) else {
            return false;
        };
        let first = self.head_of(first);
        if !self.waiter(first).marks.has(Mark::CalledBack) {
            return false;
        }
        let demand = self.demand_of(first);
        self.tree.has_changed_since(claim) && !self.tree.is_open_for(claim.leaf, &demand, now)
    }

    /// Puts a request that has its places and has not gone out back into its place in the queue.
    fn call_back(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        self.give_up_claim(id, now, fx);
        let waiter = self.waiter_mut(id);
        waiter.stage = Stage::Queued;
        waiter.marks.set(Mark::CalledBack, true);
        // In wider scopes it is a head like any other again.
        waiter.kept_orders = [None; LEVELS];
        self.join_queue(id);
    }

    /// Has a request that has its places stand in its queue again if its slot is over.
    fn loses_slot(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) -> bool {
        let claim = self.waiter(id).claim();
        if claim.is_none_or(|claim| self.tree.lasts(claim, now)) {
            return false;
        }
        self.give_up_claim(id, now, fx);
        self.waiter_mut(id).stage = Stage::Queued;
        self.join_queue(id);
        let leaf = self.waiter(id).leaf;
        self.settle(leaf, now, fx);
        true
    }

    /// The same, and sees to what follows.
    fn put_back(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        self.call_back(id, now, fx);
        let leaf = self.waiter(id).leaf;
        self.settle(leaf, now, fx);
        let limit = self.waiter(id).limit;
        let in_vain = self.waiter(id).is_queued() && self.can_never_go(id);
        if in_vain || self.is_shut_out(id, now) {
            self.refuse_late(id, now, fx);
            self.settle(leaf, now, fx);
        } else if self.waiter(id).is_queued() && limit.is_some() {
            let (slot, _) = self.slot_of(id, now);
            if slot > limit.until {
                self.refuse_late(id, now, fx);
                self.settle(leaf, now, fx);
            }
        }
    }

    /// Takes from a waiter what it was admitted to. Where it stands is left to the caller.
    pub(super) fn give_up_claim(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        let waiter = self.waiter(id);
        let (leaf, key) = (waiter.leaf, waiter.key(id));
        let Some(claim) = waiter.claim() else { return };
        if matches!(waiter.stage, Stage::Offered(_)) {
            self.stop_leaving(leaf, key, now, fx);
        }
        self.forget_offer(id);
        self.claimants.remove(leaf, self.waiter(id).order(), id);
        if self.waiter(id).marks.has(Mark::Served) || self.waiter(id).has_counted() {
            let demand = self.tree.demand_of_claim(claim);
            self.uncount_turn(id, &demand);
            self.take_back(id, &demand);
        }
        self.tree.give_back(claim);
        let decider = fx.decider(id);
        self.tree
            .tell_by(decider, leaf, now, fx, || Decision::GivenBack);
    }

    fn insert(&mut self, entry: Entry, stage: Stage, now: Tick) -> WaiterId {
        let Entry {
            leaf,
            arrival,
            limit,
            max_waiting,
            asks:
                Asks {
                    cost,
                    priority,
                    flow,
                },
        } = entry;
        self.classed += usize::from(priority != Priority::NORMAL);
        let mut marks = Marks::default();
        marks.set(Mark::Flow, flow.is_some());
        marks.set(
            Mark::Sheddable,
            max_waiting.is_some() && priority != Priority::HIGH,
        );
        if self.waiters.len() == 0 {
            self.bodies.watch(now);
        }
        let id = WaiterId::new(self.waiters.insert(Waiter {
            leaf,
            arrival,
            priority,
            counted: Counted::default(),
            marks,
            stage,
            limit,
            since: now,
            offered: now,
            kept_orders: [None; LEVELS],
            absent_at: Tick::NEVER,
        }));
        self.tree.charges.state(id, cost.map(Box::new));
        if let Some(flow) = flow {
            steps::count_way_down(self.flow_of.len());
            self.flow_of.insert(id, flow);
        }
        id
    }

    /// Forgets a waiter that stands nowhere any more.
    fn remove(&mut self, id: WaiterId, fx: &mut Effects) -> Waiter {
        self.forget_offer(id);
        let waiter = self.waiters.remove(id.index());
        let waiter = waiter.expect("a future has one waiter at most");
        self.timers.set_limit(id, waiter.limit.until, Tick::NEVER);
        self.claimants.remove(waiter.leaf, waiter.order(), id);
        self.classed -= usize::from(waiter.priority != Priority::NORMAL);
        self.tree.charges.forget(id);
        if waiter.marks.has(Mark::Flow) {
            steps::count_way_down(self.flow_of.len());
            self.flow_of.remove(&id);
        }
        self.unpin(waiter.leaf);
        if matches!(waiter.stage, Stage::Refused(_)) {
            self.unheard.take(waiter.leaf);
        }
        fx.gone = Some(id);
        waiter
    }

    /// Takes its place in the queue of its leaf, and is counted all the way up.
    pub(super) fn join_queue(&mut self, id: WaiterId) {
        self.count(id);
        self.stand_in_queue(id);
        let until = self.waiter(id).limit.until;
        self.timers.set_limit(id, Tick::NEVER, until);
    }

    pub(super) fn flow_of(&self, id: WaiterId) -> Option<Flow> {
        if !self.waiter(id).marks.has(Mark::Flow) {
            return None;
        }
        steps::count_way_down(self.flow_of.len());
        self.flow_of.get(&id).copied()
    }

    /// The flow of a waiter, which stands in its queue yet, is given what that one takes.
    pub(super) fn serve(&mut self, id: WaiterId, demand: &Demand) {
        let leaf = self.waiter(id).leaf;
        let queue = self.tree.node(leaf).wait_queue.as_ref();
        if queue.is_none_or(|queue| queue.flows.is_none()) {
            return;
        }
        let flow = FlowId::new(self.waiter(id).priority, self.flow_of(id));
        let share = self.tree.share(leaf, demand);
        let queue = self.tree.node_mut(leaf).wait_queue.as_mut();
        if let Some(flows) = queue.and_then(|queue| queue.flows.as_mut()) {
            flows.serve(flow, share);
            self.waiter_mut(id).marks.set(Mark::Served, true);
        }
    }

    /// It gives that back.
    fn take_back(&mut self, id: WaiterId, demand: &Demand) {
        if !self.waiter(id).marks.has(Mark::Served) {
            return;
        }
        self.waiter_mut(id).marks.set(Mark::Served, false);
        let (leaf, flow) = (self.waiter(id).leaf, self.flow_of(id));
        let priority = self.waiter(id).priority;
        let share = i128::from(self.tree.share(leaf, demand));
        let queue = self.tree.node_mut(leaf).wait_queue.as_mut();
        if let Some(flows) = queue.and_then(|queue| queue.flows.as_mut()) {
            flows.charge(priority, flow, -share);
        }
    }

    pub(super) fn stand_in_queue(&mut self, id: WaiterId) {
        let waiter = self.waiter(id);
        let (leaf, key) = (waiter.leaf, waiter.key(id));
        let flow = self.flow_of(id);
        let queue = self.tree.node_mut(leaf).wait_queue.as_mut();
        let queue = queue.expect("it is counted here");
        queue.stand(&mut self.links, key, flow);
        self.tree.note_leaf(leaf);
        if self.tree.counts_together() && self.tree.has_heir(leaf) {
            self.move_later(id);
        }
    }

    pub(super) fn count(&mut self, id: WaiterId) {
        let waiter = &self.waiters[id.index()];
        let limited = usize::from(waiter.limit.is_some());
        let mut child = None;
        let mut next = Some(waiter.leaf);
        while let Some(id) = next {
            let node = self.tree.node_mut(id);
            let queue = node.wait_queue.get_or_insert_default();
            queue.waiting += 1;
            queue.limited += limited;
            if let Some(child) = child {
                steps::count_way_down(queue.children.len());
                queue.children.insert(child);
            }
            child = Some(id);
            next = node.parent;
        }
        self.set_sheddable(id, true);
    }

    /// Has a waiter be among those that may be refused for one of a higher class, or not any more.
    fn set_sheddable(&mut self, id: WaiterId, is_there: bool) {
        let waiter = self.waiter(id);
        if !waiter.marks.has(Mark::Sheddable) {
            return;
        }
        let (leaf, key) = (waiter.leaf, waiter.key(id));
        let queue = self.tree.node_mut(leaf).wait_queue.as_mut();
        let queue = queue.expect("it is counted here");
        if is_there {
            queue.sheddable.insert(&mut self.links, key);
        } else {
            queue.sheddable.remove(&mut self.links, &key);
        }
    }

    pub(super) fn uncount(&mut self, id: WaiterId) {
        self.set_sheddable(id, false);
        let waiter = &self.waiters[id.index()];
        let limited = usize::from(waiter.limit.is_some());
        self.tree.each(waiter.leaf, |node, _, _| {
            let queue = node.wait_queue.as_mut().expect("somebody waits here");
            queue.waiting -= 1;
            queue.limited -= limited;
        });
    }

    /// Takes a waiter out of its queue. Tickets are for [`settle`](Self::settle) to bring up to date.
    pub(super) fn leave_queue(&mut self, id: WaiterId) {
        self.stand_aside(id);
        self.uncount(id);
    }

    pub(super) fn stand_aside(&mut self, id: WaiterId) {
        let waiter = self.waiter(id);
        let (leaf, key) = (waiter.leaf, waiter.key(id));
        let flow = self.flow_of(id);
        let queue = self.tree.node_mut(leaf).wait_queue.as_mut();
        let queue = queue.expect("it waits here");
        let known = queue.stand_aside(&mut self.links, &key, flow);
        debug_assert!(known, "it stands in the queue");
        self.tree.note_leaf(leaf);
    }

    /// Takes a request from those that are leaving, and lets the next one leave.
    fn stop_leaving(&mut self, leaf: NodeId, key: QueueKey, now: Tick, fx: &mut Effects) {
        let queue = self.tree.node_mut(leaf).wait_queue.as_mut();
        let queue = queue.expect("it has somebody leaving");
        let first = queue.leaving.first(&self.links);
        let was_first = first.is_none_or(|first| key <= first);
        if !queue.leaving.remove(&mut self.links, &key) {
            queue.late.remove(&mut self.links, &key);
        }
        let newly = queue.leaving.nth(&self.links, AT_ONCE - 1);
        let asked = was_first && self.let_leave(leaf, now, fx);
        if let Some(Contender::Waiter(newly)) = newly.map(|newly| newly.contender) {
            // Where they leave one by one, it would be polled before its turn.
            if !asked {
                self.ask(newly, now, fx);
            }
        }
    }

    /// Has a request fetch its places, if it has not been asked yet.
    ///
    /// Returns whether it had not been.
    pub(super) fn ask(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) -> bool {
        let asks = self.waiter(id).absent_at == Tick::NEVER && !self.is_overdue(id);
        if asks {
            self.await_presence(id, now);
            fx.wake(id);
        }
        asks
    }

    /// Has the oldest that leaves a leaf know that it can: all older ones have left, or are late.
    ///
    /// Returns whether it had to be asked for it: it was polled before its turn, or not asked at all.
    pub(super) fn let_leave(&mut self, leaf: NodeId, now: Tick, fx: &mut Effects) -> bool {
        let next = self.next_to_leave(leaf);
        next.is_some_and(|next| self.ask(next, now, fx))
    }

    /// A waiter has waited for as long as it is prepared to.
    pub(super) fn limit_passed(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        let waiter = self.waiter(id);
        let (leaf, until) = (waiter.leaf, waiter.limit.until);
        // With places it has nothing to wait for but its own inner service.
        let waits = waiter.is_waiting();
        self.timers.set_limit(id, until, Tick::NEVER);
        if waits {
            self.turn_away(id, RefusedReason::WaitedTooLong, now, fx);
            self.settle(leaf, now, fx);
        }
    }
}

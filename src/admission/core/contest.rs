//! Who goes next: how a change at a node is carried to the root, and offers made to heads.

use super::{
    charge::Needs,
    claim::Claim,
    effects::{Decision, Effects},
    ids::{Contender, NodeId, Order, QueueKey, WaiterId},
    node::{Opens, Seat, Ticket},
    queue::AT_ONCE,
    scope::SCOPES,
    state::Core,
    task::Task,
    waiter::{LEVELS, Stage, Waiter},
};
use crate::{
    bucket::{Demand, Gate, Tick},
    costs::{Asks, Priority},
    steps,
};

/// What a node says about the head of a seat.
#[derive(Clone, Copy)]
enum Head {
    /// The gate is open for it.
    Goes(WaiterId),
    /// The gate is closed for it.
    Waits(WaiterId),
    /// The gate opens at a time for which it is not prepared to wait.
    Hopeless(WaiterId),
}

impl Head {
    fn waiter(self) -> WaiterId {
        match self {
            Self::Goes(waiter) | Self::Waits(waiter) | Self::Hopeless(waiter) => waiter,
        }
    }
}

/// The heads of a node, each with its seat, in the order in which they go. Almost always there is one.
#[derive(Default)]
struct Heads {
    first: Option<(Seat, Head)>,
    others: Vec<(Seat, Head)>,
}

impl Heads {
    fn push(&mut self, head: (Seat, Head)) {
        if self.first.is_none() {
            self.first = Some(head);
        } else {
            self.others.push(head);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Seat, Head)> {
        self.first.into_iter().chain(self.others.iter().copied())
    }

    /// Whether anyone goes of a seat.
    fn goes(&self, seat: Seat) -> bool {
        self.iter()
            .any(|(of, head)| of == seat && matches!(head, Head::Goes(_)))
    }
}

/// So many of each seat are looked at, where there are several. Those behind them are taken to wait for all units that
/// they need: they are not passed, where they might be.
const LOOK: usize = 8;

/// Who stands in one of the lines of a node.
#[derive(Clone, Copy)]
struct Standing {
    key: QueueKey,
    /// That of its line.
    seat: Seat,
    /// Whether it is the head.
    is_first: bool,
    /// Whether it stands for itself alone, and not for all behind it as well.
    is_one: bool,
}

/// Sets the timer of a node to the earliest. Of heads that can go at one instant the oldest goes first.
fn watch(opens: &mut Option<Opens>, this: Opens) {
    *opens = Some(opens.map_or(this, |other| other.min(this)));
}

/// What comes of a look at a node.
enum Passed {
    /// Its parent knows who would be next here.
    Up(NodeId),
    /// It is the root, and this one has every gate open.
    Out(Option<WaiterId>),
    /// This one is not prepared to wait for its turn.
    Hopeless(WaiterId),
}

impl Core {
    /// Brings everything from `start` up to the root up to date after a change there, and offers their
    /// places to all who can go.
    ///
    /// Going up, each node is asked who would be next, and whether its own gate is open for that one. If
    /// so the node takes a ticket in its parent's queue; if not it leaves that queue. A head that arrives
    /// at the root has every gate open, and is offered its places in one step. That changes nothing
    /// outside its own path, so the walk starts again from its leaf. So it does when a head is refused.
    ///
    /// A ticket may be older than a pause or a quota. Then some gate below is closed for the head that
    /// arrives, and the walk starts again there. It ends at a root that lets nobody go. What the budget does
    /// not allow is left to another hold.
    pub(super) fn settle(&mut self, start: NodeId, now: Tick, fx: &mut Effects) {
        self.tell_kin(start, now);
        let mut id = start;
        loop {
            let winner = match self.pass(id, now, fx) {
                Passed::Up(parent) => {
                    id = parent;
                    continue;
                }
                Passed::Hopeless(waiter) => {
                    if !fx.spend() {
                        self.leave_seats_of_gone(id);
                        return self.work.push(Task::Settle(id));
                    }
                    let leaf = self.waiter(waiter).leaf;
                    self.refuse_head(waiter, now, fx);
                    id = leaf;
                    continue;
                }
                Passed::Out(None) => {
                    self.tidy(id);
                    return self.tell_kin(start, now);
                }
                // It is about to be refused.
                Passed::Out(Some(_)) if self.tree.closed => return self.tidy(id),
                Passed::Out(Some(winner)) => winner,
            };
            if !fx.spend() {
                return self.work.push(Task::Settle(id));
            }
            // A quota or a pause of a whole scope is carried to its nodes one by one: a ticket may be
            // older than that.
            let leaf = self.waiter(winner).leaf;
            let demand = self.demand_of(winner);
            let is_closed = |&id: &NodeId| !self.tree.is_open_for(id, &demand, now);
            let is_granted = self.tree.slot_gate(leaf, &demand, now) == Gate::Open;
            let closed = self.tree.path(leaf).find(is_closed);
            let closed = closed.or((!is_granted).then_some(leaf));
            if closed.is_none() {
                self.offer(winner, demand, now, fx);
            }
            id = closed.unwrap_or(leaf);
        }
    }

    /// Tells a node's parent who would be next here.
    fn pass(&mut self, id: NodeId, now: Tick, fx: &mut Effects) -> Passed {
        let heads = self.heads(id, now);
        if self.tree.observed {
            let lacks = |(_, head): (_, Head)| self.lacks_permit(id, head.waiter(), now);
            let is_pressed = heads.iter().any(lacks);
            self.note_press(id, is_pressed, now);
        }
        for (_, head) in heads.iter() {
            match head {
                Head::Hopeless(waiter) => return Passed::Hopeless(waiter),
                Head::Waits(waiter) => self.invite(id, waiter, now, fx),
                Head::Goes(_) => {}
            }
        }
        let Some(parent) = self.tree.node(id).parent else {
            let mut goes = heads.iter().filter_map(|(_, head)| match head {
                Head::Goes(waiter) => Some(waiter),
                _ => None,
            });
            return Passed::Out(goes.next());
        };
        self.leave_seats(id, parent, &heads);
        // They come to the parent in the order in which they came here.
        for (seat, head) in heads.iter() {
            let Head::Goes(head) = head else { continue };
            let is_new = self.take_seat(id, seat, parent, head);
            // What it waits for has changed, and may come too late (law L10).
            if is_new && self.is_hopeless(head, now) {
                return Passed::Hopeless(head);
            }
        }
        self.tidy(id);
        Passed::Up(parent)
    }

    /// Who goes next through this node, as far as it is open. If it opens later, a timer is set.
    fn heads(&mut self, id: NodeId, now: Tick) -> Heads {
        let mut heads = Heads::default();
        let Some(queue) = &self.tree.node(id).wait_queue else {
            return heads;
        };
        let opened = queue.opens;
        let mut opens: Option<Opens> = None;
        if self.yields_to_kin(id) {
            self.set_opens(id, opened, None);
            return heads;
        }
        let Some(queue) = &self.tree.node(id).wait_queue else {
            return heads;
        };
        if queue.is_uniform() {
            if let Some(first) = queue.queue.first(&self.links) {
                let seat = Seat {
                    priority: first.order.priority(),
                    ..Seat::USUAL
                };
                let head = self.head_of(first);
                let demand = self.demand_of(head);
                let gate = self.tree.gate(id, &demand, now);
                let head = self.head_at(head, gate, &mut opens, now);
                heads.push((seat, head));
            }
        } else {
            self.mixed_heads(id, now, &mut heads, &mut opens);
        }
        self.set_opens(id, opened, opens);
        heads
    }

    /// What a gate means for a head, which waits until it opens.
    fn head_at(&self, head: WaiterId, gate: Gate, opens: &mut Option<Opens>, now: Tick) -> Head {
        let waiter = self.waiter(head);
        match gate {
            Gate::Open => Head::Goes(head),
            Gate::Until(tick) => {
                watch(opens, (tick, waiter.order()));
                // A lesson about permits ends by itself at that time, and a permit may be free long before.
                if tick > waiter.limit.until && self.is_hopeless(head, now) {
                    Head::Hopeless(head)
                } else {
                    Head::Waits(head)
                }
            }
            Gate::Closed => Head::Waits(head),
        }
    }

    /// The heads where there are several seats. Each waits behind all that go before it and wait for what it needs.
    #[cold]
    fn mixed_heads(&self, id: NodeId, now: Tick, heads: &mut Heads, opens: &mut Option<Opens>) {
        let is_leaf =
            (self.tree.node(id).wait_queue.as_ref()).is_some_and(|queue| queue.children.is_empty());
        let mut standing = self.standing(id);
        let picked = self.picked(id);
        if let Some(picked) = picked {
            standing.sort_unstable_by_key(|standing| (standing.key != picked, standing.key));
        }
        let mut blocked = Needs::NONE;
        for Standing {
            key,
            seat,
            is_first,
            is_one,
        } in standing
        {
            let head = self.head_of(key);
            if is_first && blocked.meets(seat.line) {
                heads.push((seat, Head::Waits(head)));
            }
            if !is_one {
                // And more that are not looked at: they may wait for any unit.
                blocked = blocked.and(seat.line.units());
                continue;
            }
            let demand = self.demand_of(head);
            let gate = self.tree.gate(id, &demand, now);
            if is_first && !blocked.meets(seat.line) {
                heads.push((seat, self.head_at(head, gate, opens, now)));
            }
            let holds_up = gate != Gate::Open || picked == Some(key);
            if is_leaf && holds_up {
                // Within an endpoint nobody passes it. Wider scopes would not know whom this one has picked.
                blocked = Needs::ALL;
            } else if gate != Gate::Open {
                let (closed, changes) = self.closed_to(id, &demand, now);
                blocked = blocked.and(closed);
                // What it waits for no more, others wait for no more.
                if let Some(changes) = changes {
                    watch(opens, (changes, self.waiter(head).order()));
                }
            } else if holds_up {
                blocked = blocked.and(self.tree.charges.needs(&demand));
            }
        }
    }

    /// The first few of each seat that stand at a node, in the order in which they go.
    fn standing(&self, id: NodeId) -> Vec<Standing> {
        let mut all = Vec::new();
        let Some(queue) = &self.tree.node(id).wait_queue else {
            return all;
        };
        // Where all need the same, as at a leaf, nobody passes a head.
        let look = if queue.lines().nth(1).is_none() {
            0
        } else {
            LOOK
        };
        for (needs, line) in queue.lines() {
            for priority in Priority::ALL {
                let seat = Seat {
                    line: needs,
                    priority,
                };
                let mut next = queue.first_of(&self.links, needs, priority);
                for n in 0..=look {
                    let Some(key) = next else { break };
                    all.push(Standing {
                        key,
                        seat,
                        is_first: n == 0,
                        is_one: n < LOOK,
                    });
                    next = line.after(&self.links, &key);
                    next = next.filter(|next| next.order.priority() == priority);
                }
            }
        }
        all.sort_unstable_by_key(|standing| standing.key);
        all
    }

    /// Of what a node has no room for a request: others that need some of it wait behind that one.
    ///
    /// And when that changes next, as far as it is known.
    fn closed_to(&self, id: NodeId, demand: &Demand, now: Tick) -> (Needs, Option<Tick>) {
        let gate = |demand: &Demand| self.tree.gate(id, demand, now);
        match gate(&Demand::NOTHING) {
            Gate::Open => {}
            Gate::Until(tick) => return (Needs::ALL, Some(tick)),
            Gate::Closed => return (Needs::ALL, None),
        }
        let mut closed = (Needs::NONE, None::<Tick>);
        for (needs, part) in self.tree.charges.parts(demand) {
            let changes = match gate(&part) {
                Gate::Open => continue,
                Gate::Until(tick) => Some(tick),
                Gate::Closed => None,
            };
            let first = closed.1.into_iter().chain(changes).min();
            closed = (closed.0.and(needs), first);
        }
        closed
    }

    /// Whether a newcomer may go past those that wait at a node for what it needs none of.
    pub(super) fn lets_pass(&self, id: NodeId, leaf: NodeId, demand: &Demand, now: Tick) -> bool {
        let node = self.tree.node(id);
        if self.tree.has_kin_before(id) {
            return false;
        }
        if id == leaf || !node.has_contenders() {
            return !node.has_contenders();
        }
        let needs = self.tree.charges.needs(demand);
        self.standing(id).iter().all(|standing| {
            if !standing.is_one {
                return !standing.seat.line.units().meets(needs);
            }
            let demand = self.demand_of(self.head_of(standing.key));
            !self.closed_to(id, &demand, now).0.meets(needs)
        })
    }

    /// Admits a newcomer if every scope has room for it, and nobody stands before it who waits for the same.
    pub(in crate::admission) fn admit(
        &mut self,
        leaf: NodeId,
        asks: Option<&Asks>,
        now: Tick,
    ) -> Option<Claim> {
        if self.tree.closed {
            return None;
        }
        let stated = asks.and_then(|asks| asks.cost.as_ref());
        if stated.is_none() && self.tree.charges.are_plain() {
            let claim = self.tree.admit_plain(leaf, now);
            if claim.is_some() || !self.tree.counts_together() {
                return claim;
            }
        }
        if stated.is_some_and(|stated| self.tree.never_fits(leaf, stated).is_some()) {
            return None;
        }
        let demand = self.tree.demand(leaf, stated);
        let goes = |id: NodeId| {
            self.tree.is_open_for(id, &demand, now) && self.lets_pass(id, leaf, &demand, now)
        };
        let is_granted = self.tree.slot_gate(leaf, &demand, now) == Gate::Open;
        if !is_granted || !self.tree.path(leaf).all(goes) {
            return None;
        }
        let claim = self.tree.take_all(leaf, demand);
        if let Some(asks) = asks {
            self.tree.note_flow(claim, asks.priority, asks.flow);
        }
        Some(claim)
    }

    pub(super) fn head_of(&self, first: QueueKey) -> WaiterId {
        match first.contender {
            Contender::Waiter(waiter) => waiter,
            Contender::Child(child) => {
                let mut tickets = self.tree.node(child).tickets();
                let ticket = tickets.find(|ticket| ticket.order == first.order);
                ticket.expect("a child in a queue has a ticket").head
            }
        }
    }

    fn set_opens(&mut self, id: NodeId, before: Option<Opens>, opens: Option<Opens>) {
        if before == opens {
            return;
        }
        self.timers.set_gate(id, before, opens);
        if let Some(queue) = &mut self.tree.node_mut(id).wait_queue {
            queue.opens = opens;
        }
    }

    /// Takes a node out of its parent's queue where it has nobody who goes.
    fn leave_seats(&mut self, id: NodeId, parent: NodeId, heads: &Heads) {
        while let Some((seat, ticket)) = self.seat_without(id, heads) {
            self.set_ticket(id, seat, parent, Some(ticket), None);
        }
    }

    /// Another hold goes on with this node. Until then it and wider ones stand for nobody who does not wait any more.
    fn leave_seats_of_gone(&mut self, id: NodeId) {
        let path: [Option<NodeId>; SCOPES] = {
            let mut path = self.tree.path(id);
            std::array::from_fn(|_| path.next())
        };
        for id in path.into_iter().flatten() {
            let Some(parent) = self.tree.node(id).parent else {
                return;
            };
            while let Some((seat, ticket)) = self.seat_of_gone(id) {
                self.set_ticket(id, seat, parent, Some(ticket), None);
            }
        }
    }

    fn seat_of_gone(&self, id: NodeId) -> Option<(Seat, Ticket)> {
        let queue = self.tree.node(id).wait_queue.as_ref()?;
        let waits = |id: WaiterId| self.waiters.get(id.index()).is_some_and(Waiter::is_queued);
        queue.seats().find(|(_, ticket)| !waits(ticket.head))
    }

    fn seat_without(&self, id: NodeId, heads: &Heads) -> Option<(Seat, Ticket)> {
        let queue = self.tree.node(id).wait_queue.as_ref()?;
        queue.seats().find(|(seat, _)| !heads.goes(*seat))
    }

    /// Makes `head` the request for which this node stands in a seat of its parent's queue.
    ///
    /// One that follows on a request that has had its turn gets a new ticket, behind those that are there already. One
    /// that is there instead of another keeps the other's. One that was absent comes back to the place that it had in
    /// this queue.
    ///
    /// Returns whether it is a new one.
    fn take_seat(&mut self, id: NodeId, seat: Seat, parent: NodeId, head: WaiterId) -> bool {
        let queue = self.tree.node(id).wait_queue.as_ref();
        let before = queue.and_then(|queue| queue.ticket(seat));
        if before.is_some_and(|before| before.head == head) {
            return false;
        }
        let needs = self.needs_of(head, seat.line);
        let kept = self.take_kept_order(id, head).or_else(|| {
            let before = before.filter(|before| !self.had_its_turn(before.head))?;
            (before.needs == needs).then_some(before.order)
        });
        let order = kept.unwrap_or_else(|| {
            self.next_ticket += 1;
            Order::new(seat.priority, self.next_ticket)
        });
        let ticket = Ticket { order, head, needs };
        self.set_ticket(id, seat, parent, before, Some(ticket));
        true
    }

    /// Whether a request that was a head is none any more because it was offered its turn.
    fn had_its_turn(&self, id: WaiterId) -> bool {
        let waiter = self.waiters.get(id.index());
        !waiter.is_some_and(|waiter| matches!(waiter.stage, Stage::Queued | Stage::Refused(_)))
    }

    fn set_ticket(
        &mut self,
        id: NodeId,
        seat: Seat,
        parent: NodeId,
        before: Option<Ticket>,
        ticket: Option<Ticket>,
    ) {
        let contender = Contender::Child(id);
        let place = |ticket: Ticket| {
            (
                ticket.needs,
                QueueKey {
                    order: ticket.order,
                    contender,
                },
            )
        };
        let (from, to) = (before.map(place), ticket.map(place));
        if from != to {
            let node = self.tree.node_mut(parent);
            let queue = node.wait_queue.as_mut();
            let queue = queue.expect("somebody waits here or below");
            if let Some((needs, key)) = from {
                queue.line_mut(needs).remove(&mut self.links, &key);
            }
            if let Some((needs, key)) = to {
                queue.line_mut(needs).insert(&mut self.links, key);
            }
        }
        if let Some(queue) = &mut self.tree.node_mut(id).wait_queue {
            queue.set_ticket(seat, ticket);
        }
    }

    /// The needs of a head: those of the line in which it stands, above its leaf.
    fn needs_of(&self, head: WaiterId, line: Needs) -> Needs {
        if line != Needs::DEFAULT || self.tree.charges.are_plain() {
            return line;
        }
        self.tree.charges.needs(&self.demand_of(head))
    }

    /// Has a waiter come back to the places that it has as a head, should it be absent.
    pub(super) fn keep_orders(&mut self, id: WaiterId) {
        let waiter = self.waiter(id);
        let mut kept = waiter.kept_orders;
        for (kept, node) in kept.iter_mut().zip(self.tree.path(waiter.leaf)) {
            let mut tickets = self.tree.node(node).tickets();
            if let Some(Ticket { order, .. }) = tickets.find(|ticket| ticket.head == id) {
                *kept = Some(order);
            }
        }
        self.waiter_mut(id).kept_orders = kept;
    }

    /// The place to which a head comes back above this node, if there is one.
    fn take_kept_order(&mut self, id: NodeId, head: WaiterId) -> Option<Order> {
        let waiter = self.waiter(head);
        if waiter.kept_orders == [None; LEVELS] {
            return None;
        }
        let level = self.tree.path(waiter.leaf).position(|node| node == id)?;
        self.waiter_mut(head).kept_orders[level].take()
    }

    /// Whether the turn of a head is known to come later than it is prepared to wait.
    fn is_hopeless(&self, head: WaiterId, now: Tick) -> bool {
        let limit = self.waiter(head).limit;
        limit.is_some() && self.slot_of(head, now).0 > limit.until
    }

    /// Frees the queues of nodes at which nobody waits any more, from `start` up.
    pub(super) fn tidy(&mut self, start: NodeId) {
        let mut next = Some(start);
        while let Some(id) = next {
            let Some(queue) = &mut self.tree.node_mut(id).wait_queue else {
                return;
            };
            queue.clear_lines();
            let here = queue.waiting > 0 || queue.has_queued();
            // Where somebody has yet to leave, newcomers have to stand behind. And a ticket is for
            // `settle` to give back first.
            if here || queue.has_leaving() || queue.tickets().next().is_some() {
                return;
            }
            if !queue.children.is_empty() {
                return;
            }
            let opens = queue.opens;
            self.discarded
                .extend(queue.flows.take().map(|flows| *flows));
            self.timers.set_gate(id, opens, None);
            let node = self.tree.node_mut(id);
            match &mut node.wait_queue {
                Some(queue) if queue.watched > 0 => queue.opens = None,
                queue => *queue = None,
            }
            next = node.parent;
            if let Some(parent) = next {
                if let Some(queue) = &mut self.tree.node_mut(parent).wait_queue {
                    steps::count_way_down(queue.children.len());
                    queue.children.remove(&id);
                }
            }
            // More go from the end of the store than are freed.
            for _ in 0..4 {
                let _ = self.links.compact_step();
            }
        }
    }

    /// Gives a head its places. Its future fetches them, and leaves when all older ones have.
    fn offer(&mut self, id: WaiterId, demand: Demand, now: Tick, fx: &mut Effects) {
        self.count_turn(id, &demand);
        self.serve(id, &demand);
        self.keep_orders(id);
        self.leave_queue(id);
        let (leaf, priority) = (self.waiter(id).leaf, self.waiter(id).priority);
        let claim = self.tree.take_all(leaf, demand);
        self.tree.note_flow(claim, priority, self.flow_of(id));
        self.claimants.insert(leaf, self.waiter(id).order(), id);
        let waiter = self.waiter_mut(id);
        waiter.stage = Stage::Offered(claim);
        waiter.offered = now;
        let key = waiter.key(id);
        let time = now.since(waiter.since);
        let queue = self.tree.node_mut(leaf).wait_queue.as_mut();
        let queue = queue.expect("it was waiting here");
        queue.leaving.insert(&mut self.links, key);
        let older = queue.leaving.rank(&self.links, &key);
        if older < AT_ONCE {
            self.ask(id, now, fx);
        }
        let told = || Decision::Admitted { waited: time };
        let decider = fx.decider(id);
        self.tree.tell_by(decider, leaf, now, fx, told);
    }
}

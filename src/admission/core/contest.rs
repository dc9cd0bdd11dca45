//! Who goes next: how a change at a node is carried to the root, and offers made to heads.

use super::{
    charge::Class,
    claim::Claim,
    effects::{Decision, Effects},
    ids::{Contender, NodeId, QueueKey, WaiterId},
    node::{Opens, Ticket},
    queue::AT_ONCE,
    state::Core,
    task::Task,
    waiter::{LEVELS, Stage},
};
use crate::{
    bucket::{Demand, Gate, Tick},
    costs::Cost,
    steps,
};

/// What a node says about the head of one of its queues.
#[derive(Clone, Copy)]
enum Head {
    /// The gate is open for it.
    Goes(WaiterId),
    /// The gate is closed for it.
    Waits(WaiterId),
    /// The gate opens at a time for which it is not prepared to wait.
    Hopeless(WaiterId),
}

/// The heads of a node's queues, in the order of their tickets, each with the class of its queue. Almost always
/// there is one queue.
#[derive(Default)]
struct Heads {
    first: Option<(Class, Head)>,
    others: Vec<(Class, Head)>,
}

impl Heads {
    fn push(&mut self, head: (Class, Head)) {
        if self.first.is_none() {
            self.first = Some(head);
        } else {
            self.others.push(head);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Class, Head)> {
        self.first.into_iter().chain(self.others.iter().copied())
    }

    /// Who goes of a queue.
    fn of(&self, class: Class) -> Option<WaiterId> {
        self.iter().find_map(|(of, head)| match head {
            Head::Goes(waiter) if of == class => Some(waiter),
            _ => None,
        })
    }
}

/// So many of each class are looked at, where there are several. Those behind them are taken to wait for all units of
/// their class: they are not passed, where they might be.
const LOOK: usize = 8;

/// Who stands in one of the queues of a node.
#[derive(Clone, Copy)]
struct Standing {
    key: QueueKey,
    class: Class,
    /// Whether it is the first of its class.
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
        let mut id = start;
        loop {
            let winner = match self.pass(id, now, fx) {
                Passed::Up(parent) => {
                    id = parent;
                    continue;
                }
                Passed::Hopeless(waiter) => {
                    if !fx.spend() {
                        return self.work.push(Task::Settle(id));
                    }
                    let leaf = self.waiter(waiter).leaf;
                    self.refuse_head(waiter, now, fx);
                    id = leaf;
                    continue;
                }
                Passed::Out(None) => return self.tidy(id),
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
            let closed = self.tree.path(leaf).find(is_closed);
            if closed.is_none() {
                self.offer(winner, demand, now, fx);
            }
            id = closed.unwrap_or(leaf);
        }
    }

    /// Tells a node's parent who would be next here.
    fn pass(&mut self, id: NodeId, now: Tick, fx: &mut Effects) -> Passed {
        let heads = self.heads(id, now);
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
        let seats = self.tree.node(id).wait_queue.as_ref();
        let seats: Vec<_> = seats.map_or_else(Vec::new, |queue| {
            queue.seats().iter().map(|seat| seat.class).collect()
        });
        for class in [Class::DEFAULT].into_iter().chain(seats) {
            if heads.of(class).is_none() {
                self.set_ticket(id, class, parent, None);
            }
        }
        // They come to the parent in the order in which they came here.
        for (class, head) in heads.iter() {
            let Head::Goes(head) = head else { continue };
            let is_new = self.set_ticket(id, class, parent, Some(head));
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
        if queue.seats().is_empty() {
            if let Some(first) = queue.queue.first(&self.links) {
                let head = self.head_of(first);
                let demand = self.demand_of(head);
                let gate = self.tree.gate(id, &demand, now);
                let head = self.head_at(head, gate, &mut opens);
                heads.push((Class::DEFAULT, head));
            }
        } else {
            self.heads_of_classes(id, now, &mut heads, &mut opens);
        }
        self.set_opens(id, opened, opens);
        heads
    }

    /// What a gate means for a head, which waits until it opens.
    fn head_at(&self, head: WaiterId, gate: Gate, opens: &mut Option<Opens>) -> Head {
        let waiter = self.waiter(head);
        match gate {
            Gate::Open => Head::Goes(head),
            Gate::Until(tick) => {
                watch(opens, (tick, waiter.arrival));
                if tick > waiter.limit.until {
                    Head::Hopeless(head)
                } else {
                    Head::Waits(head)
                }
            }
            Gate::Closed => Head::Waits(head),
        }
    }

    /// The heads of queues of several classes. Each waits behind all that came before it and wait for what it needs.
    #[cold]
    fn heads_of_classes(
        &self,
        id: NodeId,
        now: Tick,
        heads: &mut Heads,
        opens: &mut Option<Opens>,
    ) {
        let mut blocked = Class::NONE;
        for Standing {
            key,
            class,
            is_first,
            is_one,
        } in self.standing(id)
        {
            let head = self.head_of(key);
            if is_first && blocked.meets(class) {
                heads.push((class, Head::Waits(head)));
            }
            if !is_one {
                // And more that are not looked at: they may wait for any unit.
                blocked = blocked.and(class.units());
                continue;
            }
            let demand = self.demand_of(head);
            let gate = self.tree.gate(id, &demand, now);
            if is_first && !blocked.meets(class) {
                heads.push((class, self.head_at(head, gate, opens)));
            }
            if gate != Gate::Open {
                let (closed, changes) = self.closed_to(id, &demand, now);
                blocked = blocked.and(closed);
                // What it waits for no more, others wait for no more.
                if let Some(changes) = changes {
                    watch(opens, (changes, self.waiter(head).arrival));
                }
            }
        }
    }

    /// The first few of each class that stand at a node, in the order in which they got there.
    fn standing(&self, id: NodeId) -> Vec<Standing> {
        let mut all = Vec::new();
        let Some(queue) = &self.tree.node(id).wait_queue else {
            return all;
        };
        let default = (Class::DEFAULT, &queue.queue);
        let seats = queue.seats().iter().map(|seat| (seat.class, &seat.queue));
        for (class, queue) in [default].into_iter().chain(seats) {
            let mut next = queue.first(&self.links);
            for n in 0..=LOOK {
                let Some(key) = next else { break };
                all.push(Standing {
                    key,
                    class,
                    is_first: n == 0,
                    is_one: n < LOOK,
                });
                next = queue.after(&self.links, &key);
            }
        }
        all.sort_unstable_by_key(|standing| standing.key);
        all
    }

    /// Of what a node has no room for a request: others that need some of it wait behind that one.
    ///
    /// And when that changes next, as far as it is known.
    fn closed_to(&self, id: NodeId, demand: &Demand, now: Tick) -> (Class, Option<Tick>) {
        let gate = |demand: &Demand| self.tree.gate(id, demand, now);
        match gate(&Demand::NOTHING) {
            Gate::Open => {}
            Gate::Until(tick) => return (Class::ALL, Some(tick)),
            Gate::Closed => return (Class::ALL, None),
        }
        let mut closed = (Class::NONE, None::<Tick>);
        for (class, part) in self.tree.charges.parts(demand) {
            let changes = match gate(&part) {
                Gate::Open => continue,
                Gate::Until(tick) => Some(tick),
                Gate::Closed => None,
            };
            let first = closed.1.into_iter().chain(changes).min();
            closed = (closed.0.and(class), first);
        }
        closed
    }

    /// Whether a newcomer may go past those that wait at a node for what it needs none of.
    fn lets_pass(&self, id: NodeId, leaf: NodeId, demand: &Demand, now: Tick) -> bool {
        let node = self.tree.node(id);
        if id == leaf || !node.has_contenders() {
            return !node.has_contenders();
        }
        let class = self.tree.charges.class(demand);
        self.standing(id).iter().all(|standing| {
            if !standing.is_one {
                return !standing.class.units().meets(class);
            }
            let demand = self.demand_of(self.head_of(standing.key));
            !self.closed_to(id, &demand, now).0.meets(class)
        })
    }

    /// Admits a newcomer if every scope has room for it, and nobody stands before it who waits for the same.
    pub(in crate::admission) fn admit(
        &mut self,
        leaf: NodeId,
        stated: Option<&Cost>,
        now: Tick,
    ) -> Option<Claim> {
        if stated.is_none() && self.tree.charges.are_plain() {
            return self.tree.admit_plain(leaf, now);
        }
        if stated.is_some_and(|stated| self.tree.never_fits(leaf, stated).is_some()) {
            return None;
        }
        let demand = self.tree.demand(leaf, stated);
        let goes = |id: NodeId| {
            self.tree.is_open_for(id, &demand, now) && self.lets_pass(id, leaf, &demand, now)
        };
        if !self.tree.path(leaf).all(goes) {
            return None;
        }
        Some(self.tree.take_all(leaf, demand))
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

    /// Makes `head` the request for which this node stands in its parent's queue.
    ///
    /// A new head gets a new ticket, behind those that are there already. One that was absent comes back to
    /// the place that it had in this queue.
    ///
    /// Returns whether there is a new one.
    fn set_ticket(
        &mut self,
        id: NodeId,
        of: Class,
        parent: NodeId,
        head: Option<WaiterId>,
    ) -> bool {
        let queue = self.tree.node_mut(id).wait_queue.as_mut();
        let ticket = queue.and_then(|queue| *queue.ticket_mut(of));
        if ticket.map(|ticket| ticket.head) == head {
            return false;
        }
        let contender = Contender::Child(id);
        let ticket_of_head = head.map(|head| {
            let order = self.take_kept_order(id, head).unwrap_or_else(|| {
                self.next_ticket += 1;
                self.next_ticket
            });
            let class = self.class_of(head, of);
            Ticket { order, head, class }
        });
        let node = self.tree.node_mut(parent);
        let queue = node.wait_queue.as_mut();
        let queue = queue.expect("somebody waits here or below");
        if let Some(Ticket { order, class, .. }) = ticket {
            let key = QueueKey { order, contender };
            queue.queue_of_mut(class).remove(&mut self.links, &key);
        }
        if let Some(Ticket { order, class, .. }) = ticket_of_head {
            let key = QueueKey { order, contender };
            queue.queue_of_mut(class).insert(&mut self.links, key);
        }
        if let Some(queue) = &mut self.tree.node_mut(id).wait_queue {
            *queue.ticket_mut(of) = ticket_of_head;
        }
        head.is_some()
    }

    /// The class of a head: that of the queue in which it stands, above its leaf.
    fn class_of(&self, head: WaiterId, of: Class) -> Class {
        if of != Class::DEFAULT || self.tree.charges.are_plain() {
            return of;
        }
        self.tree.charges.class(&self.demand_of(head))
    }

    /// Has a waiter come back to the places that it has as a head, should it be absent.
    pub(super) fn keep_orders(&mut self, id: WaiterId) {
        let waiter = self.waiter(id);
        let mut kept = waiter.kept_orders;
        for (kept, node) in kept.iter_mut().zip(self.tree.path(waiter.leaf)) {
            let mut tickets = self.tree.node(node).tickets();
            if let Some(Ticket { order, .. }) = tickets.find(|ticket| ticket.head == id) {
                *kept = order;
            }
        }
        self.waiter_mut(id).kept_orders = kept;
    }

    /// The place to which a head comes back above this node, if there is one.
    fn take_kept_order(&mut self, id: NodeId, head: WaiterId) -> Option<u64> {
        let waiter = self.waiter(head);
        if waiter.kept_orders == [0; LEVELS] {
            return None;
        }
        let level = self.tree.path(waiter.leaf).position(|node| node == id)?;
        let kept = std::mem::take(&mut self.waiter_mut(head).kept_orders[level]);
        (kept > 0).then_some(kept)
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
            queue.clear_seats();
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
            self.timers.set_gate(id, opens, None);
            let node = self.tree.node_mut(id);
            node.wait_queue = None;
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
        self.keep_orders(id);
        self.leave_queue(id);
        let leaf = self.waiter(id).leaf;
        let claim = self.tree.take_all(leaf, demand);
        self.claimants.insert(leaf, self.waiter(id).arrival, id);
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
        self.tree.tell(leaf, now, fx, told);
    }
}

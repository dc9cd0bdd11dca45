//! Who goes next: how a change at a node is carried to the root, and offers made to heads.

use super::{
    effects::{Decision, Effects},
    ids::{Contender, NodeId, QueueKey, WaiterId},
    node::{Opens, Ticket},
    queue::AT_ONCE,
    state::Core,
    task::Task,
    waiter::{LEVELS, Stage},
};
use crate::{
    bucket::{Gate, Tick},
    steps,
};

/// What a node says about its head.
enum Head {
    None,
    /// The gate is open for it.
    Goes(WaiterId),
    /// The gate is closed for it.
    Waits(WaiterId),
    /// The gate opens at a time for which it is not prepared to wait.
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
            let goes = match self.head(id, now) {
                Head::Hopeless(waiter) => {
                    if !fx.spend() {
                        return self.work.push(Task::Settle(id));
                    }
                    let leaf = self.waiter(waiter).leaf;
                    self.refuse_head(waiter, now, fx);
                    id = leaf;
                    continue;
                }
                Head::Goes(waiter) => Some(waiter),
                Head::None => None,
                Head::Waits(waiter) => {
                    self.invite(id, waiter, now, fx);
                    None
                }
            };
            if let Some(parent) = self.tree.node(id).parent {
                let is_new = self.set_ticket(id, parent, goes);
                if let Some(head) = goes.filter(|&head| is_new && self.is_hopeless(head, now)) {
                    if !fx.spend() {
                        return self.work.push(Task::Settle(id));
                    }
                    // What it waits for has changed, and comes too late (law L10).
                    let leaf = self.waiter(head).leaf;
                    self.refuse_head(head, now, fx);
                    id = leaf;
                    continue;
                }
                self.tidy(id);
                id = parent;
                continue;
            }
            let Some(winner) = goes else {
                return self.tidy(id);
            };
            if !fx.spend() {
                return self.work.push(Task::Settle(id));
            }
            // A quota or a pause of a whole scope is carried to its nodes one by one: a ticket may be
            // older than that.
            let leaf = self.waiter(winner).leaf;
            let closed = self.tree.path(leaf).find(|&id| {
                let node = self.tree.node(id);
                !self.tree.is_open(node, now)
            });
            if closed.is_none() {
                self.offer(winner, now, fx);
            }
            id = closed.unwrap_or(leaf);
        }
    }

    /// Who goes next through this node, if it is open. If it opens later, a timer is set.
    fn head(&mut self, id: NodeId, now: Tick) -> Head {
        let Some(queue) = &self.tree.node(id).wait_queue else {
            return Head::None;
        };
        let opened = queue.opens;
        let Some(first) = queue.queue.first(&self.links) else {
            self.set_opens(id, opened, None);
            return Head::None;
        };
        let head = self.head_of(first);
        let gate = self.tree.gate(id, now);
        let opens = match gate {
            // Of heads that can go at one instant the oldest goes first.
            Gate::Until(opens) => Some((opens, self.waiter(head).arrival)),
            Gate::Open | Gate::Closed => None,
        };
        self.set_opens(id, opened, opens);
        match gate {
            Gate::Open => Head::Goes(head),
            Gate::Until(opens) if opens > self.waiter(head).limit.until => Head::Hopeless(head),
            Gate::Until(_) | Gate::Closed => Head::Waits(head),
        }
    }

    pub(super) fn head_of(&self, first: QueueKey) -> WaiterId {
        match first.contender {
            Contender::Waiter(waiter) => waiter,
            Contender::Child(child) => {
                let ticket = self.tree.node(child).ticket();
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
    fn set_ticket(&mut self, id: NodeId, parent: NodeId, head: Option<WaiterId>) -> bool {
        let ticket = self.tree.node(id).ticket();
        if ticket.map(|ticket| ticket.head) == head {
            return false;
        }
        let contender = Contender::Child(id);
        let ticket_of_head = head.map(|head| {
            let order = self.take_kept_order(id, head).unwrap_or_else(|| {
                self.next_ticket += 1;
                self.next_ticket
            });
            Ticket { order, head }
        });
        let node = self.tree.node_mut(parent);
        let queue = node.wait_queue.as_mut();
        let queue = queue.expect("somebody waits here or below");
        if let Some(Ticket { order, .. }) = ticket {
            let key = QueueKey { order, contender };
            queue.queue.remove(&mut self.links, &key);
        }
        if let Some(Ticket { order, .. }) = ticket_of_head {
            let key = QueueKey { order, contender };
            queue.queue.insert(&mut self.links, key);
        }
        if let Some(queue) = &mut self.tree.node_mut(id).wait_queue {
            queue.ticket = ticket_of_head;
        }
        head.is_some()
    }

    /// Has a waiter come back to the places that it has as a head, should it be absent.
    pub(super) fn keep_orders(&mut self, id: WaiterId) {
        let waiter = self.waiter(id);
        let mut kept = waiter.kept_orders;
        for (kept, node) in kept.iter_mut().zip(self.tree.path(waiter.leaf)) {
            let ticket = self.tree.node(node).ticket();
            if let Some(Ticket { order, .. }) = ticket.filter(|ticket| ticket.head == id) {
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
            let Some(queue) = &self.tree.node(id).wait_queue else {
                return;
            };
            let here = queue.waiting > 0 || !queue.queue.is_empty();
            // Where somebody has yet to leave, newcomers have to stand behind. And a ticket is for
            // `settle` to give back first.
            if here || queue.has_leaving() || queue.ticket.is_some() {
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
    fn offer(&mut self, id: WaiterId, now: Tick, fx: &mut Effects) {
        self.keep_orders(id);
        self.leave_queue(id);
        let leaf = self.waiter(id).leaf;
        let claim = self.tree.take(leaf);
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

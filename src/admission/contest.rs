//! Who is next: the queues of the nodes, and how a change in one of them is carried to the root.

use std::collections::BTreeSet;

use super::{
    ids::{NodeId, WaiterId},
    node::{Contest, Entrant, Place, Seat},
    state::State,
    tree::Tree,
    waiter::Stage,
    wakes::Wakes,
};
use crate::bucket::{Gate, Tick};

impl Tree {
    /// Makes `candidate` the request for which this node stands in its parent's contest.
    ///
    /// A new head gets a new ticket, behind those that are there already.
    pub(super) fn seat(&mut self, id: NodeId, parent: NodeId, candidate: Option<WaiterId>) {
        let seat = self.node(id).seat();
        if seat.map(|seat| seat.head) == candidate {
            return;
        }
        if let Some(seat) = seat {
            self.queue(parent)
                .remove(&(seat.ticket, Entrant::Child(id)));
        }
        let seat = candidate.map(|head| {
            self.next_ticket += 1;
            Seat {
                ticket: self.next_ticket,
                head,
            }
        });
        if let Some(seat) = seat {
            self.queue(parent).insert((seat.ticket, Entrant::Child(id)));
        }
        if let Some(contest) = &mut self.node_mut(id).contest {
            contest.seat = seat;
        }
    }

    /// Frees the contest of a node at which nobody waits any more.
    pub(super) fn tidy(&mut self, id: NodeId) {
        let contest = &mut self.node_mut(id).contest;
        let is_over = |contest: &Contest| contest.waiting == 0 && contest.leaving.is_empty();
        if contest.as_deref().is_some_and(is_over) {
            debug_assert!(contest.as_ref().is_some_and(|contest| {
                let Contest { queue, seat, .. } = &**contest;
                queue.is_empty() && seat.is_none()
            }));
            *contest = None;
        }
    }

    pub(super) fn queue(&mut self, id: NodeId) -> &mut BTreeSet<Place> {
        let contest = self.node_mut(id).contest.as_mut();
        &mut contest.expect("somebody waits here or below").queue
    }

    /// Takes its place in the queue of its leaf, and is counted all the way up.
    pub(super) fn join(&mut self, leaf: NodeId, place: Place) {
        self.each(leaf, |node, _, _| {
            node.contest.get_or_insert_default().waiting += 1;
        });
        self.queue(leaf).insert(place);
    }

    pub(super) fn is_first_to_leave(&self, leaf: NodeId, id: WaiterId) -> bool {
        let contest = self.node(leaf).contest.as_ref();
        contest
            .and_then(|contest| contest.leaving.first())
            .is_some_and(|first| first.1 == Entrant::Waiter(id))
    }
}

impl State {
    /// Brings everything from `start` up to the root up to date after a change there, and admits all
    /// who can go.
    ///
    /// Going up, each node is asked who would be next, and whether its own gate is open for that
    /// one. If so it takes a seat in its parent's contest; if not it leaves. Whoever comes out at
    /// the root has every gate open, and takes its places in one step. That changes nothing outside
    /// its own path, so the walk starts again from its leaf. Each round is a grant or the last one.
    pub(super) fn settle(&mut self, start: NodeId, now: Tick, wakes: &mut Wakes) {
        let mut id = start;
        loop {
            let candidate = self.candidate(id, now, wakes);
            if let Some(parent) = self.tree.node(id).parent {
                self.tree.seat(id, parent, candidate);
                self.tree.tidy(id);
                id = parent;
            } else if let Some(winner) = candidate {
                id = self.grant(winner, wakes);
            } else {
                self.tree.tidy(id);
                return;
            }
        }
    }

    /// Brings the seats from `start` up to the root up to date, and admits nobody yet:
    /// [`settle`](Self::settle) has to follow.
    pub(super) fn take_seats(&mut self, start: NodeId, now: Tick, wakes: &mut Wakes) {
        let mut id = start;
        while let Some(parent) = self.tree.node(id).parent {
            let candidate = self.candidate(id, now, wakes);
            self.tree.seat(id, parent, candidate);
            id = parent;
        }
    }

    /// Who goes next through this node, if it is open. If it opens later, its head is told when.
    pub(super) fn candidate(
        &mut self,
        id: NodeId,
        now: Tick,
        wakes: &mut Wakes,
    ) -> Option<WaiterId> {
        let contest = self.tree.node(id).contest.as_ref()?;
        let head = match contest.queue.first()?.1 {
            Entrant::Waiter(waiter) => waiter,
            Entrant::Child(child) => {
                self.tree
                    .node(child)
                    .seat()
                    .expect("it stands in a queue")
                    .head
            }
        };
        match self.tree.gate(id, now) {
            Gate::Open => return Some(head),
            Gate::Until(opens) => {
                let waiter = &mut self.waiters[head.0 as usize];
                waiter.alarm = opens;
                if opens < waiter.armed {
                    wakes.wake(waiter.waker.take());
                }
            }
            Gate::Closed => {}
        }
        None
    }

    pub(super) fn grant(&mut self, id: WaiterId, wakes: &mut Wakes) -> NodeId {
        self.leave(id);
        let leaf = self.waiters[id.0 as usize].leaf;
        let taken = self.tree.take(leaf);
        let waiter = &mut self.waiters[id.0 as usize];
        waiter.stage = Stage::Granted(taken);
        wakes.wake(waiter.waker.take());
        let place = waiter.place(id);
        let contest = self.tree.node_mut(leaf).contest.as_mut();
        contest.expect("it was waiting here").leaving.insert(place);
        leaf
    }

    /// Takes a waiter out of its queue. Seats are for [`settle`](Self::settle) to bring up to date.
    pub(super) fn leave(&mut self, id: WaiterId) {
        let waiter = &self.waiters[id.0 as usize];
        let (leaf, place) = (waiter.leaf, waiter.place(id));
        self.tree.queue(leaf).remove(&place);
        self.tree.each(leaf, |node, _, _| {
            let contest = node.contest.as_mut().expect("somebody waits here");
            contest.waiting -= 1;
        });
    }

    /// Is no longer among those that are leaving; the next one can.
    pub(super) fn has_left(&mut self, leaf: NodeId, place: Place, wakes: &mut Wakes) {
        let contest = self.tree.node_mut(leaf).contest.as_mut();
        let contest = contest.expect("it has somebody leaving");
        contest.leaving.remove(&place);
        if let Some(&(_, Entrant::Waiter(next))) = contest.leaving.first() {
            wakes.wake(self.waiters[next.0 as usize].waker.take());
        }
    }
}

//! Who does not take its turn (law L13).

use tower_throttle::RefusedReason;

use super::{Model, Request, Stage};
use crate::{
    config::{Bucket, Millis},
    ops::Readiness,
};

/// For how long others wait for a future that is not polled.
const PATIENCE: Millis = 10;

impl Model<'_> {
    /// It has to do something in time.
    pub(super) fn await_presence(&mut self, id: usize) {
        self.forget_offer(id);
        let now = self.now;
        let request = self.requests.get_mut(&id).unwrap();
        request.offered = now;
        request.absent_at = Some(now + PATIENCE);
    }

    pub(super) fn forget_offer(&mut self, id: usize) {
        self.overdue.retain(|&(_, _, other)| other != id);
        self.requests.get_mut(&id).unwrap().absent_at = None;
    }

    /// It is polled.
    pub(super) fn note_presence(&mut self, id: usize) {
        let request = self.requests.get_mut(&id).unwrap();
        let leaf = request.leaf;
        match request.stage {
            Stage::Absent => {
                request.absent_at = None;
                self.stand_in_line(id);
                self.set_stage(id, Stage::Queued);
                self.settle(leaf);
            }
            // Whoever has to leave before it may be absent; it is not.
            Stage::Queued | Stage::Offered(_) => self.forget_offer(id),
            _ => {}
        }
        self.take_over(id);
    }

    /// Time is up for somebody.
    fn patience_ends(&mut self, id: usize) {
        let request = self.requests.get_mut(&id).unwrap();
        let leaf = request.leaf;
        request.absent_at = None;
        match request.stage {
            Stage::Offered(_) | Stage::Reserved(_) => {
                let number = request.number.expect("it waits");
                self.overdue.insert((request.offered, number, id));
                self.let_leave(leaf);
                self.settle(leaf);
            }
            Stage::Queued => {
                self.mark_absent(id);
                self.settle(leaf);
            }
            _ => {}
        }
    }

    fn mark_absent(&mut self, id: usize) {
        self.keep_places(id);
        self.move_to(id, Stage::Absent);
        let request = self.requests.get_mut(&id).unwrap();
        request.was_absent = true;
        request.was_called_back = false;
    }

    /// A head does not get through this bucket. It can take over what others do not take.
    pub(super) fn invite(&mut self, bucket: Bucket, head: usize) {
        // Who is leaving there goes before it, and takes that over.
        let leaf = self.requests[&head].leaf;
        if bucket == leaf && self.next_to_leave(leaf).is_some() {
            return;
        }
        let mut overdue = self.overdue.iter();
        if overdue.any(|&(_, _, other)| self.requests[&other].path.contains(&bucket)) {
            let due = self.now + PATIENCE;
            let request = self.requests.get_mut(&head).unwrap();
            request.absent_at.get_or_insert(due);
        }
    }

    /// It is polled, and stands first of its class: it has the places of those who do not take theirs, as far as that
    /// is what holds it up.
    pub(super) fn take_over(&mut self, id: usize) {
        let leaf = self.requests[&id].leaf;
        let priority = self.order(id).0;
        while self.first_of(leaf, priority) == Some(id) {
            let mut overdue = self.overdue.iter().copied();
            let blocking = overdue.find(|&(_, _, other)| {
                let other = &self.requests[&other].path;
                let shared = |&&bucket: &&Bucket| other.contains(&bucket);
                let mut shared = self.requests[&id].path.iter().filter(shared);
                let demand = self.demand_of(id);
                shared.any(|&bucket| !self.is_open(bucket, &demand))
            });
            let Some((_, _, other)) = blocking else {
                return;
            };
            self.revoke(other);
        }
    }

    pub(super) fn is_overdue(&self, id: usize) -> bool {
        self.overdue.iter().any(|&(_, _, other)| other == id)
    }

    pub(super) fn revoke(&mut self, id: usize) {
        self.serve(true);
        let leaf = self.requests[&id].leaf;
        self.forget_offer(id);
        self.give_back(leaf);
        self.take_off(id);
        self.mark_absent(id);
        self.settle(leaf);
    }

    /// What becomes due by itself.
    pub(super) fn fire(&mut self) {
        let waits = |request: &Request| matches!(request.stage, Stage::Queued | Stage::Absent);
        loop {
            let due = self.requests.iter().filter_map(|(&id, request)| {
                let until = self.limit(id)?.0;
                (until <= self.now && waits(request)).then_some((until, request.number, id))
            });
            let Some((_, _, id)) = due.min() else { break };
            self.turn_away(id, RefusedReason::WaitedTooLong);
            self.settle(self.requests[&id].leaf);
        }
        loop {
            let due = self.requests.iter().filter_map(|(&id, request)| {
                let absent_at = request.absent_at.filter(|&due| due <= self.now)?;
                Some((absent_at, request.number, id))
            });
            let Some((_, _, id)) = due.min() else { break };
            self.patience_ends(id);
        }
    }

    /// What should have happened and has not, once all who were woken have been polled, but for those
    /// who sleep.
    pub fn unrest(&self, readiness: Readiness, sleeps: impl Fn(usize) -> bool) -> Option<String> {
        for (id, request) in &self.requests {
            let is_next = match request.stage {
                Stage::Reserved(_) => !self.is_overdue(*id),
                Stage::Offered(_) => self.next_to_leave(request.leaf) == Some(*id),
                _ => false,
            };
            if is_next && request.absent_at.is_none() {
                return Some(format!("nobody asks {id}: {request:?}"));
            }
        }
        // It asks the inner service only, and does not take its turn.
        let unready = |id: &usize| {
            let request = &self.requests[id];
            request.readying && !request.is_ready && readiness == Readiness::Pending
        };
        for (&id, request) in self.requests.iter().filter(|(id, _)| !sleeps(**id)) {
            let unready = unready(&id);
            let rests = match request.stage {
                Stage::Made | Stage::Sent { .. } => true,
                Stage::Queued => self.limit(id).is_none_or(|(until, _)| until > self.now),
                Stage::Absent | Stage::Reserved(_) => unready,
                Stage::Refused(_) => false,
                Stage::Offered(_) => {
                    let mut leaving = self.leaving(request.leaf).into_iter();
                    let mut before = leaving.by_ref().take_while(|&other| other != id);
                    unready || before.any(|other| !self.is_overdue(other))
                }
            };
            if !rests {
                return Some(format!("{id} has something to do: {request:?}"));
            }
        }
        let &(_, _, first) = self.overdue.first()?;
        let mut start = self.requests[&first].leaf;
        // L13: nobody who could take over what others do not take has not heard of it.
        let mut state = self.clone();
        for (_, _, id) in self.overdue.iter().copied() {
            state.forget_offer(id);
            state.set_stage(id, Stage::Absent);
        }
        let winner = state.next_to_go(&mut start);
        // Who leaves before it in time takes over what is overdue.
        let nobody_leaves = |id: &usize| self.next_to_leave(self.requests[id].leaf).is_none();
        let winner = winner.filter(nobody_leaves);
        match winner {
            Some(winner) if !sleeps(winner) && !unready(&winner) => {
                Some(format!("{winner} waits for those who are absent"))
            }
            Some(winner) if self.requests[&winner].absent_at.is_none() => {
                Some(format!("nobody asks {winner}, who comes before others"))
            }
            _ => None,
        }
    }
}

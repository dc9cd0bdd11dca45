//! When a turn comes, and who need not wait for it.

use std::collections::BTreeSet;

use tower_throttle::RefusedReason;

use super::{Model, Refusal, Request, Scope, Stage};
use crate::config::{Bucket, Millis};

impl Model<'_> {
    /// The bucket's earliest time for a request that so many others precede, if each of them goes as
    /// early as it can, and permits are free. Of several windows each counts by itself.
    pub(super) fn slot_in(&self, bucket: Bucket, ahead: usize) -> Millis {
        let Scope {
            limit,
            paused_until,
        } = &self.scopes[bucket.scope];
        let start = self.now.max(*paused_until);
        let mut sent = self.known(bucket);
        sent.extend(std::iter::repeat_n(self.now, self.places(bucket)));
        let slot_of = |&(n, period): &(u32, Millis)| {
            let mut sent = sent.clone();
            let mut slot = start;
            for _ in 0..=ahead {
                if let Some(index) = sent.len().checked_sub(n as usize) {
                    slot = slot.max(sent[index] + period);
                }
                sent.push(slot);
            }
            slot
        };
        limit.windows.iter().map(slot_of).fold(start, Millis::max)
    }

    /// When the request at this rank of a leaf's queue can go, and which scope says so.
    ///
    /// A head has before it who stands before it in the wider contests. Whoever is behind it, or has
    /// lost its place there, has the turn of each other head before its own.
    pub(super) fn slot(&self, leaf: Bucket, rank: usize) -> (Millis, Bucket) {
        let mut latest = (0, leaf);
        let (mut before_head, mut other_heads) = (0, 0);
        let mut child = None;
        for bucket in self.path(leaf) {
            if let Some(child) = child {
                let contest = self.contest(bucket);
                let place = contest.iter().position(|&(other, ..)| other == child);
                let others = contest.len() - usize::from(place.is_some());
                before_head += match place {
                    Some(place) if before_head == 0 => place,
                    _ => others,
                };
                other_heads += others;
            }
            let ahead = if rank == 0 {
                before_head
            } else {
                rank + other_heads
            };
            let slot = self.slot_in(bucket, ahead);
            if slot > latest.0 {
                latest = (slot, bucket);
            }
            child = Some(bucket);
        }
        latest
    }

    /// The same, of a request that waits.
    pub(super) fn slot_of(&self, id: usize) -> (Millis, Bucket) {
        let Request { leaf, age, .. } = self.requests[&id];
        self.slot(leaf, self.rank(leaf, age))
    }

    /// How many stand before a request of this age.
    pub(super) fn rank(&self, leaf: Bucket, age: Option<u64>) -> usize {
        let older = |&other: &usize| self.requests[&other].age < age;
        self.queue(leaf).into_iter().filter(older).count()
    }

    /// Until when a request is prepared to wait, and what it is told if that is not long enough.
    pub(super) fn limit(&self, id: usize) -> Option<(Millis, RefusedReason)> {
        let request = &self.requests[&id];
        let wait = self.config.max_wait.zip(request.since);
        let wait = wait.map(|(wait, since)| (since + wait, RefusedReason::WouldWaitTooLong));
        let deadline = request.deadline;
        let deadline = deadline.map(|until| (until, RefusedReason::DeadlineWouldPass));
        match (wait, deadline) {
            (Some(wait), Some(deadline)) if deadline.0 < wait.0 => Some(deadline),
            (wait, deadline) => wait.or(deadline),
        }
    }

    pub(super) fn refuse(
        &mut self,
        leaf: Bucket,
        reason: RefusedReason,
        slot: Millis,
        by: Bucket,
    ) -> Refusal {
        for bucket in self.path(leaf) {
            self.buckets.get_mut(&bucket).unwrap().refused += 1;
        }
        let known = self.config.knows_waits();
        let wait = slot.saturating_sub(self.now);
        Refusal {
            endpoint: self.config.name(leaf),
            scope: self.config.name(by),
            reason,
            retry_after: (known && wait > 0).then_some(wait),
        }
    }

    /// Whether its turn is known to come later than it is prepared to wait.
    pub(super) fn is_hopeless(&self, id: usize) -> bool {
        let limit = self.limit(id);
        limit.is_some_and(|(until, _)| self.slot_of(id).0 > until)
    }

    /// Whether one that waits does so in vain.
    pub(super) fn has_to_leave(&self, id: usize) -> bool {
        self.is_hopeless(id) || self.can_never_go(id)
    }

    /// Refuses a request that waits. It hears of it when it is polled.
    pub(super) fn turn_away(&mut self, id: usize, reason: RefusedReason) {
        let Request { leaf, stated, .. } = &self.requests[&id];
        let leaf = *leaf;
        let refusal = if let Some(scope) = self.never_fits(leaf, stated) {
            self.refuse(leaf, RefusedReason::NeverFits, 0, scope)
        } else {
            let (slot, by) = self.slot_of(id);
            let given_up = reason == RefusedReason::QueueFull;
            self.refuse(leaf, reason, slot, if given_up { leaf } else { by })
        };
        self.forget_offer(id);
        self.set_stage(id, Stage::Refused(refusal));
    }

    /// The same, of one whose turn is known to come too late.
    pub(super) fn turn_away_early(&mut self, id: usize) {
        let reason = match self.limit(id) {
            Some((_, reason)) => reason,
            None => RefusedReason::NeverFits,
        };
        self.turn_away(id, reason);
    }

    /// Refuses all at these leaves whose turn is known to come too late, leaf by leaf, in any order.
    pub(super) fn refuse_the_hopeless(self, leaves: &BTreeSet<Bucket>) -> Vec<Self> {
        let mut states = vec![(self, leaves.clone())];
        for _ in leaves {
            let mut next: Vec<(Self, BTreeSet<Bucket>)> = Vec::new();
            for (state, left) in states {
                for leaf in &left {
                    let mut state = state.clone();
                    let mut left = left.clone();
                    left.remove(leaf);
                    state.refuse_the_hopeless_of(*leaf);
                    if !next.contains(&(state.clone(), left.clone())) {
                        next.push((state, left));
                    }
                }
            }
            states = next;
        }
        states.into_iter().map(|(state, _)| state).collect()
    }

    pub(super) fn refuse_the_hopeless_of(&mut self, leaf: Bucket) {
        // Who is refused makes room for those behind it.
        let queue = self.queue(leaf);
        for id in queue {
            self.serve(true);
            if self.has_to_leave(id) {
                self.turn_away_early(id);
            }
        }
        self.settle(leaf);
    }

    /// Refuses the first of a leaf.
    pub(super) fn turn_head_away(&mut self, id: usize) {
        self.turn_away_early(id);
        self.to_recheck.push(self.requests[&id].leaf);
    }

    /// Does what is due, and what is left to be done.
    pub(super) fn run(&mut self) {
        self.fire();
        while !self.to_recheck.is_empty() {
            for leaf in std::mem::take(&mut self.to_recheck) {
                self.refuse_the_hopeless_of(leaf);
            }
            self.fire();
        }
    }
}

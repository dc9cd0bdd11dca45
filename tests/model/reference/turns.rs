//! When a turn comes, and who need not wait for it.

use std::collections::BTreeSet;

use tower_throttle::RefusedReason;

use super::{Model, Refusal, Scope, Stage};
use crate::config::{Bucket, Millis};

impl Model<'_> {
    /// The bucket's earliest time for a request that so many others precede, if each of them goes as
    /// early as it can, and permits are free.
    pub(super) fn slot_in(&self, bucket: Bucket, ahead: usize) -> Millis {
        let Scope {
            limit,
            paused_until,
        } = &self.scopes[bucket.scope];
        let mut slot = self.now.max(*paused_until);
        if limit.windows.is_empty() {
            return slot;
        }
        let mut sent = self.known(bucket);
        sent.extend(std::iter::repeat_n(self.now, self.places(bucket)));
        for _ in 0..=ahead {
            for &(n, period) in &limit.windows {
                if let Some(index) = sent.len().checked_sub(n as usize) {
                    slot = slot.max(sent[index] + period);
                }
            }
            sent.push(slot);
        }
        slot
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
                let place = contest.iter().position(|&other| other == child);
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
        let wait = slot.saturating_sub(self.now);
        Refusal {
            endpoint: self.config.name(leaf),
            scope: self.config.name(by),
            reason,
            retry_after: (wait > 0).then_some(wait),
        }
    }

    /// Refuses all whose turn is known to come too late, leaf by leaf, in any order.
    pub(super) fn refuse_the_hopeless(self) -> Vec<Self> {
        let leaves = |state: &Self| -> BTreeSet<Bucket> {
            let queued = state.requests.iter();
            queued
                .filter(|&(&id, request)| {
                    request.stage == Stage::Queued && state.limit(id).is_some()
                })
                .map(|(_, request)| request.leaf)
                .collect()
        };
        let leaves = leaves(&self);
        let mut states = vec![(self, leaves)];
        while states.iter().any(|(_, left)| !left.is_empty()) {
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
        let queue = self.queue(leaf);
        let slots: Vec<_> = (0..queue.len()).map(|rank| self.slot(leaf, rank)).collect();
        let mut rank = 0;
        for id in queue {
            let (slot, by) = slots[rank];
            match self.limit(id) {
                Some((until, reason)) if slot > until => {
                    let refusal = self.refuse(leaf, reason, slot, by);
                    self.set_stage(id, Stage::Refused(refusal));
                }
                _ => rank += 1,
            }
        }
        self.settle();
    }
}

//! Who is next.

use std::collections::BTreeSet;

use super::{Model, Places, Stage};
use crate::config::{Bucket, GROUP};

impl Model<'_> {
    /// The requests that wait at a leaf, by age.
    pub(super) fn queue(&self, leaf: Bucket) -> Vec<usize> {
        let mut queue: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.leaf == leaf && request.stage == Stage::Queued)
            .map(|(&id, request)| (request.age, id))
            .collect();
        queue.sort_unstable();
        queue.into_iter().map(|(_, id)| id).collect()
    }

    /// Those that compete in a bucket, in the order in which they got there.
    pub(super) fn contest(&self, bucket: Bucket) -> Vec<Bucket> {
        let mut contest: Vec<_> = self
            .seats
            .iter()
            .filter(|&(&child, _)| self.config.parent(child) == Some(bucket))
            .map(|(&child, &(_, place))| (place, child))
            .collect();
        contest.sort_unstable();
        contest.into_iter().map(|(_, child)| child).collect()
    }

    /// Who may pass a bucket next.
    pub(super) fn candidate(&self, bucket: Bucket) -> Option<usize> {
        let head = if bucket.scope < GROUP {
            self.queue(bucket).first().copied()?
        } else {
            let child = self.contest(bucket).first().copied()?;
            self.seats[&child].0
        };
        self.is_open(bucket).then_some(head)
    }

    /// Gives whoever may pass a bucket a place in the next one. Those who stand there for the same
    /// request as before keep theirs.
    pub(super) fn seat(&mut self) {
        let mut changed = false;
        // Scopes are numbered from the narrow to the wide.
        let buckets: Vec<_> = self.buckets.keys().copied().collect();
        for &bucket in &buckets {
            let Some(parent) = self.config.parent(bucket) else {
                continue;
            };
            let candidate = self.candidate(bucket);
            if self.seats.get(&bucket).map(|seat| seat.0) == candidate {
                continue;
            }
            changed = true;
            self.seats.remove(&bucket);
            if let Some(head) = candidate {
                let last = self.contest(parent).last().map(|child| self.seats[child].1);
                let place = last.map_or(0, |last| last + 1);
                self.seats.insert(bucket, (head, place));
            }
        }
        // Only the order matters; so states that differ in nothing else become equal.
        for parent in buckets.into_iter().filter(|_| changed) {
            for (place, child) in self.contest(parent).into_iter().enumerate() {
                self.seats.get_mut(&child).unwrap().1 = place;
            }
        }
    }

    /// Lets through whoever can go.
    pub(super) fn settle(&mut self) {
        loop {
            self.seat();
            let roots = self.buckets.keys().copied();
            let winner = roots
                .filter(|&bucket| self.config.parent(bucket).is_none())
                .find_map(|root| self.candidate(root));
            let Some(winner) = winner else { return };
            let at_head = self.take(self.requests[&winner].leaf);
            self.set_stage(winner, Stage::Granted(at_head));
        }
    }

    pub(super) fn set_stage(&mut self, id: usize, stage: Stage) {
        self.requests.get_mut(&id).unwrap().stage = stage;
    }

    /// Counts one more as admitted; which of its permits will end with the head is clear from then on.
    pub(super) fn take(&mut self, leaf: Bucket) -> Places {
        let path = self.path(leaf);
        for bucket in &path {
            self.buckets.get_mut(bucket).unwrap().admitted += 1;
        }
        let at_head = |bucket: &Bucket| self.scopes[bucket.scope].limit.release_at_head;
        path.into_iter().filter(at_head).collect()
    }

    pub(super) fn give_back(&mut self, leaf: Bucket) {
        for bucket in self.path(leaf) {
            self.buckets.get_mut(&bucket).unwrap().admitted -= 1;
        }
    }

    /// Somebody has a look at everything that a request to this leaf needs.
    pub(super) fn notice_path(&mut self, leaf: Bucket) {
        for bucket in self.path(leaf) {
            if self.unnoticed.remove(&bucket).is_some() {
                self.settle();
            }
        }
    }

    /// What may have been noticed by now: any of it, in any order.
    pub fn noticing(states: Vec<Self>) -> Vec<Self> {
        let mut reached: Vec<Self> = Vec::new();
        let mut todo = states;
        while let Some(state) = todo.pop() {
            if state.unnoticed.is_empty() && todo.is_empty() && reached.is_empty() {
                return vec![state];
            }
            if reached.contains(&state) {
                continue;
            }
            for bucket in state.unnoticed.keys() {
                let mut next = state.clone();
                next.unnoticed.remove(bucket);
                next.settle();
                todo.push(next);
            }
            reached.push(state);
        }
        reached
    }

    /// All of `buckets` are looked at, in some order, and all that is above them; then whoever can go goes.
    pub(super) fn notice_each(self, buckets: &BTreeSet<Bucket>) -> Vec<Self> {
        let mut states = vec![(self, buckets.clone())];
        for _ in buckets {
            let mut next = Vec::new();
            for (state, left) in states {
                for bucket in &left {
                    let mut state = state.clone();
                    for bucket in state.path(*bucket) {
                        state.unnoticed.remove(&bucket);
                    }
                    state.seat();
                    let mut left = left.clone();
                    left.remove(bucket);
                    if !next.contains(&(state.clone(), left.clone())) {
                        next.push((state, left));
                    }
                }
            }
            states = next;
        }
        let settled = states.into_iter().map(|(mut state, _)| {
            state.settle();
            state
        });
        settled.collect()
    }
}

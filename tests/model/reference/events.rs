//! What happens.

use std::collections::BTreeSet;

use tower_throttle::RefusedReason;

use super::{Model, Outcome, Places, Request, Stage, Step};
use crate::{
    config::{Bucket, Limit, Millis},
    ops::{Answer, Call, Readiness},
    support::Face,
};

impl Model<'_> {
    /// Makes the buckets of a request, if they are not there.
    pub(super) fn locate(&mut self, leaf: Bucket) {
        for bucket in self.path(leaf) {
            self.buckets.entry(bucket).or_default();
        }
    }

    /// Whether a newcomer can go at once: there is room, and nobody stands before it.
    pub(super) fn admits(&self, leaf: Bucket) -> bool {
        let leaving = self
            .requests
            .values()
            .any(|request| request.leaf == leaf && matches!(request.stage, Stage::Granted(_)));
        !leaving
            && self.queue(leaf).is_empty()
            && self
                .path(leaf)
                .iter()
                .all(|&bucket| self.contest(bucket).is_empty() && self.is_open(bucket))
    }

    /// A call, and what can come of it.
    pub fn call(self, id: usize, call: &Call) -> Vec<(Self, Step)> {
        let leaf = self.config.leaf(call.endpoint, call.partition);
        let states = self.forgetting(leaf).into_iter();
        states.map(|state| state.call_one(id, leaf, call)).collect()
    }

    pub(super) fn call_one(mut self, id: usize, leaf: Bucket, call: &Call) -> (Self, Step) {
        let deadline = call
            .deadline
            .map(|after| self.now.saturating_add_signed(after));
        let request = Request {
            leaf,
            path: self.path(leaf),
            stage: Stage::Made,
            age: None,
            since: None,
            deadline,
            panics: call.panics,
            connect: call.connect,
        };
        self.requests.insert(id, request);
        if deadline.is_some_and(|deadline| deadline < self.now) {
            return (self, (false, Outcome::Pending));
        }
        self.locate(leaf);
        self.notice_path(leaf);
        if !self.admits(leaf) {
            return (self, (false, Outcome::Pending));
        }
        let at_head = self.take(leaf);
        let panicked = self.dispatch(id, at_head);
        let outcome = if panicked {
            Outcome::Panicked
        } else {
            Outcome::Pending
        };
        (self, (true, outcome))
    }

    /// A poll, and what can come of it: more than one thing only where a bucket can be forgotten meanwhile.
    pub fn poll(
        mut self,
        id: usize,
        readiness: Readiness,
        answer: Option<Answer>,
    ) -> Vec<(Self, Step)> {
        let Request {
            leaf, ref stage, ..
        } = self.requests[&id];
        let is_ready = matches!(stage, Stage::Readying(_)) && readiness == Readiness::Ready;
        let called_back = is_ready && self.is_paused(leaf);
        if called_back {
            // Back into its place.
            self.give_back(leaf);
            self.set_stage(id, Stage::Made);
            self.settle();
        }
        let states = self.forgetting(leaf).into_iter();
        let poll = |state: Self| state.poll_one(id, !called_back, readiness, answer);
        states.map(poll).collect()
    }

    pub(super) fn poll_one(
        mut self,
        id: usize,
        new: bool,
        readiness: Readiness,
        answer: Option<Answer>,
    ) -> (Self, Step) {
        let request = &self.requests[&id];
        let leaf = request.leaf;
        let step = match request.stage.clone() {
            Stage::Made => self.enter(id, new, readiness, answer),
            Stage::Queued => {
                let due = self.limit(id).is_some_and(|(until, _)| until <= self.now);
                if due {
                    // What can go at this very instant goes; only then has it waited too long.
                    self.notice_path(leaf);
                }
                match self.requests[&id].stage.clone() {
                    Stage::Queued if due => {
                        let rank = self.queue(leaf).iter().position(|&other| other == id);
                        let (slot, by) = self.slot(leaf, rank.unwrap());
                        let reason = RefusedReason::WaitedTooLong;
                        let refusal = self.refuse(leaf, reason, slot, by);
                        self.remove(id);
                        (false, Outcome::Refused(refusal))
                    }
                    Stage::Granted(at_head) => self.leave(id, at_head, readiness, answer),
                    _ => (false, Outcome::Pending),
                }
            }
            Stage::Granted(at_head) => self.leave(id, at_head, readiness, answer),
            Stage::Readying(at_head) => self.make_ready(id, at_head, readiness, answer),
            Stage::Refused(refusal) => {
                self.remove(id);
                (false, Outcome::Refused(refusal))
            }
            Stage::Sent { .. } => (false, self.answered(id, answer)),
        };
        (self, step)
    }

    /// The first poll (it is new), or the first after it was called back on its way out.
    pub(super) fn enter(
        &mut self,
        id: usize,
        new: bool,
        readiness: Readiness,
        answer: Option<Answer>,
    ) -> Step {
        let leaf = self.requests[&id].leaf;
        self.locate(leaf);
        self.notice_path(leaf);
        let request = self.requests.get_mut(&id).unwrap();
        request.since.get_or_insert(self.now);
        let limit = self.limit(id);
        if limit.is_none_or(|(until, _)| until >= self.now) && self.admits(leaf) {
            let at_head = self.take(leaf);
            return self.make_ready(id, at_head, readiness, answer);
        }
        let age = self.requests[&id].age.unwrap_or(self.entered + 1);
        let older = |&other: &usize| self.requests[&other].age < Some(age);
        let rank = self.queue(leaf).into_iter().filter(older).count();
        let (slot, by) = self.slot(leaf, rank);
        let most = self.config.max_waiting.filter(|_| new);
        let full = most.and_then(|most| {
            let path = self.path(leaf).into_iter();
            path.into_iter()
                .find(|&bucket| self.waiting(bucket) >= most)
        });
        let refused = match (full, limit) {
            (Some(full), _) => Some((RefusedReason::QueueFull, full)),
            (None, Some((until, reason))) if slot > until || until <= self.now => {
                Some((reason, by))
            }
            _ => None,
        };
        if let Some((reason, by)) = refused {
            let refusal = self.refuse(leaf, reason, slot, by);
            self.remove(id);
            return (false, Outcome::Refused(refusal));
        }
        self.entered = self.entered.max(age);
        let request = self.requests.get_mut(&id).unwrap();
        request.age = Some(age);
        request.stage = Stage::Queued;
        self.settle();
        match self.requests[&id].stage.clone() {
            Stage::Granted(at_head) => self.leave(id, at_head, readiness, answer),
            _ => (false, Outcome::Pending),
        }
    }

    /// It has its places and is polled: out it goes, unless an older one is still on its way, or a
    /// pause has begun.
    pub(super) fn leave(
        &mut self,
        id: usize,
        at_head: Places,
        readiness: Readiness,
        answer: Option<Answer>,
    ) -> Step {
        let leaf = self.requests[&id].leaf;
        if self.is_paused(leaf) {
            self.give_back(leaf);
            self.set_stage(id, Stage::Queued);
            self.settle();
            let rank = self.queue(leaf).iter().position(|&other| other == id);
            let (slot, by) = self.slot(leaf, rank.expect("it is paused"));
            if let Some((until, reason)) = self.limit(id) {
                if slot > until {
                    let refusal = self.refuse(leaf, reason, slot, by);
                    self.remove(id);
                    return (false, Outcome::Refused(refusal));
                }
            }
            return (false, Outcome::Pending);
        }
        let age = self.requests[&id].age;
        let older = self.requests.values().any(|other| {
            other.leaf == leaf && matches!(other.stage, Stage::Granted(_)) && other.age < age
        });
        if older {
            return (false, Outcome::Pending);
        }
        self.make_ready(id, at_head, readiness, answer)
    }

    pub(super) fn make_ready(
        &mut self,
        id: usize,
        at_head: Places,
        readiness: Readiness,
        answer: Option<Answer>,
    ) -> Step {
        let leaf = self.requests[&id].leaf;
        self.set_stage(id, Stage::Readying(at_head.clone()));
        match readiness {
            Readiness::Pending => (false, Outcome::Pending),
            Readiness::Fails => {
                self.give_back(leaf);
                self.remove(id);
                (false, Outcome::Failed)
            }
            Readiness::Ready => {
                let panicked = self.dispatch(id, at_head);
                let outcome = if panicked {
                    Outcome::Panicked
                } else {
                    self.answered(id, answer)
                };
                (true, outcome)
            }
        }
    }

    /// The inner service is called. Returns whether it panics.
    pub(super) fn dispatch(&mut self, id: usize, at_head: Places) -> bool {
        let Request { leaf, panics, .. } = self.requests[&id];
        for bucket in self.path(leaf) {
            let windows = &self.scopes[bucket.scope].limit.windows;
            // As many stamps are kept as the largest window counts. Without a window, none is made.
            if let Some(depth) = windows.iter().map(|window| window.0 as usize).max() {
                let counts = self.buckets.get_mut(&bucket).unwrap();
                counts.stamps.push(self.now);
                let beyond = counts.stamps.len().saturating_sub(depth);
                counts.forgotten = counts.forgotten.max(beyond);
            }
        }
        if panics {
            self.remove(id);
            return true;
        }
        let permits = match self.config.face {
            Face::Rps => BTreeSet::new(),
            _ => self.path(leaf).into_iter().collect(),
        };
        let sent = Stage::Sent {
            permits,
            at_head,
            pin: true,
        };
        self.set_stage(id, sent);
        self.settle();
        false
    }

    pub(super) fn answered(&mut self, id: usize, answer: Option<Answer>) -> Outcome {
        match answer {
            None => Outcome::Pending,
            Some(Answer::Error) => {
                self.remove(id);
                Outcome::Failed
            }
            Some(Answer::Panic) => {
                self.remove(id);
                Outcome::Panicked
            }
            Some(Answer::Head { status, ended, .. }) => {
                let tunnel = status == 101 || self.requests[&id].connect && status == 200;
                let Stage::Sent {
                    permits,
                    at_head,
                    pin,
                } = &mut self.requests.get_mut(&id).unwrap().stage
                else {
                    unreachable!("it was sent")
                };
                permits.retain(|bucket| !at_head.contains(bucket));
                if tunnel || ended {
                    permits.clear();
                }
                *pin = !permits.is_empty();
                self.settle();
                Outcome::Head
            }
        }
    }

    /// The caller has read a frame; `over` if the body is known to have ended or failed.
    pub fn read(mut self, id: usize, over: bool) -> Self {
        if over {
            if let Stage::Sent { permits, pin, .. } = &mut self.requests.get_mut(&id).unwrap().stage
            {
                permits.clear();
                *pin = false;
            }
            self.settle();
        }
        self
    }

    /// The response future or the body is dropped.
    pub fn drop(mut self, id: usize) -> Self {
        let Request { leaf, stage, .. } = &self.requests[&id];
        if matches!(stage, Stage::Granted(_) | Stage::Readying(_)) {
            self.give_back(*leaf);
        }
        self.remove(id);
        self
    }

    pub(super) fn remove(&mut self, id: usize) {
        self.requests.remove(&id);
        self.settle();
    }

    pub fn set_quota(mut self, scope: usize, limit: &Limit) -> Vec<Self> {
        let open = self.open_buckets(scope);
        self.scopes[scope].limit = limit.under(self.config.face);
        self.reconsider(scope, &open)
    }

    pub fn pause(mut self, scope: usize, time: Millis) -> Vec<Self> {
        let open = self.open_buckets(scope);
        let until = &mut self.scopes[scope].paused_until;
        *until = (*until).max(self.now + time);
        self.reconsider(scope, &open)
    }

    pub fn resume(mut self, scope: usize) -> Vec<Self> {
        let open = self.open_buckets(scope);
        self.scopes[scope].paused_until = 0;
        self.reconsider(scope, &open)
    }

    pub(super) fn open_buckets(&self, scope: usize) -> BTreeSet<Bucket> {
        let buckets = self.buckets.keys().copied();
        buckets
            .filter(|bucket| bucket.scope == scope && self.is_open(*bucket))
            .collect()
    }

    /// The buckets of a scope may have changed: all hear of it, in some order, before anybody can go.
    pub(super) fn reconsider(mut self, scope: usize, were_open: &BTreeSet<Bucket>) -> Vec<Self> {
        let buckets: Vec<_> = self.buckets.keys().copied().collect();
        let mut affected = BTreeSet::new();
        for bucket in buckets.into_iter().filter(|bucket| bucket.scope == scope) {
            let was_open = were_open.contains(&bucket);
            if was_open != self.has_room(bucket) {
                self.unnoticed.insert(bucket, was_open);
            }
            let path = self.path(bucket);
            if self.waiting(bucket) > 0 && path.iter().any(|b| self.unnoticed.contains_key(b)) {
                affected.insert(bucket);
            } else {
                self.unnoticed.remove(&bucket);
            }
        }
        let states = self.notice_each(&affected);
        let mut after: Vec<Self> = Vec::new();
        for state in states.into_iter().flat_map(Self::refuse_the_hopeless) {
            if !after.contains(&state) {
                after.push(state);
            }
        }
        after
    }

    /// A millisecond passes.
    pub fn tick(&mut self) {
        assert!(
            self.unnoticed.is_empty(),
            "nobody sleeps over what has opened"
        );
        let closed: Vec<_> = self
            .buckets
            .keys()
            .copied()
            .filter(|&bucket| self.waiting(bucket) > 0 && !self.has_room(bucket))
            .collect();
        self.now += 1;
        let opened = closed.into_iter().filter(|&bucket| self.has_room(bucket));
        self.unnoticed = opened.map(|bucket| (bucket, false)).collect();
    }

    /// Whether nothing is left to be done at this instant, once all who were woken have been polled.
    pub fn is_at_rest(&self, readiness: Readiness) -> bool {
        self.unnoticed.is_empty()
            && self
                .requests
                .iter()
                .all(|(&id, request)| match request.stage {
                    Stage::Made | Stage::Sent { .. } => true,
                    Stage::Queued => self.limit(id).is_none_or(|(until, _)| until > self.now),
                    Stage::Readying(_) => readiness == Readiness::Pending,
                    Stage::Granted(_) | Stage::Refused(_) => false,
                })
    }
}

//! What happens.

use std::collections::{BTreeMap, BTreeSet};

use tower_throttle::RefusedReason;

use super::{Model, Outcome, Places, Request, Stage, Step, costs::Demand};
use crate::{
    config::{Bucket, Limit, Millis},
    ops::{Answer, Call, Readiness},
    order::{BORDERS, PRIORITIES},
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
    fn admits(&self, id: usize) -> bool {
        let Request {
            leaf, path, stated, ..
        } = &self.requests[&id];
        if self.is_closed || self.never_fits(*leaf, stated).is_some() {
            return false;
        }
        let demand = self.demand(*leaf, stated);
        let goes =
            |&bucket: &Bucket| self.is_open(bucket, &demand) && self.lets_pass(bucket, &demand);
        self.leaving(*leaf).is_empty() && path.iter().all(goes)
    }

    /// A call, and what comes of it.
    pub fn call(mut self, id: usize, call: &Call) -> (Self, Step) {
        let leaf = self.config.leaf(call.endpoint, call.partition);
        let deadline = call
            .deadline
            .map(|after| self.now.saturating_add_signed(after));
        let request = Request {
            leaf,
            path: self.path(leaf),
            stated: call.cost.clone(),
            asked: call.asked,
            taken: Demand::NOTHING,
            stage: Stage::Made,
            readying: false,
            is_ready: false,
            age: None,
            since: None,
            number: None,
            offered: 0,
            serial: 0,
            absent_at: None,
            kept: BTreeMap::new(),
            was_absent: false,
            was_called_back: false,
            counted: [false; BORDERS],
            was_served: false,
            is_over: false,
            deadline,
            panics: call.panics,
            connect: call.connect,
        };
        self.requests.insert(id, request);
        self.locate(leaf);
        if deadline.is_some_and(|deadline| deadline < self.now) || !self.admits(id) {
            return (self, (false, Outcome::Pending));
        }
        let at_head = self.take(id);
        let outcome = if self.dispatch(id, at_head) {
            Outcome::Panicked
        } else {
            Outcome::Pending
        };
        self.run();
        (self, (true, outcome))
    }

    /// A poll, and what comes of it.
    pub fn poll(mut self, id: usize, readiness: Readiness, answer: Option<Answer>) -> (Self, Step) {
        let step = self.poll_future(id, readiness, answer);
        self.run();
        (self, step)
    }

    fn poll_future(&mut self, id: usize, readiness: Readiness, answer: Option<Answer>) -> Step {
        let pending = (false, Outcome::Pending);
        loop {
            if matches!(self.requests[&id].stage, Stage::Sent { .. }) {
                return (false, self.answered(id, answer));
            }
            if !self.requests[&id].readying {
                if self.requests[&id].stage == Stage::Made {
                    self.enter(id);
                } else {
                    self.note_presence(id);
                    self.hear(id);
                }
                match self.requests[&id].stage.clone() {
                    Stage::Reserved(_) => {
                        self.requests.get_mut(&id).unwrap().readying = true;
                        self.run();
                    }
                    Stage::Refused(refusal) => {
                        self.remove(id);
                        return (false, Outcome::Refused(refusal));
                    }
                    _ => return pending,
                }
            }
            if !self.requests[&id].is_ready {
                match readiness {
                    Readiness::Pending => match self.requests[&id].stage.clone() {
                        Stage::Refused(refusal) => {
                            self.remove(id);
                            return (false, Outcome::Refused(refusal));
                        }
                        _ => return pending,
                    },
                    Readiness::Fails => {
                        self.cancel(id);
                        return (false, Outcome::Failed);
                    }
                    Readiness::Ready => self.requests.get_mut(&id).unwrap().is_ready = true,
                }
            }
            // Others may have taken its places over meanwhile.
            if !matches!(self.requests[&id].stage, Stage::Reserved(_)) {
                self.note_presence(id);
                self.hear(id);
            }
            match self.requests[&id].stage.clone() {
                Stage::Reserved(_) if self.call_back(id) => {
                    self.run();
                    let request = self.requests.get_mut(&id).unwrap();
                    request.readying = false;
                    request.is_ready = false;
                }
                Stage::Reserved(at_head) => {
                    self.check_turn(id);
                    self.free_number(id);
                    self.run();
                    let outcome = if self.dispatch(id, at_head) {
                        Outcome::Panicked
                    } else {
                        self.answered(id, answer)
                    };
                    return (true, outcome);
                }
                Stage::Refused(refusal) => {
                    self.remove(id);
                    return (false, Outcome::Refused(refusal));
                }
                _ => {
                    self.run();
                    self.requests.get_mut(&id).unwrap().readying = false;
                }
            }
        }
    }

    /// The first poll.
    fn enter(&mut self, id: usize) {
        let (now, leaf) = (self.now, self.requests[&id].leaf);
        self.entered += 1;
        let age = Some(self.entered);
        let request = self.requests.get_mut(&id).unwrap();
        request.age = age;
        request.since = Some(now);
        let limit = self.limit(id);
        if limit.is_none_or(|(until, _)| until >= now) && self.admits(id) {
            let at_head = self.take(id);
            self.set_stage(id, Stage::Reserved(at_head));
            self.give_number(id);
            self.await_presence(id);
            return;
        }
        if self.is_closed {
            let refusal = self.refuse(leaf, RefusedReason::Closed, 0, leaf);
            self.set_stage(id, Stage::Refused(refusal));
            return;
        }
        if let Some(scope) = self.never_fits(leaf, &self.requests[&id].stated) {
            let refusal = self.refuse(leaf, RefusedReason::NeverFits, 0, scope);
            self.set_stage(id, Stage::Refused(refusal));
            return;
        }
        let (slot, by) = self.slot(leaf, self.rank(leaf, age));
        let goes = self.goes_before_all(id);
        let victim = self.victim(id).filter(|_| !goes);
        let most = self.config.max_waiting.filter(|_| !goes);
        let full = most.and_then(|most| {
            let mut path = self.path(leaf).into_iter();
            path.find(|&bucket| self.waiting(bucket) - usize::from(victim.is_some()) >= most)
        });
        let refused = match (full, limit) {
            (Some(full), _) => Some((RefusedReason::QueueFull, full)),
            (None, Some((until, reason))) if slot > until || until <= now => Some((reason, by)),
            _ => None,
        };
        if let Some((reason, by)) = refused {
            let refusal = self.refuse(leaf, reason, slot, by);
            self.set_stage(id, Stage::Refused(refusal));
            return;
        }
        if let Some(victim) = victim {
            self.turn_away(victim, RefusedReason::QueueFull);
        }
        self.stand_in_line(id);
        self.set_stage(id, Stage::Queued);
        self.give_number(id);
        self.settle(leaf);
        self.take_over(id);
        self.hear(id);
    }

    /// Whether a newcomer goes at once, though others wait: all of those are of lower classes, and wait for more than it
    /// takes.
    fn goes_before_all(&self, id: usize) -> bool {
        let Request { leaf, path, .. } = &self.requests[&id];
        let (demand, priority) = (self.demand_of(id), self.order(id).0);
        let limit = self.limit(id);
        if limit.is_some_and(|(until, _)| until < self.now) || !self.leaving(*leaf).is_empty() {
            return false;
        }
        let is_first = |bucket: Bucket| {
            let standing = self.standing_at(bucket);
            let are_lower = standing.iter().all(|&other| self.order(other).0 > priority);
            are_lower && self.picked(bucket, &standing).is_none()
        };
        path.iter().all(|&bucket| {
            let goes = is_first(bucket) || self.lets_pass(bucket, &demand);
            self.is_open(bucket, &demand) && goes
        })
    }

    /// Who is given up for a newcomer where too many wait: of those at its endpoint that are of a lower class, the
    /// youngest of the lowest.
    fn victim(&self, id: usize) -> Option<usize> {
        let (leaf, priority) = (self.requests[&id].leaf, self.order(id).0);
        let is_full = self.waiting(leaf) >= self.config.max_waiting?;
        let waits = |stage: &Stage| matches!(stage, Stage::Queued | Stage::Absent);
        let lower = self.by_order(leaf, waits).into_iter();
        let mut lower = lower.filter(|other| is_full && self.order(*other).0 > priority);
        lower.next_back()
    }

    /// It fetches the places that it was offered, unless an older one is still on its way, or it would
    /// not be offered them any more.
    fn hear(&mut self, id: usize) {
        let is_offered = |state: &Self| matches!(state.requests[&id].stage, Stage::Offered(_));
        if is_offered(self) {
            self.call_back(id);
        }
        // It was absent when a quota was set that is too small for it.
        if self.requests[&id].stage == Stage::Queued && self.can_never_go(id) {
            self.turn_away_early(id);
            self.settle(self.requests[&id].leaf);
        }
        while is_offered(self) {
            let first = self.leaving(self.requests[&id].leaf)[0];
            if first == id {
                let Stage::Offered(at_head) = self.requests[&id].stage.clone() else {
                    unreachable!("it was offered its places")
                };
                self.move_to(id, Stage::Reserved(at_head));
                self.await_presence(id);
                // It may have been the last before the head, which can take over what is overdue.
                self.settle(self.requests[&id].leaf);
            } else if self.is_overdue(first) {
                self.revoke(first);
            } else {
                return;
            }
        }
    }

    /// Calls it back if a pause has begun since it was admitted, or if a quota was set under which it does not
    /// fit, even without those that are younger. Returns whether it is.
    fn call_back(&mut self, id: usize) -> bool {
        let leaf = self.requests[&id].leaf;
        if self.is_paused(leaf) || self.stands_in_the_way(id) {
            self.put_back(id);
            return true;
        }
        let before = self.requests[&id].serial <= self.changed;
        let mut made_room = false;
        while before && !self.fits_still(id) {
            let Some(younger) = self.youngest_admitted(leaf).filter(|&other| other != id) else {
                self.put_back(id);
                return true;
            };
            self.back_in_line(younger);
            self.serve(true);
            // The turns of those may come too late by now.
            self.to_recheck.push(leaf);
            made_room = true;
        }
        if made_room {
            self.settle(leaf);
        }
        false
    }

    /// Whether a quota was set since it was admitted, and an older one that was called back waits for its place by now.
    fn stands_in_the_way(&self, id: usize) -> bool {
        let request = &self.requests[&id];
        let mut firsts =
            (0..PRIORITIES.len()).filter_map(|class| self.first_of(request.leaf, class));
        let older = firsts.next().filter(|&first| {
            self.order(first) < self.order(id) && self.requests[&first].was_called_back
        });
        let is_closed = |id| !self.is_open(request.leaf, &self.demand_of(id));
        request.serial <= self.changed && older.is_some_and(is_closed)
    }

    fn fits_still(&self, id: usize) -> bool {
        let demand = self.demand_of(id);
        let mut without = self.clone();
        without.set_stage(id, Stage::Absent);
        let mut path = self.requests[&id].path.iter();
        path.all(|&bucket| without.is_open(bucket, &demand))
    }

    /// What the laws say of one that goes out now.
    fn check_turn(&mut self, id: usize) {
        let request = &self.requests[&id];
        let mut broken = Vec::new();
        for (other, older) in &self.requests {
            let waits = matches!(older.stage, Stage::Queued | Stage::Offered(_));
            // Who was absent comes back to its place, but not before those who have gone meanwhile.
            let waits = waits && !older.was_absent;
            let same = older.leaf == request.leaf && older.asked == request.asked;
            if same && older.age < request.age && waits {
                broken.push(format!(
                    "L3: {id} goes before {other}: {older:?} vs {request:?}"
                ));
            }
        }
        if !self.fits_still(id) {
            broken.push(format!("L1: {id} goes where there is no room"));
        }
        self.broken.extend(broken);
    }

    /// Back into its place in the queue.
    fn back_in_line(&mut self, id: usize) {
        self.forget_offer(id);
        self.give_back(self.requests[&id].leaf);
        self.take_off(id);
        self.stand_in_line(id);
        self.move_to(id, Stage::Queued);
        self.requests.get_mut(&id).unwrap().was_called_back = true;
        self.requests.get_mut(&id).unwrap().kept.clear();
    }

    /// The same, and what follows.
    fn put_back(&mut self, id: usize) {
        let leaf = self.requests[&id].leaf;
        self.back_in_line(id);
        self.settle(leaf);
        if self.requests[&id].stage == Stage::Queued && self.has_to_leave(id) {
            self.turn_away_early(id);
            self.settle(leaf);
        }
    }

    /// It leaves without having been sent.
    fn cancel(&mut self, id: usize) {
        let Request { leaf, stage, .. } = &self.requests[&id];
        if matches!(stage, Stage::Offered(_) | Stage::Reserved(_)) {
            self.give_back(*leaf);
            self.take_off(id);
            self.forget_offer(id);
            self.move_to(id, Stage::Made);
        }
        // It may still be on its way.
        self.lose(id);
        self.end_work(id);
        self.remove(id);
    }

    fn give_number(&mut self, id: usize) {
        let number = self.free_numbers.pop().unwrap_or_else(|| {
            self.numbers += 1;
            self.numbers - 1
        });
        self.requests.get_mut(&id).unwrap().number = Some(number);
    }

    /// Nothing is expected of it any more.
    fn free_number(&mut self, id: usize) {
        self.forget_offer(id);
        let request = self.requests.get_mut(&id).unwrap();
        self.free_numbers.extend(request.number.take());
    }

    /// The inner service is called. Returns whether it panics.
    fn dispatch(&mut self, id: usize, at_head: Places) -> bool {
        let Request { leaf, panics, .. } = self.requests[&id];
        let requests = self.requests[&id].taken.requests as usize;
        for bucket in self.path(leaf) {
            let windows = &self.scopes[bucket.scope].limit.windows;
            // As many stamps are kept as the largest window counts. Without a window, none is made.
            if let Some(depth) = windows.iter().map(|window| window.0 as usize).max() {
                let counts = self.buckets.get_mut(&bucket).unwrap();
                counts
                    .stamps
                    .extend(std::iter::repeat_n(self.now, requests));
                let beyond = counts.stamps.len().saturating_sub(depth);
                counts.forgotten = counts.forgotten.max(beyond);
            }
        }
        self.charge(id);
        if panics {
            self.lose(id);
            self.end_work(id);
            self.remove(id);
            return true;
        }
        let request = self.requests.get_mut(&id).unwrap();
        (request.readying, request.is_ready) = (false, false);
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
        self.settle(leaf);
        false
    }

    fn answered(&mut self, id: usize, answer: Option<Answer>) -> Outcome {
        let leaf = self.requests[&id].leaf;
        match answer {
            None => Outcome::Pending,
            Some(Answer::Error) => {
                self.lose(id);
                self.end_work(id);
                self.remove(id);
                Outcome::Failed
            }
            Some(Answer::Panic) => {
                self.lose(id);
                self.end_work(id);
                self.remove(id);
                Outcome::Panicked
            }
            Some(Answer::Head { status, ended, .. }) => {
                let tunnel = status == 101 || self.requests[&id].connect && status == 200;
                let estimates = self.charge_answered(id, status);
                if !ended {
                    self.settle(leaf);
                }
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
                if tunnel || ended {
                    self.end_work(id);
                }
                self.requests.get_mut(&id).unwrap().is_over = ended;
                self.settle(leaf);
                Outcome::Head(estimates)
            }
        }
    }

    /// The caller has read a frame; `over` if the body is known to have ended, or to have failed.
    pub fn read(mut self, id: usize, over: bool, failed: bool) -> Self {
        if over {
            if failed {
                self.lose(id);
            }
            self.end_work(id);
            let request = self.requests.get_mut(&id).unwrap();
            let leaf = request.leaf;
            request.is_over = true;
            if let Stage::Sent { permits, pin, .. } = &mut request.stage {
                permits.clear();
                *pin = false;
            }
            self.settle(leaf);
            self.run();
        }
        self
    }

    /// The response future or the body is dropped.
    pub fn drop(mut self, id: usize) -> Self {
        self.cancel(id);
        self.run();
        self
    }

    fn remove(&mut self, id: usize) {
        let leaf = self.requests[&id].leaf;
        self.set_stage(id, Stage::Made);
        self.settle(leaf);
        self.free_number(id);
        self.requests.remove(&id);
    }

    pub fn set_quota(mut self, scope: usize, limit: &Limit) -> Vec<Self> {
        self.scopes[scope].limit = limit.under(self.config.face);
        self.changed = self.admissions;
        self.reconsider(scope)
    }

    pub fn pause(mut self, scope: usize, time: Millis) -> Vec<Self> {
        let until = &mut self.scopes[scope].paused_until;
        *until = (*until).max(self.now + time);
        self.reconsider(scope)
    }

    pub fn resume(mut self, scope: usize) -> Vec<Self> {
        self.scopes[scope].paused_until = 0;
        self.reconsider(scope)
    }

    /// The buckets of a scope may have changed: all hear of it, in some order. Then those are told whose
    /// turn comes too late by now.
    fn reconsider(mut self, scope: usize) -> Vec<Self> {
        // The scope itself, and its first bucket.
        self.served = 2;
        let buckets = self.buckets.keys().copied();
        let affected: BTreeSet<_> = buckets
            .filter(|&bucket| bucket.scope == scope && self.waiting(bucket) > 0)
            .collect();
        let mut after: Vec<Self> = Vec::new();
        for mut state in self.notice_each(affected.clone()) {
            state.run();
            let limited = |(&id, request): (&usize, &Request)| {
                let concerned = request.path.iter().any(|bucket| affected.contains(bucket));
                let leaves = || state.limit(id).is_some() || state.can_never_go(id);
                let queued = request.stage == Stage::Queued && leaves();
                (concerned && queued).then_some(request.leaf)
            };
            let leaves: BTreeSet<_> = state.requests.iter().filter_map(limited).collect();
            let one_bucket = affected.len() <= 1 && leaves.is_empty();
            let beyond = state
                .config
                .at_once()
                .is_some_and(|most| state.served >= most);
            state.is_vague |= beyond && !one_bucket;
            for mut state in state.refuse_the_hopeless(&leaves) {
                state.run();
                if !after.contains(&state) {
                    after.push(state);
                }
            }
        }
        after
    }

    /// A millisecond passes.
    pub fn tick(&mut self) {
        self.served = 0;
        let looks = self
            .buckets
            .keys()
            .map(|&bucket| (bucket, self.outlook(bucket)));
        let looks: Vec<_> = looks.collect();
        self.now += 1;
        let opened = looks.into_iter().filter_map(|(bucket, before)| {
            let changes = before.into_iter().zip(self.outlook(bucket));
            let others = changes.filter(|(before, after)| before.2 != after.2);
            let oldest = others.map(|(before, _)| before.1).min();
            oldest.map(|age| (age, bucket))
        });
        let opened = opened.collect();
        self.open(opened);
        self.run();
    }
}

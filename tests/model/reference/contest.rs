//! Who is next.

use std::collections::BTreeSet;

use super::{Gate, Model, Places, Stage};
use crate::config::{Bucket, GROUP};

/// How many of those who were offered their places are asked to fetch them at once.
const AT_ONCE: usize = 8;

impl Model<'_> {
    /// The requests that stand in the queue of a leaf, by age.
    pub(super) fn queue(&self, leaf: Bucket) -> Vec<usize> {
        self.by_age(leaf, |stage| *stage == Stage::Queued)
    }

    /// Those who were offered their places at a leaf, and have yet to be polled. They leave by age.
    pub(super) fn leaving(&self, leaf: Bucket) -> Vec<usize> {
        self.by_age(leaf, |stage| matches!(stage, Stage::Offered(_)))
    }

    /// The youngest that has its places at a leaf and has not gone out.
    pub(super) fn youngest_admitted(&self, leaf: Bucket) -> Option<usize> {
        let admitted = |stage: &Stage| matches!(stage, Stage::Offered(_) | Stage::Reserved(_));
        self.by_age(leaf, admitted).pop()
    }

    fn by_age(&self, leaf: Bucket, wanted: impl Fn(&Stage) -> bool) -> Vec<usize> {
        let mut found: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.leaf == leaf && wanted(&request.stage))
            .map(|(&id, request)| (request.age, id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
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

    /// Who would pass a bucket next.
    pub(super) fn head(&self, bucket: Bucket) -> Option<usize> {
        if bucket.scope < GROUP {
            self.queue(bucket).first().copied()
        } else {
            let child = self.contest(bucket).first().copied()?;
            Some(self.seats[&child].0)
        }
    }

    /// Gives whoever may pass a bucket a place in the next one. Those who stand there for the same
    /// request as before keep theirs.
    ///
    /// Returns somebody who now knows that its turn comes too late, if there is one. Those heads are asked
    /// to take over what is overdue that are met on the way from `start`.
    fn seat(&mut self, start: Bucket) -> Option<usize> {
        let mut changed = false;
        let mut hopeless = None;
        // Scopes are numbered from the narrow to the wide.
        let buckets: Vec<_> = self.buckets.keys().copied().collect();
        let way = self.path(start);
        for &bucket in &buckets {
            if self.unnoticed.contains(&bucket) {
                continue;
            }
            let head = self.head(bucket);
            let gate = self.gate(bucket);
            if let (Some(head), Gate::Until(opens)) = (head, gate) {
                if self.limit(head).is_some_and(|(until, _)| opens > until) {
                    hopeless = Some(head);
                    break;
                }
            }
            if let Some(head) = head.filter(|_| gate != Gate::Open && way.contains(&bucket)) {
                self.invite(bucket, head);
            }
            let candidate = head.filter(|_| gate == Gate::Open);
            if self.config.parent(bucket).is_none() {
                continue;
            }
            if self.seats.get(&bucket).map(|seat| seat.0) == candidate {
                continue;
            }
            changed = true;
            let before = self.seats.remove(&bucket);
            if let Some(head) = candidate {
                let ticket = self.ticket(bucket, head, before);
                self.seats.insert(bucket, (head, ticket));
                if self.is_hopeless(head) {
                    hopeless = Some(head);
                    break;
                }
            }
        }
        if changed {
            self.renumber_tickets();
        }
        hopeless
    }

    /// The place of a head among those that compete with it: behind all others, unless it was absent and comes back
    /// to the place it had there, or is the head instead of another that has not had its turn.
    fn ticket(&mut self, bucket: Bucket, head: usize, before: Option<(usize, usize)>) -> usize {
        let last = self.tickets().last().copied();
        let last = last.max(before.map(|(_, place)| place));
        let had_its_turn = |id: &usize| {
            let request = self.requests.get(id);
            !request.is_some_and(|request| {
                matches!(
                    request.stage,
                    Stage::Made | Stage::Queued | Stage::Refused(_)
                )
            })
        };
        let inherited = before
            .filter(|(id, _)| !had_its_turn(id))
            .map(|(_, place)| place);
        let request = self.requests.get_mut(&head).unwrap();
        let kept = request.kept.remove(&bucket).or(inherited);
        kept.unwrap_or_else(|| last.map_or(0, |last| last + 1))
    }

    /// It comes back to the places that it has as a head.
    pub(super) fn keep_places(&mut self, id: usize) {
        let seats = self.seats.iter().filter(|(_, seat)| seat.0 == id);
        let seats = seats.map(|(&bucket, seat)| (bucket, seat.1));
        self.requests.get_mut(&id).unwrap().kept.extend(seats);
    }

    fn tickets(&self) -> BTreeSet<usize> {
        let kept = self
            .requests
            .values()
            .flat_map(|request| request.kept.values().copied());
        let seats = self.seats.values().map(|seat| seat.1);
        kept.chain(seats).collect()
    }

    /// Only the order matters; so states that differ in nothing else become equal.
    fn renumber_tickets(&mut self) {
        let tickets: Vec<_> = self.tickets().into_iter().collect();
        let rank = |ticket: &mut usize| *ticket = tickets.binary_search(ticket).unwrap();
        self.seats.values_mut().for_each(|seat| rank(&mut seat.1));
        let requests = self.requests.values_mut();
        let kept = requests.flat_map(|request| request.kept.values_mut());
        kept.for_each(rank);
    }

    /// Something has changed from `start` upwards: offers their places to all who can go, and refuses
    /// those whose turn is seen to come too late.
    pub(super) fn settle(&mut self, start: Bucket) {
        let mut start = start;
        while let Some(winner) = self.next_to_go(&mut start) {
            let path = self.requests[&winner].path.clone();
            let closed = path.iter().find(|&&bucket| !self.is_open(bucket));
            // It has changed, and nobody has looked at it yet.
            start = if let Some(&closed) = closed {
                closed
            } else {
                self.offer(winner);
                path[0]
            };
            for bucket in self.path(start) {
                self.unnoticed.remove(&bucket);
            }
        }
    }

    pub(super) fn next_to_go(&mut self, start: &mut Bucket) -> Option<usize> {
        while let Some(hopeless) = self.seat(*start) {
            self.turn_head_away(hopeless);
            *start = self.requests[&hopeless].leaf;
        }
        let noticed = |bucket: &&Bucket| !self.unnoticed.contains(bucket);
        let mut roots = self.buckets.keys().filter(noticed).copied();
        roots.find_map(|root| {
            let is_root = self.config.parent(root).is_none();
            self.head(root).filter(|_| is_root && self.is_open(root))
        })
    }

    fn offer(&mut self, id: usize) {
        self.keep_places(id);
        let at_head = self.take(id);
        self.set_stage(id, Stage::Offered(at_head));
        self.requests.get_mut(&id).unwrap().offered = self.now;
        let leaving = self.leaving_in_time(self.requests[&id].leaf);
        if leaving.into_iter().take(AT_ONCE).any(|other| other == id) {
            self.ask(id);
        }
    }

    /// Has it fetch its places in time, if it has not been asked yet. Returns whether it had not.
    fn ask(&mut self, id: usize) -> bool {
        let asks = self.requests[&id].absent_at.is_none() && !self.is_overdue(id);
        if asks {
            self.await_presence(id);
        }
        asks
    }

    /// Those who leave and are not late.
    fn leaving_in_time(&self, leaf: Bucket) -> Vec<usize> {
        let leaving = self.leaving(leaf).into_iter();
        leaving.filter(|&id| !self.is_overdue(id)).collect()
    }

    pub(super) fn next_to_leave(&self, leaf: Bucket) -> Option<usize> {
        self.leaving_in_time(leaf).first().copied()
    }

    /// Who is the next to leave has to be polled in time. Returns whether it had to be told.
    pub(super) fn let_leave(&mut self, leaf: Bucket) -> bool {
        let next = self.next_to_leave(leaf);
        next.is_some_and(|next| self.ask(next))
    }

    /// It is in another stage now. If nobody stood before it, it is the turn of the next to leave.
    pub(super) fn move_to(&mut self, id: usize, stage: Stage) {
        let leaf = self.requests[&id].leaf;
        let was_leaving = matches!(self.requests[&id].stage, Stage::Offered(_));
        self.set_stage(id, stage);
        if !was_leaving {
            return;
        }
        let left = self.leaving_in_time(leaf);
        let older = |first: &usize| self.requests[first].age < self.requests[&id].age;
        let was_first = !left.first().is_some_and(older);
        let asked = was_first && self.let_leave(leaf);
        if let Some(&newly) = left.get(AT_ONCE - 1).filter(|_| !asked) {
            self.ask(newly);
        }
    }

    pub(super) fn set_stage(&mut self, id: usize, stage: Stage) {
        self.requests.get_mut(&id).unwrap().stage = stage;
    }

    /// Counts one more as admitted; which of its permits will end with the head is clear from then on.
    pub(super) fn take(&mut self, id: usize) -> Places {
        self.admissions += 1;
        let request = self.requests.get_mut(&id).unwrap();
        request.serial = self.admissions;
        let path = request.path.clone();
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

    /// Somebody has a look at everything that a request to this leaf needs, or from some bucket upwards.
    fn notice_path(&mut self, start: Bucket) {
        for bucket in self.path(start) {
            self.unnoticed.remove(&bucket);
        }
        self.settle(start);
    }

    /// These have opened at this very instant. Those whose heads are older are served first.
    pub(super) fn open(&mut self, opened: BTreeSet<Bucket>) {
        self.unnoticed = opened;
        loop {
            let first = self.unnoticed.iter().filter_map(|&bucket| {
                let head = self.head(bucket)?;
                Some((self.requests[&head].age, bucket))
            });
            let Some((_, bucket)) = first.min() else {
                break;
            };
            self.notice_path(bucket);
        }
        self.unnoticed.clear();
    }

    /// These are looked at one after another, in any order.
    pub(super) fn notice_each(mut self, buckets: BTreeSet<Bucket>) -> Vec<Self> {
        let rounds = buckets.len();
        self.unnoticed = buckets;
        let mut states = vec![(self.unnoticed.clone(), self)];
        for _ in 0..rounds {
            let mut next = Vec::new();
            for (left, state) in states {
                for &bucket in &left {
                    let mut state = state.clone();
                    state.notice_path(bucket);
                    let mut left = left.clone();
                    left.remove(&bucket);
                    if !next.contains(&(left.clone(), state.clone())) {
                        next.push((left, state));
                    }
                }
            }
            states = next;
        }
        states.into_iter().map(|(_, state)| state).collect()
    }
}

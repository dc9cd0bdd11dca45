//! Who is next.

use std::collections::BTreeSet;

use super::{
    Model, Places, Seat, Stage,
    costs::{Class, Demand, PLAIN},
    order::Order,
    room::Gate,
};
use crate::{
    config::{Bucket, GROUP},
    order::{PRIORITIES, Priority},
};

/// How many of those who were offered their places are asked to fetch them at once.
const AT_ONCE: usize = 8;

/// One that stands at a bucket, with its seat there.
#[derive(Clone, Copy, PartialEq)]
struct Standing {
    id: usize,
    order: Order,
    class: Class,
}

impl Standing {
    fn seat(self) -> (Priority, Class) {
        (self.order.0, self.class)
    }
}

/// The first of its seat that stands at a bucket.
struct Head {
    id: usize,
    seat: (Priority, Class),
    gate: Gate,
    /// Whether it waits for others who came before it and need the same.
    is_behind: bool,
}

impl Head {
    fn goes(&self) -> bool {
        self.gate == Gate::Open && !self.is_behind
    }
}

impl Model<'_> {
    /// The requests that stand in the queue of a leaf, by class and age.
    pub(super) fn queue(&self, leaf: Bucket) -> Vec<usize> {
        self.by_order(leaf, |stage| *stage == Stage::Queued)
    }

    /// Those who were offered their places at a leaf, and have yet to be polled. They leave by class and age.
    pub(super) fn leaving(&self, leaf: Bucket) -> Vec<usize> {
        self.by_order(leaf, |stage| matches!(stage, Stage::Offered(_)))
    }

    /// The last that has its places at a leaf and has not gone out.
    pub(super) fn youngest_admitted(&self, leaf: Bucket) -> Option<usize> {
        let admitted = |stage: &Stage| matches!(stage, Stage::Offered(_) | Stage::Reserved(_));
        self.by_order(leaf, admitted).pop()
    }

    pub(super) fn by_order(&self, leaf: Bucket, wanted: impl Fn(&Stage) -> bool) -> Vec<usize> {
        let mut found: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.leaf == leaf && wanted(&request.stage))
            .map(|(&id, _)| (self.order(id), id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Those that compete in a bucket, by class and in the order in which they got there.
    pub(super) fn contest(&self, bucket: Bucket) -> Vec<Seat> {
        let mut contest: Vec<_> = self
            .seats
            .iter()
            .filter(|&(&(child, ..), _)| self.config.parent(child) == Some(bucket))
            .map(|(&seat, &(_, place))| (seat.1, place, seat))
            .collect();
        contest.sort_unstable();
        contest.into_iter().map(|(.., seat)| seat).collect()
    }

    /// Those that stand at a bucket, in the order in which they go, and which of them the floor has picked: of a leaf the
    /// first of each class alone.
    fn standing(&self, bucket: Bucket) -> (Vec<Standing>, Option<usize>) {
        let mut standing: Vec<_> = if bucket.scope < GROUP {
            let classes = 0..PRIORITIES.len();
            let firsts = classes.filter_map(|class| self.first_of(bucket, class));
            firsts.collect()
        } else {
            let contest = self.contest(bucket).into_iter();
            contest.map(|seat| self.seats[&seat].0).collect()
        };
        let picked = self.picked(bucket, &standing);
        standing.sort_by_key(|id| picked != Some(*id));
        let seated = |id| Standing {
            id,
            order: self.order(id),
            class: self.demand_of(id).class(),
        };
        (standing.into_iter().map(seated).collect(), picked)
    }

    /// The first of each seat at a bucket. One waits behind those that go before it and wait for something that it
    /// needs as well, and passes all others. Within an endpoint nobody is passed, nor is the one that is picked.
    fn heads(&self, bucket: Bucket) -> Vec<Head> {
        let mut heads: Vec<Head> = Vec::new();
        let mut awaited = 0;
        let (standing, picked) = self.standing(bucket);
        for one in standing {
            let demand = self.demand_of(one.id);
            let gate = self.gate(bucket, &demand);
            if heads.iter().all(|head| head.seat != one.seat()) {
                let is_behind = awaited & one.class != 0;
                heads.push(Head {
                    id: one.id,
                    seat: one.seat(),
                    gate,
                    is_behind,
                });
            }
            let is_picked = picked == Some(one.id);
            awaited |= if bucket.scope < GROUP && (is_picked || gate != Gate::Open) {
                Class::MAX
            } else if is_picked && gate == Gate::Open {
                one.class
            } else {
                self.awaited(bucket, &demand)
            };
        }
        heads
    }

    /// Of what a bucket has no room for a request.
    pub(super) fn awaited(&self, bucket: Bucket, demand: &Demand) -> Class {
        if self.is_open(bucket, demand) {
            return 0;
        }
        if !self.is_open(bucket, &Demand::NOTHING) {
            return Class::MAX;
        }
        let parts = demand.parts().into_iter();
        let closed = parts.filter(|(_, part)| !self.is_open(bucket, part));
        closed.fold(0, |all, (class, _)| all | class)
    }

    /// Whether a newcomer may pass those that stand at a bucket.
    pub(super) fn lets_pass(&self, bucket: Bucket, demand: &Demand) -> bool {
        let standing = self.standing(bucket).0.into_iter();
        let mut awaited = standing.map(|one| self.awaited(bucket, &self.demand_of(one.id)));
        if bucket.scope < GROUP {
            awaited.next().is_none()
        } else {
            awaited.all(|awaited| awaited & demand.class() == 0)
        }
    }

    /// What may change at a bucket by itself: who stands there, in which order, and what it waits for.
    pub(super) fn outlook(&self, bucket: Bucket) -> Vec<(usize, Order, Class)> {
        let (standing, picked) = self.standing(bucket);
        let is_leaf = bucket.scope < GROUP;
        // Where all need the same, the first of each class is what counts.
        let all_are_plain = standing.iter().all(|one| one.class == PLAIN);
        let mut looks = Vec::new();
        let mut seats = Vec::new();
        for one in standing {
            let demand = self.demand_of(one.id);
            if !is_leaf && !all_are_plain {
                looks.push((one.id, one.order, self.awaited(bucket, &demand)));
                continue;
            }
            if seats.contains(&one.seat()) {
                continue;
            }
            seats.push(one.seat());
            let is_open = self.is_open(bucket, &demand);
            looks.push((one.id, one.order, Class::from(!is_open)));
            // Nobody passes it there. At a wider scope the oldest of all that wait for it says when that opens, though
            // another has been picked.
            if is_leaf && (!is_open || picked == Some(one.id)) {
                break;
            }
        }
        looks
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
            let heads = self.heads(bucket);
            for head in &heads {
                match head.gate {
                    Gate::Until(opens)
                        if !head.is_behind
                            && self.limit(head.id).is_some_and(|(until, _)| opens > until) =>
                    {
                        hopeless = Some(head.id);
                        break;
                    }
                    _ => {}
                }
                if !head.goes() && way.contains(&bucket) {
                    self.invite(bucket, head.id);
                }
            }
            if hopeless.is_some() {
                break;
            }
            if self.config.parent(bucket).is_none() {
                continue;
            }
            let going = heads.iter().filter(|head| head.goes());
            let going: Vec<_> = going.map(|head| (head.seat, head.id)).collect();
            let stays = |seat: &Seat, id: &usize| going.contains(&((seat.1, seat.2), *id));
            let left = self
                .seats
                .iter()
                .filter(|(seat, (id, _))| seat.0 == bucket && !stays(seat, id));
            let left: Vec<_> = left.map(|(&seat, &held)| (seat, held)).collect();
            for (seat, _) in &left {
                changed = true;
                self.seats.remove(seat);
            }
            for ((priority, class), head) in going {
                let seat = (bucket, priority, class);
                if self.seats.contains_key(&seat) {
                    continue;
                }
                changed = true;
                let mut before = left.iter().filter(|(of, _)| *of == seat);
                let before = before.next().map(|&(_, held)| held);
                let ticket = self.ticket(bucket, head, before);
                self.seats.insert(seat, (head, ticket));
                if self.is_hopeless(head) {
                    hopeless = Some(head);
                    break;
                }
            }
            if hopeless.is_some() {
                break;
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
        let seats = seats.map(|(&(bucket, ..), seat)| (bucket, seat.1));
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
            let demand = self.demand_of(winner);
            let closed = path.iter().find(|&&bucket| !self.is_open(bucket, &demand));
            // It has changed, and nobody has looked at it yet.
            start = if let Some(&closed) = closed {
                closed
            } else {
                self.offer(winner);
                self.serve(!self.unnoticed.is_empty());
                path[0]
            };
            for bucket in self.path(start) {
                self.unnoticed.remove(&bucket);
            }
        }
        self.tidy();
    }

    pub(super) fn next_to_go(&mut self, start: &mut Bucket) -> Option<usize> {
        while let Some(hopeless) = self.seat(*start) {
            self.serve(!self.unnoticed.is_empty());
            self.turn_head_away(hopeless);
            *start = self.requests[&hopeless].leaf;
        }
        let noticed = |bucket: &&Bucket| !self.unnoticed.contains(bucket);
        let mut roots = self.buckets.keys().filter(noticed).copied();
        roots.find_map(|root| {
            let is_root = self.config.parent(root).is_none();
            let heads = self.heads(root).into_iter().filter(|_| is_root);
            heads.filter(Head::goes).map(|head| head.id).next()
        })
    }

    /// One more is served. Law L18 has the layer do no more than a certain amount of work at once, and what else is to
    /// be done at this instant may come before the rest.
    pub(super) fn serve(&mut self, is_more_to_do: bool) {
        self.served += 1;
        let beyond = self
            .config
            .at_once()
            .is_some_and(|most| self.served >= most);
        self.is_vague |= beyond && is_more_to_do;
    }

    fn offer(&mut self, id: usize) {
        self.give(id, &self.demand_of(id));
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
        let older = |first: &usize| self.order(*first) < self.order(id);
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
        let taken = self.demand_of(id);
        let request = self.requests.get_mut(&id).unwrap();
        request.taken = taken;
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

    /// These have opened at this very instant, each for a head with this place. Those whose heads are older, or of a
    /// higher class, are served first.
    pub(super) fn open(&mut self, opened: BTreeSet<(Order, Bucket)>) {
        self.unnoticed = opened.iter().map(|&(_, bucket)| bucket).collect();
        for (_, bucket) in opened {
            if self.unnoticed.contains(&bucket) {
                self.serve(false);
                self.notice_path(bucket);
            }
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

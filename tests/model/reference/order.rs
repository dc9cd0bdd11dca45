//! Which of those that wait at one place goes first: classes and the floor under them (law L15), and flows (law L16).

use std::collections::BTreeMap;

use super::{Model, Stage, costs::Demand};
use crate::{
    config::{Bucket, GROUP},
    order::{Asked, BORDERS, Owner, PRIORITIES, Priority},
    support::Face,
};

/// Shares of a limit are counted in so many parts, and rounded up to whole ones.
const WHOLE: u64 = 1 << 32;

/// A place in a queue: by class, and within a class by age.
pub(super) type Order = (Priority, Option<u64>);

/// Those of one class that have the same owner, or none.
type FlowId = (Priority, Option<u8>);

/// Fair queueing at a leaf: a flow goes at its start, which what it is given moves on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Flows {
    all: BTreeMap<FlowId, State>,
    /// By class, where the flow started that was served last.
    now: [u128; PRIORITIES.len()],
    /// How many times a flow has taken its place among the others.
    placed: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct State {
    start: u128,
    weight: u32,
    /// Of flows with one start, who has taken its place first.
    placed: usize,
}

impl State {
    fn weigh(&self, share: u64) -> u128 {
        (u128::from(share) << 32) / u128::from(self.weight)
    }
}

impl Flows {
    /// A request of a flow takes its place: the first of it, if nobody of the flow waits.
    fn stand(&mut self, id: FlowId, weight: u32, is_first: bool) {
        let now = self.now[id.0];
        let state = self.all.entry(id).or_insert(State {
            start: now,
            weight,
            placed: 0,
        });
        state.weight = weight;
        if is_first {
            state.start = state.start.max(now);
            self.place(id);
        }
    }

    fn place(&mut self, id: FlowId) {
        self.placed += 1;
        self.all.get_mut(&id).unwrap().placed = self.placed;
    }

    fn serve(&mut self, id: FlowId, share: u64) {
        let state = self.all.get_mut(&id).unwrap();
        self.now[id.0] = self.now[id.0].max(state.start);
        state.start += state.weigh(share);
        self.place(id);
    }

    /// What was given turns out to be more, or less.
    fn charge(&mut self, id: FlowId, weight: u32, share: i128) {
        let amount = u64::try_from(share.unsigned_abs()).unwrap();
        if share > 0 {
            let start = self.now[id.0];
            let new = State {
                start,
                weight,
                placed: 0,
            };
            let state = self.all.entry(id).or_insert(new);
            state.start += state.weigh(amount);
        } else if let Some(state) = self.all.get_mut(&id) {
            state.start = state.start.saturating_sub(state.weigh(amount));
        } else {
            return;
        }
        self.place(id);
    }
}

impl Model<'_> {
    pub(super) fn order(&self, id: usize) -> Order {
        let request = &self.requests[&id];
        (request.asked.priority, request.age)
    }

    fn flow(&self, id: usize) -> FlowId {
        flow_of(self.requests[&id].asked)
    }

    /// Who goes first of a class at a leaf: the oldest of the flow whose turn it is.
    pub(super) fn first_of(&self, leaf: Bucket, priority: Priority) -> Option<usize> {
        let of_class = self.queue(leaf).into_iter();
        let mut of_class = of_class.filter(|id| self.order(*id).0 == priority);
        let Some(flows) = self.flows.get(&leaf) else {
            return of_class.next();
        };
        // They are by age; so is the first of each flow.
        let turn = |id: &usize| {
            let state = &flows.all[&self.flow(*id)];
            (state.start, state.placed, self.order(*id))
        };
        of_class.min_by_key(turn)
    }

    /// How much of the tightest limit a request takes.
    pub(super) fn share(&self, leaf: Bucket, demand: &Demand) -> u64 {
        let part = |taken: u64, n: u64| {
            let parts = (u128::from(taken) * u128::from(WHOLE)).div_ceil(u128::from(n));
            u64::try_from(parts.min(u128::from(WHOLE))).unwrap()
        };
        let mut shares = Vec::new();
        for bucket in self.path(leaf) {
            let limit = &self.scopes[bucket.scope].limit;
            let windows = limit.windows.iter();
            shares.extend(windows.map(|&(n, _)| part(demand.requests.into(), n.into())));
            if let Some(n) = limit.concurrency.filter(|_| self.config.face != Face::Rps) {
                shares.push(part(demand.permits as u64, n as u64));
            }
            let units = limit.units.iter();
            shares.extend(
                units.map(|(unit, n, _)| part(demand.units.get(unit).copied().unwrap_or(0), *n)),
            );
        }
        shares.into_iter().max().unwrap_or(WHOLE)
    }

    /// The widest limited scope that requests to a leaf pass: the leaf itself, if none is.
    fn floor_of(&self, leaf: Bucket) -> Bucket {
        let limits = |bucket: &Bucket| self.scopes[bucket.scope].limit.limits();
        let path = self.path(leaf).into_iter();
        path.rev().find(limits).unwrap_or(leaf)
    }

    /// Which of those that stand at a bucket goes next, though others of a higher class stand there: its class is owed
    /// as much as it takes.
    pub(super) fn picked(&self, bucket: Bucket, standing: &[usize]) -> Option<usize> {
        let one_in = self.config.floor?;
        let floors = self.floors.get(&bucket).copied().unwrap_or_default();
        let keeps_floor = |id: &usize| self.floor_of(self.requests[id].leaf) == bucket;
        if !standing.iter().any(keeps_floor) {
            return None;
        }
        let first_of = |priority| {
            let mut of_class = standing.iter().copied();
            of_class.find(|id| self.order(*id).0 == priority)
        };
        let is_owed = |border: usize, id: usize| {
            let share = self.share(self.requests[&id].leaf, &self.demand_of(id));
            floors[border] >= i128::from(share) * i128::from(one_in - 1)
        };
        let [high, normal, low] = [0, 1, 2].map(first_of);
        // Of the two lower classes.
        let lowest = low.filter(|&low| normal.is_some() && is_owed(1, low));
        if high.is_none() {
            return lowest;
        }
        let lower = lowest.or(normal).or(low);
        lower.filter(|&lower| is_owed(0, lower))
    }

    /// A request takes its place in the queue of its leaf.
    pub(super) fn stand_in_line(&mut self, id: usize) {
        let (leaf, asked) = (self.requests[&id].leaf, self.requests[&id].asked);
        let others = self.queue(leaf);
        let first_of = |flow: FlowId| others.iter().all(|&other| self.flow(other) != flow);
        let is_first = first_of(flow_of(asked));
        let has_flows = self.flows.contains_key(&leaf);
        if asked.owner.is_some() && !has_flows {
            // Until now there was one flow in each class.
            let mut flows = Flows::default();
            for priority in 0..PRIORITIES.len() {
                if !first_of((priority, None)) {
                    flows.stand((priority, None), 1, true);
                }
            }
            let before = self.flows.insert(leaf, flows);
            assert!(before.is_none());
        }
        if let Some(flows) = self.flows.get_mut(&leaf) {
            flows.stand(flow_of(asked), weight_of(asked), is_first);
        }
    }

    /// A request is given what it needs, and stands in its queues yet.
    pub(super) fn give(&mut self, id: usize, demand: &Demand) {
        let (leaf, priority) = (self.requests[&id].leaf, self.order(id).0);
        let share = self.share(leaf, demand);
        let floor = self.floor_of(leaf);
        let standing = self.standing_at(floor);
        let stands = |other| standing.iter().any(|&id| self.order(id).0 == other);
        // Somebody waits on both sides of the border, and it is of one of them.
        let counts = |border: usize| {
            priority >= border && stands(border) && (border + 1..PRIORITIES.len()).any(stands)
        };
        let counted = [0, 1].map(|border| self.config.floor.is_some() && counts(border));
        self.owe(floor, priority, counted, i128::from(share));
        self.requests.get_mut(&id).unwrap().counted = counted;
        let flow = self.flow(id);
        if let Some(flows) = self.flows.get_mut(&leaf) {
            flows.serve(flow, share);
            self.requests.get_mut(&id).unwrap().was_served = true;
        }
        self.forget_flows(leaf);
    }

    /// It gives that back. What is owed is forgotten with the last that waits.
    pub(super) fn take_off(&mut self, id: usize) {
        let request = self.requests.get_mut(&id).unwrap();
        let counted = std::mem::take(&mut request.counted);
        let was_served = std::mem::take(&mut request.was_served);
        let (leaf, asked) = (request.leaf, request.asked);
        let share = i128::from(self.share(leaf, &self.requests[&id].taken));
        let floor = self.floor_of(leaf);
        if self.is_contested(floor) {
            self.owe(floor, asked.priority, counted, -share);
        }
        if was_served {
            self.charge_flow(leaf, asked, -share);
        }
    }

    fn owe(&mut self, floor: Bucket, priority: Priority, counted: [bool; BORDERS], share: i128) {
        let Some(one_in) = self.config.floor else {
            return;
        };
        let others = i128::from(one_in - 1);
        let most = others * i128::from(WHOLE);
        let floors = self.floors.entry(floor).or_default();
        for border in (0..BORDERS).filter(|&border| counted[border]) {
            let more = if priority > border {
                -share * others
            } else {
                share
            };
            // Who cannot take what it is owed is not owed more and more.
            floors[border] = (floors[border] + more).clamp(-most, most);
        }
    }

    /// A flow answers for what its requests have cost.
    pub(super) fn charge_flow(&mut self, leaf: Bucket, asked: Asked, more: i128) {
        if more == 0 {
            return;
        }
        if let Some(flows) = self.flows.get_mut(&leaf) {
            flows.charge(flow_of(asked), weight_of(asked), more);
        }
        self.forget_flows(leaf);
    }

    /// Forgets flows of which nobody waits and that would start at the same place if they came anew.
    fn forget_flows(&mut self, leaf: Bucket) {
        let queue = self.queue(leaf);
        let waiting: Vec<_> = queue.into_iter().map(|id| self.flow(id)).collect();
        if let Some(flows) = self.flows.get_mut(&leaf) {
            let now = flows.now;
            let stays =
                |id: &FlowId, state: &State| waiting.contains(id) || state.start > now[id.0];
            flows.all.retain(|id, state| stays(id, state));
        }
    }

    /// Whether somebody waits at a bucket or below it, or has yet to leave.
    fn is_contested(&self, bucket: Bucket) -> bool {
        let stays =
            |stage: &Stage| matches!(stage, Stage::Queued | Stage::Absent | Stage::Offered(_));
        !self.at(bucket, stays).is_empty()
    }

    /// Nobody is owed anything where nobody waits.
    pub(super) fn tidy(&mut self) {
        let floors = self.floors.keys().copied();
        let quiet: Vec<_> = floors.filter(|&floor| !self.is_contested(floor)).collect();
        for bucket in quiet {
            self.floors.remove(&bucket);
        }
        let flows = self.flows.keys().copied();
        let quiet: Vec<_> = flows.filter(|&leaf| !self.is_contested(leaf)).collect();
        for leaf in quiet {
            self.flows.remove(&leaf);
        }
    }

    /// Who stands at a bucket, of a leaf all.
    pub(super) fn standing_at(&self, bucket: Bucket) -> Vec<usize> {
        if bucket.scope < GROUP {
            return self.queue(bucket);
        }
        let contest = self.contest(bucket).into_iter();
        contest.map(|seat| self.seats[&seat].0).collect()
    }
}

fn flow_of(asked: Asked) -> FlowId {
    (asked.priority, asked.owner.map(|owner| owner.key))
}

fn weight_of(asked: Asked) -> u32 {
    asked.owner.map_or(1, |Owner { weight, .. }| weight)
}

//! Whose turn it is among the flows of one endpoint.
//!
//! That is law L16 of `CONTRIBUTING.md`, by start-time fair queueing: a flow goes at its *start*, and what it is given
//! moves its start on by that share, divided by its weight. A flow that has just come starts where the one is that was
//! served last, so nobody saves up.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ids::QueueKey,
    ranked::{Links, Ranked},
};
use crate::{
    costs::{Flow, Priority},
    steps,
};

/// A flow of one class; without a key, all requests of the class that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowId {
    /// The class's place, so that higher ones come first.
    class: usize,
    key: Option<u64>,
}

impl FlowId {
    pub(super) fn new(priority: Priority, flow: Option<Flow>) -> Self {
        Self {
            class: priority.place(),
            key: flow.map(Flow::key),
        }
    }

    pub(super) fn is_named(self) -> bool {
        self.key.is_some()
    }

    pub(super) fn is_of(self, priority: Priority) -> bool {
        self.class == priority.place()
    }
}

/// The flows of the requests that wait at one leaf, and those that were served lately.
#[derive(Debug, Default)]
pub(in crate::admission) struct Flows {
    all: BTreeMap<FlowId, State>,
    /// Those of which somebody waits, by class, in the order in which they go.
    waiting: BTreeSet<(usize, Start, u64, FlowId)>,
    /// Those of which nobody waits, and which started later than they would if they came anew.
    idle: BTreeSet<(usize, Start, FlowId)>,
    /// By class, where the one started that was served last.
    now: [Start; Priority::ALL.len()],
    /// Numbers those of one start in the order in which they got there.
    number: u64,
}

/// What a flow has been given, in shares of 2^-64 of the tightest limit, by weight.
type Start = u128;

#[derive(Debug)]
struct State {
    /// Of a named flow: its requests by age.
    line: Ranked<QueueKey>,
    len: usize,
    weight: u32,
    start: Start,
    number: u64,
}

impl State {
    /// `share` as it moves the start of this flow.
    fn weigh(&self, share: u64) -> Start {
        (Start::from(share) << 32) / Start::from(self.weight)
    }
}

impl Flows {
    /// Flows at a leaf at which so many of each class wait that have none.
    pub(super) fn beside(waiting: impl Fn(Priority) -> usize) -> Self {
        let mut flows = Self::default();
        for priority in Priority::ALL {
            for _ in 0..waiting(priority).min(1) {
                flows.come(FlowId::new(priority, None), 1);
            }
            if let Some(state) = flows.all.get_mut(&FlowId::new(priority, None)) {
                state.len = waiting(priority);
            }
        }
        flows
    }

    /// Whether anybody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn has(&self, priority: Priority) -> bool {
        self.first_of(priority).is_some()
    }

    /// Who is served next of a class.
    pub(super) fn first_of(&self, priority: Priority) -> Option<FlowId> {
        steps::count_way_down(self.waiting.len());
        let class = priority.place();
        let least = FlowId {
            class: 0,
            key: None,
        };
        let first = self.waiting.range((class, 0, 0, least)..).next();
        first
            .filter(|(of, ..)| *of == class)
            .map(|&(.., flow)| flow)
    }

    /// The named flows of a class of which somebody waits, in the order in which they go.
    pub(super) fn waiting_of(&self, priority: Priority) -> impl Iterator<Item = FlowId> {
        let of_class = self.waiting.iter().map(|(.., id)| *id);
        of_class.filter(move |id| id.is_of(priority) && id.is_named())
    }

    /// How many requests of a class are of named flows.
    pub(super) fn named(&self, priority: Priority) -> usize {
        self.waiting_of(priority)
            .filter_map(|id| self.all.get(&id))
            .map(|state| state.len)
            .sum()
    }

    /// The requests of a named flow.
    pub(super) fn line(&self, id: FlowId) -> Option<&Ranked<QueueKey>> {
        steps::count_way_down(self.all.len());
        self.all.get(&id).map(|state| &state.line)
    }

    /// The named flow after this one, in an order in which each comes once.
    pub(super) fn after(&self, id: Option<FlowId>) -> Option<FlowId> {
        use std::ops::Bound::{Excluded, Unbounded};
        steps::count_way_down(self.all.len());
        let from = id.map_or(Unbounded, Excluded);
        let mut flows = self.all.range((from, Unbounded));
        // There are three without a name.
        flows.find_map(|(id, _)| id.is_named().then_some(*id))
    }

    /// A request begins to wait, or stands in its line again.
    pub(super) fn enter(
        &mut self,
        links: &mut Links<QueueKey>,
        id: FlowId,
        weight: u32,
        key: QueueKey,
    ) {
        self.come(id, weight);
        if let Some(state) = self.all.get_mut(&id).filter(|_| id.is_named()) {
            state.line.insert(links, key);
        }
    }

    fn come(&mut self, id: FlowId, weight: u32) {
        steps::count_way_down(self.all.len());
        let now = self.now[id.class];
        let state = self.all.entry(id).or_insert_with(|| State {
            line: Ranked::default(),
            len: 0,
            weight,
            start: now,
            number: 0,
        });
        state.weight = weight;
        state.len += 1;
        if state.len == 1 {
            self.idle.remove(&(id.class, state.start, id));
            state.start = state.start.max(now);
            self.stand(id);
        }
    }

    /// A request stands in its line no more.
    pub(super) fn leave(
        &mut self,
        links: &mut Links<QueueKey>,
        id: FlowId,
        key: &QueueKey,
    ) -> bool {
        steps::count_way_down(self.all.len());
        let Some(state) = self.all.get_mut(&id) else {
            return false;
        };
        let known = !id.is_named() || state.line.remove(links, key);
        state.len -= usize::from(known);
        if state.len == 0 {
            let start = state.start;
            self.waiting.remove(&(id.class, start, state.number, id));
            self.rest(id, start);
        }
        known
    }

    /// A request is given so much, and waits no longer.
    pub(super) fn serve(&mut self, id: FlowId, share: u64) {
        let Some(state) = self.all.get_mut(&id) else {
            return;
        };
        let now = &mut self.now[id.class];
        *now = state.start.max(*now);
        let start = state.start + state.weigh(share);
        self.restart(id, start);
        self.forget(id.class);
    }

    /// What a flow was given turns out to be so much more, or less.
    pub(super) fn charge(&mut self, priority: Priority, flow: Option<Flow>, share: i128) {
        let id = FlowId::new(priority, flow);
        steps::count_way_down(self.all.len());
        let more = u64::try_from(share.unsigned_abs()).unwrap_or(u64::MAX);
        if share > 0 && !self.all.contains_key(&id) {
            // It has left, and comes back as one that has been given that much.
            self.come(id, flow.map_or(1, Flow::weighs));
            if let Some(state) = self.all.get_mut(&id) {
                state.len = 0;
                let (start, number) = (state.start, state.number);
                self.waiting.remove(&(id.class, start, number, id));
                self.idle.insert((id.class, start, id));
            }
        }
        let Some(state) = self.all.get(&id) else {
            return;
        };
        let (start, by) = (state.start, state.weigh(more));
        let start = if share > 0 {
            start + by
        } else {
            start.saturating_sub(by)
        };
        self.restart(id, start);
    }

    /// Gives a flow another start.
    fn restart(&mut self, id: FlowId, start: Start) {
        steps::count_way_down(self.all.len());
        let Some(state) = self.all.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut state.start, start);
        if state.len > 0 {
            self.waiting.remove(&(id.class, before, state.number, id));
            self.stand(id);
        } else {
            self.idle.remove(&(id.class, before, id));
            self.rest(id, start);
        }
    }

    fn stand(&mut self, id: FlowId) {
        steps::count_way_down(self.waiting.len());
        self.number += 1;
        if let Some(state) = self.all.get_mut(&id) {
            state.number = self.number;
            self.waiting
                .insert((id.class, state.start, self.number, id));
        }
    }

    /// Keeps a flow of which nobody waits for as long as it makes a difference.
    fn rest(&mut self, id: FlowId, start: Start) {
        steps::count_way_down(self.idle.len());
        if start > self.now[id.class] {
            self.idle.insert((id.class, start, id));
        } else {
            self.all.remove(&id);
        }
    }

    /// Forgets flows that would start at the same place if they came anew: a few each time one is served.
    fn forget(&mut self, class: usize) {
        for _ in 0..2 {
            steps::count_way_down(self.idle.len());
            let least = FlowId {
                class: 0,
                key: None,
            };
            let first = self.idle.range((class, 0, least)..).next().copied();
            let Some((of, start, id)) = first else { return };
            if of != class || start > self.now[class] {
                return;
            }
            self.idle.remove(&(of, start, id));
            self.all.remove(&id);
        }
    }
}

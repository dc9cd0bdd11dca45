use std::time::Duration;

use super::{
    ids::{NodeId, WaiterId},
    state::Core,
};
use crate::{
    bucket::{Demand, Gate, Tick},
    costs::Unit,
};

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Awaited {
    /// Room in a window of this unit: [`Unit::REQUESTS`](crate::Unit::REQUESTS) where it counts requests.
    Window(Unit),
    /// A permit: others hold as many as the quota allows, or as was learned.
    Permits,
    /// The end of a pause.
    Pause,
    /// Its turn: others stand before it in the queue of that scope.
    Turn,
}

/// What the head of a queue waits for.
#[derive(Clone, Debug)]
pub(in crate::admission) struct Awaits {
    /// The scope, by its name.
    pub(in crate::admission) scope: Box<str>,
    pub(in crate::admission) what: Awaited,
    /// How long it has waited, for whatever.
    pub(in crate::admission) time: Duration,
}

impl Core {
    /// What the request waits for that is the next of a node.
    pub(in crate::admission) fn head_awaits(&self, id: NodeId, now: Tick) -> Option<Awaits> {
        let queue = self.tree.node(id).wait_queue.as_ref()?;
        let head = self.head_of(queue.first(&self.links)?);
        let (scope, what) = self.awaited(head, now);
        Some(Awaits {
            scope: self.tree.name(self.tree.node(scope)),
            what,
            time: now.since(self.waiter(head).since),
        })
    }

    /// The narrowest scope that a waiter waits at, and for what.
    fn awaited(&self, id: WaiterId, now: Tick) -> (NodeId, Awaited) {
        let leaf = self.waiter(id).leaf;
        let demand = self.demand_of(id);
        let mut last = leaf;
        for node in self.tree.path(leaf) {
            if !self.is_first_at(node, id) {
                return (node, Awaited::Turn);
            }
            if let Some(what) = self.closed_by(node, &demand, now) {
                return (node, what);
            }
            last = node;
        }
        (last, Awaited::Turn)
    }

    /// Whether nobody who needs the same stands before a waiter at a scope.
    fn is_first_at(&self, node: NodeId, id: WaiterId) -> bool {
        let Some(queue) = &self.tree.node(node).wait_queue else {
            return true;
        };
        let lines = queue.lines().map(|(_, line)| line.first(&self.links));
        let mut firsts = lines.chain([queue.first(&self.links)]);
        firsts.any(|first| first.is_some_and(|first| self.head_of(first) == id))
    }

    /// Why a scope has no room for what a request takes; `None` if it has.
    fn closed_by(&self, id: NodeId, demand: &Demand, now: Tick) -> Option<Awaited> {
        if self.tree.gate(id, demand, now) == Gate::Open {
            return None;
        }
        let node = self.tree.node(id);
        if self.tree.paused_until(node) > now {
            return Some(Awaited::Pause);
        }
        let rules = &self.tree.scope(node.spec).rules;
        let limit = node.bucket.concurrency(rules, now);
        let (_, in_flight) = node.bucket.taken();
        if limit.is_some_and(|limit| !demand.has_permits(in_flight, limit)) {
            return Some(Awaited::Permits);
        }
        let lacks = |&(unit, amount): &(Unit, u64)| {
            let part = Demand {
                units: vec![(unit, amount)],
                ..Demand::NOTHING
            };
            self.tree.gate(id, &part, now) != Gate::Open
        };
        let unit = demand.units.iter().find(|part| lacks(part));
        Some(Awaited::Window(
            unit.map_or(Unit::REQUESTS, |&(unit, _)| unit),
        ))
    }
}

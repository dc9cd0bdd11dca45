use std::collections::BTreeMap;

use super::{
    arena::Arena,
    claimants::Claimants,
    flows::Flows,
    graces::Graces,
    ids::{QueueKey, WaiterId},
    keys::Garbage,
    open_bodies::Bodies,
    overdue::Overdue,
    pauses::Pauses,
    ranked::Links,
    task::Work,
    timers::Timers,
    tree::Tree,
    unheard::Unheard,
    waiter::Waiter,
};
use crate::{
    bucket::{Enforced, Tick},
    costs::Flow,
    endpoints::Routes,
};

/// Room for so many waiters stays when nobody waits any more.
const KEPT: usize = 512;

/// The state of one limiting layer.
#[derive(Debug)]
pub(in crate::admission) struct Core {
    pub(in crate::admission) tree: Tree,
    pub(super) waiters: Arena<Waiter>,
    /// Of the queues of all nodes.
    pub(super) links: Links<QueueKey>,
    pub(super) timers: Timers,
    pub(super) claimants: Claimants,
    pub(super) overdue: Overdue,
    pub(super) graces: Graces,
    pub(super) bodies: Bodies,
    pub(super) unheard: Unheard,
    pub(in crate::admission) pauses: Pauses,
    /// How many futures of the layer's own retries wait outside of its queue.
    pub(in crate::admission) away: usize,
    pub(super) work: Work,
    pub(super) next_ticket: u64,
    /// How many of the waiters are not of the normal class.
    pub(super) classed: usize,
    /// The flows of waiters that have one.
    pub(super) flow_of: BTreeMap<WaiterId, Flow>,
    /// To be freed when the lock has been released.
    pub(super) discarded: Vec<Flows>,
}

impl Core {
    pub(in crate::admission) fn new(routes: &Routes, enforced: Enforced, now: Tick) -> Self {
        Self {
            tree: Tree::new(routes, enforced, now),
            waiters: Arena::new(),
            links: Links::new(),
            timers: Timers::default(),
            claimants: Claimants::default(),
            overdue: Overdue::default(),
            graces: Graces::default(),
            bodies: Bodies::default(),
            unheard: Unheard::default(),
            pauses: Pauses::default(),
            away: 0,
            work: Work::default(),
            next_ticket: 0,
            classed: 0,
            flow_of: BTreeMap::new(),
            discarded: Vec::new(),
        }
    }

    /// When the next thing becomes due by itself.
    pub(in crate::admission) fn next_due(&self) -> Tick {
        let grace = self.graces.next().unwrap_or(Tick::NEVER);
        let fleet = self
            .tree
            .fleet()
            .map_or(Tick::NEVER, |fleet| fleet.next_due(self.tree.latest()));
        let others = self.timers.next().min(grace).min(self.bodies.next_due());
        others.min(fleet)
    }

    /// Whether something is due by itself though nobody waits: a store is to hear of what is under way.
    pub(in crate::admission) fn keeps_time(&self) -> bool {
        let latest = self.tree.latest();
        let fleet = self.tree.fleet();
        fleet.is_some_and(|fleet| fleet.next_due(latest) != Tick::NEVER)
    }

    /// Whether a request waits, or was admitted after a wait and is not yet dispatched.
    pub(in crate::admission) fn has_waiters(&self) -> bool {
        self.waiters.len() > 0
    }

    /// How many times the work of a plain request one of these requests may take.
    pub(in crate::admission) fn weight(&self) -> usize {
        // Where there are classes each scope has several heads to look at; flows have an order of their own besides.
        let of_order = match (self.classed > 0, !self.flow_of.is_empty()) {
            (false, false) => 1,
            (true, false) => 3,
            (_, true) => 4,
        };
        // There are several buckets to look at.
        let of_kin = if self.tree.counts_together() { 8 } else { 1 };
        self.tree.charges.weight() * of_order * of_kin
    }

    /// Zero if no bucket wants to hear of successes.
    pub(in crate::admission) fn listening(&self) -> usize {
        self.tree.listening()
    }

    /// Hands out memory that is not needed any more.
    pub(in crate::admission) fn clear(&mut self, garbage: &mut Garbage) {
        self.tree.keys.clear(garbage);
        garbage.flows.append(&mut self.discarded);
        if self.waiters.len() == 0 && self.waiters.end() > KEPT {
            let waiters = std::mem::replace(&mut self.waiters, Arena::new());
            garbage.waiters.push(waiters);
            garbage.links.extend(self.links.take_all());
        }
    }

    pub(super) fn waiter(&self, id: WaiterId) -> &Waiter {
        &self.waiters[id.index()]
    }

    pub(super) fn waiter_mut(&mut self, id: WaiterId) -> &mut Waiter {
        &mut self.waiters[id.index()]
    }
}

//! What follows when it becomes known what a request has cost, or when its caller is gone.

use super::{
    charge::Settler,
    claim::Claim,
    effects::{Decider, Decision, Effects},
    graces::Abandoned,
    ids::NodeId,
    state::Core,
    task::{Progress, Task},
    tree::Tree,
};
use crate::{bucket::Tick, costs::Cost};

impl Core {
    /// What a request has cost is known. Lower than estimated, it lets others go at once; higher, some have to wait
    /// for longer.
    pub(in crate::admission) fn settled(
        &mut self,
        claim: Claim,
        actual: &Cost,
        by: Settler,
        now: Tick,
        fx: &mut Effects,
    ) {
        let Some(more) = self.tree.settle_charge(claim, actual, by, now) else {
            return;
        };
        if by != Settler::Nobody {
            let told = || Decision::Settled(Box::new(actual.clone()));
            self.tree.tell(claim.leaf, now, fx, told);
        }
        let contested = self.is_contested(claim.leaf);
        // Requests that state nothing hear of it too: they go by the average.
        self.settle_after(claim.leaf, contested, now, fx);
        if more {
            self.recheck_all(claim.leaf);
        }
    }

    /// What could settle a request by hand is gone.
    pub(in crate::admission) fn end_hold(&mut self, claim: Claim, now: Tick, fx: &mut Effects) {
        let contested = self.is_contested(claim.leaf);
        self.tree.end_hold(claim, now);
        self.settle_after(claim.leaf, contested, now, fx);
    }

    /// A request was not accepted, and has cost nothing. Who waits is told of that when its permits end, if that
    /// follows.
    pub(in crate::admission) fn settled_to_nothing(
        &mut self,
        claim: Claim,
        ends: bool,
        now: Tick,
        fx: &mut Effects,
    ) {
        let nothing = self.tree.nothing(claim);
        if ends {
            let _ = (self.tree).settle_charge(claim, &nothing, Settler::Nobody, now);
        } else {
            self.settled(claim, &nothing, Settler::Nobody, now, fx);
        }
    }

    /// Whether anybody waits at a scope of a leaf.
    pub(super) fn is_contested(&self, leaf: NodeId) -> bool {
        let mut path = self.tree.path(leaf);
        path.any(|id| self.tree.node(id).wait_queue.is_some())
    }

    /// The turns of the requests that wait at the scopes of a leaf may come too late by now.
    fn recheck_all(&mut self, leaf: NodeId) {
        for node in self.tree.path(leaf).collect::<Vec<_>>() {
            let queue = self.tree.node(node).wait_queue.as_ref();
            if queue.is_some_and(|queue| queue.limited > 0) {
                let after = Progress::Begun;
                self.work.push(Task::Recheck { node, after });
            }
        }
    }

    /// The caller of a dispatched request has dropped it. Its permits end after the grace of their scopes.
    pub(in crate::admission) fn abandon(&mut self, of: Abandoned, now: Tick, fx: &mut Effects) {
        let claim = self.close_body(of.claim);
        let of = Abandoned { claim, ..of };
        let mut kept = Vec::new();
        self.tree.each(claim.leaf, |node, scopes, bit| {
            let grace = scopes[node.spec.0 as usize].rules.grace();
            if claim.permits & bit != 0 && !grace.is_zero() {
                kept.push((now.after(grace), bit));
            }
        });
        kept.sort_unstable();
        let all: u8 = kept.iter().fold(0, |all, (_, bit)| all | bit);
        // What belongs to the whole request ends with its last permit.
        let whole = claim.permits & (Claim::CHARGE | Claim::PIN);
        let mut at_once = claim.permits & !all & !whole;
        match kept.last_mut() {
            Some((_, last)) => *last |= whole,
            None => at_once |= whole,
        }
        for (due, permits) in kept {
            self.graces.keep(due, of, permits);
        }
        self.end_permits(of, at_once, (now, Decider::Itself), now, fx);
    }

    /// Ends the permits of abandoned requests whose grace is over.
    pub(in crate::admission) fn end_graces(&mut self, now: Tick, fx: &mut Effects) {
        while let Some((of, permits, ended)) = self.graces.take_due(now) {
            self.end_permits(of, permits, (ended, Decider::Another), now, fx);
            if !fx.spend() {
                return;
            }
        }
    }

    /// They ended at `ended`, which may be a while ago if nobody has looked.
    fn end_permits(
        &mut self,
        of: Abandoned,
        permits: u8,
        (ended, decider): (Tick, Decider),
        now: Tick,
        fx: &mut Effects,
    ) {
        let claim = of.claim;
        if permits == 0 {
            return;
        }
        if permits & Claim::LEAF != 0 {
            let in_flight = ended.since(of.dispatched);
            let told = || Decision::Ended { in_flight };
            self.tree.tell_by(decider, claim.leaf, now, fx, told);
        }
        if self.tree.release(claim, permits, ended) {
            self.settle(claim.leaf, now, fx);
        }
    }
}

impl Tree {
    /// Whether a permit of an abandoned request is kept for a time, at any scope of its endpoint.
    pub(in crate::admission) fn keeps_abandoned(&self, leaf: NodeId) -> bool {
        let mut path = self.path(leaf);
        path.any(|id| !self.scope(self.node(id).spec).rules.grace().is_zero())
    }
}

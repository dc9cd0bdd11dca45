//! Answers whose bodies are open: how many, since when, and which of them keep others waiting for too long.
//!
//! How many there are is counted in each bucket. Since when they are open is known only of those whose head came while
//! somebody watched: an observer, a request that waited anywhere in the layer, or who has closed it. Nothing is kept
//! for the others.
//!
//! A scope is *pressed* while a head waits there for a permit. With an observer, a body that has been open for
//! [`PATIENCE`](super::open_bodies::PATIENCE) within such a time is told of, once.

use super::{
    claim::Claim,
    effects::{Decider, Decision, Effects},
    ids::{NodeId, WaiterId},
    state::Core,
};
use crate::bucket::Tick;

impl Core {
    /// The head of an answer has come, and its body is to follow.
    pub(in crate::admission) fn open_body(&mut self, claim: &mut Claim) {
        claim.permits |= Claim::BODY;
        let counted = counted(*claim);
        self.tree.each(claim.leaf, |node, _, bit| {
            if counted & bit != 0 {
                node.bucket.open_body();
            }
        });
    }

    /// Whether somebody may ask since when a body is open.
    pub(in crate::admission) fn watches_bodies(&self) -> bool {
        self.tree.looks_twice || self.has_waiters()
    }

    /// It is known since when a body is open.
    pub(in crate::admission) fn watch_body(&mut self, claim: Claim, now: Tick) {
        let (counted, tells) = (counted(claim), self.tree.observed);
        self.bodies.since.insert(claim.serial, now);
        for (level, node) in self.tree.path(claim.leaf).enumerate() {
            if counted & 1 << level != 0 {
                self.bodies.insert(node, now, claim, tells);
            }
        }
    }

    /// The body of an answer has ended, if it was open. Returns the claim without it.
    pub(in crate::admission) fn close_body(&mut self, claim: Claim) -> Claim {
        if claim.permits & Claim::BODY == 0 {
            return claim;
        }
        let counted = counted(claim);
        self.tree.each(claim.leaf, |node, _, bit| {
            if counted & bit != 0 {
                node.bucket.close_body();
            }
        });
        if let Some(since) = self.bodies.since.remove(&claim.serial) {
            for (level, node) in self.tree.path(claim.leaf).enumerate() {
                if counted & 1 << level != 0 {
                    self.bodies.remove(node, since, claim.serial);
                }
            }
        }
        Claim {
            permits: claim.permits & !Claim::BODY,
            ..claim
        }
    }

    /// Notes whether a head waits for a permit at a scope. Only where an observer is to hear of it.
    pub(super) fn note_press(&mut self, id: NodeId, is_pressed: bool, now: Tick) {
        self.bodies.press(id, is_pressed, now);
    }

    /// Whether there are too few permits at a scope for what a waiter takes.
    pub(super) fn lacks_permit(&self, id: NodeId, waiter: WaiterId, now: Tick) -> bool {
        let node = self.tree.node(id);
        let rules = &self.tree.scope(node.spec).rules;
        let limit = node.bucket.concurrency(rules, now);
        let (_, in_flight) = node.bucket.taken();
        self.tree.enforced.permits
            && limit.is_some_and(|limit| !self.demand_of(waiter).has_permits(in_flight, limit))
    }

    /// The oldest body at a scope has kept others waiting for too long.
    pub(super) fn tell_open_body(&mut self, id: NodeId, now: Tick, fx: &mut Effects) {
        let Some((since, claim)) = self.bodies.first_untold(id) else {
            debug_assert!(false, "it was due");
            return;
        };
        for node in self.tree.path(claim.leaf) {
            self.bodies.mark_told(node, since, claim.serial);
        }
        let time = now.since(since);
        let told = || Decision::BodyOpen { time };
        self.tree
            .tell_by(Decider::Another, claim.leaf, now, fx, told);
    }

    /// How many bodies are open at a scope, and for how long the oldest has been, at least.
    pub(in crate::admission) fn open_bodies(
        &self,
        id: NodeId,
        now: Tick,
    ) -> Option<(usize, std::time::Duration)> {
        let open = self.tree.node(id).bucket.open_bodies();
        let known = self.bodies.known.get(&id).copied().unwrap_or(0);
        let since = if known == open {
            self.bodies.oldest(id)?
        } else if self.watches_bodies() {
            self.bodies.watched_since.unwrap_or(now)
        } else {
            now
        };
        (open > 0).then(|| (open, now.since(since)))
    }
}

/// The scopes at which a body is counted: those of which it holds a permit, and its endpoint.
fn counted(claim: Claim) -> u8 {
    claim.permits & Claim::SCOPES | Claim::LEAF
}

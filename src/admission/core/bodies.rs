//! Answers whose bodies are open: how many, since when, and which of them keep others waiting for too long.
//!
//! How many there are is counted in each bucket. Since when they are open is known only of those whose head came while
//! somebody watched: an observer, a request that waited anywhere in the layer, or who has closed it. Nothing is kept
//! for the others.
//!
//! A scope is *pressed* while a head waits there for a permit. With an observer, a body that has been open for
//! [`PATIENCE`] within such a time is told of, once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    claim::Claim,
    effects::{Decision, Effects},
    ids::{NodeId, WaiterId},
    state::Core,
};
use crate::{
    bucket::{Span, Tick},
    steps,
};

/// For how long a body may be open while others wait for its permit: 30 s.
const PATIENCE: Span = Span(30_000_000_000);

#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// Since when those are open that were watched when their head came, by the serial number of their claim.
    since: BTreeMap<u64, Tick>,
    /// The same, at each scope at which they are counted.
    at: BTreeSet<(NodeId, Tick, u64)>,
    /// How many of those a scope has.
    known: BTreeMap<NodeId, usize>,
    /// With an observer: those that it has not been told of.
    untold: BTreeMap<(NodeId, Tick, u64), Claim>,
    pressed: BTreeMap<NodeId, Press>,
    /// Scopes that were pressed until then.
    relieved: VecDeque<(Tick, NodeId)>,
    /// When the next body of a pressed scope is to be told of.
    due: BTreeSet<(Tick, NodeId)>,
    /// All bodies that are not known were open by then.
    watched_since: Option<Tick>,
}

/// A scope at which a head waits for a permit.
#[derive(Clone, Copy, Debug)]
struct Press {
    since: Tick,
    /// [`Tick::NEVER`] as long as one does. A head that gets its permit is followed by another in the same instant.
    until: Tick,
    due: Tick,
}

impl Bodies {
    /// Somebody watches from now on.
    pub(super) fn watch(&mut self, now: Tick) {
        self.watched_since = Some(now);
    }

    pub(super) fn next_due(&self) -> Tick {
        self.due.first().map_or(Tick::NEVER, |&(due, _)| due)
    }

    pub(super) fn due(&self, now: Tick) -> Option<NodeId> {
        let &(due, node) = self.due.first()?;
        (due <= now).then_some(node)
    }

    fn insert(&mut self, node: NodeId, since: Tick, claim: Claim, tells: bool) {
        steps::count_way_down(self.at.len());
        self.at.insert((node, since, claim.serial));
        *self.known.entry(node).or_default() += 1;
        if tells {
            self.untold.insert((node, since, claim.serial), claim);
            self.set_due(node);
        }
    }

    fn remove(&mut self, node: NodeId, since: Tick, serial: u64) {
        steps::count_way_down(self.at.len());
        self.at.remove(&(node, since, serial));
        if let Some(known) = self.known.get_mut(&node) {
            *known -= 1;
            if *known == 0 {
                self.known.remove(&node);
            }
        }
        self.mark_told(node, since, serial);
    }

    fn mark_told(&mut self, node: NodeId, since: Tick, serial: u64) {
        if self.untold.remove(&(node, since, serial)).is_some() {
            self.set_due(node);
        }
    }

    /// The oldest at a scope that an observer has not been told of.
    fn first_untold(&self, node: NodeId) -> Option<(Tick, Claim)> {
        steps::count_way_down(self.untold.len());
        let from = (node, Tick::NONE, 0);
        let (&(of, since, _), &claim) = self.untold.range(from..).next()?;
        (of == node).then_some((since, claim))
    }

    /// Since when the oldest that is known at a scope is open.
    fn oldest(&self, node: NodeId) -> Option<Tick> {
        steps::count_way_down(self.at.len());
        let &(of, since, _) = self.at.range((node, Tick::NONE, 0)..).next()?;
        (of == node).then_some(since)
    }

    /// Sets the timer of a scope: to when its oldest body has been open for long enough, and it pressed.
    fn set_due(&mut self, node: NodeId) {
        let first = self.first_untold(node);
        let Some(press) = self.pressed.get_mut(&node) else {
            return;
        };
        let due = match first {
            Some((since, _)) if press.until == Tick::NEVER => {
                since.max(press.since).after(PATIENCE)
            }
            _ => Tick::NEVER,
        };
        if due == press.due {
            return;
        }
        steps::count_way_down(self.due.len());
        self.due.remove(&(press.due, node));
        press.due = due;
        if due != Tick::NEVER {
            self.due.insert((due, node));
        }
    }

    /// Whether a head waits for a permit at a scope, as it is now.
    fn press(&mut self, node: NodeId, is_pressed: bool, now: Tick) {
        steps::count_way_down(self.pressed.len());
        match (self.pressed.get_mut(&node), is_pressed) {
            (Some(press), true) if press.until >= now => press.until = Tick::NEVER,
            (None | Some(_), true) => {
                let due = self
                    .pressed
                    .get(&node)
                    .map_or(Tick::NEVER, |press| press.due);
                let press = Press {
                    since: now,
                    until: Tick::NEVER,
                    due,
                };
                self.pressed.insert(node, press);
            }
            (Some(press), false) if press.until == Tick::NEVER => {
                press.until = now;
                self.relieved.push_back((now, node));
            }
            (None | Some(_), false) => return,
        }
        self.set_due(node);
        // As many go as come, and one more.
        for _ in 0..2 {
            let Some(&(until, node)) = self.relieved.front().filter(|(until, _)| *until < now)
            else {
                break;
            };
            self.relieved.pop_front();
            if self
                .pressed
                .get(&node)
                .is_some_and(|press| press.until <= until)
            {
                self.pressed.remove(&node);
            }
        }
    }
}

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
        self.tree.tell(claim.leaf, now, fx, told);
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

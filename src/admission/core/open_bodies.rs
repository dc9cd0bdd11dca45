//! The data of [`bodies`](super::bodies).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{claim::Claim, ids::NodeId};
use crate::{
    bucket::{Span, Tick},
    steps,
};

/// For how long a body may be open while others wait for its permit: 30 s.
pub(super) const PATIENCE: Span = Span(30_000_000_000);

#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// Since when those are open that were watched when their head came, by the serial number of their claim.
    pub(super) since: BTreeMap<u64, Tick>,
    /// The same, at each scope at which they are counted.
    pub(super) at: BTreeSet<(NodeId, Tick, u64)>,
    /// How many of those a scope has.
    pub(super) known: BTreeMap<NodeId, usize>,
    /// With an observer: those that it has not been told of.
    pub(super) untold: BTreeMap<(NodeId, Tick, u64), Claim>,
    pub(super) pressed: BTreeMap<NodeId, Press>,
    /// Scopes that were pressed until then.
    pub(super) relieved: VecDeque<(Tick, NodeId)>,
    /// When the next body of a pressed scope is to be told of.
    pub(super) due: BTreeSet<(Tick, NodeId)>,
    /// All bodies that are not known were open by then.
    pub(super) watched_since: Option<Tick>,
}

/// A scope at which a head waits for a permit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Press {
    pub(super) since: Tick,
    /// [`Tick::NEVER`] as long as one does. A head that gets its permit is followed by another in the same instant.
    pub(super) until: Tick,
    pub(super) due: Tick,
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

    pub(super) fn insert(&mut self, node: NodeId, since: Tick, claim: Claim, tells: bool) {
        steps::count_way_down(self.at.len());
        self.at.insert((node, since, claim.serial));
        *self.known.entry(node).or_default() += 1;
        if tells {
            self.untold.insert((node, since, claim.serial), claim);
            self.set_due(node);
        }
    }

    pub(super) fn remove(&mut self, node: NodeId, since: Tick, serial: u64) {
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

    pub(super) fn mark_told(&mut self, node: NodeId, since: Tick, serial: u64) {
        if self.untold.remove(&(node, since, serial)).is_some() {
            self.set_due(node);
        }
    }

    /// The oldest at a scope that an observer has not been told of.
    pub(super) fn first_untold(&self, node: NodeId) -> Option<(Tick, Claim)> {
        steps::count_way_down(self.untold.len());
        let from = (node, Tick::NONE, 0);
        let (&(of, since, _), &claim) = self.untold.range(from..).next()?;
        (of == node).then_some((since, claim))
    }

    /// Since when the oldest that is known at a scope is open.
    pub(super) fn oldest(&self, node: NodeId) -> Option<Tick> {
        steps::count_way_down(self.at.len());
        let &(of, since, _) = self.at.range((node, Tick::NONE, 0)..).next()?;
        (of == node).then_some(since)
    }

    /// Sets the timer of a scope: to when its oldest body has been open for long enough, and it pressed.
    pub(super) fn set_due(&mut self, node: NodeId) {
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
    pub(super) fn press(&mut self, node: NodeId, is_pressed: bool, now: Tick) {
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

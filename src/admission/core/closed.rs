//! Servers that have named a time beyond the longest pause: nobody waits for so long.
//!
//! While that time is known, its bucket is *closed*: those who wait for it and those who come are refused at
//! once. Once in `max_pause` a newcomer goes as a *probe*, and its success opens the bucket again: one header
//! cannot switch a client off for a day.

use super::{
    claim::Claim,
    closures::Closure,
    ids::{NodeId, WaiterId},
    queue::Entry,
    state::Core,
    task::{Progress, Task},
    waiter::Stage,
};
use crate::bucket::{Span, Tick};

impl Core {
    /// How many buckets want to hear of successes: those that have learned something, and those that are
    /// closed.
    pub(in crate::admission) fn listening(&self) -> usize {
        self.tree.keys.learned + self.closures.len()
    }

    /// A server asks to be left alone for longer than `longest`.
    pub(super) fn close(&mut self, id: NodeId, delay: Span, longest: Span, now: Tick) {
        let closure = Closure {
            until: now.after(delay),
            paused_until: Tick::NONE,
            serial: self.tree.serial,
            probe_at: now.after(longest),
            probe: None,
        };
        let until = closure.until;
        if self.closures.insert(id, closure) {
            self.pin(id);
        }
        self.tree.node_mut(id).bucket.pause(until);
        let after = Progress::Begun;
        self.work.push(Task::Recheck { node: id, after });
    }

    /// A bucket is open again, whatever its server has said. A pause that has begun since stays.
    pub(super) fn reopen(&mut self, id: NodeId) {
        let Some(closure) = self.closures.remove(id) else {
            return;
        };
        let bucket = &mut self.tree.node_mut(id).bucket;
        if bucket.paused_until() == closure.until {
            bucket.resume();
            bucket.pause(closure.paused_until);
        }
        self.unpin(id);
    }

    /// An answer asks for a pause of a bucket that may be closed for longer.
    pub(super) fn pause_beside(&mut self, id: NodeId, delay: Span, now: Tick) {
        if let Some(closure) = self.closures.get_mut(id) {
            let until = now.after(delay);
            closure.paused_until = closure.paused_until.max(until);
            closure.probe_at = closure.probe_at.max(until);
        }
    }

    /// The answer to a request that went out after its bucket was closed: the server is open.
    pub(super) fn reopen_for(&mut self, claim: Claim) {
        if self.closures.is_empty() {
            return;
        }
        let path: Vec<_> = self.tree.path(claim.leaf).collect();
        for id in path {
            let closure = self.closures.get(id);
            if closure.is_some_and(|closure| claim.serial > closure.serial) {
                self.reopen(id);
                self.work.push(Task::Settle(id));
            }
        }
    }

    /// Whether a bucket that a leaf needs is closed.
    pub(super) fn is_closed(&self, leaf: NodeId, now: Tick) -> bool {
        !self.closures.is_empty() && self.closed(leaf, now).next().is_some()
    }

    fn closed(&self, leaf: NodeId, now: Tick) -> impl Iterator<Item = (NodeId, Closure)> {
        let closures = self.tree.path(leaf).filter_map(|id| {
            let closure = self.closures.get(id)?;
            Some((id, *closure))
        });
        closures.filter(move |(_, closure)| closure.until > now)
    }

    /// Forgets the closures of a path whose time is over.
    pub(super) fn end_closures(&mut self, leaf: NodeId, now: Tick) {
        if self.closures.is_empty() {
            return;
        }
        let path: Vec<_> = self.tree.path(leaf).collect();
        for id in path {
            let closure = self.closures.get(id);
            if closure.is_some_and(|closure| closure.until <= now) {
                self.reopen(id);
            }
        }
    }

    /// Lets a newcomer through to a closed bucket, if it is time to try.
    pub(super) fn enter_as_probe(&mut self, entry: Entry, now: Tick) -> Option<WaiterId> {
        let leaf = entry.leaf;
        let closed: Vec<_> = self.closed(leaf, now).collect();
        if closed.iter().any(|(_, closure)| closure.probe_at > now) {
            return None;
        }
        // Past the closure's own pause, and no other.
        for (id, closure) in &closed {
            let bucket = &mut self.tree.node_mut(*id).bucket;
            if bucket.paused_until() == closure.until {
                bucket.resume();
            }
        }
        let claim = self.tree.admit(leaf, now);
        let probe = claim.map(|claim| self.insert_admitted(entry, claim, now));
        let longest = Span::from(self.tree.max_pause);
        for (id, closure) in closed {
            self.tree.node_mut(id).bucket.pause(closure.until);
            if let Some(closure) = self.closures.get_mut(id).filter(|_| probe.is_some()) {
                closure.probe_at = now.after(longest);
                closure.probe = probe;
            }
        }
        probe
    }

    /// Whether it goes out although its bucket is closed.
    pub(super) fn is_probe(&self, id: WaiterId) -> bool {
        let leaf = self.waiter(id).leaf;
        let mut closures = self.tree.path(leaf).filter_map(|id| self.closures.get(id));
        !self.closures.is_empty() && closures.any(|closure| closure.probe == Some(id))
    }

    /// A waiter leaves: another one may get its number.
    pub(super) fn forget_probe(&mut self, id: WaiterId) {
        if self.closures.is_empty() {
            return;
        }
        let path: Vec<_> = self.tree.path(self.waiter(id).leaf).collect();
        for node in path {
            if let Some(closure) = self.closures.get_mut(node) {
                closure.probe.take_if(|probe| *probe == id);
            }
        }
    }

    /// Whether a waiter has to be refused because its bucket is closed.
    pub(super) fn is_shut_out(&self, id: WaiterId, now: Tick) -> bool {
        let waiter = self.waiter(id);
        matches!(waiter.stage, Stage::Queued) && self.is_closed(waiter.leaf, now)
    }
}

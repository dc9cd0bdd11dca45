//! Buckets that are closed: their servers have named a time beyond the longest pause.

use std::collections::BTreeMap;

use super::ids::{NodeId, WaiterId};
use crate::bucket::Tick;

/// The buckets that are closed. Each is pinned.
#[derive(Debug, Default)]
pub(super) struct Closures {
    all: BTreeMap<NodeId, Closure>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Closure {
    /// The server's own time.
    pub(super) until: Tick,
    /// Until when answers with shorter delays ask for a pause: it outlasts the closure.
    pub(super) paused_until: Tick,
    /// Answers to later requests than this tell that the bucket is open.
    pub(super) serial: u64,
    /// When the next newcomer may try.
    pub(super) probe_at: Tick,
    pub(super) probe: Option<WaiterId>,
}

impl Closures {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns whether the bucket was open.
    pub(super) fn insert(&mut self, id: NodeId, closure: Closure) -> bool {
        self.all.insert(id, closure).is_none()
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Option<Closure> {
        self.all.remove(&id)
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Closure> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Closure> {
        self.all.get_mut(&id)
    }
}

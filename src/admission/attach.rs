//! Buckets leave the tree for [locks of their own](super::detached), and come back.

use super::{
    core::NodeId,
    engine::{Engine, Hold},
};

/// How many buckets one hold of the engine's lock attaches.
const STEP: usize = 64;

impl Engine {
    /// The engine's lock, with the bucket of a leaf in the tree. To be taken before the time is told: others may have
    /// told a later one where the bucket was.
    #[expect(
        clippy::inline_always,
        reason = "calls to whatever is not detached do this"
    )]
    #[inline(always)]
    pub(super) fn lock_at(&self, leaf: NodeId) -> Hold<'_> {
        let mut locked = self.lock();
        self.attach(&mut locked, leaf);
        locked
    }

    #[inline]
    pub(super) fn attach(&self, locked: &mut Hold<'_>, leaf: NodeId) {
        if locked.core.tree.is_detached(leaf) {
            if let Some(passage) = self.detached.take(leaf) {
                locked.core.attach(passage);
                self.note(locked);
            }
        }
    }

    /// After a request was admitted: the next ones may not need the engine's lock.
    #[inline]
    pub(super) fn detach(&self, locked: &mut Hold<'_>, leaf: NodeId) {
        if leaf.index() < self.detached.len() {
            if let Some(passage) = locked.core.detach(leaf) {
                self.detached.put(leaf, passage);
            }
        }
    }

    /// Attaches all buckets, a few at a time, and keeps them until what this returns is dropped.
    pub(super) fn attach_all(&self) -> Attached<'_> {
        let mut locked = self.lock();
        locked.core.tree.keep_attached(true);
        let attached = Attached(self);
        let end = self.detached.len();
        let mut from = 0;
        while from < end && locked.core.tree.detached() > 0 {
            let to = end.min(from + STEP);
            for index in from..to {
                self.attach(&mut locked, NodeId::new(index));
            }
            from = to;
            drop(locked);
            self.give_way();
            locked = self.lock();
        }
        attached
    }
}

/// All buckets are in the tree while this lives.
#[must_use = "dropping it lets buckets leave again"]
pub(super) struct Attached<'e>(&'e Engine);

impl Attached<'_> {
    /// For good.
    pub(super) fn for_ever(self) {
        std::mem::forget(self);
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.lock().core.tree.keep_attached(false);
    }
}

//! The locks of buckets that are [out of the tree](super::core::Passage).
//!
//! The engine's lock is taken before one of these, never after it.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    clock::Clock,
    core::{Claim, Done, NodeId, Passage, Tree},
};
use crate::{bucket::Tick, signal::QuotaReport};

/// The detached buckets of a layer, by the index of their leaf. Only those of the endpoints that a layer begins with
/// have a place here, and none if it begins with a limit for all of them together.
pub(super) struct Detached {
    places: Box<[Place]>,
    /// How many of those here have learned something since they are here.
    listening: AtomicUsize,
    /// How many requests were admitted here.
    admitted: AtomicU64,
}

/// Each has lines of the cache of its own, so that threads with endpoints of their own do not meet.
#[derive(Default)]
#[repr(align(128))]
struct Place {
    /// Whether a bucket is here: a hint, so that the lock is not taken in vain.
    taken: AtomicBool,
    passage: Mutex<Option<Passage>>,
}

impl Place {
    #[inline]
    fn lock(&self) -> Option<MutexGuard<'_, Option<Passage>>> {
        // Relaxed: who misses that a bucket has come goes by the engine's lock, and attaches it.
        if !self.taken.load(Ordering::Relaxed) {
            return None;
        }
        // No foreign code runs under this lock.
        Some(self.passage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Detached {
    pub(super) fn new(tree: &Tree) -> Self {
        let places = if tree.never_detaches() {
            0
        } else {
            tree.fixed()
        };
        Self {
            places: (0..places).map(|_| Place::default()).collect(),
            listening: AtomicUsize::new(0),
            admitted: AtomicU64::new(0),
        }
    }

    #[inline]
    fn at(&self, leaf: NodeId) -> Option<MutexGuard<'_, Option<Passage>>> {
        self.places.get(leaf.index())?.lock()
    }

    /// The leaves at smaller indices have a place here.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Admits a request that states no cost, if its bucket is here and has room.
    #[inline]
    pub(super) fn admit(&self, leaf: NodeId, clock: &Clock) -> Option<Claim> {
        self.at(leaf)?.as_mut()?.admit(|| clock.now())
    }

    #[inline]
    pub(super) fn stamp(&self, leaf: NodeId, now: Tick, clock: &Clock) -> Done {
        let Some(mut passage) = self.at(leaf) else {
            return false;
        };
        let passage = passage.as_mut();
        passage.is_some_and(|passage| passage.stamp(now, || clock.now()))
    }

    #[inline]
    pub(super) fn open_body(&self, claim: &mut Claim) -> Done {
        let Some(mut passage) = self.at(claim.leaf) else {
            return false;
        };
        let passage = passage.as_mut();
        passage.is_some_and(|passage| passage.open_body(claim))
    }

    #[inline]
    pub(super) fn release(&self, claim: Claim, permits: u8) -> Done {
        let Some(mut passage) = self.at(claim.leaf) else {
            return false;
        };
        let passage = passage.as_mut();
        passage.is_some_and(|passage| passage.release(claim, permits))
    }

    pub(super) fn accepted(
        &self,
        claim: Claim,
        quota: Option<&QuotaReport>,
        clock: &Clock,
    ) -> Done {
        let Some(mut passage) = self.at(claim.leaf) else {
            return false;
        };
        let passage = passage.as_mut();
        let begins = passage.and_then(|passage| passage.accepted(claim, quota, || clock.now()));
        if begins == Some(true) {
            self.listening.fetch_add(1, Ordering::Relaxed);
        }
        begins.is_some()
    }

    /// Whether a bucket here wants to hear of successes, of which the engine does not know.
    #[inline]
    pub(super) fn listens(&self) -> bool {
        self.listening.load(Ordering::Relaxed) != 0
    }

    /// How many requests were admitted here, up to the last time that each bucket went back.
    #[cfg(test)]
    pub(super) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    #[inline(never)]
    pub(super) fn put(&self, leaf: NodeId, passage: Passage) {
        let place = &self.places[leaf.index()];
        let mut there = place.passage.lock().unwrap_or_else(PoisonError::into_inner);
        *there = Some(passage);
        place.taken.store(true, Ordering::Relaxed);
    }

    #[inline(never)]
    pub(super) fn take(&self, leaf: NodeId) -> Option<Passage> {
        let place = self.places.get(leaf.index())?;
        let mut there = place.passage.lock().unwrap_or_else(PoisonError::into_inner);
        place.taken.store(false, Ordering::Relaxed);
        let passage = there.take()?;
        drop(there);
        if passage.has_begun_to_listen() {
            self.listening.fetch_sub(1, Ordering::Relaxed);
        }
        self.admitted
            .fetch_add(passage.admitted(), Ordering::Relaxed);
        Some(passage)
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").finish_non_exhaustive()
    }
}

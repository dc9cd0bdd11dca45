use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

/// A request's place in the order of entry: the smaller, the older.
///
/// One sequence for the whole process, so that a retry can keep the age of its request in any engine
/// that it passes, whichever engine gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival(NonZeroU64);

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Arrival {
    pub(crate) fn next() -> Self {
        // Relaxed: only the numbers' order matters. Two requests that enter one queue are ordered
        // by its lock; everyone else's order is theirs to establish before they call us.
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::new(next).expect("fewer requests than 2^64"))
    }

    pub(crate) fn get(self) -> u64 {
        self.0.get()
    }
}

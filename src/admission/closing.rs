//! What the engine has to be closed with.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use tokio::sync::Notify;

use super::core::Tree;

/// Beside the count of requests that have ended: the next one is to add it up.
pub(super) const TELLS: u64 = 1 << 63;

/// What the engine has to be closed with.
pub(super) struct Closing {
    /// The core says the same under its lock. Never unset.
    pub(super) closed: AtomicBool,
    /// Without permits: how many requests of each endpoint that does not come and go have ended, and are not yet added
    /// up; and [`TELLS`]. With permits there are none.
    pub(super) ended: Box<[Ended]>,
    /// The same of requests whose keys were not kept for their bodies.
    pub(super) ended_of_keys: AtomicU64,
    /// For retries that wait outside of the queue.
    pub(super) begins: Arc<Notify>,
    /// For those who drain.
    pub(super) drained: Notify,
}

/// In lines of the cache of its own: threads with endpoints of their own do not meet.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Ended(AtomicU64);

impl Closing {
    pub(super) fn new(tree: &Tree) -> Self {
        let beside = if tree.enforced.permits {
            0
        } else {
            tree.fixed()
        };
        Self {
            closed: AtomicBool::new(false),
            ended: (0..beside).map(|_| Ended::default()).collect(),
            ended_of_keys: AtomicU64::new(0),
            begins: Arc::new(Notify::new()),
            drained: Notify::new(),
        }
    }

    /// Where the ends of requests are counted, by the index of their leaf. Those beyond the last come and go.
    #[inline]
    pub(super) fn ended_at(&self, leaf: usize) -> &AtomicU64 {
        let of_endpoint = self.ended.get(leaf).map(|ended| &ended.0);
        of_endpoint.unwrap_or(&self.ended_of_keys)
    }

    /// To be called without the lock.
    pub(super) fn tell_drains(&self) {
        self.drained.notify_waiters();
    }
}

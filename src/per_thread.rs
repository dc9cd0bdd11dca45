//! A shared value whose count two threads do not fight for.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// So many counts there are, for more threads than call through one client on most machines.
const COUNTS: usize = 8;

/// Copies of one value, each with a count of its own.
///
/// What a request keeps of its layer, it keeps by a counted pointer, and with one count for all, threads that share
/// nothing else wait for each other's writes to it. So each thread has a copy, which it may share with others
/// if there are more than [`COUNTS`]. A pointer may be dropped by any thread.
#[derive(Debug)]
pub(crate) struct PerThread<T>(Arc<[Arc<T>; COUNTS]>);

impl<T: Clone> PerThread<T> {
    pub(crate) fn new(value: &T) -> Self {
        Self(Arc::new(std::array::from_fn(|_| Arc::new(value.clone()))))
    }
}

impl<T> PerThread<T> {
    /// That of this thread.
    #[inline]
    pub(crate) fn get(&self) -> &Arc<T> {
        &self.0[index()]
    }
}

impl<T> Deref for PerThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T> Clone for PerThread<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Of this thread: they take turns.
#[inline]
fn index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed) % COUNTS;
    }
    // A `usize` has nothing to drop, so it is there until the thread ends.
    INDEX.with(|&index| index)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    #[test]
    fn threads_that_begin_one_after_another_have_counts_of_their_own() {
        // Other tests begin threads, too, so that a few may miss a turn.
        let indices = || (0..4 * COUNTS).map(|_| thread::spawn(index).join().unwrap());
        assert!(indices().collect::<BTreeSet<_>>().len() > COUNTS / 2);
    }

    #[test]
    fn a_thread_keeps_to_one_count() {
        let shared = PerThread::new(&5);
        let kept = Arc::clone(shared.get());
        assert!(Arc::ptr_eq(&kept, shared.clone().get()));
        assert_eq!(Arc::strong_count(&kept), 2);
        assert_eq!(*shared, 5);
    }
}

//! How many comparisons it takes to build and to search a configuration.

use std::cell::Cell;

thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// Counts comparisons. Other tests run on other threads, so what is counted here is this test's alone.
pub(in crate::endpoints) fn count(n: usize) {
    STEPS.set(STEPS.get() + n);
}

/// What was counted on this thread since the last call.
pub(super) fn take() -> usize {
    STEPS.take()
}

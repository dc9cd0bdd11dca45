//! Counts in tests what a thread looks at or moves, so that tests can bound it (law L18).
//!
//! A step is one slot, link, node, waiter or stamp. Outside of tests nothing is counted.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[inline]
pub(crate) fn count(n: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + n);
    #[cfg(not(test))]
    let _ = n;
}

/// The steps of this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> usize {
    STEPS.replace(0)
}

/// Runs `operation` and returns its steps.
#[cfg(test)]
pub(crate) fn of<R>(operation: impl FnOnce() -> R) -> (R, usize) {
    let before = take();
    let result = operation();
    let steps = take();
    count(before + steps);
    (result, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_an_operation_count_in_the_whole_as_well() {
        take();
        count(2);
        assert_eq!(of(|| count(3)), ((), 3));
        assert_eq!((take(), take()), (5, 0));
    }
}

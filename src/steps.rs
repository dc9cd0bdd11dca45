//! Counts in tests what a thread looks at or moves, so that tests can bound it (law L18).
//!
//! A step is one slot, link, node, waiter or stamp. Outside of tests nothing is counted.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// The most steps of a hold of an engine's lock.
    static MOST: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[inline]
pub(crate) fn count(n: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + n);
    #[cfg(not(test))]
    let _ = n;
}

/// One operation on a search tree of `len` entries: a way down.
#[inline]
pub(crate) fn count_way_down(len: usize) {
    count(1 + (len + 1).ilog2() as usize);
}

/// One hold of an engine's lock.
#[derive(Debug)]
pub(crate) struct Hold {
    #[cfg(test)]
    begun: usize,
}

impl Hold {
    #[inline]
    pub(crate) fn begin() -> Self {
        Self {
            #[cfg(test)]
            begun: STEPS.get(),
        }
    }
}

#[cfg(test)]
impl Drop for Hold {
    fn drop(&mut self) {
        MOST.set(MOST.get().max(STEPS.get() - self.begun));
    }
}

/// The most steps of a hold of this thread since the last call.
#[cfg(test)]
pub(crate) fn take_most() -> usize {
    MOST.replace(0)
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

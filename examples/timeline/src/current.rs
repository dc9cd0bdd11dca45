//! Whose request the thread is busy with.

use std::cell::Cell;

/// A request of one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Tells timelines apart: the address of what one records.
    pub(crate) timeline: usize,
    pub(crate) number: usize,
}

thread_local! {
    static CURRENT: Cell<Option<Request>> = const { Cell::new(None) };
}

pub(crate) fn current() -> Option<Request> {
    CURRENT.get()
}

/// Does something for a request: what is observed meanwhile is about it, unless the event says otherwise.
pub(crate) fn within<T>(request: Request, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(CURRENT.replace(Some(request)));
    work()
}

/// Also when the work panics.
struct Restore(Option<Request>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

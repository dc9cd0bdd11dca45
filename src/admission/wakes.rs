use std::task::Waker;

/// Wakers to be woken or dropped once the engine's lock has been released.
///
/// Both can run foreign code: the waker of a finished task drops it, and with it perhaps one of our
/// own futures, whose drop takes the lock.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    wake: Vec<Waker>,
    discard: Vec<Waker>,
}

impl Wakes {
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wake.extend(waker);
    }

    pub(crate) fn discard(&mut self, waker: Option<Waker>) {
        self.discard.extend(waker);
    }

    /// To be called without the lock.
    #[inline]
    pub(crate) fn run(self) {
        // Nearly always there is nobody to wake.
        if !self.wake.is_empty() || !self.discard.is_empty() {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(self) {
        for waker in self.wake {
            waker.wake();
        }
    }
}

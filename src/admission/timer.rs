//! The one timer of an engine.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::{
    runtime,
    task::coop::unconstrained,
    time::{Instant, Sleep},
};

use super::clock::Clock;
use crate::bucket::Tick;

/// Wakes the engine when something is due: a head's gate opens, a wait reaches its limit, an offer was not
/// taken.
///
/// A `Sleep` that is polled with the engine as its waker fires without any task being polled. It lives in
/// one runtime, and stands still with it. So there is one for each runtime in which a request of this layer
/// has waited while others did, and all of them are set to the same time.
pub(super) struct Timer {
    /// When something is due. Written under the engine's lock; the thread that changed it calls
    /// [`set`](Self::set) afterwards.
    due: AtomicU64,
    /// By how much the clock had been set back then: the same tick is another instant since.
    set_back: AtomicU64,
    runtimes: Mutex<Vec<Driver>>,
    /// How many of those there are, for a look without their lock.
    count: AtomicUsize,
    /// The timer has fired while a thread was setting it; that thread then does what is due.
    rang: AtomicBool,
}

/// A runtime that drives the timer.
pub(super) struct Driver {
    runtime: runtime::Handle,
    sleep: Option<Pin<Box<Sleep>>>,
    /// What it is set to.
    due: Tick,
}

/// What the present runtime is to the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    New,
    Before,
    /// There is no runtime, or it has no timers.
    No,
}

/// What came of setting the timer.
#[derive(Clone, Debug)]
pub(super) enum Armed {
    Ok,
    /// The time has come already: by the clock of this runtime, if it may be another one.
    Due(Option<runtime::Handle>),
    /// No runtime is known that could wake a request.
    Nowhere,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self {
            due: AtomicU64::new(Tick::NEVER.0),
            set_back: AtomicU64::new(0),
            runtimes: Mutex::new(Vec::new()),
            count: AtomicUsize::new(0),
            rang: AtomicBool::new(false),
        }
    }

    /// Under the engine's lock. Returns whether that is news.
    pub(super) fn plan(&self, due: Tick, clock: &Clock) -> bool {
        // Relaxed: ordered by the engine's lock here, and by that of `runtimes` in `set`.
        let set_back = clock.set_back();
        let moved = self.set_back.swap(set_back, Ordering::Relaxed) != set_back;
        self.due.swap(due.0, Ordering::Relaxed) != due.0 || moved
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Driver>> {
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the present runtime drive the timer, too.
    pub(super) fn join(&self) -> Joined {
        let Ok(runtime) = runtime::Handle::try_current() else {
            return Joined::No;
        };
        let mut runtimes = self.lock();
        let is_it = |driver: &Driver| driver.runtime.id() == runtime.id();
        if runtimes.iter().any(is_it) {
            return Joined::Before;
        }
        if !has_timers() {
            return Joined::No;
        }
        runtimes.push(Driver {
            runtime,
            sleep: None,
            due: Tick::NEVER,
        });
        self.count.store(runtimes.len(), Ordering::Relaxed);
        Joined::New
    }

    /// No request waits any more: no runtime is kept. To be called under the engine's lock; the caller drops
    /// what is returned after it has released the lock.
    pub(super) fn leave(&self) -> Vec<Driver> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut *self.lock())
    }

    /// Whether a runtime drives it.
    pub(super) fn is_driven(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// The timer has fired. `false` if a thread is setting it: that thread then finds out by `rang`. It can be
    /// this thread, further up: tokio wakes at once if a timer is set to a time that has passed.
    pub(super) fn rings(&self) -> bool {
        self.rang.store(true, Ordering::SeqCst);
        match self.runtimes.try_lock() {
            Err(TryLockError::WouldBlock) => false,
            Ok(_) | Err(TryLockError::Poisoned(_)) => self.rang.swap(false, Ordering::SeqCst),
        }
    }

    /// Sets the timer to what was planned last.
    pub(super) fn set(&self, clock: &Clock, waker: &Waker) -> Armed {
        let armed = self.set_all(clock, waker);
        // After the lock was released: from then on `rings` can take it.
        if self.rang.swap(false, Ordering::SeqCst) && !matches!(armed, Armed::Due(_)) {
            return Armed::Due(None);
        }
        armed
    }

    fn set_all(&self, clock: &Clock, waker: &Waker) -> Armed {
        let mut runtimes = self.lock();
        let due = Tick(self.due.load(Ordering::Relaxed));
        let Some(instant) = clock.instant(due) else {
            for driver in &mut *runtimes {
                driver.sleep = None;
                driver.due = Tick::NEVER;
            }
            return Armed::Ok;
        };
        let mut armed = Armed::Nowhere;
        runtimes.retain_mut(|driver| match driver.set(due, instant, waker) {
            Some(of_driver) => {
                if !matches!(armed, Armed::Due(_)) {
                    armed = of_driver;
                }
                true
            }
            None => false,
        });
        self.count.store(runtimes.len(), Ordering::Relaxed);
        armed
    }
}

impl Driver {
    /// `None` if the runtime has ended.
    fn set(&mut self, due: Tick, instant: Instant, waker: &Waker) -> Option<Armed> {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                let fired = sleep.is_elapsed();
                if self.due == due && sleep.deadline() == instant && !fired {
                    return Some(Armed::Ok);
                }
                sleep.as_mut().reset(instant);
                sleep
            }
            none => {
                let _context = self.runtime.enter();
                none.insert(Box::pin(tokio::time::sleep_until(instant)))
            }
        };
        self.due = due;
        if sleep.is_elapsed() {
            // A runtime that has ended fires all of its timers, and panics if one is polled. The clock is
            // asked in the runtime's context: there it may be another one.
            let _context = self.runtime.enter();
            let is_due = Instant::now() >= instant;
            return is_due.then(|| Armed::Due(Some(self.runtime.clone())));
        }
        // Tokio's budget for a task is not the engine's, and waking it from here would lock it twice.
        let mut cx = Context::from_waker(waker);
        let poll = || pin!(unconstrained(sleep.as_mut())).poll(&mut cx);
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Some(Armed::Ok),
            Ok(Poll::Ready(())) => Some(Armed::Due(Some(self.runtime.clone()))),
            // It ended just now.
            Err(_) => None,
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}

/// Whether something can sleep here.
pub(super) fn has_timers() -> bool {
    // Tokio panics where timers are switched off, and has no way to ask.
    runtime::Handle::try_current().is_ok()
        && catch_unwind(|| drop(tokio::time::sleep_until(Instant::now()))).is_ok()
}

/// No runtime has timers here.
#[derive(Debug)]
pub(super) struct NoTimer;

impl fmt::Display for NoTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the request has to wait for a time, and nothing can wake it: it was polled outside of a \
             tokio runtime, or in one without timers (`Builder::enable_time`)",
        )
    }
}

impl std::error::Error for NoTimer {}

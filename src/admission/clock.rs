use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::bucket::{Span, Tick};

/// Translates between tokio's clock, which tests can pause, and the buckets' ticks.
///
/// Ticks never go back. Tokio's clock can: a layer that lives in a static meets a new runtime, whose clock
/// is not where a paused one was. Then time goes on from the latest tick.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    /// By how much tokio's clock was set back, in nanoseconds. Written under the engine's lock.
    set_back: AtomicU64,
    /// The same instant by the machine's monotonic clock.
    #[allow(clippy::disallowed_types, reason = "it is compared with tokio's")]
    machine: std::time::Instant,
    /// In place of what [`wall`](Self::wall) reads.
    #[cfg(test)]
    pub(super) injected: std::sync::Mutex<Option<Duration>>,
}

/// Clocks that are read one after the other differ by less.
const AT_ONCE: Duration = Duration::from_millis(1);

const ORIGIN: u64 = Tick::ORIGIN;

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "it is compared with tokio's"
    )]
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            set_back: AtomicU64::new(0),
            machine: std::time::Instant::now(),
            #[cfg(test)]
            injected: std::sync::Mutex::default(),
        }
    }

    /// By how much the wall clock is ahead of the monotonic one. That grows while the machine is frozen, as only the wall
    /// clock goes on. `None` if tokio's clock is not the machine's, as when a test has paused it, or if the thread was
    /// interrupted between two looks.
    pub(super) fn wall(&self) -> Option<Duration> {
        #[cfg(test)]
        if let Some(injected) = *self.injected.lock().unwrap() {
            return Some(injected);
        }
        let passed = self.origin.elapsed();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let of_machine = self.machine.elapsed();
        if passed.abs_diff(of_machine) > AT_ONCE {
            return None;
        }
        wall.ok()?.checked_sub(of_machine)
    }

    #[inline]
    pub(crate) fn now(&self) -> Tick {
        self.tick(Instant::now())
    }

    /// The present time, of a clock that seems to be behind `latest`. To be called under the engine's lock.
    ///
    /// A thread that read the clock before another one and got the lock after it reads it again here, and
    /// is ahead: a clock does not go back from one thread that holds the lock to the next. Otherwise it is
    /// another clock, and is set to go on from `latest`.
    #[cold]
    pub(crate) fn catch_up(&self, latest: Tick) -> Tick {
        let now = self.now();
        if now < latest {
            // Relaxed: the lock orders a reader, or the reader finds out that its time is behind.
            let behind = latest.0 - now.0;
            self.set_back.fetch_add(behind, Ordering::Relaxed);
        }
        now.max(latest)
    }

    /// By how much it was set back so far, in nanoseconds.
    pub(crate) fn set_back(&self) -> u64 {
        self.set_back.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn tick(&self, instant: Instant) -> Tick {
        let set_back = self.set_back.load(Ordering::Relaxed);
        if let Some(ahead) = instant.checked_duration_since(self.origin) {
            return Tick((ORIGIN + set_back).saturating_add(Span::from(ahead).0));
        }
        let behind = Span::from(self.origin.saturating_duration_since(instant));
        Tick((ORIGIN + set_back).saturating_sub(behind.0))
    }

    /// `None` is a time too far away to be reached.
    pub(crate) fn instant(&self, tick: Tick) -> Option<Instant> {
        if tick == Tick::NEVER {
            return None;
        }
        let origin = ORIGIN + self.set_back.load(Ordering::Relaxed);
        match tick.0.checked_sub(origin) {
            Some(ahead) => self.origin.checked_add(Duration::from_nanos(ahead)),
            None => self
                .origin
                .checked_sub(Duration::from_nanos(origin - tick.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_instants_are_translated_exactly() {
        let clock = Clock::new();
        for offset in [0, 1, 999, 1_000_000_001, 1 << 50] {
            let offset = Duration::from_nanos(offset);
            let later = clock.origin + offset;
            assert_eq!(clock.instant(clock.tick(later)), Some(later));
            if let Some(earlier) = clock.origin.checked_sub(offset) {
                assert_eq!(clock.instant(clock.tick(earlier)), Some(earlier));
            }
        }
        assert_eq!(clock.instant(Tick::NEVER), None);
    }

    #[test]
    fn a_clock_that_was_set_back_goes_on_from_the_latest_tick() {
        let clock = Clock::new();
        let hour = Span(3_600_000_000_000);
        let latest = clock.now().after(hour);
        assert_eq!(clock.catch_up(latest), latest);
        let now = clock.now();
        assert!(now >= latest && now < latest.after(hour), "{now:?}");
        let soon = clock.tick(Instant::now() + Duration::from_secs(1));
        assert!(soon > latest && soon < latest.after(Span(60_000_000_000)));
    }
}

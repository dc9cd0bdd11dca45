use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::{Span, Tick};

/// Translates between tokio's clock, which tests can pause, and the buckets' ticks.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

/// The origin lies in the middle, so that a clock that is set back (a new runtime under paused time
/// over a layer that lives in a static) still has ticks.
const ORIGIN: u64 = 1 << 62;

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        self.tick(Instant::now())
    }

    pub(crate) fn tick(&self, instant: Instant) -> Tick {
        if let Some(ahead) = instant.checked_duration_since(self.origin) {
            return Tick(ORIGIN.saturating_add(Span::from(ahead).0));
        }
        let behind = Span::from(self.origin.saturating_duration_since(instant));
        Tick(ORIGIN.saturating_sub(behind.0))
    }

    /// `None` is a time too far away to be reached.
    pub(crate) fn instant(&self, tick: Tick) -> Option<Instant> {
        if tick == Tick::NEVER {
            return None;
        }
        match tick.0.checked_sub(ORIGIN) {
            Some(ahead) => self.origin.checked_add(Duration::from_nanos(ahead)),
            None => self
                .origin
                .checked_sub(Duration::from_nanos(ORIGIN - tick.0)),
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
}

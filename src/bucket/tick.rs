use std::time::Duration;

/// In nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;

/// For how long stamps are kept only because they are recent: a rate per minute can be learned.
pub(crate) const RECENT: Span = Span(60 * SECOND);

/// A point in time, in nanoseconds since an origin of the engine's choosing.
///
/// Half the size of an `Instant`, totally ordered, and saturating: there is no `Duration` and no
/// number of windows for which arithmetic on it panics. 2⁶³ nanoseconds are 292 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    /// Before everything; as a stamp: "none".
    pub(crate) const NONE: Self = Self(0);
    /// When an engine's clock starts: in the middle, so that one that was set back still has ticks.
    pub(crate) const ORIGIN: u64 = 1 << 62;
    /// After everything.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    pub(crate) fn before(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// How long it is from `now` until this point; zero if it has passed.
    pub(crate) fn since(self, now: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }
}

/// A length of time in nanoseconds. What does not fit (584 years) is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) u64);

impl Span {
    pub(crate) const ZERO: Self = Self(0);

    pub(crate) fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    pub(crate) fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(crate) fn thousandths(self, n: u32) -> Self {
        Self((self.0 / 1000).saturating_mul(u64::from(n)))
    }

    /// A part between nothing (0) and all of it (1).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "only random spreads are measured so; a cast from a float saturates"
    )]
    pub(crate) fn part(self, part: f64) -> Self {
        Self((self.0 as f64 * part) as u64)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(
            duration
                .as_secs()
                .saturating_mul(1_000_000_000)
                .saturating_add(u64::from(duration.subsec_nanos())),
        )
    }
}

//! What a bucket allows: windows, concurrency, and how both are measured.

use std::{fmt, time::Duration};

/// How many windows one [`Quota`] can hold.
///
/// Real APIs publish up to four at once (per second, minute, hour, day); a fixed number keeps the
/// builder `const`.
pub const MAX_WINDOWS: usize = 8;

/// What one endpoint (or group, or everything together) allows.
///
/// A quota has any number of *windows* (at most `n` requests in any interval of length `period`),
/// up to [`MAX_WINDOWS`], and at most one *concurrency* limit (at most `n` requests in flight, from
/// dispatch until the response body has ended).
///
/// [`RpsLayer`](crate::RpsLayer) enforces the windows, [`ConcurrencyLayer`](crate::ConcurrencyLayer)
/// the concurrency, [`ThrottleLayer`](crate::ThrottleLayer) both.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::Quota;
///
/// // Five per second, and never more than four at the same time.
/// const TTS: Quota = Quota::per_second(5).concurrency(4);
///
/// // Twenty per second and a hundred per two minutes.
/// const RIOT: Quota = Quota::per_second(20).and_per(100, Duration::from_secs(120));
/// # let _ = (TTS, RIOT);
/// ```
///
/// # Panics
///
/// Every constructor refuses zero: a limit of no requests at all would wait for ever, and a period
/// of no length limits nothing. In a `const` the refusal is a compile error.
#[derive(Clone, PartialEq, Eq)]
pub struct Quota {
    windows: [Window; MAX_WINDOWS],
    len: usize,
    concurrency: Option<usize>,
    margin: Duration,
    release_at_head: bool,
}

/// At most `n` requests in any half-open interval of length `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) n: u32,
    pub(crate) period: Duration,
}

const EMPTY: Window = Window {
    n: 0,
    period: Duration::ZERO,
};

impl Quota {
    /// No limit at all.
    ///
    /// A bucket with this quota still counts what is in flight and can still be paused.
    pub const fn unlimited() -> Self {
        Self {
            windows: [EMPTY; MAX_WINDOWS],
            len: 0,
            concurrency: None,
            margin: Duration::ZERO,
            release_at_head: false,
        }
    }

    /// At most `n` requests in any second.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub const fn per_second(n: u32) -> Self {
        Self::per(n, Duration::from_secs(1))
    }

    /// At most `n` requests in any minute.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub const fn per_minute(n: u32) -> Self {
        Self::per(n, Duration::from_secs(60))
    }

    /// At most `n` requests in any interval of length `period`.
    ///
    /// The interval is half-open: of two requests exactly `period` apart, only one is in it.
    ///
    /// # Panics
    ///
    /// If `n` is 0 or `period` is zero.
    #[track_caller]
    pub const fn per(n: u32, period: Duration) -> Self {
        Self::unlimited().and_per(n, period)
    }

    /// Adds another window; a request has to fit into all of them.
    ///
    /// # Panics
    ///
    /// If `n` is 0, if `period` is zero, or if the quota has [`MAX_WINDOWS`] windows already.
    #[track_caller]
    pub const fn and_per(mut self, n: u32, period: Duration) -> Self {
        assert!(
            n > 0,
            "a quota of 0 requests would wait for ever: expected at least 1"
        );
        assert!(
            !period.is_zero(),
            "a window of 0 seconds limits nothing: expected a positive period"
        );
        assert!(
            self.len < MAX_WINDOWS,
            "a quota holds at most 8 windows (MAX_WINDOWS)"
        );
        self.windows[self.len] = Window { n, period };
        self.len += 1;
        self
    }

    /// At most `n` requests in flight, and no window.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub const fn concurrent(n: usize) -> Self {
        Self::unlimited().concurrency(n)
    }

    /// At most `n` requests in flight at once: from dispatch until the response body has ended.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub const fn concurrency(mut self, n: usize) -> Self {
        assert!(
            n > 0,
            "a concurrency of 0 would wait for ever: expected at least 1"
        );
        self.concurrency = Some(n);
        self
    }

    /// Widens every window of this quota by `margin`.
    ///
    /// Requests are dispatched here and judged there. If the way takes between `d` and `d + j`, two
    /// requests that leave a period apart can arrive `period - j` apart, so an exact client breaks
    /// an exact server's limit. A margin of `j`, the *jitter* of the way (not its delay), is
    /// necessary and sufficient when nothing else is known; a new connection's handshake counts as
    /// jitter too.
    ///
    /// # Panics
    ///
    /// If `margin` is zero: leave it out instead.
    #[track_caller]
    pub const fn margin(mut self, margin: Duration) -> Self {
        assert!(
            !margin.is_zero(),
            "a margin of 0 seconds widens nothing: expected a positive duration"
        );
        self.margin = margin;
        self
    }

    /// Ends the permit with the response *head* instead of the body's end.
    ///
    /// For answers that stay open for as long as somebody listens (watch streams, server-sent
    /// events) and do not count against the server's concurrency limit meanwhile.
    pub const fn release_at_head(mut self) -> Self {
        self.release_at_head = true;
        self
    }

    /// Whether it limits anything.
    pub(crate) const fn limits(&self) -> bool {
        self.len > 0 || self.concurrency.is_some()
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows[..self.len]
    }

    pub(crate) const fn concurrency_limit(&self) -> Option<usize> {
        self.concurrency
    }

    pub(crate) const fn window_margin(&self) -> Duration {
        self.margin
    }

    pub(crate) const fn releases_at_head(&self) -> bool {
        self.release_at_head
    }
}

/// Says the quota the way one would: `Quota(5 per 1s, 4 at once)`.
impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quota(")?;
        let mut separator = "";
        for Window { n, period } in self.windows() {
            write!(f, "{separator}{n} per {period:?}")?;
            separator = ", ";
        }
        if let Some(n) = self.concurrency {
            write!(f, "{separator}{n} at once")?;
            separator = ", ";
        }
        if separator.is_empty() {
            f.write_str("unlimited")?;
            separator = ", ";
        }
        if !self.margin.is_zero() {
            write!(f, "{separator}margin {:?}", self.margin)?;
        }
        if self.release_at_head {
            write!(f, "{separator}released at head")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_built_in_const() {
        const QUOTA: Quota = Quota::per_second(5)
            .and_per(100, Duration::from_secs(120))
            .concurrency(4)
            .margin(Duration::from_millis(100))
            .release_at_head();
        assert_eq!(
            format!("{QUOTA:?}"),
            "Quota(5 per 1s, 100 per 120s, 4 at once, margin 100ms, released at head)"
        );
        assert_eq!(format!("{:?}", Quota::unlimited()), "Quota(unlimited)");
    }

    #[test]
    fn zero_is_refused() {
        let refused: [fn() -> Quota; 7] = [
            || Quota::per_second(0),
            || Quota::per_minute(0),
            || Quota::per(0, Duration::from_secs(1)),
            || Quota::per(1, Duration::ZERO),
            || Quota::concurrent(0),
            || Quota::per_second(1).concurrency(0),
            || Quota::per_second(1).margin(Duration::ZERO),
        ];
        for build in refused {
            assert!(std::panic::catch_unwind(build).is_err());
        }
    }

    #[test]
    fn equal_quotas_are_equal_however_built() {
        assert_eq!(
            Quota::per_second(5).concurrency(4),
            Quota::concurrent(4).and_per(5, Duration::from_secs(1))
        );
        assert_ne!(Quota::per_second(5), Quota::per_second(6));
    }
}

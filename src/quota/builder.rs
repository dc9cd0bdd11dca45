//! What a user writes.

use std::{fmt, time::Duration};

use super::window::Window;
use crate::costs::Unit;

/// How many windows one [`Quota`] can hold.
///
/// Real APIs publish up to four at once (per second, minute, hour, day); a fixed number keeps the
/// builder `const`.
pub const MAX_WINDOWS: usize = 8;

/// What one endpoint (or group, or everything together) allows.
///
/// A quota has any number of *windows* (at most `n` requests, or tokens, or whatever else a [`Unit`] names, in any
/// interval of length `period`), up to [`MAX_WINDOWS`], and at most one *concurrency* limit (at most `n` requests
/// in flight, from dispatch until the response body has ended). What a request takes of each is its
/// [`Cost`](crate::Cost).
///
/// [`RpsLayer`](crate::RpsLayer) enforces the windows, [`ConcurrencyLayer`](crate::ConcurrencyLayer)
/// the concurrency, [`ThrottleLayer`](crate::ThrottleLayer) both.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::{Quota, Unit};
///
/// // Five per second, and never more than four at the same time.
/// const TTS: Quota = Quota::per_second(5).concurrency(4);
///
/// // Twenty per second and a hundred per two minutes.
/// const RIOT: Quota = Quota::per_second(20).and_per(100, Duration::from_secs(120));
///
/// // Fifty requests and 30 000 tokens per minute.
/// const CHAT: Quota = Quota::per_minute(50).units(Unit::INPUT_TOKENS, 30_000, Duration::from_secs(60));
/// # let _ = (TTS, RIOT, CHAT);
/// ```
///
/// It is read from a text and printed as one, such as `5/s, 100/2min, 4 at once`: see
/// [`FromStr`](#impl-FromStr-for-Quota). [`forecast`](Self::forecast) tells how long a batch of requests takes with it.
///
/// # Panics
///
/// Every constructor refuses zero: a limit of no requests at all would wait for ever, and a period
/// of no length limits nothing. In a `const` the refusal is a compile error.
#[derive(Clone, PartialEq, Eq)]
pub struct Quota {
    pub(super) windows: [Window; MAX_WINDOWS],
    pub(super) len: usize,
    pub(super) concurrency: Option<usize>,
    pub(super) margin: Duration,
    pub(super) grace: Duration,
    pub(super) release_at_head: bool,
}

impl Quota {
    /// No limit at all.
    ///
    /// A bucket with this quota still counts what is in flight and can still be paused.
    pub const fn unlimited() -> Self {
        Self {
            windows: [Window::EMPTY; MAX_WINDOWS],
            len: 0,
            concurrency: None,
            margin: Duration::ZERO,
            grace: Duration::ZERO,
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
    pub const fn and_per(self, n: u32, period: Duration) -> Self {
        self.units(Unit::REQUESTS, n as u64, period)
    }

    /// Adds a window that counts a unit: what the requests of any interval of length `period` take of it, by
    /// their [`Cost`](crate::Cost)s, is at most `n`.
    ///
    /// A request that states no cost in this unit takes what requests to the same endpoint took on average. One
    /// that takes more than `n` is refused ([`NeverFits`](crate::RefusedReason::NeverFits)).
    ///
    /// # Panics
    ///
    /// If `n` is 0, if `period` is zero, if the quota has [`MAX_WINDOWS`] windows already, if it counts the same unit
    /// at another time ([`Unit::at_end`]), or if the unit is [`Unit::REQUESTS`] and counted at the end or `n` greater
    /// than `u32::MAX`.
    #[track_caller]
    pub const fn units(mut self, unit: Unit, n: u64, period: Duration) -> Self {
        assert!(
            n > 0,
            "a quota of 0 would wait for ever: expected at least 1"
        );
        assert!(
            !period.is_zero(),
            "a window of 0 seconds limits nothing: expected a positive period"
        );
        assert!(
            self.len < MAX_WINDOWS,
            "a quota holds at most 8 windows (MAX_WINDOWS)"
        );
        let window = Window::new(unit, n, period);
        let mut i = 0;
        while i < self.len {
            assert!(
                self.windows[i].agrees_with(&window),
                "a quota counts one unit at dispatch or at the answer's end, and not both"
            );
            i += 1;
        }
        self.windows[self.len] = window;
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

    /// Keeps the permit of a dispatched request whose caller has dropped it for `time` more.
    ///
    /// A server that hears late, or not at all, that a client has gone works on for nobody, and counts what it does.
    /// Without a grace, which is the default, the next request may get there first and be refused. It applies to a
    /// response future that is dropped after its dispatch and before its answer, and to a response body that is dropped
    /// before its end; not to one that has failed. It keeps permits only: what is counted in windows stays there in any
    /// case. [`RpsLayer`](crate::RpsLayer), which has no permits, ignores it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_throttle::Quota;
    ///
    /// // After a caller has gone away the server works on for up to two seconds.
    /// const CHAT: Quota = Quota::concurrent(4).grace(Duration::from_secs(2));
    /// # let _ = CHAT;
    /// ```
    ///
    /// # Panics
    ///
    /// If `time` is zero: leave it out instead.
    #[track_caller]
    pub const fn grace(mut self, time: Duration) -> Self {
        assert!(
            !time.is_zero(),
            "a grace of 0 seconds keeps nothing: expected a positive duration"
        );
        self.grace = time;
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

    /// Its windows, in the order in which they were added.
    pub fn windows(&self) -> impl Iterator<Item = Window> {
        self.windows[..self.len].iter().copied()
    }

    /// How many requests may be in flight; `None` if that is not limited.
    pub const fn concurrency_limit(&self) -> Option<usize> {
        self.concurrency
    }

    pub(crate) const fn grace_time(&self) -> Duration {
        self.grace
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
        for window in self.windows() {
            write!(f, "{separator}{window:?}")?;
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
            separator = ", ";
        }
        if !self.grace.is_zero() {
            write!(f, "{separator}grace {:?}", self.grace)?;
            separator = ", ";
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
            .units(Unit::OUTPUT_TOKENS, 8_000, Duration::from_secs(60))
            .margin(Duration::from_millis(100))
            .grace(Duration::from_secs(2))
            .release_at_head();
        assert_eq!(
            format!("{QUOTA:?}"),
            "Quota(5 per 1s, 100 per 120s, 8000 output_tokens per 60s counted at end, 4 at once, \
             margin 100ms, grace 2s, released at head)"
        );
        assert_eq!(format!("{:?}", Quota::unlimited()), "Quota(unlimited)");
    }

    #[test]
    fn zero_is_refused() {
        let minute = Duration::from_secs(60);
        let refused: [&dyn Fn() -> Quota; 12] = [
            &|| Quota::per_second(0),
            &|| Quota::per_minute(0),
            &|| Quota::per(0, Duration::from_secs(1)),
            &|| Quota::per(1, Duration::ZERO),
            &|| Quota::concurrent(0),
            &|| Quota::per_second(1).concurrency(0),
            &|| Quota::per_second(1).margin(Duration::ZERO),
            &|| Quota::per_second(1).grace(Duration::ZERO),
            &|| Quota::unlimited().units(Unit::TOKENS, 0, minute),
            &|| Quota::unlimited().units(Unit::REQUESTS, 1 << 32, minute),
            &|| Quota::unlimited().units(Unit::REQUESTS.at_end(), 1, minute),
            &|| {
                let early = Quota::unlimited().units(Unit::TOKENS, 1, minute);
                early.units(Unit::TOKENS.at_end(), 2, minute)
            },
        ];
        for build in refused {
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(build)).is_err());
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

//! What one endpoint of the mock allows.

use std::{fmt, time::Duration};

/// What one endpoint allows its client: any number of sliding windows, and a number of requests at once.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::mock::Limit;
///
/// let tts = Limit::rps(5).concurrency(4);
/// let riot = Limit::rps(20).and_per(100, Duration::from_secs(120));
/// assert_eq!(tts.to_string(), "5 per 1s, 4 at once");
/// assert_eq!(riot.to_string(), "20 per 1s, 100 per 120s");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    windows: Vec<Window>,
    concurrency: Option<usize>,
}

/// At most `n` accepted requests in any half-open interval of length `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) n: usize,
    pub(crate) period: Duration,
}

impl Limit {
    /// No limit: everything is accepted, and counted.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// At most `n` requests in any second.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub fn rps(n: usize) -> Self {
        Self::per(n, Duration::from_secs(1))
    }

    /// At most `n` requests in any half-open interval of length `period`: of two requests exactly
    /// `period` apart, only one is in it.
    ///
    /// # Panics
    ///
    /// If `n` is 0 or `period` is zero.
    #[track_caller]
    pub fn per(n: usize, period: Duration) -> Self {
        Self::unlimited().and_per(n, period)
    }

    /// At most `n` requests at once, and no window.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub fn concurrent(n: usize) -> Self {
        Self::unlimited().concurrency(n)
    }

    /// Adds another window; a request has to fit into all of them.
    ///
    /// # Panics
    ///
    /// If `n` is 0 or `period` is zero.
    #[track_caller]
    pub fn and_per(mut self, n: usize, period: Duration) -> Self {
        assert!(
            n > 0,
            "a limit of 0 requests per {period:?} would refuse everything: expected at least 1"
        );
        assert!(
            !period.is_zero(),
            "a limit of {n} requests per {period:?} limits nothing: expected a positive period"
        );
        self.windows.push(Window { n, period });
        self
    }

    /// At most `n` requests at once, each from its arrival until the body of its answer has ended.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub fn concurrency(mut self, n: usize) -> Self {
        assert!(
            n > 0,
            "a limit of 0 requests at once would refuse everything: expected at least 1"
        );
        self.concurrency = Some(n);
        self
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    pub(crate) fn at_once(&self) -> Option<usize> {
        self.concurrency
    }

    /// The interval in which arrivals are counted for the score card.
    pub(crate) fn scored_period(&self) -> Duration {
        let first = self.windows.first();
        first.map_or(Duration::from_secs(1), |window| window.period)
    }
}

/// `5 per 1s, 4 at once`, or `unlimited`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Window { n, period } in &self.windows {
            write!(f, "{separator}{n} per {period:?}")?;
            separator = ", ";
        }
        match self.concurrency {
            Some(n) => write!(f, "{separator}{n} at once"),
            None if self.windows.is_empty() => f.write_str("unlimited"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused() {
        let refused: [fn() -> Limit; 4] = [
            || Limit::rps(0),
            || Limit::per(1, Duration::ZERO),
            || Limit::concurrent(0),
            || Limit::rps(1).concurrency(0),
        ];
        for build in refused {
            assert!(std::panic::catch_unwind(build).is_err());
        }
    }

    #[test]
    fn says_what_it_allows() {
        assert_eq!(Limit::unlimited().to_string(), "unlimited");
        assert_eq!(Limit::concurrent(4).to_string(), "4 at once");
    }
}

//! What one endpoint of the mock allows.

use std::{fmt, time::Duration};

/// What one endpoint allows its client: any number of sliding windows, of requests and of other units,
/// and a number of requests at once.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle_mock::Limit;
///
/// let tts = Limit::rps(5).concurrency(4);
/// let riot = Limit::rps(20).and_per(100, Duration::from_secs(120));
/// assert_eq!(tts.to_string(), "5 per 1s, 4 at once");
/// assert_eq!(riot.to_string(), "20 per 1s, 100 per 120s");
///
/// let minute = Duration::from_secs(60);
/// let llm = Limit::per(50, minute)
///     .units("input_tokens", 30_000, minute)
///     .units_at_end("output_tokens", 8_000, minute);
/// assert_eq!(
///     llm.to_string(),
///     "50 per 60s, 30000 input_tokens per 60s, 8000 output_tokens per 60s counted at end"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    windows: Vec<Window>,
    units: Vec<UnitWindow>,
    concurrency: Option<usize>,
}

/// At most `n` accepted requests in any half-open interval of length `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) n: usize,
    pub(crate) period: Duration,
}

/// At most `n` of a unit in any half-open interval of length `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitWindow {
    pub(crate) unit: &'static str,
    pub(crate) n: u64,
    pub(crate) period: Duration,
    pub(crate) counted: Counted,
}

/// When a request's cost goes into a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    AtArrival,
    AtEnd,
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

    /// At most `n` of a unit in any half-open interval of length `period`, counted when requests arrive.
    ///
    /// [`JudgeBuilder::cost_of`](super::JudgeBuilder::cost_of) says what a request costs. The judge adds up
    /// the costs of the requests that it accepted in the period up to now, and refuses a request whose cost
    /// makes that more than `n`. So it always refuses a request that costs more than `n` by itself. The
    /// window ignores requests that cost none of the unit.
    ///
    /// # Panics
    ///
    /// If `n` is 0 or `period` is zero; if the unit has no name, or is `requests`; or if this limit counts
    /// the same unit at the answer's end.
    #[track_caller]
    pub fn units(self, unit: &'static str, n: u64, period: Duration) -> Self {
        self.and_units(unit, n, period, Counted::AtArrival)
    }

    /// At most `n` of a unit in any half-open interval of length `period`, counted when answers end.
    ///
    /// An answer ends when its body has been read to its last byte or dropped, or when its client has gone
    /// away. What counts then is what the answer [cost](super::Answer::cost), or else what
    /// [`JudgeBuilder::cost_of`](super::JudgeBuilder::cost_of) said of its request.
    ///
    /// When a request arrives, nobody knows yet what it will cost. The judge accepts it if the window has
    /// any room at all: if what was counted in the period up to now is less than `n`. The costs of what is
    /// in flight may exceed the window later; the [report](super::UnitReport::worst_window) says by how
    /// much. A client keeps to the limit if no window ever holds more than `n`.
    ///
    /// # Panics
    ///
    /// If `n` is 0 or `period` is zero; if the unit has no name, or is `requests`; or if this limit counts
    /// the same unit at arrival.
    #[track_caller]
    pub fn units_at_end(self, unit: &'static str, n: u64, period: Duration) -> Self {
        self.and_units(unit, n, period, Counted::AtEnd)
    }

    #[track_caller]
    fn and_units(mut self, unit: &'static str, n: u64, period: Duration, counted: Counted) -> Self {
        assert!(!unit.is_empty(), "a unit needs a name");
        assert!(
            unit != "requests",
            "requests are counted by `Limit::per` and `Limit::and_per`"
        );
        assert!(
            n > 0,
            "a limit of 0 {unit} per {period:?} would refuse everything: expected at least 1"
        );
        assert!(
            !period.is_zero(),
            "a limit of {n} {unit} per {period:?} limits nothing: expected a positive period"
        );
        let mut known = self.units.iter();
        assert!(
            known.all(|known| known.unit != unit || known.counted == counted),
            "{unit} cannot be counted at arrival and at the answer's end: expected one of them"
        );
        self.units.push(UnitWindow {
            unit,
            n,
            period,
            counted,
        });
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

    pub(crate) fn unit_windows(&self) -> &[UnitWindow] {
        &self.units
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

/// `5 per 1s, 30000 input_tokens per 60s, 8000 output_tokens per 60s counted at end, 4 at once`, or
/// `unlimited`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Window { n, period } in &self.windows {
            write!(f, "{separator}{n} per {period:?}")?;
            separator = ", ";
        }
        for window in &self.units {
            write!(f, "{separator}{window}")?;
            separator = ", ";
        }
        match self.concurrency {
            Some(n) => write!(f, "{separator}{n} at once"),
            None if separator.is_empty() => f.write_str("unlimited"),
            None => Ok(()),
        }
    }
}

/// `30000 input_tokens per 60s`
impl fmt::Display for UnitWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            unit, n, period, ..
        } = self;
        write!(f, "{n} {unit} per {period:?}")?;
        match self.counted {
            Counted::AtArrival => Ok(()),
            Counted::AtEnd => f.write_str(" counted at end"),
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
    fn units_that_make_no_sense_are_refused() {
        type Build = fn() -> Limit;
        const SECOND: Duration = Duration::from_secs(1);
        let refused: [(Build, &str); 6] = [
            (
                || Limit::unlimited().units("tokens", 0, SECOND),
                "a limit of 0 tokens per 1s would refuse everything",
            ),
            (
                || Limit::unlimited().units_at_end("tokens", 1, Duration::ZERO),
                "a limit of 1 tokens per 0ns limits nothing",
            ),
            (
                || Limit::unlimited().units("", 1, SECOND),
                "a unit needs a name",
            ),
            (
                || Limit::unlimited().units("requests", 1, SECOND),
                "requests are counted by `Limit::per`",
            ),
            (
                || {
                    let limit = Limit::rps(1).units("tokens", 1, SECOND);
                    limit.units_at_end("tokens", 2, SECOND)
                },
                "tokens cannot be counted at arrival and at the answer's end",
            ),
            (
                || {
                    let limit = Limit::rps(1).units_at_end("tokens", 1, SECOND);
                    limit.units("tokens", 2, SECOND)
                },
                "tokens cannot be counted at arrival and at the answer's end",
            ),
        ];
        for (build, expected) in refused {
            let panic = std::panic::catch_unwind(build).unwrap_err();
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
            let message = message.unwrap();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_unit_may_have_several_windows() {
        let limit = Limit::concurrent(2)
            .units("tokens", 10, Duration::from_secs(1))
            .units("tokens", 100, Duration::from_secs(60));
        assert_eq!(
            limit.to_string(),
            "10 tokens per 1s, 100 tokens per 60s, 2 at once"
        );
    }

    #[test]
    fn says_what_it_allows() {
        assert_eq!(Limit::unlimited().to_string(), "unlimited");
        assert_eq!(Limit::concurrent(4).to_string(), "4 at once");
    }
}

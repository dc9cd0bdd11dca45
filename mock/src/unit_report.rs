//! The score card of one window of units.

use std::{fmt, time::Duration};

use super::limit::{Counted, UnitWindow};

/// What the judge has seen of one window of units: see [`Limit::units`](super::Limit::units) and
/// [`Limit::units_at_end`](super::Limit::units_at_end).
///
/// `Display` says it in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitReport {
    /// The unit's name.
    pub unit: &'static str,
    /// How much of it the window allows.
    pub limit: u64,
    /// How long the window is.
    pub period: Duration,
    /// Whether costs are counted when answers end, and not when requests arrive.
    pub at_end: bool,
    /// What has been counted: the costs of all requests that were accepted, or, at the end, of those whose
    /// answers have ended.
    pub accepted: u64,
    /// Requests that were refused because this window had no room.
    pub refused: usize,
    /// The most that came together in any half-open interval of the window's length. A client that keeps
    /// to the limit has at most the limit here; [`UnitReport::excess`] is what is above it.
    ///
    /// Where costs are counted at arrival, this is of all requests that *arrived*, accepted or not. Where
    /// they are counted at the end, it is of the answers that ended. The judge cannot refuse those any more:
    /// this figure says whether the client has counted right.
    pub worst_window: u64,
    /// Answers that left more in this window than it allows when they ended. Always 0 where costs are
    /// counted at arrival.
    pub exceeded: usize,
    /// When the first and the last of the accepted requests arrived that concern this window.
    pub(crate) arrivals: Option<(Duration, Duration)>,
}

impl UnitReport {
    pub(crate) fn new(window: &UnitWindow) -> Self {
        Self {
            unit: window.unit,
            limit: window.n,
            period: window.period,
            at_end: window.counted == Counted::AtEnd,
            accepted: 0,
            refused: 0,
            worst_window: 0,
            exceeded: 0,
            arrivals: None,
        }
    }

    /// Whether it is of this window, or of one of another size.
    pub(crate) fn is_of(&self, window: &UnitWindow) -> bool {
        self.unit == window.unit
            && self.period == window.period
            && self.at_end == (window.counted == Counted::AtEnd)
    }

    pub(crate) fn saw_arrival(&mut self, at: Duration) {
        let (first, _) = self.arrivals.unwrap_or((at, at));
        self.arrivals = Some((first, at));
    }

    /// By how much the worst window exceeds the limit.
    pub fn excess(&self) -> u64 {
        self.worst_window.saturating_sub(self.limit)
    }

    /// How much of what this window allows its client has used: what was [counted](UnitReport::accepted),
    /// divided by the limit times the number of windows that had begun when the last request arrived.
    ///
    /// The first window begins with the first request that was accepted. The last one counts in full,
    /// however little of it has passed. A client that sends 10 000 tokens at once where 10 000 per minute
    /// are allowed, and as many again a minute later, has used 1. The share is 0 if nothing was accepted.
    pub fn used_share(&self) -> f64 {
        let Some((first, last)) = self.arrivals else {
            return 0.0;
        };
        let begun = last.saturating_sub(first).as_nanos() / self.period.as_nanos() + 1;
        #[allow(clippy::cast_precision_loss)]
        let (accepted, allowed) = (self.accepted as f64, self.limit as f64 * begun as f64);
        accepted / allowed
    }
}

/// `8000 output_tokens per 60s counted at end: 12500 counted, 3 requests refused, worst window 8125`
impl fmt::Display for UnitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = UnitWindow {
            unit: self.unit,
            n: self.limit,
            period: self.period,
            counted: if self.at_end {
                Counted::AtEnd
            } else {
                Counted::AtArrival
            },
        };
        let noun = if self.refused == 1 {
            "request"
        } else {
            "requests"
        };
        write!(
            f,
            "{window}: {} counted, {} {noun} refused, worst window {}",
            self.accepted, self.refused, self.worst_window
        )
    }
}

/// How full one window is now, for hooks that tell their clients: see
/// [`Received::windows`](super::Received::windows) and [`Refusal::windows`](super::Refusal::windows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowUse {
    /// What the window counts: `requests`, or the name of a unit.
    pub unit: &'static str,
    /// How much it allows.
    pub limit: u64,
    /// How long it is.
    pub period: Duration,
    /// What is in it. That may be more than it allows, where costs are counted at the end.
    pub used: u64,
    /// How long it takes until the window is empty, if nothing else is counted.
    pub empty_in: Duration,
}

impl WindowUse {
    /// How much the window has room for.
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

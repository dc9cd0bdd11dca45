use std::{fmt, time::Duration};

use crate::costs::Unit;

/// At most `n` of a unit in any half-open interval of length `period`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Window {
    unit: Unit,
    n: u64,
    period: Duration,
}

impl Window {
    pub(super) const EMPTY: Self = Self {
        unit: Unit::REQUESTS,
        n: 0,
        period: Duration::ZERO,
    };

    #[track_caller]
    pub(super) const fn new(unit: Unit, n: u64, period: Duration) -> Self {
        if unit.is_requests() {
            assert!(
                n <= u32::MAX as u64,
                "a window of requests holds at most 4294967295 of them"
            );
            assert!(!unit.is_at_end(), "requests count when they are dispatched");
        }
        Self { unit, n, period }
    }

    pub(super) const fn agrees_with(&self, other: &Self) -> bool {
        !self.unit.is_called_as(&other.unit) || self.unit.is_at_end() == other.unit.is_at_end()
    }

    /// What it counts.
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// How many of them may be taken in any interval of the period's length.
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// The length of the interval, without a margin.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// How many requests, if it counts those.
    pub(crate) fn requests(&self) -> Option<u32> {
        let n = u32::try_from(self.n).ok()?;
        self.unit.is_requests().then_some(n)
    }
}

/// `5 per 1s`, or `8000 output_tokens per 60s counted at end`.
impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, n, period } = self;
        if unit.is_requests() {
            return write!(f, "{n} per {period:?}");
        }
        let end = if unit.is_at_end() {
            " counted at end"
        } else {
            ""
        };
        write!(f, "{n} {unit} per {period:?}{end}")
    }
}

//! What a client should not have done, in words.

use std::{fmt, sync::Arc, time::Duration};

use super::{limit::UnitWindow, refused_by::RefusedBy};

/// Something that the client should not have done. `Display` says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    at: Duration,
    /// The pool whose limit it was, if not the endpoint's own.
    pool: Option<Arc<str>>,
    pub(crate) breach: Breach,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    Rate {
        limit: usize,
        period: Duration,
        too_soon: Duration,
    },
    Concurrency {
        limit: usize,
        in_flight: usize,
    },
    Units {
        unit: &'static str,
        limit: u64,
        period: Duration,
        used: u64,
        requested: u64,
        /// Nothing if there will never be room for so much.
        too_soon: Option<Duration>,
    },
    Exceeded {
        unit: &'static str,
        limit: u64,
        period: Duration,
        counted: u64,
    },
    Early {
        too_soon: Duration,
    },
}

impl Violation {
    pub(crate) fn refused(
        at: Duration,
        pool: Option<Arc<str>>,
        by: RefusedBy,
        in_flight: usize,
        too_soon: Option<Duration>,
    ) -> Self {
        let breach = match by {
            RefusedBy::Rate { limit, period } => Breach::Rate {
                limit,
                period,
                too_soon: too_soon.unwrap_or_default(),
            },
            RefusedBy::Units {
                unit,
                limit,
                period,
                used,
                requested,
            } => Breach::Units {
                unit,
                limit,
                period,
                used,
                requested,
                too_soon,
            },
            RefusedBy::Concurrency { limit } => Breach::Concurrency { limit, in_flight },
        };
        Self { at, pool, breach }
    }

    /// An answer ended, and left so much in a window that allows less.
    pub(crate) fn exceeded(
        at: Duration,
        pool: Option<Arc<str>>,
        window: &UnitWindow,
        counted: u64,
    ) -> Self {
        let UnitWindow {
            unit, n, period, ..
        } = *window;
        let breach = Breach::Exceeded {
            unit,
            limit: n,
            period,
            counted,
        };
        Self { at, pool, breach }
    }

    pub(crate) fn early(at: Duration, too_soon: Duration) -> Self {
        Self {
            at,
            pool: None,
            breach: Breach::Early { too_soon },
        }
    }

    /// When it was done, after the start (or the last [`Judge::reset`](super::Judge::reset)).
    pub fn at(&self) -> Duration {
        self.at
    }
}

/// `1.204 s after the start: request 6 in a window of 1s that allows 5, 0.096 s too soon`
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s after the start: ", self.at.as_secs_f64())?;
        match self.breach {
            Breach::Rate {
                limit,
                period,
                too_soon,
            } => write!(
                f,
                "request {} in a window of {period:?} that allows {limit}, {:.3} s too soon",
                limit + 1,
                too_soon.as_secs_f64()
            )?,
            Breach::Concurrency { limit, in_flight } => {
                write!(f, "{in_flight} in flight where {limit} are allowed")?;
            }
            Breach::Units {
                unit,
                limit,
                period,
                used,
                requested,
                too_soon,
            } => {
                let window = format!("in a window of {period:?} that allows {limit}");
                let counted = used.saturating_add(requested);
                match too_soon {
                    None => write!(f, "{requested} {unit} of one request {window}")?,
                    Some(too_soon) => {
                        // Counted at the end: what is there is all that is known.
                        let already = if requested == 0 { " already" } else { "" };
                        let too_soon = too_soon.as_secs_f64();
                        write!(
                            f,
                            "{counted} {unit}{already} {window}, {too_soon:.3} s too soon"
                        )?;
                    }
                }
            }
            Breach::Exceeded {
                unit,
                limit,
                period,
                counted,
            } => write!(
                f,
                "{counted} {unit} at the ends of answers, in a window of {period:?} that allows {limit}"
            )?,
            Breach::Early { too_soon } => write!(
                f,
                "{:.3} s before the time that Retry-After had named",
                too_soon.as_secs_f64()
            )?,
        }
        match &self.pool {
            Some(pool) => write!(f, " (pool {pool:?})"),
            None => Ok(()),
        }
    }
}

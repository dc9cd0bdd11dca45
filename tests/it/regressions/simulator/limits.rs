//! What servers allow, and how they count.

use std::{collections::VecDeque, time::Duration};

use super::{answers::Quota, draws::whole_millis};

/// What a server allows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Limit {
    /// In any stretch of a period. Some count what they refused as well.
    Sliding {
        n: u32,
        period: Duration,
        counts_refused: bool,
    },
    /// In each period of a clock that began when nobody knows.
    Fixed {
        n: u32,
        period: Duration,
    },
    /// So many at once from a full bucket, which fills within a period.
    Tokens {
        n: u32,
        period: Duration,
    },
    AtOnce(usize),
    /// A sliding window, and so many at once.
    Both {
        n: u32,
        period: Duration,
        at_once: usize,
    },
    /// What is published is n in a period, and what is enforced is something else.
    Unknown {
        n: u32,
        period: Duration,
        shape: Shape,
    },
    None,
}

/// What is enforced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A sliding window, and another one of twice the rate for a sixth of the period.
    AndShorter,
    /// One at a time, evenly spaced.
    Spaced,
    /// The more were served in the last period, the more likely it refuses: from half of n on, and always from one
    /// and a half times n on.
    ByLoad,
    /// A sliding window that is for some periods only a third as wide.
    Changes,
    /// A request costs from 1 to 4.
    Weighted,
}

impl Limit {
    /// What is published.
    pub(crate) fn window(&self) -> Option<(u32, Duration)> {
        match *self {
            Self::Sliding { n, period, .. }
            | Self::Fixed { n, period }
            | Self::Tokens { n, period }
            | Self::Both { n, period, .. }
            | Self::Unknown { n, period, .. } => Some((n, period)),
            Self::AtOnce(_) | Self::None => None,
        }
    }

    /// A window with which a client is not refused, or seldom, and as fast as it can be.
    pub(crate) fn true_windows(&self) -> Vec<(u32, Duration)> {
        let Self::Unknown { n, period, shape } = self else {
            return self.window().into_iter().collect();
        };
        let (n, period) = (*n, *period);
        match shape {
            Shape::AndShorter => vec![(n, period), shorter(n, period)],
            Shape::Spaced => vec![(1, whole_millis(period / n + Duration::from_micros(999)))],
            Shape::ByLoad => vec![((n * 3 / 4).max(1), period)],
            Shape::Changes => vec![((n * 2 / 3).max(1), period)],
            Shape::Weighted => vec![((n * 2 / 5).max(1), period)],
        }
    }

    pub(crate) fn at_once(&self) -> Option<usize> {
        match *self {
            Self::AtOnce(at_once) | Self::Both { at_once, .. } => Some(at_once),
            _ => None,
        }
    }

    /// How many requests a second it serves in the long run, if there is a limit to it.
    pub(crate) fn capacity(&self, work: Duration) -> Option<f64> {
        let rates = self
            .true_windows()
            .into_iter()
            .map(|(n, period)| f64::from(n) / period.as_secs_f64());
        let by_window = rates.reduce(f64::min);
        let by_places = self.at_once().map(|at_once| {
            f64::from(u32::try_from(at_once).expect("few")) / work.as_secs_f64().max(0.001)
        });
        match (by_window, by_places) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sliding { .. } => "sliding window",
            Self::Fixed { .. } => "fixed window",
            Self::Tokens { .. } => "token bucket",
            Self::AtOnce(_) => "so many at once",
            Self::Both { .. } => "window and at once",
            Self::Unknown { .. } => "unknown shape",
            Self::None => "no limit",
        }
    }
}

fn shorter(n: u32, period: Duration) -> (u32, Duration) {
    (n.div_ceil(3), whole_millis(period / 6))
}

/// The count of a limit's windows.
pub(crate) enum Window {
    Logs(Vec<Log>),
    Fixed {
        n: u32,
        period: Duration,
        offset: Duration,
        window: u128,
        used: u32,
    },
    /// The bucket is full again at `full_at`.
    Tokens {
        n: u32,
        period: Duration,
        full_at: Duration,
    },
}

/// A sliding window.
pub(crate) struct Log {
    n: u32,
    period: Duration,
    rule: Rule,
    stamps: VecDeque<Duration>,
}

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Exact,
    CountsRefused,
    ByLoad,
    Changes,
    Weighted,
}

/// What is peculiar to an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peculiar {
    /// From 1 to 4.
    pub(crate) cost: u32,
    /// From 0 to 1.
    pub(crate) luck: f64,
}

impl Window {
    pub(crate) fn new(limit: &Limit, offset: Duration) -> Self {
        let log = |(n, period), rule| Log {
            n,
            period,
            rule,
            stamps: VecDeque::new(),
        };
        let logs = match *limit {
            Limit::Sliding {
                n,
                period,
                counts_refused: true,
            } => vec![log((n, period), Rule::CountsRefused)],
            Limit::Sliding { n, period, .. } | Limit::Both { n, period, .. } => {
                vec![log((n, period), Rule::Exact)]
            }
            Limit::Fixed { n, period } => {
                return Self::Fixed {
                    n,
                    period,
                    offset,
                    window: 0,
                    used: 0,
                };
            }
            Limit::Tokens { n, period } => {
                return Self::Tokens {
                    n,
                    period,
                    full_at: Duration::ZERO,
                };
            }
            Limit::Unknown {
                n,
                period,
                ref shape,
            } => match shape {
                Shape::AndShorter => vec![
                    log((n, period), Rule::Exact),
                    log(shorter(n, period), Rule::Exact),
                ],
                Shape::Spaced => vec![log((1, period / n), Rule::Exact)],
                Shape::ByLoad => vec![log((n, period), Rule::ByLoad)],
                Shape::Changes => vec![log((n, period), Rule::Changes)],
                Shape::Weighted => vec![log((n.max(4), period), Rule::Weighted)],
            },
            Limit::AtOnce(_) | Limit::None => Vec::new(),
        };
        Self::Logs(logs)
    }

    /// Counts one if there is room; otherwise says when there will be.
    pub(crate) fn take(&mut self, now: Duration, peculiar: Peculiar) -> Option<Duration> {
        match self {
            Self::Logs(logs) => {
                let waits = logs.iter_mut().filter_map(|log| log.wait(now, peculiar));
                let wait = waits.max();
                for log in logs {
                    if wait.is_none() || log.rule == Rule::CountsRefused {
                        log.count(now, peculiar);
                    }
                }
                wait
            }
            Self::Fixed {
                n,
                period,
                offset,
                window,
                used,
            } => {
                let current = (now + *offset).as_nanos() / period.as_nanos();
                if *window != current {
                    (*window, *used) = (current, 0);
                }
                if *used < *n {
                    *used += 1;
                    return None;
                }
                Some(*period - modulo(now + *offset, *period))
            }
            Self::Tokens { n, period, full_at } => {
                let after = now.max(*full_at) + *period / *n;
                if after - now <= *period {
                    *full_at = after;
                    return None;
                }
                Some(after - now - *period)
            }
        }
    }

    /// What quota headers say.
    pub(crate) fn quota(&self, now: Duration) -> Option<Quota> {
        match self {
            Self::Logs(logs) => logs.first().map(|log| log.quota(now)),
            Self::Fixed {
                n,
                period,
                offset,
                used,
                ..
            } => Some(Quota {
                limit: *n,
                left: n - used,
                resets_in: *period - modulo(now + *offset, *period),
                period: Some(*period),
            }),
            Self::Tokens { n, period, full_at } => {
                let missing = full_at.saturating_sub(now);
                let step = *period / *n;
                let used = missing.as_nanos().div_ceil(step.as_nanos());
                Some(Quota {
                    limit: *n,
                    left: n.saturating_sub(u32::try_from(used).expect("few")),
                    resets_in: missing,
                    period: Some(*period),
                })
            }
        }
    }
}

impl Log {
    /// How long one that comes now would have to wait.
    fn wait(&mut self, now: Duration, peculiar: Peculiar) -> Option<Duration> {
        let period = self.period;
        while self.stamps.front().is_some_and(|&at| at + period <= now) {
            self.stamps.pop_front();
        }
        let used = self.stamps.len();
        let mut n = usize::try_from(self.n).expect("few");
        match self.rule {
            Rule::Changes if (now.as_nanos() / (period.as_nanos() * 3)) % 2 == 1 => {
                n = n.div_ceil(3);
            }
            Rule::ByLoad => {
                let used = f64::from(u32::try_from(used).expect("few"));
                let load = used / f64::from(self.n);
                let refused = load - 0.5 > peculiar.luck;
                return refused.then(|| self.stamps[0] + period - now);
            }
            _ => {}
        }
        let needed = used + self.cost(peculiar);
        // So many of the oldest have to go.
        let excess = needed.checked_sub(n + 1)?;
        Some(self.stamps[excess] + period - now)
    }

    fn count(&mut self, now: Duration, peculiar: Peculiar) {
        for _ in 0..self.cost(peculiar) {
            self.stamps.push_back(now);
        }
    }

    fn cost(&self, peculiar: Peculiar) -> usize {
        match self.rule {
            Rule::Weighted => usize::try_from(peculiar.cost).expect("4 at most"),
            _ => 1,
        }
    }

    fn quota(&self, now: Duration) -> Quota {
        let counted = |at: &&Duration| **at + self.period > now;
        let oldest = self.stamps.iter().find(counted);
        let used = self.stamps.iter().filter(counted).count();
        Quota {
            limit: self.n,
            left: self.n.saturating_sub(u32::try_from(used).expect("few")),
            resets_in: oldest.map_or(self.period, |&at| at + self.period - now),
            period: Some(self.period),
        }
    }
}

pub(crate) fn modulo(time: Duration, period: Duration) -> Duration {
    let nanos = time.as_nanos() % period.as_nanos();
    Duration::from_nanos(u64::try_from(nanos).expect("less than an age"))
}

//! A window is `n` units, and each unit is free again at an instant: as runs of (instant, units), sorted.
//!
//! So grants out of order are exact (each unit's uses are a period apart), a cost of k takes k units, and a debt is
//! a sum above `n`.

use crate::protocol::Micros;

use super::NEVER;

/// Above this many runs, neighbours become one run at the later instant: late, never early.
const MOST_RUNS: usize = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Run {
    pub(super) free: Micros,
    pub(super) units: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Window {
    pub(super) unit: String,
    pub(super) rank: i64,
    /// For how long a unit counts: the longest period and the largest margin of the live members.
    pub(super) span: Micros,
    /// The smallest of the live members; none of them has such a window if it is 0.
    pub(super) n: i64,
    pub(super) at_end: bool,
    /// Reservations that end by then may have been booked with a longer span: which run is theirs is not known.
    exact_from: Micros,
    runs: Vec<Run>,
    /// Units in `runs`.
    sum: i64,
    /// Units of requests under way, where they count at the end: they are free a period after that.
    pub(super) held: i64,
}

impl Window {
    pub(super) fn new(unit: &str, rank: i64) -> Self {
        Self {
            unit: unit.to_owned(),
            rank,
            ..Self::default()
        }
    }

    pub(super) fn forget(&mut self, now: Micros) {
        let over = self.runs.partition_point(|run| run.free <= now);
        self.sum -= self.runs[..over].iter().map(|run| run.units).sum::<i64>();
        self.runs.drain(..over);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.held == 0
    }

    /// Whether nothing of it counts any more.
    pub(super) fn is_over(&self, now: Micros) -> bool {
        self.runs.last().is_none_or(|run| run.free <= now)
    }

    /// A longer period or margin counts for what was dispatched before it, too.
    ///
    /// `exact_from` is the end of the last reservation that may have been made by now.
    pub(super) fn lasts(&mut self, span: Micros, exact_from: Micros) {
        if span < self.span {
            self.exact_from = exact_from;
        }
        if span > self.span && self.span > 0 {
            for run in &mut self.runs {
                run.free += span - self.span;
            }
        }
        self.span = span;
    }

    /// Whether units count from a request's end on, or from its dispatch. Where they no longer wait for the end, those
    /// of requests under way count from `exact_from` on, by when all of them were dispatched.
    pub(super) fn counts_at_end(&mut self, at_end: bool, exact_from: Micros) {
        if self.at_end && !at_end && self.held > 0 {
            self.put(exact_from + self.span, self.held);
        }
        self.at_end = at_end;
    }

    /// Units that are free again at `free`.
    pub(super) fn put(&mut self, free: Micros, units: i64) {
        let at = self.runs.partition_point(|run| run.free <= free);
        match at.checked_sub(1).map(|before| &mut self.runs[before]) {
            Some(run) if run.free == free => run.units += units,
            _ => self.runs.insert(at, Run { free, units }),
        }
        self.sum += units;
    }

    /// At most `units` fewer in the run of the reservation that ends at `end`, and how many that was. If it is not
    /// there, it is over, was granted on, or was made coarser: the next run is another's.
    pub(super) fn cut(&mut self, end: Micros, units: i64) -> i64 {
        let found = self
            .runs
            .binary_search_by_key(&(end + self.span), |run| run.free);
        let (Ok(at), true) = (found, end > self.exact_from) else {
            return 0;
        };
        let cut = units.min(self.runs[at].units);
        self.runs[at].units -= cut;
        self.sum -= cut;
        if self.runs[at].units == 0 {
            self.runs.remove(at);
        }
        cut
    }

    /// When `need` units are free behind `skip` others, or `None` where only the end of a request can tell. What
    /// would be free only after another use of the same units is later than `soon`.
    pub(super) fn opens(
        &self,
        skip: i64,
        need: i64,
        now: Micros,
        soon: Micros,
        reservation: Micros,
    ) -> Option<Micros> {
        let room = self.n - self.held;
        let need = need.min(self.n);
        if room < need {
            return None;
        }
        let (mut ahead, mut extra) = (skip + need, 0);
        if ahead > room {
            let turns = (ahead - room + room - 1) / room;
            ahead -= turns * room;
            extra = turns * (self.span + reservation);
        }
        let mut free = room - self.sum;
        let mut at = now;
        for run in &self.runs {
            if ahead <= free {
                break;
            }
            free += run.units;
            at = run.free;
        }
        let at = (at + extra).min(NEVER);
        Some(if extra > 0 { at.max(soon + 1) } else { at })
    }

    /// Takes `need` units behind `skip` others, which [`Window::opens`] said are free by then; they are free again at
    /// `free`. More than the window has is a debt.
    pub(super) fn take(&mut self, skip: i64, need: i64, free: Micros) {
        let now_free = self.n - self.held - self.sum;
        let mut left = need.min(self.n);
        left -= (now_free.max(0) - skip).clamp(0, left);
        // Debts come before all who wait.
        let mut skip = (skip - now_free).max(0);
        for run in &mut self.runs {
            let taken = (run.units - skip).clamp(0, left);
            skip = (skip - run.units).max(0);
            run.units -= taken;
            self.sum -= taken;
            left -= taken;
            if left == 0 {
                break;
            }
        }
        self.runs.retain(|run| run.units > 0);
        self.put(free, need);
    }

    pub(super) fn coarsen(&mut self) {
        while self.runs.len() > MOST_RUNS {
            let pairs = self.runs.chunks(2).map(|pair| Run {
                free: pair[pair.len() - 1].free,
                units: pair.iter().map(|run| run.units).sum(),
            });
            self.runs = pairs.collect();
        }
    }
}

//! What requests cost, and what costs add up to in a window that slides.
//!
//! Pure: it is told the time and keeps no clock.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::limit::{Counted, UnitWindow};

/// How many costs of each unit are remembered whatever their age, so that a longer window set by
/// `set_limit` knows what came before it.
const HISTORY: usize = 1_024;

/// What one request costs, by unit. A unit may occur more than once, and costs their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs(Vec<(&'static str, u64)>);

impl Costs {
    pub(crate) fn new(costs: Vec<(&'static str, u64)>) -> Self {
        Self(costs)
    }

    pub(crate) fn of(&self, unit: &str) -> u64 {
        let own = self.0.iter().filter(|(known, _)| *known == unit);
        own.fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    pub(crate) fn set(&mut self, unit: &'static str, n: u64) {
        self.0.retain(|(known, _)| *known != unit);
        self.0.push((unit, n));
    }

    /// Takes over what the later costs say of their units.
    pub(crate) fn replace(&mut self, later: &Self) {
        for unit in later.units() {
            self.set(unit, later.of(unit));
        }
    }

    /// Each unit once.
    fn units(&self) -> impl Iterator<Item = &'static str> {
        let units = self.0.iter().enumerate();
        units.filter_map(|(at, (unit, _))| {
            let earlier = &self.0[..at];
            let is_first = earlier.iter().all(|(known, _)| known != unit);
            is_first.then_some(*unit)
        })
    }
}

/// The counts of all units of one scope.
#[derive(Debug, Default)]
pub(crate) struct Counts(Vec<UnitCounts>);

/// What has been counted of one unit.
#[derive(Debug)]
struct UnitCounts {
    unit: &'static str,
    /// What arrived, accepted or not.
    arrived: Series,
    /// What was accepted, at its arrival.
    accepted: Series,
    /// What was accepted, at its end.
    ended: Series,
}

impl Counts {
    /// What is in the window now, of what it counts.
    pub(crate) fn used(&self, now: Instant, window: &UnitWindow) -> u64 {
        let counted = self.counted(window);
        counted.map_or(0, |series| series.sum(now, window.period))
    }

    /// From when on the window has room for so much more, if nothing else is counted; nothing if it
    /// never has, and now or earlier if it has it already.
    pub(crate) fn room_at(&self, now: Instant, window: &UnitWindow, more: u64) -> Option<Instant> {
        let most = window.n.checked_sub(more)?;
        let series = self.counted(window);
        Some(series.map_or(now, |series| series.down_to(now, window.period, most)))
    }

    fn counted(&self, window: &UnitWindow) -> Option<&Series> {
        let counts = self.0.iter().find(|counts| counts.unit == window.unit)?;
        Some(match window.counted {
            Counted::AtArrival => &counts.accepted,
            Counted::AtEnd => &counts.ended,
        })
    }

    /// When all that the window holds will have left it, if nothing else is counted; perhaps long ago.
    pub(crate) fn empty_at(&self, window: &UnitWindow) -> Option<Instant> {
        let (last, _) = self.counted(window)?.sums.back()?;
        Some(*last + window.period)
    }

    /// What has arrived in this window, accepted or not.
    pub(crate) fn arrived(&self, now: Instant, window: &UnitWindow) -> u64 {
        let counts = self.0.iter().find(|counts| counts.unit == window.unit);
        counts.map_or(0, |counts| counts.arrived.sum(now, window.period))
    }

    pub(crate) fn arrive(&mut self, now: Instant, costs: &Costs, windows: &[UnitWindow]) {
        self.push(now, costs, windows, |counts| &mut counts.arrived);
    }

    pub(crate) fn accept(&mut self, now: Instant, costs: &Costs, windows: &[UnitWindow]) {
        self.push(now, costs, windows, |counts| &mut counts.accepted);
    }

    pub(crate) fn end(&mut self, now: Instant, costs: &Costs, windows: &[UnitWindow]) {
        self.push(now, costs, windows, |counts| &mut counts.ended);
    }

    /// Forgets what has only been counted for the score.
    pub(crate) fn reset(&mut self) {
        for counts in &mut self.0 {
            counts.arrived = Series::default();
        }
    }

    fn push(
        &mut self,
        now: Instant,
        costs: &Costs,
        windows: &[UnitWindow],
        series: impl Fn(&mut UnitCounts) -> &mut Series,
    ) {
        for unit in costs.units() {
            let n = costs.of(unit);
            if n == 0 {
                continue;
            }
            let known = self.0.iter().position(|counts| counts.unit == unit);
            let at = known.unwrap_or_else(|| {
                self.0.push(UnitCounts {
                    unit,
                    arrived: Series::default(),
                    accepted: Series::default(),
                    ended: Series::default(),
                });
                self.0.len() - 1
            });
            let own = windows.iter().filter(|window| window.unit == unit);
            let longest = own.map(|window| window.period).max();
            series(&mut self.0[at]).push(now, n, longest.unwrap_or_default());
        }
    }
}

/// Amounts in the order of their times.
#[derive(Debug, Default)]
struct Series {
    /// The time of each amount, and the sum of all up to it, those included that are forgotten.
    sums: VecDeque<(Instant, u128)>,
    /// The sum of all that are forgotten.
    forgotten: u128,
}

impl Series {
    /// Adds an amount, and forgets those that are older than the longest window.
    fn push(&mut self, now: Instant, n: u64, longest: Duration) {
        let total = self.total() + u128::from(n);
        while self.sums.len() >= HISTORY && now - self.sums[0].0 >= longest {
            let (_, sum) = self.sums.pop_front().expect("it has been looked at");
            self.forgotten = sum;
        }
        self.sums.push_back((now, total));
    }

    fn total(&self) -> u128 {
        self.sums.back().map_or(self.forgotten, |(_, sum)| *sum)
    }

    /// What is in the half-open window that ends now: an amount exactly one period old is not.
    fn sum(&self, now: Instant, period: Duration) -> u64 {
        let outside = self.sums.partition_point(|(at, _)| now - *at >= period);
        let before = outside
            .checked_sub(1)
            .map_or(self.forgotten, |last| self.sums[last].1);
        u64::try_from(self.total() - before).unwrap_or(u64::MAX)
    }

    /// From when on the window holds at most so much, if nothing is added.
    fn down_to(&self, now: Instant, period: Duration, most: u64) -> Instant {
        let total = self.total();
        let too_much = |before: u128| total - before > u128::from(most);
        if !too_much(self.forgotten) {
            return now;
        }
        // The last of the amounts that have to leave.
        let last = self.sums.partition_point(|(_, sum)| too_much(*sum));
        self.sums[last].0 + period
    }
}

#[cfg(test)]
mod tests;

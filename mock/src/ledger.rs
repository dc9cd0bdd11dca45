//! One scope's limits at work, an endpoint's or a pool's: what there is room for, and what the client did.
//!
//! Pure: it is told the time and keeps no clock. [`Books`](super::books::Books) has the ledgers of all
//! scopes, and decides.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    limit::{Counted, Limit, UnitWindow},
    refused_by::RefusedBy,
    report::{EndpointReport, Record, Verdict},
    unit_report::{UnitReport, WindowUse},
    units::{Costs, Counts},
    violation::Violation,
};

/// How many accepted requests are remembered whatever their age, so that a longer window set by
/// `set_limit` knows what came before it.
const HISTORY: usize = 1_024;

/// How many violations of each kind are kept: the first ones tell what is wrong.
const VIOLATIONS: usize = 16;

#[derive(Debug)]
pub(crate) struct Ledger {
    /// When requests were accepted, oldest first.
    accepted: VecDeque<Instant>,
    /// Accepted, and the body of the answer has not ended.
    in_flight: usize,
    /// Accepted, and waiting for a slot.
    waiting: usize,
    /// All that has arrived and is not over: what the client has open.
    open: usize,
    /// When requests arrived, within the scored period, oldest first.
    arrivals: VecDeque<Instant>,
    /// What has been counted of other units than requests.
    counts: Counts,
    hint: Option<Hint>,
    kept_records: usize,
    score: EndpointReport,
}

/// The latest `Retry-After`.
#[derive(Clone, Copy, Debug)]
struct Hint {
    /// From when on the client cannot be unaware of it.
    known_from: Instant,
    until: Instant,
}

/// A window that has no room for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    pub(crate) by: RefusedBy,
    /// When it has room, if it ever does.
    pub(crate) room_at: Option<Instant>,
}

impl Full {
    pub(crate) fn is_later_than(&self, other: &Self) -> bool {
        let key = |full: &Self| (full.room_at.is_none(), full.room_at);
        key(self) > key(other)
    }
}

/// An arrival: when, how long after the start that is, and before when the client was told not to
/// come back, as far as it knew when it sent the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    pub(crate) at: Duration,
    pub(crate) not_before: Option<Instant>,
}

impl Ledger {
    pub(crate) fn new(name: &str, limit: Limit, kept_records: usize) -> Self {
        Self {
            accepted: VecDeque::new(),
            in_flight: 0,
            waiting: 0,
            open: 0,
            arrivals: VecDeque::new(),
            counts: Counts::default(),
            hint: None,
            kept_records,
            score: EndpointReport::new(name, limit),
        }
    }

    /// The number of slots, if all of them are taken.
    pub(crate) fn no_slot(&self) -> Option<usize> {
        let slots = self.score.limit.at_once();
        slots.filter(|slots| self.in_flight >= *slots)
    }

    /// The window that keeps a request of these costs waiting the longest, if any has no room for it.
    pub(crate) fn full_window(&self, now: Instant, costs: &Costs) -> Option<Full> {
        let windows = self.score.limit.windows().iter();
        let rate = windows.filter_map(|window| {
            // The window has room as soon as the nth latest request is a whole period old.
            let nth = self.accepted.len().checked_sub(window.n)?;
            let by = RefusedBy::Rate {
                limit: window.n,
                period: window.period,
            };
            Some(Full {
                by,
                room_at: Some(self.accepted[nth] + window.period),
            })
        });
        let windows = self.score.limit.unit_windows().iter();
        let units = windows.filter_map(|window| {
            let (requested, needed) = match window.counted {
                Counted::AtArrival => (costs.of(window.unit), costs.of(window.unit)),
                // Nobody knows yet what it will cost: any room will do.
                Counted::AtEnd => (0, 1),
            };
            let room_at = self.counts.room_at(now, window, needed);
            let by = RefusedBy::Units {
                unit: window.unit,
                limit: window.n,
                period: window.period,
                used: self.counts.used(now, window),
                requested,
            };
            (needed > 0).then_some(Full { by, room_at })
        });
        let full = rate
            .chain(units)
            .filter(|full| full.room_at.is_none_or(|room_at| room_at > now));
        full.reduce(|first, second| {
            if second.is_later_than(&first) {
                second
            } else {
                first
            }
        })
    }

    /// A request has arrived that will be judged, or would have been. It is open until
    /// [`Ledger::close`].
    pub(crate) fn open(&mut self, arrival: Arrival, costs: &Costs) {
        self.count_arrival(arrival.now);
        let windows = self.score.limit.unit_windows();
        self.counts.arrive(arrival.now, costs, windows);
        for (window, report) in windows.iter().zip(&mut self.score.units) {
            if window.counted == Counted::AtArrival {
                let arrived = self.counts.arrived(arrival.now, window);
                report.worst_window = report.worst_window.max(arrived);
            }
        }
        self.open += 1;
        self.score.most_in_flight = self.score.most_in_flight.max(self.open);
        self.check_hint(arrival);
    }

    pub(crate) fn close(&mut self) {
        self.open -= 1;
    }

    /// A refusal was handed out so long after its request had arrived.
    pub(crate) fn refusal_took(&mut self, time: Duration) {
        self.score.slowest_refusal = self.score.slowest_refusal.max(time);
    }

    /// Takes a request into the windows.
    pub(crate) fn accept(&mut self, arrival: Arrival, costs: &Costs) {
        let windows = self.score.limit.unit_windows();
        self.counts.accept(arrival.now, costs, windows);
        for (window, report) in windows.iter().zip(&mut self.score.units) {
            let cost = costs.of(window.unit);
            match window.counted {
                Counted::AtArrival if cost == 0 => continue,
                Counted::AtArrival => report.accepted = report.accepted.saturating_add(cost),
                Counted::AtEnd => {}
            }
            report.saw_arrival(arrival.at);
        }
        let windows = self.score.limit.windows();
        let longest = windows.iter().map(|window| window.period).max();
        while self.accepted.len() >= HISTORY
            && longest.is_none_or(|longest| arrival.now - self.accepted[0] >= longest)
        {
            self.accepted.pop_front();
        }
        self.accepted.push_back(arrival.now);
        self.score.accepted += 1;
        self.record(arrival, Verdict::Accepted);
    }

    /// The answer to what has been accepted is over: counts what it cost, and says which windows hold more
    /// now than they allow, and how much.
    pub(crate) fn end(&mut self, now: Instant, costs: &Costs) -> Vec<(UnitWindow, u64)> {
        let windows = self.score.limit.unit_windows();
        self.counts.end(now, costs, windows);
        let mut exceeded = Vec::new();
        for (window, report) in windows.iter().zip(&mut self.score.units) {
            let cost = costs.of(window.unit);
            if window.counted == Counted::AtArrival || cost == 0 {
                continue;
            }
            report.accepted = report.accepted.saturating_add(cost);
            let counted = self.counts.used(now, window);
            report.worst_window = report.worst_window.max(counted);
            if counted > window.n {
                report.exceeded += 1;
                exceeded.push((*window, counted));
            }
        }
        exceeded
    }

    /// Notes that an answer's end has put more into a window than it allows, of this scope or of another.
    pub(crate) fn exceed(&mut self, violation: &Violation) {
        if self.score.exceeded < VIOLATIONS {
            self.score.violations.push(violation.clone());
        }
        self.score.exceeded += 1;
    }

    /// Gives a slot to what has been accepted, until [`Ledger::leave_slot`].
    pub(crate) fn take_slot(&mut self) {
        self.in_flight += 1;
    }

    pub(crate) fn leave_slot(&mut self) {
        self.in_flight -= 1;
    }

    /// Lets what has been accepted wait for a slot, until [`Ledger::leave_queue`].
    pub(crate) fn join_queue(&mut self) {
        self.waiting += 1;
        self.score.queued += 1;
    }

    pub(crate) fn leave_queue(&mut self) {
        self.waiting -= 1;
    }

    /// Notes that a window of this scope is what a request is refused by.
    pub(crate) fn refuse_by_window(&mut self, by: RefusedBy) {
        let RefusedBy::Units { unit, period, .. } = by else {
            return;
        };
        let mut reports = self.score.units.iter_mut();
        if let Some(report) = reports.find(|known| known.unit == unit && known.period == period) {
            report.refused += 1;
        }
    }

    /// Notes a refusal, by the limit of this scope or of another.
    pub(crate) fn refuse(&mut self, arrival: Arrival, by: RefusedBy, violation: &Violation) {
        let (count, verdict) = match by {
            RefusedBy::Rate { .. } => (&mut self.score.refused_by_rate, Verdict::RefusedByRate),
            RefusedBy::Units { unit, .. } => (
                &mut self.score.refused_by_units,
                Verdict::RefusedByUnits { unit },
            ),
            RefusedBy::Concurrency { .. } => (
                &mut self.score.refused_by_concurrency,
                Verdict::RefusedByConcurrency,
            ),
        };
        if *count < VIOLATIONS {
            self.score.violations.push(violation.clone());
        }
        *count += 1;
        self.record(arrival, verdict);
    }

    /// Notes a request that was not judged, since no such request is ever served.
    pub(crate) fn invalid(&mut self, arrival: Arrival) {
        self.check_hint(arrival);
        self.score.invalid += 1;
        self.record(arrival, Verdict::Invalid);
    }

    /// Notes a fault that struck a request before it could be judged.
    pub(crate) fn struck(&mut self, arrival: Arrival) {
        self.score.faulted += 1;
        self.score.not_judged += 1;
        self.record(arrival, Verdict::Faulted);
    }

    /// Notes a fault that struck a request which had been accepted.
    pub(crate) fn struck_later(&mut self) {
        self.score.faulted += 1;
    }

    /// An answer that says "not before `until`" was handed out. For `notice`, requests may still be
    /// under way that were sent without knowing.
    pub(crate) fn hinted(&mut self, now: Instant, notice: Duration, until: Instant) {
        let mut known_from = now + notice;
        // A client that keeps collecting hints does know: only the first of a row gives it time.
        if let Some(earlier) = self.hint.filter(|earlier| earlier.until > now) {
            known_from = known_from.min(earlier.known_from);
        }
        self.hint = Some(Hint { known_from, until });
    }

    /// Before when a client that sends a request now was told not to come back.
    pub(crate) fn not_before(&self, now: Instant) -> Option<Instant> {
        let known = self.hint.filter(|hint| hint.known_from <= now)?;
        Some(known.until)
    }

    pub(crate) fn set_limit(&mut self, limit: Limit) {
        let windows = limit.unit_windows().iter();
        let units = windows.map(|window| {
            let mut known = self.score.units.iter();
            let known = known.find(|known| known.is_of(window)).cloned();
            UnitReport {
                limit: window.n,
                ..known.unwrap_or_else(|| UnitReport::new(window))
            }
        });
        self.score.units = units.collect();
        self.score.limit = limit;
    }

    pub(crate) fn limit(&self) -> &Limit {
        &self.score.limit
    }

    /// How full each window is, those of requests first.
    pub(crate) fn windows(&self, now: Instant) -> Vec<WindowUse> {
        let requests = self.score.limit.windows().iter().map(|window| {
            let outside = |at: &Instant| now - *at >= window.period;
            let used = self.accepted.len() - self.accepted.partition_point(outside);
            let empty_at = self.accepted.back().map(|last| *last + window.period);
            WindowUse {
                unit: "requests",
                limit: window.n as u64,
                period: window.period,
                used: used as u64,
                empty_in: empty_at.unwrap_or(now).saturating_duration_since(now),
            }
        });
        let units = self.score.limit.unit_windows().iter().map(|window| {
            let empty_at = self.counts.empty_at(window).unwrap_or(now);
            WindowUse {
                unit: window.unit,
                limit: window.n,
                period: window.period,
                used: self.counts.used(now, window),
                empty_in: empty_at.saturating_duration_since(now),
            }
        });
        requests.chain(units).collect()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn report(&self) -> EndpointReport {
        EndpointReport {
            in_flight: self.in_flight,
            waiting: self.waiting,
            ..self.score.clone()
        }
    }

    /// Starts a new score card. What was accepted before still counts against the limits.
    pub(crate) fn reset(&mut self) {
        self.score = EndpointReport::new(&self.score.endpoint, self.score.limit.clone());
        self.score.most_in_flight = self.open;
        self.arrivals.clear();
        self.counts.reset();
    }

    fn count_arrival(&mut self, now: Instant) {
        let period = self.score.limit.scored_period();
        let too_old = |arrival: &Instant| now - *arrival >= period;
        while self.arrivals.front().is_some_and(too_old) {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(now);
        self.score.worst_window = self.score.worst_window.max(self.arrivals.len());
    }

    fn check_hint(&mut self, arrival: Arrival) {
        let not_before = arrival.not_before.unwrap_or(arrival.now);
        let too_soon = not_before.saturating_duration_since(arrival.now);
        if too_soon.is_zero() {
            return;
        }
        if self.score.early < VIOLATIONS {
            let violation = Violation::early(arrival.at, too_soon);
            self.score.violations.push(violation);
        }
        self.score.early += 1;
    }

    fn record(&mut self, arrival: Arrival, verdict: Verdict) {
        if self.score.records.len() < self.kept_records {
            self.score.records.push(Record {
                at: arrival.at,
                verdict,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn accept(ledger: &mut Ledger, start: Instant, at: Duration) {
        let arrival = Arrival {
            now: start + at,
            at,
            not_before: None,
        };
        ledger.open(arrival, &Costs::default());
        ledger.accept(arrival, &Costs::default());
        ledger.close();
    }

    #[test]
    fn memory_is_bounded_by_the_history_and_the_longest_window() {
        let mut ledger = Ledger::new("/a", Limit::per(3_000, ms(10_000)), 5);
        let start = Instant::now();
        for n in 0..20_000 {
            accept(&mut ledger, start, ms(n * 4));
        }
        assert!(ledger.accepted.len() <= 2_500);
        assert!(ledger.arrivals.len() <= 2_500);
        assert_eq!(ledger.report().records.len(), 5);
        ledger.set_limit(Limit::unlimited());
        accept(&mut ledger, start, ms(200_000));
        assert_eq!(ledger.accepted.len(), HISTORY);
    }

    #[test]
    fn only_the_first_hint_of_a_row_gives_notice() {
        let mut ledger = Ledger::new("/a", Limit::unlimited(), usize::MAX);
        let start = Instant::now();
        let hint = |ledger: &mut Ledger, at, wait| {
            let now = start + ms(at);
            ledger.hinted(now, ms(50), now + ms(wait));
        };
        let known = |ledger: &Ledger, at| ledger.not_before(start + ms(at));
        hint(&mut ledger, 0, 1_000);
        assert_eq!(known(&ledger, 49), None);
        assert_eq!(known(&ledger, 50), Some(start + ms(1_000)));
        hint(&mut ledger, 40, 1_000);
        assert_eq!(known(&ledger, 50), Some(start + ms(1_040)));
        // By now the last one has passed, so this one starts a row of its own.
        hint(&mut ledger, 2_000, 1_000);
        assert_eq!(known(&ledger, 2_049), None);
        assert_eq!(known(&ledger, 2_050), Some(start + ms(3_000)));
    }
}

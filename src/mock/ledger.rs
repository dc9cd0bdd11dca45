//! One scope's limits at work, an endpoint's or a pool's: what there is room for, and what the client did.
//!
//! Pure: it is told the time and keeps no clock. [`Books`](super::books::Books) has the ledgers of all
//! scopes, and decides.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    limit::{Limit, Window},
    report::{EndpointReport, Record, RefusedBy, Verdict, Violation},
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

    /// The window that keeps a request waiting the longest, if any is full, and until when.
    pub(crate) fn full_window(&self, now: Instant) -> Option<(Window, Instant)> {
        let windows = self.score.limit.windows().iter();
        windows
            .filter_map(|window| {
                // The window has room as soon as the nth latest request is a whole period old.
                let nth = self.accepted.len().checked_sub(window.n)?;
                let room_at = self.accepted[nth] + window.period;
                (room_at > now).then_some((*window, room_at))
            })
            .max_by_key(|(_, room_at)| *room_at)
    }

    /// A request has arrived that will be judged, or would have been. It is open until
    /// [`Ledger::close`].
    pub(crate) fn open(&mut self, arrival: Arrival) {
        self.count_arrival(arrival.now);
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
    pub(crate) fn accept(&mut self, arrival: Arrival) {
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

    /// Notes a refusal, by the limit of this scope or of another.
    pub(crate) fn refuse(&mut self, arrival: Arrival, by: RefusedBy, violation: &Violation) {
        let (count, verdict) = match by {
            RefusedBy::Rate { .. } => (&mut self.score.refused_by_rate, Verdict::RefusedByRate),
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
        self.score.limit = limit;
    }

    pub(crate) fn limit(&self) -> &Limit {
        &self.score.limit
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
        ledger.open(arrival);
        ledger.accept(arrival);
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

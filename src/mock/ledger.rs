//! One endpoint's limits at work: who is accepted, who is refused, and what that says about the client.
//!
//! Pure: it is told the time and keeps no clock, so that it can be checked against a naive count.

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
    /// In flight, or refused with the refusal still under way: what the client has open.
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

#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    Accepted {
        in_flight: usize,
    },
    Refused {
        by: RefusedBy,
        /// When the windows have room again; now or earlier if they have it already.
        room_at: Instant,
    },
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
    pub(crate) fn new(endpoint: &str, limit: Limit, kept_records: usize) -> Self {
        Self {
            accepted: VecDeque::new(),
            in_flight: 0,
            open: 0,
            arrivals: VecDeque::new(),
            hint: None,
            kept_records,
            score: EndpointReport::new(endpoint, limit),
        }
    }

    /// Judges a request at its arrival. What is accepted ends with [`Ledger::finished`], what is
    /// refused with [`Ledger::refused`].
    pub(crate) fn arrive(&mut self, arrival: Arrival) -> Decision {
        let now = arrival.now;
        self.count_arrival(now);
        self.open += 1;
        self.score.most_in_flight = self.score.most_in_flight.max(self.open);
        self.check_hint(arrival);

        let full = self.full_window(now);
        let room_at = full.map_or(now, |(_, room_at)| room_at);
        // Concurrency first: it is what the API behind this mock really refuses by, and a client
        // that is told of a full window would wait for the wrong thing.
        let by = match (self.score.limit.at_once(), full) {
            (Some(limit), _) if self.in_flight >= limit => RefusedBy::Concurrency { limit },
            (_, Some((window, _))) => RefusedBy::Rate {
                limit: window.n,
                period: window.period,
            },
            _ => {
                self.accept(now);
                self.record(arrival, Verdict::Accepted);
                return Decision::Accepted {
                    in_flight: self.in_flight,
                };
            }
        };
        match by {
            RefusedBy::Rate { limit, period } => {
                if self.score.refused_by_rate < VIOLATIONS {
                    let too_soon = room_at - now;
                    let violation = Violation::rate(arrival.at, limit, period, too_soon);
                    self.score.violations.push(violation);
                }
                self.score.refused_by_rate += 1;
                self.record(arrival, Verdict::RefusedByRate);
            }
            RefusedBy::Concurrency { limit } => {
                if self.score.refused_by_concurrency < VIOLATIONS {
                    let violation = Violation::concurrency(arrival.at, limit, self.in_flight);
                    self.score.violations.push(violation);
                }
                self.score.refused_by_concurrency += 1;
                self.record(arrival, Verdict::RefusedByConcurrency);
            }
        }
        Decision::Refused { by, room_at }
    }

    /// Notes a request that was not judged, since no such request is ever served.
    pub(crate) fn invalid(&mut self, arrival: Arrival) {
        self.check_hint(arrival);
        self.score.invalid += 1;
        self.record(arrival, Verdict::Invalid);
    }

    /// An accepted request's answer has ended, or its client went away.
    pub(crate) fn finished(&mut self) {
        self.in_flight -= 1;
        self.open -= 1;
    }

    /// A refusal was handed out, or its client went away.
    pub(crate) fn refused(&mut self) {
        self.open -= 1;
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

    pub(crate) fn report(&self) -> EndpointReport {
        EndpointReport {
            in_flight: self.in_flight,
            ..self.score.clone()
        }
    }

    /// Starts a new score card. What was accepted before still counts against the limits.
    pub(crate) fn reset(&mut self) {
        self.score = EndpointReport::new(&self.score.endpoint, self.score.limit.clone());
        self.score.most_in_flight = self.open;
        self.arrivals.clear();
    }

    /// The window that keeps a request waiting the longest, if any is full, and until when.
    fn full_window(&self, now: Instant) -> Option<(Window, Instant)> {
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

    fn accept(&mut self, now: Instant) {
        let windows = self.score.limit.windows();
        let longest = windows.iter().map(|window| window.period).max();
        while self.accepted.len() >= HISTORY
            && longest.is_none_or(|longest| now - self.accepted[0] >= longest)
        {
            self.accepted.pop_front();
        }
        self.accepted.push_back(now);
        self.in_flight += 1;
        self.score.accepted += 1;
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
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Arrive,
        Finish,
        SetLimit(Limit),
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn ledger(limit: Limit) -> Ledger {
        Ledger::new("/a", limit, usize::MAX)
    }

    fn arrive(ledger: &mut Ledger, start: Instant, at: Duration) -> Decision {
        let now = start + at;
        let not_before = ledger.not_before(now);
        ledger.arrive(Arrival {
            now,
            at,
            not_before,
        })
    }

    fn limits() -> impl Strategy<Value = Limit> {
        let windows = vec((1_usize..5, 1_u64..30), 0..3);
        (windows, option::of(1_usize..4)).prop_map(|(windows, concurrency)| {
            let mut limit = Limit::unlimited();
            for (n, period) in windows {
                limit = limit.and_per(n, ms(period));
            }
            match concurrency {
                Some(n) => limit.concurrency(n),
                None => limit,
            }
        })
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1_u64..20).prop_map(Step::Wait),
            8 => Just(Step::Arrive),
            3 => Just(Step::Finish),
            1 => limits().prop_map(Step::SetLimit),
        ];
        vec(step, 0..200)
    }

    /// How many of these times are in the half-open interval of this length that ends with `end`.
    fn count(times: &[Duration], end: Duration, period: Duration) -> usize {
        let inside = |time: &&Duration| **time <= end && **time + period > end;
        times.iter().filter(inside).count()
    }

    proptest! {
        #[test]
        fn decides_as_a_naive_count_of_everything_does(first in limits(), steps in steps()) {
            let start = Instant::now();
            let mut ledger = ledger(first.clone());
            let (mut limit, mut now) = (first, Duration::ZERO);
            let (mut accepted, mut in_flight) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Wait(millis) => now += ms(millis),
                    Step::Finish if in_flight > 0 => {
                        in_flight -= 1;
                        ledger.finished();
                    }
                    Step::Finish => {}
                    Step::SetLimit(new) => {
                        limit = new.clone();
                        ledger.set_limit(new);
                    }
                    Step::Arrive => {
                        let fits = |at| {
                            let mut windows = limit.windows().iter();
                            windows.all(|window| count(&accepted, at, window.period) < window.n)
                        };
                        let slot = limit.at_once().is_none_or(|n| in_flight < n);
                        let decision = arrive(&mut ledger, start, now);
                        if slot && fits(now) {
                            in_flight += 1;
                            prop_assert_eq!(decision, Decision::Accepted { in_flight });
                            accepted.push(now);
                            continue;
                        }
                        ledger.refused();
                        let Decision::Refused { by, room_at } = decision else {
                            panic!("accepted at {now:?} in spite of {limit}");
                        };
                        let by_concurrency = matches!(by, RefusedBy::Concurrency { .. });
                        prop_assert_eq!(by_concurrency, !slot);
                        // Not an instant too late, and not one too early.
                        let room_at = room_at - start;
                        prop_assert!(fits(room_at));
                        let just_before = room_at.saturating_sub(Duration::from_nanos(1));
                        prop_assert!(room_at == now || !fits(just_before));
                    }
                }
            }
        }

        #[test]
        fn no_half_open_window_holds_more_than_the_limit(limit in limits(), gaps in vec(0_u64..10, 0..200)) {
            let start = Instant::now();
            let mut ledger = ledger(limit.clone());
            let (mut now, mut arrived, mut accepted) = (Duration::ZERO, Vec::new(), Vec::new());
            for gap in gaps {
                now += ms(gap);
                arrived.push(now);
                match arrive(&mut ledger, start, now) {
                    Decision::Accepted { .. } => {
                        accepted.push(now);
                        ledger.finished();
                    }
                    Decision::Refused { .. } => ledger.refused(),
                }
            }
            for window in limit.windows() {
                for end in &accepted {
                    prop_assert!(count(&accepted, *end, window.period) <= window.n);
                }
            }
            let period = limit.scored_period();
            let worst = arrived.iter().map(|end| count(&arrived, *end, period)).max();
            prop_assert_eq!(ledger.report().worst_window, worst.unwrap_or(0));
            prop_assert_eq!(ledger.report().accepted, accepted.len());
        }
    }

    #[test]
    fn memory_is_bounded_by_the_history_and_the_longest_window() {
        let mut ledger = Ledger::new("/a", Limit::per(3_000, ms(10_000)), 5);
        let start = Instant::now();
        for n in 0..20_000 {
            arrive(&mut ledger, start, ms(n * 4));
            ledger.finished();
        }
        assert!(ledger.accepted.len() <= 2_500);
        assert!(ledger.arrivals.len() <= 2_500);
        assert_eq!(ledger.report().records.len(), 5);
        ledger.set_limit(Limit::unlimited());
        arrive(&mut ledger, start, ms(200_000));
        assert_eq!(ledger.accepted.len(), HISTORY);
    }

    #[test]
    fn violations_are_kept_for_each_kind() {
        let mut ledger = ledger(Limit::rps(1));
        let start = Instant::now();
        for _ in 0..100 {
            arrive(&mut ledger, start, ms(0));
        }
        ledger.set_limit(Limit::concurrent(1));
        arrive(&mut ledger, start, ms(1));
        let report = ledger.report();
        assert_eq!(report.refused_by_rate, 99);
        assert_eq!(report.violations.len(), VIOLATIONS + 1);
        assert_eq!(report.violations[VIOLATIONS].at(), ms(1));
    }

    #[test]
    fn only_the_first_hint_of_a_row_gives_notice() {
        let mut ledger = ledger(Limit::unlimited());
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

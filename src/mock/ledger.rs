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

//! A refusal that does not say what there was too much of: a rate, or requests at once?

use super::{estimate::Estimate, news::Sent};
use crate::bucket::{
    log::Log,
    tick::{Span, Tick},
};

/// The second suspect, beside a rate that was learned from the same wave: what was in flight.
///
/// Until one of them is cleared a request may go if either allows it. The rate allows what was accepted in a
/// period. What was in flight allows another as soon as one has ended: a few at first, and more while they are
/// accepted. Whichever is wrong is cleared by what it does not explain: more is accepted than it allows, or
/// something is refused that it allows.
#[derive(Clone, Debug)]
pub(super) struct Suspects {
    /// How many were in flight and accepted.
    in_flight: Estimate,
    /// The rate: so many were accepted in a period.
    base: u32,
    period: Span,
    /// Whether more than the rate is tried already, and since when.
    since: Option<Tick>,
    /// Whether the rate's window was full when that began.
    full: bool,
    /// Only later requests tell the two apart.
    wave: u64,
    /// How many of them were accepted, and by how many more in a period than the rate allows.
    accepted: u32,
    beyond: u32,
}

/// Which of the two is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Culprit {
    Rate,
    InFlight,
}

impl Suspects {
    /// `in_flight` were accepted and are under way, of `base` that were accepted in a period.
    pub(super) fn new(in_flight: Estimate, base: u32, period: Span, sent: &Sent<'_>) -> Self {
        Self {
            in_flight,
            base,
            period,
            since: None,
            full: true,
            wave: sent.newest,
            accepted: 0,
            beyond: 0,
        }
    }

    /// More than the rate is tried from now on.
    pub(super) fn probe(&mut self, sent: &Sent<'_>) {
        self.since = Some(sent.now);
        self.wave = sent.newest;
        self.accepted = 0;
        self.beyond = 0;
        if !self.full {
            self.in_flight.value = self.in_flight.value.max(self.base);
        }
    }

    /// The rate's window is in use again when more is tried.
    pub(super) fn wait(&mut self) {
        self.full = false;
    }

    /// Whether more was tried of what is in flight instead of the rate.
    pub(super) fn is_instead(&self) -> bool {
        !self.full
    }

    pub(super) fn is_probing(&self) -> bool {
        self.since.is_some()
    }

    /// One more was refused of the wave that is looked into. Whether it is of that wave.
    pub(super) fn refused_one(&mut self, sent: &Sent<'_>) -> bool {
        let is_of_wave = sent.serial <= self.wave;
        if is_of_wave && self.full {
            self.base = self.base.saturating_sub(1).max(1);
            self.in_flight.refused_one(None);
            if !self.in_flight.stands() {
                // All that were accepted had ended before this was heard of. Nobody knows how many of them
                // were in flight at once, so that suspect is the less likely one.
                self.since = None;
                self.full = false;
            }
        } else if is_of_wave && self.since.is_none() {
            self.base = self.base.saturating_sub(1).max(1);
        }
        is_of_wave
    }

    /// Whether one more may go than the rate allows: one at first, and two for each that was accepted.
    pub(super) fn lets_through(&self, log: &Log, in_flight: u32, now: Tick) -> bool {
        let Some(since) = self.since.filter(|_| in_flight < self.in_flight.value) else {
            return false;
        };
        let from = since.max(now.before(self.period));
        let more = self.beyond.saturating_mul(2).saturating_add(1);
        log.count_after(from) < self.allowed(since, now).saturating_add(more)
    }

    /// How many of the later requests the rate allows in a period up to `time`. At first its window was full,
    /// but some servers make room bit by bit.
    fn allowed(&self, since: Tick, time: Tick) -> u32 {
        if !self.full || time >= since.after(self.period) {
            return self.base;
        }
        let elapsed = time.0.saturating_sub(since.0) / 1000;
        let allowed = u64::from(self.base) * elapsed / (self.period.0 / 1000).max(1);
        u32::try_from(allowed).unwrap_or(u32::MAX)
    }

    /// A request was accepted.
    pub(super) fn accepted(&mut self, sent: &Sent<'_>) -> Option<Culprit> {
        if sent.serial <= self.wave {
            return None;
        }
        if sent.in_flight.is_some_and(|n| n > self.in_flight.value) {
            return Some(Culprit::Rate);
        }
        let since = self.since?;
        self.accepted += 1;
        // As many were accepted as were sent up to then.
        let later = sent.log.count_after(since);
        let time = sent.log.dispatched(later.checked_sub(self.accepted)? + 1)?;
        let from = since.max(time.before(self.period));
        let sent = sent.log.count_after(from) - sent.log.count_after(time);
        let beyond = sent.saturating_sub(self.allowed(since, time));
        self.beyond = self.beyond.max(beyond);
        (self.beyond > (self.base / 4).max(1)).then_some(Culprit::InFlight)
    }

    /// A later request was refused.
    pub(super) fn refused(&self, sent: &Sent<'_>) -> Option<Culprit> {
        if sent.in_flight.is_some_and(|n| n > self.in_flight.value) {
            return Some(Culprit::InFlight);
        }
        self.since.map(|_| Culprit::Rate)
    }

    /// The limit to what is in flight, if that is what is left.
    pub(super) fn in_flight(self, newest: u64) -> Estimate {
        let mut estimate = self.in_flight;
        estimate.value = estimate.value.max(1);
        estimate.excuse(newest);
        estimate
    }
}

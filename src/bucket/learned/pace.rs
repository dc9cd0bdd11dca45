//! What quota headers on successes say is left.
//!
//! A header is a *claim*: after so many more, nothing is served until the reset. Some servers send headers that they
//! do not keep to, and no answer says so. So the client tests the claim, which costs one refusal at most:
//!
//! 1. While nobody knows, what is left goes at once, and more waits. Where nothing is left, the bucket *stops* for half
//!    a second, and then one request goes as a probe.
//! 2. A refusal of a request that was sent although nothing was left *keeps* the claim. Then what is left is
//!    spread until the reset if as many wait for it, and nothing left pauses until then.
//! 3. A success of such a request *breaks* it. So do three answers in a row of which none says less than the one
//!    before, as long as no claim was kept. Then headers neither spread nor stop anything.
//!
//! What was seen more often counts.

use super::{
    lesson::{Lesson, Limit},
    news::{Refusal, Report, Sent},
};
use crate::bucket::{
    log::Log,
    rules::{Rule, Rules},
    tick::{SECOND, Span, Tick},
};

/// So many answers in a row say that no less is left: requests are served and not counted.
const PROOF: u32 = 3;

/// For how long a claim is believed that was neither kept nor broken.
const TEST: Span = Span(SECOND / 2);

#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    learned: Option<(Span, Rule)>,
    claim: Option<Claim>,
    stop: Option<Stop>,
    word: Word,
}

/// An answer said how little is left.
#[derive(Clone, Copy, Debug)]
struct Claim {
    left: u32,
    /// Until when.
    until: Tick,
    /// The last request that had been admitted when it was heard of first ...
    newest: u64,
    /// ... and the last whose answer said so.
    serial: u64,
    /// How many answers in a row said no less.
    same: u32,
}

/// Nothing is left, and nobody knows yet whether that matters.
#[derive(Clone, Copy, Debug)]
pub(in crate::bucket) struct Stop {
    at: Tick,
    until: Tick,
    /// Whether the log tells what was sent since.
    logged: bool,
}

/// How often a server kept to its headers, and how often it did not.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    kept: u32,
    broken: u32,
}

impl Word {
    /// The older of what was seen counts less.
    const MOST: u32 = 32;

    fn keep(&mut self) {
        self.kept += 1;
        self.fade();
    }

    fn break_it(&mut self) {
        self.broken += 1;
        self.fade();
    }

    fn fade(&mut self) {
        if self.kept + self.broken >= Self::MOST {
            self.kept /= 2;
            self.broken /= 2;
        }
    }

    fn is_good(self) -> bool {
        self.kept > self.broken
    }

    fn is_bad(self) -> bool {
        self.broken > self.kept
    }
}

impl Stop {
    pub(in crate::bucket) fn until(&self) -> Tick {
        self.until
    }

    /// When the gate opens next: for the probe, if it has not gone yet.
    pub(in crate::bucket) fn opens(&self, log: &Log, in_flight: u32) -> Tick {
        if self.sent(log, in_flight) > 0 {
            return self.until;
        }
        self.until.min(self.at.after(TEST))
    }

    /// Whether it calls back a request that was admitted: not if that is the probe.
    pub(in crate::bucket) fn calls_back(&self, log: &Log, in_flight: u32, now: Tick) -> bool {
        let is_probe = now >= self.at.after(TEST) && self.sent(log, in_flight) <= 1;
        now < self.until && !is_probe
    }

    /// How many were sent since, or are about to be.
    fn sent(&self, log: &Log, in_flight: u32) -> u32 {
        if self.logged {
            log.count_after(self.at)
        } else {
            in_flight
        }
    }
}

impl Lesson for Pace {
    /// No refusal by rate is explained by what is left, but it tells whether nothing left is a stop.
    fn refused(&mut self, _: &Refusal, sent: &Sent<'_>, _: &Rules) -> bool {
        if self.explains(sent) {
            self.word.keep();
            self.claim = None;
            self.stop = None;
        }
        false
    }

    fn accepted(&mut self, report: &Report, sent: &Sent<'_>, rules: &Rules) {
        if !report.counts {
            return;
        }
        self.check(report, sent);
        self.learned = report
            .pace
            .filter(|_| !self.word.is_bad())
            .map(|(spacing, ends)| (spacing, self.rule(report, spacing, ends, sent)));
        self.stop(report, sent, rules);
    }

    fn limit(&self, now: Tick) -> Option<Limit> {
        let (_, rule) = self.learned.filter(|(_, rule)| now < rule.until)?;
        Some(Limit::Window(rule))
    }
}

impl Pace {
    /// Compares a report with the one before, and keeps it.
    fn check(&mut self, report: &Report, sent: &Sent<'_>) {
        let little = report.empty_for.is_some() || report.pace.is_some();
        let ends = (report.resets_in)
            .or(report.empty_for)
            .or(report.pace.map(|(_, ends)| ends));
        let Some(ends) = ends.filter(|_| little) else {
            self.claim = None;
            return;
        };
        let until = sent.now.after(ends);
        let mut claim = Claim {
            left: report.left,
            until,
            newest: sent.newest,
            serial: sent.serial,
            same: 1,
        };
        if let Some(before) = self.claim {
            if sent.serial <= before.serial {
                return;
            }
            let goes_on = report.left >= before.left;
            if goes_on {
                claim.same = before.same + 1;
            }
            let was_none_left =
                before.left == 0 && sent.serial > before.newest && sent.now < before.until;
            if was_none_left || claim.same > PROOF && self.word.kept == 0 {
                self.word.break_it();
                claim.same = 1;
            } else if goes_on && sent.now < before.until {
                claim.left = before.left;
                claim.until = before.until;
                claim.newest = before.newest;
            }
        }
        self.claim = Some(claim);
    }

    /// How what is left is spread.
    fn rule(&self, report: &Report, spacing: Span, ends: Span, sent: &Sent<'_>) -> Rule {
        let rule = if self.word.is_good() && report.waiting >= report.left {
            Rule::new(1, spacing, Span::ZERO)
        } else {
            // What is left goes at once: only what comes beyond that has to wait for the reset.
            Rule::new(
                sent.in_period(ends).saturating_add(report.left),
                ends,
                Span::ZERO,
            )
        };
        Rule {
            counts_forgotten: false,
            until: sent.now.after(ends),
            ..rule
        }
    }

    /// Stops the bucket if nothing is left, until that was tested.
    fn stop(&mut self, report: &Report, sent: &Sent<'_>, rules: &Rules) {
        self.stop = match report.empty_for {
            Some(_) if self.word.is_good() || self.word.is_bad() => None,
            // The probe counts from the first answer that said so.
            Some(_) if self.stop.is_some_and(|stop| sent.now < stop.until) => self.stop,
            Some(span) => Some(Stop {
                at: sent.now,
                until: sent.now.after(span),
                logged: rules.keeps_log(),
            }),
            // It was sent before, and knows no better.
            None if self.claim.is_some_and(|claim| sent.serial < claim.serial) => self.stop,
            None => None,
        };
    }

    /// Whether an answer's request was sent although nothing was left.
    pub(super) fn explains(&self, sent: &Sent<'_>) -> bool {
        self.claim.is_some_and(|claim| {
            claim.left == 0 && sent.serial > claim.newest && sent.now < claim.until
        })
    }

    /// Whether nothing left is known to be a stop.
    pub(super) fn is_kept(&self) -> bool {
        self.word.is_good()
    }

    pub(super) fn stopped(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    pub(super) fn resume(&mut self) {
        self.stop = None;
    }

    pub(super) fn is_learned(&self) -> bool {
        self.learned.is_some() || self.claim.is_some()
    }

    /// How many may be sent until the reset.
    pub(super) fn most(&self) -> u32 {
        self.learned.map_or(0, |(_, rule)| rule.n)
    }

    /// The distance between requests.
    pub(super) fn learned(&self, now: Tick) -> Option<Span> {
        let (spacing, _) = self.learned.filter(|(_, rule)| now < rule.until)?;
        Some(spacing)
    }
}

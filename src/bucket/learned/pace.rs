//! What quota headers on successes say is left.

use super::{
    lesson::{Lesson, Limit},
    news::{Refusal, Report, Sent},
    rules::{Rule, Rules},
    tick::{Span, Tick},
};

/// So many answers in a row say that nothing is left, before it is so again: some were served although it
/// was so.
const PROOF: u32 = 3;

#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    learned: Option<(Span, Rule)>,
    empty: Option<Empty>,
    /// Requests are served although nothing is left.
    no_stop: bool,
}

/// An answer said that nothing is left.
#[derive(Clone, Copy, Debug)]
struct Empty {
    /// Until when.
    until: Tick,
    /// The last request that had been admitted by then, and the last whose answer said so.
    newest: u64,
    serial: u64,
    /// How many answers to later requests said so, each to a later one.
    times: u32,
}

impl Lesson for Pace {
    /// A refusal by rate is none that what is left explains, but then nothing left is a stop after all.
    fn refused(&mut self, _: &Refusal, _: &Sent<'_>, _: &Rules) -> bool {
        self.empty = None;
        self.no_stop = false;
        false
    }

    fn accepted(&mut self, report: &Report, sent: &Sent<'_>, _: &Rules) {
        if !report.counts {
            return;
        }
        self.learned = report.pace.map(|(spacing, ends)| {
            let rule = if report.waiting < report.left {
                // All who wait fit: only what comes beyond that has to wait for the reset.
                Rule::new(
                    sent.in_period(ends).saturating_add(report.left),
                    ends,
                    Span::ZERO,
                )
            } else {
                Rule::new(1, spacing, Span::ZERO)
            };
            let rule = Rule {
                counts_forgotten: false,
                until: sent.now.after(ends),
                ..rule
            };
            (spacing, rule)
        });
        if let Some(resets_in) = report.resets_in {
            self.is_empty(resets_in, sent);
        }
    }

    fn limit(&self, now: Tick) -> Option<Limit> {
        let (_, rule) = self.learned.filter(|(_, rule)| now < rule.until)?;
        Some(Limit::Window(rule))
    }
}

impl Pace {
    fn is_empty(&mut self, resets_in: Span, sent: &Sent<'_>) {
        let empty = self.empty.filter(|empty| sent.now < empty.until);
        let Some(mut empty) = empty else {
            self.empty = Some(Empty {
                until: sent.now.after(resets_in),
                newest: sent.newest,
                serial: sent.serial,
                times: 1,
            });
            return;
        };
        if sent.serial > empty.serial {
            empty.serial = sent.serial;
            empty.times += 1;
        }
        if sent.serial > empty.newest || empty.times >= PROOF {
            self.no_stop = true;
        }
        self.empty = Some(empty);
    }

    /// Whether an answer proved that nothing left is no stop.
    pub(super) fn goes_on(&self) -> bool {
        self.no_stop
    }

    pub(super) fn is_learned(&self) -> bool {
        self.learned.is_some() || self.empty.is_some()
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

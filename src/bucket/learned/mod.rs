//! What a server's answers have taught about one bucket.
//!
//! Each lesson only ever narrows what was configured, and is given back step by step while all goes
//! well. Refusals come in waves: many requests are on their way when the first of them is refused. A
//! wave is one piece of news, so requests are numbered as they are admitted, and whatever was on its
//! way before the news arrived belongs to it.

mod backoff;
mod concurrency;
mod estimate;
mod learning;
mod lesson;
mod margin;
mod news;
mod pace;
mod rate;

pub use self::learning::Learning;
pub(super) use self::news::Sent;
pub(crate) use self::news::{Refusal, RefusalKind, Report};

use self::{
    backoff::Backoff,
    concurrency::Concurrency,
    lesson::{Lesson, Limit},
    margin::Margin,
    pace::Pace,
    rate::Rate,
};
use super::{
    Lessons, RECENT,
    rules::{self, Rule, Rules},
    tick::{self, Span, Tick},
};

/// For how long a lesson is kept without being confirmed (law L11: ten minutes).
const KEPT: Span = Span(600 * SECOND);
const SECOND: u64 = 1_000_000_000;

/// The period of a learned rate if the server names none.
const DEFAULT_PERIOD: Span = Span(SECOND);

/// From how large a window on half of it refused is too much for an unsteady way.
const TELLING_WINDOW: u32 = 8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Narrowing {
    forgotten_at: Option<Tick>,
    backoff: Backoff,
    concurrency: Concurrency,
    rate: Rate,
    margin: Margin,
    pace: Pace,
}

impl Narrowing {
    fn lessons_mut(&mut self) -> [&mut dyn Lesson; 4] {
        [
            &mut self.margin,
            &mut self.rate,
            &mut self.concurrency,
            &mut self.pace,
        ]
    }

    /// Takes in a refusal. Returns until when the bucket is to be paused, if it is.
    pub(super) fn refused(
        &mut self,
        refusal: &Refusal,
        sent: &Sent<'_>,
        rules: &Rules,
        paused_until: Tick,
    ) -> Tick {
        self.forgotten_at = Some(sent.now.after(KEPT));
        let new_wave = self.backoff.refused(refusal, sent);
        match refusal.kind {
            RefusalKind::Concurrency(_) => {
                self.concurrency.refused(refusal, sent, rules);
            }
            RefusalKind::Rate => self.too_fast(refusal, sent, rules),
            // Where nothing else would pace those who come back, they come back slowly.
            RefusalKind::Overload if rules.windows().is_empty() => {
                self.too_fast(refusal, sent, rules);
            }
            RefusalKind::Overload => {}
        }
        self.pause(refusal, rules, new_wave, paused_until, sent.now)
    }

    fn too_fast(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        let named = refusal.named_rate();
        let learning = rules.learning();
        if self.rate.is_learned() {
            let known = self.rate.expects(sent) || named.is_some();
            if !known && learning.margin && self.margin.refused(refusal, sent, rules) {
                return;
            }
            self.rate.refused(refusal, sent, rules);
            if !known {
                self.margin = Margin::default();
            }
            return;
        }
        let period = period(refusal, rules);
        let tighter = |n: u32| {
            let windows = rules.windows();
            windows
                .iter()
                .all(|rule| n < rule.n || period > rule.period)
        };
        if let Some(n) = named.filter(|&n| learning.rate && tighter(n)) {
            self.rate
                .begin(sent.in_period(period), Some(n), period, sent.newest);
            return;
        }
        let Some(rule) = tightest(rules) else {
            if learning.rate {
                self.rate
                    .begin(sent.in_period(period), None, period, sent.newest);
            }
            return;
        };
        let widened = learning.margin && self.margin.refused(refusal, sent, rules);
        let refused = self.margin.refused_of_wave();
        let telling = rule.n >= TELLING_WINDOW && refused >= rule.n / 2;
        if learning.rate && (telling || !widened) {
            // Not the way's fault: of what was believed to fit, so many did not.
            let accepted = sent
                .in_period(period)
                .min(rule.n)
                .saturating_sub(refused - 1);
            self.rate.begin(accepted, None, rule.period, sent.newest);
            self.margin = Margin::default();
        }
    }

    /// Until when nothing is sent, as the server asked or, if it did not, by back-off.
    fn pause(
        &self,
        refusal: &Refusal,
        rules: &Rules,
        new_wave: bool,
        paused_until: Tick,
        now: Tick,
    ) -> Tick {
        if refusal.retry_after.is_some() {
            return refusal.asked_until(paused_until, now);
        }
        match refusal.kind {
            // One of our own completions says more than any clock. Where there is none to wait for,
            // the gate is open, and the bucket sees to that.
            RefusalKind::Concurrency(_) => Tick::NONE,
            _ if !new_wave => Tick::NONE,
            _ => now.after(self.backoff(refusal, rules)),
        }
    }

    /// How long to back off where no delay was named.
    pub(super) fn backoff(&self, refusal: &Refusal, rules: &Rules) -> Span {
        let known = self.rate.is_learned() || !rules.windows().is_empty();
        self.backoff.delay(refusal, known)
    }

    /// Takes in an answer that was no refusal. Returns until when the bucket is to be paused.
    pub(super) fn accepted(&mut self, report: &Report, sent: &Sent<'_>, rules: &Rules) -> Tick {
        self.backoff.accepted(sent);
        for lesson in self.lessons_mut() {
            lesson.accepted(report, sent, rules);
        }
        let kept = sent.now.after(KEPT);
        if report.maximum_concurrency.is_some() {
            self.forgotten_at = Some(kept);
        }
        if self.pace.is_learned() {
            self.forgotten_at = Some(self.forgotten_at().max(kept));
        }
        report
            .empty_for
            .map_or(Tick::NONE, |span| sent.now.after(span))
    }

    pub(super) fn ceiling(&self) -> Option<usize> {
        self.concurrency.learned().map(|(limit, _)| limit as usize)
    }

    /// The windows that a bucket keeps for what it has learned, besides those that are configured.
    pub(super) fn windows(&self, now: Tick) -> impl Iterator<Item = Rule> + '_ {
        let window = |limit| match limit {
            Some(Limit::Window(rule)) => Some(rule),
            _ => None,
        };
        let rate = window(self.rate.limit(now)).map(|rule| self.widened(rule));
        let pace = window(self.pace.limit(now));
        rate.into_iter().chain(pace)
    }

    /// A window with the learned margin.
    pub(super) fn widened(&self, rule: Rule) -> Rule {
        let margin = self.margin.learned().unwrap_or(0);
        Rule {
            span: rule.span.plus(rule.period.thousandths(margin)),
            ..rule
        }
    }

    /// How many stamps the learned windows count.
    pub(super) fn depth(&self) -> usize {
        self.rate.learned().map_or(0, |(n, ..)| n as usize)
    }

    pub(super) fn forgotten_at(&self) -> Tick {
        self.forgotten_at.unwrap_or(Tick::NONE)
    }

    pub(super) fn is_forgotten(&self, now: Tick) -> bool {
        self.forgotten_at() <= now
    }

    pub(super) fn lessons(&self, now: Tick) -> Lessons {
        Lessons {
            concurrency: (self.concurrency.learned()).map(|(limit, named)| (limit as usize, named)),
            rate: self.rate.learned(),
            margin: self.margin.learned(),
            pace: self.pace.learned(now),
        }
    }
}

/// The period of the window that refused: as configured, as named, or as the delay suggests. A client
/// that has not kept stamps for as long as a window is cannot keep to it.
fn period(refusal: &Refusal, rules: &Rules) -> Span {
    // For how long a server is busy says nothing about a window.
    let suggested = refusal
        .retry_after
        .filter(|_| refusal.kind == RefusalKind::Rate);
    let hinted = refusal.period.or(suggested);
    let hinted = hinted.filter(|&period| period <= RECENT);
    match (refusal.rate, tightest(rules)) {
        (None, Some(rule)) => rule.period,
        _ => hinted.unwrap_or(DEFAULT_PERIOD).max(DEFAULT_PERIOD),
    }
}

fn tightest(rules: &Rules) -> Option<&Rule> {
    rules.windows().iter().min_by_key(|rule| rule.span)
}

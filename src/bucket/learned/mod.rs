//! What a server's answers have taught about one bucket.
//!
//! Each lesson only ever narrows what was configured, and is given back step by step while all goes
//! well. Refusals come in waves: many requests are on their way when the first of them is refused. A
//! wave is one piece of news, so requests are numbered as they are admitted, and whatever was on its
//! way before the news arrived belongs to it.

mod estimate;
mod learning;
mod margin;
mod news;

pub use self::learning::Learning;
pub(super) use self::news::Sent;
pub(crate) use self::news::{Refusal, RefusalKind, Report};

use self::{estimate::Estimate, margin::Margin};
use super::{
    Lessons, RECENT,
    rules::{Rule, Rules},
    tick::{Span, Tick},
};

/// For how long a lesson is kept without being confirmed (law L11: ten minutes).
const KEPT: Span = Span(600 * SECOND);
const SECOND: u64 = 1_000_000_000;

/// The period of a learned rate if the server names none.
const DEFAULT_PERIOD: Span = Span(SECOND);

/// From how large a window on half of it refused is too much for an unsteady way.
const TELLING_WINDOW: u32 = 8;

/// The first delay after a refusal by rate that names none, where the bucket knows its window, which
/// does most of the waiting; and after all others. Doubled for each further wave.
const BACKOFF_KNOWN: Span = Span(SECOND / 20);
const BACKOFF_UNKNOWN: Span = Span(SECOND / 2);
/// The longest such delay: the vendor's advice for back-off (20 s).
const BACKOFF_MAX: Span = Span(20 * SECOND);

#[derive(Clone, Debug, Default)]
pub(crate) struct Narrowing {
    forgotten_at: Option<Tick>,
    ceiling: Option<Estimate>,
    rate: Option<(Estimate, Span)>,
    margin: Option<Margin>,
    pace: Option<Rule>,
    /// Waves in a row without a delay named and without a success in between.
    setbacks: u32,
    /// Up to here requests belong to a wave that has been heard of ...
    wave: u64,
    /// ... and up to here to the one before.
    wave_before: u64,
}

impl Narrowing {
    /// Takes in a refusal. Returns until when the bucket is to be paused, if it is.
    pub(super) fn refused(
        &mut self,
        refusal: &Refusal,
        sent: Sent,
        rules: &Rules,
        paused_until: Tick,
        now: Tick,
    ) -> Tick {
        self.forgotten_at = Some(now.after(KEPT));
        let new_wave = sent.serial > self.wave;
        if new_wave {
            self.wave_before = self.wave;
            self.wave = sent.newest;
            if refusal.retry_after.is_none() {
                self.setbacks += 1;
            }
        }
        match refusal.kind {
            RefusalKind::Concurrency(limit) => self.too_many_at_once(limit, sent, rules),
            RefusalKind::Rate => self.too_fast(refusal, sent, rules),
            // Without windows nothing else would pace the requests that come back: a learned rate does.
            RefusalKind::Overload if rules.windows().is_empty() => {
                self.too_fast(refusal, sent, rules);
            }
            RefusalKind::Overload => {}
        }
        self.pause(refusal, rules, new_wave, paused_until, now)
    }

    fn too_many_at_once(&mut self, limit: Option<u32>, sent: Sent, rules: &Rules) {
        let Some(in_flight) = sent.in_flight.filter(|_| rules.learning().concurrency) else {
            return;
        };
        match &mut self.ceiling {
            Some(ceiling) => ceiling.refused(sent, in_flight, limit),
            ceiling => *ceiling = Some(Estimate::new(in_flight, limit, sent.newest)),
        }
    }

    fn too_fast(&mut self, refusal: &Refusal, sent: Sent, rules: &Rules) {
        let named = refusal
            .rate
            .filter(|_| refusal.period.is_some_and(|period| period <= RECENT));
        if let Some((rate, _)) = &self.rate {
            let known = sent.serial <= rate.wave || rate.raise > 0 || named.is_some();
            let unsteady = !known && rules.learning().margin && self.widen(sent);
            if let Some((rate, _)) = self.rate.as_mut().filter(|_| !unsteady) {
                rate.refused(sent, sent.in_period, named);
                self.margin.take_if(|_| !known);
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
        if let Some(n) = named.filter(|&n| rules.learning().rate && tighter(n)) {
            self.rate = Some((Estimate::new(sent.in_period, Some(n), sent.newest), period));
            return;
        }
        let Some(rule) = tightest(rules) else {
            if rules.learning().rate {
                self.rate = Some((Estimate::new(sent.in_period, None, sent.newest), period));
            }
            return;
        };
        let widened = rules.learning().margin && self.widen(sent);
        let refused = self.margin.as_ref().map_or(1, |margin| margin.refused);
        let telling = rule.n >= TELLING_WINDOW && refused >= rule.n / 2;
        if rules.learning().rate && (telling || !widened) {
            // Not the way's fault: of what was believed to fit, so many did not.
            let accepted = sent.in_period.min(rule.n).saturating_sub(refused - 1);
            let rate = Estimate::new(accepted, None, sent.newest);
            self.rate = Some((rate, rule.period));
            self.margin = None;
        }
    }

    /// Widens the margin, once per wave. False if that has been tried enough.
    fn widen(&mut self, sent: Sent) -> bool {
        self.margin.get_or_insert_default().refused(sent)
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
        let known = self.rate.is_some() || !rules.windows().is_empty();
        let base = match refusal.kind {
            RefusalKind::Rate if known => BACKOFF_KNOWN,
            _ => BACKOFF_UNKNOWN,
        };
        let doublings = self.setbacks.saturating_sub(1);
        let doublings = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let delay = base.times(doublings).min(BACKOFF_MAX).min(refusal.ceiling);
        // Half of it is certain: what was just refused is not worth asking again at once.
        delay.part(0.5 + 0.5 * refusal.random)
    }

    /// Takes in an answer that was no refusal. Returns until when the bucket is to be paused.
    pub(super) fn succeeded(
        &mut self,
        report: &Report,
        sent: Sent,
        rules: &Rules,
        now: Tick,
    ) -> Tick {
        // Also if it belongs to the wave that is being refused: the server takes some of it.
        if sent.serial > self.wave_before {
            self.setbacks = 0;
        }
        if let Some(margin) = &mut self.margin {
            margin.succeeded(sent);
            if margin.width == 0 {
                self.margin = None;
            }
        }
        if let Some((rate, period)) = &mut self.rate {
            rate.succeeded(sent, sent.in_period);
            let given_back = |rule: &Rule| rule.period >= *period && rate.value >= rule.n;
            if rules.windows().iter().any(given_back) {
                self.rate = None;
            }
        }
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.succeeded(sent, sent.in_flight.unwrap_or(0));
        }
        if let Some(maximum) = report.maximum_concurrency {
            self.named_by_success(maximum.max(1), sent);
            self.forgotten_at = Some(now.after(KEPT));
        }
        let configured = rules.concurrency();
        self.ceiling
            .take_if(|ceiling| configured.is_some_and(|limit| ceiling.value as usize >= limit));
        if report.counts {
            self.pace = report.pace.map(|(spacing, ends)| Rule {
                counts_forgotten: false,
                until: now.after(ends),
                ..Rule::new(1, spacing, Span::ZERO)
            });
        }
        if self.pace.is_some() {
            self.forgotten_at = Some(self.forgotten_at().max(now.after(KEPT)));
        }
        report.empty_for.map_or(Tick::NONE, |span| now.after(span))
    }

    fn named_by_success(&mut self, maximum: u32, sent: Sent) {
        match &mut self.ceiling {
            // It was sent before the refusals that lowered the limit, and knows no better.
            Some(ceiling) if sent.serial <= ceiling.wave && maximum > ceiling.value => {}
            Some(ceiling) => {
                ceiling.value = maximum;
                ceiling.named = true;
                // What is known needs no trying.
                ceiling.successes = 0;
                ceiling.raise = 0;
            }
            ceiling => *ceiling = Some(Estimate::named(maximum)),
        }
    }

    pub(super) fn ceiling(&self) -> Option<usize> {
        self.ceiling.as_ref().map(|ceiling| ceiling.value as usize)
    }

    /// The windows that a bucket keeps for what it has learned, besides those that are configured.
    pub(super) fn windows(&self, now: Tick) -> impl Iterator<Item = Rule> + '_ {
        let rate = self.rate.as_ref().map(|(rate, period)| {
            self.widened(Rule {
                counts_forgotten: false,
                ..Rule::new(rate.value, *period, Span::ZERO)
            })
        });
        let pace = self.pace.filter(|rule| now < rule.until);
        rate.into_iter().chain(pace)
    }

    /// A window with the learned margin.
    pub(super) fn widened(&self, rule: Rule) -> Rule {
        let margin = self.margin.as_ref().map_or(0, |margin| margin.width);
        Rule {
            span: rule.span.plus(rule.period.thousandths(margin)),
            ..rule
        }
    }

    /// How many stamps the learned windows count.
    pub(super) fn depth(&self) -> usize {
        self.rate
            .as_ref()
            .map_or(0, |(rate, _)| rate.value as usize)
    }

    /// In which period the next lesson wants to know what was sent.
    pub(super) fn period(&self) -> Option<Span> {
        self.rate.as_ref().map(|(_, period)| *period)
    }

    pub(super) fn forgotten_at(&self) -> Tick {
        self.forgotten_at.unwrap_or(Tick::NONE)
    }

    pub(super) fn is_forgotten(&self, now: Tick) -> bool {
        self.forgotten_at() <= now
    }
}

impl Narrowing {
    pub(super) fn lessons(&self, now: Tick) -> Lessons {
        Lessons {
            concurrency: self
                .ceiling
                .as_ref()
                .map(|ceiling| (ceiling.value as usize, ceiling.named)),
            rate: self
                .rate
                .as_ref()
                .map(|(rate, period)| (rate.value, *period, rate.named)),
            margin: self.margin.as_ref().map(|margin| margin.width),
            pace: self
                .pace
                .filter(|rule| now < rule.until)
                .map(|rule| rule.span),
        }
    }
}

/// The period of the window that refused: as configured, as named, or as the delay suggests. A client
/// that has not kept stamps for as long as a window is cannot keep to it.
pub(super) fn period(refusal: &Refusal, rules: &Rules) -> Span {
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

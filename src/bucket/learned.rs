//! What a server's answers have taught about one bucket.
//!
//! Each lesson only ever narrows what was configured, and is given back step by step while all goes
//! well. Refusals come in waves: many requests are on their way when the first of them is refused. A
//! wave is one piece of news, so requests are numbered as they are admitted, and whatever was on its
//! way before the news arrived belongs to it.

use super::{
    Lessons, RECENT,
    rules::{Face, Rule, Rules},
    tick::{Span, Tick},
};

/// Which lessons a layer learns from its server's answers. All of them by default.
///
/// For [`learn`](crate::ThrottleLayer::learn), which all limiting layers have. What was learned of a
/// bucket shows in its [snapshot](crate::BucketSnapshot::learned).
///
/// A lesson narrows what was configured and never widens it, whatever a server says. It concerns the
/// endpoint, or the group if that is what has the limit; `overall` and the total across partitions
/// learn nothing. It is given back step by step while requests succeed, and ends if nothing has
/// confirmed it for ten minutes, whether anything succeeds meanwhile or not. Many requests may be on
/// their way when the first is refused: their refusals together count as one.
///
/// No layer learns what it does not enforce: [`RpsLayer`](crate::RpsLayer) no concurrency, and
/// [`ConcurrencyLayer`](crate::ConcurrencyLayer) nothing about windows: of quota headers it only
/// minds that nothing is left.
///
/// ```
/// use tower_throttle::{Endpoints, Learning, Quota, ThrottleLayer};
///
/// // The network's jitter is known here, and configured.
/// let margin = std::time::Duration::from_millis(100);
/// let endpoints = Endpoints::new().route("GET /v1/voices", Quota::per_second(5).margin(margin));
/// let layer = ThrottleLayer::new(endpoints).learn(Learning::all().margin(false));
/// # let _ = layer;
/// ```
#[expect(
    clippy::struct_excessive_bools,
    reason = "four switches are what it is"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    pub(crate) concurrency: bool,
    pub(crate) margin: bool,
    pub(crate) rate: bool,
    pub(crate) quota_headers: bool,
}

impl Learning {
    /// Everything below: the default.
    pub const fn all() -> Self {
        Self {
            concurrency: true,
            margin: true,
            rate: true,
            quota_headers: true,
        }
    }

    /// Nothing: the quotas are what was configured. Pauses are no lesson, and stay.
    pub const fn none() -> Self {
        Self {
            concurrency: false,
            margin: false,
            rate: false,
            quota_headers: false,
        }
    }

    /// How many requests the server takes at once.
    ///
    /// From how many were in flight and were not refused, even if the refusal names a higher limit,
    /// since others may have the rest; if it names a lower one, that counts. And from
    /// `maximum-concurrent-requests` on successes, except those of requests that were sent before a
    /// refusal: they raise nothing. Never fewer than one.
    ///
    /// After two rounds of successes (a round is as many as the limit) one more is tried, and then
    /// twice as many more after each further round; after a failed try it takes twice as many rounds,
    /// up to 48, for limits that were named as well. Only successes count that came while as many
    /// were in flight as the limit allows.
    pub const fn concurrency(mut self, on: bool) -> Self {
        self.concurrency = on;
        self
    }

    /// By how much the way there can shorten the time between two requests.
    ///
    /// A refusal widens the windows by 5 % of their period (10 % if another of the same burst is
    /// refused, too), each later one doubles that, up to 25 %. After 200 successes it shrinks by 1 %; twice
    /// as many each time that it was too early. Comes on top of [`Quota::margin`](crate::Quota::margin).
    pub const fn margin(mut self, on: bool) -> Self {
        self.margin = on;
        self
    }

    /// How many requests the server takes in a time.
    ///
    /// Where no window is configured; where refusals go on with the widest margin; where half of a
    /// window of 8 or more is refused at once; and where a refusal names a limit that is tighter than
    /// the configured ones. The period is the one that the refusal names with its limit, else that of
    /// the shortest window, else the period or the delay that the refusal names, else one second: a
    /// second at least, and nothing that is longer than a minute. An overload teaches only buckets
    /// without a window, and never its delay. Never fewer than one request. It is given back like
    /// concurrency, a round being as many successes as fit into the period.
    ///
    /// Switched on, as with [`quota_headers`](Self::quota_headers), buckets without a window remember
    /// what they sent in the last minute, up to 4 096 requests of eight bytes each.
    pub const fn rate(mut self, on: bool) -> Self {
        self.rate = on;
        self
    }

    /// What quota headers on successes say is left.
    ///
    /// With nothing left, the bucket pauses until the reset, for `max_pause` at most. With a quarter of
    /// the limit left or less (or ten requests, if no limit is named), what is left is spread evenly
    /// until then, or until a later answer says that more are left.
    pub const fn quota_headers(mut self, on: bool) -> Self {
        self.quota_headers = on;
        self
    }
}

impl Default for Learning {
    fn default() -> Self {
        Self::all()
    }
}

/// For how long a lesson is kept without being confirmed (contract L11: ten minutes).
const KEPT: Span = Span(600 * SECOND);
const SECOND: u64 = 1_000_000_000;

/// The period of a learned rate if the server names none.
const DEFAULT_PERIOD: Span = Span(SECOND);

/// The first margin, in thousandths of a period; each further one is twice as wide ...
const FIRST_MARGIN: u32 = 50;
/// ... up to this, where it is no longer the way's fault.
const LARGEST_MARGIN: u32 = 250;
/// By how much a margin shrinks at a time.
const MARGIN_STEP: u32 = 10;
/// After how many successes it first does. Twice as many each time that it was too early: a margin
/// that is tried out costs a refusal, and at most one in a hundred may.
const MARGIN_TRIAL: u32 = 200;
/// How often that can double.
const MARGIN_DOUBLINGS: u32 = 6;

/// From how large a window on half of it refused is too much for an unsteady way.
const TELLING_WINDOW: u32 = 8;

/// How many clean rounds precede the first attempt at more. Twice as many after each failure ...
const FIRST_PATIENCE: u32 = 2;
/// ... up to this: a rise of the limit shall be found within 60 periods, and of limits from 2 on at
/// most one request in a hundred shall be refused for trying.
const LAST_PATIENCE: u32 = 48;

/// The first delay after a refusal by rate that names none, where the bucket knows its window, which
/// does most of the waiting; and after all others. Doubled for each further wave.
const BACKOFF_KNOWN: Span = Span(SECOND / 20);
const BACKOFF_UNKNOWN: Span = Span(SECOND / 2);
/// The longest such delay: the vendor's advice for back-off (20 s).
const BACKOFF_MAX: Span = Span(20 * SECOND);

/// How much is added at most to a delay that the server named, as a part of it and at all: its
/// clients shall not all come back in the same instant.
const JITTER_PART: f64 = 0.05;
const JITTER_MAX: Span = Span(SECOND / 4);

/// An answer said: too much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    pub(crate) retry_after: Option<Span>,
    /// The window that refused, as far as it was named.
    pub(crate) rate: Option<u32>,
    pub(crate) period: Option<Span>,
    /// The longest pause that a server can impose.
    pub(crate) ceiling: Span,
    /// A fresh random number from [0, 1).
    pub(crate) random: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    Rate,
    /// With the limit, if it was named.
    Concurrency(Option<u32>),
    Overload,
}

/// An answer said nothing of the kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) maximum_concurrency: Option<u32>,
    /// Nothing is left until then.
    pub(crate) empty_for: Option<Span>,
    /// What is left lasts until then if requests keep this distance.
    pub(crate) pace: Option<(Span, Span)>,
    /// Whether it says how many are left at all.
    pub(crate) counts: bool,
}

/// Which requests an answer is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// The number of the request that was answered.
    pub(crate) serial: u64,
    /// The number of the one that was admitted last.
    pub(crate) newest: u64,
    /// How many were dispatched within the learned (or the default) period.
    pub(crate) in_period: u32,
    /// How many are in flight, the one that was answered included; `None` if nobody counts.
    pub(crate) in_flight: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Learned {
    forgotten_at: Option<Tick>,
    pub(super) ceiling: Option<Estimate>,
    pub(super) rate: Option<(Estimate, Span)>,
    pub(super) margin: Option<Margin>,
    pace: Option<Rule>,
    /// Waves in a row without a delay named and without a success in between.
    setbacks: u32,
    /// Up to here requests belong to a wave that has been heard of ...
    wave: u64,
    /// ... and up to here to the one before.
    wave_before: u64,
}

/// A limit that is guessed: lowered by refusals, raised by trying.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    pub(super) value: u32,
    /// The server said so itself.
    pub(super) named: bool,
    /// Requests up to this number belong to the wave that set the value.
    wave: u64,
    /// How many of that wave have not been refused.
    accepted: u32,
    /// Only the answers to later requests tell about the present value.
    since: u64,
    successes: u32,
    /// How many rounds of successes it takes until more is tried.
    patience: u32,
    failures: u32,
    /// By how much it was last raised; 0 since the last wave.
    raise: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Margin {
    /// In thousandths of the period.
    pub(super) width: u32,
    /// The width that was last enough.
    enough: u32,
    /// Only requests sent after the last raise tell whether it was enough.
    since: u64,
    /// Refusals of this wave.
    refused: u32,
    successes: u32,
    failures: u32,
}

impl Estimate {
    /// Of a wave of `sent` requests one has been refused, and perhaps the limit named.
    fn new(sent: u32, named: Option<u32>, wave: u64) -> Self {
        let mut estimate = Self {
            value: u32::MAX,
            named: false,
            wave,
            accepted: sent,
            since: wave,
            successes: 0,
            patience: FIRST_PATIENCE,
            failures: 0,
            raise: 0,
        };
        estimate.refused_one(named);
        estimate
    }

    /// As a success named it, before any refusal.
    fn named(value: u32) -> Self {
        Self {
            value,
            named: true,
            ..Self::new(0, None, 0)
        }
    }

    /// What was accepted of a wave is what was sent without what was refused. That is known only
    /// once all its answers are there, in whatever order they come; until then it counts down. It
    /// can be less than the limit that is named: strangers may have the rest.
    fn refused(&mut self, sent: Sent, believed: u32, named: Option<u32>) {
        if sent.serial > self.wave {
            let failures = self.failures + u32::from(self.raise > 0);
            *self = Self {
                failures,
                patience: LAST_PATIENCE.min(FIRST_PATIENCE << failures.min(LAST_PATIENCE.ilog2())),
                ..Self::new(believed.min(self.value), named, sent.newest)
            };
        } else {
            self.refused_one(named);
        }
    }

    fn refused_one(&mut self, named: Option<u32>) {
        self.accepted = self.accepted.saturating_sub(1);
        let named = named.unwrap_or(u32::MAX);
        self.named = named <= self.accepted;
        self.value = self.accepted.min(named).max(1);
    }

    /// A round of successes is as many as the value. After enough rounds it is raised by one, then
    /// by twice as much after each round that was clean too. Only those count that were sent while
    /// the limit was `in_use`: the others would have succeeded under any.
    fn succeeded(&mut self, sent: Sent, in_use: u32) {
        if sent.serial <= self.since || in_use < self.value {
            return;
        }
        self.successes += 1;
        if self.successes < self.value.saturating_mul(self.patience) {
            return;
        }
        if self.raise > 0 {
            // The last raise has held: the limit is somewhere else than it was.
            self.failures = 0;
        }
        self.raise = self.raise.saturating_mul(2).max(1);
        self.value = self.value.saturating_add(self.raise);
        self.named = false;
        self.successes = 0;
        self.patience = 1;
        self.since = sent.newest;
    }
}

impl Learned {
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
            // Where nothing else would pace those who come back, they come back slowly.
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
        let margin = self.margin.get_or_insert(Margin {
            width: 0,
            enough: 0,
            since: 0,
            refused: 0,
            successes: 0,
            failures: 0,
        });
        margin.successes = 0;
        if margin.width > 0 && sent.serial <= margin.since {
            margin.refused += 1;
            if margin.refused == 2 && margin.width == FIRST_MARGIN {
                // Two of one wave: whatever it is, it is more than the first guess, and the next
                // wave need not be spent on finding that out.
                margin.width = 2 * FIRST_MARGIN;
                margin.enough = margin.width;
            }
            return true;
        }
        if margin.width >= LARGEST_MARGIN {
            return false;
        }
        if margin.width < margin.enough {
            // It was shrunk too far.
            margin.width = margin.enough;
            margin.failures = (margin.failures + 1).min(MARGIN_DOUBLINGS);
        } else {
            margin.width = (2 * margin.width).clamp(FIRST_MARGIN, LARGEST_MARGIN);
            margin.enough = margin.width;
        }
        margin.since = sent.newest;
        margin.refused = 1;
        true
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

impl Learned {
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

impl Report {
    /// Without asking for a longer pause than this.
    pub(crate) fn at_most(self, ceiling: Span) -> Self {
        Self {
            empty_for: self.empty_for.map(|span| span.min(ceiling)),
            pace: self
                .pace
                .map(|(spacing, until)| (spacing.min(ceiling), until)),
            ..self
        }
    }

    /// Without what the bucket does not learn.
    pub(super) fn learned_by(self, learning: Learning) -> Self {
        Self {
            maximum_concurrency: self.maximum_concurrency.filter(|_| learning.concurrency),
            empty_for: self.empty_for.filter(|_| learning.quota_headers),
            pace: self.pace.filter(|_| learning.quota_headers),
            counts: self.counts && learning.quota_headers,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.maximum_concurrency.is_none() && self.empty_for.is_none() && self.pace.is_none()
    }

    /// Whether it says anything that a bucket without lessons would want to keep.
    pub(super) fn is_news(&self, rules: &Rules) -> bool {
        let narrower = |maximum: u32| {
            rules
                .concurrency()
                .is_none_or(|limit| (maximum as usize) < limit)
        };
        self.maximum_concurrency.is_some_and(narrower)
            || self.empty_for.is_some()
            || self.pace.is_some()
    }
}

impl Margin {
    fn succeeded(&mut self, sent: Sent) {
        if sent.serial <= self.since {
            return;
        }
        self.successes += 1;
        if self.successes >= MARGIN_TRIAL << self.failures {
            self.width = self.width.saturating_sub(MARGIN_STEP);
            self.since = sent.newest;
            self.successes = 0;
        }
    }
}

impl Refusal {
    /// Whether those who enforce this can do anything about it. Too many at once is for those who count
    /// how many there are, unless the server asks for a pause.
    pub(crate) fn concerns(&self, face: Face) -> bool {
        let counted = matches!(self.kind, RefusalKind::Concurrency(_));
        face.permits || !counted || self.retry_after.is_some()
    }

    /// Until when the server asked to be left alone; `NONE` if that is no news.
    pub(super) fn asked_until(&self, paused_until: Tick, now: Tick) -> Tick {
        let asked = self.retry_after.unwrap_or(Span::ZERO).min(self.ceiling);
        let until = now.after(asked);
        // The pause of a wave has its jitter from its first refusal. Drawing again for each would
        // make the longest of them near certain.
        if until <= paused_until {
            return Tick::NONE;
        }
        until.after(asked.part(JITTER_PART * self.random).min(JITTER_MAX))
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

//! What answers say, in a bucket's terms.

use crate::bucket::{
    log::Log,
    rules::{Enforced, Rule, Rules},
    tick::{RECENT, SECOND, Span, Tick},
};

/// For how long a lesson is kept without being confirmed (law L11: ten minutes).
pub(super) const KEPT: Span = Span(600 * SECOND);

/// The period of a learned rate if the server names none.
pub(super) const DEFAULT_PERIOD: Span = Span(SECOND);

/// How much is added at most to a delay that the server named, as a part of it and at all: its
/// clients shall not all come back in the same instant.
const JITTER_PART: f64 = 0.05;
const JITTER_MAX: Span = Span(SECOND / 4);

/// The requests of a wave are sent within this part of the time that their answers take.
const PARTS: u64 = 16;

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
    /// Too much of something that is not counted in requests.
    OtherUnit,
}

/// An answer said nothing of the kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) maximum_concurrency: Option<u32>,
    /// Nothing is left until then.
    pub(crate) empty_for: Option<Span>,
    /// When something will be left again, however long that is; `None` where a little comes back all the
    /// time.
    pub(crate) resets_in: Option<Span>,
    /// What is left lasts until then if requests keep this distance.
    pub(crate) pace: Option<(Span, Span)>,
    /// How many are left, and how many wait for them.
    pub(crate) left: u32,
    pub(crate) waiting: u32,
    /// Whether it says how many are left at all.
    pub(crate) counts: bool,
}

/// Which request an answer is about, and what else was sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::bucket) struct Sent<'a> {
    /// The number of the request that was answered.
    pub(in crate::bucket) serial: u64,
    /// The number of the one that was admitted last.
    pub(in crate::bucket) newest: u64,
    /// How many are in flight, the one that was answered included; `None` if nobody counts.
    pub(in crate::bucket) in_flight: Option<u32>,
    pub(in crate::bucket) log: &'a Log,
    pub(in crate::bucket) now: Tick,
    /// Where discovery looks for a limit: when the oldest of those in flight was dispatched.
    pub(in crate::bucket) oldest: Option<Tick>,
}

impl Sent<'_> {
    /// How many were dispatched within a period: up to now, or when the answered request was, if that is known. A
    /// request that has a place and has not gone out is called back by the pause that follows a refusal, and is no
    /// part of it.
    pub(super) fn in_period(&self, period: Span) -> u32 {
        let until_now = self.log.count_after(self.now.before(period)) - self.log.places();
        let when_sent = self.oldest.map_or(0, |oldest| self.around(oldest, period));
        until_now.max(when_sent)
    }

    /// How many were dispatched in a period that holds `oldest`: one that begins with it, or one that ends with
    /// its wave.
    fn around(&self, oldest: Tick, period: Span) -> u32 {
        let dispatched = |from: Tick, to: Tick| {
            let before = from.before(Span(1));
            self.log.count_after(before) - self.log.count_after(to.before(Span(1)).max(before))
        };
        let from_it = dispatched(oldest, oldest.after(period).min(self.now));
        let ago = self.now.0.saturating_sub(oldest.0);
        let end = oldest.after(Span(ago / PARTS));
        from_it.max(dispatched(end.before(period), end))
    }

    /// Whether at least half of a window was used when an answer's request went out.
    pub(super) fn half_uses(&self, rule: &Rule) -> bool {
        self.in_use(rule.span).saturating_mul(2) > rule.n
    }

    /// How much of a window was used when an answer's request went out: the answer comes a little later.
    pub(super) fn in_use(&self, period: Span) -> u32 {
        let period = period.plus(Span(period.0 / 4));
        self.log.count_after(self.now.before(period))
    }
}

impl Refusal {
    /// Whether it says no more than that it was too much.
    pub(super) fn is_plain(&self) -> bool {
        let kind = matches!(self.kind, RefusalKind::Rate | RefusalKind::Overload);
        kind && self.retry_after.is_none() && self.rate.is_none() && self.period.is_none()
    }

    /// Whether it may be about a rate as well as about what is in flight. Many servers name a delay with either; but
    /// a try after a delay is dear, and only discovery knows well what was in flight.
    pub(super) fn is_undecided(&self, rules: &Rules) -> bool {
        let undelayed = Self {
            retry_after: self.retry_after.filter(|_| !rules.learning().discover),
            ..*self
        };
        undelayed.is_plain()
    }

    /// The limit of a window that was named with its period, if a client can keep to it: it has to remember
    /// what it sent.
    pub(super) fn named_rate(&self) -> Option<u32> {
        self.rate
            .filter(|_| self.period.is_some_and(|period| period <= RECENT))
    }

    /// Whether a layer that enforces this can do anything about it. Too many at once is for layers that count
    /// how many there are, unless the server asks for a pause.
    pub(crate) fn concerns(&self, face: Enforced) -> bool {
        let counted = matches!(self.kind, RefusalKind::Concurrency(_));
        face.permits || !counted || self.retry_after.is_some()
    }

    /// How long the server asked to be left alone, and jitter.
    pub(super) fn asked(&self) -> Option<Span> {
        let asked = self.retry_after?.min(self.ceiling);
        Some(asked.plus(self.jitter(asked)))
    }

    fn jitter(&self, asked: Span) -> Span {
        asked.part(JITTER_PART * self.random).min(JITTER_MAX)
    }

    /// Until when the server asked to be left alone; `NONE` if that is no news.
    pub(in crate::bucket) fn asked_until(&self, paused_until: Tick, now: Tick) -> Tick {
        let asked = self.retry_after.unwrap_or(Span::ZERO).min(self.ceiling);
        let until = now.after(asked);
        // The pause of a wave has its jitter from its first refusal. Drawing again for each would
        // make the longest of them near certain.
        if until <= paused_until {
            return Tick::NONE;
        }
        // After a longer time than any pause, one probe goes, and not a crowd.
        if self.closes() {
            return until;
        }
        until.after(self.jitter(asked))
    }
}

impl Report {
    /// Without asking for a longer pause than this, and without a pace that goes on for longer.
    pub(crate) fn at_most(self, ceiling: Span) -> Self {
        Self {
            empty_for: self.empty_for.map(|span| span.min(ceiling)),
            pace: self.pace.filter(|(_, until)| *until <= ceiling),
            ..self
        }
    }

    /// Without what the bucket does not learn, and without a pace if it has no log to keep it by.
    pub(crate) fn learned_by(self, rules: &Rules) -> Self {
        let learning = rules.learning();
        Self {
            maximum_concurrency: self.maximum_concurrency.filter(|_| learning.concurrency),
            empty_for: self.empty_for.filter(|_| learning.quota_headers),
            pace: (self.pace).filter(|_| learning.quota_headers && rules.keeps_log()),
            counts: self.counts && learning.quota_headers,
            ..self
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.maximum_concurrency.is_none() && self.empty_for.is_none() && self.pace.is_none()
    }

    /// Whether it says anything that a bucket without lessons would want to keep.
    pub(crate) fn is_news(&self, rules: &Rules) -> bool {
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

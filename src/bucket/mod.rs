//! One bucket's state and decisions: its window, its permits, its pause.
//!
//! Pure: time is a parameter, and an answer is a decision. No clock, no lock, no waker.

mod learned;
mod log;
mod rules;
mod tick;

pub use self::learned::Learning;
pub(crate) use self::{
    learned::{Refusal, RefusalKind, Report},
    rules::{Face, Rules},
    tick::{Span, Tick},
};

use self::{
    learned::{Learned, Sent},
    log::Log,
    rules::Rule,
};

/// For how long stamps are kept only because they are recent: a rate per minute can be learned.
const RECENT: Span = Span(60_000_000_000);

/// Whether a bucket admits one more request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Closed until then, if nothing else happens before.
    Until(Tick),
    /// Closed until something is given back, stamped or changed; no time can be named.
    Closed,
}

/// What one bucket has admitted and not yet forgotten.
///
/// A request goes through it in three steps. [`take_place`](Self::take_place) and
/// [`take_permit`](Self::take_permit) when it is admitted: it has a *place* in the windows and a
/// *permit*. [`stamp`](Self::stamp) when the inner service has been called: the place becomes a stamp.
/// [`release_permit`](Self::release_permit) when the work has ended. If it is never dispatched,
/// [`give_back_place`](Self::give_back_place) and `release_permit` undo the first step without trace.
#[derive(Debug)]
pub(crate) struct Bucket {
    log: Log,
    in_flight: u32,
    paused_until: Tick,
    learned: Option<Box<Learned>>,
}

/// What a bucket has learned, as a snapshot shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lessons {
    /// A limit, and whether the server named it.
    pub(crate) concurrency: Option<(usize, bool)>,
    /// A limit, its period, and whether the server named it.
    pub(crate) rate: Option<(u32, Span, bool)>,
    /// In thousandths of the period.
    pub(crate) margin: Option<u32>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            log: Log::default(),
            in_flight: 0,
            paused_until: Tick::NONE,
            learned: None,
        }
    }
}

impl Bucket {
    #[inline]
    pub(crate) fn gate(&self, rules: &Rules, now: Tick) -> Gate {
        if self.learned.is_some() {
            return self.gate_of(self.concurrency(rules), self.windows(rules, now), now);
        }
        let windows = rules.windows().iter().copied();
        self.gate_of(rules.concurrency(), windows, now)
    }

    #[inline]
    fn gate_of(
        &self,
        concurrency: Option<usize>,
        windows: impl Iterator<Item = Rule>,
        now: Tick,
    ) -> Gate {
        if concurrency.is_some_and(|limit| self.in_flight as usize >= limit) {
            return Gate::Closed;
        }
        let mut opens = self.paused_until;
        for rule in windows {
            match self.log.gate(rule) {
                Gate::Open => {}
                Gate::Until(tick) => opens = opens.max(tick),
                Gate::Closed => return Gate::Closed,
            }
        }
        if opens <= now {
            Gate::Open
        } else {
            Gate::Until(opens)
        }
    }

    /// How many may be in flight, as configured and narrowed by what was learned.
    pub(crate) fn concurrency(&self, rules: &Rules) -> Option<usize> {
        let learned = self.learned.as_ref().and_then(|learned| learned.ceiling());
        match (rules.concurrency(), learned) {
            (Some(configured), Some(learned)) => Some(configured.min(learned)),
            (configured, learned) => configured.or(learned),
        }
    }

    fn windows<'a>(&'a self, rules: &'a Rules, now: Tick) -> impl Iterator<Item = Rule> + 'a {
        let learned = self.learned.as_deref();
        let configured = rules.windows().iter().map(move |&rule| match learned {
            Some(learned) => learned.widened(rule),
            None => rule,
        });
        configured.chain(
            learned
                .into_iter()
                .flat_map(move |learned| learned.windows(now)),
        )
    }

    /// Takes a place in the windows; [`stamp`](Self::stamp) or
    /// [`give_back_place`](Self::give_back_place) ends it.
    pub(crate) fn take_place(&mut self) {
        self.log.take();
    }

    pub(crate) fn give_back_place(&mut self) {
        self.log.give_back();
    }

    /// The request with a place has gone out, at `now` or a little before.
    pub(crate) fn stamp(&mut self, rules: &Rules, now: Tick) {
        if !rules.keeps_log() {
            return self.log.give_back();
        }
        let learned = self.learned.as_ref().map_or(0, |learned| learned.depth());
        // Those who may have to learn a window from nothing need to know what they have sent.
        let recent = if rules.windows().is_empty() {
            now.before(RECENT)
        } else {
            now
        };
        self.log.stamp(now, rules.depth().max(learned), recent);
    }

    pub(crate) fn take_permit(&mut self) {
        self.in_flight += 1;
    }

    pub(crate) fn release_permit(&mut self) {
        debug_assert!(self.in_flight > 0, "a permit is released once");
        self.in_flight -= 1;
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// Closes the bucket until `until`; a pause that ends later already stays.
    pub(crate) fn pause(&mut self, until: Tick) {
        self.paused_until = self.paused_until.max(until);
    }

    pub(crate) fn resume(&mut self) {
        self.paused_until = Tick::NONE;
    }

    pub(crate) fn paused_until(&self) -> Tick {
        self.paused_until
    }

    /// When the request that `rank` others precede can go out at the earliest, if none can before
    /// `start`, which is not before `now`.
    ///
    /// Permits count as free: nobody knows when work ends.
    pub(crate) fn slot(&self, rules: &Rules, rank: usize, now: Tick, start: Tick) -> Tick {
        let start = self.paused_until.max(start);
        let mut windows = self.windows(rules, now);
        let (Some(first), Some(second)) = (windows.next(), windows.next()) else {
            let mut windows = self.windows(rules, now);
            return windows
                .next()
                .map_or(start, |rule| self.log.slot(rule, rank, now, start));
        };
        let all: Vec<_> = [first, second].into_iter().chain(windows).collect();
        self.log.joint_slot(&all, rank, now, start)
    }

    /// The answer to the request numbered `serial` was a refusal, while `newest` was the last one
    /// admitted.
    pub(crate) fn refused(
        &mut self,
        refusal: &Refusal,
        face: Face,
        rules: &Rules,
        (serial, newest): (u64, u64),
        now: Tick,
    ) {
        let in_flight = face.permits.then_some(self.in_flight);
        let learned = self.learned.get_or_insert_default();
        let period = learned
            .period()
            .unwrap_or_else(|| learned::default_period(refusal, rules));
        let sent = Sent {
            serial,
            newest,
            in_period: self.log.count_after(now.before(period)),
            in_flight,
        };
        let until = learned.refused(refusal, sent, rules, self.paused_until, now);
        self.pause(until);
    }

    /// The answer to the request numbered `serial` was no refusal.
    pub(crate) fn succeeded(
        &mut self,
        report: &Report,
        rules: &Rules,
        (serial, newest): (u64, u64),
        now: Tick,
    ) {
        let report = &report.learned_by(rules.learning());
        if self.learned.is_none() && !report.is_news(rules) {
            return;
        }
        let learned = self.learned.get_or_insert_default();
        let sent = Sent {
            serial,
            newest,
            in_period: 0,
            in_flight: None,
        };
        let until = learned.succeeded(report, sent, rules, now);
        if learned.is_forgotten(now) {
            self.learned = None;
        }
        self.pause(until);
    }

    pub(crate) fn has_learned(&self) -> bool {
        self.learned.is_some()
    }

    pub(crate) fn lessons(&self) -> Lessons {
        self.learned
            .as_ref()
            .map_or_else(Lessons::default, |learned| learned.lessons())
    }

    /// Whether a new bucket would decide exactly as this one from now on.
    pub(crate) fn is_quiet(&self, longest: Span, now: Tick) -> bool {
        self.in_flight == 0
            && self.paused_until <= now
            && self.log.is_quiet(longest, now)
            && self
                .learned
                .as_ref()
                .is_none_or(|learned| learned.is_forgotten(now))
    }

    /// Whether no request has a place or a permit here.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.log.places() == 0
    }
}

#[cfg(test)]
mod tests;

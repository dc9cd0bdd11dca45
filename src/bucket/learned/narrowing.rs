//! [`Narrowing`]: all that one bucket has learned.

use super::{
    answers::{Answers, Setback},
    backoff::Backoff,
    closure::Closure,
    concurrency::Concurrency,
    doubt::Doubt,
    lesson::{Lesson, Limit},
    margin::Margin,
    news::{DEFAULT_PERIOD, KEPT, Refusal, RefusalKind, Report, Sent},
    pace::{Pace, Stop},
    ramp::Ramp,
    rate::Rate,
    slow_start::SlowStart,
    suspects::Suspects,
};
use crate::bucket::{
    lessons::Lessons,
    log::Log,
    rules::{Rule, Rules},
    tick::{Span, Tick},
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Narrowing {
    pub(super) forgotten_at: Option<Tick>,
    pub(super) answers: Answers,
    pub(super) backoff: Backoff,
    pub(super) doubt: Doubt,
    pub(super) concurrency: Concurrency,
    pub(super) rate: Rate,
    pub(super) margin: Margin,
    pub(super) pace: Pace,
    /// Which of rate and concurrency explains what is refused, while that is open.
    pub(super) suspects: Option<Suspects>,
    pub(super) ramp: Option<Ramp>,
    pub(in crate::bucket) closure: Option<Closure>,
    pub(super) slow_start: Option<SlowStart>,
}

impl Narrowing {
    /// Of a bucket that was answered so many times, and never refused.
    pub(in crate::bucket) fn after(answered: u64) -> Self {
        Self {
            answers: Answers::all_accepted(answered),
            ..Self::default()
        }
    }

    fn lessons_mut(&mut self) -> [&mut dyn Lesson; 4] {
        [
            &mut self.margin,
            &mut self.rate,
            &mut self.concurrency,
            &mut self.pace,
        ]
    }

    /// Tells whether a refusal is its request's own trouble: then it is not to be heard of otherwise.
    pub(in crate::bucket) fn judge(
        &mut self,
        refusal: &Refusal,
        earlier: Option<&Setback>,
        sent: &Sent<'_>,
        rules: &Rules,
    ) -> Setback {
        self.forgotten_at = Some(sent.now.after(KEPT));
        let half_used = |rule: &Rule| sent.half_uses(rule);
        let explained = rules.windows().iter().any(half_used)
            || self.suspects.is_some()
            || self.concurrency.is_tried()
            || self.rate.is_tried(sent)
            || self.pace.explains(sent);
        let setback = self.answers.refused(refusal, earlier, explained, sent);
        if setback.own_wait(refusal).is_some() {
            self.backoff.refused_alone(sent.now);
            if rules.learning().is_wary() {
                self.contradict(sent);
            }
        }
        setback
    }

    pub(in crate::bucket) fn only_refuses(&self, earlier: &Setback) -> bool {
        self.answers.only_refuses(earlier, true)
    }

    /// Takes in a refusal. Returns until when the bucket is to be paused, if it is.
    pub(in crate::bucket) fn refused(
        &mut self,
        refusal: &Refusal,
        sent: &Sent<'_>,
        rules: &Rules,
        paused_until: Tick,
    ) -> Tick {
        self.forgotten_at = Some(sent.now.after(KEPT));
        if rules.learning().discover {
            self.slow_start_mut().refused(sent);
        }
        let new_wave = self.backoff.refused(refusal, sent);
        if let Some(slow_start) = self.slow_start.filter(|_| rules.learning().discover) {
            self.backoff.ends_with(slow_start.round());
        }
        if new_wave {
            self.doubt.next_wave();
            if self.ramp.is_some_and(|ramp| ramp.is_refuted(sent)) {
                self.doubt.refuted();
            }
        }
        if matches!(refusal.kind, RefusalKind::Rate | RefusalKind::Overload) {
            self.pace.refused(refusal, sent, rules);
        }
        match refusal.kind {
            RefusalKind::Concurrency(_) => self.too_many(refusal, sent, rules),
            RefusalKind::Rate => self.too_fast(refusal, sent, rules),
            // Without windows nothing else would pace the requests that come back: a learned rate does.
            RefusalKind::Overload if rules.windows().is_empty() => {
                self.too_fast(refusal, sent, rules);
            }
            RefusalKind::Overload | RefusalKind::OtherUnit => {}
        }
        self.slow_down();
        let closure = Closure::of(refusal, sent);
        self.closure = closure.or(self.closure);
        let until = self.pause(refusal, rules, new_wave, paused_until, sent.now);
        self.rise_after(until.max(paused_until), refusal, sent, rules);
        until
    }

    /// Where no limit is known, waiting requests come back one after the other.
    fn rise_after(&mut self, until: Tick, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        let is_known = !rules.windows().is_empty()
            || self.rate.is_learned()
            || self.concurrency.is_learned()
            || self.doubt.skips();
        let matters = matches!(refusal.kind, RefusalKind::Rate | RefusalKind::Overload);
        if is_known || !matters || !rules.learning().rate {
            self.ramp = None;
        } else if until > sent.now {
            let accepted = self.accepted_within(DEFAULT_PERIOD, sent);
            // The first refusal of a pause knows how long it is, and the last how much was accepted.
            self.ramp = Some(match self.ramp {
                Some(ramp) if ramp.is_later_than(until) => ramp.with_first(accepted),
                _ => Ramp::new(sent.now, until, accepted),
            });
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
            // One of our own completions says more than any clock. Where nothing is in flight,
            // the gate is open, and the bucket sees to that.
            RefusalKind::Concurrency(_) => Tick::NONE,
            _ if !new_wave => Tick::NONE,
            _ => now.after(self.backoff(refusal, rules)),
        }
    }

    /// How long to back off where no delay was named.
    pub(in crate::bucket) fn backoff(&self, refusal: &Refusal, rules: &Rules) -> Span {
        // What this very wave suggests is not known yet.
        let is_doubtful = rules.learning().is_wary() && self.rate.is_first_of(self.backoff.wave());
        let is_learned = self.rate.is_learned() && !is_doubtful || self.concurrency.is_learned();
        let known = is_learned || !rules.windows().is_empty();
        self.backoff.delay(refusal, known)
    }

    /// Takes in an answer that was no refusal. Returns until when the bucket is to be paused.
    pub(in crate::bucket) fn accepted(
        &mut self,
        report: &Report,
        sent: &Sent<'_>,
        rules: &Rules,
    ) -> Tick {
        self.closure
            .take_if(|closure| closure.is_ended_by(sent.serial));
        self.answers.accepted(sent.serial);
        self.backoff.accepted(sent);
        if self.backoff.is_mixed() && self.rate.is_first_of(self.backoff.wave()) {
            self.rate = Rate::default();
            self.suspects = None;
            if self.doubt.is_mixed_again() && rules.learning().is_wary() {
                self.refuted();
            } else {
                self.doubt.skip();
            }
        }
        for lesson in self.lessons_mut() {
            lesson.accepted(report, sent, rules);
        }
        // The answer may complete a wave that was refused all the same.
        if rules.learning().is_wary() && self.rate.is_refuted(self.doubt.has_erred()) {
            self.drop_rate();
        }
        if let Some(suspects) = &mut self.suspects {
            if !self.rate.is_learned() {
                self.suspects = None;
            } else if let Some(culprit) = suspects.accepted(sent) {
                self.solve(culprit, sent, false);
            } else if self.rate.is_due() && !suspects.is_probing() {
                suspects.probe(sent);
            }
        }
        if rules.learning().discover {
            let is_aside = self.knows_limit();
            if self.backoff.is_mixed() {
                self.slow_start_mut().forgive();
            }
            self.slow_start_mut().accepted(sent, is_aside);
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
            .filter(|_| self.pace.is_kept())
            .map_or(Tick::NONE, |span| sent.now.after(span))
    }

    /// Quota headers say that nothing is left, and whether that is so is being tested.
    pub(in crate::bucket) fn stop(&self) -> Option<&Stop> {
        self.pace.stopped()
    }

    /// Ends what the server has closed, and what quota headers stop.
    pub(in crate::bucket) fn resume(&mut self) {
        self.closure = None;
        self.pace.resume();
    }

    /// Whether one more may go than a learned rate allows.
    pub(in crate::bucket) fn lets_through(&self, log: &Log, in_flight: u32, now: Tick) -> bool {
        let suspects = self.suspects.as_ref();
        suspects.is_some_and(|suspects| suspects.lets_through(log, in_flight, now))
    }

    /// Whether more may go than a learned rate allows, if enough of what is in flight ends.
    pub(in crate::bucket) fn may_let_through(&self) -> bool {
        self.suspects.as_ref().is_some_and(Suspects::is_probing)
    }

    pub(in crate::bucket) fn ceiling(&self) -> Option<usize> {
        self.concurrency.learned().map(|(limit, _)| limit as usize)
    }

    /// The windows that a bucket keeps for what it has learned, besides those that are configured: with that
    /// of a rate, or without.
    pub(in crate::bucket) fn windows(
        &self,
        with_rate: bool,
        now: Tick,
    ) -> impl Iterator<Item = Rule> + '_ {
        let window = |limit| match limit {
            Some(Limit::Window(rule)) => Some(rule),
            _ => None,
        };
        let rate = window(self.rate.limit(now))
            .filter(|_| with_rate)
            .map(|rule| self.widened(rule));
        let pace = window(self.pace.limit(now));
        let ramp = self.ramp.and_then(|ramp| ramp.window(now));
        rate.into_iter().chain(pace).chain(ramp)
    }

    /// A window with the learned margin.
    pub(in crate::bucket) fn widened(&self, rule: Rule) -> Rule {
        let margin = self.margin.learned().unwrap_or(0);
        Rule {
            span: rule.span.plus(rule.period.thousandths(margin)),
            ..rule
        }
    }

    /// How many stamps the learned windows count.
    pub(in crate::bucket) fn depth(&self) -> usize {
        self.rate.most().max(self.pace.most()) as usize
    }

    pub(in crate::bucket) fn forgotten_at(&self) -> Tick {
        self.forgotten_at.unwrap_or(Tick::NONE)
    }

    pub(in crate::bucket) fn is_forgotten(&self, now: Tick) -> bool {
        self.forgotten_at() <= now
    }

    /// Whether nothing of it matters any more.
    pub(in crate::bucket) fn is_over(&self, now: Tick) -> bool {
        self.is_forgotten(now)
            && self.closure.is_none_or(|closure| closure.until() <= now)
            && self.slow_start.is_none_or(|it| it.is_over(now))
    }

    pub(in crate::bucket) fn lessons(&self, now: Tick) -> Lessons {
        Lessons {
            concurrency: (self.concurrency.learned()).map(|(limit, named)| (limit as usize, named)),
            rate: self.rate.learned(),
            margin: self.margin.learned(),
            pace: self.pace.learned(now),
        }
    }
}

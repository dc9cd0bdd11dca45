//! What a server's answers have taught about one bucket.
//!
//! Each lesson only ever narrows what was configured, and is given back step by step while all goes
//! well. Refusals come in waves: many requests are on their way when the first of them is refused. A
//! wave is one piece of news, so requests are numbered as they are admitted, and whatever was on its
//! way before the news arrived belongs to it.

mod answers;
mod backoff;
mod closure;
mod concurrency;
mod doubt;
mod estimate;
pub(super) mod learning;
mod lesson;
mod margin;
mod news;
mod pace;
mod ramp;
mod rate;
mod slow_start;
mod suspects;

pub use self::learning::Learning;
pub(crate) use self::{
    answers::Setback,
    news::{Refusal, RefusalKind, Report},
};
pub(in crate::bucket) use self::{closure::Closure, news::Sent, pace::Stop, slow_start::SlowStart};

use self::{
    answers::Answers,
    backoff::Backoff,
    concurrency::Concurrency,
    doubt::Doubt,
    estimate::Estimate,
    lesson::{Lesson, Limit},
    margin::Margin,
    news::KEPT,
    pace::Pace,
    ramp::Ramp,
    rate::Rate,
    suspects::{Culprit, Suspects},
};
use super::{
    lessons::Lessons,
    log::Log,
    rules::{AT_FIRST, Rule, Rules},
    tick::{RECENT, SECOND, Span, Tick},
};

/// The period of a learned rate if the server names none.
const DEFAULT_PERIOD: Span = Span(SECOND);

/// From how large a window on half of it refused is too much for an unsteady way; and of so many requests
/// what was accepted tells a rate. A bucket that has sent fewer has nothing worth remembering.
pub(crate) const TELLING: u32 = 8;

/// If fewer were accepted where a lesson was wrong before, that may be chance.
const FEWEST: u32 = 3;

#[derive(Clone, Debug, Default)]
pub(crate) struct Narrowing {
    forgotten_at: Option<Tick>,
    answers: Answers,
    backoff: Backoff,
    doubt: Doubt,
    concurrency: Concurrency,
    rate: Rate,
    margin: Margin,
    pace: Pace,
    /// Which of rate and concurrency explains what is refused, while that is open.
    suspects: Option<Suspects>,
    ramp: Option<Ramp>,
    pub(super) closure: Option<Closure>,
    slow_start: Option<SlowStart>,
}

impl Narrowing {
    /// Of a bucket that was answered so many times, and never refused.
    pub(super) fn after(answered: u64) -> Self {
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
    pub(super) fn judge(
        &mut self,
        refusal: &Refusal,
        earlier: Option<&Setback>,
        sent: &Sent<'_>,
        rules: &Rules,
    ) -> Setback {
        self.forgotten_at = Some(sent.now.after(KEPT));
        let half_used = |rule: &Rule| is_half_used(rule, sent);
        let explained = rules.windows().iter().any(half_used)
            || self.suspects.is_some()
            || self.concurrency.is_tried()
            || self.rate.is_tried(sent)
            || self.pace.explains(sent);
        let setback = self.answers.refused(refusal, earlier, explained, sent);
        if setback.own_wait(refusal).is_some() {
            self.backoff.refused_alone(sent.now);
            if is_wary(rules) {
                self.contradict(sent);
            }
        }
        setback
    }

    /// A refusal has nothing to do with any limit: lessons that came from few of its kind do not hold.
    fn contradict(&mut self, sent: &Sent<'_>) {
        let has_erred = self.doubt.has_erred();
        let holds = self.concurrency.doubt(sent, has_erred);
        self.rate.contradict(sent);
        if self.rate.is_refuted(has_erred) {
            self.drop_rate();
        } else if !holds {
            self.refuted();
        }
    }

    /// A learned rate does not explain what is refused.
    fn drop_rate(&mut self) {
        self.rate = Rate::default();
        self.margin = Margin::default();
        self.suspects = None;
        self.refuted();
    }

    pub(super) fn only_refuses(&self, earlier: &Setback) -> bool {
        self.answers.only_refuses(earlier, true)
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

    /// The refusal says that there were too many at once.
    fn too_many(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        if !self.concurrency.doubt_one(sent) {
            self.refuted();
        } else if !self.doubt.skips() || self.concurrency.is_learned() {
            self.concurrency.refused(refusal, sent, rules);
        }
    }

    /// Finds the lesson that explains a refusal.
    fn too_fast(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        if self.is_named(refusal, sent, rules) || self.is_of_wave(refusal, sent, rules) {
            return;
        }
        if self.doubt.skips() || self.is_tried(refusal, sent, rules) || self.is_solved(sent) {
            return;
        }
        let has_erred = self.doubt.has_erred() && is_wary(rules);
        if self.concurrency.is_learned() && !self.concurrency.doubt(sent, has_erred) {
            return self.refuted();
        }
        if self.rate.is_learned() {
            if !self.rate.doubt(sent, has_erred) {
                let may_fall = self.rate.may_fall() && !is_wary(rules);
                let (n, period, _) = self.rate.learned().unwrap_or((0, DEFAULT_PERIOD, false));
                let accepted = self.accepted_within(period, sent);
                if !may_fall || accepted < FEWEST || accepted >= n {
                    return self.drop_rate();
                }
                // It may be less than it seemed: once that is believed.
                self.margin = Margin::default();
                self.suspects = None;
                self.rate.begin(accepted + 1, None, period, sent);
                self.rate.fall();
                return;
            }
            if self.rate.excludes_jitter() || !self.is_unsteady(refusal, sent, rules) {
                self.rate.refused(refusal, sent, rules);
                self.margin = Margin::default();
            }
            return;
        }
        match tightest(rules) {
            Some(rule) if is_half_used(rule, sent) || in_flight(refusal, sent, rules).is_none() => {
                self.too_much_of(rule, refusal, sent, rules);
            }
            _ => self.suspect(refusal, sent, rules),
        }
    }

    /// What was learned does not explain what is refused. Few were sent under it, so that their refusals tell no
    /// more than one.
    fn refuted(&mut self) {
        self.doubt.refuted();
        self.backoff.restart();
    }

    /// Whether the refusal names its limit.
    fn is_named(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> bool {
        let Some(named) = refusal.named_rate() else {
            return false;
        };
        let period = period(refusal, sent, rules);
        let mut windows = rules.windows().iter();
        let is_tighter = windows.all(|rule| named < rule.n || period > rule.period);
        if self.rate.is_learned() {
            self.rate.refused(refusal, sent, rules);
        } else if is_tighter && rules.learning().rate {
            let n = sent.in_period(period);
            self.rate.begin(n, Some(named), period, sent);
        } else {
            return false;
        }
        self.suspects = None;
        self.rate.hold(false);
        true
    }

    /// Whether the refusal belongs to the wave of which something was learned already.
    fn is_of_wave(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> bool {
        if let Some(suspects) = &mut self.suspects {
            if suspects.refused_one(sent) && !self.rate.is_set_by(sent) {
                return true;
            }
        }
        if self.rate.is_set_by(sent) {
            if !self.rate.refused(refusal, sent, rules) {
                self.suspects = None;
            }
            return true;
        }
        if refusal.is_undecided(rules)
            && self.concurrency.expects(sent)
            && !self.concurrency.is_tried()
        {
            let explains = self.concurrency.refused(refusal, sent, rules);
            if is_wary(rules) && self.concurrency.drop_far_below() {
                self.refuted();
            }
            return explains;
        }
        false
    }

    /// Whether the refusal is of what was tried beyond a limit.
    fn is_tried(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> bool {
        if self.suspects.is_some() {
            return false;
        }
        if refusal.is_undecided(rules) && self.concurrency.is_tried() {
            return self.concurrency.refused(refusal, sent, rules);
        }
        self.rate.is_tried(sent) && self.rate.refused(refusal, sent, rules)
    }

    /// Whether the refusal tells which of the suspects it was.
    fn is_solved(&mut self, sent: &Sent<'_>) -> bool {
        let culprit = self
            .suspects
            .as_ref()
            .and_then(|suspects| suspects.refused(sent));
        if let Some(culprit) = culprit {
            self.solve(culprit, sent, true);
        }
        culprit.is_some()
    }

    /// One of the suspects is left.
    fn solve(&mut self, culprit: Culprit, sent: &Sent<'_>, by_refusal: bool) {
        let Some(suspects) = self.suspects.take() else {
            return;
        };
        match culprit {
            Culprit::Rate if by_refusal => {
                let instead = suspects.is_instead();
                self.rate.excuse(sent, instead);
            }
            Culprit::Rate => self.rate.hold(false),
            Culprit::InFlight => {
                self.rate = Rate::default();
                self.margin = Margin::default();
                self.concurrency.begin(suspects.in_flight(sent.newest));
            }
        }
    }

    /// Whether an unsteady way may be what shortened the time between two requests.
    fn is_unsteady(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> bool {
        rules.learning().margin && self.margin.refused(refusal, sent, rules)
    }

    /// A window that should have had room, and was in use.
    fn too_much_of(&mut self, rule: &Rule, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        let unsteady = self.is_unsteady(refusal, sent, rules);
        let refused = self.margin.refused_of_wave();
        let telling = rule.n >= TELLING && refused >= rule.n / 2;
        if rules.learning().rate && (telling || !unsteady) {
            // Not the way's fault: of what was believed to fit, so many did not.
            self.margin = Margin::default();
            let accepted = self.accepted_within(rule.period, sent).min(rule.n - 1);
            if accepted == 0 {
                return;
            }
            self.rate.begin(accepted + 1, None, rule.period, sent);
            if !unsteady {
                self.rate.exclude_jitter();
            }
            let in_flight = in_flight(refusal, sent, rules);
            let in_flight = in_flight.filter(|_| !self.concurrency.is_learned());
            self.watch(in_flight, accepted, rule.period, sent);
            if let Some(suspects) = &mut self.suspects {
                suspects.wait();
            }
        }
    }

    /// Nothing known explains the refusal.
    fn suspect(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        let period = period(refusal, sent, rules);
        let n = sent.in_period(period);
        let accepted = self.accepted_within(period, sent);
        let is_few = n < TELLING;
        let may_be_chance = is_few || self.doubt.has_erred() && accepted < FEWEST;
        let of_wave = self.in_flight_of_wave(sent, rules);
        let in_flight =
            in_flight(refusal, &of_wave, rules).filter(|_| !self.concurrency.is_learned());
        if !rules.learning().rate {
            if let Some(in_flight) = in_flight {
                self.concurrency.begin(in_flight);
            }
        } else if accepted > 0 && (!may_be_chance || in_flight.is_some()) {
            self.rate.begin(accepted + 1, None, period, sent);
            self.watch(in_flight, accepted, period, sent);
            if let Some(suspects) = &mut self.suspects {
                suspects.probe(sent);
            }
        }
    }

    /// How many of those that were dispatched within a period have not been refused.
    fn accepted_within(&self, period: Span, sent: &Sent<'_>) -> u32 {
        let refused = self.backoff.refused_within(period, sent.now);
        sent.in_period(period).saturating_sub(refused)
    }

    /// A rate was learned: was it what was in flight?
    fn watch(&mut self, in_flight: Option<Estimate>, accepted: u32, period: Span, sent: &Sent<'_>) {
        let refused = self.backoff.refused_within(period, sent.now);
        self.rate.weigh(refused);
        self.suspects = in_flight
            .filter(|_| accepted > 0)
            .map(|in_flight| Suspects::new(in_flight, accepted, period, sent));
        self.rate.hold(self.suspects.is_some());
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
    pub(super) fn backoff(&self, refusal: &Refusal, rules: &Rules) -> Span {
        // What this very wave suggests is not known yet.
        let is_doubtful = is_wary(rules) && self.rate.is_first_of(self.backoff.wave());
        let is_learned = self.rate.is_learned() && !is_doubtful || self.concurrency.is_learned();
        let known = is_learned || !rules.windows().is_empty();
        self.backoff.delay(refusal, known)
    }

    /// Takes in an answer that was no refusal. Returns until when the bucket is to be paused.
    pub(super) fn accepted(&mut self, report: &Report, sent: &Sent<'_>, rules: &Rules) -> Tick {
        self.closure
            .take_if(|closure| closure.is_ended_by(sent.serial));
        self.answers.accepted(sent.serial);
        self.backoff.accepted(sent);
        if self.backoff.is_mixed() && self.rate.is_first_of(self.backoff.wave()) {
            self.rate = Rate::default();
            self.suspects = None;
            if self.doubt.is_mixed_again() && is_wary(rules) {
                self.refuted();
            } else {
                self.doubt.skip();
            }
        }
        for lesson in self.lessons_mut() {
            lesson.accepted(report, sent, rules);
        }
        // The answer may complete a wave that was refused all the same.
        if is_wary(rules) && self.rate.is_refuted(self.doubt.has_erred()) {
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
    pub(super) fn stop(&self) -> Option<&Stop> {
        self.pace.stopped()
    }

    /// Ends what the server has closed, and what quota headers stop.
    pub(super) fn resume(&mut self) {
        self.closure = None;
        self.pace.resume();
    }

    /// Whether one more may go than a learned rate allows.
    pub(super) fn lets_through(&self, log: &Log, in_flight: u32, now: Tick) -> bool {
        let suspects = self.suspects.as_ref();
        suspects.is_some_and(|suspects| suspects.lets_through(log, in_flight, now))
    }

    /// Whether more may go than a learned rate allows, if enough of what is in flight ends.
    pub(super) fn may_let_through(&self) -> bool {
        self.suspects.as_ref().is_some_and(Suspects::is_probing)
    }

    pub(super) fn ceiling(&self) -> Option<usize> {
        self.concurrency.learned().map(|(limit, _)| limit as usize)
    }

    /// The windows that a bucket keeps for what it has learned, besides those that are configured: with that
    /// of a rate, or without.
    pub(super) fn windows(&self, with_rate: bool, now: Tick) -> impl Iterator<Item = Rule> + '_ {
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
    pub(super) fn widened(&self, rule: Rule) -> Rule {
        let margin = self.margin.learned().unwrap_or(0);
        Rule {
            span: rule.span.plus(rule.period.thousandths(margin)),
            ..rule
        }
    }

    /// How many stamps the learned windows count.
    pub(super) fn depth(&self) -> usize {
        self.rate.most().max(self.pace.most()) as usize
    }

    pub(super) fn forgotten_at(&self) -> Tick {
        self.forgotten_at.unwrap_or(Tick::NONE)
    }

    pub(super) fn is_forgotten(&self, now: Tick) -> bool {
        self.forgotten_at() <= now
    }

    /// Whether nothing of it matters any more.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.is_forgotten(now)
            && self.closure.is_none_or(|closure| closure.until() <= now)
            && self.slow_start.is_none_or(|it| it.is_over(now))
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

/// Discovery.
impl Narrowing {
    /// Discovery may have begun to listen after the first answers.
    pub(in crate::bucket) fn catch_up(&mut self, answered: u64) {
        self.answers.catch_up(answered);
    }

    /// Takes in a refusal for which a wider scope is to blame, where discovery goes on.
    pub(in crate::bucket) fn refused_elsewhere(&mut self, sent: &Sent<'_>) {
        self.slow_start_mut().refused(sent);
        self.slow_down();
    }

    pub(super) fn slow_start_mut(&mut self) -> &mut SlowStart {
        self.slow_start.get_or_insert_with(SlowStart::new)
    }

    /// The same news, with what was in flight before any of its wave had ended, if discovery has counted that.
    pub(super) fn in_flight_of_wave<'a>(&self, sent: &Sent<'a>, rules: &Rules) -> Sent<'a> {
        let slow_start = self.slow_start.filter(|_| rules.learning().discover);
        let of_wave = slow_start.map(|it| it.of_wave());
        Sent {
            in_flight: of_wave.or(sent.in_flight),
            ..*sent
        }
    }

    /// After a refusal that no limit explains. Where limits have explained nothing, fewer requests would not
    /// help either.
    pub(super) fn slow_down(&mut self) {
        let is_explained = self.knows_limit() || self.doubt.skips();
        if let Some(slow_start) = self.slow_start.as_mut().filter(|_| !is_explained) {
            slow_start.fall();
        }
    }

    pub(super) fn knows_limit(&self) -> bool {
        self.rate.is_learned() || self.concurrency.is_learned()
    }

    /// How many may be in flight, unless a lesson says better.
    pub(in crate::bucket) fn discovered(&self, now: Tick) -> Option<u32> {
        if self.knows_limit() && !self.is_forgotten(now) {
            return None;
        }
        let limit = |slow_start: &SlowStart| slow_start.limit(now);
        Some(self.slow_start.as_ref().map_or(AT_FIRST, limit))
    }

    /// Drops lessons that hold no longer, where discovery goes on.
    pub(in crate::bucket) fn forget(&mut self, now: Tick) {
        let Some(slow_start) = self.slow_start else {
            return;
        };
        self.slow_start = slow_start.forget(now);
        if self.forgotten_at.is_some_and(|at| at <= now) {
            *self = Self {
                slow_start: self.slow_start,
                closure: self.closure,
                ..Self::default()
            };
        }
    }
}

/// The period of the window that refused: as configured, or as named. A delay says when a window opens, and
/// not how long it is; but where enough was accepted in that time, it may be as long. A client that has not
/// kept stamps for as long as a window is cannot keep to it.
fn period(refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> Span {
    let suggests = |delay: &Span| {
        // For how long a server is busy says nothing about a window.
        refusal.kind == RefusalKind::Rate && sent.in_period(*delay) > TELLING
    };
    let suggested = refusal.retry_after.filter(suggests);
    let hinted = refusal.period.or(suggested);
    let hinted = hinted.filter(|&period| period <= RECENT);
    match (refusal.rate, tightest(rules)) {
        (None, Some(rule)) => rule.period,
        _ => hinted.unwrap_or(DEFAULT_PERIOD).max(DEFAULT_PERIOD),
    }
}

/// What was in flight and accepted, if that may be what there was too much of.
fn in_flight(refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> Option<Estimate> {
    let others = sent.in_flight?.checked_sub(1)?;
    let configured = rules.concurrency();
    let narrower = configured.is_none_or(|limit| (others as usize) < limit);
    let suspected = refusal.is_undecided(rules)
        && rules.suspects()
        && rules.learning().concurrency
        && others > 0
        && narrower;
    suspected.then(|| Estimate::new(others + 1, None, sent.newest))
}

/// Whether a lesson that erred makes others less likely. With discovery few requests test one at a time, so that an
/// error costs little, and to forget a limit costs a growing crowd.
fn is_wary(rules: &Rules) -> bool {
    !rules.learning().discover
}

fn tightest(rules: &Rules) -> Option<&Rule> {
    rules.windows().iter().min_by_key(|rule| rule.span)
}

fn is_half_used(rule: &Rule, sent: &Sent<'_>) -> bool {
    sent.in_use(rule.span).saturating_mul(2) > rule.n
}

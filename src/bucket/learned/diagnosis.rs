//! What a refusal is evidence of: it is put to the lessons one after the other.

use super::{
    estimate::Estimate,
    lesson::Lesson,
    margin::Margin,
    narrowing::Narrowing,
    news::{DEFAULT_PERIOD, Refusal, RefusalKind, Sent},
    rate::Rate,
    suspects::{Culprit, Suspects},
};
use crate::bucket::{
    rules::{Rule, Rules},
    tick::{RECENT, Span},
};

/// From how large a window on half of it refused is too much for an unsteady way; and of so many requests
/// what was accepted tells a rate. A bucket that has sent fewer has nothing worth remembering.
pub(crate) const TELLING: u32 = 8;

/// If fewer were accepted where a lesson was wrong before, that may be chance.
const FEWEST: u32 = 3;

impl Narrowing {
    /// A refusal has nothing to do with any limit: lessons that came from few of its kind do not hold.
    pub(super) fn contradict(&mut self, sent: &Sent<'_>) {
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
    pub(super) fn drop_rate(&mut self) {
        self.rate = Rate::default();
        self.margin = Margin::default();
        self.suspects = None;
        self.refuted();
    }

    /// The refusal says that there were too many at once.
    pub(super) fn too_many(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        if !self.concurrency.doubt_one(sent) {
            self.refuted();
        } else if !self.doubt.skips() || self.concurrency.is_learned() {
            self.concurrency.refused(refusal, sent, rules);
        }
    }

    /// Finds the lesson that explains a refusal.
    pub(super) fn too_fast(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) {
        if self.is_named(refusal, sent, rules) || self.is_of_wave(refusal, sent, rules) {
            return;
        }
        if self.doubt.skips() || self.is_tried(refusal, sent, rules) || self.is_solved(sent) {
            return;
        }
        let has_erred = self.doubt.has_erred() && rules.learning().is_wary();
        if self.concurrency.is_learned() && !self.concurrency.doubt(sent, has_erred) {
            return self.refuted();
        }
        if self.rate.is_learned() {
            if !self.rate.doubt(sent, has_erred) {
                let may_fall = self.rate.may_fall() && !rules.learning().is_wary();
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
        match rules.tightest() {
            Some(rule) if sent.half_uses(rule) || in_flight(refusal, sent, rules).is_none() => {
                self.too_much_of(rule, refusal, sent, rules);
            }
            _ => self.suspect(refusal, sent, rules),
        }
    }

    /// What was learned does not explain what is refused. Few were sent under it, so that their refusals tell no
    /// more than one.
    pub(super) fn refuted(&mut self) {
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
            if rules.learning().is_wary() && self.concurrency.drop_far_below() {
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
    pub(super) fn solve(&mut self, culprit: Culprit, sent: &Sent<'_>, by_refusal: bool) {
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
    pub(super) fn accepted_within(&self, period: Span, sent: &Sent<'_>) -> u32 {
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
    match (refusal.rate, rules.tightest()) {
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

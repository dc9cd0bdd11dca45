use std::time::Duration;

use http::{Extensions, Response};
use tokio::time::Instant;
use tower::BoxError;

use super::{
    attempts::{Attempt, Attempts},
    budget::{Deposit, Withdrawn},
    policy::{Decision, Facts, Failure, Hold, State, Wait},
    rules::Rules,
};
use crate::{
    admission::{Arrival, Away, Home, Setbacks},
    event::EventKind,
};

/// The most that is added to a server's delay, of which jitter is up to a tenth.
const MAX_JITTER: Duration = Duration::from_secs(1);

/// How far one request has got with its attempts: what surrounds the policy, which knows no clock.
#[derive(Debug)]
pub(super) struct Progress {
    /// The request's age, which its retries keep.
    age: Arrival,
    attempts: u32,
    /// Failures that count as attempts.
    failures: u32,
    first_failure: Option<Instant>,
    /// Drawn for the last back-off.
    previous: Duration,
    waited: Duration,
    /// Taken when a retry is decided, spent when it is sent.
    withdrawn: Option<Withdrawn>,
    rare: Option<Box<Rare>>,
}

/// What few requests have: a boxed value, so that the others carry one word.
#[derive(Debug, Default)]
struct Rare {
    /// What the layers below made of the last answer.
    setbacks: Option<Setbacks>,
    /// Of a layer's own retries: from when the request has been polled and is not in the layer's queue, until it is
    /// over.
    away: Option<Away>,
}

/// What was decided about a failure that can be retried.
#[derive(Debug)]
pub(super) struct Verdict {
    /// When to send the request again; `None` if it is not to be.
    pub(super) wakeup: Option<Wakeup>,
    /// What to tell an observer, when the request has moved on.
    pub(super) event: (Instant, EventKind<'static>),
}

/// When a retry is to be sent.
#[derive(Debug)]
pub(super) enum Wakeup {
    Now,
    At(Instant),
}

impl Progress {
    /// Of a request that enters now.
    pub(super) fn new() -> Self {
        Self {
            age: Arrival::next(),
            attempts: 0,
            failures: 0,
            first_failure: None,
            previous: Duration::ZERO,
            waited: Duration::ZERO,
            withdrawn: None,
            rare: None,
        }
    }

    /// An attempt goes out.
    pub(super) fn sent(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
        if let Some(withdrawn) = self.withdrawn.take() {
            withdrawn.spend();
        }
    }

    /// Whether and when to send the request again. `None` if another attempt would be wrong, or of no use.
    pub(super) fn decide(
        &mut self,
        failure: &Failure,
        request: Facts,
        rules: &Rules,
        now: Instant,
    ) -> Option<Verdict> {
        let started = *self.first_failure.get_or_insert(now);
        let state = State {
            failures: self.failures + 1,
            elapsed: now.saturating_duration_since(started),
        };
        let (attempts, previous) = (self.attempts, self.previous);
        let own = || rules.backoff.wait(attempts, previous);
        let decision = rules.policy.decide(failure, request, state, own);
        let scheduled = match decision {
            Decision::Return => return None,
            Decision::GiveUp => None,
            Decision::Retry {
                wait,
                charged,
                latest,
            } => self.schedule(wait, charged, latest, rules, now),
        };
        let Some((wakeup, delay)) = scheduled else {
            return Some(self.give_up(now));
        };
        self.waited = self.waited.saturating_add(delay);
        let attempt = self.next_attempt();
        Some(Verdict {
            wakeup: Some(wakeup),
            event: (now, EventKind::RetryScheduled { attempt, delay }),
        })
    }

    /// The same for a request that cannot be sent again.
    pub(super) fn decide_once(
        &self,
        failure: &Failure,
        request: Facts,
        rules: &Rules,
        now: Instant,
    ) -> Option<Verdict> {
        let retried = rules.policy.is_retried(failure, request.repeatable);
        retried.map(|_| self.give_up(now))
    }

    fn give_up(&self, now: Instant) -> Verdict {
        let attempts = self.attempts;
        Verdict {
            wakeup: None,
            event: (now, EventKind::GivenUp { attempts }),
        }
    }

    /// When to send the request again, and how long that is from now. `None` if that is never, or more than
    /// the budget has.
    fn schedule(
        &mut self,
        wait: Wait,
        charged: bool,
        latest: Duration,
        rules: &Rules,
        now: Instant,
    ) -> Option<(Wakeup, Duration)> {
        let (delay, wakeup) = match wait {
            Wait::Below(delay) => (delay, Wakeup::Now),
            Wait::Alone(delay) => (delay, Wakeup::At(now.checked_add(delay)?)),
            Wait::Own(delay) => {
                self.previous = delay;
                (delay, Wakeup::At(now.checked_add(delay)?))
            }
            Wait::AtLeast(delay) => {
                let jitter = rules.backoff.below((delay / 10).min(MAX_JITTER));
                let delay = delay.saturating_add(jitter).min(latest);
                (delay, Wakeup::At(now.checked_add(delay)?))
            }
        };
        // Last, so that nothing is taken for a retry that does not come about.
        if charged {
            if let Some(budget) = &rules.budget {
                self.withdrawn = Some(budget.withdraw()?);
            }
            self.failures += 1;
        }
        Some((wakeup, delay))
    }

    fn next_attempt(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// Keeps of an answer what the layers below want to know again with the retry.
    pub(super) fn remember<A>(&mut self, result: &Result<Response<A>, BoxError>) {
        let extensions = result.as_ref().ok().map(Response::extensions);
        let setbacks = extensions.and_then(Extensions::get::<Setbacks>);
        let setbacks = setbacks.cloned();
        if setbacks.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().setbacks = setbacks;
        }
    }

    /// The request is in no queue of the layer to which it belongs.
    pub(super) fn away_from(&mut self, home: &Home) -> &mut Away {
        let rare = self.rare.get_or_insert_default();
        rare.away.get_or_insert_with(|| home.leave())
    }

    /// The request is over.
    #[inline]
    pub(super) fn end(&mut self) {
        if self.rare.is_some() {
            self.rare = None;
        }
    }

    /// Leaves with a retry what the layers below should know.
    pub(super) fn mark(&self, request: &mut Extensions) {
        request.insert(Attempt(self.next_attempt()));
        let setbacks = self.rare.as_ref().and_then(|rare| rare.setbacks.as_ref());
        match setbacks {
            Some(setbacks) => request.insert(setbacks.clone()),
            None => request.remove(),
        };
        // A retry of a retry, by another layer above, is as old as the first.
        if request.get::<Arrival>().is_none() {
            request.insert(self.age);
        }
    }

    /// How many there were.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Leaves with the last answer what it took.
    pub(super) fn tell(&self, response: &mut Extensions) {
        if self.attempts > 1 {
            response.insert(Attempts {
                attempts: self.attempts,
                waited: self.waited,
            });
        }
    }
}

/// Tells a failure, with its time, from a success, which refills the budget.
pub(super) fn judge<A>(
    result: &Result<Response<A>, BoxError>,
    rules: &Rules,
) -> Option<(Failure, Instant)> {
    if Failure::is_success(result) {
        if let Some(budget) = &rules.budget {
            budget.deposit(Deposit::Success);
        }
        return None;
    }
    // The clock is read only when something has failed.
    let now = Instant::now();
    let mut failure = Failure::of(result, now);
    if rules.is_closed() {
        failure.hold = Some(Hold::Forbidden);
    }
    Some((failure, now))
}

use std::time::Duration;

use http::{Extensions, Response};
use tokio::time::Instant;

use super::{
    Attempt, Attempts,
    budget::{Deposit, Withdrawn},
    layer::Rules,
    policy::{Decision, Facts, Failure, State, Wait},
};
use crate::{BoxError, admission::Age};

/// The most that is added to a server's delay, of which jitter is up to a tenth.
const MAX_JITTER: Duration = Duration::from_secs(1);

/// How far one request has got with its attempts: what surrounds the policy, which knows no clock.
#[derive(Debug)]
pub(super) struct Progress {
    /// The request's age, which its retries keep.
    age: Age,
    attempts: u32,
    /// Failures that count as attempts.
    failures: u32,
    first_failure: Option<Instant>,
    /// Drawn for the last back-off.
    previous: Duration,
    waited: Duration,
    /// Taken when a retry is decided, spent when it is sent.
    withdrawn: Option<Withdrawn>,
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
            age: Age::next(),
            attempts: 0,
            failures: 0,
            first_failure: None,
            previous: Duration::ZERO,
            waited: Duration::ZERO,
            withdrawn: None,
        }
    }

    /// An attempt goes out.
    pub(super) fn sent(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
        if let Some(withdrawn) = self.withdrawn.take() {
            withdrawn.spend();
        }
    }

    /// When to send the request again; `None` if it is not to be.
    pub(super) fn decide(
        &mut self,
        failure: &Failure,
        request: Facts,
        rules: &Rules,
        now: Instant,
    ) -> Option<Wakeup> {
        let started = *self.first_failure.get_or_insert(now);
        let state = State {
            failures: self.failures + 1,
            elapsed: now.saturating_duration_since(started),
        };
        let (attempts, previous) = (self.attempts, self.previous);
        let own = || rules.backoff.wait(attempts, previous);
        let decision = rules.policy.decide(failure, request, state, own);
        let Decision::Retry {
            wait,
            charged,
            latest,
        } = decision
        else {
            return None;
        };
        let (delay, wakeup) = match wait {
            Wait::Below(delay) => (delay, Wakeup::Now),
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
        self.waited = self.waited.saturating_add(delay);
        Some(wakeup)
    }

    /// Leaves with a retry what the layers below should know.
    pub(super) fn mark(&self, request: &mut Extensions) {
        request.insert(Attempt(self.attempts + 1));
        // A retry of a retry, by another layer above, is as old as the first.
        if request.get::<Age>().is_none() {
            request.insert(self.age);
        }
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
    Some((Failure::of(result, now), now))
}

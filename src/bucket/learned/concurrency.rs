//! How many requests the server takes at once.

use super::{
    estimate::Estimate,
    lesson::{Lesson, Limit},
    news::{Refusal, RefusalKind, Report, Sent},
};
use crate::bucket::{rules::Rules, tick::Tick};

#[derive(Clone, Debug, Default)]
pub(super) struct Concurrency {
    estimate: Option<Estimate>,
    /// If fewer than this are accepted of the wave that confirmed a suspicion, it was wrong.
    fewest: u32,
}

impl Lesson for Concurrency {
    fn refused(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> bool {
        let Some(in_flight) = sent.in_flight.filter(|_| rules.learning().concurrency) else {
            return false;
        };
        let named = match refusal.kind {
            RefusalKind::Concurrency(named) => named,
            _ => None,
        };
        match &mut self.estimate {
            Some(estimate) => estimate.refused(sent, in_flight, named),
            estimate => *estimate = Some(Estimate::new(in_flight, named, sent.newest)),
        }
        true
    }

    fn accepted(&mut self, report: &Report, sent: &Sent<'_>, rules: &Rules) {
        if let Some(estimate) = &mut self.estimate {
            estimate.succeeded(sent, sent.in_flight.unwrap_or(0));
            if estimate.is_due() {
                estimate.raise(sent.newest);
            }
        }
        if let Some(maximum) = report.maximum_concurrency {
            self.named(maximum.max(1), sent);
        }
        let configured = rules.concurrency();
        self.estimate
            .take_if(|estimate| configured.is_some_and(|limit| estimate.value as usize >= limit));
    }

    fn limit(&self, _: Tick) -> Option<Limit> {
        self.estimate
            .as_ref()
            .map(|estimate| Limit::InFlight(estimate.value))
    }
}

impl Concurrency {
    /// By the headers of a success.
    fn named(&mut self, maximum: u32, sent: &Sent<'_>) {
        match &mut self.estimate {
            // It was sent before the refusals that lowered the limit, and knows no better.
            Some(estimate) if sent.serial <= estimate.wave && maximum > estimate.value => {}
            Some(estimate) => {
                estimate.value = maximum;
                estimate.named = true;
                // What is known needs no trying.
                estimate.successes = 0;
                estimate.raise = 0;
            }
            estimate => *estimate = Some(Estimate::named(maximum)),
        }
    }

    /// A suspicion has been confirmed.
    pub(super) fn begin(&mut self, estimate: Estimate) {
        self.fewest = estimate.value / 4;
        self.estimate = Some(estimate);
    }

    /// Forgets a limit that was confirmed because so many were too many, if far fewer were as well.
    pub(super) fn drop_far_below(&mut self) -> bool {
        let fewest = self.fewest;
        let wrong = |estimate: &mut Estimate| !estimate.named && estimate.value < fewest;
        self.estimate.take_if(wrong).is_some()
    }

    /// Whether a refusal that does not say so is one of those that set the limit, or of what was tried beyond
    /// it.
    pub(super) fn expects(&self, sent: &Sent<'_>) -> bool {
        let expects = |estimate: &Estimate| sent.serial <= estimate.wave || estimate.raise > 0;
        self.estimate.as_ref().is_some_and(expects)
    }

    /// Whether more is being tried.
    pub(super) fn is_tried(&self) -> bool {
        self.estimate
            .as_ref()
            .is_some_and(|estimate| estimate.raise > 0)
    }

    /// A refusal of requests that kept to the limit. `false` if it explains too few of them.
    pub(super) fn doubt(&mut self, sent: &Sent<'_>, has_erred: bool) -> bool {
        let Some(estimate) = &mut self.estimate else {
            return true;
        };
        estimate.evidence.contradict(sent);
        let refuted = !estimate.named && estimate.evidence.refutes(has_erred);
        if refuted {
            self.estimate = None;
        }
        !refuted
    }

    /// A refusal for too many at once of the only request that is in flight, under a limit of one. `false` if that
    /// has gone on for too long.
    pub(super) fn doubt_one(&mut self, sent: &Sent<'_>) -> bool {
        let Some(estimate) = &mut self.estimate else {
            return true;
        };
        let is_alone = estimate.value == 1 && sent.in_flight == Some(1);
        if !is_alone || estimate.named || sent.serial <= estimate.wave {
            return true;
        }
        estimate.evidence.contradict(sent);
        let refuted = estimate.evidence.refutes_one();
        if refuted {
            self.estimate = None;
        }
        !refuted
    }

    pub(super) fn is_learned(&self) -> bool {
        self.estimate.is_some()
    }

    /// The limit, and whether the server named it.
    pub(super) fn learned(&self) -> Option<(u32, bool)> {
        self.estimate
            .as_ref()
            .map(|estimate| (estimate.value, estimate.named))
    }
}

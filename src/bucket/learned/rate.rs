//! How many requests the server takes in a time.

use super::{
    estimate::Estimate,
    lesson::{Lesson, Limit},
    news::{Refusal, Report, Sent},
    rules::{Rule, Rules},
    tick::{Span, Tick},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    window: Option<Window>,
}

#[derive(Clone, Debug)]
struct Window {
    estimate: Estimate,
    period: Span,
}

impl Lesson for Rate {
    fn refused(&mut self, refusal: &Refusal, sent: &Sent<'_>, _: &Rules) -> bool {
        let Some(Window { estimate, period }) = &mut self.window else {
            return false;
        };
        estimate.refused(sent, sent.in_period(*period), refusal.named_rate());
        true
    }

    fn accepted(&mut self, _: &Report, sent: &Sent<'_>, rules: &Rules) {
        let Some(Window { estimate, period }) = &mut self.window else {
            return;
        };
        estimate.succeeded(sent, sent.in_use(*period));
        let given_back = |rule: &Rule| rule.period >= *period && estimate.value >= rule.n;
        if rules.windows().iter().any(given_back) {
            self.window = None;
        }
    }

    fn limit(&self, _: Tick) -> Option<Limit> {
        let Window { estimate, period } = self.window.as_ref()?;
        Some(Limit::Window(Rule {
            counts_forgotten: false,
            ..Rule::new(estimate.value, *period, Span::ZERO)
        }))
    }
}

impl Rate {
    /// Of `sent` requests in a period one was refused, and perhaps the limit named.
    pub(super) fn begin(&mut self, sent: u32, named: Option<u32>, period: Span, wave: u64) {
        let estimate = Estimate::new(sent, named, wave);
        self.window = Some(Window { estimate, period });
    }

    /// Whether a refusal is one of those that set the limit, or of what was tried beyond it.
    pub(super) fn expects(&self, sent: &Sent<'_>) -> bool {
        self.window.as_ref().is_some_and(|Window { estimate, .. }| {
            sent.serial <= estimate.wave || estimate.raise > 0
        })
    }

    pub(super) fn is_learned(&self) -> bool {
        self.window.is_some()
    }

    /// The limit, its period, and whether the server named it.
    pub(super) fn learned(&self) -> Option<(u32, Span, bool)> {
        self.window
            .as_ref()
            .map(|Window { estimate, period }| (estimate.value, *period, estimate.named))
    }
}

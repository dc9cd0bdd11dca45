//! What quota headers on successes say is left.

use super::{
    lesson::{Lesson, Limit},
    news::{Refusal, Report, Sent},
    rules::{Rule, Rules},
    tick::{Span, Tick},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    rule: Option<Rule>,
}

impl Lesson for Pace {
    /// What is left explains no refusal: that would have been the last answer's to say.
    fn refused(&mut self, _: &Refusal, _: &Sent<'_>, _: &Rules) -> bool {
        false
    }

    fn accepted(&mut self, report: &Report, sent: &Sent<'_>, _: &Rules) {
        if report.counts {
            self.rule = report.pace.map(|(spacing, ends)| Rule {
                counts_forgotten: false,
                until: sent.now.after(ends),
                ..Rule::new(1, spacing, Span::ZERO)
            });
        }
    }

    fn limit(&self, now: Tick) -> Option<Limit> {
        let rule = self.rule.filter(|rule| now < rule.until)?;
        Some(Limit::Window(rule))
    }
}

impl Pace {
    pub(super) fn is_learned(&self) -> bool {
        self.rule.is_some()
    }

    /// The distance between requests.
    pub(super) fn learned(&self, now: Tick) -> Option<Span> {
        let rule = self.rule.filter(|rule| now < rule.until)?;
        Some(rule.span)
    }
}

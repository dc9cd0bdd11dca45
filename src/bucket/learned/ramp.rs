//! How requests that waited for a pause come back where no limit is known.

use super::{news::KEPT, news::Sent};
use crate::bucket::{
    rules::Rule,
    tick::{SECOND, Span, Tick},
};

/// When the pause ends as many may go as were accepted in the second before it, or one; one step later twice
/// as many, and so on. A step is this part of the pause, so that what a thousand wait for it is an eighth of
/// what they have waited ...
const PART_OF_PAUSE: u64 = 80;
/// ... and no longer than this, so that it is a second at most.
const LONGEST_STEP: Span = Span(SECOND / 10);
const STEPS: u64 = 10;

/// After a pause of which nobody knows what the server takes at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    from: Tick,
    step: Span,
    first: u32,
}

impl Ramp {
    /// Of a pause from `now` until `from`, after which so many may go at first.
    pub(super) fn new(now: Tick, from: Tick, first: u32) -> Self {
        let pause = from.0.saturating_sub(now.0);
        Self {
            from,
            step: Span((pause / PART_OF_PAUSE).max(1)).min(LONGEST_STEP),
            first,
        }
    }

    pub(super) fn with_first(self, first: u32) -> Self {
        Self { first, ..self }
    }

    pub(super) fn is_later_than(&self, until: Tick) -> bool {
        self.from >= until
    }

    /// Whether a request was refused although no more have gone since than were accepted before: then it does
    /// not matter how many go.
    pub(super) fn is_refuted(&self, sent: &Sent<'_>) -> bool {
        let since = sent.log.count_after(self.from) - sent.log.places();
        (1..=self.first).contains(&since)
    }

    /// What may go by now.
    pub(super) fn window(&self, now: Tick) -> Option<Rule> {
        let steps = now.0.saturating_sub(self.from.0) / self.step.0;
        if steps >= STEPS {
            return None;
        }
        let until = self.from.after(self.step.times(steps + 1));
        // It counts what was sent since the pause, and opens with the next step at the latest.
        let since = Span(until.0.saturating_sub(self.from.0)).min(KEPT);
        Some(Rule {
            counts_forgotten: false,
            until,
            ..Rule::new(
                self.first.max(1).saturating_mul(1 << steps),
                since,
                Span::ZERO,
            )
        })
    }
}

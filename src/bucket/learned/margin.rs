//! By how much windows are widened for an unsteady way.

use super::{
    lesson::{Lesson, Limit},
    news::{Refusal, Report, Sent},
};
use crate::bucket::{rules::Rules, tick::Tick};

/// The first margin, in thousandths of a period; each further one is twice as wide ...
const FIRST_MARGIN: u32 = 50;
/// ... up to this, where it is no longer the way's fault.
const LARGEST_MARGIN: u32 = 250;
/// By how much a margin shrinks at a time.
const MARGIN_STEP: u32 = 10;
/// After how many successes it first does. Twice as many each time that it was too early: a margin
/// that is tried out costs a refusal, and at most one in a hundred may.
const MARGIN_TRIAL: u32 = 200;
/// How often that can double.
const MARGIN_DOUBLINGS: u32 = 6;

#[derive(Clone, Debug, Default)]
pub(super) struct Margin {
    /// In thousandths of the period; 0 is no margin.
    width: u32,
    /// The width that was last enough.
    enough: u32,
    /// Only requests sent after the last raise tell whether it was enough.
    since: u64,
    /// Refusals of this wave.
    refused: u32,
    successes: u32,
    failures: u32,
}

impl Lesson for Margin {
    /// Widens, once per wave. `false` if that has been tried enough.
    fn refused(&mut self, _: &Refusal, sent: &Sent<'_>, _: &Rules) -> bool {
        self.successes = 0;
        if sent.serial <= self.since {
            self.refused += 1;
            if self.refused == 2 && self.width == FIRST_MARGIN {
                // Two of one wave: whatever it is, it is more than the first guess, and the next
                // wave need not be spent on finding that out.
                self.width = 2 * FIRST_MARGIN;
                self.enough = self.width;
            }
            return true;
        }
        if self.width >= LARGEST_MARGIN {
            return false;
        }
        if self.width < self.enough {
            // It was shrunk too far.
            self.width = self.enough;
            self.failures = (self.failures + 1).min(MARGIN_DOUBLINGS);
        } else {
            self.width = (2 * self.width).clamp(FIRST_MARGIN, LARGEST_MARGIN);
            self.enough = self.width;
        }
        self.since = sent.newest;
        self.refused = 1;
        true
    }

    fn accepted(&mut self, _: &Report, sent: &Sent<'_>, _: &Rules) {
        if self.width == 0 || sent.serial <= self.since {
            return;
        }
        self.successes += 1;
        if self.successes < MARGIN_TRIAL << self.failures {
            return;
        }
        self.width = self.width.saturating_sub(MARGIN_STEP);
        self.since = sent.newest;
        self.successes = 0;
        if self.width == 0 {
            *self = Self::default();
        }
    }

    fn limit(&self, _: Tick) -> Option<Limit> {
        self.learned().map(Limit::Margin)
    }
}

impl Margin {
    /// In thousandths of the period.
    pub(super) fn learned(&self) -> Option<u32> {
        (self.width > 0).then_some(self.width)
    }

    /// How many of the wave that widened it last were refused.
    pub(super) fn refused_of_wave(&self) -> u32 {
        self.refused.max(1)
    }
}

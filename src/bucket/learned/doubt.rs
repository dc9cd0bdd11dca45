//! Whether there is anything to learn.

use std::mem;

/// Where limits have explained nothing, fewer are suspected.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// How many lessons were refuted.
    refuted: u32,
    /// How many waves teach nothing for that.
    skipped: u32,
    /// Whether the present one does not.
    skips: bool,
    /// Of some wave what was accepted stood among what was refused.
    mixed: bool,
}

/// How often the number of waves that teach nothing doubles.
const DOUBLINGS: u32 = 6;

impl Doubt {
    /// What is refused is refused whatever one does: none, 2, 6, 14, ... waves teach nothing.
    pub(super) fn refuted(&mut self) {
        self.refuted = (self.refuted + 1).min(DOUBLINGS);
        self.skipped = (1 << self.refuted) - 2;
        self.skips = true;
    }

    /// Whether a lesson was refuted before.
    pub(super) fn has_erred(&self) -> bool {
        self.refuted > 0
    }

    /// What is accepted of the present wave stands among what is refused. Whether something like that was seen
    /// before.
    pub(super) fn is_mixed_again(&mut self) -> bool {
        mem::replace(&mut self.mixed, true) || self.has_erred()
    }

    /// The present wave teaches nothing.
    pub(super) fn skip(&mut self) {
        self.skips = true;
    }

    pub(super) fn next_wave(&mut self) {
        self.skips = self.skipped > 0;
        self.skipped = self.skipped.saturating_sub(1);
    }

    /// Whether the present wave teaches nothing.
    pub(super) fn skips(&self) -> bool {
        self.skips
    }
}

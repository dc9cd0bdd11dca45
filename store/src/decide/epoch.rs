//! Epochs: after the store has forgotten, or was put back to an older state, it waits until what it granted before
//! is over, or was asserted.

use crate::protocol::{Micros, Timing};

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Epoch {
    pub(super) name: String,
    /// The run of the server that began it.
    pub(super) run: String,
    begun: Micros,
    settles: Micros,
}

impl Epoch {
    pub(super) fn new(run: &str, now: Micros) -> Self {
        Self {
            name: format!("{run}:{now}"),
            run: run.to_owned(),
            begun: now,
            settles: 0,
        }
    }

    /// A reservation from before the epoch may have been made `ahead` of its slot, be used at its end, and count
    /// for `longest` (period and margin) from there.
    pub(super) fn settles_for(&mut self, longest: Micros, timing: &Timing) {
        let over = longest + timing.reservation + timing.ahead;
        self.settles = self
            .settles
            .max(over.max(timing.settle_least).min(timing.settle_most));
    }

    pub(super) fn open_at(&self) -> Micros {
        self.begun + self.settles
    }
}

use std::collections::BTreeMap;

use super::claim::Claim;
use crate::{bucket::Tick, steps};

/// The permits of abandoned requests, by the time at which they end.
#[derive(Debug, Default)]
pub(super) struct Graces {
    graces: BTreeMap<(Tick, u64, u8), Abandoned>,
}

/// A dispatched request whose caller has dropped it.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Abandoned {
    pub(in crate::admission) claim: Claim,
    /// When it was dispatched, if somebody observes.
    pub(in crate::admission) dispatched: Tick,
}

impl Graces {
    pub(super) fn next(&self) -> Option<Tick> {
        self.graces.first_key_value().map(|(&(due, _, _), _)| due)
    }

    pub(super) fn keep(&mut self, due: Tick, of: Abandoned, permits: u8) {
        steps::count_way_down(self.graces.len());
        self.graces.insert((due, of.claim.serial, permits), of);
    }

    pub(super) fn take_due(&mut self, now: Tick) -> Option<(Abandoned, u8, Tick)> {
        self.next().filter(|&due| due <= now)?;
        steps::count_way_down(self.graces.len());
        let ((due, _, permits), of) = self.graces.pop_first()?;
        Some((of, permits, due))
    }
}

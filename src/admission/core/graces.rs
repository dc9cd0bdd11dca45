use std::collections::BTreeMap;

use super::claim::Claim;
use crate::{bucket::Tick, steps};

/// The permits of abandoned requests, by the time at which they end.
#[derive(Debug, Default)]
pub(super) struct Graces {
    graces: BTreeMap<(Tick, u64, u8), Claim>,
}

impl Graces {
    pub(super) fn next(&self) -> Option<Tick> {
        self.graces.first_key_value().map(|(&(due, _, _), _)| due)
    }

    pub(super) fn keep(&mut self, due: Tick, claim: Claim, permits: u8) {
        steps::count_way_down(self.graces.len());
        self.graces.insert((due, claim.serial, permits), claim);
    }

    pub(super) fn take_due(&mut self, now: Tick) -> Option<(Claim, u8, Tick)> {
        self.next().filter(|&due| due <= now)?;
        steps::count_way_down(self.graces.len());
        let ((due, _, permits), claim) = self.graces.pop_first()?;
        Some((claim, permits, due))
    }
}

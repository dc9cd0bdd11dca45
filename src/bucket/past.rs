//! What a bucket has counted, as others copy it.

use super::{account::Account, state::Bucket, tick::Tick};
use crate::costs::Unit;

/// How much a bucket has counted, in all: numbers its dispatches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    stamps: u64,
    /// Of each unit: how many amounts it has had, and how much has no time yet.
    units: Vec<(Unit, u64, u128)>,
}

/// What was dispatched: a request, or an amount of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dispatched {
    pub(crate) tick: Tick,
    what: Option<(Unit, u64)>,
}

impl Tally {
    fn of(&self, unit: Unit) -> (u64, u128) {
        let mut units = self.units.iter();
        let found = units.find(|(known, ..)| known.is_called_as(&unit));
        found.map_or((0, 0), |&(_, count, open)| (count, open))
    }
}

impl Bucket {
    pub(crate) fn past(&self) -> Tally {
        let unit = |account: &Account| {
            let (log, open, _) = account.parts();
            (account.unit(), log.end(), open)
        };
        Tally {
            stamps: u64::try_from(self.log.stamped()).unwrap_or(u64::MAX),
            units: self.accounts().iter().map(unit).collect(),
        }
    }

    /// How many requests have a place or a permit here.
    pub(crate) fn under_way(&self) -> (u32, u32) {
        (self.log.places(), self.in_flight)
    }

    /// Copies what was dispatched after `since`, the latest first, at most `left` of it. Returns whether that is all;
    /// otherwise `past` says what is left.
    pub(crate) fn copy_past(
        &self,
        past: &mut Tally,
        since: Tick,
        left: &mut usize,
        to: &mut Vec<Dispatched>,
    ) -> bool {
        let newer = |tick: &Tick| *tick > since;
        while let Some(tick) = self.log.stamp_at(past.stamps).filter(newer) {
            if *left == 0 {
                return false;
            }
            *left -= 1;
            past.stamps -= 1;
            to.push(Dispatched { tick, what: None });
        }
        past.stamps = 0;
        for (unit, count, _) in &mut past.units {
            let account = self.account(*unit);
            let entry = |count: u64| account?.parts().0.entry(count.checked_sub(1)?);
            while let Some(entry) = entry(*count).filter(|entry| entry.tick > since) {
                if *left == 0 {
                    return false;
                }
                *left -= 1;
                *count -= 1;
                let what = Some((*unit, entry.amount));
                to.push(Dispatched {
                    tick: entry.tick,
                    what,
                });
            }
            *count = 0;
        }
        true
    }

    /// One that has dispatched all that.
    pub(crate) fn of_past(mut dispatched: Vec<Dispatched>) -> Self {
        dispatched.sort_by_key(|dispatched| dispatched.tick);
        let mut bucket = Self::default();
        for dispatched in dispatched {
            bucket.count(dispatched);
        }
        bucket
    }

    /// Counts what another bucket has dispatched since `before`. Returns when the last of it was.
    pub(crate) fn count_since(&mut self, other: &Self, before: &Tally) -> Option<Tick> {
        let mut last = None;
        let mut count = |this: &mut Self, dispatched: Dispatched| {
            last = last.max(Some(dispatched.tick));
            this.count(dispatched);
        };
        let now = other.past();
        for number in before.stamps + 1..=now.stamps {
            if let Some(tick) = other.log.stamp_at(number) {
                count(self, Dispatched { tick, what: None });
            }
        }
        for (unit, end, _) in now.units {
            let account = other.account(unit);
            for number in before.of(unit).0..end {
                let entry = account.and_then(|account| account.parts().0.entry(number));
                if let Some(entry) = entry {
                    let what = Some((unit, entry.amount));
                    let tick = entry.tick;
                    count(self, Dispatched { tick, what });
                }
            }
        }
        last
    }

    fn count(&mut self, Dispatched { tick, what }: Dispatched) {
        match what {
            None => self.log.note(tick),
            Some((unit, amount)) => self.account_mut(unit).note(tick, amount),
        }
    }

    /// So many of another bucket's places and permits counted here, and so many do now.
    pub(crate) fn shift(&mut self, before: (u32, u32), after: (u32, u32)) {
        self.log.give_back(before.0);
        self.log.take(after.0);
        self.release_permits(before.1);
        self.take_permits(after.1);
    }

    /// The same of units.
    pub(crate) fn count_open(&mut self, before: &Tally, after: &Tally) {
        for &(unit, _, open) in &after.units {
            let before = before.of(unit).1;
            if before != open {
                self.account_mut(unit).shift(before, open);
            }
        }
    }
}

//! What requests cost (law L14): what is taken, what is settled, and what is taken to be the average.

use std::collections::BTreeMap;

use super::{Model, Request, Stage};
use crate::{
    config::{Bucket, Limit, Millis},
    costs::{Stated, UNITS, Unit, is_at_end},
    order::Asked,
};

/// So many settlements make an average. With more, each new one counts as one of these, and the average as the
/// others.
const AVERAGED: u64 = 64;

/// What a request takes of each bucket that it needs, as far as that counts it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demand {
    pub(super) requests: u32,
    pub(super) permits: usize,
    pub(super) units: BTreeMap<Unit, u64>,
}

/// Of what something is taken: bits for requests, permits and units.
pub(super) type Class = u32;

const REQUESTS: Class = 1;
const PERMITS: Class = 2;
/// One request and one permit.
pub(super) const PLAIN: Class = REQUESTS | PERMITS;

impl Demand {
    pub(super) const NOTHING: Self = Self {
        requests: 0,
        permits: 0,
        units: BTreeMap::new(),
    };

    pub(super) fn is_plain(&self) -> bool {
        (self.requests, self.permits) == (1, 1) && self.units.is_empty()
    }

    /// Each thing of which it takes something, alone.
    pub(super) fn parts(&self) -> Vec<(Class, Self)> {
        let mut parts = Vec::new();
        if self.requests > 0 {
            let part = Self {
                requests: self.requests,
                ..Self::NOTHING
            };
            parts.push((REQUESTS, part));
        }
        if self.permits > 0 {
            let part = Self {
                permits: self.permits,
                ..Self::NOTHING
            };
            parts.push((PERMITS, part));
        }
        for (&unit, &amount) in self.units.iter().filter(|(_, amount)| **amount > 0) {
            let part = Self {
                units: BTreeMap::from([(unit, amount)]),
                ..Self::NOTHING
            };
            parts.push((4 << unit, part));
        }
        parts
    }

    pub(super) fn class(&self) -> Class {
        self.parts().into_iter().fold(0, |all, (one, _)| all | one)
    }
}

/// What a bucket has counted of one unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// Since when, how much, and for which request.
    pub(super) log: Vec<(Millis, u64, usize)>,
    /// The latest of those that are no longer in the log, and the sum of all of these.
    pub(super) forgotten: Option<(Millis, u64)>,
    /// What was dispatched and counts until it is settled.
    pub(super) open: BTreeMap<usize, u64>,
    /// What successes were settled at.
    average: Average,
}

impl Account {
    /// What counts at some time of what has a time, in a window of this length.
    pub(super) fn counted(&self, now: Millis, period: Millis) -> u64 {
        let counts = self.log.iter().filter(|entry| entry.0 + period > now);
        counts.map(|entry| entry.1).sum()
    }

    pub(super) fn open(&self) -> u64 {
        self.open.values().sum()
    }

    pub(super) fn remembers(&self) -> bool {
        self.average.count > 0
    }

    /// An amount counts from now on.
    ///
    /// What counts no more is forgotten, a few at a time, as far as the largest window could be filled without it.
    /// Should a window become longer, all that is forgotten counts as if it were as recent as the latest of that.
    fn note(&mut self, limit: &Limit, unit: Unit, (now, amount, id): (Millis, u64, usize)) {
        let longest = limit.of_unit(unit).map(|window| window.1).max();
        let most = limit.of_unit(unit).map(|window| window.0).max();
        for _ in 0..4 {
            let Some(&(time, amount, _)) = self.log.first() else {
                break;
            };
            let rest: u64 = self.log[1..].iter().map(|entry| entry.1).sum();
            let is_needless = most.is_none_or(|most| rest >= most);
            if time + longest.unwrap_or(0) > now || !is_needless {
                break;
            }
            self.log.remove(0);
            if amount > 0 {
                let before = self.forgotten.map_or(0, |forgotten| forgotten.1);
                self.forgotten = Some((time, before + amount));
            }
        }
        self.log.push((now, amount, id));
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Average {
    sum: u64,
    count: u64,
}

impl Average {
    fn add(&mut self, amount: u64) {
        if self.count == AVERAGED {
            self.sum -= self.sum / AVERAGED;
        } else {
            self.count += 1;
        }
        self.sum += amount;
    }

    fn get(&self) -> Option<u64> {
        (self.count > 0).then(|| self.sum.div_ceil(self.count))
    }
}

/// What was dispatched and may be settled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Charge {
    pub(super) leaf: Bucket,
    asked: Asked,
    /// What it takes besides.
    requests: u32,
    permits: usize,
    /// Its answer has not ended.
    works: bool,
    /// Somebody has its `Settlement`.
    held: bool,
    /// It was answered by a success, as far as is known.
    is_accepted: bool,
    units: BTreeMap<Unit, Item>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Item {
    estimate: u64,
    /// What is known of it by now.
    actual: u64,
    /// What it counts as in the average.
    averaged: Option<u64>,
}

impl Model<'_> {
    /// What a request would take now.
    pub(super) fn demand(&self, leaf: Bucket, stated: &Stated) -> Demand {
        let mut units = BTreeMap::new();
        for unit in 0..UNITS.len() {
            let path = self.path(leaf).into_iter();
            let windows = path.flat_map(|bucket| self.scopes[bucket.scope].limit.of_unit(unit));
            if let Some((least, _)) = windows.min() {
                let amount = stated.units[unit];
                let amount = amount.unwrap_or_else(|| self.estimate(leaf, unit, least));
                units.insert(unit, amount);
            }
        }
        Demand {
            requests: stated.requests.unwrap_or(1),
            permits: stated.permits.unwrap_or(1),
            units,
        }
    }

    /// What a request takes that states nothing. `least` is the smallest window.
    fn estimate(&self, leaf: Bucket, unit: Unit, least: u64) -> u64 {
        let account = self.buckets[&leaf].accounts.get(&unit);
        let average = account.and_then(|account| account.average.get());
        average.unwrap_or((least / 8).max(1)).min(least)
    }

    /// What a request that waits would take now, or what one that does not wait has taken.
    pub(super) fn demand_of(&self, id: usize) -> Demand {
        let request = &self.requests[&id];
        match request.stage {
            Stage::Offered(_) | Stage::Reserved(_) | Stage::Sent { .. } => request.taken.clone(),
            _ => self.demand(request.leaf, &request.stated),
        }
    }

    /// Where what a request states can never fit.
    pub(super) fn never_fits(&self, leaf: Bucket, stated: &Stated) -> Option<Bucket> {
        let demand = self.demand(leaf, stated);
        self.path(leaf).into_iter().find(|bucket| {
            let limit = &self.scopes[bucket.scope].limit;
            let unit =
                |(&unit, &amount): (&Unit, &u64)| limit.of_unit(unit).any(|(n, _)| n < amount);
            limit.concurrency.is_some_and(|n| n < demand.permits)
                || limit.windows.iter().any(|&(n, _)| n < demand.requests)
                || demand.units.iter().any(unit)
        })
    }

    /// Whether one that waits can never go.
    pub(super) fn can_never_go(&self, id: usize) -> bool {
        let request = &self.requests[&id];
        self.never_fits(request.leaf, &request.stated).is_some()
    }

    /// How much of a unit is taken by those who have their places.
    pub(super) fn places_of(&self, bucket: Bucket, unit: Unit) -> u64 {
        let admitted = self.admitted(bucket);
        admitted
            .filter_map(|request| request.taken.units.get(&unit))
            .sum()
    }

    /// How much of a unit counts in a window.
    pub(super) fn used(&self, bucket: Bucket, unit: Unit, period: Millis) -> u64 {
        let account = self.buckets[&bucket].accounts.get(&unit);
        let known = account.map_or(0, |account| {
            account.counted(self.now, period) + account.open()
        });
        known + self.places_of(bucket, unit)
    }

    /// The inner service has been called: what is counted at dispatch counts from now on, the rest until it is
    /// settled.
    pub(super) fn charge(&mut self, id: usize) {
        let Request {
            leaf,
            path,
            taken,
            asked,
            ..
        } = self.requests[&id].clone();
        if taken.is_plain() {
            return;
        }
        for bucket in path {
            let limit = &self.scopes[bucket.scope].limit;
            let counts = self.buckets.get_mut(&bucket).unwrap();
            for (&unit, &amount) in &taken.units {
                if limit.of_unit(unit).next().is_none() {
                    continue;
                }
                let account = counts.accounts.entry(unit).or_default();
                if is_at_end(unit) {
                    account.open.insert(id, amount);
                } else {
                    account.note(limit, unit, (self.now, amount, id));
                }
            }
        }
        let item = |(&unit, &estimate): (&Unit, &u64)| {
            let averaged = None;
            let actual = estimate;
            let item = Item {
                estimate,
                actual,
                averaged,
            };
            (unit, item)
        };
        let charge = Charge {
            leaf,
            asked,
            requests: taken.requests,
            permits: taken.permits,
            works: true,
            held: false,
            is_accepted: false,
            units: taken.units.iter().map(item).collect(),
        };
        self.charges.insert(id, charge);
    }

    /// The head of the answer is there. Returns what a `Settlement` says to be estimated, if there is one.
    ///
    /// An answer from 400 to 499 has cost nothing, unless somebody says otherwise later.
    pub(super) fn charge_answered(&mut self, id: usize, status: u16) -> Option<Estimates> {
        let charge = self.charges.get_mut(&id)?;
        charge.is_accepted = status < 400;
        charge.held = !charge.units.is_empty();
        let mut estimates = Estimates::default();
        for (&unit, item) in &charge.units {
            estimates[unit] = Some(item.estimate);
        }
        let held = charge.held;
        if (400..500).contains(&status) {
            let before = self.actual_share(id);
            for unit in self.units_of(id) {
                self.set_amount(id, unit, 0);
            }
            self.charge_more(id, before);
        }
        held.then_some(estimates)
    }

    fn units_of(&self, id: usize) -> Vec<Unit> {
        self.charges[&id].units.keys().copied().collect()
    }

    /// What a request has taken becomes another amount, wherever it is known. What is counted at the end counts
    /// from now on. Returns whether it is more than before.
    fn set_amount(&mut self, id: usize, unit: Unit, amount: u64) -> bool {
        let mut more = false;
        let charge = self.charges.get_mut(&id).unwrap();
        charge.units.get_mut(&unit).unwrap().actual = amount;
        for bucket in self.path(self.charges[&id].leaf) {
            let limit = &self.scopes[bucket.scope].limit;
            let accounts = &mut self.buckets.get_mut(&bucket).unwrap().accounts;
            let Some(account) = accounts.get_mut(&unit) else {
                continue;
            };
            if limit.of_unit(unit).next().is_none() {
                continue;
            }
            let entry = account.log.iter().position(|entry| entry.2 == id);
            // Its window may have passed, and it counts anew.
            more |= is_at_end(unit) && !account.open.contains_key(&id) && amount > 0;
            let before = match (account.open.remove(&id), entry) {
                (Some(before), _) => before,
                (None, Some(entry)) if is_at_end(unit) => account.log.remove(entry).1,
                (None, Some(entry)) => std::mem::replace(&mut account.log[entry].1, amount),
                // It is forgotten.
                (None, None) if is_at_end(unit) => 0,
                (None, None) => continue,
            };
            if is_at_end(unit) {
                account.note(limit, unit, (self.now, amount, id));
            }
            more |= amount > before;
        }
        more
    }

    /// How much of the tightest limit a request has cost, as far as is known.
    fn actual_share(&self, id: usize) -> u64 {
        let charge = &self.charges[&id];
        let units = charge.units.iter();
        let demand = Demand {
            requests: charge.requests,
            permits: charge.permits,
            units: units.map(|(&unit, item)| (unit, item.actual)).collect(),
        };
        self.share(charge.leaf, &demand)
    }

    /// A flow answers for what its request has cost more, or less.
    fn charge_more(&mut self, id: usize, before: u64) {
        let Charge { leaf, asked, .. } = self.charges[&id];
        let share = self.actual_share(id);
        self.charge_flow(leaf, asked, i128::from(share) - i128::from(before));
    }

    /// Its answer was no success, or nobody knows: what is settled later does not count in the average.
    pub(super) fn lose(&mut self, id: usize) {
        if let Some(charge) = self.charges.get_mut(&id).filter(|charge| charge.works) {
            charge.is_accepted = false;
        }
    }

    /// Its answer has ended.
    pub(super) fn end_work(&mut self, id: usize) {
        if let Some(charge) = self.charges.get_mut(&id) {
            charge.works = false;
            self.end_charge(id);
        }
    }

    /// If nobody can settle it any more, the estimate counts: from now on, where the server counts at the end.
    fn end_charge(&mut self, id: usize) {
        let charge = &self.charges[&id];
        if charge.works || charge.held {
            return;
        }
        for unit in self
            .units_of(id)
            .into_iter()
            .filter(|&unit| is_at_end(unit))
        {
            for bucket in self.path(self.charges[&id].leaf) {
                let accounts = &mut self.buckets.get_mut(&bucket).unwrap().accounts;
                let Some(account) = accounts.get_mut(&unit) else {
                    continue;
                };
                if let Some(amount) = account.open.remove(&id) {
                    let limit = &self.scopes[bucket.scope].limit;
                    account.note(limit, unit, (self.now, amount, id));
                }
            }
        }
        self.charges.remove(&id);
    }

    /// Whether a `Settlement` belongs to a success: what it says counts in the average.
    pub fn is_averaged(&self, id: usize) -> bool {
        self.charges
            .get(&id)
            .is_some_and(|charge| charge.is_accepted)
    }

    /// It is settled by hand.
    pub fn settle_by_hand(mut self, id: usize, amounts: &Estimates) -> Self {
        let mut more = false;
        let leaf = self.charges[&id].leaf;
        let before = self.actual_share(id);
        for unit in self.units_of(id) {
            let Some(amount) = amounts[unit] else {
                continue;
            };
            more |= self.set_amount(id, unit, amount);
            let charge = self.charges.get_mut(&id).unwrap();
            if !charge.is_accepted {
                continue;
            }
            let before = charge
                .units
                .get_mut(&unit)
                .unwrap()
                .averaged
                .replace(amount);
            let accounts = &mut self.buckets.get_mut(&leaf).unwrap().accounts;
            let average = &mut accounts.entry(unit).or_default().average;
            match before {
                Some(before) => average.sum = average.sum.saturating_sub(before) + amount,
                None => average.add(amount),
            }
        }
        self.charge_more(id, before);
        if more {
            // Those who have their places and have not gone out are looked at again.
            self.changed = self.admissions;
        }
        self.settle(leaf);
        self.run();
        self
    }

    /// The last `Settlement` of a request is dropped.
    pub fn let_go(mut self, id: usize) -> Self {
        let charge = self.charges.get_mut(&id).expect("it is held");
        let leaf = charge.leaf;
        charge.held = false;
        self.end_charge(id);
        self.settle(leaf);
        self.run();
        self
    }
}

/// Amounts by unit.
pub type Estimates = [Option<u64>; UNITS.len()];

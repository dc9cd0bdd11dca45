//! What requests take, and what they have taken (law L14).

use std::collections::{BTreeMap, BTreeSet};

use super::{Gate, Model, Stage};
use crate::config::{AT_END, Amounts, Bucket, GROUP, Limit, Millis, Price, UNITS};

/// For how long an average is remembered.
pub(super) const REMEMBERED: Millis = 600_000;

/// So many leave a list at most when one joins it.
const LEAVE_AT_ONCE: usize = 4;

/// What a request takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Demand {
    pub(super) requests: usize,
    pub(super) permits: usize,
    /// Of each unit that its scopes count.
    pub(super) units: BTreeMap<usize, u64>,
}

/// Of what a request takes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Requests,
    Permits,
    Unit(usize),
}

pub(super) type Class = BTreeSet<Need>;

impl Demand {
    const NOTHING: Self = Self {
        requests: 0,
        permits: 0,
        units: BTreeMap::new(),
    };

    fn is_usual(&self) -> bool {
        (self.requests, self.permits) == (1, 1) && self.units.is_empty()
    }

    /// One for each thing that it takes, with nothing else.
    fn parts(&self) -> Vec<(Need, Self)> {
        let requests = Self {
            requests: self.requests,
            ..Self::NOTHING
        };
        let permits = Self {
            permits: self.permits,
            ..Self::NOTHING
        };
        let units = self.units.iter().map(|(&unit, &amount)| {
            let part = Self {
                units: BTreeMap::from([(unit, amount)]),
                ..Self::NOTHING
            };
            (Need::Unit(unit), part)
        });
        [(Need::Requests, requests), (Need::Permits, permits)]
            .into_iter()
            .chain(units)
            .filter(|(need, part)| match need {
                Need::Requests => part.requests > 0,
                Need::Permits => part.permits > 0,
                Need::Unit(unit) => part.units[unit] > 0,
            })
            .collect()
    }

    pub(super) fn class(&self) -> Class {
        self.parts().into_iter().map(|(need, _)| need).collect()
    }

    /// Whether it is no more than a limit allows at all.
    fn fits(&self, limit: &Limit) -> bool {
        limit
            .windows
            .iter()
            .all(|&(n, _)| self.requests <= n as usize)
            && limit.concurrency.is_none_or(|n| self.permits <= n)
            && (limit.units.iter())
                .all(|(unit, n, _)| self.units.get(unit).is_none_or(|of| of <= n))
    }
}

/// What an admitted request has taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Charge {
    pub(super) leaf: Bucket,
    pub(super) demand: Demand,
    /// What it was estimated to take of each unit.
    estimate: Amounts,
    items: BTreeMap<usize, Item>,
    /// Its work has not ended.
    works: bool,
    /// Somebody may yet settle it.
    pub(super) is_held: bool,
    /// The server has accepted it.
    is_success: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Item {
    amount: u64,
    /// Where it is admitted and not dispatched.
    places: BTreeSet<Bucket>,
    /// Where it counts from its end on, and as estimated until then.
    open: BTreeSet<Bucket>,
}

/// What was taken of a unit at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) unit: usize,
    id: usize,
    pub(super) at: Millis,
    amount: u64,
    /// Only the time of the last of these is known.
    is_forgotten: bool,
}

/// A head, and whether it can go through a bucket.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) class: Class,
    pub(super) head: usize,
    /// `None` if one before it waits for what it needs, too.
    pub(super) gate: Option<Gate>,
}

impl Look {
    pub(super) fn goes(&self) -> bool {
        self.gate == Some(Gate::Open)
    }
}

impl Model<'_> {
    /// What a request to a leaf takes if it is admitted now.
    pub(super) fn demand(&self, leaf: Bucket, price: Option<&Price>) -> Demand {
        let none = Price::default();
        let price = price.unwrap_or(&none);
        let counted = |&bucket: &Bucket| {
            let units = &self.scopes[bucket.scope].limit.units;
            units.iter().map(|&(unit, n, _)| (unit, n))
        };
        let counted: Vec<_> = self.path(leaf).iter().flat_map(counted).collect();
        let amount = |unit: usize| {
            let windows = counted.iter().filter(|(other, _)| *other == unit);
            let smallest = windows.map(|&(_, n)| n).min().unwrap();
            let estimate = self.average(leaf, unit).unwrap_or((smallest / 8).max(1));
            // Nobody waits for ever because of an estimate.
            price.units[unit].unwrap_or(estimate.min(smallest))
        };
        Demand {
            requests: price.requests.unwrap_or(1) as usize,
            permits: price.permits.unwrap_or(1),
            units: (counted.iter())
                .map(|&(unit, _)| (unit, amount(unit)))
                .collect(),
        }
    }

    /// The same of a request that is not admitted.
    pub(super) fn demand_of(&self, id: usize) -> Demand {
        let request = &self.requests[&id];
        self.demand(request.leaf, request.price.as_ref())
    }

    fn average(&self, leaf: Bucket, unit: usize) -> Option<u64> {
        let settled = &self.buckets.get(&leaf)?.settled;
        let settled = settled.iter().filter(|((_, of), _)| *of == unit);
        let settled: Vec<_> = settled.map(|(_, amount)| *amount).collect();
        assert!(settled.len() <= 64, "after these it follows the latest");
        let count = Some(settled.len() as u64).filter(|&count| count > 0)?;
        Some(settled.iter().sum::<u64>().div_ceil(count))
    }

    /// Where a request can never go.
    pub(super) fn never_fits(&self, leaf: Bucket, demand: &Demand) -> Option<Bucket> {
        let mut path = self.path(leaf).into_iter();
        path.find(|&bucket| self.never_fits_in(bucket, demand))
    }

    pub(super) fn never_fits_in(&self, bucket: Bucket, demand: &Demand) -> bool {
        !demand.fits(&self.scopes[bucket.scope].limit)
    }

    pub(super) fn can_never_go(&self, id: usize) -> Option<Bucket> {
        self.never_fits(self.requests[&id].leaf, &self.demand_of(id))
    }

    /// Who would pass a bucket next: of those of each class the first one.
    ///
    /// A head waits behind others for what it needs and they wait for, and passes those who wait for something else.
    pub(super) fn looks(&self, bucket: Bucket) -> Vec<Look> {
        if bucket.scope < GROUP {
            let head = self.queue(bucket).first().copied();
            let look = head.map(|head| {
                let demand = self.demand_of(head);
                Look {
                    class: demand.class(),
                    head,
                    gate: Some(self.gate(bucket, &demand)),
                }
            });
            return look.into_iter().collect();
        }
        let mut looks: Vec<Look> = Vec::new();
        let mut missing = Class::new();
        for (_, head, class) in self.contest(bucket) {
            if looks.iter().any(|look| look.class == class) {
                continue;
            }
            let demand = self.demand_of(head);
            let waits_behind = !missing.is_disjoint(&demand.class());
            let gate = (!waits_behind).then(|| self.gate(bucket, &demand));
            if gate != Some(Gate::Open) {
                missing.extend(self.missing(bucket, &demand));
            }
            looks.push(Look { class, head, gate });
        }
        looks
    }

    /// What there is no room for.
    pub(super) fn missing(&self, bucket: Bucket, demand: &Demand) -> Class {
        if self.gate(bucket, &Demand::NOTHING) != Gate::Open {
            return demand.class();
        }
        let parts = demand.parts().into_iter();
        let closed = parts.filter(|(_, part)| self.gate(bucket, part) != Gate::Open);
        closed.map(|(need, _)| need).collect()
    }

    /// Whether a newcomer stands behind somebody in a bucket.
    pub(super) fn is_preceded(&self, bucket: Bucket, class: &Class) -> bool {
        let looks = self.looks(bucket);
        if bucket.scope < GROUP {
            return !looks.is_empty();
        }
        looks.iter().any(|look| {
            let missing = self.missing(bucket, &self.demand_of(look.head));
            !missing.is_disjoint(class)
        })
    }

    /// When a bucket has room for an amount of a unit, with what is known to have been taken.
    pub(super) fn gate_of_units(&self, bucket: Bucket, demand: &Demand) -> Gate {
        let mut opens = self.now;
        for &(unit, n, period) in &self.scopes[bucket.scope].limit.units {
            let amount = demand.units.get(&unit).copied().unwrap_or(0);
            if amount == 0 {
                continue;
            }
            let Some(mut free) = n.checked_sub(amount + self.pending(bucket, unit)) else {
                return Gate::Closed;
            };
            for (at, amount) in self.taken(bucket, unit).into_iter().rev() {
                let Some(left) = free.checked_sub(amount) else {
                    opens = opens.max(at + period);
                    break;
                };
                free = left;
            }
        }
        if opens <= self.now {
            Gate::Open
        } else {
            Gate::Until(opens)
        }
    }

    /// What is going to count, and does so already.
    pub(super) fn pending(&self, bucket: Bucket, unit: usize) -> u64 {
        let charges = self.charges.values();
        let items = charges.filter_map(|charge| charge.items.get(&unit));
        let here =
            items.filter(|item| item.places.contains(&bucket) || item.open.contains(&bucket));
        here.map(|item| item.amount).sum()
    }

    /// When how much was taken, as far as that is known.
    fn taken(&self, bucket: Bucket, unit: usize) -> Vec<(Millis, u64)> {
        let taken = self.buckets[&bucket].taken.iter();
        let taken: Vec<_> = taken.filter(|taken| taken.unit == unit).collect();
        let forgotten = taken
            .iter()
            .rev()
            .find(|taken| taken.is_forgotten && taken.amount > 0);
        let last_forgotten = forgotten.map_or(0, |taken| taken.at);
        let at = |taken: &Taken| {
            if taken.is_forgotten {
                last_forgotten
            } else {
                taken.at
            }
        };
        taken
            .iter()
            .map(|&taken| (at(taken), taken.amount))
            .collect()
    }

    /// What is used of a window, and how long the oldest of that goes on to count.
    pub(super) fn used(
        &self,
        bucket: Bucket,
        unit: usize,
        period: Millis,
    ) -> (u64, Option<Millis>) {
        let taken = self.buckets[&bucket].taken.iter();
        let counts = |taken: &&Taken| {
            taken.unit == unit && !taken.is_forgotten && taken.at + period > self.now
        };
        let taken: Vec<_> = taken.filter(counts).collect();
        let sum: u64 = taken.iter().map(|taken| taken.amount).sum();
        let first = taken.first().filter(|_| sum > 0);
        let falls_in = first.map(|first| first.at + period - self.now);
        (sum + self.pending(bucket, unit), falls_in)
    }

    /// It is admitted.
    pub(super) fn charge(&mut self, id: usize) {
        let leaf = self.requests[&id].leaf;
        let demand = self.demand_of(id);
        let counts = |unit: usize| {
            let path = self.path(leaf).into_iter();
            path.filter(|&bucket| self.counts(bucket, unit)).collect()
        };
        let item = |(&unit, &amount): (&usize, &u64)| {
            let item = Item {
                amount,
                places: counts(unit),
                open: BTreeSet::new(),
            };
            (unit, item)
        };
        let charge = Charge {
            leaf,
            estimate: std::array::from_fn(|unit| demand.units.get(&unit).copied()),
            items: demand.units.iter().map(item).collect(),
            demand,
            works: true,
            is_held: false,
            is_success: false,
        };
        self.charges.insert(id, charge);
    }

    fn counts(&self, bucket: Bucket, unit: usize) -> bool {
        let units = &self.scopes[bucket.scope].limit.units;
        units.iter().any(|window| window.0 == unit)
    }

    /// Whether an admitted request has taken of everything that its scopes count by now.
    pub(super) fn has_taken_all(&self, id: usize) -> bool {
        let charge = &self.charges[&id];
        self.path(charge.leaf).into_iter().all(|bucket| {
            let mut units = (0..UNITS.len()).filter(|&unit| self.counts(bucket, unit));
            units.all(|unit| {
                let item = charge.items.get(&unit);
                item.is_some_and(|item| item.places.contains(&bucket))
            })
        })
    }

    /// It is dispatched: what counts then has its time.
    pub(super) fn stamp_units(&mut self, id: usize) {
        for unit in 0..UNITS.len() {
            let Some(item) = self.charges.get_mut(&id).unwrap().items.get_mut(&unit) else {
                continue;
            };
            let (places, amount) = (std::mem::take(&mut item.places), item.amount);
            for bucket in places {
                if !self.counts(bucket, unit) {
                    continue;
                }
                if unit == AT_END {
                    let items = &mut self.charges.get_mut(&id).unwrap().items;
                    items.get_mut(&unit).unwrap().open.insert(bucket);
                } else {
                    self.count(bucket, unit, id, amount);
                }
            }
        }
    }

    fn count(&mut self, bucket: Bucket, unit: usize, id: usize, amount: u64) {
        let limit = &self.scopes[bucket.scope].limit;
        let windows = limit.units.iter().filter(|window| window.0 == unit);
        let most = windows.clone().map(|window| window.1).max().unwrap();
        let longest = windows.map(|window| window.2).max().unwrap();
        let now = self.now;
        let all = &mut self.buckets.get_mut(&bucket).unwrap().taken;
        for _ in 0..LEAVE_AT_ONCE {
            // What is old is forgotten, as far as what is left fills the largest window.
            let kept = |taken: &&mut Taken| taken.unit == unit && !taken.is_forgotten;
            let sum: u64 = all.iter_mut().filter(kept).map(|taken| taken.amount).sum();
            let Some(oldest) = all.iter_mut().find(kept) else {
                break;
            };
            let is_needless = oldest.amount == 0 || sum - oldest.amount >= most;
            if oldest.at + longest > now || !is_needless {
                break;
            }
            oldest.is_forgotten = true;
        }
        all.push(Taken {
            unit,
            id,
            at: now,
            amount,
            is_forgotten: false,
        });
    }

    /// Answered with this status: it can be settled from now on. What the server did
    /// not accept has cost nothing. Returns the estimate for who settles it.
    pub(super) fn answer_charge(&mut self, id: usize, status: u16) -> Option<Amounts> {
        let charge = self.charges.get_mut(&id)?;
        if charge.items.is_empty() {
            return None;
        }
        charge.is_held = true;
        charge.is_success = status < 400;
        let (leaf, estimate) = (charge.leaf, charge.estimate);
        if (400..500).contains(&status) {
            for unit in 0..UNITS.len() {
                self.set_amount(id, unit, 0);
            }
            self.settle(leaf);
            self.run();
        }
        Some(estimate)
    }

    /// Changes what it takes, and not since when.
    fn set_amount(&mut self, id: usize, unit: usize, amount: u64) {
        let charge = self.charges.get_mut(&id).unwrap();
        let leaf = charge.leaf;
        let Some(item) = charge.items.get_mut(&unit) else {
            return;
        };
        item.amount = amount;
        for bucket in self.path(leaf) {
            let all = &mut self.buckets.get_mut(&bucket).unwrap().taken;
            let its = |taken: &&mut Taken| taken.id == id && taken.unit == unit;
            if let Some(taken) = all.iter_mut().rfind(its) {
                if !taken.is_forgotten {
                    taken.amount = amount;
                }
            }
        }
    }

    /// What was counted is open again.
    fn reopen(&mut self, bucket: Bucket, id: usize, unit: usize) {
        let all = &mut self.buckets.get_mut(&bucket).unwrap().taken;
        let its = |taken: &&mut Taken| (taken.id, taken.unit) == (id, unit);
        if let Some(taken) = all.iter_mut().rfind(its) {
            if !taken.is_forgotten {
                taken.amount = 0;
            }
        }
        let items = &mut self.charges.get_mut(&id).unwrap().items;
        items.get_mut(&unit).unwrap().open.insert(bucket);
    }

    /// What is open counts from now on.
    fn close(&mut self, id: usize, unit: usize) {
        let items = &mut self.charges.get_mut(&id).unwrap().items;
        let Some(item) = items.get_mut(&unit) else {
            return;
        };
        let (open, amount) = (std::mem::take(&mut item.open), item.amount);
        for bucket in open {
            if self.counts(bucket, unit) {
                self.count(bucket, unit, id, amount);
            }
        }
    }

    /// Somebody says what it has cost.
    pub fn settle_by_hand(mut self, id: usize, amounts: &Amounts) -> Vec<Self> {
        let leaf = self.charges[&id].leaf;
        let averages = |state: &Self| [0, 1, 2].map(|unit| state.average(leaf, unit));
        let known = averages(&self);
        let mut is_worse = false;
        for (unit, &amount) in amounts.iter().enumerate() {
            let Some(amount) = amount.filter(|_| self.charges[&id].items.contains_key(&unit))
            else {
                continue;
            };
            is_worse |= amount > self.charges[&id].items[&unit].amount;
            if unit == AT_END {
                // What was settled before counts no longer.
                let counted: BTreeSet<_> = self
                    .path(leaf)
                    .into_iter()
                    .filter(|bucket| {
                        let mut taken = self.buckets[bucket].taken.iter();
                        taken.any(|taken| (taken.id, taken.unit) == (id, unit))
                    })
                    .collect();
                is_worse |= !counted.is_empty();
                self.set_amount(id, unit, amount);
                for bucket in counted {
                    // Where nobody counts any more, it stays as it was.
                    if self.counts(bucket, unit) {
                        self.reopen(bucket, id, unit);
                    }
                }
                self.close(id, unit);
            } else {
                self.set_amount(id, unit, amount);
            }
            let now = self.now;
            if self.charges[&id].is_success {
                let counts = self.buckets.get_mut(&leaf).unwrap();
                counts.settled.insert((id, unit), amount);
                counts.averaged = Some(now);
            }
        }
        // Who is admitted and not dispatched may not fit any more.
        self.changed = self.admissions;
        self.settle(leaf);
        self.run();
        if is_worse || averages(&self) != known {
            return self.recheck_beside(leaf);
        }
        vec![self]
    }

    /// The turns of those who share a scope with a leaf may come too late by now.
    fn recheck_beside(self, leaf: Bucket) -> Vec<Self> {
        let path = self.path(leaf);
        let waits = |request: &&super::Request| {
            let shares = request.path.iter().any(|bucket| path.contains(bucket));
            shares && request.stage == Stage::Queued
        };
        let leaves = self.requests.values().filter(waits);
        let leaves = leaves.map(|request| request.leaf).collect();
        let mut states = self.refuse_the_hopeless(&leaves);
        states.iter_mut().for_each(Self::run);
        states
    }

    /// Nobody can settle it by hand any more.
    pub fn let_go(mut self, id: usize) -> Self {
        let charge = self.charges.get_mut(&id).unwrap();
        charge.is_held = false;
        let leaf = charge.leaf;
        self.end_charge(id);
        self.settle(leaf);
        self.run();
        self
    }

    /// The work has ended.
    pub(super) fn end_work(&mut self, id: usize) {
        if let Some(charge) = self.charges.get_mut(&id) {
            charge.works = false;
            self.end_charge(id);
        }
    }

    /// If nobody can settle it any more, the estimate stays.
    fn end_charge(&mut self, id: usize) {
        let charge = &self.charges[&id];
        if charge.works || charge.is_held {
            return;
        }
        for unit in 0..UNITS.len() {
            self.close(id, unit);
        }
        self.charges.remove(&id);
    }

    /// Whether it takes something that is known for longer than its permits.
    pub(super) fn is_charged(&self, id: usize) -> bool {
        !self.charges[&id].demand.is_usual()
    }
}

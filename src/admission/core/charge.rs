//! What requests take that is not one request and one permit: the data of it.

use std::collections::BTreeMap;

use super::{claim::Claim, fleet::Reserved, ids::WaiterId, scope::SCOPES};
use crate::{
    bucket::{Demand, Held},
    costs::{Cost, Flow, Priority, Unit},
    steps,
};

/// The costs of a layer's requests. Most cost one request and one permit, and are not in here.
#[derive(Debug, Default)]
pub(super) struct Charges {
    /// Of what was admitted, by the serial of the claim.
    pub(super) admitted: BTreeMap<u64, Charge>,
    /// What requests that wait have stated.
    pub(super) stated: BTreeMap<WaiterId, Box<Cost>>,
    /// How many of those count as no request.
    pub(super) free: usize,
    /// All units that were ever counted. Where one stands is its bit in a [`Needs`].
    pub(super) units: Vec<Unit>,
    /// How many scopes count something besides requests, and one more if a store decides with the layer.
    pub(super) counting: usize,
}

/// No bucket counts more requests or permits than this that are under way, so that counters do not overflow.
pub(super) const MOST: u32 = 1 << 30;

/// What one admitted request takes.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) requests: u32,
    pub(super) permits: u32,
    pub(super) units: Vec<Item>,
    /// Its claim, or what settles it by hand: until both have ended it can be settled.
    pub(super) holders: u8,
    /// It was a success, as far as is known.
    pub(super) is_accepted: bool,
    /// What was settled by hand stays.
    pub(super) by_hand: bool,
    pub(super) payer: Payer,
    /// What a store has granted to it.
    pub(super) reserved: Option<Box<Reserved>>,
}

/// The flow that is charged with what a request costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Payer {
    pub(super) priority: Priority,
    pub(super) flow: Option<Flow>,
}

/// What it takes of one unit.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) unit: Unit,
    pub(super) estimate: u64,
    pub(super) settled: Option<u64>,
    /// What it counts as in the average of its endpoint.
    pub(super) averaged: Option<u64>,
    /// From the leaf up: where it stands, and what counts there.
    pub(super) held: [Held; SCOPES],
    pub(super) counted: [u64; SCOPES],
}

/// Who says what a request has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Settler {
    Hand,
    Reader,
    /// What was not accepted costs nothing.
    Nobody,
}

/// Of what a request takes something: one bit for requests, one for permits, and one for each unit.
///
/// Where requests of several endpoints compete, one that waits for a unit is passed by those of which another
/// needs needs none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needs(pub(super) u32);

impl Needs {
    const REQUESTS: Self = Self(1);
    const PERMITS: Self = Self(2);
    /// A request and a permit: what most take.
    pub(super) const DEFAULT: Self = Self(3);
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(u32::MAX);

    /// With more units than there are bits, some share one. Then fewer are passed.
    pub(super) fn of_unit(place: usize) -> Self {
        Self(1 << (2 + place).min(31))
    }

    /// Without requests and permits.
    pub(super) fn units(self) -> Self {
        Self(self.0 & !Self::DEFAULT.0)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Charges {
    /// Whether every request costs one request and one permit.
    #[inline]
    pub(super) fn are_plain(&self) -> bool {
        self.counting == 0 && self.stated.is_empty()
    }

    /// How many times the work of a plain request one of these requests may take: each unit has sums to look at, in
    /// each scope.
    pub(super) fn weight(&self) -> usize {
        if self.are_plain() {
            return 1;
        }
        (4 + 4 * self.units.len()).min(64)
    }

    pub(super) fn state(&mut self, id: WaiterId, cost: Option<Box<Cost>>) {
        if let Some(cost) = cost {
            steps::count_way_down(self.stated.len());
            self.free += usize::from(is_free(&cost));
            self.stated.insert(id, cost);
        }
    }

    pub(super) fn forget(&mut self, id: WaiterId) {
        if !self.stated.is_empty() {
            steps::count_way_down(self.stated.len());
            let cost = self.stated.remove(&id);
            self.free -= usize::from(cost.is_some_and(|cost| is_free(&cost)));
        }
    }

    pub(super) fn stated(&self, id: WaiterId) -> Option<&Cost> {
        if self.stated.is_empty() {
            return None;
        }
        steps::count_way_down(self.stated.len());
        self.stated.get(&id).map(|cost| &**cost)
    }

    pub(super) fn get(&self, claim: Claim) -> &Charge {
        steps::count_way_down(self.admitted.len());
        let charge = self.admitted.get(&claim.serial);
        charge.expect("a claim's charge stays until it has ended")
    }

    /// Takes note of a unit that is counted.
    pub(super) fn know(&mut self, unit: Unit) {
        if !self.units.iter().any(|known| known.is_called_as(&unit)) {
            self.units.push(unit);
        }
    }

    pub(super) fn needs(&self, demand: &Demand) -> Needs {
        let mut needs = Needs::NONE;
        if demand.requests > 0 {
            needs = needs.and(Needs::REQUESTS);
        }
        if demand.permits > 0 {
            needs = needs.and(Needs::PERMITS);
        }
        for (unit, _) in demand.units.iter().filter(|(_, amount)| *amount > 0) {
            let place = self.units.iter().position(|known| known.is_called_as(unit));
            needs = needs.and(Needs::of_unit(place.unwrap_or(usize::MAX / 2)));
        }
        needs
    }

    /// A demand for each bit of its needs: one of them alone.
    pub(super) fn parts<'a>(
        &'a self,
        demand: &'a Demand,
    ) -> impl Iterator<Item = (Needs, Demand)> + 'a {
        let requests = Demand {
            requests: demand.requests,
            ..Demand::NOTHING
        };
        let permits = Demand {
            permits: demand.permits,
            ..Demand::NOTHING
        };
        let units = demand.units.iter().map(|&part| Demand {
            units: vec![part],
            ..Demand::NOTHING
        });
        [requests, permits]
            .into_iter()
            .chain(units)
            .map(|part| (self.needs(&part), part))
            .filter(|(needs, _)| *needs != Needs::NONE)
    }
}

/// Whether a request counts as none.
fn is_free(cost: &Cost) -> bool {
    cost.get(Unit::REQUESTS) == Some(0)
}

impl Charge {
    /// What it has cost, as far as that is known.
    pub(super) fn actual(&self) -> Demand {
        Demand {
            units: self
                .units
                .iter()
                .map(|item| (item.unit, item.settled.unwrap_or(item.counted[0])))
                .collect(),
            ..self.demand()
        }
    }

    pub(super) fn demand(&self) -> Demand {
        Demand {
            requests: self.requests,
            permits: self.permits,
            units: self
                .units
                .iter()
                .map(|item| (item.unit, item.estimate))
                .collect(),
        }
    }
}

//! What becomes of a slot: a request takes it, goes, is settled, and ends, or gives it back.

use std::{hash::Hasher, time::Duration};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::{
    charge::Charge,
    claim::Claim,
    fleet::{Fleet, Reserved},
    ids::NodeId,
    tree::Tree,
};
use crate::{
    bucket::{Demand, Gate, Tick},
    costs::Unit,
};

impl Tree {
    /// A store decides with the layer from now on.
    pub(in crate::admission) fn join_fleet(&mut self, fleet: Fleet) {
        self.fleet = Some(Box::new(fleet));
        // As if one scope counted units: no request is plain, as each has a slot.
        self.charges.counting += 1;
        self.looks_twice = true;
        for index in 0..self.scopes.end() {
            if self.scopes.get(index).is_some() {
                self.renew_rules(index);
            }
        }
    }

    /// Whether a store decides with the layer.
    #[inline]
    pub(in crate::admission) fn is_joint(&self) -> bool {
        self.fleet.is_some()
    }

    pub(in crate::admission) fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_deref()
    }

    /// Somebody has come to a leaf or gone, or its pause or its lessons have changed.
    pub(super) fn note_leaf(&mut self, leaf: NodeId) {
        if let Some(fleet) = &mut self.fleet {
            fleet.no_longer_expects(leaf);
            fleet.note(leaf);
        }
    }

    /// Whether a leaf has a slot for a request, if it needs one.
    pub(super) fn slot_gate(&self, leaf: NodeId, demand: &Demand, now: Tick) -> Gate {
        let fleet = self.fleet.as_ref();
        fleet.map_or(Gate::Open, |fleet| fleet.gate(leaf, demand, now))
    }

    /// The gate of a node, with its slots if it is a leaf.
    pub(super) fn with_slots(&self, id: NodeId, gate: Gate, demand: &Demand, now: Tick) -> Gate {
        let kind = self.scope(self.node(id).spec).kind;
        if !kind.is_endpoint() {
            return gate;
        }
        match (gate, self.slot_gate(id, demand, now)) {
            (Gate::Closed, _) | (_, Gate::Closed) => Gate::Closed,
            (Gate::Open, gate) | (gate, Gate::Open) => gate,
            (Gate::Until(one), Gate::Until(other)) => Gate::Until(one.max(other)),
        }
    }

    /// A request takes what it takes, in a slot if there is one. Without one it is told afterwards.
    pub(super) fn reserve(&mut self, leaf: NodeId, demand: &Demand) -> Option<Box<Reserved>> {
        let now = self.latest();
        let fleet = self.fleet.as_mut()?;
        fleet.take(leaf, demand, now).map(Box::new)
    }

    /// Whether an admitted request can still go.
    pub(super) fn lasts(&self, claim: Claim, now: Tick) -> bool {
        let Some(fleet) = self.fleet.as_ref().filter(|_| claim.is_charged()) else {
            return true;
        };
        let reserved = self.charges.get(claim).reserved.as_ref();
        reserved.is_none_or(|reserved| fleet.lasts(reserved, now))
    }

    /// Slots lose the time for which the machine was frozen.
    pub(super) fn look_at_wall(&mut self, wall: Duration, now: Tick) {
        if let Some(fleet) = &mut self.fleet {
            fleet.look_at_wall(wall, now);
        }
    }

    /// The request has gone.
    pub(super) fn stamp_slot(&mut self, claim: Claim, now: Tick) {
        if self.fleet.is_none() {
            return;
        }
        let scopes = self.path(claim.leaf).map(|id| self.shared_name(id));
        let scopes: Vec<_> = scopes.collect();
        let Some((fleet, charge)) = self.fleet_and_charge(claim) else {
            return;
        };
        let demand = charge.demand();
        let Some(reserved) = &mut charge.reserved else {
            let costs = fleet.costs(&demand);
            let at = super::fleet::ceil(now);
            return fleet.member.unreserved(scopes, costs, at);
        };
        fleet.dispatched(reserved, now);
        // It may take less than the request for which the slot was.
        for (unit, taken) in units(&demand).filter(|(unit, _)| !unit.is_at_end()) {
            fleet.settled(reserved, unit, taken);
        }
    }

    /// It is known what it takes of a unit that counts at dispatch.
    pub(super) fn settle_slot(&mut self, claim: Claim, unit: Unit, actual: u64) {
        let Some((fleet, charge)) = self.fleet_and_charge(claim) else {
            return;
        };
        if let Some(reserved) = &mut charge.reserved {
            fleet.settled(reserved, unit, actual);
        }
    }

    /// It has ended, or cannot be settled any more: then it `is_over`.
    pub(super) fn end_slot(&mut self, claim: Claim, is_over: bool, now: Tick) {
        let Some((fleet, charge)) = self.fleet_and_charge(claim) else {
            return;
        };
        let at_end = charge.units.iter().filter(|item| item.unit.is_at_end());
        if !is_over && at_end.clone().any(|item| item.settled.is_none()) {
            return;
        }
        let costs = at_end.map(|item| (item.unit, item.settled.unwrap_or(item.estimate)));
        let costs: Vec<_> = costs.collect();
        if let Some(reserved) = &charge.reserved {
            // Only the first time counts.
            fleet.ended(reserved, &costs, now);
        }
    }

    /// Whether a claim whose permits in `mask` end has no other that is limited.
    pub(super) fn holds_no_other(&self, claim: Claim, mask: u8) -> bool {
        if self.fleet.is_none() || mask & Claim::SCOPES == 0 {
            return false;
        }
        let mut path = self.path(claim.leaf).enumerate();
        path.all(|(level, id)| {
            let left = claim.permits & !mask & (1 << level) != 0;
            let rules = &self.scope(self.node(id).spec).rules;
            !left || rules.concurrency().is_none()
        })
    }

    /// It was never dispatched.
    pub(super) fn give_back_slot(&mut self, claim: Claim) {
        let now = self.latest();
        let Some((fleet, charge)) = self.fleet_and_charge(claim) else {
            return;
        };
        if let Some(reserved) = charge.reserved.take() {
            fleet.put_back(claim.leaf, *reserved, now);
        }
    }

    fn fleet_and_charge(&mut self, claim: Claim) -> Option<(&mut Fleet, &mut Charge)> {
        let fleet = self.fleet.as_mut()?;
        let charge = self.charges.admitted.get_mut(&claim.serial)?;
        Some((fleet, charge))
    }

    /// What all members of a fleet call a bucket.
    pub(super) fn shared_name(&self, id: NodeId) -> String {
        let node = self.node(id);
        let scope = self.scope(self.base(node.spec));
        let mut name = scope.name.to_string();
        if let Some(key) = node.key() {
            name.push(' ');
            name.push_str(&key);
        }
        if scope.partitioned {
            let partition = node.partition;
            name = format!("{name} #{partition:016x}");
        }
        if name.len() > LONGEST_NAME {
            shorten(&mut name);
        }
        name
    }
}

/// So many bytes of a scope's name a store takes.
const LONGEST_NAME: usize = 512;

/// The end of a name makes way for a hash of all of it, the same in all members whatever they run on.
fn shorten(name: &mut String) {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    let hash = hasher.finish128().as_u128();
    let mut end = LONGEST_NAME - 34;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    *name = format!("{name} ~{hash:032x}");
}

/// All that a demand takes besides permits.
fn units(demand: &Demand) -> impl Iterator<Item = (Unit, u64)> {
    let requests = (Unit::REQUESTS, u64::from(demand.requests));
    [requests].into_iter().chain(demand.units.iter().copied())
}

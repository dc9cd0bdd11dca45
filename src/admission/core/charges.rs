//! What requests take that is not one request and one permit: from their admission until they are settled.

use super::{
    charge::{Charge, Item, MOST, Payer, Settler},
    claim::Claim,
    ids::NodeId,
    node::Node,
    scope::SCOPES,
    tree::Tree,
};
use crate::{
    bucket::{Demand, Gate, Held, Rules, Tick},
    costs::{Cost, Unit},
    steps,
};

impl Item {
    /// What is open counts from now on.
    fn count(&mut self, node: &mut Node, rules: &Rules, level: usize, now: Tick) {
        let held = &mut self.held[level];
        if *held == Held::Open {
            let after = self.settled.unwrap_or(self.estimate);
            let amounts = (self.counted[level], after);
            *held = node
                .bucket
                .settle_units(rules, self.unit, *held, amounts, now);
            self.counted[level] = after;
        }
    }
}

impl Tree {
    /// Whether requests of this leaf take something besides a request and a permit.
    #[inline]
    pub(in crate::admission) fn counts_units(&self, leaf: NodeId) -> bool {
        self.charges.counting > 0 && self.counts_units_above(leaf)
    }

    #[cold]
    #[inline(never)]
    fn counts_units_above(&self, leaf: NodeId) -> bool {
        let mut path = self.path(leaf);
        path.any(|id| !self.scope(self.node(id).spec).rules.units().is_empty())
    }

    /// Whether a scope of a leaf counts a unit, however that is spelled.
    pub(super) fn counts(&self, leaf: NodeId, unit: Unit) -> bool {
        let counts = |id: NodeId| {
            let rules = self.scope(self.node(id).spec).rules.units();
            rules.iter().any(|rules| rules.unit.is_spelled_like(&unit))
        };
        self.charges.counting > 0 && self.path(leaf).any(counts)
    }

    /// What a request would take now. What it does not state is estimated.
    pub(super) fn demand(&self, leaf: NodeId, stated: Option<&Cost>) -> Demand {
        if stated.is_none() && !self.counts_units(leaf) {
            return Demand::ONE;
        }
        let mut demand = Demand::ONE;
        if let Some(stated) = stated {
            let requests = stated.get(Unit::REQUESTS).unwrap_or(1);
            demand.requests = u32::try_from(requests).unwrap_or(u32::MAX);
            let permits = stated.get_permits().unwrap_or(1);
            demand.permits = u32::try_from(permits).unwrap_or(u32::MAX);
        }
        for id in self.path(leaf) {
            for rules in self.scope(self.node(id).spec).rules.units() {
                let unit = rules.unit;
                if demand
                    .units
                    .iter()
                    .any(|(known, _)| known.is_called_as(&unit))
                {
                    continue;
                }
                let amount = stated.and_then(|stated| stated.get(unit));
                let amount = amount.unwrap_or_else(|| self.estimate(leaf, unit));
                demand.units.push((unit, amount));
            }
        }
        demand
    }

    /// What requests of this leaf take of a unit on average; before that is known, an eighth of the smallest window.
    fn estimate(&self, leaf: NodeId, unit: Unit) -> u64 {
        let least = self.path(leaf).filter_map(|id| {
            let rules = self.scope(self.node(id).spec).rules.unit(unit)?;
            Some(rules.least())
        });
        let least = least.min().unwrap_or(u64::MAX);
        let in_hand = self
            .fleet
            .as_ref()
            .and_then(|fleet| fleet.in_hand(leaf, unit));
        if let Some(in_hand) = in_hand {
            return in_hand.min(least);
        }
        let average = self.node(leaf).bucket.average(unit);
        average.unwrap_or((least / 8).max(1)).min(least)
    }

    /// The scope at which what a request states can never fit. What is estimated always does.
    pub(super) fn never_fits(&self, leaf: NodeId, stated: &Cost) -> Option<NodeId> {
        let demand = self.demand(leaf, Some(stated));
        let can_never_hold = |&id: &NodeId| {
            let rules = &self.scope(self.node(id).spec).rules;
            rules.can_never_hold(&demand)
        };
        self.path(leaf).find(can_never_hold)
    }

    /// Whether a claim has taken of every unit that its scopes count: a quota may be newer than it.
    pub(super) fn has_taken_all(&self, claim: Claim) -> bool {
        let charge = claim.is_charged().then(|| self.charges.get(claim));
        self.path(claim.leaf).enumerate().all(|(level, id)| {
            let rules = &self.scope(self.node(id).spec).rules;
            rules.units().iter().all(|rules| {
                let mut items = charge.into_iter().flat_map(|charge| &charge.units);
                let item = items.find(|item| item.unit.is_called_as(&rules.unit));
                item.is_some_and(|item| item.held[level] != Held::Nothing)
            })
        })
    }

    /// Whether the node has room for what a request takes, whatever waits there.
    pub(super) fn is_open_for(&self, id: NodeId, demand: &Demand, now: Tick) -> bool {
        let node = self.node(id);
        let scope = self.scope(node.spec);
        if *demand == Demand::ONE && scope.rules.units().is_empty() && scope.kin == 0 {
            return self.is_open(node, now);
        }
        self.gate(id, demand, now) == Gate::Open
    }

    /// The rest of [`take`](Self::take), for a request that takes something else than one request and one permit.
    pub(super) fn charge(&mut self, mut claim: Claim, demand: Demand) -> Claim {
        let of_slot = demand.clone();
        let Demand {
            mut requests,
            mut permits,
            units,
        } = demand;
        // Where they are limited, they are fewer.
        for id in self.path(claim.leaf) {
            let (places, in_flight) = self.node(id).bucket.taken();
            requests = requests.min(MOST.saturating_sub(places));
            permits = permits.min(MOST.saturating_sub(in_flight));
        }
        let mut items: Vec<_> = units
            .into_iter()
            .map(|(unit, amount)| Item {
                unit,
                estimate: amount,
                settled: None,
                averaged: None,
                held: [Held::Nothing; SCOPES],
                counted: [amount; SCOPES],
            })
            .collect();
        let mut level = 0;
        self.each(claim.leaf, |node, scopes, bit| {
            // One of each was taken.
            if claim.places & bit != 0 {
                node.bucket.give_back_places(1);
                node.bucket.take_places(requests);
            }
            if claim.permits & bit != 0 {
                node.bucket.release_permits(1);
                node.bucket.take_permits(permits);
                node.add_besides(1);
                node.take_besides(permits);
            }
            let rules = &scopes[node.spec.0 as usize].rules;
            for item in &mut items {
                item.held[level] = node.bucket.take_units(rules, item.unit, item.estimate);
            }
            level += 1;
        });
        claim.permits |= Claim::CHARGE;
        let reserved = self.reserve(claim.leaf, &of_slot);
        if self.is_joint() {
            // The store is to hear of the dispatch, also where there are no windows.
            claim.places |= Claim::TOLD;
        }
        let charge = Charge {
            requests,
            permits,
            units: items,
            holders: 1,
            is_accepted: false,
            by_hand: false,
            payer: Payer::default(),
            reserved,
        };
        steps::count_way_down(self.charges.admitted.len());
        self.charges.admitted.insert(claim.serial, charge);
        claim
    }

    /// What a claim takes.
    pub(super) fn demand_of_claim(&self, claim: Claim) -> Demand {
        if claim.is_charged() {
            self.charges.get(claim).demand()
        } else {
            Demand::ONE
        }
    }

    /// Runs `f` for each scope of a claim with what it takes there.
    fn each_charged(
        &mut self,
        claim: Claim,
        mut f: impl FnMut(&mut Node, &Rules, &mut Charge, usize, u8),
    ) {
        steps::count_way_down(self.charges.admitted.len());
        let Some(mut charge) = self.charges.admitted.remove(&claim.serial) else {
            return;
        };
        let mut level = 0;
        self.each(claim.leaf, |node, scopes, bit| {
            f(
                node,
                &scopes[node.spec.0 as usize].rules,
                &mut charge,
                level,
                bit,
            );
            level += 1;
        });
        self.charges.admitted.insert(claim.serial, charge);
    }

    /// [`stamp`](Self::stamp), of a request with a charge.
    #[cold]
    #[inline(never)]
    pub(in crate::admission) fn stamp_charged(&mut self, claim: Claim, now: Tick) -> bool {
        let mut contested = false;
        self.each_charged(claim, |node, rules, charge, level, bit| {
            if claim.places & bit != 0 {
                node.bucket.stamp(rules, charge.requests, now);
            }
            for item in &mut charge.units {
                let (held, amount) = (&mut item.held[level], item.counted[level]);
                *held = (node.bucket).stamp_units(rules, item.unit, *held, amount, now);
            }
            contested |= node.wait_queue.is_some();
        });
        self.stamp_slot(claim, now);
        contested
    }

    /// [`release`](Self::release), of a request with a charge.
    #[cold]
    #[inline(never)]
    pub(super) fn release_charged(&mut self, claim: Claim, mask: u8, now: Tick) -> bool {
        let mut contested = false;
        let ends = mask & Claim::CHARGE != 0;
        self.each_charged(claim, |node, rules, charge, level, bit| {
            if mask & bit != 0 {
                node.bucket.release_permits(charge.permits);
                node.add_besides(charge.permits);
            }
            for item in charge
                .units
                .iter_mut()
                .filter(|item| ends && item.settled.is_some())
            {
                item.count(node, rules, level, now);
            }
            contested |= node.wait_queue.is_some();
        });
        if ends || self.holds_no_other(claim, mask) {
            self.end_slot(claim, false, now);
        }
        if ends {
            self.note_costs(claim, now);
            self.let_go_of_charge(claim, now);
        }
        contested
    }

    /// [`give_back`](Self::give_back), of a request with a charge: what was taken but for one place and one permit.
    pub(super) fn uncharge(&mut self, claim: Claim) {
        self.each_charged(claim, |node, _, charge, level, bit| {
            if claim.places & bit != 0 {
                node.bucket.give_back_places(charge.requests);
                node.bucket.take_places(1);
            }
            if claim.permits & bit != 0 {
                node.bucket.release_permits(charge.permits);
                node.bucket.take_permits(1);
                node.take_besides(1);
                node.add_besides(charge.permits);
            }
            for item in &mut charge.units {
                let held = std::mem::take(&mut item.held[level]);
                node.bucket
                    .change_units(item.unit, held, item.counted[level], 0);
            }
        });
        self.give_back_slot(claim);
        self.charges.admitted.remove(&claim.serial);
    }

    /// Lends out what a claim has taken of units and besides one place and one permit, or takes it again.
    pub(super) fn lend(&mut self, claim: Claim, again: bool) {
        self.each_charged(claim, |node, _, charge, level, bit| {
            if claim.places & bit != 0 {
                let (from, to) = if again {
                    (1, charge.requests)
                } else {
                    (charge.requests, 1)
                };
                node.bucket.give_back_places(from);
                node.bucket.take_places(to);
            }
            if claim.permits & bit != 0 {
                let (from, to) = if again {
                    (1, charge.permits)
                } else {
                    (charge.permits, 1)
                };
                node.bucket.release_permits(from);
                node.bucket.take_permits(to);
            }
            for item in &charge.units {
                let amount = item.counted[level];
                let (from, to) = if again { (0, amount) } else { (amount, 0) };
                node.bucket
                    .change_units(item.unit, item.held[level], from, to);
            }
        });
    }

    /// Another one may settle the charge, until it [lets go](Self::let_go_of_charge) of it. Returns the estimate.
    pub(in crate::admission) fn hold_charge(
        &mut self,
        claim: Claim,
        is_accepted: bool,
    ) -> Option<Cost> {
        let charge = self.charges.admitted.get_mut(&claim.serial)?;
        charge.is_accepted = is_accepted;
        if charge.units.is_empty() {
            return None;
        }
        charge.holders += 1;
        let mut cost = Cost::new();
        for item in &charge.units {
            cost = cost.of(item.unit, item.estimate);
        }
        self.node_mut(claim.leaf).pins += 1;
        Some(cost)
    }

    /// Its answer was no success after all: it has failed, or nobody has read it to its end.
    pub(in crate::admission) fn lose_charge(&mut self, claim: Claim) {
        if let Some(charge) = self.charges.admitted.get_mut(&claim.serial) {
            charge.is_accepted = false;
        }
    }

    /// The hold of a [settler](Self::hold_charge) ends.
    pub(super) fn end_hold(&mut self, claim: Claim, now: Tick) {
        self.let_go_of_charge(claim, now);
        self.node_mut(claim.leaf).pins -= 1;
    }

    /// When nobody can settle it any more, the estimate stays: where the server counts at the end, it counts from now
    /// on.
    fn let_go_of_charge(&mut self, claim: Claim, now: Tick) {
        let mut ends = false;
        self.each_charged(claim, |node, rules, charge, level, _| {
            if level == 0 {
                charge.holders -= 1;
                ends = charge.holders == 0;
            }
            for item in charge.units.iter_mut().filter(|_| ends) {
                item.count(node, rules, level, now);
            }
        });
        if ends {
            self.end_slot(claim, true, now);
            steps::count_way_down(self.charges.admitted.len());
            self.charges.admitted.remove(&claim.serial);
        }
    }

    /// What a request has cost, in each unit of which something is said. Returns whether any scope has more taken
    /// from it now than before; `None` if it was settled by hand before.
    pub(super) fn settle_charge(
        &mut self,
        claim: Claim,
        actual: &Cost,
        by: Settler,
        now: Tick,
    ) -> Option<bool> {
        let mut more = false;
        let charge = self.charges.admitted.get_mut(&claim.serial)?;
        if charge.by_hand && by != Settler::Hand {
            return None;
        }
        charge.by_hand |= by == Settler::Hand;
        let before = self.share_charged(claim);
        self.each_charged(claim, |node, rules, charge, level, _| {
            for item in &mut charge.units {
                let Some(after) = actual.get(item.unit) else {
                    continue;
                };
                let (held, before) = (&mut item.held[level], item.counted[level]);
                if *held == Held::Open && by == Settler::Reader {
                    // Its answer has not ended.
                    continue;
                }
                let amounts = (before, after);
                let settled = node
                    .bucket
                    .settle_units(rules, item.unit, *held, amounts, now);
                // What was settled before, and counts at the answer's end, counts anew: its window may have passed.
                let again = matches!(held, Held::Logged(_)) && settled != *held && after > 0;
                more |= after > before || again;
                *held = settled;
                item.counted[level] = after;
            }
        });
        if let Some(charge) = self.charges.admitted.get_mut(&claim.serial) {
            for item in &mut charge.units {
                if let Some(after) = actual.get(item.unit) {
                    item.settled = Some(after).filter(|_| by != Settler::Nobody);
                }
            }
        }
        if self.is_joint() {
            self.settle_slots(claim, actual);
        }
        if by == Settler::Hand {
            self.note_costs(claim, now);
        }
        if let Some(before) = before {
            self.charge_flow(claim, before);
        }
        if more {
            // Who has its places and has not gone out is looked at again.
            self.note_change();
        }
        Some(more)
    }

    /// The store hears what is known of units that count at dispatch.
    #[cold]
    fn settle_slots(&mut self, claim: Claim, actual: &Cost) {
        let charge = self.charges.admitted.get(&claim.serial);
        let units = charge.into_iter().flat_map(|charge| &charge.units);
        let settled: Vec<_> = units
            .filter(|item| !item.unit.is_at_end())
            .filter_map(|item| Some((item.unit, actual.get(item.unit)?)))
            .collect();
        for (unit, actual) in settled {
            self.settle_slot(claim, unit, actual);
        }
    }

    /// What a success was settled at last counts for the average of its endpoint, once.
    fn note_costs(&mut self, claim: Claim, now: Tick) {
        if let Some(fleet) = &mut self.fleet {
            fleet.ask_about(claim.leaf);
        }
        self.each_charged(claim, |node, _, charge, level, _| {
            let of_endpoint = charge.is_accepted && level == 0;
            for item in charge.units.iter_mut().filter(|_| of_endpoint) {
                let Some(settled) = item.settled else {
                    continue;
                };
                if item.averaged != Some(settled) {
                    let before = item.averaged.replace(settled);
                    (node.bucket).note_cost(item.unit, before, settled, now);
                }
            }
        });
    }

    /// The server refused a request because of a unit: some estimates were too low, and each scope that counts the
    /// unit leaves more of it free. Of tokens that an answer does not tell apart, all are meant that are counted.
    pub(super) fn refused_for(&mut self, claim: Claim, unit: Unit, now: Tick) {
        let number = (claim.serial, self.serial);
        let is_named = |counted: Unit| counted.is_called_as(&unit);
        let is_meant = |counted: Unit, some_is_named: bool| {
            let is_of_tokens = counted.name().ends_with("tokens");
            is_named(counted) || !some_is_named && unit == Unit::TOKENS && is_of_tokens
        };
        let units = self.demand_of_claim(claim).units;
        let some_is_named = units.iter().any(|&(counted, _)| is_named(counted));
        for (counted, _) in units {
            if !is_meant(counted, some_is_named) {
                continue;
            }
            self.each(claim.leaf, |node, scopes, _| {
                let rules = &scopes[node.spec.0 as usize].rules;
                if rules.unit(counted).is_some_and(|rules| rules.learns) {
                    node.bucket.refused_for(counted, number, now);
                }
            });
        }
    }

    /// Nothing of any unit.
    pub(super) fn nothing(&self, claim: Claim) -> Cost {
        let charge = self.charges.admitted.get(&claim.serial);
        let units = charge.into_iter().flat_map(|charge| &charge.units);
        units.fold(Cost::new(), |cost, item| cost.of(item.unit, 0))
    }
}

//! How much of the tightest limit requests take, and which flow has to answer for it.

use super::{charge::Payer, claim::Claim, ids::NodeId, tree::Tree};
use crate::{
    bucket::{Demand, Rules},
    costs::{Flow, Priority},
};

impl Tree {
    /// How much of the tightest limit a request takes that needs this leaf.
    pub(super) fn share(&self, leaf: NodeId, demand: &Demand) -> u64 {
        let shares = self.path(leaf).filter_map(|id| {
            let rules = &self.scope(self.node(id).spec).rules;
            rules.share(demand)
        });
        shares.max().unwrap_or(Rules::WHOLE)
    }

    /// Has a flow answer for what a request turns out to cost.
    pub(super) fn note_flow(&mut self, claim: Claim, priority: Priority, flow: Option<Flow>) {
        if !claim.is_charged() {
            return;
        }
        if let Some(charge) = self.charges.admitted.get_mut(&claim.serial) {
            charge.payer = Payer { priority, flow };
        }
    }

    /// How much of the tightest limit a request has cost, as far as that is known and a flow is to answer for it.
    pub(super) fn share_charged(&self, claim: Claim) -> Option<u64> {
        let queue = self.node(claim.leaf).wait_queue.as_ref();
        queue.and_then(|queue| queue.flows.as_ref())?;
        let charge = self.charges.admitted.get(&claim.serial)?;
        Some(self.share(claim.leaf, &charge.actual()))
    }

    /// Charges its flow with what a request has cost more, or less, than was known before.
    pub(super) fn charge_flow(&mut self, claim: Claim, before: u64) {
        let Some(share) = self.share_charged(claim) else {
            return;
        };
        let more = i128::from(share) - i128::from(before);
        // A flow that is charged nothing keeps its place among those that start where it does.
        if more == 0 {
            return;
        }
        let charge = self.charges.admitted.get(&claim.serial);
        let payer = charge.map(|charge| charge.payer).unwrap_or_default();
        let queue = self.node_mut(claim.leaf).wait_queue.as_mut();
        if let Some(flows) = queue.and_then(|queue| queue.flows.as_mut()) {
            flows.charge(payer.priority, payer.flow, more);
        }
    }
}

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
        if flow.is_none() || !claim.is_charged() {
            return;
        }
        let share = self.share(claim.leaf, &self.charges.get(claim).demand());
        if let Some(charge) = self.charges.admitted.get_mut(&claim.serial) {
            charge.payer = Some(Payer {
                priority,
                flow,
                share,
            });
        }
    }

    /// Charges its flow with what a request has cost more, or less.
    pub(super) fn charge_flow(&mut self, claim: Claim) {
        let Some(charge) = self.charges.admitted.get(&claim.serial) else {
            return;
        };
        let Some(payer) = charge.payer else { return };
        let share = self.share(claim.leaf, &charge.actual());
        let more = i128::from(share) - i128::from(payer.share);
        if let Some(charge) = self.charges.admitted.get_mut(&claim.serial) {
            charge.payer = Some(Payer { share, ..payer });
        }
        let queue = self.node_mut(claim.leaf).wait_queue.as_mut();
        if let Some(flows) = queue.and_then(|queue| queue.flows.as_mut()) {
            flows.charge(payer.priority, payer.flow, more);
        }
    }
}

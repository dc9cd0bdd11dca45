//! Whom an answer is about, and who has to hear of it.

use super::{ids::NodeId, state::State, taken::Taken, tree::Tree, wakes::Wakes};
use crate::{
    bucket::{Bucket, Face, Refusal, RefusalKind, Report, Rules, Tick},
    endpoints::SpecKind,
};

impl Tree {
    /// The node whose limit an answer is about: the endpoint's, unless that has no limit of this kind
    /// and its group has.
    pub(super) fn blamed(&self, leaf: NodeId, limits: impl Fn(&Rules) -> bool) -> NodeId {
        let blamed = self.path(leaf).find(|&id| {
            let spec = self.spec(self.node(id).spec);
            spec.kind.learns() && limits(&spec.rules)
        });
        blamed.unwrap_or(leaf)
    }
}

impl State {
    /// The answer to a request was a refusal. Returns when its endpoint opens again.
    pub(super) fn refused(
        &mut self,
        taken: Taken,
        refusal: &Refusal,
        everything: bool,
        now: Tick,
        wakes: &mut Wakes,
    ) -> Tick {
        self.tree
            .each(taken.leaf, |node, _, _| node.counters.throttled += 1);
        let mut blamed = match refusal.kind {
            RefusalKind::Concurrency(_) => self
                .tree
                .blamed(taken.leaf, |rules| rules.concurrency().is_some()),
            _ => self
                .tree
                .blamed(taken.leaf, |rules| !rules.windows().is_empty()),
        };
        if everything {
            let overall = self
                .tree
                .path(taken.leaf)
                .find(|&id| self.tree.spec(self.tree.node(id).spec).kind == SpecKind::Overall);
            blamed = overall.unwrap_or(blamed);
        }
        self.teach(blamed, now, wakes, |bucket, face, rules, newest| {
            bucket.refused(refusal, face, rules, (taken.serial, newest), now);
        });
        self.tree.slot(taken.leaf, 0, now).0
    }

    /// Lets a bucket learn, and whoever waits for it hear of the consequences.
    pub(super) fn teach(
        &mut self,
        id: NodeId,
        now: Tick,
        wakes: &mut Wakes,
        lesson: impl FnOnce(&mut Bucket, Face, &Rules, u64),
    ) {
        let node = &mut self.tree.table.nodes[id.index()];
        let rules = &self.tree.specs[node.spec.0 as usize].rules;
        let before = (node.bucket.paused_until(), node.bucket.lessons(now));
        let knew = node.bucket.has_learned();
        lesson(&mut node.bucket, self.tree.face, rules, self.tree.serial);
        let after = (node.bucket.paused_until(), node.bucket.lessons(now));
        let knows = node.bucket.has_learned();
        self.tree.table.learned = self.tree.table.learned + usize::from(knows) - usize::from(knew);
        if self.tree.node(id).contest.is_some() {
            self.settle(id, now, wakes);
            if before != after {
                self.refuse_the_hopeless(now, wakes);
            }
        }
    }

    /// The head of an answer names a delay: nothing is sent until then, whatever else it says.
    pub(super) fn asked_to_wait(
        &mut self,
        taken: Taken,
        refusal: &Refusal,
        now: Tick,
        wakes: &mut Wakes,
    ) {
        let blamed = self
            .tree
            .blamed(taken.leaf, |rules| !rules.windows().is_empty());
        self.teach(blamed, now, wakes, |bucket, _, _, _| {
            bucket.asked_to_wait(refusal, now);
        });
    }

    /// The answer to a request was none of the kind.
    pub(super) fn succeeded(
        &mut self,
        taken: Taken,
        report: &Report,
        now: Tick,
        wakes: &mut Wakes,
    ) {
        let mut next = Some(taken.leaf);
        while let Some(id) = next {
            next = self.tree.node(id).parent;
            // What the headers say is about the endpoint.
            let report = if id == taken.leaf {
                report
            } else {
                &Report::default()
            };
            self.teach(id, now, wakes, |bucket, face, rules, newest| {
                bucket.succeeded(report, face, rules, (taken.serial, newest), now);
            });
        }
    }
}

//! Partitions of a tier, which has other quotas for some scopes.
//!
//! A scope has a variant for each tier that gives it another quota: a scope without buckets of its own. A bucket belongs
//! to the scope or to one of its variants, and goes by the rules of that one. Its key, its queue and what it has counted
//! are the same in all of them: a partition that changes its tier keeps its buckets, as if their quota had been set.

use super::{
    ids::NodeId,
    keys::OVERFLOW,
    state::Core,
    task::{Progress, Task},
    tier::Tier,
    tree::Tree,
};
use crate::endpoints::{Routes, SpecId, TierId};

impl Tree {
    /// Those with which a layer begins, whose scopes are there.
    pub(super) fn begin_tiers(&mut self, routes: &Routes) {
        for (index, spec) in (0..).map(SpecId).zip(routes.specs()) {
            if let Some(tier) = &spec.tier {
                self.add_variant(tier.base, index);
            }
        }
        let bases = (0..).map(SpecId).zip(routes.specs());
        for (base, _) in bases.filter(|(_, spec)| spec.tier.is_none()) {
            self.note_longest(base);
        }
        self.set_tiers(Tier::all(routes));
    }

    /// The configuration has these from now on. Returns those that it had, to be freed without the lock.
    pub(super) fn set_tiers(&mut self, tiers: Box<[Tier]>) -> Box<[Tier]> {
        self.tiers.known |= !tiers.is_empty();
        std::mem::replace(&mut self.tiers.present, tiers)
    }

    /// The scope of which it is a variant, or itself.
    pub(in crate::admission) fn base(&self, scope: SpecId) -> SpecId {
        self.scopes.base(scope)
    }

    /// The buckets that a request needs go by the quotas of its partition's tier from now on.
    #[cold]
    #[inline(never)]
    pub(super) fn put_in_tier(&mut self, leaf: NodeId, tier: Option<TierId>) {
        let mut next = Some(leaf);
        while let Some(id) = next {
            let node = self.node(id);
            next = node.parent;
            // One that stands for all new keys is of no tier.
            if !self.scope(node.spec).partitioned || node.partition == OVERFLOW {
                continue;
            }
            let scope = self.tiers.scope(tier, self.base(node.spec));
            if scope != node.spec {
                self.move_to_scope(id, scope);
            }
        }
    }

    fn move_to_scope(&mut self, id: NodeId, to: SpecId) {
        let counts_together = self.counts_together();
        let node = self.node_mut(id);
        let from = std::mem::replace(&mut node.spec, to);
        let queue = node.wait_queue.as_ref();
        let posted = queue.map_or(0, |queue| queue.watched);
        if queue.is_some() {
            self.tiers.changed.push(id);
        }
        if counts_together && posted > 0 {
            for (scope, more) in [(from, false), (to, true)] {
                let scope = &mut self.scopes[scope.0 as usize];
                let kin = scope.kin;
                scope.kin = if more { kin + posted } else { kin - posted };
                scope.note_kin();
            }
        }
        for (scope, more) in [(from, false), (to, true)] {
            let standing = self.scope(scope).node;
            if standing.index() >= self.keys.fixed {
                let pins = &mut self.node_mut(standing).pins;
                *pins = if more { *pins + 1 } else { *pins - 1 };
            }
        }
        self.note_change();
    }

    /// The same, of a bucket at which requests of another one go on: it is of the tier of that one.
    pub(super) fn inherit_tier(&mut self, from: NodeId, to: NodeId) {
        let tier = self.scope(self.node(from).spec).tier.as_ref();
        let tier = tier.and_then(|tier| self.tiers.named(&tier.name));
        self.put_in_tier(to, tier);
    }

    /// A variant of a scope is there.
    pub(super) fn add_variant(&mut self, base: SpecId, variant: SpecId) {
        let of_base = &mut self.scopes[base.0 as usize];
        of_base.variants.push(variant);
        let paused_until = of_base.paused_until;
        let has_pools = self.pools.has(base);
        let scope = &mut self.scopes[variant.0 as usize];
        scope.kin += u32::from(has_pools);
        scope.set_paused_until(scope.paused_until.max(paused_until));
    }

    /// A variant of a scope goes.
    pub(super) fn remove_variant(&mut self, base: SpecId, variant: SpecId) {
        let of_base = &mut self.scopes[base.0 as usize];
        of_base.variants.retain(|&other| other != variant);
        self.note_longest(base);
    }

    /// The rules of a scope, or of a variant of it, have changed.
    pub(super) fn note_longest(&mut self, scope: SpecId) {
        let all = self.scopes.with_variants(self.base(scope));
        let longest = all.iter().map(|&scope| self.scope(scope).rules.longest());
        if let Some(longest) = longest.max() {
            for scope in all {
                self.scopes[scope.0 as usize].longest = longest;
            }
        }
    }
}

impl Core {
    /// Brings the queues of buckets up to date whose tier has changed.
    #[inline]
    pub(super) fn follow_tiers(&mut self) {
        if !self.tree.tiers.changed.is_empty() {
            self.follow_changed();
        }
    }

    #[cold]
    fn follow_changed(&mut self) {
        for node in std::mem::take(&mut self.tree.tiers.changed) {
            self.work.push(Task::Settle(node));
            let after = Progress::Begun;
            self.work.push(Task::Recheck { node, after });
        }
    }
}

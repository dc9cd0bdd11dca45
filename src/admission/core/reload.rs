//! Endpoints that are loaded anew: scopes come, change and go, a few with each hold of the lock.
//!
//! A scope that is in both configurations stays as it is, with its buckets and its number. One whose parent is another
//! scope, or whose buckets are for other keys, is a new scope. The old one retires: nobody enters there any more, and
//! who is there finishes. New scopes are there before the first request can find them.

use std::sync::Arc;

use super::{effects::Effects, scope::Scope, state::Core, tier::Tier, tree::Tree};
use crate::{
    bucket::{Learning, Rules, Span, Tick},
    endpoints::{OfTier, SpecId, SpecKind},
    quota::Quota,
};

/// A scope that is not there yet.
#[derive(Debug)]
pub(in crate::admission) struct NewScope {
    pub(in crate::admission) name: Box<str>,
    pub(in crate::admission) kind: SpecKind,
    pub(in crate::admission) quota: Quota,
    pub(in crate::admission) parent: Option<SpecId>,
    /// If it has another scope's buckets for the partitions of a tier.
    pub(in crate::admission) tier: Option<OfTier>,
    pub(in crate::admission) partitioned: bool,
    /// The retired scopes of the same endpoint, with buckets for the same keys.
    pub(in crate::admission) elders: Box<[SpecId]>,
    /// Whether there are some with buckets for other keys.
    pub(in crate::admission) pools: bool,
}

impl Core {
    /// Adds a scope, and the node that stands for it.
    pub(in crate::admission) fn add_scope(&mut self, new: NewScope) -> SpecId {
        self.tree.add_scope(new)
    }

    /// A scope is in the present configuration, with this name. It may have been in an earlier one.
    pub(in crate::admission) fn keep_scope(
        &mut self,
        id: SpecId,
        name: &str,
        elders: Box<[SpecId]>,
    ) {
        self.tree.begin_with(id, &elders);
        let scope = &mut self.tree.scopes[id.0 as usize];
        scope.revived |= scope.retired;
        scope.retired = false;
        scope.heir = None;
        scope.elders = elders;
        if &*scope.name != name {
            scope.name = name.into();
        }
    }

    /// A scope is in the present configuration no more. If its endpoint is, it has the same quota, and waiting
    /// requests go on at its heir.
    pub(in crate::admission) fn retire_scope(
        &mut self,
        id: SpecId,
        heir: Option<SpecId>,
        quota: Option<&Quota>,
    ) {
        let scope = &mut self.tree.scopes[id.0 as usize];
        scope.retired = true;
        scope.heir = heir;
        scope.elders = Box::default();
        if let Some(quota) = quota {
            self.requote(id, quota);
        }
    }

    /// A scope has this quota in the present configuration.
    pub(in crate::admission) fn requote(&mut self, id: SpecId, quota: &Quota) {
        if self.tree.scope(id).quota != *quota {
            self.set_quota(id, quota.clone());
        }
    }

    /// Forgets a retired scope of which nothing is left.
    pub(in crate::admission) fn drop_scope(
        &mut self,
        id: SpecId,
        now: Tick,
        fx: &mut Effects,
    ) -> bool {
        self.tree.drop_scope(id, now, fx)
    }

    /// From now on requests find their buckets by other routes. Returns the tiers of those before, to be freed without
    /// the lock.
    pub(in crate::admission) fn begin_epoch(
        &mut self,
        epoch: u32,
        partitioned: bool,
        overall: Option<SpecId>,
        tiers: Box<[Tier]>,
    ) -> Box<[Tier]> {
        self.tree.epoch = epoch;
        self.tree.overall = overall;
        self.tree.looks_twice = true;
        self.tree.keys.partitioned = partitioned;
        self.tree.set_tiers(tiers)
    }

    /// Newcomers to a scope begin with what these have counted.
    pub(in crate::admission) fn set_elders(&mut self, id: SpecId, elders: Box<[SpecId]>) {
        self.tree.scopes[id.0 as usize].elders = elders;
    }
}

impl Tree {
    fn add_scope(&mut self, new: NewScope) -> SpecId {
        let NewScope {
            name,
            kind,
            quota,
            parent,
            tier,
            partitioned,
            elders,
            pools,
        } = new;
        let parent_node = parent.map(|parent| self.scope(parent).node);
        let nothing = Quota::unlimited();
        let scope = Scope {
            name,
            kind,
            parent,
            rules: Arc::new(Rules::new(
                &nothing,
                self.enforced,
                Learning::none(),
                kind.learns(),
            )),
            quota,
            paused_until: Tick::NONE,
            closed_until: Tick::NONE,
            kin: 0,
            partitioned,
            retired: false,
            node: super::ids::NodeId::new(0),
            elders: Box::default(),
            revived: false,
            heir: None,
            tier: tier.clone(),
            variants: Vec::new(),
            longest: Span::ZERO,
        };
        let id = self.scopes.insert(scope);
        let node = self.keys.insert_standing(id, parent_node);
        let scope = &mut self.scopes[id.0 as usize];
        scope.node = node;
        self.begin_with(id, &elders);
        self.scopes[id.0 as usize].elders = elders;
        if let Some(tier) = tier {
            self.add_variant(tier.base, id);
        }
        if pools {
            self.begin_pools(id);
        }
        self.renew_rules(id.0 as usize);
        id
    }

    /// What others have counted counts in a scope, and pauses of them hold there.
    fn begin_with(&mut self, id: SpecId, elders: &[SpecId]) {
        for &elder in elders {
            let of_elder = self.scope(elder);
            let (paused_until, elder) = (of_elder.paused_until, of_elder.node);
            let scope = &mut self.scopes[id.0 as usize];
            scope.set_paused_until(scope.paused_until.max(paused_until));
            if !scope.has_keys() {
                let node = scope.node;
                self.relate(elder, node);
            }
        }
    }

    fn drop_scope(&mut self, id: SpecId, now: Tick, fx: &mut Effects) -> bool {
        let scope = self.scope(id);
        let node = scope.node;
        let is_over =
            self.is_over(node, now) && self.kin.members(node).is_empty() && !self.pools.has(id);
        // Buckets may go by its variants.
        let is_used = !is_over || !scope.variants.is_empty();
        if !scope.retired || node.index() < self.keys.fixed || is_used {
            return false;
        }
        if let Some(tier) = scope.tier.clone() {
            self.remove_variant(tier.base, id);
        }
        self.forget_rules(id.0 as usize);
        if let Some(node) = self.keys.remove_standing(node) {
            fx.garbage.discard(node);
        }
        self.scopes.remove(id);
        true
    }
}

//! The data of [`tiers`](super::tiers).

use std::{collections::BTreeMap, sync::Arc};

use super::{ids::NodeId, scopes::Scopes};
use crate::endpoints::{Routes, SpecId, TierId};

/// The tiers of the present configuration.
#[derive(Debug, Default)]
pub(in crate::admission) struct Tiers {
    pub(super) present: Box<[Tier]>,
    /// Whether there are some, or were some in an earlier configuration.
    pub(super) known: bool,
    /// Buckets at which requests wait, and whose tier has changed.
    pub(super) changed: Vec<NodeId>,
}

#[derive(Debug)]
pub(in crate::admission) struct Tier {
    name: Arc<str>,
    /// By the scope that partitions have which are of no tier.
    variants: BTreeMap<SpecId, SpecId>,
}

impl Tier {
    /// Those of a configuration, in its order.
    pub(in crate::admission) fn all(routes: &Routes) -> Box<[Self]> {
        let tiers = routes.tiers().iter().map(|tier| {
            let scopes = tier
                .variants
                .iter()
                .map(|(&base, &variant)| (routes.scope(base), routes.scope(variant)));
            Self {
                name: Arc::clone(&tier.name),
                variants: scopes.collect(),
            }
        });
        tiers.collect()
    }
}

impl Tiers {
    pub(super) fn scope(&self, tier: Option<TierId>, base: SpecId) -> SpecId {
        let variant = tier.and_then(|TierId(at)| {
            let tier = self.present.get(at as usize)?;
            tier.variants.get(&base)
        });
        variant.copied().unwrap_or(base)
    }

    pub(super) fn named(&self, name: &str) -> Option<TierId> {
        let found = (0..)
            .zip(&self.present)
            .find(|(_, tier)| *tier.name == *name);
        found.map(|(at, _)| TierId(at))
    }
}

impl Scopes {
    /// The scope of which it is a variant, or itself.
    pub(in crate::admission) fn base(&self, scope: SpecId) -> SpecId {
        let tier = &self[scope.0 as usize].tier;
        tier.as_ref().map_or(scope, |tier| tier.base)
    }

    /// A scope, and what it is for each tier.
    pub(super) fn with_variants(&self, scope: SpecId) -> Vec<SpecId> {
        let variants = self[scope.0 as usize].variants.iter().copied();
        [scope].into_iter().chain(variants).collect()
    }
}

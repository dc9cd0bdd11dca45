use std::{collections::BTreeMap, fmt, sync::Arc};

use super::spec::SpecId;
use crate::quota::Quota;

/// A tier of partitions, as it was written.
#[derive(Clone)]
pub(super) struct Tier {
    pub(super) name: Box<str>,
    pub(super) quotas: Vec<(Of, Quota)>,
}

/// Whose quota it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Of {
    /// An index into the entries.
    Entry(usize),
    /// Of a group, a named endpoint, or one that every configuration has.
    Name(Box<str>),
}

/// What is another spec for the partitions of a tier.
#[derive(Clone, Debug)]
pub(crate) struct TierQuotas {
    pub(crate) name: Arc<str>,
    /// By the spec that partitions have which are of no tier.
    pub(crate) variants: BTreeMap<SpecId, SpecId>,
}

/// The tiers with their quotas.
pub(super) struct Tiers<'a> {
    pub(super) tiers: &'a [Tier],
    /// What each entry is called.
    pub(super) written: &'a dyn Fn(usize) -> &'a str,
}

impl fmt::Debug for Tiers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers = self.tiers.iter().map(|tier| {
            let quotas = tier.quotas.iter().map(|(of, quota)| {
                let name = match of {
                    Of::Entry(at) => (self.written)(*at),
                    Of::Name(name) => name,
                };
                (name, quota)
            });
            (&tier.name, quotas.collect::<BTreeMap<_, _>>())
        });
        f.debug_map().entries(tiers).finish()
    }
}

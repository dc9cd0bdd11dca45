//! The kinds of buckets that endpoints need.

use std::sync::Arc;

use crate::quota::Quota;

/// An index into [`Routes::specs`](super::Routes::specs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SpecId(pub(crate) u32);

/// A kind of bucket: there is one for each partition, and for each [`Key`](super::Key) where the kind has them.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// As the user wrote it; for a scope without a name, one of the constants of [`Endpoints`](super::Endpoints).
    pub(crate) name: Box<str>,
    pub(crate) quota: Quota,
    /// The next wider scope.
    pub(crate) parent: Option<SpecId>,
    pub(crate) kind: SpecKind,
    /// If it is what another spec is for the partitions of a tier.
    pub(crate) tier: Option<OfTier>,
}

/// Another quota for the same buckets, as long as their partition is of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfTier {
    /// What partitions have that are of no tier.
    pub(crate) base: SpecId,
    /// The tier's.
    pub(crate) name: Arc<str>,
}

/// A tier of the present configuration, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TierId(pub(crate) u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SpecKind {
    /// Of a template.
    Route,
    Named,
    Group,
    Overall,
    /// One bucket for all partitions.
    AcrossPartitions,
    /// A bucket for each host and path.
    EachOther,
    AllOther,
    /// No quota, and a bucket for each authority.
    Unmatched,
}

impl SpecKind {
    /// Whether there is a bucket for each [`Key`](super::Key).
    pub(crate) fn has_keys(self) -> bool {
        matches!(self, Self::EachOther | Self::Unmatched)
    }

    /// Whether requests enter here, and not only by way of narrower scopes.
    pub(crate) fn is_endpoint(self) -> bool {
        !matches!(self, Self::Group | Self::Overall | Self::AcrossPartitions)
    }

    /// Whether buckets of this kind learn: a server that refuses a request means the limit of an endpoint or a
    /// group. The overall quota is an agreement among ourselves.
    pub(crate) fn learns(self) -> bool {
        !matches!(self, Self::Overall | Self::AcrossPartitions)
    }
}

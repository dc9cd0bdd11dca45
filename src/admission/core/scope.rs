use crate::{
    bucket::{Rules, Tick},
    endpoints::{SpecId, SpecKind},
    quota::Quota,
};

/// How many scopes a request can have: its endpoint, a group, overall, and across partitions.
pub(super) const SCOPES: usize = 4;

/// What all buckets of one configured endpoint, group or wider scope have in common.
#[derive(Debug)]
pub(in crate::admission) struct Scope {
    pub(in crate::admission) name: Box<str>,
    pub(in crate::admission) kind: SpecKind,
    pub(super) parent: Option<SpecId>,
    pub(in crate::admission) quota: Quota,
    pub(in crate::admission) rules: Rules,
    /// A pause of all its buckets, those not seen yet included.
    pub(in crate::admission) paused_until: Tick,
}

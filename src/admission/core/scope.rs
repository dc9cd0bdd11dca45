use std::sync::Arc;

use super::ids::NodeId;
use crate::{
    bucket::{Rules, Span, Tick},
    endpoints::{OfTier, SpecId, SpecKind},
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
    pub(in crate::admission) rules: Arc<Rules>,
    /// A pause of all its buckets, those not seen yet included.
    pub(in crate::admission) paused_until: Tick,
    /// The same, or for ever while any of its buckets counts [together](super::kin) with another one: then there is
    /// more to look at.
    pub(super) closed_until: Tick,
    /// How many of its nodes count together with others.
    pub(super) kin: u32,
    /// Whether each partition has a bucket of its own.
    pub(in crate::admission) partitioned: bool,
    /// Whether the present configuration has it no more. Nobody enters then, and who is here finishes.
    pub(in crate::admission) retired: bool,
    /// The node that stands for the whole scope. It is its only bucket, unless partitions or paths have their own.
    pub(in crate::admission) node: NodeId,
    /// What the same endpoint was before, with buckets for the same keys: a new bucket begins with what the old one of
    /// its key has counted.
    pub(super) elders: Box<[SpecId]>,
    /// Whether it has come back, so that its nodes may be older than those of its elders.
    pub(super) revived: bool,
    /// What its endpoint is now, with buckets for the same keys. Only of one that has retired.
    pub(super) heir: Option<SpecId>,
    /// If it has another scope's buckets for as long as their partition is of a tier.
    pub(in crate::admission) tier: Option<OfTier>,
    /// What it is for each tier that has another quota for it.
    pub(super) variants: Vec<SpecId>,
    /// How long a dispatch can count in a bucket, whatever the tier.
    pub(super) longest: Span,
}

impl Scope {
    /// Whether each key has a bucket of its own.
    pub(in crate::admission) fn has_keys(&self) -> bool {
        self.kind.has_keys() || self.partitioned
    }

    pub(super) fn set_paused_until(&mut self, until: Tick) {
        self.paused_until = until;
        self.note_kin();
    }

    /// How many of its nodes count together with others has changed.
    pub(super) fn note_kin(&mut self) {
        self.closed_until = if self.kin > 0 {
            Tick::NEVER
        } else {
            self.paused_until
        };
    }
}

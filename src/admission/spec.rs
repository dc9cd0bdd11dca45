use crate::{
    bucket::{Rules, Tick},
    endpoints::{SpecId, SpecKind},
    quota::Quota,
};

/// What all buckets of one configured endpoint, group or wider scope have in common.
#[derive(Debug)]
pub(super) struct SpecState {
    pub(super) name: Box<str>,
    pub(super) kind: SpecKind,
    pub(super) parent: Option<SpecId>,
    pub(super) quota: Quota,
    pub(super) rules: Rules,
    /// A pause of all its buckets, those not seen yet included.
    pub(super) paused_until: Tick,
}

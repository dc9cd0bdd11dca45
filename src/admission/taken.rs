use super::ids::NodeId;

/// What an admitted request holds, node by node from its leaf to the root: bit i is the i-th.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(super) leaf: NodeId,
    pub(super) places: u8,
    pub(super) permits: u8,
    /// Those of the permits that end with the response head.
    pub(super) at_head: u8,
    /// Numbers the requests of an engine in the order of their admission.
    pub(super) serial: u64,
}

impl Taken {
    /// Among the permits: the leaf's place in memory. The path to the root has fewer nodes than bits.
    pub(super) const PIN: u8 = 1 << 7;
}

//! What nodes and waiters are known by.

/// Where a node is in the arena. Stays valid while the node has waiters, places, permits or children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(std::num::NonZeroU32);

impl NodeId {
    pub(super) fn new(index: usize) -> Self {
        u32::try_from(index + 1)
            .ok()
            .and_then(std::num::NonZeroU32::new)
            .map(Self)
            .expect("fewer than 2^32 buckets fit into memory")
    }

    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// Not 0.
    #[inline]
    pub(super) fn to_bits(self) -> u32 {
        self.0.get()
    }

    /// `None` for 0.
    #[inline]
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        std::num::NonZeroU32::new(bits).map(Self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterId(pub(super) u32);

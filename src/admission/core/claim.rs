use super::{ids::NodeId, scope::SCOPES};

/// What an admitted request holds, node by node from its leaf to the root: bit i is the i-th.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Claim {
    pub(in crate::admission) leaf: NodeId,
    /// None are left once it has been dispatched.
    pub(in crate::admission) places: u8,
    pub(in crate::admission) permits: u8,
    /// The permits that end with the response head, a subset of `permits`.
    pub(in crate::admission) at_head: u8,
    /// Whether there is an observer: it gets an event for what becomes of the request.
    pub(in crate::admission) observed: bool,
    /// Numbers the requests of an engine in the order of their admission.
    pub(super) serial: u64,
}

impl Claim {
    /// The place and the permit of the endpoint.
    pub(in crate::admission) const LEAF: u8 = 1;
    /// Among the permits: the leaf's place in memory. The path to the root has fewer nodes than bits.
    pub(in crate::admission) const PIN: u8 = 1 << 7;
    /// Among the permits: it takes something else than one request and one permit. This ends with the last of the
    /// others.
    pub(in crate::admission) const CHARGE: u8 = 1 << 6;
    /// Among the permits: its response future or its body is alive. If it has nothing else, its end is counted without
    /// the lock.
    pub(in crate::admission) const ALIVE: u8 = 1 << 4;
    /// Among the permits: the body of its answer is open, and is counted where it holds a permit and at the leaf.
    pub(in crate::admission) const BODY: u8 = 1 << 5;
    /// The permits of scopes.
    pub(in crate::admission) const SCOPES: u8 = (1 << SCOPES) - 1;
    /// Among the places: an observer is to hear of the dispatch, also where there are no windows.
    pub(super) const TOLD: u8 = 1 << 7;

    /// Whether it holds what most do, and all of that ends in one step.
    #[inline]
    pub(in crate::admission) fn is_plain(self) -> bool {
        let odd = self.at_head | self.permits & (Self::CHARGE | Self::BODY);
        odd | u8::from(self.observed) == 0
    }

    #[inline]
    pub(in crate::admission) fn is_charged(self) -> bool {
        self.permits & Self::CHARGE != 0
    }
}

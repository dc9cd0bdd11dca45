//! What nodes and waiters are known by, and the order of a queue.

use std::num::NonZeroU64;

use crate::costs::Priority;

/// Where a node is in the arena. Stays valid while the node has waiters, places, permits or children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(std::num::NonZeroU32);

impl NodeId {
    #[inline]
    pub(in crate::admission) fn new(index: usize) -> Self {
        u32::try_from(index + 1)
            .ok()
            .and_then(std::num::NonZeroU32::new)
            .map(Self)
            .expect("fewer than 2^32 buckets fit into memory")
    }

    pub(in crate::admission) fn index(self) -> usize {
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

/// Where a waiter is in the arena, until its future takes it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::admission) struct WaiterId(u32);

impl WaiterId {
    pub(super) fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer than 2^32 waiters fit into memory"))
    }

    pub(in crate::admission) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An entry of a queue: at a leaf a request, above it a child node for the request at its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    Waiter(WaiterId),
    Child(NodeId),
}

/// A place in a queue: by class, the highest first, and then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(NonZeroU64);

impl Order {
    /// Above the bits of what is numbered: there are fewer than 2^62 requests, and fewer tickets.
    const CLASS: u32 = 62;

    /// `number` is not 0.
    pub(super) fn new(priority: Priority, number: u64) -> Self {
        let class = priority.place() as u64 + 1;
        let order = NonZeroU64::new((class << Self::CLASS) | number);
        Self(order.expect("no class is 0"))
    }

    /// Comes before all of its class.
    pub(super) fn first_of(priority: Priority) -> Self {
        Self::new(priority, 0)
    }

    /// Comes after all of its class.
    pub(super) fn after_all_of(priority: Priority) -> Self {
        Self::new(priority, (1 << Self::CLASS) - 1)
    }

    pub(super) fn priority(self) -> Priority {
        Priority::ALL[(self.0.get() >> Self::CLASS) as usize - 1]
    }
}

/// The order of a queue: the smaller goes first.
///
/// The contender tells apart two requests of one arrival as well: a request that was cloned between a
/// retry and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueKey {
    /// At a leaf numbered by the arrivals of requests; above it by the tickets of children.
    pub(super) order: Order,
    pub(super) contender: Contender,
}

impl QueueKey {
    /// Comes before all others of this order.
    pub(super) fn before(order: Order) -> Self {
        Self {
            order,
            contender: Contender::Waiter(WaiterId(0)),
        }
    }
}

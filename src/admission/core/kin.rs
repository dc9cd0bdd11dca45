//! The data of [`families`](super::families).

use std::collections::BTreeMap;

use super::ids::NodeId;
use crate::{bucket::Tick, steps};

/// Nodes whose buckets count together.
#[derive(Debug, Default)]
pub(super) struct Kin {
    /// The family of a node, if it has one.
    pub(super) of: BTreeMap<NodeId, u32>,
    pub(super) families: BTreeMap<u32, Family>,
    /// Numbers the families.
    pub(super) next: u32,
    /// The family at which a pass goes on.
    pub(super) cursor: u32,
}

#[derive(Debug, Default)]
pub(super) struct Family {
    /// The present one is the last.
    pub(super) members: Vec<NodeId>,
    pub(super) seen: Seen,
}

/// What members have to know of each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) sums: [u128; 4],
    pub(super) paused_until: Option<Tick>,
    /// Whether anybody waits at one that is not the present one.
    pub(super) waits: bool,
}

impl Kin {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    pub(super) fn family(&self, id: NodeId) -> Option<&Family> {
        if self.of.is_empty() {
            return None;
        }
        steps::count_way_down(self.of.len());
        self.families.get(self.of.get(&id)?)
    }

    /// The nodes that count together with this one, itself included.
    pub(super) fn members(&self, id: NodeId) -> &[NodeId] {
        self.family(id).map_or(&[], |family| &family.members)
    }

    /// The others.
    pub(super) fn others(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let members = self.members(id).iter().copied();
        members.filter(move |&other| other != id)
    }
}

//! The data of [`pooling`](super::pooling).

use std::collections::{BTreeMap, BTreeSet};

use super::ids::NodeId;
use crate::{
    bucket::{Bucket, Dispatched, Tally, Tick},
    endpoints::SpecId,
};

/// The pools of all scopes that have some.
#[derive(Debug, Default)]
pub(in crate::admission) struct Pools {
    pub(super) of: BTreeMap<SpecId, PoolsOf>,
    /// Old nodes at which requests are left: in which pools their buckets count, and what they have told these.
    pub(super) posts: BTreeMap<NodeId, Vec<(SpecId, Told)>>,
    /// The scope at which a pass goes on.
    pub(super) cursor: Option<SpecId>,
}

/// Those of one scope.
#[derive(Debug, Default)]
pub(in crate::admission) struct PoolsOf {
    /// Whether all old buckets have been looked at.
    pub(super) ready: bool,
    /// How many old nodes may have more to tell.
    pub(super) posted: usize,
    /// The new nodes at which requests wait.
    pub(super) waiting: BTreeSet<NodeId>,
    /// Whether these are going to hear of what was told.
    pub(super) pending: bool,
    /// When the latest request was dispatched that is in one of them.
    pub(super) last: Option<Tick>,
    /// By the path or the authority of the bucket; one for all where these are not told apart.
    pub(super) by_key: BTreeMap<Box<str>, Pool>,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    /// What had been dispatched when the old buckets were looked at.
    pub(super) before: Bucket,
    /// What has happened since.
    pub(super) since: Bucket,
    /// The old nodes of no partition at which requests are left. Newcomers do not pass these: they are of one endpoint.
    /// Requests of old partitions do not hold up those of others.
    pub(super) elders: Vec<NodeId>,
}

/// What a pool knows of an old bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) places: u32,
    pub(super) permits: u32,
    pub(super) counted: Tally,
    pub(super) waiting: usize,
    pub(super) contended: bool,
}

/// How far a look at all old buckets has got.
#[derive(Debug, Default)]
pub(in crate::admission) struct Collecting {
    /// The old scopes, each with the one whose pool it counts in.
    pub(super) scopes: BTreeMap<SpecId, SpecId>,
    /// The index of the next node.
    pub(super) next: usize,
    /// What is left of the node before that: what it had counted, and how much of that is still to be copied.
    pub(super) rest: Option<(NodeId, Tally)>,
    /// What was found.
    pub(super) found: BTreeMap<(SpecId, Box<str>), Vec<Dispatched>>,
}

impl Pools {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    pub(super) fn has(&self, scope: SpecId) -> bool {
        self.of.contains_key(&scope)
    }
}

impl Collecting {
    /// Of these scopes, each with the one whose pool it counts in.
    pub(in crate::admission) fn of(scopes: BTreeMap<SpecId, SpecId>) -> Self {
        Self {
            scopes,
            ..Self::default()
        }
    }

    /// The scope, the key, what was dispatched, and when the last of it was.
    pub(in crate::admission) fn into_buckets(
        self,
    ) -> impl Iterator<Item = (SpecId, Box<str>, Bucket, Option<Tick>)> {
        self.found.into_iter().map(|((scope, key), found)| {
            let last = found.iter().map(|dispatched| dispatched.tick).max();
            (scope, key, Bucket::of_past(found), last)
        })
    }
}

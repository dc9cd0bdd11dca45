//! The nodes that come and go: one for each path, authority or partition that is in use.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::{
    arena::{self, Arena, Step},
    flows::Flows,
    ids::{NodeId, QueueKey},
    index::Index,
    node::Node,
    pools::PoolsOf,
    ranked::Links,
    scopes::Scopes,
    text::Text,
    waiter::Waiter,
};
use crate::{
    bucket::{self, Span, Tick},
    endpoints::{Key, SpecId, Target},
};

/// Finds the node of a key, and forgets nodes that would decide like new ones.
#[derive(Debug)]
pub(in crate::admission) struct Keys {
    pub(super) nodes: Arena<Node>,
    /// The number of buckets that have learned something: only these need reports of successes.
    pub(in crate::admission) learned: usize,
    /// Whether the present configuration has partitions.
    pub(super) partitioned: bool,
    /// The nodes at smaller indices are those that stand for the scopes a layer begins with; they stay.
    pub(super) fixed: usize,
    /// How many entries are of nodes that stand for later scopes, and are no keys.
    standing: usize,
    entries: Index,
    pub(in crate::admission) hasher: KeyHasher,
    most: usize,
    pub(super) sweep: Sweep,
    /// Whether no node moves to another index.
    pub(super) still: bool,
    /// Nodes that were just made, of endpoints that were something else before.
    pub(super) born: Vec<NodeId>,
}

/// Memory that is to be freed when the lock has been released.
#[derive(Debug, Default)]
pub(in crate::admission) struct Garbage {
    nodes: Vec<arena::Garbage<Node>>,
    pub(super) pools: Vec<PoolsOf>,
    forgotten: Vec<Node>,
    entries: Vec<Box<[u64]>>,
    pub(super) flows: Vec<Flows>,
    pub(super) waiters: Vec<Arena<Waiter>>,
    pub(super) links: Vec<Links<QueueKey>>,
}

impl Garbage {
    /// A node may have a long log, which takes time to free.
    pub(super) fn discard(&mut self, node: Node) {
        if node.bucket.is_large() {
            self.forgotten.push(node);
        }
    }

    pub(in crate::admission) fn is_empty(&self) -> bool {
        let of_keys = self.nodes.is_empty() && self.forgotten.is_empty();
        let others = self.pools.is_empty() && self.flows.is_empty() && self.waiters.is_empty();
        of_keys && self.entries.is_empty() && others
    }
}

/// A pass over all dynamic nodes in small steps, each paid by one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// The index at which the pass goes on, if one is under way.
    pub(super) cursor: Option<usize>,
    /// When the next pass begins.
    due: Option<Tick>,
    /// Whether nodes are being moved to where there are holes.
    pub(super) compacting: bool,
    /// Whether the index is being shrunk.
    pub(super) shrinking: bool,
    /// How many nodes it has kept for no other reason than that they are remembered.
    pub(super) remembered: usize,
    /// For how long any stamp of the nodes that it has seen can matter.
    longest: Span,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            cursor: None,
            due: None,
            compacting: false,
            shrinking: false,
            remembered: 0,
            longest: Span::ZERO,
        }
    }
}

/// A bucket without a window is remembered for a minute after its last request: a rate may have to be
/// learned, or a window may come. So many of them, at about 250 bytes each ...
const MOST_REMEMBERED: usize = 1 << 16;
/// ... and those besides that have sent enough in that minute for a rate to be learned.
const SENT_MUCH: u32 = bucket::TELLING;

/// The partition that stands for all new ones once there are `max_keys` keys.
pub(super) const OVERFLOW: u64 = u64::MAX;

/// The partition of a node that stands for a scope. Others may have it, too, but no node of an unpartitioned scope
/// without keys is ever looked for.
const STANDING: u64 = u64::MAX - 1;

/// A pass begins at most this often, however short the windows are: at least this long after the one
/// before, for each key there is.
const SWEEP_INTERVAL_PER_KEY: Span = Span(1_000);
const SHORTEST_SWEEP_INTERVAL: Span = Span(10_000_000);

impl Keys {
    pub(super) fn new(partitioned: bool, fixed: usize, nodes: Arena<Node>) -> Self {
        Self {
            nodes,
            learned: 0,
            partitioned,
            fixed,
            standing: 0,
            entries: Index::default(),
            hasher: KeyHasher::default(),
            most: usize::MAX,
            sweep: Sweep::default(),
            still: false,
            born: Vec::new(),
        }
    }

    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(in crate::admission) fn has_partitions(&self) -> bool {
        self.partitioned
    }

    pub(in crate::admission) fn set_max_keys(&mut self, n: usize) {
        self.most = n;
    }

    fn hash(&self, spec: SpecId, partition: u64, key: &Key<'_>) -> u32 {
        self.hasher.hash(spec, partition, key)
    }
}

/// Hashes keys. It needs no lock.
#[derive(Clone, Debug, Default)]
pub(in crate::admission) struct KeyHasher(RandomState);

impl KeyHasher {
    fn hash(&self, spec: SpecId, partition: u64, key: &Key<'_>) -> u32 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u32(spec.0);
        hasher.write_u64(partition);
        // A partition has no key as a rule.
        if *key != NO_KEY {
            hasher.write(key.host.as_bytes());
            hasher.write(key.path.as_bytes());
        }
        (hasher.finish() >> 32) as u32
    }

    /// That of the key to which a request belongs.
    #[inline]
    pub(in crate::admission) fn of(&self, target: &Target<'_>) -> u32 {
        let key = target.key.as_ref().unwrap_or(&NO_KEY);
        self.hash(target.spec, target.partition, key)
    }
}

const NO_KEY: Key<'static> = Key {
    host: std::borrow::Cow::Borrowed(""),
    path: std::borrow::Cow::Borrowed(""),
};

impl Keys {
    /// The leaf of a request, made if it is new. It is given the hash of the key, which is for the caller to compute
    /// before it takes the lock.
    pub(super) fn locate(&mut self, specs: &Scopes, target: &Target<'_>, hash: u32) -> NodeId {
        let key = target.key.as_ref().unwrap_or(&NO_KEY);
        if let Some(found) = self.find_by(hash, specs, target.spec, target.partition, key) {
            return found;
        }
        if self.entries.len() - self.standing < self.most {
            return self.insert(specs, target.spec, target.partition, key);
        }
        let partition = if self.partitioned {
            OVERFLOW
        } else {
            target.partition
        };
        self.of_key(specs, target.spec, partition, &NO_KEY)
    }

    /// The node of a key, made if it is new.
    pub(super) fn of_key(
        &mut self,
        specs: &Scopes,
        spec: SpecId,
        partition: u64,
        key: &Key<'_>,
    ) -> NodeId {
        match self.find(specs, spec, partition, key) {
            Some(found) => found,
            None => self.insert(specs, spec, partition, key),
        }
    }

    /// The node of a key. `spec` is no variant, and the node may go by one.
    pub(super) fn find(
        &self,
        specs: &Scopes,
        spec: SpecId,
        partition: u64,
        key: &Key<'_>,
    ) -> Option<NodeId> {
        self.find_by(self.hash(spec, partition, key), specs, spec, partition, key)
    }

    fn find_by(
        &self,
        hash: u32,
        specs: &Scopes,
        spec: SpecId,
        partition: u64,
        key: &Key<'_>,
    ) -> Option<NodeId> {
        self.entries.find(hash, |id| {
            let node = &self.nodes[id.index()];
            let is_same = node.partition == partition && node.text.spells(key);
            is_same && (node.spec == spec || specs.base(node.spec) == spec)
        })
    }

    fn insert(&mut self, specs: &Scopes, spec: SpecId, partition: u64, key: &Key<'_>) -> NodeId {
        let parent = specs[spec.0 as usize].parent.map(|parent| {
            let of_parent = &specs[parent.0 as usize];
            if !of_parent.partitioned {
                return of_parent.node;
            }
            self.of_key(specs, parent, partition, &NO_KEY)
        });
        if let Some(parent) = parent {
            self.nodes[parent.index()].pins += 1;
        }
        let hash = self.hash(spec, partition, key);
        let mut node = Node::new(spec, parent);
        node.partition = partition;
        node.hash = hash;
        node.text = Text::new(key);
        let node = NodeId::new(self.nodes.insert(node));
        self.entries.insert(hash, node);
        let scope = &specs[spec.0 as usize];
        if scope.node.index() >= self.fixed {
            // A scope that came later stays while it has nodes.
            self.nodes[scope.node.index()].pins += 1;
        }
        if !scope.elders.is_empty() {
            self.born.push(node);
        }
        node
    }

    /// The node that stands for a scope which was not there from the beginning.
    pub(super) fn insert_standing(&mut self, spec: SpecId, parent: Option<NodeId>) -> NodeId {
        if let Some(parent) = parent {
            self.nodes[parent.index()].pins += 1;
        }
        let mut node = Node::new(spec, parent);
        node.pins = 1;
        node.partition = STANDING;
        node.hash = self.hash(spec, STANDING, &NO_KEY);
        let hash = node.hash;
        let node = NodeId::new(self.nodes.insert(node));
        self.entries.insert(hash, node);
        self.standing += 1;
        node
    }

    /// The scope is gone for which it stands.
    pub(super) fn remove_standing(&mut self, id: NodeId) -> Option<Node> {
        let node = self.nodes.remove(id.index())?;
        self.learned -= usize::from(node.bucket.has_learned());
        let known = self.entries.remove(node.hash, id);
        assert!(known, "every node that is not fixed is in the table");
        if let Some(parent) = node.parent {
            self.nodes[parent.index()].pins -= 1;
        }
        self.standing -= 1;
        Some(node)
    }

    /// Whether a pass is under way.
    pub(super) fn is_sweeping(&self) -> bool {
        self.sweep.cursor.is_some() || self.sweep.compacting || self.sweep.shrinking
    }

    /// Whether there is something to sweep by now.
    pub(super) fn sweep_is_due(&mut self, now: Tick) -> bool {
        let due = *self.sweep.due.get_or_insert(now);
        self.is_sweeping() || now >= due
    }

    /// Takes out the node at `index` if it would decide like a new one.
    pub(super) fn forget(&mut self, scopes: &Scopes, index: usize, now: Tick) -> Option<Node> {
        let node = self.nodes.get(index)?;
        let rules = &scopes[node.spec.0 as usize].rules;
        // Its partition may be of another tier when it comes back.
        let longest = scopes[node.spec.0 as usize].longest;
        self.sweep.longest = self.sweep.longest.max(longest);
        if node.is_pinned() || !node.bucket.is_quiet(longest, now) {
            return None;
        }
        if rules.keeps_log() && rules.windows().is_empty() {
            let sent = node.bucket.sent_within(bucket::RECENT, now);
            let remembered = &mut self.sweep.remembered;
            if sent >= SENT_MUCH || sent > 0 && *remembered < MOST_REMEMBERED {
                *remembered += 1;
                return None;
            }
        }
        let node = self.nodes.remove(index)?;
        self.learned -= usize::from(node.bucket.has_learned());
        let known = self.entries.remove(node.hash, NodeId::new(index));
        assert!(known, "every dynamic node is in the table");
        if let Some(parent) = node.parent {
            self.nodes[parent.index()].pins -= 1;
        }
        let standing = scopes[node.spec.0 as usize].node;
        if standing.index() >= self.fixed {
            self.nodes[standing.index()].pins -= 1;
        }
        Some(node)
    }

    /// The pass has seen every node. Memory is given back once three quarters of it are unused.
    pub(super) fn end_pass(&mut self, now: Tick) {
        let interval = SWEEP_INTERVAL_PER_KEY
            .times(self.entries.len() as u64)
            .max(SHORTEST_SWEEP_INTERVAL)
            .max(self.sweep.longest);
        self.sweep = Sweep {
            cursor: None,
            due: Some(now.after(interval)),
            compacting: self.nodes.len() <= self.nodes.end() / 4,
            shrinking: true,
            remembered: 0,
            longest: Span::ZERO,
        };
    }

    /// Moves a node to where there is a hole, or lets go of one at the end; then a step of the index. What
    /// is under way shows in `sweep`.
    pub(super) fn compact(&mut self, now: Tick, garbage: &mut Garbage) {
        if !self.sweep.compacting {
            self.sweep.shrinking = self.entries.shrink();
            self.clear(garbage);
            return;
        }
        let (entries, still) = (&mut self.entries, self.still);
        let step = self.nodes.compact_step(|node, from, to| {
            // A node that others know by its index has to stay, and compacting ends there. So does a paused
            // node: the work that ends a pause goes from one index to the next.
            let paused = node.bucket.paused_until() > now;
            let movable = !node.is_pinned() && node.bucket.is_idle() && !paused && !still;
            if movable {
                let (from, to) = (NodeId::new(from), NodeId::new(to));
                let known = entries.replace(node.hash, from, to);
                assert!(known, "every dynamic node is in the table");
            }
            movable
        });
        match step {
            Step::More(chunk) => garbage.nodes.extend(chunk),
            Step::Blocked | Step::Done => self.sweep.compacting = false,
        }
    }

    /// Lets go of holes at the end, at most `most`.
    pub(super) fn trim(&mut self, most: usize, garbage: &mut Garbage) {
        for _ in 0..most {
            let Step::More(chunk) = self.nodes.compact_step(|_, _, _| false) else {
                break;
            };
            garbage.nodes.extend(chunk);
        }
    }

    /// Hands out memory that is not needed any more.
    pub(super) fn clear(&mut self, garbage: &mut Garbage) {
        garbage.entries.extend(self.entries.take_garbage());
    }
}

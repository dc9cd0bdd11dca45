//! The nodes that come and go: one for each path, authority or partition that is in use.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::{
    arena::{Arena, Step},
    ids::NodeId,
    index::Index,
    node::Node,
    spec::SpecState,
    text::Text,
};
use crate::{
    bucket::{Span, Tick},
    endpoints::{Key, SpecId, SpecKind, Target},
};

/// Finds the node of a key, and forgets nodes that would decide like new ones.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) nodes: Arena<Node>,
    /// How many buckets have learned something: only they need to hear of successes.
    pub(super) learned: usize,
    partitioned: bool,
    /// The nodes at smaller indices are those of the scopes that have only one; they stay.
    fixed: usize,
    entries: Index,
    hasher: RandomState,
    max_keys: usize,
    sweep: Sweep,
}

/// A pass over all dynamic nodes in small steps, each paid by one call.
#[derive(Clone, Copy, Debug, Default)]
struct Sweep {
    /// The index at which the pass goes on, if one is under way.
    cursor: Option<usize>,
    /// When the next pass begins.
    due: Option<Tick>,
}

/// The partition that stands for all new ones once there are `max_keys` keys.
const OVERFLOW: u64 = u64::MAX;

/// A pass begins at most this often, however short the windows are: at least this long after the one
/// before, for each key there is.
const SWEEP_INTERVAL_PER_KEY: Span = Span(1_000);
const SHORTEST_SWEEP_INTERVAL: Span = Span(10_000_000);

/// A call looks at one node in this many (a pass takes as many calls) ...
const SWEEP_CALLS: usize = 256;
/// ... but at no fewer than this.
const SWEEP_STEP: usize = 32;

impl Table {
    pub(super) fn new(partitioned: bool, fixed: usize, nodes: Arena<Node>) -> Self {
        Self {
            nodes,
            learned: 0,
            partitioned,
            fixed,
            entries: Index::default(),
            hasher: RandomState::default(),
            max_keys: usize::MAX,
            sweep: Sweep::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_partitioned(&self) -> bool {
        self.partitioned
    }

    pub(super) fn set_max_keys(&mut self, n: usize) {
        self.max_keys = n;
    }

    fn hash(&self, spec: SpecId, partition: u64, key: &Key<'_>) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(spec.0);
        hasher.write_u64(partition);
        hasher.write(key.host.as_bytes());
        hasher.write(key.path.as_bytes());
        (hasher.finish() >> 32) as u32
    }
}

const NO_KEY: Key<'static> = Key {
    host: std::borrow::Cow::Borrowed(""),
    path: std::borrow::Cow::Borrowed(""),
};

impl Table {
    /// The leaf of a request, made if it is new.
    #[inline]
    pub(super) fn locate(&mut self, specs: &[SpecState], target: &Target<'_>, now: Tick) -> NodeId {
        if !self.entries.is_empty() {
            self.sweep_a_little(specs, now);
        }
        if !self.partitioned && target.key.is_none() {
            return NodeId::new(target.spec.0 as usize);
        }
        self.locate_by_key(specs, target)
    }

    fn locate_by_key(&mut self, specs: &[SpecState], target: &Target<'_>) -> NodeId {
        let key = target.key.as_ref().unwrap_or(&NO_KEY);
        if let Some(found) = self.find(target.spec, target.partition, key) {
            return found;
        }
        if self.entries.len() < self.max_keys {
            return self.insert(specs, target.spec, target.partition, key);
        }
        let partition = if self.partitioned {
            OVERFLOW
        } else {
            target.partition
        };
        match self.find(target.spec, partition, &NO_KEY) {
            Some(found) => found,
            None => self.insert(specs, target.spec, partition, &NO_KEY),
        }
    }

    fn find(&self, spec: SpecId, partition: u64, key: &Key<'_>) -> Option<NodeId> {
        let hash = self.hash(spec, partition, key);
        self.entries.find(hash, |id| {
            let node = &self.nodes[id.index()];
            node.spec == spec && node.partition == partition && node.text.spells(key)
        })
    }

    fn insert(
        &mut self,
        specs: &[SpecState],
        spec: SpecId,
        partition: u64,
        key: &Key<'_>,
    ) -> NodeId {
        let parent = specs[spec.0 as usize].parent.map(|parent| {
            let shared = specs[parent.0 as usize].kind == SpecKind::AcrossPartitions;
            if shared || !self.partitioned {
                return NodeId::new(parent.0 as usize);
            }
            match self.find(parent, partition, &NO_KEY) {
                Some(found) => found,
                None => self.insert(specs, parent, partition, &NO_KEY),
            }
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
        drop(self.entries.take_garbage());
        node
    }

    /// Forgets every dynamic node that would decide like a new one.
    pub(super) fn sweep_all(&mut self, specs: &[SpecState], now: Tick) {
        // A node keeps its parent, so parents go one round after their children.
        while self.sweep_range(specs, self.fixed, usize::MAX, now) > 0 {}
        self.end_sweep(specs, now);
    }

    fn sweep_a_little(&mut self, specs: &[SpecState], now: Tick) {
        let due = *self.sweep.due.get_or_insert(now);
        let from = match self.sweep.cursor {
            Some(cursor) => cursor,
            None if now < due => return,
            None => self.fixed,
        };
        let step = (self.nodes.end() / SWEEP_CALLS).max(SWEEP_STEP);
        let to = from.saturating_add(step);
        self.sweep_range(specs, from, to, now);
        if to < self.nodes.end() {
            self.sweep.cursor = Some(to);
        } else {
            self.end_sweep(specs, now);
        }
    }

    /// Returns how many it has forgotten.
    fn sweep_range(&mut self, specs: &[SpecState], from: usize, to: usize, now: Tick) -> usize {
        let mut forgotten = 0;
        for index in from..to.min(self.nodes.end()) {
            let Some(node) = self.nodes.get(index) else {
                continue;
            };
            let longest = specs[node.spec.0 as usize].rules.longest();
            if node.is_pinned() || !node.bucket.is_quiet(longest, now) {
                continue;
            }
            let node = self.nodes.remove(index).expect("it was looked at");
            self.learned -= usize::from(node.bucket.has_learned());
            let known = self.entries.remove(node.hash, NodeId::new(index));
            assert!(known, "every dynamic node is in the table");
            if let Some(parent) = node.parent {
                self.nodes[parent.index()].pins -= 1;
            }
            forgotten += 1;
        }
        forgotten
    }

    /// Gives memory back once three quarters of it are unused.
    fn end_sweep(&mut self, specs: &[SpecState], now: Tick) {
        let interval = SWEEP_INTERVAL_PER_KEY
            .times(self.entries.len() as u64)
            .max(SHORTEST_SWEEP_INTERVAL)
            .max(self.longest(specs));
        self.sweep = Sweep {
            cursor: None,
            due: Some(now.after(interval)),
        };
        if self.nodes.len() > self.nodes.end() / 4 {
            return;
        }
        while let Step::More(garbage) = self.nodes.compact_step(|node, from, to| {
            // What others know by its index has to stay where it is; compacting ends there.
            let movable = !node.is_pinned() && node.bucket.is_idle();
            if movable {
                let (from, to) = (NodeId::new(from), NodeId::new(to));
                let known = self.entries.replace(node.hash, from, to);
                assert!(known, "every dynamic node is in the table");
            }
            movable
        }) {
            drop(garbage);
        }
        while self.entries.shrink() {}
        drop(self.entries.take_garbage());
    }

    /// For how long any stamp of a bucket that comes and goes can matter.
    fn longest(&self, specs: &[SpecState]) -> Span {
        let comes_and_goes =
            |spec: &&SpecState| self.partitioned || spec.kind == SpecKind::EachOther;
        specs
            .iter()
            .filter(comes_and_goes)
            .map(|spec| spec.rules.longest())
            .max()
            .unwrap_or(Span::ZERO)
    }
}

impl Node {
    /// Whether other nodes, or requests that wait or are under way, know this one by its index.
    fn is_pinned(&self) -> bool {
        self.pins > 0 || self.contest.is_some()
    }
}

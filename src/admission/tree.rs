use std::time::Duration;

use super::{ids::NodeId, node::Node, spec::SpecState, table::Table, taken::Taken};
use crate::{
    bucket::{Face, Gate, Learning, Rules, Tick},
    endpoints::{Routes, SpecId, Target},
    quota::Quota,
};

/// The longest pause that an answer can impose: a `Retry-After` of an hour shall be the caller's to
/// see, and not a client that stands still. The figure is openai-python's, which honours delays of up
/// to 120 s.
pub(super) const DEFAULT_MAX_PAUSE: Duration = Duration::from_secs(120);

/// The buckets of all scopes, what each allows, and who stands at each: everything about *whether*, nothing
/// about whom to wake.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) face: Face,
    pub(super) learning: Learning,
    /// The longest pause that an answer can impose.
    pub(super) max_pause: Duration,
    pub(super) specs: Box<[SpecState]>,
    pub(super) table: Table,
    /// The latest time that anyone has told.
    latest: Tick,
    pub(super) calls: u64,
    pub(super) next_ticket: u64,
    /// How many requests have been admitted: numbers them.
    pub(super) serial: u64,
}

impl Tree {
    pub(super) fn new(routes: &Routes, face: Face, now: Tick) -> Self {
        let specs: Box<[_]> = routes
            .specs()
            .iter()
            .map(|spec| SpecState {
                name: spec.name.clone(),
                kind: spec.kind,
                parent: spec.parent,
                quota: spec.quota.clone(),
                rules: Rules::new(&spec.quota, face, Learning::all(), spec.kind.learns()),
                paused_until: Tick::NONE,
            })
            .collect();
        // The node of a scope that has only one stands at the index of its spec, for ever.
        let nodes = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| {
                let parent = spec.parent.map(|parent| NodeId::new(parent.0 as usize));
                #[expect(clippy::cast_possible_truncation, reason = "`SpecId` is 32 bits wide")]
                Node::new(SpecId(index as u32), parent)
            })
            .collect();
        Self {
            face,
            table: Table::new(routes.partitioned(), specs.len(), nodes),
            specs,
            latest: now,
            calls: 0,
            next_ticket: 0,
            serial: 0,
            learning: Learning::all(),
            max_pause: DEFAULT_MAX_PAUSE,
        }
    }

    /// The latest time known; a clock that was set back stands still until it has caught up.
    pub(super) fn now(&mut self, now: Tick) -> Tick {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// Every now and then while there are keys to forget: where there are no windows, nobody else
    /// would ever tell.
    pub(super) fn wants_to_know_the_time(&mut self) -> bool {
        const CALLS: u64 = 64;
        if self.table.is_empty() {
            return false;
        }
        self.calls = self.calls.wrapping_add(1);
        self.calls % CALLS == 0
    }

    pub(super) fn latest(&self) -> Tick {
        self.latest
    }

    #[inline]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.table.nodes[id.index()]
    }

    #[inline]
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.table.nodes[id.index()]
    }

    pub(super) fn spec(&self, id: SpecId) -> &SpecState {
        &self.specs[id.0 as usize]
    }

    /// The nodes that a request needs, from its leaf to the root.
    pub(super) fn path(&self, leaf: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(leaf), |&id| self.node(id).parent)
    }

    pub(super) fn gate(&self, id: NodeId, now: Tick) -> Gate {
        let node = self.node(id);
        let spec = self.spec(node.spec);
        match node.bucket.gate(&spec.rules, now) {
            Gate::Closed => Gate::Closed,
            Gate::Open if spec.paused_until > now => Gate::Until(spec.paused_until),
            Gate::Until(opens) => Gate::Until(opens.max(spec.paused_until)),
            Gate::Open => Gate::Open,
        }
    }

    /// Admits a newcomer if every scope has room and nobody stands before it.
    #[inline]
    pub(super) fn admit(&mut self, leaf: NodeId, now: Tick) -> Option<Taken> {
        let mut next = Some(leaf);
        while let Some(id) = next {
            let node = self.node(id);
            if node.has_contenders() || !self.is_open(node, now) {
                return None;
            }
            next = node.parent;
        }
        Some(self.take(leaf))
    }

    /// Whether the node's [`gate`](Self::gate) is open.
    fn is_open(&self, node: &Node, now: Tick) -> bool {
        let spec = self.spec(node.spec);
        spec.paused_until <= now && node.bucket.is_open(&spec.rules, now)
    }

    /// Whether anyone waits at one of the scopes that a request to this leaf needs.
    pub(super) fn is_contested(&self, leaf: NodeId) -> bool {
        self.path(leaf).any(|id| self.node(id).contest.is_some())
    }

    /// Takes a place and a permit in every scope, in one step.
    #[inline]
    pub(super) fn take(&mut self, leaf: NodeId) -> Taken {
        self.serial += 1;
        let mut taken = Taken {
            leaf,
            places: 0,
            permits: 0,
            at_head: 0,
            serial: self.serial,
        };
        if leaf.index() >= self.specs.len() {
            // It has to stay for as long as the request can come back to it.
            self.node_mut(leaf).pins += 1;
            taken.permits |= Taken::PIN;
        }
        let mut next = Some(leaf);
        let mut bit = 1;
        while let Some(id) = next {
            let node = &mut self.table.nodes[id.index()];
            let rules = &self.specs[node.spec.0 as usize].rules;
            // Also where there is no window: there may be one before this request goes out.
            if self.face.windows {
                node.bucket.take_place();
                taken.places |= bit;
            }
            if self.face.permits {
                node.bucket.take_permit();
                taken.permits |= bit;
                if rules.releases_at_head() {
                    taken.at_head |= bit;
                }
            }
            node.counters.admitted += 1;
            next = node.parent;
            bit <<= 1;
        }
        taken
    }

    /// The request has gone out: its places become stamps. Returns whether there is anybody to
    /// [`settle`](Self::settle) this with.
    #[inline]
    pub(super) fn stamp(&mut self, taken: Taken, now: Tick) -> bool {
        let mut contested = false;
        self.each(taken.leaf, |node, specs, bit| {
            if taken.places & bit != 0 {
                node.bucket.stamp(&specs[node.spec.0 as usize].rules, now);
            }
            contested |= node.contest.is_some();
        });
        contested
    }

    /// Ends the permits in `mask`. Returns whether there is anybody to [`settle`](Self::settle) this with.
    pub(super) fn release(&mut self, leaf: NodeId, mask: u8) -> bool {
        let mut contested = false;
        self.each(leaf, |node, _, bit| {
            if mask & bit != 0 {
                node.bucket.release_permit();
            }
            contested |= node.contest.is_some();
        });
        self.unpin(leaf, mask);
        contested
    }

    fn unpin(&mut self, leaf: NodeId, mask: u8) {
        if mask & Taken::PIN != 0 {
            self.node_mut(leaf).pins -= 1;
        }
    }

    /// The request was never dispatched: everything is as if it had not been admitted.
    pub(super) fn give_back(&mut self, taken: Taken) {
        self.each(taken.leaf, |node, _, bit| {
            if taken.places & bit != 0 {
                node.bucket.give_back_place();
            }
            if taken.permits & bit != 0 {
                node.bucket.release_permit();
            }
            node.counters.admitted -= 1;
        });
        self.unpin(taken.leaf, taken.permits);
    }

    #[inline]
    pub(super) fn each(&mut self, leaf: NodeId, mut f: impl FnMut(&mut Node, &[SpecState], u8)) {
        let mut next = Some(leaf);
        let mut bit = 1;
        while let Some(id) = next {
            let node = &mut self.table.nodes[id.index()];
            f(node, &self.specs, bit);
            next = node.parent;
            bit <<= 1;
        }
    }

    /// What a bucket is called: as configured, or by the host and path that it stands for.
    pub(super) fn name(&self, id: NodeId) -> Box<str> {
        let node = self.node(id);
        if node.text.is_empty() {
            self.spec(node.spec).name.clone()
        } else {
            node.text.as_str().into()
        }
    }

    /// Whether a scope of an admitted request is paused.
    pub(super) fn is_paused(&self, taken: Taken, now: Tick) -> bool {
        self.path(taken.leaf).any(|id| {
            let node = self.node(id);
            node.bucket
                .paused_until()
                .max(self.spec(node.spec).paused_until)
                > now
        })
    }

    pub(super) fn set_learning(&mut self, learning: Learning) {
        self.learning = learning;
        for spec in &mut self.specs {
            spec.rules = Rules::new(&spec.quota, self.face, learning, spec.kind.learns());
        }
    }

    pub(super) fn set_quota(&mut self, spec: SpecId, quota: Quota) {
        let spec = &mut self.specs[spec.0 as usize];
        spec.rules = Rules::new(&quota, self.face, self.learning, spec.kind.learns());
        spec.quota = quota;
    }

    pub(super) fn pause(&mut self, spec: SpecId, until: Tick) {
        let spec = &mut self.specs[spec.0 as usize];
        spec.paused_until = spec.paused_until.max(until);
    }

    pub(super) fn resume(&mut self, spec: SpecId) {
        self.specs[spec.0 as usize].paused_until = Tick::NONE;
        for node in self.table.nodes.values_mut() {
            if node.spec == spec {
                node.bucket.resume();
            }
        }
    }

    /// The leaf of a request, made if it is new.
    #[inline]
    pub(super) fn locate(&mut self, target: &Target<'_>, now: Tick) -> NodeId {
        self.table.locate(&self.specs, target, now)
    }

    /// Forgets every dynamic node that would decide like a new one.
    pub(super) fn sweep(&mut self, now: Tick) {
        self.table.sweep_all(&self.specs, now);
    }
}

//! What an endpoint's buckets of all partitions have counted, where the rule for partitions has changed.
//!
//! Nobody can tell to which of the new partitions a request of an old one would belong, so each new bucket begins with
//! what all of the old ones have counted: too strict rather than too lax. A pool has that. What was dispatched before
//! is collected from the old buckets, a few with each hold of the lock, and until that is done newcomers wait. What
//! becomes of the requests that are still there is added as it happens.

use super::{
    effects::Effects,
    ids::NodeId,
    pools::{Collecting, Pools, PoolsOf, Told},
    state::Core,
    task::Task,
    tree::Tree,
};
use crate::{
    bucket::{Bucket, RECENT, Tally, Tick},
    endpoints::SpecId,
    steps,
};

/// How many nodes one hold looks at, and how many dispatches it copies.
const NODES: usize = 64;
const COPIED: usize = 1024;

/// The pools of so many scopes are looked at by each step of a sweep.
const ENDED_AT_ONCE: usize = 64;

impl Tree {
    /// The buckets of the pool in which a node counts. `None` if that is not known yet.
    pub(super) fn pooled(&self, id: NodeId) -> Option<Vec<&Bucket>> {
        let node = self.node(id);
        let Some(pools) = self.pools.of.get(&self.base(node.spec)) else {
            return Some(Vec::new());
        };
        if !pools.ready {
            return None;
        }
        steps::count_way_down(pools.by_key.len());
        let pool = pools.by_key.get(node.text.as_str());
        Some(pool.map_or_else(Vec::new, |pool| vec![&pool.before, &pool.since]))
    }

    /// The old nodes before whose requests those of a node do not go.
    pub(super) fn pooled_elders(&self, id: NodeId) -> &[NodeId] {
        let node = self.node(id);
        let pools = self.pools.of.get(&self.base(node.spec));
        let pool = pools.and_then(|pools| pools.by_key.get(node.text.as_str()));
        pool.map_or(&[], |pool| &pool.elders)
    }

    /// Newcomers to a scope wait until the pools are there.
    pub(super) fn begin_pools(&mut self, scope: SpecId) {
        self.pools.of.insert(scope, PoolsOf::default());
        for scope in self.scopes.with_variants(scope) {
            let scope = &mut self.scopes[scope.0 as usize];
            scope.kin += 1;
            scope.note_kin();
        }
    }

    /// An old node whose bucket counts in the pools of `scope`.
    fn post(&mut self, id: NodeId, scope: SpecId) {
        let told = self.told(id);
        let Some(pools) = self.pools.of.get_mut(&scope) else {
            return;
        };
        pools.posted += 1;
        let node = &self.keys.nodes[id.index()];
        let pool = pools.by_key.entry(node.text.as_str().into()).or_default();
        pool.since.shift((0, 0), (told.places, told.permits));
        pool.since.count_open(&Tally::default(), &told.counted);
        if !self.scopes[node.spec.0 as usize].partitioned {
            pool.elders.push(id);
        }
        steps::count_way_down(self.pools.posts.len());
        self.pools.posts.entry(id).or_default().push((scope, told));
        self.keep_posted(id, true);
    }

    fn told(&self, id: NodeId) -> Told {
        let node = self.node(id);
        let (places, permits) = node.bucket.under_way();
        Told {
            places,
            permits,
            counted: node.bucket.past(),
            waiting: node.waiting(),
            contended: node.has_contenders(),
        }
    }

    /// Tells the pools what has changed at an old node. Returns the scopes of those that have changed.
    fn tell_pools(&mut self, id: NodeId) -> Vec<SpecId> {
        let mut changed = Vec::new();
        if self.pools.posts.is_empty() || !self.pools.posts.contains_key(&id) {
            return changed;
        }
        let now = self.told(id);
        let is_over = self.has_nobody(id);
        let Pools { of, posts, .. } = &mut self.pools;
        let posts = posts.get_mut(&id).into_iter().flatten();
        let node = &self.keys.nodes[id.index()];
        for (scope, told) in posts {
            let Some(pools) = of.get_mut(scope) else {
                continue;
            };
            if let Some(pool) = pools.by_key.get_mut(node.text.as_str()) {
                let before = (told.places, told.permits);
                let after = (now.places, now.permits);
                pool.since.shift(before, after);
                pool.since.count_open(&told.counted, &now.counted);
                let last = pool.since.count_since(&node.bucket, &told.counted);
                pools.last = pools.last.max(last);
                if is_over {
                    pool.elders.retain(|elder| *elder != id);
                }
                if *told != now {
                    changed.push(*scope);
                }
            }
            pools.posted -= usize::from(is_over);
            *told = now.clone();
        }
        if is_over {
            let posts = self.pools.posts.remove(&id).unwrap_or_default();
            for _ in posts {
                self.keep_posted(id, false);
            }
        }
        changed
    }

    /// Takes note of whether requests wait at a node that goes by a pool.
    fn note_waiting(&mut self, id: NodeId) {
        let node = &self.keys.nodes[id.index()];
        let scope = self.scopes.base(node.spec);
        if let Some(pools) = self.pools.of.get_mut(&scope) {
            steps::count_way_down(pools.waiting.len());
            if node.waiting() > 0 {
                pools.waiting.insert(id);
            } else {
                pools.waiting.remove(&id);
            }
        }
    }

    /// Whether nobody is at a node who could take anything there.
    fn has_nobody(&self, id: NodeId) -> bool {
        let node = self.node(id);
        node.bucket.is_idle()
            && node.wait_queue.as_ref().is_none_or(|queue| {
                queue.waiting == 0 && !queue.has_leaving() && queue.children.is_empty()
            })
    }

    /// Lets go of the pools in which nothing counts any more.
    pub(super) fn end_pools(&mut self, now: Tick, fx: &mut Effects) {
        use std::ops::Bound::{Excluded, Unbounded};
        if self.pools.is_empty() {
            return;
        }
        let from = self.pools.cursor.map_or(Unbounded, Excluded);
        let some = self.pools.of.range((from, Unbounded)).take(ENDED_AT_ONCE);
        let some: Vec<_> = some
            .map(|(&scope, pools)| {
                let longest = self.scope(scope).longest.max(RECENT);
                let is_over = pools.last.is_none_or(|last| last.after(longest) <= now);
                (scope, pools.ready && pools.posted == 0 && is_over)
            })
            .collect();
        self.pools.cursor = some.last().map(|&(scope, _)| scope);
        for (scope, _) in some.into_iter().filter(|(_, ends)| *ends) {
            fx.garbage.pools.extend(self.pools.of.remove(&scope));
            for scope in self.scopes.with_variants(scope) {
                let scope = &mut self.scopes[scope.0 as usize];
                scope.kin -= 1;
                scope.note_kin();
            }
        }
    }
}

impl Core {
    /// Tells the pools of what has changed at a node, and has the new nodes hear of it.
    pub(super) fn tell_pools(&mut self, id: NodeId) {
        self.tree.note_waiting(id);
        for scope in self.tree.tell_pools(id) {
            self.announce(scope);
        }
    }

    fn announce(&mut self, scope: SpecId) {
        let Some(pools) = self.tree.pools.of.get_mut(&scope) else {
            return;
        };
        if pools.ready && !std::mem::replace(&mut pools.pending, true) {
            self.work.push(Task::Pools { scope, from: 0 });
        }
    }

    /// Brings the queues of a scope up to date with its pools.
    pub(super) fn update_pooled(
        &mut self,
        scope: SpecId,
        mut from: usize,
        now: Tick,
        fx: &mut Effects,
    ) {
        if let Some(pools) = self.tree.pools.of.get_mut(&scope).filter(|_| from == 0) {
            pools.pending = false;
        }
        while let Some(pools) = self.tree.pools.of.get(&scope) {
            steps::count_way_down(pools.waiting.len());
            let Some(&id) = pools.waiting.range(NodeId::new(from)..).next() else {
                return;
            };
            from = id.index();
            if !fx.spend() {
                return self.work.push(Task::Pools { scope, from });
            }
            from += 1;
            self.settle(id, now, fx);
        }
    }

    /// Looks at some of the old buckets. Returns whether there are more.
    pub(in crate::admission) fn collect(&mut self, collecting: &mut Collecting) -> bool {
        let mut left = COPIED;
        // No node may move to where this has been already.
        self.tree.keys.still = true;
        for _ in 0..NODES {
            if collecting.rest.is_some() && !self.copy(collecting, &mut left) {
                return true;
            }
            let nodes = &self.tree.keys.nodes;
            if collecting.next >= nodes.end() {
                self.tree.keys.still = false;
                return false;
            }
            let index = collecting.next;
            collecting.next += 1;
            let Some(node) = nodes.get(index) else {
                continue;
            };
            let Some(&scope) = collecting.scopes.get(&node.spec) else {
                continue;
            };
            let id = NodeId::new(index);
            collecting.rest = Some((id, node.bucket.past()));
            if !self.tree.has_nobody(id) {
                self.tree.post(id, scope);
            }
        }
        true
    }

    /// Copies what a bucket has dispatched. Returns whether that was all.
    fn copy(&mut self, collecting: &mut Collecting, left: &mut usize) -> bool {
        let Some((id, mut past)) = collecting.rest.take() else {
            return true;
        };
        let Some(node) = self.tree.keys.nodes.get(id.index()) else {
            return true;
        };
        let Some(&scope) = collecting.scopes.get(&node.spec) else {
            return true;
        };
        let longest = self.tree.scope(scope).longest;
        let since = self.tree.latest().before(longest.max(RECENT));
        let key = (scope, node.text.as_str().into());
        let found = collecting.found.entry(key).or_default();
        let done = node.bucket.copy_past(&mut past, since, left, found);
        if !done {
            collecting.rest = Some((id, past));
        }
        done
    }

    /// What was found is in the pools from now on, and newcomers go.
    pub(in crate::admission) fn fill_pools(
        &mut self,
        scope: SpecId,
        key: Box<str>,
        before: Bucket,
        last: Option<Tick>,
    ) {
        if let Some(pools) = self.tree.pools.of.get_mut(&scope) {
            pools.by_key.entry(key).or_default().before = before;
            pools.last = pools.last.max(last);
        }
    }

    pub(in crate::admission) fn open_pools(&mut self, scope: SpecId) {
        if let Some(pools) = self.tree.pools.of.get_mut(&scope) {
            pools.ready = true;
        }
        self.announce(scope);
    }
}

//! Buckets that count together: those that an endpoint, a group or a wider scope has had one after the other.
//!
//! A reload may give an endpoint a new bucket while dispatches still count in the old one, or requests hold its permits.
//! Nothing is copied from one to the other: each keeps what its own requests have taken, and a gate looks at all of
//! them. So an endpoint's windows and permits are those of one bucket, whichever its requests went through.
//!
//! Waiting requests [move](super::moving) to the new one. When something changes in one bucket, the queues of the others
//! are brought up to date.

use super::{
    ids::{NodeId, WaiterId},
    kin::{Family, Seen},
    state::Core,
    task::Task,
    tree::Tree,
};
use crate::{
    bucket::{Bucket, Demand, Gate, RECENT, Span, Tick, Together},
    endpoints::SpecId,
    steps,
};

/// A node has at most so many members of its family that newcomers to it have to look at. With more, they wait.
const MOST: usize = 8;

/// So many families are looked at by each step of a sweep. It looks at twice as many nodes, and there are at least
/// two to a family.
const PARTED_AT_ONCE: usize = 128;

impl Tree {
    /// Whether any buckets count together.
    pub(super) fn counts_together(&self) -> bool {
        !self.kin.is_empty() || !self.pools.is_empty()
    }

    /// Whether what is taken at a leaf counts at other nodes than those above it.
    pub(super) fn counts_elsewhere(&self, leaf: NodeId) -> bool {
        if self.is_joint() {
            return true;
        }
        let is_shared =
            |id: NodeId| self.kin.of.contains_key(&id) || self.pools.posts.contains_key(&id);
        self.counts_together() && self.path(leaf).any(is_shared)
    }

    /// The node's gate, with what others have counted.
    #[cold]
    pub(super) fn gate_together(&self, id: NodeId, demand: &Demand, now: Tick) -> Gate {
        let rules = &self.scope(self.node(id).spec).rules;
        let members = self.kin.members(id);
        if members.iter().skip(MOST).any(|&member| member == id) {
            return Gate::Closed;
        }
        let Some(buckets) = self.buckets_of(id, members) else {
            return Gate::Closed;
        };
        match buckets[..] {
            [only] => only.gate(rules, demand, now),
            _ => Together(&buckets).gate(rules, demand, now),
        }
    }

    /// [`Bucket::slot`], with what others have counted, and behind those that wait there.
    #[cold]
    pub(super) fn slot_together(
        &self,
        id: NodeId,
        demand: &Demand,
        rank: usize,
        now: Tick,
        start: Tick,
    ) -> Tick {
        let rules = &self.scope(self.node(id).spec).rules;
        let members = self.kin.members(id);
        match self.buckets_of(id, members) {
            Some(buckets) => Together(&buckets).slot(rules, demand, rank, now, start),
            None => start,
        }
    }

    /// `None` if it is not known yet what counts.
    fn buckets_of(&self, id: NodeId, members: &[NodeId]) -> Option<Vec<&Bucket>> {
        let mut buckets = self.pooled(id)?;
        if members.is_empty() {
            buckets.push(&self.node(id).bucket);
        }
        let nodes = members.iter().take(MOST).map(|&id| self.node(id));
        buckets.extend(nodes.map(|node| &node.bucket));
        Some(buckets)
    }

    /// Whether a request stands at another bucket of the same endpoint: newcomers do not pass it.
    pub(super) fn has_kin_before(&self, leaf: NodeId) -> bool {
        let elders = self.pooled_elders(leaf).iter().copied();
        let mut others = self.kin.others(leaf).chain(elders);
        others.any(|other| self.node(other).has_contenders())
    }

    /// Nodes that a request needs, and that are new or have come back, find those that their keys had before.
    pub(super) fn adopt(&mut self, leaf: NodeId) {
        if self.scope(self.base(self.node(leaf).spec)).revived {
            let path: Vec<_> = self.path(leaf).collect();
            self.keys.born.extend(path);
        }
        while let Some(id) = self.keys.born.pop() {
            let node = self.node(id);
            let scope = self.scope(self.base(node.spec));
            if !scope.has_keys() {
                continue;
            }
            let (partition, text) = (node.partition, node.text.clone());
            let elders = &scope.elders;
            let key = text.key();
            let same_key = |elder: &SpecId| self.keys.find(&self.scopes, *elder, partition, &key);
            let elders: Vec<_> = elders.iter().filter_map(same_key).collect();
            for elder in elders {
                self.relate(elder, id);
            }
        }
    }

    /// From now on two nodes count together, and with those with which one of them does already.
    pub(super) fn relate(&mut self, elder: NodeId, heir: NodeId) {
        if elder == heir || self.is_over(elder, self.latest()) {
            return;
        }
        if self.kin.of.contains_key(&heir) {
            // Both are of one endpoint, and so is everyone related to it.
            if !self.kin.of.contains_key(&elder) {
                let family = self.kin.of[&heir];
                self.join(family, elder, true);
            }
            return;
        }
        let known = self.kin.of.get(&elder).copied();
        let family = known.unwrap_or_else(|| {
            self.kin.next += 1;
            let family = self.kin.next;
            self.kin.families.insert(family, Family::default());
            self.join(family, elder, true);
            family
        });
        self.join(family, heir, false);
    }

    fn join(&mut self, number: u32, id: NodeId, is_elder: bool) {
        steps::count_way_down(self.kin.of.len());
        self.kin.of.insert(id, number);
        if let Some(family) = self.kin.families.get_mut(&number) {
            let at = if is_elder { 0 } else { family.members.len() };
            family.members.insert(at, id);
        }
        self.keep_posted(id, true);
    }

    /// Whatever happens at a node is told to others, or no longer.
    pub(super) fn keep_posted(&mut self, id: NodeId, posted: bool) {
        let node = self.node_mut(id);
        let spec = node.spec;
        if posted {
            node.wait_queue.get_or_insert_default().watched += 1;
        } else if let Some(queue) = &mut node.wait_queue {
            queue.watched -= 1;
            node.wait_queue.take_if(|queue| {
                queue.watched == 0
                    && queue.waiting == 0
                    && queue.children.is_empty()
                    && !queue.has_leaving()
                    && !queue.has_queued()
                    && queue.opens.is_none()
                    && queue.tickets().next().is_none()
            });
        }
        let scope = &mut self.scopes[spec.0 as usize];
        scope.kin = if posted { scope.kin + 1 } else { scope.kin - 1 };
        scope.note_kin();
    }

    /// Whether nothing is left in a bucket that could be of interest to others.
    pub(super) fn is_over(&self, id: NodeId, now: Tick) -> bool {
        let longest = self.scope(self.node(id).spec).longest;
        self.is_over_for(id, longest.max(RECENT), now)
    }

    /// Whether nobody is at a node, and nothing in its bucket closes a window of this length.
    pub(super) fn is_over_for(&self, id: NodeId, longest: Span, now: Tick) -> bool {
        let node = self.node(id);
        let scope = self.scope(node.spec);
        // A node that stands for a scope keeps itself.
        let stands = scope.node == id && id.index() >= self.keys.fixed;
        let nobody = node.wait_queue.as_ref().is_none_or(|queue| {
            queue.waiting == 0 && !queue.has_leaving() && queue.children.is_empty()
        });
        let used = node.pins > u32::from(stands);
        nobody && !used && node.bucket.is_quiet(longest, now)
    }

    /// Lets go of members of some families in which nothing is left.
    pub(super) fn part_some(&mut self, now: Tick) {
        if self.kin.is_empty() {
            return;
        }
        let from = self.kin.cursor;
        let some = self.kin.families.range(from..).map(|(&number, _)| number);
        let some: Vec<_> = some.take(PARTED_AT_ONCE).collect();
        self.kin.cursor = some.last().map_or(0, |last| last + 1);
        for family in some {
            self.part(family, now);
        }
    }

    /// Lets go of the members of a family in which nothing is left, but for the present one.
    fn part(&mut self, number: u32, now: Tick) {
        let Some(family) = self.kin.families.get(&number) else {
            return;
        };
        let members = family.members.clone();
        let longest = members.iter().map(|&id| {
            let scope = self.scope(self.node(id).spec);
            scope.longest
        });
        let longest = longest.max().unwrap_or(Span::ZERO).max(RECENT);
        let is_left = |&id: &NodeId| {
            let retired = self.scope(self.node(id).spec).retired;
            !retired || !self.is_over_for(id, longest, now)
        };
        let (mut left, gone): (Vec<_>, Vec<_>) = members.into_iter().partition(is_left);
        let mut gone = gone;
        if left.len() <= 1 {
            gone.append(&mut left);
            self.kin.families.remove(&number);
        } else if gone.is_empty() {
            return;
        } else if let Some(family) = self.kin.families.get_mut(&number) {
            family.members = left;
        }
        for id in gone {
            steps::count_way_down(self.kin.of.len());
            self.kin.of.remove(&id);
            self.keep_posted(id, false);
        }
    }
}

impl Core {
    /// Whether requests at another bucket of the same endpoint go first: at an old one all that have not
    /// [moved](super::moving) yet, and where partitions are new, all that are older.
    pub(super) fn yields_to_kin(&self, leaf: NodeId) -> bool {
        if !self.tree.counts_together() {
            return false;
        }
        let scope = self.tree.scope(self.tree.node(leaf).spec);
        if !scope.kind.is_endpoint() || scope.retired {
            return scope.heir.is_some();
        }
        let mut others = self.tree.kin.others(leaf);
        if others.any(|other| self.tree.node(other).goes_first()) {
            return true;
        }
        let own = self.first_queued(leaf);
        let elders = self.tree.pooled_elders(leaf);
        let goes_first = |&elder: &NodeId| {
            let first = self.first_queued(elder);
            first.zip(own).is_some_and(|(first, own)| first < own)
        };
        elders.iter().any(goes_first)
    }

    /// The age of the request that goes next at a leaf.
    fn first_queued(&self, leaf: NodeId) -> Option<(u64, WaiterId)> {
        let queue = self.tree.node(leaf).wait_queue.as_ref()?;
        let first = self.head_of(queue.first(&self.links)?);
        Some((self.waiter(first).arrival.get(), first))
    }

    /// Has the queues of related nodes brought up to date, if something has changed at a node or above.
    pub(super) fn tell_kin(&mut self, start: NodeId, now: Tick) {
        if self.tree.kin.is_empty() && self.tree.pools.is_empty() {
            return;
        }
        let path: Vec<_> = self.tree.path(start).collect();
        for id in path {
            self.tell_pools(id);
            let Some(&number) = self.tree.kin.of.get(&id) else {
                continue;
            };
            let seen = self.look_at_family(number);
            let Some(family) = self.tree.kin.families.get_mut(&number) else {
                continue;
            };
            if family.seen == seen {
                continue;
            }
            family.seen = seen;
            let others = family.members.iter().copied().filter(|&other| other != id);
            let others: Vec<_> = others.collect();
            for other in others {
                let queue = self.tree.node(other).wait_queue.as_ref();
                if queue.is_some_and(|queue| queue.waiting > 0) {
                    self.work.push(Task::Settle(other));
                }
            }
            self.tree.part(number, now);
        }
    }

    fn look_at_family(&self, number: u32) -> Seen {
        let mut seen = Seen::default();
        let Some(family) = self.tree.kin.families.get(&number) else {
            return seen;
        };
        for &id in &family.members {
            let node = self.tree.node(id);
            let sums = node.bucket.sums();
            seen.sums = std::array::from_fn(|n| seen.sums[n].wrapping_add(sums[n]));
            seen.paused_until = seen.paused_until.max(Some(node.bucket.paused_until()));
            seen.waits |= self.tree.scope(node.spec).retired && node.goes_first();
        }
        seen
    }
}

//! Whether a request may go: the scopes, their buckets, and what each request takes of them.

use std::{sync::Arc, time::Duration};

use super::{
    charge::Charges,
    claim::Claim,
    effects::{Decider, Decision, Effects, Told},
    fleet::Fleet,
    floors::DEFAULT_FLOOR,
    ids::NodeId,
    keys::Keys,
    kin::Kin,
    node::Node,
    pools::Pools,
    scope::Scope,
    scopes::{Scopes, View},
    tier::Tiers,
};
use crate::{
    bucket::{Demand, Enforced, Gate, Learning, Rules, Span, Tick},
    costs::Cost,
    endpoints::{Routes, SpecId, SpecKind, Target},
    quota::Quota,
};

/// The longest pause that an answer can impose: a `Retry-After` of an hour shall be the caller's to
/// see, and not a client that stands still. The figure is openai-python's, which honours delays of up
/// to 120 s.
pub(super) const DEFAULT_MAX_PAUSE: Duration = Duration::from_secs(120);

/// The buckets of all scopes, and what each allows.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says of one thing that most layers do not have it"
)]
pub(in crate::admission) struct Tree {
    pub(in crate::admission) enforced: Enforced,
    /// Whether somebody observes. Nothing is told otherwise.
    pub(in crate::admission) observed: bool,
    /// Whether the layer is closed: nothing is admitted any more.
    pub(in crate::admission) closed: bool,
    /// Whether one of the two is so, or the endpoints were loaded anew: no call goes without a second look.
    pub(in crate::admission) looks_twice: bool,
    learning: Learning,
    /// The longest pause that an answer can impose.
    pub(in crate::admission) max_pause: Duration,
    /// If a store decides with the layer.
    pub(super) fleet: Option<Box<Fleet>>,
    pub(super) scopes: Scopes,
    pub(in crate::admission) keys: Keys,
    /// The buckets that count together.
    pub(super) kin: Kin,
    pub(super) pools: Pools,
    pub(super) tiers: Tiers,
    /// How many times the endpoints were loaded anew.
    pub(in crate::admission) epoch: u32,
    /// The present scope of everything.
    pub(super) overall: Option<SpecId>,
    pub(super) charges: Charges,
    /// The latest time that anyone has told.
    latest: Tick,
    /// How many there were since somebody told the time for the keys' sake.
    calls: u64,
    /// Numbers the requests, in the order of their admission to a bucket.
    pub(super) serial: u64,
    /// How many [buckets](super::passage) are out of the tree.
    pub(super) detached: usize,
    /// Whether the widest scope is one at which each request has to be looked at.
    pub(super) looks_overall: bool,
    /// How many want that none leaves.
    pub(super) kept_attached: usize,
    /// How many requests have been admitted.
    pub(super) admitted: u64,
    /// How many of these have neither a response future nor a body any more.
    pub(super) ended: u64,
    /// How many of the others have nothing but a body, for which their key is not kept.
    pub(in crate::admission) other_bodies: u32,
    /// What the end of one adds to [`Counters::besides`](super::node::Counters) if its permits end with it.
    besides: u32,
    /// How many had been admitted when a quota was set last.
    changed: u64,
    /// How many scopes discover: their buckets need reports of successes before they have learned anything.
    discovering: usize,
    /// What part of what is given out goes to lower classes while they wait: one in so many.
    pub(in crate::admission) floor: Option<u32>,
}

impl Tree {
    pub(super) fn new(routes: &Routes, enforced: Enforced, now: Tick) -> Self {
        let mut kinds = routes.specs().iter().map(|spec| spec.kind);
        let overall = kinds.position(|kind| kind == SpecKind::Overall);
        let overall = overall.and_then(|index| u32::try_from(index).ok().map(SpecId));
        let scopes: Box<[_]> = routes
            .specs()
            .iter()
            .enumerate()
            .map(|(index, spec)| Scope {
                name: spec.name.clone(),
                kind: spec.kind,
                parent: spec.parent,
                quota: spec.quota.clone(),
                rules: Arc::new(Rules::new(
                    &spec.quota,
                    enforced,
                    Learning::all(),
                    spec.kind.learns(),
                )),
                paused_until: Tick::NONE,
                closed_until: Tick::NONE,
                kin: 0,
                partitioned: routes.partitioned() && spec.kind != SpecKind::AcrossPartitions,
                retired: false,
                node: NodeId::new(index),
                elders: Box::default(),
                revived: false,
                heir: None,
                tier: spec.tier.clone(),
                variants: Vec::new(),
                longest: Span::ZERO,
            })
            .collect();
        // The node of each of these scopes stands at the index of its scope, for ever.
        let nodes = scopes
            .iter()
            .enumerate()
            .map(|(index, scope)| {
                let parent = scope.parent.map(|parent| NodeId::new(parent.0 as usize));
                #[expect(clippy::cast_possible_truncation, reason = "`SpecId` is 32 bits wide")]
                Node::new(SpecId(index as u32), parent)
            })
            .collect();
        let mut charges = Charges::default();
        for scope in &scopes {
            charges.counting += usize::from(!scope.rules.units().is_empty());
            scope
                .rules
                .units()
                .iter()
                .for_each(|rules| charges.know(rules.unit));
        }
        let looks_overall = overall.is_some_and(|overall| looks(&scopes[overall.0 as usize].rules));
        let mut tree = Self {
            charges,
            fleet: None,
            enforced,
            observed: false,
            closed: false,
            looks_twice: false,
            keys: Keys::new(routes.partitioned(), scopes.len(), nodes),
            scopes: Scopes::new(scopes),
            kin: Kin::default(),
            pools: Pools::default(),
            tiers: Tiers::default(),
            epoch: 0,
            overall,
            latest: now,
            calls: 0,
            serial: 0,
            detached: 0,
            looks_overall,
            kept_attached: 0,
            admitted: 0,
            ended: 0,
            other_bodies: 0,
            besides: u32::from(!enforced.permits),
            changed: 0,
            discovering: 0,
            floor: Some(DEFAULT_FLOOR),
            learning: Learning::all(),
            max_pause: DEFAULT_MAX_PAUSE,
        };
        tree.begin_tiers(routes);
        tree
    }

    /// Every now and then while there are keys to forget: where there are no windows, nobody else
    /// would ever tell the time.
    #[inline]
    pub(in crate::admission) fn wants_to_know_the_time(&mut self) -> bool {
        const CALLS: u64 = 64;
        if self.keys.is_empty() {
            return false;
        }
        self.calls += 1;
        if self.calls >= CALLS {
            self.calls = 0;
            return true;
        }
        self.keys.sweep_is_due(self.latest)
    }

    /// So many calls did not ask.
    pub(super) fn count_calls(&mut self, n: u64) {
        self.calls += n;
    }

    /// Whether there is more to do at each call, besides looking at other routes.
    pub(in crate::admission) fn wants_to_look(&self) -> bool {
        self.observed || self.closed || self.is_joint()
    }

    /// The latest time known. No time that was told before is later.
    pub(in crate::admission) fn latest(&self) -> Tick {
        self.latest
    }

    /// Tells the time. It does not go back.
    #[inline]
    pub(in crate::admission) fn set_time(&mut self, now: Tick) -> Tick {
        self.latest = self.latest.max(now);
        self.latest
    }

    #[inline]
    pub(in crate::admission) fn node(&self, id: NodeId) -> &Node {
        &self.keys.nodes[id.index()]
    }

    #[inline]
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.keys.nodes[id.index()]
    }

    #[inline]
    pub(in crate::admission) fn scope(&self, id: SpecId) -> &Scope {
        &self.scopes[id.0 as usize]
    }

    /// The nodes that a request needs, from its leaf to the root.
    pub(super) fn path(&self, leaf: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(leaf), |&id| self.node(id).parent)
    }

    /// The leaf of a request, made if it is new, as long as nothing was loaded anew.
    #[inline]
    pub(in crate::admission) fn locate_at_first(
        &mut self,
        target: &Target<'_>,
        hash: Option<u32>,
    ) -> NodeId {
        let Some(hash) = hash else {
            return NodeId::new(target.spec.0 as usize);
        };
        let leaf = self.keys.locate(&self.scopes, target, hash);
        if self.tiers.known {
            self.put_in_tier(leaf, target.tier);
        }
        leaf
    }

    /// The leaf of a request, made if it is new.
    pub(in crate::admission) fn locate(&mut self, target: &Target<'_>) -> NodeId {
        let scope = self.scope(target.spec);
        if !scope.has_keys() {
            return scope.node;
        }
        let hash = self.keys.hasher.of(target);
        let leaf = self.keys.locate(&self.scopes, target, hash);
        self.adopt(leaf);
        if self.tiers.known {
            self.put_in_tier(leaf, target.tier);
        }
        leaf
    }

    /// Whether the node has room for what a request takes, whatever waits there.
    pub(super) fn gate(&self, id: NodeId, demand: &Demand, now: Tick) -> Gate {
        let gate = self.own_gate(id, demand, now);
        if self.is_joint() {
            return self.with_slots(id, gate, demand, now);
        }
        gate
    }

    /// The same, whatever a store has granted.
    pub(super) fn own_gate(&self, id: NodeId, demand: &Demand, now: Tick) -> Gate {
        let node = self.node(id);
        let scope = self.scope(node.spec);
        let gate = if scope.kin > 0 {
            self.gate_together(id, demand, now)
        } else {
            node.bucket.gate(&scope.rules, demand, now)
        };
        match gate {
            Gate::Closed => Gate::Closed,
            Gate::Open if scope.paused_until > now => Gate::Until(scope.paused_until),
            Gate::Until(opens) => Gate::Until(opens.max(scope.paused_until)),
            Gate::Open => Gate::Open,
        }
    }

    /// Whether the node's [`gate`](Self::gate) is open for one request and one permit. `false` if it counts together
    /// with another: then there is more to look at.
    #[inline]
    pub(super) fn is_open(&self, node: &Node, now: Tick) -> bool {
        self.is_open_by::<true>(node, now)
    }

    #[inline]
    fn is_open_by<const LATER: bool>(&self, node: &Node, now: Tick) -> bool {
        let scope = self.scopes.of::<LATER>(node.spec);
        scope.closed_until <= now && node.bucket.is_open(&scope.rules, now)
    }

    /// Admits a newcomer if every scope has room and nobody stands before it. Only for one that states no cost, and
    /// where requests only are counted.
    pub(in crate::admission) fn admit_plain(&mut self, leaf: NodeId, now: Tick) -> Option<Claim> {
        self.admit_plain_by::<true>(leaf, now)
    }

    /// The same, as long as nothing was loaded anew: most layers never have other scopes than the first ones, and do
    /// not look for any.
    #[inline]
    pub(in crate::admission) fn admit_plain_at_first(
        &mut self,
        leaf: NodeId,
        now: Tick,
    ) -> Option<Claim> {
        self.admit_plain_by::<false>(leaf, now)
    }

    #[inline]
    fn admit_plain_by<const LATER: bool>(&mut self, leaf: NodeId, now: Tick) -> Option<Claim> {
        let mut next = Some(leaf);
        while let Some(id) = next {
            let node = self.node(id);
            if node.has_contenders() || !self.is_open_by::<LATER>(node, now) {
                return None;
            }
            next = node.parent;
        }
        if self.counts_units(leaf) {
            return None;
        }
        Some(self.take_by::<LATER>(leaf))
    }

    /// Whether a bucket that a request needs is closed: its server has named a time beyond the longest pause.
    pub(super) fn is_closed(&self, leaf: NodeId, now: Tick) -> bool {
        self.path(leaf)
            .any(|id| self.node(id).bucket.is_closed(now))
    }

    /// Admits a newcomer to closed buckets, if it is time to try, and nothing else is in its way.
    pub(super) fn admit_probe(
        &mut self,
        leaf: NodeId,
        stated: Option<&Cost>,
        now: Tick,
    ) -> Option<Claim> {
        let demand = self.demand(leaf, stated);
        let may_go = self.path(leaf).all(|id| {
            let node = self.node(id);
            let scope = self.scope(node.spec);
            let is_open = node.bucket.is_open_to_probe(&scope.rules, &demand, now);
            is_open && scope.closed_until <= now && !node.has_contenders()
        });
        let claim = may_go.then(|| self.take_all(leaf, demand))?;
        let interval = Span::from(self.max_pause);
        self.each(leaf, |node, _, _| {
            node.bucket.send_probe(claim.serial, interval, now);
        });
        Some(claim)
    }

    /// Takes what a request takes in every scope, in one step.
    pub(super) fn take_all(&mut self, leaf: NodeId, demand: Demand) -> Claim {
        let claim = self.take(leaf);
        if demand == Demand::ONE && !self.is_joint() {
            return claim;
        }
        self.charge(claim, demand)
    }

    /// Takes a place and a permit in every scope, in one step.
    pub(super) fn take(&mut self, leaf: NodeId) -> Claim {
        self.take_by::<true>(leaf)
    }

    #[inline]
    fn take_by<const LATER: bool>(&mut self, leaf: NodeId) -> Claim {
        self.serial += 1;
        self.admitted += 1;
        let mut claim = Claim {
            leaf,
            places: if self.observed { Claim::TOLD } else { 0 },
            permits: Claim::ALIVE,
            at_head: 0,
            observed: self.observed,
            serial: self.serial,
        };
        if leaf.index() >= self.keys.fixed {
            // It has to stay for as long as the request can come back to it.
            self.node_mut(leaf).pins += 1;
            claim.permits |= Claim::PIN;
        }
        let mut next = Some(leaf);
        let mut bit = 1;
        while let Some(id) = next {
            let node = &mut self.keys.nodes[id.index()];
            let rules = &self.scopes.of::<LATER>(node.spec).rules;
            // Also where there is no window: there may be one before this request goes out.
            if self.enforced.windows {
                node.bucket.take_places(1);
                claim.places |= bit;
            }
            if self.enforced.permits {
                node.bucket.take_permits(1);
                claim.permits |= bit;
                if rules.releases_at_head() {
                    claim.at_head |= bit;
                }
            }
            node.counters.admitted += 1;
            next = node.parent;
            bit <<= 1;
        }
        claim
    }

    /// The request has gone out: its places become stamps. Returns whether anybody waits at one of its
    /// scopes, who may have to be told.
    #[inline]
    pub(in crate::admission) fn stamp(&mut self, claim: Claim, now: Tick) -> bool {
        let mut contested = false;
        self.each(claim.leaf, |node, scopes, bit| {
            if claim.places & bit != 0 {
                node.bucket
                    .stamp(&scopes[node.spec.0 as usize].rules, 1, now);
            }
            contested |= node.wait_queue.is_some();
        });
        contested
    }

    /// Ends the permits in `mask`. Returns whether anybody waits at one of the scopes.
    #[inline]
    pub(in crate::admission) fn release(&mut self, claim: Claim, mask: u8, now: Tick) -> bool {
        let mut contested = self.closed;
        let ends = u32::from(mask & Claim::ALIVE != 0);
        if claim.is_charged() {
            contested |= self.release_charged(claim, mask, now);
            self.end(claim.leaf, ends);
        } else {
            let has_permits = self.enforced.permits;
            self.each(claim.leaf, |node, _, bit| {
                let released = u32::from(mask & bit != 0);
                node.bucket.release_permits(released);
                node.add_besides(released);
                if has_permits {
                    node.take_besides(ends);
                } else {
                    node.add_besides(ends);
                }
                contested |= node.wait_queue.is_some();
            });
            self.ended += u64::from(ends);
        }
        self.unpin(claim.leaf, mask);
        contested
    }

    /// The same, of a request that [is plain](Claim::is_plain), and of all that it holds.
    #[inline]
    pub(in crate::admission) fn release_plain(&mut self, leaf: NodeId, mask: u8) -> bool {
        // Who closes the layer may wait for this one.
        let mut contested = self.closed;
        let besides = self.besides;
        self.each(leaf, |node, _, bit| {
            if mask & bit != 0 {
                node.bucket.release_permits(1);
            }
            node.add_besides(besides);
            contested |= node.wait_queue.is_some();
        });
        self.ended += 1;
        self.unpin(leaf, mask);
        contested
    }

    fn unpin(&mut self, leaf: NodeId, mask: u8) {
        if mask & Claim::PIN != 0 {
            self.node_mut(leaf).pins -= 1;
        }
    }

    /// The request was never dispatched: everything is as if it had not been admitted.
    pub(super) fn give_back(&mut self, claim: Claim) {
        if claim.is_charged() {
            self.uncharge(claim);
        }
        self.each(claim.leaf, |node, _, bit| {
            if claim.places & bit != 0 {
                node.bucket.give_back_places(1);
            }
            if claim.permits & bit != 0 {
                node.bucket.release_permits(1);
            }
            node.bucket.withdraw_probe(claim.serial);
            node.counters.admitted -= 1;
        });
        self.ended += 1;
        self.unpin(claim.leaf, claim.permits);
    }

    /// Whether the request would be admitted by the present quotas if it had not been yet.
    pub(super) fn still_fits(&mut self, claim: Claim, now: Tick) -> bool {
        if !self.has_changed_since(claim) {
            return true;
        }
        if !self.has_taken_all(claim) {
            return false;
        }
        let demand = self.demand_of_claim(claim);
        if claim.is_charged() {
            self.lend(claim, false);
        }
        self.each(claim.leaf, |node, _, bit| {
            if claim.places & bit != 0 {
                node.bucket.give_back_places(1);
            }
            if claim.permits & bit != 0 {
                node.bucket.release_permits(1);
            }
        });
        let fits = self.path(claim.leaf).all(|id| {
            let node = self.node(id);
            let rules = &self.scope(node.spec).rules;
            self.is_open_for(id, &demand, now)
                || node.bucket.keeps_probe(claim.serial, rules, &demand, now)
        });
        self.each(claim.leaf, |node, _, bit| {
            if claim.places & bit != 0 {
                node.bucket.take_places(1);
            }
            if claim.permits & bit != 0 {
                node.bucket.take_permits(1);
            }
        });
        if claim.is_charged() {
            self.lend(claim, true);
        }
        fits
    }

    /// Whether a quota has changed since a request was admitted.
    pub(super) fn has_changed_since(&self, claim: Claim) -> bool {
        claim.serial <= self.changed
    }

    /// What was admitted up to now is to be looked at again before it goes out.
    pub(super) fn note_change(&mut self) {
        self.changed = self.serial;
    }

    #[inline]
    pub(super) fn each(&mut self, leaf: NodeId, mut f: impl FnMut(&mut Node, View<'_>, u8)) {
        let scopes = self.scopes.view();
        let mut next = Some(leaf);
        let mut bit = 1;
        while let Some(id) = next {
            let node = &mut self.keys.nodes[id.index()];
            f(node, scopes, bit);
            next = node.parent;
            bit <<= 1;
        }
    }

    /// What a bucket is called: as configured, or by the host and path that it stands for.
    pub(in crate::admission) fn name(&self, node: &Node) -> Box<str> {
        node.key()
            .unwrap_or_else(|| self.scope(node.spec).name.clone())
    }

    /// The partition of a bucket, if there are partitions and it is not shared by them.
    pub(in crate::admission) fn partition(&self, node: &Node) -> Option<u64> {
        let partitioned = self.scope(node.spec).partitioned;
        partitioned.then_some(node.partition)
    }

    /// Tells the observer, if there is one, of a decision about a bucket.
    pub(in crate::admission) fn tell(
        &mut self,
        id: NodeId,
        now: Tick,
        fx: &mut Effects,
        decision: impl FnOnce() -> Decision,
    ) {
        self.tell_by(Decider::Itself, id, now, fx, decision);
    }

    /// The same, of a decision that may be another's than the request's that it is about.
    pub(in crate::admission) fn tell_by(
        &mut self,
        decider: Decider,
        id: NodeId,
        now: Tick,
        fx: &mut Effects,
        decision: impl FnOnce() -> Decision,
    ) {
        if !self.observed {
            return;
        }
        let counters = &mut self.node_mut(id).counters;
        counters.told += 1;
        let sequence = counters.told;
        let node = self.node(id);
        fx.told.push(Told {
            decider,
            endpoint: self.scope(node.spec).name.clone(),
            key: node.key(),
            // With partitions, what stands for a whole scope belongs to none.
            partition: (self.scope(node.spec).node != id)
                .then(|| self.partition(node))
                .flatten(),
            sequence,
            at: now,
            decision: decision(),
        });
    }

    /// Tells the observer of a decision about all buckets of a scope: under the name of the scope.
    pub(super) fn tell_of_scope(
        &mut self,
        scope: SpecId,
        now: Tick,
        fx: &mut Effects,
        decision: impl FnOnce() -> Decision,
    ) {
        // The node of the scope itself. With keys it has no bucket, and its name is the scope's.
        self.tell(self.scope(scope).node, now, fx, decision);
    }

    /// Whether a scope that a request needs is paused.
    pub(super) fn is_paused(&self, leaf: NodeId, now: Tick) -> bool {
        self.path(leaf)
            .any(|id| self.paused_until(self.node(id)) > now)
    }

    /// Whether a pause calls an admitted request back.
    pub(super) fn calls_back(&self, claim: Claim, now: Tick) -> bool {
        self.path(claim.leaf).any(|id| {
            let node = self.node(id);
            let of_scope = self.scope(node.spec).paused_until;
            of_scope > now || node.bucket.calls_back(claim.serial, now)
        })
    }

    /// Until when a bucket is paused, or closed by its server.
    pub(in crate::admission) fn paused_until(&self, node: &Node) -> Tick {
        let of_scope = self.scope(node.spec).paused_until;
        node.bucket.paused_until().max(of_scope)
    }

    pub(super) fn set_learning(&mut self, learning: Learning) {
        self.learning = learning;
    }

    /// A scope goes.
    pub(super) fn forget_rules(&mut self, scope: usize) {
        let rules = &self.scopes[scope].rules;
        self.discovering -= usize::from(rules.learning().discover);
        self.charges.counting -= usize::from(!rules.units().is_empty());
    }

    /// Has a scope learn what is to be learned by now.
    pub(super) fn renew_rules(&mut self, index: usize) {
        let mut learning = self.learning;
        learning.discover &= self.may_discover(index);
        if self.is_joint() {
            // This layer sees its own requests only: what is refused says nothing of a limit in which others' count, too.
            let quota = &self.scopes[index].quota;
            learning.rate &= quota.windows().next().is_none();
            learning.concurrency &= quota.concurrency_limit().is_none();
        }
        let scope = &mut self.scopes[index];
        self.discovering -= usize::from(scope.rules.learning().discover);
        self.charges.counting -= usize::from(!scope.rules.units().is_empty());
        let rules = Rules::new(&scope.quota, self.enforced, learning, scope.kind.learns());
        scope.rules = Arc::new(rules);
        if scope.kind == SpecKind::Overall {
            self.looks_overall = looks(&scope.rules);
        }
        self.discovering += usize::from(scope.rules.learning().discover);
        self.charges.counting += usize::from(!scope.rules.units().is_empty());
        scope
            .rules
            .units()
            .iter()
            .for_each(|rules| self.charges.know(rules.unit));
        #[expect(clippy::cast_possible_truncation, reason = "`SpecId` is 32 bits wide")]
        self.note_longest(SpecId(index as u32));
    }

    /// Whether nothing is configured for an endpoint, nor in any wider scope.
    fn may_discover(&self, scope: usize) -> bool {
        let wider = |scope: &&Scope| scope.parent.map(|parent| self.scope(parent));
        let own = &self.scopes[scope];
        let mut wider = std::iter::successors(wider(&own), wider);
        // A partition may be of any tier.
        let limits = |scope: &Scope| {
            let mut variants = scope.variants.iter();
            scope.quota.limits() || variants.any(|&id| self.scope(id).quota.limits())
        };
        own.kind.is_endpoint() && !own.quota.limits() && !wider.any(limits)
    }

    /// Whether anything discovers, or would if less were configured.
    pub(in crate::admission) fn discovers(&self) -> bool {
        self.learning.discover
    }

    /// Whether a bucket that a request needs wants to hear of its success.
    pub(in crate::admission) fn listens(&self, leaf: NodeId) -> bool {
        self.path(leaf).any(|id| {
            let node = self.node(id);
            node.bucket.listens(&self.scope(node.spec).rules)
        })
    }

    /// How many buckets want to hear of successes: those that have learned something, and all of those that
    /// discover.
    pub(super) fn listening(&self) -> usize {
        self.keys.learned + self.discovering
    }

    pub(super) fn set_quota(&mut self, scope: SpecId, quota: Quota) {
        self.scopes[scope.0 as usize].quota = quota;
        self.note_change();
        self.renew_rules(scope.0 as usize);
    }

    pub(super) fn pause(&mut self, scope: SpecId, until: Tick) {
        for scope in self.scopes.with_variants(scope) {
            let scope = &mut self.scopes[scope.0 as usize];
            scope.set_paused_until(scope.paused_until.max(until));
        }
    }

    pub(super) fn resume(&mut self, scope: SpecId) {
        for scope in self.scopes.with_variants(scope) {
            self.scopes[scope.0 as usize].set_paused_until(Tick::NONE);
        }
    }

    /// The buckets among `n` nodes from the index `from` on, and the index of the next if there is one.
    pub(in crate::admission) fn in_use_from(
        &self,
        from: usize,
        n: usize,
    ) -> (impl Iterator<Item = (NodeId, &Node)>, Option<usize>) {
        let end = self.keys.nodes.end();
        let to = end.min(from.saturating_add(n));
        let nodes = (from..to).filter_map(move |index| {
            let node = self.keys.nodes.get(index)?;
            self.is_in_use(index, node)
                .then(|| (NodeId::new(index), node))
        });
        (nodes, (to < end).then_some(to))
    }

    /// Whether a node is a bucket, and not just the place of one whose requests have their own. One that the present
    /// configuration has no more is, while there is anything in it.
    fn is_in_use(&self, index: usize, node: &Node) -> bool {
        let scope = self.scope(node.spec);
        let stands_for_all = scope.node.index() == index;
        if stands_for_all && scope.has_keys() {
            return false;
        }
        let longest = scope.longest;
        let retired = self.scope(self.base(node.spec)).retired;
        !retired || !self.is_over_for(NodeId::new(index), longest, self.latest)
    }
}

/// Whether a bucket with these rules has to see each request.
fn looks(rules: &Rules) -> bool {
    rules.limits() || rules.keeps_log()
}

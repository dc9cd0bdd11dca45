//! A bucket that is out of the tree, for calls that need nothing else.
//!
//! Most calls find their endpoint open, and nobody waiting; and few layers limit a wider scope. Such a bucket is
//! [detached](Core::detach): the engine keeps it behind a lock of its own, and calls pass it there. Whatever else
//! concerns it, a wait, a pause, another quota, a look at it, [attaches](Core::attach) it first: then it is in its node
//! as if it had never been away. In its node stands one that lets nothing through, in case anybody forgets.
//!
//! Why the laws hold: the bucket is the same, and is always in one of the two places.
//! - L1, L4: all that a call needs is in the passage, and is taken in one hold of its lock. The wider scope limits
//!   nothing; what it counts follows when the bucket comes back, before anything can be limited there.
//! - L2, L3: nobody waits at a detached bucket, so nobody is passed and nobody has to be woken. A request that
//!   has to wait attaches it, and it stays while anybody waits.
//! - L5: places and permits are counted in the bucket, wherever it is when they end.

use std::sync::Arc;

use super::{claim::Claim, feedback::report, ids::NodeId, scope::Scope, state::Core, tree::Tree};
use crate::{
    bucket::{Bucket, Enforced, Load, Report, Rules, Span, Tick},
    signal::{QuotaReport, SignalScope},
};

/// How many calls pass before the engine hears of them: it sweeps, and numbers requests.
const CALLS: u64 = 64;

/// A detached bucket, and what happens there.
#[derive(Debug)]
pub(in crate::admission) struct Passage {
    leaf: NodeId,
    bucket: Bucket,
    rules: Arc<Rules>,
    /// Those of the scope above.
    wider: Option<Arc<Rules>>,
    enforced: Enforced,
    max_pause: Span,
    tracks_pauses: bool,
    /// The latest time that was told here.
    latest: Tick,
    /// The number of the last request that was admitted.
    serial: u64,
    /// The number of the last that can be.
    last: u64,
    admitted: u64,
    ended: u64,
    /// What each request takes, in all of its scopes.
    places: u8,
    permits: u8,
    /// As it was when the bucket left.
    load: Load,
    had_learned: bool,
    listens: bool,
}

/// Whether what was asked of a passage was done there. Otherwise it is for the tree.
pub(in crate::admission) type Done = bool;

impl Passage {
    /// Admits a request that states no cost, if there is room.
    #[inline]
    pub(in crate::admission) fn admit(&mut self, now: impl FnOnce() -> Tick) -> Option<Claim> {
        if self.serial == self.last {
            return None;
        }
        // The clock is read only where it matters. What has room at an earlier time has room now.
        if !self.bucket.is_open(&self.rules, self.latest) {
            let now = now();
            if now < self.latest || !self.bucket.is_open(&self.rules, now) {
                return None;
            }
            self.latest = now;
        }
        if self.enforced.windows {
            self.bucket.take_places(1);
        }
        if self.enforced.permits {
            self.bucket.take_permits(1);
        }
        self.serial += 1;
        self.admitted += 1;
        Some(Claim {
            leaf: self.leaf,
            places: self.places,
            permits: self.permits,
            at_head: 0,
            observed: false,
            serial: self.serial,
        })
    }

    /// A request has gone out, at `now` or a little before. `again` reads the clock once more: another thread may have
    /// read it later and been here earlier.
    #[inline]
    pub(in crate::admission) fn stamp(&mut self, now: Tick, again: impl FnOnce() -> Tick) -> Done {
        let now = if now < self.latest { again() } else { now };
        if now < self.latest {
            return false;
        }
        self.latest = now;
        self.bucket.stamp(&self.rules, 1, now);
        true
    }

    /// The answer to a request has a head, and its body is to follow.
    #[inline]
    pub(in crate::admission) fn open_body(&mut self, claim: &mut Claim) -> Done {
        let is_whole = claim.permits == self.permits && !claim.observed;
        if is_whole {
            claim.permits |= Claim::BODY;
            self.bucket.open_body();
        }
        is_whole
    }

    /// A request ends with all that it has.
    #[inline]
    pub(in crate::admission) fn release(&mut self, claim: Claim, permits: u8) -> Done {
        let body = permits & Claim::BODY;
        let is_whole = permits & !body == self.permits && claim.at_head == 0 && !claim.observed;
        if is_whole {
            if body != 0 {
                self.bucket.close_body();
            }
            self.bucket.release_permits(1);
            self.ended += 1;
        }
        is_whole
    }

    /// The answer to a request was no throttling one. Returns whether the bucket has [begun to
    /// listen](Self::has_begun_to_listen); nothing if it is for the tree.
    pub(in crate::admission) fn accepted(
        &mut self,
        claim: Claim,
        quota: Option<&QuotaReport>,
        now: impl FnOnce() -> Tick,
    ) -> Option<bool> {
        if self.tracks_pauses || claim.observed {
            return None;
        }
        let of_headers = quota.map(report).unwrap_or_default();
        let mut of_headers = of_headers.at_most(self.max_pause);
        let is_of_everything = quota.is_some_and(|quota| quota.scope() == SignalScope::Everything);
        if let Some(wider) = self.wider.as_ref().filter(|_| is_of_everything) {
            if of_headers.learned_by(wider).is_news(wider) {
                return None;
            }
            of_headers = Report::default();
        }
        self.latest = now().max(self.latest);
        let number = (claim.serial, self.serial);
        (self.bucket).succeeded(&of_headers, self.enforced, &self.rules, number, self.latest);
        let begins = self.bucket.has_learned() && !self.had_learned && !self.listens;
        self.listens |= begins;
        Some(begins)
    }

    /// Whether it has learned its first lesson since it has left, and wants to hear of successes.
    pub(in crate::admission) fn has_begun_to_listen(&self) -> bool {
        self.listens
    }

    /// How many requests were admitted here.
    pub(in crate::admission) fn admitted(&self) -> u64 {
        self.admitted
    }
}

impl Core {
    /// Takes the bucket of a leaf out of the tree, if nothing is in the way: nobody waits there, it does nothing but
    /// count requests and permits, and no wider scope limits anything.
    #[inline]
    pub(in crate::admission) fn detach(&mut self, leaf: NodeId) -> Option<Passage> {
        self.tree
            .detaches(leaf)
            .then(|| self.detach_if_quiet(leaf))?
    }

    #[inline(never)]
    fn detach_if_quiet(&mut self, leaf: NodeId) -> Option<Passage> {
        let is_quiet = self.tree.can_detach(leaf)
            && !self.has_work()
            && self.graces.next().is_none()
            && !self.bodies.known.contains_key(&leaf)
            && (!self.has_waiters() || !self.claimants.any_at(leaf) && self.unheard(leaf) == 0);
        is_quiet.then(|| self.tree.detach(leaf, self.pauses.tracked))
    }

    /// A bucket comes back into the tree.
    #[inline(never)]
    pub(in crate::admission) fn attach(&mut self, passage: Passage) {
        let has_bodies = passage.bucket.open_bodies() > 0;
        self.tree.attach(passage);
        if has_bodies && self.watches_bodies() {
            // Nobody has watched them. By now they are open.
            self.bodies.watch(self.tree.latest());
        }
    }
}

impl Tree {
    /// Whether the bucket of a leaf may leave, as far as that does not change from call to call.
    #[inline]
    fn detaches(&self, leaf: NodeId) -> bool {
        let may_leave = !self.looks_twice && !self.looks_overall && self.kept_attached == 0;
        may_leave && self.node(leaf).parent == self.overall_node()
    }

    /// Whether no bucket would leave by the endpoints of a new layer.
    pub(in crate::admission) fn never_detaches(&self) -> bool {
        self.keys.has_partitions() || self.looks_overall
    }

    /// The node of the widest scope, where there are no partitions.
    #[inline]
    fn overall_node(&self) -> Option<NodeId> {
        self.overall.map(|overall| NodeId::new(overall.0 as usize))
    }

    /// Whether the bucket of a leaf is not here.
    #[inline]
    pub(in crate::admission) fn is_detached(&self, leaf: NodeId) -> bool {
        self.detached > 0 && self.node(leaf).bucket.is_away()
    }

    /// Whether any is.
    pub(in crate::admission) fn detached(&self) -> usize {
        self.detached
    }

    /// Keeps all buckets where they are, or lets them go again.
    pub(in crate::admission) fn keep_attached(&mut self, keep: bool) {
        if keep {
            self.kept_attached += 1;
        } else {
            self.kept_attached -= 1;
        }
    }

    fn can_detach(&self, leaf: NodeId) -> bool {
        let node = self.node(leaf);
        let scope = self.scope(node.spec);
        let parent = node.parent.map(|parent| self.node(parent));
        let limits_nothing = parent.is_none_or(|parent| {
            let of_parent = self.scope(parent.spec);
            parent.parent.is_none()
                && !parent.bucket.has_learned()
                && self.is_plain(of_parent)
                && parent.bucket.is_plain(self.latest())
        });
        limits_nothing
            && scope.node == leaf
            && !scope.has_keys()
            && scope.rules.units().is_empty()
            && !scope.rules.learning().discover
            && self.is_plain(scope)
            && node.wait_queue.is_none()
            && node.bucket.is_plain(self.latest())
    }

    /// Whether requests hold a permit of a scope until their bodies end, and no longer, and it is not paused.
    fn is_plain(&self, scope: &Scope) -> bool {
        let rules = &scope.rules;
        !rules.releases_at_head() && rules.grace().is_zero() && scope.closed_until <= self.latest()
    }

    fn detach(&mut self, leaf: NodeId, tracks_pauses: bool) -> Passage {
        let first = self.serial;
        self.serial += CALLS;
        self.detached += 1;
        let scopes =
            Claim::SCOPES >> (Claim::SCOPES.count_ones() as usize - self.path(leaf).count());
        let rules = |node: NodeId| Arc::clone(&self.scope(self.node(node).spec).rules);
        let (rules, wider) = (rules(leaf), self.node(leaf).parent.map(rules));
        let of = |enforced: bool| if enforced { scopes } else { 0 };
        let (enforced, latest) = (self.enforced, self.latest());
        let node = self.node_mut(leaf);
        let bucket = std::mem::replace(&mut node.bucket, Bucket::away());
        Passage {
            leaf,
            enforced,
            latest,
            serial: first,
            last: self.serial,
            admitted: 0,
            ended: 0,
            places: of(enforced.windows),
            permits: Claim::ALIVE | of(enforced.permits),
            load: bucket.load(),
            had_learned: bucket.has_learned(),
            listens: false,
            rules,
            wider,
            bucket,
            max_pause: self.max_pause.into(),
            tracks_pauses,
        }
    }

    fn attach(&mut self, passage: Passage) {
        let Passage {
            leaf,
            bucket,
            latest,
            admitted,
            ended,
            load,
            had_learned,
            ..
        } = passage;
        self.detached -= 1;
        self.set_time(latest);
        self.admitted += admitted;
        self.ended += ended;
        self.count_calls(admitted);
        let has_learned = usize::from(bucket.has_learned());
        self.keys.learned = self.keys.learned + has_learned - usize::from(had_learned);
        let now = bucket.load();
        self.node_mut(leaf).bucket = bucket;
        self.each(leaf, |node, _, bit| {
            node.counters.admitted += admitted;
            if bit != Claim::LEAF {
                node.bucket.follow(load, now);
            }
        });
    }
}

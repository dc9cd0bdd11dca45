//! What answers teach, and to which bucket.

use std::time::Duration;

use super::{
    claim::Claim,
    effects::{Decision, Effects},
    ids::NodeId,
    pauses::Paused,
    slots::Rank,
    state::Core,
    task::{Progress, Task},
    tree::Tree,
};
use crate::{
    bucket::{
        self, Bucket, Demand, Enforced, Learned, Past, Refusal, RefusalKind, Report, Rules, Span,
        Tick,
    },
    costs::{Priority, Unit},
    endpoints::SpecKind,
    event::PauseCause,
    signal::{QuotaReport, Signal, SignalKind, SignalScope},
};

/// If a limit is known, a quarter of it or less is little.
const LITTLE: u64 = 4;
/// If the limit is unknown, this many or fewer are little.
const FEW: u64 = 10;

/// Where nobody counts what is in flight: after this time, most requests have been answered.
const ANSWERED: Span = Span(5_000_000_000);

/// What an earlier answer to a request was: it was refused.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Setback {
    /// The bucket that was blamed.
    node: NodeId,
    of: bucket::Setback,
}

/// When a throttled request can be sent again.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) enum Reopens {
    /// When its scopes open again, as far as can be told.
    At(Tick),
    /// The trouble is its own: it waits until then, and nobody else does.
    Alone(Tick),
    /// The server named a time that is longer than any pause.
    TooLate,
}

impl Tree {
    /// The node whose limit an answer is about: the endpoint's, unless that has no limit of this kind
    /// and its group has.
    fn blamed(&self, leaf: NodeId, limits: impl Fn(&Rules) -> bool) -> NodeId {
        let blamed = self.path(leaf).find(|&id| {
            let scope = self.scope(self.node(id).spec);
            scope.kind.learns() && limits(&scope.rules)
        });
        blamed.unwrap_or(leaf)
    }

    /// The node whose limit all requests of this client share.
    fn overall(&self, leaf: NodeId) -> Option<NodeId> {
        let is_overall = |&id: &NodeId| self.scope(self.node(id).spec).kind == SpecKind::Overall;
        self.path(leaf).find(is_overall)
    }
}

impl Core {
    /// The answer to a request was a throttling one, and perhaps the one before as well. Returns when it can
    /// be sent again, unless there is nothing to wait for. `random` is a fresh random number from [0, 1).
    pub(in crate::admission) fn throttled(
        &mut self,
        claim: Claim,
        signal: &Signal,
        setback: &mut Option<Setback>,
        random: f64,
        now: Tick,
        fx: &mut Effects,
    ) -> Option<Reopens> {
        let leaf = claim.leaf;
        self.tree.tell(leaf, now, fx, || {
            Decision::Throttled(Box::new(signal.clone()))
        });
        let refusal = refusal(signal, self.tree.max_pause, random)?;
        self.tree.each(leaf, |node, _, _| {
            let throttled = &mut node.counters.throttled;
            *throttled = throttled.saturating_add(1);
        });
        let mut blamed = match refusal.kind {
            RefusalKind::Concurrency(_) => {
                (self.tree).blamed(leaf, |rules| rules.concurrency().is_some())
            }
            _ => (self.tree).blamed(leaf, |rules| !rules.windows().is_empty()),
        };
        if signal.scope() == SignalScope::Everything {
            blamed = self.tree.overall(leaf).unwrap_or(blamed);
        }
        let concerns = refusal.concerns(self.tree.enforced);
        let earlier = setback.take().filter(|earlier| earlier.node == blamed);
        let earlier = earlier.map(|earlier| earlier.of);
        let answered = self.answered(blamed, now);
        let cause = if refusal.retry_after.is_some() {
            PauseCause::Asked
        } else {
            PauseCause::BackOff
        };
        if let Some(unit) = signal
            .unit()
            .filter(|_| refusal.kind == RefusalKind::OtherUnit)
        {
            self.tree.refused_for(claim, unit, now);
        }
        let mut own_wait = None;
        self.teach(blamed, cause, now, fx, |bucket, enforced, rules, newest| {
            let number = (claim.serial, newest);
            let past = Past {
                earlier: earlier.as_ref(),
                answered,
            };
            let of = bucket.judge(&refusal, past, enforced, rules, number, now);
            own_wait = of.own_wait(&refusal).filter(|_| concerns);
            *setback = Some(Setback { node: blamed, of });
            if own_wait.is_none() {
                bucket.refused(&refusal, enforced, rules, number, now);
            }
        });
        if !concerns {
            return None;
        }
        if own_wait.is_none() && blamed != leaf && self.tree.discovers() {
            // Whoever is to blame, fewer are to be sent from here.
            self.teach(leaf, cause, now, fx, |bucket, enforced, rules, newest| {
                bucket.refused_elsewhere(enforced, rules, (claim.serial, newest), now);
            });
        }
        if own_wait.is_none() && self.tree.is_closed(blamed, now) {
            let after = Progress::Begun;
            self.work.push(Task::Recheck {
                node: blamed,
                after,
            });
        }
        if refusal.closes() || self.tree.is_closed(leaf, now) {
            return Some(Reopens::TooLate);
        }
        if let Some(wait) = own_wait {
            return Some(Reopens::Alone(now.after(wait)));
        }
        let demand = self.tree.demand_of_claim(claim);
        // At the earliest: nobody knows here of which class it is.
        let priority = if self.classed == 0 {
            Priority::NORMAL
        } else {
            Priority::HIGH
        };
        let (slot, _) = self.slot(leaf, &demand, priority, Rank::default(), now);
        Some(Reopens::At(slot))
    }

    /// How many answers a bucket has had.
    fn answered(&self, id: NodeId, now: Tick) -> u64 {
        let node = self.tree.node(id);
        let under_way = if self.tree.enforced.permits {
            node.bucket.in_flight() as u64
        } else {
            u64::from(node.bucket.sent_within(ANSWERED, now))
        };
        node.counters.admitted.saturating_sub(under_way)
    }

    /// The head of an answer names a delay: nothing is sent until then, whatever else it says, unless it is
    /// the trouble of that request alone.
    pub(in crate::admission) fn asked_to_wait(
        &mut self,
        claim: Claim,
        delay: Duration,
        setback: Option<&Setback>,
        random: f64,
        now: Tick,
        fx: &mut Effects,
    ) {
        let is_own = |earlier: &Setback| {
            let node = self.tree.keys.nodes.get(earlier.node.index());
            node.is_some_and(|node| node.bucket.only_refuses(&earlier.of, now))
        };
        if setback.is_some_and(is_own) {
            return;
        }
        let refusal = Refusal {
            kind: RefusalKind::Rate,
            retry_after: Some(delay.into()),
            rate: None,
            period: None,
            ceiling: self.tree.max_pause.into(),
            random,
        };
        let blamed = (self.tree).blamed(claim.leaf, |rules| !rules.windows().is_empty());
        self.teach(blamed, PauseCause::Asked, now, fx, |bucket, _, _, _| {
            bucket.asked_to_wait(&refusal, now);
        });
    }

    /// The answer to a request was no throttling one.
    pub(in crate::admission) fn accepted(
        &mut self,
        claim: Claim,
        quota: Option<&QuotaReport>,
        now: Tick,
        fx: &mut Effects,
    ) {
        if let Some(quota) = quota {
            self.said_left(claim, quota, now, fx);
        }
        let counts = |unit: Unit| self.tree.counts(claim.leaf, unit);
        // What is counted here waits for itself, and nothing else does.
        let of_requests = quota.filter(|quota| !quota.is_of_unit(counts));
        let of_headers = of_requests.map(report).unwrap_or_default();
        let about = quota
            .filter(|quota| quota.scope() == SignalScope::Everything)
            .and_then(|_| self.tree.overall(claim.leaf))
            .unwrap_or(claim.leaf);
        let waiting = saturated(self.tree.node(about).waiting());
        let of_headers = Report {
            waiting,
            ..of_headers.at_most(self.tree.max_pause.into())
        };
        let mut next = Some(claim.leaf);
        while let Some(id) = next {
            next = self.tree.node(id).parent;
            let report = if id == about {
                &of_headers
            } else {
                &Report::default()
            };
            let cause = PauseCause::QuotaHeaders;
            self.teach(id, cause, now, fx, |bucket, enforced, rules, newest| {
                bucket.succeeded(report, enforced, rules, (claim.serial, newest), now);
            });
        }
    }

    /// An answer says how much is left of what its endpoint counts besides requests.
    fn said_left(&mut self, claim: Claim, quota: &QuotaReport, now: Tick, fx: &mut Effects) {
        if quota.units().next().is_none() || !self.tree.counts_units(claim.leaf) {
            return;
        }
        let most = Span::from(self.tree.max_pause);
        self.tree.each(claim.leaf, |node, scopes, _| {
            let rules = &scopes[node.spec.0 as usize].rules;
            for counted in rules.units() {
                let said = quota
                    .unit(counted.unit)
                    .filter(|_| rules.learning().quota_headers);
                let Some(said) = said else { continue };
                let reset = said.reset().map_or(most, Span::from).min(most);
                let left = (said.remaining(), said.limit());
                (node.bucket).said_left(counted.unit, rules, left, Some(reset), now);
            }
        });
        let contested = self.is_contested(claim.leaf);
        self.settle_after(claim.leaf, contested, now, fx);
    }

    /// Applies a lesson to a bucket, tells the observer, and brings the bucket's queue up to date.
    pub(super) fn teach(
        &mut self,
        id: NodeId,
        cause: PauseCause,
        now: Tick,
        fx: &mut Effects,
        lesson: impl FnOnce(&mut Bucket, Enforced, &Rules, u64),
    ) {
        let contested = self.tree.node(id).wait_queue.is_some();
        let slots_before = contested.then(|| self.slots_at(id, now));
        let Tree {
            keys,
            scopes,
            enforced,
            serial,
            observed,
            fleet,
            ..
        } = &mut self.tree;
        let node = &mut keys.nodes[id.index()];
        let rules = &scopes[node.spec.0 as usize].rules;
        let is_joint = fleet.is_some();
        let before = (*observed || self.pauses.tracked || is_joint)
            .then(|| (node.bucket.paused_until(), node.bucket.kept_lessons(now)));
        let knew = node.bucket.has_learned();
        lesson(&mut node.bucket, *enforced, rules, *serial);
        let knows = node.bucket.has_learned();
        keys.learned = keys.learned + usize::from(knows) - usize::from(knew);
        if let Some((paused_until, lessons)) = before {
            let bucket = &self.tree.node(id).bucket;
            let (paused, learned) = (bucket.paused_until(), bucket.kept_lessons(now));
            if is_joint
                && cause != PauseCause::Store
                && (paused > paused_until.max(now) || learned != lessons)
            {
                self.tell_store_of(id);
            }
            if paused > paused_until.max(now) {
                let time = paused.since(now);
                let node = self.tree.node(id);
                let of = Paused::bucket(self.tree.base(node.spec), node);
                self.pauses.begin(of, paused, now);
                let told = || Decision::Paused { time, cause };
                self.tree.tell(id, now, fx, told);
            }
            if learned != lessons {
                let of = Learned::of(learned);
                let told = match of.filter(|_| learned.narrows_beyond(&lessons)) {
                    Some(learned) => Decision::Learned(learned),
                    None => Decision::Eased(of),
                };
                self.tree.tell(id, now, fx, || told);
            }
        }
        if let Some(slots_before) = slots_before {
            let slots = self.slots_at(id, now);
            self.settle(id, now, fx);
            if slots.0 > slots_before.0 || slots.1 > slots_before.1 {
                let after = Progress::Begun;
                self.work.push(Task::Recheck { node: id, after });
            }
        }
    }

    /// The slot of a bucket's next request, and of the one behind all waiters. If neither becomes later, no
    /// slot between them does.
    fn slots_at(&self, id: NodeId, now: Tick) -> (Tick, Tick) {
        let node = self.tree.node(id);
        let scope = self.tree.scope(node.spec);
        let slot = |rank| (node.bucket).slot(&scope.rules, &Demand::ONE, rank, now, now);
        (slot(0), slot(node.waiting()))
    }
}

/// What an answer says in a bucket's terms. `None` if there is nothing that a bucket could do about it.
fn refusal(signal: &Signal, max_pause: Duration, random: f64) -> Option<Refusal> {
    let of_requests = signal.is_of_requests();
    let kind = match signal.kind() {
        SignalKind::Concurrency => {
            RefusalKind::Concurrency(signal.concurrency_limit().map(saturated))
        }
        SignalKind::Rate | SignalKind::Overload if !of_requests => RefusalKind::OtherUnit,
        SignalKind::Rate => RefusalKind::Rate,
        SignalKind::Overload => RefusalKind::Overload,
        // Waiting brings no credits, and requests that cost none still work.
        SignalKind::QuotaExhausted => return None,
    };
    Some(Refusal {
        kind,
        retry_after: signal.retry_after().map(Into::into),
        rate: signal.rate_limit().filter(|_| of_requests).map(saturated),
        period: signal.period().filter(|_| of_requests).map(Into::into),
        ceiling: max_pause.into(),
        random,
    })
}

/// Whether a report says anything at all.
pub(in crate::admission) fn says_something(quota: &QuotaReport) -> bool {
    !report(quota).is_empty() || quota.units().next().is_some()
}

pub(super) fn report(quota: &QuotaReport) -> Report {
    let little = match (quota.remaining(), quota.limit()) {
        (Some(0) | None, _) => false,
        (Some(remaining), Some(limit)) => remaining.saturating_mul(LITTLE) <= limit,
        (Some(remaining), None) => remaining <= FEW,
    };
    let empty = quota.remaining() == Some(0);
    let until = if quota.is_gradual() {
        quota.spacing()
    } else {
        quota.reset()
    };
    Report {
        counts: quota.remaining().is_some(),
        left: quota.remaining().map_or(0, saturated),
        waiting: 0,
        resets_in: quota
            .reset()
            .filter(|_| empty && !quota.is_gradual())
            .map(Into::into),
        maximum_concurrency: quota.maximum_concurrency().map(saturated),
        empty_for: until.filter(|_| empty).map(Into::into),
        pace: quota
            .spacing()
            .zip(quota.reset())
            .filter(|_| little)
            .map(|(spacing, until)| (spacing.into(), until.into())),
    }
}

/// The largest `u32` stands for all larger limits.
fn saturated(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

use std::{sync::Arc, time::Duration};

use super::{
    core::{Node, Tree},
    engine::Engine,
};
use crate::{
    bucket::{Learned, Tick},
    endpoints::{Routes, SpecId},
    quota::Quota,
};

/// How many buckets one hold of the lock looks at.
const STEP: usize = 64;

/// What each bucket of a layer was doing. See [`Handle::snapshot`](crate::Handle::snapshot).
#[derive(Clone, Debug)]
pub struct Snapshot {
    buckets: Vec<BucketSnapshot>,
    /// By which [`bucket`](Self::bucket) understands a template in any spelling.
    routes: Arc<Routes>,
}

/// What one bucket was doing.
#[derive(Clone, Debug)]
pub struct BucketSnapshot {
    spec: SpecId,
    name: Box<str>,
    partition: Option<u64>,
    quota: Quota,
    concurrency: Option<usize>,
    learned: Option<Learned>,
    waiting: usize,
    in_flight: usize,
    paused_for: Option<Duration>,
    admitted: u64,
    refused: u64,
    throttled: u64,
}

impl Snapshot {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut buckets = Vec::new();
        let mut from = 0;
        loop {
            let (some, next) = engine.with(|core, now, _| {
                let (nodes, next) = core.tree.in_use_from(from, STEP);
                let some: Vec<_> = nodes
                    .map(|node| BucketSnapshot::of(&core.tree, node, now))
                    .collect();
                (some, next)
            });
            // Without the lock: it moves all of them when it grows.
            buckets.extend(some);
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        Self {
            buckets,
            routes: Arc::clone(&engine.routes),
        }
    }

    /// All buckets: those that are configured, and those of the keys in use.
    pub fn buckets(&self) -> impl Iterator<Item = &BucketSnapshot> {
        self.buckets.iter()
    }

    /// The bucket of an endpoint: by its template (in any spelling of the same shape), by the name of
    /// a group or of a named endpoint, as `overall`, or by the host and path of a bucket that a path
    /// has to itself.
    ///
    /// With partitions an endpoint has a bucket for each value seen; this is one of them. `None` if nothing has
    /// this name, or if the endpoint has no bucket yet.
    pub fn bucket(&self, endpoint: &str) -> Option<&BucketSnapshot> {
        let named = self.buckets().find(|bucket| bucket.name() == endpoint);
        named.or_else(|| {
            let spec = self.routes.lookup(endpoint).ok()?;
            self.buckets().find(|bucket| bucket.spec == spec)
        })
    }
}

impl BucketSnapshot {
    fn of(tree: &Tree, node: &Node, now: Tick) -> Self {
        let scope = tree.scope(node.spec);
        let paused = tree.paused_until(node).since(now);
        Self {
            spec: node.spec,
            name: tree.name(node),
            partition: tree.partition(node),
            quota: scope.quota.clone(),
            concurrency: node.bucket.concurrency(&scope.rules, now),
            learned: Learned::of(node.bucket.lessons(now)),
            waiting: node.waiting(),
            in_flight: if tree.enforced.permits {
                node.bucket.in_flight()
            } else {
                0
            },
            paused_for: (!paused.is_zero()).then_some(paused),
            admitted: node.counters.admitted,
            refused: node.counters.refused,
            throttled: node.counters.throttled,
        }
    }

    /// The template or the name as configured; host and path for a bucket that a path has to itself;
    /// the host for requests that match nothing.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The partition that the bucket belongs to; `None` without partitions, and for the total across them. It is
    /// a hash of the value that tells values apart within this process, and from which the value cannot be found.
    pub fn partition(&self) -> Option<u64> {
        self.partition
    }

    /// The quota as configured or last set.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// How many requests wait in this bucket or below it.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many requests have been dispatched, or are about to be, and hold a permit. Always 0 under
    /// [`RpsLayer`](crate::RpsLayer), which has no permits.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What its server's answers have taught, if anything.
    pub fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    /// How many requests may be in flight, as this layer enforces it: as configured, and narrowed by
    /// what was learned, or as far as [discovery](crate::Learning::discover) has come. `None` if there is no
    /// limit.
    pub fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// The time until nothing pauses the bucket any more; `None` if it is not paused. A pause comes from
    /// [`Handle::pause`](crate::Handle::pause) or from an answer.
    pub fn paused_for(&self) -> Option<Duration> {
        self.paused_for
    }

    /// How many requests were admitted since the bucket was made, retries included. One that was admitted and
    /// not dispatched is taken off again.
    pub fn admitted(&self) -> u64 {
        self.admitted
    }

    /// How many requests for this bucket, or for one below it, the layer has [`Refused`](crate::Refused) since the
    /// bucket was made.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many answers since the bucket was made said that the server was asked for too much: those with a
    /// [`Signal`](crate::signal::Signal), except those about credits.
    pub fn throttled(&self) -> u64 {
        self.throttled
    }
}

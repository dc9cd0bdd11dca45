use std::{hash::Hash, sync::Arc, time::Duration};

use tower_throttle_store::StoreError;

use super::{
    core::{Awaited, Awaits, Core, Node, NodeId, Tree},
    engine::Engine,
};
use crate::{
    bucket::{Learned, Tick},
    endpoints::{Routes, SpecId},
    quota::{Quota, Window},
};

/// How many buckets one hold of the lock looks at.
const STEP: usize = 64;

/// What each bucket of a layer was doing. See [`Handle::snapshot`](crate::Handle::snapshot).
#[derive(Clone, Debug)]
pub struct Snapshot {
    buckets: Vec<BucketSnapshot>,
    is_closed: bool,
    backing_off: usize,
    other_bodies: usize,
    store_away: Option<(Duration, StoreError)>,
    /// By which [`bucket`](Self::bucket) understands a template in any spelling.
    routes: Arc<Routes>,
}

/// What one bucket was doing.
#[derive(Clone, Debug)]
pub struct BucketSnapshot {
    spec: SpecId,
    retired: bool,
    name: Box<str>,
    endpoint: Box<str>,
    partition: Option<u64>,
    tier: Option<Arc<str>>,
    quota: Quota,
    concurrency: Option<usize>,
    windows: Vec<WindowUse>,
    learned: Option<Learned>,
    waiting: usize,
    in_flight: usize,
    unfinished: usize,
    unheard: usize,
    open_bodies: Option<(usize, Duration)>,
    head: Option<QueueHead>,
    paused_for: Option<Duration>,
    admitted: u64,
    refused: u64,
    throttled: u64,
}

/// What the request was waiting for that stood first in a bucket's queue.
#[derive(Clone, Debug)]
pub struct QueueHead(Awaits);

impl QueueHead {
    /// What it waited for, at the [`scope`](Self::scope).
    pub fn awaits(&self) -> Awaited {
        self.0.what
    }

    /// The scope at which it waited, by its [name](BucketSnapshot::name): the narrowest that did not let it through.
    pub fn scope(&self) -> &str {
        &self.0.scope
    }

    /// For how long it had been queued.
    pub fn waiting_for(&self) -> Duration {
        self.0.time
    }
}

/// How full one window of a bucket was.
///
/// ```
/// use tower_throttle::BucketSnapshot;
///
/// /// How much of each window is taken, in per cent.
/// fn used(bucket: &BucketSnapshot) -> Vec<String> {
///     let windows = bucket.windows().iter();
///     let line = |of: &tower_throttle::WindowUse| {
///         let window = of.window();
///         format!("{window}: {} %", of.used() * 100 / window.n())
///     };
///     windows.map(line).collect()
/// }
/// # use tower_throttle::{Endpoints, Quota, ThrottleLayer};
/// # let layer = ThrottleLayer::new(Endpoints::new().route("/a", "5/s, 100 tokens/min".parse().unwrap()));
/// # assert_eq!(used(layer.handle().snapshot().bucket("/a").unwrap()), ["5/s: 0 %", "100 tokens/min: 0 %"]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WindowUse {
    window: Window,
    used: u64,
    falls_in: Option<Duration>,
    left_free: u64,
}

impl WindowUse {
    fn of(tree: &Tree, node: &Node, now: Tick) -> Vec<Self> {
        let scope = tree.scope(node.spec);
        let (rules, quota) = (&scope.rules, &scope.quota);
        let figures = |(window, (used, until)): (Window, (u64, Option<Tick>)), thousandths| Self {
            window,
            used,
            falls_in: until.map(|until| until.since(now)),
            left_free: part(window.n(), thousandths),
        };
        let requests = quota.windows().filter(|window| window.requests().is_some());
        let requests = requests.zip(node.bucket.used_requests(rules, now));
        let mut all: Vec<_> = requests.map(|of| figures(of, 0)).collect();
        for counted in rules.units() {
            let headroom = node.bucket.headroom(counted.unit, now);
            let windows = quota
                .windows()
                .filter(|window| window.unit() == counted.unit);
            let windows = windows.zip(node.bucket.used_units(counted, now));
            all.extend(windows.map(|of| figures(of, headroom)));
        }
        all
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// How much of it was used: by requests of the last period, margin included, and by those that have been
    /// admitted and are not dispatched or, in a unit that counts at the answer's end, not settled.
    ///
    /// It is more than the window allows where requests were settled to more than they were estimated to take, and
    /// after a smaller quota was set.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How long the oldest request that counts goes on to count; `None` if none has a time yet: there is none, or all
    /// are about to be dispatched or, in a unit that counts at the answer's end, to be settled.
    pub fn falls_in(&self) -> Option<Duration> {
        self.falls_in
    }

    /// How much is left free since the server has refused requests whose estimates were too low: the learned
    /// [margin](crate::Learning::margin) of a unit. Always 0 for requests.
    pub fn left_free(&self) -> u64 {
        self.left_free
    }
}

/// Thousandths of a number.
fn part(n: u64, thousandths: u32) -> u64 {
    let part = u128::from(n) * u128::from(thousandths) / 1000;
    u64::try_from(part).unwrap_or(n)
}

impl Snapshot {
    pub(super) fn of(engine: &Engine) -> Self {
        let _attached = engine.attach_all();
        engine.add_up_all();
        let mut buckets = Vec::new();
        let mut from = 0;
        let (is_closed, backing_off, other_bodies, store_away) = loop {
            engine.give_way();
            let (some, next, of_layer) = engine.with(|core, now, fx| {
                core.run(now, fx);
                let (nodes, next) = core.tree.in_use_from(from, STEP);
                let some: Vec<_> = nodes
                    .map(|(id, node)| BucketSnapshot::of(core, id, node, now))
                    .collect();
                (some, next, {
                    let others = core.tree.other_bodies as usize;
                    let away = core.tree.fleet().and_then(|fleet| fleet.away(now));
                    let away = away.map(|(time, error)| (time, error.clone()));
                    (core.tree.closed, core.away, others, away)
                })
            });
            // Without the lock: it moves all of them when it grows.
            buckets.extend(some);
            match next {
                Some(next) => from = next,
                None => break of_layer,
            }
        };
        Self {
            buckets,
            is_closed,
            backing_off,
            other_bodies,
            store_away,
            routes: engine.present().routes,
        }
    }

    /// All buckets: those that are configured, and those of the keys in use.
    pub fn buckets(&self) -> impl Iterator<Item = &BucketSnapshot> {
        self.buckets.iter()
    }

    /// For how long the layer's [store](crate::ThrottleLayer::store) had not answered, and what came of the last call;
    /// `None` if it answers, or if there is none. A store that answers and refuses counts as one that does not: the call
    /// is sent once more as it is, and then made anew, with all that was in it.
    pub fn store_away(&self) -> Option<(Duration, &StoreError)> {
        let (time, error) = self.store_away.as_ref()?;
        Some((*time, error))
    }

    /// Whether the layer was [closed](crate::Handle::close).
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// How many requests of a [`ThrottleLayer`](crate::ThrottleLayer) were between two attempts and not in a queue:
    /// they backed off, waited for the inner service to become ready, or collected their body.
    ///
    /// A request that has failed once may count until its response future is done.
    pub fn backing_off(&self) -> usize {
        self.backing_off
    }

    /// How many response bodies were open that hold no permit and whose buckets come and go, as those of
    /// [`each_other_path`](crate::Endpoints::each_other_path) and of partitions do. No key is kept for them, so no bucket
    /// counts them, and [`Handle::drain`](crate::Handle::drain) waits for them.
    pub fn other_bodies(&self) -> usize {
        self.other_bodies
    }

    /// The bucket of an endpoint: by its template (in any spelling of the same shape), by the name of
    /// a group or of a named endpoint, as `overall`, or by the host and path of a bucket that a path
    /// has to itself.
    ///
    /// With partitions an endpoint has a bucket for each value seen; this is one of them. `None` if nothing has
    /// this name, or if the endpoint has no bucket yet.
    pub fn bucket(&self, endpoint: &str) -> Option<&BucketSnapshot> {
        let named = |bucket: &&BucketSnapshot| bucket.name() == endpoint;
        let present = self
            .buckets()
            .find(|bucket| !bucket.retired && named(bucket));
        present
            .or_else(|| {
                let spec = self.routes.lookup(endpoint).ok()?;
                self.buckets().find(|bucket| bucket.spec == spec)
            })
            .or_else(|| self.buckets().find(named))
    }

    /// The buckets of a partition, by its value: all that is there of one customer, say.
    ///
    /// The value is what [`partition_by`](crate::Endpoints::partition_by) returns, or whatever is hashed alike, such as a
    /// `&str` for a `String`. With [`partition_by_header`](crate::Endpoints::partition_by_header) it is the header's value
    /// as a `str` or a `String`. It is hashed here, and not kept. Empty for a value of which no bucket is in use, and
    /// without a rule for partitions.
    ///
    /// ```
    /// use tower_throttle::Handle;
    ///
    /// /// How many requests of a customer wait, and for how long its oldest has.
    /// fn waiting(handle: &Handle, key: &str) -> (usize, std::time::Duration) {
    ///     let snapshot = handle.snapshot();
    ///     let heads = snapshot.partition(key).filter_map(|bucket| bucket.head());
    ///     let longest = heads.map(|head| head.waiting_for()).max();
    ///     let overall = snapshot.bucket_of("overall", key);
    ///     (overall.map_or(0, |bucket| bucket.waiting()), longest.unwrap_or_default())
    /// }
    /// # use tower_throttle::{Endpoints, ThrottleLayer};
    /// # let layer = ThrottleLayer::new(Endpoints::new().partition_by_header("x-customer"));
    /// # assert_eq!(waiting(&layer.handle(), "wonka").0, 0);
    /// ```
    pub fn partition<V: Hash + ?Sized>(&self, value: &V) -> impl Iterator<Item = &BucketSnapshot> {
        let partition = self.routes.partition_of(value);
        self.buckets()
            .filter(move |bucket| partition.is_some() && bucket.partition == partition)
    }

    /// The [`bucket`](Self::bucket) that a [`partition`](Self::partition) has for an endpoint. `None` if none is in use.
    pub fn bucket_of<V: Hash + ?Sized>(
        &self,
        endpoint: &str,
        value: &V,
    ) -> Option<&BucketSnapshot> {
        let spec = self.routes.lookup(endpoint).ok();
        let is_of =
            |bucket: &BucketSnapshot| Some(bucket.spec) == spec || bucket.name() == endpoint;
        let mut buckets: Vec<_> = self
            .partition(value)
            .filter(|bucket| is_of(bucket))
            .collect();
        buckets.sort_by_key(|bucket| bucket.retired);
        buckets.first().copied()
    }
}

impl BucketSnapshot {
    fn of(core: &Core, id: NodeId, node: &Node, now: Tick) -> Self {
        let tree = &core.tree;
        let scope = tree.scope(node.spec);
        let paused = tree.paused_until(node).since(now);
        Self {
            spec: tree.base(node.spec),
            retired: tree.scope(tree.base(node.spec)).retired,
            name: tree.name(node),
            endpoint: scope.name.clone(),
            partition: tree.partition(node),
            tier: scope.tier.as_ref().map(|tier| Arc::clone(&tier.name)),
            quota: scope.quota.clone(),
            concurrency: node.bucket.concurrency(&scope.rules, now),
            windows: WindowUse::of(tree, node, now),
            learned: Learned::of(node.bucket.lessons(now)),
            waiting: node.waiting(),
            in_flight: if tree.enforced.permits {
                node.bucket.in_flight()
            } else {
                0
            },
            unfinished: node.unfinished(tree.enforced),
            unheard: core.unheard(id),
            open_bodies: core.open_bodies(id, now),
            head: core.head_awaits(id, now).map(QueueHead),
            paused_for: (!paused.is_zero()).then_some(paused),
            admitted: node.counters.admitted,
            refused: node.counters.refused,
            throttled: node.counters.throttled.into(),
        }
    }

    /// The template or the name as configured; host and path for a bucket that a path has to itself;
    /// the host for requests that match nothing.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the bucket is configured as: the [`name`](Self::name), or for a bucket that a path or a host has to itself
    /// the constant of [`Endpoints`](crate::Endpoints) that all of these go by. A label for metrics: there are as many
    /// as were configured.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the bucket is of endpoints that a [reload](crate::Handle::reload) has replaced: no request enters it any
    /// more, and it is there for as long as there is something in it.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// The partition that the bucket belongs to; `None` without partitions, and for the total across them. It is
    /// a hash of the value that tells values apart within this process, and from which the value cannot be found.
    pub fn partition(&self) -> Option<u64> {
        self.partition
    }

    /// The [tier](crate::Endpoints::tier) whose quota the bucket goes by: that of the last request that came here, if the
    /// tier has another quota for this endpoint.
    pub fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// The quota as configured or last set.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// How many requests wait in this bucket or below it.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many permits are held by requests that have been dispatched, or are about to be: one by each, unless it
    /// [states](crate::Cost::permits) another number. Always 0 under [`RpsLayer`](crate::RpsLayer), which has no
    /// permits.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many requests have been admitted and are not over: their response future is alive, or their response body
    /// is and has not ended. At a wider scope all of those below it.
    ///
    /// What [`Handle::drain`](crate::Handle::drain) waits for, besides [`unheard`](Self::unheard),
    /// [`Snapshot::backing_off`] and [`Snapshot::other_bodies`]. Unlike [`in_flight`](Self::in_flight) these are requests and not permits; it is known
    /// under [`RpsLayer`](crate::RpsLayer) too, and includes bodies whose permit ended with the head.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many requests of this endpoint were refused while they waited, and have response futures that were not polled
    /// since. Counted at endpoints only.
    pub fn unheard(&self) -> usize {
        self.unheard
    }

    /// How many response bodies are open: their head has come, and they have not ended, failed or been dropped. At an
    /// endpoint all of its own; at a wider scope those that hold a permit of it.
    ///
    /// The rest of what is in flight awaits its head. Always 0 under [`RpsLayer`](crate::RpsLayer), for which no
    /// request waits for a body.
    pub fn open_bodies(&self) -> usize {
        self.open_bodies.map_or(0, |(open, _)| open)
    }

    /// For how long the oldest of the [open bodies](Self::open_bodies) has been open, at least; `None` if there is none.
    ///
    /// Exact with an [`Observer`](crate::Observer), and for bodies whose head came while any request of the layer waited
    /// or after the layer was closed. Of others no time is kept: they are taken to be open since that began, and where
    /// nothing waits since now.
    pub fn oldest_body(&self) -> Option<Duration> {
        self.open_bodies.map(|(_, oldest)| oldest)
    }

    /// The request that stands first in the queue of this bucket, and what it waits for. At a wider scope one that
    /// every narrower scope would let through. `None` if there is none.
    pub fn head(&self) -> Option<&QueueHead> {
        self.head.as_ref()
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

    /// How full each window of the quota is that this layer enforces: first those of requests, then those of each
    /// unit.
    pub fn windows(&self) -> &[WindowUse] {
        &self.windows
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

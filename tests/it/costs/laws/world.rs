//! Plays a schedule against a layer and the ledger, one millisecond after the other.

use std::sync::{Arc, Mutex};

use http_body::Body as _;
use tokio::{task::JoinHandle, time::Instant};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_throttle::{
    Body, BoxError, ConcurrencyLayer, Cost, Handle, Learning, Refused, RefusedReason, RpsLayer,
    Settlement, Terms,
};

use super::{
    ledger::{
        Config, ENDPOINTS, Ledger, Limit, OUTPUT, OVERALL, PATHS, Phase, SCOPES, TOKENS, UNITS,
        name,
    },
    puppet::{Chunk, Id, OpenBody, Puppet, Reply},
};
use crate::support::{Face, Req, get, ms, throttle};

pub type Client = BoxCloneSyncService<Req, http::Response<Body<OpenBody>>, BoxError>;

/// How much of something a request states to take.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    Nothing,
    Of(u64),
    /// As much as the smallest window of the narrowest scope that has one allows, and this much more.
    Full(i64),
    Most,
}

/// What a request states.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub units: [Amount; 3],
    pub permits: Amount,
}

/// What a settlement says.
pub type Actual = [Option<u64>; 2];

#[derive(Clone, Debug)]
pub enum Op {
    Ask {
        endpoint: usize,
        partition: usize,
        asked: Asked,
        /// Its settlement is kept for later.
        keep: bool,
    },
    /// Answers one of those in flight.
    Answer(usize, Kind),
    EndBody(usize, bool),
    /// Drops a request: while it waits, is in flight, or its body is read.
    Cancel(usize),
    Settle(usize, Actual, bool),
    /// Drops a settlement.
    Forget(usize),
    SetQuota(usize, Limit),
    Pause(usize, u64),
    Resume(usize),
    Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Success,
    SuccessWithBody,
    ClientError,
    ServerError,
    Error,
}

/// What a request's task has seen.
#[derive(Debug)]
enum Seen {
    Refused(usize, RefusedReason),
    Failed(usize),
    Answered(usize, Option<Settlement>),
    Ended(usize, bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Waiting,
    InFlight,
    Body,
    Over,
}

pub struct World {
    client: Client,
    handle: Handle,
    puppet: Puppet,
    start: Instant,
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: Vec<JoinHandle<()>>,
    stages: Vec<Stage>,
    keeps: Vec<bool>,
    settlements: Vec<Option<Settlement>>,
    ledger: Ledger,
    config: Config,
    calls_seen: usize,
    longest: u64,
}

pub fn client_of(
    face: Face,
    endpoints: tower_throttle::Endpoints,
    puppet: &Puppet,
) -> (Client, Handle) {
    macro_rules! made {
        ($layer:expr) => {{
            let layer = $layer.learn(Learning::none());
            let client = BoxCloneSyncService::new(layer.layer(puppet.clone()));
            (client, layer.handle())
        }};
    }
    match face {
        Face::Rps => made!(RpsLayer::new(endpoints)),
        Face::Concurrency => made!(ConcurrencyLayer::new(endpoints)),
        Face::Throttle => made!(throttle(endpoints)),
    }
}

/// Lets all tasks run as far as they can. No chain of wakes is longer.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// One request from its arrival to its end.
async fn perform(id: usize, mut client: Client, request: Req, seen: Arc<Mutex<Vec<Seen>>>) {
    let tell = |what| seen.lock().unwrap().push(what);
    let answer = match client.ready().await {
        Ok(client) => client.call(request).await,
        Err(error) => Err(error),
    };
    drop(client);
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            return tell(match Refused::in_error(&error) {
                Some(refused) => Seen::Refused(id, refused.reason()),
                None => Seen::Failed(id),
            });
        }
    };
    let (parts, body) = response.into_parts();
    tell(Seen::Answered(id, parts.extensions.get().cloned()));
    drop(parts);
    let mut body = std::pin::pin!(body);
    let mut whole = true;
    while !body.is_end_stream() {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => break,
            Some(frame) => whole &= frame.is_ok(),
        }
    }
    tell(Seen::Ended(id, whole));
}

impl World {
    pub fn new(config: &Config) -> Self {
        // Where a unit counts at the end, a grace ends too late: `costs_found.rs`.
        let mut config = config.clone();
        {
            let mut limits: Vec<_> = config
                .endpoints
                .iter_mut()
                .chain(&mut config.group)
                .chain(&mut config.overall)
                .chain(&mut config.across)
                .collect();
            // Which permits end with the head is clear where there is one.
            if limits.len() > 1 {
                for limit in &mut limits {
                    limit.until_head = false;
                }
            }
        }
        let config = &config;
        let puppet = Puppet::default();
        let (client, handle) = client_of(config.face, config.build(), &puppet);
        let ledger = Ledger::new(config);
        let mut world = Self {
            client,
            handle,
            puppet,
            start: Instant::now(),
            seen: Arc::default(),
            tasks: Vec::new(),
            stages: Vec::new(),
            keeps: Vec::new(),
            settlements: Vec::new(),
            ledger,
            config: config.clone(),
            calls_seen: 0,
            longest: 0,
        };
        world.note_longest();
        world
    }

    fn note_longest(&mut self) {
        let limits = || (0..SCOPES).map(|scope| self.ledger.limit(scope));
        let windows = limits().flat_map(|limit| (0..3).filter_map(|unit| limit.longest(unit)));
        let grace = limits().map(|limit| limit.grace).max().unwrap_or(0);
        self.longest = self.longest.max(windows.max().unwrap_or(0) + grace);
    }

    pub async fn play(&mut self, schedule: &[(u64, Op)]) {
        for (wait, op) in schedule {
            self.wait(*wait).await;
            self.perform(op).await;
        }
        self.finish().await;
    }

    /// While nobody waits, nothing can happen.
    async fn wait(&mut self, time: u64) {
        let end = self.ledger.now + time;
        while self.ledger.now < end {
            let somebody_waits = self.one(0, &[Stage::Waiting]).is_some();
            self.ledger.now = if somebody_waits {
                self.ledger.now + 1
            } else {
                end
            };
            tokio::time::sleep_until(self.start + ms(self.ledger.now)).await;
            self.look().await;
        }
    }

    /// Lets everything happen that happens at once, and checks it.
    async fn look(&mut self) {
        settle().await;
        assert_eq!(self.start.elapsed(), ms(self.ledger.now));
        let calls = self.puppet.strings().calls[self.calls_seen..].to_vec();
        self.calls_seen += calls.len();
        for (id, at) in calls {
            assert_eq!(at - self.start, ms(self.ledger.now));
            self.ledger.send(id);
            self.stages[id] = Stage::InFlight;
        }
        self.ledger.end_of_step();
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        assert!(
            seen.is_empty(),
            "{seen:?} of nothing: {}",
            self.ledger.tell()
        );
    }

    fn check_snapshot(&self) {
        if self.config.partitions {
            return;
        }
        let snapshot = self.handle.snapshot();
        for scope in 0..=OVERALL {
            if !self.has(scope) {
                continue;
            }
            let Some(bucket) = snapshot.bucket(name(scope)) else {
                continue;
            };
            let waiting = self.ledger.waiting_in(scope);
            assert_eq!(bucket.waiting(), waiting, "{}", self.ledger.tell());
            assert_eq!(
                bucket.windows().len(),
                self.ledger.limit(scope).windows.len()
            );
            for window in bucket.windows() {
                self.ledger.check_window(scope, window);
            }
        }
    }

    /// What the tasks have seen of what the test did, before what follows from it is looked at.
    async fn seen(&self) -> Vec<Seen> {
        settle().await;
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// There is an overall bucket also where it has no quota.
    fn has(&self, scope: usize) -> bool {
        scope != OVERALL || self.config.overall.is_some()
    }

    fn cost(&self, endpoint: usize, partition: usize, asked: &Asked) -> Cost {
        let buckets = self.config.buckets(endpoint, partition);
        let mut cost = Cost::new();
        for unit in 0..3 {
            let windows = buckets
                .iter()
                .flat_map(|(scope, _)| &self.ledger.limit(*scope).windows);
            let n = windows.filter(|w| w.0 == unit).map(|w| w.1).min();
            let most = if unit == 0 {
                u64::from(u32::MAX)
            } else {
                u64::MAX
            };
            cost = match (asked.units[unit], n) {
                (Amount::Nothing, _) | (Amount::Full(_), None) => cost,
                (Amount::Most, None) if unit == 0 => cost,
                (Amount::Of(n), _) => cost.of(UNITS[unit], n),
                (Amount::Full(more), Some(n)) => {
                    cost.of(UNITS[unit], n.saturating_add_signed(more))
                }
                (Amount::Most, _) => cost.of(UNITS[unit], most),
            };
        }
        let permits = buckets
            .iter()
            .filter_map(|(scope, _)| self.ledger.limit(*scope).permits);
        match (asked.permits, permits.min()) {
            (Amount::Nothing, _) | (Amount::Full(_) | Amount::Most, None) => cost,
            (Amount::Of(n), _) => cost.permits(usize::try_from(n).unwrap()),
            (Amount::Full(more), Some(n)) => {
                cost.permits(n.saturating_add_signed(isize::try_from(more).unwrap()))
            }
            (Amount::Most, _) => cost.permits(usize::MAX),
        }
    }

    /// One of those in a stage.
    fn one(&self, which: usize, stages: &[Stage]) -> Option<usize> {
        let those = (0..self.stages.len()).filter(|id| stages.contains(&self.stages[*id]));
        let those: Vec<_> = those.collect();
        (!those.is_empty()).then(|| those[which % those.len()])
    }

    fn settlement(&self, which: usize) -> Option<usize> {
        let kept = (0..self.settlements.len()).filter(|id| self.settlements[*id].is_some());
        let kept: Vec<_> = kept.collect();
        (!kept.is_empty()).then(|| kept[which % kept.len()])
    }

    async fn perform(&mut self, op: &Op) {
        match op {
            Op::Ask {
                endpoint,
                partition,
                asked,
                keep,
            } => self.ask(*endpoint, *partition, asked, *keep).await,
            Op::Answer(which, kind) => {
                if let Some(id) = self.one(*which, &[Stage::InFlight]) {
                    self.answer(id, *kind).await;
                }
            }
            Op::EndBody(which, whole) => {
                if let Some(id) = self.one(*which, &[Stage::Body]) {
                    self.end_body(id, *whole).await;
                }
            }
            Op::Cancel(which) => {
                let stages = [Stage::Waiting, Stage::InFlight, Stage::Body];
                if let Some(id) = self.one(*which, &stages) {
                    self.cancel(id).await;
                }
            }
            Op::Settle(which, actual, in_thread) => {
                if let Some(id) = self.settlement(*which) {
                    self.settle(id, actual, *in_thread);
                }
            }
            Op::Forget(which) => {
                if let Some(id) = self.settlement(*which) {
                    self.settlements[id] = None;
                    self.ledger.nobody_settles(id);
                }
            }
            Op::SetQuota(scope, limit) => self.set_quota(*scope, limit).await,
            Op::Pause(scope, time) => {
                if self.has(*scope) && self.handle.pause(name(*scope), ms(*time)).is_ok() {
                    self.ledger.pause(*scope, *time);
                }
            }
            Op::Resume(scope) => {
                if self.has(*scope) && self.handle.resume(name(*scope)).is_ok() {
                    self.ledger.resume(*scope);
                }
            }
            Op::Sweep => self.handle.sweep(),
        }
        self.look().await;
        self.check_snapshot();
    }

    async fn ask(&mut self, endpoint: usize, partition: usize, asked: &Asked, keep: bool) {
        let endpoint = endpoint % self.config.endpoints.len().min(ENDPOINTS);
        let cost = self.cost(endpoint, partition, asked);
        let (id, never) = self.ledger.enter(endpoint, partition, &cost);
        let mut request = get(PATHS[endpoint]);
        if self.config.partitions {
            let value = ["one", "two"][partition];
            request
                .headers_mut()
                .insert("x-key", value.parse().unwrap());
        }
        request.extensions_mut().insert(Id(id));
        if !cost.is_empty() {
            request.extensions_mut().insert(Terms::new().cost(cost));
        }
        let (client, seen) = (self.client.clone(), Arc::clone(&self.seen));
        self.tasks
            .push(tokio::spawn(perform(id, client, request, seen)));
        self.stages
            .push(if never { Stage::Over } else { Stage::Waiting });
        self.keeps.push(keep);
        self.settlements.push(None);
        let seen = self.seen().await;
        match seen.as_slice() {
            [] if !never => {}
            [Seen::Refused(of, RefusedReason::NeverFits)] if never && *of == id => {}
            other => panic!("{id}, never: {never}: {other:?}: {}", self.ledger.tell()),
        }
    }

    async fn answer(&mut self, id: usize, kind: Kind) {
        let reply = match kind {
            Kind::Success => Reply::status(200),
            Kind::SuccessWithBody => Reply::status(200).open(),
            Kind::ClientError => Reply::status(404),
            Kind::ServerError => Reply::status(500),
            Kind::Error => Reply::Error,
        };
        self.puppet.reply(id, reply);
        let seen = self.seen().await;
        let succeeded = matches!(kind, Kind::Success | Kind::SuccessWithBody);
        self.ledger.entries[id].succeeded = succeeded;
        self.ledger.entries[id].answered = true;
        let settlement = match (kind, seen.as_slice()) {
            (Kind::Error, [Seen::Failed(of)]) if *of == id => None,
            (Kind::SuccessWithBody, [Seen::Answered(of, settlement)]) if *of == id => {
                settlement.clone()
            }
            (
                Kind::Success | Kind::ClientError | Kind::ServerError,
                [Seen::Answered(of, settlement), Seen::Ended(_, true)],
            ) if *of == id => settlement.clone(),
            other => panic!("{other:?}"),
        };
        drop(seen);
        if kind != Kind::Error {
            assert_eq!(
                settlement.is_some(),
                self.ledger.counts_more_than_requests(id),
                "a settlement in the answer of {id}: {}",
                self.ledger.tell()
            );
        }
        if let Some(settlement) = settlement {
            self.ledger.estimated(id, settlement.estimate());
            if self.keeps[id] {
                self.settlements[id] = Some(settlement);
            }
        }
        if kind == Kind::ClientError {
            self.ledger.settle_to_nothing(id);
        }
        if kind == Kind::SuccessWithBody {
            self.stages[id] = Stage::Body;
        } else {
            self.stages[id] = Stage::Over;
            let kept = self.settlements[id].is_some();
            self.ledger.end(id, false, kept);
        }
    }

    async fn end_body(&mut self, id: usize, whole: bool) {
        self.puppet
            .body(id, if whole { Chunk::End } else { Chunk::Fail });
        self.stages[id] = Stage::Over;
        let kept = self.settlements[id].is_some();
        if !whole {
            self.ledger.entries[id].succeeded = false;
        }
        self.ledger.end(id, false, kept);
        let seen = self.seen().await;
        assert!(
            matches!(seen.as_slice(), [Seen::Ended(of, end)] if *of == id && *end == whole),
            "{seen:?}"
        );
    }

    async fn cancel(&mut self, id: usize) {
        if self.stages[id] == Stage::Waiting {
            self.ledger.leave(id);
        } else {
            let kept = self.settlements[id].is_some();
            self.ledger.end(id, true, kept);
        }
        self.stages[id] = Stage::Over;
        self.tasks[id].abort();
        settle().await;
    }

    fn settle(&mut self, id: usize, actual: &Actual, in_thread: bool) {
        // What is said of requests and permits has no effect.
        let mut cost = Cost::new().requests(0).permits(0);
        for (unit, n) in [TOKENS, OUTPUT].into_iter().zip(actual) {
            if let Some(n) = n {
                cost = cost.of(UNITS[unit], *n);
            }
        }
        self.ledger.settle(id, &cost);
        let settlement = self.settlements[id].clone().expect("it is kept");
        if in_thread {
            // By the paused clock, which is the runtime's.
            let runtime = tokio::runtime::Handle::current();
            let settle = move || {
                let _entered = runtime.enter();
                settlement.settle(cost);
            };
            std::thread::spawn(settle).join().unwrap();
        } else {
            settlement.settle(cost);
        }
    }

    /// Of the same units: what was not counted before cannot be known.
    async fn set_quota(&mut self, scope: usize, limit: &Limit) {
        if !self.has(scope) {
            return;
        }
        let before = self.ledger.limit(scope);
        let mut limit = limit.clone();
        limit
            .windows
            .retain(|(unit, ..)| before.longest(*unit).is_some());
        for unit in 0..3 {
            if let Some(window) = before.windows.iter().find(|w| w.0 == unit)
                && limit.longest(unit).is_none()
            {
                limit.windows.push(*window);
            }
        }
        (limit.grace, limit.until_head) = (before.grace, before.until_head);
        if self.handle.set_quota(name(scope), limit.quota()).is_err() {
            return;
        }
        let never = self.ledger.set_quota(scope, &limit);
        self.note_longest();
        for id in &never {
            self.stages[*id] = Stage::Over;
        }
        let mut refused: Vec<_> = self
            .seen()
            .await
            .into_iter()
            .map(|seen| match seen {
                Seen::Refused(id, RefusedReason::NeverFits) => id,
                other => panic!("{other:?}: {}", self.ledger.tell()),
            })
            .collect();
        refused.sort_unstable();
        assert_eq!(refused, never, "who never fits: {}", self.ledger.tell());
    }

    /// Answers everything until nobody waits; then nothing is left (L5).
    async fn finish(&mut self) {
        for round in 0.. {
            assert!(round < 20_000, "it waits for ever: {}", self.ledger.tell());
            if let Some(id) = self.one(0, &[Stage::InFlight]) {
                self.answer(id, Kind::Success).await;
                self.look().await;
            } else if let Some(id) = self.one(0, &[Stage::Body]) {
                self.end_body(id, true).await;
                self.look().await;
            } else if self.one(0, &[Stage::Waiting]).is_some() {
                // What nobody settles counts for ever, in units that count at the end.
                if round % 2 == 1 {
                    self.perform(&Op::Forget(0)).await;
                }
                self.wait(1).await;
            } else {
                break;
            }
        }
        for task in &mut self.tasks {
            _ = task.await;
        }
        for id in 0..self.settlements.len() {
            if self.settlements[id].take().is_some() {
                self.ledger.nobody_settles(id);
            }
        }
        self.ledger.now += self.longest;
        tokio::time::sleep(ms(self.longest)).await;
        self.look().await;
        assert!(
            self.ledger
                .entries
                .iter()
                .all(|entry| entry.phase != Phase::Waiting)
        );
        for bucket in self.handle.snapshot().buckets() {
            assert_eq!(
                (bucket.waiting(), bucket.in_flight()),
                (0, 0),
                "L5: {bucket:?}"
            );
            for window in bucket.windows() {
                assert_eq!(
                    (window.used(), window.falls_in()),
                    (0, None),
                    "L5: {bucket:?}"
                );
            }
        }
    }
}

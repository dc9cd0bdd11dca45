//! Does the same to a real layer and to the model, and compares everything that can be seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use http::{Request, Response};
use http_body::Body as _;
use tokio::time::Instant;
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_throttle::{
    Body, BoxError, BucketSnapshot, ConcurrencyLayer, Deadline, Endpoints, Handle, Learning,
    Refused, RpsLayer, Settlement, Terms, ThrottleLayer, WindowUse,
};

use crate::{
    config::{Bucket, Config, LONGEST, Limit, Millis, PARTITIONS, SCOPES, WIDEST, millis, request},
    costs::{UNITS, cost_of, unit},
    inner::{Id, Inner, Reading, World},
    ops::{Answer, Call, Op, Piece, Readiness},
    order::{Asked, PRIORITIES},
    reference::{Estimates, Figures, Model, Outcome, Refusal, Step},
    support::{Face, ms},
};

/// For how long an average is remembered.
const AVERAGED: Duration = Duration::from_secs(600);

type Client = BoxCloneSyncService<Request<()>, Response<Body<Reading>>, BoxError>;
/// Waits until nothing of the layer is under way.
type Drain = Spawn<Pin<Box<dyn Future<Output = ()>>>>;
type Answering = Spawn<<Client as Service<Request<()>>>::Future>;

/// A layer of a face, with nothing learned.
fn layer(config: &Config, endpoints: Endpoints, world: &World) -> (Vec<Client>, Handle) {
    // Two services and a clone of one of them: they share everything but readiness.
    macro_rules! build {
        ($layer:expr) => {{
            let mut layer = $layer.learn(Learning::none()).priority_floor(config.floor);
            if let Some(n) = config.max_waiting {
                layer = layer.max_waiting(n);
            }
            if let Some(time) = config.max_wait {
                layer = layer.max_wait(ms(time));
            }
            let first = BoxCloneSyncService::new(layer.layer(world.service()));
            let second = BoxCloneSyncService::new(layer.clone().layer(world.service()));
            (vec![first.clone(), second, first], layer.handle())
        }};
    }
    match config.face {
        Face::Rps => build!(RpsLayer::new(endpoints)),
        Face::Concurrency => build!(ConcurrencyLayer::new(endpoints)),
        Face::Throttle => build!(ThrottleLayer::new(endpoints).without_retry()),
    }
}

enum Live {
    Future(Answering),
    Body(Body<Reading>),
}

pub struct Driver<'a> {
    config: &'a Config,
    world: World,
    handle: Handle,
    /// All are ready as soon as the inner service lets them be.
    clients: Vec<Client>,
    ready: Vec<bool>,
    live: BTreeMap<usize, Live>,
    /// Those that callers keep.
    settlements: BTreeMap<usize, Settlement>,
    /// Futures that nobody has polled yet.
    unpolled: BTreeSet<usize>,
    /// Futures that are not polled when they are woken, and until when.
    sleeping: BTreeMap<usize, Millis>,
    drains: Vec<Drain>,
    called: usize,
    start: Instant,
    /// The hash by which snapshots know each partition.
    partitions: Vec<Option<u64>>,
    /// What the layer may be like, as far as the laws tell.
    states: Vec<Model<'a>>,
    random: fastrand::Rng,
    /// The rest of the case is not looked at.
    is_abandoned: bool,
    /// What happened, for the message of a failure.
    story: Vec<String>,
}

/// Runs a case to its end.
pub async fn run(config: &Config, ops: &[Op], seed: u64) {
    let mut driver = Driver::new(config, seed).await;
    for op in ops {
        if driver.is_abandoned {
            return;
        }
        driver.perform(op).await;
    }
    driver.finish().await;
}

impl<'a> Driver<'a> {
    async fn new(config: &'a Config, seed: u64) -> Self {
        let endpoints = config.endpoints();
        let partitions = if config.partitions {
            let mut hashes = Vec::new();
            for partition in 0..PARTITIONS {
                hashes.push(Some(hash_of(endpoints.clone(), partition).await));
            }
            hashes
        } else {
            vec![None; PARTITIONS]
        };
        let world = World::default();
        let (clients, handle) = layer(config, endpoints, &world);
        let mut driver = Self {
            config,
            handle,
            ready: vec![false; clients.len()],
            clients,
            world,
            live: BTreeMap::new(),
            settlements: BTreeMap::new(),
            unpolled: BTreeSet::new(),
            sleeping: BTreeMap::new(),
            drains: Vec::new(),
            called: 0,
            start: Instant::now(),
            partitions,
            states: vec![Model::new(config)],
            random: fastrand::Rng::with_seed(seed),
            is_abandoned: false,
            story: Vec::new(),
        };
        driver.compare();
        driver
    }

    fn now(&self) -> Millis {
        millis(self.start.elapsed())
    }

    fn tell(&mut self, what: impl Into<String>) {
        let line = format!("{:>4} ms: {}", self.now(), what.into());
        self.story.push(line);
    }

    fn fail(&self, what: &str) -> ! {
        let story = self.story.join("\n  ");
        panic!("{what}\nafter:\n  {story}\nunder {:#?}", self.config);
    }

    /// One of those that are left, counted round.
    fn pick(&self, which: usize, wanted: impl Fn(usize, &Live) -> bool) -> Option<usize> {
        let ids: Vec<_> = self
            .live
            .iter()
            .filter(|&(&id, live)| wanted(id, live))
            .map(|(&id, _)| id)
            .collect();
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    }

    async fn perform(&mut self, op: &Op) {
        match *op {
            Op::Call(ref call) => self.call(call),
            Op::Burst(n, ref call) => {
                for _ in 0..n {
                    self.call(call);
                }
            }
            Op::Poll(which) => {
                if let Some(id) = self.pick(which, |_, live| matches!(live, Live::Future(_))) {
                    self.poll(id);
                }
            }
            Op::Drop(which) => {
                if let Some(id) = self.pick(which, |_, _| true) {
                    self.drop(id);
                }
            }
            Op::Answer(which, answer) => {
                let world = self.world.clone();
                let wanted =
                    |id, live: &_| matches!(live, Live::Future(_)) && !world.has_answer(id);
                if let Some(id) = self.pick(which, wanted) {
                    self.tell(format!("the server answers {id}: {answer:?}"));
                    self.world.answer(id, answer);
                }
            }
            Op::Send(which, piece) => {
                if let Some(id) = self.pick(which, |_, live| matches!(live, Live::Body(_))) {
                    self.tell(format!("the body of {id}: {piece:?}"));
                    self.world.send(id, piece);
                }
            }
            Op::Read(which) => {
                if let Some(id) = self.pick(which, |_, live| matches!(live, Live::Body(_))) {
                    self.read(id);
                }
            }
            Op::SetQuota(scope, ref limit) => self.set_quota(scope, limit),
            Op::Resize(scope, ref resize) => {
                let limit = self.config.resized(scope, resize);
                self.set_quota(scope, &limit);
            }
            Op::Settle(which, amounts) => {
                if let Some(id) = self.pick_settlement(which) {
                    self.settle(id, amounts);
                }
            }
            Op::Forget(which) => {
                if let Some(id) = self.pick_settlement(which) {
                    self.forget(id);
                }
            }
            Op::Pause(scope, time) => {
                self.control(scope, &format!("pauses for {time}"), |handle, name| {
                    handle.pause(name, ms(time)).unwrap();
                });
                self.change(scope, |state| state.pause(scope, time));
            }
            Op::Resume(scope) => {
                self.control(scope, "resumes", |handle, name| {
                    handle.resume(name).unwrap();
                });
                self.change(scope, |state| state.resume(scope));
            }
            Op::Sweep => {
                self.tell("sweep");
                self.handle.sweep();
                self.step(|state| vec![state.sweep()]);
            }
            Op::Close => self.close(),
            Op::Inner(readiness) => {
                self.tell(format!("the inner service: {readiness:?}"));
                self.world.set_readiness(readiness);
            }
            Op::Sleep(which, time) => {
                if let Some(id) = self.pick(which, |_, live| matches!(live, Live::Future(_))) {
                    self.tell(format!("{id} sleeps for {time}"));
                    self.sleeping.insert(id, self.now() + time);
                }
            }
            Op::Run => self.run_woken(),
            Op::Advance(time, lazily) => {
                for _ in 0..time {
                    self.advance().await;
                }
                if !lazily {
                    self.run_woken();
                }
            }
            Op::Doze(time) => {
                self.tell(format!("nobody is polled for {time}"));
                for _ in 0..time {
                    self.pass().await;
                }
            }
        }
    }

    fn close(&mut self) {
        self.tell("the layer is closed");
        let handle = self.handle.clone();
        let mut drain: Drain = spawn(Box::pin(async move { handle.drain().await }));
        self.handle.close();
        if drain.poll().is_pending() {
            self.drains.push(drain);
        }
        self.step(|state| vec![state.close()]);
    }

    fn set_quota(&mut self, scope: usize, limit: &Limit) {
        self.control(
            scope,
            &format!("has {:?}", limit.quota()),
            |handle, name| {
                handle.set_quota(name, limit.quota()).unwrap();
            },
        );
        self.change(scope, |state| state.set_quota(scope, limit));
    }

    fn pick_settlement(&self, which: usize) -> Option<usize> {
        let ids: Vec<_> = self.settlements.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    }

    fn settle(&mut self, id: usize, amounts: Estimates) {
        let mut amounts = amounts;
        if self.states.iter().any(|state| state.is_averaged(id)) {
            // With an average of nothing, a request that waits would need a unit no more that it needed before.
            amounts = amounts.map(|amount| amount.map(|amount| amount.max(1)));
        }
        self.tell(format!("{id} is settled: {amounts:?}"));
        self.settlements[&id].settle(cost_of(&amounts));
        self.step(|state| vec![state.settle_by_hand(id, &amounts)]);
    }

    fn forget(&mut self, id: usize) {
        self.tell(format!("the settlement of {id} is dropped"));
        drop(self.settlements.remove(&id));
        self.step(|state| vec![state.let_go(id)]);
    }

    fn control(&mut self, scope: usize, what: &str, act: impl FnOnce(&Handle, &str)) {
        if let Some(name) = self.config.scope_name(scope) {
            self.tell(format!("{name} {what}"));
            act(&self.handle, name);
        }
    }

    fn change(&mut self, scope: usize, event: impl Fn(Model<'a>) -> Vec<Model<'a>>) {
        if self.config.scope_name(scope).is_some() {
            self.step(event);
        }
    }

    /// A millisecond passes, before which everybody has had their turn who does not sleep.
    async fn advance(&mut self) {
        self.run_woken();
        if self.is_abandoned {
            return;
        }
        let readiness = self.world.readiness();
        let (now, sleeping) = (self.now(), &self.sleeping);
        let sleeps = |id| sleeping.get(&id).is_some_and(|&until| until > now);
        let unrest = self
            .states
            .iter()
            .map(|state| state.unrest(readiness, sleeps));
        let unrest: Vec<_> = unrest.collect();
        let states = std::mem::take(&mut self.states);
        let with_unrest = states.into_iter().zip(&unrest);
        self.states = with_unrest
            .filter(|(_, unrest)| unrest.is_none())
            .map(|(state, _)| state)
            .collect();
        if self.states.is_empty() {
            let unrest = unrest.into_iter().flatten().collect::<Vec<_>>().join("\n");
            self.fail(&format!("nobody is woken, and yet:\n{unrest}"));
        }
        self.pass().await;
    }

    /// A millisecond passes.
    async fn pass(&mut self) {
        tokio::time::advance(ms(1)).await;
        for state in &mut self.states {
            state.tick();
        }
        self.is_abandoned |= self.states.iter().any(|state| state.is_vague);
        self.compare();
    }

    /// Polls whoever is woken, in any order, until nobody is.
    fn run_woken(&mut self) {
        if self.is_abandoned {
            return;
        }
        for round in 0.. {
            assert!(round < 10_000, "they wake each other for ever");
            self.make_ready();
            let now = self.now();
            let woken: Vec<_> = self
                .live
                .iter_mut()
                .filter_map(|(&id, live)| match live {
                    Live::Future(future) => {
                        let sleeps = self.sleeping.get(&id).is_some_and(|&until| until > now);
                        (future.is_woken() && !sleeps).then_some(id)
                    }
                    Live::Body(_) => None,
                })
                .collect();
            if woken.is_empty() {
                break;
            }
            let id = woken[self.random.usize(..woken.len())];
            self.poll(id);
        }
        let ready = self.ready.iter().filter(|ready| **ready).count();
        let kept = self.world.reserved() - ready;
        if !self.is_abandoned && self.states.iter().all(|state| state.kept_ready() != kept) {
            self.fail("L12: an instance was readied and is kept");
        }
    }

    /// Makes the callers' instances ready, as far as the inner service lets them.
    fn make_ready(&mut self) {
        for (client, ready) in self.clients.iter_mut().zip(&mut self.ready) {
            if !*ready && self.world.readiness() == Readiness::Ready {
                let mut task = spawn(());
                let polled = task.enter(|cx, _| client.poll_ready(cx));
                assert!(matches!(polled, Poll::Ready(Ok(()))));
                *ready = true;
            }
        }
    }

    fn call(&mut self, call: &Call) {
        self.make_ready();
        let Some(through) = self.ready.iter().position(|ready| *ready) else {
            // Nobody can call before the inner service is ready.
            return;
        };
        let id = self.called;
        self.called += 1;
        let mut request = request(call.endpoint, call.partition, call.connect);
        request.extensions_mut().insert(Id {
            id,
            panics: call.panics,
        });
        if let Some(terms) = terms(call) {
            request.extensions_mut().insert(terms);
        }
        if let Some(after) = call.deadline {
            let after_start = self.now().saturating_add_signed(after);
            let deadline = self.start + ms(after_start);
            request.extensions_mut().insert(Deadline(deadline));
        }
        self.tell(format!("{id} is called: {call:?}"));
        self.ready[through] = false;
        let client = &mut self.clients[through];
        let made = catch_unwind(AssertUnwindSafe(|| spawn(client.call(request))));
        let outcome = match made {
            Ok(future) => {
                self.live.insert(id, Live::Future(future));
                self.unpolled.insert(id);
                Outcome::Pending
            }
            Err(_) => Outcome::Panicked,
        };
        let step = (self.was_called(id), outcome);
        self.step(|state| keep(state.call(id, call), &step));
        if call.sleep > 0 {
            self.sleeping.insert(id, self.now() + call.sleep);
        }
        if call.poll && self.live.contains_key(&id) {
            self.poll(id);
        }
    }

    /// Whether the inner service has been called for this request, and for no other.
    fn was_called(&mut self, id: usize) -> bool {
        match *self.world.calls() {
            [] => false,
            [called] if called == id => true,
            ref calls => self.fail(&format!("{calls:?} were sent while {id} was polled")),
        }
    }

    fn poll(&mut self, id: usize) {
        self.unpolled.remove(&id);
        let readiness = self.world.readiness();
        let answer = self.world.answer_of(id);
        let Some(Live::Future(future)) = self.live.get_mut(&id) else {
            unreachable!("only futures are polled")
        };
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll()));
        let outcome = match &polled {
            Ok(Poll::Pending) => Outcome::Pending,
            Ok(Poll::Ready(Ok(response))) => {
                Outcome::Head(response.extensions().get().map(estimates))
            }
            Ok(Poll::Ready(Err(error))) => match Refused::in_error(error) {
                Some(refused) => Outcome::Refused(refusal(self.config, refused)),
                None => Outcome::Failed,
            },
            Err(_) => Outcome::Panicked,
        };
        let mut settlement = None;
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(Ok(mut response))) => {
                settlement = response.extensions_mut().remove::<Settlement>();
                self.live.insert(id, Live::Body(response.into_body()));
            }
            _ => {
                self.live.remove(&id);
            }
        }
        let step = (self.was_called(id), outcome);
        self.tell(format!("{id} is polled: {step:?}"));
        self.step(|state| keep(state.poll(id, readiness, answer), &step));
        if let Some(settlement) = settlement {
            self.settlements.insert(id, settlement);
            if !matches!(answer, Some(Answer::Head { keep: true, .. })) {
                self.forget(id);
            }
        }
    }

    fn read(&mut self, id: usize) {
        let Some(Live::Body(body)) = self.live.get_mut(&id) else {
            unreachable!("only bodies are read")
        };
        let read = spawn(()).enter(|cx, _| std::pin::Pin::new(&mut *body).poll_frame(cx));
        let (over, failed) = match read {
            Poll::Pending => (false, false),
            Poll::Ready(Some(Ok(_))) => (body.get_ref().is_end_stream(), false),
            Poll::Ready(None) => (true, false),
            Poll::Ready(Some(Err(_))) => (true, true),
        };
        assert_eq!(body.is_end_stream(), body.get_ref().is_end_stream());
        self.tell(format!("the body of {id} is read, and over: {over}"));
        self.step(|state| vec![state.read(id, over, failed)]);
    }

    fn drop(&mut self, id: usize) {
        self.tell(format!("{id} is dropped"));
        self.unpolled.remove(&id);
        drop(self.live.remove(&id));
        self.step(|state| vec![state.drop(id)]);
    }

    /// Something has happened: what can come of it, as far as it agrees with what is to be seen.
    fn step(&mut self, event: impl Fn(Model<'a>) -> Vec<Model<'a>>) {
        if self.is_abandoned {
            return;
        }
        let states = std::mem::take(&mut self.states);
        let states = states.into_iter().map(Model::rested);
        let states: Vec<_> = states.flat_map(event).collect();
        if states.iter().any(|state| state.is_vague) {
            self.is_abandoned = true;
            return;
        }
        if states.is_empty() {
            self.fail("the model does not allow what happened last");
        }
        if let Some(broken) = states.iter().find_map(|state| state.broken.first()) {
            self.fail(broken);
        }
        self.states = states;
        self.compare();
    }

    /// Keeps the states that agree with the snapshot.
    fn compare(&mut self) {
        if self.is_abandoned {
            return;
        }
        let seen = self.seen();
        let drained = self.is_drained();
        let mut wrong = Vec::new();
        for state in std::mem::take(&mut self.states) {
            let state = state.without(&seen);
            let figures = state.figures();
            if figures == seen && state.is_drained() == drained {
                self.states.push(state);
            } else {
                wrong.push(figures);
            }
        }
        if self.states.is_empty() {
            self.fail(&differences(&seen, &wrong));
        }
    }

    /// Whether the layer is closed, and all who drain it have heard that nothing is under way. They are not asked
    /// before they are woken.
    fn is_drained(&mut self) -> bool {
        self.drains
            .retain_mut(|drain| !drain.is_woken() || drain.poll().is_pending());
        self.handle.snapshot().is_closed() && self.drains.is_empty()
    }

    fn seen(&self) -> BTreeMap<Bucket, Figures> {
        let snapshot = self.handle.snapshot();
        let mut seen = BTreeMap::new();
        for bucket in snapshot.buckets() {
            let figures = Figures {
                waiting: bucket.waiting(),
                in_flight: bucket.in_flight(),
                admitted: bucket.admitted(),
                refused: bucket.refused(),
                throttled: bucket.throttled(),
                concurrency: bucket.concurrency(),
                paused_for: bucket.paused_for().map(millis),
                used: used(bucket),
            };
            let key = self.bucket(bucket.name(), bucket.partition());
            if seen.insert(key, figures).is_some() {
                self.fail(&format!("two buckets are {key:?}"));
            }
            assert!(bucket.learned().is_none());
        }
        seen
    }

    fn bucket(&self, name: &str, partition: Option<u64>) -> Bucket {
        let partition = match partition {
            None => 0,
            hash => self
                .partitions
                .iter()
                .position(|known| *known == hash)
                .unwrap(),
        };
        let paths = 0..2;
        let scopes = (0..SCOPES).filter(|scope| self.config.scope_name(*scope).is_some());
        let mut buckets = scopes.flat_map(|scope| {
            paths.clone().map(move |path| Bucket {
                scope,
                partition,
                path,
            })
        });
        let found = buckets.find(|bucket| self.config.name(*bucket) == name);
        found.unwrap_or_else(|| panic!("no bucket {name}"))
    }

    /// Lets everything come to an end, which it must.
    async fn finish(&mut self) {
        self.tell("it comes to an end");
        self.world.set_readiness(Readiness::Ready);
        self.sleeping.clear();
        let mut rounds = 0;
        while !(self.is_abandoned || self.live.is_empty() && self.settlements.is_empty()) {
            if let Some((&id, _)) = self.settlements.first_key_value() {
                self.forget(id);
            }
            rounds += 1;
            if rounds > 20_000 {
                self.fail("somebody waits for ever");
            }
            self.run_woken();
            let ids: Vec<_> = self.live.keys().copied().collect();
            for id in ids {
                match self.live[&id] {
                    Live::Future(_) => {
                        let ended = self.random.bool();
                        let head = Answer::Head {
                            status: 200,
                            ended,
                            coy: true,
                            keep: false,
                        };
                        self.world.answer(id, head);
                        // Whoever has been polled is woken when there is reason to poll it again.
                        if self.unpolled.contains(&id) {
                            self.poll(id);
                        }
                    }
                    Live::Body(_) if self.random.bool() => self.drop(id),
                    Live::Body(_) => {
                        self.world.send(id, Piece::End);
                        self.read(id);
                        self.drop(id);
                    }
                }
            }
            self.advance().await;
        }
        if self.is_abandoned {
            return;
        }
        // L5: nothing is left of anybody.
        for (bucket, figures) in self.seen() {
            if (figures.waiting, figures.in_flight) != (0, 0) {
                self.fail(&format!("{bucket:?} is not idle: {figures:?}"));
            }
        }
        assert!(self.states.iter().all(|state| state.live() == 0));
        // L11: when the longest window is over, all keys can be forgotten.
        tokio::time::advance(ms(LONGEST + WIDEST) + AVERAGED).await;
        self.handle.sweep();
        let kept: Vec<_> = self.seen().into_keys().collect();
        assert_eq!(kept, self.config.fixed());
    }
}

/// How much of the windows of each unit is used.
fn used(bucket: &BucketSnapshot) -> Vec<(usize, Vec<u64>)> {
    let of = |of: usize| {
        let windows = bucket.windows().iter();
        let windows = windows.filter(|used| used.window().unit() == unit(of));
        (of, windows.map(WindowUse::used).collect::<Vec<_>>())
    };
    let used = (0..UNITS.len()).map(of);
    used.filter(|(_, windows)| !windows.is_empty()).collect()
}

fn estimates(settlement: &Settlement) -> Estimates {
    std::array::from_fn(|of| settlement.estimate().get(unit(of)))
}

/// What a request asks for, if it asks for anything.
fn terms(call: &Call) -> Option<Terms> {
    if call.cost.is_empty() && call.asked == Asked::NOTHING {
        return None;
    }
    let terms = Terms::new().priority(PRIORITIES[call.asked.priority]);
    let terms = match call.asked.owner {
        Some(owner) => terms.flow(owner.flow()),
        None => terms,
    };
    Some(if call.cost.is_empty() {
        terms
    } else {
        terms.cost(call.cost.cost())
    })
}

/// The prediction, if it came true.
fn keep<'a>((state, predicted): (Model<'a>, Step), step: &Step) -> Vec<Model<'a>> {
    if predicted == *step || state.is_vague {
        vec![state]
    } else {
        Vec::new()
    }
}

fn refusal(config: &Config, refused: &Refused) -> Refusal {
    let known = |name: &str| {
        let names = (0..SCOPES).filter_map(|scope| config.scope_name(scope));
        let found = names.chain(["/x", "/y"]).find(|known| *known == name);
        found.unwrap_or_else(|| panic!("nothing is called {name}"))
    };
    Refusal {
        endpoint: known(refused.endpoint()),
        scope: known(refused.scope()),
        reason: refused.reason(),
        retry_after: config
            .knows_waits()
            .then(|| refused.retry_after().map(millis))
            .flatten(),
    }
}

fn differences(seen: &BTreeMap<Bucket, Figures>, expected: &[BTreeMap<Bucket, Figures>]) -> String {
    let mut text = String::from("the snapshot is none that the model allows\n");
    for (number, expected) in expected.iter().enumerate() {
        for bucket in seen
            .keys()
            .chain(expected.keys().filter(|b| !seen.contains_key(b)))
        {
            let (seen, expected) = (seen.get(bucket), expected.get(bucket));
            if seen != expected {
                let _ = writeln!(text, "state {number}, {bucket:?}:");
                let _ = writeln!(text, "  seen     {seen:?}");
                let _ = writeln!(text, "  expected {expected:?}");
            }
        }
    }
    text
}

/// By what hash the layers of these endpoints know a partition. It is the same for all of them.
async fn hash_of(endpoints: Endpoints, partition: usize) -> u64 {
    let layer = ConcurrencyLayer::new(endpoints);
    let world = World::default();
    let mut client = layer.layer(world.service());
    let mut request = request(0, partition, false);
    request.extensions_mut().insert(Id {
        id: 0,
        panics: false,
    });
    let service: &mut _ = ServiceExt::<Request<()>>::ready(&mut client).await.unwrap();
    let _answer = service.call(request);
    let snapshot = layer.handle().snapshot();
    let mut partitions = snapshot.buckets().filter_map(BucketSnapshot::partition);
    partitions.next().expect("there is one")
}

/// Nothing of the stack is shared between instances but the state of the layer.
const _: fn() = || {
    fn clones<T: Clone + Send>() {}
    clones::<Inner>();
};

//! A hunt: random schedules over everything at once, and what it and a reading of the engine found.
//!
//! More of it: `SEED=1000 SEEDS=5000 cargo test --test hunt stress -- --nocapture`; `SHOW=1` prints what
//! happened.
#![allow(
    clippy::too_many_lines,
    reason = "a schedule is one long list of what can happen"
)]

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use crate::scripted::*;
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{
    BoxError, ConcurrencyLayer, Deadline, Endpoints, Handle, Quota, Refused, RetryLayer, RpsLayer,
    ThrottleLayer,
};

type Rng = Arc<Mutex<fastrand::Rng>>;

/// Takes its time to become ready, each instance its own.
struct Slow<S> {
    inner: S,
    rng: Rng,
    chance: f64,
    sleep: Option<Pin<Box<Sleep>>>,
    ready: bool,
}

impl<S: Clone> Clone for Slow<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            rng: self.rng.clone(),
            chance: self.chance,
            sleep: None,
            ready: false,
        }
    }
}

impl<S: Service<Req>> Service<Req> for Slow<S>
where
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        if self.sleep.is_none() {
            let mut rng = self.rng.lock().unwrap();
            if rng.f64() < self.chance {
                self.sleep = Some(Box::pin(tokio::time::sleep(ms(rng.u64(1..3000)))));
            }
        }
        if let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.sleep = None;
        self.ready = true;
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        assert!(std::mem::take(&mut self.ready), "called and not ready");
        self.inner.call(request)
    }
}

fn quota(rng: &mut fastrand::Rng) -> Quota {
    let n = rng.u32(1..12);
    let period = ms([100, 1000, 1000, 5000, 30_000][rng.usize(..5)]);
    match rng.usize(..8) {
        0 => Quota::unlimited(),
        1 => Quota::concurrent(rng.usize(1..6)),
        2 => Quota::per(n, period),
        3 => Quota::per(n, period).margin(ms(rng.u64(1..300))),
        4 => Quota::per(n, period).and_per(n * 2, period * 5),
        5 if std::env::var("NO_HEAD").is_err() => Quota::per(n, period)
            .concurrency(rng.usize(1..6))
            .release_at_head(),
        _ => Quota::per(n, period).concurrency(rng.usize(1..6)),
    }
}

fn reply(rng: &mut fastrand::Rng, seen: &Seen, chaos: f64) -> Reply {
    let after = ms(if rng.bool() { 0 } else { rng.u64(1..800) });
    if rng.f64() >= chaos {
        let mut ok = Reply::ok().after(after);
        if chaos > 0.0 {
            match rng.usize(..10) {
                0 => {
                    ok = ok
                        .header("x-ratelimit-limit", 10)
                        .header("x-ratelimit-remaining", rng.u32(..10))
                        .header("x-ratelimit-reset", rng.u32(..40));
                }
                1 => ok = ok.header("maximum-concurrent-requests", rng.u32(..6)),
                2 => {
                    ok = ok
                        .header("ratelimit-policy", r#""default";q=10;w=10"#)
                        .header(
                            "ratelimit",
                            format!(r#""default";r={};t={}"#, rng.u32(..6), rng.u32(..20)),
                        );
                }
                3 => ok = ok.body("abc").stall(ms(rng.u64(1..5000))),
                _ => {}
            }
        }
        return ok;
    }
    match rng.usize(..14) {
        0..=2 => {
            let seconds = rng.u64(..8);
            // No dates: what is polled late is dated later than it was drawn up.
            let _ = seen;
            Reply::status([429, 503, 529][rng.usize(..3)])
                .retry_after(seconds)
                .after(after)
        }
        3 => {
            let seconds = rng.u64(100..200);
            Reply::status(429).retry_after(seconds).after(after)
        }
        4 | 5 => Reply::status(429).after(after),
        6 => Reply::status(503).after(after),
        7 => too_many(Some(2)).after(after),
        8 => too_many(Some(4)).after(after).stall(ms(rng.u64(1..600))),
        9 => too_many(None).after(after).stall(ms(rng.u64(1..600))),
        10 => too_many(None).after(after).retry_after(rng.u64(1..4)),
        11 => Reply::error(std::io::ErrorKind::ConnectionReset).after(after),
        12 => Reply::status(429)
            .header(
                "ratelimit-policy",
                format!(r#""default";q={};w={}"#, rng.u32(1..20), rng.u32(1..90)),
            )
            .header("ratelimit", r#""default";r=0;t=3"#)
            .after(after),
        _ => Reply::status(529)
            .after(after)
            .json("{}")
            .stall(ms(rng.u64(1..600))),
    }
}

const PATHS: [&str; 5] = ["/a", "/b", "/c", "/other/1", "/other/2"];

fn run(seed: u64) {
    paused(seed, async move {
        let mut rng = fastrand::Rng::with_seed(seed);
        let partitioned = rng.usize(..3) == 0;
        let mut endpoints = Endpoints::new();
        for path in ["/a", "/b", "/c"] {
            endpoints = endpoints.route(path, quota(&mut rng));
        }
        if rng.bool() {
            endpoints = endpoints.group("g", quota(&mut rng), ["/b", "/c"]);
        }
        if rng.bool() {
            endpoints = endpoints.overall(quota(&mut rng));
        }
        match rng.usize(..3) {
            0 => endpoints = endpoints.each_other_path(quota(&mut rng)),
            1 => endpoints = endpoints.all_other_paths(quota(&mut rng)),
            _ => {}
        }
        if partitioned {
            endpoints = endpoints.partition_by_header("k");
            if rng.bool() {
                endpoints = endpoints.across_partitions(quota(&mut rng));
            }
        }
        let chaos = Arc::new(Mutex::new([0.1, 0.3, 0.6, 1.0][rng.usize(..4)]));
        let server_rng = Mutex::new(rng.fork());
        let c = chaos.clone();
        let server = Server::new(move |seen| {
            let chaos = *c.lock().unwrap();
            reply(&mut server_rng.lock().unwrap(), seen, chaos)
        });
        let slow = Slow {
            inner: server.clone(),
            rng: Arc::new(Mutex::new(rng.fork())),
            chance: [0.0, 0.1, 0.5][rng.usize(..3)],
            sleep: None,
            ready: false,
        };
        let retry = if rng.bool() {
            patient().max_attempts(rng.u32(2..8)).without_budget()
        } else {
            RetryLayer::new()
        };
        let max_wait = (rng.usize(..4) == 0).then(|| ms(rng.u64(..20_000)));
        let max_waiting = (rng.usize(..4) == 0).then(|| rng.usize(..20));
        let max_keys = (rng.usize(..4) == 0).then(|| rng.usize(1..4));
        let max_pause = [secs(2), secs(120), secs(7)][rng.usize(..3)];
        macro_rules! with {
            ($layer:expr) => {{
                let mut layer = $layer.max_pause(max_pause);
                if let Some(wait) = max_wait {
                    layer = layer.max_wait(wait);
                }
                if let Some(n) = max_waiting {
                    layer = layer.max_waiting(n);
                }
                if let Some(n) = max_keys {
                    layer = layer.max_keys(n);
                }
                layer
            }};
        }
        let stack = rng.usize(..6);
        let setup = match stack {
            0 => {
                let layer = with!(RpsLayer::new(endpoints.clone()));
                Setup {
                    client: boxed(layer.layer(slow)),
                    handles: vec![layer.handle()],
                }
            }
            1 => {
                let layer = with!(ConcurrencyLayer::new(endpoints.clone()));
                Setup {
                    client: boxed(layer.layer(slow)),
                    handles: vec![layer.handle()],
                }
            }
            2 => joint(
                &with!(ThrottleLayer::new(endpoints.clone())).without_retry(),
                slow,
            ),
            3 | 4 => joint(
                &with!(ThrottleLayer::new(endpoints.clone())).retry(retry),
                slow,
            ),
            _ => hand(
                &retry,
                &with!(ConcurrencyLayer::new(endpoints.clone())),
                &with!(RpsLayer::new(endpoints.clone())),
                slow,
            ),
        };
        let resumes = rng.usize(..2) == 0;
        if std::env::var("SHOW").is_ok() {
            eprintln!(
                "stack {stack} max_wait {max_wait:?} waiting {max_waiting:?} keys {max_keys:?} pause {max_pause:?} {endpoints:#?}"
            );
        }
        let n = rng.usize(5..120);
        let spread = [1, 500, 5_000, 60_000][rng.usize(..4)];
        let mut tasks = Vec::new();
        for id in 0..n {
            let path = PATHS[rng.usize(..PATHS.len())];
            let mut request = get(path, id);
            if partitioned {
                request
                    .headers_mut()
                    .insert("k", ["x", "y", "z"][rng.usize(..3)].parse().unwrap());
            }
            if rng.usize(..8) == 0 {
                request
                    .extensions_mut()
                    .insert(Deadline(Instant::now() + ms(rng.u64(..60_000))));
            }
            let start = ms(rng.u64(..spread));
            let cancel = (rng.usize(..4) == 0).then(|| ms(rng.u64(..10_000)));
            let lazy = (rng.usize(..6) == 0).then(|| (rng.usize(1..4), ms(rng.u64(..4000))));
            let hold = ms(if rng.usize(..5) == 0 {
                rng.u64(..5000)
            } else {
                0
            });
            let dropped = rng.usize(..4) == 0;
            let client = setup.client.clone();
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(start).await;
                let work = async move {
                    let mut future = Box::pin(client.oneshot(request));
                    let mut early = None;
                    if let Some((polls, pause)) = lazy {
                        for _ in 0..polls {
                            if let Poll::Ready(answer) =
                                std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)))
                                    .await
                            {
                                early = Some(answer);
                                break;
                            }
                            tokio::time::sleep(pause).await;
                        }
                    }
                    let answer = match early {
                        Some(answer) => answer,
                        None => future.await,
                    };
                    let Ok(answer) = answer else { return };
                    tokio::time::sleep(hold).await;
                    if !dropped {
                        let _ = answer.into_body().collect().await;
                    }
                };
                match cancel {
                    Some(time) => drop(tokio::time::timeout(time, work).await),
                    None => work.await,
                }
            }));
        }
        let handles = setup.handles.clone();
        let mut names = vec!["/a", "/b", "/c"];
        for name in ["g", "overall"] {
            if handles[0].resume(name).is_ok() {
                names.push(name);
            }
        }
        let mut actor = rng.fork();
        let actions = actor.usize(..40);
        let actor_task = tokio::spawn(async move {
            for _ in 0..actions {
                tokio::time::sleep(ms(actor.u64(..1500))).await;
                let handle: &Handle = &handles[actor.usize(..handles.len())];
                let name = names[actor.usize(..names.len())];
                match actor.usize(..6) {
                    0 | 1 => handle.pause(name, ms(actor.u64(1..5000))).unwrap(),
                    2 if resumes => handle.resume(name).unwrap(),
                    3 => handle.set_quota(name, quota(&mut actor)).unwrap(),
                    4 => handle.sweep(),
                    _ => drop(handle.snapshot()),
                }
            }
            handles
        });
        let done = async {
            tokio::time::sleep(secs(90)).await;
            *chaos.lock().unwrap() = 0.0;
            for (id, task) in tasks.into_iter().enumerate() {
                if let Err(error) = task.await {
                    panic!("seed {seed}: request {id}: {error}");
                }
            }
        };
        assert!(
            tokio::time::timeout(secs(24 * 3600), done).await.is_ok(),
            "seed {seed}: stuck; stack {stack}: {:#?}",
            setup.handles[0].snapshot()
        );
        let handles = actor_task
            .await
            .unwrap_or_else(|e| panic!("seed {seed}: actor {e}"));
        if std::env::var("SHOW").is_ok() {
            for e in &server.journal().events {
                eprintln!(
                    "{:?} {} {} {:?}",
                    e.at - server.start(),
                    e.id,
                    e.path,
                    e.what
                );
            }
        }
        let sent = server.sent().len();
        assert!(sent < n * 40 + 100, "seed {seed}: {sent} sent of {n}");
        assert_eq!(server.held(), 0, "seed {seed}");
        if !resumes && !partitioned {
            server.assert_nobody_early(max_pause);
        }
        tokio::time::sleep(secs(3600)).await;
        for handle in &handles {
            for bucket in handle.snapshot().buckets() {
                assert_eq!(
                    (
                        bucket.waiting(),
                        bucket.in_flight(),
                        bucket.paused_for(),
                        bucket.learned().is_some()
                    ),
                    (0, 0, None, false),
                    "seed {seed}: {bucket:?}"
                );
            }
            handle.sweep();
        }
        // Nothing has leaked: the full burst goes at once.
        let fresh: Vec<Handle> = handles.clone();
        for handle in &fresh {
            for name in ["/a", "/b", "/c", "g", "overall"] {
                let _ = handle.set_quota(name, Quota::per(6, secs(10)).concurrency(6));
            }
        }
        if !partitioned && max_wait.is_none() && max_waiting != Some(0) {
            let before = server.sent().len();
            let start = server.now();
            let burst: Vec<_> = (0..6).map(|i| setup.send(get("/a", 10_000 + i))).collect();
            let answers = tokio::time::timeout(secs(60), all(burst))
                .await
                .unwrap_or_else(|_| panic!("seed {seed}: burst stuck"));
            for answer in answers {
                answer.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            }
            let late: Vec<_> = server.sent()[before..]
                .iter()
                .map(|(at, _)| at - start)
                .collect();
            assert_eq!(late.len(), 6);
            assert!(late.iter().all(|&at| at <= 3001), "seed {seed}: {late:?}");
        }
    });
}

fn seeds() -> std::ops::Range<u64> {
    let get = |name: &str, default| {
        std::env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let from = get("SEED", 0);
    from..from + get("SEEDS", 200)
}

#[test]
fn stress() {
    let verbose = std::env::var("VERBOSE").is_ok();
    let mut failed = Vec::new();
    for seed in seeds() {
        if verbose {
            eprintln!("seed {seed}");
        }
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Its instances take these times to become ready, in this order.
struct Delayed {
    inner: Server,
    delays: Arc<Mutex<VecDeque<u64>>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clone for Delayed {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            delays: self.delays.clone(),
            sleep: None,
        }
    }
}

impl Service<Req> for Delayed {
    type Response = <Server as Service<Req>>::Response;
    type Error = BoxError;
    type Future = <Server as Service<Req>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.sleep.is_none() {
            let delay = self.delays.lock().unwrap().pop_front().unwrap_or(0);
            self.sleep = Some(Box::pin(tokio::time::sleep(ms(delay))));
        }
        self.sleep.as_mut().unwrap().as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.sleep = None;
        self.inner.call(request)
    }
}

/// Throttle, without retry, over a server.
fn plain(endpoints: Endpoints, server: &Server) -> Setup {
    joint(
        &ThrottleLayer::new(endpoints).without_retry(),
        server.clone(),
    )
}

/// L6, L11: the endpoint's permit ends with the head, overall's with the body. Between them the
/// endpoint's node must not be forgotten, or what ends overall's permit walks up from nowhere.
#[test]
fn a_bucket_whose_permit_ended_at_the_head_is_not_forgotten_before_the_body() {
    paused(1, async {
        let endpoints = Endpoints::new()
            .each_other_path(Quota::concurrent(1).release_at_head())
            .overall(Quota::concurrent(1));
        let server = Server::new(|_| Reply::ok().body("body").stall(ms(10)));
        let setup = plain(endpoints, &server);
        let answer = setup.client.clone().oneshot(get("/x", 0)).await.unwrap();
        tokio::time::sleep(secs(1)).await;
        setup.handles[0].sweep();
        drop(answer);
        assert_eq!(setup.in_flight(), 0);
    });
}

/// The same, without a panic: another key has the slot meanwhile, and the permit is never given back.
#[test]
fn a_permit_is_not_lost_when_another_key_has_the_slot_of_its_endpoint() {
    paused(1, async {
        let endpoints = Endpoints::new()
            .partition_by_header("k")
            .route("/head", Quota::concurrent(1).release_at_head())
            .route("/body", Quota::concurrent(1))
            .across_partitions(Quota::concurrent(4));
        let server = Server::new(|_| Reply::ok().body("body").stall(secs(100)));
        let setup = plain(endpoints, &server);
        let of = |path, key: &'static str, id| {
            let mut request = get(path, id);
            request.headers_mut().insert("k", key.parse().unwrap());
            request
        };
        let first = setup
            .client
            .clone()
            .oneshot(of("/head", "x", 0))
            .await
            .unwrap();
        setup.handles[0].sweep();
        let second = setup
            .client
            .clone()
            .oneshot(of("/body", "y", 1))
            .await
            .unwrap();
        drop(first);
        let waits = setup.client.clone().oneshot(of("/body", "y", 2));
        let early = tokio::time::timeout(secs(1), waits).await;
        assert!(early.is_err(), "two at once where one may be");
        drop(second);
        assert_eq!(setup.in_flight(), 0);
    });
}

/// L10: `max_wait` is measured from when the request began to wait, however often it is called back.
#[test]
fn a_request_called_back_from_its_inner_service_has_no_new_patience() {
    paused(1, async {
        let endpoints = Endpoints::new().route("/a", Quota::per(1, ms(900)));
        let server = Server::new(|_| Reply::ok());
        let inner = Delayed {
            inner: server.clone(),
            delays: Arc::new(Mutex::new([0, 0, 50].into())),
            sleep: None,
        };
        let layer = ThrottleLayer::new(endpoints)
            .without_retry()
            .max_wait(secs(1));
        let setup = joint(&layer, inner);
        setup.fetch(get("/a", 0)).await.unwrap();
        let waits = setup.send(get("/a", 1));
        // Admitted at 900 ms (and a tick), ready 50 ms later.
        tokio::time::sleep(ms(920)).await;
        layer.handle().pause("/a", ms(800)).unwrap();
        let answer = waits.await.unwrap();
        let now = server.now();
        let error = answer.expect_err(&format!("sent at {now} ms, with 1000 ms of patience"));
        assert!(Refused::in_error(&error).is_some(), "{error}");
        assert!(now <= 1001, "refused at {now} ms");
    });
}

/// L10: "again when a pause moves it": who is called back and cannot go in time hears of it then.
#[test]
fn a_request_called_back_by_a_pause_that_is_too_long_is_refused_at_once() {
    paused(1, async {
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let server = Server::new(|_| Reply::ok().body("body").stall(secs(1)));
        let layer = ThrottleLayer::new(endpoints)
            .without_retry()
            .max_wait(secs(5));
        let setup = joint(&layer, server.clone());
        let first = setup.client.clone().oneshot(get("/a", 0)).await.unwrap();
        let waits = setup.send(get("/a", 1));
        tokio::time::sleep(ms(100)).await;
        // Admits the second, which is not polled before the pause.
        drop(first);
        layer.handle().pause("/a", secs(60)).unwrap();
        let error = waits.await.unwrap().unwrap_err();
        assert!(Refused::in_error(&error).is_some(), "{error}");
        assert_eq!(server.now(), 100, "when it was refused");
    });
}

/// L10: a distance that ends with the reset does not delay those whose turn comes after it.
#[test]
fn a_wait_is_not_computed_beyond_the_end_of_a_learned_distance() {
    paused(1, async {
        let go = |max_wait| async move {
            let endpoints = Endpoints::new().route("/a", Quota::unlimited());
            let server = Server::new(|seen| match seen.before {
                0 => Reply::ok()
                    .header("x-ratelimit-limit", 100)
                    .header("x-ratelimit-remaining", 2)
                    .header("x-ratelimit-reset", 4),
                _ => Reply::ok(),
            });
            let layer = ThrottleLayer::new(endpoints)
                .without_retry()
                .max_wait(max_wait);
            let setup = joint(&layer, server.clone());
            setup.fetch(get("/a", 0)).await.unwrap();
            let sent: Vec<_> = (1..=8).map(|id| setup.send(get("/a", id))).collect();
            let refused = all(sent)
                .await
                .iter()
                .filter(|answer| answer.is_err())
                .count();
            (refused, server.times("/a"))
        };
        let (refused, times) = go(secs(1000)).await;
        assert_eq!(refused, 0);
        assert!(times.iter().all(|&at| at <= 4001), "{times:?}");
        let (refused, _) = go(secs(6)).await;
        assert_eq!(
            refused, 0,
            "refused, though all would have gone by {times:?}"
        );
    });
}

/// L7, L9: too many at once waits for a completion of one's own; nothing is held while backing off.
#[test]
fn too_many_at_once_does_not_hold_a_permit_by_hand_for_the_rate_limits_back_off() {
    for stack in STACKS {
        paused(3, async move {
            let endpoints = Endpoints::new().route("/a", Quota::per_second(100).concurrency(2));
            let server = Server::new(|seen| {
                if seen.open > 0 {
                    too_many(None)
                } else {
                    Reply::ok().after(ms(50))
                }
            });
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let sent = vec![setup.send(get("/a", 0)), setup.send(get("/a", 1))];
            tokio::time::sleep(ms(120)).await;
            let held = setup.in_flight();
            all_ok(sent).await;
            let times = server.times("/a");
            assert_eq!(
                held, 0,
                "{stack:?}: a permit is held while nothing is open; sent {times:?}"
            );
            assert!(times.iter().all(|&at| at <= 60), "{stack:?}: {times:?}");
        });
    }
}

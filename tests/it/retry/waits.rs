//! When retries come: never early, spread, and without holding anything meanwhile.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use http::Request;
use proptest::prelude::*;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceBuilder};
use tower_throttle::{
    Attempts, Backoff, ConcurrencyLayer, Endpoints, Handle, Quota, RetryLayer, RpsLayer,
    ThrottleLayer,
};

use crate::retry_support::{Answer, Server, call, error, get, status, with};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);

/// One way of saying when to come back.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    Silent,
    Seconds,
    Fraction,
    Milliseconds,
    Date,
    Reset,
    Structured,
}

/// An answer, and the delay that it names.
#[derive(Clone, Copy, Debug)]
struct Step {
    status: u16,
    dialect: Dialect,
    ms: u64,
}

impl Step {
    fn answer(self) -> Answer {
        let seconds = self.ms.div_ceil(1000);
        match self.dialect {
            Dialect::Silent => status(self.status),
            Dialect::Seconds => with(self.status, &[("retry-after", &seconds.to_string())]),
            Dialect::Fraction => {
                let fraction = format!("{}.{:03}", self.ms / 1000, self.ms % 1000);
                with(self.status, &[("retry-after", &fraction)])
            }
            Dialect::Milliseconds => with(self.status, &[("retry-after-ms", &self.ms.to_string())]),
            Dialect::Date => {
                let date = UNIX_EPOCH + Duration::from_secs(1_755_780_000);
                let until = httpdate::fmt_http_date(date + Duration::from_secs(seconds));
                let date = httpdate::fmt_http_date(date);
                with(self.status, &[("date", &date), ("retry-after", &until)])
            }
            Dialect::Reset => with(
                self.status,
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", &seconds.to_string()),
                ],
            ),
            Dialect::Structured => {
                let text = format!("\"default\";r=0;t={seconds}");
                with(self.status, &[("ratelimit", &text)])
            }
        }
    }

    /// The quota headers are about limits, so they say nothing on other answers.
    fn named(self) -> Option<Duration> {
        let seconds = Duration::from_secs(self.ms.div_ceil(1000));
        match self.dialect {
            Dialect::Silent => None,
            Dialect::Reset | Dialect::Structured if self.status != 429 => None,
            Dialect::Fraction | Dialect::Milliseconds => Some(Duration::from_millis(self.ms)),
            _ => Some(seconds),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![4 => Just(429), 2 => Just(503), 1 => Just(500), 1 => Just(529)];
    let dialect = prop_oneof![
        Just(Dialect::Silent),
        Just(Dialect::Seconds),
        Just(Dialect::Fraction),
        Just(Dialect::Milliseconds),
        Just(Dialect::Date),
        Just(Dialect::Reset),
        Just(Dialect::Structured),
    ];
    (status, dialect, 1_u64..20_000).prop_map(|(status, dialect, ms)| Step {
        status,
        dialect,
        ms,
    })
}

/// Each retry comes at its time, to the tick.
fn check(server: &Server, steps: &[Step], cap: Duration) {
    for ((waited, step), number) in server.waits().into_iter().zip(steps).zip(1..) {
        if let Some(named) = step.named() {
            let most = named + (named / 10).min(SECOND) + TICK;
            assert!(waited >= named, "{number}: {step:?} after {waited:?}");
            assert!(waited <= most, "{number}: {step:?} after {waited:?}");
        } else {
            assert!(waited <= cap + TICK, "{number}: {step:?} after {waited:?}");
        }
    }
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_retry_is_early_or_late(steps in prop::collection::vec(step(), 0..8), seed: u64) {
        let cap = Duration::from_secs(5);
        let retry = RetryLayer::new()
            .max_attempts(100)
            .max_total(1_000 * SECOND)
            .backoff(Backoff::full(100 * TICK, cap).seed(seed));
        paused().block_on(async {
            let server = Server::answering(steps.iter().map(|step| step.answer()));
            let alone = retry.layer(server.clone());
            let endpoints = Endpoints::new().route("GET /a", Quota::per_second(5).concurrency(1));
            let response = call(&mut alone.clone(), get("/a")).await.unwrap();
            assert_eq!(response.status(), 200);
            check(&server, &steps, cap);
            drop(response);

            // No permit is held meanwhile, and no place. The limits leave room at each retry. Where the
            // server is silent the layer below pauses, for at most twenty seconds.
            let cap = 20 * SECOND;
            let server = Server::answering(steps.iter().map(|step| step.answer()));
            let layer = ConcurrencyLayer::new(endpoints.clone());
            let handle = layer.handle();
            let mut stack = ServiceBuilder::new()
                .layer(retry.clone())
                .layer(layer)
                .service(server.clone());
            let watched = watch(&handle);
            let response = call(&mut stack, get("/a")).await.unwrap();
            assert_eq!(response.status(), 200);
            check(&server, &steps, cap);
            assert_eq!(watched.load(Ordering::Relaxed), 0, "in flight while backing off");
        });
    }

    #[test]
    fn every_backoff_stays_within_its_bounds(
        base in 1_u64..1_000,
        more in 0_u64..10_000,
        failures in 1_u32..6,
        seed: u64,
    ) {
        let (base, cap) = (Duration::from_millis(base), Duration::from_millis(base + more));
        for backoff in [
            Backoff::full(base, cap),
            Backoff::equal(base, cap),
            Backoff::decorrelated(base, cap),
        ] {
            let retry = RetryLayer::new().max_attempts(failures + 1).backoff(backoff.seed(seed));
            paused().block_on(async {
                let server = Server::new(|_, _| status(500));
                let mut service = retry.layer(server.clone());
                let response = call(&mut service, get("/a")).await.unwrap();
                assert_eq!(response.status(), 500);
                let waits = server.waits();
                assert_eq!(waits.len(), failures as usize);
                for waited in waits {
                    assert!(waited <= cap + TICK);
                }
            });
        }
    }
}

/// The most requests in flight at any tick.
fn watch(handle: &Handle) -> Arc<AtomicUsize> {
    let most = Arc::new(AtomicUsize::new(0));
    let (handle, seen) = (handle.clone(), Arc::clone(&most));
    tokio::spawn(async move {
        loop {
            sleep(97 * TICK).await;
            let in_flight = handle.snapshot().bucket("GET /a").unwrap().in_flight();
            seen.fetch_max(in_flight, Ordering::Relaxed);
        }
    });
    most
}

#[tokio::test(start_paused = true)]
async fn no_two_requests_share_their_jitter() {
    for header in [None, Some(("retry-after", "5"))] {
        let headers = header.as_slice();
        let layers = [
            RetryLayer::new(),
            RetryLayer::new().backoff(Backoff::default().seed(7)),
        ];
        for layer in layers {
            let mut seen = HashSet::new();
            for _ in 0..100 {
                let server = Server::answering([with(429, headers)]);
                let mut service = layer.clone().layer(server);
                let response = call(&mut service, get("/a")).await.unwrap();
                let attempts: &Attempts = response.extensions().get().unwrap();
                assert!(seen.insert(attempts.waited()), "{attempts:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_the_waits_repeatable() {
    let run = async || {
        let backoff = Backoff::default().seed(11);
        let server = Server::new(|_, _| status(500));
        let mut service = RetryLayer::new()
            .backoff(backoff)
            .max_attempts(6)
            .layer(server.clone());
        call(&mut service, get("/a")).await.unwrap();
        server.times()
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_waits_is_what_was_waited() {
    let answers = [
        with(429, &[("retry-after", "2")]),
        status(500),
        error(std::io::ErrorKind::ConnectionReset),
    ];
    let server = Server::answering(answers);
    let started = Instant::now();
    let mut service = RetryLayer::new().layer(server);
    let response = call(&mut service, get("/a")).await.unwrap();
    let attempts: &Attempts = response.extensions().get().unwrap();
    assert_eq!(attempts.attempts(), 4);
    assert!(started.elapsed().abs_diff(attempts.waited()) <= 3 * TICK);
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_free_while_its_request_backs_off() {
    let endpoints = Endpoints::new().route("GET /a", Quota::concurrent(1));
    let server = Server::new(|before, _| match before {
        0 => with(429, &[("retry-after", "10")]),
        _ => status(200),
    });
    let layer = ConcurrencyLayer::new(endpoints);
    let handle = layer.handle();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(layer)
        .service(server.clone());
    let retried = tokio::spawn({
        let mut stack = stack.clone();
        async move { call(&mut stack, get("/a")).await.unwrap().status() }
    });
    sleep(SECOND).await;
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket("GET /a").unwrap();
    // It waits in its old place, where the pause keeps it.
    assert_eq!((bucket.in_flight(), bucket.waiting()), (0, 1));
    drop(stack);
    assert_eq!(retried.await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_request_that_backs_off_leaves_nothing_behind() {
    let endpoints = Endpoints::new().route("GET /a", Quota::per_second(10).concurrency(1));
    let refuse = || Server::new(|_, _| with(429, &[("retry-after", "5")]));

    let layer = ThrottleLayer::new(endpoints.clone());
    let handle = layer.handle();
    let server = refuse();
    drop_backing_off(&mut layer.layer(server.clone()), &server, &handle).await;

    let layer = ConcurrencyLayer::new(endpoints);
    let handle = layer.handle();
    let server = refuse();
    let mut stack = RetryLayer::new().layer(layer.layer(server.clone()));
    drop_backing_off(&mut stack, &server, &handle).await;
}

async fn drop_backing_off<S>(service: &mut S, server: &Server, handle: &Handle)
where
    S: Service<Request<String>>,
{
    let mut future = tokio_test::task::spawn(service.call(get("/a")));
    assert!(future.poll().is_pending());
    sleep(SECOND).await;
    assert!(future.poll().is_pending());
    drop(future);
    sleep(100 * SECOND).await;
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket("GET /a").unwrap();
    assert_eq!((bucket.in_flight(), bucket.waiting()), (0, 0));
    assert_eq!(server.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_before_those_that_came_later() {
    let endpoints = Endpoints::new().route("GET /{id}", Quota::per_second(1));
    for joint in [true, false] {
        let refused = Mutex::new(false);
        let server = Server::new(move |_, head| {
            let mut refused = refused.lock().unwrap();
            if head.uri.path() == "/0" && !std::mem::replace(&mut *refused, true) {
                return with(429, &[("retry-after", "1")]);
            }
            status(200)
        });
        let mut requests = JoinSet::new();
        let throttle = ThrottleLayer::new(endpoints.clone()).layer(server.clone());
        let stack = RetryLayer::new().layer(RpsLayer::new(endpoints.clone()).layer(server.clone()));
        for number in 0..20 {
            let (mut throttle, mut stack) = (throttle.clone(), stack.clone());
            requests.spawn(async move {
                let request = get(&format!("/{number}"));
                let status = if joint {
                    call(&mut throttle, request).await.unwrap().status()
                } else {
                    call(&mut stack, request).await.unwrap().status()
                };
                assert_eq!(status, 200);
            });
        }
        requests.join_all().await;
        let sent: Vec<_> = server.sent().into_iter().map(|sent| sent.path).collect();
        let last = sent.iter().rposition(|path| path == "/0").unwrap();
        assert!(last <= 2, "{sent:?}");
        assert_eq!(sent.len(), 21);
    }
}

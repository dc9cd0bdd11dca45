//! What an observer is told of retries: each decision once, at its instant.

use std::{
    io::ErrorKind,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use http::{Request, StatusCode};
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, retry};
use tower_throttle::{
    Backoff, Budget, ConcurrencyLayer, Deadline, Endpoints, Event, EventKind, Handle, Observer,
    Quota, RetryLayer, RpsLayer, ThrottleLayer,
};

use crate::retry_support::{Answer, Server, call, error, get, post, status, with};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Retry(u32, Duration),
    GivenUp(u32),
}

/// Keeps what it was told: how long after it was made, and what.
struct Log {
    made: Instant,
    told: Mutex<Vec<(Duration, Kind)>>,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            made: Instant::now(),
            told: Mutex::default(),
        })
    }

    fn told(&self) -> Vec<(Duration, Kind)> {
        self.told.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.told().into_iter().map(|(_, kind)| kind).collect()
    }
}

impl Observer for Log {
    fn on_event(&self, event: &Event<'_>) {
        let mut told = self.told.lock().unwrap();
        assert_eq!((event.bucket, event.partition), ("", None));
        assert_eq!(event.sequence, told.len() as u64 + 1);
        assert_eq!(event.at, Instant::now());
        let kind = match event.kind {
            EventKind::RetryScheduled { attempt, delay } => Kind::Retry(attempt, delay),
            EventKind::GivenUp { attempts } => Kind::GivenUp(attempts),
            ref other => panic!("no event of a retry: {other:?}"),
        };
        told.push((event.at - self.made, kind));
    }
}

/// Backs off for exactly a second.
fn layer() -> RetryLayer {
    RetryLayer::new().backoff(Backoff::decorrelated(SECOND, SECOND))
}

/// A request in a body that cannot be sent again.
fn once(request: Request<String>) -> Request<Once> {
    request.map(|_| Once)
}

struct Once;

/// What is told of a request that gets these answers.
async fn told_of<B: 'static>(
    layer: &RetryLayer,
    answers: impl IntoIterator<Item = Answer>,
    request: Request<B>,
) -> Vec<(Duration, Kind)> {
    let log = Log::new();
    let layer = layer.clone().observe(Arc::clone(&log));
    let mut service = layer.layer(Server::answering(answers));
    let _ = call(&mut service, request).await;
    log.told()
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_told_when_it_is_decided() {
    let answers = [status(500), error(ErrorKind::ConnectionReset)];
    let told = told_of(&layer(), answers, get("/a")).await;
    assert_eq!(
        told,
        [
            (Duration::ZERO, Kind::Retry(2, SECOND)),
            (SECOND, Kind::Retry(3, SECOND)),
        ]
    );
}

/// The delay that is told has the jitter in it: the retry goes out at that time, to the tick.
#[tokio::test(start_paused = true)]
async fn the_delay_that_is_told_is_the_one_that_is_waited() {
    let log = Log::new();
    let server = Server::answering([with(429, &[("retry-after", "2")])]);
    let mut service = RetryLayer::new()
        .observe(Arc::clone(&log))
        .layer(server.clone());
    call(&mut service, post("/a")).await.unwrap();
    let [(at, Kind::Retry(2, delay))] = log.told()[..] else {
        panic!("{:?}", log.told());
    };
    assert_eq!(at, Duration::ZERO);
    assert!(delay >= 2 * SECOND, "{delay:?}");
    let waited = server.waits()[0];
    assert!(
        waited >= delay && waited <= delay + TICK,
        "{waited:?} {delay:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_is_given_up_when_its_attempts_are_used_up() {
    let told = told_of(&layer(), [(); 3].map(|()| status(500)), get("/a")).await;
    assert_eq!(
        told,
        [
            (Duration::ZERO, Kind::Retry(2, SECOND)),
            (SECOND, Kind::Retry(3, SECOND)),
            (2 * SECOND, Kind::GivenUp(3)),
        ]
    );
    let refused = [error(ErrorKind::ConnectionRefused)];
    let told = told_of(&layer().max_attempts(1), refused, post("/a")).await;
    assert_eq!(told, [(Duration::ZERO, Kind::GivenUp(1))]);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_given_up_when_time_budget_or_the_servers_delay_forbid_a_retry() {
    let given_up = [(Duration::ZERO, Kind::GivenUp(1))];
    let short = layer().max_total(SECOND / 2);
    assert_eq!(told_of(&short, [status(500)], get("/a")).await, given_up);
    let mut urgent = get("/a");
    let deadline = Deadline(Instant::now() + SECOND / 2);
    urgent.extensions_mut().insert(deadline);
    assert_eq!(told_of(&layer(), [status(500)], urgent).await, given_up);
    let broke = layer().budget(Budget::new(0, 0.0));
    assert_eq!(told_of(&broke, [status(500)], get("/a")).await, given_up);
    let day = with(429, &[("retry-after", "86400")]);
    assert_eq!(told_of(&layer(), [day], post("/a")).await, given_up);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_can_be_sent_once_is_given_up_at_its_first_failure() {
    let given_up = [(Duration::ZERO, Kind::GivenUp(1))];
    let answers = || [status(429), error(ErrorKind::ConnectionRefused)];
    for answer in answers() {
        assert_eq!(
            told_of(&layer(), [answer], once(post("/a"))).await,
            given_up
        );
    }
    assert_eq!(
        told_of(&layer(), [status(500)], once(get("/a"))).await,
        given_up
    );
    let mut keyed = once(post("/a"));
    let key = "7f".parse().unwrap();
    keyed.headers_mut().insert("idempotency-key", key);
    assert_eq!(told_of(&layer(), [status(500)], keyed).await, given_up);
}

type Body = http_body_util::combinators::BoxBody<bytes::Bytes, BoxError>;

/// Bodies that turn out too long to be kept, or of which there are no more copies.
#[tokio::test(start_paused = true)]
async fn a_request_whose_body_runs_out_is_given_up() {
    let copies = Mutex::new(2);
    let counted = layer().clone_body_with::<Once>(move |_| {
        let mut copies = copies.lock().unwrap();
        *copies -= 1;
        (*copies > 0).then_some(Once)
    });
    let answers = [status(429), status(429)];
    assert_eq!(
        told_of(&counted, answers, once(post("/a"))).await,
        [
            (Duration::ZERO, Kind::Retry(2, SECOND)),
            (SECOND, Kind::GivenUp(2)),
        ]
    );
    let collected = layer().collect_body_with::<Body>(3, Body::new);
    let long = http_body_util::Full::from("long");
    let body = Body::new(http_body_util::BodyExt::map_err(long, BoxError::from));
    assert_eq!(
        told_of(&collected, [status(429)], post("/a").map(|_| body)).await,
        [(Duration::ZERO, Kind::GivenUp(1))]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_of_a_success_or_of_what_is_never_retried() {
    let exhausted = || {
        let body = r#"{"detail":{"status":"quota_exceeded","message":"No."}}"#;
        let answer = with(401, &[("content-type", "application/json")]);
        answer.map(|response| response.map(|_| bytes::Bytes::from(body).into()))
    };
    let answers = || {
        [
            status(200),
            status(204),
            status(301),
            status(404),
            exhausted(),
            with(429, &[("x-should-retry", "false")]),
            error(ErrorKind::InvalidData),
        ]
    };
    for answer in answers() {
        assert_eq!(told_of(&layer(), [answer], get("/a")).await, []);
    }
    for answer in answers() {
        assert_eq!(told_of(&layer(), [answer], once(get("/a"))).await, []);
    }
    // These may not be repeated.
    for answer in [status(500), status(503), error(ErrorKind::ConnectionReset)] {
        assert_eq!(told_of(&layer(), [answer], post("/a")).await, []);
    }
    for answer in [status(500), status(503), error(ErrorKind::ConnectionReset)] {
        assert_eq!(told_of(&layer(), [answer], once(post("/a"))).await, []);
    }
}

/// The delay is the pause; a retry that the layer below must not get is given up.
#[tokio::test(start_paused = true)]
async fn above_a_limiting_layer_the_delay_is_how_long_that_holds_the_request() {
    fn endpoints() -> Endpoints {
        Endpoints::new().route("GET /a", Quota::concurrent(1))
    }
    async fn check<S>(mut service: S, log: &Log, handle: &Handle, server: &Server)
    where
        S: Service<Request<String>, Error = BoxError>,
    {
        assert!(call(&mut service, get("/a")).await.is_ok());
        let [(at, Kind::Retry(2, delay))] = log.told()[..] else {
            panic!("{:?}", log.told());
        };
        assert_eq!(at, Duration::ZERO);
        assert!(delay >= 2 * SECOND && delay < 3 * SECOND, "{delay:?}");
        let waited = server.waits()[0];
        assert!(
            waited >= delay && waited <= delay + TICK,
            "{waited:?} {delay:?}"
        );
        // Our own refusal is no failure of the server's.
        handle.pause("GET /a", 10 * SECOND).unwrap();
        let mut urgent = get("/a");
        let deadline = Deadline(Instant::now() + SECOND);
        urgent.extensions_mut().insert(deadline);
        assert!(call(&mut service, urgent).await.is_err());
        assert_eq!(log.told().len(), 1);
    }
    let answers = || [with(429, &[("retry-after", "2")])];

    let (log, server) = (Log::new(), Server::answering(answers()));
    let limit = ThrottleLayer::new(endpoints()).retry(layer().observe(Arc::clone(&log)));
    let joint = limit.layer(server.clone());
    check(joint, &log, &limit.handle(), &server).await;

    let (log, server) = (Log::new(), Server::answering(answers()));
    let limit = ConcurrencyLayer::new(endpoints());
    let retry = layer().observe(Arc::clone(&log));
    let stack = retry.layer(limit.layer(server.clone()));
    check(stack, &log, &limit.handle(), &server).await;

    let log = Log::new();
    let server = Server::answering([with(429, &[("retry-after", "6")])]);
    let retry = layer().observe(Arc::clone(&log));
    let mut stack = retry.layer(
        RpsLayer::new(endpoints())
            .max_pause(5 * SECOND)
            .layer(server),
    );
    call(&mut stack, get("/a")).await.unwrap();
    assert_eq!(log.told(), [(Duration::ZERO, Kind::GivenUp(1))]);
}

#[tokio::test(start_paused = true)]
async fn clones_and_services_of_a_layer_count_in_one_sequence() {
    // The log asserts the numbers.
    let log = Log::new();
    let layer = layer().max_attempts(1).observe(Arc::clone(&log));
    let server = Server::new(|_, _| status(500));
    let others = [layer.clone(), layer.clone().max_attempts(2)];
    for layer in [&layer, &others[0], &others[1]] {
        for _ in 0..2 {
            let mut service = layer.layer(server.clone()).clone();
            call(&mut service, get("/a")).await.unwrap();
        }
    }
    let policy = retry::RetryLayer::new(layer.policy());
    call(&mut policy.layer(server), get("/a")).await.unwrap();
    assert_eq!(log.told().len(), 2 + 2 + 4 + 1);
}

#[tokio::test(start_paused = true)]
async fn towers_own_retry_tells_the_same() {
    let told = async |answers: Vec<Answer>, request| {
        let log = Log::new();
        let layer = layer().observe(Arc::clone(&log));
        let mut service = retry::RetryLayer::new(layer.policy()).layer(Server::answering(answers));
        let _ = call(&mut service, request).await;
        log.told()
    };
    let failures = (0..3).map(|_| status(500)).collect();
    assert_eq!(
        told(failures, get("/a")).await,
        [
            (Duration::ZERO, Kind::Retry(2, SECOND)),
            (SECOND, Kind::Retry(3, SECOND)),
            (2 * SECOND, Kind::GivenUp(3)),
        ]
    );
    let day = with(429, &[("retry-after", "86400")]);
    assert_eq!(
        told(vec![day], post("/a")).await,
        [(Duration::ZERO, Kind::GivenUp(1))]
    );
    assert_eq!(told(vec![status(500)], post("/a")).await, []);
    assert_eq!(told(vec![status(200)], post("/a")).await, []);
}

/// Panics the first time.
#[derive(Default)]
struct Panicking(AtomicBool);

impl Observer for Panicking {
    fn on_event(&self, _: &Event<'_>) {
        assert!(
            self.0.swap(true, Ordering::Relaxed),
            "an observer that panics"
        );
    }
}

/// L19. The caller gets the panic, and with it nothing is lost: the permit is free, the budget is full.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_observer_reaches_the_caller_and_leaves_the_layer_usable() {
    // What is told of the first request, and panics: a retry; a failure that is handed up.
    for first in [status(500), with(429, &[("retry-after", "86400")])] {
        let retry = layer()
            .budget(Budget::new(1, 0.0))
            .observe(Panicking::default());
        let endpoints = Endpoints::new().route("GET /a", Quota::concurrent(1));
        let layer = ThrottleLayer::new(endpoints).retry(retry);
        let server = Server::answering([first, status(500)]);
        let mut service = layer.layer(server.clone());

        let request = AssertUnwindSafe(call(&mut service, get("/a")));
        let panic = request.catch_unwind().await.err().unwrap();
        assert_eq!(
            panic.downcast_ref(),
            Some(&"an observer that panics"),
            "the observer's own"
        );
        let snapshot = layer.handle().snapshot();
        let bucket = snapshot.bucket("GET /a").unwrap();
        assert_eq!((bucket.in_flight(), bucket.waiting()), (0, 0));

        layer.handle().resume("GET /a").unwrap();
        let response = call(&mut service, get("/a")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(server.sent().len(), 3);
    }
}

fn answer() -> impl Strategy<Value = (u16, Option<u64>)> {
    let status = prop_oneof![Just(200_u16), Just(404), Just(429), Just(500), Just(503)];
    (status, prop::option::of(0_u64..200))
}

proptest! {
    /// Each attempt that a retry is told of is made, and a failure is given up at most once, as the last.
    #[test]
    fn what_is_told_is_what_is_done(
        answers in prop::collection::vec(answer(), 0..12),
        repeatable: bool,
        replayable: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = Server::answering(answers.iter().map(|&(code, delay)| match delay {
                Some(delay) => with(code, &[("retry-after", &delay.to_string())]),
                None => status(code),
            }));
            let log = Log::new();
            let mut service = layer().observe(Arc::clone(&log)).layer(server.clone());
            let request = if repeatable { get("/a") } else { post("/a") };
            if replayable {
                call(&mut service, request).await.unwrap();
            } else {
                call(&mut service, once(request)).await.unwrap();
            }
            let (kinds, sent) = (log.kinds(), server.sent().len());
            let (mut attempts, mut given_up) = (1, Vec::new());
            for kind in kinds {
                match kind {
                    Kind::Retry(attempt, _) => {
                        attempts += 1;
                        assert_eq!((attempt, given_up.len()), (attempts, 0));
                    }
                    Kind::GivenUp(attempts) => given_up.push(attempts),
                }
            }
            assert_eq!(sent, attempts as usize);
            assert!(given_up.is_empty() || given_up == [attempts], "{given_up:?}");
        });
    }
}

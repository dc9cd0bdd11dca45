//! Real sockets, thousands of connections, and everything that goes wrong with them, for as long as one
//! likes: does anything grow, leak, or break a limit?
//!
//! Runs for two seconds with few callers, or as `.ci/soak` says: for
//! `TOWER_THROTTLE_SOAK_SECONDS`, with `TOWER_THROTTLE_SOAK_CALLERS` callers on each endpoint.

use std::{
    alloc::System,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{
    sync::RwLock,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};
use tower::{Layer, ServiceExt};
use tower_throttle::{
    BoxError, Endpoints, Handle, Quota, Throttle, ThrottleLayer,
    mock::{self, Fault, Judge, Limit, Work},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}

/// Everybody reads to the end: the judge holds the client to the very limit that this was told.
const STEADY: &str = "/steady";
/// Callers give up at any time, connections break, and some answers are refusals.
const ROUGH: &str = "/rough";
/// Answers take seconds to come, a little at a time.
const SLOW: &str = "/slow";
/// A bucket for each path, and new paths all the time.
const KEYS: &str = "/keys/{key}";

/// Of an answer's body: more than a client reads at once.
const ANSWER: usize = 32 << 10;

const SECOND: Duration = Duration::from_secs(1);

/// How much later than another a request may arrive on a machine that others use as well. As long as the
/// window itself, so that nothing but a mistake can break it.
const MARGIN: Duration = SECOND;

/// Connections without a request are closed after so long.
const IDLE: Duration = Duration::from_secs(5);

/// Nobody waits for an answer, or the next part of it, for longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn setting(name: &str) -> Option<usize> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={value}: expected a number")))
}

type Http = Client<HttpConnector, Full<Bytes>>;

/// What all callers have in common.
struct Soak {
    judge: Judge,
    address: SocketAddr,
    layer: ThrottleLayer,
    /// HTTP/1.1 with a connection for each request in flight, and HTTP/2 with one for all.
    services: [Throttle<Http>; 2],
    stop: AtomicBool,
    /// Shared by all that happens; taken by [`rest`](Soak::rest).
    going: RwLock<()>,
    answered: AtomicUsize,
    failed: AtomicUsize,
    given_up: AtomicUsize,
}

fn http(http2: bool) -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_only(http2)
        .build(connector)
}

impl Soak {
    fn new(callers: usize, address: SocketAddr) -> Self {
        // Half of the callers wait.
        let at_once = (callers / 2).max(1);
        let per_second = u32::try_from(callers).unwrap();
        let quota = Quota::per_second(per_second)
            .margin(MARGIN)
            .concurrency(at_once);
        let endpoints = Endpoints::new()
            .route(STEADY, quota.clone())
            .route(ROUGH, quota)
            .route(SLOW, Quota::concurrent(at_once))
            .each_other_path(Quota::per_second(2).margin(MARGIN).concurrency(1))
            .overall(Quota::concurrent(callers * 2));
        let layer = ThrottleLayer::new(endpoints);
        let rate = Limit::rps(callers);
        let millis = Duration::from_millis;
        let work = millis(50)..millis(500);
        let mut judge = Judge::builder()
            .route(
                STEADY,
                rate.clone().concurrency(at_once),
                work.clone().into(),
            )
            // A server can have more at work than a client that has given up knows of.
            .route(ROUGH, rate, work.into())
            .route(SLOW, Limit::concurrent(at_once), Work::none())
            .route(KEYS, Limit::unlimited(), Work::fixed(millis(20)))
            .notice(MARGIN);
        let answer = Bytes::from(vec![b'a'; ANSWER]);
        for template in [STEADY, ROUGH, SLOW, KEYS] {
            let answer = answer.clone();
            judge = judge.answer(template, move |_| Response::new(answer.clone()));
        }
        let judge = judge.build();
        judge.fault(Fault::slow_body(ANSWER / 16, millis(200)).on(SLOW).always());
        Self {
            judge,
            address,
            services: [layer.layer(http(false)), layer.layer(http(true))],
            layer,
            stop: AtomicBool::new(false),
            going: RwLock::new(()),
            answered: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn serve(&self) -> JoinHandle<std::io::Result<()>> {
        let listener = mock::bind_to(self.address).expect("the port was ours before");
        tokio::spawn(self.judge.clone().serve(listener))
    }

    /// Asks, reads, and begins again.
    async fn call(self: Arc<Self>, template: &'static str, number: usize) {
        let mut random = fastrand::Rng::new();
        let mut sent = 0;
        while self.goes_on() {
            let _going = self.going.read().await;
            sent += 1;
            let path = match template {
                KEYS => format!("/keys/{number}-{}", sent / 4),
                path => path.to_owned(),
            };
            let uri: Uri = format!("http://{}{path}", self.address).parse().unwrap();
            let request = Request::get(uri).body(Full::default()).unwrap();
            let service = self.services[number % 2].clone();
            let patience = match template {
                ROUGH if random.u8(..4) == 0 => Duration::from_millis(random.u64(..1000)),
                // What was learned there from refusals is slow, and its queue would never be empty.
                ROUGH => PATIENCE / 3,
                _ => PATIENCE * 4,
            };
            let frames = match template {
                ROUGH if random.u8(..4) == 0 => random.usize(..3),
                _ => usize::MAX,
            };
            match timeout(patience, visit(service, request, frames)).await {
                Ok(Ok(true)) => &self.answered,
                Ok(Err(_)) => &self.failed,
                Ok(Ok(false)) | Err(_) => &self.given_up,
            }
            .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Breaks something every second, and the server every half minute.
    async fn sabotage(self: Arc<Self>, mut server: JoinHandle<std::io::Result<()>>) {
        let mut seconds = interval(SECOND);
        let mut second = 0;
        while self.goes_on() {
            seconds.tick().await;
            let _going = self.going.read().await;
            second += 1;
            let many = 20;
            let fault = match second % 8 {
                0 => Fault::status(503).retry_after(SECOND),
                1 => Fault::reset(),
                2 => Fault::reset_after(ANSWER / 2),
                3 => Fault::cut_short(ANSWER / 2),
                4 => Fault::status(500),
                5 => Fault::delay(2 * SECOND),
                6 => Fault::reset().accepted(),
                _ => Fault::status(429).retry_after(SECOND),
            };
            self.judge.fault(fault.on(ROUGH).times(many));
            if second % 30 == 2 {
                server.abort();
                let _ = server.await;
                sleep(SECOND / 4).await;
                server = self.serve();
            }
        }
        // The last callers get their answers.
        self.judge.clear_faults();
        while Arc::strong_count(&self) > 2 {
            sleep(SECOND / 10).await;
        }
        server.abort();
        let _ = server.await;
    }

    /// Lets all that is under way end, and nothing begin, until connections and keys have been forgotten.
    /// Returns the bytes that live then: while there is traffic, most are its buffers, and come and go.
    async fn rest(&self) -> usize {
        let _still = self.going.write().await;
        // The client looks for idle connections as often as they may be idle, and then the server hears of it.
        sleep(IDLE * 3).await;
        self.judge.clear_faults();
        self.layer.handle().sweep();
        live_bytes()
    }

    /// `(waiting, in flight)`, overall.
    fn gauge(&self) -> (usize, usize) {
        let snapshot = self.layer.handle().snapshot();
        let overall = snapshot.bucket(Endpoints::OVERALL).unwrap();
        (overall.waiting(), overall.in_flight())
    }
}

/// Whether all of the answer was read.
async fn visit(
    service: Throttle<Http>,
    request: Request<Full<Bytes>>,
    frames: usize,
) -> Result<bool, BoxError> {
    let response = service.oneshot(request).await?;
    let is_whole = response.status().is_success();
    let mut body = response.into_body();
    let mut length = 0;
    for _ in 0..frames {
        let Some(frame) = timeout(PATIENCE, body.frame()).await? else {
            assert!(
                length == ANSWER || !is_whole,
                "{length} bytes are no answer"
            );
            return Ok(true);
        };
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_grows_and_nothing_leaks_however_long_it_goes_on() {
    let seconds = setting("TOWER_THROTTLE_SOAK_SECONDS").unwrap_or(2);
    let callers = setting("TOWER_THROTTLE_SOAK_CALLERS").unwrap_or(20);
    let at_first = live_bytes();
    let listener = mock::bind().unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let soak = Arc::new(Soak::new(callers, address));
    let server = soak.serve();
    let saboteur = tokio::spawn(Arc::clone(&soak).sabotage(server));
    let mut tasks = Vec::new();
    for number in 0..callers {
        for template in [STEADY, ROUGH, SLOW, KEYS] {
            tasks.push(tokio::spawn(Arc::clone(&soak).call(template, number)));
        }
    }

    let start = Instant::now();
    let mut samples = Vec::with_capacity(seconds);
    let mut rests = Vec::new();
    let mut each_second = interval(SECOND);
    for second in 0..seconds {
        each_second.tick().await;
        samples.push(live_bytes());
        if second % 30 == 29 {
            let (waiting, in_flight) = soak.gauge();
            println!(
                "{:>5} s: {:>12} bytes live, {waiting:>6} wait, {in_flight:>6} in flight; {} answered, {} \
                 failed, {} given up",
                start.elapsed().as_secs(),
                live_bytes(),
                soak.answered.load(Ordering::Relaxed),
                soak.failed.load(Ordering::Relaxed),
                soak.given_up.load(Ordering::Relaxed),
            );
        }
        if seconds >= 150 && (second + 1) % (seconds / 5) == 0 {
            let bytes = soak.rest().await;
            println!("at rest: {bytes:>12} bytes live");
            rests.push(bytes);
            each_second.reset();
        }
    }
    soak.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        let ended = timeout(8 * PATIENCE, task).await;
        ended.expect("somebody waits for ever").unwrap();
    }
    saboteur.await.unwrap();

    let report = soak.judge.report();
    println!("{report}");
    let handle = soak.layer.handle();
    check_idle(&handle, &soak.judge).await;
    for (template, rate, concurrency) in [
        (STEADY, true, true),
        (ROUGH, true, false),
        (SLOW, true, true),
    ] {
        let endpoint = report.endpoint(template);
        assert!(!rate || endpoint.refused_by_rate == 0, "{template}");
        assert!(
            !concurrency || endpoint.refused_by_concurrency == 0,
            "{template}"
        );
        assert_eq!(endpoint.early, 0, "{template}");
        assert!(endpoint.accepted > 0, "{template} was never asked");
    }
    let answered = soak.answered.load(Ordering::Relaxed);
    assert!(answered >= callers, "only {answered} were answered");
    drop(soak);

    if let [early, .., late] = rests[..] {
        // After a fifth of the time, of ten minutes after two, until when everything may grow.
        let mean = |part: &[usize]| part.iter().sum::<usize>() / part.len();
        let fifth = seconds / 5;
        let (first, last) = (&samples[fifth / 2..fifth], &samples[seconds - fifth / 2..]);
        println!(
            "live bytes: {early} at rest after a fifth of the time, {late} at the end; with traffic {} and {} on \
             average",
            mean(first),
            mean(last)
        );
        assert!(
            late.abs_diff(early) <= early / 20,
            "{early} bytes became {late}"
        );
    }
    println!(
        "live bytes: {at_first} before, {} after all is over",
        live_bytes()
    );
}

/// L5: when everybody has gone, nobody waits, nothing is in flight, and all keys can be forgotten.
async fn check_idle(handle: &Handle, judge: &Judge) {
    for bucket in handle.snapshot().buckets() {
        let gauge = (bucket.waiting(), bucket.in_flight());
        assert_eq!(gauge, (0, 0), "{bucket:?}");
    }
    // The windows of the keys have to end, and the server has to notice that it was left.
    sleep(SECOND + MARGIN).await;
    handle.sweep();
    let names: Vec<_> = handle
        .snapshot()
        .buckets()
        .map(|bucket| bucket.name().to_owned())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for endpoint in judge.report().endpoints() {
        assert_eq!(endpoint.in_flight, 0, "{endpoint:?}");
    }
}

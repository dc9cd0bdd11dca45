//! What a call costs that does not wait: ours beside the peers, in one process and in turns, row by row
//! as the project's targets are written.
//!
//! Only ratios are worth comparing. A row that misses its target says so; it is not an error.

use std::{
    env,
    process::{Command, exit},
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use metrics::{Key, KeyName, Metadata, SharedString, Unit};
use peers::{
    Bare, Body, Contestant, Governed, PATH, by_path, call, call_leaky, endpoints, interleaved,
    leaky_bucket, plenty, request, tower_stack,
};
use throttle_net::{SlidingWindowLog, Throttle, tower::ThrottleLayer as NetLayer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};
use tower_throttle::{
    BoxError, ConcurrencyLayer, Endpoints, Event, Metrics, Observer, Quota, RpsLayer,
    ThrottleLayer, Tracing,
};
use tracing_subscriber::{Layer as _, filter::LevelFilter, layer::SubscriberExt as _};

/// Calls between two looks at the clock. Short turns, so that a disturbance hits few of them.
const CALLS: usize = 500;
const ROUNDS: usize = 1501;
const THREADED_CALLS: usize = 20_000;
const THREADED_ROUNDS: usize = 15;

const PATHS: [&str; 4] = [
    PATH,
    "http://api.example.com/v1/speech-to-speech/21m00Tcm4TlvDq8ikWAM",
    "http://api.example.com/v1/sound-generation",
    "http://api.example.com/v1/voices/21m00Tcm4TlvDq8ikWAM",
];

fn main() {
    // As the test runner calls benches: this is nothing to be tested.
    if env::args().any(|arg| arg == "--test") {
        return;
    }
    if cfg!(feature = "virtual-time") {
        exit(without_virtual_time());
    }
    println!("Costs of a call over the bare service, as multiples of a peer's. Less is better.\n");
    rate();
    concurrency();
    both();
    retry();
    threads();
    route_tables();
    million_keys();
    observers();
    let memory = Command::new(env!("CARGO_BIN_EXE_memory")).status();
    if !memory.is_ok_and(|status| status.success()) {
        println!("what is allocated could not be measured");
    }
}

/// Runs this bench again, built without the pausable clock that `compliance` needs: every look at that
/// costs more.
fn without_virtual_time() -> i32 {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let bench = "bench --locked --quiet -p peers --no-default-features --bench overhead";
    match Command::new(cargo).args(bench.split(' ')).status() {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("cargo cannot be run: {error}");
            1
        }
    }
}

/// Calls in one go.
fn calls<S: Service<http::Request<Body>>>(service: &mut S) {
    let request = request(PATH);
    for _ in 0..CALLS {
        call(service, request.clone());
    }
}

/// The costs over the first contestant, which is the bare service.
struct Costs(Vec<(String, f64)>);

impl Costs {
    fn of(mut contestants: Vec<Contestant<'_>>) -> Self {
        let times = interleaved(ROUNDS, &mut contestants);
        let over = |time: &Duration| time.as_secs_f64() - times[0].as_secs_f64();
        let names = contestants.iter().map(|(name, _)| (*name).to_owned());
        Self(names.zip(times.iter().map(over)).collect())
    }

    fn cost(&self, name: &str) -> f64 {
        let (_, cost) = self.0.iter().find(|(of, _)| of == name).expect("its name");
        *cost
    }

    /// One line for each peer, and whether the target in multiples of one of them is met.
    fn print(&self, ours: &str, target: Option<(&str, f64)>) {
        println!("{ours}");
        for (peer, cost) in &self.0[1..] {
            if peer != ours {
                let ratio = self.cost(ours) / cost;
                let verdict = match target {
                    Some((of, target)) if of == peer => verdict(ratio, target),
                    _ => String::new(),
                };
                println!("  {ratio:6.2} times {peer:48} {verdict}");
            }
        }
        println!();
    }
}

fn verdict(ratio: f64, target: f64) -> String {
    let met = if ratio <= target { "met" } else { "NOT MET" };
    format!("target {target}: {met}")
}

const GOVERNOR: &str = "governor, keyed by path";
const TOWER: &str = "tower concurrency limit";

fn rate() {
    let mut bare = Bare;
    let mut governor = Governed::new(Bare, plenty());
    let leaky = leaky_bucket();
    let leaky_calls = || {
        let request = request(PATH);
        for _ in 0..CALLS {
            call_leaky(&leaky, &mut Bare, request.clone());
        }
    };
    let limiter = |window| {
        RateLimiterLayer::builder()
            .limit_for_period(1_000_000)
            .refresh_period(Duration::from_millis(100))
            .window_type(window)
            .build()
            .expect("a valid configuration")
            .layer(Bare)
    };
    let mut fixed = limiter(WindowType::Fixed);
    let mut sliding = limiter(WindowType::SlidingLog);
    let bucket = Throttle::per_duration(1_000_000, Duration::from_millis(100));
    let mut bucket = NetLayer::new(bucket).layer(Bare);
    let log = SlidingWindowLog::new(1_000, Duration::from_micros(50));
    let mut log = NetLayer::new(log).layer(Bare);
    let mut ours = RpsLayer::new(endpoints()).layer(Bare);
    Costs::of(vec![
        ("bare", Box::new(|| calls(&mut bare))),
        (GOVERNOR, Box::new(|| calls(&mut governor))),
        ("leaky-bucket, no key", Box::new(leaky_calls)),
        (
            "tower-resilience, fixed window, no key",
            Box::new(|| calls(&mut fixed)),
        ),
        (
            "tower-resilience, sliding log, no key",
            Box::new(|| calls(&mut sliding)),
        ),
        (
            "throttle-net, token bucket, no key",
            Box::new(|| calls(&mut bucket)),
        ),
        (
            "throttle-net, sliding log, no key",
            Box::new(|| calls(&mut log)),
        ),
        ("RpsLayer", Box::new(|| calls(&mut ours))),
    ])
    .print("RpsLayer", Some((GOVERNOR, 1.1)));
}

fn concurrency() {
    let mut bare = Bare;
    let mut tower = tower::limit::ConcurrencyLimitLayer::new(1000).layer(Bare);
    let mut bulkhead = BulkheadLayer::builder()
        .max_concurrent_calls(1000)
        .build()
        .expect("a valid configuration")
        .layer(Bare);
    let mut ours = ConcurrencyLayer::new(endpoints()).layer(Bare);
    Costs::of(vec![
        ("bare", Box::new(|| calls(&mut bare))),
        (TOWER, Box::new(|| calls(&mut tower))),
        (
            "tower-resilience bulkhead",
            Box::new(|| calls(&mut bulkhead)),
        ),
        ("ConcurrencyLayer", Box::new(|| calls(&mut ours))),
    ])
    .print("ConcurrencyLayer", None);
}

fn both() {
    const BOTH: &str = "governor, keyed by path, and tower concurrency limit";
    let mut bare = Bare;
    let mut peers = ServiceBuilder::new()
        .layer(tower::limit::ConcurrencyLimitLayer::new(1000))
        .service(Governed::new(Bare, plenty()));
    let mut ours = ThrottleLayer::new(endpoints()).without_retry().layer(Bare);
    Costs::of(vec![
        ("bare", Box::new(|| calls(&mut bare))),
        (BOTH, Box::new(|| calls(&mut peers))),
        ("ThrottleLayer without retry", Box::new(|| calls(&mut ours))),
    ])
    .print("ThrottleLayer without retry", Some((BOTH, 1.0)));
}

/// tower's stack needs a worker, so that all of these are awaited on a runtime.
fn retry() {
    const STACK: &str = "tower: retry > buffer > concurrency > rate";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let tower = runtime.block_on(async { tower_stack(Bare) });
    let ours = ThrottleLayer::new(endpoints()).layer(Bare);
    let costs = Costs::of(vec![
        ("bare", Box::new(|| runtime.block_on(awaited_calls(Bare)))),
        (
            STACK,
            Box::new(|| runtime.block_on(awaited_calls(tower.clone()))),
        ),
        (
            "ThrottleLayer",
            Box::new(|| runtime.block_on(awaited_calls(ours.clone()))),
        ),
    ]);
    costs.print("ThrottleLayer", Some((STACK, 0.25)));
}

async fn awaited_calls<S>(mut service: S)
where
    S: Service<http::Request<Body>>,
    S::Error: std::fmt::Debug,
{
    let request = request(PATH);
    for _ in 0..CALLS {
        let ready = service.ready().await.expect("it gets ready");
        ready.call(request.clone()).await.expect("it answers");
    }
}

/// Threads that do nothing but call.
fn threads() {
    println!("The same with several threads, which do nothing but call");
    println!(
        "  {:46} {:>10} {:>10} {:>10}",
        "", "1 thread", "2 threads", "4 threads"
    );
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for threads in [1, 2, 4] {
        for (keys, paths) in [("one key", [PATH; 4]), ("a key for each", PATHS)] {
            let bare = tower::util::MapErr::new(Bare, BoxError::from);
            let governor = tower::util::MapErr::new(Governed::new(Bare, plenty()), BoxError::from);
            let both = ServiceBuilder::new()
                .layer(tower::limit::ConcurrencyLimitLayer::new(1000))
                .service(governor.clone());
            let rps = RpsLayer::new(endpoints()).layer(Bare);
            let throttle = ThrottleLayer::new(endpoints()).without_retry().layer(Bare);
            let mut contestants: Vec<Contestant<'_>> = vec![
                ("bare", Box::new(|| on_threads(&bare, &paths[..threads]))),
                (
                    "governor",
                    Box::new(|| on_threads(&governor, &paths[..threads])),
                ),
                ("both", Box::new(|| on_threads(&both, &paths[..threads]))),
                ("RpsLayer", Box::new(|| on_threads(&rps, &paths[..threads]))),
                (
                    "Throttle",
                    Box::new(|| on_threads(&throttle, &paths[..threads])),
                ),
            ];
            let times = interleaved(THREADED_ROUNDS, &mut contestants);
            let over = |at: usize| times[at].as_secs_f64() - times[0].as_secs_f64();
            for (name, ratio) in [
                ("RpsLayer to governor", over(3) / over(1)),
                ("ThrottleLayer without retry to both", over(4) / over(2)),
            ] {
                let name = format!("{name}, {keys}");
                let cell = format!("{ratio:.2}");
                match rows.iter_mut().find(|(row, _)| *row == name) {
                    Some((_, cells)) => cells.push(cell),
                    None => rows.push((name, vec![cell])),
                }
            }
        }
    }
    rows.sort();
    for (name, cells) in rows {
        println!(
            "  {name:46} {:>10} {:>10} {:>10}",
            cells[0], cells[1], cells[2]
        );
    }
    println!();
}

/// All threads make their calls at the same time, each to its path.
fn on_threads<S>(service: &S, paths: &[&'static str])
where
    S: Service<http::Request<Body>, Error = BoxError> + Clone + Send,
{
    let barrier = Barrier::new(paths.len());
    thread::scope(|scope| {
        for path in paths {
            let (barrier, mut service) = (&barrier, service.clone());
            scope.spawn(move || {
                let request = request(path);
                barrier.wait();
                for _ in 0..THREADED_CALLS {
                    call(&mut service, request.clone());
                }
            });
        }
    });
}

fn route_tables() {
    let quota = || Quota::per(1000, Duration::from_micros(50));
    let table = |templates: usize| {
        let others = (1..templates).fold(Endpoints::new(), |endpoints, index| {
            endpoints.route(&format!("POST /v1/resource-{index}/{{id}}"), quota())
        });
        let endpoints = others.route("POST /v1/text-to-speech/{voice_id}", quota());
        RpsLayer::new(endpoints).layer(Bare)
    };
    let mut bare = Bare;
    let mut governor = Governed::new(Bare, plenty());
    let (mut one, mut ten, mut thousand) = (table(1), table(10), table(1000));
    let mut by_path = RpsLayer::new(by_path()).layer(Bare);
    let costs = Costs::of(vec![
        ("bare", Box::new(|| calls(&mut bare))),
        (GOVERNOR, Box::new(|| calls(&mut governor))),
        ("1 template", Box::new(|| calls(&mut one))),
        ("10 templates", Box::new(|| calls(&mut ten))),
        ("1 000 templates", Box::new(|| calls(&mut thousand))),
        ("each path by itself", Box::new(|| calls(&mut by_path))),
    ]);
    println!("RpsLayer to {GOVERNOR}, by the size of the route table");
    for (name, cost) in &costs.0[2..] {
        println!("  {:6.2} times with {name}", cost / costs.cost(GOVERNOR));
    }
    println!();
}

/// What it costs to be told. Last, as it sets what the whole process logs and counts to.
fn observers() {
    struct Nothing;
    impl Observer for Nothing {
        fn on_event(&self, _: &Event<'_>) {}
    }
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::sink)
        .with_filter(LevelFilter::INFO);
    let log = tracing_subscriber::registry().with(log);
    tracing::subscriber::set_global_default(log).expect("the first");
    metrics::set_global_recorder(Bins).expect("the first");

    let layer = || ThrottleLayer::new(endpoints()).without_retry();
    let mut bare = Bare;
    let mut off = layer().layer(Bare);
    let mut told = layer().observe(Nothing).layer(Bare);
    let mut logged = layer().observe(Tracing::new("bench")).layer(Bare);
    let mut counted = layer().observe(Metrics::new("bench")).layer(Bare);
    let both = (Tracing::new("bench"), Metrics::new("bench"));
    let mut both = layer().observe(both).layer(Bare);
    let mut waited = layer().report_waited().layer(Bare);
    let costs = Costs::of(vec![
        ("bare", Box::new(|| calls(&mut bare))),
        ("no observer", Box::new(|| calls(&mut off))),
        (
            "an observer that does nothing",
            Box::new(|| calls(&mut told)),
        ),
        ("Tracing, at info", Box::new(|| calls(&mut logged))),
        ("Metrics, as atomics", Box::new(|| calls(&mut counted))),
        ("Tracing and Metrics", Box::new(|| calls(&mut both))),
        ("report_waited", Box::new(|| calls(&mut waited))),
    ]);
    println!("ThrottleLayer without retry to itself without an observer");
    for (name, cost) in &costs.0[2..] {
        let off = costs.cost("no observer");
        let more = (cost - off) / CALLS as f64 * 1e9;
        println!("  {:6.2} times with {name} ({more:.0} ns more)", cost / off);
    }
    println!();
}

/// Counts as an exporter does: counters are atomics, and a histogram is one for each bucket.
struct Bins;

struct Histogram {
    bins: [AtomicU64; Metrics::DURATION_BUCKETS.len() + 1],
}

impl metrics::HistogramFn for Histogram {
    fn record(&self, value: f64) {
        let bin = Metrics::DURATION_BUCKETS.partition_point(|bound| *bound < value);
        self.bins[bin].fetch_add(1, Ordering::Relaxed);
    }
}

impl metrics::Recorder for Bins {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(Arc::new(Histogram {
            bins: std::array::from_fn(|_| AtomicU64::new(0)),
        }))
    }
}

fn million_keys() {
    let ours = || {
        let endpoints = Endpoints::new().each_other_path(Quota::per_minute(1_000_000));
        RpsLayer::new(endpoints).layer(Bare)
    };
    let ours = among_a_million(ours(), ours());
    let governor = among_a_million(Governed::new(Bare, plenty()), Governed::new(Bare, plenty()));
    println!("A look-up among a million keys, over one among ten");
    println!("  {ours:6.0} ns more {:43} {}", "", verdict(ours, 500.0));
    println!("  {governor:6.0} ns more with governor\n");
}

/// How many nanoseconds more a call takes among a million keys (of `many`) than among ten.
fn among_a_million<S: Service<http::Request<Body>>>(mut few: S, mut many: S) -> f64 {
    const MANY: usize = 1_000_000;
    const FEW: usize = 10;
    const BATCH: usize = 100;
    const BATCHES: usize = 2000;
    let path = |index| format!("http://api.example.com/v1/items/{index:07}");
    for index in 0..MANY {
        call(&mut many, request(&path(index)));
    }
    // The keys follow each other at a distance, so that no cache knows them yet.
    let mut next = (0..).map(|index: usize| index * 104_729 % MANY);
    let mut time = |service: &mut S, keys: usize| {
        let indices = next.by_ref().take(BATCH).map(|index| index % keys);
        let requests: Vec<_> = indices.map(|index| request(&path(index))).collect();
        let start = tokio::time::Instant::now();
        for request in requests {
            call(service, request);
        }
        start.elapsed().as_secs_f64() / BATCH as f64
    };
    let (mut among_few, mut among_many) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        among_few.push(time(&mut few, FEW));
        among_many.push(time(&mut many, MANY));
    }
    // As everywhere here, when it is left in peace.
    let undisturbed = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[BATCHES / 10]
    };
    (undisturbed(among_many) - undisturbed(among_few)) * 1e9
}

//! What a call costs that does not wait: ours beside the peers, in one process and in turns, row by row
//! as the project's targets are written.
//!
//! Only ratios are worth comparing. A row that misses its target says so; it is not an error.

use std::{
    env,
    process::{Command, exit},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Key, KeyName, Metadata, SharedString, Unit};
use peers::{
    Bare, Body, Contestant, Governed, PATH,
    answers::Answering,
    by_path, call, call_leaky, endpoints, interleaved, leaky_bucket, plenty, request, routes,
    side_by_side::{called, side_by_side},
    tower_stack,
};
use throttle_net::{SlidingWindowLog, Throttle, tower::ThrottleLayer as NetLayer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};
use tower_throttle::{
    ConcurrencyLayer, Endpoints, Event, Metrics, Observer, Quota, RpsLayer, ThrottleLayer, Tracing,
};
use tracing_subscriber::{Layer as _, filter::LevelFilter, layer::SubscriberExt as _};

/// Calls between two looks at the clock. Short turns, so that a disturbance hits few of them.
const CALLS: usize = 500;
const ROUNDS: usize = 1501;
const THREADED_ROUNDS: usize = 301;

const PATHS: [&str; 2] = [
    PATH,
    "http://api.example.com/v1/speech-to-speech/21m00Tcm4TlvDq8ikWAM",
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
    headers();
    kinds_of_routes();
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
    .print("RpsLayer", Some((GOVERNOR, 2.1)));
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
    .print("ThrottleLayer without retry", Some((BOTH, 1.2)));
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
    costs.print("ThrottleLayer", Some((STACK, 0.33)));
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
    let both = ServiceBuilder::new()
        .layer(tower::limit::ConcurrencyLimitLayer::new(1000))
        .service(Governed::new(Bare, plenty()));
    let bucket = Throttle::per_duration(1_000_000, Duration::from_millis(100));
    let throttle = ThrottleLayer::new(endpoints()).without_retry();
    let services = [
        called("bare", Bare),
        called("governor", Governed::new(Bare, plenty())),
        called("governor and tower", both),
        called(
            "throttle-net, token bucket",
            NetLayer::new(bucket).layer(Bare),
        ),
        called("RpsLayer", RpsLayer::new(endpoints()).layer(Bare)),
        called("ThrottleLayer without retry", throttle.layer(Bare)),
    ];
    println!("With threads that do nothing but call, in rounds in which all ran side by side:");
    println!("to governor on as many threads, and two threads to one");
    println!(
        "  {:28} {:>8} {:>10} {:>10} {:>10} {:>10}",
        "", "1 thread", "2, one key", "own keys", "one key", "own keys"
    );
    let costs = |paths: &[&'static str]| {
        let times = side_by_side(THREADED_ROUNDS, &services, paths);
        let over = |time: Option<Duration>| Some(time?.as_secs_f64() - times[0]?.as_secs_f64());
        times.iter().map(|&time| over(time)).collect::<Vec<_>>()
    };
    let [alone, one_key, own_keys] = [&PATHS[..1], &[PATH; 2], &PATHS[..2]].map(costs);
    for (at, (name, _)) in services.iter().enumerate().skip(1) {
        let cells = [
            ratio(alone[at], alone[1]),
            ratio(one_key[at], one_key[1]),
            ratio(own_keys[at], own_keys[1]),
            ratio(one_key[at], alone[at]),
            ratio(own_keys[at], alone[at]),
        ];
        let [a, b, c, d, e] = cells;
        println!("  {name:28} {a:>8} {b:>10} {c:>10} {d:>10} {e:>10}");
        if let (true, Some(alone), Some(own)) = (*name == "RpsLayer", alone[at], own_keys[at]) {
            println!("  {:75} {}", "", verdict(own / alone, 1.2));
        }
    }
    println!();
}

fn ratio(cost: Option<f64>, to: Option<f64>) -> String {
    match (cost, to) {
        (Some(cost), Some(to)) => format!("{:.2}", cost / to),
        _ => "?".to_owned(),
    }
}

/// Answers with headers: each over the service that answers so.
fn headers() {
    let answers = [
        ("no header", Answering::with(0)),
        ("5 headers", Answering::with(5)),
        ("12 headers", Answering::with(12)),
        (
            "12 headers, and 6 that say what is left",
            Answering::with_quota(),
        ),
    ];
    let rps = RpsLayer::new(endpoints());
    let mut governor = Governed::new(Answering::with(0), plenty());
    let mut contestants: Vec<Contestant<'_>> = vec![(GOVERNOR, Box::new(|| calls(&mut governor)))];
    for (name, answering) in &answers {
        let (mut bare, mut ours) = (answering.clone(), rps.layer(answering.clone()));
        contestants.push((name, Box::new(move || calls(&mut bare))));
        contestants.push((name, Box::new(move || calls(&mut ours))));
    }
    let times = interleaved(ROUNDS, &mut contestants);
    let over = |at: usize, bare: usize| times[at].as_secs_f64() - times[bare].as_secs_f64();
    println!("RpsLayer to {GOVERNOR}, by the headers of the answer");
    for (at, (name, _)) in answers.iter().enumerate() {
        let bare = 1 + 2 * at;
        println!(
            "  {:6.2} times with {name}",
            over(bare + 1, bare) / over(0, 1)
        );
    }
    let more = (over(6, 5) - over(2, 1)) / over(0, 1);
    println!(
        "  {more:6.2} more with 12 {:43} {}\n",
        "",
        verdict(more, 0.3)
    );
}

/// What a request belongs to.
fn kinds_of_routes() {
    let kinds = [
        ("a template", endpoints(), None),
        ("a template with a host", routes::of_a_host(), None),
        ("no template that matches", routes::unmatched(), None),
        ("each path by itself", by_path(), Some(3.5)),
        (
            "a bucket for each value of a header",
            routes::partitioned(),
            Some(3.2),
        ),
        ("overall on top", routes::overall(), Some(2.6)),
        ("a group, and overall", routes::group_and_overall(), None),
    ];
    let mut bare = Bare;
    let mut governor = Governed::new(Bare, plenty());
    let mut contestants: Vec<Contestant<'_>> = vec![
        ("bare", Box::new(|| calls(&mut bare))),
        (GOVERNOR, Box::new(|| calls(&mut governor))),
    ];
    for (name, endpoints, _) in &kinds {
        let mut ours = RpsLayer::new(endpoints.clone()).layer(Bare);
        contestants.push((name, Box::new(move || calls(&mut ours))));
    }
    let costs = Costs::of(contestants);
    println!("RpsLayer to {GOVERNOR}, by what a request belongs to");
    for (name, _, target) in &kinds {
        let ratio = costs.cost(name) / costs.cost(GOVERNOR);
        let verdict = target
            .map(|target| verdict(ratio, target))
            .unwrap_or_default();
        println!("  {ratio:6.2} times with {name:43} {verdict}");
    }
    println!();
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
    let costs = Costs::of(vec![
        ("bare", Box::new(|| calls(&mut bare))),
        (GOVERNOR, Box::new(|| calls(&mut governor))),
        ("1 template", Box::new(|| calls(&mut one))),
        ("10 templates", Box::new(|| calls(&mut ten))),
        ("1 000 templates", Box::new(|| calls(&mut thousand))),
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

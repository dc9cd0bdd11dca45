//! The layers against an oracle: a few lines of list scheduling that compute, from the same draws, when
//! each request can start at the earliest without being refused. Not a millisecond may lie between.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_throttle::{
    BoxError, ConcurrencyLayer, Endpoints, Quota, RpsLayer, ThrottleLayer,
    mock::{Judge, Limit, Work},
};

const SEEDS: u64 = 100;
const SECOND: Duration = Duration::from_secs(1);
const TEMPLATE: &str = "POST /v1/text-to-speech/{voice_id}";

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Requests that are all there from the start, and the API that they are for.
struct Scenario {
    requests: usize,
    per_second: u32,
    at_once: usize,
    work: Work,
}

fn tts() -> Scenario {
    Scenario {
        requests: 200,
        per_second: 5,
        at_once: 4,
        work: Work::uniform(ms(200)..ms(400)),
    }
}

/// Sometimes the window is what a request waits for, sometimes the concurrency.
fn both_binding() -> Scenario {
    Scenario {
        work: Work::uniform(ms(500)..ms(1_000)),
        ..tts()
    }
}

fn clone_voice() -> Scenario {
    Scenario {
        requests: 20,
        per_second: 1,
        at_once: 1,
        work: Work::uniform(ms(800)..ms(10_200)),
    }
}

/// When each request starts, and when the last one is done.
#[derive(Debug, PartialEq, Eq)]
struct Schedule {
    starts: Vec<Duration>,
    makespan: Duration,
}

/// In order, each as early as the window and the slots allow.
fn oracle(
    scenario: &Scenario,
    period: Duration,
    times: impl IntoIterator<Item = Duration>,
) -> Schedule {
    let n = scenario.per_second as usize;
    let mut starts: Vec<Duration> = Vec::new();
    let mut slots: BinaryHeap<_> = vec![Reverse(Duration::ZERO); scenario.at_once].into();
    for (i, time) in times.into_iter().take(scenario.requests).enumerate() {
        let previous = starts.last().copied().unwrap_or_default();
        let window = i
            .checked_sub(n)
            .map_or(Duration::ZERO, |i| starts[i] + period);
        let Reverse(slot) = slots.pop().expect("there is a slot at least");
        let start = previous.max(window).max(slot);
        starts.push(start);
        slots.push(Reverse(start + time));
    }
    let ends = slots.into_iter().map(|Reverse(end)| end);
    let makespan = ends.max().expect("there is a slot at least");
    Schedule { starts, makespan }
}

impl Scenario {
    fn quota(&self) -> Quota {
        Quota::per_second(self.per_second).concurrency(self.at_once)
    }

    fn limit(&self) -> Limit {
        Limit::rps(self.per_second as usize).concurrency(self.at_once)
    }

    /// Sends all requests through a stack over a judge with this seed, and reads the answers.
    async fn run<L, S, B>(&self, seed: u64, stack: L) -> Schedule
    where
        L: Layer<Judge, Service = S>,
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError> + Clone,
        B: http_body::Body<Error: std::fmt::Debug>,
    {
        let judge = Judge::builder()
            .route(TEMPLATE, self.limit(), self.work.clone())
            .seed(seed)
            .build();
        let ends = send_all(self.requests, stack.layer(judge.clone())).await;
        let report = judge.report();
        report.assert_compliant();
        let records = report.endpoint(TEMPLATE).records.iter();
        Schedule {
            starts: records.map(|record| record.at).collect(),
            makespan: ends.into_iter().max().unwrap_or_default(),
        }
    }
}

/// Sends so many requests at once, and reads the answers. When each of them was done.
async fn send_all<S, B>(requests: usize, client: S) -> Vec<Duration>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError> + Clone,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let start = Instant::now();
    let ends = join_all((0..requests).map(async |_| {
        let request = Request::post("/v1/text-to-speech/voice").body(Full::default());
        let answer = client.clone().oneshot(request.unwrap()).await.unwrap();
        answer.into_body().collect().await.unwrap();
        start.elapsed()
    }));
    ends.await
}

/// Both stacks, over all seeds.
async fn nobody_could_be_faster(scenario: Scenario) {
    let endpoints = Endpoints::new().route(TEMPLATE, scenario.quota());
    for seed in 0..SEEDS {
        let best = oracle(&scenario, SECOND, scenario.work.draws(seed, TEMPLATE));
        let throttle = ThrottleLayer::new(endpoints.clone());
        assert_eq!(scenario.run(seed, throttle).await, best, "seed {seed}");
        let by_hand = ServiceBuilder::new()
            .layer(ConcurrencyLayer::new(endpoints.clone()))
            .layer(RpsLayer::new(endpoints.clone()));
        assert_eq!(scenario.run(seed, by_hand).await, best, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn tts_is_as_fast_as_it_can_be() {
    nobody_could_be_faster(tts()).await;
}

#[tokio::test(start_paused = true)]
async fn where_both_limits_bind_it_is_as_fast_as_it_can_be() {
    nobody_could_be_faster(both_binding()).await;
}

#[tokio::test(start_paused = true)]
async fn cloning_is_as_fast_as_it_can_be() {
    nobody_could_be_faster(clone_voice()).await;
}

#[test]
fn the_oracle_knows_what_can_be_counted_on_fingers() {
    let scenario = Scenario {
        requests: 10,
        per_second: 5,
        at_once: 3,
        work: Work::fixed(ms(12_000)),
    };
    let schedule = oracle(&scenario, SECOND, scenario.work.draws(0, TEMPLATE));
    assert_eq!(schedule.makespan, ms(48_000));
    assert_eq!(schedule.starts[..4], [ms(0), ms(0), ms(0), ms(12_000)]);
    assert_eq!(schedule.starts[9], ms(36_000));
}

/// The jitter of a way that takes between nothing and 100 ms, and the margin that it needs.
const JITTER: Duration = ms(100);

/// Sends all requests over that way, with that margin; none must be refused. When each was dispatched,
/// and for how long it was in flight.
async fn over_a_shaky_way(
    seed: u64,
    requests: usize,
    quota: &Quota,
    limit: &Limit,
) -> (Vec<Duration>, Vec<Duration>) {
    let judge = Judge::builder()
        .route(TEMPLATE, limit.clone(), tts().work)
        .jitter(Duration::ZERO..JITTER)
        .seed(seed)
        .build();
    let start = Instant::now();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let dispatched = Arc::clone(&starts);
    let endpoints = Endpoints::new().route(TEMPLATE, quota.clone().margin(JITTER));
    let client = ServiceBuilder::new()
        .layer(ThrottleLayer::new(endpoints))
        .map_request(move |request| {
            dispatched.lock().unwrap().push(start.elapsed());
            request
        })
        .service(judge.clone());
    let ends = send_all(requests, client).await;
    judge.report().assert_compliant();
    assert_eq!(judge.report().accepted(), requests);
    let starts = std::mem::take(&mut *starts.lock().unwrap());
    // The i-th dispatch is that of the i-th request, since nobody is overtaken.
    let ends = ends.iter().zip(&starts);
    let in_flight = ends
        .map(|(end, start)| end.saturating_sub(*start))
        .collect();
    (starts, in_flight)
}

/// `(N - n) / n` windows, each of the period and the margin, rounded up to whole windows.
fn ideal_last_dispatch(scenario: &Scenario) -> Duration {
    let n = scenario.per_second as usize;
    let windows = (scenario.requests - n).div_ceil(n);
    (SECOND + JITTER) * u32::try_from(windows).unwrap()
}

#[tokio::test(start_paused = true)]
async fn with_a_margin_of_the_jitter_nothing_is_refused_and_it_costs_no_more_than_itself() {
    let scenario = tts();
    let n = scenario.per_second;
    let (quota, limit) = (Quota::per_second(n), Limit::rps(n as usize));
    for seed in 0..SEEDS {
        let (starts, _) = over_a_shaky_way(seed, scenario.requests, &quota, &limit).await;
        assert_eq!(
            starts.last(),
            Some(&ideal_last_dispatch(&scenario)),
            "seed {seed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_margin_and_a_concurrency_limit_nobody_could_be_faster() {
    let scenario = tts();
    let (quota, limit) = (scenario.quota(), scenario.limit());
    let ideal = ideal_last_dispatch(&scenario);
    let mut lasts = Vec::new();
    for seed in 0..SEEDS {
        let (starts, in_flight) = over_a_shaky_way(seed, scenario.requests, &quota, &limit).await;
        let best = oracle(&scenario, SECOND + JITTER, in_flight);
        assert_eq!(starts, best.starts, "seed {seed}");
        lasts.push(*starts.last().unwrap());
    }
    // The fifth of a burst waits for the first of four to end, which no margin can change: up to 0.5 s
    // once, and so a little more than a hundredth where the draws are against it.
    lasts.sort();
    assert!(lasts[lasts.len() / 2] < ideal.mul_f64(1.01));
    assert!(lasts[lasts.len() - 1] < ideal + ms(500));
}

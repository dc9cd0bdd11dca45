//! What a client does whose limits are not those of the server: the figures, over twenty seeds each.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt};
use tower_throttle::{
    Endpoints, Handle, Quota, ThrottleLayer,
    mock::{EndpointReport, Judge, JudgeBuilder, Limit, RefusedBy, Work},
};

const PATH: &str = "/work";
const SEEDS: Range<u64> = 0..20;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What one run came to.
#[derive(Debug)]
struct Run {
    took: Duration,
    succeeded: usize,
    score: EndpointReport,
}

impl Run {
    fn refused(&self) -> usize {
        self.score.refused_by_rate + self.score.refused_by_concurrency
    }
}

/// Sends `requests` at once through a `ThrottleLayer`, on a fresh paused clock.
fn run(judge: JudgeBuilder, quota: Option<Quota>, requests: usize, seed: u64) -> Run {
    run_with(judge, quota, requests, seed, |_, _, _| {})
}

/// The same, with a look at each completion: how many there were, the judge, the layer.
fn run_with(
    judge: JudgeBuilder,
    quota: Option<Quota>,
    requests: usize,
    seed: u64,
    mut completed: impl FnMut(usize, &Judge, &Handle),
) -> Run {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let judge = judge.seed(seed).build();
        let endpoints = match quota {
            Some(quota) => Endpoints::new().route(PATH, quota),
            None => Endpoints::new(),
        };
        let layer = ThrottleLayer::new(endpoints);
        let client = layer.layer(judge.clone());
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..requests {
            let client = client.clone();
            tasks.spawn(async move {
                let request = Request::post(PATH).body(Full::<Bytes>::default()).unwrap();
                let response = client.clone().oneshot(request).await.unwrap();
                let status = response.status();
                response.into_body().collect().await.unwrap();
                status
            });
        }
        let mut succeeded = 0;
        let mut count = 0;
        while let Some(status) = tasks.join_next().await {
            count += 1;
            succeeded += usize::from(status.unwrap() == StatusCode::OK);
            completed(count, &judge, &layer.handle());
        }
        Run {
            took: start.elapsed(),
            succeeded,
            score: judge.report().endpoint(PATH).clone(),
        }
    })
}

/// Prints minimum, median and maximum of what all seeds came to.
fn summary(name: &str, runs: &[Run]) {
    let spread = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (
            values[0],
            values[values.len() / 2],
            values[values.len() - 1],
        )
    };
    #[expect(clippy::cast_precision_loss, reason = "thousands at most")]
    let refused = spread(runs.iter().map(|run| run.refused() as f64).collect());
    let took = spread(runs.iter().map(|run| run.took.as_secs_f64()).collect());
    println!("{name}: refused {refused:?}, took {took:.3?} s (minimum, median, maximum)");
}

fn tts(jitter: bool) -> JudgeBuilder {
    let judge = Judge::builder().route(
        PATH,
        Limit::rps(5).concurrency(4),
        Work::uniform(ms(200)..ms(400)),
    );
    if jitter {
        judge.jitter(ms(0)..ms(100))
    } else {
        judge
    }
}

const TTS: Quota = Quota::per_second(5).concurrency(4);

#[test]
fn jitter_that_nobody_configured_is_learned() {
    for (requests, most, longest) in [(200, 5, ms(44_500)), (2000, 10, secs(460))] {
        let runs: Vec<_> = SEEDS
            .map(|seed| run(tts(true), Some(TTS), requests, seed))
            .collect();
        summary(
            &format!("{requests} TTS requests, 0-100 ms jitter, no margin"),
            &runs,
        );
        for run in runs {
            assert_eq!(run.succeeded, requests);
            assert!(run.refused() <= most, "{} refused", run.refused());
            assert!(run.took <= longest, "{:?}", run.took);
        }
    }
}

#[test]
fn jitter_that_is_configured_costs_nothing() {
    let quota = TTS.margin(ms(100));
    let runs: Vec<_> = SEEDS
        .map(|seed| run(tts(true), Some(quota.clone()), 200, seed))
        .collect();
    summary("200 TTS requests, 0-100 ms jitter, margin(100 ms)", &runs);
    for run in runs {
        assert_eq!((run.succeeded, run.refused()), (200, 0));
    }
}

#[test]
fn a_limit_of_half_of_what_was_configured_is_learned() {
    let judge = || Judge::builder().route(PATH, Limit::rps(5), Work::uniform(ms(200)..ms(400)));
    let runs: Vec<_> = SEEDS
        .map(|seed| run(judge(), Some(Quota::per_second(10)), 200, seed))
        .collect();
    summary("configured 10 per second, 5 allowed", &runs);
    for run in runs {
        assert_eq!(run.succeeded, 200);
        assert!(run.refused() <= 30, "{} refused", run.refused());
    }
}

fn storm() -> JudgeBuilder {
    Judge::builder()
        .route(PATH, Limit::rps(20), Work::fixed(ms(20)))
        .refusal_after(ms(20))
}

#[test]
fn a_storm_is_over_after_one_wave_of_refusals() {
    let runs: Vec<_> = SEEDS
        .map(|seed| run(storm().retry_after(secs(1)), None, 200, seed))
        .collect();
    summary("storm, Retry-After: 1", &runs);
    for run in runs {
        assert_eq!(run.succeeded, 200);
        assert!(200 + run.refused() <= 400, "{} sent", 200 + run.refused());
        assert!(run.took <= secs(11), "{:?}", run.took);
        assert_eq!(run.score.early, 0);
    }
}

#[test]
fn a_storm_without_a_hint_is_over_soon_too() {
    let runs: Vec<_> = SEEDS.map(|seed| run(storm(), None, 200, seed)).collect();
    summary("storm, no Retry-After", &runs);
    for run in runs {
        assert_eq!(run.succeeded, 200);
        assert!(200 + run.refused() <= 500, "{} sent", 200 + run.refused());
        assert!(run.took <= secs(15), "{:?}", run.took);
    }
}

fn too_many_at_once(named: bool) -> JudgeBuilder {
    Judge::builder()
        .route(PATH, Limit::concurrent(4), Work::uniform(ms(200)..ms(400)))
        .refusal(move |refusal| {
            let message = match refusal.by() {
                RefusedBy::Concurrency { limit } if named => format!(
                    "Too many concurrent requests. Your current subscription is associated with a \
                     maximum of {limit} concurrent requests (running in parallel)."
                ),
                _ => "Too many concurrent requests.".to_owned(),
            };
            let body = format!(
                r#"{{"detail":{{"type":"rate_limit_error","code":"concurrent_limit_exceeded","message":"{message}","status":"too_many_concurrent_requests"}}}}"#
            );
            Response::builder()
                .status(StatusCode::TOO_MANY_REQUESTS)
                .header(CONTENT_TYPE, "application/json")
                .body(Bytes::from(body))
                .unwrap()
        })
}

#[test]
fn a_concurrency_limit_that_is_named_is_learned_at_once() {
    let judge = || {
        too_many_at_once(true).answer(PATH, |received| {
            let limit = received.concurrency_limit().unwrap();
            Response::builder()
                .header("current-concurrent-requests", received.in_flight())
                .header("maximum-concurrent-requests", limit)
                .body(Bytes::from_static(b"done"))
                .unwrap()
        })
    };
    let mut runs = Vec::new();
    for seed in SEEDS {
        let mut used_later = 0;
        let run = run_with(
            judge(),
            Some(Quota::concurrent(10)),
            200,
            seed,
            |count, judge, handle| {
                if count == 100 {
                    judge.set_limit(PATH, Limit::concurrent(8));
                }
                if count > 120 && count < 180 {
                    let snapshot = handle.snapshot();
                    used_later = used_later.max(snapshot.bucket(PATH).unwrap().in_flight());
                }
            },
        );
        assert_eq!(run.succeeded, 200);
        assert!(run.refused() <= 6, "{} refused", run.refused());
        assert_eq!(used_later, 8);
        runs.push(run);
    }
    summary("concurrency 10 believed, 4 then 8 allowed and named", &runs);
}

#[test]
fn a_concurrency_limit_that_is_named_nowhere_is_learned() {
    let mut runs = Vec::new();
    for seed in SEEDS {
        let informed = run(
            too_many_at_once(false),
            Some(Quota::concurrent(4)),
            200,
            seed,
        );
        let run = run(
            too_many_at_once(false),
            Some(Quota::concurrent(10)),
            200,
            seed,
        );
        assert_eq!(run.succeeded, 200);
        assert!(run.refused() <= 20, "{} refused", run.refused());
        let longest = informed.took.mul_f64(1.15);
        assert!(
            run.took <= longest,
            "{:?} against {:?}",
            run.took,
            informed.took
        );
        runs.push(run);
    }
    summary("concurrency 10 believed, 4 allowed and not named", &runs);
}

#[test]
fn a_steady_limit_is_tried_at_most_once_in_a_hundred() {
    for n in [2, 5, 20, 100] {
        let judge = || Judge::builder().route(PATH, Limit::rps(n), Work::fixed(ms(50)));
        let (total, warm) = (300 * n, 50 * n);
        // Many requests say as much as many runs.
        let seeds = if n < 100 { usize::MAX } else { 5 };
        let runs: Vec<_> = SEEDS
            .take(seeds)
            .map(|seed| {
                let mut at_first = 0;
                let mut run = run_with(judge(), None, total, seed, |count, judge, _| {
                    if count == warm {
                        at_first = judge.report().endpoint(PATH).refused_by_rate;
                    }
                });
                run.score.refused_by_rate -= at_first;
                run
            })
            .collect();
        summary(
            &format!("{n} per second allowed, nothing configured, after 50 s"),
            &runs,
        );
        for run in runs {
            assert_eq!(run.succeeded, total);
            let refused = run.refused();
            assert!(
                refused * 100 <= total - warm,
                "{refused} of {}",
                total - warm
            );
        }
    }
}

#[test]
fn a_limit_that_doubles_is_used_within_sixty_periods() {
    for n in [2, 5, 20, 100] {
        let judge = || Judge::builder().route(PATH, Limit::rps(n), Work::fixed(ms(50)));
        let mut at_double = None;
        let mut doubled = None;
        let total = 250 * n;
        let run = run_with(judge(), None, total, 1, |count, judge, handle| {
            if count == 60 * n {
                judge.set_limit(PATH, Limit::rps(2 * n));
                doubled = Some(Instant::now());
            }
            let snapshot = handle.snapshot();
            let rate = snapshot
                .buckets()
                .find_map(|bucket| bucket.learned()?.rate());
            if let (Some((rate, ..)), Some(doubled), None) = (rate, doubled, at_double) {
                if rate as usize * 20 >= 2 * n * 19 {
                    at_double = Some(doubled.elapsed());
                }
            }
        });
        println!(
            "{n} -> {}: learned after {at_double:?}, {} refused of {total}",
            2 * n,
            run.refused()
        );
        assert_eq!(run.succeeded, total);
        assert!(at_double.unwrap() <= secs(60), "{at_double:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_day_is_not_waited_for() {
    let judge = Judge::builder()
        .route(PATH, Limit::rps(1), Work::none())
        .retry_after(secs(86_400))
        .build();
    let layer = ThrottleLayer::new(Endpoints::new().route(PATH, Quota::unlimited()));
    let client = layer.layer(judge);
    let start = Instant::now();
    let send = async || {
        let request = Request::post(PATH).body(Full::<Bytes>::default()).unwrap();
        client.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(send().await, StatusCode::OK);
    assert_eq!(send().await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(start.elapsed(), Duration::ZERO);

    let paused = layer
        .handle()
        .snapshot()
        .bucket(PATH)
        .unwrap()
        .paused_for()
        .unwrap();
    assert_eq!(paused, secs(86_400));
    layer.handle().resume(PATH).unwrap();
    assert_eq!(
        layer.handle().snapshot().bucket(PATH).unwrap().paused_for(),
        None
    );
}

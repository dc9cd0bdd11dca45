//! Limits in tokens before the judge: what is refused, and how much of what is allowed is used.
//!
//! Four hundred calls at once, of 100 to 900 tokens each, to an API that allows 10 000 in a minute and counts them
//! at arrival or at the answer's end. The client knows what a call costs exactly, or an upper bound, or a figure that
//! is off by up to two times, or nothing at all; each is settled when it has been answered. `TOKENS_SEEDS` says how
//! many seeds there are; with `TOKENS_LINES` each row is printed.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares of small numbers"
)]

mod llm;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt};
use tower_throttle::{
    Cost, Endpoints, Quota, RetryLayer, Settlement, Terms, ThrottleLayer, Unit,
    mock::{Judge, Limit, Verdict, Work},
};

const MINUTE: Duration = Duration::from_secs(60);
const WINDOW: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Estimates {
    Exact,
    UpperBounds,
    /// By up to two times, in both directions.
    Off,
    None,
}

#[derive(Clone, Copy, Debug)]
struct Scenario {
    estimates: Estimates,
    at_end: bool,
    work: Duration,
    calls: usize,
    /// One in so many calls costs 4 000.
    large: Option<usize>,
}

/// What came of one run.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    refused: usize,
    /// After the first window.
    refused_later: usize,
    accepted: usize,
    used: f64,
    over: u64,
}

async fn run(scenario: Scenario, seed: u64) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed);
    let limit = Limit::unlimited();
    let (limit, unit) = if scenario.at_end {
        (
            limit.units_at_end("tokens", WINDOW, MINUTE),
            Unit::TOKENS.at_end(),
        )
    } else {
        (limit.units("tokens", WINDOW, MINUTE), Unit::TOKENS)
    };
    let work = Work::uniform(scenario.work.mul_f64(0.9)..scenario.work.mul_f64(1.1));
    let judge = Judge::builder()
        .route("POST /chat", limit, work)
        .cost_of(|_, body| {
            let text = std::str::from_utf8(body).unwrap();
            vec![("tokens", text.parse().unwrap())]
        })
        .seed(seed)
        .build();
    let quota = Quota::unlimited().units(unit, WINDOW, MINUTE);
    let layer = ThrottleLayer::new(Endpoints::new().route("POST /chat", quota)).retry(
        RetryLayer::new()
            .max_attempts(50)
            .max_total(Duration::from_secs(86_400)),
    );
    let client = ServiceBuilder::new().layer(layer).service(judge.clone());
    let sizes: Vec<(u64, Option<u64>)> = (0..scenario.calls)
        .map(|_| {
            let is_large = scenario
                .large
                .is_some_and(|one_in| random.usize(..one_in) == 0);
            let size = if is_large {
                4_000
            } else {
                random.u64(100..=900)
            };
            let times = |factor: f64| Some(((size as f64 * factor) as u64).clamp(1, WINDOW));
            let estimate = match scenario.estimates {
                Estimates::Exact => Some(size),
                Estimates::UpperBounds => times(1.0 + random.f64()),
                Estimates::Off => times((random.f64() * 2.0 - 1.0).exp2()),
                Estimates::None => None,
            };
            (size, estimate)
        })
        .collect();
    join_all(sizes.into_iter().map(async |(size, estimate)| {
        let mut request = Request::post("/chat")
            .body(Full::<Bytes>::from(size.to_string()))
            .unwrap();
        if let Some(estimate) = estimate {
            let cost = Cost::new().of(unit, estimate);
            request
                .extensions_mut()
                .insert(Terms::new().cost(cost).idempotent());
        } else {
            request.extensions_mut().insert(Terms::new().idempotent());
        }
        let answer = client.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let settlement = answer.extensions().get::<Settlement>().unwrap().clone();
        answer.into_body().collect().await.unwrap();
        settlement.settle(Cost::new().of(unit, size));
    }))
    .await;
    let report = judge.report();
    let endpoint = report.endpoint("POST /chat");
    let refused = |after: Duration| {
        let records = endpoint.records.iter().filter(|record| record.at >= after);
        records
            .filter(|record| record.verdict != Verdict::Accepted)
            .count()
    };
    let of_unit = endpoint.unit("tokens");
    Outcome {
        refused: refused(Duration::ZERO),
        refused_later: refused(MINUTE),
        accepted: endpoint.accepted,
        used: of_unit.used_share(),
        over: if scenario.at_end { of_unit.excess() } else { 0 },
    }
}

fn seeds() -> u64 {
    let seeds = std::env::var("TOKENS_SEEDS").ok();
    seeds.map_or(30, |seeds| seeds.parse().unwrap())
}

/// Refused, refused after the first window, and used: each per call, on average.
fn averages(scenario: Scenario) -> (f64, f64, f64, u64) {
    averages_of(scenario, seeds())
}

fn averages_of(scenario: Scenario, seeds: u64) -> (f64, f64, f64, u64) {
    let outcomes: Vec<_> = (0..seeds)
        .map(|seed| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(run(scenario, seed))
        })
        .collect();
    let calls: usize = outcomes.iter().map(|outcome| outcome.accepted).sum();
    let share =
        |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>() as f64 / calls as f64;
    let used = outcomes.iter().map(|outcome| outcome.used).sum::<f64>() / outcomes.len() as f64;
    let over = outcomes
        .iter()
        .map(|outcome| outcome.over)
        .max()
        .unwrap_or(0);
    let averages = (
        share(|of| of.refused),
        share(|of| of.refused_later),
        used,
        over,
    );
    if std::env::var_os("TOKENS_LINES").is_some() {
        println!(
            "{:<12} {:<10} work {:>3} s{}: {:6.2} % refused, {:6.2} % after the first window, used {:.3}, at most {} over",
            format!("{:?}", scenario.estimates),
            if scenario.at_end {
                "at the end"
            } else {
                "at arrival"
            },
            scenario.work.as_secs(),
            if scenario.large.is_some() {
                ", some of 4 000"
            } else {
                ""
            },
            averages.0 * 100.0,
            averages.1 * 100.0,
            averages.2,
            over,
        );
    }
    averages
}

fn scenario(estimates: Estimates, at_end: bool) -> Scenario {
    Scenario {
        estimates,
        at_end,
        work: Duration::from_secs(2),
        calls: 400,
        large: None,
    }
}

#[test]
fn with_exact_estimates_and_upper_bounds_nothing_is_refused() {
    for at_end in [false, true] {
        let exact = averages(scenario(Estimates::Exact, at_end));
        let bounds = averages(scenario(Estimates::UpperBounds, at_end));
        for (refused, _, _, over) in [exact, bounds] {
            assert_eq!((refused, over), (0.0, 0), "at the end: {at_end}");
        }
        assert!(
            bounds.2 >= 0.93 * exact.2,
            "at the end: {at_end}: {bounds:?} {exact:?}"
        );
    }
}

#[test]
fn with_estimates_that_are_off_few_are_refused_and_most_is_used() {
    for at_end in [false, true] {
        let exact = averages(scenario(Estimates::Exact, at_end));
        for estimates in [Estimates::Off, Estimates::None] {
            let off = averages(scenario(estimates, at_end));
            assert!(
                off.1 <= 0.02,
                "{estimates:?}, at the end: {at_end}: {off:?}"
            );
            assert!(
                off.2 >= 0.90 * exact.2,
                "{estimates:?}, at the end: {at_end}: {off:?} {exact:?}"
            );
        }
    }
}

#[test]
fn rows_without_a_threshold() {
    let few = seeds().min(6);
    for at_end in [false, true] {
        for estimates in [
            Estimates::Exact,
            Estimates::UpperBounds,
            Estimates::Off,
            Estimates::None,
        ] {
            let long = scenario(estimates, at_end);
            averages_of(
                Scenario {
                    work: Duration::from_secs(10),
                    calls: 200,
                    ..long
                },
                few,
            );
            averages_of(
                Scenario {
                    large: Some(10),
                    calls: 200,
                    ..long
                },
                few,
            );
        }
    }
}

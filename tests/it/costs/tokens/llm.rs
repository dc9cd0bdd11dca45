//! The same before the mock of a chat API, with a client of two lines: a quota, and a reader of what answers say.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt};
use tower_throttle::{
    Endpoints, Quota, RetryLayer, ThrottleLayer, Unit, Usage, estimate_chat,
    mock::{
        EndpointReport, Limit, Verdict, Work,
        llm::{self, CHAT_COMPLETIONS, MESSAGES, MockLlm},
    },
};

use super::MINUTE;

fn retry() -> RetryLayer {
    RetryLayer::new()
        .max_attempts(50)
        .max_total(Duration::from_secs(86_400))
}

/// Sends so many chats at once, of about `tokens` each, and reads the answers.
async fn chat(layer: ThrottleLayer, api: &MockLlm, endpoint: &str, calls: usize, stream: bool) {
    let client = ServiceBuilder::new().layer(layer).service(api.clone());
    let path = endpoint.strip_prefix("POST ").unwrap();
    join_all((0..calls).map(async |call| {
        // 50 to 450 tokens in, and at most as many out.
        let input = 50 + (call * 7919) % 401;
        let options = if stream { r#","stream_options":{"include_usage":true}"# } else { "" };
        let body = format!(
            r#"{{"model":"m","stream":{stream}{},"max_tokens":{input},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            if endpoint == CHAT_COMPLETIONS { options } else { "" },
            "four".repeat(input)
        );
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
            .header("idempotency-key", "x")
            .body(Full::<Bytes>::from(body))
            .unwrap();
        let answer = client.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().collect().await.unwrap();
    }))
    .await;
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn share_refused_later(report: &EndpointReport) -> f64 {
    let later = report.records.iter().filter(|record| record.at >= MINUTE);
    let refused = later.filter(|record| record.verdict != Verdict::Accepted);
    refused.count() as f64 / report.accepted as f64
}

#[test]
fn a_reader_and_a_quota_are_enough() {
    const SEEDS: u64 = 5;
    for stream in [false, true] {
        let (mut refused, mut used) = (0.0, 0.0);
        for seed in 0..SEEDS {
            let api = MockLlm::builder()
                .openai(Limit::unlimited().units(llm::TOKENS, 10_000, MINUTE))
                .work(Work::uniform(
                    Duration::from_millis(1800)..Duration::from_millis(2200),
                ))
                .seed(seed)
                .build();
            let endpoints = Endpoints::new().route(
                CHAT_COMPLETIONS,
                Quota::unlimited().units(Unit::TOKENS, 10_000, MINUTE),
            );
            let layer = ThrottleLayer::new(endpoints)
                .retry(retry())
                .settle_by(Usage::OPENAI);
            paused(chat(layer, &api, CHAT_COMPLETIONS, 400, stream));
            let report = api.report();
            let report = report.endpoint(CHAT_COMPLETIONS);
            refused += share_refused_later(report) / SEEDS as f64;
            used += report.unit(llm::TOKENS).used_share() / SEEDS as f64;
        }
        println!(
            "a stream: {stream}: {:.2} % refused, used {used:.3}",
            refused * 100.0
        );
        assert!(
            refused <= 0.02 && used >= 0.85,
            "a stream: {stream}: {refused} {used}"
        );
    }
}

#[test]
fn with_an_estimate_nothing_is_ever_refused() {
    for stream in [false, true] {
        let api = MockLlm::builder()
            .openai(Limit::unlimited().units(llm::TOKENS, 10_000, MINUTE))
            .anthropic(
                Limit::unlimited()
                    .units(llm::INPUT_TOKENS, 10_000, MINUTE)
                    .units_at_end(llm::OUTPUT_TOKENS, 5_000, MINUTE),
            )
            .work(Work::fixed(Duration::from_secs(2)))
            .seed(3)
            .build();
        let endpoints = Endpoints::new()
            .route(
                CHAT_COMPLETIONS,
                Quota::unlimited().units(Unit::TOKENS, 10_000, MINUTE),
            )
            .route(
                MESSAGES,
                Quota::unlimited()
                    .units(Unit::INPUT_TOKENS, 10_000, MINUTE)
                    .units(Unit::OUTPUT_TOKENS, 5_000, MINUTE),
            );
        for (endpoint, usage) in [
            (CHAT_COMPLETIONS, Usage::OPENAI),
            (MESSAGES, Usage::ANTHROPIC),
        ] {
            let layer = ThrottleLayer::new(endpoints.clone())
                .retry(retry())
                .cost_by(estimate_chat)
                .settle_by(usage);
            paused(chat(layer, &api, endpoint, 200, stream));
            let report = api.report();
            let report = report.endpoint(endpoint);
            assert_eq!(report.refused_by_units, 0, "{endpoint}, a stream: {stream}");
        }
        api.report().assert_compliant();
    }
}

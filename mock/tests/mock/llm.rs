//! The mock of the chat APIs: shapes, usage, limits and errors as the real ones have them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tower::ServiceExt;
use tower_throttle_mock::{
    Body, Limit, Work, bind,
    llm::{CHAT_COMPLETIONS, INPUT_TOKENS, MESSAGES, MockLlm, OUTPUT_TOKENS, TOKENS, Usage},
};

const MINUTE: Duration = Duration::from_secs(60);
const OK: StatusCode = StatusCode::OK;
const REFUSED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A request body for either API, with so many input tokens.
fn chat(input_tokens: usize, max_tokens: u64) -> Value {
    json!({
        "model": "mock-1",
        "messages": [{"role": "user", "content": "four".repeat(input_tokens)}],
        "max_tokens": max_tokens,
    })
}

fn with(mut body: Value, name: &str, value: impl Into<Value>) -> Value {
    body[name] = value.into();
    body
}

async fn call(api: &MockLlm, endpoint: &str, body: &Value) -> Response<Body> {
    let path = endpoint.strip_prefix("POST ").unwrap();
    let request = Request::post(path)
        .header("anthropic-version", "2023-06-01")
        .body(Full::<Bytes>::from(body.to_string()))
        .unwrap();
    api.clone().oneshot(request).await.unwrap()
}

async fn text(api: &MockLlm, endpoint: &str, body: &Value) -> (StatusCode, HeaderMap, String) {
    let (head, body) = call(api, endpoint, body).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (head.status, head.headers, text)
}

async fn json(api: &MockLlm, endpoint: &str, body: &Value) -> (StatusCode, HeaderMap, Value) {
    let (status, headers, text) = text(api, endpoint, body).await;
    (status, headers, serde_json::from_str(&text).unwrap())
}

async fn status(api: &MockLlm, endpoint: &str, body: &Value) -> StatusCode {
    text(api, endpoint, body).await.0
}

fn usage(api: &MockLlm, endpoint: &str, body: &Value) -> Usage {
    api.usage(endpoint, body.to_string().as_bytes()).unwrap()
}

/// The data of each event, and its name where it has one.
fn events(text: &str) -> Vec<(Option<&str>, &str)> {
    assert!(text.ends_with("\n\n"), "{text}");
    let events = text.split_terminator("\n\n");
    events
        .map(|event| {
            let (name, data) = match event.strip_prefix("event: ") {
                None => (None, event),
                Some(rest) => {
                    let (name, data) = rest.split_once('\n').unwrap();
                    (Some(name), data)
                }
            };
            (name, data.strip_prefix("data: ").unwrap())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn openai_answers_in_json() {
    let api = MockLlm::builder().seed(7).build();
    let body = chat(5, 20);
    let (status, headers, answer) = json(&api, CHAT_COMPLETIONS, &body).await;
    assert_eq!(status, OK);
    assert_eq!(headers["content-type"], "application/json");
    assert!(
        headers["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req_")
    );
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "mock-1");
    assert_eq!(answer["choices"].as_array().unwrap().len(), 1);
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");

    let expected = usage(&api, CHAT_COMPLETIONS, &body);
    assert_eq!(expected.input_tokens, 5);
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    assert_eq!(answer["usage"]["completion_tokens"], expected.output_tokens);
    assert_eq!(answer["usage"]["total_tokens"], expected.total());
    // What came out costs as much when it goes in.
    let said = choice["message"]["content"].as_str().unwrap();
    assert_eq!(said.len() as u64, 4 * expected.output_tokens);
    // The same request gets the same answer, with an id of its own.
    let (_, _, again) = json(&api, CHAT_COMPLETIONS, &body).await;
    assert_eq!(again["choices"], answer["choices"]);
    assert_ne!(again["id"], answer["id"]);
}

#[tokio::test(start_paused = true)]
async fn openai_streams_say_what_they_cost_if_they_are_asked_to() {
    let api = MockLlm::builder().seed(7).build();
    let body = with(chat(5, 20), "stream", true);
    for include_usage in [false, true] {
        let options = json!({"include_usage": include_usage});
        let body = with(body.clone(), "stream_options", options);
        let expected = usage(&api, CHAT_COMPLETIONS, &body);
        let (status, headers, text) = text(&api, CHAT_COMPLETIONS, &body).await;
        assert_eq!(status, OK);
        assert!(
            headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/event-stream")
        );
        let events = events(&text);
        let (last, chunks) = events.split_last().unwrap();
        assert_eq!(*last, (None, "[DONE]"));
        let chunks: Vec<Value> = chunks
            .iter()
            .map(|(_, data)| serde_json::from_str(data).unwrap())
            .collect();
        assert!(
            chunks
                .iter()
                .all(|chunk| chunk["object"] == "chat.completion.chunk")
        );
        assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
        let said: String = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(said.len() as u64, 4 * expected.output_tokens);
        let reasons = chunks
            .iter()
            .filter(|chunk| chunk["choices"][0]["finish_reason"].is_string());
        assert_eq!(reasons.count(), 1);

        let with_usage: Vec<_> = chunks
            .iter()
            .filter(|chunk| chunk["usage"].is_object())
            .collect();
        let has_field = chunks.iter().all(|chunk| chunk.get("usage").is_some());
        assert_eq!(has_field, include_usage);
        if include_usage {
            assert_eq!(with_usage, [chunks.last().unwrap()]);
            assert_eq!(with_usage[0]["choices"], json!([]));
            assert_eq!(with_usage[0]["usage"]["total_tokens"], expected.total());
        } else {
            assert!(with_usage.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn anthropic_answers_in_json() {
    let api = MockLlm::builder().seed(7).build();
    let body = with(chat(5, 20), "system", "eight of");
    let (status, headers, answer) = json(&api, MESSAGES, &body).await;
    assert_eq!(status, OK);
    assert!(headers["request-id"].to_str().unwrap().starts_with("req_"));
    assert_eq!(
        (&answer["type"], &answer["role"]),
        (&"message".into(), &"assistant".into())
    );
    let expected = usage(&api, MESSAGES, &body);
    assert_eq!(expected.input_tokens, 7);
    assert_eq!(answer["usage"]["input_tokens"], 7);
    assert_eq!(answer["usage"]["output_tokens"], expected.output_tokens);
    let said = answer["content"][0]["text"].as_str().unwrap();
    assert_eq!(said.len() as u64, 4 * expected.output_tokens);
}

#[tokio::test(start_paused = true)]
async fn anthropic_streams_begin_with_what_went_in_and_end_with_what_came_out() {
    let api = MockLlm::builder().seed(7).build();
    let body = with(chat(5, 20), "stream", true);
    let expected = usage(&api, MESSAGES, &body);
    let (_, _, text) = text(&api, MESSAGES, &body).await;
    let events: Vec<(&str, Value)> = events(&text)
        .into_iter()
        .map(|(name, data)| (name.unwrap(), serde_json::from_str(data).unwrap()))
        .collect();
    assert!(events.iter().all(|(name, data)| data["type"] == *name));
    let mut names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 5);
    assert_eq!(events[0].1["message"]["content"], json!([]));
    let deltas = events
        .iter()
        .filter(|(name, _)| *name == "content_block_delta");
    assert_eq!(deltas.count() as u64, expected.output_tokens);
    let delta = &events[events.len() - 2].1;
    assert_eq!(delta["usage"]["output_tokens"], expected.output_tokens);
    assert!(events.last().unwrap().1.get("usage").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_for_one_of_two_reasons() {
    let api = MockLlm::builder().output(|_| 10).build();
    for (max_tokens, openai, anthropic) in [(10, "length", "max_tokens"), (11, "stop", "end_turn")]
    {
        let body = chat(1, max_tokens);
        let (_, _, answer) = json(&api, CHAT_COMPLETIONS, &body).await;
        assert_eq!(answer["choices"][0]["finish_reason"], openai);
        let (_, _, answer) = json(&api, MESSAGES, &body).await;
        assert_eq!(answer["stop_reason"], anthropic);
    }
}

#[tokio::test(start_paused = true)]
async fn each_token_takes_its_time() {
    let api = MockLlm::builder()
        .work(Work::fixed(ms(300)))
        .per_token(ms(20))
        .output(|_| 10)
        .anthropic(Limit::concurrent(1))
        .build();
    let start = Instant::now();
    json(&api, MESSAGES, &chat(1, 100)).await;
    assert_eq!(start.elapsed(), ms(500));

    // A stream begins when the other would have begun to be made, and ends when it would have come.
    let start = Instant::now();
    let answer = call(&api, MESSAGES, &with(chat(1, 100), "stream", true)).await;
    assert_eq!(start.elapsed(), ms(300));
    let mut body = answer.into_body();
    let mut times = Vec::new();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        times.push(start.elapsed());
    }
    assert_eq!((times[0], times[1]), (ms(300), ms(320)));
    assert_eq!(times.last(), Some(&ms(500)));

    // It is in flight until then.
    let stream = with(chat(1, 100), "stream", true);
    let answer = call(&api, MESSAGES, &stream).await;
    assert_eq!(answer.status(), OK);
    assert_eq!(status(&api, MESSAGES, &chat(1, 100)).await, REFUSED);
    answer.into_body().collect().await.unwrap();
    assert_eq!(status(&api, MESSAGES, &chat(1, 100)).await, OK);
}

#[tokio::test(start_paused = true)]
async fn openai_says_what_is_left_and_when_there_is_more() {
    let limit = Limit::per(500, MINUTE).units(TOKENS, 30_000, MINUTE);
    let api = MockLlm::builder().openai(limit).output(|_| 500).build();
    let body = chat(20_000, 1_000);
    let (_, headers, _) = json(&api, CHAT_COMPLETIONS, &body).await;
    let header = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header(&headers, "x-ratelimit-limit-requests"), "500");
    assert_eq!(header(&headers, "x-ratelimit-remaining-requests"), "499");
    assert_eq!(header(&headers, "x-ratelimit-reset-requests"), "1m0s");
    assert_eq!(header(&headers, "x-ratelimit-limit-tokens"), "30000");
    assert_eq!(header(&headers, "x-ratelimit-remaining-tokens"), "9500");
    assert_eq!(header(&headers, "x-ratelimit-reset-tokens"), "1m0s");

    advance(ms(1_250)).await;
    let (status, headers, answer) = json(&api, CHAT_COMPLETIONS, &chat(9_001, 1_000)).await;
    assert_eq!(status, REFUSED);
    assert_eq!(header(&headers, "x-ratelimit-remaining-tokens"), "9500");
    assert_eq!(header(&headers, "retry-after"), "59");
    assert_eq!(header(&headers, "retry-after-ms"), "58750");
    let error = &answer["error"];
    assert_eq!(
        (&error["type"], &error["code"]),
        (&"tokens".into(), &"rate_limit_exceeded".into())
    );
    assert_eq!(error["param"], Value::Null);
    let message = error["message"].as_str().unwrap();
    let expected = "Rate limit reached for mock-1 in organization org-mock on tokens per min (TPM): Limit \
                    30000, Used 20500, Requested 9501. Please try again in 58.75s.";
    assert!(message.starts_with(expected), "{message}");

    // What is too large names no time.
    let (status, headers, answer) = json(&api, CHAT_COMPLETIONS, &chat(29_501, 1_000)).await;
    assert_eq!(status, REFUSED);
    assert!(!headers.contains_key("retry-after"));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Request too large for mock-1"),
        "{message}"
    );

    advance(ms(58_750)).await;
    assert_eq!(
        self::status(&api, CHAT_COMPLETIONS, &chat(9_001, 1_000)).await,
        OK
    );
    let report = api.report();
    let tokens = report.endpoint(CHAT_COMPLETIONS).unit(TOKENS);
    assert_eq!((tokens.accepted, tokens.refused), (30_001, 2));
    // The one that was too large did not wait.
    assert_eq!(report.early(), 1);
}

#[tokio::test(start_paused = true)]
async fn openai_refuses_requests_by_their_number() {
    let api = MockLlm::builder()
        .openai(Limit::per(1, MINUTE).concurrency(1))
        .work(Work::fixed(ms(100)))
        .build();
    let body = chat(1, 1);
    let both = join_all((0..2).map(|_| json(&api, CHAT_COMPLETIONS, &body))).await;
    let message = both[1].2["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Too many concurrent requests for mock-1"),
        "{message}"
    );
    assert!(!both[1].1.contains_key("retry-after"));
    let (_, _, answer) = json(&api, CHAT_COMPLETIONS, &body).await;
    let message = answer["error"]["message"].as_str().unwrap();
    let expected =
        "on requests per min (RPM): Limit 1, Used 1, Requested 1. Please try again in 59.9s.";
    assert!(message.contains(expected), "{message}");
    assert_eq!(answer["error"]["type"], "requests");
}

#[tokio::test(start_paused = true)]
async fn anthropic_says_what_is_left_and_counts_what_comes_out_at_the_end() {
    let limit = Limit::per(50, MINUTE)
        .units(INPUT_TOKENS, 30_000, MINUTE)
        .units_at_end(OUTPUT_TOKENS, 1_000, MINUTE)
        .concurrency(2);
    let api = MockLlm::builder()
        .anthropic(limit)
        .per_token(ms(1))
        .output(|_| 600)
        .build();
    let body = chat(100, 600);
    // Nothing has come out yet, so both are accepted.
    let both = join_all((0..2).map(|_| json(&api, MESSAGES, &body))).await;
    assert!(both.iter().all(|(status, ..)| *status == OK));
    let (status, headers, answer) = json(&api, MESSAGES, &body).await;
    assert_eq!(status, REFUSED);
    let header = |name: &str| {
        let name = format!("anthropic-ratelimit-{name}");
        headers[&name].to_str().unwrap().to_owned()
    };
    assert_eq!(header("requests-limit"), "50");
    assert_eq!(header("requests-remaining"), "48");
    assert_eq!(header("input-tokens-limit"), "30000");
    assert_eq!(header("input-tokens-remaining"), "29800");
    assert_eq!(header("output-tokens-limit"), "1000");
    assert_eq!(header("output-tokens-remaining"), "0");
    let reset = header("output-tokens-reset");
    assert!(reset.ends_with('Z') && reset.len() == 20, "{reset}");
    assert_eq!(header("tokens-limit"), "31000");
    assert_eq!(header("tokens-remaining"), "29800");
    assert_eq!(headers["x-should-retry"], "true");
    assert_eq!(headers["retry-after"], "60");
    assert_eq!(answer["type"], "error");
    assert_eq!(answer["error"]["type"], "rate_limit_error");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("of 1,000 output tokens per minute"),
        "{message}"
    );

    let report = api.report();
    let seen = report.endpoint(MESSAGES);
    assert_eq!(seen.unit(OUTPUT_TOKENS).worst_window, 1_200);
    assert_eq!(seen.unit(OUTPUT_TOKENS).excess(), 200);
    assert_eq!(seen.unit(INPUT_TOKENS).accepted, 200);

    advance(MINUTE).await;
    let three = join_all((0..3).map(|_| json(&api, MESSAGES, &body))).await;
    let message = three[2].2["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Number of concurrent connections"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn some_refusals_of_openai_have_nothing_but_their_message() {
    let limit = Limit::per(1, MINUTE);
    let api = MockLlm::builder()
        .openai(limit.clone())
        .anthropic(limit)
        .bare_refusals()
        .build();
    let body = chat(1, 1);
    let (_, headers, _) = json(&api, CHAT_COMPLETIONS, &body).await;
    assert!(headers.contains_key("x-ratelimit-limit-requests"));
    let (status, headers, answer) = json(&api, CHAT_COMPLETIONS, &body).await;
    assert_eq!(status, REFUSED);
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "date", "x-request-id"]);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("Please try again in 1m0s."), "{message}");

    json(&api, MESSAGES, &body).await;
    let (_, headers, _) = json(&api, MESSAGES, &body).await;
    assert_eq!(headers["retry-after"], "60");
}

#[tokio::test(start_paused = true)]
async fn a_model_may_have_a_limit_of_its_own_in_both_apis() {
    let api = MockLlm::builder()
        .model("mock-1", Limit::per(2, MINUTE))
        .build();
    let body = chat(1, 1);
    assert_eq!(status(&api, CHAT_COMPLETIONS, &body).await, OK);
    let (_, headers, _) = json(&api, MESSAGES, &body).await;
    assert_eq!(headers["anthropic-ratelimit-requests-remaining"], "0");
    assert_eq!(status(&api, MESSAGES, &body).await, REFUSED);
    let other = with(body, "model", "mock-2");
    assert_eq!(status(&api, MESSAGES, &other).await, OK);
    assert_eq!(api.report().pool("mock-1").accepted, 2);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_turned_down_and_costs_nothing() {
    let api = MockLlm::builder()
        .openai(Limit::unlimited().units(TOKENS, 1_000, MINUTE))
        .build();
    let (status, headers, answer) = json(&api, CHAT_COMPLETIONS, &json!({"model": "m"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(headers.contains_key("x-request-id"));
    let expected = json!({"error": {
        "message": "Missing required parameter: 'messages'.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "missing_required_parameter",
    }});
    assert_eq!(answer, expected);

    let (status, headers, answer) = json(&api, MESSAGES, &json!({"model": "m"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["type"], "error");
    assert_eq!(answer["error"]["type"], "invalid_request_error");
    assert_eq!(answer["error"]["message"], "max_tokens: Field required");
    assert_eq!(
        answer["request_id"],
        headers["request-id"].to_str().unwrap()
    );

    let request = Request::post("/v1/messages").body(Full::<Bytes>::from(chat(1, 1).to_string()));
    let answer = api.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);

    let report = api.report();
    assert_eq!(report.endpoint(CHAT_COMPLETIONS).invalid, 1);
    assert_eq!(report.endpoint(MESSAGES).invalid, 2);
    assert_eq!(
        report.endpoint(CHAT_COMPLETIONS).unit(TOKENS).worst_window,
        0
    );
    assert_eq!(api.usage(MESSAGES, b"nonsense"), None);
}

#[tokio::test(start_paused = true)]
async fn heavy_traffic_looks_as_it_does_there() {
    let api = MockLlm::builder().build();
    for (endpoint, expected, kind) in [
        (CHAT_COMPLETIONS, 503, "server_error"),
        (MESSAGES, 529, "overloaded_error"),
    ] {
        api.judge().fault(api.overloaded(endpoint));
        let (status, _, answer) = json(&api, endpoint, &chat(1, 1)).await;
        assert_eq!(
            (status.as_u16(), &answer["error"]["type"]),
            (expected, &kind.into())
        );
        assert_eq!(self::status(&api, endpoint, &chat(1, 1)).await, OK);
    }
}

#[test]
#[should_panic(expected = "the mock has no endpoint \"GET /v1/models\"")]
fn other_endpoints_are_not_known() {
    let _ = MockLlm::builder().build().usage("GET /v1/models", b"");
}

#[test]
#[should_panic(expected = "no request costs credits here")]
fn limits_are_in_what_requests_cost() {
    let _ = MockLlm::builder().openai(Limit::unlimited().units("credits", 1, MINUTE));
}

#[tokio::test]
async fn it_serves_streams_over_a_socket() {
    let api = MockLlm::builder()
        .per_token(ms(5))
        .output(|_| 20)
        .openai(Limit::unlimited().units(TOKENS, 100, MINUTE))
        .build();
    let listener = bind().unwrap();
    let url = format!(
        "http://{}/v1/chat/completions",
        listener.local_addr().unwrap()
    );
    let server = tokio::spawn(api.clone().serve(listener));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let post = |body: &Value| {
        let request = Request::post(&url).body(Full::<Bytes>::from(body.to_string()));
        client.request(request.unwrap())
    };
    let options = json!({"include_usage": true});
    let body = with(
        with(chat(10, 20), "stream", true),
        "stream_options",
        options,
    );

    let mut answer = post(&body).await.unwrap();
    assert_eq!(answer.status(), OK);
    assert_eq!(answer.headers()["x-ratelimit-remaining-tokens"], "70");
    let start = Instant::now();
    let text = answer.body_mut().collect().await.unwrap().to_bytes();
    assert!(start.elapsed() >= ms(90), "{:?}", start.elapsed());
    let text = String::from_utf8(text.into()).unwrap();
    let events = events(&text);
    assert_eq!(events.len(), 1 + 20 + 1 + 1 + 1);
    let usage: Value = serde_json::from_str(events[events.len() - 2].1).unwrap();
    assert_eq!(usage["usage"]["total_tokens"], 30);

    for expected in [OK, OK, REFUSED] {
        let answer = post(&chat(10, 20)).await.unwrap();
        assert_eq!(answer.status(), expected);
        answer.into_body().collect().await.unwrap();
    }
    let report = api.report();
    assert_eq!(report.endpoint(CHAT_COMPLETIONS).unit(TOKENS).accepted, 90);
    assert_eq!(report.endpoint(CHAT_COMPLETIONS).in_flight, 0);
    server.abort();
}

//! Limits in tokens and credits: estimated from requests, and settled by answers.

use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::Instant;
use tower_throttle::{Unit, WindowUse};

use crate::support::{Line, client, full, get, send, serve, streamed, until};

const CHAT: &str = "POST /v1/chat/completions";

/// How much of the only window of tokens is used.
fn used(line: &Line, endpoint: &str, unit: Unit) -> u64 {
    let snapshot = line.handle().snapshot();
    let bucket = snapshot.bucket(endpoint).unwrap();
    let mut windows = bucket.windows().iter();
    let window = windows.find(|of| of.window().unit() == unit).unwrap();
    WindowUse::used(window)
}

async fn ask(line: &Line, path: &str, body: &serde_json::Value) -> StatusCode {
    let body = full(body.to_string());
    let request = Request::post(line.url(path)).body(body).unwrap();
    send(&client(Version::HTTP_11), request).await.status
}

#[tokio::test]
async fn an_answer_settles_what_its_request_was_estimated_to_take() {
    let upstream = serve(async |request: Request<_>| {
        let _ = BodyExt::collect(request).await;
        let usage =
            json!({ "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 } });
        let mut answer = Response::new(full(usage.to_string()));
        let json = "application/json".parse().unwrap();
        answer.headers_mut().insert("content-type", json);
        answer
    });
    let limit = format!("{CHAT}=1000 tokens/h");
    let line = Line::start(&upstream, &["--limit", &limit, "--usage", "openai"]);
    // Ten of these at once would be too many, if none was settled.
    let chat = json!({ "model": "m", "max_tokens": 400, "messages": [] });
    for n in 1..=10 {
        assert_eq!(
            ask(&line, "/v1/chat/completions", &chat).await,
            StatusCode::OK
        );
        until("it is settled", || {
            used(&line, CHAT, Unit::TOKENS) == n * 15
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_settles_when_it_tells_what_it_took() {
    let upstream = serve(async |_| {
        let (frames, body) = streamed();
        frames.data("data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}\n\n");
        frames.data(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n",
        );
        frames.data("data: [DONE]\n\n");
        let mut answer = Response::new(body);
        let events = "text/event-stream".parse().unwrap();
        answer.headers_mut().insert("content-type", events);
        answer
    });
    let limit = format!("{CHAT}=1000 tokens/h");
    let line = Line::start(&upstream, &["--limit", &limit, "--usage", "openai"]);
    let chat = json!({ "model": "m", "max_tokens": 900, "stream": true, "messages": [] });
    for n in 1..=3 {
        assert_eq!(
            ask(&line, "/v1/chat/completions", &chat).await,
            StatusCode::OK
        );
        until("it is settled", || {
            used(&line, CHAT, Unit::TOKENS) == n * 10
        })
        .await;
    }
}

#[tokio::test]
async fn speech_is_estimated_by_its_text_and_settled_by_its_head() {
    const SPEECH: &str = "POST /v1/text-to-speech/{voice}";
    let (go, went) = tokio::sync::watch::channel(false);
    let upstream = serve(move |_| {
        let mut went = went.clone();
        async move {
            went.wait_for(|went| *went).await.unwrap();
            let mut answer = Response::new(full("audio"));
            answer
                .headers_mut()
                .insert("character-cost", "3".parse().unwrap());
            answer
        }
    });
    let limit = format!("{SPEECH}=1000 credits/h");
    let line = Line::start(&upstream, &["--limit", &limit, "--usage=elevenlabs"]);
    let (client, url) = (client(Version::HTTP_11), line.url("/v1/text-to-speech/v"));
    let body = json!({ "text": "Grüße", "model_id": "eleven_flash_v2_5" });
    let request = Request::post(url).body(full(body.to_string())).unwrap();
    let call = tokio::spawn(async move { send(&client, request).await });
    until("it is sent", || used(&line, SPEECH, Unit::CREDITS) == 5).await;
    go.send(true).unwrap();
    assert_eq!(call.await.unwrap().status, StatusCode::OK);
    until("it is settled", || used(&line, SPEECH, Unit::CREDITS) == 3).await;
}

#[tokio::test]
async fn an_estimate_above_the_window_takes_the_whole_window_and_goes() {
    let upstream = serve(async |_| Response::new(full("{}")));
    let args = [
        "--limit",
        "/v1/messages=8_000 output_tokens/h",
        "--usage=anthropic",
    ];
    let line = Line::start(&upstream, &args);
    let chat = json!({ "model": "m", "max_tokens": 64_000, "messages": [] });
    let started = Instant::now();
    assert_eq!(ask(&line, "/v1/messages", &chat).await, StatusCode::OK);
    assert_eq!(used(&line, "/v1/messages", Unit::OUTPUT_TOKENS), 8_000);
    assert!(started.elapsed() < crate::support::LONG);
}

#[tokio::test]
async fn without_an_estimate_the_average_counts() {
    let upstream = serve(async |_| Response::new(full("{}")));
    let args = [
        "--limit",
        "/a=8_000 tokens/h",
        "--usage=openai",
        "--no-estimate",
    ];
    let line = Line::start(&upstream, &args);
    let chat = json!({ "model": "m", "max_tokens": 64_000, "messages": [] });
    assert_eq!(ask(&line, "/a", &chat).await, StatusCode::OK);
    // An eighth of the window, until the first answer says what it took.
    assert_eq!(used(&line, "/a", Unit::TOKENS), 1_000);
    let page = get(&line.url("/__gateway__/status")).await.json();
    let mut buckets = page["buckets"].as_array().unwrap().iter();
    let bucket = buckets.find(|bucket| bucket["endpoint"] == "/a").unwrap();
    let window = &bucket["windows"][0];
    assert_eq!(
        (&window["used"], &window["n"]),
        (&json!(1_000), &json!(8_000))
    );
}

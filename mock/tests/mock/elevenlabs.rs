//! The mock ElevenLabs as a tower service: its limits, statuses and bodies.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};
use tower_throttle_mock::{
    Limit, Work,
    elevenlabs::{CLONE_VOICE, Client, Error, MockElevenLabs, TTS},
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn mock() -> MockElevenLabs {
    MockElevenLabs::builder().build()
}

async fn post(
    mock: &MockElevenLabs,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let request = Request::post(path)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap();
    let (head, body) = mock.clone().oneshot(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn detail(response: &Response<Bytes>) -> Value {
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    body["detail"].clone()
}

fn form(parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().map(|(name, value)| {
        format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    });
    parts.chain(["--x--\r\n".to_owned()]).collect()
}

const FORM: &str = "multipart/form-data; boundary=x";

#[tokio::test(start_paused = true)]
async fn tts_answers_with_the_start_of_the_voice_and_of_the_text() {
    let path = "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM?output_format=mp3_44100_128";
    let body = json!({"text": "Once upon a time", "model_id": "eleven_multilingual_v2"});
    let answer = post(&mock(), path, "application/json", body.to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "audio/mpeg");
    assert_eq!(answer.body(), "AUDIO(21m0):Once upon ...");
}

#[tokio::test(start_paused = true)]
async fn ids_names_and_texts_are_cut_by_characters() {
    let client = Client::new(mock());
    let audio = client
        .tts("ä/ö?ü", "日本語のテキストです、はい")
        .await
        .unwrap();
    assert_eq!(audio, "AUDIO(ä/ö?):日本語のテキストです...");
    assert_eq!(client.tts("a", "").await.unwrap(), "AUDIO(a):...");
}

#[tokio::test(start_paused = true)]
async fn a_cloned_voice_is_named_by_the_hash_of_its_name() {
    let client = Client::new(mock());
    // printf Zoë | sha1sum
    assert_eq!(
        client.clone_voice("Zoë").await.unwrap(),
        "voice_id::4771a7b4"
    );

    let form = form(&[("name", "narrator"), ("labels", "null"), ("files", "...")]);
    let answer = post(&mock(), "/v1/voices/add", FORM, form).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(
        answer,
        json!({"voice_id": "voice_id::ec62dcc7", "requires_verification": false})
    );
}

#[tokio::test(start_paused = true)]
async fn the_name_may_look_like_a_boundary() {
    let client = Client::new(mock());
    let id = client
        .clone_voice("a\r\n--tower-throttle--\r\n")
        .await
        .unwrap();
    assert_eq!(id, "voice_id::aa71333b");
}

#[tokio::test(start_paused = true)]
async fn work_takes_the_time_of_the_demo() {
    let mock = mock();
    let client = Client::new(mock.clone());
    for (endpoint, range) in [(TTS, 200..400), (CLONE_VOICE, 800..10_200)] {
        for expected in mock.judge().draws(endpoint).take(20) {
            assert!(range.contains(&expected.as_millis()));
            tokio::time::advance(ms(1_000)).await;
            let start = Instant::now();
            if endpoint == TTS {
                client.tts("a", "b").await.unwrap();
            } else {
                client.clone_voice("a").await.unwrap();
            }
            assert_eq!(start.elapsed(), expected);
        }
    }
    mock.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn above_four_at_once_it_answers_as_the_real_one() {
    let mock = mock();
    let client = Client::new(mock.clone());
    let answers = join_all((0..10).map(|_| client.tts("voice", "text"))).await;
    assert!(answers[..4].iter().all(Result::is_ok));
    for answer in &answers[4..] {
        let Err(Error::Status { status, body }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(*status, StatusCode::TOO_MANY_REQUESTS);
        let body = std::str::from_utf8(body).unwrap();
        let id = body.split('"').nth(21).unwrap();
        // As captured, but for the request's id.
        let expected = format!(
            r#"{{"detail":{{"type":"rate_limit_error","code":"concurrent_limit_exceeded","message":"Too many concurrent requests. Your current subscription is associated with a maximum of 4 concurrent requests (running in parallel). This is done such that a single user does not overwhelm our systems and affect other users negatively. Please upgrade your subscription or contact sales if you want to increase this limit.","status":"too_many_concurrent_requests","request_id":"{id}","docs_url":"https://elevenlabs.io/docs/eleven-api/resources/errors#rate-limiting-and-concurrency"}}}}"#
        );
        assert_eq!(body, expected);
    }
    let report = mock.report();
    assert_eq!(report.endpoint(TTS).accepted, 4);
    assert_eq!(report.endpoint(TTS).refused_by_concurrency, 6);
}

#[tokio::test(start_paused = true)]
async fn above_the_rate_it_says_so_without_a_hint() {
    let mock = MockElevenLabs::builder()
        .tts(Limit::rps(1), Work::none())
        .build();
    let speak = || {
        post(
            &mock,
            "/v1/text-to-speech/a",
            "application/json",
            r#"{"text":"b"}"#,
        )
    };
    speak().await;
    let refused = speak().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let detail = detail(&refused);
    assert_eq!(detail["status"], "rate_limit_exceeded");
    assert_eq!(
        detail["request_id"],
        refused.headers()["x-trace-id"].to_str().unwrap()
    );
    assert_eq!(detail["request_id"].as_str().unwrap().len(), 32);
    for absent in [
        "retry-after",
        "retry-after-ms",
        "current-concurrent-requests",
    ] {
        assert!(!refused.headers().contains_key(absent));
    }
}

#[tokio::test(start_paused = true)]
async fn hints_and_concurrency_headers_can_be_switched_on() {
    let mock = MockElevenLabs::builder()
        .clone_voice(Limit::rps(1), Work::none())
        .retry_after(ms(2_000))
        .concurrency_headers()
        .build();
    let answer = post(
        &mock,
        "/v1/text-to-speech/a",
        "application/json",
        r#"{"text":"b"}"#,
    )
    .await;
    assert_eq!(answer.headers()["current-concurrent-requests"], "1");
    assert_eq!(answer.headers()["maximum-concurrent-requests"], "4");
    let clone = || {
        post(
            &mock,
            "/v1/voices/add",
            FORM,
            form(&[("name", "a"), ("files", "b")]),
        )
    };
    clone().await;
    assert_eq!(clone().await.headers()["retry-after"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_schema_is_said_before_the_limits_and_costs_nothing() {
    let mock = mock();
    let speak = |body: &'static str| post(&mock, "/v1/text-to-speech/a", "application/json", body);
    for (body, kind, loc) in [
        ("{}", "missing", json!(["body", "text"])),
        ("", "missing", json!(["body"])),
        (r#"{"text": 3}"#, "string_type", json!(["body", "text"])),
        ("{\n  oops", "json_invalid", json!(["body", 4])),
        ("[]", "model_attributes_type", json!(["body"])),
    ] {
        let start = Instant::now();
        let answer = speak(body).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let detail = detail(&answer);
        assert_eq!(
            (&detail[0]["type"], &detail[0]["loc"]),
            (&json!(kind), &loc)
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    let missing = speak("{}").await;
    assert_eq!(
        missing.body(),
        r#"{"detail":[{"type":"missing","loc":["body","text"],"msg":"Field required","input":null}]}"#
    );

    // What the official Python SDK sends when it retries: no name.
    let no_name = post(&mock, "/v1/voices/add", FORM, form(&[("files", "b")])).await;
    assert_eq!(no_name.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(detail(&no_name)[0]["loc"], json!(["body", "name"]));
    let neither = post(&mock, "/v1/voices/add", "text/plain", "name").await;
    assert_eq!(detail(&neither)[1]["loc"], json!(["body", "files"]));

    let report = mock.report();
    assert_eq!((report.accepted(), report.refused()), (0, 0));
    assert_eq!(report.endpoint(TTS).invalid, 6);
    assert_eq!(report.endpoint(CLONE_VOICE).invalid, 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_path_is_not_found() {
    let answer = post(&mock(), "/v1/nothing", "application/json", "{}").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.body(), r#"{"detail":"Not Found"}"#);
}

/// tower's `ConcurrencyLimit` panics when it is called without having been made ready.
#[tokio::test(start_paused = true)]
async fn the_client_readies_the_service_that_it_calls() {
    let mock = MockElevenLabs::builder()
        .tts(Limit::concurrent(2), Work::fixed(ms(100)))
        .build();
    let service = ServiceBuilder::new()
        .concurrency_limit(2)
        .service(mock.clone());
    let client = Client::new(service);
    let start = Instant::now();
    let answers = join_all((0..6).map(|_| client.tts("voice", "text"))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(start.elapsed(), ms(300));
    mock.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn the_client_says_what_went_wrong() {
    let client = Client::new(mock()).base_url("http://example.test/nowhere/");
    let error = client.tts("a", "b").await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));
    assert_eq!(
        error.to_string(),
        r#"the API answered 404 Not Found: {\"detail\":\"Not Found\"}"#
    );

    let broken = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("no route"))
    });
    let error = Client::new(broken).tts("a", "b").await.unwrap_err();
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "no route"
    );

    let odd = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::from("{}")))
    });
    let error = Client::new(odd).clone_voice("a").await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }));
}

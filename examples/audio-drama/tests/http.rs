//! What is answered to requests that make no sense, or are too large.

mod common;

use audio_drama::routes::MAX_BODY;
use axum::body::Body;
use bytes::Bytes;
use common::Stage;
use futures_util::stream;
use http::{Request, StatusCode, header};
use tokio::time::Instant;

const JSON: &str = "application/json";

#[tokio::test(start_paused = true)]
async fn what_is_no_script_is_told_why() {
    let stage = Stage::new(3);
    for (body, status, error) in [
        ("", 400, "the body is no JSON: EOF while parsing"),
        ("text", 400, "the body is no JSON: expected"),
        (
            r#"{"text": "a""#,
            400,
            "the body is no JSON: EOF while parsing",
        ),
        (
            "\"Hello.\"",
            422,
            r#"the body has to be {"text": "..."}: invalid type: string"#,
        ),
        (
            "{}",
            422,
            r#"the body has to be {"text": "..."}: missing field `text`"#,
        ),
        (
            r#"{"text": 5}"#,
            422,
            r#"the body has to be {"text": "..."}: invalid type: integer `5`"#,
        ),
        (
            r#"{"text": null}"#,
            422,
            r#"the body has to be {"text": "..."}: invalid type: null"#,
        ),
        (
            r#"{"text": ""}"#,
            422,
            "the text has no letter and no digit in it",
        ),
        (
            r#"{"text": " “…” \n"}"#,
            422,
            "the text has no letter and no digit in it",
        ),
    ] {
        let answer = stage.post(JSON, body).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(
            answer.error().starts_with(error),
            "{body}: {}",
            answer.error()
        );
    }
    assert_eq!(stage.tts().accepted, 0);
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_are_no_json() {
    let stage = Stage::new(3);
    let answer = stage.post(JSON, &b"{\"text\": \"\xff\"}"[..]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error().starts_with("the body is no JSON: "));
}

#[tokio::test(start_paused = true)]
async fn only_json_is_read() {
    let stage = Stage::new(3);
    let text = r#"{"text": "Hello."}"#;
    let message = "the body has to be JSON: send it with the header Content-Type: application/json";
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
    ] {
        let answer = stage.post(content_type, text).await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{content_type}"
        );
        assert_eq!(answer.error(), message);
    }
    let without = Request::post("/generate").body(Body::from(text)).unwrap();
    let answer = stage.send(without).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for content_type in [JSON, "Application/JSON; charset=utf-8"] {
        assert_eq!(stage.post(content_type, text).await.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_told_so() {
    let stage = Stage::new(3);
    let message = "the body is larger than 64 MiB: send the text in parts";

    let known = Body::from(vec![b' '; MAX_BODY + 1]);
    let answer = stage.post(JSON, known).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.error(), message);

    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    let endless = stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    let answer = stage.post(JSON, Body::from_stream(endless)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.error(), message);

    let largest = Body::from(vec![b' '; MAX_BODY]);
    assert_eq!(
        stage.post(JSON, largest).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(start_paused = true)]
async fn a_text_of_more_segments_than_a_zip_should_have_is_refused() {
    let stage = Stage::new(3);
    let text = "「a」b".repeat(500_001);
    let answer = stage.generate(&text).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let message = "the text has more than 1000000 segments: send it in parts";
    assert_eq!(answer.error(), message);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_no_script() {
    let stage = Stage::new(3);
    let broken = stream::iter([
        Ok(Bytes::from_static(b"{\"text\"")),
        Err(std::io::Error::other("gone")),
    ]);
    let answer = stage.post(JSON, Body::from_stream(broken)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error().starts_with("the body broke off: "));
}

#[tokio::test(start_paused = true)]
async fn other_paths_and_methods_are_told_what_there_is() {
    let stage = Stage::new(3);
    let answer = stage.get("/").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.error(), "there is nothing here");
    let answer = stage.get("/generate").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers[header::ALLOW], "POST");
    assert!(answer.error().contains("POST /generate"));
    let answer = stage.get("/health").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json(), serde_json::json!({"status": "ok"}));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_gives_its_place_back() {
    let stage = Stage::new(3);
    let start = Instant::now();
    let never = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
    let answer = stage.post(JSON, never).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.error(), "the body has not arrived within 300 s");
    assert_eq!(start.elapsed().as_secs(), 300);
    stage.assert_calm(3);
}

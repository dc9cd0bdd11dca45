//! What the two endpoints accept, and what they answer: statuses, headers and bodies as captured from
//! the real API, which is why bodies are written out: the order of their fields is the real one.

use std::{
    convert::Infallible,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use crate::mock::{Received, Refusal, RefusedBy, answer};

const DOCS: &str =
    "https://elevenlabs.io/docs/eleven-api/resources/errors#rate-limiting-and-concurrency";

/// Every part that the mock reads of a request to clone a voice.
#[derive(Debug, Default)]
struct Form {
    name: Option<String>,
    files: usize,
}

pub(super) fn check_tts(received: &Received<'_>) -> Option<Response<Bytes>> {
    let error = text(received).err()?;
    Some(schema(&[error]))
}

pub(super) fn tts(received: &Received<'_>, concurrency_headers: bool) -> Response<Bytes> {
    let text = text(received).unwrap_or_default();
    let voice_id = received.param("voice_id").unwrap_or_default();
    // Characters, not bytes: half a character would be no text at all.
    let first = |text: &str, n| text.chars().take(n).collect::<String>();
    let audio = format!("AUDIO({}):{}...", first(voice_id, 4), first(&text, 10));
    let mut response = Response::new(Bytes::from(audio));
    let headers = response.headers_mut();
    let audio = HeaderValue::from_static("audio/mpeg");
    headers.insert(header::CONTENT_TYPE, audio);
    if concurrency_headers {
        headers.insert("current-concurrent-requests", received.in_flight().into());
        if let Some(limit) = received.concurrency_limit() {
            headers.insert("maximum-concurrent-requests", limit.into());
        }
    }
    response
}

pub(super) fn check_clone_voice(received: &Received<'_>) -> Option<Response<Bytes>> {
    let form = form(received);
    let mut errors = Vec::new();
    if form.name.is_none() {
        errors.push(missing("name"));
    }
    if form.files == 0 {
        errors.push(missing("files"));
    }
    (!errors.is_empty()).then(|| schema(&errors))
}

pub(super) fn clone_voice(received: &Received<'_>) -> Response<Bytes> {
    let name = form(received).name.unwrap_or_default();
    let mut voice_id = String::from("voice_id::");
    for byte in &Sha1::digest(name)[..4] {
        let _ = write!(voice_id, "{byte:02x}");
    }
    let body = format!(r#"{{"voice_id":"{voice_id}","requires_verification":false}}"#);
    answer::json(StatusCode::OK, body)
}

/// Refusals in the API's current dialect, each with an id of its own, as its other answers have.
pub(super) fn refusals(seed: u64) -> impl Fn(&Refusal) -> Response<Bytes> {
    let ids = Mutex::new(fastrand::Rng::with_seed(seed));
    move |refusal| {
        let id = ids.lock().unwrap_or_else(PoisonError::into_inner).u128(..);
        let request_id = format!("{id:032x}");
        let (code, status, message) = match refusal.by() {
            RefusedBy::Concurrency { limit } => (
                "concurrent_limit_exceeded",
                "too_many_concurrent_requests",
                format!(
                    "Too many concurrent requests. Your current subscription is associated with a \
                     maximum of {limit} concurrent requests (running in parallel). This is done such \
                     that a single user does not overwhelm our systems and affect other users \
                     negatively. Please upgrade your subscription or contact sales if you want to \
                     increase this limit."
                ),
            ),
            RefusedBy::Rate { .. } => (
                "rate_limit_exceeded",
                "rate_limit_exceeded",
                "We are sorry, the system is experiencing heavy traffic, please try again.".into(),
            ),
        };
        let body = format!(
            r#"{{"detail":{{"type":"rate_limit_error","code":"{code}","message":"{message}","status":"{status}","request_id":"{request_id}","docs_url":"{DOCS}"}}}}"#
        );
        let mut response = answer::json(StatusCode::TOO_MANY_REQUESTS, body);
        let trace = HeaderValue::try_from(request_id).expect("hexadecimal digits are ASCII");
        response.headers_mut().insert("x-trace-id", trace);
        response
    }
}

/// The text to speak, or what is wrong with the request, in the words of FastAPI's validation.
fn text(received: &Received<'_>) -> Result<String, String> {
    let body = received.body();
    if body.is_empty() {
        return Err(error(
            "missing",
            r#"["body"]"#,
            "Field required",
            &Value::Null,
        ));
    }
    let body: Value = serde_json::from_slice(body).map_err(|cause| {
        let loc = format!(r#"["body",{}]"#, offset(body, &cause));
        error("json_invalid", &loc, "JSON decode error", &json!({}))
    })?;
    let Value::Object(fields) = &body else {
        let message = "Input should be a valid dictionary or object to extract fields from";
        return Err(error(
            "model_attributes_type",
            r#"["body"]"#,
            message,
            &body,
        ));
    };
    match fields.get("text") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let message = "Input should be a valid string";
            Err(error("string_type", r#"["body","text"]"#, message, other))
        }
        None => Err(missing("text")),
    }
}

/// Where in the body the error is, counted in bytes from its start.
fn offset(body: &[u8], error: &serde_json::Error) -> usize {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    before + error.column().saturating_sub(1)
}

/// What can be read of a multipart body; nothing if it is none.
fn form(received: &Received<'_>) -> Form {
    let content_type = received.head().headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let Some(boundary) = content_type.and_then(|text| multer::parse_boundary(text).ok()) else {
        return Form::default();
    };
    let body = received.body().clone();
    let body = stream::iter([Ok::<_, Infallible>(body)]);
    let mut multipart = multer::Multipart::new(body, boundary);
    let read = async {
        let mut form = Form::default();
        while let Ok(Some(field)) = multipart.next_field().await {
            match field.name() {
                Some("name") => form.name = field.text().await.ok(),
                Some("files") => form.files += 1,
                _ => {}
            }
        }
        form
    };
    // The whole body is in memory, so there is nothing that it could wait for.
    read.now_or_never().unwrap_or_default()
}

fn missing(field: &str) -> String {
    let loc = format!(r#"["body","{field}"]"#);
    error("missing", &loc, "Field required", &Value::Null)
}

fn error(kind: &str, loc: &str, message: &str, input: &Value) -> String {
    format!(r#"{{"type":"{kind}","loc":{loc},"msg":"{message}","input":{input}}}"#)
}

fn schema(errors: &[String]) -> Response<Bytes> {
    let body = format!(r#"{{"detail":[{}]}}"#, errors.join(","));
    answer::json(StatusCode::UNPROCESSABLE_ENTITY, body)
}

//! What the service answers.
//!
//! | | |
//! |---|---|
//! | `POST /generate` | `{"text": ...}` as `application/json`; a zip comes back |
//! | `GET /status` | what is going on, as JSON |
//! | `GET /health` | `{"status":"ok"}` |
//!
//! What goes wrong is answered with `{"error": ...}` and a status that says whose fault it was: 400, 408,
//! 413, 415 or 422 for what was sent, 502 for a provider, 503 if too many scripts are running, 500 for us. A zip
//! is complete or it is not sent: it is made before the answer begins.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::{
    archive::Finished,
    script::{Failure, NoScript},
    studio::{MAX_SCRIPTS, Studio},
};

/// The largest body that is read, in bytes. Its text, and where its segments are, is held in memory.
pub const MAX_BODY: usize = 64 << 20;

/// For how long a body may take to arrive: it has one of few places.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// For how long, and how much, of a body that is too large is read and forgotten before that is said.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 4 * MAX_BODY;

/// How much of a zip is read at once.
const CHUNK: usize = 64 << 10;

/// The whole service.
pub fn router(studio: Arc<Studio>) -> Router {
    Router::new()
        .route("/generate", post(generate))
        .route("/status", get(status))
        .route("/health", get(health))
        .fallback(async || Rejection::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            let message =
                "this path takes another method: POST /generate, GET /status, GET /health";
            Rejection::new(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .with_state(studio)
}

async fn generate(
    State(studio): State<Arc<Studio>>,
    request: Request,
) -> Result<Response, Rejection> {
    // Before anything is read, so that waiting bodies take no memory.
    let place = studio.place().ok_or_else(Rejection::busy)?;
    let json = timeout(BODY_TIMEOUT, read_body(request)).await;
    let json = json.map_err(|_| Rejection::too_slow())??;
    let script = studio.read(json).await?;
    let zip = studio.voice(script).await?;
    // What is left to do needs no memory to speak of.
    drop(place);
    Ok(send(zip))
}

async fn status(State(studio): State<Arc<Studio>>) -> Response {
    json_answer(StatusCode::OK, &studio.status())
}

async fn health() -> Response {
    json_answer(StatusCode::OK, &json!({"status": "ok"}))
}

async fn read_body(request: Request) -> Result<Bytes, Rejection> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|text| text.split(';').next());
    let is_json = essence.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Rejection::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body has to be JSON: send it with the header Content-Type: application/json",
        ));
    }
    let waits_for_us = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    let mut read = BytesMut::new();
    // Where the length is known, nothing of it is kept.
    let mut too_large = body.size_hint().lower() > MAX_BODY as u64;
    while !too_large {
        let Some(frame) = body.frame().await else {
            return Ok(read.freeze());
        };
        let frame = frame.map_err(|error| {
            let message = format!("the body broke off: {error}");
            Rejection::new(StatusCode::BAD_REQUEST, message)
        })?;
        if let Ok(data) = frame.into_data() {
            too_large = data.len() > MAX_BODY - read.len();
            if !too_large {
                read.extend_from_slice(&data);
            }
        }
    }
    drop(read);
    // Whoever has asked first is told before anything is sent.
    if !waits_for_us {
        // Neither an end nor a failure makes a difference.
        let _ = timeout(LINGER, discard(body)).await;
    }
    Err(Rejection::too_large())
}

/// Many clients do not look for an answer before they have sent everything: if the connection were closed
/// on them, they would never know why.
async fn discard(mut body: Body) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        left = match left.checked_sub(read) {
            Some(left) => left,
            None => return,
        };
    }
}

fn send(zip: Finished) -> Response {
    let file = tokio::fs::File::from_std(zip.file);
    let body = Body::from_stream(ReaderStream::with_capacity(file, CHUNK));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let text = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, text("application/zip"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(zip.size));
    let disposition = text("attachment; filename=\"drama.zip\"");
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    response
}

/// An answer that says what went wrong.
#[derive(Debug)]
struct Rejection {
    status: StatusCode,
    message: String,
}

impl Rejection {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    fn too_large() -> Self {
        let mib = MAX_BODY >> 20;
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {mib} MiB: send the text in parts"),
        )
    }

    fn too_slow() -> Self {
        let seconds = BODY_TIMEOUT.as_secs();
        let message = format!("the body has not arrived within {seconds} s");
        Self::new(StatusCode::REQUEST_TIMEOUT, message)
    }

    fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MAX_SCRIPTS} scripts are running already: try again later"),
        )
    }
}

impl From<NoScript> for Rejection {
    fn from(error: NoScript) -> Self {
        let status = match error {
            NoScript::NotJson(_) => StatusCode::BAD_REQUEST,
            NoScript::NoText(_) | NoScript::NothingToSay => StatusCode::UNPROCESSABLE_ENTITY,
            NoScript::TooManySegments => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        let status = match failure {
            Failure::Speech { .. } => StatusCode::BAD_GATEWAY,
            Failure::Archive(ref error) if error.kind() == io::ErrorKind::StorageFull => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            Failure::Archive(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, failure.to_string())
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = json_answer(self.status, &json!({"error": self.message}));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}

fn json_answer(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("all keys are texts");
    let content_type = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

//! What the mock answers, unless somebody says otherwise.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::{
    hooks::{Received, Refusal},
    report::RefusedBy,
};

/// What accepted requests are answered with by default.
pub(crate) fn success(_: &Received<'_>) -> Response<Bytes> {
    json(StatusCode::OK, r#"{"ok":true}"#)
}

/// What refused requests are answered with by default.
pub(crate) fn refusal(refusal: &Refusal) -> Response<Bytes> {
    let (error, message) = match refusal.by {
        RefusedBy::Rate { limit, period } => (
            "rate_limit_exceeded",
            format!("{limit} requests per {period:?} are allowed here"),
        ),
        RefusedBy::Concurrency { limit } => (
            "too_many_concurrent_requests",
            format!("{limit} requests at once are allowed here"),
        ),
    };
    let body = format!(r#"{{"error":"{error}","message":"{message}"}}"#);
    json(StatusCode::TOO_MANY_REQUESTS, body)
}

pub(crate) fn not_found() -> Response<Bytes> {
    json(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#)
}

pub(crate) fn method_not_allowed() -> Response<Bytes> {
    let body = r#"{"detail":"Method Not Allowed"}"#;
    json(StatusCode::METHOD_NOT_ALLOWED, body)
}

pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

//! What the gateway says itself.

use std::{error::Error, io, iter, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Body as _;
use http_body_util::Full;
use hyper_util::client::legacy;
use serde_json::{Value, json};
use tower::timeout::error::Elapsed;
use tower_throttle::{BoxError, Refused, RefusedReason, UnknownEndpoint};

use super::{head::PSEUDONYM, terms, upload::TooSlow};

pub(crate) type Answer = Response<Full<Bytes>>;

/// Tells such an answer from the upstream's own, and says what happened in the words of RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// In no standard, but exact, and what several SDKs look for first.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The gateway has not asked the upstream.
const UNASKED: &str = "proxy_internal_response";

/// Without the body, for a request that asked only how long it is: over HTTP/2, hyper would send it.
pub(crate) fn to(method: &Method, answer: Answer) -> Answer {
    if method != Method::HEAD {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Full::default())
}

pub(crate) fn ok(value: &Value) -> Answer {
    let body = format!("{value:#}\n");
    let mut answer = Response::new(Full::from(body));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// In the text format of Prometheus.
pub(crate) fn metrics(page: String) -> Answer {
    let mut answer = Response::new(Full::from(page));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}

/// As [`ok`], but for who asks whether requests are taken on.
pub(crate) fn not_ready(value: &Value) -> Answer {
    let mut answer = ok(value);
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}

/// And the connection ends with it.
pub(crate) fn close(mut answer: Answer) -> Answer {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

/// Why the gateway answers in place of the upstream.
pub(crate) fn reason(answer: &Answer) -> Option<&'static str> {
    answer.extensions().get().map(|Reason(reason)| *reason)
}

#[derive(Clone, Copy, Debug)]
struct Reason(&'static str);

/// A caller that has not sent all of its request.
pub(crate) fn broken_off(failure: &BoxError) -> Answer {
    if causes(failure).any(<dyn Error>::is::<TooSlow>) {
        return too_slow();
    }
    bad_request(&format!("the request's body broke off: {failure}"))
}

fn too_slow() -> Answer {
    let details = details("request_timed_out", &TooSlow.to_string());
    close(error(
        StatusCode::REQUEST_TIMEOUT,
        "http_request_error",
        &details,
    ))
}

pub(crate) fn bad_request(message: &str) -> Answer {
    let details = details("bad_request", message);
    error(StatusCode::BAD_REQUEST, "http_request_error", &details)
}

pub(crate) fn not_found(path: &str) -> Answer {
    let message = format!(
        "expected /__gateway__/status, /__gateway__/health or /__gateway__/metrics, not {path}"
    );
    let details = details("not_found", &message);
    error(StatusCode::NOT_FOUND, UNASKED, &details)
}

pub(crate) fn only_get() -> Answer {
    let details = details("method_not_allowed", "expected GET");
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, UNASKED, &details);
    let methods = HeaderValue::from_static("GET, HEAD");
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

pub(crate) fn not_implemented(message: &str) -> Answer {
    let details = details("not_implemented", message);
    error(StatusCode::NOT_IMPLEMENTED, UNASKED, &details)
}

pub(crate) fn shutting_down() -> Answer {
    let details = details("shutting_down", "the gateway is shutting down");
    error(StatusCode::SERVICE_UNAVAILABLE, UNASKED, &details)
}

pub(crate) fn upgrade_failed() -> Answer {
    let message = "the upstream has switched to a protocol that was not asked for";
    let details = details("upstream_failed", message);
    error(StatusCode::BAD_GATEWAY, "http_upgrade_failed", &details)
}

/// In place of an answer of the upstream.
pub(crate) fn failed(failure: &BoxError) -> Answer {
    if let Some(refused) = Refused::in_error(failure) {
        return self::refused(refused);
    }
    if let Some(unknown) = causes(failure).find_map(<dyn Error>::downcast_ref::<UnknownEndpoint>) {
        return bad_request(&format!("{}: {unknown}", terms::ENDPOINT));
    }
    if causes(failure).any(<dyn Error>::is::<TooSlow>) {
        return too_slow();
    }
    let message = causes(failure)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    if causes(failure).any(<dyn Error>::is::<Elapsed>) {
        let details = details("upstream_timed_out", "the upstream does not answer");
        return error(
            StatusCode::GATEWAY_TIMEOUT,
            "http_response_timeout",
            &details,
        );
    }
    if causes(failure).any(is_time_out) {
        let details = details("upstream_timed_out", &message);
        return error(StatusCode::GATEWAY_TIMEOUT, "connection_timeout", &details);
    }
    let details = details("upstream_failed", &message);
    let client: Option<&legacy::Error> = failure.downcast_ref();
    let what = match client {
        Some(error) if error.is_connect() => "destination_unavailable",
        _ => "connection_terminated",
    };
    error(StatusCode::BAD_GATEWAY, what, &details)
}

fn refused(refused: &Refused) -> Answer {
    let kind = match refused.reason() {
        RefusedReason::QueueFull => "queue_full",
        RefusedReason::WouldWaitTooLong => "would_wait_too_long",
        RefusedReason::DeadlineWouldPass => "deadline_would_pass",
        RefusedReason::WaitedTooLong => "waited_too_long",
        RefusedReason::ServerClosed => "server_closed",
        RefusedReason::NeverFits => "never_fits",
        RefusedReason::Closed => return shutting_down(),
        _ => "refused",
    };
    let mut details = details(kind, &refused.to_string());
    details.value["endpoint"] = refused.endpoint().into();
    details.value["scope"] = refused.scope().into();
    // Where only the end of other requests makes room, nobody knows when that will be.
    let wait = refused.retry_after().map(millis);
    details.value["retry_after_ms"] = wait.into();
    let status = match refused.reason() {
        // To send it again would not help.
        RefusedReason::NeverFits => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut answer = error(status, "connection_limit_reached", &details);
    if let Some(wait) = wait {
        let headers = answer.headers_mut();
        headers.insert(RETRY_AFTER, wait.div_ceil(1000).into());
        headers.insert(RETRY_AFTER_MS, wait.into());
    }
    answer
}

/// Rounded up: a moment earlier would be too early.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// What happened: a reason that is known beforehand, and what else there is to say.
struct Details {
    reason: &'static str,
    value: Value,
}

fn details(reason: &'static str, message: &str) -> Details {
    let value = json!({ "type": reason, "message": message });
    Details { reason, value }
}

fn error(status: StatusCode, what: &str, details: &Details) -> Answer {
    let mut answer = ok(&json!({ "error": details.value }));
    *answer.status_mut() = status;
    answer.extensions_mut().insert(Reason(details.reason));
    if let Ok(what) = HeaderValue::try_from(format!("{PSEUDONYM}; error={what}")) {
        answer.headers_mut().insert(PROXY_STATUS, what);
    }
    answer
}

fn causes(error: &BoxError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = &**error;
    iter::successors(Some(first), |&error| error.source())
}

fn is_time_out(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

//! The rules of the module's documentation, and what must hold for any answer. The table of dialects is tested by
//! the corpus (`tests/corpus`).

mod apis;
mod bodies;
mod delays;
mod elevenlabs;
mod properties;
mod quotas;
mod refusals;
mod reported;
mod retry_after;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    Answer, Classify, MAX_RETRY_AFTER, Profile, QuotaReport, Signal, SignalKind, SignalScope,
};

/// 2025-08-21T12:40:00Z.
const NOW: Duration = Duration::from_secs(1_755_780_000);
const DATE: &str = "Thu, 21 Aug 2025 12:40:00 GMT";

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what it is compared with is optional"
)]
fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn classify_as(
    profile: Profile,
    status: u16,
    pairs: &[(&'static str, &str)],
    body: &str,
) -> Option<Signal> {
    let headers = headers(pairs);
    let status = StatusCode::from_u16(status).unwrap();
    profile.classify(&Answer::new(status, &headers, now()).with_body(body.as_bytes()))
}

fn classify(status: u16, pairs: &[(&'static str, &str)]) -> Option<Signal> {
    classify_as(Profile::Standard, status, pairs, "")
}

fn kind_of(status: u16, body: &str) -> Option<SignalKind> {
    classify_as(Profile::Standard, status, &[], body).map(|signal| signal.kind())
}

/// The delay that a 429 with these headers names.
fn delay(pairs: &[(&'static str, &str)]) -> Option<Duration> {
    classify(429, pairs).unwrap().retry_after()
}

fn quota_as(profile: Profile, pairs: &[(&'static str, &str)]) -> Option<QuotaReport> {
    let headers = headers(pairs);
    profile.quota(&Answer::new(StatusCode::OK, &headers, now()))
}

fn quota(pairs: &[(&'static str, &str)]) -> Option<QuotaReport> {
    quota_as(Profile::Standard, pairs)
}

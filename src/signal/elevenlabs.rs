//! ElevenLabs: the reason is in the body, the concurrency in headers of successes.
//!
//! A refusal is `{"detail": {"status": S, "code": C, "message": M, ..}}`; before 2026 there was no
//! `code`, and now one of the two may be unspecific, so either counts. No refusal captured so far
//! had a `Retry-After` or the concurrency headers; the limit is in the message only.

use http::{HeaderMap, HeaderName, StatusCode};

use super::{QuotaReport, SignalKind, json::Members, retry};

pub(super) static CURRENT: HeaderName = HeaderName::from_static("current-concurrent-requests");
pub(super) static MAXIMUM: HeaderName = HeaderName::from_static("maximum-concurrent-requests");

/// The reason for a refusal, by the members of `detail`.
pub(super) fn kind(detail: &Members<'_>, status: StatusCode) -> Option<SignalKind> {
    let says = |any: &[&str]| any.iter().any(|identifier| detail.says(identifier));
    // Out of credits is what 401 and 402 may mean, too.
    if says(&["quota_exceeded", "insufficient_credits"]) {
        return Some(SignalKind::QuotaExhausted);
    }
    if matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED
    ) {
        return None;
    }
    if says(&["too_many_concurrent_requests", "concurrent_limit_exceeded"]) {
        return Some(SignalKind::Concurrency);
    }
    if says(&["system_busy"]) {
        return Some(SignalKind::Overload);
    }
    if says(&["rate_limit_exceeded"]) {
        // Speech-to-text calls it so when it is the system that is busy (2026-09).
        return Some(if detail.message.contains("heavy traffic") {
            SignalKind::Overload
        } else {
            SignalKind::Rate
        });
    }
    None
}

/// The limit that the message of a concurrency refusal names: "a maximum of 4 concurrent requests".
pub(super) fn limit(message: &str) -> Option<usize> {
    const BEFORE: &str = "maximum of ";
    message.match_indices(BEFORE).find_map(|(at, _)| {
        let (number, after) = message[at + BEFORE.len()..].split_once(' ')?;
        let limit = number.parse().ok().filter(|&limit: &usize| limit > 0)?;
        after.starts_with("concurrent").then_some(limit)
    })
}

/// Adds what the headers say about requests in flight.
pub(super) fn in_flight(headers: &HeaderMap, report: &mut QuotaReport) {
    let first = |name| retry::texts(headers, name).next()?.trim().parse().ok();
    if let Some(maximum) = first(&MAXIMUM).filter(|&maximum| maximum > 0) {
        report.maximum_concurrency = Some(maximum);
    }
    report.current_concurrency = first(&CURRENT).or(report.current_concurrency);
}

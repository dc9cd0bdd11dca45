//! ElevenLabs: the reason is in the body, the concurrency in headers of successes.
//!
//! A refusal is `{"detail": {"status": S, "code": C, "message": M, ..}}`; before 2026 there was no
//! `code`, and now one of the two may be unspecific, so either counts. No refusal captured so far
//! had a `Retry-After` or the concurrency headers; the limit is in the message only.

use http::{HeaderMap, HeaderName, StatusCode};

use crate::signal::{
    answer::Answer,
    dialect::{Dialect, Meaning, Reading},
    headers,
    known::Pattern,
    meaning::SignalKind,
    report::QuotaReport,
};

pub(super) const ELEVENLABS: Dialect = Dialect {
    headers: &Pattern::all([CURRENT, MAXIMUM]),
    report,
    meaning,
    ..Dialect::NONE
};

const CURRENT: &str = "current-concurrent-requests";
const MAXIMUM: &str = "maximum-concurrent-requests";

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    kind(reading).map(Meaning::Refused).or_else(|| {
        let headers = reading.answer.headers();
        let full = first(headers, CURRENT)? >= maximum(headers)?;
        (full && reading.status() == StatusCode::TOO_MANY_REQUESTS)
            .then_some(Meaning::Refused(SignalKind::Concurrency))
    })
}

/// The reason for a refusal, by the members of `detail`.
fn kind(reading: &Reading<'_>) -> Option<SignalKind> {
    let detail = &reading.text.detail;
    let says = |any: &[&str]| any.iter().any(|identifier| detail.says(identifier));
    // Out of credits is what 401 and 402 may mean, too.
    if says(&["quota_exceeded", "insufficient_credits"]) {
        return Some(SignalKind::QuotaExhausted);
    }
    if matches!(
        reading.status(),
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

/// Adds what the headers say about requests in flight.
fn report(answer: &Answer<'_>, report: &mut QuotaReport) {
    report.maximum_concurrency = maximum(answer.headers()).or(report.maximum_concurrency);
    let current = first(answer.headers(), CURRENT);
    report.current_concurrency = current.or(report.current_concurrency);
}

/// How many requests the headers say that the server takes at once.
pub(in crate::signal) fn maximum(headers: &HeaderMap) -> Option<usize> {
    let maximum = first(headers, MAXIMUM);
    maximum.filter(|&maximum| maximum > 0)
}

fn first(headers: &HeaderMap, name: &'static str) -> Option<usize> {
    headers::texts(headers, &HeaderName::from_static(name))
        .next()?
        .trim()
        .parse()
        .ok()
}

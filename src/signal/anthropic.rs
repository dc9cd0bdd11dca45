//! Anthropic: `anthropic-ratelimit-{requests,tokens,..}-{limit,remaining,reset}`.
//!
//! `reset` is a date (RFC 3339), and when the bucket is *full* again, long after one more request
//! fits; of a full bucket it may lie before the answer's own `Date`. A refusal has a `Retry-After`.

use http::StatusCode;

use super::{Answer, SignalKind, buckets::Buckets, json::Members, x_ratelimit};

pub(super) const PREFIX: &str = "anthropic-ratelimit-";

/// The reason for a refusal, by the members of `error`.
pub(super) fn kind(error: &Members<'_>, status: StatusCode) -> Option<SignalKind> {
    if error.says("overloaded_error") {
        return Some(SignalKind::Overload);
    }
    // "Number of concurrent connections has exceeded your rate limit." (cline/cline#4351)
    let limited = status == StatusCode::TOO_MANY_REQUESTS;
    (limited && error.message.contains("concurrent connections")).then_some(SignalKind::Concurrency)
}

pub(super) fn buckets<'a>(answer: &Answer<'a>) -> Buckets<'a> {
    let mut buckets = x_ratelimit::read(answer, &[PREFIX]);
    for bucket in buckets.iter_mut() {
        bucket.gradual = true;
    }
    buckets
}

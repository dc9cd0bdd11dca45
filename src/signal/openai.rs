//! OpenAI, Azure OpenAI, and the many that answer in their way.
//!
//! `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` are read without a profile. What looking
//! cannot tell is that `reset` is when the bucket is *full* again ("time until the rate limit resets
//! to its initial state"), long after one more request fits. Waits are Go durations, or seconds at
//! Azure, which also leaves `-1` and a reset of `0` where it does not know: both say nothing.

use super::{
    Answer, SignalKind,
    buckets::{Buckets, Unit},
    json::Members,
    x_ratelimit,
};

/// The reason for a refusal, by the members of `error`. Without a profile, since a client that
/// takes this for a rate limit tries for ever.
pub(super) fn kind(error: &Members<'_>) -> Option<SignalKind> {
    [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
    ]
    .iter()
    .any(|identifier| error.says(identifier))
    .then_some(SignalKind::QuotaExhausted)
}

pub(super) fn buckets<'a>(answer: &Answer<'a>) -> Buckets<'a> {
    let mut buckets = x_ratelimit::read(answer, x_ratelimit::PREFIXES);
    for bucket in buckets.iter_mut() {
        bucket.gradual = bucket.unit == Unit::Other || bucket.name.contains("requests");
    }
    buckets
}

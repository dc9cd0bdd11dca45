//! OpenAI, Azure OpenAI, and the many that answer in their way.
//!
//! `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` are read without a profile. What looking
//! cannot tell is that `reset` is when the bucket is *full* again ("time until the rate limit resets
//! to its initial state"), long after one more request fits. Waits are Go durations, or seconds at
//! Azure, which also leaves `-1` and a reset of `0` where it does not know: both say nothing.

use super::x_ratelimit;
use crate::signal::{
    answer::Answer,
    buckets::{Buckets, Unit},
    dialect::Dialect,
};

pub(super) const OPENAI: Dialect = Dialect {
    headers: &x_ratelimit::PATTERNS,
    buckets,
    ..Dialect::NONE
};

fn buckets<'a>(answer: &Answer<'a>) -> Buckets<'a> {
    let mut buckets = x_ratelimit::read(answer, &x_ratelimit::NAMES);
    for bucket in buckets.iter_mut() {
        bucket.gradual = bucket.unit == Unit::Other || bucket.name.contains("requests");
    }
    buckets
}

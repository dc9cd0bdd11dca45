//! Anthropic: `anthropic-ratelimit-{requests,tokens,..}-{limit,remaining,reset}`.
//!
//! `reset` is a date (RFC 3339), and when the bucket is *full* again, long after one more request
//! fits; of a full bucket it may lie before the answer's own `Date`. A refusal has a `Retry-After`. That there
//! are no credits is said with a 400.

use http::StatusCode;

use super::x_ratelimit::{self, Names};
use crate::signal::{
    answer::Answer,
    buckets::Buckets,
    dialect::{Dialect, Meaning, Reading},
    known::Pattern,
    meaning::SignalKind,
    words::Sentence,
};

pub(super) const ANTHROPIC: Dialect = Dialect {
    refuses: &[400],
    headers: &Pattern::all(HEADERS),
    buckets,
    meaning,
    ..Dialect::NONE
};

const HEADERS: [&str; 1] = ["anthropic-ratelimit-"];

static NAMES: Names = Names::new(&HEADERS);

/// By the members of `error`.
fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let error = &reading.text.error;
    if reading.status() == StatusCode::BAD_REQUEST {
        let is_used_up = Sentence::new(error.message).names_no_credits();
        return Some(if is_used_up {
            Meaning::Refused(SignalKind::QuotaExhausted)
        } else {
            Meaning::NoLimit
        });
    }
    if error.says("overloaded_error") {
        return Some(Meaning::Refused(SignalKind::Overload));
    }
    // "Number of concurrent connections has exceeded your rate limit." (cline/cline#4351)
    let limited = reading.status() == StatusCode::TOO_MANY_REQUESTS;
    (limited && error.message.contains("concurrent connections"))
        .then_some(Meaning::Refused(SignalKind::Concurrency))
}

fn buckets<'a>(answer: &Answer<'a>) -> Buckets<'a> {
    let mut buckets = x_ratelimit::read(answer, &NAMES);
    for bucket in buckets.iter_mut() {
        bucket.gradual = true;
    }
    buckets
}

//! One header for each fact: `RateLimit-Limit`, `X-RateLimit-Remaining`, `X-Rate-Limit-Reset` ...
//!
//! Behind the prefix a name has a field and perhaps a bucket, in either order:
//! `x-ratelimit-remaining-requests` (OpenAI), `x-ratelimit-requests-remaining` (RapidAPI),
//! `X-RateLimit-Limit-Minute` (Kong). Fields of the same bucket belong together.
//!
//! A `Reset` may be a wait or a time, in any form that is understood anywhere: GitHub means seconds
//! since the epoch, Reddit seconds from now, and their size tells them apart. Milliseconds from now
//! (Prisjakt) cannot be told from seconds, and are taken for those.

use std::time::Duration;

use super::ratelimit;
use crate::signal::{
    Answer,
    buckets::{self, Buckets, Unit},
    dialect::Dialect,
    retry, time,
};

pub(super) const SEPARATE_HEADERS: Dialect = Dialect {
    headers: HEADERS,
    buckets: |answer| read(answer, HEADERS),
    ..Dialect::NONE
};

/// How the names of the headers begin.
pub(super) const HEADERS: &[&str] = &["x-ratelimit-", "ratelimit-", "x-rate-limit-"];

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Limit,
    Remaining,
    Reset,
    /// A wait, by a name that admits no other reading: `Reset-After` (Discord), `Retry-After`
    /// (MailerLite).
    After,
}

/// Longer names first, since `reset` is a part of one of them.
const FIELDS: [(&str, Field); 5] = [
    ("reset-after", Field::After),
    ("retry-after", Field::After),
    ("limit", Field::Limit),
    ("remaining", Field::Remaining),
    ("reset", Field::Reset),
];

/// All buckets that headers with one of the prefixes describe.
pub(super) fn read<'a>(answer: &Answer<'a>, prefixes: &[&str]) -> Buckets<'a> {
    let mut buckets = Buckets::default();
    for (name, value) in answer.headers() {
        let name = name.as_str();
        let Some(rest) = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)) else {
            continue;
        };
        let (Some((field, bucket)), Some(text)) = (split(rest), retry::text(value)) else {
            continue;
        };
        let Some(bucket) = buckets.named(bucket) else {
            continue;
        };
        bucket.unit = unit(bucket.name);
        if bucket.period.is_none() {
            bucket.period = period(bucket.name);
        }
        match field {
            Field::Limit => limit(bucket, text),
            Field::Remaining => {
                for (remaining, window) in buckets::windows(text) {
                    bucket.leave(remaining);
                    bucket.period = bucket.period.or(window);
                }
            }
            Field::Reset | Field::After => bucket.reset_in(time::parse(text, answer)),
        }
    }
    ratelimit::describe(answer.headers(), &mut buckets);
    buckets
}

/// `10`, `100;w=21600`, or `10, 10;w=1, 50;w=60`: the limit comes first, and its window may be told
/// by a later entry.
fn limit(bucket: &mut buckets::Bucket<'_>, text: &str) {
    let Some((limit, _)) = buckets::windows(text).next() else {
        return;
    };
    bucket.limit = Some(limit);
    let window = buckets::windows(text).find_map(|(n, window)| window.filter(|_| n == limit));
    bucket.period = bucket.period.or(window);
}

/// The field and the bucket that the rest of a name tells.
fn split(rest: &str) -> Option<(Field, &str)> {
    FIELDS.iter().find_map(|&(word, field)| {
        if rest == word {
            return Some((field, ""));
        }
        let bucket = rest
            .strip_prefix(word)
            .and_then(|rest| rest.strip_prefix('-'))
            .or_else(|| {
                rest.strip_suffix(word)
                    .and_then(|rest| rest.strip_suffix('-'))
            })?;
        Some((field, bucket))
    })
}

fn unit(bucket: &str) -> Unit {
    if bucket.contains("token") || bucket.contains("byte") {
        Unit::Other
    } else {
        Unit::Requests
    }
}

/// The window that the name of a bucket tells: `minute` (Kong), `requests-day` (Cerebras).
fn period(bucket: &str) -> Option<Duration> {
    let seconds = bucket.split(['-', '_']).find_map(|word| match word {
        "second" => Some(1),
        "minute" => Some(60),
        "hour" => Some(60 * 60),
        "day" => Some(24 * 60 * 60),
        _ => None,
    })?;
    Some(Duration::from_secs(seconds))
}

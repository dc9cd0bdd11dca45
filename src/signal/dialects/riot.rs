//! Riot Games: several windows for the application and several for each method.
//!
//! `X-App-Rate-Limit: 20:1,100:120` allows 20 per second and 100 per two minutes, and
//! `X-App-Rate-Limit-Count` is what has been used of each. `X-Rate-Limit-Type` tells which refused;
//! when there is none it was the back-end, which does not know how long either.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::credits;
use crate::signal::{
    answer::Answer,
    buckets::{Bucket, Buckets},
    dialect::{Dialect, Meaning, Reading},
    headers,
    known::Pattern,
    meaning::{SignalKind, SignalScope},
    time,
};

pub(super) const RIOT: Dialect = Dialect {
    headers: &Pattern::all(["x-app-", "x-method-"]),
    buckets,
    meaning,
    scope,
    ..Dialect::NONE
};

/// Whose limit it is, the limit, and what is used of it.
static LIMITS: [(SignalScope, HeaderName, HeaderName); 2] = [
    (
        SignalScope::Everything,
        HeaderName::from_static("x-app-rate-limit"),
        HeaderName::from_static("x-app-rate-limit-count"),
    ),
    (
        SignalScope::Endpoint,
        HeaderName::from_static("x-method-rate-limit"),
        HeaderName::from_static("x-method-rate-limit-count"),
    ),
];

static TYPE: HeaderName = HeaderName::from_static("x-rate-limit-type");

/// What a 429 means.
fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    if reading.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let limit = headers::texts(reading.answer.headers(), &TYPE).next();
    match limit {
        Some("application" | "method") => Some(Meaning::Refused(SignalKind::Rate)),
        _ if credits::is_used_up(reading) => None,
        // "service", or none.
        _ => Some(Meaning::Refused(SignalKind::Overload)),
    }
}

fn scope(reading: &Reading<'_>) -> Option<SignalScope> {
    let limit = headers::texts(reading.answer.headers(), &TYPE).next();
    (limit == Some("application")).then_some(SignalScope::Everything)
}

fn buckets<'a>(answer: &Answer<'a>) -> Buckets<'a> {
    let headers = answer.headers();
    let mut buckets = Buckets::default();
    for (scope, limit, count) in &LIMITS {
        let (Some(limits), Some(counts)) = (
            headers::texts(headers, limit).next(),
            headers::texts(headers, count).next(),
        ) else {
            continue;
        };
        for (limit, period) in pairs(limits) {
            // The windows are matched by their length: nothing promises the same order.
            let used = pairs(counts).find(|&(_, of)| of == period);
            buckets.push(Bucket {
                scope: *scope,
                limit: Some(limit),
                remaining: used.map(|(used, _)| limit.saturating_sub(used)),
                period: Some(period),
                ..Bucket::default()
            });
        }
    }
    buckets
}

/// `20:1,100:120`.
fn pairs(text: &str) -> impl Iterator<Item = (u64, Duration)> {
    text.split(',').filter_map(|pair| {
        let (number, seconds) = pair.trim().split_once(':')?;
        let period = time::wait(Duration::from_secs(seconds.parse().ok()?))?;
        Some((number.parse().ok()?, period))
    })
}

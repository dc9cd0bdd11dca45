//! HubSpot: a limit of some seconds and one of a day, each with headers of its own, and in the body the
//! name of the one that refused.
//!
//! `X-HubSpot-RateLimit-Interval-Milliseconds` is the length of the window that `-Max` and `-Remaining`
//! are about; `-Secondly` and `-Daily` tell theirs by their names. When one is whole again is not told; it slides, so
//! a whole one is waited for.

use std::time::Duration;

use http::HeaderName;

use crate::signal::{
    answer::Answer,
    buckets::{self, Bucket, Buckets},
    dialect::{Dialect, Meaning, Reading},
    headers,
    known::Pattern,
    meaning::SignalKind,
    time,
};

pub(super) const HUBSPOT: Dialect = Dialect {
    headers: &Pattern::all(["x-hubspot-ratelimit-"]),
    buckets,
    meaning,
    unnamed_delay,
    ..Dialect::NONE
};

static INTERVAL: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-interval-milliseconds");
static MAX: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-max");
static REMAINING: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-remaining");
static SECONDLY: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-secondly");
static SECONDLY_REMAINING: HeaderName =
    HeaderName::from_static("x-hubspot-ratelimit-secondly-remaining");
static DAILY: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-daily");
static DAILY_REMAINING: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-daily-remaining");

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn buckets<'a>(answer: &Answer<'a>) -> Buckets<'a> {
    let count = |name| {
        let text = headers::texts(answer.headers(), name).next()?;
        buckets::count(text)
    };
    let mut all = Buckets::default();
    for (limit, remaining, period) in [
        (&MAX, &REMAINING, interval(answer)),
        (&SECONDLY, &SECONDLY_REMAINING, Some(SECOND)),
        (&DAILY, &DAILY_REMAINING, Some(DAY)),
    ] {
        let (limit, remaining) = (count(limit), count(remaining));
        if remaining.is_some() {
            all.push(Bucket {
                limit,
                remaining,
                period,
                ..Bucket::default()
            });
        }
    }
    all
}

fn interval(answer: &Answer<'_>) -> Option<Duration> {
    let text = headers::texts(answer.headers(), &INTERVAL).next()?;
    time::milliseconds(text, answer)
}

/// `DAILY`, `TEN_SECONDLY_ROLLING`, `SECONDLY`.
fn policy<'a>(reading: &Reading<'a>) -> Option<&'a str> {
    let mut scalars = reading.text.scalars();
    let policy = scalars.find(|of| (of.depth, of.name) == (0, "policyName"))?;
    Some(policy.text)
}

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let is_daily = policy(reading) == Some("DAILY");
    is_daily.then_some(Meaning::Refused(SignalKind::QuotaExhausted))
}

fn unnamed_delay(reading: &Reading<'_>) -> Option<Duration> {
    match policy(reading) {
        Some("DAILY") => None,
        policy => interval(&reading.answer).or(match policy {
            Some("TEN_SECONDLY_ROLLING") => Some(Duration::from_secs(10)),
            Some("SECONDLY") => Some(SECOND),
            _ => None,
        }),
    }
}

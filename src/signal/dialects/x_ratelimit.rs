//! One header for each fact: `RateLimit-Limit`, `X-RateLimit-Remaining`, `X-Rate-Limit-Reset` ...
//!
//! Behind the prefix a name has a field and perhaps a bucket, in either order:
//! `x-ratelimit-remaining-requests` (OpenAI), `x-ratelimit-requests-remaining` (RapidAPI),
//! `X-RateLimit-Limit-Minute` (Kong). Fields of the same bucket belong together. A second window may have
//! a prefix of its own: `x-app-limit-24hour-remaining` (X).
//!
//! A `Reset` may be a wait or a time, in any form that is understood anywhere: GitHub means seconds
//! since the epoch, Reddit seconds from now, and their size tells them apart. Milliseconds from now
//! are told from seconds by the end of the name only (`X-RateLimit-Reset-Ms`).

use std::time::Duration;

use super::ratelimit;
use crate::signal::{
    answer::Answer,
    buckets::{self, Buckets, Unit},
    dialect::Dialect,
    headers,
    known::{Known, Pattern},
    names::NamedUnit,
};

pub(super) const SEPARATE_HEADERS: Dialect = Dialect {
    headers: &PATTERNS,
    buckets: |answer| read(answer, &NAMES),
    ..Dialect::NONE
};

/// Names of headers: the beginnings of most.
pub(super) struct Names {
    all: &'static [&'static str],
    known: Known,
}

impl Names {
    pub(super) const fn new(all: &'static [&'static str]) -> Self {
        let mut known = Known::NONE;
        let mut at = 0;
        while at < all.len() {
            known = known.and(&[Pattern::new(all[at])]);
            at += 1;
        }
        Self { all, known }
    }
}

pub(super) static NAMES: Names = Names::new(&HEADERS);

pub(super) const PATTERNS: [Pattern; 12] = Pattern::all(HEADERS);

const HEADERS: [&str; 12] = [
    "x-ratelimit-",
    "ratelimit-",
    "x-rate-limit-",
    "rate-limit-",
    "fastly-ratelimit-",
    "fitbit-rate-limit-",
    "x-esi-error-limit-",
    "x-ms-ratelimit-",
    "x-post-rate-limit-",
    "x-sentry-rate-limit-",
    LIMIT_ITSELF,
    OTHER_WINDOWS,
];

/// Zendesk's limit.
const LIMIT_ITSELF: &str = "x-rate-limit";

/// Names of another window's headers, if they say that it is one of requests.
const OTHER_WINDOWS: &str = "x-*-remaining";

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Limit,
    Remaining,
    Reset,
    /// A wait, by a name that admits no other reading: `Reset-After` (Discord), `Retry-After`
    /// (MailerLite).
    After,
    /// The length of the window.
    Period,
}

/// Longer names first, since `reset` is a part of one of them.
const FIELDS: [(&str, Field); 18] = [
    ("left", Field::Remaining),
    ("resetafter", Field::After),
    ("retryafter", Field::After),
    ("resettime", Field::Reset),
    ("resetat", Field::Reset),
    ("resetin", Field::Reset),
    ("reset-after", Field::After),
    ("retry-after", Field::After),
    ("interval", Field::Period),
    ("window", Field::Period),
    ("period", Field::Period),
    ("remaining", Field::Remaining),
    ("remain", Field::Remaining),
    ("reset", Field::Reset),
    ("limit", Field::Limit),
    ("max", Field::Limit),
    ("total", Field::Limit),
    ("quota", Field::Limit),
];

/// All buckets that headers of these names describe.
pub(super) fn read<'a>(answer: &Answer<'a>, names: &Names) -> Buckets<'a> {
    let mut buckets = Buckets::default();
    let reads_others = names.all.contains(&OTHER_WINDOWS);
    let mut has_columns = false;
    for (name, value) in answer.headers() {
        let may_match = names.known.may_match(name);
        let name = name.as_str();
        let of_prefix = if may_match {
            names.all.iter().find_map(|start| name.strip_prefix(start))
        } else {
            None
        };
        let parts = match of_prefix {
            Some(_) if name == LIMIT_ITSELF => Some((Field::Limit, "")),
            // The unit may stand behind the field, or behind all.
            Some(rest) => split(rest).or_else(|| split(NamedUnit::at_end(rest, "-").0)),
            None if reads_others => split_other(name),
            None => None,
        };
        let (Some((field, bucket)), Some(text)) = (parts, headers::text(value)) else {
            continue;
        };
        has_columns |= field == Field::Remaining && text.contains(',');
        let (bucket, unit_of_value) = match field {
            Field::Limit | Field::Remaining => (bucket, NamedUnit::None),
            Field::Reset | Field::After | Field::Period => {
                let (_, unit) = NamedUnit::at_end(name, "-");
                let (bucket, _) = NamedUnit::at_end(bucket, "-");
                (without_reset_words(bucket), unit)
            }
        };
        let Some(bucket) = buckets.named(bucket) else {
            continue;
        };
        if bucket.is_untouched() {
            bucket.unit = unit(bucket.name);
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
            Field::Reset | Field::After => bucket.reset_in(unit_of_value.read(text, answer)),
            Field::Period => bucket.period = unit_of_value.read(text, answer).or(bucket.period),
        }
    }
    buckets.join_reset();
    buckets.join_period();
    if has_columns {
        split_columns(answer, names.all, &mut buckets);
    }
    ratelimit::describe(answer.headers(), &mut buckets);
    buckets
}

/// What may stand beside `reset` in a name, and names no bucket: `X-RateLimit-Reset-At`.
fn without_reset_words(bucket: &str) -> &str {
    const WORDS: [&str; 11] = [
        "in",
        "at",
        "time",
        "date",
        "epoch",
        "timestamp",
        "unix",
        "utc",
        "ts",
        "until",
        "left",
    ];
    let mut rest = bucket;
    loop {
        let shorter = WORDS.iter().find_map(|word| {
            let end = rest
                .strip_suffix(word)
                .filter(|rest| rest.is_empty() || rest.ends_with('-'));
            let start = || rest.strip_prefix(word).filter(|rest| rest.starts_with('-'));
            end.or_else(start)
        });
        match shorter {
            Some(shorter) => rest = shorter.trim_matches('-'),
            None => return rest,
        }
    }
}

/// Some list their windows in columns: `X-RateLimit-Remaining: 0, 14700`, `-Reset: 1, 1419704` (Brave). Each
/// column is a bucket of its own.
fn split_columns<'a>(answer: &Answer<'a>, names: &[&str], buckets: &mut Buckets<'a>) {
    let list = |prefix: &str, field: &str| {
        let mut headers = answer.headers().iter();
        let (_, value) =
            headers.find(|(name, _)| name.as_str().strip_prefix(prefix) == Some(field))?;
        headers::text(value).filter(|text| text.contains(','))
    };
    let column = |prefix: &str, field: &str| list(prefix, field).filter(|text| !text.contains(';'));
    for prefix in names {
        let (Some(remaining), Some(resets)) =
            (column(prefix, "remaining"), column(prefix, "reset"))
        else {
            continue;
        };
        let mut limits = column(prefix, "limit")
            .into_iter()
            .flat_map(|text| text.split(','));
        let columns = remaining.split(',').count();
        let policy = list(prefix, "policy").filter(|of| buckets::windows(of).count() == columns);
        let mut policy = policy.into_iter().flat_map(buckets::windows);
        if columns != resets.split(',').count() {
            continue;
        }
        buckets.remove("");
        for (remaining, reset) in remaining.split(',').zip(resets.split(',')) {
            buckets.push(buckets::Bucket {
                limit: limits.next().and_then(buckets::count),
                remaining: buckets::count(remaining),
                reset: NamedUnit::None.read(reset, answer),
                period: policy.next().and_then(|(_, window)| window),
                ..buckets::Bucket::default()
            });
        }
    }
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
    FIELDS
        .iter()
        .find_map(|&(word, field)| {
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
        .or_else(|| split_joined(rest))
}

/// Names in which whose it is stands right before the field: `X-RateLimit-UserRemaining` (Imgur),
/// `X-Sentry-Rate-Limit-ConcurrentLimit`.
fn split_joined(rest: &str) -> Option<(Field, &str)> {
    ["user", "client", "concurrent"]
        .into_iter()
        .find_map(|bucket| {
            let field = rest.strip_prefix(bucket)?;
            let (_, field) = FIELDS.iter().find(|(word, _)| *word == field)?;
            Some((*field, &rest[..bucket.len()]))
        })
}

/// The same of another window: its name stands before the field, and says that requests are limited.
fn split_other(name: &str) -> Option<(Field, &str)> {
    let (field, bucket) = split(name.strip_prefix("x-")?)?;
    let limited = ["limit", "quota", "request", "call", "concurren"];
    let is_last = !name.ends_with(bucket);
    (is_last && limited.iter().any(|word| bucket.contains(word))).then_some((field, bucket))
}

fn unit(bucket: &str) -> Unit {
    let others = ["tokens", "byte", "credit", "point", "cost", "character"];
    if bucket.contains("concurren") {
        Unit::InFlight
    } else if others.iter().any(|other| bucket.contains(other)) {
        Unit::Other
    } else {
        Unit::Requests
    }
}

/// The window that the name of a bucket tells: `minute` (Kong), `requests-day` (Cerebras), `24hour` (X),
/// `daylimit` (Xero).
fn period(bucket: &str) -> Option<Duration> {
    let seconds = bucket.split(['-', '_']).find_map(|word| {
        let word = word.strip_suffix("limit").unwrap_or(word);
        let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let count = word[..word.len() - unit.len()].parse().unwrap_or(1);
        let seconds = match unit {
            "second" | "secondly" => 1,
            "minute" | "minutely" | "min" => 60,
            "hour" | "hourly" => 60 * 60,
            "day" | "daily" => 24 * 60 * 60,
            _ => return None,
        };
        Some(seconds * u64::from(u16::max(count, 1)))
    })?;
    Some(Duration::from_secs(seconds))
}

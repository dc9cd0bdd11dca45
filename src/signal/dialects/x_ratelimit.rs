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

use std::{ops::Range, str, time::Duration};

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
    /// Whether [`OTHER_WINDOWS`] are among them.
    reads_others: bool,
}

impl Names {
    pub(super) const fn new(all: &'static [&'static str]) -> Self {
        let (mut known, mut reads_others) = (Known::NONE, false);
        let mut at = 0;
        while at < all.len() {
            let pattern = Pattern::new(all[at]);
            known = known.and(&[pattern]);
            reads_others |= matches!(pattern, Pattern::Around(..));
            at += 1;
        }
        Self {
            all,
            known,
            reads_others,
        }
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

impl Field {
    /// What one word of a name tells, or two, and its rank: of several fields that a name tells, the one of the
    /// smallest rank counts.
    #[inline]
    fn of(word: &[u8]) -> Option<(u8, Self)> {
        Some(match word {
            b"left" => (0, Self::Remaining),
            b"resetafter" => (1, Self::After),
            b"retryafter" => (2, Self::After),
            b"resettime" => (3, Self::Reset),
            b"resetat" => (4, Self::Reset),
            b"resetin" => (5, Self::Reset),
            b"reset-after" => (6, Self::After),
            b"retry-after" => (7, Self::After),
            b"interval" => (8, Self::Period),
            b"window" => (9, Self::Period),
            b"period" => (10, Self::Period),
            b"remaining" => (11, Self::Remaining),
            b"remain" => (12, Self::Remaining),
            b"reset" => (13, Self::Reset),
            b"limit" => (14, Self::Limit),
            b"max" => (15, Self::Limit),
            b"total" => (16, Self::Limit),
            b"quota" => (17, Self::Limit),
            _ => return None,
        })
    }
}

/// All buckets that headers of these names describe.
pub(super) fn read<'a>(answer: &Answer<'a>, names: &Names) -> Buckets<'a> {
    let mut buckets = Buckets::default();
    let reads_others = names.reads_others;
    let mut has_columns = false;
    for (name, value) in answer.headers() {
        let may_match = names.known.may_match(name);
        if !may_match && !reads_others {
            continue;
        }
        let name = name.as_str();
        let mut starts = if may_match { names.all } else { &[] }.iter();
        let parts = match starts.find_map(|start| name.strip_prefix(start)) {
            Some(_) if name == LIMIT_ITSELF => Some((Field::Limit, "")),
            // The unit may stand behind the field, or behind all.
            Some(rest) => split(rest).or_else(|| split(NamedUnit::of_last_word(rest).0)),
            None if reads_others => split_other(name),
            None => None,
        };
        let Some((field, bucket)) = parts else {
            continue;
        };
        let Some(text) = headers::text(value) else {
            continue;
        };
        let (bucket, unit_of_value) = match field {
            Field::Limit | Field::Remaining => (bucket, NamedUnit::None),
            Field::Reset | Field::After | Field::Period => {
                let (shorter, unit) = NamedUnit::of_last_word(bucket);
                let is_last = name.ends_with(bucket);
                let unit = if is_last {
                    unit
                } else {
                    NamedUnit::of_last_word(name).1
                };
                (without_reset_words(shorter), unit)
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
                has_columns |= text.contains(',');
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

/// Without what may stand beside `reset` in a name, and names no bucket: `X-RateLimit-Reset-At`.
fn without_reset_words(bucket: &str) -> &str {
    let names_none = |word: &str| {
        matches!(
            word,
            "in" | "at"
                | "time"
                | "date"
                | "epoch"
                | "timestamp"
                | "unix"
                | "utc"
                | "ts"
                | "until"
                | "left"
        )
    };
    let mut rest = bucket;
    loop {
        let end = rest.rsplit_once('-').unwrap_or(("", rest));
        let start = rest.split_once('-');
        rest = match (end, start) {
            ((shorter, word), _) if names_none(word) => shorter,
            (_, Some((word, shorter))) if names_none(word) => shorter,
            _ => return rest,
        }
        .trim_matches('-');
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
    let mut windows = buckets::windows(text);
    let Some((limit, window)) = windows.next() else {
        return;
    };
    bucket.limit = Some(limit);
    let later = || windows.find_map(|(n, window)| window.filter(|_| n == limit));
    bucket.period = bucket.period.or(window).or_else(later);
}

/// The field and the bucket that the rest of a name tells: the field is its first word or its last, or two.
fn split(rest: &str) -> Option<(Field, &str)> {
    const AFTER: &[u8] = b"-after";
    let bytes = rest.as_bytes();
    let mut best: Option<(u8, Field, Range<usize>)> = None;
    let mut look_at = |word: Range<usize>| {
        if let Some((rank, field)) = Field::of(&bytes[word.clone()]) {
            if best.as_ref().is_none_or(|&(known, ..)| rank < known) {
                // All but the word and the hyphen beside it.
                let bucket = match word.start {
                    0 => bytes.len().min(word.end + 1)..bytes.len(),
                    start => 0..start - 1,
                };
                best = Some((rank, field, bucket));
            }
        }
    };
    let first = first_hyphen(bytes).unwrap_or(bytes.len());
    look_at(0..first);
    let second = first + AFTER.len();
    if bytes[first..].starts_with(AFTER) && matches!(bytes.get(second), None | Some(b'-')) {
        look_at(0..second);
    }
    if let Some(last) = last_hyphen(bytes) {
        look_at(last + 1..bytes.len());
        if let Some(start) = bytes.strip_suffix(AFTER) {
            look_at(last_hyphen(start).map_or(0, |at| at + 1)..bytes.len());
        }
    }
    match best {
        Some((_, field, bucket)) => Some((field, &rest[bucket])),
        None => split_joined(rest),
    }
}

fn first_hyphen(text: &[u8]) -> Option<usize> {
    text.iter().position(|&byte| byte == b'-')
}

fn last_hyphen(text: &[u8]) -> Option<usize> {
    text.iter().rposition(|&byte| byte == b'-')
}

/// Names in which whose it is stands right before the field: `X-RateLimit-UserRemaining` (Imgur),
/// `X-Sentry-Rate-Limit-ConcurrentLimit`.
fn split_joined(rest: &str) -> Option<(Field, &str)> {
    ["user", "client", "concurrent"]
        .into_iter()
        .find_map(|bucket| {
            let (_, field) = Field::of(rest.strip_prefix(bucket)?.as_bytes())?;
            Some((field, &rest[..bucket.len()]))
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
    let mut unit = Unit::Requests;
    // One pass for all words: a search for each takes longer than all else.
    for (at, letter) in bucket.bytes().enumerate() {
        if matches!(letter, b'b' | b'c' | b'p' | b't') {
            let rest = &bucket.as_bytes()[at..];
            if rest.starts_with(b"concurren") {
                return Unit::InFlight;
            }
            if others
                .iter()
                .any(|other| rest.starts_with(other.as_bytes()))
            {
                unit = Unit::Other;
            }
        }
    }
    unit
}

/// The window that the name of a bucket tells: `minute` (Kong), `requests-day` (Cerebras), `24hour` (X),
/// `daylimit` (Xero).
fn period(bucket: &str) -> Option<Duration> {
    let mut words = bucket.as_bytes().split(|byte| matches!(byte, b'-' | b'_'));
    let seconds = words.find_map(|word| {
        let word = word.strip_suffix(b"limit").unwrap_or(word);
        let digits = word.iter().take_while(|byte| byte.is_ascii_digit());
        let (count, unit) = word.split_at(digits.count());
        let seconds = match unit {
            b"second" | b"secondly" => 1,
            b"minute" | b"minutely" | b"min" => 60,
            b"hour" | b"hourly" => 60 * 60,
            b"day" | b"daily" => 24 * 60 * 60,
            _ => return None,
        };
        let count = str::from_utf8(count).ok()?.parse().unwrap_or(1);
        Some(seconds * u64::from(u16::max(count, 1)))
    })?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    /// All fields, by their ranks.
    const WORDS: [&str; 18] = [
        "left",
        "resetafter",
        "retryafter",
        "resettime",
        "resetat",
        "resetin",
        "reset-after",
        "retry-after",
        "interval",
        "window",
        "period",
        "remaining",
        "remain",
        "reset",
        "limit",
        "max",
        "total",
        "quota",
    ];

    /// Word by word.
    fn split_slowly(rest: &str) -> Option<(Field, &str)> {
        let found = WORDS.iter().find_map(|word| {
            let bucket = if rest == *word {
                Some("")
            } else {
                let behind = rest.strip_prefix(word);
                let before = || rest.strip_suffix(word)?.strip_suffix('-');
                behind
                    .and_then(|rest| rest.strip_prefix('-'))
                    .or_else(before)
            };
            let (_, field) = Field::of(word.as_bytes())?;
            Some((field, bucket?))
        });
        found.or_else(|| split_joined(rest))
    }

    #[test]
    fn ranks_are_in_order() {
        let rank = |word: &str| Field::of(word.as_bytes()).map(|(rank, _)| usize::from(rank));
        let ranks: Vec<_> = WORDS.into_iter().map(rank).collect();
        assert_eq!(ranks, (0..WORDS.len()).map(Some).collect::<Vec<_>>());
    }

    /// All words that stand beside `reset`, tried at both ends until none is there.
    fn without_reset_words_slowly(bucket: &str) -> &str {
        let words = [
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
            let shorter = words.iter().find_map(|word| {
                let end = rest.strip_suffix(word);
                let end = end.filter(|rest| rest.is_empty() || rest.ends_with('-'));
                let start = || rest.strip_prefix(word).filter(|rest| rest.starts_with('-'));
                end.or_else(start)
            });
            match shorter {
                Some(shorter) => rest = shorter.trim_matches('-'),
                None => return rest,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_name_is_split_as_word_by_word(
            words in proptest::collection::vec(
                prop_oneof![
                    select(&WORDS[..]),
                    select(&["", "after", "user", "userlimit", "requests", "ms", "reset"][..]),
                ],
                1..5,
            ),
        ) {
            let rest = words.join("-");
            let split = split(&rest).map(|(field, bucket)| (field as u8, bucket));
            let slowly = split_slowly(&rest).map(|(field, bucket)| (field as u8, bucket));
            prop_assert_eq!(split, slowly, "{}", rest);
        }

        #[test]
        fn words_beside_reset_are_taken_from_both_ends(
            words in proptest::collection::vec(
                select(&["", "in", "at", "time", "left", "utc", "requests", "a"][..]),
                1..6,
            ),
        ) {
            let bucket = words.join("-");
            prop_assert_eq!(without_reset_words(&bucket), without_reset_words_slowly(&bucket));
        }
    }

    #[test]
    fn a_bucket_counts_what_its_name_has_in_it() {
        for (bucket, counts) in [
            ("", Unit::Requests),
            ("requests", Unit::Requests),
            ("token", Unit::Requests),
            ("input-tokens", Unit::Other),
            ("kilobytes", Unit::Other),
            ("points", Unit::Other),
            ("character", Unit::Other),
            ("tokens-concurrent", Unit::InFlight),
            ("concurrency", Unit::InFlight),
        ] {
            assert_eq!(unit(bucket), counts, "{bucket}");
        }
    }

    #[test]
    fn a_bucket_may_name_its_window() {
        for (bucket, seconds) in [
            ("", None),
            ("minute", Some(60)),
            ("requests-day", Some(86_400)),
            ("app_24hour", Some(86_400)),
            ("daylimit", Some(86_400)),
            ("0second", Some(1)),
            ("99999minute", Some(60)),
            ("minutes", None),
        ] {
            assert_eq!(
                period(bucket).map(|period| period.as_secs()),
                seconds,
                "{bucket}"
            );
        }
    }
}

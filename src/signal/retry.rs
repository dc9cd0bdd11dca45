//! Headers that name a delay or say whether to retry: `Retry-After` and its relatives.
//!
//! | header | unit | from |
//! |---|---|---|
//! | `retry-after-ms`, `x-ms-retry-after-ms`, `x-rate-limit-retry-after-milliseconds` | milliseconds | Azure, OpenAI, Okta |
//! | `x-amz-retry-after` | milliseconds | AWS |
//! | `grpc-retry-pushback-ms` | milliseconds; negative: do not retry | gRPC A6 |
//! | `Retry-After` | seconds or HTTP-date | RFC 9110, section 10.2.3 |
//! | `x-retry-after`, `x-rate-limit-retry-after-seconds` | the same, if the name says no other | many |
//! | `x-should-retry`, `stripe-should-retry` | `true`, `false` | OpenAI and Anthropic, Stripe |

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::{
    answer::Answer,
    headers::{text, texts},
    names::NamedUnit,
};

static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

static SHOULD_RETRY: [HeaderName; 2] = [
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("stripe-should-retry"),
];

/// A header that names a delay, by how precise it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// Where it names a delay, `Retry-After` is the same delay rounded.
    Milliseconds,
    /// `Retry-After` itself.
    Standard,
    /// Another name for it.
    Other,
}

impl Answer<'_> {
    /// The delay that the headers name, whatever the status: `Retry-After` and the like, but no
    /// quota headers.
    ///
    /// An answer that is no signal, such as a 500, can name one too.
    pub fn retry_after(&self) -> Option<Duration> {
        after(self)
    }

    /// What the headers say about a retry (`x-should-retry` and the like), whatever the status.
    pub fn should_retry(&self) -> Option<bool> {
        wanted(self.headers())
    }
}

/// The delay that an answer names. Among headers of the same rank, the longest.
fn after(answer: &Answer<'_>) -> Option<Duration> {
    let longest = |rank| {
        let named = answer.headers().iter().filter_map(|(name, value)| {
            let (of, unit) = names_a_delay(name)?;
            (of == rank)
                .then(|| unit.read(text(value)?, answer))
                .flatten()
        });
        named.max()
    };
    longest(Rank::Milliseconds)
        .or_else(|| longest(Rank::Standard))
        .or_else(|| longest(Rank::Other))
}

/// Whether a header's name is a form of `Retry-After`, and the unit that it tells.
fn names_a_delay(name: &HeaderName) -> Option<(Rank, NamedUnit)> {
    const RETRY_AFTER: &str = "retry-after";
    match name.as_str() {
        RETRY_AFTER => return Some((Rank::Standard, NamedUnit::None)),
        "x-amz-retry-after" | "grpc-retry-pushback-ms" => {
            return Some((Rank::Milliseconds, NamedUnit::Milliseconds));
        }
        "x-retry-in" => return Some((Rank::Other, NamedUnit::None)),
        _ => {}
    }
    let (start, rest) = name.as_str().split_once(RETRY_AFTER)?;
    if !(start.is_empty() || start.ends_with('-')) {
        return None;
    }
    let rest = rest.strip_prefix("-in").unwrap_or(rest);
    let rank = |unit| match unit {
        NamedUnit::Milliseconds => Rank::Milliseconds,
        _ => Rank::Other,
    };
    match NamedUnit::of_last_word(rest) {
        ("", unit) => Some((rank(unit), unit)),
        _ => None,
    }
}

/// Whether the server says that a retry is wanted, or that it is not.
fn wanted(headers: &HeaderMap) -> Option<bool> {
    let told = SHOULD_RETRY
        .iter()
        .flat_map(|name| texts(headers, name))
        .find_map(|text| match text.trim() {
            text if text.eq_ignore_ascii_case("true") => Some(true),
            text if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        });
    told.or_else(|| {
        let negative = |text: &str| text.trim().parse().is_ok_and(|number: i64| number < 0);
        texts(headers, &PUSHBACK).any(negative).then_some(false)
    })
}

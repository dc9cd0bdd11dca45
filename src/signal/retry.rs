//! Headers that name a delay or say whether to retry: `Retry-After` and its relatives.
//!
//! | header | unit | from |
//! |---|---|---|
//! | `retry-after-ms`, `x-ms-retry-after-ms` | milliseconds | Azure, OpenAI |
//! | `x-amz-retry-after` | milliseconds | AWS |
//! | `grpc-retry-pushback-ms` | milliseconds; negative: do not retry | gRPC A6 |
//! | `Retry-After` | seconds or HTTP-date | RFC 9110, section 10.2.3 |
//! | `x-should-retry`, `stripe-should-retry` | `true`, `false` | OpenAI and Anthropic, Stripe |

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};

use super::{Answer, time};

/// The more precise ones: where one names a delay, `Retry-After` is the same delay rounded.
static MILLISECONDS: [HeaderName; 3] = [
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-ms-retry-after-ms"),
    HeaderName::from_static("x-amz-retry-after"),
];

static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

static SHOULD_RETRY: [HeaderName; 2] = [
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("stripe-should-retry"),
];

/// The delay that an answer names. Among headers of the same rank, the longest.
pub(super) fn after(answer: &Answer<'_>) -> Option<Duration> {
    let milliseconds = MILLISECONDS
        .iter()
        .chain([&PUSHBACK])
        .flat_map(|name| texts(answer.headers(), name))
        .filter_map(|text| time::milliseconds(text, answer))
        .max();
    milliseconds.or_else(|| {
        texts(answer.headers(), &RETRY_AFTER)
            .filter_map(|text| time::parse(text, answer))
            .max()
    })
}

/// Whether the server says that a retry is wanted, or that it is not.
pub(super) fn wanted(headers: &HeaderMap) -> Option<bool> {
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

/// The values of a header that are text.
pub(super) fn texts<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(text)
}

/// UTF-8 rather than visible ASCII, for the micro sign of Go's durations.
pub(super) fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

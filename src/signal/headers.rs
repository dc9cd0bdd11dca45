//! Headers as text.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// For how long a cache has kept the answer.
pub(super) fn age(headers: &HeaderMap) -> Option<Duration> {
    let mut ages = texts(headers, &header::AGE).filter_map(|age| age.trim().parse().ok());
    ages.next().map(Duration::from_secs)
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

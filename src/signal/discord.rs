//! Discord: whose limit it was, and how long, is in headers and, more precisely, in the body.
//!
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset-After` are read without a profile. A route may be
//! refused with something left, by a limit within it: then only `Retry-After` or the body tells.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::{Answer, SignalScope, json::Members, retry, time};

static GLOBAL: HeaderName = HeaderName::from_static("x-ratelimit-global");
static SCOPE: HeaderName = HeaderName::from_static("x-ratelimit-scope");

pub(super) fn delay(answer: &Answer<'_>, root: &Members<'_>) -> Option<Duration> {
    time::parse(root.retry_after, answer)
}

/// The global limit is of the whole bot; `user` and `shared` limits are of the route.
pub(super) fn scope(headers: &HeaderMap, root: &Members<'_>) -> SignalScope {
    let is = |name, text: &str| {
        retry::texts(headers, name).any(|value| value.eq_ignore_ascii_case(text))
    };
    if root.global || is(&GLOBAL, "true") || is(&SCOPE, "global") {
        SignalScope::Everything
    } else {
        SignalScope::Endpoint
    }
}

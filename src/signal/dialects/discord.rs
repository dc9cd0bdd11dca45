//! Discord: whose limit it was, and how long, is in headers and, more precisely, in the body.
//!
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset-After` are read without a profile. A route may be
//! refused with something left, by a limit within it: then only `Retry-After` or the body tells.

use http::HeaderName;

use crate::signal::{
    dialect::{Dialect, Reading},
    headers,
    meaning::SignalScope,
};

pub(super) const DISCORD: Dialect = Dialect {
    scope,
    ..Dialect::NONE
};

static GLOBAL: HeaderName = HeaderName::from_static("x-ratelimit-global");
static SCOPE: HeaderName = HeaderName::from_static("x-ratelimit-scope");

/// The global limit is of the whole bot; `user` and `shared` limits are of the route.
fn scope(reading: &Reading<'_>) -> Option<SignalScope> {
    let headers = reading.answer.headers();
    let is = |name, text: &str| {
        headers::texts(headers, name).any(|value| value.eq_ignore_ascii_case(text))
    };
    let global = reading.text.root.global || is(&GLOBAL, "true") || is(&SCOPE, "global");
    global.then_some(SignalScope::Everything)
}

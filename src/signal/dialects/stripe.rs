//! Stripe: which limit refused is in a header; and a 429 may be about an object that another request has
//! locked, which is no limit.

use http::{HeaderName, StatusCode};

use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    headers,
    meaning::{SignalKind, SignalScope},
};

pub(super) const STRIPE: Dialect = Dialect {
    meaning,
    scope,
    ..Dialect::NONE
};

static REASON: HeaderName = HeaderName::from_static("stripe-rate-limited-reason");

fn reason<'a>(reading: &Reading<'a>) -> Option<&'a str> {
    headers::texts(reading.answer.headers(), &REASON).next()
}

/// `global-rate`, `endpoint-concurrency`, `resource-specific` and the like.
fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    if reading.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    if reading.text.error.says("lock_timeout") {
        return Some(Meaning::NoLimit);
    }
    match reason(reading)? {
        "resource-specific" => Some(Meaning::NoLimit),
        reason if reason.ends_with("concurrency") => {
            Some(Meaning::Refused(SignalKind::Concurrency))
        }
        reason if reason.ends_with("rate") => Some(Meaning::Refused(SignalKind::Rate)),
        _ => None,
    }
}

fn scope(reading: &Reading<'_>) -> Option<SignalScope> {
    let is_global = reason(reading)?.starts_with("global-");
    is_global.then_some(SignalScope::Everything)
}

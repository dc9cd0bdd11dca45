//! Xero: a header names the limit that refused, `minute`, `day` or `concurrent`.
//!
//! `concurrent` is read among [other words](super::concurrency) for it. What is left is in headers of names that
//! are [read anyway](super::x_ratelimit).

use http::{HeaderName, StatusCode};

use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    headers,
    meaning::SignalKind,
};

pub(super) const XERO: Dialect = Dialect {
    meaning,
    ..Dialect::NONE
};

pub(super) static PROBLEM: HeaderName = HeaderName::from_static("x-rate-limit-problem");

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let limited = reading.status() == StatusCode::TOO_MANY_REQUESTS;
    let mut problems = headers::texts(reading.answer.headers(), &PROBLEM);
    let is_of_a_day = |problem: &str| {
        ["day", "daily"]
            .iter()
            .any(|day| problem.eq_ignore_ascii_case(day))
    };
    (limited && problems.any(is_of_a_day)).then_some(Meaning::Refused(SignalKind::QuotaExhausted))
}

//! Salesforce: its limits answer 403, and the body names which it was.

use http::StatusCode;

use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    meaning::SignalKind,
    words::Sentence,
};

pub(super) const SALESFORCE: Dialect = Dialect {
    refuses: &[403],
    meaning,
    ..Dialect::NONE
};

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let mut scalars = reading.text.scalars();
    if !scalars.any(|of| of.name == "errorCode" && of.text == "REQUEST_LIMIT_EXCEEDED") {
        let is_403 = reading.status() == StatusCode::FORBIDDEN;
        return is_403.then_some(Meaning::NoLimit);
    }
    // "ConcurrentRequests (Concurrent API Requests) Limit exceeded."; the other is of a day.
    let mut texts = reading.text.texts();
    Some(Meaning::Refused(
        if texts.any(|text| Sentence::new(text).is_about_concurrency()) {
            SignalKind::Concurrency
        } else {
            SignalKind::QuotaExhausted
        },
    ))
}

//! Google's APIs: a 403 may be a rate limit, and which limit it was stands in a `reason`.
//!
//! The delay is in the body, as `RetryInfo` of `google.rpc`, which is read without a profile.

use http::StatusCode;

use super::credits;
use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    meaning::SignalKind,
    names::Name,
};

pub(super) const GOOGLE: Dialect = Dialect {
    refuses: &[403],
    meaning,
    ..Dialect::NONE
};

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let mut reasons = reading.text.scalars().filter(|of| of.name == "reason");
    let told = reasons.find_map(|reason| {
        let name = Name::new(reason.text)?;
        match name.text() {
            "ratelimitexceeded" | "userratelimitexceeded" | "sharingratelimitexceeded" => {
                // The quota of a day may go by the same reason.
                Some(if credits::is_used_up(reading) {
                    SignalKind::QuotaExhausted
                } else {
                    SignalKind::Rate
                })
            }
            "concurrentlimitexceeded" => Some(SignalKind::Concurrency),
            "quotaexceeded" | "dailylimitexceeded" | "dailylimitexceededunreg" => {
                Some(SignalKind::QuotaExhausted)
            }
            _ => None,
        }
    });
    match told {
        Some(kind) => Some(Meaning::Refused(kind)),
        // A missing permission, or an API that is not switched on.
        None if reading.status() == StatusCode::FORBIDDEN
            && reading.answer.retry_after().is_none() =>
        {
            Some(Meaning::NoLimit)
        }
        None => None,
    }
}

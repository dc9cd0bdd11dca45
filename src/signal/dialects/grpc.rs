//! gRPC: every answer is a 200, and what it means is in `grpc-status`.
//!
//! It is in the headers of an answer that has no body. That of an answer with a body comes after it, and
//! too late for a limit. The details of an error (`google.rpc.Status`) may hold a `RetryInfo` with the delay.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::signal::{
    binary::{self, Value},
    dialect::{Dialect, Meaning, Reading},
    headers,
    meaning::SignalKind,
    time,
};

pub(super) const GRPC: Dialect = Dialect {
    refuses: &[200],
    wants_body: |_| false,
    meaning,
    delay,
    ..Dialect::NONE
};

static STATUS: HeaderName = HeaderName::from_static("grpc-status");

static DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// "received message larger than max", percent-encoded or not.
fn is_about_size(message: &str) -> bool {
    message.replace("%20", " ").contains("larger than max")
}

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let status = headers::texts(reading.answer.headers(), &STATUS).next()?;
    let mut messages = headers::texts(reading.answer.headers(), &MESSAGE);
    match status.trim() {
        // A message that is too large is no limit of rate: it is too large each time.
        "8" if messages.any(is_about_size) => Some(Meaning::NoLimit),
        // RESOURCE_EXHAUSTED and UNAVAILABLE.
        "8" => Some(Meaning::Refused(SignalKind::Rate)),
        "14" => Some(Meaning::Refused(SignalKind::Overload)),
        // A proxy on the way may answer for itself, by the status of HTTP.
        _ if reading.status() != StatusCode::OK => None,
        _ => Some(Meaning::NoLimit),
    }
}

fn delay(reading: &Reading<'_>) -> Option<Duration> {
    let mut details = headers::texts(reading.answer.headers(), &DETAILS);
    details.find_map(|details| retry_delay(&binary::base64(details)?))
}

/// The delay in a `google.rpc.Status`: its details are messages of any type, each with the type's name.
fn retry_delay(status: &[u8]) -> Option<Duration> {
    const DETAILS: u64 = 3;
    let retry_info = binary::fields(status).find_map(|(field, value)| match value {
        Value::Bytes(detail) if field == DETAILS => {
            let name = binary::bytes(detail, 1)?;
            let is_it = name.ends_with(b"/google.rpc.RetryInfo");
            is_it.then(|| binary::bytes(detail, 2)).flatten()
        }
        _ => None,
    })?;
    let delay = binary::bytes(retry_info, 1)?;
    // A negative number is one that is very large.
    let seconds = i64::try_from(binary::number(delay, 1)).ok()?;
    let nanos = u32::try_from(binary::number(delay, 2)).ok()?;
    time::wait(Duration::new(seconds.unsigned_abs(), nanos))
}

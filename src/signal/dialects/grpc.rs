//! gRPC: every answer is a 200, and what it means is in `grpc-status`.
//!
//! It is in the headers of an answer that has no body. That of an answer with a body comes after it, and
//! too late for a limit.

use http::{HeaderName, StatusCode};

use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    headers,
    meaning::SignalKind,
};

pub(super) const GRPC: Dialect = Dialect {
    refuses: &[200],
    wants_body: |_| false,
    meaning,
    ..Dialect::NONE
};

static STATUS: HeaderName = HeaderName::from_static("grpc-status");

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

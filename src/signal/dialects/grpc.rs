//! gRPC: every answer is a 200, and what it means is in `grpc-status`.
//!
//! It is in the headers of an answer that has no body. That of an answer with a body comes after it, and
//! too late for a limit.

use http::HeaderName;

use crate::signal::{
    SignalKind,
    dialect::{Dialect, Meaning, Reading},
    retry,
};

pub(super) const GRPC: Dialect = Dialect {
    refuses: &[200],
    wants_body: |_| false,
    meaning,
    ..Dialect::NONE
};

static STATUS: HeaderName = HeaderName::from_static("grpc-status");

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let status = retry::texts(reading.answer.headers(), &STATUS).next()?;
    Some(match status.trim() {
        // RESOURCE_EXHAUSTED and UNAVAILABLE.
        "8" => Meaning::Refused(SignalKind::Rate),
        "14" => Meaning::Refused(SignalKind::Overload),
        _ => Meaning::NoLimit,
    })
}

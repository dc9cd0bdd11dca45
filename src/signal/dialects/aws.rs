//! AWS: throttling is an error's name, under 400 as well as 429 and 503.
//!
//! The name is in `x-amzn-errortype`, in `__type` or `code` of a JSON body, or in `<Code>` of XML (S3, EC2).
//! It may have a namespace before it and an address behind it.

use http::{HeaderName, StatusCode};

use super::credits;
use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    headers,
    meaning::SignalKind,
};

pub(super) const AWS: Dialect = Dialect {
    refuses: &[400],
    meaning,
    ..Dialect::NONE
};

static ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Those that the SDKs call throttling errors, without those of a single object.
const THROTTLING: [&str; 12] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "EC2ThrottledException",
];

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let is_throttling = |error: &str| {
        let error = error.split(':').next().unwrap_or_default();
        let error = error.rsplit('#').next().unwrap_or_default();
        THROTTLING.contains(&error.trim())
    };
    let by_header = headers::texts(reading.answer.headers(), &ERROR_TYPE).any(is_throttling);
    let by_json = || {
        let mut scalars = reading.text.scalars();
        scalars.any(|of| {
            of.depth <= 1 && matches!(of.name, "__type" | "code" | "Code") && is_throttling(of.text)
        })
    };
    let by_xml = || {
        let text = std::str::from_utf8(reading.answer.body()).unwrap_or_default();
        let code = text
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"));
        code.is_some_and(|(code, _)| is_throttling(code))
    };
    if by_header || by_json() || by_xml() {
        // The tokens of a day go by the same name (Bedrock).
        return Some(Meaning::Refused(if credits::is_used_up(reading) {
            SignalKind::QuotaExhausted
        } else {
            SignalKind::Rate
        }));
    }
    (reading.status() == StatusCode::BAD_REQUEST).then_some(Meaning::NoLimit)
}

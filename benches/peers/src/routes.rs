//! The kinds of endpoints that a request can belong to, with more of everything than anybody uses.

use std::time::Duration;

use tower_throttle::{Endpoints, Quota};

const TEMPLATE: &str = "POST /v1/text-to-speech/{voice_id}";

fn quota() -> Quota {
    Quota::per(1000, Duration::from_micros(50)).concurrency(1000)
}

/// One template that names its host.
pub fn of_a_host() -> Endpoints {
    Endpoints::new().route("POST api.example.com/v1/text-to-speech/{voice_id}", quota())
}

/// Templates of which none matches.
pub fn unmatched() -> Endpoints {
    Endpoints::new()
        .route("POST /v1/speech-to-speech/{voice_id}", quota())
        .route("GET /v1/voices/{voice_id}", quota())
}

/// A bucket for each API key.
pub fn partitioned() -> Endpoints {
    Endpoints::new()
        .route(TEMPLATE, quota())
        .partition_by_header("xi-api-key")
}

/// One template, and a quota over everything.
pub fn overall() -> Endpoints {
    Endpoints::new().route(TEMPLATE, quota()).overall(quota())
}

/// One template in a group, and a quota over everything.
pub fn group_and_overall() -> Endpoints {
    Endpoints::new()
        .route(TEMPLATE, quota())
        .group("speech", quota(), [TEMPLATE])
        .overall(quota())
}

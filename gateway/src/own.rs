//! What the gateway says of itself, at paths of its own.

use http::{Method, request};
use serde_json::json;
use tower_throttle::Handle;

use super::{
    answers::{self, Answer},
    meters::{Meters, Now},
    status,
    upstream::Upstream,
};

/// Paths that begin like this are the gateway's own.
const OWN: &str = "/__gateway__/";

/// What the pages are made from.
pub(crate) struct Facts<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) handle: &'a Handle,
    pub(crate) meters: &'a Meters,
    pub(crate) now: Now,
}

/// Whether a request is for the gateway itself.
pub(crate) fn is_own(head: &request::Parts) -> bool {
    head.uri.path().starts_with(OWN)
}

/// Answers it.
pub(crate) fn answer(facts: &Facts<'_>, head: &request::Parts) -> Answer {
    let path = head.uri.path();
    let page = match path.strip_prefix(OWN) {
        Some("status") => page_of_status,
        Some("health" | "health/ready") => ready,
        Some("health/live") => live,
        Some("metrics") => metrics,
        _ => return answers::not_found(path),
    };
    match head.method {
        Method::GET | Method::HEAD => page(facts),
        _ => answers::only_get(),
    }
}

fn page_of_status(facts: &Facts<'_>) -> Answer {
    let snapshot = facts.handle.snapshot();
    answers::ok(&status::page(facts.upstream, &snapshot, facts.now))
}

/// That there is an answer at all says it.
fn live(_: &Facts<'_>) -> Answer {
    answers::ok(&json!({ "live": true }))
}

/// Whether requests are taken on. After an interrupt they are not, and those that are here run to their end.
fn ready(facts: &Facts<'_>) -> Answer {
    let is_ready = facts.now.is_ready;
    let page = json!({ "live": true, "ready": is_ready });
    if is_ready {
        answers::ok(&page)
    } else {
        answers::not_ready(&page)
    }
}

fn metrics(facts: &Facts<'_>) -> Answer {
    answers::metrics(facts.meters.page(facts.handle, facts.now))
}

//! What the gateway says of itself, at paths of its own.

use http::{Method, request};
use serde_json::json;

use super::{
    answers::{self, Answer},
    gateway::Gateway,
    meters::Now,
    status,
};

/// Paths that begin like this are the gateway's own.
const OWN: &str = "/__gateway__/";

/// Whether a request is for the gateway itself.
pub(crate) fn is_own(head: &request::Parts) -> bool {
    head.uri.path().starts_with(OWN)
}

/// Answers it.
pub(crate) fn answer(gateway: &Gateway, head: &request::Parts) -> Answer {
    let path = head.uri.path();
    let page = match path.strip_prefix(OWN) {
        Some("status") => page_of_status,
        Some("health" | "health/ready") => ready,
        Some("health/live") => live,
        Some("metrics") => metrics,
        _ => return answers::not_found(path),
    };
    match head.method {
        Method::GET | Method::HEAD => page(gateway),
        _ => answers::only_get(),
    }
}

fn page_of_status(gateway: &Gateway) -> Answer {
    let snapshot = gateway.handle().snapshot();
    let upstream = &gateway.options().upstream;
    answers::ok(&status::page(upstream, &snapshot, now(gateway)))
}

/// That there is an answer at all says it.
fn live(_: &Gateway) -> Answer {
    answers::ok(&json!({ "live": true }))
}

/// Whether requests are taken on. After an interrupt they are not, and those that are here run to their end.
fn ready(gateway: &Gateway) -> Answer {
    let is_ready = gateway.is_open();
    let page = json!({ "live": true, "ready": is_ready });
    if is_ready {
        answers::ok(&page)
    } else {
        answers::not_ready(&page)
    }
}

fn metrics(gateway: &Gateway) -> Answer {
    answers::metrics(gateway.meters().page(gateway.handle(), now(gateway)))
}

fn now(gateway: &Gateway) -> Now {
    Now {
        requests: gateway.requests(),
        connections: gateway.connections(),
        tunnels: gateway.tunnels().count(),
        is_ready: gateway.is_open(),
    }
}

//! Answers with the headers of an API of language models.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Empty;
use tower::Service;

use crate::Body;

/// What nearly every server sends, and then what OpenAI and its content delivery network add. None of
/// them says anything about limits.
const HEADERS: [(&str, &str); 12] = [
    ("date", "Mon, 30 Nov 2026 06:00:00 GMT"),
    ("content-type", "application/json"),
    ("content-length", "812"),
    ("server", "cloudflare"),
    ("x-request-id", "req_7d1a2f0d1c5b4f6f9f5c0c0c3a1b2e4d"),
    ("openai-organization", "acme"),
    ("openai-processing-ms", "412"),
    ("openai-version", "2020-10-01"),
    ("cf-ray", "9a1b2c3d4e5f6789-FRA"),
    ("cf-cache-status", "DYNAMIC"),
    (
        "strict-transport-security",
        "max-age=31536000; includeSubDomains",
    ),
    ("alt-svc", "h3=\":443\"; ma=86400"),
];

/// What it adds about its limits.
const QUOTA: [(&str, &str); 6] = [
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-remaining-tokens", "1999000"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "30ms"),
];

/// Answers at once, with headers.
#[derive(Clone, Debug)]
pub struct Answering {
    headers: HeaderMap,
}

impl Answering {
    /// With so many headers, of which none is about limits.
    pub fn with(headers: usize) -> Self {
        Self {
            headers: map(&HEADERS[..headers]),
        }
    }

    /// With all headers, and six more that say what is left.
    pub fn with_quota() -> Self {
        Self {
            headers: map(&[&HEADERS[..], &QUOTA].concat()),
        }
    }
}

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = headers.iter().map(|&(name, value)| {
        (
            // As clients make them: names that `http` does not know have an allocation of their own.
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        )
    });
    pairs.collect()
}

impl Service<Request<Body>> for Answering {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(&request);
        let mut response = Response::new(Empty::new());
        response.headers_mut().clone_from(&self.headers);
        ready(Ok(response))
    }
}

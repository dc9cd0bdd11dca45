//! Makes calls through one contestant, for instruction counts: `peers CONTESTANT CALLS`.

use std::{
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota as Cells, RateLimiter};
use http::Request;
use peers::{Bare, Body, call, request};
use tower::{Layer, Service};
use tower_throttle::{ConcurrencyLayer, Endpoints, Quota, RpsLayer, ThrottleLayer};

/// governor, keyed by path.
#[derive(Clone)]
struct Governed<S> {
    inner: S,
    limiter: Arc<DefaultKeyedRateLimiter<String>>,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Governed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        assert!(self.limiter.check_key(&path).is_ok());
        self.inner.call(request)
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let contestant = args.next().expect("a contestant");
    let calls: usize = args
        .next()
        .expect("a number of calls")
        .parse()
        .expect("a number");
    let n = 1_000_000;
    let endpoints = Endpoints::new().route(
        "POST /v1/text-to-speech/{voice_id}",
        Quota::per(n, Duration::from_millis(100)).concurrency(1000),
    );
    let request = request("http://api.example.com/v1/text-to-speech/voice");
    macro_rules! run {
        ($service:expr) => {{
            let mut service = $service;
            for _ in 0..calls {
                call(&mut service, request.clone());
            }
        }};
    }
    match &*contestant {
        "bare" => run!(Bare),
        "governor" => run!(Governed {
            inner: Bare,
            limiter: Arc::new(RateLimiter::keyed(Cells::per_second(
                NonZeroU32::new(n * 10).expect("positive")
            ))),
        }),
        "rps" => run!(RpsLayer::new(endpoints).layer(Bare)),
        "concurrency" => run!(ConcurrencyLayer::new(endpoints).layer(Bare)),
        "throttle" => run!(ThrottleLayer::new(endpoints).without_retry().layer(Bare)),
        "retry" => run!(ThrottleLayer::new(endpoints).layer(Bare)),
        "tower-concurrency" => run!(tower::limit::ConcurrencyLimitLayer::new(1000).layer(Bare)),
        other => panic!("no contestant is called {other}"),
    }
}

//! What the benches have in common: a bare service, requests, and interleaved timing.

pub mod answers;
#[cfg(feature = "virtual-time")]
pub mod compliance;
pub mod routes;
pub mod side_by_side;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{Empty, Full};
use tokio::time::Instant;
use tower::{
    BoxError, Service, ServiceBuilder,
    buffer::BufferLayer,
    limit::{ConcurrencyLimitLayer, RateLimitLayer},
    retry::RetryLayer,
};
use tower_throttle::Endpoints;

/// The body of every request.
pub type Body = Full<Bytes>;

/// Answers at once.
#[derive(Clone, Debug)]
pub struct Bare;

impl Service<Request<Body>> for Bare {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Empty::new())))
    }
}

/// governor, keyed by path: refuses what does not fit, and nothing here does not.
#[derive(Clone, Debug)]
pub struct Governed<S> {
    inner: S,
    limiter: Arc<DefaultKeyedRateLimiter<String>>,
}

impl<S> Governed<S> {
    /// At most so many per second.
    pub fn new(inner: S, per_second: NonZeroU32) -> Self {
        Self {
            inner,
            limiter: Arc::new(RateLimiter::keyed(Quota::per_second(per_second))),
        }
    }
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
        assert!(self.limiter.check_key(&path).is_ok(), "it had to wait");
        self.inner.call(request)
    }
}

/// leaky-bucket, with more in it than anybody takes. It has no keys.
pub fn leaky_bucket() -> leaky_bucket::RateLimiter {
    leaky_bucket::RateLimiter::builder()
        .initial(1_000_000_000)
        .max(1_000_000_000)
        .refill(1_000_000)
        .interval(Duration::from_millis(100))
        .build()
}

/// What tower itself has for this: `retry > buffer > concurrency > rate`, top to bottom. To be called on a
/// runtime, where it starts its worker.
pub fn tower_stack(
    inner: Bare,
) -> impl Service<Request<Body>, Response = Response<Empty<Bytes>>, Error = BoxError> + Clone {
    ServiceBuilder::new()
        .layer(RetryLayer::new(OnFailure { left: 2 }))
        .layer(BufferLayer::new(1024))
        .layer(ConcurrencyLimitLayer::new(1000))
        .layer(RateLimitLayer::new(1_000_000, Duration::from_millis(100)))
        .service(inner)
}

/// Retries server errors and 429s, a few times, at once.
#[derive(Clone)]
struct OnFailure {
    left: u32,
}

impl<A, E> tower::retry::Policy<Request<Body>, Response<A>, E> for OnFailure {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<A>, E>,
    ) -> Option<Ready<()>> {
        let failed = result.as_ref().map_or(true, |response| {
            response.status().is_server_error() || response.status() == 429
        });
        self.left = self.left.checked_sub(1).filter(|_| failed)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

/// More per second than anybody uses.
pub fn plenty() -> NonZeroU32 {
    NonZeroU32::new(1_000_000_000).expect("positive")
}

/// A bucket for each path, with more in it than anybody uses.
pub fn by_path() -> Endpoints {
    let quota = tower_throttle::Quota::per(1000, Duration::from_micros(50));
    Endpoints::new().each_other_path(quota)
}

/// Some endpoints of an API, with more of everything than anybody uses.
pub fn endpoints() -> Endpoints {
    let quota = || tower_throttle::Quota::per(1000, Duration::from_micros(50)).concurrency(1000);
    Endpoints::new()
        .route("POST /v1/text-to-speech/{voice_id}", quota())
        .route("POST /v1/speech-to-speech/{voice_id}", quota())
        .route("POST /v1/sound-generation", quota())
        .route("GET /v1/voices/{voice_id}", quota())
        .each_other_path(quota())
}

/// A request with five headers, made as clients make theirs: what is the same for all is static.
pub fn request(path: &str) -> Request<Body> {
    Request::post(path)
        .header("xi-api-key", "key")
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(ACCEPT, HeaderValue::from_static("audio/mpeg"))
        .header(USER_AGENT, HeaderValue::from_static("peers"))
        .header("idempotency-key", "1")
        .body(Full::default())
        .expect("the path is a URI")
}

/// The path of most requests.
pub const PATH: &str = "http://api.example.com/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM";

/// Readies the service and calls it; it has to answer at once.
pub fn call<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut future = pin!(service.call(request));
    assert!(future.as_mut().poll(&mut cx).is_ready(), "it had to wait");
}

/// The same with leaky-bucket before the service, as its users write it.
pub fn call_leaky(limiter: &leaky_bucket::RateLimiter, service: &mut Bare, request: Request<Body>) {
    let mut future = pin!(async move {
        limiter.acquire_one().await;
        service.call(request).await
    });
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_ready(), "it had to wait");
}

/// Somebody who is timed, by name.
pub type Contestant<'a> = (&'a str, Box<dyn FnMut() + 'a>);

/// How long each contestant takes per round when it is left in peace: of interleaved rounds, the time that a
/// tenth stay below. What else a machine does makes rounds longer and never shorter, and in turns it
/// hits all alike.
pub fn interleaved(rounds: usize, contestants: &mut [Contestant<'_>]) -> Vec<Duration> {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for _ in 0..rounds {
        for ((_, run), times) in contestants.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run();
            times.push(start.elapsed());
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort();
            times[times.len() / 10]
        })
        .collect()
}

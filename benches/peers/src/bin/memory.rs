//! What is allocated, counted by the allocator: a program of its own, since counting would slow down those
//! who allocate while their time is measured.

use std::{
    alloc::System,
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use http_body_util::Empty;
use peers::{Bare, Body, Governed, PATH, call, endpoints, plenty, request};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use throttle_net::{Throttle, tower::ThrottleLayer as NetLayer};
use tower::{Layer, Service};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_throttle::{ConcurrencyLayer, Endpoints, Flow, Quota, RpsLayer, Terms, ThrottleLayer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let copy = copy_allocations();
    println!("Allocations of a call over the bare service's");
    let line = |name: &str, allocations: usize, target: Option<usize>| {
        let verdict = target.map(|target| verdict(allocations, target));
        println!(
            "  {allocations:6} {name:54} {}",
            verdict.unwrap_or_default()
        );
    };
    line(
        "governor, keyed by path",
        allocations(Governed::new(Bare, plenty())),
        None,
    );
    let limiter = RateLimiterLayer::per_second(1_000_000_000).build();
    let limiter = limiter.expect("a valid configuration").layer(Bare);
    line("tower-resilience rate limiter", allocations(limiter), None);
    let bulkhead = BulkheadLayer::builder().max_concurrent_calls(1000).build();
    let bulkhead = bulkhead.expect("a valid configuration").layer(Bare);
    line("tower-resilience bulkhead", allocations(bulkhead), None);
    let limiter = NetLayer::new(Throttle::per_second(1_000_000_000)).layer(Bare);
    line("throttle-net token bucket", allocations(limiter), None);
    let tower = tower::limit::ConcurrencyLimitLayer::new(1000).layer(Bare);
    line("tower concurrency limit", allocations(tower), None);
    line(
        "RpsLayer",
        allocations(RpsLayer::new(endpoints()).layer(Bare)),
        Some(0),
    );
    let concurrency = ConcurrencyLayer::new(endpoints()).layer(Bare);
    line("ConcurrencyLayer", allocations(concurrency), Some(0));
    let layer = ThrottleLayer::new(endpoints());
    let once = allocations(layer.clone().without_retry().layer(Bare));
    line("ThrottleLayer without retry", once, Some(0));
    let name = format!("ThrottleLayer (a clone of the request takes {copy})");
    line(&name, allocations(layer.layer(Bare)), Some(copy));

    println!("\nLive bytes of a waiting request over the bare service's, which keeps it as well");
    let bare = bytes_per_waiter(Silent);
    let quota = || Endpoints::new().route("/a", Quota::per_minute(1).concurrency(1));
    for (name, bytes) in [
        (
            "RpsLayer",
            bytes_per_waiter(RpsLayer::new(quota()).layer(Silent)),
        ),
        (
            "ConcurrencyLayer",
            bytes_per_waiter(ConcurrencyLayer::new(quota()).layer(Silent)),
        ),
        (
            "ThrottleLayer without retry",
            bytes_per_waiter(ThrottleLayer::new(quota()).without_retry().layer(Silent)),
        ),
        (
            "ThrottleLayer",
            bytes_per_waiter(ThrottleLayer::new(quota()).layer(Silent)),
        ),
        (
            "tower concurrency limit, which waits before it has a request",
            bytes_per_unready(tower::limit::ConcurrencyLimitLayer::new(1).layer(Silent)) + bare,
        ),
    ] {
        let over = bytes.saturating_sub(bare);
        let target = matches!(name, "RpsLayer" | "ConcurrencyLayer") || name.ends_with("retry");
        let verdict = if target {
            verdict(over, 400)
        } else {
            String::new()
        };
        println!("  {over:6} {name:62} {verdict}");
    }

    println!("\nLive bytes of an idle key");
    let key = bytes_per_key(ThrottleLayer::new(by_path()).without_retry().layer(Bare));
    println!("  {key:6} ThrottleLayer {:40} {}", "", verdict(key, 250));
    let governor = bytes_per_key(Governed::new(Bare, plenty()));
    println!("  {governor:6} governor");

    println!("\nLive bytes of a flow of which one request waits, besides that request");
    let flow = bytes_per_flow();
    println!("  {flow:6} ThrottleLayer {:40} {}", "", verdict(flow, 250));
}

fn by_path() -> Endpoints {
    Endpoints::new().each_other_path(Quota::per_minute(10).concurrency(2))
}

fn verdict(value: usize, target: usize) -> String {
    let met = if value <= target { "met" } else { "NOT MET" };
    format!("target {target}: {met}")
}

fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Of one call, once everything that is made only once has been made.
fn allocations<S: Service<Request<Body>>>(mut service: S) -> usize {
    const CALLS: usize = 100;
    // The log of a window grows by doubling: of many batches, some see none of it.
    (0..50)
        .map(|_| {
            let requests: Vec<_> = (0..CALLS).map(|_| request(PATH)).collect();
            let before = ALLOCATOR.stats();
            for request in requests {
                call(&mut service, request);
            }
            let after = ALLOCATOR.stats();
            let spent = |stats: stats_alloc::Stats| stats.allocations + stats.reallocations;
            (spent(after) - spent(before)).div_ceil(CALLS)
        })
        .min()
        .expect("some batches")
}

fn copy_allocations() -> usize {
    let request = request(PATH);
    let before = ALLOCATOR.stats().allocations;
    let copy = request.clone();
    let spent = ALLOCATOR.stats().allocations - before;
    drop(copy);
    spent
}

/// Never answers. As a client does that has yet to send a request, it keeps it.
#[derive(Clone, Debug)]
struct Silent;

struct Keeping {
    _request: Request<Body>,
}

impl Service<Request<Body>> for Silent {
    type Response = Response<Empty<bytes::Bytes>>;
    type Error = Infallible;
    type Future = Keeping;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Keeping { _request: request }
    }
}

impl Future for Keeping {
    type Output = Result<Response<Empty<bytes::Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

const WAITERS: usize = 16_000;

fn bytes_per_waiter<S: Service<Request<Body>>>(service: S) -> usize {
    bytes_per_waiting(service, |_| None)
}

/// What a flow takes more than one more request of the same flow.
fn bytes_per_flow() -> usize {
    let layer = || {
        let endpoints = Endpoints::new().route("/a", Quota::per_minute(1).concurrency(1));
        ThrottleLayer::new(endpoints).without_retry().layer(Silent)
    };
    let own = bytes_per_waiting(layer(), |index| Some(Flow::new(index)));
    own.saturating_sub(bytes_per_waiting(layer(), |_| Some(Flow::new("one"))))
}

fn bytes_per_waiting<S: Service<Request<Body>>>(
    mut service: S,
    flow: impl Fn(usize) -> Option<Flow>,
) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let _guard = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting = Vec::with_capacity(WAITERS);
    let before = live_bytes();
    for index in 0..WAITERS {
        assert!(service.poll_ready(&mut cx).is_ready());
        let mut request = Request::get("/a").body(Body::default()).expect("a path");
        if let Some(flow) = flow(index) {
            request.extensions_mut().insert(Terms::new().flow(flow));
        }
        let mut future = Box::pin(service.call(request));
        assert!(future.as_mut().poll(&mut cx).is_pending());
        waiting.push(future);
    }
    (live_bytes() - before) / WAITERS
}

/// Of clones of a service that are not ready.
fn bytes_per_unready<S: Service<Request<Body>> + Clone>(mut service: S) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting = Vec::with_capacity(WAITERS);
    assert!(service.poll_ready(&mut cx).is_ready());
    let before = live_bytes();
    for _ in 0..WAITERS {
        let mut clone = Box::new(service.clone());
        assert!(clone.poll_ready(&mut cx).is_pending());
        waiting.push(clone);
    }
    (live_bytes() - before) / WAITERS
}

fn bytes_per_key<S: Service<Request<Body>>>(mut service: S) -> usize {
    const KEYS: usize = 200_000;
    let before = live_bytes();
    for index in 0..KEYS {
        let path = format!("http://api.example.com/v1/items/{index:07}");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        let request = Request::get(path).body(Body::default()).expect("a path");
        let future = pin!(service.call(request));
        assert!(future.poll(&mut cx).is_ready());
    }
    (live_bytes() - before) / KEYS
}

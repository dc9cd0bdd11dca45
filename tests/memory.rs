//! What waiting requests and idle keys cost in live bytes, counted by the allocator.

use std::{
    alloc::System,
    convert::Infallible,
    fmt::Write as _,
    future::{Ready, ready},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{Empty, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{
    ConcurrencyLayer, Endpoints, Flow, Handle, Quota, RetryLayer, RpsLayer, Terms, Throttle,
    ThrottleLayer,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts for the whole process, so only one test may run at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

type Body = Full<bytes::Bytes>;

/// Answers at once, without allocating.
#[derive(Clone, Debug)]
struct Instant;

impl Service<Request<Body>> for Instant {
    type Response = Response<Empty<bytes::Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(Empty::new())))
    }
}

/// Never answers. As a client does that has yet to send a request, it keeps it.
#[derive(Clone, Debug)]
struct Silent;

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

struct Keeping {
    _request: Request<Body>,
}

impl Future for Keeping {
    type Output = Result<Response<Empty<bytes::Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

fn request(path: &str) -> Request<Body> {
    Request::get(path).body(Full::default()).unwrap()
}

const WAITERS: usize = 16_000;

/// Live bytes per request that waits in `service`, in a future of its own on the heap. Not in tasks, whose
/// size is rounded up to a multiple of 128 bytes.
fn bytes_per_waiter<S>(mut service: S) -> usize
where
    S: Service<Request<Body>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting = Vec::with_capacity(WAITERS);
    let before = live_bytes();
    for _ in 0..WAITERS {
        assert!(service.poll_ready(&mut cx).is_ready());
        let mut future = Box::pin(service.call(request("/a")));
        assert!(future.as_mut().poll(&mut cx).is_pending());
        waiting.push(future);
    }
    (live_bytes() - before) / WAITERS
}

#[test]
fn a_waiting_request_costs_at_most_400_bytes_over_the_bare_service() {
    let _alone = alone();
    let bare = bytes_per_waiter(Silent);
    let endpoints = Endpoints::new().route("GET /a", Quota::per_second(20).concurrency(20));
    for (name, limited) in [
        (
            "RpsLayer",
            bytes_per_waiter(RpsLayer::new(endpoints.clone()).layer(Silent)),
        ),
        (
            "ConcurrencyLayer",
            bytes_per_waiter(ConcurrencyLayer::new(endpoints.clone()).layer(Silent)),
        ),
        (
            "ThrottleLayer",
            bytes_per_waiter(ThrottleLayer::new(endpoints).without_retry().layer(Silent)),
        ),
    ] {
        let over = limited - bare;
        println!("{name}: {over} bytes per waiting request over the bare service's {bare}");
        assert!(
            over <= 400,
            "{name}: {over} bytes over the bare service's {bare}"
        );
    }
}

/// One request of each of so many flows waits at one endpoint, and goes. Returns the live bytes of a waiting one, and
/// what is left of all when they have gone.
fn use_flows(flows: usize, flow: impl Fn(usize) -> Option<Flow>) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let layer = RpsLayer::new(Endpoints::new().route("GET /a", Quota::per_second(10)));
        let handle = layer.handle();
        let mut service = layer.layer(Instant);
        let mut cx = Context::from_waker(Waker::noop());
        let before = live_bytes();
        let mut waiting = Vec::with_capacity(flows);
        let futures = live_bytes() - before;
        handle.pause("GET /a", Duration::from_secs(1)).unwrap();
        for index in 0..flows {
            assert!(service.poll_ready(&mut cx).is_ready());
            let mut request = request("/a");
            if let Some(flow) = flow(index) {
                request.extensions_mut().insert(Terms::new().flow(flow));
            }
            let mut future = Box::pin(service.call(request));
            assert!(future.as_mut().poll(&mut cx).is_pending());
            waiting.push(future);
        }
        let each = (live_bytes() - before - futures) / flows;
        // Those of one half go, and of the other half leave.
        for future in waiting.drain(flows / 2..) {
            drop(future);
        }
        handle.set_quota("GET /a", Quota::unlimited()).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        for future in &mut waiting {
            assert!(future.as_mut().poll(&mut cx).is_ready());
        }
        drop(waiting);
        handle.sweep();
        // What is emptied is freed a little at a time, by later requests that wait.
        let pace = Quota::per(1, Duration::from_millis(1));
        handle.set_quota("GET /a", pace).unwrap();
        for _ in 0..500 {
            service
                .ready()
                .await
                .unwrap()
                .call(request("/a"))
                .await
                .unwrap();
        }
        (each, live_bytes().saturating_sub(before))
    })
}

#[test]
fn a_hundred_thousand_flows_that_come_and_go_leave_nothing() {
    const FLOWS: usize = 100_000;
    let _alone = alone();
    let (without, left_without) = use_flows(FLOWS, |_| None);
    let (of_one, left_of_one) = use_flows(FLOWS, |_| Some(Flow::new("one")));
    let (each, left) = use_flows(FLOWS, |index| Some(Flow::new(index)));
    println!("bytes of a waiting request: {without}, of one flow {of_one}, of its own flow {each}");
    println!("{left} bytes left, {left_of_one} of one flow, {left_without} of none");
    // No more than a key takes, besides what its request takes.
    let each = each - of_one;
    assert!(each <= 250, "{each} bytes per flow");
    // Room for a few hundred waiting requests stays. Of the flows nothing does.
    assert!(
        left_without <= 200_000,
        "{left_without} bytes left of those who waited"
    );
    for left in [left, left_of_one] {
        let of_flows = left.saturating_sub(left_without);
        assert!(of_flows <= 4_096, "{of_flows} bytes left of the flows");
    }
}

/// Uses that many keys once each, and forgets them; `forget` makes it so once they are idle.
fn use_keys(keys: usize, forget: &impl AsyncFn(&Handle, &mut Throttle<Instant>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoints = Endpoints::new().each_other_path(Quota::per_second(10).concurrency(2));
        let layer = ThrottleLayer::new(endpoints).without_retry();
        let handle = layer.handle();
        let mut service = layer.layer(Instant);
        send(&mut service, "/first").await;
        let before = live_bytes();
        let mut path = String::new();
        for index in 0..keys {
            path.clear();
            write!(path, "http://api.example.com/v1/items/{index:07}").unwrap();
            send(&mut service, &path).await;
        }
        let each = (live_bytes() - before) / keys;
        println!("{each} bytes per idle key");
        assert!(each <= 250, "{each} bytes per idle key");

        // Half of the window later, everything still counts.
        tokio::time::sleep(Duration::from_millis(500)).await;
        handle.sweep();
        assert_eq!(handle.snapshot().buckets().count(), keys + 2);

        tokio::time::sleep(Duration::from_millis(500)).await;
        forget(&handle, &mut service).await;
        let after = live_bytes();
        println!("{before} bytes before, {after} after");
        assert!(
            after.abs_diff(before) <= before / 10,
            "{before} bytes before, {after} after"
        );
    });
}

async fn send(service: &mut Throttle<Instant>, path: &str) {
    service
        .ready()
        .await
        .unwrap()
        .call(request(path))
        .await
        .unwrap();
}

#[test]
fn a_million_idle_keys_cost_at_most_250_bytes_each_and_are_forgotten() {
    let _alone = alone();
    use_keys(1_000_000, &async |handle: &Handle, _: &mut _| {
        handle.sweep();
    });
}

#[test]
fn later_calls_forget_idle_keys_too() {
    let _alone = alone();
    use_keys(
        100_000,
        &async |_: &Handle, service: &mut Throttle<Instant>| {
            for _ in 0..500 {
                send(service, "/first").await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        },
    );
}

#[test]
fn an_admitted_call_does_not_allocate() {
    const BATCHES: usize = 30;
    const CALLS: usize = 100;
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let endpoints = Endpoints::new()
        .route(
            "GET /v1/items/{id}",
            Quota::per_second(1_000_000).concurrency(4),
        )
        .overall(Quota::per_second(1_000_000));
    let mut service = ThrottleLayer::new(endpoints).without_retry().layer(Instant);
    runtime.block_on(async {
        // The log of stamps grows by doubling, and the test runner's own thread allocates now and
        // then. Neither spoils every batch; an allocation of ours per call would.
        let mut fewest = usize::MAX;
        for _ in 0..BATCHES {
            let mut spent = 0;
            for _ in 0..CALLS {
                let request = request("http://api.example.com/v1/items/1");
                let before = allocations();
                service.ready().await.unwrap().call(request).await.unwrap();
                spent += allocations() - before;
            }
            fewest = fewest.min(spent);
        }
        assert_eq!(fewest, 0, "allocations in {CALLS} calls");
    });
}

/// Allocations of a call, without those of whatever else runs.
fn fewest_allocations<S>(mut service: S) -> usize
where
    S: Service<Request<Body>>,
    S::Error: std::fmt::Debug,
{
    const BATCHES: usize = 30;
    const CALLS: usize = 100;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut fewest = usize::MAX;
        for _ in 0..BATCHES {
            let mut spent = 0;
            for _ in 0..CALLS {
                let request = five_headers();
                let before = allocations();
                service.ready().await.unwrap().call(request).await.unwrap();
                spent += allocations() - before;
            }
            // What others allocate meanwhile is less than one for each call.
            fewest = fewest.min(spent / CALLS);
        }
        fewest
    })
}

fn five_headers() -> Request<Body> {
    let mut request = request("http://api.example.com/v1/items/1");
    for name in [
        "accept",
        "authorization",
        "content-type",
        "user-agent",
        "x-api-key",
    ] {
        let value = http::HeaderValue::from_static("value");
        request.headers_mut().insert(name, value);
    }
    request
}

#[test]
fn retry_allocates_no_more_than_a_clone_of_the_request() {
    let _alone = alone();
    let request = five_headers();
    let before = allocations();
    let copy = request.clone();
    let own = allocations() - before;
    drop((request, copy));
    // Less, in fact: the headers of the copy are one piece.
    assert!(fewest_allocations(RetryLayer::new().layer(Instant)) < own);
    let layer = ThrottleLayer::new(Endpoints::new());
    assert!(fewest_allocations(layer.layer(Instant)) < own);
}

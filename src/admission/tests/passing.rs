//! Buckets behind locks of their own, on real threads and in real time (laws L1 to L5).
//!
//! What a window holds is judged by times that the inner service takes within its `call`: no earlier than the
//! admission, and no later than the stamp.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Endpoints, Handle, Quota, ThrottleLayer};

/// An endpoint's requests, as its server sees them.
#[derive(Default)]
struct Seen {
    dispatched: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

/// Answers at once or after others had a turn, with a body that has one piece, or, if it is not reliable, with an
/// error now and then.
#[derive(Clone)]
struct Server {
    seen: Arc<Vec<Seen>>,
    is_reliable: bool,
}

impl Server {
    fn new(is_reliable: bool) -> Self {
        let seen = (0..4).map(|_| Seen::default()).collect();
        Self {
            seen: Arc::new(seen),
            is_reliable,
        }
    }
}

struct Answer {
    seen: Arc<Vec<Seen>>,
    at: usize,
    piece: Option<Bytes>,
    is_over: bool,
}

impl Answer {
    fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.seen[self.at].in_flight.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let frame = self.piece.take().map(http_body::Frame::data);
        if frame.is_none() {
            self.end();
        }
        Poll::Ready(frame.map(Ok))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Service<Request<()>> for Server {
    type Response = Response<Answer>;
    type Error = &'static str;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let at: usize = request.uri().path()[1..].parse().unwrap();
        let seen = &self.seen[at];
        seen.dispatched.lock().unwrap().push(Instant::now());
        let in_flight = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(in_flight, Ordering::SeqCst);
        let answer = Answer {
            seen: Arc::clone(&self.seen),
            at,
            piece: fastrand::bool().then(|| Bytes::from_static(b"piece")),
            is_over: false,
        };
        let is_reliable = self.is_reliable;
        Box::pin(async move {
            for _ in 0..fastrand::u8(..4) {
                tokio::task::yield_now().await;
            }
            let fails = !is_reliable && fastrand::u8(..20) == 0;
            if fails {
                return Err("no answer");
            }
            Ok(Response::new(answer))
        })
    }
}

/// One call after the other, of which some are dropped on the way.
async fn call(
    mut client: impl Service<Request<()>, Response = Response<crate::Body<Answer>>>,
    at: usize,
) {
    let request = Request::get(format!("/{at}")).body(()).unwrap();
    let mut response = pin!(client.call(request));
    if fastrand::u8(..16) == 0 {
        let polled = poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx).is_ready()));
        polled.await;
        return;
    }
    let Ok(response) = response.await else { return };
    let mut body = pin!(response.into_body());
    while fastrand::u8(..8) > 0 && poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_some() {}
}

const N: usize = 40;
const PERIOD: Duration = Duration::from_millis(2);
const PERMITS: usize = 3;

/// The endpoints: with a window, with permits, with both, with neither.
fn endpoints() -> Endpoints {
    let n = u32::try_from(N).unwrap();
    Endpoints::new()
        .route("/0", Quota::per(n, PERIOD))
        .route("/1", Quota::concurrent(PERMITS))
        .route("/2", Quota::per(n, PERIOD).concurrency(PERMITS))
        .route("/3", Quota::unlimited())
}

/// How many of all calls took the way past the engine's lock.
fn passed(handle: &Handle) -> (u64, u64) {
    let snapshot = handle.snapshot();
    let endpoints = snapshot
        .buckets()
        .filter(|bucket| bucket.name().starts_with('/'));
    let admitted = endpoints.map(crate::BucketSnapshot::admitted).sum();
    (handle.engine().detached.admitted(), admitted)
}

/// A request that passes is counted by the windows and permits of those that wait, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_window_and_no_permit_is_given_twice_where_calls_take_both_ways() {
    const CALLS: usize = 6_000;
    let layer = ThrottleLayer::new(endpoints()).without_retry();
    let handle = layer.handle();
    let server = Server::new(false);
    let seen = Arc::clone(&server.seen);
    let client = layer.layer(server);

    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..CALLS {
                    call(client.clone(), (n + caller) % 4).await;
                    // Now and then nobody waits, and now and then there is a crowd.
                    if n % 128 == 0 {
                        tokio::time::sleep(PERIOD * 2).await;
                    }
                }
            })
        })
        .collect();
    let watcher = tokio::spawn({
        let handle = handle.clone();
        async move {
            loop {
                tokio::time::sleep(PERIOD * 3).await;
                drop(handle.snapshot());
                handle.set_quota("/3", Quota::unlimited()).unwrap();
            }
        }
    });
    for caller in callers {
        caller.await.unwrap();
    }
    watcher.abort();

    for (at, seen) in seen.iter().enumerate() {
        assert_eq!(seen.in_flight.load(Ordering::SeqCst), 0);
        if at == 0 || at == 2 {
            let mut dispatched = std::mem::take(&mut *seen.dispatched.lock().unwrap());
            dispatched.sort_unstable();
            let broken = dispatched
                .windows(N + 1)
                .filter(|of| of[N].duration_since(of[0]) < PERIOD);
            assert_eq!(broken.count(), 0, "windows of /{at}");
        }
        if at == 1 || at == 2 {
            assert!(
                seen.most.load(Ordering::SeqCst) <= PERMITS,
                "permits of /{at}"
            );
        }
    }
    let snapshot = handle.snapshot();
    for bucket in snapshot.buckets() {
        let left = (bucket.waiting(), bucket.in_flight(), bucket.unfinished());
        assert_eq!(left, (0, 0, 0), "{}", bucket.name());
    }
    let overall = snapshot.bucket("overall").unwrap().admitted();
    let (passed, admitted) = passed(&handle);
    assert_eq!(admitted, overall);
    // Both ways have to be taken for this to say anything.
    assert!(passed > admitted / 10, "{passed} of {admitted} passed");
    assert!(
        passed < admitted * 99 / 100,
        "{passed} of {admitted} passed"
    );
}

/// What a caller sees is the same on either way, and most calls of a quiet endpoint take the short one.
#[tokio::test(start_paused = true)]
async fn a_call_that_finds_nobody_there_does_not_take_the_engine_s_lock() {
    let layer = ThrottleLayer::new(endpoints()).without_retry();
    let handle = layer.handle();
    let client = layer.layer(Server::new(true));
    for _ in 0..640 {
        let request = Request::get("/1").body(()).unwrap();
        drop(client.clone().call(request).await);
    }
    let (passed, admitted) = passed(&handle);
    assert_eq!(admitted, 640);
    // The first one of each 65 is the engine's.
    assert_eq!(passed, 630);
}

/// What limits a wider scope keeps all calls at the engine's lock, from the moment it does.
#[tokio::test(start_paused = true)]
async fn a_wider_limit_binds_endpoints_that_were_passed_before() {
    let layer = ThrottleLayer::new(endpoints()).without_retry();
    let handle = layer.handle();
    let client = layer.layer(Server::new(true));
    let get = |at: &str| {
        let request = Request::get(at).body(()).unwrap();
        let mut client = client.clone();
        async move { client.call(request).await }
    };
    let mut open = Vec::new();
    for at in ["/1", "/1", "/3", "/3", "/3"] {
        open.push(get(at).await);
    }
    handle.set_quota("overall", Quota::concurrent(5)).unwrap();
    let in_flight = handle.snapshot().bucket("overall").unwrap().in_flight();
    if in_flight != 5 {
        // To end them would be another panic, and the last thing that this process does.
        std::mem::forget(open);
        panic!("5 are in flight, and {in_flight} are counted");
    }
    let waits = tokio::time::timeout(Duration::from_secs(1), get("/3")).await;
    open.clear();
    assert!(waits.is_err(), "there are no more permits than are held");
    drop(get("/3").await);
    // All but the first one of each endpoint.
    assert_eq!(passed(&handle).0, 3);
}

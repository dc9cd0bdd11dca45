//! What a tower service owes: readiness before each call, of the instance that is called.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_test::mock::{self, Handle, Mock};
use tower_throttle::{
    Backoff, ConcurrencyLayer, Endpoints, Quota, Retry, RetryLayer, Throttle, ThrottleLayer,
};

use crate::retry_support::{Server, get, status};

type Req = Request<String>;
type Res = Response<String>;

fn layer() -> RetryLayer {
    let tick = Duration::from_millis(1);
    RetryLayer::new().backoff(Backoff::full(tick, tick))
}

type Spawned = mock::Spawn<Retry<Mock<Req, Res>>>;

fn new_service(layer: &RetryLayer) -> (Spawned, Handle<Req, Res>) {
    mock::spawn_layer(layer.clone())
}

fn answer(status: u16) -> Res {
    Response::builder()
        .status(status)
        .body(String::new())
        .unwrap()
}

/// Takes the next request, which must be to this path.
macro_rules! next {
    ($handle:expr, $path:expr) => {{
        let (request, respond) = assert_ready!($handle.poll_request()).unwrap();
        assert_eq!(request.uri().path(), $path);
        respond
    }};
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_is_sent_again_as_it_was() {
    let (mut service, mut handle) = new_service(&layer());
    assert_ready_ok!(service.poll_ready());
    let mut future = task::spawn(service.call(get("/a")));
    next!(handle, "/a").send_error(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert_pending!(future.poll());
    advance(Duration::from_millis(2)).await;
    assert!(future.is_woken());
    assert_pending!(future.poll());
    next!(handle, "/a").send_response(answer(200));
    assert_eq!(assert_ready_ok!(future.poll()).status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_attempts_is_limited() {
    let (mut service, mut handle) = new_service(&layer().max_attempts(3));
    assert_ready_ok!(service.poll_ready());
    let mut future = task::spawn(service.call(get("/a")));
    for attempt in 1..=3 {
        let reset = std::io::Error::new(std::io::ErrorKind::ConnectionReset, attempt.to_string());
        next!(handle, "/a").send_error(reset);
        if attempt < 3 {
            assert_pending!(future.poll());
            advance(Duration::from_millis(2)).await;
            assert_pending!(future.poll());
        }
    }
    assert_eq!(assert_ready_err!(future.poll()).to_string(), "3");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_no_retry_helps_is_handed_up() {
    let (mut service, mut handle) = new_service(&layer());
    assert_ready_ok!(service.poll_ready());
    let mut future = task::spawn(service.call(get("/a")));
    next!(handle, "/a").send_error("reject");
    assert_eq!(assert_ready_err!(future.poll()).to_string(), "reject");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_copied_succeeds_or_fails_by_its_first_attempt() {
    struct Unknown;
    for fails in [true, false] {
        let (mut service, mut handle) = mock::spawn_layer::<Request<Unknown>, Res, _>(layer());
        assert_ready_ok!(service.poll_ready());
        let request = Request::get("/a").body(Unknown).unwrap();
        let mut future = task::spawn(service.call(request));
        let (_, respond) = assert_ready!(handle.poll_request()).unwrap();
        if fails {
            respond.send_error(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
            assert_ready_err!(future.poll());
        } else {
            respond.send_response(answer(200));
            assert_ready_ok!(future.poll());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_is_waited_for_before_each_attempt() {
    let (mut service, mut handle) = new_service(&layer());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut future = task::spawn(service.call(get("/a")));
    next!(handle, "/a").send_response(answer(500));
    assert_pending!(future.poll());
    advance(Duration::from_millis(2)).await;
    // The inner service is not ready, so nothing goes out.
    assert_pending!(future.poll());
    assert_pending!(handle.poll_request());
    handle.allow(1);
    assert!(future.is_woken());
    assert_pending!(future.poll());
    next!(handle, "/a").send_response(answer(200));
    assert_eq!(assert_ready_ok!(future.poll()).status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_between_attempts_is_handed_up() {
    let (mut service, mut handle) = new_service(&layer());
    assert_ready_ok!(service.poll_ready());
    let mut future = task::spawn(service.call(get("/a")));
    next!(handle, "/a").send_response(answer(500));
    assert_pending!(future.poll());
    handle.send_error("gone");
    advance(Duration::from_millis(2)).await;
    assert_eq!(assert_ready_err!(future.poll()).to_string(), "gone");
}

/// Readiness belongs to the instance, and each takes one of the places while it has it.
struct Stateful {
    readied: bool,
    reserved: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    /// Set while a response exists.
    held: Arc<AtomicBool>,
}

impl Clone for Stateful {
    fn clone(&self) -> Self {
        Self {
            readied: false,
            reserved: Arc::clone(&self.reserved),
            calls: Arc::clone(&self.calls),
            held: Arc::clone(&self.held),
        }
    }
}

impl Stateful {
    fn new() -> Self {
        Self {
            readied: false,
            reserved: Arc::default(),
            calls: Arc::default(),
            held: Arc::default(),
        }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.readied) {
            self.reserved.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Stateful {
    fn drop(&mut self) {
        self.release();
    }
}

/// Notices its end.
#[derive(Clone)]
struct Held(#[allow(dead_code, reason = "is there to be dropped")] Arc<OnDrop>);

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl<B> Service<Request<B>> for Stateful {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !std::mem::replace(&mut self.readied, true) {
            self.reserved.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(self.readied, "called without being ready");
        self.release();
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(
            !self.held.swap(true, Ordering::Relaxed),
            "the answer before is still there"
        );
        let status = if calls < 3 { 500 } else { 200 };
        let mut response = status_of(status);
        let held = Held(Arc::new(OnDrop(Arc::clone(&self.held))));
        response.extensions_mut().insert(held);
        std::future::ready(Ok(response))
    }
}

fn status_of(code: u16) -> Response<Full<Bytes>> {
    status(code).unwrap()
}

async fn drive<S>(mut service: S, inner: Stateful)
where
    S: Service<Req, Error = BoxError>,
    S::Response: std::fmt::Debug,
{
    service.ready().await.unwrap();
    assert_eq!(inner.reserved.load(Ordering::Relaxed), 1);
    let mut future = task::spawn(service.call(get("/a")));
    for _ in 0..3 {
        assert_pending!(future.poll());
        // While it backs off: no answer, and nothing reserved.
        assert!(!inner.held.load(Ordering::Relaxed));
        assert_eq!(inner.reserved.load(Ordering::Relaxed), 0);
        advance(Duration::from_millis(2)).await;
    }
    assert_ready_ok!(future.poll());
    assert_eq!(inner.calls.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_calls_an_instance_that_is_ready_and_holds_nothing_before_it() {
    let inner = Stateful::new();
    let retry = layer().max_attempts(4);
    drive(retry.layer(inner.clone()), inner).await;

    let inner = Stateful::new();
    let throttle = ThrottleLayer::new(Endpoints::new()).retry(retry.clone());
    drive(throttle.layer(inner.clone()), inner).await;

    let inner = Stateful::new();
    let limit = ConcurrencyLayer::new(Endpoints::new().route("GET /a", Quota::concurrent(1)));
    drive(retry.layer(limit.layer(inner.clone())), inner).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reserved_while_a_body_is_collected() {
    type Never = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
    struct Pending;
    impl http_body::Body for Pending {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }
    let inner = Stateful::new();
    let mut service = layer()
        .collect_body_with::<Never>(10, Never::new)
        .layer(inner.clone());
    ServiceExt::<Request<Never>>::ready(&mut service)
        .await
        .unwrap();
    assert_eq!(inner.reserved.load(Ordering::Relaxed), 1);
    let request = Request::get("/a").body(Never::new(Pending)).unwrap();
    let mut future = task::spawn(service.call(request));
    assert_eq!(inner.reserved.load(Ordering::Relaxed), 0);
    assert_pending!(future.poll());
}

#[test]
fn layers_and_services_need_no_runtime() {
    let layer = ThrottleLayer::new(Endpoints::new());
    let service = layer.layer(RetryLayer::new().layer(Stateful::new()));
    let _ = (layer.clone(), service.clone());
    assert!(format!("{layer:?}").starts_with("ThrottleLayer"));
}

#[test]
fn layers_services_and_futures_are_send_and_sync() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Send + Sync + 'static>(_: &T) {}
    let layer = RetryLayer::new();
    is_sync(&layer);
    let mut retry: Retry<Stateful> = layer.layer(Stateful::new());
    is_sync(&retry);
    let mut throttle: Throttle<Stateful> =
        ThrottleLayer::new(Endpoints::new()).layer(Stateful::new());
    is_sync(&throttle);
    retry.get_mut().readied = true;
    throttle.get_mut().readied = true;
    retry.get_ref().reserved.store(9, Ordering::Relaxed);
    throttle.get_ref().reserved.store(9, Ordering::Relaxed);
    is_send(&retry.call(get("/a")));
    is_send(&throttle.call(get("/a")));
}

/// Compiles: a task that holds these futures over a boxed client is `Send`.
#[tokio::test(start_paused = true)]
async fn boxed_clients_can_be_spawned() {
    type Boxed = BoxCloneSyncService<Req, Response<Full<Bytes>>, BoxError>;
    let mut client: Retry<Boxed> = RetryLayer::new().layer(Boxed::new(Server::answering([])));
    let spawned = tokio::spawn(async move { client.ready().await?.call(get("/a")).await });
    assert!(spawned.await.unwrap().is_ok());
    let layer = ThrottleLayer::new(Endpoints::new());
    let mut client: Throttle<Boxed> = layer.layer(Boxed::new(Server::answering([])));
    let spawned = tokio::spawn(async move { client.ready().await?.call(get("/a")).await });
    assert!(spawned.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn boxed_clients_with_boxed_bodies_can_be_spawned() {
    type Bytes_ = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
    type Boxed = BoxCloneSyncService<Request<Bytes_>, Response<Bytes_>, BoxError>;
    async fn run(service: Server) -> Result<(), BoxError> {
        let client = Boxed::new(tower::util::MapResponse::new(
            service,
            |response: Response<Full<Bytes>>| {
                response.map(|body| {
                    Bytes_::new(http_body_util::BodyExt::map_err(
                        body,
                        |never| match never {},
                    ))
                })
            },
        ));
        let mut client = ThrottleLayer::new(Endpoints::new()).layer(client);
        let request = Request::get("/a").body(Bytes_::default()).unwrap();
        let task = tokio::spawn(async move { client.ready().await?.call(request).await });
        task.await?.map(drop)
    }
    run(Server::answering([])).await.unwrap();
}

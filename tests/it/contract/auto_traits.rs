//! What can be sent, shared, cloned, printed, spawned and boxed.

use std::{fmt::Debug, time::Duration};

use crate::support::*;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    buffer::BufferLayer,
    service_fn,
    util::{BoxCloneService, BoxCloneSyncService, BoxService},
};
use tower_throttle::{
    Awaited, Body, BoxError, BucketSnapshot, Concurrency, ConcurrencyLayer, Deadline, EndpointName,
    Endpoints, Handle, InvalidEndpoint, QueueHead, Quota, Refused, RefusedReason, RequestHead,
    ResponseFuture, Rps, RpsLayer, Snapshot, Throttle, ThrottleLayer, UnknownEndpoint,
};

fn all<T: Send + Sync + Unpin + Debug + Clone + 'static>() {}
fn shared<T: Send + Sync + Debug>() {}
fn error<T: std::error::Error + Send + Sync + 'static>() {}

#[test]
fn public_types_have_the_auto_traits() {
    all::<Endpoints>();
    all::<Quota>();
    all::<EndpointName>();
    all::<Deadline>();
    all::<RpsLayer>();
    all::<ConcurrencyLayer>();
    all::<ThrottleLayer>();
    all::<Rps<()>>();
    all::<Concurrency<()>>();
    all::<Throttle<()>>();
    all::<Handle>();
    all::<Snapshot>();
    all::<BucketSnapshot>();
    all::<QueueHead>();
    all::<Awaited>();
    all::<Refused>();
    all::<RefusedReason>();
    all::<InvalidEndpoint>();
    all::<UnknownEndpoint>();
    shared::<RequestHead<'static>>();
    error::<Refused>();
    error::<InvalidEndpoint>();
    error::<UnknownEndpoint>();
}

/// Neither `Send` nor `Sync` nor anything else.
struct Bare(#[allow(dead_code)] *const ());

/// `Send` only.
#[derive(Debug)]
struct SendOnly(#[allow(dead_code)] std::cell::Cell<()>);

#[test]
fn services_bodies_and_futures_are_what_their_parts_are() {
    fn send<T: Send>() {}
    fn is_send<T: Send>(_: T) {}
    fn sync<T: Sync>() {}
    fn unpin<T: Unpin>() {}
    fn debug<T: Debug>() {}
    fn default<T: Default>() {}
    sync::<Body<String>>();
    unpin::<Body<String>>();
    debug::<Body<String>>();
    is_send(RpsLayer::new(Endpoints::new()).handle().drain());
    send::<Throttle<SendOnly>>();
    sync::<Rps<String>>();
    // The types have no bounds of their own.
    _ = std::mem::size_of::<ResponseFuture<Bare, Bare, Bare, Bare>>();
    _ = std::mem::size_of::<Throttle<Bare>>();
    send::<ResponseFuture<SendOnly, SendOnly, SendOnly, SendOnly>>();
    sync::<ResponseFuture<String, String, String, String>>();
    debug::<ResponseFuture<String, String, String, String>>();
    default::<Body<String>>();
}

#[test]
fn quotas_are_const() {
    const QUOTA: Quota = Quota::per_second(5)
        .and_per(100, Duration::from_secs(120))
        .concurrency(4)
        .margin(Duration::from_millis(10))
        .release_at_head();
    const OTHER: Quota = Quota::per(5, Duration::from_secs(1));
    assert_ne!(QUOTA, OTHER);
    assert_eq!(OTHER, Quota::per_second(5));
}

type Boxed = BoxCloneSyncService<Request<String>, Response<String>, BoxError>;

fn inner() -> Boxed {
    BoxCloneSyncService::new(service_fn(|request: Request<String>| async {
        Ok::<_, BoxError>(Response::new(request.into_body()))
    }))
}

fn config() -> Endpoints {
    Endpoints::new()
        .route("/a", Quota::per_second(5).concurrency(2))
        .overall(Quota::per_second(50))
}

macro_rules! for_each_layer {
    ($layer:ident => $test:expr) => {{
        let $layer = RpsLayer::new(config());
        $test;
        let $layer = ConcurrencyLayer::new(config());
        $test;
        let $layer = throttle(config());
        $test;
    }};
}

async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Error: Debug>,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

fn request() -> Request<String> {
    Request::get("/a").body("hello".to_owned()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_task_can_make_a_service_ready_and_call_it() {
    for_each_layer!(layer => {
        let mut svc = layer.layer(inner());
        let task = tokio::spawn(async move { svc.ready().await?.call(request()).await });
        let response = task.await.unwrap().unwrap();
        assert_eq!(text(response).await, "hello");
    });
}

#[tokio::test(start_paused = true)]
async fn the_whole_stack_by_hand_can_be_spawned() {
    let mut svc = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(config()))
        .layer(RpsLayer::new(config()))
        .service(inner());
    let task = tokio::spawn(async move { svc.ready().await?.call(request()).await });
    let response = task.await.unwrap().unwrap();
    assert_eq!(text(response).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn boxed_stacks_can_be_called_in_one_shot_from_a_task() {
    for_each_layer!(layer => {
        let svc = BoxCloneService::new(layer.layer(inner()));
        let task = tokio::spawn(svc.oneshot(request()));
        task.await.unwrap().unwrap();
        let svc = BoxCloneSyncService::new(layer.layer(inner()));
        let task = tokio::spawn(svc.oneshot(request()));
        task.await.unwrap().unwrap();
        let svc = BoxService::new(layer.layer(inner()));
        let task = tokio::spawn(svc.oneshot(request()));
        task.await.unwrap().unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_cloned_works_below_a_buffer() {
    // As kube's default service.
    for_each_layer!(layer => {
        let not_clone: BoxService<Request<String>, Response<String>, BoxError> = BoxService::new(inner());
        let mut svc = ServiceBuilder::new()
            .layer(layer)
            .layer(BufferLayer::new(16))
            .service(not_clone);
        let task = tokio::spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..3 {
                let response = svc.ready().await?.call(request()).await?;
                answers.push(text(response).await);
            }
            Ok::<_, BoxError>(answers.len())
        });
        assert_eq!(task.await.unwrap().unwrap(), 3);
    });
}

#[tokio::test(start_paused = true)]
async fn requests_wait_above_a_buffer_and_none_of_its_slots_is_held() {
    // With as few slots as callers may hold: a waiting request that kept one would stop the rest.
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new().route("/a", per(1, 100).concurrency(1)),
        );
        let buffer = tower::buffer::Buffer::new(probe.clone(), 1);
        let client = layer.over(buffer);
        let a = burst(&client, 4, |_| job("/a", ms(100))).await;
        let b = burst(&client, 4, |_| job("/b", ms(10))).await;
        for sent in b.into_iter().chain(a) {
            sent.await.unwrap().unwrap();
        }
        assert_eq!(probe.times_of("/b"), [0; 4], "{face:?}");
        assert_eq!(probe.times_of("/a"), [0, 100, 200, 300], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stacks_with_towers_own_layers_compile_and_work() {
    for_each_layer!(layer => {
        let mut svc = ServiceBuilder::new()
            .boxed_clone()
            .load_shed()
            .timeout(Duration::from_secs(10))
            .concurrency_limit(10)
            .map_request(|request: Request<String>| request)
            .layer(layer)
            .map_err(|error: BoxError| error)
            .timeout(Duration::from_secs(5))
            .service(inner());
        let response = svc.ready().await.unwrap().call(request()).await.unwrap();
        assert_eq!(text(response).await, "hello");
    });
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_drops_a_waiting_request_and_one_below_does_not_count_the_wait() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", per(1, 1000).concurrency(1));
        let layer = AnyLayer::new(face, endpoints);
        let above = ServiceBuilder::new()
            .boxed_clone()
            .timeout(ms(300))
            .service(layer.client(&probe));
        let first = burst(&layer.client(&probe), 1, |_| job("/a", ms(1000))).await;
        let error = above.oneshot(get("/a")).await.map(drop).unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>());
        assert_eq!(gauge(&layer.handle(), "/a").0, 0);

        let below = ServiceBuilder::new()
            .timeout(ms(300))
            .service(probe.clone());
        let second = burst(&layer.over(below), 1, |_| job("/a", ms(200))).await;
        for sent in first.into_iter().chain(second) {
            sent.await.unwrap().unwrap();
        }
        assert_eq!(probe.times(), [0, 1000], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn services_that_borrow_and_requests_that_are_not_send_work_without_a_task() {
    for_each_layer!(layer => {
        let seen = std::cell::Cell::new(0);
        let mut svc = layer.layer(service_fn(|_: Request<std::rc::Rc<()>>| {
            seen.set(seen.get() + 1);
            std::future::ready(Ok::<_, BoxError>(Response::new(String::new())))
        }));
        let request = Request::get("/a").body(std::rc::Rc::new(())).unwrap();
        svc.ready().await.unwrap().call(request).await.unwrap();
        drop(svc);
        assert_eq!(seen.get(), 1);
    });
}

#[tokio::test(start_paused = true)]
async fn debug_output_names_the_type_and_works_while_requests_wait() {
    for_each_layer!(layer => {
        let svc = layer.layer("inner");
        assert!(!format!("{layer:?}").is_empty());
        assert!(format!("{svc:?}").contains("inner"));
        assert!(format!("{:?}", layer.handle()).contains("Handle"));
    });
}

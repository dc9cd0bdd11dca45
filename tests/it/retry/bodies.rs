//! Which request bodies are sent again, and that what is sent again is the same.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_throttle::RetryLayer;

use crate::retry_support::{Server, status};

fn server() -> Server {
    Server::answering([status(429), status(429)])
}

async fn sends<B: 'static>(layer: RetryLayer, body: B) -> usize {
    let server = server();
    let request = Request::post("/a").body(body).unwrap();
    layer.layer(server.clone()).oneshot(request).await.unwrap();
    server.sent().len()
}

#[tokio::test(start_paused = true)]
async fn built_in_types_are_sent_again() {
    let layer = RetryLayer::new;
    assert_eq!(sends(layer(), ()).await, 3);
    assert_eq!(sends(layer(), Empty::<Bytes>::new()).await, 3);
    assert_eq!(sends(layer(), Full::new(Bytes::from("x"))).await, 3);
    assert_eq!(sends(layer(), Bytes::from("x")).await, 3);
    assert_eq!(sends(layer(), String::from("x")).await, 3);
    assert_eq!(sends(layer(), "x").await, 3);
    assert_eq!(sends(layer(), vec![7_u8]).await, 3);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_sent_once_and_never_refused() {
    struct Unknown;
    assert_eq!(sends(RetryLayer::new(), Unknown).await, 1);
}

/// A body whose clones share one stream, as those of octocrab do: what one of them has read, the
/// others will not.
#[derive(Clone)]
struct Shared(Arc<Mutex<VecDeque<Bytes>>>);

impl http_body::Body for Shared {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.0.lock().unwrap().pop_front();
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_whose_clones_share_one_stream_is_sent_once() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&bodies);
    let server = service_fn(move |request: Request<Shared>| {
        let log = Arc::clone(&log);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            log.lock().unwrap().push(body);
            Ok::<_, Infallible>(Response::builder().status(429).body(String::new()).unwrap())
        }
    });
    let body = Shared(Arc::new(Mutex::new(VecDeque::from([Bytes::from("x")]))));
    let request = Request::post("/a").body(body).unwrap();
    let response = RetryLayer::new().layer(server).oneshot(request).await;
    assert_eq!(response.unwrap().status(), 429);
    assert_eq!(*bodies.lock().unwrap(), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_registered_type_is_sent_as_often_as_its_copier_says() {
    #[derive(Clone, Copy)]
    struct Number(u32);
    let layer = RetryLayer::new()
        .clone_body_with::<Number>(|&Number(left)| left.checked_sub(1).map(Number));
    assert_eq!(sends(layer.clone(), Number(0)).await, 1);
    assert_eq!(sends(layer.clone(), Number(1)).await, 2);
    assert_eq!(sends(layer.clone(), Number(2)).await, 3);
    assert_eq!(sends(layer, "x").await, 3);
}

/// A stream of frames, that may fail.
struct Stream(VecDeque<Result<Frame<Bytes>, BoxError>>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front())
    }
}

type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

fn stream(frames: impl IntoIterator<Item = Result<Frame<Bytes>, BoxError>>) -> Boxed {
    Boxed::new(Stream(frames.into_iter().collect()))
}

#[expect(clippy::unnecessary_wraps, reason = "among frames that may be errors")]
fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// What came in with each attempt: text and trailers, or the error.
async fn collected(cap: usize, body: Boxed) -> Vec<Result<(Bytes, Option<HeaderMap>), String>> {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let layer = RetryLayer::new().collect_body_with::<Boxed>(cap, Boxed::new);
    let log = Arc::clone(&bodies);
    let server = service_fn(move |request: Request<Boxed>| {
        let log = Arc::clone(&log);
        async move {
            let read = request.into_body().collect().await;
            let read = read.map(|body| {
                let trailers = body.trailers().cloned();
                (body.to_bytes(), trailers)
            });
            let mut log = log.lock().unwrap();
            log.push(read.map_err(|error| error.to_string()));
            let status = if log.len() < 3 { 429 } else { 200 };
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(response.body(String::new()).unwrap())
        }
    });
    let request = Request::post("/a").body(body).unwrap();
    layer.layer(server).oneshot(request).await.unwrap();
    bodies.lock().unwrap().drain(..).collect()
}

#[tokio::test(start_paused = true)]
async fn a_collected_body_is_sent_again_whole() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "7".parse().unwrap());
    let frames = [
        data("one "),
        data(""),
        data("two"),
        Ok(Frame::trailers(trailers.clone())),
    ];
    let all = collected(100, stream(frames)).await;
    let each = Ok((Bytes::from("one two"), Some(trailers)));
    assert_eq!(all, [each.clone(), each.clone(), each]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_empty_is_collected_too() {
    let each = Ok((Bytes::new(), None));
    assert_eq!(
        collected(0, stream([])).await,
        [each.clone(), each.clone(), each]
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_cap_is_sent_once_and_whole() {
    let frames = || (0..10).map(|_| data("0123456789"));
    let whole = Bytes::from("0123456789".repeat(10));
    for cap in [0, 5, 10, 99] {
        let all = collected(cap, stream(frames())).await;
        assert_eq!(all, [Ok((whole.clone(), None))], "{cap}");
    }
    assert_eq!(collected(100, stream(frames())).await.len(), 3);
    // Of a known length, so that nothing is read to find out.
    let full = Full::new(whole.clone()).map_err(|never| match never {});
    assert_eq!(collected(99, Boxed::new(full)).await, [Ok((whole, None))]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_is_sent_once_and_fails_there() {
    let frames = [data("one "), Err("cut off".into())];
    assert_eq!(
        collected(100, stream(frames)).await,
        [Err("cut off".to_owned())]
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_sync_stays_so() {
    type Sync = BoxBody<Bytes, BoxError>;
    let layer = RetryLayer::new().collect_body_with::<Sync>(10, Sync::new);
    let body = Sync::new(Full::new(Bytes::from("x")).map_err(|never| match never {}));
    assert_eq!(sends(layer, body).await, 3);
}

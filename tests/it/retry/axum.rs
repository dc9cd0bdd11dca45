//! axum's body is opaque: it is sent again if it was collected, whatever is in it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum_core::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_throttle::RetryLayer;

const CAP: usize = 16;

/// What a server is sent that is unavailable twice, and when.
async fn sent(layer: RetryLayer, body: Body) -> Vec<(Duration, Result<Bytes, String>)> {
    let start = Instant::now();
    let log = Arc::new(Mutex::new(Vec::new()));
    let server = service_fn(|request: Request<Body>| {
        let log = Arc::clone(&log);
        async move {
            let at = start.elapsed();
            let body = request.into_body().collect().await;
            let body = body.map(http_body_util::Collected::to_bytes);
            let mut log = log.lock().unwrap();
            log.push((at, body.map_err(|error| error.to_string())));
            let status = if log.len() < 3 { 503 } else { 200 };
            let answer = Response::builder().status(status);
            Ok::<_, Infallible>(
                answer
                    .header("retry-after", "1")
                    .body(String::new())
                    .unwrap(),
            )
        }
    });
    let request = Request::put("/a").body(body).unwrap();
    layer.layer(server).oneshot(request).await.unwrap();
    log.lock().unwrap().drain(..).collect()
}

fn collecting() -> RetryLayer {
    RetryLayer::new().collect_body_with::<Body>(CAP, Body::new)
}

/// A part a second, as from a slow caller.
fn slow(parts: usize) -> Body {
    let parts = stream::unfold(parts, |left| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        (left > 0).then(|| (Ok::<_, BoxError>(Bytes::from("part")), left - 1))
    });
    Body::from_stream(parts)
}

#[tokio::test(start_paused = true)]
async fn one_in_memory_is_sent_again_and_waits_for_nothing() {
    for body in [
        Body::from("text"),
        Body::from("text".to_owned()),
        Body::from(b"text".to_vec()),
        Body::new(Full::new(Bytes::from("text"))),
    ] {
        let sent = sent(collecting(), body).await;
        assert_eq!(sent[0].0, Duration::ZERO);
        assert_eq!(sent.len(), 3);
        assert!(
            sent.iter().all(|(_, body)| body.as_deref() == Ok(b"text")),
            "{sent:?}"
        );
    }
    assert_eq!(sent(collecting(), Body::empty()).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_cap_it_is_sent_once() {
    // A length alone does not tell what is in memory: a request that is read from a socket has one, too.
    assert_eq!(Body::from("text").size_hint().exact(), Some(4));
    assert_eq!(sent(RetryLayer::new(), Body::from("text")).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_below_the_cap_is_read_first_and_then_sent_again() {
    let sent = sent(collecting(), slow(2)).await;
    // Two parts, and the end.
    assert_eq!(sent[0].0, Duration::from_secs(3));
    assert_eq!(sent.len(), 3);
    assert!(
        sent.iter()
            .all(|(_, body)| body.as_deref() == Ok(b"partpart")),
        "{sent:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_beyond_the_cap_is_sent_once_as_soon_as_that_shows() {
    let sent = sent(collecting(), slow(6)).await;
    let whole = Bytes::from("part".repeat(6));
    // The fifth part is the one that is too much.
    assert_eq!(sent, [(Duration::from_secs(5), Ok(whole))]);
}

#[tokio::test(start_paused = true)]
async fn one_that_says_that_it_is_too_long_is_sent_once_without_a_look() {
    let body = Body::new(Full::new(Bytes::from("x".repeat(CAP + 1))));
    let sent = sent(collecting(), body).await;
    assert_eq!(
        sent,
        [(Duration::ZERO, Ok(Bytes::from("x".repeat(CAP + 1))))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_not_repeated() {
    let frames = [
        Ok(http_body::Frame::data(Bytes::from("te"))),
        Err(BoxError::from("gone")),
    ];
    let sent = sent(
        collecting(),
        Body::new(StreamBody::new(stream::iter(frames))),
    )
    .await;
    assert_eq!(sent, [(Duration::ZERO, Err("gone".to_owned()))]);
}

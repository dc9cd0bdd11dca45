//! The judge as a tower service, under paused time: every instant is exact.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::time::{Instant, advance, sleep, sleep_until};
use tower::{Service, ServiceExt};
use tower_throttle::mock::{Body, Judge, Limit, RefusedBy, Verdict, Work};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::post(path).body(Empty::new()).unwrap()
}

/// Sends a request and reads the answer to its end.
async fn send(judge: &Judge, path: &str) -> StatusCode {
    let (head, body) = head(judge, path).await.into_parts();
    body.collect().await.unwrap();
    head.status
}

async fn head(judge: &Judge, path: &str) -> Response<Body> {
    judge.clone().oneshot(request(path)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn of_ten_requests_at_once_four_are_accepted_and_six_refused() {
    let judge = Judge::builder()
        .route("POST /tts", Limit::concurrent(4), Work::fixed(ms(12_000)))
        .build();
    let start = Instant::now();

    let answers = join_all((0..10).map(|_| send(&judge, "/tts"))).await;

    assert_eq!(start.elapsed(), ms(12_000));
    assert_eq!(answers[..4], [StatusCode::OK; 4]);
    assert_eq!(answers[4..], [StatusCode::TOO_MANY_REQUESTS; 6]);
    let report = judge.report();
    let tts = report.endpoint("POST /tts");
    assert_eq!((tts.accepted, tts.refused_by_concurrency), (4, 6));
    assert_eq!((tts.refused_by_rate, tts.in_flight), (0, 0));
    assert_eq!(tts.worst_window, 10);
}

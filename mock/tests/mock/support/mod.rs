//! What the tests of the judge have in common.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tower::Service;
use tower_throttle_mock::{Body, EndpointReport, Judge, JudgeBuilder, Limit, ResponseFuture, Work};

pub(crate) const OK: StatusCode = StatusCode::OK;
pub(crate) const REFUSED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn at_a(limit: Limit, work: impl Into<Work>) -> JudgeBuilder {
    Judge::builder().route("/a", limit, work.into())
}

pub(crate) fn call(judge: &Judge, path: &str) -> ResponseFuture {
    let request = Request::post(path).body(Empty::<Bytes>::new()).unwrap();
    judge.clone().call(request)
}

pub(crate) async fn head(judge: &Judge, path: &str) -> Response<Body> {
    call(judge, path).await.unwrap()
}

/// Sends a request and reads the answer to its end.
pub(crate) async fn send(judge: &Judge, path: &str) -> StatusCode {
    let (head, body) = head(judge, path).await.into_parts();
    body.collect().await.unwrap();
    head.status
}

pub(crate) fn scored(judge: &Judge) -> EndpointReport {
    judge.report().endpoint("/a").clone()
}

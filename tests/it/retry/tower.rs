//! The same decisions under tower's own retry.

use std::time::Duration;

use http::Request;
use tower::{Layer, retry};
use tower_throttle::{
    Attempts, Backoff, BoxError, Budget, ConcurrencyLayer, Endpoints, Quota, RetryLayer,
};

use crate::retry_support::{Answer, Server, call, error, get, post, status, with};

const SECOND: Duration = Duration::from_secs(1);

fn layer() -> RetryLayer {
    let tick = Duration::from_millis(1);
    RetryLayer::new().backoff(Backoff::full(tick, tick))
}

async fn send(
    layer: &RetryLayer,
    answers: impl IntoIterator<Item = Answer>,
    request: Request<String>,
) -> (Server, Result<http::Response<()>, BoxError>) {
    let server = Server::answering(answers);
    let mut service = retry::RetryLayer::new(layer.policy()).layer(server.clone());
    let result = call(&mut service, request).await;
    (server, result.map(|response| response.map(drop)))
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_up_to_the_last_attempt() {
    let (server, result) = send(&layer(), [status(500), status(502)], get("/")).await;
    let response = result.unwrap();
    assert_eq!(response.status(), 200);
    let attempts = response.extensions().get().map(Attempts::attempts);
    assert_eq!(attempts, Some(3));
    let numbers: Vec<_> = server.sent().iter().map(|sent| sent.attempt).collect();
    assert_eq!(numbers, [None, Some(2), Some(3)]);

    let (server, result) = send(&layer(), [(); 5].map(|()| status(500)), get("/")).await;
    assert_eq!(
        (server.sent().len(), result.unwrap().status().as_u16()),
        (3, 500)
    );
    let resets = [(); 5].map(|()| error(std::io::ErrorKind::ConnectionReset));
    let (server, result) = send(&layer(), resets, get("/")).await;
    assert_eq!(server.sent().len(), 3);
    assert!(result.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_retried_there_is_not_retried_here() {
    let (server, _) = send(&layer(), [status(500)], post("/")).await;
    assert_eq!(server.sent().len(), 1);
    let day = with(429, &[("retry-after", "86400")]);
    let (server, _) = send(&layer(), [day], post("/")).await;
    assert_eq!(server.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_server_is_waited_for() {
    let answers = (0..10).map(|_| with(429, &[("retry-after", "2")]));
    let (server, result) = send(&layer(), answers, post("/")).await;
    assert_eq!(result.unwrap().status(), 200);
    for waited in server.waits() {
        assert!(waited >= 2 * SECOND && waited < 3 * SECOND, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_and_progress_is_not() {
    let layer = layer().budget(Budget::new(3, 0.0));
    let server = Server::new(|_, _| status(500));
    let mut service = retry::RetryLayer::new(layer.policy()).layer(server.clone());
    for sent in [3, 5, 6] {
        call(&mut service, get("/")).await.unwrap();
        assert_eq!(server.sent().len(), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_that_cannot_be_copied_is_sent_once() {
    struct Unknown;
    let server = Server::answering([status(429)]);
    let mut service = retry::RetryLayer::new(layer().policy()).layer(server.clone());
    let response = call(&mut service, Request::new(Unknown)).await.unwrap();
    assert_eq!((response.status().as_u16(), server.sent().len()), (429, 1));
}

#[tokio::test(start_paused = true)]
async fn limits_below_are_passed_by_each_attempt() {
    let endpoints = Endpoints::new().route("GET /a", Quota::concurrent(1));
    let limit = ConcurrencyLayer::new(endpoints);
    let handle = limit.handle();
    let server = Server::answering([status(500), status(500)]);
    let policy = retry::RetryLayer::new(layer().policy());
    let mut service = policy.layer(limit.layer(server.clone()));
    call(&mut service, get("/a")).await.unwrap();
    let snapshot = handle.snapshot();
    assert_eq!(snapshot.bucket("GET /a").unwrap().admitted(), 3);
}

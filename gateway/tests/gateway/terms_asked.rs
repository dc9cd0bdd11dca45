//! What callers ask of the gateway in headers.

use std::future::pending;

use http::{HeaderMap, Request, Response, StatusCode, Version};
use tokio::{sync::mpsc, time::Instant};
use tower_throttle::mock::{Judge, Limit, Work};

use crate::{
    support::{LONG, Line, VERSIONS, client, full, post, recorder, send, serve, serve_judge, soon},
    terms,
};

const A: &str = "POST /a";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let lines = lines.iter();
    lines
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            let name: http::HeaderName = name;
            headers.append(name, value);
            headers
        })
}

#[test]
fn a_bad_value_is_named_with_what_was_expected() {
    for (lines, reason) in [
        (
            &[("x-gateway-priority", "urgent")][..],
            "x-gateway-priority: expected high, normal or low, not \"urgent\"",
        ),
        (
            &[
                ("x-gateway-priority", "high"),
                ("x-gateway-priority", "low"),
            ],
            "x-gateway-priority: expected only once",
        ),
        (
            &[("x-gateway-max-wait", "30")],
            "x-gateway-max-wait: expected a time such as 250ms, 1.5s or 2m, not \"30\"",
        ),
        (
            &[("x-gateway-flow", "")],
            "x-gateway-flow: expected 1 to 256 bytes, found 0",
        ),
        (
            &[("x-gateway-flow", "a"), ("x-gateway-flow-weight", "0")],
            "x-gateway-flow-weight: expected a whole number from 1 to 1000, not \"0\"",
        ),
        (
            &[("x-gateway-flow-weight", "2")],
            "x-gateway-flow-weight: expected x-gateway-flow beside it",
        ),
        (
            &[("x-gateway-priorty", "low")],
            "x-gateway-priorty: there is no such header: expected one of x-gateway-max-wait, \
             x-gateway-priority, x-gateway-flow, x-gateway-flow-weight, x-gateway-endpoint",
        ),
    ] {
        assert_eq!(terms::take(&mut headers(lines)).unwrap_err(), reason);
    }
    let long = "x".repeat(257);
    let error = terms::take(&mut headers(&[("x-gateway-flow", &long)])).unwrap_err();
    assert_eq!(error, "x-gateway-flow: expected 1 to 256 bytes, found 257");
}

#[tokio::test]
async fn a_bad_value_is_a_bad_request_and_goes_nowhere() {
    for version in VERSIONS {
        let (upstream, mut recorded) = recorder();
        let line = Line::start(&upstream, &[]);
        for (name, value) in [
            ("x-gateway-priority", "urgent"),
            ("x-gateway-endpoint", "nobody"),
            ("x-gateway-speed", "1"),
        ] {
            let mut request = post(&line.url("/a"));
            request.headers_mut().insert(name, value.parse().unwrap());
            let answer = send(&client(version), request).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
            let error = &answer.json()["error"];
            assert_eq!(error["type"], "bad_request");
            assert!(
                error["message"].as_str().unwrap().starts_with(name),
                "{error}"
            );
        }
        assert!(recorded.try_recv().is_err());
    }
}

#[tokio::test]
async fn what_is_asked_of_the_gateway_does_not_go_up() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    let request = Request::post(line.url("/a"))
        .header("x-gateway-priority", "low")
        .header("X-Gateway-Flow", "import")
        .header("x-gateway-flow-weight", "3")
        .header("x-gateway-max-wait", "20s")
        .body(full(""))
        .unwrap();
    let answer = send(&client(Version::HTTP_11), request).await;
    assert_eq!(answer.status, StatusCode::OK);
    let received = soon("a request", recorded.recv()).await.unwrap();
    let ours = |name: &&http::HeaderName| name.as_str().starts_with("x-gateway");
    assert_eq!(received.headers().keys().find(ours), None);
}

/// An upstream that tells in which order it is asked, and answers when it is told to.
fn in_order() -> (String, mpsc::UnboundedReceiver<(String, mpsc::Sender<()>)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let url = serve(move |request| {
        let tell = tell.clone();
        async move {
            let (go, mut went) = mpsc::channel(1);
            let path = request.uri().query().unwrap_or_default().to_owned();
            tell.send((path, go)).unwrap();
            went.recv().await;
            Response::new(full("ok"))
        }
    });
    (url, told)
}

/// Sends these one after the other, while the first is under way; the order in which they get there.
async fn order(requests: &[(&str, &[(&str, &str)])]) -> Vec<String> {
    let (upstream, mut told) = in_order();
    let line = Line::start(&upstream, &["--limit", "/a=concurrency:1"]);
    let mut calls = Vec::new();
    for (n, (name, lines)) in requests.iter().enumerate() {
        let mut request = Request::post(line.url(&format!("/a?{name}")));
        for (name, value) in *lines {
            request = request.header(*name, *value);
        }
        let request = request.body(full("")).unwrap();
        let client = client(Version::HTTP_11);
        calls.push(tokio::spawn(async move { send(&client, request).await }));
        line.counted("/a", n, 1).await;
    }
    let mut order = Vec::new();
    for _ in requests {
        let (name, go) = soon("a request", told.recv()).await.unwrap();
        order.push(name);
        go.send(()).await.unwrap();
    }
    for call in calls {
        assert_eq!(call.await.unwrap().status, StatusCode::OK);
    }
    order
}

#[tokio::test]
async fn a_higher_class_goes_first() {
    let priority = |class| [("x-gateway-priority", class)];
    let (low, high) = (priority("low"), priority("high"));
    let order = order(&[
        ("first", &[]),
        ("low", &low),
        ("normal", &[]),
        ("high", &high),
    ])
    .await;
    assert_eq!(order, ["first", "high", "normal", "low"]);
}

#[tokio::test]
async fn flows_take_turns() {
    let flow = |name| [("x-gateway-flow", name)];
    let (a, b) = (flow("a"), flow("b"));
    let order = order(&[
        ("first", &[]),
        ("a1", &a),
        ("a2", &a),
        ("a3", &a),
        ("b1", &b),
        ("b2", &b),
    ])
    .await;
    assert_eq!(order, ["first", "a1", "b1", "a2", "b2", "a3"]);
}

#[tokio::test]
async fn an_endpoint_can_be_named() {
    let file = crate::files::Temporary::new(
        "[limits.named]\nbatch = '1 at once'\n[limits.routes]\n'/a' = 'unlimited'",
    );
    let upstream = serve(async |_| pending().await);
    let line = Line::start(&upstream, &["--config", file.path()]);
    for (endpoint, counts) in [("batch", (0, 1)), ("batch", (1, 1))] {
        let mut request = post(&line.url("/a"));
        let name = endpoint.parse().unwrap();
        request.headers_mut().insert("x-gateway-endpoint", name);
        let client = client(Version::HTTP_11);
        tokio::spawn(async move { client.request(request).await });
        line.counted(endpoint, counts.0, counts.1).await;
    }
    assert_eq!(line.counts("/a"), (0, 0));
}

#[tokio::test]
async fn a_caller_that_will_not_wait_is_told_at_once() {
    let judge = Judge::builder()
        .route(A, Limit::unlimited(), Work::fixed(LONG * 2))
        .build();
    let limit = format!("{A}=per:1/1h");
    let line = Line::start(&serve_judge(&judge), &["--limit", &limit]);
    let (client, request) = (client(Version::HTTP_11), post(&line.url("/a")));
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.request(request).await }
    });
    line.counted(A, 0, 1).await;
    let mut request = post(&line.url("/a"));
    let wait = "0ms".parse().unwrap();
    request.headers_mut().insert("x-gateway-max-wait", wait);
    let started = Instant::now();
    let answer = send(&client, request).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(started.elapsed() < LONG);
    first.abort();
}

//! An upstream that does not answer as it should.

use std::{future::pending, io};

use http::{Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::{net::TcpListener, sync::mpsc};
use tower_throttle::BoxError;

use crate::{
    answers,
    support::{
        Line, VERSIONS, Whole, client, full, get, ms, post, says, send, serve, soon, streamed,
    },
};

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn kind(answer: &Whole) -> String {
    let json = answer.json();
    assert!(json["error"]["message"].is_string(), "{json}");
    json["error"]["type"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_bad_gateway() {
    let line = Line::start(&nobody().await, &["--no-retry"]);
    let answer = get(&line.url("/a")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(kind(&answer), "upstream_failed");
    assert_eq!(
        answer.headers["proxy-status"],
        "tower-throttle; error=destination_unavailable"
    );
}

#[tokio::test]
async fn an_upstream_that_hangs_up_is_a_bad_gateway() {
    for words in ["", "HTTP/1.1 200 OK\r\n", "no HTTP\r\n\r\n"] {
        let line = Line::start(&says(words), &["--no-retry"]);
        let answer = send(&client(Version::HTTP_11), post(&line.url("/a"))).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{words:?}");
        assert_eq!(kind(&answer), "upstream_failed");
    }
}

#[tokio::test]
async fn an_upstream_that_takes_too_long_is_a_gateway_timeout() {
    let upstream = serve(async |_| pending().await);
    let line = Line::start(&upstream, &["--timeout", "50ms"]);
    for version in VERSIONS {
        let answer = send(&client(version), post(&line.url("/a"))).await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(kind(&answer), "upstream_timed_out");
        assert_eq!(
            answer.headers["proxy-status"],
            "tower-throttle; error=http_response_timeout"
        );
    }
}

#[test]
fn a_connection_that_takes_too_long_is_a_gateway_timeout() {
    // Not over a socket: on one machine, connections are there at once or not at all.
    let error = io::Error::from(io::ErrorKind::TimedOut);
    let answer = answers::failed(&BoxError::from(error));
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        answer.headers()["proxy-status"],
        "tower-throttle; error=connection_timeout"
    );
}

#[tokio::test]
async fn the_time_in_the_queue_does_not_count_for_the_timeout() {
    let upstream = serve(async |_| Response::new(full("ok")));
    let args = ["--concurrency", "1", "--timeout", "2s"];
    let line = Line::start(&upstream, &args);
    line.handle().pause("overall", ms(3_000)).unwrap();
    assert_eq!(get(&line.url("/a")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_caller_too() {
    for version in VERSIONS {
        let (started, mut starts) = mpsc::unbounded_channel();
        let upstream = serve(move |_| {
            let (frames, body) = streamed();
            frames.data("one");
            started.send(frames).unwrap();
            async { Response::new(body) }
        });
        let line = Line::start(&upstream, &["--concurrency", "1"]);
        let client = client(version);
        let answer = client.request(post(&line.url("/a")));
        let mut answer = soon("an answer", answer).await.unwrap();
        soon("a frame", answer.frame()).await.unwrap().unwrap();
        assert_eq!(line.counts("overall"), (0, 1));
        let frames = starts.recv().await.unwrap();
        frames.fail();
        soon("the end", answer.collect()).await.unwrap_err();
        line.counted("overall", 0, 0).await;
    }
}

#[tokio::test]
async fn a_request_that_makes_no_sense_here_is_refused() {
    let line = Line::start(&nobody().await, &[]);
    let client = client(Version::HTTP_11);
    let mut request = post(&line.url("/a"));
    let wait = "soon".parse().unwrap();
    request.headers_mut().insert("x-gateway-max-wait", wait);
    let answer = send(&client, request).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.json()["error"]["message"],
        "x-gateway-max-wait: expected a time such as 250ms, 1.5s or 2m, not \"soon\""
    );

    let answer = get(&line.url("/__gateway__/nothing")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = send(&client, post(&line.url("/__gateway__/status"))).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "GET, HEAD");
    // None of them has been anybody's turn.
    let snapshot = line.handle().snapshot();
    assert!(snapshot.buckets().all(|bucket| bucket.admitted() == 0));
}

//! Answers that take time, and answers that nobody judges, under paused time: every instant is exact.

use std::time::Duration;

use super::support::{OK, REFUSED, at_a, call, head, ms, scored, send};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service, ServiceExt};
use tower_throttle_mock::{Answer, Body, Fault, Judge, JudgeBuilder, Limit, Work};

/// What comes of a body, and when, counted from now.
async fn pieces(mut body: Body) -> Vec<(Duration, Bytes)> {
    let start = Instant::now();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        pieces.push((start.elapsed(), data));
    }
    pieces
}

fn piece(millis: u64, data: &'static str) -> (Duration, Bytes) {
    (ms(millis), Bytes::from_static(data.as_bytes()))
}

fn counting() -> Answer {
    let answer = Answer::stream(Response::new(()));
    answer
        .chunk(ms(0), "one")
        .chunk(ms(100), "two")
        .chunk(ms(100), "three")
}

/// An endpoint with one slot that answers with those chunks after half a second of work.
fn counts() -> Judge {
    at_a(Limit::concurrent(1), ms(500))
        .answer("/a", |_| counting())
        .build()
}

/// An endpoint whose head comes after 200 ms of a whole second.
fn streams() -> JudgeBuilder {
    at_a(Limit::concurrent(1), ms(1_000)).streaming("/a", ms(200))
}

#[tokio::test(start_paused = true)]
async fn chunks_come_when_they_are_due() {
    let judge = counts();
    let start = Instant::now();
    let answer = head(&judge, "/a").await;
    assert_eq!(start.elapsed(), ms(500));
    assert_eq!(answer.body().size_hint().exact(), None);
    let expected = [piece(0, "one"), piece(100, "two"), piece(200, "three")];
    assert_eq!(pieces(answer.into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_in_flight_until_its_last_chunk_has_come() {
    let judge = counts();
    let mut body = head(&judge, "/a").await.into_body();
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
        assert_eq!(send(&judge, "/a").await, REFUSED);
    }
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_slot_and_loses_nothing() {
    let judge = counts();
    let mut body = head(&judge, "/a").await.into_body();
    sleep(ms(10_000)).await;
    assert_eq!(scored(&judge).in_flight, 1);
    body.frame().await.unwrap().unwrap();
    let rest = [piece(0, "two"), piece(0, "three")];
    assert_eq!(pieces(body).await, rest);
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_body_between_its_chunks_frees_its_slot_at_once() {
    let judge = counts();
    let mut body = head(&judge, "/a").await.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().now_or_never().is_none());
    drop(body);
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_chunk_is_not_sent_and_delays_the_end() {
    let judge = at_a(Limit::concurrent(1), Work::none())
        .answer("/a", |_| counting().chunk(ms(300), ""))
        .build();
    let start = Instant::now();
    let mut body = head(&judge, "/a").await.into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    assert!(!body.is_end_stream());
    assert_eq!(scored(&judge).in_flight, 1);
    assert!(body.frame().await.is_none());
    assert_eq!(start.elapsed(), ms(500));
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_chunks_has_ended_with_its_head() {
    let judge = at_a(Limit::concurrent(1), Work::none())
        .answer("/a", |_| Answer::stream(Response::new(())))
        .build();
    let _first = head(&judge, "/a").await;
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_answer_takes_as_long_as_its_work_with_its_head_ahead() {
    let judge = streams()
        .answer("/a", |received| {
            assert_eq!(received.work(), ms(1_000));
            assert_eq!(received.remaining(), ms(800));
            let response = Response::new(Bytes::from_static(b"generated"));
            Answer::spread(response, 5, received.remaining())
        })
        .build();
    let start = Instant::now();
    let answer = head(&judge, "/a").await;
    assert_eq!(start.elapsed(), ms(200));
    let expected = [
        piece(0, "g"),
        piece(200, "en"),
        piece(400, "er"),
        piece(600, "at"),
        piece(800, "ed"),
    ];
    assert_eq!(pieces(answer.into_body()).await, expected);
    assert_eq!(start.elapsed(), ms(1_000));
}

#[tokio::test(start_paused = true)]
async fn what_a_streaming_route_answers_as_a_whole_comes_when_the_work_is_done() {
    let judge = streams()
        .answer("/a", |_| Response::new(Bytes::from_static(b"all of it")))
        .build();
    let answer = head(&judge, "/a").await;
    assert_eq!(answer.body().size_hint().exact(), Some(9));
    assert_eq!(send(&judge, "/a").await, REFUSED);
    let expected = [piece(800, "all of it")];
    assert_eq!(pieces(answer.into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn work_that_is_done_before_the_first_byte_does_not_wait_for_it() {
    let judge = at_a(Limit::unlimited(), ms(50))
        .streaming("/a", ms(200))
        .answer("/a", |received| {
            assert_eq!(received.remaining(), ms(0));
            Response::new(Bytes::from_static(b"done"))
        })
        .build();
    let start = Instant::now();
    assert_eq!(send(&judge, "/a").await, OK);
    assert_eq!(start.elapsed(), ms(50));
}

#[tokio::test(start_paused = true)]
async fn without_streaming_nothing_remains_of_the_work() {
    let judge = at_a(Limit::unlimited(), ms(50))
        .answer("/a", |received| {
            assert_eq!((received.work(), received.remaining()), (ms(50), ms(0)));
            assert_eq!((received.pool(), received.in_flight()), (None, 1));
            Response::new(Bytes::new())
        })
        .build();
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_leaves_in_pieces_and_holds_its_slot_until_the_last() {
    let judge = at_a(Limit::concurrent(1), Work::none())
        .answer("/a", |_| Response::new(Bytes::from(vec![b'a'; 1_000_000])))
        .build();
    let mut body = head(&judge, "/a").await.into_body();
    let mut left = 1_000_000;
    while left > 0 {
        assert_eq!(scored(&judge).in_flight, 1);
        assert_eq!(body.size_hint().exact(), Some(left));
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(data.len() <= 16 * 1_024);
        left -= data.len() as u64;
    }
    assert_eq!(scored(&judge).in_flight, 0);
    assert!(body.frame().await.is_none());
}

#[test]
fn a_body_is_spread_over_as_many_chunks_as_it_has_bytes_at_most() {
    let parts = |chunks| {
        let response = Response::new(Bytes::from_static(b"abc"));
        let spread = Answer::spread(response, chunks, ms(600));
        let whole: Response<Bytes> = spread.clone().into();
        assert_eq!(whole.body(), "abc");
        format!("{spread:?}").matches("Chunk").count()
    };
    assert_eq!([1, 2, 3, 100].map(parts), [1, 2, 3, 3]);
}

#[test]
#[should_panic(expected = "0 chunks")]
fn no_body_is_spread_over_no_chunk() {
    let _ = Answer::spread(Response::new(Bytes::new()), 0, ms(1));
}

/// Controls at a path that the API does not have, and a door that some requests do not get through.
fn with_controls() -> Judge {
    at_a(Limit::rps(1), Work::none())
        .latency(ms(100))
        .intercept("/controls/{what}", |received| {
            let accepted = received.judge().report().accepted();
            let text = format!("{} of {accepted}", received.param("what").unwrap());
            Some(Response::new(Bytes::from(text)).into())
        })
        .intercept("POST /a", |received| {
            let mut answer = Answer::from(Response::new(Bytes::new()));
            *answer.head_mut().status_mut() = StatusCode::FORBIDDEN;
            (received.body() == "open sesame").then_some(answer)
        })
        .build()
}

async fn text(answer: Response<Body>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test(start_paused = true)]
async fn what_is_intercepted_is_not_judged_and_not_delayed() {
    let judge = with_controls();
    assert_eq!(send(&judge, "/a").await, OK);
    let start = Instant::now();
    for _ in 0..3 {
        let answer = head(&judge, "/controls/accepted").await;
        assert!(answer.headers().contains_key("date"));
        assert_eq!(text(answer).await, "accepted of 1");
    }
    assert_eq!(start.elapsed(), ms(0));
    assert_eq!(judge.report().requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_to_intercept_goes_on_as_if_it_had_not_been_asked() {
    let judge = with_controls();
    let start = Instant::now();
    assert_eq!(send(&judge, "/a").await, OK);
    assert_eq!(start.elapsed(), ms(100));
    assert_eq!(send(&judge, "/a").await, REFUSED);
    assert_eq!(send(&judge, "/controls").await, StatusCode::NOT_FOUND);
    let report = judge.report();
    assert_eq!((report.requests(), report.unmatched()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_intercepts_sees_the_whole_body() {
    let judge = with_controls();
    let slowly = |parts: [&'static str; 2]| {
        let parts = stream::iter(parts).then(async |part| {
            sleep(ms(10)).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(part.as_bytes())))
        });
        Request::post("/a").body(StreamBody::new(parts)).unwrap()
    };
    let answer = judge.clone().oneshot(slowly(["open ", "sesame"])).await;
    assert_eq!(answer.unwrap().status(), StatusCode::FORBIDDEN);
    // What is not intercepted has been under way all the same.
    let start = Instant::now();
    let answer = judge.clone().call(slowly(["open ", "says me"])).await;
    assert_eq!(answer.unwrap().status(), OK);
    assert_eq!(start.elapsed(), ms(100));
    assert_eq!(scored(&judge).records[0].at, ms(120));
}

#[tokio::test(start_paused = true)]
async fn everything_is_as_it_was_at_first_after_a_reset_of_all() {
    let judge = at_a(Limit::rps(1), ms(100)..ms(200))
        .jitter(ms(0)..ms(50))
        .seed(7)
        .truthful_retry_after()
        .build();
    let run = async || {
        let start = Instant::now();
        let answers = [send(&judge, "/a").await, send(&judge, "/a").await];
        (answers, start.elapsed(), judge.report())
    };
    let first = run().await;
    assert_eq!(first.0, [OK, REFUSED]);

    let open = call(&judge, "/a");
    judge.set_limit("/a", Limit::per(1, ms(60_000)));
    judge.set_latency(ms(1_000));
    judge.set_jitter(ms(5_000)..ms(5_001));
    judge.fault(Fault::status(500).always());
    judge.reset_all();
    // The window is empty again, and nobody is told to wait.
    assert_eq!(run().await, first);
    drop(open);
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_way_gets_longer_while_it_runs() {
    let judge = at_a(Limit::unlimited(), Work::none()).build();
    let arrival = async || {
        let start = Instant::now();
        send(&judge, "/a").await;
        start.elapsed()
    };
    assert_eq!(arrival().await, ms(0));
    judge.set_latency(ms(30));
    assert_eq!(arrival().await, ms(30));
    judge.set_jitter(ms(200)..ms(201));
    assert_eq!(arrival().await, ms(230));
}

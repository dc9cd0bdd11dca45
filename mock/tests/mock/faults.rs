//! Faults on schedule, as a service under paused time: what strikes whom, when, and what it counts as.

use std::{io, time::Duration};

use super::support::{OK, REFUSED, at_a, call, head, ms, scored, send};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, advance};
use tower::BoxError;
use tower_throttle_mock::{Answer, Body, Fault, Judge, Limit, Pool, Verdict, Work};

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// An endpoint with one slot that answers ten bytes after 100 ms.
fn ten_bytes() -> Judge {
    at_a(Limit::concurrent(1), ms(100))
        .answer("/a", |_| Response::new(Bytes::from_static(b"0123456789")))
        .build()
}

fn is_reset(error: &BoxError) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

/// What is read of a body until it ends or fails, and how it does.
async fn read(mut body: Body) -> (Bytes, Result<(), BoxError>) {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend(frame.into_data().unwrap()),
            Err(error) => return (all.into(), Err(error)),
        }
    }
    (all.into(), Ok(()))
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_front_of_the_limits_takes_no_place_and_no_time() {
    let judge = at_a(Limit::rps(1).concurrency(1), ms(100)).build();
    judge.fault(Fault::status(503).times(3));
    let open = call(&judge, "/a");
    assert_eq!(scored(&judge).in_flight, 0);
    drop(open);
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(send(&judge, "/a").await, UNAVAILABLE);
    }
    assert_eq!(start.elapsed(), ms(0));
    assert_eq!(send(&judge, "/a").await, OK);
    assert_eq!(send(&judge, "/a").await, REFUSED);
    let scored = scored(&judge);
    assert_eq!(
        (scored.faulted, scored.accepted, scored.requests()),
        (3, 1, 5)
    );
    // They arrived, and the client had them open.
    assert_eq!((scored.worst_window, scored.most_in_flight), (5, 1));
    assert_eq!(scored.records[0].verdict, Verdict::Faulted);
    assert_eq!(judge.report().faulted(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fault_among_the_accepted_counts_as_what_it_struck() {
    let judge = at_a(Limit::rps(2).concurrency(1), ms(100)).build();
    judge.fault(Fault::status(500).accepted());
    let open = call(&judge, "/a");
    // What is refused uses it up no more than what is dropped.
    assert_eq!(send(&judge, "/a").await, REFUSED);
    let start = Instant::now();
    assert_eq!(open.await.unwrap().status(), 500);
    assert_eq!(start.elapsed(), ms(100));
    assert_eq!(send(&judge, "/a").await, OK);
    assert_eq!(send(&judge, "/a").await, REFUSED);
    let scored = scored(&judge);
    assert_eq!(
        (scored.faulted, scored.accepted, scored.refused()),
        (1, 2, 2)
    );
    assert_eq!(scored.requests(), 4);
    assert_eq!(scored.records[0].verdict, Verdict::Accepted);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_faults_answer_holds_the_slot_if_it_was_accepted() {
    let judge = ten_bytes();
    judge.fault(Fault::status(500).accepted());
    let answer = head(&judge, "/a").await;
    assert_eq!(send(&judge, "/a").await, REFUSED);
    drop(answer);
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_faults_answer_is_what_the_test_says() {
    let judge = ten_bytes();
    let html = "<html><body>Bad Gateway</body></html>";
    judge.fault(
        Fault::status(502)
            .header("content-type", "text/html")
            .header("server", "nginx")
            .body(html),
    );
    let answer = head(&judge, "/a").await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/html");
    assert_eq!(answer.headers()[header::SERVER], "nginx");
    assert_eq!(read(answer.into_body()).await.0, html);

    judge.fault(Fault::status(500));
    let answer = head(&judge, "/a").await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    assert!(!answer.headers().contains_key(header::RETRY_AFTER));
    let expected = r#"{"error":"Internal Server Error"}"#;
    assert_eq!(read(answer.into_body()).await.0, expected);

    let stream = Answer::stream(Response::new(())).chunk(ms(300), "late");
    judge.fault(Fault::answer(stream));
    let start = Instant::now();
    let answer = head(&judge, "/a").await;
    assert_eq!(read(answer.into_body()).await.0, "late");
    assert_eq!(start.elapsed(), ms(300));
}

#[tokio::test(start_paused = true)]
async fn a_faults_answer_can_be_compressed() {
    let judge = ten_bytes();
    let long = "too busy ".repeat(1_000);
    judge.fault(Fault::status(503).body(long.clone()).gzip());
    let answer = head(&judge, "/a").await;
    assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
    let (body, _) = read(answer.into_body()).await;
    // The magic number of gzip, and the length of what is in it, at its end.
    assert_eq!(body[..3], [0x1f, 0x8b, 8]);
    let length = body.last_chunk().unwrap();
    assert_eq!(u32::from_le_bytes(*length), 9_000);
    assert!(body.len() < long.len() / 10);
}

#[tokio::test(start_paused = true)]
async fn a_faults_retry_after_holds_in_both_forms() {
    for date in [false, true] {
        let judge = at_a(Limit::unlimited(), Work::none()).build();
        let fault = Fault::status(503);
        judge.fault(if date {
            fault.retry_after_date(ms(2_000))
        } else {
            fault.retry_after(ms(1_001))
        });
        let answer = head(&judge, "/a").await;
        let value = answer.headers()[header::RETRY_AFTER].to_str().unwrap();
        // A date has whole seconds: it is rounded up to one.
        let named = if date {
            let moment = |text| httpdate::parse_http_date(text).unwrap();
            let date = answer.headers()[header::DATE].to_str().unwrap();
            moment(value).duration_since(moment(date)).unwrap()
        } else {
            Duration::from_secs(value.parse().unwrap())
        };
        assert!(named >= ms(2_000) && named <= ms(3_000), "{value}");
        advance(ms(1_999)).await;
        assert_eq!(send(&judge, "/a").await, OK);
        assert_eq!(scored(&judge).early, 1);
        advance(ms(1_001)).await;
        send(&judge, "/a").await;
        assert_eq!(scored(&judge).early, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_an_error_and_counts_where_it_strikes() {
    let judge = ten_bytes();
    judge.fault(Fault::reset());
    judge.fault(Fault::reset().accepted());
    let start = Instant::now();
    assert!(is_reset(&call(&judge, "/a").await.unwrap_err()));
    assert_eq!(start.elapsed(), ms(0));
    assert!(is_reset(&call(&judge, "/a").await.unwrap_err()));
    assert_eq!(start.elapsed(), ms(100));
    assert_eq!(send(&judge, "/a").await, OK);
    let scored = scored(&judge);
    assert_eq!(
        (scored.faulted, scored.accepted, scored.requests()),
        (2, 2, 3)
    );
    assert_eq!(scored.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_comes_after_so_many_bytes() {
    let judge = ten_bytes();
    judge.fault(Fault::reset_after(4));
    let answer = head(&judge, "/a").await;
    assert_eq!(answer.status(), OK);
    assert_eq!(answer.body().size_hint().exact(), Some(10));
    assert_eq!(scored(&judge).in_flight, 1);
    let (read, end) = read(answer.into_body()).await;
    assert_eq!(read, "0123");
    assert!(is_reset(&end.unwrap_err()));
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_is_never_after_the_end() {
    let judge = ten_bytes();
    judge.fault(Fault::reset_after(10).times(2));
    for _ in 0..2 {
        let body = head(&judge, "/a").await.into_body();
        let (read, end) = read(body).await;
        assert_eq!(read, "012345678");
        assert!(is_reset(&end.unwrap_err()));
    }
    // Where there is nothing to be in the middle of, it is after the head.
    let judge = at_a(Limit::unlimited(), Work::none())
        .answer("/a", |_| Response::new(Bytes::new()))
        .build();
    judge.fault(Fault::reset_after(0));
    let body = head(&judge, "/a").await.into_body();
    assert!(!body.is_end_stream());
    assert!(is_reset(&read(body).await.1.unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_reset_when_its_bytes_have_come() {
    let judge = at_a(Limit::concurrent(1), Work::none())
        .answer("/a", |_| {
            let answer = Answer::stream(Response::new(()));
            answer.chunk(ms(100), "one").chunk(ms(100), "two")
        })
        .build();
    judge.fault(Fault::reset_after(4));
    let start = Instant::now();
    let (read, end) = read(head(&judge, "/a").await.into_body()).await;
    assert_eq!(read, "onet");
    assert!(is_reset(&end.unwrap_err()));
    assert_eq!(start.elapsed(), ms(200));
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_short_ends_as_if_nothing_were_amiss() {
    let judge = ten_bytes();
    judge.fault(Fault::cut_short(4));
    let answer = head(&judge, "/a").await;
    assert_eq!(answer.headers()[header::CONTENT_LENGTH], "10");
    let (read, end) = read(answer.into_body()).await;
    assert_eq!(read, "0123");
    end.unwrap();
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_comes_so_many_bytes_at_a_time() {
    let judge = ten_bytes();
    judge.fault(Fault::slow_body(4, ms(1_000)));
    let mut body = head(&judge, "/a").await.into_body();
    let start = Instant::now();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.push((start.elapsed(), frame.unwrap().into_data().unwrap()));
    }
    let expected = [
        (ms(0), "0123".into()),
        (ms(1_000), "4567".into()),
        (ms(2_000), "89".into()),
    ];
    assert_eq!(pieces, expected);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_on_top_of_the_work_and_holds_the_slot() {
    let judge = ten_bytes();
    judge.fault(Fault::delay(ms(5_000)));
    judge.fault(Fault::status(504).delayed(ms(30_000)).after(2));
    let start = Instant::now();
    let slow = call(&judge, "/a");
    assert_eq!(send(&judge, "/a").await, REFUSED);
    assert_eq!(slow.await.unwrap().status(), OK);
    assert_eq!(start.elapsed(), ms(5_100));
    assert_eq!(send(&judge, "/a").await, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(start.elapsed(), ms(35_100));
}

#[tokio::test(start_paused = true)]
async fn a_fault_strikes_its_endpoint_and_no_other() {
    let judge = Judge::builder()
        .route("/a", Limit::unlimited(), Work::none())
        .route("/b", Limit::unlimited(), Work::none())
        .build();
    judge.fault(Fault::status(503).on("/b").after(1));
    assert_eq!(judge.endpoints().collect::<Vec<_>>(), ["/a", "/b"]);
    for (path, expected) in [("/a", OK), ("/b", OK), ("/a", OK), ("/b", UNAVAILABLE)] {
        assert_eq!(send(&judge, path).await, expected);
    }
    assert_eq!(judge.report().endpoint("/b").faulted, 1);
    assert!(judge.faults().is_empty());
}

#[test]
#[should_panic(expected = r#"the judge has no endpoint "/b": it has ["/a"]"#)]
fn a_fault_for_an_unknown_endpoint_is_refused() {
    let judge = at_a(Limit::unlimited(), Work::none()).build();
    judge.fault(Fault::reset().on("/b"));
}

#[tokio::test(start_paused = true)]
async fn what_is_still_to_come_is_listed_and_cleared() {
    let judge = at_a(Limit::unlimited(), Work::none()).build();
    judge.fault(Fault::status(503).times(3));
    judge.fault(Fault::reset_after(4).on("/a").always());
    assert_eq!(send(&judge, "/a").await, UNAVAILABLE);
    let listed: Vec<_> = judge.faults().iter().map(Fault::to_string).collect();
    let expected = ["status 503, 2 times", "reset after 4 bytes, on /a, always"];
    assert_eq!(listed, expected);
    // A new score card leaves them as they are.
    judge.reset();
    assert_eq!(judge.faults().len(), 2);
    judge.clear_faults();
    assert!(judge.faults().is_empty());
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_fault_in_front_strikes_before_any_check() {
    let judge = at_a(Limit::unlimited(), Work::none())
        .check("/a", |_| Some(Response::new(Bytes::from("invalid"))))
        .build();
    judge.fault(Fault::status(503));
    judge.fault(Fault::status(500).accepted());
    assert_eq!(send(&judge, "/a").await, UNAVAILABLE);
    assert_eq!(send(&judge, "/a").await, OK);
    let scored = scored(&judge);
    assert_eq!((scored.faulted, scored.invalid), (1, 1));
    assert_eq!(judge.faults().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_counts_the_faults_of_what_it_accepted() {
    let judge = at_a(Limit::unlimited(), Work::none())
        .pool_by("/a", |_| Some(Pool::new("all", Limit::unlimited())))
        .build();
    judge.fault(Fault::status(503));
    judge.fault(Fault::status(500).accepted());
    for _ in 0..3 {
        send(&judge, "/a").await;
    }
    let report = judge.report();
    assert_eq!((report.faulted(), report.pool("all").faulted), (2, 1));
    assert_eq!((report.requests(), report.pool("all").requests()), (3, 2));
    let expected = "\
endpoint  limit      accepted  refused by rate  by concurrency  early  faulted  worst window  most in flight
/a        unlimited         2                0               0      0        2             3               1
pool all  unlimited         2                0               0      0        1             2               1";
    assert_eq!(report.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_nobody_waits_for_is_over_with_its_client() {
    let judge = ten_bytes();
    judge.fault(Fault::status(503).delayed(ms(1_000)));
    judge.fault(Fault::delay(ms(1_000)));
    for _ in 0..2 {
        drop(call(&judge, "/a"));
    }
    let scored = scored(&judge);
    assert_eq!((scored.faulted, scored.in_flight), (2, 0));
    assert_eq!(send(&judge, "/a").await, OK);
}

//! The judge as a tower service, under paused time: every instant is exact.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use super::support::{OK, REFUSED, at_a, call, head, ms, scored, send};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{join, join_all},
    stream,
};
use http::{Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::time::{Instant, advance, sleep, sleep_until};
use tower::{BoxError, ServiceExt};
use tower_throttle_mock::{Body, Judge, Limit, Report, Verdict, Work};

#[tokio::test(start_paused = true)]
async fn of_ten_requests_at_once_four_are_accepted_and_six_refused() {
    let judge = Judge::builder()
        .route("POST /tts", Limit::concurrent(4), Work::fixed(ms(12_000)))
        .build();
    let start = Instant::now();

    let answers = join_all((0..10).map(|_| send(&judge, "/tts"))).await;

    assert_eq!(start.elapsed(), ms(12_000));
    assert_eq!(answers[..4], [OK; 4]);
    assert_eq!(answers[4..], [REFUSED; 6]);
    let report = judge.report();
    let tts = report.endpoint("POST /tts");
    assert_eq!((tts.accepted, tts.refused_by_concurrency), (4, 6));
    assert_eq!((tts.refused_by_rate, tts.in_flight), (0, 0));
    assert_eq!(tts.worst_window, 10);
    assert_eq!(report.refused(), 6);
}

#[tokio::test(start_paused = true)]
async fn windows_are_half_open() {
    let judge = at_a(Limit::rps(2), Work::none()).build();
    assert_eq!(send(&judge, "/a").await, OK);
    advance(ms(400)).await;
    assert_eq!(send(&judge, "/a").await, OK);
    advance(ms(599)).await;
    assert_eq!(send(&judge, "/a").await, REFUSED);
    advance(ms(1)).await;
    assert_eq!(send(&judge, "/a").await, OK);
    // The refused request took no place: the one at 0.4 s is what stands in the way.
    advance(ms(399)).await;
    assert_eq!(send(&judge, "/a").await, REFUSED);
    advance(ms(1)).await;
    assert_eq!(send(&judge, "/a").await, OK);

    let scored = scored(&judge);
    assert_eq!((scored.accepted, scored.refused_by_rate), (4, 2));
    // From 0.4 s on, refused requests included: 0.4, 0.999, 1.0 and 1.399.
    assert_eq!(scored.worst_window, 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_to_fit_into_every_window() {
    let limit = Limit::rps(2).and_per(3, ms(10_000));
    let judge = at_a(limit, Work::none()).build();
    let start = Instant::now();
    for (at, expected) in [
        (0, OK),
        (0, OK),
        (999, REFUSED),
        (1_000, OK),
        (2_000, REFUSED),
        (9_999, REFUSED),
        (10_000, OK),
    ] {
        sleep_until(start + ms(at)).await;
        assert_eq!(send(&judge, "/a").await, expected, "at {at} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn where_both_limits_are_full_it_is_the_concurrency_that_refuses() {
    let judge = at_a(Limit::rps(1).concurrency(1), ms(500)).build();
    let first = call(&judge, "/a");
    assert_eq!(send(&judge, "/a").await, REFUSED);
    first.await.unwrap();
    assert_eq!(send(&judge, "/a").await, REFUSED);

    let scored = scored(&judge);
    assert_eq!(scored.refused_by_concurrency, 1);
    assert_eq!(scored.refused_by_rate, 1);
}

#[tokio::test(start_paused = true)]
async fn requests_are_judged_in_call_whatever_is_polled_first() {
    let judge = at_a(Limit::concurrent(1), Work::none()).build();
    let (first, second) = (call(&judge, "/a"), call(&judge, "/a"));
    assert_eq!(second.await.unwrap().status(), REFUSED);
    assert_eq!(first.await.unwrap().status(), OK);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_in_flight_until_the_last_byte_of_its_answer_is_read() {
    let judge = at_a(Limit::concurrent(1), Work::none()).build();
    let mut body = head(&judge, "/a").await.into_body();
    assert_eq!(scored(&judge).in_flight, 1);
    assert_eq!(send(&judge, "/a").await, REFUSED);

    assert!(!body.is_end_stream());
    assert!(body.size_hint().exact().unwrap() > 0);
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert_eq!(scored(&judge).in_flight, 0);
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_body_frees_its_slot() {
    let judge = at_a(Limit::concurrent(1), Work::none()).build();
    drop(head(&judge, "/a").await);
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_has_ended_with_its_head() {
    let judge = at_a(Limit::concurrent(1), Work::none())
        .answer("/a", |_| Response::new(Bytes::new()))
        .build();
    let _first = head(&judge, "/a").await;
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_future_frees_its_slot_and_keeps_its_place_in_the_window() {
    let judge = at_a(Limit::rps(2).concurrency(1), ms(500)).build();
    assert!(call(&judge, "/a").now_or_never().is_none());
    assert_eq!(scored(&judge).in_flight, 0);
    drop(call(&judge, "/a"));
    assert_eq!(send(&judge, "/a").await, REFUSED);
    assert_eq!(scored(&judge).refused_by_rate, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_on_its_way_never_arrives() {
    let judge = at_a(Limit::rps(1), Work::none()).latency(ms(50)).build();
    assert!(call(&judge, "/a").now_or_never().is_none());
    sleep(ms(100)).await;
    assert_eq!(judge.report().requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_arrive_after_the_latency_and_are_judged_then() {
    let judge = at_a(Limit::rps(1), ms(200)).latency(ms(50)).build();
    let start = Instant::now();
    assert_eq!(send(&judge, "/a").await, OK);
    assert_eq!(start.elapsed(), ms(250));
    let first = scored(&judge).records[0];
    assert_eq!((first.at, first.verdict), (ms(50), Verdict::Accepted));
}

#[tokio::test(start_paused = true)]
async fn with_jitter_requests_are_judged_in_order_of_arrival() {
    let judge = at_a(Limit::unlimited(), Work::none())
        .jitter(ms(0)..ms(100))
        .build();
    join_all((0..50).map(|_| send(&judge, "/a"))).await;
    let times: Vec<_> = scored(&judge)
        .records
        .iter()
        .map(|record| record.at)
        .collect();
    assert!(times.is_sorted() && times[49] < ms(100) && times[0] < times[49]);
}

#[tokio::test(start_paused = true)]
async fn the_date_follows_the_paused_clock() {
    let judge = at_a(Limit::unlimited(), Work::none()).build();
    let date = async || {
        let answer = head(&judge, "/a").await;
        let date = answer.headers()[header::DATE].to_str().unwrap();
        httpdate::parse_http_date(date).unwrap()
    };
    let before: SystemTime = date().await;
    advance(ms(3_600_000)).await;
    assert_eq!(date().await.duration_since(before).unwrap(), ms(3_600_000));
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_it_runs_and_remember_what_came_before() {
    let judge = at_a(Limit::unlimited(), Work::none()).build();
    for _ in 0..3 {
        assert_eq!(send(&judge, "/a").await, OK);
        advance(ms(1_000)).await;
    }
    judge.set_limit("/a", Limit::per(3, ms(10_000)));
    assert_eq!(send(&judge, "/a").await, REFUSED);
    advance(ms(7_000)).await;
    assert_eq!(send(&judge, "/a").await, OK);
    judge.set_limit("/a", Limit::unlimited());
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn the_most_specific_template_wins_and_other_methods_do_not_stand_in_the_way() {
    let unlimited = || (Limit::unlimited(), Work::none());
    let mut builder = Judge::builder();
    for template in ["/v1/{*rest}", "/v1/{id}", "POST /v1/{id}", "GET /v1/models"] {
        let (limit, work) = unlimited();
        builder = builder.route(template, limit, work);
    }
    let judge = builder
        .answer("POST /v1/{id}", |received| {
            Response::new(Bytes::from(received.param("id").unwrap().to_owned()))
        })
        .build();
    assert_eq!(send(&judge, "/v1/models?x=1").await, OK);
    assert_eq!(send(&judge, "/v1/a/b").await, OK);
    let answer = head(&judge, "/v1/%C3%A4%2Fb").await.into_body();
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "ä/b");
    let report = judge.report();
    let accepted = |template| report.endpoint(template).accepted;
    assert_eq!(accepted("POST /v1/{id}"), 2);
    assert_eq!(accepted("/v1/{*rest}"), 1);
    assert_eq!(accepted("GET /v1/models"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_endpoint_is_not_found() {
    let judge = Judge::builder()
        .route("GET /a", Limit::unlimited(), Work::none())
        .build();
    assert_eq!(send(&judge, "/b").await, StatusCode::NOT_FOUND);
    assert_eq!(send(&judge, "/a").await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(judge.report().unmatched(), 2);
    judge.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_unpin_and_comes_in_pieces_is_collected() {
    let judge = at_a(Limit::unlimited(), Work::none())
        .answer("/a", |received| Response::new(received.body().clone()))
        .build();
    let pieces = stream::unfold(0, |n: u8| async move {
        sleep(ms(10)).await;
        let frame = Frame::data(Bytes::from(vec![b'a' + n]));
        (n < 3).then_some((Ok::<_, Infallible>(frame), n + 1))
    });
    let request = Request::post("/a").body(StreamBody::new(pieces)).unwrap();
    let answer = judge.clone().oneshot(request).await.unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "abc"
    );
    assert_eq!(scored(&judge).records[0].at, ms(0));
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_fails_is_an_error_and_frees_its_slot() {
    let judge = at_a(Limit::concurrent(1), Work::none()).build();
    let pieces = stream::iter([Err::<Frame<Bytes>, BoxError>("cut off".into())]);
    let request = Request::post("/a").body(StreamBody::new(pieces)).unwrap();
    let error = judge.clone().oneshot(request).await.unwrap_err();
    assert_eq!(error.to_string(), "cut off");
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_turns_down_what_is_then_not_judged() {
    let judge = at_a(Limit::rps(1), Work::none())
        .check("/a", |received| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            received.head().uri.query().map(|_| response)
        })
        .build();
    for _ in 0..3 {
        assert_eq!(
            send(&judge, "/a?bad").await,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    assert_eq!(send(&judge, "/a").await, OK);
    let scored = scored(&judge);
    assert_eq!(
        (scored.invalid, scored.accepted, scored.worst_window),
        (3, 1, 1)
    );
    judge.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn each_answer_takes_the_time_that_was_foretold() {
    let work = Work::uniform(ms(200)..ms(400));
    let judge = at_a(Limit::concurrent(1), work.clone()).seed(7).build();
    for expected in work.draws(7, "/a").take(5) {
        let start = Instant::now();
        let (first, second) = join(send(&judge, "/a"), send(&judge, "/a")).await;
        // The refused one draws nothing.
        assert_eq!((first, second), (OK, REFUSED));
        assert_eq!(start.elapsed(), expected);
    }
    assert!(judge.draws("/a").take(5).eq(work.draws(7, "/a").take(5)));
}

async fn random_run(seed: u64) -> (Report, Duration) {
    let judge = Judge::builder()
        .route(
            "/a",
            Limit::rps(5).concurrency(4),
            (ms(200)..ms(400)).into(),
        )
        .route("/b", Limit::rps(1), (ms(800)..ms(10_200)).into())
        .jitter(ms(0)..ms(100))
        .seed(seed)
        .build();
    let start = Instant::now();
    join_all((0..100).map(|n| {
        let judge = &judge;
        async move {
            sleep(ms(37 * n)).await;
            send(judge, if n % 3 == 0 { "/b" } else { "/a" }).await
        }
    }))
    .await;
    (judge.report(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn with_one_seed_two_runs_are_the_same() {
    let first = random_run(1).await;
    assert!(first.0.accepted() > 0 && first.0.refused() > 0);
    assert_eq!(random_run(1).await, first);
    assert_ne!(random_run(2).await, first);
}

#[test]
#[should_panic(expected = r#""/{y}" matches the same requests as "/{x}""#)]
fn a_template_is_given_once() {
    let _ = Judge::builder()
        .route("/{x}", Limit::unlimited(), Work::none())
        .route("/{y}", Limit::unlimited(), Work::none());
}

#[test]
#[should_panic(expected = r#""a" is no template: the path has to start with a slash"#)]
fn a_bad_template_is_named() {
    let _ = Judge::builder().route("a", Limit::unlimited(), Work::none());
}

#[test]
#[should_panic(expected = r#"no endpoint "/b" was added, only ["/a"]"#)]
fn a_hook_without_an_endpoint_is_named() {
    let _ = at_a(Limit::unlimited(), Work::none())
        .check("/b", |_| None)
        .build();
}

#[test]
fn without_work_it_needs_no_runtime() {
    let judge = at_a(Limit::rps(1), Work::none()).build();
    let mut future = pin!(send(&judge, "/a"));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn its_types_can_go_everywhere() {
    fn assert<T: Send + Sync + 'static>() {}
    assert::<Judge>();
    assert::<Body>();
    assert::<Report>();
}

/// Threads that race for the same places, in real time: what the books say holds between them too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_do_not_break_the_limits() {
    let period = ms(20);
    let limit = Limit::per(5, period).concurrency(3);
    let judge = at_a(limit, ms(1)).kept_records(usize::MAX).build();
    let callers = (0..8).map(|_| {
        let judge = judge.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                send(&judge, "/a").await;
                tokio::task::yield_now().await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let scored = scored(&judge);
    assert_eq!((scored.requests(), scored.in_flight), (1_600, 0));
    assert!(scored.records.is_sorted_by_key(|record| record.at));
    let accepted = scored
        .records
        .iter()
        .filter(|record| record.verdict == Verdict::Accepted);
    let accepted: Vec<_> = accepted.map(|record| record.at).collect();
    for later in accepted.windows(6) {
        assert!(later[5] >= later[0] + period);
    }
}

#[tokio::test(start_paused = true)]
async fn an_oracle_foretells_when_the_last_answer_comes() {
    let judge = at_a(Limit::concurrent(4), ms(200)..ms(400)).build();
    let client = tower::limit::ConcurrencyLimit::new(judge.clone(), 4);
    let start = Instant::now();
    join_all((0..50).map(|_| async {
        let request = Request::post("/a").body(Full::<Bytes>::default()).unwrap();
        let answer = client.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }))
    .await;

    // Each in turn is worked on by whichever of the four has been done first.
    let mut free_at = [Duration::ZERO; 4];
    for work in judge.draws("/a").take(50) {
        free_at.sort();
        free_at[0] += work;
    }
    assert_eq!(Some(start.elapsed()), free_at.into_iter().max());
    judge.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn a_hook_hears_of_each_request_that_is_accepted_and_may_say_how_long_it_takes() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let judge = at_a(Limit::concurrent(2), ms(50))
        .check("/a", |received| {
            let wrong = received.head().headers.contains_key("x-wrong");
            wrong.then(|| Response::new(Bytes::new()))
        })
        .accepted("/a", move |received| {
            told.lock().unwrap().push(received.in_flight());
            (received.in_flight() == 2).then(|| ms(200))
        })
        .build();
    let wrong = Request::post("/a").header("x-wrong", "1");
    let wrong = wrong.body(Empty::<Bytes>::new()).unwrap();
    judge.clone().oneshot(wrong).await.unwrap();
    assert!(heard.lock().unwrap().is_empty());

    let start = Instant::now();
    let (first, second) = (call(&judge, "/a"), call(&judge, "/a"));
    assert_eq!(send(&judge, "/a").await, REFUSED);
    // Heard of in `call`, before anything is awaited; those that were refused are not.
    assert_eq!(*heard.lock().unwrap(), [1, 2]);
    first.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(start.elapsed(), ms(50));
    second.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(start.elapsed(), ms(200));
}

#[test]
fn what_an_endpoint_allows_can_be_asked() {
    let judge = at_a(Limit::rps(5), ms(0)).build();
    assert_eq!(judge.limit("/a"), Limit::rps(5));
    judge.set_limit("/a", Limit::concurrent(3));
    assert_eq!(judge.limit("/a"), Limit::concurrent(3));
}

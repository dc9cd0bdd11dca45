//! The judge's score card: what counts as early, what the report says, and how it says it.

use super::support::{OK, REFUSED, at_a, call, head, ms, scored, send};
use bytes::Bytes;
use futures_util::future::{join, join_all};
use http::{HeaderMap, Response, header};
use tokio::time::{Instant, advance, sleep};
use tower_throttle_mock::{Judge, Limit, RefusedBy, Work};

#[tokio::test(start_paused = true)]
async fn a_request_before_the_time_that_retry_after_named_is_early() {
    let judge = at_a(Limit::per(1, ms(500)), Work::none())
        .retry_after(ms(1_000))
        .build();
    send(&judge, "/a").await;
    let refused = head(&judge, "/a").await;
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(scored(&judge).early, 0);

    // Accepted, since the window has room; but the client was asked to wait longer.
    advance(ms(999)).await;
    assert_eq!(send(&judge, "/a").await, OK);
    assert_eq!(scored(&judge).early, 1);
    advance(ms(1)).await;
    send(&judge, "/a").await;
    assert_eq!(scored(&judge).early, 1);
}

#[tokio::test(start_paused = true)]
async fn requests_sent_before_the_refusal_was_handed_out_are_not_early() {
    let judge = at_a(Limit::rps(1), ms(20))
        .retry_after(ms(3_000))
        .refusal_after(ms(20))
        .build();
    let start = Instant::now();
    join_all((0..10).map(|_| send(&judge, "/a"))).await;
    assert_eq!(start.elapsed(), ms(20));
    assert_eq!(scored(&judge).early, 0);
    assert_eq!(scored(&judge).most_in_flight, 10);

    // The time counts from when the client was told.
    advance(ms(2_999)).await;
    send(&judge, "/a").await;
    assert_eq!(scored(&judge).early, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_under_way_when_the_refusal_came_is_not_early() {
    let judge = at_a(Limit::rps(1), Work::none())
        .latency(ms(50))
        .truthful_retry_after()
        .build();
    let first = async {
        send(&judge, "/a").await;
        send(&judge, "/a").await
    };
    let second = async {
        sleep(ms(90)).await;
        send(&judge, "/a").await
    };
    assert_eq!(join(first, second).await, (REFUSED, REFUSED));
    assert_eq!(scored(&judge).early, 0);
}

#[tokio::test(start_paused = true)]
async fn the_hook_decides_what_a_refusal_looks_like_and_the_judge_reads_it() {
    let judge = at_a(Limit::rps(1), Work::none())
        .refusal(|refusal| {
            assert_eq!(refusal.endpoint(), "/a");
            let RefusedBy::Rate { limit: 1, period } = refusal.by() else {
                panic!("refused by {:?}", refusal.by());
            };
            assert_eq!((period, refusal.room_in()), (ms(1_000), ms(750)));
            Response::builder()
                .status(503)
                .header("retry-after-ms", "750")
                .body(Bytes::from("later"))
                .unwrap()
        })
        .retry_after(ms(9_000))
        .build();
    send(&judge, "/a").await;
    advance(ms(250)).await;
    let refused = head(&judge, "/a").await;
    assert_eq!(refused.status(), 503);
    assert!(!refused.headers().contains_key(header::RETRY_AFTER));

    advance(ms(750)).await;
    assert_eq!(send(&judge, "/a").await, OK);
    assert_eq!(scored(&judge).early, 0);
}

#[tokio::test(start_paused = true)]
async fn truthful_hints_are_rounded_up_and_given_for_windows_only() {
    let judge = at_a(Limit::per(1, ms(2_500)).concurrency(1), ms(100))
        .truthful_retry_after()
        .build();
    let first = call(&judge, "/a");
    let hint = |headers: &HeaderMap| headers.get(header::RETRY_AFTER).cloned();
    assert_eq!(hint(head(&judge, "/a").await.headers()), None);
    first.await.unwrap();
    let refused = head(&judge, "/a").await;
    assert_eq!(hint(refused.headers()).unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_reset_forgets_the_score_and_nothing_else() {
    let judge = at_a(Limit::rps(1), ms(100)).build();
    let open = call(&judge, "/a");
    advance(ms(50)).await;
    judge.reset();
    assert_eq!(scored(&judge).accepted, 0);
    assert_eq!(scored(&judge).most_in_flight, 1);
    assert_eq!(send(&judge, "/a").await, REFUSED);
    assert_eq!(scored(&judge).records[0].at, ms(0));
    open.await.unwrap();
    assert_eq!(scored(&judge).in_flight, 0);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the client broke the rules:
/a: 3 requests refused by rate, the first 1.204 s after the start: request 6 in a window of 1s that allows 5, 0.296 s too soon
/b: 1 request refused by concurrency, 1.204 s after the start: 1 in flight where 1 are allowed
/b: 1 request early, 2.000 s after the start: 0.204 s before the time that Retry-After had named")]
async fn who_broke_the_rules_is_told_how_and_when() {
    let judge = Judge::builder()
        .route("/a", Limit::rps(5), Work::none())
        .route("/b", Limit::concurrent(1), Work::fixed(ms(500)))
        .refusal(|refusal| {
            let mut response = Response::new(Bytes::new());
            if refusal.endpoint() == "/b" {
                response.headers_mut().insert("retry-after", 1.into());
            }
            response
        })
        .build();
    advance(ms(500)).await;
    for _ in 0..5 {
        send(&judge, "/a").await;
    }
    advance(ms(704)).await;
    for _ in 0..3 {
        send(&judge, "/a").await;
    }
    let open = call(&judge, "/b");
    send(&judge, "/b").await;
    open.await.unwrap();
    sleep(ms(296)).await;
    send(&judge, "/b").await;
    judge.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn the_report_is_a_table() {
    let judge = at_a(Limit::rps(1).concurrency(1), ms(10)).build();
    send(&judge, "/a").await;
    send(&judge, "/a").await;
    send(&judge, "/b").await;
    let expected = "\
endpoint  limit                accepted  refused by rate  by concurrency  early  worst window  most in flight
/a        1 per 1s, 1 at once         1                1               0      0             2               1
unmatched: 1";
    assert_eq!(judge.report().to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_table_has_no_row_for_what_nobody_came_to() {
    let judge = Judge::builder()
        .route("/a", Limit::unlimited(), Work::none())
        .route("/b", Limit::unlimited(), Work::none())
        .build();
    assert_eq!(judge.report().to_string().lines().count(), 3);
    send(&judge, "/b").await;
    let table = judge.report().to_string();
    assert_eq!(table.lines().count(), 2);
    assert!(table.contains("\n/b "), "{table}");
}

#[tokio::test(start_paused = true)]
async fn the_slowest_refusal_is_on_the_score_card() {
    let judge = at_a(Limit::concurrent(1), ms(1_000))
        .refusal_after(ms(250))
        .build();
    let open = call(&judge, "/a");
    send(&judge, "/a").await;
    assert_eq!(scored(&judge).slowest_refusal, ms(250));
    let impatient = call(&judge, "/a");
    advance(ms(10)).await;
    drop(impatient);
    assert_eq!(scored(&judge).slowest_refusal, ms(250));
    drop(open);
    judge.reset();
    assert_eq!(scored(&judge).slowest_refusal, ms(0));
}

#[test]
#[should_panic(expected = r#"the judge has no endpoint "/b": it has ["/a"]"#)]
fn asking_for_an_unknown_endpoint_names_the_known_ones() {
    let _ = at_a(Limit::unlimited(), Work::none())
        .build()
        .report()
        .endpoint("/b");
}

#[tokio::test(start_paused = true)]
async fn notice_is_given_once() {
    let judge = at_a(Limit::rps(1), Work::none())
        .retry_after(ms(1_000))
        .notice(ms(30))
        .build();
    for _ in 0..7 {
        send(&judge, "/a").await;
        advance(ms(10)).await;
    }
    // Told at 10 ms; what came at 20 and 30 ms could have been under way, from 40 ms on nothing could.
    assert_eq!(scored(&judge).early, 3);
}

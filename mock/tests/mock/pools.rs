//! Limits that endpoints share, and the queue for what is above them, under paused time.

use std::time::Duration;

use super::support::{OK, REFUSED, at_a, call, head, ms, scored, send};
use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower::Service;
use tower_throttle_mock::{
    EndpointReport, Judge, JudgeBuilder, Limit, Pool, Received, RefusedBy, ResponseFuture, Work,
};

/// Requests say in their body which family they are of, and in a header whose they are.
fn family(received: &Received<'_>) -> Option<Pool> {
    let owner = received.head().headers.get("owner")?.to_str().ok()?;
    let slots = match &received.body()[..] {
        b"flash" => 4,
        b"multilingual" => 2,
        _ => return None,
    };
    let family = String::from_utf8_lossy(received.body());
    Some(Pool::new(
        format!("{owner}/{family}"),
        Limit::concurrent(slots),
    ))
}

fn api() -> JudgeBuilder {
    Judge::builder()
        .route("/speak", Limit::unlimited(), Work::fixed(ms(1_000)))
        .route("/stream", Limit::concurrent(3), Work::fixed(ms(1_000)))
        .pool_by("/speak", family)
        .pool_by("/stream", family)
}

fn ask(judge: &Judge, path: &str, owner: &str, family: &str) -> ResponseFuture {
    let request = Request::post(path)
        .header("owner", owner)
        .body(Full::new(Bytes::copy_from_slice(family.as_bytes())))
        .unwrap();
    judge.clone().call(request)
}

async fn status(answer: ResponseFuture) -> StatusCode {
    let (head, body) = answer.await.unwrap().into_parts();
    body.collect().await.unwrap();
    head.status
}

async fn statuses(answers: Vec<ResponseFuture>) -> Vec<StatusCode> {
    join_all(answers.into_iter().map(status)).await
}

fn accepted_and_refused(seen: &EndpointReport) -> (usize, usize) {
    (seen.accepted, seen.refused())
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_shared_by_its_endpoints_and_by_nobody_else() {
    let judge = api().build();
    let asked = [
        ("/speak", "ann", "multilingual"),
        ("/stream", "ann", "multilingual"),
        ("/speak", "ann", "multilingual"),
        ("/stream", "ann", "multilingual"),
        ("/speak", "ann", "flash"),
        ("/speak", "bob", "multilingual"),
        ("/speak", "bob", "something else"),
    ];
    let asked = asked.map(|(path, owner, family)| ask(&judge, path, owner, family));
    let answers = statuses(asked.into()).await;
    assert_eq!(answers, [OK, OK, REFUSED, REFUSED, OK, OK, OK]);

    let report = judge.report();
    let names: Vec<_> = report.pools().map(|pool| &*pool.endpoint).collect();
    assert_eq!(names, ["ann/multilingual", "ann/flash", "bob/multilingual"]);
    let ann = report.pool("ann/multilingual");
    assert_eq!((ann.accepted, ann.refused_by_concurrency), (2, 2));
    assert_eq!((ann.worst_window, ann.most_in_flight), (4, 4));
    assert_eq!((ann.violations.len(), ann.records.len()), (2, 4));
    assert_eq!(ann.limit, Limit::concurrent(2));
    assert_eq!(
        accepted_and_refused(report.pool("bob/multilingual")),
        (1, 0)
    );
    // Each request counts at its endpoint, too, and once in all.
    assert_eq!(accepted_and_refused(report.endpoint("/speak")), (4, 1));
    assert_eq!(accepted_and_refused(report.endpoint("/stream")), (1, 1));
    assert_eq!(report.requests(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_to_be_within_its_endpoints_limit_and_its_pools() {
    let judge = api().build();
    let flash = || ask(&judge, "/stream", "ann", "flash");
    let answers = statuses((0..5).map(|_| flash()).collect()).await;
    assert_eq!(answers[..3], [OK; 3]);
    assert_eq!(answers[3..], [REFUSED; 2]);
    // What the endpoint refused took no place in the pool.
    let stream: Vec<_> = (0..3).map(|_| flash()).collect();
    assert_eq!(status(flash()).await, REFUSED);
    let pool = judge.report().pool("ann/flash").clone();
    assert_eq!((pool.in_flight, pool.refused()), (3, 3));
    assert_eq!(status(ask(&judge, "/speak", "ann", "flash")).await, OK);
    drop(stream);
    assert_eq!(judge.report().pool("ann/flash").in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn answers_and_refusals_tell_the_pools_numbers() {
    let judge = api()
        .answer("/speak", |received| {
            let text = format!(
                "{:?} {} of {:?}",
                received.pool(),
                received.in_flight(),
                received.concurrency_limit()
            );
            Response::new(Bytes::from(text))
        })
        .refusal(|refusal| {
            let RefusedBy::Concurrency { limit } = refusal.by() else {
                panic!("refused by {:?}", refusal.by());
            };
            let owner = refusal.head().headers["owner"].to_str().unwrap();
            let text = format!("{owner}: {limit} at once in {:?}", refusal.pool());
            Response::new(Bytes::from(text))
        })
        .build();
    let asked = [
        ("/speak", "multilingual"),
        ("/speak", "multilingual"),
        ("/speak", "multilingual"),
        ("/stream", "flash"),
        ("/stream", "flash"),
        ("/stream", "flash"),
        ("/stream", "flash"),
        ("/speak", "none"),
    ];
    let asked = asked.map(|(path, family)| ask(&judge, path, "ann", family));
    let texts = join_all(asked.map(async |answer| {
        let body = answer.await.unwrap().into_body();
        let text = body.collect().await.unwrap().to_bytes();
        String::from_utf8(text.into()).unwrap()
    }))
    .await;
    assert_eq!(texts[0], r#"Some("ann/multilingual") 1 of Some(2)"#);
    assert_eq!(texts[1], r#"Some("ann/multilingual") 2 of Some(2)"#);
    assert_eq!(texts[2], r#"ann: 2 at once in Some("ann/multilingual")"#);
    assert_eq!(texts[6], "ann: 3 at once in None");
    // Three of /speak are in flight by now.
    assert_eq!(texts[7], "None 3 of None");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the client broke the rules:
/speak: 2 requests refused by concurrency, the first 0.000 s after the start: 2 in flight where 2 are allowed (pool \"ann/multilingual\")")]
async fn who_breaks_a_pools_rules_is_told_which_pool_and_once() {
    let judge = api().build();
    let asked = (0..4).map(|_| ask(&judge, "/speak", "ann", "multilingual"));
    statuses(asked.collect()).await;
    judge.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn the_table_has_a_row_for_each_pool() {
    let judge = api().queue(ms(50), 1).build();
    let asked = (0..4).map(|_| ask(&judge, "/speak", "ann", "multilingual"));
    statuses(asked.collect()).await;
    let expected = "\
endpoint               limit      accepted  queued  refused by rate  by concurrency  early  worst window  most in flight
/speak                 unlimited         3       1                0               1      0             4               4
pool ann/multilingual  2 at once         3       1                0               1      0             4               4";
    assert_eq!(judge.report().to_string(), expected);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = r#"the judge has no pool "eve": it has []"#)]
async fn asking_for_an_unknown_pool_names_the_known_ones() {
    let _ = api().build().report().pool("eve");
}

#[tokio::test(start_paused = true)]
async fn a_pools_limit_changes_with_the_hook_until_it_is_set_by_hand() {
    let judge = Judge::builder()
        .route("/a", Limit::unlimited(), Work::fixed(ms(100)))
        .pool_by("/a", |received| {
            let slots = received.head().uri.query()?.parse().ok()?;
            Some(Pool::new("all", Limit::concurrent(slots)))
        })
        .build();
    let all = async |path: &str| {
        let answers: Vec<_> = (0..4).map(|_| call(&judge, path)).collect();
        let answers = statuses(answers).await;
        answers.iter().filter(|status| **status == OK).count()
    };
    assert_eq!(all("/a?2").await, 2);
    assert_eq!(all("/a?3").await, 3);
    assert_eq!(all("/a").await, 4);
    judge.set_pool_limit("all", Limit::concurrent(1));
    assert_eq!(all("/a?3").await, 1);
    assert_eq!(judge.report().pool("all").limit, Limit::concurrent(1));
    // Until everything is as it was.
    judge.reset_all();
    assert_eq!(judge.report().pools().count(), 0);
    assert_eq!(all("/a?3").await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_a_pool_counts_what_came_to_any_of_its_endpoints() {
    let pool = |_: &Received<'_>| Some(Pool::new("both", Limit::rps(2)));
    let judge = Judge::builder()
        .route("/a", Limit::rps(5), Work::none())
        .route("/b", Limit::unlimited(), Work::none())
        .pool_by("/a", pool)
        .pool_by("/b", pool)
        .truthful_retry_after()
        .build();
    assert_eq!(
        [send(&judge, "/a").await, send(&judge, "/b").await],
        [OK; 2]
    );
    sleep(ms(999)).await;
    let refused = head(&judge, "/a").await;
    assert_eq!(refused.status(), REFUSED);
    assert_eq!(refused.headers()["retry-after"], "1");
    sleep(ms(1)).await;
    assert_eq!(send(&judge, "/b").await, OK);
    // The hint was for the endpoint that refused, and for nobody else.
    assert_eq!(judge.report().early(), 0);
    send(&judge, "/a").await;
    let report = judge.report();
    assert_eq!((report.early(), report.pool("both").early), (1, 1));
}

fn queueing(depth: usize) -> Judge {
    at_a(Limit::concurrent(2), ms(200))
        .queue(ms(50), depth)
        .build()
}

#[tokio::test(start_paused = true)]
async fn what_is_above_the_limit_waits_in_order_and_pays_for_it() {
    let judge = queueing(3);
    let start = Instant::now();
    let answers = (0..6).map(async |n| (n, send(&judge, "/a").await, start.elapsed()));
    let mut answers = join_all(answers).await;
    answers.sort_by_key(|(_, _, at)| *at);
    let expected = [
        // Above the depth: at once.
        (5, REFUSED, ms(0)),
        (0, OK, ms(200)),
        (1, OK, ms(200)),
        (2, OK, ms(450)),
        (3, OK, ms(450)),
        (4, OK, ms(700)),
    ];
    assert_eq!(answers, expected);
    let scored = scored(&judge);
    assert_eq!((scored.accepted, scored.queued), (5, 3));
    assert_eq!((scored.in_flight, scored.waiting), (0, 0));
    assert_eq!(scored.most_in_flight, 6);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_not_in_flight() {
    let judge = queueing(3);
    let answers: Vec<_> = (0..4).map(|_| call(&judge, "/a")).collect();
    let scored = scored(&judge);
    assert_eq!((scored.in_flight, scored.waiting), (2, 2));
    drop(answers);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_the_queue() {
    let judge = queueing(1);
    let first = [call(&judge, "/a"), call(&judge, "/a")];
    let mut waiting = call(&judge, "/a");
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(send(&judge, "/a").await, REFUSED);
    drop(waiting);
    let waiting = call(&judge, "/a");
    assert_eq!(scored(&judge).waiting, 1);
    // Who comes next gets the slot that becomes free, although nobody has asked the future yet.
    drop(first);
    assert_eq!((scored(&judge).in_flight, scored(&judge).waiting), (1, 0));
    assert_eq!(status(waiting).await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_with_its_turn_passes_it_on() {
    let judge = queueing(2);
    let first = [call(&judge, "/a"), call(&judge, "/a")];
    let waiting = [call(&judge, "/a"), call(&judge, "/a")];
    drop(first);
    let last = call(&judge, "/a");
    assert_eq!(scored(&judge).waiting, 1);
    drop(waiting);
    assert_eq!((scored(&judge).in_flight, scored(&judge).waiting), (1, 0));
    assert_eq!(status(last).await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_is_for_those_who_wait() {
    let judge = queueing(9);
    let start = Instant::now();
    let answers: Vec<_> = (0..5).map(|_| call(&judge, "/a")).collect();
    sleep(ms(100)).await;
    judge.set_limit("/a", Limit::concurrent(4));
    assert_eq!((scored(&judge).in_flight, scored(&judge).waiting), (4, 1));
    assert_eq!(statuses(answers).await, [OK; 5]);
    // The fifth at 200 ms, when the first have gone.
    assert_eq!(start.elapsed(), ms(200 + 250));
}

#[tokio::test(start_paused = true)]
async fn each_pool_has_a_line_of_its_own() {
    let judge = api().queue(ms(50), 1).build();
    let asked = |family| (0..6).map(move |_| family);
    let asked = asked("multilingual").chain(asked("flash"));
    let start = Instant::now();
    let asked = asked.map(|family| ask(&judge, "/speak", "ann", family));
    let answers = statuses(asked.collect()).await;
    assert_eq!(answers[..3], [OK; 3]);
    assert_eq!(answers[3..6], [REFUSED; 3]);
    assert_eq!(answers[6..11], [OK; 5]);
    assert_eq!(answers[11], REFUSED);
    assert_eq!(start.elapsed(), ms(1_000 + 1_050));
}

#[tokio::test(start_paused = true)]
async fn a_window_is_not_waited_for_and_counts_from_the_arrival() {
    let judge = at_a(Limit::rps(2).concurrency(1), ms(800))
        .queue(Duration::ZERO, 9)
        .build();
    let answers: Vec<_> = (0..3).map(|_| call(&judge, "/a")).collect();
    assert_eq!(statuses(answers).await, [OK, OK, REFUSED]);
    assert_eq!(scored(&judge).refused_by_rate, 1);
    // At 1.6 s; those two came at the start.
    assert_eq!(send(&judge, "/a").await, OK);
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_everything_is_reset_waits_no_longer() {
    let judge = queueing(9);
    let start = Instant::now();
    let old: Vec<_> = (0..4).map(|_| call(&judge, "/a")).collect();
    sleep(ms(10)).await;
    judge.reset_all();
    let new: Vec<_> = (0..2).map(|_| call(&judge, "/a")).collect();
    assert_eq!((scored(&judge).in_flight, scored(&judge).waiting), (2, 0));
    assert_eq!(statuses(old).await, [OK; 4]);
    assert_eq!(start.elapsed(), ms(10 + 250));
    assert_eq!(statuses(new).await, [OK; 2]);
    assert_eq!((scored(&judge).accepted, scored(&judge).in_flight), (2, 0));
}

/// Threads that race for places in one queue: nobody is forgotten there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_in_the_queue_whoever_races_or_gives_up() {
    let judge = at_a(Limit::concurrent(3), Work::none())
        .queue(Duration::ZERO, 100)
        .build();
    let callers = (0..8).map(|caller| {
        let judge = judge.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                if (n + caller) % 3 == 0 {
                    let _ = call(&judge, "/a").now_or_never();
                } else {
                    assert_eq!(send(&judge, "/a").await, OK);
                }
                tokio::task::yield_now().await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let scored = scored(&judge);
    assert_eq!((scored.accepted, scored.refused()), (1_600, 0));
    assert_eq!((scored.in_flight, scored.waiting), (0, 0));
}

#[test]
#[should_panic(expected = "a queue of depth 0 is none")]
fn a_queue_without_places_is_refused() {
    let _ = Judge::builder().queue(ms(50), 0);
}

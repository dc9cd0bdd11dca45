//! L8 and L9: retries are never early, and pay. And what they leave behind. Written from the laws
//! alone.

use std::{collections::HashMap, io, sync::Mutex, time::Duration};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::{task::JoinHandle, time::Instant};
use tower::{Layer, ServiceExt};
use tower_throttle::{
    Attempts, Backoff, Budget, ConcurrencyLayer, Deadline, Endpoints, Idempotent, Quota, Refused,
    RefusedReason, RetryLayer, RpsLayer, ThrottleLayer,
    mock::{
        EndpointReport, Judge, Limit, RefusedBy, Work,
        elevenlabs::{MockElevenLabs, TTS},
    },
};

use crate::scripted::*;

const SEEDS: std::ops::Range<u64> = 0..24;

fn sleep_until(server: &Server, millis: u64) -> tokio::time::Sleep {
    tokio::time::sleep_until(server.start() + ms(millis))
}

/// `RetryLayer` alone, and around limits that limit nothing.
fn everywhere(retry: &RetryLayer, server: &Server) -> [Setup; 3] {
    let endpoints = Endpoints::new().route("/a", Quota::unlimited());
    [
        alone(retry, server),
        Stack::Joint.over(&endpoints, retry, server.clone()),
        Stack::Hand.over(&endpoints, retry, server.clone()),
    ]
}

/// The same reply `times` times to each request, then success.
fn failing(reply: &Reply, times: usize) -> Server {
    let reply = reply.clone();
    Server::new(move |seen| {
        if seen.of_request_before < times {
            reply.clone()
        } else {
            Reply::ok().body("done")
        }
    })
}

#[test]
fn no_retry_is_early_even_without_limiters() {
    for seed in SEEDS {
        paused(seed, async {
            let rng = Mutex::new(fastrand::Rng::with_seed(seed));
            let server = Server::new(move |seen| {
                let rng = &mut *rng.lock().unwrap();
                let after = ms(rng.u64(0..300));
                if seen.of_request_before < 3 && rng.bool() {
                    let seconds = rng.u64(1..90);
                    throttled(rng, seen, seconds, after)
                } else {
                    Reply::ok().after(after)
                }
            });
            let setup = alone(&patient(), &server);
            all_ok((0..60).map(|id| setup.send(post("/a", id))).collect()).await;
            server.assert_no_retry_early();

            // Nor later than the jitter allows.
            let mut until = HashMap::new();
            for event in &server.journal().events {
                match event.what {
                    What::Sent { .. } => {
                        if let Some(until) = until.get(&event.id) {
                            assert!(event.at <= *until, "{} is late", event.id);
                        }
                    }
                    What::Answered { hint: Some(h), .. } => {
                        until.insert(event.id, event.at + h + (h / 10).min(secs(1)) + ms(1));
                    }
                    What::Answered { .. } => {}
                }
            }
            assert_eq!(server.held(), 0);
        });
    }
}

/// Whatever the status, a time that the server named is kept.
#[test]
fn failures_that_name_a_time_are_not_retried_before_it() {
    for status in [408, 429, 500, 502, 503, 504, 529] {
        for form in 0..4 {
            for n in 0..3 {
                paused(u64::from(status), async {
                    let server = Server::new(move |seen| {
                        if seen.of_request_before > 0 {
                            return Reply::ok();
                        }
                        let after = ms(1700);
                        let reply = Reply::status(status).after(after);
                        let then = date(seen.start, seen.at + after) + secs(7);
                        match form {
                            0 => reply.retry_after(7),
                            1 => reply.header("retry-after-ms", "7250").hint(ms(7250)),
                            2 => reply.header("retry-after", "6.5").hint(ms(6500)),
                            _ => reply.header("retry-after", &dates(then)[n]).hint(secs(7)),
                        }
                    });
                    let retry = patient().backoff(Backoff::full(ms(1), ms(2)));
                    for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
                        all_ok(vec![setup.send(get("/a", i))]).await;
                        server.assert_no_retry_early();
                    }
                    assert_eq!(server.sent().len(), 6);
                });
            }
        }
    }
}

/// Beyond the ceiling the answer goes up at once, and it is the server's.
#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_ceiling_goes_up_as_it_came() {
    for status in [429, 500, 503, 529] {
        for (ceiling, asked) in [(10, 11), (10, 86_400), (120, 121), (120, 4_000_000)] {
            let server = failing(
                &Reply::status(status)
                    .after(ms(30))
                    .header("x-one", "1")
                    .header("x-two", "a")
                    .header("x-two", "b")
                    .retry_after(asked)
                    .json(r#"{"detail":{"status":"later","message":"much later"}}"#),
                1,
            );
            let retry = patient().max_retry_after(secs(ceiling));
            for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
                let start = Instant::now();
                let (head, body) = setup.fetch(get("/a", i)).await.unwrap();
                assert_eq!(start.elapsed(), ms(30), "{status} {asked} {i}");
                assert_eq!(head.status(), status);
                let two: Vec<_> = head.headers().get_all("x-two").iter().collect();
                assert_eq!(two, ["a", "b"]);
                assert_eq!(head.headers()["x-one"], "1");
                assert_eq!(head.headers()["retry-after"], asked.to_string().as_str());
                assert_eq!(
                    body,
                    r#"{"detail":{"status":"later","message":"much later"}}"#
                );
                assert!(head.extensions().get::<Attempts>().is_none());
                settle().await;
                setup.assert_idle();
            }
            assert_eq!(server.sent().len(), 3);
        }
    }
}

/// The last answer is the server's, and tells how it came about.
#[tokio::test(start_paused = true)]
async fn the_answer_tells_its_attempts() {
    let server = failing(&Reply::status(429).retry_after(2), 3);
    for (i, setup) in everywhere(&patient(), &server).into_iter().enumerate() {
        let (head, body) = setup.fetch(post("/a", i)).await.unwrap();
        let attempts = head.extensions().get::<Attempts>().unwrap();
        assert_eq!(attempts.attempts(), 4);
        assert!(attempts.waited() >= secs(6), "{:?}", attempts.waited());
        assert_eq!(body, "done");
    }
}

/// Every attempt is counted in every window, and none has a permit too many.
#[test]
fn every_attempt_passes_the_limiters() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let rng = Mutex::new(fastrand::Rng::with_seed(seed));
                let server = Server::new(move |seen| {
                    let rng = &mut *rng.lock().unwrap();
                    let after = ms(rng.u64(0..300));
                    match rng.u32(0..10) {
                        0 => Reply::status(500).after(after),
                        1 => Reply::error(io::ErrorKind::ConnectionReset).after(after),
                        2 => throttled(rng, seen, 1, after),
                        3 => Reply::status(503).body("busy").stall(ms(50)).after(after),
                        _ => Reply::ok().body("done").stall(ms(20)).after(after),
                    }
                });
                let endpoints = Endpoints::new()
                    .route(
                        "/a",
                        Quota::per(5, ms(1000)).and_per(2, ms(100)).concurrency(3),
                    )
                    .route("/b", Quota::per(4, ms(500)))
                    .overall(Quota::per(7, ms(900)).concurrency(4));
                let retry = patient()
                    .max_attempts(100)
                    .without_budget()
                    .backoff(Backoff::full(ms(20), ms(200)));
                let setup = stack.over(&endpoints, &retry, server.clone());
                let sent: Vec<_> = (0..80)
                    .map(|id| setup.send(get(["/a", "/b"][id % 2], id)))
                    .collect();
                all_ok(sent).await;
                server.assert_window("/a", 5, ms(1000));
                server.assert_window("/a", 2, ms(100));
                server.assert_window("/b", 4, ms(500));
                server.assert_most_open("/a", 3);
                let all: Vec<_> = server.sent().into_iter().map(|(at, _)| at).collect();
                assert!(all.windows(8).all(|w| w[7] - w[0] >= 900), "{all:?}");
                let admitted = setup.handles[0]
                    .snapshot()
                    .bucket("overall")
                    .unwrap()
                    .admitted();
                assert_eq!(admitted, all.len() as u64);
                settle().await;
                setup.assert_idle();
                assert_eq!(server.held(), 0);
            });
        }
    }
}

/// While one backs off under an overall concurrency of one, others go.
#[tokio::test(start_paused = true)]
async fn nothing_is_held_while_backing_off() {
    for stack in STACKS {
        for (method, reply) in [
            (Method::GET, Reply::status(500)),
            (
                Method::GET,
                Reply::status(500).body("a body").stall(secs(9999)),
            ),
            (Method::GET, Reply::status(502).json("{").stall(secs(9999))),
            (Method::GET, Reply::status(503)),
            (Method::GET, Reply::error(io::ErrorKind::ConnectionReset)),
            (Method::POST, Reply::error(io::ErrorKind::ConnectionRefused)),
            (Method::POST, Reply::status(429).retry_after(10)),
            (Method::POST, Reply::status(503).retry_after(10)),
        ] {
            let failing = reply.clone();
            let server = Server::new(move |seen| {
                if seen.before == 0 {
                    failing.clone().after(ms(5))
                } else {
                    Reply::ok().after(ms(5))
                }
            });
            let endpoints = Endpoints::new()
                .route("/a", Quota::concurrent(1))
                .route("/b", Quota::concurrent(1))
                .overall(Quota::concurrent(1));
            let retry = patient().backoff(Backoff::equal(secs(10), secs(10)));
            let setup = stack.over(&endpoints, &retry, server.clone());
            let first = setup.send(request(method.clone(), "/a", 0));
            sleep_until(&server, 5).await;
            settle().await;
            assert_eq!(server.held(), 0, "{stack:?} {reply:?}");
            assert_eq!(setup.in_flight(), 0, "{stack:?} {reply:?}");
            let other = setup.send(get("/b", 1));
            settle().await;
            assert_eq!(server.sent(), [(0, 0), (5, 1)], "{stack:?} {reply:?}");
            all_ok(vec![other]).await;
            assert_eq!(first.await.unwrap().unwrap(), StatusCode::OK);
            settle().await;
            setup.assert_idle();
            assert_eq!(server.held(), 0);
        }
    }
}

/// A throttling answer whose body does not end is let go before the wait.
#[tokio::test(start_paused = true)]
async fn an_endless_refusal_is_let_go() {
    for kind in ["application/json", "text/plain"] {
        let server = Server::new(move |seen| {
            if seen.of_request_before == 0 {
                Reply::status(429)
                    .retry_after(60)
                    .header("content-type", kind)
                    .body("{\"detail\"")
                    .stall(secs(9999))
            } else {
                Reply::ok()
            }
        });
        for (i, setup) in everywhere(&patient(), &server).into_iter().enumerate() {
            let start = Instant::now();
            let sent = setup.send(post("/a", i));
            tokio::time::sleep(secs(5)).await;
            assert_eq!((server.held(), setup.in_flight()), (0, 0), "{i} {kind}");
            all_ok(vec![sent]).await;
            assert!(start.elapsed() >= secs(60) && start.elapsed() <= secs(67));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_dropped_while_backing_off_leaves_nothing() {
    for stack in STACKS {
        for reply in [
            Reply::status(500).body("x").stall(secs(100)),
            Reply::status(503),
            Reply::error(io::ErrorKind::ConnectionReset),
        ] {
            let failing = reply.clone();
            let server = Server::new(move |seen| {
                if seen.id < 5 {
                    failing.clone()
                } else {
                    Reply::ok()
                }
            });
            let endpoints = Endpoints::new()
                .route("/a", Quota::per(100, ms(1000)).concurrency(5))
                .overall(Quota::concurrent(5));
            let retry = patient().backoff(Backoff::equal(secs(10), secs(10)));
            let setup = stack.over(&endpoints, &retry, server.clone());
            let sent: Vec<_> = (0..5).map(|id| setup.send(get("/a", id))).collect();
            sleep_until(&server, 1000).await;
            for sent in &sent {
                sent.abort();
            }
            settle().await;
            setup.assert_idle();
            assert_eq!(server.held(), 0);
            let before = server.sent().len();
            if reply.code() == Some(503) {
                setup.resume("/a");
            }
            all_ok(vec![setup.send(get("/a", 9))]).await;
            assert_eq!(server.now(), 1000, "{stack:?} {reply:?}");
            tokio::time::sleep(secs(100)).await;
            assert_eq!(server.sent().len(), before + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_and_throttling_draws_none() {
    let quick = Backoff::full(ms(1), ms(2));
    for n in 1..5 {
        let server = failing(&Reply::status(500), usize::MAX);
        let retry = patient()
            .max_attempts(n)
            .without_budget()
            .backoff(quick.clone());
        for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
            let (head, _) = setup.fetch(get("/a", i)).await.unwrap();
            assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(server.sent().len(), (i + 1) * n as usize);
        }
    }
    // One attempt and no budget: whoever is throttled is sent again all the same.
    for reply in [
        Reply::status(429).retry_after(1),
        Reply::status(503).retry_after(1),
        Reply::status(529).header("retry-after-ms", 1500),
        Reply::status(429),
        too_many(None),
    ] {
        let server = failing(&reply, 6);
        let retry = patient().max_attempts(1).budget(Budget::new(0, 0.0));
        for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
            let (head, _) = setup.fetch(post("/a", i)).await.unwrap();
            assert_eq!(head.status(), StatusCode::OK, "{reply:?}");
            assert_eq!(server.sent().len(), 7 * (i + 1));
        }
    }
    // No budget: others go up at once.
    let server = failing(&Reply::status(500), 1);
    let retry = patient().budget(Budget::new(0, 0.0));
    for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
        let (head, _) = setup.fetch(get("/a", i)).await.unwrap();
        assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(server.now(), 0);
}

/// Throttled in between: the failures that count are still three.
#[tokio::test(start_paused = true)]
async fn throttling_in_between_resets_no_count() {
    let server = Server::new(|seen| match seen.of_request_before % 3 {
        0 => Reply::status(500),
        _ => Reply::status(429).retry_after(1),
    });
    let retry = patient().backoff(Backoff::full(ms(1), ms(2)));
    for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
        let (head, _) = setup.fetch(get("/a", i)).await.unwrap();
        assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(server.sent().len(), 7 * (i + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_what_failures_cost() {
    let server = failing(&Reply::status(500), usize::MAX);
    for stack in STACKS {
        let before = server.sent().len();
        let retry = patient().budget(Budget::new(10, 0.0)).max_attempts(5);
        let endpoints = Endpoints::new();
        let setup = stack.over(&endpoints, &retry, server.clone());
        let sent = (0..100)
            .map(|id| setup.send(get("/a", before + id)))
            .collect();
        for answer in all(sent).await {
            assert_eq!(answer.unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert_eq!(server.sent().len() - before, 110);
    }
}

/// A wait that would pass the total returns the answer in hand at once.
#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_total_is_not_begun() {
    for status in [429, 503] {
        let server = failing(
            &Reply::status(status).retry_after(4).after(ms(10)),
            usize::MAX,
        );
        // The first wait fits, the second does not.
        for total in [6, 7] {
            let before = server.sent().len();
            let retry = RetryLayer::new().max_total(secs(total));
            for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
                let from = server.now();
                let (head, _) = setup.fetch(get("/a", 10 * before + i)).await.unwrap();
                assert_eq!(head.status(), status);
                let took = server.now() - from;
                assert!((4020..=4421).contains(&took), "{took} {i}");
                settle().await;
                setup.assert_idle();
            }
            assert_eq!(server.sent().len() - before, 6);
        }
        // None fits.
        let retry = RetryLayer::new().max_total(secs(3));
        for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
            let from = server.now();
            let (head, _) = setup.fetch(get("/a", 99_000 + i)).await.unwrap();
            assert_eq!((head.status().as_u16(), server.now() - from), (status, 10));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    for (status, asked) in [(429, Some(5)), (503, Some(5)), (500, None), (500, Some(5))] {
        let reply = Reply::status(status).body("mine").after(ms(10));
        let reply = match asked {
            Some(asked) => reply.retry_after(asked),
            None => reply,
        };
        let server = failing(&reply, usize::MAX);
        let retry = patient().backoff(Backoff::equal(secs(20), secs(20)));
        for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
            let from = server.now();
            let mut request = get("/a", i);
            request
                .extensions_mut()
                .insert(Deadline(Instant::now() + secs(4)));
            let (head, body) = setup.fetch(request).await.unwrap();
            assert_eq!(head.status(), status);
            assert_eq!(body, "mine");
            assert_eq!(server.now() - from, 10, "{status} {i}");
            settle().await;
            setup.assert_idle();
        }
        assert_eq!(server.sent().len(), 3);
    }
}

/// One that fits is begun.
#[tokio::test(start_paused = true)]
async fn a_wait_within_the_deadline_is_waited() {
    let server = failing(&Reply::status(429).retry_after(5), 1);
    for (i, setup) in everywhere(&patient(), &server).into_iter().enumerate() {
        let mut request = post("/a", i);
        request
            .extensions_mut()
            .insert(Deadline(Instant::now() + secs(6)));
        let (head, _) = setup.fetch(request).await.unwrap();
        assert_eq!(head.status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn used_up_credits_are_never_waited_for() {
    const BODIES: [&str; 2] = [
        r#"{"detail":{"status":"quota_exceeded","message":"This request exceeds your quota of 10000. You have 0 credits remaining, while 91 credits are required for this request."}}"#,
        r#"{"detail":{"type":"invalid_request","code":"quota_exceeded","message":"This request exceeds your quota of 10000.","status":"quota_exceeded","request_id":"1"}}"#,
    ];
    for status in [401, 402, 429, 503] {
        for body in BODIES {
            for hint in [false, true] {
                let reply = Reply::status(status).json(body);
                let reply = if hint {
                    reply.header("retry-after", 3)
                } else {
                    reply
                };
                let server = failing(&reply, 1);
                let mut idempotent = get("/a", 0);
                idempotent.extensions_mut().insert(Idempotent);
                for (i, setup) in everywhere(&patient(), &server).into_iter().enumerate() {
                    let mut request = idempotent.clone();
                    request.extensions_mut().insert(Id(i));
                    let (head, text) = setup.fetch(request).await.unwrap();
                    assert_eq!(head.status(), status, "{i} {hint}");
                    assert_eq!(text, body);
                }
                assert_eq!(server.sent().len(), 3);
                assert_eq!(server.now(), 0);
            }
        }
    }
}

/// Used-up credits are no news about the pace: nobody else waits for them.
#[tokio::test(start_paused = true)]
async fn used_up_credits_pause_nobody() {
    for stack in STACKS {
        let server = Server::new(|seen| {
            if seen.before == 0 {
                Reply::status(401)
                    .json(r#"{"detail":{"status":"quota_exceeded","message":"This request exceeds your quota."}}"#)
            } else {
                Reply::ok()
            }
        });
        let endpoints = Endpoints::new().route("/a", Quota::per_second(10));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        setup.fetch(get("/a", 0)).await.unwrap();
        all_ok(vec![setup.send(get("/a", 1))]).await;
        assert_eq!(server.now(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn our_own_refusals_are_never_retried() {
    // Below the retry, and below a limiter below the retry.
    let server = failing(&Reply::ok(), 0);
    let endpoints = || Endpoints::new().route("/a", Quota::per(1, secs(10)));
    let setups = [
        Setup {
            client: boxed(
                patient().layer(
                    RpsLayer::new(endpoints())
                        .max_waiting(0)
                        .layer(server.clone()),
                ),
            ),
            handles: vec![],
        },
        Setup {
            client: boxed(
                patient().layer(
                    ConcurrencyLayer::new(endpoints()).layer(
                        RpsLayer::new(endpoints())
                            .max_wait(secs(1))
                            .layer(server.clone()),
                    ),
                ),
            ),
            handles: vec![],
        },
        Setup {
            client: boxed(
                ThrottleLayer::new(endpoints())
                    .retry(patient())
                    .max_wait(secs(1))
                    .layer(server.clone()),
            ),
            handles: vec![],
        },
    ];
    for (i, setup) in setups.into_iter().enumerate() {
        setup.fetch(get("/a", 2 * i)).await.unwrap();
        let error = setup.fetch(get("/a", 2 * i + 1)).await.unwrap_err();
        let refused = Refused::in_error(&error).expect("a refusal");
        let expected = if i == 0 {
            RefusedReason::QueueFull
        } else {
            RefusedReason::WouldWaitTooLong
        };
        assert_eq!(refused.reason(), expected);
    }
    assert_eq!(server.now(), 0);
    assert_eq!(server.sent().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_sent_twice() {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Other};
    // What comes back, and whether a GET, a POST, and a POST that may be repeated are sent again.
    let cases = [
        (Reply::status(408), [true, false, true]),
        (Reply::status(429), [true, true, true]),
        (Reply::status(429).retry_after(1), [true, true, true]),
        (Reply::status(500), [true, false, true]),
        (Reply::status(501), [false, false, false]),
        (Reply::status(502), [true, false, true]),
        (Reply::status(503), [true, false, true]),
        (Reply::status(503).retry_after(1), [true, true, true]),
        (Reply::status(504), [true, false, true]),
        (Reply::status(529).retry_after(1), [true, true, true]),
        (Reply::status(400), [false, false, false]),
        (Reply::status(401), [false, false, false]),
        (Reply::status(403), [false, false, false]),
        (Reply::status(404), [false, false, false]),
        (Reply::status(409), [false, false, false]),
        (Reply::status(422), [false, false, false]),
        (Reply::status(301), [false, false, false]),
        (
            Reply::status(500).header("x-should-retry", "true"),
            [true, true, true],
        ),
        (
            Reply::status(429).header("x-should-retry", "false"),
            [false, false, false],
        ),
        (
            Reply::status(500).header("x-should-retry", "false"),
            [false, false, false],
        ),
        (Reply::error(ConnectionRefused), [true, true, true]),
        (Reply::error(ConnectionReset), [true, false, true]),
        (Reply::error(ConnectionAborted), [true, false, true]),
        (Reply::error(Other), [false, false, false]),
    ];
    for (reply, expected) in cases {
        let mut with_key = post("/a", 2);
        with_key
            .headers_mut()
            .insert("idempotency-key", "1".parse().unwrap());
        let mut said = post("/a", 2);
        said.extensions_mut().insert(Idempotent);
        for (request, expected) in [
            (get("/a", 0), expected[0]),
            (request(Method::PUT, "/a", 0), expected[0]),
            (request(Method::DELETE, "/a", 0), expected[0]),
            (post("/a", 1), expected[1]),
            (request(Method::PATCH, "/a", 1), expected[1]),
            (with_key, expected[2]),
            (said, expected[2]),
        ] {
            for setup in 0..3 {
                let server = failing(&reply, 1);
                let setup = &everywhere(&patient(), &server)[setup];
                let answer = setup.fetch(request.clone()).await;
                let sent = server.sent().len();
                assert_eq!(sent, 1 + usize::from(expected), "{request:?} {reply:?}");
                match answer {
                    Ok((head, _)) => {
                        let expected = if expected { 200 } else { reply.code().unwrap() };
                        assert_eq!(head.status(), expected);
                    }
                    Err(error) => {
                        assert!(!expected && error.is::<io::Error>(), "{error:?}");
                    }
                }
                settle().await;
                setup.assert_idle();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_need_not_be_trusted() {
    let server = failing(&Reply::status(503).retry_after(1), 1);
    let retry = patient().trust_retry_after(false);
    for (i, setup) in everywhere(&retry, &server).into_iter().enumerate() {
        let (head, _) = setup.fetch(post("/a", i)).await.unwrap();
        assert_eq!(head.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

/// The judge's `Date` follows the paused clock, and the client's own clock does not: a date is taken
/// against the former, after hours, too.
#[test]
fn dates_follow_the_paused_clock() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let base = std::time::SystemTime::now();
                let start = Instant::now();
                let judge = Judge::builder()
                    .route("/a", Limit::per(3, secs(2)), Work::fixed(ms(50)))
                    .refusal_after(ms(20))
                    .refusal(move |refusal| {
                        // Two seconds after the next full one that leaves room.
                        let when = base + start.elapsed() + refusal.room_in() + secs(2);
                        let form = &dates(when)[usize::try_from(seed % 3).unwrap()];
                        Response::builder()
                            .status(429)
                            .header("retry-after", form)
                            .body(Bytes::new())
                            .unwrap()
                    })
                    .build();
                tokio::time::sleep(secs(7 * 3600)).await;
                let endpoints = Endpoints::new().route("/a", Quota::per_second(3));
                let setup = stack.over(&endpoints, &patient(), judge.clone());
                let from = Instant::now();
                let sent = (0..30).map(|id| setup.send(post("/a", id))).collect();
                all_ok(sent).await;
                let report = judge.report();
                let report = report.endpoint("/a");
                assert!(report.refused() > 0);
                assert_eq!((report.early, report.accepted), (0, 30), "{stack:?}");
                assert!(report.refused() <= 40, "{} refused", report.refused());
                assert!(from.elapsed() <= secs(90), "{:?}", from.elapsed());
            });
        }
    }
}

/// What one run against a judge came to.
#[derive(Debug)]
struct Run {
    took: Duration,
    ok: usize,
    refused: usize,
}

fn summary(name: &str, runs: &[Run]) {
    let spread = |mut values: Vec<u128>| {
        values.sort_unstable();
        let last = values.len() - 1;
        (values[0], values[last / 2], values[last])
    };
    println!(
        "{name}: refused {:?}, took {:?} ms (minimum, median, maximum)",
        spread(runs.iter().map(|run| run.refused as u128).collect()),
        spread(runs.iter().map(|run| run.took.as_millis()).collect()),
    );
}

async fn run(setup: &Setup, n: usize, path: &str, report: impl Fn() -> EndpointReport) -> Run {
    let start = Instant::now();
    let sent: Vec<_> = (0..n)
        .map(|id| {
            let mut request = post(path, id);
            *request.body_mut() = r#"{"text":"hello"}"#.into();
            setup.send(request)
        })
        .collect();
    let mut ok = 0;
    for answer in all(sent).await {
        ok += usize::from(answer.unwrap() == StatusCode::OK);
    }
    let run = Run {
        took: start.elapsed(),
        ok,
        refused: report().refused(),
    };
    settle().await;
    setup.assert_idle();
    run
}

/// A limit that rises and falls every few seconds.
fn moving(seed: u64) -> Vec<usize> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..200).map(|_| rng.usize(1..=10)).collect()
}

fn elevenlabs(seed: u64, limits: &[usize], headers: bool) -> (MockElevenLabs, JoinHandle<()>) {
    let api = MockElevenLabs::builder()
        .tts(
            Limit::concurrent(limits[0]),
            Work::uniform(ms(200)..ms(400)),
        )
        .refusal_after(ms(20))
        .seed(seed);
    let api = if headers {
        api.concurrency_headers()
    } else {
        api
    };
    let api = api.build();
    let judge = api.judge().clone();
    let limits = limits[1..].to_vec();
    let mover = tokio::spawn(async move {
        for limit in limits {
            tokio::time::sleep(secs(4)).await;
            judge.set_limit(TTS, Limit::concurrent(limit));
        }
    });
    (api, mover)
}

#[test]
fn a_limit_that_rises_and_falls_is_followed() {
    for stack in STACKS {
        for headers in [true, false] {
            let mut runs = Vec::new();
            for seed in SEEDS {
                paused(seed, async {
                    let limits = moving(seed);
                    let (api, mover) = elevenlabs(seed, &limits, headers);
                    let endpoints = Endpoints::new().route(TTS, Quota::concurrent(10));
                    let setup = stack.over(&endpoints, &patient(), api.clone());
                    let path = "/v1/text-to-speech/v";
                    let run = run(&setup, 400, path, || api.report().endpoint(TTS).clone()).await;
                    mover.abort();
                    assert_eq!(run.ok, 400);

                    // What somebody needs who is told of each change at once.
                    let (api, mover) = elevenlabs(seed, &limits, false);
                    let setup = stack.over(&endpoints, &patient(), api.clone());
                    let handles = setup.handles.clone();
                    let teller = tokio::spawn(async move {
                        for limit in limits {
                            for handle in &handles {
                                handle.set_quota(TTS, Quota::concurrent(limit)).unwrap();
                            }
                            tokio::time::sleep(secs(4)).await;
                        }
                    });
                    let told =
                        self::run(&setup, 400, path, || api.report().endpoint(TTS).clone()).await;
                    mover.abort();
                    teller.abort();

                    // At each change at most what was in flight is too much, and while a limit is
                    // steady at most a few probes are.
                    let changes = usize::try_from(run.took.as_secs() / 4 + 1).unwrap();
                    assert!(
                        run.refused <= 10 + 10 * changes,
                        "{run:?}, {changes} changes, {stack:?} {headers}"
                    );
                    assert!(
                        run.took <= told.took * 2 + secs(10),
                        "{run:?}, told {told:?}, {stack:?} {headers}"
                    );
                    runs.push(run);
                });
            }
            summary(
                &format!("moving limit, {stack:?}, headers {headers}"),
                &runs,
            );
        }
    }
}

/// Half of the time somebody else takes all that there is.
#[test]
fn strangers_neither_starve_us_nor_make_us_storm() {
    for stack in STACKS {
        let mut runs = Vec::new();
        for seed in SEEDS {
            paused(seed, async {
                let judge = Judge::builder()
                    .route("/a", Limit::rps(10), Work::fixed(ms(100)))
                    .refusal_after(ms(10))
                    .seed(seed)
                    .build();
                let theirs = judge.clone();
                let stranger = tokio::spawn(async move {
                    let theirs = boxed(theirs);
                    loop {
                        for _ in 0..100 {
                            let client = theirs.clone();
                            tokio::spawn(async move {
                                let answer = client.oneshot(get("/a", 0)).await.unwrap();
                                let _ = answer.into_body().collect().await;
                            });
                            tokio::time::sleep(ms(50)).await;
                        }
                        tokio::time::sleep(secs(5)).await;
                    }
                });
                let mut client = Vec::new();
                let endpoints = Endpoints::new().route("/a", Quota::per_second(10));
                let counted = Counted::over(judge.clone());
                let setup = stack.over(&endpoints, &patient(), counted.clone());
                let start = Instant::now();
                for id in 0..300 {
                    client.push(setup.send(post("/a", id)));
                }
                all_ok(client).await;
                stranger.abort();
                runs.push(Run {
                    took: start.elapsed(),
                    ok: 300,
                    refused: counted.refused(),
                });
            });
        }
        summary(&format!("strangers by rate, {stack:?}"), &runs);
        for run in runs {
            // Alone it takes 30 s; with half of it at worst 60 s, and all of it now and then.
            assert!(run.took <= secs(180), "{run:?}");
            assert!(run.refused <= 150, "{run:?}");
        }
    }
}

/// The same by concurrency, with the limit named and not, and strangers that hold all, or a part.
#[test]
fn strangers_by_concurrency() {
    for stack in STACKS {
        for (named, part) in [(false, 4), (true, 4), (false, 2), (true, 2)] {
            let mut runs = Vec::new();
            for seed in SEEDS {
                paused(seed, async {
                    let judge = Judge::builder()
                        .route("/a", Limit::concurrent(4), Work::uniform(ms(200)..ms(400)))
                        .refusal_after(ms(20))
                        .refusal(move |refusal| {
                            let text = match refusal.by() {
                                RefusedBy::Concurrency { limit } if named => {
                                    format!("a maximum of {limit} concurrent requests")
                                }
                                _ => "too many".to_owned(),
                            };
                            Response::builder()
                                .status(429)
                                .header("content-type", "application/json")
                                .body(
                                    format!(
                                        r#"{{"detail":{{"status":"too_many_concurrent_requests","message":"{text}"}}}}"#
                                    )
                                    .into(),
                                )
                                .unwrap()
                        })
                        .seed(seed)
                        .build();
                    let theirs = boxed(judge.clone());
                    let stranger = tokio::spawn(async move {
                        loop {
                            let until = Instant::now() + secs(5);
                            let workers: Vec<_> = (0..part)
                                .map(|_| {
                                    let client = theirs.clone();
                                    tokio::spawn(async move {
                                        while Instant::now() < until {
                                            let answer =
                                                client.clone().oneshot(get("/a", 0)).await.unwrap();
                                            let _ = answer.into_body().collect().await;
                                            tokio::time::sleep(ms(1)).await;
                                        }
                                    })
                                })
                                .collect();
                            for worker in workers {
                                worker.await.unwrap();
                            }
                            tokio::time::sleep(secs(5)).await;
                        }
                    });
                    let endpoints = Endpoints::new().route("/a", Quota::concurrent(4));
                    let counted = Counted::over(judge.clone());
                    let setup = stack.over(&endpoints, &patient(), counted.clone());
                    let start = Instant::now();
                    all_ok((0..200).map(|id| setup.send(post("/a", id))).collect()).await;
                    stranger.abort();
                    runs.push(Run {
                        took: start.elapsed(),
                        ok: 200,
                        refused: counted.refused(),
                    });
                });
            }
            let name = format!("strangers hold {part} of 4, named {named}, {stack:?}");
            summary(&name, &runs);
            for run in runs {
                // Alone it takes 15 s; with half of it at worst 30 s.
                assert!(run.took <= secs(120), "{name}: {run:?}");
                assert!(run.refused <= 100, "{name}: {run:?}");
            }
        }
    }
}

/// Counts the refusals of one client of a judge.
#[derive(Clone, Debug)]
struct Counted {
    judge: Judge,
    refused: std::sync::Arc<Mutex<usize>>,
}

impl Counted {
    fn over(judge: Judge) -> Self {
        Self {
            judge,
            refused: std::sync::Arc::default(),
        }
    }

    fn refused(&self) -> usize {
        *self.refused.lock().unwrap()
    }
}

impl tower::Service<Req> for Counted {
    type Response = Response<tower_throttle::mock::Body>;
    type Error = tower_throttle::BoxError;
    type Future = std::pin::Pin<
        Box<dyn std::future::Future<Output = Result<Self::Response, Self::Error>> + Send>,
    >;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        tower::Service::<Req>::poll_ready(&mut self.judge, cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let answer = self.judge.call(request);
        let refused = std::sync::Arc::clone(&self.refused);
        Box::pin(async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                *refused.lock().unwrap() += 1;
            }
            Ok(answer)
        })
    }
}

/// Hundreds of requests, and everything that can go wrong: each has one answer or one clear error.
#[test]
fn whatever_goes_wrong_everybody_is_answered() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let rng = Mutex::new(fastrand::Rng::with_seed(seed));
                let server = Server::new(move |seen| {
                    use io::ErrorKind;
                    let rng = &mut *rng.lock().unwrap();
                    let after = ms(rng.u64(0..200));
                    let stall = ms(rng.u64(1..200));
                    match rng.u32(0..16) {
                        0 => Reply::status(500).body("x").stall(stall),
                        1 => Reply::status(503),
                        2 => Reply::error(ErrorKind::ConnectionReset),
                        3 => Reply::error(ErrorKind::ConnectionRefused),
                        4 => Reply::error(ErrorKind::Other),
                        5 => Reply::status(429),
                        6 => too_many([None, Some(4)][rng.usize(..2)]),
                        7 => {
                            let seconds = rng.u64(1..5);
                            throttled(rng, seen, seconds, after)
                        }
                        8 => Reply::status(429).retry_after(86_400),
                        _ => Reply::ok().body("done").stall(stall),
                    }
                    .after(after)
                });
                let ceiling = secs(10);
                let endpoints = Endpoints::new()
                    .route("/a", Quota::per(20, ms(1000)).concurrency(6))
                    .route("/b", Quota::per(30, ms(1000)))
                    .route("/c", Quota::concurrent(8))
                    .overall(Quota::per(60, ms(1000)).concurrency(12));
                let retry = patient().max_retry_after(ceiling);
                let setup = stack.with_ceiling(&endpoints, &retry, ceiling, server.clone());
                let mut rng = fastrand::Rng::with_seed(!seed);
                let mut sent = Vec::new();
                for id in 0..400 {
                    let method = [Method::GET, Method::POST][rng.usize(..2)].clone();
                    sent.push(setup.send(request(method, ["/a", "/b", "/c", "/d"][id % 4], id)));
                    if id % 20 == 0 {
                        tokio::time::sleep(ms(rng.u64(0..300))).await;
                    }
                }
                let mut dropped = 0;
                for _ in 0..20 {
                    tokio::time::sleep(ms(100)).await;
                    let victim = sent.swap_remove(rng.usize(..sent.len()));
                    victim.abort();
                    dropped += 1;
                }
                let answers = all(sent).await;
                assert_eq!(answers.len() + dropped, 400);
                for answer in answers {
                    match answer {
                        Ok(status) => {
                            let answered = [200, 429, 500, 503, 529];
                            assert!(answered.contains(&status.as_u16()), "{status}");
                        }
                        Err(error) => {
                            assert!(error.is::<io::Error>() || is_closed(&error), "{error:?}");
                        }
                    }
                }
                settle().await;
                setup.assert_idle();
                assert_eq!(server.held(), 0);
                assert!(server.journal().open.values().all(|open| *open == 0));
                server.assert_nobody_early(ceiling);
                server.assert_no_retry_early();
                server.assert_window("/a", 20, ms(1000));
                server.assert_most_open("/a", 6);
                server.assert_most_open("/c", 8);
                let took = server.now();
                assert!(took <= 3_600_000, "{took} ms");
            });
        }
    }
}

/// No two requests share their jitter, alone or above limits.
#[tokio::test(start_paused = true)]
async fn no_two_requests_share_their_jitter() {
    for reply in [Reply::status(500), Reply::status(429).retry_after(60)] {
        let server = failing(&reply, 1);
        let retry = patient()
            .without_budget()
            .backoff(Backoff::full(secs(60), secs(60)));
        let setup = alone(&retry, &server);
        all_ok((0..40).map(|id| setup.send(get("/a", id))).collect()).await;
        let mut times: Vec<_> = server.times("/a")[40..].to_vec();
        times.dedup();
        assert!(times.len() >= 32, "{times:?}");
    }
}

/// The ceilings of retry and of the pauses are two: neither lets a retry be early.
#[tokio::test(start_paused = true)]
async fn ceilings_that_differ_make_nobody_early() {
    for (pause, wait, asked) in [(5, 300, 20), (300, 5, 20), (5, 5, 20), (300, 300, 200)] {
        for stack in STACKS {
            let server = failing(&Reply::status(429).retry_after(asked), 1);
            let endpoints = Endpoints::new().route("/a", Quota::per_second(10));
            let retry = patient().max_retry_after(secs(wait));
            let setup = stack.with_ceiling(&endpoints, &retry, secs(pause), server.clone());
            let (head, _) = setup.fetch(get("/a", 0)).await.unwrap();
            if pause.min(wait) < asked {
                let took = server.now();
                let up = head.status() == StatusCode::TOO_MANY_REQUESTS && took == 0;
                let waited = head.status() == StatusCode::OK && took >= asked * 1000;
                assert!(up || waited, "{pause} {wait} {stack:?} {took}");
                let paused = setup.paused_for("/a").unwrap_or_default();
                assert!(waited || paused >= secs(pause.min(asked)), "{paused:?}");
            } else {
                assert_eq!(head.status(), StatusCode::OK);
            }
            server.assert_no_retry_early();
            server.assert_nobody_early(secs(pause));
        }
    }
}

/// A time that a concurrency refusal names counts: a completion before it is no reason to hurry.
#[tokio::test(start_paused = true)]
async fn a_concurrency_refusal_with_a_time_waits_for_the_time() {
    for stack in STACKS {
        for named in [None, Some(2), Some(4)] {
            let server = Server::new(move |seen| match seen.id {
                0 => Reply::ok().after(ms(300)),
                2 if seen.of_request_before == 0 => too_many(named).retry_after(5),
                _ => Reply::ok().after(ms(700)),
            });
            let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let mut sent: Vec<_> = (0..3).map(|id| setup.send(post("/a", id))).collect();
            sleep_until(&server, 100).await;
            sent.push(setup.send(post("/a", 3)));
            all_ok(sent).await;
            server.assert_nobody_early(secs(120));
            server.assert_no_retry_early();
        }
    }
}

/// The pause would fit, but the window's next slot would not: the answer in hand, at once.
#[tokio::test(start_paused = true)]
async fn a_slot_beyond_the_deadline_is_not_waited_for() {
    for stack in STACKS {
        let server = failing(&Reply::status(429).retry_after(1).body("mine"), 1);
        let endpoints = Endpoints::new().route("/a", Quota::per(1, secs(60)));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let mut request = post("/a", 0);
        request
            .extensions_mut()
            .insert(Deadline(Instant::now() + secs(30)));
        let answer = setup.fetch(request).await;
        assert_eq!(server.now(), 0, "{stack:?} {answer:?}");
        let (head, body) = answer.unwrap();
        assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(body, "mine");
    }
}

/// The same for the total.
#[tokio::test(start_paused = true)]
async fn a_slot_beyond_the_total_is_not_waited_for() {
    for stack in STACKS {
        let server = failing(&Reply::status(429).retry_after(1).body("mine"), 1);
        let endpoints = Endpoints::new().route("/a", Quota::per(1, secs(600)));
        let retry = RetryLayer::new().max_total(secs(10));
        let setup = stack.over(&endpoints, &retry, server.clone());
        let answer = setup.fetch(post("/a", 0)).await;
        assert!(server.now() <= 10_000, "{stack:?} {} ms", server.now());
        let (head, _) = answer.unwrap();
        assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

/// Whoever goes back to the queue with a deadline is not kept past it, whatever moves meanwhile.
#[tokio::test(start_paused = true)]
async fn a_pause_that_grows_past_the_deadline_is_noticed_at_once() {
    for stack in STACKS {
        let server = Server::new(|seen| match seen.id {
            0 if seen.of_request_before == 0 => Reply::status(429).retry_after(5),
            1 => Reply::status(429).retry_after(100).after(secs(2)),
            _ => Reply::ok(),
        });
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
        let retry = RetryLayer::new().max_total(secs(50));
        let setup = stack.over(&endpoints, &retry, server.clone());
        let second = setup.send(post("/a", 1));
        settle().await;
        let mut request = post("/a", 0);
        request
            .extensions_mut()
            .insert(Deadline(Instant::now() + secs(20)));
        let answer = setup.fetch(request).await;
        let now = server.now();
        // Joint: at the instant of the second answer. By hand it sleeps until its own time.
        let latest = if stack == Stack::Joint { 2000 } else { 5501 };
        assert!(now <= latest, "{stack:?} {now} {answer:?}");
        assert!(answer.is_err() || answer.unwrap().0.status() == 429);
        assert_eq!(
            second.await.unwrap().unwrap(),
            StatusCode::TOO_MANY_REQUESTS
        );
        settle().await;
        setup.assert_idle();
    }
}

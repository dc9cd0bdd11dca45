//! L7: a 429 is everybody's news. Written from the laws alone.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_throttle::{
    Backoff, BucketSnapshot, ConcurrencyLayer, Endpoints, Quota, RetryLayer, RpsLayer,
    ThrottleLayer,
};

use crate::scripted::*;

const SEEDS: std::ops::Range<u64> = 0..24;

fn sleep_until(server: &Server, millis: u64) -> tokio::time::Sleep {
    tokio::time::sleep_until(server.start() + ms(millis))
}

/// A rule that refuses what `refuse` says in a random dialect, asking for up to `longest` seconds,
/// and serves everything else within 200 ms.
fn dialects(
    seed: u64,
    longest: u64,
    refuse: impl Fn(&Seen, &mut fastrand::Rng) -> bool + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let rng = Mutex::new(fastrand::Rng::with_seed(seed));
    move |seen| {
        let rng = &mut *rng.lock().unwrap();
        let after = ms(rng.u64(0..200));
        if refuse(seen, rng) {
            let seconds = rng.u64(1..=longest);
            throttled(rng, seen, seconds, after)
        } else {
            Reply::ok().body("done").after(after)
        }
    }
}

#[test]
fn whatever_the_dialect_nobody_is_early() {
    const PATHS: [&str; 4] = ["/window", "/permits", "/both", "/none"];
    let endpoints = Endpoints::new()
        .route("/window", Quota::per(3, ms(1000)))
        .route("/permits", Quota::concurrent(2))
        .route("/both", Quota::per(5, ms(700)).concurrency(3))
        .route("/none", Quota::unlimited())
        .route("/free", Quota::unlimited());
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let server = Server::new(dialects(seed, 8, |seen, rng| {
                    seen.path != "/free" && rng.u32(0..100) < 25
                }));
                let setup = stack.over(&endpoints, &patient(), server.clone());
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut sent = Vec::new();
                let mut free = Vec::new();
                for id in 0..120 {
                    if rng.u32(0..3) == 0 {
                        tokio::time::sleep(ms(rng.u64(0..500))).await;
                    }
                    let path = PATHS[rng.usize(..PATHS.len())];
                    sent.push(setup.send(get(path, id)));
                    if rng.u32(0..4) == 0 {
                        free.push(server.now());
                        sent.push(setup.send(get("/free", 1000 + id)));
                    }
                }
                all_ok(sent).await;

                server.assert_nobody_early(secs(120));
                server.assert_no_retry_early();
                server.assert_window("/window", 3, ms(1000));
                server.assert_window("/both", 5, ms(700));
                server.assert_most_open("/permits", 2);
                server.assert_most_open("/both", 3);
                // L4: whoever does not need a paused bucket goes at once.
                assert_eq!(server.times("/free"), free, "seed {seed}, {stack:?}");
                settle().await;
                setup.assert_idle();
                assert_eq!(server.held(), 0);
            });
        }
    }
}

/// Everything alike but for the ceiling: what is beyond it goes up, and pauses up to it.
#[test]
fn pauses_end_at_the_ceiling() {
    let endpoints = Endpoints::new()
        .route("/a", Quota::concurrent(6))
        .route("/b", Quota::unlimited());
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let server = Server::new(dialects(seed, 12, |_, rng| rng.u32(0..100) < 20));
                let ceiling = secs(5);
                let setup = stack.with_ceiling(
                    &endpoints,
                    &patient().max_retry_after(ceiling),
                    ceiling,
                    server.clone(),
                );
                let mut sent = Vec::new();
                for id in 0..80 {
                    sent.push(setup.send(get(["/a", "/b"][id % 2], id)));
                    tokio::time::sleep(ms(100)).await;
                }
                for answer in all(sent).await {
                    match answer {
                        Ok(status) => {
                            assert!([200, 429, 503, 529].contains(&status.as_u16()), "{status}");
                        }
                        Err(error) => assert!(is_closed(&error), "{error}"),
                    }
                }
                server.assert_nobody_early(ceiling);
                server.assert_no_retry_early();
                settle().await;
                setup.assert_idle();
                assert_eq!(server.held(), 0);
            });
        }
    }
}

/// One is refused, and one waits: it is let through no later than the jitter allows.
#[test]
fn a_pause_lasts_no_longer_than_asked_plus_jitter() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let server = Server::new(dialects(seed, 20, |seen, _| seen.before == 0));
                let endpoints = Endpoints::new().route("/a", Quota::unlimited());
                let setup = stack.over(&endpoints, &patient(), server.clone());
                all_ok(vec![setup.send(get("/a", 0))]).await;
                let journal = server.journal();
                let (answered, hint) = journal
                    .events
                    .iter()
                    .find_map(|event| match event.what {
                        What::Answered { hint, .. } => Some((event.at, hint?)),
                        What::Sent { .. } => None,
                    })
                    .unwrap();
                let again = journal.events[2].at;
                let most = hint + (hint / 10).min(secs(1)) + ms(1);
                let waited = again - answered;
                assert!(waited >= hint && waited <= most, "{waited:?} for {hint:?}");
            });
        }
    }
}

#[test]
fn the_default_ceiling_is_two_minutes() {
    for stack in STACKS {
        for (asked, again) in [(119, true), (120, true), (121, false), (86_400, false)] {
            paused(asked, async {
                let server = Server::new(move |seen| {
                    if seen.before == 0 {
                        Reply::status(429)
                            .header("x-mine", "kept")
                            .retry_after(asked)
                            .json(r#"{"slow":"down"}"#)
                    } else {
                        Reply::ok()
                    }
                });
                let endpoints = Endpoints::new().route("/a", Quota::unlimited());
                let setup = stack.over(&endpoints, &patient(), server.clone());
                let start = Instant::now();
                let (head, body) = setup.fetch(get("/a", 0)).await.unwrap();
                if again {
                    assert_eq!(head.status(), StatusCode::OK);
                    assert!(start.elapsed() >= secs(asked));
                } else {
                    assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
                    assert_eq!(head.headers()["x-mine"], "kept");
                    assert_eq!(head.headers()["retry-after"], asked.to_string().as_str());
                    assert_eq!(body, r#"{"slow":"down"}"#);
                    assert_eq!(start.elapsed(), Duration::ZERO);
                    assert_eq!(setup.paused_for("/a"), Some(secs(asked)));
                    // Nobody waits, and one is let through then, not tomorrow.
                    let next = all(vec![setup.send(get("/a", 1))]).await.remove(0);
                    assert!(is_closed(&next.unwrap_err()));
                    assert_eq!(start.elapsed(), Duration::ZERO);
                    tokio::time::sleep(secs(120)).await;
                    all_ok(vec![setup.send(get("/a", 2))]).await;
                    server.assert_nobody_early(secs(120));
                }
            });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_are_monotone() {
    for stack in STACKS {
        // Sent together; the longest delay is answered first, then shorter ones.
        let server = Server::new(|seen| match (seen.id, seen.of_request_before) {
            (0, 0) => Reply::status(429).retry_after(10).after(ms(10)),
            (1, 0) => Reply::status(429).retry_after(1).after(ms(20)),
            (2, 0) => Reply::status(503).retry_after(3).after(ms(500)),
            (3, 0) => Reply::status(429).after(ms(600)),
            (4, 0) => Reply::ok().after(ms(700)),
            _ => Reply::ok(),
        });
        let endpoints = Endpoints::new().route("/a", Quota::per(100, ms(1000)));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let mut sent: Vec<_> = (0..5).map(|id| setup.send(get("/a", id))).collect();
        sleep_until(&server, 800).await;
        sent.push(setup.send(get("/a", 5)));
        for handle in &setup.handles {
            handle.pause("/a", secs(1)).unwrap();
            handle.set_quota("/a", Quota::per_second(200)).unwrap();
        }
        settle().await;
        assert!(setup.paused_for("/a").unwrap() >= ms(9210));
        all_ok(sent).await;
        let times = server.times("/a");
        assert!(times[..5].iter().all(|at| *at == 0));
        assert!(times[5..].iter().all(|at| *at >= 10_010), "{times:?}");
        server.assert_nobody_early(secs(120));

        // A longer one lengthens it.
        for handle in &setup.handles {
            handle.pause("/a", secs(1)).unwrap();
            handle.pause("/a", secs(4)).unwrap();
            handle.pause("/a", secs(2)).unwrap();
        }
        let from = server.now();
        all_ok(vec![setup.send(get("/a", 9))]).await;
        assert_eq!(server.times("/a").last(), Some(&(from + 4000)));
    }
}

#[tokio::test(start_paused = true)]
async fn resume_lifts_a_pause_and_loses_nobody() {
    for stack in STACKS {
        for quota in [
            Quota::per(4, ms(1000)).concurrency(50),
            Quota::per_second(50),
        ] {
            let server = Server::new(|seen| {
                if seen.before == 0 {
                    Reply::status(429).retry_after(100)
                } else {
                    Reply::ok()
                }
            });
            let endpoints = Endpoints::new()
                .route("/a", quota.clone())
                .route("/b", Quota::unlimited());
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let mut sent = vec![setup.send(get("/a", 0))];
            settle().await;
            sent.extend((1..20).map(|id| setup.send(get("/a", id))));
            sleep_until(&server, 5000).await;
            assert_eq!(server.times("/a"), [0]);
            assert!(setup.waiting() >= 20);
            setup.resume("/b");
            sleep_until(&server, 6000).await;
            assert_eq!(server.times("/a"), [0]);

            setup.resume("/a");
            assert_eq!(setup.paused_for("/a"), None);
            settle().await;
            assert_eq!(server.times("/a")[1], 6000, "{stack:?}");
            all_ok(sent).await;
            assert_eq!(server.times("/a").len(), 21);
            if quota == Quota::per(4, ms(1000)).concurrency(50) {
                server.assert_window("/a", 4, ms(1000));
            }
            setup.assert_idle();
        }
    }
}

/// Those who waited are let through at the pace of the quota, in their order.
#[test]
fn after_a_pause_the_quota_sets_the_pace() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let server = Server::new(dialects(seed, 5, |seen, rng| {
                    seen.before == 20 || rng.u32(0..40) == 0
                }));
                let endpoints = Endpoints::new().route("/a", Quota::per(10, ms(500)));
                let setup = stack.over(&endpoints, &patient(), server.clone());
                let sent = (0..150).map(|id| setup.send(get("/a", id))).collect();
                all_ok(sent).await;
                server.assert_window("/a", 10, ms(500));
                server.assert_nobody_early(secs(120));
            });
        }
    }
}

/// Without a quota: 20 of 200 are accepted in a second, and about as many are sent in the first
/// second after the pause.
#[test]
fn without_a_quota_not_all_come_back_at_once() {
    let mut most = 0;
    for seed in SEEDS {
        for stack in STACKS {
            for endpoints in [
                Endpoints::new().route("/a", Quota::unlimited()),
                Endpoints::new(),
            ] {
                paused(seed, async {
                    let accepted = Mutex::new(Vec::<Instant>::new());
                    let server = Server::new(move |seen| {
                        let mut accepted = accepted.lock().unwrap();
                        accepted.retain(|at| *at + secs(1) > seen.at);
                        if accepted.len() < 20 {
                            accepted.push(seen.at);
                            Reply::ok().after(ms(20))
                        } else {
                            Reply::status(429).retry_after(1).after(ms(20))
                        }
                    });
                    let setup = stack.over(&endpoints, &patient(), server.clone());
                    let sent: Vec<_> = (0..200).map(|id| setup.send(get("/a", id))).collect();
                    all_ok(sent).await;
                    let times = server.times("/a");
                    assert!(times[..200].iter().all(|at| *at == 0));
                    assert!(times[200] >= 1020 && times[200] <= 1121, "{}", times[200]);
                    let first = times[200..].iter().filter(|at| **at < times[200] + 1000);
                    let first = first.count();
                    assert!(first <= 22, "{first} in the first second, {stack:?}");
                    most = first.max(most);
                    server.assert_nobody_early(secs(120));
                    assert!(times.len() <= 400, "{} sent", times.len());
                });
            }
        }
    }
    println!("at most {most} in the first second");
}

/// Without a hint, whoever is refused by rate or overload makes the bucket wait for a while.
#[test]
fn without_a_hint_a_pause_is_the_back_off() {
    let mut pauses = Vec::new();
    for seed in 0..100 {
        for stack in STACKS {
            for status in [429, 503, 529] {
                paused(seed, async {
                    let server = Server::new(move |seen| {
                        if seen.before == 0 {
                            Reply::status(status)
                        } else {
                            Reply::ok()
                        }
                    });
                    let endpoints = Endpoints::new()
                        .route("/a", Quota::per(100, ms(1000)))
                        .route("/b", Quota::unlimited());
                    let setup = stack.over(&endpoints, &patient(), server.clone());
                    let mut sent = vec![setup.send(get("/a", 0))];
                    settle().await;
                    let pause = setup.paused_for("/a").expect("a pause");
                    assert!(!pause.is_zero());
                    pauses.push(pause);
                    sent.push(setup.send(get("/b", 1)));
                    sent.push(setup.send(get("/a", 2)));
                    settle().await;
                    assert_eq!(server.times("/a"), [0], "{status} {stack:?}");
                    assert_eq!(server.times("/b"), [0]);
                    all_ok(sent).await;
                    let again = server.times("/a")[1];
                    // L2: at the first tick that is not before the end.
                    let end = u64::try_from(pause.as_nanos().div_ceil(1_000_000)).unwrap();
                    assert!(again >= end, "{again} for {pause:?}");
                    if stack == Stack::Joint {
                        assert_eq!(again, end, "{pause:?}");
                    }
                });
            }
        }
    }
    pauses.sort_unstable();
    println!("{:?} to {:?}", pauses[0], pauses[pauses.len() - 1]);
    assert!(pauses[0] >= ms(1), "a pause of {:?} is none", pauses[0]);
}

/// Refusals without a hint, one after the other, are further and further apart, not a storm.
#[test]
fn without_a_hint_a_dead_server_is_asked_less_and_less() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let start = Instant::now();
                let server = Server::new(move |seen| {
                    if seen.at - start < secs(60) {
                        Reply::status(429)
                    } else {
                        Reply::ok()
                    }
                });
                let endpoints = Endpoints::new().route("/a", Quota::concurrent(5));
                let setup = stack.over(&endpoints, &patient(), server.clone());
                let sent = (0..50).map(|id| setup.send(get("/a", id))).collect();
                all_ok(sent).await;
                let refused = server.refused();
                assert!(refused <= 60, "{refused} refused in a minute, {stack:?}");
                let took = server.now();
                assert!(took <= 110_000, "{took} ms");
            });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_refusal_waits_for_a_completion() {
    for stack in STACKS {
        for named in [None, Some(2)] {
            let server = Server::new(move |seen| match seen.id {
                0 => Reply::ok().body("a").after(ms(3217)),
                1 => Reply::ok().body("b").after(ms(7001)),
                2 if seen.of_request_before == 0 => too_many(named).after(ms(50)),
                _ => Reply::ok().after(ms(100)),
            });
            let endpoints = Endpoints::new()
                .route("/a", Quota::concurrent(10))
                .route("/b", Quota::unlimited());
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let mut sent: Vec<_> = (0..3).map(|id| setup.send(get("/a", id))).collect();
            sleep_until(&server, 60).await;
            settle().await;
            // Whoever comes later waits behind it, and other endpoints do not.
            sent.push(setup.send(get("/a", 3)));
            sent.push(setup.send(get("/b", 4)));
            all_ok(sent).await;
            assert_eq!(server.times("/b"), [60]);
            let to = server.sent_to("/a");
            assert_eq!(
                to[..4],
                [(0, 0), (0, 1), (0, 2), (3217, 2)],
                "{named:?} {stack:?}"
            );
            assert_eq!(to.len(), 5);
            assert_eq!(to[4], (3317, 3), "{named:?} {stack:?}");
        }
    }
}

/// A completion is the end of the body, not its head.
#[tokio::test(start_paused = true)]
async fn a_completion_is_the_end_of_a_body() {
    for stack in STACKS {
        let server = Server::new(move |seen| match seen.id {
            0 => Reply::ok().body("a").after(ms(100)).stall(ms(900)),
            1 if seen.of_request_before == 0 => too_many(None).after(ms(50)),
            _ => Reply::ok(),
        });
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let sent = (0..2).map(|id| setup.send(get("/a", id))).collect();
        all_ok(sent).await;
        assert_eq!(server.sent_to("/a"), [(0, 0), (0, 1), (1000, 1)]);

        // Nor does it have to be a success: an error and a dropped answer end, too.
        for id in [10, 20] {
            let server = Server::new(move |seen| match (seen.id, seen.of_request_before) {
                (10, _) => Reply::error(io::ErrorKind::Other).after(ms(700)),
                (20, _) => Reply::ok().body("long").after(ms(100)).stall(secs(90)),
                (1, 0) => too_many(None).after(ms(50)),
                _ => Reply::ok(),
            });
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let first = setup.send(get("/a", id));
            let second = setup.send(get("/a", 1));
            sleep_until(&server, 700).await;
            first.abort();
            all_ok(vec![second]).await;
            assert_eq!(
                server.sent_to("/a"),
                [(0, id), (0, 1), (700, 1)],
                "{stack:?}"
            );
        }
    }
}

#[test]
fn a_concurrency_refusal_backs_off_where_nothing_is_in_flight() {
    for seed in SEEDS {
        for stack in STACKS {
            for named in [None, Some(4)] {
                paused(seed, async {
                    let server = Server::new(move |seen| {
                        if seen.before < 2 {
                            too_many(named).after(ms(10))
                        } else {
                            Reply::ok()
                        }
                    });
                    let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
                    let setup = stack.over(&endpoints, &patient(), server.clone());
                    let mut sent = vec![setup.send(get("/a", 0))];
                    sleep_until(&server, 10).await;
                    settle().await;
                    sent.push(setup.send(get("/a", 1)));
                    settle().await;
                    assert_eq!(server.times("/a"), [0], "{named:?} {stack:?}");
                    all_ok(sent).await;
                    assert_eq!(
                        setup.handles[0]
                            .snapshot()
                            .bucket("/a")
                            .unwrap()
                            .throttled(),
                        2
                    );
                    assert!(server.now() <= 30_000, "{} ms", server.now());
                });
            }
        }
    }
}

/// The bucket that was refused has nothing in flight; that others have does not help.
#[tokio::test(start_paused = true)]
async fn a_completion_elsewhere_is_none_of_this_bucket() {
    for stack in STACKS {
        let server = Server::new(move |seen| match (seen.path.as_str(), seen.before) {
            ("/b", _) => Reply::ok().after(secs(1000)),
            (_, 0 | 1) => too_many(None).after(ms(50)),
            _ => Reply::ok(),
        });
        let endpoints = Endpoints::new()
            .route("/a", Quota::concurrent(10))
            .route("/b", Quota::concurrent(10))
            .overall(Quota::concurrent(20));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let other = setup.send(get("/b", 0));
        settle().await;
        all_ok(vec![setup.send(get("/a", 1))]).await;
        assert!(
            server.now() <= 60_000,
            "waited for another endpoint: {}",
            server.now()
        );
        other.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_wave_is_one_decrease_and_one_pause() {
    // 120 at once, 20 accepted, 100 refused for being too many.
    for stack in STACKS {
        let server = Server::new(|seen| {
            if seen.open >= 20 {
                too_many(None).after(ms(10))
            } else {
                Reply::ok().after(ms(1000))
            }
        });
        // `open` counts refusals, too, until they are answered: so the first 20 are accepted.
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(120));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let sent: Vec<_> = (0..120).map(|id| setup.send(get("/a", id))).collect();
        sleep_until(&server, 11).await;
        settle().await;
        let snapshot = setup.handles[0].snapshot();
        let bucket = snapshot.bucket("/a").unwrap();
        assert_eq!(bucket.throttled(), 100);
        assert_eq!(bucket.concurrency(), Some(20), "{stack:?}: {bucket:?}");
        assert_eq!(bucket.learned().unwrap().concurrency().unwrap().0, 20);
        assert_eq!(bucket.in_flight(), 20);
        if stack == Stack::Joint {
            assert_eq!(bucket.waiting(), 100);
        }
        assert_eq!(server.sent().len(), 120);
        for sent in sent {
            sent.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wave_by_rate_is_one_decrease_and_one_pause() {
    for stack in STACKS {
        // Each asks for two seconds, and they are answered over 300 ms.
        let server = Server::new(|seen| {
            let n = seen.before as u64;
            if (300..400).contains(&n) {
                Reply::status(429).retry_after(2).after(ms(n - 200))
            } else {
                Reply::ok().after(ms(10))
            }
        });
        let endpoints = Endpoints::new().route("/a", Quota::per(400, ms(1000)).concurrency(500));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let sent: Vec<_> = (0..400).map(|id| setup.send(get("/a", id))).collect();
        sleep_until(&server, 300).await;
        settle().await;
        // In the hand stack both layers hear of it.
        for handle in &setup.handles {
            let snapshot = handle.snapshot();
            let bucket = snapshot.bucket("/a").unwrap();
            assert_eq!(bucket.throttled(), 100);
            let pause = bucket.paused_for().unwrap();
            // One pause: the last answer's, with its jitter; not a hundred, one after the other.
            assert!(pause >= ms(1899) && pause <= ms(2100), "{pause:?}");
        }
        let rps = setup.handles.last().unwrap();
        let learned = rps
            .snapshot()
            .bucket("/a")
            .unwrap()
            .learned()
            .copied()
            .unwrap();
        assert!(learned.margin() <= Some(100), "{learned:?}");
        assert_eq!(learned.rate(), None, "{learned:?}");
        assert_eq!(learned.concurrency(), None, "{learned:?}");
        let concurrency = setup.handles[0]
            .snapshot()
            .bucket("/a")
            .unwrap()
            .concurrency();
        assert_eq!(concurrency, Some(500));
        all_ok(sent).await;
        assert_eq!(server.sent().len(), 500);
        server.assert_window("/a", 400, ms(1000));
    }
}

/// The news is there with the head: a body that takes its time does not keep it back.
#[tokio::test(start_paused = true)]
async fn a_slow_body_does_not_keep_the_news() {
    for stack in STACKS {
        for kind in ["application/json", "text/plain"] {
            let server = Server::new(move |seen| {
                if seen.before == 0 {
                    Reply::status(429)
                        .retry_after(5)
                        .header("content-type", kind)
                        .body("{}")
                        .stall(ms(40))
                } else {
                    Reply::ok()
                }
            });
            let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let mut sent = vec![setup.send(get("/a", 0))];
            sleep_until(&server, 20).await;
            sent.push(setup.send(get("/a", 1)));
            all_ok(sent).await;
            server.assert_nobody_early(secs(120));
        }
    }
}

/// L7: a concurrency refusal waits for a completion, also where the limit that it names is larger than
/// what this client has in flight: strangers have the rest.
#[tokio::test(start_paused = true)]
async fn a_limit_that_strangers_use_up_is_no_reason_to_ask_again() {
    for stack in STACKS {
        let server = Server::new(move |seen| match seen.id {
            0 => Reply::ok().body("a").after(ms(3217)),
            1 => Reply::ok().body("b").after(ms(7001)),
            2 if seen.of_request_before == 0 => too_many(Some(4)).after(ms(50)),
            _ => Reply::ok().after(ms(100)),
        });
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let sent = (0..3).map(|id| setup.send(get("/a", id))).collect();
        all_ok(sent).await;
        let expected = [(0, 0), (0, 1), (0, 2), (3217, 2)];
        assert_eq!(server.sent_to("/a"), expected, "{stack:?}");
    }
}

/// The same, with a server that goes on refusing until the two are done.
#[tokio::test(start_paused = true)]
async fn a_limit_that_strangers_use_up_is_no_storm() {
    for (stack, waiting) in [(Stack::Joint, 1), (Stack::Joint, 20), (Stack::Hand, 20)] {
        let server = Server::new(move |seen| match seen.id {
            0 | 1 => Reply::ok().body("a").after(ms(3000)),
            _ if seen.at < seen.start + ms(3000) => too_many(Some(4)).after(ms(10)),
            _ => Reply::ok().after(ms(100)),
        });
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let sent = (0..2 + waiting)
            .map(|id| setup.send(get("/a", id)))
            .collect();
        all_ok(sent).await;
        let refused = server.refused();
        // Eight are sent before anybody knows.
        assert!(
            refused <= 8,
            "{refused} refused, {waiting} waiting, {stack:?}"
        );
    }
}

/// L4 for keys: a partition, a host and a path of their own each have their own pause.
#[tokio::test(start_paused = true)]
async fn a_pause_is_of_one_bucket() {
    let rule = |seen: &Seen| {
        if seen.id == 0 && seen.of_request_before == 0 {
            Reply::status(429).retry_after(30)
        } else {
            Reply::ok()
        }
    };
    let cases: [(Endpoints, [Req; 3]); 3] = [
        (
            Endpoints::new()
                .route("/a", Quota::per_second(100))
                .partition_by_header("x-key"),
            {
                let with = |id, key: &'static str| {
                    let mut request = get("/a", id);
                    request.headers_mut().insert("x-key", key.parse().unwrap());
                    request
                };
                [with(0, "one"), with(1, "one"), with(2, "two")]
            },
        ),
        (
            Endpoints::new(),
            [
                get("https://one.example/a", 0),
                get("https://one.example/b", 1),
                get("https://two.example/a", 2),
            ],
        ),
        (
            Endpoints::new().each_other_path(Quota::per_second(100)),
            [get("/x/1", 0), get("/x/1", 1), get("/x/2", 2)],
        ),
    ];
    for (endpoints, requests) in cases {
        for stack in STACKS {
            let server = Server::new(rule);
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let mut sent = Vec::new();
            for request in &requests {
                sent.push(setup.send(request.clone()));
                settle().await;
            }
            all_ok(sent).await;
            let mut when = HashMap::new();
            for (at, id) in server.sent() {
                when.insert(id, at);
            }
            assert_eq!(when[&2], 0, "{stack:?} {endpoints:?}");
            assert!(when[&0] >= 30_000 && when[&1] >= 30_000, "{when:?}");
        }
    }
}

/// The unmatched have a bucket, even though they have no quota.
#[tokio::test(start_paused = true)]
async fn limiters_alone_pause_too() {
    let server = || {
        Server::new(|seen| {
            if seen.before == 0 {
                Reply::status(429).retry_after(3)
            } else {
                Reply::ok()
            }
        })
    };
    let endpoints = Endpoints::new();
    let (a, b, c) = (server(), server(), server());
    let setups = [
        (
            &a,
            Setup {
                client: boxed(RpsLayer::new(endpoints.clone()).layer(a.clone())),
                handles: vec![],
            },
        ),
        (
            &b,
            Setup {
                client: boxed(ConcurrencyLayer::new(endpoints.clone()).layer(b.clone())),
                handles: vec![],
            },
        ),
        (
            &c,
            Setup {
                client: boxed(
                    ThrottleLayer::new(endpoints)
                        .without_retry()
                        .layer(c.clone()),
                ),
                handles: vec![],
            },
        ),
    ];
    for (server, setup) in setups {
        let from = server.now();
        let (head, _) = setup.fetch(get("/a", 0)).await.unwrap();
        assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
        all_ok(vec![setup.send(get("/b", 1))]).await;
        let took = server.now() - from;
        assert!((3000..=3301).contains(&took), "{took}");
    }
}

/// Cancelled while held by a pause.
#[tokio::test(start_paused = true)]
async fn whoever_is_dropped_while_paused_leaves_nothing() {
    for stack in STACKS {
        let server = Server::new(|seen| {
            if seen.before == 0 {
                Reply::status(429).retry_after(10).json("{}")
            } else {
                Reply::ok()
            }
        });
        let endpoints = Endpoints::new()
            .route("/a", Quota::per(1, ms(1000)).concurrency(1))
            .overall(Quota::concurrent(1));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let mut sent = vec![setup.send(get("/a", 0))];
        settle().await;
        sent.extend((1..30).map(|id| setup.send(get("/a", id))));
        sleep_until(&server, 3000).await;
        assert_eq!(server.held(), 0);
        assert!(setup.waiting() > 0);
        let others = sent.split_off(0);
        for task in &others {
            task.abort();
        }
        settle().await;
        setup.assert_idle();
        assert_eq!(server.sent().len(), 1);
        // The pause is the server's, not theirs: it stays, and costs nobody more.
        all_ok(vec![setup.send(get("/a", 99))]).await;
        let times = server.times("/a");
        assert_eq!(times.len(), 2);
        assert!((10_000..=11_001).contains(&times[1]), "{times:?}");
        setup.assert_idle();
    }
}

/// Some of those who wait for the release are dropped, at random: the others go all the same.
#[test]
fn dropping_some_of_those_who_wait_loses_no_other() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let mut rng = fastrand::Rng::with_seed(seed);
                let server = Server::new(dialects(seed, 4, |_, rng| rng.u32(0..100) < 15));
                let endpoints = Endpoints::new()
                    .route("/a", Quota::per(5, ms(300)).concurrency(4))
                    .route("/b", Quota::unlimited())
                    .overall(Quota::concurrent(6));
                let setup = stack.over(&endpoints, &patient(), server.clone());
                let mut sent: Vec<_> = (0..100)
                    .map(|id| setup.send(get(["/a", "/b"][id % 2], id)))
                    .collect();
                for _ in 0..40 {
                    tokio::time::sleep(ms(rng.u64(0..400))).await;
                    let victim = sent.swap_remove(rng.usize(..sent.len()));
                    victim.abort();
                }
                for sent in sent {
                    assert_eq!(sent.await.unwrap().unwrap(), StatusCode::OK);
                }
                settle().await;
                setup.assert_idle();
                assert_eq!(server.held(), 0);
                server.assert_nobody_early(secs(120));
                server.assert_window("/a", 5, ms(300));
                server.assert_most_open("/a", 4);
            });
        }
    }
}

/// A hundred throttled requests are older than a thousand that came during their pause.
#[tokio::test(start_paused = true)]
async fn the_throttled_come_back_before_the_newer() {
    for stack in [Stack::Joint] {
        for quota in [
            Quota::per(100, ms(1000)).concurrency(100),
            Quota::concurrent(100),
            Quota::unlimited(),
        ] {
            let server = Server::new(|seen| {
                let old = seen.id < 100;
                if old && seen.of_request_before == 0 {
                    Reply::status(429).retry_after(7).after(ms(20))
                } else {
                    Reply::ok().after(ms(20))
                }
            });
            let endpoints = Endpoints::new().route("/a", quota.clone());
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let mut sent: Vec<_> = (0..100).map(|id| setup.send(post("/a", id))).collect();
            sleep_until(&server, 1100).await;
            sent.extend((100..1100).map(|id| setup.send(post("/a", id))));
            all_ok(sent).await;
            let ids: Vec<_> = server.sent().into_iter().map(|(_, id)| id).collect();
            // Once those that were sent first are through, nobody is overtaken.
            let first = ids.iter().position(|id| *id >= 100).unwrap();
            let old: Vec<_> = ids[..first].to_vec();
            let mut again = old.clone();
            again.sort_unstable();
            assert_eq!(
                again,
                (0..200).map(|i| i / 2).collect::<Vec<_>>(),
                "{stack:?} {quota:?}"
            );
            assert!(ids[first..].is_sorted(), "{stack:?} {quota:?}");
            if stack == Stack::Joint {
                assert!(old[100..].is_sorted(), "{:?}", &old[100..]);
            }
        }
    }
}

/// The delay of one request's own back-off is nobody else's: only throttling answers pause.
#[tokio::test(start_paused = true)]
async fn a_failure_that_is_no_throttling_pauses_nobody() {
    for stack in STACKS {
        for reply in [
            Reply::status(500),
            Reply::status(502),
            Reply::status(404).header("retry-after", 30),
            Reply::ok().header("retry-after", 30),
            Reply::error(io::ErrorKind::ConnectionReset),
        ] {
            let failing = reply.clone();
            let server = Server::new(move |seen| match seen.before {
                0 => failing.clone(),
                _ => Reply::ok(),
            });
            let endpoints = Endpoints::new().route("/a", Quota::per_second(100));
            let backoff = Backoff::equal(secs(3), secs(3));
            let setup = stack.over(&endpoints, &patient().backoff(backoff), server.clone());
            let first = setup.send(get("/a", 0));
            settle().await;
            assert_eq!(setup.paused_for("/a"), None, "{reply:?}");
            all_ok(vec![setup.send(get("/a", 1))]).await;
            assert_eq!(server.now(), 0, "{reply:?}");
            first.await.unwrap().unwrap();
        }
    }
}

/// Learning is off: the pauses stay.
#[tokio::test(start_paused = true)]
async fn pauses_are_no_lesson() {
    let server = Server::new(|seen| {
        if seen.before < 10 {
            Reply::status(429).retry_after(2)
        } else {
            Reply::ok()
        }
    });
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per(10, ms(1000))))
        .learn(tower_throttle::Learning::none());
    let setup = joint(&layer, server.clone());
    let sent = (0..30).map(|id| setup.send(post("/a", id))).collect();
    all_ok(sent).await;
    server.assert_nobody_early(secs(120));
    server.assert_window("/a", 10, ms(1000));
    let snapshot = layer.handle().snapshot();
    assert!(
        snapshot
            .bucket("/a")
            .is_some_and(|bucket| bucket.learned().is_none())
    );
}

#[test]
fn counters_tell_what_happened() {
    paused(1, async {
        let server = Server::new(dialects(1, 2, |seen, _| seen.before % 4 == 3));
        let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per(10, ms(1000))))
            .retry(patient());
        let setup = joint(&layer, server.clone());
        all_ok((0..60).map(|id| setup.send(post("/a", id))).collect()).await;
        let snapshot = layer.handle().snapshot();
        let bucket: &BucketSnapshot = snapshot.bucket("/a").unwrap();
        assert_eq!(bucket.admitted(), server.sent().len() as u64);
        assert_eq!(bucket.throttled(), server.refused() as u64);
        assert_eq!(bucket.refused(), 0);
    });
}

/// A client that only looks at heads: an answer that is held holds its permit, pause or no pause.
#[tokio::test(start_paused = true)]
async fn an_answer_that_goes_up_keeps_its_permit_until_its_body_ends() {
    for stack in STACKS {
        let server = Server::new(|_| {
            Reply::status(429)
                .retry_after(86_400)
                .json(r#"{"detail":"come back tomorrow"}"#)
        });
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(3));
        let setup = stack.over(&endpoints, &RetryLayer::new(), server.clone());
        let response = setup
            .client
            .clone()
            .oneshot(request(Method::GET, "/a", 0))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"detail":"come back tomorrow"}"#);
        assert_eq!(server.held(), 0);
        setup.assert_idle();
    }
}

/// Several hints on several buckets at once, and requests that come and go: a group and the overall
/// scope are not paused by what one endpoint is told.
#[test]
fn wider_scopes_are_not_paused_by_one_endpoint() {
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let server = Server::new(dialects(seed, 9, |seen, rng| {
                    seen.path == "/loud" && rng.bool()
                }));
                let endpoints = Endpoints::new()
                    .route("/loud", Quota::per_second(500).concurrency(500))
                    .route("/quiet", Quota::per_second(500).concurrency(500))
                    .group(
                        "both",
                        Quota::per_second(1000).concurrency(1000),
                        ["/loud", "/quiet"],
                    )
                    .overall(Quota::per_second(1000));
                let setup = stack.over(&endpoints, &patient(), server.clone());
                let mut sent = Vec::new();
                let mut quiet = Vec::new();
                for id in 0..40 {
                    sent.push(setup.send(get("/loud", id)));
                    settle().await;
                    quiet.push(server.now());
                    sent.push(setup.send(get("/quiet", 1000 + id)));
                    tokio::time::sleep(ms(77)).await;
                }
                all_ok(sent).await;
                assert_eq!(server.times("/quiet"), quiet);
                server.assert_nobody_early(secs(120));
            });
        }
    }
}

#[test]
fn of_the_hints_of_one_wave_the_latest_end_counts() {
    // Answers of one wave over a second, hints that differ: the latest end counts.
    for seed in SEEDS {
        for stack in STACKS {
            paused(seed, async {
                let ends = Arc::new(Mutex::new(Vec::new()));
                let rng = Mutex::new(fastrand::Rng::with_seed(seed));
                let theirs = Arc::clone(&ends);
                let server = Server::new(move |seen| {
                    let rng = &mut *rng.lock().unwrap();
                    let after = rng.u64(1..1000);
                    if seen.before < 40 && seen.before % 2 == 0 {
                        let seconds = rng.u64(1..6);
                        theirs.lock().unwrap().push(after + seconds * 1000);
                        Reply::status(429).retry_after(seconds).after(ms(after))
                    } else {
                        Reply::ok().after(ms(after))
                    }
                });
                let endpoints = Endpoints::new().route("/a", Quota::concurrent(40));
                let setup = stack.over(&endpoints, &patient(), server.clone());
                all_ok((0..60).map(|id| setup.send(post("/a", id))).collect()).await;
                server.assert_nobody_early(secs(120));
                let first = server.times("/a")[40];
                let ends = ends.lock().unwrap();
                // 40 permits: those answered before the first refusal make room for some.
                assert!(first > 0 && !ends.is_empty());
                let last = *server.times("/a").last().unwrap();
                let end = *ends.iter().max().unwrap();
                assert!(last >= end, "{last} before {end}");
            });
        }
    }
}

//! Who may not wait is refused at once, with the reason and the wait.

use std::{fmt, time::Duration};

use crate::support::*;
use tokio::time::Instant;
use tower::ServiceExt;
use tower_throttle::{BoxError, Deadline, EndpointName, Endpoints, Quota, Refused, RefusedReason};

use Came::{Refused as No, Sent as Yes};
use RefusedReason::{DeadlineWouldPass, QueueFull, WaitedTooLong, WouldWaitTooLong};

async fn enter_all(
    client: &Client,
    probe: &Probe,
    n: usize,
    request: impl Fn(usize) -> Req,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for i in 0..n {
        tasks.push(enter(client, probe, request(i)).await);
    }
    tasks
}

fn until(mut request: Req, at: Instant) -> Req {
    request.extensions_mut().insert(Deadline(at));
    request
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_next_and_says_when_its_turn_would_have_come() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(1, 100))).max_waiting(2);
        let client = layer.client(&probe);
        let mut tasks = enter_all(&client, &probe, 4, |_| get("/a")).await;
        at(&probe, 150).await;
        tasks.extend(enter_all(&client, &probe, 2, |_| get("/a")).await);
        assert_eq!(
            came(tasks).await,
            [
                Yes(0),
                Yes(100),
                Yes(200),
                No(0, QueueFull, Some(ms(300))),
                Yes(300),
                No(150, QueueFull, Some(ms(250))),
            ],
            "{face:?}"
        );
        let snapshot = layer.handle().snapshot();
        let bucket = snapshot.bucket("/a").unwrap();
        assert_eq!((bucket.refused(), bucket.admitted()), (2, 4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_for_permits_knows_no_time() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer =
            AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(1))).max_waiting(1);
        let client = layer.client(&probe);
        let tasks = enter_all(&client, &probe, 3, |_| job("/a", ms(100))).await;
        assert_eq!(
            came(tasks).await,
            [Yes(100), Yes(200), No(0, QueueFull, None)],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_a_wider_scope_counts_those_below_it() {
    for face in FACES {
        let probe = Probe::new();
        let quota = || per(1, 100).concurrency(1);
        let endpoints = Endpoints::new()
            .route("/a", quota())
            .route("/b", quota())
            .route("/c", quota())
            .group("group", Quota::unlimited(), ["/a", "/b"])
            .overall(Quota::unlimited());
        let layer = AnyLayer::new(face, endpoints).max_waiting(2);
        let client = layer.client(&probe);
        let mut tasks = Vec::new();
        for path in ["/a", "/b", "/c", "/a", "/b"] {
            tasks.push(enter(&client, &probe, job(path, ms(100))).await);
        }
        assert_eq!(gauge(&layer.handle(), "group").0, 2);
        assert_eq!(gauge(&layer.handle(), "overall").0, 2);
        // Both endpoints have one waiting, the group and everything two.
        let refused = enter(&client, &probe, get("/a")).await.await.unwrap();
        assert!(
            matches!(refused, No(0, QueueFull, _)),
            "{face:?} {refused:?}"
        );
        let refused = enter(&client, &probe, get("/c")).await.await.unwrap();
        assert!(
            matches!(refused, No(0, QueueFull, _)),
            "{face:?} {refused:?}"
        );
        // Who need not wait is not refused.
        let free = enter(&client, &probe, job("/free", ms(0))).await;
        assert_eq!(free.await.unwrap(), Yes(0));
        came(tasks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_refusal_names_the_endpoint_and_the_scope() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("POST /v1/{voice}", Quota::unlimited())
        .named("flash", Quota::unlimited())
        .overall(per(1, 100));
    let client = AnyLayer::new(Face::Throttle, endpoints)
        .max_wait(ms(0))
        .client(&probe);
    send(client.clone(), get("/free")).await.unwrap();
    let mut request = get("/v1/x");
    *request.method_mut() = http::Method::POST;
    let error = send(client.clone(), request).await.unwrap_err();
    assert_eq!(refused(&error).endpoint(), "POST /v1/{voice}");
    assert_eq!(refused(&error).scope(), "overall");
    let mut request = get("/v1/x");
    request.extensions_mut().insert(EndpointName::new("flash"));
    let error = send(client, request).await.unwrap_err();
    assert_eq!(refused(&error).endpoint(), "flash");
    assert!(error.to_string().contains("flash"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_makes_room_in_the_queue() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", per(1, 100).concurrency(1));
        let client = AnyLayer::new(face, endpoints).max_waiting(1).client(&probe);
        let tasks = enter_all(&client, &probe, 3, |_| job("/a", ms(100))).await;
        tasks[1].abort();
        settle().await;
        let next = enter(&client, &probe, get("/a")).await;
        assert_eq!(next.await.unwrap(), Yes(100), "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_wait_longer_than_allowed_is_refused_on_entry() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer =
            AnyLayer::new(face, Endpoints::new().route("/a", per(1, 100))).max_wait(ms(200));
        let client = layer.client(&probe);
        // Exactly as long as allowed is allowed.
        let tasks = enter_all(&client, &probe, 5, |_| get("/a")).await;
        assert_eq!(
            came(tasks).await,
            [
                Yes(0),
                Yes(100),
                Yes(200),
                No(0, WouldWaitTooLong, Some(ms(300))),
                No(0, WouldWaitTooLong, Some(ms(300))),
            ],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_permit_is_refused_when_the_time_is_over() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let client = AnyLayer::new(face, endpoints)
            .max_wait(ms(150))
            .client(&probe);
        let mut tasks = enter_all(&client, &probe, 3, |_| job("/a", ms(100))).await;
        at(&probe, 30).await;
        tasks.extend(enter_all(&client, &probe, 1, |_| job("/a", ms(100))).await);
        assert_eq!(
            came(tasks).await,
            [
                Yes(100),
                Yes(200),
                No(150, WaitedTooLong, None),
                No(180, WaitedTooLong, None)
            ],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_a_limit_of_the_request_alone() {
    for face in WINDOWS {
        let probe = Probe::new();
        let client = AnyLayer::new(face, Endpoints::new().route("/a", per(1, 100))).client(&probe);
        let start = probe.start();
        let mut tasks = enter_all(&client, &probe, 2, |_| get("/a")).await;
        tasks.push(enter(&client, &probe, until(get("/a"), start + ms(199))).await);
        tasks.push(enter(&client, &probe, until(get("/a"), start + ms(200))).await);
        tasks.push(enter(&client, &probe, get("/a")).await);
        assert_eq!(
            came(tasks).await,
            [
                Yes(0),
                Yes(100),
                No(0, DeadlineWouldPass, Some(ms(200))),
                Yes(200),
                Yes(300)
            ],
            "{face:?}"
        );
    }
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let client = AnyLayer::new(face, endpoints).client(&probe);
        let mut tasks = enter_all(&client, &probe, 1, |_| job("/a", ms(100))).await;
        let request = until(get("/a"), probe.start() + ms(50));
        tasks.push(enter(&client, &probe, request).await);
        assert_eq!(
            came(tasks).await,
            [Yes(100), No(50, WaitedTooLong, None)],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_deadline_and_max_wait_counts() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let client = AnyLayer::new(face, endpoints)
            .max_wait(ms(70))
            .client(&probe);
        let mut tasks = enter_all(&client, &probe, 1, |_| job("/a", ms(100))).await;
        for deadline in [50, 90] {
            let request = until(get("/a"), probe.start() + ms(deadline));
            tasks.push(enter(&client, &probe, request).await);
        }
        assert_eq!(
            came(tasks).await,
            [
                Yes(100),
                No(50, WaitedTooLong, None),
                No(70, WaitedTooLong, None)
            ],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_refuses_and_one_that_is_now_does_not() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", per(5, 100).concurrency(5));
        let client = AnyLayer::new(face, endpoints).client(&probe);
        at(&probe, 50).await;
        let now = probe.start() + ms(50);
        let task = enter(&client, &probe, until(get("/a"), now)).await;
        assert_eq!(task.await.unwrap(), Yes(50));
        let task = enter(&client, &probe, until(get("/a"), now - ms(1))).await;
        assert!(
            matches!(task.await.unwrap(), No(50, DeadlineWouldPass, _)),
            "{face:?}"
        );
        assert_eq!(probe.log().calls.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn zero_means_admit_now_or_refuse() {
    for face in FACES {
        for by_count in [false, true] {
            let probe = Probe::new();
            let endpoints = Endpoints::new().route("/a", per(2, 100).concurrency(2));
            let layer = AnyLayer::new(face, endpoints);
            let layer = if by_count {
                layer.max_waiting(0)
            } else {
                layer.max_wait(ms(0))
            };
            let client = layer.client(&probe);
            let tasks = enter_all(&client, &probe, 4, |_| job("/a", ms(100))).await;
            let came = came(tasks).await;
            assert_eq!(came[..2], [Yes(100), Yes(100)]);
            for no in &came[2..] {
                assert!(matches!(no, No(0, _, _)), "{face:?} {by_count} {no:?}");
            }
            let next = enter(&client, &probe, job("/a", ms(0))).await;
            assert_eq!(next.await.unwrap(), Yes(100));
            assert_idle(&layer.handle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_refuses_on_entry_whom_it_would_keep_too_long() {
    for face in FACES {
        let probe = Probe::new();
        let layer =
            AnyLayer::new(face, Endpoints::new().route("/a", per(9, 100))).max_wait(ms(100));
        let client = layer.client(&probe);
        layer.handle().pause("/a", ms(150)).unwrap();
        let mut tasks = enter_all(&client, &probe, 1, |_| get("/a")).await;
        at(&probe, 50).await;
        tasks.extend(enter_all(&client, &probe, 1, |_| get("/a")).await);
        assert_eq!(
            came(tasks).await,
            [No(0, WouldWaitTooLong, Some(ms(150))), Yes(150)],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_refuses_those_who_wait_at_its_instant() {
    for face in FACES {
        for scope in ["/a", "group", "overall"] {
            let probe = Probe::new();
            let endpoints = Endpoints::new()
                .route("/a", per(1, 100).concurrency(1))
                .group("group", Quota::unlimited(), ["/a"])
                .overall(Quota::unlimited());
            let layer = AnyLayer::new(face, endpoints).max_wait(ms(150));
            let client = layer.client(&probe);
            let tasks = enter_all(&client, &probe, 2, |_| job("/a", ms(100))).await;
            at(&probe, 50).await;
            layer.handle().pause(scope, ms(50)).unwrap();
            settle().await;
            assert!(!tasks[1].is_finished());
            layer.handle().pause(scope, ms(200)).unwrap();
            let came = came(tasks).await;
            assert_eq!(
                came[1],
                No(50, WouldWaitTooLong, Some(ms(200))),
                "{face:?} {scope}"
            );
            assert_idle(&layer.handle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lowered_quota_refuses_at_its_instant_whom_it_moves_beyond_the_limit() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer =
            AnyLayer::new(face, Endpoints::new().route("/a", per(2, 100))).max_wait(ms(150));
        let client = layer.client(&probe);
        let tasks = enter_all(&client, &probe, 4, |_| get("/a")).await;
        at(&probe, 50).await;
        layer.handle().set_quota("/a", per(1, 100)).unwrap();
        assert_eq!(
            came(tasks).await,
            [
                Yes(0),
                Yes(0),
                Yes(100),
                No(50, WouldWaitTooLong, Some(ms(150)))
            ],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_checked_again_when_a_pause_or_a_quota_moves_the_turn() {
    for face in WINDOWS {
        for pause in [false, true] {
            let probe = Probe::new();
            let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(1, 100)));
            let client = layer.client(&probe);
            let mut tasks = enter_all(&client, &probe, 1, |_| get("/a")).await;
            let request = until(get("/a"), probe.start() + ms(120));
            tasks.push(enter(&client, &probe, request).await);
            at(&probe, 60).await;
            if pause {
                layer.handle().pause("/a", ms(140)).unwrap();
            } else {
                layer.handle().set_quota("/a", per(1, 200)).unwrap();
            }
            assert_eq!(
                came(tasks).await,
                [Yes(0), No(60, DeadlineWouldPass, Some(ms(140)))],
                "{face:?} {pause}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_rank_counts_in_every_scope() {
    for face in WINDOWS {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .route("/b", Quota::unlimited())
            .overall(per(1, 100));
        let client = AnyLayer::new(face, endpoints)
            .max_wait(ms(150))
            .client(&probe);
        let mut tasks = enter_all(&client, &probe, 2, |_| get("/a")).await;
        tasks.extend(enter_all(&client, &probe, 1, |_| get("/b")).await);
        assert_eq!(
            came(tasks).await,
            [Yes(0), Yes(100), No(0, WouldWaitTooLong, Some(ms(200)))],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_latest_of_windows_and_pauses_is_the_wait() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", per(1, 100).and_per(2, ms(1000)))
        .overall(per(2, 500));
    let layer = AnyLayer::new(Face::Throttle, endpoints).max_wait(ms(0));
    let client = layer.client(&probe);
    let refusal = async || {
        let error = send(client.clone(), get("/a")).await.unwrap_err();
        refused(&error).retry_after()
    };
    send(client.clone(), get("/a")).await.unwrap();
    assert_eq!(refusal().await, Some(ms(100)));
    at(&probe, 100).await;
    send(client.clone(), get("/a")).await.unwrap();
    assert_eq!(refusal().await, Some(ms(900)), "two in a second");
    layer.handle().pause("overall", ms(950)).unwrap();
    assert_eq!(refusal().await, Some(ms(950)));
    layer.handle().resume("overall").unwrap();
    let error = send(client.clone(), get("/b")).await.unwrap_err();
    assert_eq!(refused(&error).retry_after(), Some(ms(400)));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_permit_counts_as_nothing() {
    let probe = Probe::new();
    let endpoints = Endpoints::new().route("/a", per(5, 100).concurrency(1));
    let client = AnyLayer::new(Face::Throttle, endpoints)
        .max_wait(ms(500))
        .client(&probe);
    let tasks = enter_all(&client, &probe, 2, |_| job("/a", ms(499))).await;
    assert_eq!(came(tasks).await, [Yes(499), Yes(998)]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_refused_wakes_nobody_else_and_keeps_no_place() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let layer = AnyLayer::new(face, endpoints);
        let client = layer.client(&probe);
        let first = enter(&client, &probe, job("/a", ms(100))).await;
        let second = enter(
            &client,
            &probe,
            until(job("/a", ms(1)), probe.start() + ms(40)),
        )
        .await;
        let third = enter(&client, &probe, job("/a", ms(1))).await;
        assert_eq!(
            came(vec![first, second, third]).await,
            [Yes(100), No(40, WaitedTooLong, None), Yes(101)],
            "{face:?}"
        );
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_between_ticks_is_kept_at_the_next_tick() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let layer = AnyLayer::new(face, endpoints).max_wait(Duration::from_micros(1500));
        let client = layer.client(&probe);
        let tasks = enter_all(&client, &probe, 2, |_| job("/a", ms(100))).await;
        assert_eq!(
            came(tasks).await,
            [Yes(100), No(2, WaitedTooLong, None)],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn limits_without_end_never_refuse_nor_overflow() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", per(1, 100).concurrency(1));
        let layer = AnyLayer::new(face, endpoints)
            .max_wait(Duration::MAX)
            .max_waiting(usize::MAX);
        let client = layer.client(&probe);
        let far = probe.start() + Duration::from_secs(60 * 60 * 24 * 365 * 20);
        let tasks = enter_all(&client, &probe, 2, |_| until(job("/a", ms(100)), far)).await;
        assert_eq!(came(tasks).await, [Yes(100), Yes(200)], "{face:?}");
    }
}

#[derive(Debug)]
struct Wrapped(BoxError);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrapped")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_found_through_other_layers_errors() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", per(1, 100).concurrency(1));
        let client = AnyLayer::new(face, endpoints).max_waiting(0).client(&probe);
        let stack = tower::ServiceBuilder::new()
            .boxed_clone()
            .timeout(Duration::from_secs(1))
            .load_shed()
            .map_err(|error: BoxError| Wrapped(Wrapped(error).into()))
            .service(client);
        let stack: tower::util::BoxCloneService<Req, Answer, BoxError> = stack;
        let first = stack.clone().oneshot(job("/a", ms(50)));
        let second = stack.oneshot(get("/a"));
        let (first, second) = tokio::join!(first, second);
        first.unwrap();
        let error = second.map(drop).unwrap_err();
        assert!(!error.is::<Refused>());
        assert_eq!(Refused::in_error(&error).unwrap().reason(), QueueFull);
        assert_eq!(Refused::in_dyn(&*error), Refused::in_error(&error));
        assert_eq!(Refused::in_error(&"other".into()), None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_policy_belongs_to_the_services_made_by_this_value_of_the_layer() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", per(1, 100).concurrency(1));
        let patient = AnyLayer::new(face, endpoints);
        let impatient = patient.clone().max_waiting(0);
        let (patient, impatient) = (patient.client(&probe), impatient.client(&probe));
        let mut tasks = enter_all(&patient, &probe, 2, |_| job("/a", ms(100))).await;
        tasks.extend(enter_all(&impatient, &probe, 1, |_| get("/a")).await);
        let came = came(tasks).await;
        assert_eq!(came[..2], [Yes(100), Yes(200)]);
        assert!(matches!(came[2], No(0, QueueFull, _)), "{face:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// L10: where one window decides, everything about a refusal can be computed. Of several each counts by
    /// itself, so the wait is a lower bound: who is refused could not have gone in time, though it may be refused
    /// later than that could have been known, and never after its limit.
    #[test]
    fn refusals_are_those_of_the_model(
        windows in proptest::collection::vec((1u32..5, 1u64..200), 1..3),
        mut asks in proptest::collection::vec(0u64..600, 1..50),
        max_wait in proptest::option::of(0u64..300),
        max_waiting in proptest::option::of(0usize..8),
        overall in proptest::prelude::any::<bool>(),
    ) {
        asks.sort_unstable();
        let quota = windows.iter().fold(Quota::unlimited(), |q, &(n, p)| q.and_per(n, ms(p)));
        let mut sent: Vec<u64> = Vec::new();
        let mut expected = Vec::new();
        for &now in &asks {
            let waiting = sent.iter().filter(|at| **at > now).count();
            let mut turn = sent.last().map_or(now, |last| now.max(*last));
            while windows.iter().any(|&(n, period)| {
                sent.iter().filter(|at| turn - **at < period).count() >= n as usize
            }) {
                turn += 1;
            }
            let wait = turn - now;
            expected.push(if wait > 0 && max_waiting.is_some_and(|n| waiting >= n) {
                No(now, QueueFull, Some(ms(wait)))
            } else if max_wait.is_some_and(|max| wait > max) {
                No(now, WouldWaitTooLong, Some(ms(wait)))
            } else {
                sent.push(turn);
                Yes(turn)
            });
        }
        let came = paused(async {
            let probe = Probe::new();
            let endpoints = if overall {
                Endpoints::new().overall(quota)
            } else {
                Endpoints::new().route("/a", quota)
            };
            let mut layer = AnyLayer::new(Face::Throttle, endpoints);
            if let Some(n) = max_waiting {
                layer = layer.max_waiting(n);
            }
            if let Some(wait) = max_wait {
                layer = layer.max_wait(ms(wait));
            }
            let client = layer.client(&probe);
            let mut tasks = Vec::new();
            for &time in &asks {
                at(&probe, time).await;
                tasks.push(enter(&client, &probe, get("/a")).await);
            }
            let came = came(tasks).await;
            assert_idle(&layer.handle());
            came
        });
        if windows.len() == 1 {
            assert_eq!(came, expected);
        } else {
            check_lower_bounds(&windows, &asks, max_wait, max_waiting, &came);
        }
    }
}

/// When the next one goes at the earliest, after those that were `sent` at these times, in order.
fn earliest(windows: &[(u32, u64)], sent: &[u64], now: u64) -> u64 {
    let mut turn = sent.last().map_or(now, |last| now.max(*last));
    while windows
        .iter()
        .any(|&(n, period)| sent.iter().filter(|at| turn - **at < period).count() >= n as usize)
    {
        turn += 1;
    }
    turn
}

fn check_lower_bounds(
    windows: &[(u32, u64)],
    asks: &[u64],
    max_wait: Option<u64>,
    max_waiting: Option<usize>,
    came: &[Came],
) {
    let limit = |ask: u64| max_wait.map_or(u64::MAX, |max| ask + max);
    let mut sent = Vec::new();
    for (i, (&ask, came_of)) in asks.iter().zip(came).enumerate() {
        match *came_of {
            // Whoever is refused meanwhile takes no slot from those behind.
            Yes(at) => {
                assert_eq!(at, earliest(windows, &sent, ask), "{i}");
                assert!(at <= limit(ask), "{i}");
                sent.push(at);
            }
            No(at, reason, wait) => {
                assert!(at >= ask && at <= limit(ask), "{i} at {at}");
                let waiting = |&(&before, came): &(&u64, &Came)| match *came {
                    Yes(gone) => before <= ask && gone > ask,
                    No(gone, ..) => before < gone && gone > ask,
                };
                let ahead = asks[..i].iter().zip(came).filter(waiting).count();
                // Everyone ahead who still waited when it was refused goes as early as it can.
                let mut all = Vec::new();
                for (&before, came) in asks[..i].iter().zip(came) {
                    match *came {
                        Yes(gone) if gone <= at => all.push(gone),
                        Yes(_) => all.push(earliest(windows, &all, before)),
                        No(gone, ..) if gone >= at && before < gone => {
                            all.push(earliest(windows, &all, before));
                        }
                        No(..) => {}
                    }
                }
                let turn = earliest(windows, &all, ask);
                match reason {
                    QueueFull => assert!(max_waiting.is_some_and(|n| ahead >= n), "{i}"),
                    WouldWaitTooLong => assert!(turn > limit(ask), "{i}: {turn}"),
                    WaitedTooLong => assert!(at == limit(ask) && turn > at, "{i}: {turn}"),
                    other => panic!("{i}: {other:?}"),
                }
                // It names no longer wait than there would have been.
                let wait = wait.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap());
                assert!(at + wait <= turn.max(at), "{i}: {wait} {turn}");
            }
        }
    }
}

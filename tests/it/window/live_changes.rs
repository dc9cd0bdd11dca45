//! Quotas and pauses that change while requests wait.

use crate::support::*;
use tokio_test::assert_pending;
use tower_throttle::{EndpointName, Endpoints, Quota};

async fn done(sent: Vec<Sent>) {
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn more_permits_wake_exactly_those_they_admit() {
    for face in PERMITS {
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(1)));
        let mut client = layer.client(&Probe::new());
        let first = call(&mut client, job("/a", ms(10)));
        let mut waiters: Vec<_> = (0..5)
            .map(|_| call(&mut client, job("/a", ms(10))))
            .collect();
        for waiter in &mut waiters {
            assert_pending!(waiter.poll());
        }
        layer
            .handle()
            .set_quota("/a", Quota::concurrent(3))
            .unwrap();
        let woken: Vec<_> = waiters
            .iter()
            .map(tokio_test::task::Spawn::is_woken)
            .collect();
        assert_eq!(woken, [true, true, false, false, false], "{face:?}");
        assert_eq!(gauge(&layer.handle(), "/a"), (3, 3));
        layer.handle().set_quota("/a", Quota::unlimited()).unwrap();
        assert!(waiters.iter().all(tokio_test::task::Spawn::is_woken));
        drop(waiters);
        drop(first);
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_admits_nobody_wakes_nobody() {
    for face in PERMITS {
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(2)));
        let mut client = layer.client(&Probe::new());
        let running: Vec<_> = (0..2)
            .map(|_| call(&mut client, job("/a", ms(10))))
            .collect();
        let mut waiters: Vec<_> = (0..3)
            .map(|_| call(&mut client, job("/a", ms(10))))
            .collect();
        for waiter in &mut waiters {
            assert_pending!(waiter.poll());
        }
        let handle = layer.handle();
        handle.set_quota("/a", Quota::concurrent(1)).unwrap();
        handle.set_quota("/a", Quota::concurrent(2)).unwrap();
        handle.set_quota("overall", Quota::concurrent(1)).unwrap();
        handle.set_quota("overall", Quota::unlimited()).unwrap();
        assert!(waiters.iter().all(|w| !w.is_woken()), "{face:?}");
        drop(running);
    }
}

#[tokio::test(start_paused = true)]
async fn resuming_wakes_exactly_those_it_admits() {
    for face in PERMITS {
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(2)));
        let mut client = layer.client(&Probe::new());
        layer.handle().pause("/a", ms(1000)).unwrap();
        let mut waiters: Vec<_> = (0..4)
            .map(|_| call(&mut client, job("/a", ms(10))))
            .collect();
        for waiter in &mut waiters {
            assert_pending!(waiter.poll());
        }
        layer.handle().resume("/a").unwrap();
        let woken: Vec<_> = waiters
            .iter()
            .map(tokio_test::task::Spawn::is_woken)
            .collect();
        assert_eq!(woken, [true, true, false, false], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_permits_leave_those_in_flight_alone() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(3)));
        let client = layer.client(&probe);
        let sent = burst(&client, 6, |id| job("/a", ms(100 * (id as u64 + 1)))).await;
        at(&probe, 50).await;
        layer
            .handle()
            .set_quota("/a", Quota::concurrent(1))
            .unwrap();
        assert_eq!(gauge(&layer.handle(), "/a"), (3, 3));
        assert_eq!(
            layer
                .handle()
                .snapshot()
                .bucket("/a")
                .unwrap()
                .concurrency(),
            Some(1)
        );
        done(sent).await;
        // Only at 300 has the last of the three ended.
        assert_eq!(probe.times(), [0, 0, 0, 300, 700, 1200], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wider_window_takes_effect_at_once() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(1, 1000)));
        let client = layer.client(&probe);
        let sent = burst(&client, 6, |_| get("/a")).await;
        at(&probe, 100).await;
        layer.handle().set_quota("/a", per(3, 1000)).unwrap();
        done(sent).await;
        assert_eq!(probe.times(), [0, 100, 100, 1000, 1100, 1100], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_under_one_quota_counts_under_the_next() {
    for face in WINDOWS {
        // 5 in 100 ms, then 2 a second: the last two of the five are what counts.
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(5, 100)));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 3, |_| get("/a")).await;
        at(&probe, 40).await;
        sent.extend(burst(&client, 2, |_| get("/a")).await);
        at(&probe, 500).await;
        layer.handle().set_quota("/a", per(2, 1000)).unwrap();
        sent.extend(burst(&client, 3, |_| get("/a")).await);
        done(sent).await;
        assert_eq!(
            probe.times(),
            [0, 0, 0, 40, 40, 1040, 1040, 2040],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_holds_through_a_quota_that_is_taken_back() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(3, 1000)));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 3, |_| get("/a")).await;
        at(&probe, 10).await;
        layer.handle().set_quota("/a", per(1, 10)).unwrap();
        layer.handle().set_quota("/a", per(3, 1000)).unwrap();
        sent.extend(burst(&client, 1, |_| get("/a")).await);
        done(sent).await;
        assert_eq!(probe.times(), [0, 0, 0, 1000], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_window_never_admits_more_than_it_allows_whatever_is_forgotten() {
    for face in WINDOWS {
        // A bucket of 2 per 10 ms remembers two stamps; four were sent within the new window.
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(2, 10)));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 4, |_| get("/a")).await;
        at(&probe, 20).await;
        assert_eq!(probe.times(), [0, 0, 10, 10]);
        layer.handle().set_quota("/a", per(5, 1000)).unwrap();
        sent.extend(burst(&client, 3, |_| get("/a")).await);
        done(sent).await;
        let times = probe.times();
        for from in &times {
            let n = times
                .iter()
                .filter(|t| (*from..*from + 1000).contains(t))
                .count();
            assert!(n <= 5, "{face:?} {times:?}");
        }
        assert!(*times.last().unwrap() <= 1010, "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_only_grow_until_somebody_resumes() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::unlimited()));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let paused_for = || handle.snapshot().bucket("/a").unwrap().paused_for();
        assert_eq!(paused_for(), None);
        handle.pause("/a", ms(200)).unwrap();
        assert_eq!(paused_for(), Some(ms(200)));
        let sent = burst(&client, 2, |_| get("/a")).await;
        at(&probe, 50).await;
        handle.pause("/a", ms(20)).unwrap();
        assert_eq!(paused_for(), Some(ms(150)));
        handle.pause("/a", ms(250)).unwrap();
        assert_eq!(paused_for(), Some(ms(250)));
        at(&probe, 299).await;
        assert!(probe.times().is_empty());
        done(sent).await;
        assert_eq!(probe.times(), [300, 300], "{face:?}");
        assert_eq!(paused_for(), None);

        handle.pause("/a", ms(100)).unwrap();
        let sent = burst(&client, 2, |_| get("/a")).await;
        at(&probe, 350).await;
        handle.resume("/a").unwrap();
        settle().await;
        assert_eq!(probe.times(), [300, 300, 350, 350], "{face:?}");
        done(sent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_touches_nothing_in_flight_and_no_other_endpoint() {
    for face in FACES {
        let probe = Probe::new();
        let config = endpoint_a(Quota::unlimited()).route("/b", Quota::unlimited());
        let layer = AnyLayer::new(face, config);
        let client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| job("/a", ms(100))).await;
        layer.handle().pause("/a", ms(500)).unwrap();
        sent.extend(burst(&client, 1, |_| get("/b")).await);
        sent.remove(0).await.unwrap().unwrap();
        assert_eq!(probe.millis(tokio::time::Instant::now()), 100);
        assert_eq!(probe.times_of("/b"), [0], "{face:?}");
        done(sent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn groups_names_and_everything_can_be_paused() {
    for face in FACES {
        for scope in ["group", "flash", "overall"] {
            let probe = Probe::new();
            let config = endpoint_a(Quota::unlimited())
                .group("group", Quota::unlimited(), ["/a"])
                .named("flash", Quota::unlimited());
            let layer = AnyLayer::new(face, config);
            let client = layer.client(&probe);
            layer.handle().pause(scope, ms(100)).unwrap();
            let mut sent = burst(&client, 1, |_| get("/a")).await;
            sent.extend(burst(&client, 1, |_| get("/other")).await);
            sent.extend(
                burst(&client, 1, |_| {
                    let mut request = get("/named");
                    request.extensions_mut().insert(EndpointName::new("flash"));
                    request
                })
                .await,
            );
            done(sent).await;
            let late = |paused: bool| [if paused { 100 } else { 0 }];
            let all = scope == "overall";
            assert_eq!(
                probe.times_of("/a"),
                late(all || scope == "group"),
                "{face:?} {scope}"
            );
            assert_eq!(
                probe.times_of("/named"),
                late(all || scope == "flash"),
                "{face:?} {scope}"
            );
            assert_eq!(probe.times_of("/other"), late(all), "{face:?} {scope}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_for_a_pause_go_at_the_buckets_pace() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(2, 100)));
        let client = layer.client(&probe);
        layer.handle().pause("/a", ms(50)).unwrap();
        done(burst(&client, 6, |_| get("/a")).await).await;
        assert_eq!(probe.times(), [50, 50, 150, 150, 250, 250], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_apply_to_all_partitions_and_to_those_not_seen_yet() {
    for face in FACES {
        let probe = Probe::new();
        let config = endpoint_a(Quota::unlimited()).partition_by_header("x-key");
        let layer = AnyLayer::new(face, config);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let with = |key: &'static str| {
            move |_: usize| {
                let mut request = job("/a", ms(100));
                request.headers_mut().insert("x-key", key.parse().unwrap());
                request
            }
        };
        done(burst(&client, 1, with("seen")).await).await;
        handle.set_quota("/a", per(1, 100).concurrency(1)).unwrap();
        handle.pause("/a", ms(50)).unwrap();
        let mut sent = burst(&client, 2, with("seen")).await;
        sent.extend(burst(&client, 2, with("new")).await);
        at(&probe, 160).await;
        assert_eq!(probe.times(), [0, 150, 150], "{face:?}");
        done(sent).await;
        assert_eq!(probe.times(), [0, 150, 150, 250, 250], "{face:?}");
        // And a pause that ends with `resume` is over for all.
        handle.pause("/a", ms(1000)).unwrap();
        handle.resume("/a").unwrap();
        let now = probe.millis(tokio::time::Instant::now());
        done(burst(&client, 1, with("newer")).await).await;
        assert_eq!(*probe.times().last().unwrap(), now);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_apply_to_other_paths_seen_or_not() {
    for face in FACES {
        let probe = Probe::new();
        let config = Endpoints::new().each_other_path(Quota::unlimited());
        let layer = AnyLayer::new(face, config);
        let (client, handle) = (layer.client(&probe), layer.handle());
        done(burst(&client, 1, |_| get("/seen")).await).await;
        let name = Endpoints::EACH_OTHER_PATH;
        handle.set_quota(name, per(1, 100).concurrency(1)).unwrap();
        handle.pause(name, ms(50)).unwrap();
        let mut sent = burst(&client, 2, |_| job("/seen", ms(100))).await;
        sent.extend(burst(&client, 2, |_| job("/new", ms(100))).await);
        done(sent).await;
        // What was sent before counts in the window as well.
        let seen = if face == Face::Concurrency {
            [0, 50, 150]
        } else {
            [0, 100, 200]
        };
        assert_eq!(probe.times_of("/seen"), seen, "{face:?}");
        assert_eq!(probe.times_of("/new"), [50, 150], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unmatched_requests_can_be_paused_and_limited() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::unlimited()));
        let (client, handle) = (layer.client(&probe), layer.handle());
        handle.pause(Endpoints::UNMATCHED, ms(100)).unwrap();
        let mut sent = burst(&client, 1, |_| get("/other")).await;
        sent.extend(burst(&client, 1, |_| get("/a")).await);
        done(sent).await;
        assert_eq!(probe.times_of("/a"), [0], "{face:?}");
        assert_eq!(probe.times_of("/other"), [100], "{face:?}");
    }
}

#[test]
fn an_unknown_endpoint_is_an_error_that_names_it() {
    for face in FACES {
        let config = endpoint_a(Quota::unlimited()).named("flash", Quota::unlimited());
        let handle = AnyLayer::new(face, config).handle();
        for name in ["/b", "GET /a", "flsh", "", "not a template {", "Overall"] {
            for result in [
                handle.set_quota(name, Quota::unlimited()),
                handle.pause(name, ms(1)),
                handle.resume(name),
            ] {
                let error = result.unwrap_err();
                assert_eq!(error.endpoint(), name);
                assert!(error.to_string().contains(name), "{error}");
            }
            assert!(handle.snapshot().bucket(name).is_none(), "{name}");
        }
    }
}

#[test]
fn a_template_is_found_in_any_spelling() {
    let config = Endpoints::new().route("GET API.example/v1/{voice}/", Quota::concurrent(1));
    let handle = AnyLayer::new(Face::Throttle, config).handle();
    for name in [
        "GET API.example/v1/{voice}/",
        "GET api.example/v1/{id}",
        "GET api.example//v1/./{x}",
    ] {
        handle.set_quota(name, Quota::concurrent(2)).unwrap();
        handle.pause(name, ms(1)).unwrap();
        handle.resume(name).unwrap();
        assert!(handle.snapshot().bucket(name).is_some(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_shows_quotas_counts_and_names() {
    for face in FACES {
        let probe = Probe::new();
        let quota = Quota::per_second(5).concurrency(4);
        let config = Endpoints::new()
            .route("GET /a/{id}", quota.clone())
            .group("group", Quota::unlimited(), ["GET /a/{id}", "GET /b"])
            .named("flash", Quota::concurrent(2))
            .overall(Quota::per_second(50));
        let layer = AnyLayer::new(face, config);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let names: Vec<String> = handle
            .snapshot()
            .buckets()
            .map(|b| b.name().to_owned())
            .collect();
        for name in ["GET /a/{id}", "GET /b", "group", "flash", "overall"] {
            assert!(
                names.iter().any(|n| n == name),
                "{name} is not in {names:?}"
            );
        }
        let sent = burst(&client, 7, |_| job("/a/1", ms(100))).await;
        let snapshot = handle.snapshot();
        let bucket = snapshot.bucket("GET /a/{other}").unwrap();
        let admitted = match face {
            Face::Rps => 5,
            _ => 4,
        };
        assert_eq!(bucket.name(), "GET /a/{id}");
        assert_eq!(*bucket.quota(), quota);
        assert_eq!(bucket.admitted(), admitted, "{face:?}");
        assert_eq!(bucket.waiting() as u64, 7 - admitted);
        assert_eq!(bucket.refused(), 0);
        assert_eq!(bucket.throttled(), 0);
        if face == Face::Rps {
            assert_eq!((bucket.in_flight(), bucket.concurrency()), (0, None));
        } else {
            assert_eq!((bucket.in_flight(), bucket.concurrency()), (4, Some(4)));
        }
        assert_eq!(gauge(&handle, "group").0 as u64, 7 - admitted);
        assert_eq!(gauge(&handle, "overall").0 as u64, 7 - admitted);
        let changed = Quota::per_second(9).concurrency(9);
        handle.set_quota("GET /a/{id}", changed.clone()).unwrap();
        assert_eq!(
            *handle.snapshot().bucket("GET /a/{id}").unwrap().quota(),
            changed
        );
        done(sent).await;
        // The old snapshot is what it was.
        assert_eq!(snapshot.bucket("GET /a/{id}").unwrap().admitted(), admitted);
    }
}

#[tokio::test(start_paused = true)]
async fn absurd_durations_neither_panic_nor_overflow() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::per(1, std::time::Duration::MAX)));
        let (client, handle) = (layer.client(&probe), layer.handle());
        done(burst(&client, 1, |_| get("/a")).await).await;
        handle.pause("/a", std::time::Duration::MAX).unwrap();
        let waiting = burst(&client, 2, |_| get("/a")).await;
        assert!(
            handle
                .snapshot()
                .bucket("/a")
                .unwrap()
                .paused_for()
                .is_some()
        );
        assert_eq!(probe.times(), [0]);
        handle
            .set_quota(
                "/a",
                Quota::per(1, std::time::Duration::MAX).margin(std::time::Duration::MAX),
            )
            .unwrap();
        handle.resume("/a").unwrap();
        settle().await;
        if face != Face::Concurrency {
            assert_eq!(probe.times(), [0]);
        }
        handle
            .set_quota(
                "/a",
                Quota::per(u32::MAX, std::time::Duration::from_nanos(1)).concurrency(usize::MAX),
            )
            .unwrap();
        done(waiting).await;
        assert_eq!(probe.log().calls.len(), 3);
        assert_idle(&handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_margin_widens_the_window() {
    for face in WINDOWS {
        let probe = Probe::new();
        let client = AnyLayer::new(face, endpoint_a(per(2, 100).margin(ms(30)))).client(&probe);
        done(burst(&client, 5, |_| get("/a")).await).await;
        assert_eq!(probe.times(), [0, 0, 130, 130, 260], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_silence_changes_nothing() {
    // Whatever an engine remembers of the time must not be older than the question.
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::per_second(100).concurrency(1)));
        let (client, handle) = (layer.client(&probe), layer.handle());
        done(burst(&client, 1, |_| get("/a")).await).await;
        at(&probe, 10_000).await;
        handle.pause("/a", ms(100)).unwrap();
        assert_eq!(
            handle.snapshot().bucket("/a").unwrap().paused_for(),
            Some(ms(100))
        );
        // A pause that ended while nobody looked.
        at(&probe, 20_000).await;
        done(burst(&client, 1, |_| get("/a")).await).await;
        handle.pause("/a", ms(100)).unwrap();
        at(&probe, 20_050).await;
        done(burst(&client, 1, |_| get("/a")).await).await;
        assert_eq!(probe.times(), [0, 20_000, 20_100], "{face:?}");
    }
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(1))).max_wait(ms(100));
        let client = layer.client(&probe);
        done(burst(&client, 1, |_| get("/a")).await).await;
        at(&probe, 10_000).await;
        let first = burst(&client, 1, |_| job("/a", ms(50))).await;
        at(&probe, 10_020).await;
        let second = burst(&client, 1, |_| job("/a", ms(150))).await;
        let third = burst(&client, 1, |_| job("/a", ms(50))).await;
        done(first).await;
        let start = probe.start();
        let error = third
            .into_iter()
            .next()
            .unwrap()
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(refused(&error).retry_after(), None);
        assert_eq!(start.elapsed(), ms(10_120), "{face:?}");
        done(second).await;
        assert_eq!(probe.times(), [0, 10_000, 10_050]);
    }
}

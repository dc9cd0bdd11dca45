//! Which bucket a request gets, and that no more buckets are kept than are in use.

use crate::support::*;
use http::header::HOST;
use tokio::time::Instant;
use tower_throttle::{EndpointName, Endpoints, Handle, Quota, UnknownEndpoint};

async fn done(sent: Vec<Sent>) {
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

fn buckets(handle: &Handle) -> usize {
    handle.snapshot().buckets().count()
}

fn quota() -> Quota {
    per(1, 100).concurrency(1)
}

/// The instants at which requests to these URIs are sent when all come at once, 100 ms of work each.
async fn times(face: Face, endpoints: Endpoints, uris: &[&str]) -> Vec<u64> {
    let requests = uris.iter().map(|uri| get(uri)).collect();
    times_of(face, endpoints, requests).await
}

async fn times_of(face: Face, endpoints: Endpoints, requests: Vec<Req>) -> Vec<u64> {
    let probe = Probe::new();
    let client = AnyLayer::new(face, endpoints).client(&probe);
    let mut sent = Vec::new();
    for (id, mut request) in requests.into_iter().enumerate() {
        request.extensions_mut().insert(Work::head(ms(100)).id(id));
        sent.push(tokio::spawn(send(client.clone(), request)));
        settle().await;
    }
    done(sent).await;
    let mut calls: Vec<_> = probe
        .log()
        .calls
        .iter()
        .map(|c| (c.id, probe.millis(c.at)))
        .collect();
    calls.sort_unstable();
    calls.into_iter().map(|(_, at)| at).collect()
}

#[tokio::test(start_paused = true)]
async fn each_other_path_has_a_bucket_by_host_and_path() {
    for face in FACES {
        let endpoints = Endpoints::new()
            .route("/routed", Quota::unlimited())
            .each_other_path(quota());
        let uris = [
            "http://one.example/x",
            "http://one.example/y",
            "http://two.example/x",
            "http://one.example:8080/x",
            "/x",
            "/routed",
            // The same again, spelled otherwise.
            "http://one.example/x?query=1",
            "http://ONE.example:80//x/",
            "/routed",
        ];
        assert_eq!(
            times(face, endpoints, &uris).await,
            [0, 0, 0, 0, 0, 0, 100, 200, 0],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_method_does_not_make_another_path() {
    for face in FACES {
        let mut post = get("/x");
        *post.method_mut() = http::Method::POST;
        let endpoints = Endpoints::new().each_other_path(quota());
        assert_eq!(
            times_of(face, endpoints, vec![get("/x"), post]).await,
            [0, 100],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_header_counts_where_the_uri_has_none() {
    for face in FACES {
        let with = |host: &str| {
            let mut request = get("/x");
            request.headers_mut().insert(HOST, host.parse().unwrap());
            request
        };
        let endpoints = Endpoints::new().each_other_path(quota());
        let requests = vec![
            with("one.example"),
            with("two.example"),
            get("http://one.example/x"),
        ];
        assert_eq!(
            times_of(face, endpoints, requests).await,
            [0, 0, 100],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn all_other_paths_share_one_bucket() {
    for face in FACES {
        let endpoints = Endpoints::new()
            .route("/routed", Quota::unlimited())
            .all_other_paths(quota());
        let uris = [
            "/x",
            "http://one.example/y",
            "/routed",
            "http://two.example/z",
        ];
        assert_eq!(
            times(face, endpoints, &uris).await,
            [0, 100, 0, 200],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unmatched_requests_are_free_and_counted_by_authority() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::unlimited()));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 5, |_| job("http://one.example/x", ms(10))).await;
        sent.extend(burst(&client, 3, |_| job("http://two.example/y", ms(10))).await);
        assert_eq!(probe.times(), [0; 8]);
        let snapshot = layer.handle().snapshot();
        let mut in_flight: Vec<_> = snapshot
            .buckets()
            .filter(|b| b.name().contains("example"))
            .map(|b| (b.name().to_owned(), b.in_flight()))
            .collect();
        in_flight.sort();
        let counts: Vec<_> = in_flight.iter().map(|(_, n)| *n).collect();
        assert_eq!(counts, [5, 3], "{face:?} {in_flight:?}");
        done(sent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_on_the_request_or_by_closure_overrides_the_path() {
    for face in FACES {
        let endpoints = Endpoints::new()
            .route("/a", quota())
            .named("flash", quota())
            .named("slow", quota())
            .name_by(|head| head.headers().contains_key("x-slow").then_some("slow"));
        let named = |name: Option<&'static str>, slow: bool| {
            let mut request = get("/a");
            if let Some(name) = name {
                request.extensions_mut().insert(EndpointName::new(name));
            }
            if slow {
                request.headers_mut().insert("x-slow", "1".parse().unwrap());
            }
            request
        };
        let requests = vec![
            named(None, false),
            named(Some("flash"), false),
            named(None, true),
            named(Some("flash"), true),
            named(None, false),
            named(Some("slow"), false),
        ];
        assert_eq!(
            times_of(face, endpoints, requests).await,
            [0, 0, 0, 100, 100, 100],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_exist_is_an_error_and_nothing_is_sent() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().named("flash", quota()));
        let mut request = get("/a");
        request.extensions_mut().insert(EndpointName::new("flsh"));
        let error = send(layer.client(&probe), request).await.unwrap_err();
        assert_eq!(
            error.downcast_ref::<UnknownEndpoint>().unwrap().endpoint(),
            "flsh"
        );
        assert!(probe.times().is_empty());
        assert_eq!(probe.log().reserved, 0, "{face:?}");
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn idle_keys_are_swept() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().each_other_path(quota()));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let before = buckets(&handle);
        done(burst(&client, 500, |id| job(&format!("/{id}"), ms(10))).await).await;
        if face != Face::Concurrency {
            handle.sweep();
            assert_eq!(
                buckets(&handle),
                before + 500,
                "{face:?}: their windows still count"
            );
        }
        at(&probe, 99).await;
        handle.sweep();
        if face == Face::Concurrency {
            assert_eq!(buckets(&handle), before);
        } else {
            assert_eq!(buckets(&handle), before + 500);
        }
        at(&probe, 100).await;
        handle.sweep();
        assert_eq!(buckets(&handle), before, "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn later_calls_to_other_keys_forget_idle_ones_without_being_asked() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().each_other_path(quota()));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let before = buckets(&handle);
        done(burst(&client, 1000, |id| get(&format!("/{id}"))).await).await;
        at(&probe, 2000).await;
        let sent = burst(&client, 1000, |_| get("/x")).await;
        let left = buckets(&handle) - before;
        assert!(
            left <= 10,
            "{face:?}: {left} keys are left after as many calls"
        );
        for sent in sent {
            sent.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_come_and_go_are_bounded_by_those_in_use() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().each_other_path(per(1, 2000).concurrency(1));
        let layer = AnyLayer::new(face, endpoints);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut most = 0;
        for round in 0..300 {
            done(burst(&client, 5, |id| get(&format!("/{round}/{id}"))).await).await;
            tokio::time::sleep(ms(100)).await;
            most = most.max(buckets(&handle));
        }
        // 100 are used within a window.
        assert!(most <= 220, "{face:?}: {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_in_use_are_never_forgotten() {
    // Waiting.
    let probe = Probe::new();
    let layer = AnyLayer::new(
        Face::Throttle,
        Endpoints::new().each_other_path(Quota::concurrent(1)),
    );
    let (client, handle) = (layer.client(&probe), layer.handle());
    let sent = burst(&client, 3, |_| job("/x", ms(1000))).await;
    for time in [500, 1500, 2500] {
        at(&probe, time).await;
        handle.sweep();
        done(burst(&client, 50, |id| get(&format!("/{time}/{id}"))).await).await;
    }
    done(sent).await;
    assert_eq!(probe.times_of("/x"), [0, 1000, 2000]);

    // In flight, until the body ends.
    let probe = Probe::new();
    let layer = AnyLayer::new(
        Face::Concurrency,
        Endpoints::new().each_other_path(Quota::concurrent(1)),
    );
    let (client, handle) = (layer.client(&probe), layer.handle());
    let body = [Step::Data("a"), Step::Wait(ms(1000)), Step::Data("b")];
    let sent = burst(&client, 1, |_| {
        Work::head(ms(0)).body(body.clone()).of("/x")
    })
    .await;
    at(&probe, 500).await;
    handle.sweep();
    let more = burst(&client, 1, |_| get("/x")).await;
    done(sent).await;
    done(more).await;
    assert_eq!(probe.times(), [0, 1000]);

    // Paused.
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .each_other_path(Quota::unlimited())
        .partition_by_header("x-key");
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let (client, handle) = (layer.client(&probe), layer.handle());
    done(burst(&client, 1, |_| get("/x")).await).await;
    handle.pause(Endpoints::EACH_OTHER_PATH, ms(1000)).unwrap();
    at(&probe, 500).await;
    handle.sweep();
    let sent = burst(&client, 1, |_| get("/x")).await;
    let more = burst(&client, 1, |_| get("/y")).await;
    done(sent).await;
    done(more).await;
    assert_eq!(probe.times(), [0, 1000, 1000]);

    // A window that still counts, the longest of several.
    let probe = Probe::new();
    let quota = per(1, 10).and_per(2, ms(1000));
    let layer = AnyLayer::new(Face::Rps, Endpoints::new().each_other_path(quota));
    let (client, handle) = (layer.client(&probe), layer.handle());
    done(burst(&client, 2, |_| get("/x")).await).await;
    at(&probe, 999).await;
    handle.sweep();
    done(burst(&client, 50, |id| get(&format!("/{id}"))).await).await;
    done(burst(&client, 1, |_| get("/x")).await).await;
    assert_eq!(probe.times_of("/x"), [0, 10, 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_margin_keeps_its_key_alive() {
    let probe = Probe::new();
    let quota = per(1, 100).margin(ms(50));
    let layer = AnyLayer::new(Face::Rps, Endpoints::new().each_other_path(quota));
    let (client, handle) = (layer.client(&probe), layer.handle());
    done(burst(&client, 1, |_| get("/x")).await).await;
    at(&probe, 149).await;
    handle.sweep();
    done(burst(&client, 1, |_| get("/x")).await).await;
    assert_eq!(probe.times(), [0, 150]);
}

#[tokio::test(start_paused = true)]
async fn a_provisional_place_keeps_its_key_alive() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().each_other_path(quota()));
        let (client, handle) = (layer.client(&probe), layer.handle());
        handle.pause(Endpoints::EACH_OTHER_PATH, ms(10)).unwrap();
        probe.log().readiness = [ms(0), ms(500)].into();
        let sent = burst(&client, 1, |_| job("/x", ms(100))).await;
        at(&probe, 400).await;
        handle.sweep();
        // The first is absent (law L13), so the second takes its place over: it is the same key's.
        let more = burst(&client, 1, |_| job("/x", ms(100))).await;
        assert_eq!(probe.times(), [400], "{face:?}");
        done(sent).await;
        done(more).await;
        assert_eq!(probe.times(), [400, 510], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_set_live_decides_how_long_a_key_is_kept() {
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Rps, Endpoints::new().each_other_path(per(1, 100)));
    let (client, handle) = (layer.client(&probe), layer.handle());
    done(burst(&client, 1, |_| get("/x")).await).await;
    handle
        .set_quota(Endpoints::EACH_OTHER_PATH, per(1, 1000))
        .unwrap();
    at(&probe, 500).await;
    handle.sweep();
    done(burst(&client, 1, |_| get("/x")).await).await;
    assert_eq!(probe.times(), [0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn beyond_max_keys_new_keys_share_one_bucket() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/routed", quota())
            .each_other_path(quota());
        let layer = AnyLayer::new(face, endpoints).max_keys(2);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = Vec::new();
        for path in ["/1", "/2", "/3", "/4", "/5", "/1", "/routed"] {
            sent.extend(burst(&client, 1, |_| job(path, ms(100))).await);
        }
        done(sent).await;
        assert_eq!(probe.times_of("/1"), [0, 100], "{face:?}");
        assert_eq!(probe.times_of("/2"), [0]);
        assert_eq!(probe.times_of("/3"), [0]);
        assert_eq!(probe.times_of("/4"), [100]);
        assert_eq!(probe.times_of("/5"), [200], "{face:?}");
        assert_eq!(probe.times_of("/routed"), [0]);
        // Once the old ones are idle there is room for new ones.
        at(&probe, 1000).await;
        handle.sweep();
        let mut sent = Vec::new();
        for path in ["/6", "/7"] {
            sent.extend(burst(&client, 1, |_| job(path, ms(100))).await);
        }
        done(sent).await;
        assert_eq!(
            (probe.times_of("/6"), probe.times_of("/7")),
            (vec![1000], vec![1000])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn max_keys_bounds_hosts_and_partitions_too() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", quota())
            .partition_by_header("x-key");
        let layer = AnyLayer::new(face, endpoints).max_keys(10);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let before = buckets(&handle);
        let sent = burst(&client, 200, |id| {
            let mut request = get("/a");
            request
                .headers_mut()
                .insert("x-key", id.to_string().parse().unwrap());
            request
        })
        .await;
        let with_partitions = buckets(&handle) - before;
        assert!(with_partitions <= 60, "{face:?}: {with_partitions}");
        for sent in sent {
            sent.abort();
        }
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", quota())).max_keys(10);
        let client = layer.client(&probe);
        done(burst(&client, 200, |id| get(&format!("http://h{id}.example/"))).await).await;
        let hosts = buckets(&layer.handle());
        assert!(hosts <= 20, "{face:?}: {hosts}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_partition_has_its_own_buckets_and_one_total() {
    for face in FACES {
        let endpoints = Endpoints::new()
            .route("/a", quota())
            .route("/b", quota())
            .overall(per(2, 100).concurrency(2))
            .partition_by_header("x-key")
            .across_partitions(per(4, 100).concurrency(4));
        let with = |path: &str, key: Option<&str>| {
            let mut request = get(path);
            if let Some(key) = key {
                request.headers_mut().insert("x-key", key.parse().unwrap());
            }
            request
        };
        let requests = vec![
            with("/a", Some("one")),
            with("/a", Some("one")),
            with("/b", Some("one")),
            with("/c", Some("one")),
            with("/a", Some("two")),
            with("/a", None),
            with("/a", Some("three")),
        ];
        let times = times_of(face, endpoints, requests).await;
        // The first key fills its overall limit with /a and /b; /c and the second /a wait. With the
        // second key and without a key the total is full.
        assert_eq!(times[0], 0, "{face:?}");
        assert_eq!(times[2], 0);
        assert_eq!(times[4], 0);
        assert_eq!(times[5], 0);
        assert_eq!((times[1], times[3], times[6]), (100, 100, 100), "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_by_closure_take_any_value() {
    for face in FACES {
        #[derive(Clone, Hash)]
        struct Tenant(u64);
        let endpoints = Endpoints::new()
            .overall(quota())
            .partition_by(|head| head.extensions().get::<Tenant>().cloned());
        let with = |tenant: Option<u64>| {
            let mut request = get("/a");
            if let Some(tenant) = tenant {
                request.extensions_mut().insert(Tenant(tenant));
            }
            request
        };
        let requests = vec![
            with(Some(1)),
            with(Some(2)),
            with(None),
            with(Some(1)),
            with(None),
        ];
        assert_eq!(
            times_of(face, endpoints, requests).await,
            [0, 0, 0, 100, 100],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_value_and_no_value_are_different_partitions() {
    let endpoints = Endpoints::new()
        .overall(quota())
        .partition_by_header("x-key");
    let mut empty = get("/a");
    empty.headers_mut().insert("x-key", "".parse().unwrap());
    assert_eq!(
        times_of(Face::Throttle, endpoints, vec![get("/a"), empty]).await,
        [0, 0]
    );
}

#[tokio::test(start_paused = true)]
async fn idle_partitions_are_swept() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", quota())
            .group("group", quota(), ["/a"])
            .overall(quota())
            .partition_by_header("x-key");
        let layer = AnyLayer::new(face, endpoints);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let before = buckets(&handle);
        let sent = burst(&client, 300, |id| {
            let mut request = job("/a", ms(10));
            request
                .headers_mut()
                .insert("x-key", id.to_string().parse().unwrap());
            request
        })
        .await;
        assert!(buckets(&handle) >= 300);
        done(sent).await;
        tokio::time::sleep(ms(200)).await;
        handle.sweep();
        let after = buckets(&handle);
        assert!(after <= before.max(10), "{face:?}: {after}");
    }
}

const SECRET: &str = "sk-very-secret-4711";

#[tokio::test(start_paused = true)]
async fn partition_values_are_shown_nowhere() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", quota())
            .overall(quota())
            .each_other_path(quota())
            .partition_by_header("x-key")
            .across_partitions(Quota::concurrent(100));
        let layer = AnyLayer::new(face, endpoints.clone()).max_waiting(1);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut shown = vec![format!("{endpoints:?}")];
        let mut errors = Vec::new();
        for path in ["/a", "/a", "/a", "/x", "/x"] {
            let mut request = job(path, ms(100));
            request
                .headers_mut()
                .insert("x-key", SECRET.parse().unwrap());
            errors.push(tokio::spawn(send(client.clone(), request)));
            settle().await;
        }
        let mut raw = tower::Layer::layer(&throttle(endpoints), probe.clone());
        let mut request = get("/a");
        request
            .headers_mut()
            .insert("x-key", SECRET.parse().unwrap());
        let future = call(&mut raw, request);
        shown.push(format!("{raw:?} {future:?}"));
        let snapshot = handle.snapshot();
        shown.push(format!("{layer:?} {handle:?} {snapshot:?}"));
        for bucket in snapshot.buckets() {
            shown.push(format!(
                "{bucket:?} {} {:?}",
                bucket.name(),
                bucket.partition()
            ));
        }
        let mut refusals = 0;
        for error in errors {
            if let Err(error) = error.await.unwrap() {
                refusals += 1;
                shown.push(format!(
                    "{error} {error:?} {:?} {}",
                    refused(&error),
                    refused(&error).endpoint()
                ));
            }
        }
        assert!(refusals > 0);
        for shown in shown {
            assert!(!shown.contains("4711"), "{face:?}: {shown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_can_be_told_apart_in_the_snapshot() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", quota())
        .partition_by_header("x-key");
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let client = layer.client(&probe);
    for key in ["one", "two", "one"] {
        let mut request = get("/a");
        request.headers_mut().insert("x-key", key.parse().unwrap());
        done(vec![tokio::spawn(send(client.clone(), request))]).await;
    }
    let snapshot = layer.handle().snapshot();
    let mut seen: Vec<_> = snapshot
        .buckets()
        .filter(|b| b.name() == "/a" && b.admitted() > 0)
        .map(|b| (b.partition().unwrap(), b.admitted()))
        .collect();
    seen.sort_unstable_by_key(|(_, admitted)| *admitted);
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].0, seen[1].0);
    assert_eq!((seen[0].1, seen[1].1), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_cancelled_leaves_its_key_to_be_swept() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().each_other_path(quota()));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let before = buckets(&handle);
        handle.pause(Endpoints::EACH_OTHER_PATH, ms(50)).unwrap();
        let sent = burst(&client, 20, |id| get(&format!("/{id}"))).await;
        assert_eq!(buckets(&handle), before + 20);
        for sent in &sent {
            sent.abort();
        }
        settle().await;
        tokio::time::sleep_until(Instant::now() + ms(200)).await;
        handle.sweep();
        assert_eq!(buckets(&handle), before, "{face:?}");
    }
}

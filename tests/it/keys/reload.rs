//! `Handle::reload`: other endpoints for a layer that runs.

use std::time::Duration;

use crate::support::*;
use tokio_test::assert_pending;
use tower_throttle::{EndpointName, Endpoints, Priority, Quota, Terms};

/// `/a` and `/b`, the first in this group.
fn grouped(group: &str, a: Quota, of_group: Quota) -> Endpoints {
    Endpoints::new()
        .route("/a", a)
        .route("/b", Quota::unlimited())
        .group(group, of_group, ["/a"])
}

fn work(id: usize, path: &str, millis: u64) -> Req {
    Work::head(ms(millis)).id(id).of(path)
}

fn keyed(key: &'static str, mut request: Req) -> Req {
    let key = http::HeaderValue::from_static(key);
    request.headers_mut().insert("x-key", key);
    request
}

/// The names of the buckets, in the order of the snapshot, each with whether it is of an earlier configuration.
fn names(layer: &AnyLayer) -> Vec<(String, bool)> {
    let snapshot = layer.handle().snapshot();
    let name =
        |bucket: &tower_throttle::BucketSnapshot| (bucket.name().to_owned(), bucket.is_retired());
    snapshot.buckets().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_quota_changes() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 1000));
        let client = layer.client(&probe);
        let sent = burst(&client, 6, |_| get("/a")).await;
        at(&probe, 100).await;
        layer.handle().reload(endpoint_a(per(3, 1000))).unwrap();
        finish(sent).await;
        assert_eq!(probe.times(), [0, 100, 100, 1000, 1100, 1100], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_is_added_and_removed() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 3, |id| work(id, "/a", 100)).await;
        let endpoints = Endpoints::new().route("/b", Quota::concurrent(1));
        layer.handle().reload(endpoints).unwrap();
        // Those who wait for the old one finish there, and those who come now are not limited.
        sent.extend(burst(&client, 2, |id| work(10 + id, "/a", 10)).await);
        sent.extend(burst(&client, 2, |id| work(20 + id, "/b", 10)).await);
        assert_eq!(gauge(&layer.handle(), "/a"), (2, 1), "{face:?}");
        assert_eq!(gauge(&layer.handle(), "/b"), (1, 1));
        assert!(layer.handle().set_quota("/a", Quota::unlimited()).is_err());
        finish(sent).await;
        assert_eq!(probe.times_of("/a"), [0, 0, 0, 100, 200]);
        assert_eq!(probe.times_of("/b"), [0, 10]);
        assert!(layer.handle().snapshot().bucket("/a").is_none());
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_changes_its_group_keeps_its_window() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, grouped("one", per(3, 1000), Quota::unlimited()));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 2, |_| get("/a")).await;
        at(&probe, 400).await;
        let endpoints = grouped("other", per(3, 1000), per(100, 1000));
        layer.handle().reload(endpoints).unwrap();
        sent.extend(burst(&client, 5, |_| get("/a")).await);
        finish(sent).await;
        assert_eq!(
            probe.times(),
            [0, 0, 400, 1000, 1000, 1400, 2000],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_on_in_the_new_bucket_before_newcomers() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, grouped("one", per(2, 1000), per(100, 1000)));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 5, |id| work(id, "/a", 0)).await;
        at(&probe, 500).await;
        let endpoints = grouped("other", per(2, 1000), per(100, 1000));
        layer.handle().reload(endpoints).unwrap();
        sent.extend(burst(&client, 4, |id| work(10 + id, "/a", 0)).await);
        let waiting: Vec<_> = {
            let snapshot = layer.handle().snapshot();
            let a = snapshot.buckets().filter(|bucket| bucket.name() == "/a");
            a.map(|bucket| (bucket.is_retired(), bucket.waiting()))
                .collect()
        };
        assert_eq!(waiting, [(true, 0), (false, 7)]);
        finish(sent).await;
        assert_eq!(
            probe.times(),
            [0, 0, 1000, 1000, 2000, 2000, 3000, 3000, 4000],
            "{face:?}"
        );
        assert_eq!(probe.ids(), [0, 1, 2, 3, 4, 10, 11, 12, 13]);
        assert_idle(&layer.handle());
    }
}

/// Who waits goes by the new group, and those of a higher class go first, whenever they came.
#[tokio::test(start_paused = true)]
async fn who_waits_goes_by_the_new_group_and_its_class() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, grouped("one", per(2, 1000), per(100, 1000)));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 5, |id| work(id, "/a", 0)).await;
        at(&probe, 500).await;
        let endpoints = grouped("other", per(2, 1000), per(1, 2000));
        layer.handle().reload(endpoints).unwrap();
        let high = |id| {
            let mut request = work(10 + id, "/a", 0);
            let terms = Terms::new().priority(Priority::HIGH);
            request.extensions_mut().insert(terms);
            request
        };
        sent.extend(burst(&client, 2, high).await);
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 1, 10, 11, 2, 3, 4], "{face:?}");
        assert_eq!(
            probe.times(),
            [0, 0, 1000, 3000, 5000, 7000, 9000],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn permits_of_the_old_bucket_count_in_the_new_one() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            grouped("one", Quota::concurrent(3), Quota::unlimited()),
        );
        let client = layer.client(&probe);
        let mut sent = burst(&client, 2, |id| work(id, "/a", 100 * (id as u64 + 1))).await;
        let endpoints = grouped("other", Quota::concurrent(3), Quota::unlimited());
        layer.handle().reload(endpoints).unwrap();
        sent.extend(burst(&client, 4, |id| work(10 + id, "/a", 1000)).await);
        finish(sent).await;
        assert_eq!(probe.times(), [0, 0, 0, 100, 200, 1000], "{face:?}");
        assert_eq!(probe.log().most_in_flight, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_changes_back_finds_its_bucket_again() {
    for face in WINDOWS {
        let probe = Probe::new();
        let one = || grouped("one", per(2, 1000), Quota::unlimited());
        let other = || grouped("other", per(2, 1000), Quota::unlimited());
        let layer = AnyLayer::new(face, one());
        let client = layer.client(&probe);
        let mut sent = Vec::new();
        for (id, endpoints) in [other(), one(), other(), one()].into_iter().enumerate() {
            sent.extend(burst(&client, 1, |_| work(id, "/a", 0)).await);
            layer.handle().reload(endpoints).unwrap();
            at(&probe, 100 * (id as u64 + 1)).await;
        }
        sent.extend(burst(&client, 2, |id| work(10 + id, "/a", 0)).await);
        finish(sent).await;
        assert_eq!(probe.times(), [0, 100, 1000, 1100, 2000, 2100], "{face:?}");
        assert_eq!(probe.ids(), [0, 1, 2, 3, 10, 11]);
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_keep_their_windows() {
    for face in WINDOWS {
        let probe = Probe::new();
        let endpoints = |group: &str, n| {
            grouped(group, per(n, 1000), Quota::unlimited()).partition_by_header("x-key")
        };
        let layer = AnyLayer::new(face, endpoints("one", 2));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 2, |_| keyed("1", get("/a"))).await;
        sent.extend(burst(&client, 1, |_| keyed("2", get("/a"))).await);
        at(&probe, 100).await;
        // Made anew, with other random numbers for its hashes.
        layer.handle().reload(endpoints("one", 2)).unwrap();
        sent.extend(burst(&client, 2, |_| keyed("2", get("/a"))).await);
        at(&probe, 200).await;
        layer.handle().reload(endpoints("other", 2)).unwrap();
        sent.extend(burst(&client, 1, |_| keyed("1", get("/a"))).await);
        sent.extend(burst(&client, 2, |_| keyed("2", get("/a"))).await);
        finish(sent).await;
        assert_eq!(
            probe.times(),
            [0, 0, 0, 100, 1000, 1000, 1100, 2000],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_partitioned_begins_with_what_it_has_sent() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = layer_a(face, per(2, 1000));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| get("/a")).await;
        at(&probe, 300).await;
        let endpoints = endpoint_a(per(2, 1000)).partition_by_header("x-key");
        layer.handle().reload(endpoints).unwrap();
        for key in ["1", "2"] {
            sent.extend(burst(&client, 2, |_| keyed(key, get("/a"))).await);
        }
        finish(sent).await;
        assert_eq!(probe.times(), [0, 300, 300, 1000, 1000], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_partitioned_no_more_has_sent_what_all_have() {
    for face in WINDOWS {
        let probe = Probe::new();
        let endpoints = endpoint_a(per(2, 1000)).partition_by_header("x-key");
        let layer = AnyLayer::new(face, endpoints);
        let client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| keyed("1", get("/a"))).await;
        at(&probe, 100).await;
        sent.extend(burst(&client, 1, |_| keyed("2", get("/a"))).await);
        at(&probe, 200).await;
        // And three wait, of which one goes in the new order of things.
        sent.extend(burst(&client, 2, |_| keyed("1", get("/a"))).await);
        layer.handle().reload(endpoint_a(per(2, 1000))).unwrap();
        sent.extend(burst(&client, 2, |_| keyed("3", get("/a"))).await);
        finish(sent).await;
        // At 1000 the second of the key "1" goes where it waits; with that of 200 the window is full until 1200.
        assert_eq!(probe.times(), [0, 100, 200, 1000, 1200, 2000], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn permits_of_old_partitions_count_in_new_ones() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(2));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 2, |id| work(id, "/a", 100 * (id as u64 + 1))).await;
        let endpoints = endpoint_a(Quota::concurrent(2)).partition_by_header("x-key");
        layer.handle().reload(endpoints).unwrap();
        sent.extend(burst(&client, 3, |id| keyed("1", work(10 + id, "/a", 1000))).await);
        finish(sent).await;
        assert_eq!(probe.times(), [0, 0, 100, 200, 1100], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_groups_and_wider_scopes_change() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().named("n", Quota::concurrent(1)));
        let client = layer.client(&probe);
        let endpoints = Endpoints::new()
            .named("m", Quota::concurrent(1))
            .name_by(|_| Some("m"))
            .overall(Quota::concurrent(2))
            .across_partitions(Quota::concurrent(2));
        layer.handle().reload(endpoints).unwrap();
        let sent = burst(&client, 2, |id| work(id, "/x", 10)).await;
        finish(sent).await;
        assert_eq!(probe.times(), [0, 10], "{face:?}");
        let mut gone = get("/x");
        gone.extensions_mut().insert(EndpointName::new("n"));
        let error = send(client.clone(), gone).await.unwrap_err();
        assert!(error.to_string().contains("\"m\""), "{error}");
        assert!(layer.handle().resume("n").is_err());
        layer.handle().pause("m", ms(50)).unwrap();
        layer
            .handle()
            .pause(Endpoints::ACROSS_PARTITIONS, ms(60))
            .unwrap();
        finish(burst(&client, 1, |id| work(id, "/x", 10)).await).await;
        assert_eq!(probe.times(), [0, 10, 80]);
        let names: Vec<_> = names(&layer)
            .into_iter()
            .filter(|(_, retired)| !retired)
            .collect();
        let expected = [Endpoints::ACROSS_PARTITIONS, Endpoints::OVERALL, "m"];
        assert!(
            expected
                .iter()
                .all(|name| names.contains(&((*name).to_owned(), false))),
            "{names:?}"
        );
    }
}

/// What was called before and is polled after a reload enters where it belongs by then.
#[tokio::test(start_paused = true)]
async fn what_has_not_entered_yet_enters_by_the_new_endpoints() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(1)));
        let mut client = layer.client(&probe);
        let mut first = call(&mut client, work(0, "/a", 1000));
        assert_pending!(first.poll());
        let mut second = call(&mut client, work(1, "/a", 10));
        let endpoints = Endpoints::new().route("/b", Quota::concurrent(1));
        layer.handle().reload(endpoints).unwrap();
        assert_pending!(second.poll());
        assert_eq!(probe.ids(), [0, 1], "{face:?}");
        drop((first, second));
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_in_the_new_bucket() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, grouped("one", per(9, 1000), Quota::unlimited()));
        let client = layer.client(&probe);
        layer.handle().pause("/a", ms(700)).unwrap();
        let endpoints = grouped("other", per(9, 1000), Quota::unlimited());
        layer.handle().reload(endpoints).unwrap();
        finish(burst(&client, 1, |_| get("/a")).await).await;
        assert_eq!(probe.times(), [700], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_loaded_again_and_again_keeps_nothing() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(5, 1000));
        let client = layer.client(&probe);
        for n in 0..200 {
            let group = format!("g{n}");
            let endpoints = grouped(&group, per(5, 1000), Quota::unlimited());
            let endpoints = match n % 3 {
                0 => endpoints,
                1 => endpoints.partition_by_header("x-key"),
                _ => endpoints.each_other_path(per(1, 1000)),
            };
            layer.handle().reload(endpoints).unwrap();
            finish(burst(&client, 1, |_| keyed("1", get("/a"))).await).await;
            finish(burst(&client, 1, |_| get("/other")).await).await;
            tokio::time::sleep(Duration::from_secs(200)).await;
            layer.handle().sweep();
        }
        layer.handle().reload(endpoint_a(per(5, 1000))).unwrap();
        layer.handle().sweep();
        let names: Vec<_> = names(&layer).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["overall", "/a"], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_paths_keep_their_windows_each() {
    for face in WINDOWS {
        let probe = Probe::new();
        let endpoints = |overall| {
            let endpoints = Endpoints::new().each_other_path(per(2, 1000));
            if overall {
                // Above all others: each bucket is a new one.
                return endpoints.across_partitions(per(100, 1000));
            }
            endpoints
        };
        let layer = AnyLayer::new(face, endpoints(false));
        let client = layer.client(&probe);
        let mut sent = burst(&client, 2, |_| get("/x/1")).await;
        sent.extend(burst(&client, 1, |_| get("/y")).await);
        at(&probe, 300).await;
        layer.handle().reload(endpoints(true)).unwrap();
        sent.extend(burst(&client, 1, |_| get("/x/1")).await);
        sent.extend(burst(&client, 2, |_| get("/y")).await);
        sent.extend(burst(&client, 1, |_| get("/z")).await);
        finish(sent).await;
        assert_eq!(probe.times_of("/x/1"), [0, 0, 1000], "{face:?}");
        assert_eq!(probe.times_of("/y"), [0, 300, 1000]);
        assert_eq!(probe.times_of("/z"), [300]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_waiter_of_the_old_bucket_delays_newcomers_once_by_ten_milliseconds() {
    let cases = PERMITS
        .into_iter()
        .flat_map(|face| [(face, false), (face, true)]);
    for (face, partitioned) in cases {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            grouped("one", Quota::concurrent(1), Quota::unlimited()),
        );
        let mut client = layer.client(&probe);
        let mut first = call(&mut client, work(0, "/a", 1_000_000));
        let mut forgotten = call(&mut client, work(1, "/a", 0));
        assert_pending!(first.poll());
        assert_pending!(forgotten.poll());
        let mut endpoints = grouped("other", Quota::concurrent(1), Quota::unlimited());
        if partitioned {
            endpoints = endpoints.partition_by_header("x-key");
        }
        layer.handle().reload(endpoints).unwrap();
        let sent = burst(&client, 2, |id| work(2 + id, "/a", 0)).await;
        at(&probe, 100).await;
        drop(first);
        assert!(forgotten.is_woken());
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 2, 3], "{face:?}");
        assert!(probe.times()[2] <= 111, "{:?}", probe.times());
        drop(forgotten);
        assert_idle(&layer.handle());
    }
}

/// In real time: no window breaks, and nobody is lost, whenever a reload comes.
#[test]
fn threads_send_while_another_reloads() {
    const SENT: usize = 400;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let probe = Probe::new();
        let quota = || per(20, 50).concurrency(8);
        let layer = AnyLayer::new(Face::Throttle, grouped("g0", quota(), Quota::unlimited()));
        let client = layer.client(&probe);
        let sent: Vec<_> = (0..SENT)
            .map(|id| tokio::spawn(send(client.clone(), keyed("1", work(id, "/a", 1)))))
            .collect();
        let handle = layer.handle();
        let reloads = tokio::task::spawn_blocking(move || {
            let mut n = 0;
            while !sent.iter().all(tokio::task::JoinHandle::is_finished) {
                n += 1;
                let endpoints = grouped(&format!("g{}", n % 3), quota(), per(1000, 10));
                handle.reload(endpoints).unwrap();
                std::thread::yield_now();
            }
            sent
        });
        finish(reloads.await.unwrap()).await;
        let log = probe.log();
        assert_eq!(log.calls.len(), SENT);
        assert!(log.most_in_flight <= 8);
        let mut times: Vec<_> = log.calls.iter().map(|call| call.at).collect();
        times.sort_unstable();
        for some in times.windows(21) {
            assert!(some[20] - some[0] >= ms(50), "{:?}", some[20] - some[0]);
        }
    });
}

#[test]
fn a_closed_layer_has_no_other_endpoints() {
    let layer = layer_a(Face::Throttle, Quota::concurrent(1));
    layer.handle().close();
    let error = layer.handle().reload(Endpoints::new()).unwrap_err();
    let text = "the layer is closed: expected it to be open";
    assert_eq!(error.to_string(), text);
}

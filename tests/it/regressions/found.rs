//! What the crate once did wrong, each found by somebody who knew only the laws (CONTRIBUTING.md).

use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_throttle::{
    BoxError, Deadline, Endpoints, Flow, Quota, Terms, ThrottleLayer, Unit,
    mock::{self, Fault, Judge, Limit},
};

/// L1: 1 per 50 ms holds from 10 ms on, yet two requests go out at 100 ms. The first was admitted
/// while there was no window, and is not counted although it is dispatched under one.
#[tokio::test(start_paused = true)]
async fn what_was_admitted_before_there_was_a_window_counts_in_it_when_it_is_sent() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::unlimited()));
        let handle = layer.handle();
        let client = layer.client(&probe);
        // A pause makes it wait; its clone of the inner service then takes 95 ms.
        handle.pause("/a", ms(5)).unwrap();
        probe.log().readiness = [ms(0), ms(95)].into();
        let first = burst(&client, 1, |_| get("/a")).await;
        at(&probe, 10).await;
        handle.set_quota("/a", per(1, 50)).unwrap();
        at(&probe, 101).await;
        assert_eq!(probe.times(), [100]);
        let second = burst(&client, 1, |_| get("/a")).await;
        for sent in first.into_iter().chain(second) {
            sent.await.unwrap().unwrap();
        }
        assert_eq!(probe.times(), [100, 150], "{face:?}");
    }
}

/// L3: "per endpoint, in order of entry". A request that comes at the instant at which an older one's
/// wait ends is dispatched before it, if there is room for both.
#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_one_whose_wait_ends_at_the_same_instant() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new().route("/a", per(2, 100).concurrency(2)),
        );
        let client = layer.client(&probe);
        let handle = layer.handle();
        handle.pause("/a", ms(100)).unwrap();
        let mut late = client.clone();
        let newcomer = tokio::spawn({
            let until = probe.start() + ms(100);
            async move {
                tokio::time::sleep_until(until).await;
                let request = Work::head(ms(1)).id(1).of("/a");
                tower::ServiceExt::ready(&mut late).await.unwrap();
                tower::Service::call(&mut late, request).await.map(drop)
            }
        });
        settle().await;
        let older = burst(&client, 1, |_| Work::head(ms(1)).id(0).of("/a")).await;
        newcomer.await.unwrap().unwrap();
        for sent in older {
            sent.await.unwrap().unwrap();
        }
        assert_eq!(probe.times(), [100, 100]);
        assert_eq!(probe.ids(), [0, 1], "{face:?}");
    }
}

/// L3 again, without a pause: five at 48 ms, three per 4 ms, and a sixth when the last two can go.
#[tokio::test(start_paused = true)]
async fn three_that_can_go_at_one_instant_go_by_age() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(3, 4)));
        let client = layer.client(&probe);
        let request = |id| Work::head(ms(1)).id(id).of("/a");
        tokio::time::sleep_until(probe.start() + ms(48)).await;
        let mut sent = burst(&client, 5, request).await;
        tokio::time::sleep_until(probe.start() + ms(52)).await;
        sent.extend(burst(&client, 1, |_| request(5)).await);
        send_all(sent).await;
        assert_eq!(probe.times(), [48, 48, 48, 52, 52, 52]);
        assert_eq!(probe.ids(), [0, 1, 2, 3, 4, 5], "{face:?}");
    }
}

async fn send_all(sent: Vec<Sent>) {
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

/// L11: "idle keys are forgotten by later calls". Calls to a route forget none, however many and
/// however late: a client that once saw many paths and now uses its routes only keeps them for ever.
#[tokio::test(start_paused = true)]
async fn calls_to_configured_endpoints_forget_idle_keys_too() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .each_other_path(per(1, 100).concurrency(1));
        let layer = AnyLayer::new(face, endpoints);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let before = handle.snapshot().buckets().count();
        send_all(burst(&client, 1000, |id| get(&format!("/{id}"))).await).await;
        at(&probe, 5000).await;
        send_all(burst(&client, 1000, |_| get("/a")).await).await;
        let left = handle.snapshot().buckets().count() - before;
        assert!(
            left <= 10,
            "{face:?}: {left} keys are left after as many calls"
        );
    }
}

/// L11: "bounded by the dynamic keys used within the longest window". Keys stay for a second, ten
/// times as long as this window.
#[tokio::test(start_paused = true)]
async fn keys_that_come_and_go_are_bounded_by_those_within_the_longest_window() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new().each_other_path(per(1, 100).concurrency(1)),
        );
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut most = 0;
        for round in 0..100 {
            send_all(burst(&client, 20, |id| get(&format!("/{round}/{id}"))).await).await;
            tokio::time::sleep(ms(10)).await;
            most = most.max(handle.snapshot().buckets().count());
        }
        // 200 are used within a window.
        assert!(most <= 500, "{face:?}: {most}");
    }
}

/// L11 again: where there is no window, calls that need not wait forget nothing at all, also those
/// to other keys, until something else (a snapshot, a call that waits) comes between.
#[tokio::test(start_paused = true)]
async fn keys_without_a_window_are_forgotten_by_later_calls_too() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new().each_other_path(Quota::concurrent(1));
        let layer = AnyLayer::new(face, endpoints);
        let (client, handle) = (layer.client(&probe), layer.handle());
        send_all(burst(&client, 1000, |id| get(&format!("/{id}"))).await).await;
        at(&probe, 60_000).await;
        send_all(burst(&client, 1000, |_| get("/x")).await).await;
        let left = handle.snapshot().buckets().count();
        assert!(
            left <= 10,
            "{face:?}: {left} keys are left after as many calls"
        );
    }
}

/// `/a` has no window of its own, its group has; every key is a partition.
fn grouped() -> Endpoints {
    Endpoints::new()
        .group("group", per(1, 100), ["/a"])
        .partition_by_header("x-key")
}

fn with_key(key: &str) -> Req {
    let mut request = job("/a", ms(1));
    request.headers_mut().insert("x-key", key.parse().unwrap());
    request
}

/// L5, L11, and no panic: under `RpsLayer` a bucket without a window is forgotten while a request of
/// it is admitted and its inner service not ready yet. When that request is dispatched the crate
/// panics in the caller's task ("invalid key"), or, if the memory has a new owner, stamps that one.
#[tokio::test(start_paused = true)]
async fn a_bucket_is_not_swept_between_admission_and_dispatch() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, grouped());
        let (client, handle) = (layer.client(&probe), layer.handle());
        probe.log().readiness = [ms(0), ms(0), ms(50)].into();
        let sent = burst(&client, 2, |_| with_key("one")).await;
        at(&probe, 120).await;
        handle.sweep();
        send_all(sent).await;
        let expected = if face == Face::Concurrency {
            vec![0, 0]
        } else {
            vec![0, 150]
        };
        assert_eq!(probe.times(), expected, "{face:?}");
        // Its stamp counts.
        send_all(burst(&client, 1, |_| with_key("one")).await).await;
        assert_eq!(
            *probe.times().last().unwrap(),
            // Without windows nobody had waited, so it is this one that the inner service keeps.
            if face == Face::Concurrency { 170 } else { 250 }
        );
    }
}

/// The same where nobody sweeps, but later calls do.
#[tokio::test(start_paused = true)]
async fn a_bucket_is_not_forgotten_by_later_calls_between_admission_and_dispatch() {
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Rps, grouped());
    let client = layer.client(&probe);
    probe.log().readiness = [ms(0), ms(0), ms(5000)].into();
    let sent = burst(&client, 2, |_| with_key("one")).await;
    at(&probe, 3000).await;
    let others = burst(&client, 100, |id| with_key(&format!("other {id}"))).await;
    send_all(others).await;
    send_all(sent).await;
    assert_eq!(*probe.times().last().unwrap(), 5100);
}

/// The same where new keys have taken the forgotten one's place, and the request is cancelled then.
#[tokio::test(start_paused = true)]
async fn what_is_given_back_after_a_sweep_goes_to_its_own_bucket() {
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Rps, grouped());
    let (client, handle) = (layer.client(&probe), layer.handle());
    probe.log().readiness = [ms(0), ms(0), ms(500)].into();
    let sent = burst(&client, 2, |_| with_key("one")).await;
    at(&probe, 120).await;
    handle.sweep();
    let others = burst(&client, 10, |id| with_key(&format!("other {id}"))).await;
    sent[1].abort();
    settle().await;
    let [first, second] = <[_; 2]>::try_from(sent).unwrap();
    first.await.unwrap().unwrap();
    assert!(second.await.unwrap_err().is_cancelled(), "it panicked");
    send_all(others).await;
    assert_idle(&handle);
}

/// L3: "in the order in which they got there". Where an answer without a body ended a group's permit with
/// the head, and the endpoint's with the body, the endpoint's next head came to the contest too late.
#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_ends_all_permits_in_one_step() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::concurrent(1))
            .route("/b", Quota::unlimited())
            .group(
                "group",
                Quota::concurrent(1).release_at_head(),
                ["/a", "/b"],
            );
        let layer = AnyLayer::new(face, endpoints);
        let client = layer.client(&probe);
        let paths = ["/a", "/a", "/b", "/b"];
        let request = |id: usize| Work::head(ms(10)).id(id).of(paths[id]);
        let sent = burst(&client, 4, request).await;
        send_all(sent).await;
        // The second stands behind the third, which was there first, and before the fourth.
        assert_eq!(probe.ids(), [0, 2, 1, 3], "{face:?}");
        assert_eq!(probe.times(), [0, 10, 20, 30], "{face:?}");
    }
}

/// "A new quota takes effect at once, for all partitions." At the very instant at which the wider scope
/// opened, the first partition's turn to hear of the new quota let the second's next request through, by
/// the quota that was no longer.
#[tokio::test(start_paused = true)]
async fn a_lowered_quota_holds_for_all_partitions_when_a_wider_scope_opens() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .partition_by_header("x-key")
            .across_partitions(Quota::unlimited());
        let layer = AnyLayer::new(face, endpoints);
        let (mut client, handle) = (layer.client(&probe), layer.handle());
        let mut enter = |key: &'static str| {
            let mut request = job("/a", ms(1000));
            request.headers_mut().insert("x-key", key.parse().unwrap());
            let mut sent = call(&mut client, request);
            tokio_test::assert_pending!(sent.poll());
            sent
        };
        let _under_way = ["one", "two"].map(&mut enter);
        handle.pause(Endpoints::ACROSS_PARTITIONS, ms(100)).unwrap();
        let waiting = ["one", "two"].map(enter);
        // Nobody has been polled since the pause has ended, so nobody knows.
        tokio::time::advance(ms(100)).await;
        handle.set_quota("/a", per(1, 1000).concurrency(1)).unwrap();
        for mut waiter in waiting {
            tokio_test::assert_pending!(waiter.poll());
        }
        assert_eq!(probe.times(), [0, 0], "{face:?}");
    }
}

/// L18: what a call changes is done in as many holds of the lock as it takes. With three units and a flow one hold had
/// room for nothing but the piece of work itself, so a pause or a new quota never returned.
#[test]
fn a_pause_ends_though_a_flow_waits_where_three_units_are_counted() {
    without_deadlock("a pause", async {
        let units = ["a", "b", "c"].map(Unit::new);
        let quota = units.into_iter().fold(Quota::unlimited(), |quota, unit| {
            quota.units(unit, 8, ms(100))
        });
        let probe = Probe::new();
        let layer = layer_a(Face::Throttle, quota.clone());
        let (mut client, handle) = (layer.client(&probe), layer.handle());
        handle.pause("/a", ms(10)).unwrap();
        let mut request = get("/a");
        request
            .extensions_mut()
            .insert(Terms::new().flow(Flow::new("tenant")));
        let mut waits = call(&mut client, request);
        assert!(waits.poll().is_pending());
        handle.pause("/a", ms(20)).unwrap();
        handle.set_quota("/a", quota).unwrap();
        tokio::time::sleep(ms(20)).await;
        assert!(waits.is_woken() && waits.poll().is_ready());
        assert_eq!(probe.times(), [20]);
    });
}

/// A lesson about permits ends by itself after ten minutes. That is not when the next permit is free.
#[tokio::test(start_paused = true)]
async fn a_learned_number_of_permits_refuses_nobody_who_may_wait() {
    let minute = Duration::from_secs(60);
    let cases = [
        // One more than the server allows, and as many, with one refusal that names no time.
        (Quota::concurrent(5), None),
        (Quota::concurrent(4), Some(Fault::status(429).after(2))),
        (Quota::unlimited(), None),
    ];
    for (quota, fault) in &cases {
        for max_wait in [None, Some(minute)] {
            let work = mock::Work::fixed(Duration::from_millis(100));
            let judge = Judge::builder().route("GET /a", Limit::unlimited().concurrency(4), work);
            let judge = judge.build();
            if let Some(fault) = fault {
                judge.fault(fault.clone());
            }
            let endpoints = Endpoints::new().route("GET /a", quota.clone());
            let mut layer = ThrottleLayer::new(endpoints);
            if let Some(max_wait) = max_wait {
                layer = layer.max_wait(max_wait);
            }
            let client = layer.layer(judge);
            let calls = (0..20).map(|_| {
                let client = client.clone();
                async move {
                    let mut request = Request::get("/a").body(Full::<Bytes>::default()).unwrap();
                    if max_wait.is_none() {
                        let deadline = Deadline(Instant::now() + minute);
                        request.extensions_mut().insert(deadline);
                    }
                    let response = client.oneshot(request).await?;
                    let status = response.status();
                    drop(response.into_body().collect().await);
                    Ok::<_, BoxError>(status)
                }
            });
            for status in join_all(calls).await {
                assert_eq!(status.expect("nobody waits for a minute"), 200, "{quota:?}");
            }
        }
    }
}

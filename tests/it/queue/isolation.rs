//! A bucket at its limit delays nobody who does not need it, and nobody holds one place while waiting
//! for another; and how the hand-made stacks differ.

use std::time::Duration;

use crate::support::*;
use tower::ServiceBuilder;
use tower_throttle::{ConcurrencyLayer, Endpoints, Quota, RpsLayer};

const MINUTE: u64 = 60_000;

async fn done(sent: Vec<Sent>) {
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_at_its_limit_delays_no_other() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/slow", Quota::per_minute(1).concurrency(1))
            .route("/fast", Quota::per_second(100).concurrency(100))
            .overall(Quota::per_second(1000).concurrency(1000));
        let client = AnyLayer::new(face, endpoints).client(&probe);
        let slow = burst(&client, 5, |_| job("/slow", ms(MINUTE))).await;
        at(&probe, 10).await;
        let fast = burst(&client, 50, |_| job("/fast", ms(5))).await;
        let other = burst(&client, 50, |_| job("/other", ms(5))).await;
        done(fast).await;
        done(other).await;
        assert_eq!(probe.millis(tokio::time::Instant::now()), 15);
        assert_eq!(probe.times_of("/fast"), [10; 50], "{face:?}");
        assert_eq!(probe.times_of("/other"), [10; 50], "{face:?}");
        done(slow).await;
        let minutes = [0, MINUTE, 2 * MINUTE, 3 * MINUTE, 4 * MINUTE];
        assert_eq!(probe.times_of("/slow"), minutes, "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_at_its_limit_delays_no_other() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", per(1, 1000).concurrency(1))
            .overall(per(2, 1000).concurrency(2))
            .partition_by_header("x-key");
        let client = AnyLayer::new(face, endpoints).client(&probe);
        let with = |key: &'static str| {
            move |_| {
                let mut request = job("/a", ms(1000));
                request.headers_mut().insert("x-key", key.parse().unwrap());
                request
            }
        };
        let first = burst(&client, 3, with("one")).await;
        at(&probe, 10).await;
        let second = burst(&client, 1, with("two")).await;
        let third = burst(&client, 1, |_| job("/a", ms(1000))).await;
        assert_eq!(probe.times(), [0, 10, 10], "{face:?}");
        done(first).await;
        done(second).await;
        done(third).await;
        assert_eq!(probe.times(), [0, 10, 10, 1000, 2000], "{face:?}");
    }
}

fn starving() -> Endpoints {
    Endpoints::new()
        .route("/slow", Quota::per_minute(1))
        .route("/fast", Quota::unlimited())
        .overall(Quota::concurrent(4))
}

/// Five requests to an endpoint of 1 per minute, then eight to another one.
async fn starve(client: &Client, probe: &Probe) {
    let slow = burst(client, 5, |_| job("/slow", ms(5))).await;
    at(probe, 10).await;
    let fast = burst(client, 8, |_| job("/fast", ms(100))).await;
    done(slow).await;
    done(fast).await;
    assert_eq!(
        probe.times_of("/slow"),
        [0, MINUTE, 2 * MINUTE, 3 * MINUTE, 4 * MINUTE]
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_narrow_window_holds_no_permit_of_a_wider_scope() {
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Throttle, starving());
    starve(&layer.client(&probe), &probe).await;
    assert_eq!(
        probe.times_of("/fast"),
        [10, 10, 10, 10, 110, 110, 110, 110]
    );
}

#[tokio::test(start_paused = true)]
async fn in_the_hand_stack_those_who_wait_for_their_window_starve_the_others() {
    let probe = Probe::new();
    let stack = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(starving()))
        .layer(RpsLayer::new(starving()))
        .service(probe.clone());
    let slow: Vec<_> = (0..5)
        .map(|_| {
            let mut stack = stack.clone();
            tokio::spawn(async move {
                let ready = tower::ServiceExt::ready(&mut stack).await.unwrap();
                tower::Service::call(ready, job("/slow", ms(5)))
                    .await
                    .map(drop)
            })
        })
        .collect();
    at(&probe, 10).await;
    let mut fast = stack.clone();
    let fast = tokio::spawn(async move {
        let ready = tower::ServiceExt::ready(&mut fast).await.unwrap();
        tower::Service::call(ready, job("/fast", ms(100)))
            .await
            .map(drop)
    });
    fast.await.unwrap().unwrap();
    for slow in slow {
        slow.await.unwrap().unwrap();
    }
    // Nobody used the other endpoint, and still it took a minute.
    assert_eq!(probe.times_of("/fast"), [MINUTE + 5]);
}

/// Four calls that end together, then more: how many reach the inner service in one window?
async fn worst_window<F>(probe: &Probe, spawn: F) -> usize
where
    F: Fn(http::Request<&'static str>) -> tokio::task::JoinHandle<()>,
{
    let mut tasks = Vec::new();
    for id in 0..12u64 {
        // The first four all end at 1 s.
        let work = if id < 4 {
            ms(1000 - id / 2 * 100)
        } else {
            ms(1)
        };
        tasks.push(spawn(job("/a", work)));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let times = probe.times();
    times
        .iter()
        .map(|from| {
            times
                .iter()
                .filter(|t| (*from..*from + 100).contains(t))
                .count()
        })
        .max()
        .unwrap()
}

macro_rules! spawner {
    ($stack:expr) => {{
        let stack = $stack;
        move |request| {
            let mut stack = stack.clone();
            tokio::spawn(async move {
                let ready = tower::ServiceExt::ready(&mut stack).await.unwrap();
                drop(tower::Service::call(ready, request).await.unwrap());
            })
        }
    }};
}

#[tokio::test(start_paused = true)]
async fn windows_inside_concurrency_hold_and_the_other_way_round_they_do_not() {
    let endpoints = Endpoints::new().route("/a", per(2, 100).concurrency(4));

    let probe = Probe::new();
    let right = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(endpoints.clone()))
        .layer(RpsLayer::new(endpoints.clone()))
        .service(probe.clone());
    assert_eq!(worst_window(&probe, spawner!(right)).await, 2);

    let probe = Probe::new();
    let wrong = ServiceBuilder::new()
        .layer(RpsLayer::new(endpoints.clone()))
        .layer(ConcurrencyLayer::new(endpoints.clone()))
        .service(probe.clone());
    // They passed their window long ago and have been queueing for a permit since.
    assert!(worst_window(&probe, spawner!(wrong)).await >= 4);

    let probe = Probe::new();
    let joint = throttle(endpoints);
    let joint = ServiceBuilder::new().layer(joint).service(probe.clone());
    assert_eq!(worst_window(&probe, spawner!(joint)).await, 2);
}

/// Sends `(at, id, path)`s and gives the order of dispatch.
async fn contest(
    client: &Client,
    probe: &Probe,
    asks: &[(u64, usize, &'static str)],
    work: Duration,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    for &(time, id, path) in asks {
        at(probe, time).await;
        sent.extend(burst(client, 1, |_| Work::head(work).id(id).of(path)).await);
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn only_heads_compete_for_the_wider_scope_in_the_order_they_got_there() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .route("/b", Quota::unlimited())
            .route("/c", Quota::unlimited())
            .overall(per(1, 100));
        let client = AnyLayer::new(face, endpoints).client(&probe);
        let asks = [
            (0, 0, "/a"),
            (0, 1, "/a"),
            (0, 2, "/a"),
            (10, 3, "/b"),
            (20, 4, "/c"),
            (30, 5, "/b"),
        ];
        done(contest(&client, &probe, &asks, ms(1)).await).await;
        // 2 becomes a head at 100 only, when 1 leaves; 5 at 200, when 3 does.
        assert_eq!(probe.ids(), [0, 1, 3, 4, 2, 5], "{face:?}");
        assert_eq!(probe.times(), [0, 100, 200, 300, 400, 500]);
    }
}

#[tokio::test(start_paused = true)]
async fn for_permits_too_only_heads_compete_in_the_order_they_got_there() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .overall(Quota::concurrent(1))
            .each_other_path(Quota::unlimited());
        let client = AnyLayer::new(face, endpoints).client(&probe);
        let asks = [
            (0, 0, "/a"),
            (0, 1, "/a"),
            (0, 2, "/a"),
            (10, 3, "/b"),
            (20, 4, "/c"),
            (30, 5, "/b"),
        ];
        done(contest(&client, &probe, &asks, ms(100)).await).await;
        assert_eq!(probe.ids(), [0, 1, 3, 4, 2, 5], "{face:?}");
        assert_eq!(probe.times(), [0, 100, 200, 300, 400, 500]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_sends_one_head_at_a_time_to_the_overall_contest() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .group("group", Quota::per_second(1000), ["/a", "/b"])
            .route("/c", Quota::unlimited())
            .overall(per(1, 100));
        let client = AnyLayer::new(face, endpoints).client(&probe);
        let asks = [(0, 0, "/a"), (0, 1, "/a"), (10, 2, "/b"), (20, 3, "/c")];
        done(contest(&client, &probe, &asks, ms(1)).await).await;
        // 2 gets to the overall contest at 100, when 1 has left it for the group.
        assert_eq!(probe.ids(), [0, 1, 3, 2], "{face:?}");
        assert_eq!(probe.times(), [0, 100, 200, 300]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_endpoint_is_paused_leaves_the_contest_and_returns_later() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .route("/b", Quota::unlimited())
            .route("/c", Quota::unlimited())
            .overall(per(1, 100));
        let layer = AnyLayer::new(face, endpoints);
        let client = layer.client(&probe);
        let asks = [(0, 0, "/a"), (0, 1, "/a"), (10, 2, "/b"), (20, 3, "/c")];
        let sent = contest(&client, &probe, &asks, ms(1)).await;
        at(&probe, 50).await;
        layer.handle().pause("/a", ms(100)).unwrap();
        done(sent).await;
        assert_eq!(probe.ids(), [0, 2, 3, 1], "{face:?}");
        assert_eq!(probe.times(), [0, 100, 200, 300]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_endpoint_is_resized_leaves_the_contest_and_returns_later() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::concurrent(2))
        .route("/b", Quota::unlimited())
        .route("/c", Quota::unlimited())
        .overall(per(1, 100));
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let client = layer.client(&probe);
    let asks = [(0, 0, "/a"), (0, 1, "/a"), (10, 2, "/b"), (20, 3, "/c")];
    let sent = contest(&client, &probe, &asks, ms(150)).await;
    at(&probe, 50).await;
    // The one in flight until 150 is all that is allowed now.
    layer
        .handle()
        .set_quota("/a", Quota::concurrent(1))
        .unwrap();
    done(sent).await;
    assert_eq!(probe.ids(), [0, 2, 3, 1]);
    assert_eq!(probe.times(), [0, 100, 200, 300]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_left_the_contest_and_came_back_in_time_is_behind_those_who_stayed() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(per(1, 100));
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let client = layer.client(&probe);
    let asks = [(0, 0, "/a"), (0, 1, "/a"), (10, 2, "/b")];
    let sent = contest(&client, &probe, &asks, ms(1)).await;
    at(&probe, 50).await;
    layer.handle().pause("/a", ms(500)).unwrap();
    at(&probe, 60).await;
    layer.handle().resume("/a").unwrap();
    done(sent).await;
    assert_eq!(probe.ids(), [0, 2, 1]);
    assert_eq!(probe.times(), [0, 100, 200]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_counted_in_a_scope_that_another_one_keeps_it_from() {
    // The narrow window is full; the wide one must not have been charged for those who wait.
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", per(1, 1000))
        .route("/b", Quota::unlimited())
        .overall(per(3, 1000));
    let client = AnyLayer::new(Face::Rps, endpoints).client(&probe);
    let a = burst(&client, 3, |_| get("/a")).await;
    let b = burst(&client, 3, |_| get("/b")).await;
    assert_eq!(probe.times(), [0, 0, 0]);
    done(a).await;
    done(b).await;
    assert_eq!(probe.times_of("/b"), [0, 0, 1000]);
    assert_eq!(probe.times_of("/a"), [0, 1000, 2000]);
}

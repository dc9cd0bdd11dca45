//! What waits, and for what: bodies that are kept open while others wait for their permits, and heads of queues.

use std::time::Duration;

use crate::support::*;
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Service, ServiceExt};
use tower_throttle::{Awaited, BucketSnapshot, Cost, Endpoints, Handle, Quota, Terms, Unit};

fn a(handle: &Handle) -> BucketSnapshot {
    handle.snapshot().bucket("/a").unwrap().clone()
}

/// A body that never ends by itself.
fn endless(path: &str) -> Req {
    let body = [Step::Data("x"), Step::Wait(ms(1_000_000_000))];
    Work::head(Duration::ZERO).body(body).of(path)
}

/// Sends a request, and returns the answer with its body unread.
async fn head(client: &Client, request: Req) -> Answer {
    let mut client = client.clone();
    client.ready().await.unwrap().call(request).await.unwrap()
}

const BODY_OPEN: fn(&What) -> bool = |what| matches!(what, What::BodyOpen(_));

/// A body is told of 30 s after it is open and somebody waits for its permit, whichever comes last.
#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_others_waiting_is_told_of_after_30_seconds() {
    for face in PERMITS {
        for (head_after, waits_at) in [(1000, 2500), (4000, 2500), (1000, 1000)] {
            let recorder = Recorder::new();
            let probe = Probe::new();
            let layer = observed(
                face,
                endpoint_a(Quota::concurrent(1)).overall(Quota::concurrent(9)),
                recorder.clone(),
            );
            let client = layer.client(&probe);
            let body = [Step::Data("x"), Step::Wait(ms(1_000_000))];
            let request = Work::head(ms(head_after)).body(body).of("/a");
            let of_client = client.clone();
            let kept = tokio::spawn(async move { head(&of_client, request).await });
            at(&probe, waits_at).await;
            let waits = tokio::spawn(send(client.clone(), get("/a")));
            at(&probe, 100_000).await;
            let due = head_after.max(waits_at) + 30_000;
            let told = [(due, What::BodyOpen(due - head_after))];
            assert_eq!(recorder.only("/a", BODY_OPEN), told, "{face:?}");
            assert_eq!(recorder.of("overall"), []);
            drop(kept.await.unwrap());
            waits.await.unwrap().unwrap();
            recorder.check();
        }
    }
}

/// Each body is told of once, in the order of their heads, under its own endpoint, also where the permit is that of a
/// wider scope; and no body that nobody waits for.
#[tokio::test(start_paused = true)]
async fn bodies_of_several_endpoints_are_told_of_where_all_wait() {
    for face in PERMITS {
        let recorder = Recorder::new();
        let probe = Probe::new();
        let endpoints = endpoint_a(Quota::concurrent(2))
            .route("/b", Quota::concurrent(9))
            .overall(Quota::concurrent(3));
        let layer = observed(face, endpoints, recorder.clone());
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut kept = Vec::new();
        for path in ["/a", "/a", "/b"] {
            kept.push(head(&client, endless(path)).await);
            at(&probe, 1000 * kept.len() as u64).await;
        }
        // Nobody waits.
        at(&probe, 40_000).await;
        assert_eq!(recorder.count("/a", BODY_OPEN), 0);
        let of_b = tokio::spawn(send(client.clone(), get("/b")));
        at(&probe, 50_000).await;
        // This one waits at its endpoint, for what is told of anyway.
        let of_a = tokio::spawn(send(client.clone(), get("/a")));
        at(&probe, 200_000).await;
        let told = |times: &[(u64, u64)]| -> Vec<_> {
            times
                .iter()
                .map(|&(at, open)| (at, What::BodyOpen(open)))
                .collect()
        };
        assert_eq!(
            recorder.only("/a", BODY_OPEN),
            told(&[(70_000, 70_000), (70_000, 69_000)]),
            "{face:?}"
        );
        assert_eq!(recorder.only("/b", BODY_OPEN), told(&[(70_000, 68_000)]));
        let bucket = a(&handle);
        assert_eq!((bucket.open_bodies(), bucket.in_flight()), (2, 2));
        assert_eq!(bucket.oldest_body(), Some(ms(200_000)));
        drop(kept);
        of_a.await.unwrap().unwrap();
        of_b.await.unwrap().unwrap();
        assert_eq!(a(&handle).oldest_body(), None);
        recorder.check();
    }
}

/// A break in the waiting begins the 30 s anew; another head in the same instant does not.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_body_is_that_for_which_somebody_waits_without_a_break() {
    for face in PERMITS {
        let recorder = Recorder::new();
        let probe = Probe::new();
        let layer = observed(face, endpoint_a(Quota::concurrent(2)), recorder.clone());
        let client = layer.client(&probe);
        let kept = head(&client, endless("/a")).await;
        let second = |millis| job("/a", ms(millis));
        // Uses the other permit, and goes on to do so.
        let mut sent = burst(&client, 1, |_| second(10_000)).await;
        sent.extend(burst(&client, 2, |_| second(10_000)).await);
        at(&probe, 20_500).await;
        // All have gone, so nobody waits from 20 s on.
        assert_eq!(recorder.count("/a", BODY_OPEN), 0);
        sent.extend(burst(&client, 4, |_| second(10_000)).await);
        at(&probe, 60_000).await;
        let told = recorder.only("/a", BODY_OPEN);
        assert_eq!(told, [(50_500, What::BodyOpen(50_500))], "{face:?}");
        finish(sent).await;
        drop(kept);
        recorder.check();
    }
}

/// L18, L19: without an observer nothing is due.
#[tokio::test(start_paused = true)]
async fn nothing_is_timed_without_an_observer() {
    for face in PERMITS {
        let layer = layer_a(face, Quota::concurrent(1));
        let (mut client, handle) = (layer.client(&Probe::new()), layer.handle());
        let kept = head(&client, endless("/a")).await;
        let mut waits = call(&mut client, get("/a"));
        assert_pending!(waits.poll());
        // A paused clock stops at each timer, of which there is none.
        let before = Instant::now();
        tokio::time::sleep(ms(100_000)).await;
        assert_eq!(before.elapsed(), ms(100_000));
        assert!(!waits.is_woken());
        // No time was kept when its head came: it was open when the other one began to wait.
        assert_eq!(a(&handle).open_bodies(), 1);
        assert_eq!(a(&handle).oldest_body(), Some(ms(100_000)));
        drop(kept);
        assert_ready_ok!(waits.poll());
    }
}

/// What a head waits for, where, and for how long.
fn awaits(handle: &Handle, bucket: &str) -> Option<(Awaited, String, u64)> {
    let snapshot = handle.snapshot();
    let head = snapshot.bucket(bucket).unwrap().head()?;
    let scope = head.scope().to_owned();
    Some((head.awaits(), scope, whole(head.waiting_for())))
}

#[tokio::test(start_paused = true)]
async fn a_head_says_what_it_waits_for() {
    let characters = Unit::new("characters");
    let endpoints = Endpoints::new()
        .route("/window", per(1, 100_000))
        .route("/permits", Quota::concurrent(1))
        .route(
            "/unit",
            Quota::unlimited().units(characters, 10, ms(100_000)),
        )
        .route("/paused", Quota::unlimited())
        .route("/first", Quota::unlimited())
        .route("/second", Quota::unlimited())
        .overall(Quota::concurrent(7));
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let (client, handle) = (layer.client(&probe), layer.handle());
    handle.pause("/paused", ms(100_000)).unwrap();
    let request = |path| {
        let mut request = endless(path);
        if path == "/unit" {
            let terms = Terms::new().cost(Cost::new().of(characters, 10));
            request.extensions_mut().insert(terms);
        }
        request
    };
    let mut kept = Vec::new();
    for path in ["/window", "/permits", "/unit", "/free"] {
        kept.push(head(&client, request(path)).await);
    }
    assert_eq!(awaits(&handle, "/window"), None);
    let mut sent = Vec::new();
    for path in ["/window", "/permits", "/unit", "/paused"] {
        sent.extend(burst(&client, 1, |_| request(path)).await);
    }
    at(&probe, 10).await;
    let at_itself = |what, name: &str| Some((what, name.to_owned(), 10));
    for (name, what) in [
        ("/window", Awaited::Window(Unit::REQUESTS)),
        ("/permits", Awaited::Permits),
        ("/unit", Awaited::Window(characters)),
        ("/paused", Awaited::Pause),
    ] {
        assert_eq!(awaits(&handle, name), at_itself(what, name), "{name}");
    }
    assert_eq!(awaits(&handle, "overall"), None, "all wait below");
    for _ in 0..3 {
        kept.push(head(&client, request("/free")).await);
    }
    for path in ["/first", "/second"] {
        sent.extend(burst(&client, 1, |_| request(path)).await);
    }
    at(&probe, 30).await;
    let at_overall = |what| Some((what, "overall".to_owned(), 20));
    assert_eq!(awaits(&handle, "/first"), at_overall(Awaited::Permits));
    assert_eq!(awaits(&handle, "/second"), at_overall(Awaited::Turn));
    assert_eq!(awaits(&handle, "overall"), at_overall(Awaited::Permits));
    sent.iter().for_each(tokio::task::JoinHandle::abort);
}

//! What a snapshot says of heads and open bodies, and the event for a body that keeps a head waiting, by what is promised
//! alone.
#![allow(missing_docs)]

use http::Request;
use tower::{Service, ServiceExt};
use tower_throttle::{Awaited, Body, Cost, Endpoints, Flow, Handle, Priority, Quota, Terms, Unit};

use crate::support::{
    self, AnyLayer, Client, Face, PERMITS, Probe, Recorder, Req, Scripted, Step, What, Work, at,
    endpoint_a, enter, finish, get, job, layer_a, ms, observed, per, send, settle,
};

const TOKENS: Unit = Unit::new("tokens");

/// What the head of a bucket waits for, at which scope, and for how many milliseconds it has.
fn head(handle: &Handle, bucket: &str) -> Option<(Awaited, String, u64)> {
    let snapshot = handle.snapshot();
    let head = snapshot.bucket(bucket).unwrap().head()?;
    let waited = support::whole(head.waiting_for());
    Some((head.awaits(), head.scope().to_owned(), waited))
}

fn what(awaits: Awaited, scope: &str, waited: u64) -> (Awaited, String, u64) {
    (awaits, scope.to_owned(), waited)
}

fn with(path: &str, terms: Terms) -> Req {
    let mut request = get(path);
    request.extensions_mut().insert(terms);
    request
}

/// The body stays open until it is dropped.
async fn open(client: &Client, path: &str) -> Body<Scripted> {
    open_with(client, path, Terms::new()).await
}

async fn open_with(client: &Client, path: &str, terms: Terms) -> Body<Scripted> {
    let mut request = Work::head(ms(0)).body([Step::Wait(ms(1 << 40))]).of(path);
    request.extensions_mut().insert(terms);
    let answer = client.clone().ready().await.unwrap().call(request).await;
    answer.unwrap().into_body()
}

fn open_events(recorder: &Recorder) -> Vec<(String, u64, u64)> {
    let told = recorder.all().into_iter();
    told.filter_map(|told| match told.what {
        What::BodyOpen(time) => {
            let at = support::whole(told.at - recorder.start);
            Some((told.bucket, at, time))
        }
        _ => None,
    })
    .collect()
}

/// A snapshot names what the head waits for: a window of requests or of another unit, a permit, or the end of a pause.
#[tokio::test(start_paused = true)]
async fn a_head_says_what_it_waits_for() {
    let quota = per(2, 1_000).units(TOKENS, 10, ms(5_000)).concurrency(1);
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, quota);
    let (client, handle) = (layer.client(&probe), layer.handle());
    let cost = |n| Terms::new().cost(Cost::new().of(TOKENS, n));
    assert_eq!(head(&handle, "/a"), None);
    let body = open_with(&client, "/a", cost(4)).await;
    assert_eq!(head(&handle, "/a"), None);
    let waits = enter(&client, &probe, with("/a", cost(8))).await;
    at(&probe, 100).await;
    // Of several limits one that is not there yet is named.
    let (awaits, scope, waited) = head(&handle, "/a").unwrap();
    assert!(
        awaits == Awaited::Permits || awaits == Awaited::Window(TOKENS),
        "{awaits:?}"
    );
    assert_eq!((scope.as_str(), waited), ("/a", 100));
    drop(body);
    settle().await;
    assert_eq!(
        head(&handle, "/a"),
        Some(what(Awaited::Window(TOKENS), "/a", 100))
    );
    handle.pause("/a", ms(10_000)).unwrap();
    at(&probe, 6_000).await;
    assert_eq!(head(&handle, "/a"), Some(what(Awaited::Pause, "/a", 6_000)));
    handle.resume("/a").unwrap();
    settle().await;
    assert_eq!(head(&handle, "/a"), None);
    support::came(vec![waits]).await;
    let body = open_with(&client, "/a", cost(0)).await;
    let waits = enter(&client, &probe, with("/a", cost(0))).await;
    drop(body);
    settle().await;
    assert_eq!(
        head(&handle, "/a"),
        Some(what(Awaited::Window(Unit::REQUESTS), "/a", 0))
    );
    handle.close();
    settle().await;
    assert_eq!(head(&handle, "/a"), None);
    drop(waits);
}

/// A head whose endpoint has room names the wider scope, and waits for its turn there behind the one that stands first.
#[tokio::test(start_paused = true)]
async fn a_head_that_waits_for_a_wider_scope_names_it() {
    let endpoints = Endpoints::new()
        .route("/a", Quota::concurrent(5))
        .route("/b", per(1, 60_000))
        .group("g", Quota::concurrent(1), ["/a", "/b"])
        .overall(Quota::per_second(100));
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let (client, handle) = (layer.client(&probe), layer.handle());
    let body = open(&client, "/a").await;
    let a = enter(&client, &probe, get("/a")).await;
    at(&probe, 10).await;
    let b = enter(&client, &probe, get("/b")).await;
    at(&probe, 30).await;
    assert_eq!(head(&handle, "/a"), Some(what(Awaited::Permits, "g", 30)));
    assert_eq!(head(&handle, "g"), Some(what(Awaited::Permits, "g", 30)));
    assert_eq!(head(&handle, "/b"), Some(what(Awaited::Turn, "g", 20)));
    assert_eq!(head(&handle, "overall"), None);
    a.abort();
    settle().await;
    assert_eq!(head(&handle, "/a"), None);
    assert_eq!(head(&handle, "/b"), Some(what(Awaited::Permits, "g", 20)));
    assert_eq!(head(&handle, "g"), Some(what(Awaited::Permits, "g", 20)));
    drop(body);
    support::came(vec![b]).await;
    let second = enter(&client, &probe, get("/b")).await;
    assert_eq!(
        head(&handle, "/b"),
        Some(what(Awaited::Window(Unit::REQUESTS), "/b", 0))
    );
    // Its own scope keeps it back, so it stands in no wider queue.
    assert_eq!(head(&handle, "g"), None);
    second.abort();
}

/// The head is who goes next: the oldest of the highest class, or of the flow whose turn it is.
#[tokio::test(start_paused = true)]
async fn the_head_is_the_one_that_goes_next() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, per(1, 1_000));
    let (client, handle) = (layer.client(&probe), layer.handle());
    let class = |class| with("/a", Terms::new().priority(class));
    let flow = |flow| {
        with(
            "/a",
            Terms::new().priority(Priority::HIGH).flow(Flow::new(flow)),
        )
    };
    let mut tasks = vec![enter(&client, &probe, flow(1)).await];
    for (i, request) in [class(Priority::LOW), flow(1), flow(1), flow(2)]
        .into_iter()
        .enumerate()
    {
        at(&probe, 100 * (1 + i as u64)).await;
        tasks.push(enter(&client, &probe, request).await);
    }
    // Entered at 100, 200, 300 and 400: they go by class, then by flow.
    let mut order = Vec::new();
    for second in 0..4 {
        at(&probe, second * 1_000 + 500).await;
        let (_, _, waited) = head(&handle, "/a").unwrap();
        order.push(second * 1_000 + 500 - waited);
    }
    assert_eq!(support::came(tasks).await.len(), 5);
    // Flow 2 has its turn before flow 1 has its third.
    assert_eq!(order[2..], [300, 100], "{order:?}");
    assert_eq!(head(&handle, "/a"), None);
}

/// Open bodies are counted from their heads to their end, error or drop; of these the oldest is told while others wait.
#[tokio::test(start_paused = true)]
async fn open_bodies_are_counted_and_the_oldest_is_known() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(4));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let state = || {
            let snapshot = handle.snapshot();
            let [a, overall] = ["/a", "overall"].map(|name| snapshot.bucket(name).unwrap());
            assert_eq!(overall.open_bodies(), a.open_bodies());
            assert_eq!(overall.in_flight(), a.in_flight());
            (a.in_flight(), a.open_bodies(), a.oldest_body())
        };
        assert_eq!(state(), (0, 0, None));
        let working = tokio::spawn(send(client.clone(), job("/a", ms(10_000))));
        settle().await;
        assert_eq!(state(), (1, 0, None));
        let error = Work::head(ms(0))
            .body([Step::Wait(ms(3_000)), Step::Error])
            .of("/a");
        let failing = tokio::spawn(send(client.clone(), error));
        settle().await;
        let dropped = open(&client, "/a").await;
        at(&probe, 1_000).await;
        assert_eq!((state().0, state().1), (3, 2));
        let last = open(&client, "/a").await;
        let waits = tokio::spawn(send(client.clone(), get("/a")));
        at(&probe, 2_000).await;
        assert_eq!((state().0, state().1), (4, 3));
        assert!(state().2 >= Some(ms(1_000)), "{:?}", state());
        drop(dropped);
        settle().await;
        at(&probe, 3_000).await;
        assert!(failing.await.unwrap().is_err());
        assert_eq!((state().0, state().1), (2, 1));
        drop(last);
        assert_eq!(state(), (1, 0, None));
        finish(vec![working, waits]).await;
    }
}

/// A body that has been open for 30 s while a head waits for its permit is told of at that instant, and once.
#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_a_head_waiting_is_told_of_once() {
    for face in PERMITS {
        let recorder = Recorder::new();
        let probe = Probe::new();
        let layer = observed(face, endpoint_a(Quota::concurrent(2)), recorder.clone());
        let client = layer.client(&probe);
        let first = open(&client, "/a").await;
        at(&probe, 1_000).await;
        let second = open(&client, "/a").await;
        let waits = tokio::spawn(send(client.clone(), get("/a")));
        at(&probe, 500_000).await;
        assert_eq!(
            open_events(&recorder),
            [("/a".into(), 31_000, 31_000), ("/a".into(), 31_000, 30_000)]
                .map(|told: (String, u64, u64)| told),
            "{face:?}"
        );
        drop((first, second));
        finish(vec![waits]).await;
    }
}

/// Nobody is told of a body for which no head waits, that ends in time, or whose head waits for something else.
#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_nobody_waiting_is_not_told_of() {
    for case in [
        "nobody", "in time", "window", "pause", "free", "rps", "at head",
    ] {
        let recorder = Recorder::new();
        let probe = Probe::new();
        let quota = match case {
            "window" => per(1, 100_000).concurrency(5),
            "at head" => per(1, 100_000).concurrency(1).release_at_head(),
            _ => Quota::concurrent(1),
        };
        let face = if case == "rps" {
            Face::Rps
        } else {
            Face::Throttle
        };
        let layer = observed(face, endpoint_a(quota), recorder.clone());
        let (client, handle) = (layer.client(&probe), layer.handle());
        let body = open(&client, "/a").await;
        let mut waits = Vec::new();
        let free = Terms::new().cost(Cost::new().permits(0).requests(0));
        match case {
            "nobody" => {}
            "pause" => {
                handle.set_quota("/a", Quota::concurrent(5)).unwrap();
                handle.pause("/a", ms(100_000)).unwrap();
                waits.push(tokio::spawn(send(client.clone(), get("/a"))));
            }
            "free" => {
                handle.pause("/a", ms(100_000)).unwrap();
                waits.push(tokio::spawn(send(client.clone(), with("/a", free))));
            }
            _ => waits.push(tokio::spawn(send(client.clone(), get("/a")))),
        }
        let end = if case == "in time" { 29_999 } else { 90_000 };
        at(&probe, end).await;
        drop(body);
        at(&probe, 200_000).await;
        assert_eq!(open_events(&recorder), [], "{case}");
        finish(waits).await;
    }
}

/// A body that holds a permit of a wider scope is told of under the name of its own endpoint; so is each of several.
#[tokio::test(start_paused = true)]
async fn a_body_is_told_of_at_its_own_endpoint() {
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .route("/c", Quota::unlimited())
        .group("g", Quota::concurrent(2), ["/a", "/b"]);
    let (recorder, probe) = (Recorder::new(), Probe::new());
    let client = observed(Face::Throttle, endpoints, recorder.clone()).client(&probe);
    let waits_not = open(&client, "/c").await;
    let bodies = [open(&client, "/b").await, open(&client, "/b").await];
    let waits = tokio::spawn(send(client.clone(), get("/a")));
    at(&probe, 100_000).await;
    let told = ("/b".to_owned(), 30_000, 30_000);
    assert_eq!(open_events(&recorder), [told.clone(), told]);
    drop(bodies);
    finish(vec![waits]).await;
    drop(waits_not);
}

/// The wait has to be without a break: while nobody waits the time does not count.
#[tokio::test(start_paused = true)]
async fn after_a_break_in_the_wait_a_body_is_told_of_later() {
    let (recorder, probe) = (Recorder::new(), Probe::new());
    let client = observed(
        Face::Throttle,
        endpoint_a(Quota::concurrent(1)),
        recorder.clone(),
    )
    .client(&probe);
    let body = open(&client, "/a").await;
    let first = tokio::spawn(send(client.clone(), get("/a")));
    at(&probe, 20_000).await;
    // Another one waits when the first leaves: no break.
    let second = tokio::spawn(send(client.clone(), get("/a")));
    settle().await;
    first.abort();
    at(&probe, 29_000).await;
    second.abort();
    at(&probe, 40_000).await;
    assert_eq!(open_events(&recorder), []);
    let third = tokio::spawn(send(client.clone(), get("/a")));
    at(&probe, 200_000).await;
    assert_eq!(open_events(&recorder), [("/a".to_owned(), 70_000, 70_000)]);
    drop(body);
    finish(vec![third]).await;
}

/// A permit of the engine without tower is no body: it is in flight, and no body is told of.
#[tokio::test(start_paused = true)]
async fn a_permit_is_no_body() {
    let (recorder, probe) = (Recorder::new(), Probe::new());
    let layer = observed(
        Face::Throttle,
        endpoint_a(Quota::concurrent(1)),
        recorder.clone(),
    );
    let (client, handle) = (layer.client(&probe), layer.handle());
    let request = Request::get("/a").body(()).unwrap();
    let permit = handle
        .admit(&request)
        .await
        .unwrap()
        .dispatched()
        .await
        .unwrap();
    let waits = tokio::spawn(send(client, get("/a")));
    at(&probe, 100_000).await;
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket("/a").unwrap();
    assert_eq!(
        (
            bucket.in_flight(),
            bucket.open_bodies(),
            bucket.oldest_body()
        ),
        (1, 0, None)
    );
    assert_eq!(open_events(&recorder), []);
    drop(permit);
    finish(vec![waits]).await;
}

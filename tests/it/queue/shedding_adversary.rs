//! Who makes room in a full queue (L15, `max_waiting`), by what is promised alone.
#![allow(missing_docs)]

use http::{Request, StatusCode};
use tokio::time::Instant;
use tower::ServiceExt;
use tower_throttle::{
    Cost, Endpoints, Flow, Handle, Priority, Quota, RefusedReason, RetryLayer, Terms, ThrottleLayer,
};

use crate::support::{
    AnyLayer, Came, Client, Face, Probe, Recorder, Req, Task, What, Work, at, call, came,
    endpoint_a, enter, get, layer_a, ms, observed, per, refused, settle, throttle,
};

const LOW: Priority = Priority::LOW;
const NORMAL: Priority = Priority::NORMAL;
const HIGH: Priority = Priority::HIGH;

fn ask(path: &str, class: Priority) -> Req {
    let mut request = get(path);
    request
        .extensions_mut()
        .insert(Terms::new().priority(class));
    request
}

fn full(at: u64) -> impl Fn(&Came) -> bool {
    move |came| matches!(came, Came::Refused(of, RefusedReason::QueueFull, _) if *of == at)
}

/// Requests that wait, in order, and which of them are refused at this instant.
async fn refused_of(tasks: Vec<Task>, now: u64) -> Vec<usize> {
    let came = came(tasks).await.into_iter().enumerate();
    came.filter(|(_, came)| full(now)(came))
        .map(|(i, _)| i)
        .collect()
}

async fn enter_all(client: &Client, probe: &Probe, classes: &[Priority]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for class in classes {
        tasks.push(enter(client, probe, ask("/a", *class)).await);
    }
    tasks
}

/// L15: each newcomer takes the place of the youngest of the lowest class that is below its own, or is refused itself.
#[tokio::test(start_paused = true)]
async fn the_youngest_of_the_lowest_class_makes_room_one_after_the_other() {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, per(1, 1_000))
        .max_waiting(4)
        .client(&probe);
    let mut tasks = enter_all(&client, &probe, &[HIGH]).await; // goes
    tasks.extend(enter_all(&client, &probe, &[LOW, NORMAL, LOW, NORMAL]).await); // wait: 1 to 4
    tasks.extend(enter_all(&client, &probe, &[LOW]).await); // 5 is refused itself
    tasks.extend(enter_all(&client, &probe, &[NORMAL]).await); // 6 instead of 3
    tasks.extend(enter_all(&client, &probe, &[HIGH]).await); // 7 instead of 1
    tasks.extend(enter_all(&client, &probe, &[NORMAL]).await); // 8 is refused itself
    tasks.extend(enter_all(&client, &probe, &[HIGH, HIGH, HIGH]).await); // 9, 10, 11 instead of 6, 4, 2
    tasks.extend(enter_all(&client, &probe, &[HIGH]).await); // 12 is refused itself
    assert_eq!(refused_of(tasks, 0).await, [1, 2, 3, 4, 5, 6, 8, 12]);
    assert_eq!(probe.times(), [0, 1_000, 2_000, 3_000, 4_000]);
}

/// L15: who makes room is the youngest, whatever its flow; what it is refused with names its endpoint.
#[tokio::test(start_paused = true)]
async fn flows_do_not_matter_for_who_makes_room() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, per(1, 1_000)).max_waiting(3);
    let (client, handle) = (layer.client(&probe), layer.handle());
    let mut tasks = enter_all(&client, &probe, &[HIGH]).await;
    for flow in [1, 2, 1] {
        let mut request = get("/a");
        let terms = Terms::new()
            .priority(LOW)
            .flow(Flow::new(flow).weight(flow));
        request.extensions_mut().insert(terms);
        tasks.push(enter(&client, &probe, request).await);
    }
    tasks.extend(enter_all(&client, &probe, &[HIGH, HIGH]).await);
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket("/a").unwrap();
    assert_eq!((bucket.waiting(), bucket.refused()), (3, 2));
    assert_eq!(refused_of(tasks, 0).await, [2, 3]);
}

/// L15: one that makes room need not be polled for it, and hears of it when it is.
#[tokio::test(start_paused = true)]
async fn one_that_is_not_polled_makes_room_as_well() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, per(1, 1_000)).max_waiting(1);
    let (mut client, handle) = (layer.client(&probe), layer.handle());
    let mut tasks = enter_all(&client, &probe, &[HIGH]).await;
    let mut low = call(&mut client, ask("/a", LOW));
    assert!(low.poll().is_pending());
    tasks.extend(enter_all(&client, &probe, &[HIGH]).await);
    assert!(low.is_woken());
    assert_eq!(handle.snapshot().bucket("/a").unwrap().unheard(), 1);
    assert_eq!(came(tasks).await, [Came::Sent(0), Came::Sent(1_000)]);
    let error = match low.poll() {
        std::task::Poll::Ready(answer) => answer.unwrap_err(),
        std::task::Poll::Pending => panic!("it still waits"),
    };
    assert_eq!(refused(&error).reason(), RefusedReason::QueueFull);
    assert_eq!(refused(&error).endpoint(), "/a");
    assert_eq!(refused(&error).scope(), "/a");
    assert_eq!(handle.snapshot().bucket("/a").unwrap().unheard(), 0);
}

/// L15: where a group or overall is full of others' requests the newcomer is refused, though a lower class waits beside it.
#[tokio::test(start_paused = true)]
async fn at_a_wider_scope_that_others_fill_the_newcomer_is_refused() {
    let endpoints = Endpoints::new()
        .route("/a", per(1, 1_000))
        .route("/b", per(1, 1_000))
        .route("/c", per(1, 1_000))
        .group("g", Quota::unlimited(), ["/a", "/b"]);
    for other in ["/b", "/c"] {
        let probe = Probe::new();
        let layer = AnyLayer::new(Face::Throttle, endpoints.clone()).max_waiting(3);
        let client = layer.client(&probe);
        let mut tasks = enter_all(&client, &probe, &[HIGH]).await;
        tasks.push(enter(&client, &probe, ask(other, HIGH)).await);
        tasks.extend(enter_all(&client, &probe, &[LOW, LOW]).await);
        tasks.push(enter(&client, &probe, ask(other, LOW)).await);
        tasks.extend(enter_all(&client, &probe, &[HIGH]).await);
        let last = came(tasks).await;
        let Came::Refused(0, RefusedReason::QueueFull, _) = last[5] else {
            panic!("{last:?}");
        };
        assert!(
            last[..5].iter().all(|came| matches!(came, Came::Sent(_))),
            "{last:?}"
        );
    }
}

/// L15: nobody makes room for another partition, nor for a newcomer that a limit across them has no room for.
#[tokio::test(start_paused = true)]
async fn nobody_makes_room_for_another_partition() {
    let of = |key: &'static str, class| {
        let mut request = ask("/a", class);
        request.headers_mut().insert("key", key.parse().unwrap());
        request
    };
    for across in [false, true] {
        let endpoints = endpoint_a(per(1, 1_000)).partition_by_header("key");
        let endpoints = if across {
            endpoints.across_partitions(Quota::per_second(100))
        } else {
            endpoints
        };
        let probe = Probe::new();
        let client = AnyLayer::new(Face::Throttle, endpoints)
            .max_waiting(2)
            .client(&probe);
        let mut tasks = Vec::new();
        for class in [HIGH, LOW, LOW] {
            tasks.push(enter(&client, &probe, of("x", class)).await);
        }
        for class in [HIGH, HIGH] {
            tasks.push(enter(&client, &probe, of("y", class)).await);
        }
        let refused = refused_of(tasks, 0).await;
        assert_eq!(refused, if across { vec![4] } else { vec![] });
    }
}

/// L15: a retry is not given up. It is not counted out either: the youngest of its class that is none makes room.
#[tokio::test(start_paused = true)]
async fn a_retry_does_not_make_room() {
    let probe = Probe::new();
    let layer = throttle(endpoint_a(per(1, 1_000))).max_waiting(2);
    let handle = layer.handle();
    let client = AnyLayer::Throttle(layer).client(&probe);
    let low = http::Request::get("/a")
        .extension(Terms::new().priority(LOW))
        .body(())
        .unwrap();
    let permit = handle
        .admit(&low)
        .await
        .unwrap()
        .dispatched()
        .await
        .unwrap();
    let mut tasks = enter_all(&client, &probe, &[LOW]).await;
    let again = tokio::spawn({
        let handle = handle.clone();
        async move {
            handle
                .admit_again(permit)
                .await
                .map(|again| drop(again.dispatch()))
        }
    });
    settle().await;
    tasks.extend(enter_all(&client, &probe, &[HIGH, HIGH]).await);
    assert!(!again.is_finished());
    let came = came(tasks).await;
    assert!(full(0)(&came[0]) && full(0)(&came[2]), "{came:?}");
    assert_eq!(came[1], Came::Sent(1_000));
    again.await.unwrap().unwrap();
}

/// L15: `max_waiting(0)` lets nobody wait, so nobody makes room for one that would have to.
#[tokio::test(start_paused = true)]
async fn with_room_for_nobody_nobody_makes_room() {
    let layer = throttle(endpoint_a(per(1, 1_000)));
    let probe = Probe::new();
    let patient = AnyLayer::Throttle(layer.clone().max_waiting(5)).client(&probe);
    let impatient = AnyLayer::Throttle(layer.max_waiting(0)).client(&probe);
    let mut tasks = enter_all(&patient, &probe, &[HIGH, LOW, LOW]).await;
    tasks.extend(enter_all(&impatient, &probe, &[HIGH]).await);
    assert_eq!(refused_of(tasks, 0).await, [3]);
}

/// L19: one that makes room is told as refused, at its endpoint, and the newcomer as queued in a queue no longer than before.
#[tokio::test(start_paused = true)]
async fn who_makes_room_is_told() {
    let recorder = Recorder::new();
    let layer =
        observed(Face::Throttle, endpoint_a(per(1, 1_000)), recorder.clone()).max_waiting(2);
    let probe = Probe::new();
    let client = layer.client(&probe);
    let mut tasks = enter_all(&client, &probe, &[HIGH, LOW, LOW]).await;
    recorder.forget();
    tasks.extend(enter_all(&client, &probe, &[HIGH]).await);
    let told = recorder.of("/a");
    let queued = told
        .iter()
        .filter(|(_, what)| *what == What::Queued(2))
        .count();
    let refused = |what: &What| matches!(what, What::Refused(RefusedReason::QueueFull, _));
    assert_eq!((queued, told.len()), (1, 2), "{told:?}");
    assert_eq!(told.iter().filter(|(_, what)| refused(what)).count(), 1);
    came(tasks).await;
}

/// L15, L9: what makes room in a layer with retries is refused for good.
#[tokio::test(start_paused = true)]
async fn who_makes_room_is_not_retried() {
    let probe = Probe::new();
    let retry = RetryLayer::new().clone_body_with::<&str>(|body| Some(*body));
    let layer = ThrottleLayer::new(endpoint_a(per(1, 1_000)))
        .retry(retry)
        .max_waiting(1);
    let client = AnyLayer::Throttle(layer).client(&probe);
    let mut tasks = enter_all(&client, &probe, &[HIGH, LOW, HIGH]).await;
    tasks.push(enter(&client, &probe, ask("/a", NORMAL)).await);
    assert_eq!(refused_of(tasks, 0).await, [1, 3]);
    assert_eq!(probe.times(), [0, 1_000]);
}

/// L10: a newcomer that never fits, or whose turn comes too late, makes nobody leave.
#[tokio::test(start_paused = true)]
async fn nobody_makes_room_for_a_hopeless_newcomer() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, per(1, 1_000)).max_waiting(1);
    let (client, handle) = (layer.client(&probe), layer.handle());
    let mut tasks = enter_all(&client, &probe, &[HIGH, LOW]).await;
    let now = tokio::time::Instant::now();
    for terms in [
        Terms::new().cost(Cost::new().requests(2)),
        Terms::new().deadline(now + ms(999)),
        Terms::new().endpoint("nobody"),
    ] {
        let mut request = get("/a");
        request.extensions_mut().insert(terms.priority(HIGH));
        assert!(client.clone().oneshot(request).await.is_err());
    }
    assert_eq!(handle.snapshot().bucket("/a").unwrap().waiting(), 1);
    tasks.push(enter(&client, &probe, ask("/a", LOW)).await);
    assert_eq!(refused_of(tasks, 0).await, [2]);
}

/// L15: a retry of a service is not given up either, so a newcomer of a higher class is refused itself.
#[tokio::test(start_paused = true)]
async fn a_retry_of_a_service_does_not_make_room() {
    let probe = Probe::new();
    let retry = RetryLayer::new().clone_body_with::<&str>(|body| Some(*body));
    let layer = ThrottleLayer::new(endpoint_a(per(1, 1_000)))
        .retry(retry)
        .max_waiting(1);
    let client = AnyLayer::Throttle(layer).client(&probe);
    let throttled = Work {
        status: StatusCode::TOO_MANY_REQUESTS,
        ..Work::head(ms(100))
    };
    let mut request = throttled.of("/a");
    request.extensions_mut().insert(Terms::new().priority(LOW));
    let retried = enter(&client, &probe, request).await;
    at(&probe, 150).await;
    let high = enter_all(&client, &probe, &[HIGH]).await;
    settle().await;
    assert!(!retried.is_finished());
    assert_eq!(refused_of(high, 150).await, [0]);
}

/// One of a lower class that costs two requests waits where one is free: a newcomer of a higher class goes at once.
async fn a_large_one_waits(handle: &Handle) {
    let head = |terms| Request::get("/a").extension(terms).body(()).unwrap();
    let first = handle.admit(&head(Terms::new())).await.unwrap();
    drop(first.dispatch().unwrap());
    let large = Terms::new().priority(LOW).cost(Cost::new().requests(2));
    let handle = handle.clone();
    drop(tokio::spawn(async move {
        drop(handle.admit(&head(large)).await.unwrap().dispatch());
    }));
    settle().await;
}

/// Nobody makes room for a newcomer that does not wait.
#[tokio::test(start_paused = true)]
async fn nobody_makes_room_for_a_newcomer_that_goes_at_once() {
    let layer = throttle(endpoint_a(per(2, 20))).max_waiting(1);
    let (handle, probe) = (layer.handle(), Probe::new());
    let mut client = AnyLayer::Throttle(layer).client(&probe);
    a_large_one_waits(&handle).await;
    let mut newcomer = call(&mut client, get("/a"));
    assert!(newcomer.poll().is_ready());
    assert_eq!(probe.times(), [0]);
    assert_eq!(handle.snapshot().bucket("/a").unwrap().refused(), 0);
}

/// L10: and whoever lets nobody wait lets such a newcomer go.
#[tokio::test(start_paused = true)]
async fn a_newcomer_that_goes_at_once_goes_where_nobody_may_wait() {
    for case in 0..3 {
        let layer = throttle(endpoint_a(per(2, 20)));
        let layer = match case {
            0 => layer.max_wait(ms(0)),
            1 => layer.max_waiting(0),
            _ => layer,
        };
        let unlimited = layer.clone().max_wait(ms(1000)).max_waiting(10);
        a_large_one_waits(&unlimited.handle()).await;
        let mut terms = Terms::new();
        if case == 2 {
            terms = terms.deadline(Instant::now());
        }
        let head = Request::get("/a").extension(terms).body(()).unwrap();
        let handle = layer.handle();
        assert_eq!(handle.wait_for(&head).unwrap(), Some(ms(0)));
        let admission = handle.admit(&head).await;
        assert!(admission.is_ok(), "case {case}: {:?}", admission.err());
    }
}

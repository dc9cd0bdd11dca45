//! L20 by what it promises alone: what closing and draining must hold where an implementer may forget a case.
#![allow(missing_docs)]

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use http::{Request, StatusCode};
use tokio::{task::JoinHandle, time::Instant};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_throttle::{
    BoxError, ConcurrencyLayer, Endpoints, Event, EventKind, Handle, Quota, RefusedReason,
    RetryLayer, RpsLayer, ThrottleLayer,
    signal::{Signal, SignalKind},
};

use crate::support::{
    self, AnyLayer, Came, FACES, Face, PERMITS, Probe, Step, Work, at, call, came, endpoint_a,
    enter, get, job, layer_a, ms, observed, per, refused, settle, throttle, without_deadlock,
};

fn head(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn drain(handle: &Handle) -> JoinHandle<Instant> {
    let handle = handle.clone();
    tokio::spawn(async move {
        handle.drain().await;
        Instant::now()
    })
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Ends now, and does not when polled before.
async fn assert_drained(drains: Vec<JoinHandle<Instant>>) {
    settle().await;
    for drain in drains {
        assert!(drain.is_finished(), "still draining");
    }
}

#[track_caller]
fn assert_closed<T>(result: Result<T, BoxError>) {
    let error = result.err().expect("it was let through");
    assert_eq!(refused(&error).reason(), RefusedReason::Closed);
    assert_eq!(refused(&error).retry_after(), None);
}

/// An open body: it waits for a long time.
fn streaming(path: &str) -> support::Req {
    Work::head(ms(0))
        .body([Step::Data("x"), Step::Wait(ms(3_600_000))])
        .of(path)
}

/// L20: who waits is refused at the instant of the close, whatever it waits for, and who comes later at once.
#[tokio::test(start_paused = true)]
async fn whatever_it_waits_for_a_request_is_refused_when_the_layer_is_closed() {
    for face in FACES {
        let quota = per(1, 10_000).concurrency(1);
        let endpoints = Endpoints::new()
            .route("/a", quota.clone())
            .route("/p", Quota::unlimited())
            .each_other_path(quota)
            .overall(Quota::per_second(100));
        let (layer, probe) = (AnyLayer::new(face, endpoints), Probe::new());
        let (client, handle) = (layer.client(&probe), layer.handle());
        handle.pause("/p", ms(60_000)).unwrap();
        let mut tasks = Vec::new();
        for path in ["/a", "/a", "/p", "/p", "/x", "/x", "/y", "/y"] {
            tasks.push(enter(&client, &probe, job(path, ms(3_000))).await);
        }
        at(&probe, 500).await;
        handle.close();
        settle().await;
        tasks.push(enter(&client, &probe, get("/z")).await);
        let refused = Came::Refused(500, RefusedReason::Closed, None);
        let sent = Came::Sent(3_000);
        let got = came(tasks).await;
        let want = [
            sent, refused, refused, refused, sent, refused, sent, refused, refused,
        ];
        assert_eq!(got, want, "{face:?}");
        handle.drain().await;
        assert!(handle.snapshot().is_closed());
        support::assert_idle(&handle);
        assert_eq!(probe.log().calls.len(), 3);
    }
}

/// L20: several drains at once end together, and one that was dropped midway leaves the layer closed.
#[tokio::test(start_paused = true)]
async fn drains_may_be_many_and_may_be_dropped() {
    let (layer, probe) = (layer_a(Face::Throttle, Quota::concurrent(2)), Probe::new());
    let (client, handle) = (layer.client(&probe), layer.handle());
    let under_way = enter(&client, &probe, job("/a", ms(1_000))).await;
    {
        let mut dropped = pin!(handle.drain());
        assert!(poll(dropped.as_mut()).is_pending());
    }
    assert_closed(client.clone().ready().await.unwrap().call(get("/a")).await);
    let drains: Vec<_> = (0..3).map(|_| drain(&handle)).collect();
    settle().await;
    drains[0].abort();
    at(&probe, 999).await;
    assert!(drains[1..].iter().all(|drain| !drain.is_finished()));
    assert_eq!(came(vec![under_way]).await, [Came::Sent(1_000)]);
    for drain in drains.into_iter().skip(1) {
        assert_eq!(probe.millis(drain.await.unwrap()), 1_000);
    }
    // Once more, when there is nothing: at once.
    assert!(poll(pin!(handle.drain())).is_ready());
}

/// L20: a drain that was never polled closes nothing.
#[tokio::test(start_paused = true)]
async fn a_drain_that_is_not_polled_closes_nothing() {
    let (layer, probe) = (layer_a(Face::Throttle, Quota::unlimited()), Probe::new());
    let handle = layer.handle();
    drop(handle.drain());
    assert!(!handle.snapshot().is_closed());
    support::send(layer.client(&probe), get("/a"))
        .await
        .unwrap();
}

/// L20: a body that nobody reads is waited for until it is dropped, whichever limits its layer has.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_read_is_waited_for_until_it_is_dropped() {
    for face in FACES {
        for quota in [
            Quota::unlimited(),
            per(2, 1_000).concurrency(2),
            Quota::concurrent(2).release_at_head(),
            Quota::concurrent(2).grace(ms(5_000)),
        ] {
            for path in ["/a", "/other", "/unmatched"] {
                let endpoints = endpoint_a(quota.clone());
                let endpoints = match path {
                    "/other" => endpoints.each_other_path(quota.clone()),
                    _ => endpoints,
                };
                let (layer, probe) = (AnyLayer::new(face, endpoints), Probe::new());
                let (mut client, handle) = (layer.client(&probe), layer.handle());
                let answer = client.ready().await.unwrap().call(streaming(path)).await;
                let draining = drain(&handle);
                at(&probe, 60_000).await;
                assert!(!draining.is_finished(), "{face:?} {quota} {path}");
                let snapshot = handle.snapshot();
                let named: usize = snapshot
                    .buckets()
                    .filter(|bucket| bucket.name() != Endpoints::OVERALL)
                    .map(tower_throttle::BucketSnapshot::unfinished)
                    .sum();
                assert_eq!(
                    named + snapshot.other_bodies(),
                    1,
                    "{face:?} {quota} {path}: {snapshot:?}"
                );
                drop(answer);
                assert_drained(vec![draining]).await;
            }
        }
    }
}

/// L20: a body that was leaked is under way for ever, and the snapshot names its endpoint.
#[tokio::test(start_paused = true)]
async fn a_leaked_body_keeps_a_drain_waiting_and_is_named() {
    for face in PERMITS {
        let (layer, probe) = (layer_a(face, Quota::concurrent(2)), Probe::new());
        let (mut client, handle) = (layer.client(&probe), layer.handle());
        let answer = client.ready().await.unwrap().call(streaming("/a")).await;
        std::mem::forget(answer.unwrap().into_body());
        let drained = tokio::time::timeout(ms(86_400_000), handle.drain()).await;
        assert!(drained.is_err());
        let snapshot = handle.snapshot();
        let bucket = snapshot.bucket("/a").unwrap();
        assert_eq!((bucket.unfinished(), bucket.open_bodies()), (1, 1));
        assert_eq!(bucket.oldest_body(), Some(ms(86_400_000)));
        assert_eq!(snapshot.bucket("overall").unwrap().unfinished(), 1);
    }
}

/// L20: a future that was never polled holds up no drain, unless it has been dispatched.
#[tokio::test(start_paused = true)]
async fn a_future_that_was_never_polled_is_waited_for_only_if_it_was_dispatched() {
    let (layer, probe) = (layer_a(Face::Throttle, per(1, 1_000)), Probe::new());
    let (mut client, handle) = (layer.client(&probe), layer.handle());
    let dispatched = call(&mut client, get("/a"));
    let mut queued = call(&mut client, get("/a"));
    assert_eq!(probe.times(), [0]);
    let draining = drain(&handle);
    at(&probe, 5_000).await;
    assert!(!draining.is_finished());
    drop(dispatched);
    assert_drained(vec![draining]).await;
    let Poll::Ready(answer) = queued.poll() else {
        panic!("it waits in a closed layer");
    };
    assert_closed(answer);
    assert_eq!(probe.times(), [0]);
}

/// L20: a waiter that was refused and is not polled is named as unheard, and waited for until it is dropped.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_has_not_heard_of_its_refusal_is_waited_for() {
    for poll in [true, false] {
        let (layer, probe) = (layer_a(Face::Throttle, per(1, 1_000)), Probe::new());
        let (mut client, handle) = (layer.client(&probe), layer.handle());
        support::send(client.clone(), get("/a")).await.unwrap();
        let mut waits = call(&mut client, get("/a"));
        assert!(waits.poll().is_pending());
        let draining = drain(&handle);
        at(&probe, 5_000).await;
        assert!(!draining.is_finished());
        assert_eq!(handle.snapshot().bucket("/a").unwrap().unheard(), 1);
        assert_eq!(handle.snapshot().bucket("/a").unwrap().waiting(), 0);
        if poll {
            let Poll::Ready(answer) = waits.poll() else {
                panic!("it was not refused");
            };
            assert_closed(answer);
        } else {
            drop(waits);
        }
        assert_drained(vec![draining]).await;
        assert_eq!(handle.snapshot().bucket("/a").unwrap().unheard(), 0);
    }
}

/// L20: an `Admission` that is held while the layer closes cannot be dispatched, and no drain waits when it is gone.
#[tokio::test(start_paused = true)]
async fn an_admission_that_is_held_begins_nothing_after_the_close() {
    let (layer, probe) = (layer_a(Face::Throttle, Quota::concurrent(1)), Probe::new());
    let handle = layer.handle();
    let admission = handle.admit(&head("/a")).await.unwrap();
    handle.close();
    at(&probe, 100).await;
    let mut admission = admission
        .dispatch()
        .expect_err("dispatched after the close");
    assert_closed(admission.admitted().await);
    let admission = admission
        .dispatch()
        .expect_err("dispatched after a refusal");
    drop(admission);
    assert_drained(vec![drain(&handle)]).await;
    support::assert_idle(&handle);
    assert_eq!(handle.snapshot().bucket("/a").unwrap().admitted(), 0);
}

/// L20: what holds an admission and never dispatches it does so in vain, but a drain does not end over a permit.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_permits_and_not_for_the_permission_to_begin() {
    let (layer, probe) = (layer_a(Face::Throttle, Quota::concurrent(2)), Probe::new());
    let handle = layer.handle();
    let permit = handle
        .admit(&head("/a"))
        .await
        .unwrap()
        .dispatched()
        .await
        .unwrap();
    let admission = handle.admit(&head("/a")).await.unwrap();
    let draining = drain(&handle);
    at(&probe, 1_000).await;
    assert!(!draining.is_finished());
    assert_closed(admission.dispatched().await);
    at(&probe, 2_000).await;
    assert!(!draining.is_finished());
    assert_eq!(handle.snapshot().bucket("/a").unwrap().unfinished(), 1);
    drop(permit);
    assert_drained(vec![draining]).await;
}

/// L20: after the close the engine without tower refuses everyone, and says that nobody ever goes.
#[tokio::test(start_paused = true)]
async fn the_engine_without_tower_is_closed_too() {
    for face in FACES {
        let handle = layer_a(face, per(1, 1_000).concurrency(1)).handle();
        let permit = handle
            .admit(&head("/a"))
            .await
            .unwrap()
            .dispatched()
            .await
            .unwrap();
        let waits = tokio::spawn({
            let handle = handle.clone();
            async move { handle.admit(&head("/a")).await.map(drop) }
        });
        settle().await;
        handle.close();
        handle.close();
        settle().await;
        assert!(waits.is_finished());
        assert_closed(waits.await.unwrap());
        for path in ["/a", "/never-seen"] {
            assert_closed(handle.admit(&head(path)).await);
            assert_eq!(handle.wait_for(&head(path)).unwrap(), None);
        }
        let throttled = permit.throttled(&Signal::new(SignalKind::Rate).with_retry_after(ms(50)));
        assert_eq!(throttled, None, "a retry is of no use in a closed layer");
        assert_closed(handle.admit_again(permit).await);
        assert!(handle.reload(Endpoints::new()).is_err());
        assert_drained(vec![drain(&handle)]).await;
    }
}

/// L20: layers that share nothing are closed each by itself; clones of one are one.
#[tokio::test(start_paused = true)]
async fn a_close_is_of_one_layer_and_of_all_its_clones() {
    let endpoints = endpoint_a(Quota::unlimited());
    let (one, other) = (throttle(endpoints.clone()), throttle(endpoints));
    let probe = Probe::new();
    let clone = one.clone().max_waiting(3);
    let before = AnyLayer::Throttle(clone.clone()).client(&probe);
    one.handle().close();
    let later = AnyLayer::Throttle(clone).client(&probe);
    for closed in [before, later] {
        assert_closed(closed.oneshot(get("/a")).await);
    }
    let open = AnyLayer::Throttle(other).client(&probe);
    support::send(open, get("/a")).await.unwrap();
}

/// L20: in a stack by hand the one that is closed refuses, and the others hold nothing for it.
#[tokio::test(start_paused = true)]
async fn in_a_stack_by_hand_any_layer_can_be_closed() {
    for close_rate in [false, true] {
        let (above, below) = (
            ConcurrencyLayer::new(endpoint_a(Quota::concurrent(2))),
            RpsLayer::new(endpoint_a(per(1, 1_000))),
        );
        let probe = Probe::new();
        let handles = [above.handle(), below.handle()];
        let client = above.layer(AnyLayer::Rps(below).client(&probe));
        let retry = RetryLayer::new().clone_body_with::<&str>(|body| Some(*body));
        let client = retry.layer(client);
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let mut client = client.clone();
            tasks.push(tokio::spawn(async move {
                let answer = client.ready().await.unwrap().call(get("/a")).await;
                (Instant::now(), answer.map(drop))
            }));
        }
        at(&probe, 500).await;
        handles[usize::from(close_rate)].close();
        settle().await;
        let mut came = Vec::new();
        for task in tasks {
            let (at, answer) = task.await.unwrap();
            let closed =
                answer.is_err_and(|error| refused(&error).reason() == RefusedReason::Closed);
            came.push((probe.millis(at), closed));
        }
        // The first is answered at once, so the third waits for the window too.
        assert_eq!(came[0], (0, false));
        assert_eq!(
            came[1..],
            if close_rate {
                [(500, true); 2]
            } else {
                [(1_000, false), (2_000, false)]
            }
        );
        for handle in &handles {
            support::assert_idle(handle);
        }
    }
}

type Statuses = BoxCloneSyncService<support::Req, StatusCode, BoxError>;

type Outcome = Result<http::Response<support::Scripted>, support::InnerError>;

type Answering = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A service that answers 429 or 503 for ever, and counts.
fn throttling(
    status: StatusCode,
    after: u64,
    count: Arc<AtomicUsize>,
) -> impl Service<
    support::Req,
    Response = http::Response<support::Scripted>,
    Error = support::InnerError,
    Future = Answering,
> + Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |_: support::Req| {
        count.fetch_add(1, Ordering::Relaxed);
        let future = async move {
            tokio::time::sleep(ms(after)).await;
            let mut answer = http::Response::new(support::Scripted::new([]));
            *answer.status_mut() = status;
            answer
                .headers_mut()
                .insert("retry-after", "1".parse().unwrap());
            Ok(answer)
        };
        Box::pin(future) as Answering
    })
}

/// L20: an answer that comes after the close goes up as it came and is not retried; a retry that waits is refused.
#[tokio::test(start_paused = true)]
async fn after_the_close_nothing_is_retried() {
    for status in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::BAD_GATEWAY,
    ] {
        for (close_at, by_hand) in [(50, false), (50, true), (500, false), (500, true)] {
            let count = Arc::new(AtomicUsize::new(0));
            let inner = throttling(status, 100, Arc::clone(&count));
            let retry = RetryLayer::new();
            let endpoints = endpoint_a(Quota::per_second(5));
            let start = Instant::now();
            let (handle, client) = if by_hand {
                let layer = RpsLayer::new(endpoints);
                let handle = layer.handle();
                (
                    handle,
                    Statuses::new(
                        retry
                            .layer(layer.layer(inner))
                            .map_response(|answer| answer.status()),
                    ),
                )
            } else {
                let layer = ThrottleLayer::new(endpoints).retry(retry);
                let handle = layer.handle();
                (
                    handle,
                    Statuses::new(layer.layer(inner).map_response(|answer| answer.status())),
                )
            };
            let sent = tokio::spawn(client.oneshot(get("/a")));
            tokio::time::sleep_until(start + ms(close_at)).await;
            let draining = drain(&handle);
            let answer = sent.await.unwrap();
            if close_at == 50 {
                assert_eq!(answer.unwrap(), status);
                assert_eq!(
                    Instant::now() - start,
                    ms(100),
                    "{status} by hand: {by_hand}"
                );
                assert_eq!(count.load(Ordering::Relaxed), 1);
            } else {
                let sent = count.load(Ordering::Relaxed);
                assert_closed(answer);
                assert!(sent == 1 || status == StatusCode::BAD_GATEWAY, "{sent}");
                if !by_hand {
                    assert!(Instant::now() - start <= ms(600), "{status}");
                }
            }
            assert_drained(vec![draining]).await;
        }
    }
}

/// L20: an observer may close the layer, in any event; nothing is stuck and nobody goes after it.
#[test]
fn an_observer_may_close_the_layer_at_any_event() {
    for nth in 1..16 {
        without_deadlock(&format!("event {nth}"), async move {
            let handle: Arc<OnceLock<Handle>> = Arc::default();
            let (closer, seen) = (Arc::clone(&handle), AtomicUsize::new(0));
            let observer = Closer(Box::new(move |event| {
                if seen.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                    closer.get().unwrap().close();
                    assert!(closer.get().unwrap().snapshot().is_closed());
                }
                assert!(!matches!(event.kind, EventKind::Swept));
            }));
            let (layer, probe) = (
                observed(
                    Face::Throttle,
                    endpoint_a(per(1, 100).concurrency(1)),
                    observer,
                ),
                Probe::new(),
            );
            handle.set(layer.handle()).unwrap();
            let client = layer.client(&probe);
            let mut tasks = Vec::new();
            for _ in 0..6 {
                tasks.push(enter(&client, &probe, job("/a", ms(30))).await);
            }
            let mut sent = 0;
            for came in came(tasks).await {
                match came {
                    Came::Sent(_) => sent += 1,
                    Came::Refused(_, reason, _) => assert_eq!(reason, RefusedReason::Closed),
                }
            }
            assert_eq!(sent, probe.times().len(), "one was sent and refused");
            let handle = handle.get().unwrap();
            handle.drain().await;
            support::assert_idle(handle);
        });
    }
}

struct Closer(Box<dyn Fn(&Event<'_>) + Send + Sync>);

impl tower_throttle::Observer for Closer {
    fn on_event(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

/// A waker that closes the layer.
struct ClosingWaker(Handle);

impl Wake for ClosingWaker {
    fn wake(self: Arc<Self>) {
        self.0.close();
        _ = self.0.snapshot();
    }
}

/// L20: a waker may close the layer, from whatever wakes it: another's end, a pause that is over, the close itself.
#[test]
fn a_waker_may_close_the_layer() {
    for by in ["end", "resume", "quota", "close", "time"] {
        without_deadlock(by, async move {
            let (layer, probe) = (layer_a(Face::Throttle, Quota::concurrent(1)), Probe::new());
            let (mut client, handle) = (layer.client(&probe), layer.handle());
            let permit = handle
                .admit(&head("/a"))
                .await
                .unwrap()
                .dispatched()
                .await
                .unwrap();
            let mut permit = Some(permit);
            handle.pause("/a", ms(100)).unwrap();
            let waker = Waker::from(Arc::new(ClosingWaker(handle.clone())));
            let mut waits = Vec::new();
            for _ in 0..3 {
                let mut future = Box::pin(client.ready().await.unwrap().call(get("/a")));
                assert!(
                    future
                        .as_mut()
                        .poll(&mut Context::from_waker(&waker))
                        .is_pending()
                );
                waits.push(future);
            }
            match by {
                "end" => {
                    handle.resume("/a").unwrap();
                    permit = None;
                }
                "resume" => {
                    permit = None;
                    handle.resume("/a").unwrap();
                }
                "quota" => {
                    handle.resume("/a").unwrap();
                    handle.set_quota("/a", Quota::concurrent(3)).unwrap();
                }
                "close" => handle.close(),
                _ => {
                    permit = None;
                    tokio::time::sleep(ms(200)).await;
                }
            }
            assert!(handle.snapshot().is_closed(), "{by}");
            for future in waits {
                assert_closed(future.await);
            }
            assert_eq!(probe.times().len(), 0);
            drop(permit);
            handle.drain().await;
        });
    }
}

/// L20: who was admitted and has not dispatched yet, since its inner service is not ready, is refused as well.
#[tokio::test(start_paused = true)]
async fn one_whose_inner_service_is_not_ready_is_refused_by_the_close() {
    let (layer, probe) = (layer_a(Face::Throttle, per(1, 100)), Probe::new());
    let (client, handle) = (layer.client(&probe), layer.handle());
    let first = enter(&client, &probe, get("/a")).await;
    probe.log().readiness.extend([ms(0), ms(500)]);
    let second = enter(&client, &probe, get("/a")).await;
    at(&probe, 300).await;
    let draining = drain(&handle);
    let came = came(vec![first, second]).await;
    assert_eq!(
        came,
        [
            Came::Sent(0),
            Came::Refused(300, RefusedReason::Closed, None)
        ]
    );
    assert_drained(vec![draining]).await;
    assert_eq!(probe.times(), [0]);
}

/// L20: a request that was admitted by `call` is dispatched, so it goes on; its body is read to its end after the close.
#[tokio::test(start_paused = true)]
async fn what_was_dispatched_runs_to_the_end_of_its_body() {
    let (layer, probe) = (layer_a(Face::Throttle, Quota::concurrent(1)), Probe::new());
    let (client, handle) = (layer.client(&probe), layer.handle());
    let body = [
        Step::Data("a"),
        Step::Wait(ms(700)),
        Step::Data("b"),
        Step::Trailers,
    ];
    let sent = tokio::spawn(support::send(
        client,
        Work::head(ms(300)).body(body).of("/a"),
    ));
    settle().await;
    let draining = drain(&handle);
    sent.await.unwrap().unwrap();
    assert_eq!(probe.millis(draining.await.unwrap()), 1_000);
}

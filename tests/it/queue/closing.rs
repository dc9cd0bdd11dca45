//! Closing a layer: who is refused, what goes on, and what a drain waits for.

use crate::retry_support;
use std::{
    future::Future,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::support::*;
use futures_util::FutureExt as _;
use http::{Request, Response};
use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, timeout};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_throttle::{
    Backoff, BoxError, BucketSnapshot, ConcurrencyLayer, Cost, Endpoints, Event, EventKind, Handle,
    Observer, Quota, RefusedReason, RetryLayer, RpsLayer, Snapshot, Terms, ThrottleLayer,
};

/// One at a time: for the faces that have permits by these, for the other one by a window that does not open again.
fn one(face: Face) -> Quota {
    match face {
        Face::Rps => per(1, 1_000_000),
        Face::Concurrency | Face::Throttle => Quota::concurrent(1),
    }
}

fn a(handle: &Handle) -> BucketSnapshot {
    handle.snapshot().bucket("/a").unwrap().clone()
}

#[track_caller]
fn assert_closed(error: &BoxError) {
    let refused = refused(error);
    assert_eq!(refused.reason(), RefusedReason::Closed);
    assert_eq!(refused.retry_after(), None);
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

/// What has to end ends within a day.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(ms(86_400_000), future).await.expect("it ends")
}

/// When a future ends, in milliseconds after the probe was made.
async fn time_of<F: Future>(probe: Probe, future: F) -> (u64, F::Output) {
    let output = future.await;
    (probe.millis(Instant::now()), output)
}

/// L20: all who wait are refused at that instant, and what is in flight goes on.
#[tokio::test(start_paused = true)]
async fn who_waits_is_refused_at_that_instant() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, one(face));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let first = tokio::spawn(send(client.clone(), job("/a", ms(100))));
        settle().await;
        let others = (0..20).map(|_| send(client.clone(), job("/a", ms(100))));
        let others: Vec<_> = others
            .map(|sent| tokio::spawn(time_of(probe.clone(), sent)))
            .collect();
        at(&probe, 50).await;
        assert_eq!(a(&handle).waiting(), 20);
        handle.close();
        assert!(handle.snapshot().is_closed());
        assert_eq!((a(&handle).waiting(), a(&handle).unheard()), (0, 20));
        for other in others {
            let (at, sent) = soon(other).await.unwrap();
            assert_eq!(at, 50, "{face:?}");
            let error = sent.unwrap_err();
            assert_closed(&error);
            assert_eq!(
                error.to_string(),
                "request to `/a` refused: the layer is closed"
            );
        }
        assert_eq!((a(&handle).unheard(), a(&handle).refused()), (0, 20));
        first.await.unwrap().unwrap();
        assert_eq!(probe.times(), [0]);
        assert_eq!(probe.millis(Instant::now()), 100);
        assert_idle(&handle);
    }
}

/// L20: whoever comes later is refused, whatever has room, and through whichever service.
#[tokio::test(start_paused = true)]
async fn who_comes_later_is_refused() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::per_second(9)));
        let client = layer.client(&probe);
        layer.handle().close();
        for client in [client, layer.client(&probe)] {
            for path in ["/a", "/b"] {
                let error = send(client.clone(), get(path)).await.unwrap_err();
                assert_closed(&error);
            }
            let mut with_cost = get("/a");
            let terms = Terms::new().cost(Cost::new().requests(0));
            with_cost.extensions_mut().insert(terms);
            assert_closed(&send(client, with_cost).await.unwrap_err());
        }
        assert_eq!(a(&layer.handle()).refused(), 4);
        assert!(probe.log().calls.is_empty());
    }
}

/// L20: a request that has been admitted, and whose inner service is not ready, is not dispatched any more.
#[tokio::test(start_paused = true)]
async fn who_is_admitted_and_not_dispatched_is_refused() {
    for face in FACES {
        let quota = match face {
            Face::Rps => per(1, 100),
            _ => Quota::concurrent(1),
        };
        let probe = Probe::new();
        let layer = layer_a(face, quota);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let first = tokio::spawn(send(client.clone(), job("/a", ms(100))));
        settle().await;
        let second = send(client.clone(), job("/a", ms(100)));
        let second = tokio::spawn(time_of(probe.clone(), second));
        settle().await;
        probe.log().readiness.push_back(ms(5000));
        at(&probe, 100).await;
        first.await.unwrap().unwrap();
        assert_eq!(a(&handle).waiting(), 0, "{face:?}: it is admitted");
        at(&probe, 103).await;
        handle.close();
        let (at, sent) = soon(second).await.unwrap();
        assert_closed(&sent.unwrap_err());
        assert_eq!(at, 103);
        assert_eq!(probe.times(), [0]);
        handle.drain().now_or_never().expect("nothing is left");
        assert_eq!(a(&handle).admitted(), 1);
    }
}

/// L20: a future that is refused and not polled is named, and keeps a drain waiting until it is polled or dropped. One
/// that was never polled does not.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_until_the_refused_have_heard_of_it() {
    for face in FACES {
        for polled in [true, false] {
            let probe = Probe::new();
            let layer = layer_a(face, one(face));
            let (mut client, handle) = (layer.client(&probe), layer.handle());
            let kept = head(&client, endless("/a")).await;
            let mut waits = call(&mut client, get("/a"));
            let mut never_polled = call(&mut client, get("/a"));
            assert_pending!(waits.poll());
            let mut drain = tokio_test::task::spawn(handle.drain());
            assert_pending!(drain.poll());
            assert!(waits.is_woken());
            drop(kept);
            assert_pending!(drain.poll());
            assert_eq!((a(&handle).unheard(), a(&handle).unfinished()), (1, 0));
            tokio::time::sleep(ms(1_000_000)).await;
            assert_pending!(drain.poll());
            if polled {
                assert_closed(&assert_ready!(waits.poll()).unwrap_err());
            } else {
                drop(waits);
            }
            assert!(drain.is_woken());
            assert_ready!(drain.poll());
            assert_eq!(a(&handle).unheard(), 0);
            assert_closed(&assert_ready!(never_polled.poll()).unwrap_err());
        }
    }
}

/// L20: an absent waiter is refused like the others.
#[tokio::test(start_paused = true)]
async fn who_is_absent_is_refused() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let (mut client, handle) = (layer.client(&probe), layer.handle());
        let first = head(&client, endless("/a")).await;
        let mut absent = call(&mut client, get("/a"));
        assert_pending!(absent.poll());
        let mut others = call(&mut client, endless("/a"));
        assert_pending!(others.poll());
        drop(first);
        tokio::time::sleep(ms(15)).await;
        let other = assert_ready_ok!(others.poll());
        assert_eq!(a(&handle).waiting(), 1, "{face:?}");
        handle.close();
        assert_eq!((a(&handle).waiting(), a(&handle).unheard()), (0, 1));
        assert_closed(&assert_ready!(absent.poll()).unwrap_err());
        drop(other);
        handle.drain().now_or_never().expect("nothing is left");
    }
}

/// Answers after a time, and counts.
fn answering(
    after: Duration,
    calls: &Arc<AtomicUsize>,
    answer: impl Fn() -> retry_support::Answer + Clone + Send + Sync + 'static,
) -> impl Service<
    Request<String>,
    Response = Response<http_body_util::Full<bytes::Bytes>>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static {
    let calls = Arc::clone(calls);
    service_fn(move |_: Request<String>| {
        let answer = answer.clone();
        calls.fetch_add(1, Relaxed);
        async move {
            tokio::time::sleep(after).await;
            answer()
        }
    })
}

/// L20: an answer that comes after the closing goes up as it came.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_later_is_not_retried() {
    type Make = fn() -> retry_support::Answer;
    let answers: [(u16, Make); 4] = [
        (429, || retry_support::with(429, &[("retry-after", "1")])),
        (429, || retry_support::status(429)),
        (500, || retry_support::status(500)),
        (503, || retry_support::with(503, &[("retry-after", "1")])),
    ];
    for (status, answer) in answers {
        for stack in 0..4 {
            let calls = Arc::default();
            let inner = answering(ms(100), &calls, answer);
            let endpoints = Endpoints::new().route("/a", Quota::per_second(9).concurrency(9));
            let request = retry_support::get("/a");
            let throttle = ThrottleLayer::new(endpoints.clone());
            let rps = RpsLayer::new(endpoints.clone());
            let concurrency = ConcurrencyLayer::new(endpoints);
            let retry = RetryLayer::new();
            let (handle, sent): (_, Pin<Box<dyn Future<Output = _>>>) = match stack {
                0 => (
                    throttle.handle(),
                    Box::pin(throttle.layer(inner).oneshot(request).map(|sent| {
                        sent.map(|answer| (answer.status().as_u16(), answer.into_body()).0)
                    })),
                ),
                1 => {
                    let throttle = throttle.without_retry();
                    let handle = throttle.handle();
                    let stack = ServiceBuilder::new().layer(retry).layer(throttle);
                    let sent = stack.service(inner).oneshot(request);
                    let sent = sent.map(|sent| sent.map(|answer| answer.status().as_u16()));
                    (handle, Box::pin(sent))
                }
                of => {
                    let handle = if of == 2 {
                        rps.handle()
                    } else {
                        concurrency.handle()
                    };
                    let stack = ServiceBuilder::new().layer(retry);
                    let stack = stack.layer(concurrency).layer(rps).service(inner);
                    let sent = stack.oneshot(request);
                    let sent = sent.map(|sent| sent.map(|answer| answer.status().as_u16()));
                    (handle, Box::pin(sent))
                }
            };
            let start = Instant::now();
            let close = async {
                tokio::time::sleep(ms(50)).await;
                handle.close();
            };
            let (sent, ()) = tokio::join!(sent, close);
            assert_eq!(sent.unwrap(), status, "stack {stack}");
            assert_eq!((start.elapsed(), calls.load(Relaxed)), (ms(100), 1));
            handle.drain().now_or_never().expect("nothing is left");
        }
    }
}

/// L20: so does an error, as far as the layer retries itself.
#[tokio::test(start_paused = true)]
async fn an_error_that_comes_later_is_not_retried() {
    let calls = Arc::default();
    let refused = || retry_support::error(ErrorKind::ConnectionRefused);
    let layer = ThrottleLayer::new(Endpoints::new());
    let client = layer.layer(answering(ms(100), &calls, refused));
    let sent = tokio::spawn(client.oneshot(retry_support::get("/a")));
    tokio::time::sleep(ms(50)).await;
    layer.handle().close();
    let error = sent.await.unwrap().unwrap_err();
    assert!(error.is::<std::io::Error>(), "{error:?}");
    assert_eq!(calls.load(Relaxed), 1);
}

/// L20: a retry that waits is refused at that instant: in the queue, and where it backs off.
#[tokio::test(start_paused = true)]
async fn retries_that_wait_are_refused() {
    for status in [429, 500] {
        let calls = Arc::default();
        let answer = move || retry_support::status(status);
        let retry = RetryLayer::new().backoff(Backoff::equal(ms(20_000), ms(20_000)));
        let layer = ThrottleLayer::new(Endpoints::new()).retry(retry);
        let handle = layer.handle();
        let client = layer.layer(answering(ms(100), &calls, answer));
        let start = Instant::now();
        let mut sent = tokio_test::task::spawn(client.oneshot(retry_support::get("/a")));
        assert_pending!(sent.poll());
        tokio::time::sleep(ms(100)).await;
        assert_pending!(sent.poll());
        tokio::time::sleep(ms(50)).await;
        let backs_off = usize::from(status == 500);
        assert_eq!(handle.snapshot().backing_off(), backs_off, "{status}");
        let mut drain = tokio_test::task::spawn(handle.drain());
        assert_pending!(drain.poll());
        assert!(sent.is_woken());
        assert_closed(&assert_ready!(sent.poll()).unwrap_err());
        assert!(drain.is_woken());
        assert_ready!(drain.poll());
        assert_eq!(handle.snapshot().backing_off(), 0);
        assert_eq!((start.elapsed(), calls.load(Relaxed)), (ms(150), 1));
    }
}

/// L20: a retry of a layer above comes back in its time, and is refused, once.
#[tokio::test(start_paused = true)]
async fn a_retry_of_a_layer_above_is_refused_when_it_comes_back() {
    let calls = Arc::default();
    let retry = RetryLayer::new().backoff(Backoff::equal(ms(20_000), ms(20_000)));
    let layer = RpsLayer::new(Endpoints::new());
    let handle = layer.handle();
    let client = ServiceBuilder::new()
        .layer(retry)
        .layer(layer)
        .service(answering(ms(100), &calls, || retry_support::status(500)));
    let sent = tokio::spawn(client.oneshot(retry_support::get("/a")));
    tokio::time::sleep(ms(150)).await;
    // Nothing of this layer is under way.
    handle.drain().now_or_never().expect("nothing is left");
    assert_closed(&sent.await.unwrap().unwrap_err());
    assert_eq!(calls.load(Relaxed), 1);
}

/// L20: a drain ends with the last body, whether that is read, dropped or failed, and with or without a permit.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_last_body() {
    for face in FACES {
        for quota in [
            Quota::per_second(99).concurrency(99),
            Quota::unlimited().release_at_head(),
        ] {
            let probe = Probe::new();
            let layer = AnyLayer::new(face, Endpoints::new().each_other_path(quota.clone()));
            let (client, handle) = (layer.client(&probe), layer.handle());
            let wait = |millis| Step::Wait(ms(millis));
            let read = Work::head(ms(10)).body([Step::Data("x"), wait(90), Step::Data("x")]);
            let fails = Work::head(ms(10)).body([wait(190), Step::Error]);
            for request in [read.of("/a"), fails.of("/b")] {
                tokio::spawn(send(client.clone(), request));
            }
            let kept = head(&client, endless("/c")).await;
            at(&probe, 20).await;
            assert_eq!(named(&handle.snapshot()), 3, "{face:?}");
            let drains = [(); 3].map(|()| {
                let handle = handle.clone();
                let drain = async move { handle.drain().await };
                tokio::spawn(time_of(probe.clone(), drain))
            });
            at(&probe, 150).await;
            assert_eq!(named(&handle.snapshot()), 2);
            at(&probe, 250).await;
            assert_eq!(named(&handle.snapshot()), 1);
            assert!(drains.iter().all(|drain| !drain.is_finished()));
            drop(kept);
            for drain in drains {
                assert_eq!(soon(drain).await.unwrap().0, 250, "{face:?} {quota:?}");
            }
            assert_eq!(named(&handle.snapshot()), 0);
        }
    }
}

/// What a snapshot says that a drain waits for.
fn named(snapshot: &Snapshot) -> usize {
    let root = |bucket: &&BucketSnapshot| bucket.name() == Endpoints::OVERALL;
    let overall = snapshot.buckets().find(root).unwrap();
    let unheard: usize = snapshot.buckets().map(BucketSnapshot::unheard).sum();
    let narrow = snapshot.buckets().filter(|bucket| !root(bucket));
    let unfinished: usize = narrow.map(BucketSnapshot::unfinished).sum();
    assert_eq!(unfinished, overall.unfinished());
    unfinished + unheard + snapshot.backing_off() + snapshot.other_bodies()
}

/// L20: a drain that is dropped leaves the layer closed, and can be made again.
#[tokio::test(start_paused = true)]
async fn a_drain_can_be_dropped() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::unlimited());
        let (client, handle) = (layer.client(&probe), layer.handle());
        let kept = head(&client, endless("/a")).await;
        drop(handle.drain());
        assert!(!handle.snapshot().is_closed(), "it was not polled");
        let dropped = timeout(ms(100), handle.drain()).await;
        assert!(dropped.is_err() && handle.snapshot().is_closed());
        assert_closed(&send(client, get("/a")).await.unwrap_err());
        let mut drain = tokio_test::task::spawn(handle.drain());
        assert_pending!(drain.poll());
        drop(kept);
        assert!(drain.is_woken());
        assert_ready!(drain.poll());
    }
}

/// L20: a request body that is collected, and a service that is not ready, count as under way.
#[tokio::test(start_paused = true)]
async fn a_retry_that_is_in_no_queue_counts() {
    let probe = Probe::new();
    let layer = ThrottleLayer::new(Endpoints::new())
        .retry(RetryLayer::new().backoff(Backoff::full(ms(1), ms(1))));
    let (mut client, handle) = (layer.layer(probe.clone()), layer.handle());
    let mut work = Work::head(ms(10));
    work.status = http::StatusCode::INTERNAL_SERVER_ERROR;
    let mut sent = call(&mut client, work.of("/a"));
    assert_pending!(sent.poll());
    probe.log().readiness.push_back(ms(500));
    tokio::time::sleep(ms(10)).await;
    assert_pending!(sent.poll());
    tokio::time::sleep(ms(10)).await;
    assert_pending!(sent.poll());
    let mut drain = tokio_test::task::spawn(handle.drain());
    assert_pending!(drain.poll());
    assert_eq!(named(&handle.snapshot()), 1);
    tokio::time::sleep(ms(600)).await;
    assert_closed(&assert_ready!(sent.poll()).unwrap_err());
    assert_ready!(drain.poll());
    assert_eq!(probe.log().calls.len(), 1);
}

/// What becomes of a call in a random schedule.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Read,
    /// The answer, or the future, is dropped at that time.
    Dropped(u64),
    /// The answer is kept and not read.
    Kept,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    at: u64,
    work: u64,
    body: u64,
    path: u8,
    /// How many it takes.
    permits: usize,
    fate: Fate,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let fate = prop_oneof![
        8 => Just(Fate::Read),
        3 => (0..800u64).prop_map(Fate::Dropped),
        1 => Just(Fate::Kept),
    ];
    let permits = prop_oneof![4 => Just(1), 1 => 0..3usize];
    let one = (0..300u64, 0..200u64, 0..200u64, 0..3u8, permits, fate);
    let one = one.prop_map(|(at, work, body, path, permits, fate)| Call {
        at,
        work,
        body,
        path,
        permits,
        fate,
    });
    vec(one, 1..25)
}

proptest! {
    #![proptest_config(cases(64))]

    /// L20: a drain ends at the instant at which nothing is under way any more; until then the snapshot says what is.
    #[test]
    fn a_drain_ends_when_nothing_is_under_way(
        calls in calls(),
        closed_at in 0..400u64,
        face in any_face(),
        n in 2..4u32,
        at_head in any::<bool>(),
        grace in any::<bool>(),
        observed in any::<bool>(),
    ) {
        let mut quota = per(n, 150).concurrency(n as usize);
        if at_head {
            quota = quota.release_at_head();
        }
        if grace {
            quota = quota.grace(ms(70));
        }
        paused(drains(&calls, closed_at, face, quota, observed));
    }
}

async fn drains(calls: &[Call], closed_at: u64, face: Face, quota: Quota, is_observed: bool) {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/0", quota.clone())
        .each_other_path(quota);
    let layer = if is_observed {
        observed(face, endpoints, Panics(|_| false))
    } else {
        AnyLayer::new(face, endpoints)
    };
    let (client, handle) = (layer.client(&probe), layer.handle());
    let (kept, mut keeps) = tokio::sync::mpsc::unbounded_channel();
    for &Call {
        at: starts,
        work,
        body,
        path,
        permits,
        fate,
    } in calls
    {
        let (client, kept, start) = (client.clone(), kept.clone(), probe.start());
        let steps = [Step::Data("x"), Step::Wait(ms(body)), Step::Data("x")];
        let mut request = Work::head(ms(work)).body(steps).of(&format!("/{path}"));
        if permits != 1 {
            let terms = Terms::new().cost(Cost::new().permits(permits));
            request.extensions_mut().insert(terms);
        }
        let sent = async move {
            tokio::time::sleep_until(start + ms(starts)).await;
            let mut client = client;
            let answer = client.ready().await?.call(request).await?;
            match fate {
                Fate::Read | Fate::Dropped(_) => read(answer.into_body()).await?,
                Fate::Kept => {
                    // It is dropped with the channel.
                    _ = kept.send(answer);
                }
            }
            Ok::<_, BoxError>(())
        };
        tokio::spawn(async move {
            match fate {
                Fate::Dropped(at) => {
                    // Within the task, so that it is dropped at that very instant.
                    drop(tokio::time::timeout_at(start + ms(at.max(starts)), sent).await);
                }
                Fate::Read | Fate::Kept => drop(sent.await),
            }
        });
    }
    drop(kept);
    at(&probe, closed_at).await;
    let mut drain = tokio_test::task::spawn(handle.drain());
    let mut done = drain.poll().is_ready();
    let sent_before = probe.log().calls.len();
    for _ in 0..1100 {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        if drain.is_woken() {
            done |= !done && drain.poll().is_ready();
        }
        let waits_for = named(&handle.snapshot());
        assert_eq!(done, waits_for == 0, "{waits_for} are named");
        assert_eq!(
            waits_for,
            probe.log().in_flight,
            "what the inner service knows of"
        );
        tokio::time::sleep(ms(1)).await;
    }
    // Nothing was dispatched after the closing.
    assert_eq!(probe.log().calls.len(), sent_before);
    keeps.close();
    let mut some = 0;
    while let Some(answer) = keeps.recv().await {
        some += 1;
        drop(answer);
    }
    assert_eq!(done, some == 0);
    if !done {
        assert!(drain.is_woken());
        assert_ready!(drain.poll());
    }
    assert_eq!(named(&handle.snapshot()), 0);
    // The permits of those who have left are kept for a while; nobody waits for that.
    tokio::time::sleep(ms(70)).await;
    assert_idle(&handle);
}

/// L19, L20: the closing is told once, and each refusal.
#[tokio::test(start_paused = true)]
async fn the_closing_is_told_once() {
    for face in FACES {
        let recorder = Recorder::new();
        let probe = Probe::new();
        let layer = observed(face, endpoint_a(one(face)), recorder.clone());
        let (client, handle) = (layer.client(&probe), layer.handle());
        let first = tokio::spawn(send(client.clone(), job("/a", ms(100))));
        settle().await;
        let waiting = burst(&client, 3, |_| get("/a")).await;
        at(&probe, 50).await;
        recorder.forget();
        handle.close();
        handle.close();
        soon(handle.drain()).await;
        for waiting in waiting {
            assert_closed(&waiting.await.unwrap().unwrap_err());
        }
        first.await.unwrap().unwrap();
        assert_closed(&send(client, get("/a")).await.unwrap_err());
        assert_eq!(recorder.of("overall"), [(50, What::Closed)]);
        let refused = What::Refused(RefusedReason::Closed, None);
        let is_refused = |what: &What| matches!(what, What::Refused(..));
        let expected: Vec<_> = [50, 50, 50, 100].map(|at| (at, refused.clone())).into();
        assert_eq!(recorder.only("/a", is_refused), expected, "{face:?}");
        let first = recorder.all().into_iter().next().unwrap();
        assert_eq!((first.what, first.sequence), (What::Closed, 1));
    }
}

/// Panics at events of one kind.
struct Panics(fn(&EventKind<'_>) -> bool);

impl Observer for Panics {
    fn on_event(&self, event: &Event<'_>) {
        if (self.0)(&event.kind) {
            std::panic::resume_unwind(Box::new("an observer's panic"));
        }
    }
}

/// L19, L20: a panic of the observer reaches who closes, and everyone is refused all the same.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_observer_leaves_the_layer_closed() {
    let kinds: [fn(&EventKind<'_>) -> bool; 2] = [
        |kind| matches!(kind, EventKind::Closed),
        |kind| matches!(kind, EventKind::Refused(_)),
    ];
    for face in FACES {
        for (kind, panics) in kinds.into_iter().enumerate() {
            let probe = Probe::new();
            let layer = observed(face, endpoint_a(one(face)), Panics(panics));
            let (mut client, handle) = (layer.client(&probe), layer.handle());
            let first = head(&client, endless("/a")).await;
            let mut waiting: Vec<_> = (0..100).map(|_| call(&mut client, get("/a"))).collect();
            for of in &mut waiting {
                assert_pending!(of.poll());
            }
            let closed = catch_unwind(AssertUnwindSafe(|| handle.close()));
            assert!(closed.is_err(), "{face:?} {kind}");
            assert!(handle.snapshot().is_closed());
            handle.close();
            assert_eq!(a(&handle).unheard(), 100);
            for of in &mut waiting {
                assert_closed(&assert_ready!(of.poll()).unwrap_err());
            }
            drop(first);
            handle.drain().now_or_never().expect("nothing is left");
        }
    }
}

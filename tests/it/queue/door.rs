//! The engine without tower: what is no service shares the limits of a layer's services.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::*;
use http::Request;
use proptest::{collection::vec, prelude::*};
use tokio::{task::JoinHandle, time::Instant};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task::spawn};
use tower_throttle::{
    Admission, BoxError, Cost, EndpointName, Endpoints, Handle, Permit, Priority, Quota, Refused,
    RefusedReason, Terms, ThrottleLayer, Unit, UnknownEndpoint, WindowUse,
    signal::{Signal, SignalKind},
};

fn head(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

/// A head that states a cost in tokens.
fn costing(path: &str, tokens: u64) -> Request<()> {
    let terms = Terms::new().cost(Cost::new().of(Unit::TOKENS, tokens));
    Request::get(path).extension(terms).body(()).unwrap()
}

async fn begin(handle: &Handle, path: &str) -> Result<Permit, BoxError> {
    handle.admit(&head(path)).await?.dispatched().await
}

/// Has the probe's log say that something was dispatched now.
fn log(probe: &Probe, id: usize, path: &str) {
    probe.log().calls.push(crate::support::Call {
        id,
        path: path.to_owned(),
        body: "",
        at: Instant::now(),
        released: None,
    });
}

/// Enters something that is no request, and is worked on for `work` when its turn has come.
async fn task(handle: &Handle, probe: &Probe, id: usize, path: &'static str, work: u64) -> Sent {
    let (handle, probe) = (handle.clone(), probe.clone());
    let task = tokio::spawn(async move {
        let permit = begin(&handle, path).await?;
        log(&probe, id, path);
        tokio::time::sleep(ms(work)).await;
        drop(permit);
        Ok(())
    });
    settle().await;
    task
}

async fn request(client: &Client, id: usize, path: &str, work: u64) -> Sent {
    let sent = tokio::spawn(send(client.clone(), Work::head(ms(work)).id(id).of(path)));
    settle().await;
    sent
}

fn reason(error: &BoxError) -> (RefusedReason, Option<Duration>) {
    let refused = refused(error);
    (refused.reason(), refused.retry_after())
}

fn rate() -> Signal {
    Signal::new(SignalKind::Rate)
}

fn after(seconds: u64) -> Signal {
    rate().with_retry_after(Duration::from_secs(seconds))
}

fn window(handle: &Handle, endpoint: &str) -> WindowUse {
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket(endpoint).unwrap();
    bucket.windows()[0]
}

#[tokio::test(start_paused = true)]
async fn requests_and_admissions_go_in_the_order_in_which_they_entered() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = Vec::new();
        for id in 0..8 {
            sent.push(match id % 3 {
                0 => request(&client, id, "/a", 100).await,
                _ => task(&handle, &probe, id, "/a", 100).await,
            });
        }
        finish(sent).await;
        assert_eq!(probe.ids(), (0..8).collect::<Vec<_>>(), "{face:?}");
        let times: Vec<_> = (0..8).map(|i| 100 * i).collect();
        assert_eq!(probe.times(), times, "{face:?}");
        assert_idle(&handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_higher_class_goes_first() {
    let of = |priority: Priority| {
        let terms = Terms::new().priority(priority);
        Request::get("/a").extension(terms).body(()).unwrap()
    };
    let layer = throttle(endpoint_a(per(1, 100))).priority_by(|head| {
        head.headers()
            .contains_key("x-batch")
            .then_some(Priority::LOW)
    });
    let (handle, probe) = (layer.handle(), Probe::new());
    let batch = Request::get("/a").header("x-batch", "1").body(()).unwrap();
    let mut tasks = Vec::new();
    // Each is asked about when it comes: nobody of a lower class has to go first.
    for (id, head, wait) in [
        (0, of(Priority::NORMAL), 0),
        (1, batch, 100),
        (2, of(Priority::NORMAL), 100),
        (3, of(Priority::NORMAL), 200),
        (4, of(Priority::HIGH), 100),
    ] {
        assert_eq!(handle.wait_for(&head).unwrap(), Some(ms(wait)), "{id}");
        let (handle, probe) = (handle.clone(), probe.clone());
        tasks.push(tokio::spawn(async move {
            let permit = handle.admit(&head).await?.dispatched().await?;
            log(&probe, id, "/a");
            drop(permit);
            Ok(())
        }));
        settle().await;
    }
    finish(tasks).await;
    assert_eq!(probe.ids(), [0, 4, 2, 3, 1]);
    assert_eq!(probe.times(), [0, 100, 200, 300, 400]);
}

#[tokio::test(start_paused = true)]
async fn windows_are_exact() {
    for face in WINDOWS {
        let probe = Probe::new();
        let handle = layer_a(face, per(3, 1000)).handle();
        let mut sent = Vec::new();
        for id in 0..4 {
            sent.push(task(&handle, &probe, id, "/a", 0).await);
        }
        at(&probe, 400).await;
        for id in 4..8 {
            sent.push(task(&handle, &probe, id, "/a", 0).await);
        }
        finish(sent).await;
        assert_eq!(
            probe.times(),
            [0, 0, 0, 1000, 1000, 1000, 2000, 2000],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_lasts_until_it_is_dropped() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(2));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = Vec::new();
        for (id, work) in [300, 500, 300].into_iter().enumerate() {
            sent.push(task(&handle, &probe, id, "/a", work).await);
        }
        sent.push(request(&client, 3, "/a", 0).await);
        assert_eq!(gauge(&handle, "/a"), (2, 2));
        finish(sent).await;
        assert_eq!(probe.times(), [0, 0, 300, 500], "{face:?}");
        assert_idle(&handle);
    }
}

#[tokio::test(start_paused = true)]
async fn every_scope_of_the_head_counts() {
    let endpoints = Endpoints::new()
        .route("POST /a", per(2, 1000))
        .route("/b", Quota::unlimited())
        .overall(per(3, 1000))
        .partition_by_header("x-key");
    let handle = ThrottleLayer::new(endpoints).handle();
    let start = Instant::now();
    let of = |method: &str, path: &str, key: &str| {
        let head = Request::builder().method(method).uri(path);
        head.header("x-key", key).body(()).unwrap()
    };
    let mut times = Vec::new();
    for head in [
        of("POST", "/a", "one"),
        of("POST", "/a", "one"),
        // Another endpoint, another partition, and then again the first.
        of("GET", "/b", "one"),
        of("POST", "/a", "two"),
        of("POST", "/a", "one"),
    ] {
        drop(
            handle
                .admit(&head)
                .await
                .unwrap()
                .dispatched()
                .await
                .unwrap(),
        );
        times.push(whole(start.elapsed()));
    }
    assert_eq!(times, [0, 0, 0, 0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn the_limits_on_waiting_are_those_of_the_layer_when_the_handle_was_made() {
    for face in WINDOWS {
        let layer = layer_a(face, per(1, 1000));
        let patient = layer.handle();
        let now_or_never = layer.clone().max_wait(Duration::ZERO).handle();
        let first = layer.max_waiting(0).handle();
        drop(begin(&now_or_never, "/a").await.unwrap());
        let error = begin(&now_or_never, "/a").await.unwrap_err();
        let late = (RefusedReason::WouldWaitTooLong, Some(ms(1000)));
        assert_eq!(reason(&error), late, "{face:?}");
        let error = begin(&first, "/a").await.unwrap_err();
        let full = (RefusedReason::QueueFull, Some(ms(1000)));
        assert_eq!(reason(&error), full, "{face:?}");
        let start = Instant::now();
        drop(begin(&patient, "/a").await.unwrap());
        assert_eq!(start.elapsed(), ms(1000), "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_refuses_at_once_what_can_be_computed_and_else_when_it_passes() {
    let due_in = |path: &str, time| {
        let terms = Terms::new().deadline(Instant::now() + ms(time));
        Request::get(path).extension(terms).body(()).unwrap()
    };
    let endpoints = endpoint_a(per(1, 1000)).route("/b", Quota::concurrent(1));
    let handle = throttle(endpoints).handle();
    let start = Instant::now();
    let a = begin(&handle, "/a").await.unwrap();
    let error = handle.admit(&due_in("/a", 999)).await.unwrap_err();
    let late = (RefusedReason::DeadlineWouldPass, Some(ms(1000)));
    assert_eq!(reason(&error), late);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let b = begin(&handle, "/b").await.unwrap();
    let error = handle.admit(&due_in("/b", 300)).await.unwrap_err();
    assert_eq!(reason(&error), (RefusedReason::WaitedTooLong, None));
    assert_eq!(start.elapsed(), ms(300));
    drop((a, b));
    let in_time = handle.admit(&due_in("/a", 700)).await.unwrap();
    assert_eq!(start.elapsed(), ms(1000));
    drop(in_time);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_leaves_the_queue() {
    for face in PERMITS {
        let handle = layer_a(face, Quota::concurrent(1)).handle();
        let of_a = head("/a");
        drop(handle.admit(&of_a));
        assert_eq!(gauge(&handle, "/a"), (0, 0), "it enters at its first poll");
        let permit = begin(&handle, "/a").await.unwrap();
        let mut first = spawn(handle.admit(&of_a));
        let mut second = spawn(handle.admit(&of_a));
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        assert_eq!(gauge(&handle, "/a"), (2, 1));
        drop(first);
        assert_eq!(gauge(&handle, "/a"), (1, 1));
        drop(permit);
        assert!(second.is_woken());
        // It was offered its turn, and is dropped.
        let mut third = spawn(handle.admit(&of_a));
        assert_pending!(third.poll());
        drop(second);
        assert!(third.is_woken());
        drop(assert_ready_ok!(third.poll()));
        drop(third);
        assert_idle(&handle);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_an_admission_gives_everything_back() {
    let recorder = Recorder::new();
    let quota = per(1, 1000).concurrency(1);
    let layer = observed(Face::Throttle, endpoint_a(quota), recorder.clone());
    let handle = layer.handle();
    let start = Instant::now();
    let admission = handle.admit(&head("/a")).await.unwrap();
    assert_eq!(gauge(&handle, "/a"), (0, 1));
    drop(admission);
    assert_eq!(gauge(&handle, "/a"), (0, 0));
    let permit = begin(&handle, "/a").await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "it has cost no place");
    permit.failed();
    drop(permit);
    let told = recorder.of("/a").into_iter().map(|(_, what)| what);
    let expected = [
        What::Admitted(0),
        What::GivenBack,
        What::Admitted(0),
        What::Dispatched,
        What::Answered(None),
        What::Ended,
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    recorder.check();
}

/// L13: others are delayed once, by 10 ms, and it keeps its age.
#[tokio::test(start_paused = true)]
async fn an_admission_that_is_not_dispatched_delays_others_once_by_ten_milliseconds() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let admission = handle.admit(&head("/a")).await.unwrap();
        let mut sent = vec![
            request(&client, 1, "/a", 100).await,
            task(&handle, &probe, 2, "/a", 100).await,
            request(&client, 3, "/a", 100).await,
        ];
        at(&probe, 9).await;
        assert_eq!(probe.times(), [0; 0], "{face:?}");
        at(&probe, 150).await;
        assert_eq!(probe.times(), [10, 110], "{face:?}");
        let mut admission = admission.dispatch().unwrap_err();
        let log_of = probe.clone();
        sent.push(tokio::spawn(async move {
            admission.admitted().await?;
            let permit = admission.dispatch().unwrap();
            log(&log_of, 0, "/a");
            tokio::time::sleep(ms(100)).await;
            drop(permit);
            Ok(())
        }));
        finish(sent).await;
        assert_eq!(probe.ids(), [1, 2, 0, 3], "{face:?}");
        assert_eq!(probe.times(), [10, 110, 210, 310], "{face:?}");
        assert_idle(&handle);
    }
}

#[tokio::test(start_paused = true)]
async fn an_admission_that_nobody_waits_behind_may_take_its_time() {
    let handle = layer_a(Face::Throttle, per(1, 1000).concurrency(1)).handle();
    let admission = handle.admit(&head("/a")).await.unwrap();
    tokio::time::sleep(ms(5000)).await;
    let permit = admission.dispatch().unwrap();
    // The window counts it from when it was dispatched.
    assert_eq!(handle.wait_for(&head("/a")).unwrap(), Some(ms(1000)));
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn a_pause_calls_an_admission_back() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let admission = handle.admit(&head("/a")).await.unwrap();
        let sent = request(&client, 1, "/a", 0).await;
        handle.pause("/a", ms(500)).unwrap();
        let mut admission = admission.dispatch().unwrap_err();
        assert_eq!(gauge(&handle, "/a"), (2, 0), "{face:?}");
        admission.admitted().await.unwrap();
        // It is ready at once, for as long as it has its places.
        admission.admitted().await.unwrap();
        let permit = admission.dispatch().unwrap();
        log(&probe, 0, "/a");
        drop(permit);
        finish(vec![sent]).await;
        assert_eq!(probe.ids(), [0, 1], "{face:?}");
        let behind = if face == Face::Concurrency { 500 } else { 600 };
        assert_eq!(probe.times(), [500, behind], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_admission_that_is_called_back_for_too_long_is_refused() {
    let layer = layer_a(Face::Throttle, per(1, 100)).max_wait(ms(300));
    let handle = layer.handle();
    let admission = handle.admit(&head("/a")).await.unwrap();
    handle.pause("/a", ms(500)).unwrap();
    let admission = admission.dispatch().unwrap_err();
    let mut admission = admission.dispatch().unwrap_err();
    let error = admission.admitted().await.unwrap_err();
    let late = (RefusedReason::WouldWaitTooLong, Some(ms(500)));
    assert_eq!(reason(&error), late);
    assert!(admission.dispatch().is_err(), "it is over");
    // And in one step.
    handle.resume("/a").unwrap();
    let admission = handle.admit(&head("/a")).await.unwrap();
    handle.pause("/a", ms(500)).unwrap();
    let error = admission.dispatched().await.unwrap_err();
    assert_eq!(reason(&error), late);
    assert_idle(&handle);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "polled after it was done")]
async fn to_await_an_admission_after_an_error_is_a_mistake() {
    let handle = layer_a(Face::Throttle, per(1, 100))
        .max_wait(ms(1))
        .handle();
    let admission = handle.admit(&head("/a")).await.unwrap();
    handle.pause("/a", ms(500)).unwrap();
    let mut admission = admission.dispatch().unwrap_err();
    admission.admitted().await.unwrap_err();
    _ = admission.admitted().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_quota_calls_an_admission_back() {
    let handle = layer_a(Face::Throttle, Quota::concurrent(2)).handle();
    let running = begin(&handle, "/a").await.unwrap();
    let admission = handle.admit(&head("/a")).await.unwrap();
    handle.set_quota("/a", Quota::concurrent(1)).unwrap();
    let admission = admission.dispatch().unwrap_err();
    let mut dispatched = spawn(admission.dispatched());
    assert_pending!(dispatched.poll());
    drop(running);
    assert!(dispatched.is_woken());
    drop(assert_ready_ok!(dispatched.poll()));
    assert_idle(&handle);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_permit_pauses_everyone_for_the_delay_that_was_named() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::per_second(100).concurrency(100));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let permit = begin(&handle, "/a").await.unwrap();
        at(&probe, 40).await;
        let now = Instant::now();
        let opens = permit.throttled(&after(2)).unwrap();
        assert!(opens >= now + ms(2000) && opens <= now + ms(2250));
        assert_eq!(permit.throttled(&after(9)), Some(opens), "the first counts");
        permit.failed();
        let paused = handle.snapshot().bucket("/a").unwrap().paused_for();
        assert_eq!(paused, Some(opens - now), "{face:?}");
        let sent = tokio::spawn(send(client, get("/a")));
        settle().await;
        drop(begin(&handle, "/a").await.unwrap());
        assert!(Instant::now() >= opens && Instant::now() < opens + ms(1));
        sent.await.unwrap().unwrap();
        assert!(probe.log().calls[0].at >= opens, "{face:?}");
        let snapshot = handle.snapshot();
        assert_eq!(snapshot.bucket("/a").unwrap().throttled(), 1);
        drop(permit);
        assert_idle(&handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_permit_without_a_delay_pauses_by_a_back_off() {
    let layer = layer_a(Face::Throttle, Quota::per_second(100));
    let handle = layer.handle();
    let permit = begin(&handle, "/a").await.unwrap();
    let now = Instant::now();
    let opens = permit.throttled(&rate()).unwrap();
    assert!(opens > now);
    let paused = handle.snapshot().bucket("/a").unwrap().paused_for();
    assert_eq!(paused, Some(opens - now));
    drop(permit);
    drop(begin(&handle, "/a").await.unwrap());
    assert!(Instant::now() >= opens);
}

#[tokio::test(start_paused = true)]
async fn too_many_at_once_waits_for_the_end_of_another() {
    let layer = layer_a(Face::Throttle, Quota::concurrent(4));
    let (handle, probe) = (layer.handle(), Probe::new());
    let other = begin(&handle, "/a").await.unwrap();
    let permit = begin(&handle, "/a").await.unwrap();
    at(&probe, 10).await;
    let signal = Signal::new(SignalKind::Concurrency);
    assert_eq!(permit.throttled(&signal), Some(Instant::now()));
    let again = head("/a");
    let mut newcomer = spawn(handle.admit(&again));
    let mut retry = spawn(handle.admit_again(permit));
    assert_pending!(newcomer.poll());
    assert_pending!(retry.poll());
    drop(other);
    assert!(retry.is_woken());
    drop(assert_ready_ok!(retry.poll()));
}

#[tokio::test(start_paused = true)]
async fn there_is_nothing_to_wait_for_where_a_retry_is_of_no_use() {
    let credits = Signal::new(SignalKind::QuotaExhausted).with_retry_after(ms(1000));
    let unwanted = after(1).with_should_retry(false);
    let beyond_the_ceiling = after(600);
    for signal in [&credits, &unwanted, &beyond_the_ceiling] {
        let handle = layer_a(Face::Throttle, Quota::per_second(9)).handle();
        let permit = begin(&handle, "/a").await.unwrap();
        assert_eq!(permit.throttled(signal), None, "{signal:?}");
    }
    let too_late = layer_a(Face::Throttle, Quota::per_second(9)).max_wait(ms(1999));
    let permit = begin(&too_late.handle(), "/a").await.unwrap();
    assert_eq!(permit.throttled(&after(2)), None);
    let handle = layer_a(Face::Throttle, Quota::per_second(9)).handle();
    let terms = Terms::new().deadline(Instant::now() + ms(1999));
    let due = Request::get("/a").extension(terms).body(()).unwrap();
    let permit = handle
        .admit(&due)
        .await
        .unwrap()
        .dispatched()
        .await
        .unwrap();
    assert_eq!(permit.throttled(&after(2)), None);
    // It has no permits that could end.
    let handle = layer_a(Face::Rps, Quota::per_second(9)).handle();
    let permit = begin(&handle, "/a").await.unwrap();
    assert_eq!(
        permit.throttled(&Signal::new(SignalKind::Concurrency)),
        None
    );
    drop(begin(&handle, "/a").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_closed_for_longer_than_any_pause_is_open_when_a_probe_is_accepted() {
    for lost in [true, false] {
        let handle = layer_a(Face::Throttle, Quota::per_second(9)).handle();
        let permit = begin(&handle, "/a").await.unwrap();
        assert_eq!(permit.throttled(&after(600)), None);
        let error = handle.admit_again(permit).await.unwrap_err();
        assert_eq!(reason(&error).0, RefusedReason::ServerClosed);
        let wait = handle.wait_for(&head("/a")).unwrap().unwrap();
        assert!(wait >= Duration::from_secs(600));
        tokio::time::sleep(Duration::from_secs(121)).await;
        let probe = begin(&handle, "/a").await.unwrap();
        if lost {
            probe.failed();
        }
        drop(probe);
        assert_eq!(begin(&handle, "/a").await.is_err(), lost);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_its_age() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let permit = begin(&handle, "/a").await.unwrap();
        log(&probe, 0, "/a");
        let mut sent = vec![
            request(&client, 1, "/a", 100).await,
            task(&handle, &probe, 2, "/a", 100).await,
        ];
        permit.throttled(&after(2)).unwrap();
        let (again, log_of) = (handle.clone(), probe.clone());
        sent.push(tokio::spawn(async move {
            let permit = again.admit_again(permit).await?.dispatched().await?;
            log(&log_of, 0, "/a");
            tokio::time::sleep(ms(100)).await;
            drop(permit);
            Ok(())
        }));
        settle().await;
        assert_eq!(gauge(&handle, "/a"), (3, 0), "{face:?}: it holds nothing");
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 0, 1, 2], "{face:?}");
        assert_idle(&handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_waits_for_its_permit_is_not_counted_by_max_waiting() {
    let layer = layer_a(Face::Throttle, Quota::concurrent(1)).max_waiting(1);
    let handle = layer.handle();
    let of_a = head("/a");
    let permit = begin(&handle, "/a").await.unwrap();
    let mut newcomer = spawn(handle.admit(&of_a));
    assert_pending!(newcomer.poll());
    permit.failed();
    let mut retry = spawn(handle.admit_again(permit));
    // The permit ended first, and was offered to the one that waits.
    assert_pending!(retry.poll());
    let first = assert_ready_ok!(newcomer.poll());
    drop(first);
    assert!(retry.is_woken());
    drop(assert_ready_ok!(retry.poll()));
}

/// L17: what is throttled again and again while others are accepted waits alone.
#[tokio::test(start_paused = true)]
async fn the_trouble_of_one_holds_up_nobody_else() {
    let layer = layer_a(Face::Throttle, Quota::per_second(1000).concurrency(10));
    let handle = layer.handle();
    let mut permit = begin(&handle, "/a").await.unwrap();
    let mut waits = Vec::new();
    for attempt in 0..4 {
        let opens = permit.throttled(&rate()).unwrap();
        let paused = handle.snapshot().bucket("/a").unwrap().paused_for();
        let now = Instant::now();
        if attempt == 0 {
            assert!(paused.is_some(), "the first is everyone's news");
        } else {
            assert_eq!(paused, None, "{attempt}");
            waits.push(opens - now);
        }
        let again = handle.clone();
        let retry = tokio::spawn(async move {
            let permit = again.admit_again(permit).await?.dispatched().await?;
            Ok::<_, BoxError>((permit, Instant::now()))
        });
        settle().await;
        let mut at_once = 0;
        for _ in 0..4 {
            let others = begin(&handle, "/a").await.unwrap();
            at_once += usize::from(Instant::now() == now);
            drop(others);
        }
        if attempt > 0 {
            assert_eq!(at_once, 4, "{attempt}");
        }
        let (next, sent) = retry.await.unwrap().unwrap();
        assert!(sent >= opens && sent < opens + ms(2), "{attempt}");
        permit = next;
    }
    let growing = waits.is_sorted_by(|a, b| a < b) && waits[0] >= ms(400);
    assert!(growing, "{waits:?}");
    drop(permit);
    assert_idle(&handle);
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_lets_others_go_at_once() {
    let quota = Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
    let layer = layer_a(Face::Throttle, quota);
    let (client, handle, probe) = (layer.client(&Probe::new()), layer.handle(), Probe::new());
    let begin = async |tokens| {
        let head = costing("/a", tokens);
        handle
            .admit(&head)
            .await
            .unwrap()
            .dispatched()
            .await
            .unwrap()
    };
    let permit = begin(80).await;
    let mut request = get("/a");
    let terms = Terms::new().cost(Cost::new().of(Unit::TOKENS, 50));
    request.extensions_mut().insert(terms);
    let sent = tokio::spawn(send(client, request));
    at(&probe, 300).await;
    assert!(!sent.is_finished());
    permit.settle(Cost::new().of(Unit::TOKENS, 60));
    settle().await;
    assert!(!sent.is_finished());
    permit.settle(Cost::new().of(Unit::TOKENS, 50).of(Unit::CREDITS, 1));
    settle().await;
    assert!(sent.is_finished());
    drop(permit);
    // More closes the window for as long as it takes.
    at(&probe, 1000).await;
    assert_eq!(window(&handle, "/a").used(), 50);
    let permit = begin(10).await;
    permit.settle(Cost::new().of(Unit::TOKENS, 100));
    drop(permit);
    drop(begin(1).await);
    assert_eq!(probe.start().elapsed(), ms(2000));
}

#[tokio::test(start_paused = true)]
async fn what_it_has_cost_depends_on_what_came_of_it() {
    let quota = || Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
    let used = async |handle: Handle, tell: fn(&Permit)| {
        let head = costing("/a", 80);
        let permit = handle
            .admit(&head)
            .await
            .unwrap()
            .dispatched()
            .await
            .unwrap();
        tell(&permit);
        drop(permit);
        window(&handle, "/a").used()
    };
    let handle = || throttle(endpoint_a(quota())).handle();
    assert_eq!(used(handle(), |_| {}).await, 80);
    assert_eq!(used(handle(), Permit::failed).await, 80);
    let throttled = |permit: &Permit| {
        permit.throttled(&after(1)).unwrap();
    };
    assert_eq!(used(handle(), throttled).await, 0);
    let counting = throttle(endpoint_a(quota())).count_throttled().handle();
    assert_eq!(used(counting, throttled).await, 80);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_accepted_teaches_what_it_costs() {
    let quota = Quota::unlimited().units(Unit::TOKENS, 800, ms(1000));
    let handle = throttle(endpoint_a(quota)).handle();
    // What an attempt takes that states nothing: the average.
    let estimate = async || {
        tokio::time::sleep(ms(1000)).await;
        let permit = begin(&handle, "/a").await.unwrap();
        let used = window(&handle, "/a").used();
        permit.failed();
        used
    };
    assert_eq!(estimate().await, 100);
    let permit = begin(&handle, "/a").await.unwrap();
    permit.failed();
    permit.settle(Cost::new().of(Unit::TOKENS, 300));
    drop(permit);
    assert_eq!(estimate().await, 100);
    let permit = begin(&handle, "/a").await.unwrap();
    permit.settle(Cost::new().of(Unit::TOKENS, 40));
    drop(permit);
    assert_eq!(estimate().await, 40);
}

#[tokio::test(start_paused = true)]
async fn cost_by_sees_the_head_and_no_body() {
    let quota = Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
    let layer = throttle(endpoint_a(quota)).cost_by(|head, body| {
        assert_eq!(body, None);
        let tokens = head.headers().get("x-tokens")?.to_str().ok()?;
        Some(Cost::new().of(Unit::TOKENS, tokens.parse().ok()?))
    });
    let handle = layer.handle();
    let head = Request::get("/a")
        .header("x-tokens", "70")
        .body(())
        .unwrap();
    assert_eq!(handle.wait_for(&head).unwrap(), Some(Duration::ZERO));
    let permit = handle
        .admit(&head)
        .await
        .unwrap()
        .dispatched()
        .await
        .unwrap();
    assert_eq!(window(&handle, "/a").used(), 70);
    assert_eq!(handle.wait_for(&head).unwrap(), Some(ms(1000)));
    // It is asked again for a retry.
    permit.failed();
    let again = handle.admit_again(permit).await.unwrap();
    drop(again.dispatched().await.unwrap());
    assert_eq!(window(&handle, "/a").used(), 70);
    let large = Request::get("/a")
        .header("x-tokens", "101")
        .body(())
        .unwrap();
    assert_eq!(handle.wait_for(&large).unwrap(), None);
    let error = handle.admit(&large).await.unwrap_err();
    assert_eq!(reason(&error).0, RefusedReason::NeverFits);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_is_an_error() {
    let endpoints = Endpoints::new().named("flash", Quota::per_second(1));
    let handle = throttle(endpoints).handle();
    let named = |name: &'static str| {
        let head = Request::get("/").extension(EndpointName::new(name));
        head.body(()).unwrap()
    };
    let error = handle.admit(&named("flush")).await.unwrap_err();
    assert!(error.is::<UnknownEndpoint>());
    let error = handle.wait_for(&named("flush")).unwrap_err();
    assert!(error.is::<UnknownEndpoint>());
    let permit = handle
        .admit(&named("flash"))
        .await
        .unwrap()
        .dispatched()
        .await
        .unwrap();
    assert_eq!(handle.wait_for(&named("flash")).unwrap(), Some(ms(1000)));
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_a_panic_drops_counts_as_failed() {
    let recorder = Recorder::new();
    let layer = observed(
        Face::Throttle,
        endpoint_a(Quota::concurrent(1)),
        recorder.clone(),
    );
    let handle = layer.handle();
    let permit = begin(&handle, "/a").await.unwrap();
    let panics = tokio::spawn(async move {
        let _permit = permit;
        std::panic::resume_unwind(Box::new("a panic"));
    });
    assert!(panics.await.is_err());
    assert_idle(&handle);
    let closed = begin(&handle, "/a").await.unwrap();
    assert_eq!(closed.throttled(&after(600)), None);
    drop(closed);
    tokio::time::sleep(Duration::from_secs(121)).await;
    let probe = begin(&handle, "/a").await.unwrap();
    let panics = tokio::spawn(async move {
        let _probe = probe;
        std::panic::resume_unwind(Box::new("a panic"));
    });
    assert!(panics.await.is_err());
    begin(&handle, "/a").await.unwrap_err();
}

#[test]
fn nothing_shows_a_secret() {
    paused(async {
        let endpoints = endpoint_a(Quota::concurrent(1)).partition_by_header("x-key");
        let handle = throttle(endpoints).handle();
        let head = Request::get("http://user:secret@host/a?key=secret").header("x-key", "secret");
        let admission = handle.admit(&head.body(()).unwrap()).await.unwrap();
        let shown = format!("{admission:?}");
        assert!(shown.contains("/a") && !shown.contains("secret"), "{shown}");
        let permit = admission.dispatch().unwrap();
        let shown = format!("{permit:?}");
        assert!(shown.contains("/a") && !shown.contains("secret"), "{shown}");
    });
}

/// Where nothing has timers, permits are waited for all the same, and times are an error.
#[test]
fn no_runtime_is_needed_to_wait_for_others() {
    let endpoints = endpoint_a(Quota::concurrent(1)).route("/b", per(1, 1000));
    let handle = throttle(endpoints).handle();
    let (of_a, of_b) = (head("/a"), head("/b"));
    let mut first = spawn(handle.admit(&of_a));
    let permit = assert_ready_ok!(first.poll()).dispatch().unwrap();
    let mut second = spawn(handle.admit(&of_a));
    assert_pending!(second.poll());
    drop(permit);
    assert!(second.is_woken());
    drop(assert_ready_ok!(second.poll()).dispatch().unwrap());
    let mut first = spawn(handle.admit(&of_b));
    drop(assert_ready_ok!(first.poll()).dispatch().unwrap());
    let mut second = spawn(handle.admit(&of_b));
    let error = assert_ready_err!(second.poll());
    assert!(error.to_string().contains("without timers"), "{error}");
    assert_idle(&handle);
}

/// In real time, from several threads, with requests of services among them.
#[test]
fn many_threads_share_the_limits() {
    const MOST: usize = 3;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let layer = layer_a(Face::Throttle, Quota::concurrent(MOST));
    let (handle, probe) = (layer.handle(), Probe::new());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<JoinHandle<Result<(), BoxError>>> = (0..200)
        .map(|i| {
            if i % 4 == 0 {
                return runtime.spawn(send(layer.client(&probe), job("/a", ms(1))));
            }
            let (handle, now, most) = (handle.clone(), Arc::clone(&now), Arc::clone(&most));
            runtime.spawn(async move {
                let mut permit = begin(&handle, "/a").await?;
                for attempt in 0..2 {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, SeqCst);
                    if attempt == 0 {
                        permit.failed();
                        permit = handle.admit_again(permit).await?.dispatched().await?;
                    }
                }
                drop(permit);
                Ok(())
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
            ended.expect("it waits for ever").unwrap().unwrap();
        }
    });
    assert!(most.load(SeqCst) <= MOST);
    assert_idle(&handle);
    assert_eq!(handle.snapshot().bucket("/a").unwrap().admitted(), 350);
}

#[test]
fn futures_and_what_they_give_can_be_sent_and_shared() {
    fn sent<T: Send + Sync + std::fmt::Debug + 'static>() {}
    fn send<T: Send>(_: T) {}
    sent::<Admission>();
    sent::<Permit>();
    let handle = throttle(endpoint_a(Quota::concurrent(1))).handle();
    let head = head("/a");
    send(handle.admit(&head));
    send(async {
        let permit = handle.admit(&head).await?.dispatched().await?;
        handle.admit_again(permit).await?.dispatched().await
    });
}

/// One of a schedule.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Since the one before.
    after: u64,
    path: usize,
    work: u64,
    what: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Request,
    Admission,
    /// It takes so long from its admission to its dispatch.
    Slow(u64),
    /// It leaves after a time, wherever it is.
    Cancelled(u64),
    /// It is admitted, and dropped.
    Dropped,
    /// It is throttled, and tried again.
    Throttled(Option<u64>),
    /// It fails, and is tried again.
    Failed,
    Pause(u64),
}

fn steps(n: usize) -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![
        6 => Just(Kind::Request),
        6 => Just(Kind::Admission),
        2 => (0u64..30).prop_map(Kind::Slow),
        2 => (0u64..100).prop_map(Kind::Cancelled),
        1 => Just(Kind::Dropped),
        1 => proptest::option::of(1u64..50).prop_map(Kind::Throttled),
        1 => Just(Kind::Failed),
        1 => (1u64..80).prop_map(Kind::Pause),
    ];
    let step = (0u64..40, 0usize..3, 0u64..120, kind);
    let step = step.prop_map(|(after, path, work, what)| Step {
        after,
        path,
        work,
        what,
    });
    vec(step, 1..n)
}

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

/// A job of the schedule that is no request.
async fn no_request(handle: Handle, probe: Probe, step: Step, id: usize) -> Result<(), BoxError> {
    let path = PATHS[step.path];
    let mut admission = handle.admit(&head(path)).await?;
    match step.what {
        Kind::Dropped => return Ok(()),
        Kind::Slow(time) => tokio::time::sleep(ms(time)).await,
        _ => {}
    }
    let mut permit = loop {
        admission = match admission.dispatch() {
            Ok(permit) => break permit,
            Err(called_back) => called_back,
        };
        admission.admitted().await?;
    };
    let mut first = true;
    loop {
        // As long as it is under way, the probe counts it.
        let flight = Flight::new(&probe, id, path);
        tokio::time::sleep(ms(step.work)).await;
        drop(flight);
        if !std::mem::take(&mut first) {
            return Ok(());
        }
        match step.what {
            Kind::Throttled(delay) => {
                let signal = delay.map_or(rate(), |delay| rate().with_retry_after(ms(delay)));
                let asked = Instant::now() + ms(delay.unwrap_or(0));
                permit.throttled(&signal).unwrap();
                permit = handle.admit_again(permit).await?.dispatched().await?;
                assert!(Instant::now() >= asked);
            }
            Kind::Failed => {
                permit.failed();
                permit = handle.admit_again(permit).await?.dispatched().await?;
            }
            _ => return Ok(()),
        }
    }
}

struct Flight {
    probe: Probe,
    index: usize,
}

impl Flight {
    fn new(probe: &Probe, id: usize, path: &str) -> Self {
        log(probe, id, path);
        let index = probe.log().calls.len() - 1;
        Self {
            probe: probe.clone(),
            index,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.probe.log().calls[self.index].released = Some(Instant::now());
    }
}

/// As a server would see it: no window holds more than n, and no more are in flight at once than allowed.
fn judge(probe: &Probe, concerns: impl Fn(&str) -> bool, limits: &Limits, face: Face) {
    let log = probe.log();
    let calls: Vec<_> = log
        .calls
        .iter()
        .filter(|call| concerns(&call.path))
        .collect();
    let (windows, concurrency) = limits;
    for &(n, period) in windows.iter().filter(|_| face != Face::Concurrency) {
        let mut times: Vec<_> = calls.iter().map(|call| call.at).collect();
        times.sort();
        for pair in times.windows(n as usize + 1) {
            let span = pair[n as usize] - pair[0];
            assert!(span >= ms(period), "{} in {span:?}", n + 1);
        }
    }
    if let Some(most) = concurrency.filter(|_| face != Face::Rps) {
        for call in &calls {
            let under_way = calls.iter().filter(|other| {
                // What ends at an instant has made room at that instant.
                let ended = other.released.is_some_and(|ended| ended <= call.at);
                other.at <= call.at && !(ended && other.at < call.at)
            });
            // Those that take no time leave at once, and others of the same instant come after them.
            let under_way = under_way.filter(|other| other.released != Some(other.at));
            assert!(under_way.count() <= most.max(1), "{most} at once");
        }
    }
}

async fn run(face: Face, quotas: [Limits; 3], overall: Limits, steps: Vec<Step>) {
    let quota = |(windows, concurrency): &Limits| quota_of(windows, *concurrency);
    let endpoints = nested(
        &PATHS,
        quotas.iter().map(quota),
        None,
        Some(quota(&overall)),
    );
    let probe = Probe::new();
    let layer = AnyLayer::new(face, endpoints);
    let (client, handle) = (layer.client(&probe), layer.handle());
    let mut tasks = Vec::new();
    for (id, &step) in steps.iter().enumerate() {
        tokio::time::sleep(ms(step.after)).await;
        let path = PATHS[step.path];
        let job = no_request(handle.clone(), probe.clone(), step, id);
        tasks.push(match step.what {
            Kind::Pause(time) => {
                handle.pause(path, ms(time)).unwrap();
                continue;
            }
            Kind::Request => request(&client, id, path, step.work).await,
            Kind::Cancelled(time) => tokio::spawn(async move {
                _ = tokio::time::timeout(ms(time), job).await;
                Ok(())
            }),
            _ => tokio::spawn(job),
        });
        settle().await;
    }
    finish(tasks).await;
    assert_idle(&handle);
    for (path, limits) in PATHS.iter().zip(&quotas) {
        judge(&probe, |of| of == *path, limits, face);
    }
    judge(&probe, |_| true, &overall, face);
}

/// How long a request would wait is asked of a handle at an instant, and one that comes then is timed.
async fn asked_and_timed(handle: &Handle, path: &'static str) -> JoinHandle<(Duration, Duration)> {
    let start = Instant::now();
    let wait = handle.wait_for(&head(path)).unwrap().unwrap();
    let handle = handle.clone();
    let task = tokio::spawn(async move {
        let permit = begin(&handle, path).await.unwrap();
        let took = start.elapsed();
        drop(permit);
        (wait, took)
    });
    settle().await;
    task
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_limit_is_broken_and_nobody_waits_for_ever(
        face in any_face(),
        quotas in [few_limits(), few_limits(), few_limits()],
        overall in few_limits(),
        steps in steps(40),
    ) {
        paused(run(face, quotas, overall, steps));
    }

    /// L10: exact where one window decides.
    #[test]
    fn one_that_comes_now_goes_when_it_was_said_to(
        n in 1u32..5,
        period in 1u64..200,
        margin in proptest::option::of(1u64..50),
        comes in vec((0u64..120, 1u64..100, 0u8..10), 1..40),
    ) {
        paused(async move {
            let mut quota = per(n, period);
            if let Some(margin) = margin {
                quota = quota.margin(ms(margin));
            }
            let layer = layer_a(Face::Throttle, quota);
            let (client, handle) = (layer.client(&Probe::new()), layer.handle());
            let mut asked = Vec::new();
            for (after, pause, kind) in comes {
                tokio::time::sleep(ms(after)).await;
                match kind {
                    // A pause moves those who wait, so they are asked about before the next one.
                    0 => {
                        for asked in asked.drain(..) {
                            let (wait, took): (Duration, Duration) = asked_of(asked).await;
                            assert_eq!(wait, took);
                        }
                        handle.pause("/a", ms(pause)).unwrap();
                    }
                    1..4 => drop(request(&client, 0, "/a", 0).await),
                    _ => asked.push(asked_and_timed(&handle, "/a").await),
                }
            }
            for asked in asked {
                let (wait, took) = asked_of(asked).await;
                assert_eq!(wait, took);
            }
        });
    }

    /// L10: elsewhere nobody goes before.
    #[test]
    fn nobody_goes_before_it_was_said_to(
        quotas in [few_limits(), few_limits(), few_limits()],
        overall in few_limits(),
        comes in vec((0u64..60, 0usize..3, 0u64..120, any::<bool>()), 1..40),
    ) {
        paused(async move {
            let quota = |(windows, concurrency): &Limits| quota_of(windows, *concurrency);
            let endpoints =
                nested(&PATHS, quotas.iter().map(quota), None, Some(quota(&overall)));
            let layer = AnyLayer::new(Face::Throttle, endpoints);
            let (client, handle) = (layer.client(&Probe::new()), layer.handle());
            let mut asked = Vec::new();
            for (after, path, work, is_request) in comes {
                tokio::time::sleep(ms(after)).await;
                let path = PATHS[path];
                if is_request {
                    drop(request(&client, 0, path, work).await);
                } else {
                    asked.push(asked_and_timed(&handle, path).await);
                }
            }
            for asked in asked {
                let (wait, took) = asked_of(asked).await;
                assert!(took >= wait, "{took:?} instead of {wait:?}");
            }
        });
    }
}

async fn asked_of(
    task: impl Future<Output = Result<(Duration, Duration), tokio::task::JoinError>>,
) -> (Duration, Duration) {
    let ended = tokio::time::timeout(ms(86_400_000), task).await;
    ended.expect("it waits for ever").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_closed_layer_admits_nothing_and_a_drain_waits_for_permits() {
    for face in FACES {
        let layer = AnyLayer::new(face, endpoint_a(Quota::unlimited()));
        let handle = layer.handle();
        let head = http::Request::get("/a").body(()).unwrap();
        let permit = handle.admit(&head).await.unwrap().dispatched().await;
        let permit = permit.unwrap();
        let undispatched = handle.admit(&head).await.unwrap();
        handle.close();
        let closed = |error: &BoxError| {
            let refused = Refused::in_error(error).unwrap();
            assert_eq!(refused.reason(), RefusedReason::Closed, "{face:?}");
        };
        closed(&handle.admit(&head).await.unwrap_err());
        closed(&undispatched.dispatched().await.unwrap_err());
        assert_eq!(handle.wait_for(&head).unwrap(), None);
        let signal = Signal::new(SignalKind::Rate).with_retry_after(ms(10));
        assert_eq!(permit.throttled(&signal), None, "no retry helps");
        let drained = tokio::time::timeout(ms(100), handle.drain()).await;
        assert!(drained.is_err(), "{face:?}: the permit is alive");
        drop(permit);
        handle.drain().await;
    }
}

//! A layer outlives runtimes, serves several at a time, and serves callers that have none.
//!
//! Tests that share a layer in a static have a runtime each. Some of those pause their clock and some do not.
//! Real time passes here, since two runtimes share no paused clock: each test takes some hundred milliseconds.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, LazyLock, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use crate::support::*;
use tokio::{runtime::Runtime, time::Instant};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower_throttle::{BoxError, Deadline, Endpoints, Quota, RefusedReason, ThrottleLayer};

/// What a busy machine may add to a time.
const SLACK: Duration = ms(700);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn without_timer() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Sends, and fails where that takes longer than five seconds of real time.
async fn soon(client: &Client, request: Req) -> Result<(), BoxError> {
    let sent = tokio::time::timeout(Duration::from_secs(5), send(client.clone(), request)).await;
    sent.expect("it takes too long")
}

/// How long it takes to send `/a`, in real time.
fn time_to_send(runtime: &Runtime, client: &Client) -> Duration {
    runtime.block_on(async {
        let start = Instant::now();
        soon(client, get("/a")).await.unwrap();
        start.elapsed()
    })
}

/// Queues a request in a task of `runtime`, and leaves it there.
fn queue_in(runtime: &Runtime, client: &Client) -> Sent {
    let sent = runtime.spawn(send(client.clone(), get("/a")));
    runtime.block_on(settle());
    assert!(!sent.is_finished(), "there was room for it");
    sent
}

/// The times between dispatches, where all of them were stamped by the real clock.
fn gaps(probe: &Probe) -> Vec<Duration> {
    let log = probe.log();
    log.calls.windows(2).map(|w| w[1].at - w[0].at).collect()
}

/// Waits in real time, outside of any runtime.
fn pass(time: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    assert!(never.recv_timeout(time).is_err());
}

static SHARED: LazyLock<ThrottleLayer> =
    LazyLock::new(|| throttle(Endpoints::new().route("/a", per(1, 100).concurrency(1))));

#[test]
fn a_layer_in_a_static_serves_runtimes_one_after_the_other() {
    let probe = Probe::new();
    let client = AnyLayer::Throttle(SHARED.clone()).client(&probe);
    for _ in 0..3 {
        let runtime = runtime();
        runtime.block_on(async {
            for sent in burst(&client, 2, |_| get("/a")).await {
                sent.await.unwrap().unwrap();
            }
        });
    }
    for gap in gaps(&probe) {
        assert!(gap >= ms(100) && gap < ms(100) + SLACK, "{gap:?}");
    }
    assert_idle(&SHARED.handle());
}

#[test]
fn runtimes_that_are_alive_and_idle_hold_up_no_other() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 50).concurrency(1));
        let client = layer.client(&probe);
        let mut idle = Vec::new();
        for _ in 0..3 {
            let runtime = runtime();
            runtime.block_on(async {
                for sent in burst(&client, 2, |_| get("/a")).await {
                    sent.await.unwrap().unwrap();
                }
            });
            idle.push(runtime);
        }
        assert_eq!(gaps(&probe).len(), 5);
        for gap in gaps(&probe) {
            assert!(face == Face::Concurrency || gap >= ms(50), "{gap:?}");
            assert!(gap < ms(50) + SLACK, "{face:?} {gap:?}");
        }
        assert_idle(&layer.handle());
    }
}

/// L13: a waiter in a runtime that nobody runs is not polled, so it is absent.
#[test]
fn a_waiter_that_is_left_behind_in_an_idle_runtime_holds_up_no_other() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 200));
        let client = layer.client(&probe);
        let (idle, other) = (runtime(), runtime());
        time_to_send(&idle, &client);
        let left = queue_in(&idle, &client);
        let took = time_to_send(&other, &client);
        assert!(took < ms(210) + SLACK, "{face:?}: {took:?}");
        assert!(gaps(&probe)[0] >= ms(200), "{face:?}");
        // It is the next when its runtime runs again.
        idle.block_on(async { tokio::time::timeout(ms(3000), left).await })
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(gaps(&probe)[1] >= ms(200), "{face:?}");
        assert_idle(&layer.handle());
    }
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&probe);
        let (idle, other) = (runtime(), runtime());
        let running = call(&mut client, get("/a"));
        let left = queue_in(&idle, &client);
        let next = queue_in(&other, &client);
        drop(running);
        other
            .block_on(async { tokio::time::timeout(ms(3000), next).await })
            .expect("it waits for an idle runtime")
            .unwrap()
            .unwrap();
        drop(left);
        drop(idle);
        assert_idle(&layer.handle());
    }
}

/// L13: of two runtimes, one blocks while its waiter is at the head.
#[test]
fn a_runtime_that_blocks_with_its_waiter_at_the_head_holds_up_no_other() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 200).concurrency(1));
        let client = layer.client(&probe);
        let (queued, is_queued) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let mut mine = client.clone();
        let blocked = thread::spawn(move || {
            let runtime = runtime();
            let running = call(&mut mine, get("/a"));
            let waiter = queue_in(&runtime, &mine);
            queued.send(running).unwrap();
            // As a task that computes would.
            let aborted = runtime.block_on(async { released.recv_timeout(Duration::from_secs(4)) });
            assert!(aborted.is_ok(), "nobody released it");
            runtime.block_on(async { tokio::time::timeout(ms(3000), waiter).await })
        });
        let running = is_queued.recv().unwrap();
        let other = runtime();
        drop(running);
        let took = time_to_send(&other, &client);
        assert!(took < ms(210) + SLACK, "{face:?}: {took:?}");
        release.send(()).unwrap();
        blocked.join().unwrap().unwrap().unwrap().unwrap();
        for gap in gaps(&probe) {
            assert!(face == Face::Concurrency || gap >= ms(200), "{gap:?}");
        }
        assert_idle(&layer.handle());
    }
}

/// L5: a runtime that ends drops its waiter, and the next one, in another runtime, has its turn in time.
#[test]
fn a_runtime_that_ends_with_its_waiter_at_the_head_lets_the_next_one_go_in_time() {
    for face in FACES {
        // The first runtime ends before the place is free, or when it has been offered.
        for late in [false, true] {
            let probe = Probe::new();
            let layer = layer_a(face, per(1, 200).concurrency(1));
            let mut client = layer.client(&probe);
            let (first, second) = (runtime(), runtime());
            let running = call(&mut client, get("/a"));
            let left = queue_in(&first, &client);
            let next = queue_in(&second, &client);
            if late {
                drop(running);
                pass(ms(203));
                drop(first);
            } else {
                drop(first);
                drop(running);
            }
            let start = Instant::now();
            second
                .block_on(async { tokio::time::timeout(ms(3000), next).await })
                .expect("it waits for a runtime that is gone")
                .unwrap()
                .unwrap();
            let most = if late || face == Face::Concurrency {
                0
            } else {
                200
            };
            assert!(start.elapsed() < ms(most) + SLACK, "{face:?} {late}");
            let gap = gaps(&probe)[0];
            assert!(face == Face::Concurrency || gap >= ms(200), "{gap:?}");
            drop(left);
            assert_idle(&layer.handle());
        }
    }
}

/// Both runtimes run, in threads of their own, and the one with the head ends.
#[test]
fn a_running_runtime_hears_of_its_turn_when_another_one_ends() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 300).concurrency(1));
        let mut client = layer.client(&probe);
        let running = call(&mut client, get("/a"));
        let first = runtime();
        let left = queue_in(&first, &client);
        let (mine, handle) = (client.clone(), layer.handle());
        let second = thread::spawn(move || time_to_send(&runtime(), &mine));
        while gauge(&handle, "/a").0 < 2 {
            thread::yield_now();
        }
        // The second is asleep by now, or will look before it is.
        drop(first);
        drop(running);
        let took = second.join().expect("it was not sent");
        assert!(took < ms(300) + SLACK, "{face:?}: {took:?}");
        drop(left);
        assert_idle(&layer.handle());
    }
}

/// A waiter is a value: it may be polled in one runtime and, when that has ended, in another.
#[test]
fn a_waiter_that_outlives_its_runtime_goes_in_another() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 200).concurrency(1));
        let mut client = layer.client(&probe);
        let running = call(&mut client, get("/a"));
        let first = runtime();
        let mut waiter = {
            let _guard = first.enter();
            let mut waiter = call(&mut client, get("/a"));
            assert_pending!(waiter.poll());
            waiter
        };
        drop(first);
        drop(running);
        let moved = catch_unwind(AssertUnwindSafe(|| {
            runtime().block_on(async {
                tokio::time::timeout(ms(3000), &mut waiter)
                    .await
                    .expect("it waits for a runtime that is gone")
                    .map(drop)
            })
        }));
        moved.expect("it panicked").unwrap();
        assert_eq!(probe.log().calls.len(), 2, "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// L1, L2: many runtimes at once, some of which end early, share a window exactly and lose nobody.
#[test]
fn many_runtimes_at_once_share_a_window() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = layer_a(face, per(10, 50).concurrency(10));
        let client = layer.client(&probe);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                thread::spawn(move || {
                    let runtime = runtime();
                    runtime.block_on(async {
                        let sent = burst(&client, 30, |_| get("/a")).await;
                        for sent in sent.into_iter().take(20) {
                            tokio::time::timeout(Duration::from_secs(10), sent)
                                .await
                                .expect("it waits for ever")
                                .unwrap()
                                .unwrap();
                        }
                    });
                    // Some of the ten others are still queued.
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let mut times: Vec<_> = probe.log().calls.iter().map(|call| call.at).collect();
        times.sort_unstable();
        assert!(times.len() >= 80);
        for pair in times.windows(11) {
            assert!(pair[10] - pair[0] >= ms(50), "{face:?}");
        }
        assert_idle(&layer.handle());
    }
}

/// Runs a future by parking the thread: an executor that is none of tokio's.
fn park_until<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park_timeout(Duration::from_secs(5));
    }
}

#[test]
fn a_request_that_need_not_wait_needs_no_runtime_and_no_timer() {
    for face in FACES {
        for limited in [false, true] {
            let probe = Probe::new();
            let mut layer = layer_a(face, per(3, 1000).concurrency(3));
            if limited {
                layer = layer.max_wait(ms(100)).max_waiting(3);
            }
            let client = layer.client(&probe);
            park_until(send(client.clone(), get("/a"))).unwrap();
            park_until(send(client.clone(), get("/other"))).unwrap();
            without_timer()
                .block_on(send(client.clone(), get("/a")))
                .unwrap();
            assert_eq!(probe.log().calls.len(), 3, "{face:?}");
            assert_idle(&layer.handle());
        }
    }
}

/// A layer for each face, and a word on it, where the next request has to wait for an hour.
fn closed() -> Vec<(String, AnyLayer, Client)> {
    let mut closed = Vec::new();
    let hour = 3_600_000;
    for face in WINDOWS {
        let layer = layer_a(face, per(1, hour));
        let client = layer.client(&Probe::new());
        park_until(send(client.clone(), get("/a"))).unwrap();
        closed.push((format!("{face:?}, a window"), layer, client));
        let layer = AnyLayer::new(face, Endpoints::new().overall(per(1, hour)));
        let client = layer.client(&Probe::new());
        park_until(send(client.clone(), get("/a"))).unwrap();
        closed.push((format!("{face:?}, the window of all"), layer, client));
    }
    for face in FACES {
        let layer = layer_a(face, Quota::unlimited());
        let client = layer.client(&Probe::new());
        layer.handle().pause("/a", ms(hour)).unwrap();
        closed.push((format!("{face:?}, a pause"), layer, client));
    }
    closed
}

/// C7: a wait that needs a timer, and has none, is an error of the response future and no panic.
#[test]
fn a_wait_that_needs_a_timer_and_has_none_is_an_error() {
    for timer_is_missing in [false, true] {
        for (what, layer, mut client) in closed() {
            let runtime = without_timer();
            let _guard = timer_is_missing.then(|| runtime.enter());
            let answer = catch_unwind(AssertUnwindSafe(|| {
                let mut waiter = call(&mut client, get("/a"));
                let answer = waiter.poll();
                // Also when it is dropped.
                drop(waiter);
                answer
            }));
            let answer = answer.unwrap_or_else(|_| panic!("{what}: it panicked"));
            let error = assert_ready_err!(answer, "{what}");
            assert!(!error.to_string().is_empty());
            assert_idle(&layer.handle());
        }
    }
}

/// C7: as awaited by a task of a runtime that has no time driver.
#[test]
fn a_task_of_a_runtime_without_timer_gets_the_error() {
    for (what, layer, client) in closed() {
        let answer = without_timer().block_on(async {
            let sent = tokio::spawn(send(client, get("/a")));
            sent.await
        });
        let answer = answer.unwrap_or_else(|_| panic!("{what}: it panicked"));
        assert!(answer.is_err(), "{what}");
        assert_idle(&layer.handle());
    }
}

/// C7: a limit of its own needs a timer, too.
#[test]
fn a_limited_wait_for_a_permit_needs_a_timer() {
    for face in PERMITS {
        for deadline in [false, true] {
            let layer = layer_a(face, Quota::concurrent(1));
            let layer = if deadline {
                layer
            } else {
                layer.max_wait(Duration::from_secs(60))
            };
            let mut client = layer.client(&Probe::new());
            let running = call(&mut client, get("/a"));
            let mut request = get("/a");
            if deadline {
                let at = Instant::now() + Duration::from_secs(60);
                request.extensions_mut().insert(Deadline(at));
            }
            let answer = catch_unwind(AssertUnwindSafe(|| {
                let mut waiter = call(&mut client, request);
                waiter.poll()
            }));
            let answer = answer.unwrap_or_else(|_| panic!("{face:?}: it panicked"));
            assert_ready_err!(answer, "{face:?} {deadline}");
            drop(running);
            assert_idle(&layer.handle());
        }
    }
}

/// A permit comes from whoever ends, so waiting for it needs no timer.
#[test]
fn a_wait_for_a_permit_needs_no_runtime() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&probe);
        let running = call(&mut client, get("/a"));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let client = client.clone();
                thread::spawn(move || park_until(send(client, get("/a"))).unwrap())
            })
            .collect();
        while gauge(&layer.handle(), "/a").0 < 3 {
            thread::yield_now();
        }
        let start = Instant::now();
        drop(running);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(start.elapsed() < SLACK, "{face:?}: {:?}", start.elapsed());
        assert_eq!(probe.log().calls.len(), 4);
        assert_idle(&layer.handle());
    }
}

/// L13 without a timer: nobody is woken for it, but whoever is polled takes what an absent one left.
#[test]
fn without_a_timer_one_that_is_polled_takes_the_place_of_one_that_is_absent() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&probe);
        let running = call(&mut client, get("/a"));
        let mut absent = call(&mut client, Work::head(ms(0)).id(1).of("/a"));
        assert_pending!(absent.poll());
        let mut present = call(&mut client, Work::head(ms(0)).id(2).of("/a"));
        assert_pending!(present.poll());
        drop(running);
        pass(ms(15));
        drop(assert_ready_ok!(present.poll()));
        drop(assert_ready_ok!(absent.poll()));
        assert_eq!(probe.ids(), [0, 2, 1], "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// C7: it waits for a permit without a timer, and then a pause begins, whose end only a timer can tell.
#[test]
fn a_pause_that_begins_while_one_waits_without_a_timer_is_an_error_for_it() {
    for face in PERMITS {
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&Probe::new());
        let running = call(&mut client, get("/a"));
        let mut waiter = call(&mut client, get("/a"));
        assert_pending!(waiter.poll());
        layer.handle().pause("/a", ms(3_600_000)).unwrap();
        let answer = catch_unwind(AssertUnwindSafe(|| waiter.poll()));
        let answer = answer.unwrap_or_else(|_| panic!("{face:?}: it panicked"));
        assert_ready_err!(answer, "{face:?}");
        drop(running);
        drop(waiter);
        assert_idle(&layer.handle());
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// A test with a paused clock that sends, sleeps an hour, and sends again. It ends with `then`.
fn paused_for_an_hour(client: &Client, then: impl FnOnce()) {
    paused(async {
        send(client.clone(), get("/a")).await.unwrap();
        tokio::time::sleep(HOUR).await;
        send(client.clone(), get("/a")).await.unwrap();
        then();
    });
}

/// A13: the clock goes back by an hour, and a window stays closed for no longer than its own length.
#[test]
fn after_a_paused_test_windows_stay_closed_for_their_own_length() {
    for face in WINDOWS {
        for wide in [false, true] {
            let probe = Probe::new();
            let layer = if wide {
                AnyLayer::new(face, Endpoints::new().overall(per(1, 200)))
            } else {
                layer_a(face, per(1, 200))
            };
            let client = layer.client(&probe);
            paused_for_an_hour(&client, || {});
            let took = time_to_send(&runtime(), &client);
            assert!(took < ms(200) + SLACK, "{face:?}: {took:?}");
            // And the window holds in real time.
            let runtime = runtime();
            for _ in 0..2 {
                let took = time_to_send(&runtime, &client);
                assert!(took < ms(200) + SLACK, "{face:?}: {took:?}");
            }
            for gap in &gaps(&probe)[2..] {
                assert!(*gap >= ms(200), "{face:?}: {gap:?}");
            }
            assert_idle(&layer.handle());
        }
    }
}

/// A13: `max_wait` fires when its time has passed by the clock of now.
#[test]
fn after_a_paused_test_max_wait_fires() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1)).max_wait(ms(100));
        let mut client = layer.client(&probe);
        paused_for_an_hour(&client, || {});
        runtime().block_on(async {
            let running = call(&mut client, get("/a"));
            let start = Instant::now();
            let error = soon(&client, get("/a")).await.unwrap_err();
            let took = start.elapsed();
            assert_eq!(refused(&error).reason(), RefusedReason::WaitedTooLong);
            assert!(took >= ms(100) && took < ms(100) + SLACK, "{took:?}");
            drop(running);
        });
        assert_idle(&layer.handle());
    }
}

/// A13, L10: the wait that a refusal names is at most the window's own length.
#[test]
fn after_a_paused_test_a_refusal_names_the_wait_of_now() {
    for face in WINDOWS {
        let layer = layer_a(face, per(1, 10_000)).max_wait(ms(100));
        let client = layer.client(&Probe::new());
        paused_for_an_hour(&client, || {});
        runtime().block_on(async {
            let start = Instant::now();
            let error = soon(&client, get("/a")).await.unwrap_err();
            assert!(start.elapsed() < SLACK);
            assert_eq!(refused(&error).reason(), RefusedReason::WouldWaitTooLong);
            let wait = refused(&error).retry_after().unwrap();
            assert!(wait <= ms(10_000), "{face:?}: {wait:?}");
        });
    }
}

/// A13: a deadline is an instant of the clock of now, and has not passed because another clock was ahead.
#[test]
fn after_a_paused_test_deadlines_are_those_of_now() {
    for face in PERMITS {
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&Probe::new());
        paused_for_an_hour(&client, || {});
        runtime().block_on(async {
            let start = Instant::now();
            let request = |time| {
                let mut request = get("/a");
                request.extensions_mut().insert(Deadline(start + time));
                request
            };
            soon(&client, request(ms(4000))).await.unwrap();
            let running = call(&mut client, get("/a"));
            let error = soon(&client, request(ms(200))).await.unwrap_err();
            let took = start.elapsed();
            assert_eq!(refused(&error).reason(), RefusedReason::WaitedTooLong);
            assert!(took >= ms(200) && took < ms(200) + SLACK, "{took:?}");
            drop(running);
        });
        assert_idle(&layer.handle());
    }
    for face in WINDOWS {
        let layer = layer_a(face, per(1, 200));
        let client = layer.client(&Probe::new());
        paused_for_an_hour(&client, || {});
        runtime().block_on(async {
            let mut request = get("/a");
            let at = Instant::now() + ms(2000);
            request.extensions_mut().insert(Deadline(at));
            soon(&client, request).await.unwrap();
        });
    }
}

/// A13: a pause that a paused test began lasts no longer than its own length, and one that is over is over.
#[test]
fn after_a_paused_test_pauses_last_for_their_own_length() {
    for face in FACES {
        for scope in ["/a", Endpoints::OVERALL] {
            let layer = layer_a(face, Quota::unlimited());
            let handle = layer.handle();
            let client = layer.client(&Probe::new());
            paused_for_an_hour(&client, || handle.pause(scope, ms(200)).unwrap());
            let runtime = runtime();
            let took = time_to_send(&runtime, &client);
            assert!(took < ms(200) + SLACK, "{face:?}: {took:?}");
            let took = time_to_send(&runtime, &client);
            assert!(took < SLACK, "{face:?}: {took:?}");
        }
    }
    for face in FACES {
        let layer = layer_a(face, Quota::unlimited());
        let handle = layer.handle();
        let client = layer.client(&Probe::new());
        paused(async { handle.pause("/a", ms(200)).unwrap() });
        paused_for_an_hour(&client, || {});
        let took = time_to_send(&runtime(), &client);
        assert!(took < SLACK, "{face:?}: {took:?}");
    }
}

/// A13: what a snapshot says of a pause is what is left of it now.
#[test]
fn after_a_paused_test_a_snapshot_tells_what_is_left_of_a_pause() {
    for face in FACES {
        let layer = layer_a(face, Quota::unlimited());
        let handle = layer.handle();
        let client = layer.client(&Probe::new());
        paused_for_an_hour(&client, || handle.pause("/a", ms(60_000)).unwrap());
        runtime().block_on(async {
            let left = handle.snapshot().bucket("/a").unwrap().paused_for();
            assert!(left.is_some_and(|left| left <= ms(60_000)), "{left:?}");
        });
    }
}

/// A13: paused tests and others take turns, and each waits for no more than the window's length.
#[test]
fn paused_tests_and_others_take_turns() {
    for face in WINDOWS {
        let layer = layer_a(face, per(1, 100));
        let client = layer.client(&Probe::new());
        for round in 0..3 {
            let start = paused(async {
                let start = Instant::now();
                send(client.clone(), get("/a")).await.unwrap();
                start.elapsed()
            });
            assert!(start <= ms(100), "{face:?} {round}: {start:?}");
            paused_for_an_hour(&client, || {});
            let took = time_to_send(&runtime(), &client);
            assert!(took < ms(100) + SLACK, "{face:?} {round}: {took:?}");
        }
        assert_idle(&layer.handle());
    }
}

/// A13: a waiter in real time stands behind one whose hour has passed, and whose thread has stopped.
#[test]
fn a_timer_that_was_set_before_the_clock_went_back_is_set_anew() {
    let endpoints = Endpoints::new()
        .route("/a", per(1, 50))
        .route("/b", Quota::concurrent(1));
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let client = layer.client(&Probe::new());
    let runtime = runtime();
    // One that waits for no time, so that this runtime drives the timer from the start.
    let held = runtime.block_on(burst(&client, 2, |_| job("/b", HOUR)));
    let theirs = client.clone();
    let (queued, is_queued) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        paused(async {
            send(theirs.clone(), get("/a")).await.unwrap();
            tokio::time::sleep(HOUR).await;
            send(theirs.clone(), get("/a")).await.unwrap();
            let mut third = tokio_test::task::spawn(send(theirs, get("/a")));
            assert_pending!(third.poll());
            queued.send(()).unwrap();
            // Nothing drives its timers from here on.
            let _ = is_released.recv();
        });
    });
    is_queued.recv().unwrap();
    let took = time_to_send(&runtime, &client);
    assert!(took < ms(150) + SLACK, "{took:?}");
    release.send(()).unwrap();
    other.join().unwrap();
    for sent in held {
        sent.abort();
    }
}

/// A13: at the same time as well. Hours pass in one thread, and the other one's requests go all the same.
#[test]
fn hours_that_pass_in_another_runtime_hold_up_nobody() {
    for face in WINDOWS {
        let layer = layer_a(face, per(1, 50));
        let client = layer.client(&Probe::new());
        let theirs = client.clone();
        let (done, is_done) = mpsc::channel();
        let other = thread::spawn(move || {
            paused(async {
                for _ in 0..5 {
                    // No time-out here: its hour would pass while the other thread takes a millisecond.
                    send(theirs.clone(), get("/a")).await.unwrap();
                    tokio::time::sleep(HOUR).await;
                }
            });
            done.send(()).unwrap();
        });
        let runtime = runtime();
        for _ in 0..5 {
            // At worst the others are ahead of it.
            let took = time_to_send(&runtime, &client);
            assert!(took < ms(50 * 6) + SLACK, "{face:?}: {took:?}");
        }
        let ended = is_done.recv_timeout(Duration::from_secs(5));
        ended.expect("the other runtime waits for ever");
        other.join().unwrap();
        assert_idle(&layer.handle());
    }
}

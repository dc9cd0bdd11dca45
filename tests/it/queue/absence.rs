//! Nobody waits for a future that is not polled.
//!
//! A waiter that does not take its turn within 10 ms is absent. The tests keep queued calls and do not poll
//! them, and look at how long that holds up the calls behind them.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::support::*;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use http::Response;
use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, Sleep};
use tokio_test::{assert_pending, assert_ready_ok, task::Spawn};
use tower::Service;
use tower_throttle::{BoxError, Endpoints, Handle, Quota};

/// How long an offer is kept for a waiter that does not take it.
const GRACE: u64 = 10;

type Call = Spawn<<Client as Service<Req>>::Future>;

fn request(id: usize, path: &str, work: u64) -> Req {
    Work::head(ms(work)).id(id).of(path)
}

/// A call that was polled once, and waits. Whoever keeps it decides when it is polled again.
fn queue(client: &mut Client, request: Req) -> Call {
    let mut waiter = call(client, request);
    assert_pending!(waiter.poll());
    waiter
}

/// One in flight until 100, and two behind it, which have been polled once each.
async fn two_waiters(layer: &AnyLayer, paths: [&str; 2]) -> (Probe, Call, Call) {
    let probe = Probe::new();
    let mut client = layer.client(&probe);
    let running = call(&mut client, request(0, "/a", 0));
    let first = queue(&mut client, request(1, paths[0], 0));
    let second = queue(&mut client, request(2, paths[1], 0));
    at(&probe, 100).await;
    drop(running);
    (probe, first, second)
}

/// One in flight for 100 ms, one forgotten, three behind it. Gives the times of those three.
async fn behind_a_forgotten_one(
    layer: &AnyLayer,
    first: &'static str,
    forgotten: &'static str,
    behind: &'static str,
) -> Vec<u64> {
    let probe = Probe::new();
    let mut client = layer.client(&probe);
    let mut sent = burst(&client, 1, |_| request(0, first, 100)).await;
    let kept = queue(&mut client, request(1, forgotten, 100));
    sent.extend(burst(&client, 3, |i| request(2 + i, behind, 100)).await);
    assert_eq!(probe.ids(), [0], "only the first has a place");
    finish(sent).await;
    assert_eq!(probe.ids(), [0, 2, 3, 4]);
    let waiting: Vec<_> = layer
        .handle()
        .snapshot()
        .buckets()
        .map(tower_throttle::BucketSnapshot::waiting)
        .collect();
    assert!(waiting.contains(&1), "the absent one still waits");
    drop(kept);
    assert_idle(&layer.handle());
    probe.times()[1..].to_vec()
}

/// L13: the one behind a forgotten call goes 10 ms after the place was offered, and the others without delay.
#[tokio::test(start_paused = true)]
async fn a_forgotten_call_delays_those_behind_it_once_by_ten_milliseconds() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(10)));
        let mut client = layer.client(&probe);
        // They end at 100, 200, ..., 1000.
        let mut sent = burst(&client, 10, |i| request(i, "/a", 100 * (i as u64 + 1))).await;
        let forgotten = queue(&mut client, request(10, "/a", 1));
        sent.extend(burst(&client, 10, |i| request(11 + i, "/a", 10_000)).await);
        at(&probe, 109).await;
        assert_eq!(
            probe.ids().len(),
            10,
            "{face:?}: the offer is kept for 10 ms"
        );
        at(&probe, 1000).await;
        let expected: Vec<_> = (0..10).chain(11..21).collect();
        assert_eq!(probe.ids(), expected, "{face:?}");
        assert_eq!(
            probe.times()[10..],
            [110, 200, 300, 400, 500, 600, 700, 800, 900, 1000],
            "{face:?}"
        );
        assert_eq!(gauge(&layer.handle(), "/a"), (1, 10), "{face:?}");
        finish(sent).await;
        drop(forgotten);
        assert_idle(&layer.handle());
    }
}

/// L13: an absent waiter keeps its age. Polled again, it goes before those that came after it.
#[tokio::test(start_paused = true)]
async fn an_absent_call_that_is_polled_again_goes_before_those_that_came_later() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(10)));
        let mut client = layer.client(&probe);
        let mut sent = burst(&client, 10, |i| request(i, "/a", 100 * (i as u64 + 1))).await;
        let forgotten = queue(&mut client, request(10, "/a", 10_000));
        sent.extend(burst(&client, 10, |i| request(11 + i, "/a", 10_000)).await);
        at(&probe, 350).await;
        let found = tokio::spawn(forgotten);
        at(&probe, 450).await;
        assert_eq!(probe.ids()[10..], [11, 12, 13, 10], "{face:?}");
        assert_eq!(probe.times()[10..], [110, 200, 300, 400], "{face:?}");
        finish(sent).await;
        found.await.unwrap().unwrap();
        assert_eq!(probe.ids()[14..], [14, 15, 16, 17, 18, 19, 20]);
        assert_idle(&layer.handle());
    }
}

/// L13: the same for a window: it lets one go at a time, and the first of them 10 ms late.
#[tokio::test(start_paused = true)]
async fn behind_a_forgotten_head_a_window_is_ten_milliseconds_late_once() {
    for face in WINDOWS {
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(1, 100)));
        let times = behind_a_forgotten_one(&layer, "/a", "/a", "/a").await;
        assert_eq!(times, [110, 210, 310], "{face:?}");
    }
}

/// L13: where a window opens for two, the one that is offered to a forgotten call is used 10 ms later.
#[tokio::test(start_paused = true)]
async fn behind_a_forgotten_head_both_places_of_a_window_are_used_within_ten_milliseconds() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(2, 100)));
        let mut client = layer.client(&probe);
        let mut sent = burst(&client, 2, |i| request(i, "/a", 1)).await;
        let forgotten = queue(&mut client, request(2, "/a", 1));
        sent.extend(burst(&client, 6, |i| request(3 + i, "/a", 1)).await);
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 1, 3, 4, 5, 6, 7, 8], "{face:?}");
        let times = probe.times();
        assert!((100..=110).contains(&times[2]), "{face:?} {times:?}");
        assert_eq!(times[3], 110, "{face:?}: it was offered at 100");
        // From then on each goes when the window lets it.
        for i in 4..8 {
            assert_eq!(times[i], times[i - 2] + 100, "{face:?} {times:?}");
        }
        drop(forgotten);
        assert_idle(&layer.handle());
    }
}

/// L13: an absent head of one endpoint delays another one by 10 ms at the scope that they share.
#[tokio::test(start_paused = true)]
async fn an_absent_head_delays_other_endpoints_once_by_ten_milliseconds() {
    for face in FACES {
        let both = || per(1, 100).concurrency(1);
        let overall = Endpoints::new()
            .route("/a", Quota::unlimited())
            .route("/b", Quota::unlimited())
            .route("/c", Quota::unlimited())
            .overall(both());
        let group = Endpoints::new().group("group", both(), ["/a", "/b", "/c"]);
        let wide = group.clone().overall(Quota::per_second(1000));
        let keys = Endpoints::new()
            .overall(both())
            .each_other_path(Quota::concurrent(5));
        for endpoints in [overall, group, wide, keys] {
            for forgotten in ["/a", "/b"] {
                let layer = AnyLayer::new(face, endpoints.clone());
                let times = behind_a_forgotten_one(&layer, "/a", forgotten, "/c").await;
                assert_eq!(times, [110, 210, 310], "{face:?} {forgotten} {endpoints:?}");
            }
        }
    }
}

/// L13: an absent head keeps its place in the contest for a wider scope, too.
#[tokio::test(start_paused = true)]
async fn an_absent_head_that_is_polled_again_goes_before_later_heads() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new()
                .route("/a", Quota::unlimited())
                .route("/b", Quota::unlimited())
                .overall(per(1, 100).concurrency(1)),
        );
        let mut client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| request(0, "/a", 100)).await;
        let forgotten = queue(&mut client, request(1, "/a", 100));
        sent.extend(burst(&client, 3, |i| request(2 + i, "/b", 100)).await);
        at(&probe, 150).await;
        let found = tokio::spawn(forgotten);
        finish(sent).await;
        found.await.unwrap().unwrap();
        assert_eq!(probe.ids(), [0, 2, 1, 3, 4], "{face:?}");
        assert_eq!(probe.times(), [0, 110, 210, 310, 410], "{face:?}");
    }
}

/// L13: each of several absent waiters delays the others at most once, and by at most 10 ms.
#[tokio::test(start_paused = true)]
async fn several_absent_calls_in_a_row_delay_by_at_most_ten_milliseconds_each() {
    for face in FACES {
        for absent in 1..=6 {
            let probe = Probe::new();
            let layer = AnyLayer::new(
                face,
                Endpoints::new().route("/a", per(1, 100).concurrency(1)),
            );
            let mut client = layer.client(&probe);
            let mut sent = burst(&client, 1, |_| request(0, "/a", 100)).await;
            let kept: Vec<_> = (0..absent)
                .map(|i| queue(&mut client, request(100 + i, "/a", 100)))
                .collect();
            let behind = absent + 3;
            sent.extend(burst(&client, behind, |i| request(1 + i, "/a", 100)).await);
            finish(sent).await;
            let expected: Vec<_> = (0..=behind).collect();
            assert_eq!(probe.ids(), expected, "{face:?} {absent}");
            let times = probe.times();
            let late: Vec<_> = (0..).zip(&times).map(|(i, at)| at - 100 * i).collect();
            assert!(late.is_sorted(), "{face:?} {absent}: {late:?}");
            assert!(
                late[1] >= GRACE && late[behind] <= GRACE * absent as u64,
                "{face:?} {absent}: {late:?}"
            );
            // At the latest when each of them has been offered a place, none delays any more.
            assert_eq!(late[absent], late[behind], "{face:?} {absent}: {late:?}");
            assert_eq!(gauge(&layer.handle(), "/a").0, absent);
            drop(kept);
            assert_idle(&layer.handle());
        }
    }
}

/// L13: a wave that a window lets go is not held up by those of it that are not polled.
#[tokio::test(start_paused = true)]
async fn absent_calls_in_the_middle_of_a_wave_delay_only_the_places_they_were_offered() {
    const ABSENT: [usize; 3] = [25, 31, 37];
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(20, 1000)));
        let mut client = layer.client(&probe);
        let mut sent = burst(&client, 20, |i| request(i, "/a", 1)).await;
        let mut kept = Vec::new();
        for id in 20..70 {
            if ABSENT.contains(&id) {
                kept.push(queue(&mut client, request(id, "/a", 1)));
            } else {
                sent.extend(burst(&client, 1, |_| request(id, "/a", 1)).await);
            }
        }
        finish(sent).await;
        let expected: Vec<_> = (0..70).filter(|id| !ABSENT.contains(id)).collect();
        assert_eq!(probe.ids(), expected, "{face:?}");
        let times = probe.times();
        assert_eq!(times[20..25], [1000; 5], "{face:?}: those before the first");
        for (i, &time) in times.iter().enumerate().take(40).skip(25) {
            assert!(
                (1000..=1000 + 3 * GRACE).contains(&time),
                "{face:?}: {i} at {time}"
            );
        }
        for i in 40..times.len() {
            assert_eq!(times[i], times[i - 20] + 1000, "{face:?}: {i}");
        }
        drop(kept);
        assert_idle(&layer.handle());
    }
}

/// L13: where a pause ends, an absent head keeps the others back for 10 ms at most.
#[tokio::test(start_paused = true)]
async fn an_absent_head_of_a_paused_bucket_delays_the_others_by_at_most_ten_milliseconds() {
    for face in FACES {
        for scope in ["/a", "group", Endpoints::OVERALL] {
            for resumed in [false, true] {
                let probe = Probe::new();
                let layer = AnyLayer::new(
                    face,
                    Endpoints::new()
                        .group("group", Quota::unlimited(), ["/a", "/b"])
                        .overall(Quota::unlimited()),
                );
                let mut client = layer.client(&probe);
                layer.handle().pause(scope, ms(100)).unwrap();
                let forgotten = queue(&mut client, request(0, "/a", 1));
                let sent = burst(&client, 3, |i| request(1 + i, "/a", 1)).await;
                let end = if resumed {
                    at(&probe, 50).await;
                    layer.handle().resume(scope).unwrap();
                    50
                } else {
                    100
                };
                finish(sent).await;
                assert_eq!(probe.ids(), [1, 2, 3], "{face:?} {scope}");
                for time in probe.times() {
                    assert!(
                        (end..=end + GRACE).contains(&time),
                        "{face:?} {scope}: {time}"
                    );
                }
                // A newcomer waits for it no more.
                at(&probe, 150).await;
                finish(burst(&client, 1, |_| request(4, "/a", 1)).await).await;
                assert_eq!(probe.times()[3], 150, "{face:?} {scope}");
                drop(forgotten);
                assert_idle(&layer.handle());
            }
        }
    }
}

/// L13: an absent newcomer at a key of its own delays the other keys once, and leaves no key behind.
#[tokio::test(start_paused = true)]
async fn an_absent_newcomer_at_a_key_of_its_own_delays_other_keys_once_and_leaves_nothing() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new()
                .overall(per(1, 100).concurrency(1))
                .each_other_path(Quota::unlimited()),
        );
        let handle = layer.handle();
        let buckets = handle.snapshot().buckets().count();
        let mut client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| request(0, "/known", 100)).await;
        let forgotten = queue(&mut client, request(1, "/new", 100));
        for i in 0..3 {
            sent.extend(burst(&client, 1, |_| request(2 + i, &format!("/{i}"), 100)).await);
        }
        finish(sent).await;
        assert_eq!(probe.times(), [0, 110, 210, 310], "{face:?}");
        // Keys without a window are kept for a minute.
        at(&probe, 70_000).await;
        handle.sweep();
        assert_eq!(gauge(&handle, "/new").0, 1, "{face:?}: its key is kept");
        drop(forgotten);
        handle.sweep();
        assert_eq!(handle.snapshot().buckets().count(), buckets, "{face:?}");
    }
}

/// L13: who was offered a place long ago is absent already when the next one comes.
#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_wait_for_one_that_has_been_absent_for_long() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new().route("/a", per(1, 100).concurrency(1)),
        );
        let mut client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| request(0, "/a", 100)).await;
        let forgotten = queue(&mut client, request(1, "/a", 100));
        // Nobody else is there at 100. The offer is 5 ms old when the next one comes, then 500 ms.
        at(&probe, 105).await;
        sent.extend(burst(&client, 1, |_| request(2, "/a", 100)).await);
        at(&probe, 600).await;
        sent.extend(burst(&client, 1, |_| request(3, "/a", 100)).await);
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 2, 3], "{face:?}");
        assert_eq!(probe.times(), [0, 110, 600], "{face:?}");
        drop(forgotten);
        assert_idle(&layer.handle());
    }
}

/// L13: what nobody else takes stays with its waiter, however long that is not polled.
#[tokio::test(start_paused = true)]
async fn an_offer_that_nobody_else_takes_stays_with_its_waiter() {
    for face in FACES {
        for others in [0, 2] {
            for scope in ["/a", Endpoints::OVERALL] {
                let probe = Probe::new();
                let quota = || per(1, 100).concurrency(1);
                let endpoints = if scope == "/a" {
                    Endpoints::new().route("/a", quota())
                } else {
                    Endpoints::new().overall(quota())
                };
                let layer = AnyLayer::new(face, endpoints);
                let mut client = layer.client(&probe);
                let sent = burst(&client, 1, |_| request(0, "/a", 100)).await;
                let mut forgotten = queue(&mut client, request(1, "/a", 0));
                // The others are not polled either.
                let mut others: Vec<_> = (0..others)
                    .map(|i| queue(&mut client, request(2 + i, "/a", 0)))
                    .collect();
                finish(sent).await;
                at(&probe, 3_600_000).await;
                assert!(forgotten.is_woken(), "{face:?} {scope}");
                drop(assert_ready_ok!(forgotten.poll()));
                assert_eq!(probe.times(), [0, 3_600_000], "{face:?} {scope}");
                assert_eq!(probe.ids(), [0, 1]);
                at(&probe, 3_600_100).await;
                for other in &mut others {
                    assert!(other.is_woken(), "{face:?} {scope}");
                    drop(assert_ready_ok!(other.poll()));
                    tokio::time::sleep(ms(100)).await;
                }
                assert_idle(&layer.handle());
            }
        }
    }
}

/// L13: only a waiter that is being polled takes an offer over. A busy runtime costs nobody its turn.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_polled_late_but_before_anybody_else_keeps_its_turn() {
    for face in FACES {
        for (first, second) in [("/a", "/a"), ("/a", "/b")] {
            for late in [1, 9, 11, 2000] {
                let layer = AnyLayer::new(
                    face,
                    Endpoints::new()
                        .route("/a", Quota::unlimited())
                        .route("/b", Quota::unlimited())
                        .overall(per(1, 100).concurrency(1)),
                );
                let (probe, mut first, mut second) = two_waiters(&layer, [first, second]).await;
                at(&probe, 100 + late).await;
                assert!(first.is_woken(), "{face:?} {late}");
                let answer = assert_ready_ok!(first.poll());
                assert_eq!(probe.ids(), [0, 1], "{face:?} {late}");
                assert_eq!(probe.times(), [0, 100 + late], "{face:?} {late}");
                drop(answer);
                if face == Face::Concurrency {
                    drop(assert_ready_ok!(second.poll()));
                } else {
                    assert_pending!(second.poll());
                    at(&probe, 200 + late).await;
                    drop(assert_ready_ok!(second.poll()));
                }
                assert_idle(&layer.handle());
            }
        }
    }
}

/// L13: the others are polled, but not since the 10 ms are over: that takes nothing from the first.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_was_polled_before_the_ten_milliseconds_were_over_took_nothing() {
    for face in FACES {
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let (probe, mut first, mut second) = two_waiters(&layer, ["/a", "/a"]).await;
        for late in 1..GRACE {
            at(&probe, 100 + late).await;
            assert_pending!(second.poll());
        }
        at(&probe, 130).await;
        drop(assert_ready_ok!(first.poll()));
        assert_eq!(probe.ids(), [0, 1], "{face:?}");
        assert_eq!(probe.times(), [0, 130], "{face:?}");
        drop(second);
        assert_idle(&layer.handle());
    }
}

/// L13: the second one is woken when the offer of the first is free to be taken, and takes it when polled.
#[tokio::test(start_paused = true)]
async fn the_one_behind_is_woken_when_the_ten_milliseconds_are_over() {
    for face in FACES {
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let (probe, mut first, mut second) = two_waiters(&layer, ["/a", "/a"]).await;
        // Whoever wakes it before, it goes at 110.
        for time in 100..=110 {
            at(&probe, time).await;
            if second.is_woken() && time < 110 {
                assert_pending!(second.poll());
            }
        }
        assert!(second.is_woken(), "{face:?}");
        drop(assert_ready_ok!(second.poll()));
        assert_eq!(probe.ids(), [0, 2], "{face:?}");
        assert_eq!(probe.times(), [0, 110], "{face:?}");
        // The first has its turn next.
        if face == Face::Concurrency {
            drop(assert_ready_ok!(first.poll()));
        } else {
            assert_pending!(first.poll());
            at(&probe, 210).await;
            assert!(first.is_woken(), "{face:?}");
            drop(assert_ready_ok!(first.poll()));
        }
        assert_idle(&layer.handle());
    }
}

/// L5, L13: an absent waiter that is dropped hands its offer on at once, and the others wait no longer.
#[tokio::test(start_paused = true)]
async fn an_absent_call_that_is_dropped_hands_its_offer_on_at_once() {
    for face in FACES {
        for (dropped, expected) in [(50, 100), (103, 103), (500, 110)] {
            let probe = Probe::new();
            let layer = AnyLayer::new(
                face,
                Endpoints::new().route("/a", per(1, 100).concurrency(1)),
            );
            let mut client = layer.client(&probe);
            let mut sent = burst(&client, 1, |_| request(0, "/a", 100)).await;
            let forgotten = queue(&mut client, request(1, "/a", 100));
            sent.extend(burst(&client, 1, |_| request(2, "/a", 100)).await);
            at(&probe, dropped).await;
            drop(forgotten);
            finish(sent).await;
            assert_eq!(probe.times(), [0, expected], "{face:?} {dropped}");
            assert_idle(&layer.handle());
        }
    }
}

/// L10, L13: who waits behind an absent one is refused at its limit, and the absent one's place is free.
#[tokio::test(start_paused = true)]
async fn an_absent_call_keeps_nobody_from_being_refused_in_time() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(1)))
            .max_wait(ms(150));
        let mut client = layer.client(&probe);
        let first = burst(&client, 1, |_| request(0, "/a", 100)).await;
        let forgotten = queue(&mut client, request(1, "/a", 100));
        let behind = burst(&client, 2, |i| request(2 + i, "/a", 100)).await;
        finish(first).await;
        let mut ends = Vec::new();
        for sent in behind {
            ends.push(sent.await.unwrap().map_err(|e| refused(&e).reason()));
        }
        assert_eq!(
            ends,
            [Ok(()), Err(tower_throttle::RefusedReason::WaitedTooLong)],
            "{face:?}"
        );
        assert_eq!(probe.times(), [0, 110], "{face:?}");
        drop(forgotten);
        assert_idle(&layer.handle());
    }
}

/// L13: a task that blocks its thread delays the others by milliseconds, not for as long as it blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_blocks_its_thread_delays_the_others_by_far_less() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(1)));
        let mut client = layer.client(&probe);
        let running = call(&mut client, request(0, "/a", 0));
        let (entered, enter) = tokio::sync::oneshot::channel();
        let (release, released) = mpsc::channel::<()>();
        let mut mine = client.clone();
        let blocker = tokio::spawn(async move {
            ready_now(&mut mine);
            let mut waiter = mine.call(request(1, "/a", 0));
            assert!((&mut waiter).now_or_never().is_none());
            entered.send(()).unwrap();
            // Blocks the thread, as a computation would.
            _ = released.recv_timeout(Duration::from_secs(2));
            waiter.await.map(drop)
        });
        enter.await.unwrap();
        let others: Vec<_> = (2..5)
            .map(|id| tokio::spawn(send(client.clone(), request(id, "/a", 0))))
            .collect();
        while gauge(&layer.handle(), "/a").0 < 4 {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        drop(running);
        for other in others {
            let answer = tokio::time::timeout(ms(1500), other).await;
            answer.expect("it waits for the thread").unwrap().unwrap();
        }
        assert!(
            start.elapsed() < ms(1000),
            "{face:?}: {:?}",
            start.elapsed()
        );
        release.send(()).unwrap();
        blocker.await.unwrap().unwrap();
        assert_eq!(probe.ids(), [0, 2, 3, 4, 1]);
        assert_idle(&layer.handle());
    }
}

/// L13: a stream that keeps queued calls unpolled while its consumer calls again comes to its end.
#[tokio::test(start_paused = true)]
async fn a_buffered_stream_whose_consumer_calls_again_comes_to_its_end() {
    for face in FACES {
        for n in [1, 2, 3, 4] {
            for work in [0, 100] {
                let probe = Probe::new();
                let quota = Quota::per(u32::try_from(n).unwrap(), ms(100)).concurrency(n);
                let layer = AnyLayer::new(face, Endpoints::new().route("/a", quota));
                let client = layer.client(&probe);
                let all = futures_util::stream::iter(0..20)
                    .map(|id| send(client.clone(), request(id, "/a", work)))
                    .buffer_unordered(5)
                    .for_each(|sent| {
                        sent.unwrap();
                        let client = client.clone();
                        async move { send(client, request(100, "/a", work)).await.unwrap() }
                    });
                let ended = tokio::time::timeout(ms(86_400_000), all).await;
                assert!(ended.is_ok(), "{face:?} {n} {work}: it hangs");
                assert_eq!(probe.log().calls.len(), 40);
                assert_idle(&layer.handle());
            }
        }
    }
}

/// L13: a set of calls of which some are answered, and which is then left alone, holds up nobody.
#[tokio::test(start_paused = true)]
async fn a_set_of_calls_that_is_no_longer_polled_holds_up_nobody() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new().route("/a", per(4, 100).concurrency(4)),
        );
        let client = layer.client(&probe);
        let mut set: FuturesUnordered<_> = (0..10)
            .map(|id| send(client.clone(), request(id, "/a", 100)))
            .collect();
        // Four are sent; the first answer is taken at 100.
        set.next().await.unwrap().unwrap();
        assert_eq!(probe.millis(Instant::now()), 100);
        let before = probe.log().calls.len();
        let start = Instant::now();
        // Under permits, one is free, and up to three are held by calls in flight that nobody polls.
        finish(burst(&client, 6, |i| request(100 + i, "/a", 100)).await).await;
        let absent = 10 - before as u64;
        assert!(
            start.elapsed() <= ms(600 + GRACE * absent),
            "{face:?}: {:?}",
            start.elapsed()
        );
        // And the set, polled again, comes to its end.
        let rest = tokio::time::timeout(ms(86_400_000), set.collect::<Vec<_>>()).await;
        assert_eq!(rest.expect("it hangs").len(), 9, "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// L13: a queued call that `select!` abandons, and that stays alive, holds up nobody.
#[tokio::test(start_paused = true)]
async fn a_call_that_select_abandons_holds_up_nobody() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(
            face,
            Endpoints::new().route("/a", per(1, 100).concurrency(1)),
        );
        let client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| request(0, "/a", 100)).await;
        let mut abandoned = Box::pin(send(client.clone(), request(1, "/a", 100)));
        tokio::select! {
            _ = &mut abandoned => panic!("there was no room"),
            () = tokio::time::sleep(ms(50)) => {}
        }
        sent.extend(burst(&client, 2, |i| request(2 + i, "/a", 100)).await);
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 2, 3], "{face:?}");
        assert_eq!(probe.times(), [0, 110, 210], "{face:?}");
        abandoned.await.unwrap();
        assert_eq!(probe.times()[3], 310, "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// What the tests know of the instances of a [`Gated`] service.
#[derive(Default)]
struct Gates {
    instances: usize,
    /// Whether the next instances that are made ready have to wait for `open`. None, once it is empty.
    held: VecDeque<bool>,
    /// The instances that wait, in the order in which they began to, and whose wakers they gave.
    waiting: BTreeMap<usize, (usize, Option<Waker>)>,
    begun: usize,
    /// By request, the instance that was called.
    called: BTreeMap<usize, usize>,
}

/// An inner service whose readiness belongs to the instance and is given by hand.
struct Gated {
    probe: Probe,
    gates: Arc<Mutex<Gates>>,
    instance: usize,
    state: Gate,
}

#[derive(Clone, Copy, PartialEq)]
enum Gate {
    Idle,
    Waiting,
    Ready,
}

impl Gated {
    fn over(probe: &Probe) -> Self {
        Self {
            probe: probe.clone(),
            gates: Arc::default(),
            instance: 0,
            state: Gate::Idle,
        }
    }

    fn hold(&self, held: impl IntoIterator<Item = bool>) {
        self.gates.lock().unwrap().held = held.into_iter().collect();
    }

    /// The instances that wait, by when they began to.
    fn waiting(&self) -> Vec<usize> {
        let gates = self.gates.lock().unwrap();
        let mut waiting: Vec<_> = gates.waiting.iter().map(|(i, (n, _))| (*n, *i)).collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, i)| i).collect()
    }

    fn open(&self, instance: usize) {
        let gate = self.gates.lock().unwrap().waiting.remove(&instance);
        let (_, waker) = gate.expect("it does not wait any more");
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn called(&self, id: usize) -> usize {
        self.gates.lock().unwrap().called[&id]
    }
}

impl Clone for Gated {
    fn clone(&self) -> Self {
        let mut gates = self.gates.lock().unwrap();
        gates.instances += 1;
        Self {
            probe: self.probe.clone(),
            gates: Arc::clone(&self.gates),
            instance: gates.instances,
            state: Gate::Idle,
        }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.gates.lock().unwrap().waiting.remove(&self.instance);
    }
}

impl Service<Req> for Gated {
    type Response = Response<Scripted>;
    type Error = InnerError;
    type Future = Working;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
        {
            let mut gates = self.gates.lock().unwrap();
            if self.state == Gate::Idle {
                if gates.held.pop_front() == Some(true) {
                    self.state = Gate::Waiting;
                    gates.begun += 1;
                    let begun = gates.begun;
                    gates.waiting.insert(self.instance, (begun, None));
                } else {
                    self.state = Gate::Ready;
                }
            }
            if self.state == Gate::Waiting {
                if let Some((_, waker)) = gates.waiting.get_mut(&self.instance) {
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                self.state = Gate::Ready;
            }
        }
        self.probe.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Working {
        assert!(self.state == Gate::Ready, "called before it was ready");
        self.state = Gate::Idle;
        let id = request.extensions().get::<Work>().unwrap().id;
        let mut gates = self.gates.lock().unwrap();
        gates.called.insert(id, self.instance);
        drop(gates);
        self.probe.call(request)
    }
}

/// One of 100 ms is in flight, and `n` wait behind it; the inner service of the first `held` of them will not
/// be ready.
async fn with_unready(
    face: Face,
    n: usize,
    held: usize,
) -> (AnyLayer, Probe, Gated, Client, Vec<Sent>) {
    let probe = Probe::new();
    let gated = Gated::over(&probe);
    let layer = AnyLayer::new(
        face,
        Endpoints::new().route("/a", per(1, 100).concurrency(1)),
    );
    let client = layer.over(gated.clone());
    let sent = burst(&client, n + 1, |id| request(id, "/a", 100)).await;
    gated.hold(std::iter::repeat_n(true, held));
    (layer, probe, gated, client, sent)
}

/// L13: an admitted request whose inner service is not ready keeps its place for 10 ms. Then one that is
/// ready may take it.
#[tokio::test(start_paused = true)]
async fn an_admitted_request_whose_service_is_not_ready_loses_its_place_after_ten_milliseconds() {
    for face in FACES {
        let (layer, probe, gated, _, sent) = with_unready(face, 3, 1).await;
        at(&probe, 109).await;
        assert_eq!(probe.ids(), [0], "{face:?}");
        let waiting = gated.waiting();
        assert_eq!(waiting.len(), 1, "{face:?}");
        at(&probe, 110).await;
        assert_eq!(probe.ids(), [0, 2], "{face:?}");
        at(&probe, 150).await;
        assert_eq!(gated.waiting(), waiting, "{face:?}: it keeps its clone");
        gated.open(waiting[0]);
        settle().await;
        assert_eq!(
            probe.ids(),
            [0, 2],
            "{face:?}: there is no place for it yet"
        );
        finish(sent).await;
        // It is older than 3.
        assert_eq!(probe.ids(), [0, 2, 1, 3], "{face:?}");
        assert_eq!(probe.times(), [0, 110, 210, 310], "{face:?}");
        if face != Face::Rps {
            assert_eq!(probe.log().most_in_flight, 1, "{face:?}");
        }
        assert_eq!(probe.log().reserved, 0, "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// L13: ready within the 10 ms, it goes, and nobody was let past.
#[tokio::test(start_paused = true)]
async fn an_admitted_request_whose_service_is_ready_within_ten_milliseconds_goes_first() {
    for face in FACES {
        let (layer, probe, gated, _, sent) = with_unready(face, 2, 1).await;
        at(&probe, 105).await;
        let held = gated.waiting()[0];
        gated.open(held);
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 1, 2], "{face:?}");
        assert_eq!(probe.times(), [0, 105, 205], "{face:?}");
        assert_eq!(gated.called(1), held, "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// L13: where a place is free when the kept clone is ready, that clone makes the call, at once.
#[tokio::test(start_paused = true)]
async fn the_instance_that_was_being_made_ready_makes_the_call_if_a_place_is_free() {
    for face in FACES {
        // With nobody behind it, and with one that has come to its end meanwhile.
        for behind in [0, 1] {
            let (layer, probe, gated, _, sent) = with_unready(face, 1 + behind, 1).await;
            at(&probe, 500).await;
            assert_eq!(probe.ids().len(), 1 + behind, "{face:?}");
            let held = gated.waiting()[0];
            gated.open(held);
            finish(sent).await;
            assert_eq!(*probe.ids().last().unwrap(), 1, "{face:?}");
            assert_eq!(*probe.times().last().unwrap(), 500, "{face:?}");
            assert_eq!(gated.called(1), held, "{face:?}");
            assert_eq!(probe.log().reserved, 0, "{face:?}");
            assert_idle(&layer.handle());
        }
    }
}

/// L13: several that are not ready delay one that is by at most 10 ms each; ready again, they go by age.
#[tokio::test(start_paused = true)]
async fn several_whose_services_are_not_ready_delay_by_at_most_ten_milliseconds_each() {
    for face in FACES {
        let (layer, probe, gated, _, sent) = with_unready(face, 5, 3).await;
        at(&probe, 300).await;
        assert_eq!(probe.ids()[..3], [0, 4, 5], "{face:?}");
        let times = probe.times();
        assert!((110..=130).contains(&times[1]), "{face:?} {times:?}");
        assert!((210..=230).contains(&times[2]), "{face:?} {times:?}");
        // They may not all have been given a place. The last of those that were is ready first.
        let held = gated.waiting();
        assert!(!held.is_empty(), "{face:?}");
        for instance in held.into_iter().rev() {
            gated.open(instance);
        }
        gated.hold([]);
        finish(sent).await;
        assert_eq!(probe.ids()[3..], [1, 2, 3], "{face:?}");
        if face != Face::Rps {
            assert_eq!(probe.log().most_in_flight, 1, "{face:?}");
        }
        assert_eq!(probe.log().reserved, 0, "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// L5, L13: dropped while its clone gets ready, with its place taken by another or not, it leaves nothing.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_while_its_clone_gets_ready_leaves_nothing() {
    for face in FACES {
        for dropped in [105, 150] {
            let (layer, probe, gated, client, sent) = with_unready(face, 2, 1).await;
            at(&probe, dropped).await;
            assert_eq!(gated.waiting().len(), 1, "{face:?} {dropped}");
            sent[1].abort();
            settle().await;
            assert!(gated.waiting().is_empty(), "{face:?} {dropped}");
            for (id, sent) in sent.into_iter().enumerate() {
                assert_eq!(sent.await.is_err(), id == 1);
            }
            finish(burst(&client, 1, |_| request(3, "/a", 100)).await).await;
            let second = dropped.min(110);
            assert_eq!(probe.ids(), [0, 2, 3], "{face:?}");
            assert_eq!(
                probe.times(),
                [0, second, second + 100],
                "{face:?} {dropped}"
            );
            assert_eq!(probe.log().reserved, 0, "{face:?}");
            assert_idle(&layer.handle());
        }
    }
}

/// L7, L13: a pause that begins while the clone gets ready holds for it as for any other.
#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_one_whose_clone_gets_ready() {
    for face in FACES {
        let (layer, probe, gated, _, sent) = with_unready(face, 2, 1).await;
        at(&probe, 120).await;
        layer.handle().pause("/a", ms(1000)).unwrap();
        at(&probe, 130).await;
        let held = gated.waiting()[0];
        gated.open(held);
        finish(sent).await;
        assert_eq!(probe.ids(), [0, 2, 1], "{face:?}");
        assert_eq!(probe.times(), [0, 110, 1120], "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// An inner service that is always ready, and notes on the request that it was called.
#[derive(Clone)]
struct Marking(Duration);

#[derive(Clone, Default)]
struct Mark(Arc<AtomicBool>);

impl Service<Req> for Marking {
    type Response = Response<Scripted>;
    type Error = InnerError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Scripted>, InnerError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Mark(mark) = request.extensions().get().unwrap();
        mark.store(true, Relaxed);
        let work = self.0;
        Box::pin(async move {
            tokio::time::sleep(work).await;
            Ok(Response::new(Scripted::default()))
        })
    }
}

/// Enters 2 000 calls, of which those that `absent` names are polled once and kept. Gives how often each of
/// the others was polled until it was dispatched.
async fn polls(layer: &AnyLayer, absent: impl Fn(usize) -> bool) -> Vec<usize> {
    let client = layer.over(Marking(ms(5)));
    let (mut tasks, mut kept) = (Vec::new(), Vec::new());
    for id in 0..2000 {
        let mut client = client.clone();
        let polls = Arc::new(AtomicUsize::new(0));
        let mark = Mark::default();
        let mut request = get("/a");
        request.extensions_mut().insert(mark.clone());
        ready_now(&mut client);
        let mut future = client.call(request);
        if absent(id) && !mark.0.load(Relaxed) {
            kept.push(tokio::spawn(async move {
                _ = (&mut future).now_or_never();
                std::future::pending::<()>().await;
                drop(future);
            }));
            continue;
        }
        tasks.push(tokio::spawn(async move {
            let future = std::future::poll_fn(|cx| {
                if !mark.0.load(Relaxed) {
                    polls.fetch_add(1, Relaxed);
                }
                future.poll_unpin(cx)
            });
            let answer = tokio::time::timeout(ms(86_400_000), future).await;
            answer.expect("it waits for ever").unwrap();
            polls.load(Relaxed)
        }));
    }
    let mut polls = Vec::new();
    for task in tasks {
        polls.push(task.await.unwrap());
    }
    for kept in kept {
        kept.abort();
        _ = kept.await;
    }
    assert_idle(&layer.handle());
    polls
}

/// The average in thousandths, and the most.
fn summary(polls: &[usize]) -> (usize, usize) {
    let sum: usize = polls.iter().sum();
    (sum * 1000 / polls.len(), *polls.iter().max().unwrap())
}

/// L13: what watches over absence costs no polls: for windows of 20, at most 2.1 per admission.
#[tokio::test(start_paused = true)]
async fn windows_of_twenty_cost_about_two_polls_per_admission() {
    for face in WINDOWS {
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(20, 1000)));
        let (average, most) = summary(&polls(&layer, |_| false).await);
        assert!(
            average <= 2100,
            "{face:?}: {average} thousandths on average"
        );
        assert!(most <= 3, "{face:?}: {most} at most");
    }
}

/// L13 for windows of units: nobody states a cost here, and an eighth of 7 is one at least.
#[tokio::test(start_paused = true)]
async fn windows_of_units_cost_as_few_polls() {
    for face in WINDOWS {
        for n in [7, 160] {
            let quota = Quota::unlimited().units(tower_throttle::Unit::TOKENS, n, ms(1000));
            let layer = AnyLayer::new(face, Endpoints::new().route("/a", quota));
            let (average, most) = summary(&polls(&layer, |_| false).await);
            assert!(
                average <= 2100,
                "{face:?} {n}: {average} thousandths on average"
            );
            assert!(most <= 3, "{face:?} {n}: {most} at most");
        }
    }
}

/// L13: for permits, at most 2.1 polls per admission with up to one absent waiter in 100.
#[tokio::test(start_paused = true)]
async fn permits_cost_about_two_polls_per_admission_with_one_absent_in_a_hundred() {
    for face in PERMITS {
        for permits in [1, 20] {
            for one_in in [None, Some(100)] {
                let quota = Quota::concurrent(permits);
                let layer = AnyLayer::new(face, Endpoints::new().route("/a", quota));
                let absent = |id| one_in.is_some_and(|n| id % n == 50);
                let polls = polls(&layer, absent).await;
                let (average, most) = summary(&polls);
                assert!(
                    average <= 2100,
                    "{face:?} {permits} {one_in:?}: {average} thousandths on average"
                );
                assert!(most <= 3, "{face:?} {permits} {one_in:?}: {most} at most");
            }
        }
    }
}

/// L13: at worst, where every other waiter is absent, 3 polls per admission.
#[tokio::test(start_paused = true)]
async fn however_many_are_absent_an_admission_costs_at_most_three_polls() {
    for face in FACES {
        for absent_in_three in [1, 2] {
            let quota = per(20, 1000).concurrency(20);
            let layer = AnyLayer::new(face, Endpoints::new().route("/a", quota));
            let polls = polls(&layer, |id| id % 3 < absent_in_three).await;
            let (average, most) = summary(&polls);
            assert!(
                average <= 3000,
                "{face:?} {absent_in_three}: {average} thousandths on average, {most} at most"
            );
        }
    }
}

/// A limit as the test knows it.
#[derive(Clone, Debug, Default)]
struct Limit {
    windows: Vec<(u32, u64)>,
    concurrency: Option<usize>,
}

impl Limit {
    fn quota(&self) -> Quota {
        quota_of(&self.windows, self.concurrency)
    }

    fn under(&self, face: Face) -> Self {
        let mut limit = self.clone();
        match face {
            Face::Rps => limit.concurrency = None,
            Face::Concurrency => limit.windows.clear(),
            Face::Throttle => {}
        }
        limit
    }

    /// Whether there is room at the end of the millisecond `now`.
    fn has_room(&self, calls: &[Dispatch], now: u64) -> bool {
        self.windows.iter().all(|&(n, period)| {
            let counted = |call: &&Dispatch| call.at <= now && now < call.at + period;
            calls.iter().filter(counted).count() < n as usize
        }) && self.concurrency.is_none_or(|n| {
            let counted = |call: &&Dispatch| call.at <= now && now < call.released;
            calls.iter().filter(counted).count() < n
        })
    }

    /// L1, and that there are never more in flight than allowed. `calls` are in order.
    fn check(&self, calls: &[Dispatch], what: &str) {
        for &(n, period) in &self.windows {
            for pair in calls.windows(n as usize + 1) {
                let time = pair[n as usize].at - pair[0].at;
                assert!(time >= period, "{what}: {} within {time} ms", n + 1);
            }
        }
        let Some(n) = self.concurrency else { return };
        for call in calls {
            let open = calls
                .iter()
                // One that is released in the instant in which another goes was released before.
                .filter(|other| {
                    other.order <= call.order
                        && (other.released > call.at || other.order == call.order)
                })
                .count();
            assert!(open <= n, "{what}: {open} at once at {}", call.at);
        }
    }
}

fn limit() -> impl Strategy<Value = Limit> {
    few_limits().prop_map(|(windows, concurrency)| Limit {
        windows,
        concurrency,
    })
}

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

/// `/a` and `/b` are in a group.
#[derive(Clone, Debug)]
struct Config {
    face: Face,
    endpoints: Vec<Limit>,
    group: Option<Limit>,
    overall: Option<Limit>,
}

impl Config {
    fn build(&self) -> Endpoints {
        let (group, overall) = (&self.group, &self.overall);
        let quotas = self.endpoints.iter().map(Limit::quota);
        nested(
            &PATHS,
            quotas,
            group.as_ref().map(Limit::quota),
            overall.as_ref().map(Limit::quota),
        )
    }

    /// What limits the requests of an endpoint, and which other endpoints it limits.
    fn scopes(&self, endpoint: usize) -> Vec<(Limit, &'static [usize])> {
        let own: [&'static [usize]; 3] = [&[0], &[1], &[2]];
        let mut scopes = vec![(self.endpoints[endpoint].under(self.face), own[endpoint])];
        if let Some(limit) = self.group.as_ref().filter(|_| endpoint < 2) {
            scopes.push((limit.under(self.face), &[0, 1]));
        }
        if let Some(limit) = &self.overall {
            scopes.push((limit.under(self.face), &[0, 1, 2]));
        }
        scopes
    }
}

fn config() -> impl Strategy<Value = Config> {
    (
        any_face(),
        vec(limit(), PATHS.len()),
        proptest::option::of(limit()),
        proptest::option::of(limit()),
    )
        .prop_map(|(face, endpoints, group, overall)| Config {
            face,
            endpoints,
            group,
            overall,
        })
}

#[derive(Clone, Debug)]
struct Ask {
    at: u64,
    endpoint: usize,
    work: u64,
    care: Care,
}

/// How a call is looked after, in milliseconds from its entry.
#[derive(Clone, Debug)]
enum Care {
    /// It is polled whenever it is woken.
    Always,
    /// It is not polled within these.
    Left(Vec<(u64, u64)>),
    /// It is polled until it is dropped.
    Dropped(u64),
    /// If it is queued, it is never polled again, and dropped at the end.
    Forgotten,
}

fn care() -> impl Strategy<Value = Care> {
    let hole = || (prop_oneof![1 => Just(0u64), 1 => 0u64..150], 1u64..200);
    prop_oneof![
        5 => Just(Care::Always),
        2 => vec(hole(), 1..3).prop_map(Care::Left),
        1 => (0u64..200).prop_map(Care::Dropped),
        1 => Just(Care::Forgotten),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    (
        prop_oneof![1 => Just(0u64), 3 => 0u64..300],
        0..PATHS.len(),
        prop_oneof![1 => Just(0u64), 3 => 0u64..80],
        care(),
    )
        .prop_map(|(at, endpoint, work, care)| Ask {
            at,
            endpoint,
            work,
            care,
        })
}

/// A future that is not polled within certain times, though its task is.
struct Erratic<F> {
    future: F,
    left: Vec<(Instant, Instant)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<F: Future + Unpin> Future for Erratic<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        loop {
            let now = Instant::now();
            let within = |&&(start, end): &&(Instant, Instant)| start <= now && now < end;
            let Some(&(_, end)) = this.left.iter().find(within) else {
                return this.future.poll_unpin(cx);
            };
            let mut sleep = Box::pin(tokio::time::sleep_until(end));
            if sleep.as_mut().poll(cx).is_pending() {
                this.sleep = Some(sleep);
                return Poll::Pending;
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Dispatch {
    id: usize,
    endpoint: usize,
    order: usize,
    at: u64,
    released: u64,
}

/// What a run of a schedule came to.
struct Outcome {
    /// In the order of dispatch.
    calls: Vec<Dispatch>,
    /// Which were queued, by id.
    queued: Vec<bool>,
}

impl Outcome {
    fn dispatched(&self, id: usize) -> Option<u64> {
        Some(self.calls.iter().find(|call| call.id == id)?.at)
    }

    fn of(&self, endpoints: &[usize]) -> Vec<Dispatch> {
        let among = |call: &&Dispatch| endpoints.contains(&call.endpoint);
        self.calls.iter().filter(among).copied().collect()
    }
}

/// Runs a schedule whose `asks` are in order of their entry.
async fn run(config: &Config, asks: &[Ask]) -> Outcome {
    let probe = Probe::new();
    let layer = AnyLayer::new(config.face, config.build());
    let handle: Handle = layer.handle();
    let mut client = layer.client(&probe);
    let (mut tasks, mut forgotten) = (Vec::new(), Vec::new());
    let mut queued = Vec::new();
    for (id, ask) in asks.iter().enumerate() {
        at(&probe, ask.at).await;
        let entry = Instant::now();
        ready_now(&mut client);
        let mut future = client.call(request(id, PATHS[ask.endpoint], ask.work));
        let first = (&mut future).now_or_never();
        let has_gone = probe.log().calls.iter().any(|call| call.id == id);
        queued.push(!has_gone);
        if let Some(answer) = first {
            answer.unwrap();
            continue;
        }
        match &ask.care {
            Care::Forgotten if !has_gone => forgotten.push(future),
            Care::Dropped(after) => {
                let after = ms(*after);
                tasks.push((
                    id,
                    tokio::spawn(async move {
                        match tokio::time::timeout(after, future).await {
                            Ok(answer) => answer.map(drop),
                            Err(_) => Ok(()),
                        }
                    }),
                ));
            }
            care => {
                let left = match care {
                    Care::Left(left) => left.clone(),
                    _ => Vec::new(),
                };
                let left = left
                    .into_iter()
                    .map(|(start, time)| (entry + ms(start), entry + ms(start + time)))
                    .collect();
                let erratic = Erratic {
                    future,
                    left,
                    sleep: None,
                };
                tasks.push((id, tokio::spawn(async move { erratic.await.map(drop) })));
            }
        }
    }
    for (id, task) in tasks {
        let ended = tokio::time::timeout(ms(86_400_000), task).await;
        let ended = ended.unwrap_or_else(|_| panic!("{id} waits for ever"));
        ended.unwrap().unwrap();
    }
    drop(forgotten);
    assert_idle(&handle);
    assert_eq!(probe.log().reserved, 0);
    let end = probe.millis(Instant::now());
    let calls = probe
        .log()
        .calls
        .iter()
        .enumerate()
        .map(|(order, call)| Dispatch {
            id: call.id,
            endpoint: asks[call.id].endpoint,
            order,
            at: probe.millis(call.at),
            released: call.released.map_or(end, |at| probe.millis(at)),
        })
        .collect();
    Outcome { calls, queued }
}

/// For how long the waiting request `id` had room in all its scopes and was not dispatched.
fn held_up(config: &Config, asks: &[Ask], outcome: &Outcome, id: usize) -> u64 {
    let scopes: Vec<_> = config
        .scopes(asks[id].endpoint)
        .into_iter()
        .map(|(limit, endpoints)| (limit, outcome.of(endpoints)))
        .collect();
    let end = end_of_wait(asks, outcome, id);
    let free = |now: &u64| {
        scopes
            .iter()
            .all(|(limit, calls)| limit.has_room(calls, *now))
    };
    (asks[id].at..end).filter(free).count() as u64
}

/// When the request `id` was dispatched, or dropped.
fn end_of_wait(asks: &[Ask], outcome: &Outcome, id: usize) -> u64 {
    outcome.dispatched(id).unwrap_or(match asks[id].care {
        Care::Dropped(after) => asks[id].at + after,
        _ => u64::MAX,
    })
}

/// How often another request was left unpolled in the queue while `id` waited.
fn absences(asks: &[Ask], outcome: &Outcome, id: usize) -> u64 {
    let (from, to) = (asks[id].at, end_of_wait(asks, outcome, id));
    let mut sum = 0;
    for (other, ask) in asks.iter().enumerate() {
        if other == id || !outcome.queued[other] {
            continue;
        }
        let left = match &ask.care {
            Care::Left(left) => left.clone(),
            Care::Forgotten => vec![(0, 1_000_000)],
            _ => Vec::new(),
        };
        let gone = end_of_wait(asks, outcome, other);
        sum += left
            .into_iter()
            .filter(|(start, time)| {
                let (start, end) = (ask.at + start, ask.at + start + time);
                start <= to && end >= from && gone >= start.max(from)
            })
            .count() as u64;
    }
    sum
}

proptest! {
    #![proptest_config(cases(128))]

    /// L1, L3, L5, L13: whoever is left unpolled, dropped or forgotten, no limit is exceeded, everybody else
    /// is answered in order of entry, and room is unused for at most 10 ms per absence.
    #[test]
    fn whoever_is_left_unpolled_the_others_go(
        config in config(),
        mut asks in vec(ask(), 1..30),
    ) {
        asks.sort_by_key(|ask| ask.at);
        let outcome = paused(run(&config, &asks));
        for (endpoint, path) in PATHS.iter().enumerate() {
            for (limit, endpoints) in config.scopes(endpoint) {
                limit.check(&outcome.of(endpoints), &format!("{endpoints:?}"));
            }
            let looked_after: Vec<_> = outcome
                .of(&[endpoint])
                .iter()
                .map(|call| call.id)
                .filter(|id| matches!(asks[*id].care, Care::Always | Care::Dropped(_)))
                .collect();
            prop_assert!(looked_after.is_sorted(), "{path}: {looked_after:?}");
        }
        for (id, ask) in asks.iter().enumerate() {
            if matches!(ask.care, Care::Always | Care::Dropped(_)) {
                let (time, absent) = (
                    held_up(&config, &asks, &outcome, id),
                    absences(&asks, &outcome, id),
                );
                prop_assert!(
                    time <= GRACE * absent,
                    "{id} was held up for {time} ms by {absent} absences: {:?}", outcome.calls
                );
            }
        }
    }

    /// L13: with forgotten calls ahead of it, a request goes at most 10 ms per forgotten call later than it
    /// would if they had not been made.
    #[test]
    fn each_forgotten_call_delays_a_request_by_at_most_ten_milliseconds(
        limit in limit(),
        face in prop_oneof![Just(Face::Rps), Just(Face::Concurrency), Just(Face::Throttle)],
        mut asks in vec((prop_oneof![1 => Just(0u64), 3 => 0u64..300], 0u64..80, any::<bool>()), 1..30),
    ) {
        asks.sort_by_key(|(at, ..)| *at);
        let config = Config { face, endpoints: vec![limit; 3], group: None, overall: None };
        let mut asks: Vec<_> = asks
            .into_iter()
            .map(|(at, work, forgotten)| Ask {
                at,
                endpoint: 0,
                work,
                care: if forgotten { Care::Forgotten } else { Care::Always },
            })
            .collect();
        let with = paused(run(&config, &asks));
        // A call that was sent at once could not be forgotten.
        for (id, ask) in asks.iter_mut().enumerate() {
            if !with.queued[id] {
                ask.care = Care::Always;
            }
        }
        let kept: Vec<_> = (0..asks.len())
            .filter(|id| matches!(asks[*id].care, Care::Always))
            .collect();
        let present: Vec<_> = kept.iter().map(|id| asks[*id].clone()).collect();
        let without = paused(run(&config, &present));
        for (index, &id) in kept.iter().enumerate() {
            let (with, without) = (with.dispatched(id).unwrap(), without.dispatched(index).unwrap());
            let ahead = (id - index) as u64;
            prop_assert!(
                with <= without + GRACE * ahead,
                "{id} went at {with}; at {without} without {ahead} that were forgotten"
            );
        }
    }
}

/// The helpers that the properties are built on do what they say.
#[tokio::test(start_paused = true)]
async fn an_erratic_future_is_not_polled_within_the_times_given() {
    let polled = Arc::new(Mutex::new(Vec::new()));
    let (start, times) = (Instant::now(), Arc::clone(&polled));
    let mut ticks = tokio::time::interval(ms(10));
    let future = Box::pin(async move {
        for _ in 0..10 {
            ticks.tick().await;
            times
                .lock()
                .unwrap()
                .push((Instant::now() - start).as_millis());
        }
    });
    let left = vec![(start + ms(25), start + ms(57))];
    Erratic {
        future,
        left,
        sleep: None,
    }
    .await;
    let polled = polled.lock().unwrap();
    assert_eq!(polled[..4], [0, 10, 20, 57], "{polled:?}");
}

/// The same errors as everywhere: a forgotten call is still refused when its limit has passed.
#[tokio::test(start_paused = true)]
async fn an_absent_call_whose_place_went_to_another_is_refused_at_its_limit() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(1)))
            .max_wait(ms(500));
        let mut client = layer.client(&probe);
        let sent = burst(&client, 1, |_| request(0, "/a", 100)).await;
        let mut forgotten = queue(&mut client, request(1, "/a", 0));
        let behind = burst(&client, 1, |_| request(2, "/a", 10_000)).await;
        finish(sent).await;
        at(&probe, 600).await;
        let Poll::Ready(Err(error)) = forgotten.poll() else {
            panic!("{face:?}: its time is over");
        };
        let error: BoxError = error;
        assert_eq!(
            refused(&error).reason(),
            tower_throttle::RefusedReason::WaitedTooLong
        );
        assert_eq!(probe.ids(), [0, 2], "{face:?}");
        assert_eq!(gauge(&layer.handle(), "/a"), (0, 1), "{face:?}");
        finish(behind).await;
    }
}

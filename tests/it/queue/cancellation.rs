//! Dropping a future at any point gives everything back, and costs nobody a slot.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::support::*;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::Service;
use tower_throttle::Quota;

async fn rest(sent: Vec<Sent>) {
    for sent in sent {
        match sent.await {
            Ok(result) => result.unwrap(),
            Err(error) => assert!(error.is_cancelled()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_of_any_position_costs_no_slot_of_a_window() {
    for face in [Face::Rps, Face::Throttle] {
        // 0 is dispatched at once; 1 to 4 wait.
        for position in 1..5 {
            for when in [0, 50, 99] {
                let probe = Probe::new();
                let layer = layer_a(face, per(1, 100));
                let client = layer.client(&probe);
                let sent = burst(&client, 5, |id| Work::head(ms(0)).id(id).of("/a")).await;
                at(&probe, when).await;
                sent[position].abort();
                settle().await;
                assert_eq!(gauge(&layer.handle(), "/a").0, 3);
                rest(sent).await;
                assert_eq!(probe.times(), [0, 100, 200, 300]);
                let ids: Vec<_> = (0..5).filter(|id| *id != position).collect();
                assert_eq!(probe.ids(), ids);
                assert_idle(&layer.handle());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_of_any_position_costs_no_permit() {
    for face in [Face::Concurrency, Face::Throttle] {
        for position in 1..5 {
            let probe = Probe::new();
            let layer = layer_a(face, Quota::concurrent(1));
            let client = layer.client(&probe);
            let sent = burst(&client, 5, |id| Work::head(ms(100)).id(id).of("/a")).await;
            at(&probe, 50).await;
            sent[position].abort();
            settle().await;
            assert_eq!(gauge(&layer.handle(), "/a"), (3, 1));
            rest(sent).await;
            assert_eq!(probe.times(), [0, 100, 200, 300]);
            assert_idle(&layer.handle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_waiters_can_be_cancelled_in_any_order() {
    for face in FACES {
        for order in [
            [1, 2, 3],
            [3, 2, 1],
            [2, 1, 3],
            [2, 3, 1],
            [1, 3, 2],
            [3, 1, 2],
        ] {
            let probe = Probe::new();
            let layer = layer_a(face, per(1, 100).concurrency(1));
            let client = layer.client(&probe);
            let sent = burst(&client, 4, |_| job("/a", ms(100))).await;
            for position in order {
                sent[position].abort();
                settle().await;
            }
            assert_eq!(gauge(&layer.handle(), "/a").0, 0);
            rest(sent).await;
            rest(burst(&client, 1, |_| get("/a")).await).await;
            assert_eq!(probe.times(), [0, 100]);
            assert_idle(&layer.handle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_waiter_cancelled_leaves_nothing_behind() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let client = layer.client(&probe);
        let sent = burst(&client, 2, |_| job("/a", ms(10))).await;
        sent[1].abort();
        rest(sent).await;
        at(&probe, 100).await;
        rest(burst(&client, 1, |_| get("/a")).await).await;
        assert_eq!(probe.times(), [0, 100], "{face:?}");
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_between_admission_and_dispatch_its_place_goes_to_the_next_at_once() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let client = layer.client(&probe);
        // `ready` three times, then the clone of the second takes 8 ms: not so long that it is absent.
        probe.log().readiness = [ms(0), ms(0), ms(0), ms(8)].into();
        let sent = burst(&client, 3, |id| Work::head(ms(100)).id(id).of("/a")).await;
        at(&probe, 100).await;
        assert_eq!(probe.ids(), [0], "{face:?}");
        at(&probe, 105).await;
        assert_eq!(
            gauge(&layer.handle(), "/a").0,
            1,
            "{face:?}: one has been admitted"
        );
        sent[1].abort();
        rest(sent).await;
        assert_eq!(probe.ids(), [0, 2]);
        assert_eq!(probe.times(), [0, 105], "{face:?}");
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn an_admitted_request_whose_service_is_not_ready_does_not_hold_up_later_ones() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(2, 100).concurrency(2));
        let client = layer.client(&probe);
        let handle = layer.handle();
        handle.pause("/a", ms(100)).unwrap();
        probe.log().readiness = [ms(0), ms(0), ms(50), ms(0)].into();
        let sent = burst(&client, 2, |id| Work::head(ms(1)).id(id).of("/a")).await;
        rest(sent).await;
        assert_eq!(probe.ids(), [1, 0]);
        assert_eq!(probe.times(), [100, 150], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_provisional_counts_and_is_stamped_when_it_is_used() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, per(1, 100));
    let client = layer.client(&probe);
    probe.log().readiness = [ms(0), ms(0), ms(0), ms(7), ms(0)].into();
    let sent = burst(&client, 3, |id| Work::head(ms(1)).id(id).of("/a")).await;
    rest(sent).await;
    assert_eq!(probe.ids(), [0, 1, 2]);
    // 100 ms from the dispatch at 107, not from the admission at 100.
    assert_eq!(probe.times(), [0, 107, 207]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_polled_does_not_queue() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let mut client = layer.client(&probe);
        let sent = burst(&client, 1, |_| job("/a", ms(100))).await;
        let idle = call(&mut client, get("/a"));
        assert_eq!(
            gauge(&layer.handle(), "/a").0,
            0,
            "it enters at its first poll"
        );
        let next = burst(&client, 1, |_| job("/a", ms(100))).await;
        rest(sent).await;
        rest(next).await;
        assert_eq!(probe.times(), [0, 100], "{face:?}");
        drop(idle);
        rest(burst(&client, 1, |_| get("/a")).await).await;
        assert_eq!(probe.times(), [0, 100, 200]);
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn an_admitted_call_dropped_before_its_first_poll_keeps_its_stamp_and_frees_its_permit() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let mut client = layer.client(&probe);
        drop(call(&mut client, job("/a", ms(500))));
        assert_eq!(probe.times(), [0], "{face:?}: admitted in `call`");
        assert_idle(&layer.handle());
        rest(burst(&client, 1, |_| get("/a")).await).await;
        let second = if face == Face::Concurrency { 0 } else { 100 };
        assert_eq!(probe.times(), [0, second], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_in_flight_keeps_its_stamp_and_frees_its_permit() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1));
        let client = layer.client(&probe);
        let sent = burst(&client, 2, |_| job("/a", ms(5000))).await;
        at(&probe, 50).await;
        sent[0].abort();
        settle().await;
        let second = if face == Face::Concurrency { 50 } else { 100 };
        at(&probe, 100).await;
        if face == Face::Rps {
            assert_eq!(probe.times(), [0, 100]);
        } else {
            assert_eq!(probe.times(), [0, second], "{face:?}");
        }
        sent[1].abort();
        rest(sent).await;
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_wakes_the_first_waiter_only() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&probe);
        let first = call(&mut client, get("/a"));
        let mut waiters: Vec<_> = (0..4).map(|_| call(&mut client, get("/a"))).collect();
        for waiter in &mut waiters {
            assert_pending!(waiter.poll());
        }
        drop(first);
        let woken: Vec<_> = waiters
            .iter()
            .map(tokio_test::task::Spawn::is_woken)
            .collect();
        assert_eq!(woken, [true, false, false, false], "{face:?}");
        assert_eq!(gauge(&layer.handle(), "/a"), (3, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_was_woken_and_dropped_hands_its_permit_on() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&probe);
        let first = call(&mut client, get("/a"));
        let mut second = call(&mut client, get("/a"));
        let mut third = call(&mut client, get("/a"));
        let mut fourth = call(&mut client, get("/a"));
        assert_pending!(second.poll());
        assert_pending!(third.poll());
        assert_pending!(fourth.poll());
        drop(first);
        assert!(second.is_woken());
        assert!(!third.is_woken());
        drop(second);
        assert!(third.is_woken());
        assert!(!fourth.is_woken());
        assert_ready_ok!(third.poll());
        // Its answer was over at once.
        assert!(fourth.is_woken());
        assert_ready_ok!(fourth.poll());
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_waiter_wakes_nobody_who_cannot_go() {
    for face in [Face::Concurrency, Face::Throttle] {
        for position in 0..3 {
            let probe = Probe::new();
            let layer = layer_a(face, Quota::concurrent(1));
            let mut client = layer.client(&probe);
            let first = call(&mut client, job("/a", ms(1)));
            let mut waiters: Vec<_> = (0..3).map(|_| call(&mut client, get("/a"))).collect();
            for waiter in &mut waiters {
                assert_pending!(waiter.poll());
            }
            drop(waiters.remove(position));
            assert!(waiters.iter().all(|w| !w.is_woken()), "{face:?} {position}");
            drop(first);
            let woken: Vec<_> = waiters
                .iter()
                .map(tokio_test::task::Spawn::is_woken)
                .collect();
            assert_eq!(woken, [true, false]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_moves_to_another_task_is_woken_there() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let layer = layer_a(face, Quota::concurrent(1));
        let mut client = layer.client(&probe);
        let first = call(&mut client, get("/a"));
        let mut second = Box::pin({
            ready_now(&mut client);
            tower::Service::call(&mut client, get("/a"))
        });
        let mut here = tokio_test::task::spawn(());
        let mut there = tokio_test::task::spawn(());
        assert!(here.enter(|cx, _| second.as_mut().poll(cx)).is_pending());
        assert!(there.enter(|cx, _| second.as_mut().poll(cx)).is_pending());
        drop(first);
        assert!(!here.is_woken());
        assert!(there.is_woken());
        assert!(matches!(
            there.enter(|cx, _| second.as_mut().poll(cx)),
            Poll::Ready(Ok(_))
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_moves_to_another_task_is_woken_there_by_its_timer() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100));
        let mut client = layer.client(&probe);
        drop(call(&mut client, get("/a")));
        let mut second = Box::pin({
            ready_now(&mut client);
            tower::Service::call(&mut client, get("/a"))
        });
        let mut here = tokio_test::task::spawn(());
        assert!(here.enter(|cx, _| second.as_mut().poll(cx)).is_pending());
        tokio::spawn(second).await.unwrap().unwrap();
        assert_eq!(probe.times(), [0, 100], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_is_waited_for_in_about_two_polls() {
    let probe = Probe::new();
    let layer = layer_a(Face::Rps, per(20, 1000));
    let client = layer.client(&probe);
    let polls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (0..400)
        .map(|_| {
            let (mut client, polls) = (client.clone(), polls.clone());
            tokio::spawn(async move {
                ready_now(&mut client);
                let mut future = Box::pin(tower::Service::call(&mut client, get("/a")));
                std::future::poll_fn(|cx| {
                    polls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    future.as_mut().poll(cx)
                })
                .await
                .unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let polls = polls.load(std::sync::atomic::Ordering::Relaxed);
    assert!(polls <= 840, "{polls} polls for 400 admissions");
    let expected: Vec<_> = (0..400).map(|n| n / 20 * 1000).collect();
    assert_eq!(probe.times(), expected);
}

type Call = Pin<Box<<Client as Service<Req>>::Future>>;

/// A task that is never woken, but knows who could.
struct Sleeper;

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {}
}

/// L5: nobody keeps the waker of a future that is gone, be it dropped, refused or sent.
#[tokio::test(start_paused = true)]
async fn a_future_that_is_gone_leaves_no_waker() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 100).concurrency(1)).max_wait(ms(500));
        let mut client = layer.client(&probe);
        // Its answer holds the permit until it is dropped.
        let request = || Work::head(ms(0)).body([Step::Data("x")]).of("/a");
        let running = call(&mut client, request());
        let task = Arc::new(Sleeper);
        let waker = Waker::from(Arc::clone(&task));
        let poll = |future: &mut Call| {
            let mut cx = Context::from_waker(&waker);
            future.as_mut().poll(&mut cx)
        };
        let held = || Arc::strong_count(&task) - 2;
        let mut waiting = Vec::new();
        for _ in 0..4 {
            ready_now(&mut client);
            waiting.push(Box::pin(client.call(request())));
        }
        for future in &mut waiting {
            assert!(poll(future).is_pending());
        }
        assert_eq!(held(), 4, "{face:?}");
        waiting.pop();
        assert_eq!(held(), 3, "{face:?}: it was dropped");
        // Offered its places, and not ready to use them.
        probe.log().readiness.push_back(ms(5));
        at(&probe, 100).await;
        drop(running);
        at(&probe, 101).await;
        let mut first = waiting.remove(0);
        assert!(poll(&mut first).is_pending(), "{face:?}");
        at(&probe, 106).await;
        let answer = poll(&mut first);
        assert!(answer.is_ready(), "{face:?}");
        assert_eq!(held(), 2, "{face:?}: it was sent");
        layer.handle().pause("/a", ms(1000)).unwrap();
        assert_eq!(held(), 0, "{face:?}: they were refused, and woken");
        assert!(waiting.iter_mut().all(|future| poll(future).is_ready()));
        assert_eq!(held(), 0, "{face:?}");
        drop(answer);
        assert_idle(&layer.handle());
    }
}

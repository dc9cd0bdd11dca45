//! Whose turn it is where offers, absences and new quotas meet.
//!
//! The tests keep the calls, and decide themselves in which order and when each of them is polled.

use crate::support::*;
use tokio_test::{assert_pending, assert_ready_ok, task::Spawn};
use tower::Service;
use tower_throttle::{Endpoints, Quota};

const PERMITS: [Face; 2] = [Face::Concurrency, Face::Throttle];

type Call = Spawn<<Client as Service<Req>>::Future>;

/// Its answer holds the permit until it is dropped.
fn request(id: usize, path: &str) -> Req {
    let body = [Step::Data("x")];
    Work::head(ms(0)).id(id).body(body).of(path)
}

/// A call that was polled once, and waits.
fn queue(client: &mut Client, id: usize, path: &str) -> Call {
    let mut waiter = call(client, request(id, path));
    assert_pending!(waiter.poll());
    waiter
}

/// A call that has gone out. Dropping it ends its permits.
fn dispatch(client: &mut Client, id: usize, path: &str) -> Call {
    call(client, request(id, path))
}

fn one() -> Quota {
    per(1, 1000).concurrency(1)
}

/// L3: a new quota takes the places of the youngest: the oldest of those who were offered theirs goes.
#[tokio::test(start_paused = true)]
async fn a_smaller_quota_calls_back_the_youngest_of_those_who_were_offered_their_places() {
    for face in FACES {
        for scope in ["/a", Endpoints::OVERALL] {
            let probe = Probe::new();
            let endpoints = Endpoints::new().route("/a", Quota::unlimited());
            let layer = AnyLayer::new(face, endpoints.overall(Quota::unlimited()));
            let mut client = layer.client(&probe);
            layer.handle().pause("/a", ms(50)).unwrap();
            let mut calls: Vec<_> = (0..3).map(|id| queue(&mut client, id, "/a")).collect();
            at(&probe, 50).await;
            assert!(calls.iter_mut().all(|call| call.is_woken()), "{face:?}");
            layer.handle().set_quota(scope, one()).unwrap();
            let answer = assert_ready_ok!(calls[0].poll());
            assert_pending!(calls[1].poll());
            assert_pending!(calls[2].poll());
            assert_eq!(probe.ids(), [0], "{face:?} {scope}");
            drop(answer);
            at(&probe, 1050).await;
            let answer = assert_ready_ok!(calls[1].poll());
            assert_pending!(calls[2].poll());
            drop(answer);
            at(&probe, 2050).await;
            drop(assert_ready_ok!(calls[2].poll()));
            assert_eq!(probe.ids(), [0, 1, 2], "{face:?} {scope}");
            assert_idle(&layer.handle());
        }
    }
}

/// L3: so it does where they have fetched their places, and wait for the inner service.
#[tokio::test(start_paused = true)]
async fn a_smaller_quota_calls_back_the_youngest_of_those_whose_service_is_not_ready() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::unlimited());
        let layer = AnyLayer::new(face, endpoints);
        let mut client = layer.client(&probe);
        layer.handle().pause("/a", ms(50)).unwrap();
        let mut calls: Vec<_> = (0..3).map(|id| queue(&mut client, id, "/a")).collect();
        probe.log().readiness.extend([ms(5); 3]);
        at(&probe, 50).await;
        for call in &mut calls {
            assert_pending!(call.poll());
        }
        layer.handle().set_quota("/a", one()).unwrap();
        at(&probe, 55).await;
        let answer = assert_ready_ok!(calls[0].poll());
        assert_pending!(calls[1].poll());
        assert_pending!(calls[2].poll());
        drop(answer);
        at(&probe, 1055).await;
        drop(assert_ready_ok!(calls[1].poll()));
        assert_eq!(probe.ids(), [0, 1], "{face:?}");
        drop(calls);
        assert_idle(&layer.handle());
    }
}

/// L3, L10: whom a new quota calls back, and who cannot go in time any more, is refused then.
#[tokio::test(start_paused = true)]
async fn the_youngest_that_are_called_back_are_refused_at_once_if_their_turn_comes_too_late() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::unlimited());
        let layer = AnyLayer::new(face, endpoints).max_wait(ms(500));
        let mut client = layer.client(&probe);
        layer.handle().pause("/a", ms(50)).unwrap();
        let mut calls: Vec<_> = (0..100).map(|id| queue(&mut client, id, "/a")).collect();
        at(&probe, 50).await;
        layer.handle().set_quota("/a", one()).unwrap();
        // They are more than one hold of the lock calls back.
        assert_pending!(calls[0].poll());
        assert!(calls[0].is_woken(), "{face:?}");
        drop(assert_ready_ok!(calls[0].poll()));
        for call in &mut calls[1..] {
            assert!(call.is_woken(), "{face:?}");
            let error = tokio_test::assert_ready_err!(call.poll());
            assert_eq!(refused(&error).retry_after(), Some(ms(1000)), "{face:?}");
        }
        assert_eq!(probe.ids(), [0], "{face:?}");
        drop(calls);
        assert_idle(&layer.handle());
    }
}

/// L3: an absent head keeps its place where it stood as one, and no other: in a wider scope that it had not
/// reached, those who came there meanwhile go first.
#[tokio::test(start_paused = true)]
async fn who_was_absent_stands_behind_those_who_reached_a_wider_scope_before_it() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .group("group", Quota::concurrent(2), ["/a", "/b"])
            .route("/c", Quota::unlimited())
            .across_partitions(Quota::concurrent(2));
        let layer = AnyLayer::new(face, endpoints);
        let mut client = layer.client(&probe);
        let running: Vec<_> = (0..2).map(|id| dispatch(&mut client, id, "/a")).collect();
        let mut third = queue(&mut client, 3, "/a");
        drop(running);
        at(&probe, 1).await;
        let mut fourth = queue(&mut client, 4, "/a");
        let mut seventh = queue(&mut client, 7, "/a");
        let mut fifth = call(&mut client, request(5, "/c"));
        let mut sixth = call(&mut client, request(6, "/c"));
        at(&probe, 21).await;
        let _third = assert_ready_ok!(third.poll());
        let fourth = assert_ready_ok!(fourth.poll());
        // It stood at the group, whose gate was closed, and returns there.
        assert_pending!(seventh.poll());
        assert_pending!(fifth.poll());
        assert_pending!(sixth.poll());
        drop(fourth);
        assert_pending!(seventh.poll());
        drop(assert_ready_ok!(fifth.poll()));
        drop(assert_ready_ok!(seventh.poll()));
        drop(assert_ready_ok!(sixth.poll()));
        assert_eq!(probe.ids()[2..], [3, 4, 5, 7, 6], "{face:?}");
    }
}

/// L3: a head that a pause calls back leaves the wider contests: it comes back behind those who are there.
#[tokio::test(start_paused = true)]
async fn who_was_absent_and_is_called_back_later_gets_a_new_place_in_the_wider_contest() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .route("/b", Quota::unlimited())
            .overall(Quota::concurrent(1));
        let layer = AnyLayer::new(face, endpoints);
        let mut client = layer.client(&probe);
        let running = dispatch(&mut client, 0, "/a");
        let mut absent = queue(&mut client, 1, "/a");
        let mut second = queue(&mut client, 2, "/b");
        let mut third = queue(&mut client, 3, "/b");
        drop(running);
        at(&probe, 10).await;
        // Takes over the place that the first was offered.
        let second = assert_ready_ok!(second.poll());
        assert_pending!(absent.poll());
        drop(second);
        // It has its old place, so it is offered the next one. A pause calls it back.
        layer.handle().pause("/a", ms(10)).unwrap();
        assert_pending!(absent.poll());
        let third = assert_ready_ok!(third.poll());
        let mut fourth = queue(&mut client, 4, "/b");
        at(&probe, 20).await;
        drop(third);
        assert_pending!(absent.poll());
        drop(assert_ready_ok!(fourth.poll()));
        drop(assert_ready_ok!(absent.poll()));
        assert_eq!(probe.ids(), [0, 2, 3, 4, 1], "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// L13: when those who were offered their places in time have fetched them, the next may take over what is
/// overdue, and is woken.
#[tokio::test(start_paused = true)]
async fn the_next_is_woken_when_the_last_before_it_has_fetched_its_places() {
    for face in PERMITS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(2)));
        let mut client = layer.client(&probe);
        let first = dispatch(&mut client, 0, "/a");
        let second = dispatch(&mut client, 1, "/a");
        let mut calls: Vec<_> = (10..13).map(|id| queue(&mut client, id, "/a")).collect();
        probe.log().readiness.extend([ms(1000), ms(1000)]);
        at(&probe, 4).await;
        drop(first);
        assert_pending!(calls[0].poll());
        at(&probe, 8).await;
        drop(second);
        // The first of them is late, and the second is not.
        at(&probe, 15).await;
        assert!(calls[1].is_woken() && !calls[2].is_woken(), "{face:?}");
        assert_pending!(calls[1].poll());
        assert!(calls[2].is_woken(), "{face:?}");
        drop(assert_ready_ok!(calls[2].poll()));
        assert_eq!(probe.ids(), [0, 1, 12], "{face:?}");
        drop(calls);
        assert_idle(&layer.handle());
    }
}

/// L13: nobody is asked to take over the offer of one that was dropped: each has its own 10 ms.
#[tokio::test(start_paused = true)]
async fn who_is_offered_the_place_of_a_dropped_one_has_ten_milliseconds_of_its_own() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::unlimited());
        let layer = AnyLayer::new(face, endpoints.overall(Quota::concurrent(1)));
        let mut client = layer.client(&probe);
        let running = dispatch(&mut client, 0, "/a");
        let late = queue(&mut client, 1, "/a");
        let mut third = queue(&mut client, 3, "/a");
        let mut fourth = queue(&mut client, 4, "/a");
        let mut fifth = queue(&mut client, 5, "/a");
        drop(running);
        at(&probe, 10).await;
        drop(late);
        let third = assert_ready_ok!(third.poll());
        at(&probe, 15).await;
        drop(third);
        at(&probe, 24).await;
        assert!(fourth.is_woken(), "{face:?}");
        assert_pending!(fifth.poll());
        at(&probe, 25).await;
        drop(assert_ready_ok!(fifth.poll()));
        drop(assert_ready_ok!(fourth.poll()));
        assert_eq!(probe.ids(), [0, 3, 5, 4], "{face:?}");
        assert_idle(&layer.handle());
    }
}

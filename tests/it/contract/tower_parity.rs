//! What tower promises of its limits, promised here: each for one key, for a key beside a full one,
//! and for two services of one layer.
//!
//! The inner service panics when it is called without having been made ready.

use std::task::Poll;

use crate::support::*;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task::Spawn};
use tower::Service;
use tower_test::mock;
use tower_throttle::{Endpoints, Quota};

type Mock = mock::Mock<Req, http::Response<Scripted>>;
type Server = mock::Handle<Req, http::Response<Scripted>>;
type Responder = mock::SendResponse<http::Response<Scripted>>;
type Call = Spawn<<Client as Service<Req>>::Future>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum World {
    OneKey,
    /// Another key is full all the time.
    TwoKeys,
    TwoServices,
}

struct Rig {
    world: World,
    layer: AnyLayer,
    mock: Mock,
    first: Client,
    server: Server,
    /// What fills the other key.
    other: Vec<(Call, Responder)>,
}

impl Rig {
    fn new(face: Face, world: World, quota: Quota) -> Self {
        let endpoints = Endpoints::new()
            .route("/a", quota.clone())
            .route("/b", quota);
        let layer = AnyLayer::new(face, endpoints);
        let (mock, server) = mock::pair();
        let first = layer.over(mock.clone());
        let mut rig = Self {
            world,
            layer,
            mock,
            first,
            server,
            other: Vec::new(),
        };
        if world == World::TwoKeys {
            loop {
                let mut call = rig.call("/b", "other");
                _ = call.poll();
                match rig.server.poll_request() {
                    Poll::Ready(Some((_, responder))) => rig.other.push((call, responder)),
                    _ => break,
                }
            }
        }
        rig
    }

    fn call(&mut self, path: &str, body: &'static str) -> Call {
        let mut client = match self.world {
            World::TwoServices => self.layer.over(self.mock.clone()),
            _ => self.first.clone(),
        };
        let mut request = get(path);
        *request.body_mut() = body;
        call(&mut client, request)
    }

    fn a(&mut self, body: &'static str) -> Call {
        self.call("/a", body)
    }

    fn next(&mut self, body: &str) -> Responder {
        match self.server.poll_request() {
            Poll::Ready(Some((request, responder))) => {
                assert_eq!(*request.body(), body);
                responder
            }
            _ => panic!("no request where {body} should be"),
        }
    }

    fn nothing_sent(&mut self) {
        assert!(self.server.poll_request().is_pending());
    }

    /// The full key has not been touched, and a third one is free.
    fn finish(mut self) {
        if self.world == World::TwoKeys {
            let mut waiting = self.call("/b", "other");
            assert_pending!(waiting.poll());
            let mut free = self.call("/c", "free");
            assert_pending!(free.poll());
            self.next("free").send_response(answer());
            assert_ready_ok!(free.poll());
            assert!(!waiting.is_woken());
        }
    }
}

fn answer() -> http::Response<Scripted> {
    http::Response::new(Scripted::new([]))
}

fn worlds(faces: [Face; 2], quota: &Quota, test: impl Fn(&mut Rig)) {
    for face in faces {
        for world in [World::OneKey, World::TwoKeys, World::TwoServices] {
            let mut rig = Rig::new(face, world, quota.clone());
            test(&mut rig);
            rig.finish();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_as_the_limit_pass_and_the_next_one_when_a_response_is_consumed() {
    worlds(PERMITS, &Quota::concurrent(2), |rig| {
        let mut one = rig.a("one");
        let mut two = rig.a("two");
        let mut three = rig.a("three");
        assert_pending!(one.poll());
        assert_pending!(two.poll());
        assert_pending!(three.poll());
        let first = rig.next("one");
        let second = rig.next("two");
        rig.nothing_sent();
        assert!(!three.is_woken());

        first.send_response(answer());
        assert_ready_ok!(one.poll());
        assert!(three.is_woken());
        assert_pending!(three.poll());
        let third = rig.next("three");

        let mut four = rig.a("four");
        assert_pending!(four.poll());
        rig.nothing_sent();

        second.send_response(answer());
        third.send_response(answer());
        assert_ready_ok!(two.poll());
        assert_ready_ok!(three.poll());
        assert_pending!(four.poll());
        rig.next("four").send_response(answer());
        assert_ready_ok!(four.poll());
    });
}

#[tokio::test(start_paused = true)]
async fn sending_a_response_frees_nothing_before_somebody_takes_it() {
    worlds(PERMITS, &Quota::concurrent(1), |rig| {
        let mut one = rig.a("one");
        assert_pending!(one.poll());
        let mut two = rig.a("two");
        assert_pending!(two.poll());
        rig.next("one").send_response(answer());
        assert!(one.is_woken());
        assert!(!two.is_woken());
        rig.nothing_sent();
        drop(assert_ready_ok!(one.poll()));
        assert!(two.is_woken());
    });
}

#[test]
fn a_limit_of_zero_is_refused_at_construction() {
    let zeros: [fn() -> Quota; 6] = [
        || Quota::concurrent(0),
        || Quota::unlimited().concurrency(0),
        || Quota::per_second(0),
        || Quota::per(1, ms(0)),
        || Quota::per_second(1).and_per(0, ms(1)),
        || Quota::per_second(1).margin(ms(0)),
    ];
    for zero in zeros {
        assert!(std::panic::catch_unwind(zero).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn being_ready_reserves_nothing_and_calling_does() {
    worlds(PERMITS, &Quota::concurrent(1), |rig| {
        // tower's limit takes its permit in `poll_ready`; here the key is not known before `call`.
        let mut idle = rig.first.clone();
        ready_now(&mut idle);
        let mut two = rig.a("two");
        assert_pending!(two.poll());
        let responder = rig.next("two");
        let mut request = get("/a");
        *request.body_mut() = "idle";
        let mut one = tokio_test::task::spawn(idle.call(request));
        assert_pending!(one.poll());
        rig.nothing_sent();
        responder.send_response(answer());
        assert_ready_ok!(two.poll());
        assert!(one.is_woken());
        assert_pending!(one.poll());
        rig.next("idle");
    });
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_and_dropped_keeps_nothing() {
    worlds(PERMITS, &Quota::concurrent(1), |rig| {
        let mut idle = rig.first.clone();
        ready_now(&mut idle);
        drop(idle);
        let mut one = rig.a("one");
        assert_pending!(one.poll());
        rig.next("one");
    });
}

#[tokio::test(start_paused = true)]
async fn an_error_frees_capacity_before_its_future_is_dropped() {
    worlds(PERMITS, &Quota::concurrent(1), |rig| {
        let mut one = rig.a("one");
        let mut two = rig.a("two");
        assert_pending!(one.poll());
        assert_pending!(two.poll());
        rig.next("one").send_error("boom");
        let error = assert_ready_err!(one.poll());
        assert_eq!(error.to_string(), "boom");
        assert!(two.is_woken());
        assert_pending!(two.poll());
        rig.next("two");
        drop(one);
    });
}

#[tokio::test(start_paused = true)]
async fn a_dropped_response_future_frees_capacity() {
    worlds(PERMITS, &Quota::concurrent(1), |rig| {
        let mut one = rig.a("one");
        let mut two = rig.a("two");
        assert_pending!(one.poll());
        assert_pending!(two.poll());
        rig.next("one");
        drop(one);
        assert!(two.is_woken());
        assert_pending!(two.poll());
        rig.next("two");
    });
}

#[tokio::test(start_paused = true)]
async fn several_waiters_are_woken_one_by_one_in_order() {
    worlds(PERMITS, &Quota::concurrent(1), |rig| {
        let mut one = rig.a("one");
        let mut two = rig.a("two");
        let mut three = rig.a("three");
        assert_pending!(one.poll());
        assert_pending!(two.poll());
        assert_pending!(three.poll());
        drop(one);
        assert!(two.is_woken());
        assert!(!three.is_woken());
        // Woken, and never polled again.
        drop(two);
        assert!(three.is_woken());
        rig.next("one");
        assert_pending!(three.poll());
        rig.next("three");
    });
}

/// The same in three worlds, with time passing.
macro_rules! timed {
    ($name:ident, $quota:expr, $rig:ident => $test:block) => {
        #[tokio::test(start_paused = true)]
        async fn $name() {
            for face in WINDOWS {
                for world in [World::OneKey, World::TwoKeys, World::TwoServices] {
                    let mut $rig = Rig::new(face, world, $quota);
                    $test;
                }
            }
        }
    };
}

timed!(at_capacity_nothing_reaches_the_service_until_the_window_has_passed, per(1, 100), rig => {
    let mut one = rig.a("one");
    assert_pending!(one.poll());
    rig.next("one").send_response(answer());
    assert_ready_ok!(one.poll());

    let mut two = rig.a("two");
    assert_pending!(two.poll());
    rig.nothing_sent();
    advance(ms(99)).await;
    assert!(!two.is_woken());
    assert_pending!(two.poll());
    rig.nothing_sent();
    if rig.world == World::TwoKeys {
        let mut other = rig.call("/b", "other");
        assert_pending!(other.poll());
        rig.nothing_sent();
    }
    advance(ms(1)).await;
    assert!(two.is_woken());
    assert_pending!(two.poll());
    rig.next("two").send_response(answer());
    assert_ready_ok!(two.poll());
});

timed!(what_a_window_has_left_is_restored_when_it_has_passed, per(3, 100), rig => {
    let mut one = rig.a("one");
    assert_pending!(one.poll());
    rig.next("one").send_response(answer());
    assert_ready_ok!(one.poll());
    advance(ms(100)).await;
    for name in ["two", "three", "four"] {
        let mut call = rig.a(name);
        assert_pending!(call.poll());
        rig.next(name).send_response(answer());
        assert_ready_ok!(call.poll());
    }
    let mut five = rig.a("five");
    assert_pending!(five.poll());
    rig.nothing_sent();
});

timed!(two_bursts_at_the_edge_of_a_window_do_not_add_up, per(3, 100), rig => {
    advance(ms(90)).await;
    for name in ["one", "two", "three"] {
        let mut call = rig.a(name);
        assert_pending!(call.poll());
        rig.next(name).send_response(answer());
        assert_ready_ok!(call.poll());
    }
    // A window that began at 0 is over.
    advance(ms(20)).await;
    let mut four = rig.a("four");
    assert_pending!(four.poll());
    rig.nothing_sent();
    advance(ms(79)).await;
    assert_pending!(four.poll());
    rig.nothing_sent();
    advance(ms(1)).await;
    assert_pending!(four.poll());
    rig.next("four");
});

timed!(everyone_who_waits_for_a_window_is_woken_when_there_is_room_for_all, per(3, 100), rig => {
    for name in ["one", "two", "three"] {
        let mut call = rig.a(name);
        assert_pending!(call.poll());
        rig.next(name);
    }
    let mut waiters: Vec<_> = ["four", "five", "six", "seven"].map(|name| rig.a(name)).into();
    for waiter in &mut waiters {
        assert_pending!(waiter.poll());
    }
    advance(ms(100)).await;
    for waiter in &mut waiters {
        if waiter.is_woken() {
            assert_pending!(waiter.poll());
        }
    }
    for name in ["four", "five", "six"] {
        rig.next(name);
    }
    rig.nothing_sent();
});

timed!(readied_long_ago_and_called_together_is_still_one_window, per(2, 100), rig => {
    let mut ready: Vec<Client> = (0..5).map(|_| rig.first.clone()).collect();
    for client in &mut ready {
        ready_now(client);
    }
    advance(ms(1000)).await;
    let mut calls: Vec<_> = ready
        .iter_mut()
        .map(|client| tokio_test::task::spawn(client.call(get("/a"))))
        .collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    rig.next("");
    rig.next("");
    rig.nothing_sent();
});

#[tokio::test(start_paused = true)]
async fn an_exhausted_cooperative_budget_does_not_refuse() {
    for face in FACES {
        let layer = AnyLayer::new(face, Endpoints::new().route("/a", per(1, 10))).max_waiting(0);
        let probe = Probe::new();
        let mut client = layer.client(&probe);
        while tokio_test::task::spawn(tokio::task::consume_budget())
            .poll()
            .is_ready()
        {}
        assert!(!tokio::task::coop::has_budget_remaining());
        let mut one = call(&mut client, get("/a"));
        assert_ready_ok!(one.poll());
    }
}

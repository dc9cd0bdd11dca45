//! The contract of `Service`, over an inner service whose readiness belongs to the exact instance.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::support::*;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{Handle, Quota};

#[tokio::test(start_paused = true)]
async fn a_waiting_request_holds_no_reservation_of_the_inner_service() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(1, 100).concurrency(1)));
        let mut client = layer.client(&probe);
        let mut first = call(&mut client, job("/a", ms(100)));
        assert_pending!(first.poll());
        assert_eq!(probe.log().reserved, 0);
        let mut waiters = Vec::new();
        for _ in 0..3 {
            ready_now(&mut client);
            assert_eq!(probe.log().reserved, 1);
            let mut waiter = tokio_test::task::spawn(client.call(get("/a")));
            assert_eq!(
                probe.log().reserved,
                0,
                "{face:?}: it was given back in `call`"
            );
            assert_pending!(waiter.poll());
            assert_eq!(probe.log().reserved, 0);
            waiters.push(waiter);
        }
        assert_eq!(probe.log().most_reserved, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn only_admitted_requests_reserve_and_one_each() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(2, 100).concurrency(2)));
        let client = layer.client(&probe);
        layer.handle().pause("/a", ms(100)).unwrap();
        let sent = burst(&client, 6, |_| job("/a", ms(10))).await;
        assert_eq!(probe.log().reserved, 0, "{face:?}");
        probe.log().most_reserved = 0;
        for sent in sent {
            sent.await.unwrap().unwrap();
        }
        assert!(probe.log().most_reserved <= 2);
        assert_eq!(probe.log().reserved, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_its_service_gets_ready_leaves_no_reservation() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(2, 100).concurrency(2)));
        let client = layer.client(&probe);
        layer.handle().pause("/a", ms(10)).unwrap();
        probe.log().readiness = [ms(0), ms(50)].into();
        let sent = burst(&client, 1, |_| get("/a")).await;
        at(&probe, 30).await;
        assert_eq!(gauge(&layer.handle(), "/a").0, 0);
        sent[0].abort();
        settle().await;
        assert_eq!(probe.log().reserved, 0);
        assert!(probe.times().is_empty());
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn being_polled_ready_again_and_again_reserves_once() {
    for face in FACES {
        let probe = Probe::new();
        let mut client = AnyLayer::new(face, endpoint_a(Quota::concurrent(1))).client(&probe);
        for _ in 0..3 {
            ready_now(&mut client);
        }
        assert_eq!(probe.log().most_reserved, 1);
        let mut one = tokio_test::task::spawn(client.call(get("/a")));
        assert_ready_ok!(one.poll());
        assert_eq!(probe.log().reserved, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn not_being_ready_passes_through_and_wakes() {
    for face in FACES {
        let probe = Probe::new();
        let mut client = AnyLayer::new(face, endpoint_a(Quota::concurrent(1))).client(&probe);
        probe.log().readiness = [ms(70)].into();
        let start = tokio::time::Instant::now();
        client.ready().await.unwrap();
        assert_eq!(start.elapsed(), ms(70));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_passes_through_as_it_came() {
    for face in FACES {
        let probe = Probe::new();
        let mut client = AnyLayer::new(face, endpoint_a(Quota::concurrent(1))).client(&probe);
        probe.log().readiness_errors = ["closed"].into();
        let error = client.ready().await.map(drop).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&InnerError("closed")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_after_the_wait_comes_as_it_is_and_gives_the_place_back() {
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(per(1, 100).concurrency(1)));
        let client = layer.client(&probe);
        let sent = burst(&client, 3, |id| Work::head(ms(100)).id(id).of("/a")).await;
        at(&probe, 50).await;
        probe.log().readiness_errors = ["closed"].into();
        let mut results = Vec::new();
        for sent in sent {
            results.push(sent.await.unwrap());
        }
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&InnerError("closed")));
        assert!(results[2].is_ok());
        assert_eq!(probe.ids(), [0, 2]);
        assert_eq!(
            probe.times(),
            [0, 100],
            "{face:?}: the next one takes its place at once"
        );
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_inner_service_come_as_they_are_and_release_before_the_future_is_dropped() {
    for face in [Face::Concurrency, Face::Throttle] {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(1)));
        let mut client = layer.client(&probe);
        let mut first = call(&mut client, Work::head(ms(0)).end(End::Error).of("/a"));
        let mut second = call(&mut client, get("/a"));
        // The first was admitted in `call`, but has not been polled.
        assert_pending!(second.poll());
        let error = assert_ready_err!(first.poll());
        assert_eq!(error.downcast_ref(), Some(&InnerError("inner")));
        assert!(second.is_woken(), "{face:?}");
        assert_ready_ok!(second.poll());
        drop(first);
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_inner_call_or_its_future_returns_everything() {
    for face in FACES {
        for end in [End::PanicInCall, End::PanicInFuture] {
            // Admitted in `call`, and admitted later.
            for paused in [false, true] {
                let probe = Probe::new();
                let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(1)));
                let client = layer.client(&probe);
                if paused {
                    layer.handle().pause("/a", ms(10)).unwrap();
                }
                let sent = burst(&client, 3, |id| {
                    let end = if id == 0 { end } else { End::Answer };
                    Work::head(ms(0)).id(id).end(end).of("/a")
                })
                .await;
                let mut panics = 0;
                for sent in sent {
                    match sent.await {
                        Ok(result) => result.unwrap(),
                        Err(error) => {
                            assert!(error.is_panic());
                            panics += 1;
                        }
                    }
                }
                assert_eq!(panics, 1);
                assert_eq!(probe.ids(), [0, 1, 2], "{face:?} {end:?} {paused}");
                assert_idle(&layer.handle());
                assert_eq!(probe.log().reserved, 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_inner_call_was_a_dispatch() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let client = AnyLayer::new(face, endpoint_a(per(1, 100))).client(&probe);
        let sent = burst(&client, 2, |id| {
            let end = if id == 0 {
                End::PanicInCall
            } else {
                End::Answer
            };
            Work::head(ms(0)).id(id).end(end).of("/a")
        })
        .await;
        for sent in sent {
            _ = sent.await;
        }
        assert_eq!(probe.times(), [0, 100], "{face:?}");
    }
}

#[test]
fn nothing_needs_a_runtime_before_a_request_waits() {
    for face in FACES {
        let layer = AnyLayer::new(face, endpoint_a(Quota::per_second(1).concurrency(1)))
            .max_wait(ms(100))
            .max_waiting(3);
        let handle = layer.handle();
        handle
            .set_quota("/a", Quota::per_second(2).concurrency(2))
            .unwrap();
        handle.pause("/a", ms(100)).unwrap();
        handle.resume("/a").unwrap();
        handle.sweep();
        let probe = Probe::new();
        let mut client = layer.client(&probe);
        let mut one = call(&mut client, get("/a"));
        assert_ready_ok!(one.poll());
        let mut two = call(&mut client, get("/other"));
        assert_ready_ok!(two.poll());
        assert_eq!(probe.log().calls.len(), 2);
        assert_idle(&handle);
    }
}

#[test]
fn a_call_that_will_wait_can_be_made_outside_a_runtime() {
    for face in FACES {
        let layer = AnyLayer::new(face, endpoint_a(per(1, 50).concurrency(1)));
        let runtime = paused_runtime();
        let probe = runtime.block_on(async { Probe::new() });
        let mut client = layer.client(&probe);
        // Outside the runtime there is no paused clock, so a pause says that both wait.
        layer
            .handle()
            .pause("/a", Duration::from_secs(3600))
            .unwrap();
        ready_now(&mut client);
        let one = client.call(get("/a"));
        drop(one);
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn layers_share_state_over_all_their_services_and_two_layers_share_none() {
    for face in FACES {
        let probe = Probe::new();
        let config = endpoint_a(per(1, 100).concurrency(1));
        let layer = AnyLayer::new(face, config.clone());
        let clients = [
            layer.client(&probe),
            layer.clone().client(&probe),
            layer.client(&probe).clone(),
        ];
        let other = AnyLayer::new(face, config).client(&probe);
        let mut sent = Vec::new();
        for client in &clients {
            sent.extend(burst(client, 1, |_| job("/a", ms(100))).await);
        }
        sent.extend(burst(&other, 1, |_| job("/a", ms(100))).await);
        for sent in sent {
            sent.await.unwrap().unwrap();
        }
        assert_eq!(probe.times(), [0, 0, 100, 200], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_finished_future_panics_or_pends_but_admits_nobody_twice() {
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Throttle, endpoint_a(Quota::concurrent(1)));
    let mut client = layer.client(&probe);
    let mut one = call(&mut client, get("/a"));
    assert_ready_ok!(one.poll());
    _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one.poll()));
    assert_eq!(probe.log().calls.len(), 1);
    assert_idle(&layer.handle());
}

/// A handle that comes into being after the closures that use it.
type Late = Arc<Mutex<Option<Handle>>>;

fn peek(late: &Late) {
    let handle = late.lock().unwrap().clone();
    if let Some(handle) = handle {
        _ = handle.snapshot();
        handle.sweep();
    }
}

#[test]
fn the_users_closures_may_use_the_handle() {
    for face in FACES {
        without_deadlock("closures", async move {
            let late = Late::default();
            let (one, two) = (late.clone(), late.clone());
            let endpoints = endpoint_a(per(1, 100).concurrency(1))
                .named("n", Quota::concurrent(1))
                .partition_by(move |_| {
                    peek(&one);
                    Some(1u8)
                })
                .name_by(move |_| {
                    peek(&two);
                    None::<&'static str>
                });
            let layer = AnyLayer::new(face, endpoints);
            *late.lock().unwrap() = Some(layer.handle());
            let probe = Probe::new();
            for sent in burst(&layer.client(&probe), 3, |_| job("/a", ms(10))).await {
                sent.await.unwrap().unwrap();
            }
        });
    }
}

struct PeekingWaker(Handle, AtomicUsize);

impl Wake for PeekingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        _ = self.0.snapshot();
        self.1.fetch_add(1, Relaxed);
    }
}

impl Drop for PeekingWaker {
    fn drop(&mut self) {
        _ = self.0.snapshot();
    }
}

#[test]
fn wakers_may_use_the_handle_and_drop_calls() {
    for face in [Face::Concurrency, Face::Throttle] {
        without_deadlock("wakers", async move {
            let probe = Probe::new();
            let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(1)));
            let handle = layer.handle();
            let mut client = layer.client(&probe);
            let first = call(&mut client, job("/a", ms(10)));
            let peeking = Arc::new(PeekingWaker(handle.clone(), AtomicUsize::new(0)));
            let waker = Waker::from(peeking.clone());
            let mut context = Context::from_waker(&waker);
            let mut futures: Vec<_> = (0..3)
                .map(|_| {
                    ready_now(&mut client);
                    Box::pin(client.call(get("/a")))
                })
                .collect();
            for future in &mut futures {
                assert!(future.as_mut().poll(&mut context).is_pending());
            }
            drop(first);
            assert_eq!(peeking.1.load(Relaxed), 1);
            handle.set_quota("/a", Quota::concurrent(3)).unwrap();
            assert_eq!(peeking.1.load(Relaxed), 3);
            // The last reference to a waker may go with its future.
            for future in &mut futures {
                let own = Arc::new(PeekingWaker(handle.clone(), AtomicUsize::new(0)));
                _ = future
                    .as_mut()
                    .poll(&mut Context::from_waker(&Waker::from(own)));
            }
            drop(futures);
            assert_idle(&handle);
        });
    }
}

/// An inner service that looks at the handle whenever it is touched.
struct Peeking(Probe, Late);

impl Clone for Peeking {
    fn clone(&self) -> Self {
        peek(&self.1);
        Self(self.0.clone(), self.1.clone())
    }
}

impl Drop for Peeking {
    fn drop(&mut self) {
        peek(&self.1);
    }
}

impl Service<Req> for Peeking {
    type Response = http::Response<Scripted>;
    type Error = InnerError;
    type Future = Working;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
        peek(&self.1);
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Working {
        peek(&self.1);
        self.0.call(request)
    }
}

#[test]
fn the_inner_service_may_use_the_handle_whenever_it_is_touched() {
    for face in FACES {
        without_deadlock("inner", async move {
            let late = Late::default();
            let probe = Probe::new();
            let layer = AnyLayer::new(face, endpoint_a(per(1, 100).concurrency(1)));
            *late.lock().unwrap() = Some(layer.handle());
            let client = layer.over(Peeking(probe.clone(), late));
            let sent = burst(&client, 4, |_| job("/a", ms(10))).await;
            sent[2].abort();
            for sent in sent {
                if let Ok(result) = sent.await {
                    result.unwrap();
                }
            }
            assert_eq!(probe.log().calls.len(), 3);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_from_within_the_inner_call_is_a_request_like_any_other() {
    // A client whose inner service makes a request through the same layer (for a token, say).
    #[derive(Clone)]
    struct Nested(Probe, Arc<Mutex<Option<Client>>>);
    impl Service<Req> for Nested {
        type Response = http::Response<Scripted>;
        type Error = InnerError;
        type Future = Working;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Req) -> Working {
            if request.uri().path() == "/a" {
                let mut client = self.1.lock().unwrap().clone().unwrap();
                let mut token = call(&mut client, get("/token"));
                assert_ready_ok!(token.poll());
            }
            self.0.call(request)
        }
    }
    for face in FACES {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, endpoint_a(Quota::concurrent(1)));
        let slot = Arc::new(Mutex::new(None));
        let client = layer.over(Nested(probe.clone(), slot.clone()));
        *slot.lock().unwrap() = Some(client.clone());
        send(client, get("/a")).await.unwrap();
        slot.lock().unwrap().take();
        assert_eq!(probe.log().calls.len(), 2);
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn the_services_give_access_to_what_is_inside() {
    let probe = Probe::new();
    let mut service = throttle(endpoint_a(Quota::concurrent(1))).layer(probe.clone());
    assert_eq!(service.get_ref().log().calls.len(), 0);
    _ = service.get_mut();
    let inner: Probe = service.into_inner();
    assert_eq!(inner.log().calls.len(), 0);
}

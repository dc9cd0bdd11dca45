//! The permit lasts as long as the response body, and not longer.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use crate::support::*;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok};
use tower::{Service, ServiceExt, service_fn};
use tower_throttle::{Body, BoxError, Endpoints, Handle, Quota};

fn one() -> Endpoints {
    Endpoints::new().route("/a", Quota::concurrent(1))
}

/// The answer to a request whose body follows `steps`, and somebody who waits for its permit.
struct Held {
    body: Pin<Box<Body<Scripted>>>,
    next: tokio_test::task::Spawn<<Client as Service<Req>>::Future>,
    handle: Handle,
}

impl Held {
    fn new(face: Face, steps: impl IntoIterator<Item = Step>) -> Self {
        let layer = AnyLayer::new(face, one());
        let mut client = layer.client(&Probe::new());
        let mut first = call(&mut client, Work::head(ms(0)).body(steps).of("/a"));
        let mut next = call(&mut client, get("/a"));
        assert_pending!(next.poll());
        let response = assert_ready_ok!(first.poll());
        Self {
            body: Box::pin(response.into_body()),
            next,
            handle: layer.handle(),
        }
    }

    fn frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        let mut task = tokio_test::task::spawn(());
        let body = self.body.as_mut();
        task.enter(|cx, _| body.poll_frame(cx))
    }

    fn held(&self) {
        assert_eq!(gauge(&self.handle, "/a"), (1, 1));
        assert!(!self.next.is_woken(), "the permit was released");
    }

    fn released(&mut self) {
        assert!(self.next.is_woken(), "the permit was kept");
        assert_ready_ok!(self.next.poll());
        assert_eq!(gauge(&self.handle, "/a"), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_permit_lasts_until_the_end_of_the_body() {
    for face in PERMITS {
        let mut held = Held::new(face, [Step::Coy, Step::Data("a"), Step::Data("b")]);
        held.held();
        for _ in 0..2 {
            assert_ready!(held.frame()).unwrap().unwrap();
            held.held();
        }
        assert!(assert_ready!(held.frame()).is_none());
        held.released();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_knows_its_end_releases_with_its_last_frame() {
    // Nobody polls it once `is_end_stream` says that it is over.
    for face in PERMITS {
        let mut held = Held::new(face, [Step::Data("a"), Step::Data("b")]);
        assert_ready!(held.frame()).unwrap().unwrap();
        held.held();
        assert!(!held.body.is_end_stream());
        assert_ready!(held.frame()).unwrap().unwrap();
        assert!(held.body.is_end_stream());
        held.released();
    }
}

#[tokio::test(start_paused = true)]
async fn data_is_not_the_end_where_trailers_follow() {
    for face in PERMITS {
        let mut held = Held::new(face, [Step::Data("a"), Step::Trailers]);
        assert!(assert_ready!(held.frame()).unwrap().unwrap().is_data());
        held.held();
        let frame = assert_ready!(held.frame()).unwrap().unwrap();
        assert_eq!(frame.into_trailers().unwrap()["x-trailer"], "1");
        held.released();
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_of_a_body_that_does_not_know_its_end_release_at_none_at_the_latest() {
    for face in PERMITS {
        let mut held = Held::new(face, [Step::Coy, Step::Trailers]);
        assert!(assert_ready!(held.frame()).unwrap().unwrap().is_trailers());
        assert!(assert_ready!(held.frame()).is_none());
        held.released();
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_releases_before_the_body_is_dropped_and_comes_as_it_is() {
    for face in PERMITS {
        let mut held = Held::new(face, [Step::Data("a"), Step::Error, Step::Data("never")]);
        assert_ready!(held.frame()).unwrap().unwrap();
        held.held();
        let error = assert_ready!(held.frame()).unwrap().unwrap_err();
        assert_eq!(error, InnerError("body"));
        held.released();
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_data_releases_nothing() {
    for face in PERMITS {
        let mut held = Held::new(
            face,
            [Step::Data("a"), Step::Wait(ms(100)), Step::Data("b")],
        );
        assert_ready!(held.frame()).unwrap().unwrap();
        assert_pending!(held.frame());
        held.held();
        tokio::time::advance(ms(99)).await;
        assert_pending!(held.frame());
        held.held();
        tokio::time::advance(ms(1)).await;
        assert_ready!(held.frame()).unwrap().unwrap();
        held.released();
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_body_releases_whether_it_was_read_or_not() {
    for face in PERMITS {
        for read in 0..3 {
            let mut held = Held::new(
                face,
                [Step::Coy, Step::Data("a"), Step::Data("b"), Step::Data("c")],
            );
            for _ in 0..read {
                assert_ready!(held.frame()).unwrap().unwrap();
            }
            held.held();
            held.body = Box::pin(Body::default());
            held.released();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_over_at_once_releases_with_the_head() {
    for face in PERMITS {
        let mut held = Held::new(face, []);
        assert!(held.body.is_end_stream());
        held.released();
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_that_does_not_say_so_holds_until_it_is_asked() {
    for face in PERMITS {
        let layer = AnyLayer::new(face, one());
        let mut client = layer.client(&Probe::new());
        let work = Work::head(ms(0)).body([Step::Coy, Step::Data("")]);
        let response = assert_ready_ok!(call(&mut client, work.of("/a")).poll());
        assert_eq!(gauge(&layer.handle(), "/a"), (0, 1));
        read(response.into_body()).await.unwrap();
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_releases_with_the_head_as_hypers_bodies_say() {
    // HEAD, 204 and length 0 all come as a body that has ended.
    for face in PERMITS {
        let layer = AnyLayer::new(face, one());
        let mut client = layer.over(service_fn(|_: Req| async {
            let mut response = http::Response::new(Scripted::new([]));
            *response.status_mut() = http::StatusCode::NO_CONTENT;
            Ok::<_, InnerError>(response)
        }));
        let mut request = get("/a");
        *request.method_mut() = http::Method::HEAD;
        let kept = client.ready().await.unwrap().call(request).await.unwrap();
        assert_idle(&layer.handle());
        drop(kept);
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn release_at_head_releases_at_the_head() {
    for face in PERMITS {
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1).release_at_head());
        let layer = AnyLayer::new(face, endpoints);
        let probe = Probe::new();
        let mut client = layer.client(&probe);
        let work = Work::head(ms(50)).body([Step::Coy, Step::Data("a")]);
        let mut first = call(&mut client, work.of("/a"));
        let mut next = call(&mut client, get("/a"));
        assert_pending!(first.poll());
        assert_pending!(next.poll());
        tokio::time::advance(ms(50)).await;
        let response = assert_ready_ok!(first.poll());
        assert!(next.is_woken(), "{face:?}");
        assert_ready_ok!(next.poll());
        assert_eq!(gauge(&layer.handle(), "/a"), (0, 0));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "a");
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn release_at_head_of_one_scope_leaves_the_others_alone() {
    for face in PERMITS {
        let endpoints = Endpoints::new()
            .route("/a", Quota::concurrent(1).release_at_head())
            .overall(Quota::concurrent(2));
        let layer = AnyLayer::new(face, endpoints);
        let mut client = layer.client(&Probe::new());
        let work = || {
            Work::head(ms(0))
                .body([Step::Coy, Step::Data("a")])
                .of("/a")
        };
        let one = assert_ready_ok!(call(&mut client, work()).poll());
        assert_eq!(gauge(&layer.handle(), "/a").1, 0, "{face:?}");
        assert_eq!(gauge(&layer.handle(), "overall").1, 1, "{face:?}");
        let two = assert_ready_ok!(call(&mut client, work()).poll());
        let mut three = call(&mut client, work());
        assert_pending!(three.poll());
        drop(one);
        assert!(three.is_woken());
        drop(two);
        drop(three);
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_becomes_something_else_releases_at_the_head() {
    for face in PERMITS {
        let endpoints = one().overall(Quota::concurrent(1));
        let layer = AnyLayer::new(face, endpoints);
        let mut client = layer.client(&Probe::new());
        let mut work = Work::head(ms(0)).body([Step::Coy, Step::Data("a")]);

        let mut connect = work.clone().of("/a");
        *connect.method_mut() = http::Method::CONNECT;
        *connect.uri_mut() = "proxy.example:443".parse().unwrap();
        let tunnel = assert_ready_ok!(call(&mut client, connect).poll());
        assert_idle(&layer.handle());

        work.status = http::StatusCode::SWITCHING_PROTOCOLS;
        let upgraded = assert_ready_ok!(call(&mut client, work.clone().of("/a")).poll());
        assert_idle(&layer.handle());

        work.status = http::StatusCode::OK;
        let plain = assert_ready_ok!(call(&mut client, work.of("/a")).poll());
        assert_eq!(gauge(&layer.handle(), "overall").1, 1);
        drop((tunnel, upgraded, plain));
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_an_error_holds_its_permit_like_any_other() {
    for face in PERMITS {
        // Of those that are read at once, to tell why the server refused, the body has ended then.
        for (status, held) in [(404, 1), (429, 0), (500, 1), (503, 0)] {
            let layer = AnyLayer::new(face, one());
            let mut client = layer.client(&Probe::new());
            let mut work = Work::head(ms(0)).body([Step::Coy, Step::Data("no")]);
            work.status = status.try_into().unwrap();
            let response = assert_ready_ok!(call(&mut client, work.of("/a")).poll());
            assert_eq!(gauge(&layer.handle(), "/a").1, held);
            assert_eq!(response.status(), status);
            read(response.into_body()).await.unwrap();
            assert_idle(&layer.handle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hints_data_and_trailers_are_the_inner_bodys() {
    for face in FACES {
        let layer = AnyLayer::new(face, one());
        let mut client = layer.client(&Probe::new());
        let steps = [Step::Data("ab"), Step::Data("cde"), Step::Trailers];
        let request = Work::head(ms(0)).body(steps).of("/a");
        let response = client.ready().await.unwrap().call(request).await.unwrap();
        let body = response.into_body();
        assert_eq!(body.size_hint().exact(), Some(5));
        assert!(!body.is_end_stream());
        let mut body = pin!(body);
        std::future::poll_fn(|cx| body.as_mut().poll_frame(cx))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(body.size_hint().exact(), Some(3));
        let rest = body.collect().await.unwrap();
        assert_eq!(rest.trailers().unwrap()["x-trailer"], "1");
        assert_eq!(rest.to_bytes(), "cde");
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_is_not_touched() {
    for face in FACES {
        let layer = AnyLayer::new(face, one());
        let mut client = layer.over(service_fn(|request: Req| async move {
            assert_eq!(request.extensions().get::<u8>(), Some(&7));
            assert_eq!(request.uri(), "/a?query=1");
            assert_eq!(request.headers()["x-header"], "value");
            let mut response = http::Response::new(Scripted::new([]));
            response.extensions_mut().insert(8u8);
            response
                .headers_mut()
                .insert("x-answer", "yes".parse().unwrap());
            *response.version_mut() = http::Version::HTTP_2;
            Ok::<_, InnerError>(response)
        }));
        let mut request = http::Request::get("/a?query=1")
            .header("x-header", "value")
            .body("")
            .unwrap();
        request.extensions_mut().insert(7u8);
        let response = client.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.extensions().get::<u8>(), Some(&8));
        assert_eq!(response.headers()["x-answer"], "yes");
        assert_eq!(response.version(), http::Version::HTTP_2);
    }
}

/// A body, or a part of a future, that looks how many are in flight when it is dropped.
#[derive(Debug)]
struct Last {
    handle: Arc<Mutex<Option<Handle>>>,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Drop for Last {
    fn drop(&mut self) {
        let handle = self.handle.lock().unwrap().clone().unwrap();
        self.seen.lock().unwrap().push(gauge(&handle, "/a").1);
    }
}

impl http_body::Body for Last {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_permit_outlives_the_inner_body_and_the_inner_future() {
    // Otherwise, on several threads, the next request begins while this one still goes on.
    for stay in [false, true] {
        let layer = throttle(one());
        let slot = Arc::new(Mutex::new(Some(layer.handle())));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handle, record) = (slot.clone(), seen.clone());
        let mut svc = tower::Layer::layer(
            &layer,
            service_fn(move |_: Req| {
                let last = Last {
                    handle: handle.clone(),
                    seen: record.clone(),
                };
                async move {
                    if stay {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, BoxError>(http::Response::new(last))
                }
            }),
        );
        ready_now::<_, Req>(&mut svc);
        let mut future = tokio_test::task::spawn(svc.call(get("/a")));
        if stay {
            assert_pending!(future.poll());
        } else {
            let response = assert_ready_ok!(future.poll());
            drop(response);
        }
        drop(future);
        assert_eq!(*seen.lock().unwrap(), [1], "stay: {stay}");
        assert_idle(&layer.handle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_before_its_first_poll_also_keeps_its_permit_to_the_end() {
    let layer = throttle(one());
    let slot = Arc::new(Mutex::new(Some(layer.handle())));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (handle, record) = (slot.clone(), seen.clone());
    let mut svc = tower::Layer::layer(
        &layer,
        service_fn(move |_: Req| {
            let last = Last {
                handle: handle.clone(),
                seen: record.clone(),
            };
            async move { Ok::<_, BoxError>(http::Response::new(last)) }
        }),
    );
    ready_now::<_, Req>(&mut svc);
    drop(svc.call(get("/a")));
    assert_eq!(*seen.lock().unwrap(), [1]);
    assert_idle(&layer.handle());
}

#[tokio::test(start_paused = true)]
async fn a_finished_future_that_is_kept_holds_nothing_of_the_body() {
    for face in PERMITS {
        let layer = AnyLayer::new(face, one());
        let mut client = layer.client(&Probe::new());
        let work = Work::head(ms(0)).body([Step::Data("a")]);
        let mut future = call(&mut client, work.of("/a"));
        let response = assert_ready_ok!(future.poll());
        read(response.into_body()).await.unwrap();
        assert_idle(&layer.handle());
        drop(future);
    }
}

#[tokio::test(start_paused = true)]
async fn under_windows_alone_a_body_holds_nothing() {
    let layer = AnyLayer::new(
        Face::Rps,
        Endpoints::new().route("/a", Quota::per_second(9).concurrency(1)),
    );
    let mut client = layer.client(&Probe::new());
    let work = || Work::head(ms(0)).body([Step::Data("a")]).of("/a");
    let bodies: Vec<_> = (0..9)
        .map(|_| assert_ready_ok!(call(&mut client, work()).poll()).into_body())
        .collect();
    assert_idle(&layer.handle());
    drop(bodies);
}

#[tokio::test(start_paused = true)]
async fn common_bodies_work() {
    let layer = throttle(one());
    let mut svc = tower::Layer::layer(
        &layer,
        service_fn(|_: Req| async {
            Ok::<_, BoxError>(http::Response::new(Full::new(Bytes::from_static(b"hello"))))
        }),
    );
    let response = svc.ready().await.unwrap().call(get("/a")).await.unwrap();
    assert_eq!(gauge(&layer.handle(), "/a").1, 1);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(bytes, "hello");
    assert_idle(&layer.handle());
}

#[test]
fn the_body_is_what_its_inner_body_is() {
    fn sync<T: Sync>() {}
    fn send<T: Send>() {}
    fn unpin<T: Unpin>() {}
    sync::<Body<Full<Bytes>>>();
    send::<Body<Full<Bytes>>>();
    unpin::<Body<Full<Bytes>>>();
}

#[tokio::test(start_paused = true)]
async fn all_of_a_stack_of_two_is_released_with_the_body() {
    let (outer, inner) = (
        tower_throttle::ConcurrencyLayer::new(one()),
        throttle(one()),
    );
    let (outside, inside) = (outer.handle(), inner.handle());
    let mut svc = tower::ServiceBuilder::new()
        .layer(outer)
        .layer(inner)
        .service(Probe::new());
    let request = Work::head(ms(0))
        .body([Step::Coy, Step::Data("a")])
        .of("/a");
    let response = svc.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!((gauge(&outside, "/a").1, gauge(&inside, "/a").1), (1, 1));
    _ = response.into_body().collect().await.unwrap();
    assert_idle(&outside);
    assert_idle(&inside);
}

//! gRPC: tonic's client over a stack with tonic's channel at its bottom, and tonic's server.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::tonic::{
    Code, Status,
    body::Body,
    client::Grpc,
    server::{self, NamedService},
    transport::{Channel, Endpoint, Server},
};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
    stream::{self, BoxStream},
};
use http::{Request, Response, uri::PathAndQuery};
use interop::{Gauge, counts, until};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_throttle::{
    Attempts, ConcurrencyLayer, Endpoints, Handle, Learning, Quota, Refused, RefusedReason,
    RetryLayer, RpsLayer, Throttle, ThrottleLayer, mock, signal::Profile,
};

/// A message, and below a service, as `tonic-build` would have made them of a `.proto`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Number {
    #[prost(uint32, tag = "1")]
    value: u32,
}

type Codec = ProstCodec<Number, Number>;

/// Takes a moment. Refuses as often as it has been told to.
const DOUBLE: &str = "/interop.Numbers/Double";
/// Streams from the number down to 1, and ends well. From 13 it ends badly, and from 0 not at all.
const COUNT_DOWN: &str = "/interop.Numbers/CountDown";

#[derive(Clone, Debug, Default)]
struct Numbers {
    doubling: Gauge,
    counting: Gauge,
    refusals: Arc<AtomicUsize>,
}

impl Numbers {
    /// Serves them, and connects to them.
    fn start(&self) -> Channel {
        let listener = mock::bind().unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(self.clone());
        let incoming = ::tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(server.serve_with_incoming(incoming));
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        endpoint.unwrap().connect_lazy()
    }

    async fn double(self, Number { value }: Number) -> Result<::tonic::Response<Number>, Status> {
        let _working = self.doubling.enter();
        let refuse = |left: usize| left.checked_sub(1);
        let relaxed = Ordering::Relaxed;
        if self.refusals.fetch_update(relaxed, relaxed, refuse).is_ok() {
            let mut status = Status::resource_exhausted("too many numbers");
            let metadata = status.metadata_mut();
            metadata.insert("grpc-retry-pushback-ms", "5".parse().unwrap());
            return Err(status);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(::tonic::Response::new(Number { value: 2 * value }))
    }

    fn count_down(self, Number { value }: Number) -> BoxStream<'static, Result<Number, Status>> {
        let working = self.counting.enter();
        let numbers = (1..=value.max(1)).rev().map(|value| Ok(Number { value }));
        let end = match value {
            0 => stream::pending().boxed(),
            13 => {
                let mut status = Status::data_loss("no number is left");
                let metadata = status.metadata_mut();
                metadata.insert("x-detail", "unlucky".parse().unwrap());
                stream::iter([Err(status)]).boxed()
            }
            _ => stream::empty().boxed(),
        };
        let count = stream::iter(numbers).chain(end);
        count.inspect(move |_| _ = &working).boxed()
    }
}

impl NamedService for Numbers {
    const NAME: &'static str = "interop.Numbers";
}

impl Service<Request<Body>> for Numbers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let numbers = self.clone();
        let mut grpc = server::Grpc::new(Codec::default());
        async move {
            let numbers = || numbers.clone();
            Ok(match request.uri().path() {
                DOUBLE => {
                    let double =
                        |request: ::tonic::Request<Number>| numbers().double(request.into_inner());
                    grpc.unary(service_fn(double), request).await
                }
                COUNT_DOWN => {
                    let count_down = async |request: ::tonic::Request<Number>| {
                        let count = numbers().count_down(request.into_inner());
                        Ok::<_, Status>(::tonic::Response::new(count))
                    };
                    grpc.server_streaming(service_fn(count_down), request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        }
        .boxed()
    }
}

#[derive(Clone)]
struct Client(Throttle<Channel>);

impl Client {
    async fn double(&self, value: u32) -> Result<::tonic::Response<Number>, Status> {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let (path, request) = (PathAndQuery::from_static(DOUBLE), Number { value });
        grpc.unary(::tonic::Request::new(request), path, Codec::default())
            .await
    }

    async fn count_down(&self, value: u32) -> ::tonic::Streaming<Number> {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let (path, request) = (PathAndQuery::from_static(COUNT_DOWN), Number { value });
        let call = grpc.server_streaming(::tonic::Request::new(request), path, Codec::default());
        call.await.unwrap().into_inner()
    }
}

const DOUBLE_ENDPOINT: &str = "POST /interop.Numbers/Double";
const COUNT_DOWN_ENDPOINT: &str = "POST /interop.Numbers/CountDown";

fn endpoints() -> Endpoints {
    Endpoints::new()
        .route(DOUBLE_ENDPOINT, Quota::concurrent(2))
        .route(COUNT_DOWN_ENDPOINT, Quota::concurrent(1))
}

fn throttled(layer: &ThrottleLayer, channel: Channel) -> Client {
    Client(layer.layer(channel))
}

/// A client with the limits above, and their handle.
fn client(numbers: &Numbers) -> (Client, Handle) {
    let layer = ThrottleLayer::new(endpoints());
    (throttled(&layer, numbers.start()), layer.handle())
}

#[tokio::test]
async fn each_method_has_a_limit_of_its_own() {
    let numbers = Numbers::default();
    let by_hand = ConcurrencyLayer::new(endpoints());
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(by_hand.clone())
        .layer(RpsLayer::new(endpoints()))
        .service(numbers.start());
    // Whatever the layers make of the body, it is one for tonic.
    let mut by_hand = Grpc::new(stack);
    by_hand.ready().await.unwrap();
    let path = PathAndQuery::from_static(DOUBLE);
    let request = ::tonic::Request::new(Number { value: 3 });
    let answer = by_hand.unary(request, path, Codec::default()).await;
    assert_eq!(answer.unwrap().into_inner(), Number { value: 6 });

    let (client, handle) = client(&numbers);
    // It takes up all that its own method allows.
    let mut endless = client.count_down(0).await;
    assert_eq!(endless.message().await.unwrap(), Some(Number { value: 1 }));
    assert_eq!(counts(&handle, COUNT_DOWN_ENDPOINT), (0, 1));
    join_all((0..12).map(async |value| {
        let answer = client.double(value).await.unwrap();
        assert_eq!(answer.into_inner(), Number { value: 2 * value });
    }))
    .await;
    let doubled = numbers.doubling.counts();
    assert_eq!((doubled.arrived, doubled.most), (13, 2));
    assert_eq!(counts(&handle, DOUBLE_ENDPOINT), (0, 0));
}

#[tokio::test]
async fn a_stream_holds_its_permit_until_its_trailers() {
    let numbers = Numbers::default();
    let (client, handle) = client(&numbers);
    let in_flight = || counts(&handle, COUNT_DOWN_ENDPOINT).1;

    let mut stream = client.count_down(3).await;
    for value in [3, 2, 1] {
        assert_eq!(in_flight(), 1);
        assert_eq!(stream.message().await.unwrap(), Some(Number { value }));
    }
    assert_eq!(stream.message().await.unwrap(), None);
    assert_eq!(in_flight(), 0);

    // What is in the trailers arrives.
    let stream = client.count_down(13).await;
    let mut numbers_and_end: Vec<_> = stream.collect().await;
    let status = numbers_and_end.pop().unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(status.metadata().get("x-detail").unwrap(), "unlucky");
    assert_eq!(numbers_and_end.len(), 13);
    assert_eq!(in_flight(), 0);
    assert_eq!(numbers.counting.counts().most, 1);
}

#[tokio::test]
async fn whoever_drops_a_stream_frees_both_ends() {
    let numbers = Numbers::default();
    let (client, handle) = client(&numbers);
    let mut first = client.count_down(0).await;
    assert_eq!(first.message().await.unwrap(), Some(Number { value: 1 }));
    let second = {
        let client = client.clone();
        tokio::spawn(async move { client.count_down(0).await })
    };
    until("the second waits", || {
        counts(&handle, COUNT_DOWN_ENDPOINT) == (1, 1)
    })
    .await;
    drop(first);
    drop(second.await.unwrap());
    assert_eq!(counts(&handle, COUNT_DOWN_ENDPOINT), (0, 0));
    until("nobody counts any more", || {
        numbers.counting.counts().working == 0
    })
    .await;
    assert_eq!(numbers.counting.counts().arrived, 2);
}

#[tokio::test]
async fn a_stream_can_hold_nothing_once_it_has_begun() {
    let numbers = Numbers::default();
    let quota = Quota::concurrent(1).release_at_head();
    let layer = ThrottleLayer::new(Endpoints::new().route(COUNT_DOWN_ENDPOINT, quota));
    let client = throttled(&layer, numbers.start());
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = client.count_down(0).await;
        assert_eq!(stream.message().await.unwrap(), Some(Number { value: 1 }));
        streams.push(stream);
        assert_eq!(counts(&layer.handle(), COUNT_DOWN_ENDPOINT), (0, 0));
    }
    assert_eq!(numbers.counting.counts().working, 3);
}

/// A refusal of the layer's own is the source of a status whose code is not `Unavailable`.
#[tokio::test]
async fn a_refusal_by_the_layer_is_found_in_the_status() {
    let numbers = Numbers::default();
    let quota = Quota::per(1, Duration::from_secs(60));
    let endpoints = Endpoints::new().route(DOUBLE_ENDPOINT, quota);
    let layer = ThrottleLayer::new(endpoints).max_wait(Duration::ZERO);
    let client = throttled(&layer, numbers.start());
    client.double(1).await.unwrap();
    let status = client.double(2).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    let refused = Refused::in_dyn(&status).unwrap();
    assert_eq!(refused.reason(), RefusedReason::WouldWaitTooLong);
    assert_eq!(numbers.doubling.counts().arrived, 1);
}

#[tokio::test]
async fn a_refused_call_is_sent_again_if_that_is_set_up() {
    let collected = || RetryLayer::new().collect_body_with::<Body>(64 * 1024, Body::new);
    // It would learn a rate of one per second from such a server.
    let layer = || ThrottleLayer::new(Endpoints::new()).learn(Learning::none());
    for (layer, is_sent_again) in [
        // Nobody can tell that this answer is a refusal.
        (layer().retry(collected()), false),
        // A request body of tonic's is a stream.
        (layer().classify(Profile::Grpc), false),
        (layer().classify(Profile::Grpc).retry(collected()), true),
    ] {
        let numbers = Numbers::default();
        numbers.refusals.store(1, Ordering::Relaxed);
        let answer = throttled(&layer, numbers.start()).double(21).await;
        let arrived = numbers.doubling.counts().arrived;
        if is_sent_again {
            let answer = answer.unwrap();
            let attempts = answer.extensions().get().map(Attempts::attempts);
            assert_eq!((arrived, attempts), (2, Some(2)));
            assert_eq!(answer.into_inner(), Number { value: 42 });
        } else {
            assert_eq!(answer.unwrap_err().code(), Code::ResourceExhausted);
            assert_eq!(arrived, 1);
        }
    }
}

//! hyper-util's client and reqwest's, with HTTP/1.1 and HTTP/2, below layers by hand and below
//! `ThrottleLayer`: bodies stream both ways, and whoever leaves frees his place at both ends.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use interop::{Upstream, channel, counts, until};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt,
    util::{BoxCloneSyncService, MapResponseLayer},
};
use tower_throttle::{
    ConcurrencyLayer, Endpoints, Handle, Quota, RetryLayer, RpsLayer, ThrottleLayer,
    mock::{self, Judge, Limit, Work},
    reqwest::ReqwestService,
};

type Client = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// Below layers, and of which version its answers are.
struct Stack {
    name: String,
    client: Client,
    handle: Handle,
    version: Version,
}

const OVERALL: &str = "overall";

/// Every client below every kind of stack, each with a limit of one at once.
fn stacks(quota: &Quota) -> Vec<Stack> {
    let mut stacks = Vec::new();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut add =
            |name: &str, stack: fn(Client, Quota) -> (Client, Handle), client: &Client| {
                let (client, handle) = stack(client.clone(), quota.clone());
                stacks.push(Stack {
                    name: format!("{name}, {version:?}"),
                    client,
                    handle,
                    version,
                });
            };
        let hyper = hyper(version);
        add("hyper-util by hand", by_hand, &hyper);
        add("hyper-util below ThrottleLayer", throttled, &hyper);
        let reqwest = reqwest(version);
        add("reqwest by hand", by_hand, &reqwest);
        add("reqwest below ThrottleLayer", throttled, &reqwest);
    }
    stacks
}

fn by_hand(client: Client, quota: Quota) -> (Client, Handle) {
    let endpoints = Endpoints::new().overall(quota);
    let concurrency = ConcurrencyLayer::new(endpoints.clone());
    let handle = concurrency.handle();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(concurrency)
        .layer(RpsLayer::new(endpoints))
        .service(client);
    (boxed(stack), handle)
}

fn throttled(client: Client, quota: Quota) -> (Client, Handle) {
    let layer = ThrottleLayer::new(Endpoints::new().overall(quota));
    let handle = layer.handle();
    (boxed(layer.layer(client)), handle)
}

fn hyper(version: Version) -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = HyperClient::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .build::<_, Body>(connector);
    boxed(client)
}

fn reqwest(version: Version) -> Client {
    let mut builder = reqwest::Client::builder().no_proxy();
    if version == Version::HTTP_2 {
        builder = builder.http2_prior_knowledge();
    }
    boxed(ReqwestService::build(builder).unwrap())
}

fn boxed<S, B>(service: S) -> Client
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let layer = MapResponseLayer::new(|response: Response<B>| response.map(Body::new));
    BoxCloneSyncService::new(layer.layer(service).map_err(Into::into))
}

impl Stack {
    fn post(
        &self,
        uri: String,
        body: Body,
    ) -> impl Future<Output = Result<Response<Body>, BoxError>> + use<> {
        let request = Request::post(uri).body(body).unwrap();
        self.client.clone().oneshot(request)
    }

    fn in_flight(&self) -> usize {
        counts(&self.handle, OVERALL).1
    }
}

async fn part(body: &mut Body) -> Bytes {
    let frame = body.frame().await.unwrap().unwrap();
    frame.into_data().unwrap()
}

#[tokio::test]
async fn bodies_stream_both_ways_and_the_permit_lasts_until_the_end() {
    for stack in stacks(&Quota::concurrent(1)) {
        let upstream = Upstream::new();
        let (question, body) = channel();
        question.send("one").unwrap();
        let answer = stack.post(upstream.url("/echo"), body).await.unwrap();
        assert_eq!(answer.version(), stack.version, "{}", stack.name);
        let mut answer = answer.into_body();
        assert_eq!(part(&mut answer).await, "one");
        // The answer has begun, and the question goes on.
        question.send("two").unwrap();
        assert_eq!(part(&mut answer).await, "two");
        assert_eq!(stack.in_flight(), 1, "{}", stack.name);
        drop(question);
        let rest = (&mut answer).collect().await.unwrap();
        assert!(rest.to_bytes().is_empty());
        assert_eq!(stack.in_flight(), 0, "{}", stack.name);
        until(&stack.name, || upstream.gauge.counts().working == 0).await;
        assert_eq!(upstream.gauge.counts().arrived, 1, "{}", stack.name);
    }
}

#[tokio::test]
async fn whoever_leaves_in_the_middle_of_an_answer_frees_both_ends() {
    for stack in stacks(&Quota::concurrent(1)) {
        let upstream = Upstream::new();
        let send = || stack.post(upstream.url("/endless"), Body::empty());
        let mut first = send().await.unwrap().into_body();
        assert_eq!(part(&mut first).await, "beginning");
        let second = tokio::spawn(send());
        until(&stack.name, || counts(&stack.handle, OVERALL) == (1, 1)).await;
        assert_eq!(upstream.gauge.counts().arrived, 1, "{}", stack.name);

        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(stack.in_flight(), 1, "{}", stack.name);
        drop(second);
        assert_eq!(stack.in_flight(), 0, "{}", stack.name);
        until(&stack.name, || upstream.gauge.counts().working == 0).await;
        assert_eq!(upstream.gauge.counts().arrived, 2, "{}", stack.name);
    }
}

#[tokio::test]
async fn whoever_leaves_in_the_middle_of_his_question_frees_both_ends() {
    for stack in stacks(&Quota::concurrent(1)) {
        let upstream = Upstream::new();
        let (question, body) = channel();
        question.send("one").unwrap();
        let call = tokio::spawn(stack.post(upstream.url("/read"), body));
        until(&stack.name, || upstream.gauge.counts().working == 1).await;
        assert_eq!(stack.in_flight(), 1, "{}", stack.name);
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_eq!(stack.in_flight(), 0, "{}", stack.name);
        until(&stack.name, || upstream.gauge.counts().working == 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_frees_both_ends() {
    for stack in stacks(&Quota::concurrent(1)) {
        let upstream = Upstream::new();
        let answer = stack.post(upstream.url("/broken"), Body::empty()).await;
        let mut answer = answer.unwrap().into_body();
        assert_eq!(part(&mut answer).await, "beginning");
        assert!(answer.frame().await.unwrap().is_err(), "{}", stack.name);
        // It is still there, but has failed.
        assert_eq!(stack.in_flight(), 0, "{}", stack.name);
        until(&stack.name, || upstream.gauge.counts().working == 0).await;
    }
}

#[tokio::test]
async fn a_burst_keeps_to_the_limit() {
    const TEMPLATE: &str = "POST /tts";
    for stack in stacks(&Quota::concurrent(4)) {
        let work = Work::uniform(Duration::from_millis(1)..Duration::from_millis(10));
        let judge = Judge::builder()
            .route(TEMPLATE, Limit::concurrent(4), work)
            .build();
        let listener = mock::bind().unwrap();
        let uri = format!("http://{}/tts", listener.local_addr().unwrap());
        let server = tokio::spawn(judge.clone().serve(listener));
        join_all((0..24).map(async |_| {
            let answer = stack.post(uri.clone(), Body::from("text")).await.unwrap();
            answer.into_body().collect().await.unwrap();
        }))
        .await;
        let report = judge.report();
        report.assert_compliant();
        assert_eq!(report.accepted(), 24, "{}", stack.name);
        server.abort();
    }
}

//! The client that is carried around: reqwest's types above the limits, and what a request asks of them.

use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use reqwest::{Body, RequestBuilder};
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceBuilder, timeout::TimeoutLayer};
use tower_throttle::{
    Endpoints, Priority, Quota, Refused, Terms, Throttle, ThrottleLayer,
    mock::{self, Judge, Limit, Work},
    reqwest::{Client, Prepared, ReqwestService, ThrottleExt},
};

const TTS: &str = "POST /tts";

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn judge(work: Duration) -> Judge {
    let limit = Limit::concurrent(2);
    Judge::builder()
        .route(TTS, limit, Work::fixed(work))
        .build()
}

/// Serves it, and says where.
fn serve(judge: &Judge) -> String {
    let listener = mock::bind().unwrap();
    let url = format!("http://{}/tts", listener.local_addr().unwrap());
    tokio::spawn(judge.clone().serve(listener));
    url
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

/// One request at once, over the mock without a network.
fn in_process(layer: &ThrottleLayer) -> Client<Throttle<Judge>> {
    Client::new(layer.layer(judge(ms(100))))
}

fn one_at_once() -> ThrottleLayer {
    ThrottleLayer::new(
        Endpoints::new()
            .route(TTS, Quota::concurrent(1))
            .named("flash", Quota::concurrent(1)),
    )
}

fn post(url: &str) -> RequestBuilder {
    builder().build().unwrap().post(url)
}

const URL: &str = "http://api.example/tts";

#[tokio::test]
async fn clones_in_a_struct_share_limits_and_connections() {
    #[derive(Clone)]
    struct Api {
        client: Client,
        url: String,
    }

    impl Api {
        async fn speak(&self) -> Result<String, BoxError> {
            let request = self.client.http().post(&self.url).body("text");
            let answer = request.through(&self.client).send().await?;
            Ok(answer.error_for_status()?.text().await?)
        }
    }

    let judge = judge(ms(5));
    let layer = ThrottleLayer::new(Endpoints::new().route(TTS, Quota::concurrent(2)));
    let api = Api {
        client: Client::build(builder(), &layer).unwrap(),
        url: serve(&judge),
    };
    let calls = (0..8).map(|_| {
        let api = api.clone();
        // On a task of its own, as a server would.
        tokio::spawn(async move { api.speak().await.unwrap() })
    });
    for call in join_all(calls).await {
        call.unwrap();
    }
    judge.report().assert_compliant();
    assert_eq!(judge.report().endpoint(TTS).accepted, 8);
    // The layer's own handle and the client's are of the same limits.
    for handle in [&layer.handle(), api.client.handle()] {
        let snapshot = handle.snapshot();
        let bucket = snapshot.bucket(TTS).unwrap();
        assert_eq!((bucket.admitted(), bucket.in_flight()), (8, 0));
    }
}

#[tokio::test]
async fn the_permit_ends_with_the_body_of_a_boxed_stack() {
    let layer = ThrottleLayer::new(Endpoints::new().route(TTS, Quota::concurrent(1)));
    let client = Client::over(builder().build().unwrap(), &layer);
    let url = serve(&judge(Duration::ZERO));
    let in_flight = || client.handle().snapshot().bucket(TTS).unwrap().in_flight();

    let answer = post(&url)
        .body("text")
        .through(&client)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.url().as_str(), url);
    assert_eq!(in_flight(), 1);
    answer.bytes().await.unwrap();
    assert_eq!(in_flight(), 0);
}

#[tokio::test]
async fn what_stands_above_the_limits_includes_the_wait() {
    let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::concurrent(1)));
    let http = ReqwestService::build(builder()).unwrap();
    let layers = ServiceBuilder::new()
        .layer(TimeoutLayer::new(ms(50)))
        .layer(layer.clone());
    let client = Client::layered(http, &layers, layer.handle());
    let url = serve(&judge(Duration::ZERO));
    let send = || post(&url).body("text").through(&client).send();

    let first = send().await.unwrap();
    let error = send().await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error:?}");
    drop(first);
    assert_eq!(send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_requests_own_timeout_goes_with_it() {
    let layer = ThrottleLayer::new(Endpoints::new()).without_retry();
    let client = Client::build(builder(), &layer).unwrap();
    let url = serve(&judge(Duration::from_secs(60)));
    let hasty = post(&url).timeout(ms(20)).through(&client).send();
    let error = hasty.await.unwrap_err();
    let error = error.downcast_ref::<reqwest::Error>().unwrap();
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_requests_are_executed() {
    let layer = one_at_once();
    let client = in_process(&layer);
    let of_reqwest = post(URL).body("text").build().unwrap();
    let of_http = |body| Request::post(URL).body(body).unwrap();
    let text = "text".to_owned();
    assert_eq!(client.execute(of_reqwest).await.unwrap().status(), 200);
    for body in [
        Body::from(text.clone()),
        Body::from(text.clone().into_bytes()),
        Body::from(bytes::Bytes::from(text.clone())),
        Body::wrap(text.clone()),
    ] {
        let answer = client.execute(of_http(body)).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let mapped = Request::post(URL).body(text).unwrap().map(Body::from);
    assert_eq!(client.execute(mapped).await.unwrap().status(), 200);
    let snapshot = layer.handle().snapshot();
    assert_eq!(snapshot.bucket(TTS).unwrap().admitted(), 6);
}

#[tokio::test(start_paused = true)]
async fn terms_choose_the_endpoint_and_who_goes_first() {
    let layer = one_at_once();
    let client = in_process(&layer);
    let start = Instant::now();
    let sent = |prepared: Prepared<Throttle<Judge>>| {
        tokio::spawn(async move {
            let answer = prepared.send().await.unwrap();
            answer.bytes().await.unwrap();
            start.elapsed()
        })
    };
    let through = || post(URL).through(&client);
    let first = sent(through());
    let second = sent(through());
    // Later, and before the second all the same; and one at an endpoint of its own.
    let urgent = sent(through().terms(Terms::new().priority(Priority::HIGH)));
    let elsewhere = sent(through().terms(Terms::new().endpoint("flash")));
    assert_eq!(first.await.unwrap(), ms(100));
    assert_eq!(elsewhere.await.unwrap(), ms(100));
    assert_eq!(urgent.await.unwrap(), ms(200));
    assert_eq!(second.await.unwrap(), ms(300));
    let snapshot = layer.handle().snapshot();
    assert_eq!(snapshot.bucket("flash").unwrap().admitted(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_terms_count() {
    let client = in_process(&one_at_once());
    let terms = |name| Terms::new().endpoint(name);
    let prepared = post(URL).through(&client).terms(terms("unknown"));
    assert_eq!(
        prepared
            .terms(terms("flash"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test(start_paused = true)]
async fn other_extensions_are_seen_by_closures() {
    #[derive(Clone, Hash)]
    struct Tenant(u32);

    let endpoints = Endpoints::new()
        .overall(Quota::per(1, Duration::from_secs(10)))
        .partition_by(|head| head.extensions().get::<Tenant>().cloned());
    let layer = ThrottleLayer::new(endpoints);
    let client = in_process(&layer);
    let start = Instant::now();
    // Each head comes after 100 ms of work.
    for (tenant, answered) in [(1, ms(100)), (2, ms(200)), (1, ms(10_100))] {
        let prepared = post(URL).through(&client).extension(Tenant(tenant));
        prepared.send().await.unwrap();
        assert_eq!(start.elapsed(), answered);
    }
}

#[tokio::test]
async fn what_cannot_be_built_or_sent_fails_with_its_own_error() {
    let layer = one_at_once().max_waiting(0);
    let client = in_process(&layer);
    let error = post("no URL").through(&client).terms(Terms::new()).send();
    let error = error.await.unwrap_err();
    assert!(error.downcast::<reqwest::Error>().unwrap().is_builder());

    let _first = post(URL).through(&client).send().await.unwrap();
    let error = post(URL).through(&client).send().await.unwrap_err();
    assert!(Refused::in_error(&error).is_some(), "{error:?}");
    assert_eq!(layer.handle().snapshot().bucket(TTS).unwrap().admitted(), 1);
}

#[test]
fn no_key_is_shown() {
    let layer = one_at_once();
    let client = Client::build(builder(), &layer).unwrap();
    let url = format!("{URL}?key=secret");
    let prepared = post(&url).bearer_auth("secret").body("secret");
    let prepared = prepared.through(&client);
    for shown in [format!("{prepared:?}"), format!("{client:?}")] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}

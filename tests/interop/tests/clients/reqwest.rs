//! reqwest's types above the layers, its client below them.

use std::time::Duration;

use axum::{Router, body::Body as AxumBody};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use interop::{LONG, Upstream, channel, counts, every_other_refused};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_throttle::{
    Attempts, Backoff, Endpoints, Handle, Learning, Quota, Refused, RetryLayer, Throttle,
    ThrottleLayer,
    reqwest::{Client, ReqwestService, into_response},
};

fn http() -> ReqwestService {
    ReqwestService::build(reqwest::Client::builder().no_proxy()).unwrap()
}

/// With a limit of one at once.
fn client(layer: impl FnOnce(ThrottleLayer) -> ThrottleLayer) -> (Client<Throttled>, Handle) {
    let layer = layer(ThrottleLayer::new(
        Endpoints::new().overall(Quota::concurrent(1)),
    ));
    (Client::new(layer.layer(http())), layer.handle())
}

type Throttled = Throttle<ReqwestService>;

fn post(url: &str) -> reqwest::RequestBuilder {
    http().get_ref().post(url)
}

fn in_flight(handle: &Handle) -> usize {
    counts(handle, "overall").1
}

#[tokio::test]
async fn requests_and_answers_are_reqwests_own() {
    let upstream = Upstream::new();
    let (client, handle) = client(|layer| layer);
    let url = upstream.url("/echo?a=b");
    let said = json!({ "text": "Once upon a time" });
    let response = client
        .execute(post(&url).json(&said).build().unwrap())
        .await
        .unwrap();
    assert_eq!(response.url().as_str(), url);
    assert_eq!(response.remote_addr(), Some(upstream.address));
    assert_eq!(in_flight(&handle), 1);
    let response = response.error_for_status().unwrap();
    assert_eq!(response.json::<Value>().await.unwrap(), said);
    assert_eq!(in_flight(&handle), 0);
}

#[tokio::test]
async fn the_permit_ends_with_reqwests_body() {
    let upstream = Upstream::new();
    let (client, handle) = client(|layer| layer);
    let send = async |path| {
        let request = post(&upstream.url(path)).body("text").build().unwrap();
        client.execute(request).await.unwrap()
    };

    // Read to its end, part by part, and kept.
    let mut parts = send("/echo").await.bytes_stream();
    assert_eq!(in_flight(&handle), 1);
    assert_eq!(parts.next().await.unwrap().unwrap(), "text");
    assert!(parts.next().await.is_none());
    assert_eq!(in_flight(&handle), 0);

    // Dropped in the middle.
    let mut parts = send("/endless").await.bytes_stream();
    assert_eq!(parts.next().await.unwrap().unwrap(), "beginning");
    assert_eq!(in_flight(&handle), 1);
    drop(parts);
    assert_eq!(in_flight(&handle), 0);

    // Dropped without a look.
    drop(send("/endless").await);
    assert_eq!(in_flight(&handle), 0);

    // Failed.
    let error = send("/broken").await.bytes().await.unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(in_flight(&handle), 0);
}

#[tokio::test]
async fn what_is_in_memory_has_a_length_and_what_streams_has_none() {
    async fn told<B>(upstream: &Upstream, body: B) -> Value
    where
        ReqwestService: Service<
                Request<B>,
                Response = Response<reqwest::Body>,
                Error = reqwest::Error,
                Future: Send,
            >,
        B: 'static,
    {
        let layer = ThrottleLayer::new(Endpoints::new());
        let request = Request::post(upstream.url("/read")).body(body).unwrap();
        let response = layer.layer(http()).oneshot(request).await.unwrap();
        into_response(response).json().await.unwrap()
    }
    let of_length = |length: &str| {
        let length = length.to_owned();
        move |told: Value| {
            assert_eq!(told["content-length"], length.as_str(), "{told}");
            assert_eq!(told["transfer-encoding"], Value::Null, "{told}");
        }
    };
    let upstream = Upstream::new();
    of_length("4")(told(&upstream, Full::<Bytes>::from("text")).await);
    of_length("4")(told(&upstream, String::from("text")).await);
    of_length("4")(told(&upstream, reqwest::Body::from("text")).await);
    // Whoever knows the length tells it, whatever the type.
    of_length("4")(told(&upstream, AxumBody::from("text")).await);
    of_length("4")(told(&upstream, Full::<Bytes>::from("text").boxed_unsync()).await);

    let (sender, body) = channel();
    sender.send("te").unwrap();
    sender.send("xt").unwrap();
    drop(sender);
    let told = told(&upstream, body).await;
    assert_eq!(told["length"], 4, "{told}");
    assert_eq!(told["content-length"], Value::Null, "{told}");
    assert_eq!(told["transfer-encoding"], "chunked", "{told}");
}

#[tokio::test]
async fn what_is_in_memory_is_sent_again_and_what_streams_is_not() {
    let echo = Router::new().route("/a", axum::routing::post(async |body: String| body));
    let address = interop::serve(every_other_refused(echo));
    // It would learn a rate of one per second from such a server.
    let learning = |layer: ThrottleLayer| layer.learn(Learning::none());
    let (streams_once, _) = client(learning);
    let (streams_again, _) = client(|layer| {
        let retry =
            RetryLayer::new().collect_body_with::<reqwest::Body>(1_024, reqwest::Body::wrap);
        learning(layer).retry(retry)
    });
    let send = async |client: &Client<Throttled>, body: reqwest::Body| {
        let request = post(&format!("http://{address}/a")).body(body);
        let response = client.execute(request.build().unwrap()).await.unwrap();
        let attempts = response.extensions().get().map_or(1, Attempts::attempts);
        (
            response.status().as_u16(),
            attempts,
            response.text().await.unwrap(),
        )
    };
    let text = || "text".to_owned();
    let stream = || reqwest::Body::wrap(Full::<Bytes>::from("text"));
    let (once, again) = (&streams_once, &streams_again);
    assert_eq!(send(once, text().into()).await, (200, 2, text()));
    assert_eq!(send(once, stream()).await, (429, 1, String::new()));
    assert_eq!(send(once, stream()).await, (200, 1, text()));
    assert_eq!(send(again, stream()).await, (200, 2, text()));
    assert_eq!(send(again, text().into()).await, (200, 2, text()));
}

#[tokio::test]
async fn build_follows_no_redirects_and_new_leaves_the_client_as_it_is() {
    let upstream = Upstream::new();
    let send = async |http: ReqwestService| {
        let layer = ThrottleLayer::new(Endpoints::new());
        let client = Client::new(layer.layer(http));
        let request = http_get(&upstream.url("/moved"));
        client.execute(request).await.unwrap()
    };
    let response = send(http()).await;
    assert_eq!(response.status(), 303);
    assert!(response.url().path().ends_with("/moved"));

    let builder = reqwest::Client::builder().no_proxy();
    let response = send(builder.build().unwrap().into()).await;
    assert_eq!(response.status(), 200);
    assert!(response.url().path().ends_with("/here"));
    assert_eq!(response.text().await.unwrap(), "here");
}

fn http_get(url: &str) -> reqwest::Request {
    http().get_ref().get(url).build().unwrap()
}

#[tokio::test]
async fn a_requests_own_timeout_counts_from_when_it_is_sent() {
    let upstream = Upstream::new();
    let (client, handle) = client(ThrottleLayer::without_retry);
    let endless = || post(&upstream.url("/endless"));
    let first = client.execute(endless().build().unwrap()).await.unwrap();

    let short = Duration::from_millis(100);
    let hasty = endless().timeout(short).build().unwrap();
    let second = client.clone();
    let second = tokio::spawn(async move { second.execute(hasty).await });
    // It waits for its turn for longer than its timeout.
    tokio::time::sleep(2 * short).await;
    assert_eq!(counts(&handle, "overall"), (1, 1));
    drop(first);
    let second = timeout(LONG, second).await.unwrap().unwrap().unwrap();
    let error = timeout(LONG, second.bytes()).await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(in_flight(&handle), 0);
}

#[tokio::test]
async fn errors_of_both_are_found() {
    let upstream = Upstream::new();
    let (client, _) = client(|layer| layer.max_waiting(0));
    let endless = || post(&upstream.url("/endless")).build().unwrap();
    let _first = client.execute(endless()).await.unwrap();
    let error = client.execute(endless()).await.unwrap_err();
    assert!(Refused::in_error(&error).is_some(), "{error:?}");

    // A URI without a host is none for reqwest.
    let request = Request::get("/a").body(String::new()).unwrap();
    let error = http().oneshot(request).await.unwrap_err();
    assert!(error.is_builder(), "{error:?}");
}

#[tokio::test]
async fn a_call_can_be_spawned_below_any_stack_and_boxed() {
    let upstream = Upstream::new();
    let url = upstream.url("/echo");
    let retry = RetryLayer::new().backoff(Backoff::default());
    let by_hand = Client::new(retry.layer(tower::util::BoxCloneSyncService::new(http())));
    let boxed: tower::util::BoxCloneSyncService<reqwest::Request, reqwest::Response, BoxError> =
        tower::util::BoxCloneSyncService::new(by_hand.clone());
    let (throttled, _) = client(|layer| layer);
    let request = || post(&url).body("text").build().unwrap();

    let call = request();
    let one = tokio::spawn(async move { by_hand.execute(call).await });
    let call = request();
    let two = tokio::spawn(async move { throttled.execute(call).await });
    let three = tokio::spawn(boxed.oneshot(request()));
    for call in [one, two, three] {
        let response = call.await.unwrap().unwrap();
        assert_eq!(response.text().await.unwrap(), "text");
    }
}

//! kube over a stack, against an API server of its own.

use std::net::SocketAddr;

use ::kube::{
    Api, Client, Config,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
    client::{Body, ClientBuilder, ConfigExt},
};
use axum::{
    Json, Router,
    body::Body as AxumBody,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use interop::{Gauge, counts, every_other_refused, serve, until};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tower::{Layer, buffer::BufferLayer};
use tower_throttle::{Endpoints, Learning, Quota, RequestHead, RetryLayer, ThrottleLayer};

const CONFIG_MAPS: &str = "/api/v1/namespaces/{namespace}/configmaps";

/// Knows one configuration map, and watches it for ever.
fn api_server(watches: &Gauge) -> Router {
    let list_or_watch = async |State(watches): State<Gauge>, request: Request| -> Response {
        if !request.uri().query().is_some_and(is_watch) {
            let list = json!({
                "kind": "ConfigMapList",
                "apiVersion": "v1",
                "metadata": { "resourceVersion": "1" },
                "items": [config_map("a")],
            });
            return Json(list).into_response();
        }
        let working = watches.enter();
        let event = json!({ "type": "ADDED", "object": config_map("a") });
        let event = stream::iter([Ok::<_, axum::Error>(Bytes::from(format!("{event}\n")))]);
        let events = event.chain(stream::pending());
        AxumBody::from_stream(events.inspect(move |_| _ = &working)).into_response()
    };
    let create = async |Json(config_map): Json<Value>| Json(config_map);
    Router::new()
        .route(CONFIG_MAPS, get(list_or_watch).post(create))
        .with_state(watches.clone())
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|part| part == "watch=true")
}

fn config_map(name: &str) -> Value {
    json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": { "name": name, "namespace": "default", "resourceVersion": "1" },
    })
}

fn config(server: SocketAddr) -> Config {
    let mut config = Config::new(format!("http://{server}").parse().unwrap());
    // Its retries would be below the limits.
    config.default_retry = false;
    config
}

fn client(server: SocketAddr, layer: &ThrottleLayer) -> Client {
    let http: HyperClient<HttpConnector, Body> =
        HyperClient::builder(TokioExecutor::new()).build_http();
    let config = config(server);
    let stack = config.base_uri_layer().layer(layer.layer(http));
    Client::new(stack, config.default_namespace)
}

fn config_maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

async fn names(api: &Api<ConfigMap>) -> Vec<Option<String>> {
    let list = api.list(&ListParams::default()).await.unwrap();
    list.into_iter().map(|map| map.metadata.name).collect()
}

/// The first event of a watch, and the watch.
async fn watch(api: &Api<ConfigMap>) -> impl Sized + use<> {
    let events = api.watch(&WatchParams::default(), "0").await.unwrap();
    let mut events = events.boxed();
    match events.next().await {
        Some(Ok(WatchEvent::Added(map))) => assert_eq!(map.metadata.name.as_deref(), Some("a")),
        other => panic!("{other:?}"),
    }
    events
}

#[tokio::test]
async fn a_watch_holds_its_permit_for_as_long_as_it_watches() {
    let watches = Gauge::default();
    let layer = ThrottleLayer::new(Endpoints::new().route(CONFIG_MAPS, Quota::concurrent(1)));
    let handle = layer.handle();
    let api = config_maps(&client(serve(api_server(&watches)), &layer));
    assert_eq!(names(&api).await, [Some("a".to_owned())]);

    let watch = watch(&api).await;
    assert_eq!(counts(&handle, CONFIG_MAPS), (0, 1));
    let list = tokio::spawn({
        let api = api.clone();
        async move { names(&api).await }
    });
    until("the list waits", || counts(&handle, CONFIG_MAPS) == (1, 1)).await;
    drop(watch);
    assert_eq!(list.await.unwrap(), [Some("a".to_owned())]);
    assert_eq!(counts(&handle, CONFIG_MAPS), (0, 0));
    until("nobody watches", || watches.counts().working == 0).await;
}

#[tokio::test]
async fn a_watch_can_hold_nothing_once_it_has_begun() {
    let watches = Gauge::default();
    let quota = Quota::concurrent(1).release_at_head();
    let layer = ThrottleLayer::new(Endpoints::new().route(CONFIG_MAPS, quota));
    let api = config_maps(&client(serve(api_server(&watches)), &layer));
    let _watches = [watch(&api).await, watch(&api).await];
    assert_eq!(names(&api).await, [Some("a".to_owned())]);
    assert_eq!(watches.counts().working, 2);
    assert_eq!(counts(&layer.handle(), CONFIG_MAPS), (0, 0));
}

#[tokio::test]
async fn watches_can_have_a_limit_of_their_own() {
    let watches = Gauge::default();
    // A list and a watch differ in their query, which templates do not look at.
    let name = |head: &RequestHead<'_>| {
        let is_watch = head.uri().query().is_some_and(is_watch);
        is_watch.then_some("watch")
    };
    let endpoints = Endpoints::new()
        .route(CONFIG_MAPS, Quota::concurrent(1))
        .named("watch", Quota::concurrent(2))
        .name_by(name);
    let layer = ThrottleLayer::new(endpoints);
    let api = config_maps(&client(serve(api_server(&watches)), &layer));
    let _watches = [watch(&api).await, watch(&api).await];
    let third = tokio::spawn({
        let api = api.clone();
        async move { watch(&api).await }
    });
    until("the third waits", || {
        counts(&layer.handle(), "watch") == (1, 2)
    })
    .await;
    assert_eq!(names(&api).await, [Some("a".to_owned())]);
    assert_eq!(watches.counts().arrived, 2);
    third.abort();
}

#[tokio::test]
async fn bodies_are_sent_again_if_it_is_said_how() {
    let start = || serve(every_other_refused(api_server(&Gauge::default())));
    // It would learn a rate of one per second from such a server.
    let layer = || ThrottleLayer::new(Endpoints::new()).learn(Learning::none());
    let new: ConfigMap = serde_json::from_value(config_map("new")).unwrap();
    let create = async |client: &Client| {
        let api = config_maps(client);
        api.create(&PostParams::default(), &new).await
    };

    let once = client(start(), &layer());
    assert!(create(&once).await.is_err());
    assert_eq!(create(&once).await.unwrap(), new);

    let retry = RetryLayer::new().clone_body_with(Body::try_clone);
    let again = client(start(), &layer().retry(retry));
    assert_eq!(create(&again).await.unwrap(), new);
    assert_eq!(names(&config_maps(&again)).await, [Some("a".to_owned())]);
}

#[tokio::test]
async fn kubes_own_stack_goes_below_a_buffer() {
    let watches = Gauge::default();
    let layer = ThrottleLayer::new(Endpoints::new().route(CONFIG_MAPS, Quota::concurrent(1)));
    let builder = ClientBuilder::try_from(config(serve(api_server(&watches)))).unwrap();
    // What it makes is not `Clone`.
    let client = builder
        .with_layer(&BufferLayer::new(1_024))
        .with_layer(&layer)
        .build();
    let api = config_maps(&client);
    assert_eq!(names(&api).await, [Some("a".to_owned())]);
    let watch = watch(&api).await;
    assert_eq!(counts(&layer.handle(), CONFIG_MAPS), (0, 1));
    drop(watch);
    assert_eq!(counts(&layer.handle(), CONFIG_MAPS), (0, 0));
    until("nobody watches", || watches.counts().working == 0).await;
}

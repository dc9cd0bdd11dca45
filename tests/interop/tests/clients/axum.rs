//! An axum app that calls upstream through the layers: one client, cloned into every request.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::future::join_all;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use interop::{Upstream, counts, serve, until};
use tower::{BoxError, Layer, ServiceExt, util::BoxCloneSyncService};
use tower_throttle::{
    Endpoints, Handle, Quota, Refused, Throttle, ThrottleLayer,
    mock::{self, Judge, Limit, Work},
    reqwest::{Client, ReqwestService},
};

#[derive(Clone)]
struct App {
    /// Boxed, so that its type can be written down.
    http: BoxCloneSyncService<Request, Response, BoxError>,
    reqwest: Client<Throttle<ReqwestService>>,
    upstream: String,
}

impl App {
    fn new(upstream: String, layer: &ThrottleLayer) -> Self {
        let hyper: HyperClient<HttpConnector, Body> =
            HyperClient::builder(TokioExecutor::new()).build_http();
        let hyper = layer
            .layer(hyper)
            .map_response(|answer| answer.map(Body::new));
        let builder = reqwest::Client::builder().no_proxy();
        let reqwest = ReqwestService::build(builder).unwrap();
        Self {
            http: BoxCloneSyncService::new(hyper),
            reqwest: Client::new(layer.layer(reqwest)),
            upstream,
        }
    }

    /// Serves it, and says where.
    fn start(self) -> String {
        let router = Router::new()
            .route("/hyper/{path}", post(through_hyper))
            .route("/reqwest/{path}", post(through_reqwest))
            .with_state(self);
        format!("http://{}", serve(router))
    }
}

/// What it is asked goes upstream as it comes, and so does the answer.
async fn through_hyper(State(app): State<App>, mut request: Request) -> Result<Response, Failed> {
    let path = request.uri().path().trim_start_matches("/hyper");
    *request.uri_mut() = format!("{}{path}", app.upstream).parse::<Uri>()?;
    // The header names this server.
    request.headers_mut().remove(header::HOST);
    Ok(app.http.oneshot(request).await?)
}

async fn through_reqwest(State(app): State<App>, request: Request) -> Result<Response, Failed> {
    let path = request.uri().path().trim_start_matches("/reqwest");
    let url = format!("{}{path}", app.upstream);
    let upstream = http().post(url).body(reqwest::Body::wrap_stream(
        request.into_body().into_data_stream(),
    ));
    let response = app.reqwest.execute(upstream.build()?).await?;
    let response: axum::http::Response<reqwest::Body> = response.into();
    Ok(response.map(Body::new))
}

fn http() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder.build().unwrap()
}

struct Failed(BoxError);

impl<E: Into<BoxError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Some(refused) = Refused::in_error(&self.0) else {
            return (StatusCode::BAD_GATEWAY, self.0.to_string()).into_response();
        };
        let wait = refused.retry_after().unwrap_or(Duration::from_secs(1));
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let retry_after = [(header::RETRY_AFTER, seconds.to_string())];
        (StatusCode::SERVICE_UNAVAILABLE, retry_after).into_response()
    }
}

fn layer(quota: Quota) -> (ThrottleLayer, Handle) {
    let layer = ThrottleLayer::new(Endpoints::new().overall(quota));
    let handle = layer.handle();
    (layer, handle)
}

#[tokio::test]
async fn all_requests_of_an_app_share_the_limit_of_its_client() {
    const TEMPLATE: &str = "POST /tts";
    let work = Work::uniform(Duration::from_millis(1)..Duration::from_millis(10));
    let judge = Judge::builder()
        .route(TEMPLATE, Limit::concurrent(4), work)
        .build();
    let listener = mock::bind().unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(judge.clone().serve(listener));
    let (layer, _) = layer(Quota::concurrent(4));
    let app = App::new(upstream, &layer).start();

    // Each through a connection of its own, as callers do; and through both of the app's clients.
    join_all((0..24).map(async |call| {
        let way = if call % 2 == 0 { "hyper" } else { "reqwest" };
        let request = http().post(format!("{app}/{way}/tts")).body("text");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.unwrap();
    }))
    .await;
    let report = judge.report();
    report.assert_compliant();
    assert_eq!(report.accepted(), 24);
}

#[tokio::test]
async fn a_caller_who_leaves_frees_the_place_upstream() {
    for way in ["hyper", "reqwest"] {
        let upstream = Upstream::new();
        let (layer, handle) = layer(Quota::concurrent(1));
        let app = App::new(upstream.url(""), &layer).start();
        let request = http().post(format!("{app}/{way}/endless"));
        let mut response = request.send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "beginning");
        assert_eq!(counts(&handle, "overall"), (0, 1));
        assert_eq!(upstream.gauge.counts().working, 1);

        drop(response);
        until("nobody works any more", || {
            counts(&handle, "overall") == (0, 0) && upstream.gauge.counts().working == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_refusal_of_the_queue_becomes_an_answer() {
    let upstream = Upstream::new();
    let (layer, _) = layer(Quota::per(1, Duration::from_secs(3_600)));
    let app = App::new(upstream.url(""), &layer.max_wait(Duration::ZERO)).start();
    let send = async |way| {
        let request = http().post(format!("{app}/{way}/echo")).body("text");
        request.send().await.unwrap()
    };
    assert_eq!(send("hyper").await.text().await.unwrap(), "text");
    for way in ["hyper", "reqwest"] {
        let response = send(way).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let wait = response.headers()[header::RETRY_AFTER].to_str().unwrap();
        // As the window says, less what has passed since.
        assert!(
            (3_000..=3_600).contains(&wait.parse::<u64>().unwrap()),
            "{wait}"
        );
    }
}

//! octocrab over a stack, against a GitHub of its own.

use std::{net::SocketAddr, time::Duration};

use ::octocrab::{
    AuthState, OctoBody, Octocrab, OctocrabBuilder, service::middleware::base_uri::BaseUriLayer,
};
use axum::{Json, Router, extract::Path, routing::get};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Response, StatusCode};
use http_body::Body;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use interop::{every_other_refused, serve};
use serde_json::{Value, json};
use tower_throttle::{
    Endpoints, Learning, Quota, RetryLayer, ThrottleLayer,
    mock::{self, Judge, Limit, Work},
};

const REPOSITORY: &str = "GET /repos/{owner}/{repo}";

fn client(github: SocketAddr, layer: &ThrottleLayer) -> Octocrab {
    let http: HyperClient<HttpConnector, OctoBody> =
        HyperClient::builder(TokioExecutor::new()).build_http();
    let base = format!("http://{github}").parse().unwrap();
    OctocrabBuilder::new_empty()
        .with_service(http)
        .with_layer(layer)
        .with_layer(&BaseUriLayer::new(base))
        .with_auth(AuthState::None)
        .build()
        .unwrap()
}

fn repository(name: &str) -> Value {
    json!({ "id": 1, "name": name, "url": "http://github.example/a" })
}

/// octocrab keeps what it serialized, so that it can be had again; of an empty body it keeps nothing.
fn copy(body: &OctoBody) -> Option<OctoBody> {
    if body.is_end_stream() {
        return Some(OctoBody::empty());
    }
    body.try_clone()
}

#[tokio::test]
async fn calls_keep_to_the_limit_of_their_path() {
    let work = Work::uniform(Duration::from_millis(1)..Duration::from_millis(10));
    let judge = Judge::builder()
        .route(REPOSITORY, Limit::concurrent(3), work)
        .answer(REPOSITORY, |_| {
            let repository = repository("tower").to_string();
            Response::new(Bytes::from(repository))
        })
        .build();
    let listener = mock::bind().unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(judge.clone().serve(listener));

    let layer = ThrottleLayer::new(Endpoints::new().route(REPOSITORY, Quota::concurrent(3)));
    let github = client(address, &layer);
    join_all((0..12).map(async |_| {
        let repository = github.repos("tower-rs", "tower").get().await.unwrap();
        assert_eq!(repository.name, "tower");
    }))
    .await;
    let report = judge.report();
    report.assert_compliant();
    assert_eq!(report.accepted(), 12);
}

#[tokio::test]
async fn bodies_are_sent_again_if_it_is_said_how() {
    let start = || {
        let repositories =
            get(async |Path((_, name)): Path<(String, String)>| Json(repository(&name)));
        let issues = axum::routing::post(async |Json(issue): Json<Value>| {
            (StatusCode::CREATED, Json(issue))
        });
        let router = Router::new()
            .route("/repos/{owner}/{repo}", repositories)
            .route("/repos/{owner}/{repo}/issues", issues);
        serve(every_other_refused(router))
    };
    // It would learn a rate of one per second from such a server.
    let layer = || ThrottleLayer::new(Endpoints::new()).learn(Learning::none());
    let issue = json!({ "title": "It is refused" });
    let post = async |github: &Octocrab| {
        let path = "/repos/tower-rs/tower/issues";
        github.post::<_, Value>(path, Some(&issue)).await
    };

    // Its clones share a stream, so none is made of a body of which nobody has said how.
    let github = client(start(), &layer());
    assert!(github.repos("tower-rs", "tower").get().await.is_err());
    assert!(github.repos("tower-rs", "tower").get().await.is_ok());
    assert!(post(&github).await.is_err());
    assert_eq!(post(&github).await.unwrap(), issue);

    let retry = RetryLayer::new().clone_body_with(copy);
    let github = client(start(), &layer().retry(retry));
    for _ in 0..2 {
        let repository = github.repos("tower-rs", "tower").get().await.unwrap();
        assert_eq!(repository.name, "tower");
        assert_eq!(post(&github).await.unwrap(), issue);
    }
}

//! A client that is generic over its stack, with one line of bounds.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_throttle::{
    ConcurrencyLayer, Endpoints, HttpService, Quota, RetryLayer, RpsLayer, ThrottleLayer,
    mock::{Judge, Limit, Work},
};

/// As a library would write it: the stack may be anything, and its calls may be on tasks of their own.
struct Api<S>(S);

impl<S: HttpService<Full<Bytes>>> Api<S> {
    async fn fetch(&self, path: &str) -> Result<Bytes, BoxError> {
        let request = Request::get(path).body(Full::default())?;
        let answer = self.0.clone().oneshot(request).await.map_err(Into::into)?;
        let body = answer.into_body().collect().await.map_err(Into::into)?;
        Ok(body.to_bytes())
    }

    fn fetch_on_a_task(
        &self,
        path: &'static str,
    ) -> tokio::task::JoinHandle<Result<Bytes, BoxError>> {
        let api = Self(self.0.clone());
        tokio::spawn(async move { api.fetch(path).await })
    }

    /// A stack over a generic one is one, too.
    fn limited(self, quota: Quota) -> Api<impl HttpService<Full<Bytes>>> {
        let layer = ThrottleLayer::new(Endpoints::new().overall(quota));
        Api(layer.layer(self.0))
    }
}

fn judge() -> Judge {
    let work = Work::fixed(Duration::from_secs(1));
    Judge::builder()
        .route("GET /a", Limit::concurrent(1), work)
        .build()
}

#[tokio::test(start_paused = true)]
async fn a_generic_client_goes_over_any_stack() {
    let judge = judge();
    let endpoints = || Endpoints::new().route("GET /a", Quota::concurrent(1));
    let by_hand = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(ConcurrencyLayer::new(endpoints()))
        .layer(RpsLayer::new(endpoints()))
        .service(judge.clone());
    Api(by_hand.clone())
        .fetch_on_a_task("/a")
        .await
        .unwrap()
        .unwrap();
    let boxed = BoxCloneSyncService::new(by_hand);
    Api(boxed).fetch_on_a_task("/a").await.unwrap().unwrap();

    let limited = Api(judge.clone()).limited(Quota::concurrent(1));
    let (one, other) = (limited.fetch_on_a_task("/a"), limited.fetch_on_a_task("/a"));
    one.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    judge.report().assert_compliant();
    assert_eq!(judge.report().endpoint("GET /a").accepted, 4);
}

#[tokio::test]
async fn errors_of_any_kind_come_as_one() {
    let fails = service_fn(async |_: Request<Full<Bytes>>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("broken"))
    });
    let error = Api(fails).fetch("/a").await.unwrap_err();
    assert!(error.is::<std::io::Error>(), "{error:?}");
}

#[test]
fn the_clients_of_this_crate_are_such_services() {
    fn is_one<B, S: HttpService<B>>() {}
    is_one::<String, Judge>();
    is_one::<String, tower_throttle::Throttle<Judge>>();
}

//! Testing that your own client keeps to an API's limits: with a judge, in paused time.
//!
//! `main` is the test: three minutes of virtual time, some milliseconds of real time. In your project it
//! would be a `#[tokio::test(start_paused = true)]`.

use std::time::Duration;

use futures_util::future::try_join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_throttle::{
    Endpoints, Quota, ThrottleLayer,
    mock::{Judge, Limit, Work},
};

/// The code under test. It is generic over the HTTP client service, so that a test can pass in another.
async fn translate<S, B>(http: S, pages: usize) -> Result<Vec<bytes::Bytes>, BoxError>
where
    S: Service<Request<Full<bytes::Bytes>>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    let quota = Quota::per_minute(20).concurrency(3);
    let endpoints = Endpoints::new().route("POST /translate", quota);
    let http = ServiceBuilder::new()
        .layer(ThrottleLayer::new(endpoints))
        .service(http);
    let pages = (1..=pages).map(async |page| {
        let request = Request::post("/translate").body(Full::from(format!("page {page}")))?;
        let body = http.clone().oneshot(request).await?.into_body();
        Ok(body.collect().await.map_err(Into::into)?.to_bytes())
    });
    try_join_all(pages).await
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let limit = Limit::per(20, Duration::from_secs(60)).concurrency(3);
    let work = Work::uniform(Duration::from_secs(1)..Duration::from_secs(4));
    let api = Judge::builder()
        .route("POST /translate", limit, work)
        .build();

    let start = Instant::now();
    assert_eq!(translate(api.clone(), 70).await?.len(), 70);
    let took = start.elapsed();
    println!(
        "70 pages took {took:?} of virtual time.\n\n{}",
        api.report()
    );

    // Panics if a request was refused, and says what the client did wrong, and when.
    api.report().assert_compliant();
    assert!(took < Duration::from_secs(200));
    Ok(())
}

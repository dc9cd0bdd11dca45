//! The smallest use: one endpoint, two requests per second, over any HTTP client service.
//!
//! The client here is a function that answers at once; in its place goes hyper-util's client, reqwest, an
//! axum app, or whatever else is a `tower::Service<http::Request<_>>`.

use http::{Request, Response};
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_throttle::{Endpoints, Quota, ThrottleLayer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let http_client = service_fn(async |request: Request<String>| {
        Ok::<_, BoxError>(Response::new(format!("{} is read", request.uri())))
    });

    let endpoints = Endpoints::new().route("GET /v1/books/{title}", Quota::per_second(2));
    let mut client = ServiceBuilder::new()
        .layer(ThrottleLayer::new(endpoints))
        .service(http_client);

    // A loop that knows nothing of limits. The third and the fifth request wait until a second has passed
    // since the last but one.
    let start = Instant::now();
    for title in ["emma", "ulysses", "momo", "dracula", "heidi"] {
        let request = Request::get(format!("/v1/books/{title}")).body(String::new())?;
        let response = client.ready().await?.call(request).await?;
        println!(
            "{:.1} s: {}",
            start.elapsed().as_secs_f64(),
            response.body().get_ref()
        );
    }
    Ok(())
}

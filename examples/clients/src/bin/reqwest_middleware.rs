//! reqwest-middleware and the limits, both ways round, against one mock API.
//!
//! - The limits as the last middleware: those before it see a call once, and what the limits retry they do not see. One
//!   of them that sends a request again sends it through the limits again.
//! - The middlewares below the limits: they see every attempt at the moment at which it leaves. That is the place for
//!   one that signs requests or that measures the server.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::{try_join, try_join_all};
use http::Extensions;
use reqwest::{Body, Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next, Result};
use tower::{BoxError, Layer, service_fn};
use tower_throttle::{
    Endpoints, HttpService, Quota, Refused, Terms, ThrottleLayer,
    mock::{self, Fault, Judge, Limit, Work},
    reqwest::Client,
};

const TALES: &str = "POST /tales";
const POEMS: &str = "POST /poems";

/// The limits as a middleware. It goes last: it sends the request itself.
struct Limits(Client);

#[async_trait]
impl Middleware for Limits {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        _: Next<'_>,
    ) -> Result<Response> {
        let mut request: http::Request<Body> = request.try_into()?;
        // What `with_extension` was given, `Terms` among it.
        request.extensions_mut().extend(extensions.clone());
        let sent = self.0.execute(request).await;
        sent.map_err(|error| Error::middleware(StackError(error)))
    }
}

/// What the stack failed with. The middleware's error passes over this one: what is inside is found as its source.
#[derive(Debug)]
struct StackError(BoxError);

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// Counts what passes it.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

#[async_trait]
impl Middleware for Counter {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        self.0.fetch_add(1, Ordering::Relaxed);
        next.run(request, extensions).await
    }
}

/// A client of reqwest-middleware as a service, to go below a layer.
fn below(client: ClientWithMiddleware) -> impl HttpService<Body, ResponseBody = Body> {
    service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            let (parts, body) = request.into_parts();
            let mut extensions = parts.extensions.clone();
            let request: Request = http::Request::from_parts(parts, body).try_into()?;
            let answer = client
                .execute_with_extensions(request, &mut extensions)
                .await?;
            Ok::<_, Error>(http::Response::from(answer))
        }
    })
}

fn http() -> reqwest::Client {
    // The mock is on this machine, so no proxy leads to it.
    let builder = reqwest::Client::builder().no_proxy();
    builder.build().expect("there is no TLS to set up")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), BoxError> {
    let work = Work::fixed(Duration::from_millis(50));
    let limit = || Limit::concurrent(3);
    let api = Judge::builder()
        .route(TALES, limit(), work.clone())
        .route(POEMS, limit(), work)
        .build();
    // One call each is answered 503, and sent again.
    for endpoint in [TALES, POEMS] {
        api.fault(Fault::status(503).on(endpoint));
    }
    let listener = mock::bind()?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(api.clone().serve(listener));

    let endpoints = Endpoints::new()
        .route(TALES, Quota::concurrent(3))
        .route(POEMS, Quota::concurrent(3));
    let layer = ThrottleLayer::new(endpoints);

    let (above, attempts) = (Counter::default(), Counter::default());
    let limited = Client::build(reqwest::Client::builder().no_proxy(), &layer)?;
    let tales = ClientBuilder::new(http())
        .with(above.clone())
        .with(Limits(limited))
        .build();
    let counted = ClientBuilder::new(http()).with(attempts.clone()).build();
    let poems = Client::new(layer.layer(below(counted)));

    let idempotent = Terms::new().idempotent();
    let tales_sent = (0..10).map(async |_| {
        let request = tales.post(format!("{base}/tales")).body("Once upon a time");
        let answer = request.with_extension(idempotent.clone()).send().await?;
        Ok::<_, BoxError>(answer.error_for_status()?.text().await?)
    });
    let poems_sent = (0..10).map(async |_| {
        let request = http::Request::post(format!("{base}/poems"));
        let request = request
            .extension(idempotent.clone())
            .body(Body::from("O"))?;
        let answer = poems.execute(request).await?;
        Ok::<_, BoxError>(answer.error_for_status()?.text().await?)
    });
    try_join(try_join_all(tales_sent), try_join_all(poems_sent)).await?;

    let seen = |counter: &Counter| counter.0.load(Ordering::Relaxed);
    println!("above the limits: {} calls of 10", seen(&above));
    println!("below the limits: {} attempts of 10 calls", seen(&attempts));
    assert_eq!((seen(&above), seen(&attempts)), (10, 11));

    println!("\nWhat the API says of it:\n{}", api.report());
    api.report().assert_compliant();

    // A refusal of ours is found in the middleware's error.
    layer.handle().close();
    let error = tales.post(format!("{base}/tales")).send().await.err();
    let error = error.ok_or("it was sent through a closed layer")?;
    assert!(Refused::in_dyn(&error).is_some(), "{error:?}");
    Ok(())
}

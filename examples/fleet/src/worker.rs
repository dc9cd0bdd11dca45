//! A process that has more to do than the quota allows.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_throttle::{
    Endpoints, Quota, ThrottleLayer,
    store::{RedisStore, WhenAway},
};

use super::{
    judge::{JOBS, MARGIN},
    options::Load,
    stamp::{self, Stamp},
};

pub(crate) async fn run(load: Load, api: &str, store: &str) -> Result<(), BoxError> {
    let store = RedisStore::connect(store)
        .await?
        .when_away(WhenAway::Stop, Duration::ZERO);
    let quota = Quota::per_second(load.rate)
        .concurrency(load.concurrency)
        .margin(MARGIN);
    let layer = ThrottleLayer::new(Endpoints::new().route(JOBS, quota)).store(store.clone());
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let client = layer.layer(Stamped(http));
    let end = Instant::now() + load.time;
    let tasks = (0..load.backlog).map(|_| {
        let (client, url) = (client.clone(), format!("{api}/jobs"));
        tokio::spawn(async move {
            while Instant::now() < end {
                let mut request = Request::get(&url).body(Empty::new())?;
                request.extensions_mut().insert(Came(stamp::now()));
                let answer = client.clone().oneshot(request).await?;
                answer.into_body().collect().await?;
            }
            Ok::<_, BoxError>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    store.leave().await;
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Came(u64);

/// Says on standard output when each request goes.
#[derive(Clone, Debug)]
struct Stamped<S>(S);

impl<S, B> Service<Request<B>> for Stamped<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(Came(came)) = request.extensions().get() {
            let (came, went) = (*came, stamp::now());
            println!("{}", Stamp { came, went });
        }
        Box::pin(self.0.call(request))
    }
}

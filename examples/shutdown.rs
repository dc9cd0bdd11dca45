//! Stopping with nothing cut off: on Ctrl-C what waits is given up, and what has been sent is answered.
//!
//! A batch of sixty jobs goes to an API that allows five per second, two of them at once. On Ctrl-C the layer is drained:
//! those that wait are refused at once, those that are under way run to the end of their bodies, and nothing is sent any
//! more. At the end it is known of each job whether it was done. Where nobody can press a key, since the standard input
//! is no terminal or with `--demo`, it stops by itself after a second.

use std::{io::IsTerminal, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::{task::JoinSet, time::timeout};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_throttle::{
    Endpoints, Handle, Quota, Refused, RefusedReason, ThrottleLayer,
    mock::{Judge, Limit, Work},
};

/// How long what is under way may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let work = Work::uniform(Duration::from_millis(300)..Duration::from_millis(600));
    let api = Judge::builder()
        .route("GET /jobs/{n}", Limit::rps(5).concurrency(2), work)
        .build();
    let margin = Duration::from_millis(50);
    let quota = Quota::per_second(5).concurrency(2).margin(margin);
    let layer = ThrottleLayer::new(Endpoints::new().route("GET /jobs/{n}", quota));
    let handle = layer.handle();
    let client = ServiceBuilder::new().layer(layer).service(api.clone());

    let mut jobs = JoinSet::new();
    for n in 1..=60 {
        let client = client.clone();
        jobs.spawn(async move { (n, job(client, n).await) });
    }
    tokio::spawn(stop(handle.clone()));

    let mut given_up = Vec::new();
    while let Some(job) = jobs.join_next().await {
        match job? {
            (n, Ok(())) => println!("job {n} is done"),
            (n, Err(error)) if is_closed(&error) => given_up.push(n),
            (n, Err(error)) => println!("job {n} failed: {error}"),
        }
    }
    given_up.sort_unstable();
    // This server fails for nobody, so none of them is a retry.
    println!("given up, and never sent: {given_up:?}");

    // What was sent was answered, and read to its end.
    let sent = api.report().endpoint("GET /jobs/{n}").accepted();
    assert_eq!(sent + given_up.len(), 60);
    api.report().assert_compliant();
    Ok(())
}

/// One job: a request, and its answer up to the end.
async fn job<S, B>(client: S, n: usize) -> Result<(), BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = http::Response<B>, Error = BoxError>,
    B: http_body::Body<Error: Into<BoxError>>,
{
    let request = Request::get(format!("/jobs/{n}")).body(Empty::new())?;
    let body = client.oneshot(request).await?.into_body();
    body.collect().await.map_err(Into::into)?;
    Ok(())
}

/// Waits for Ctrl-C, and has the layer end its work.
async fn stop(handle: Handle) {
    let by_itself = !std::io::stdin().is_terminal() || std::env::args().any(|arg| arg == "--demo");
    if by_itself {
        tokio::time::sleep(Duration::from_secs(1)).await;
    } else {
        println!("Ctrl-C stops it");
        if let Err(error) = tokio::signal::ctrl_c().await {
            return eprintln!("nothing will stop it: {error}");
        }
    }
    println!("stopping");
    if timeout(PATIENCE, handle.drain()).await.is_err() {
        // Somebody keeps a body and does not read it, or the server takes too long: here is who.
        for bucket in handle.snapshot().buckets() {
            let (open, unfinished) = (bucket.open_bodies(), bucket.unfinished());
            // `overall` counts what its endpoints count.
            if unfinished == 0 || bucket.name() == Endpoints::OVERALL {
                continue;
            }
            eprintln!(
                "{}: {unfinished} cut off, {open} of them with an open body",
                bucket.name()
            );
        }
        std::process::exit(1);
    }
}

fn is_closed(error: &BoxError) -> bool {
    Refused::in_error(error).is_some_and(|refused| refused.reason() == RefusedReason::Closed)
}

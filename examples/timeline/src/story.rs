//! The run whose picture the README shows.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};
use tower_throttle::{
    BoxError, Endpoints, Quota, ThrottleLayer,
    mock::{Fault, Judge, Limit, Work},
};

use crate::{Heading, Timeline};

const ROUTE: &str = "POST /v1/speech";
/// How many requests come at once, and how many later.
const FIRST: usize = 12;
const LATER: usize = 4;
const LATER_AT: Duration = Duration::from_millis(2_500);
/// The place in line of the request that the server throttles, from 0.
const THROTTLED: usize = 6;

/// Runs it. Has to run in a runtime whose clock is paused, and is the same each time then.
///
/// # Errors
///
/// If a request fails for good, or if the API had to refuse one that should have been held back.
pub async fn run() -> Result<Timeline, BoxError> {
    // A pause ends a little later than the server asks for, by chance.
    fastrand::seed(7);
    let second = Duration::from_secs(1);
    let api = Judge::builder()
        .route(
            ROUTE,
            Limit::per(3, second).concurrency(3),
            Work::uniform(Duration::from_millis(300)..Duration::from_millis(1_300)),
        )
        .streaming(ROUTE, Duration::from_millis(250))
        .seed(7)
        .build();
    // As if somebody else used the same account.
    let busy = Fault::status(429)
        .retry_after(2 * second)
        .delayed(Duration::from_millis(150));
    api.fault(busy.on(ROUTE).after(THROTTLED));

    let timeline = Timeline::new();
    let endpoints = Endpoints::new().route(ROUTE, Quota::per(3, second).concurrency(3));
    let client = ServiceBuilder::new()
        .layer(timeline.layer())
        .layer(ThrottleLayer::new(endpoints).observe(timeline.clone()))
        .service(api.clone());
    let mut calls = JoinSet::new();
    for n in 0..FIRST + LATER {
        let client = client.clone();
        calls.spawn(async move {
            if n >= FIRST {
                let nth = u32::try_from(n - FIRST).expect("there are a few");
                tokio::time::sleep(LATER_AT + nth * Duration::from_millis(300)).await;
            }
            let request = Request::post("/v1/speech").body(Full::<Bytes>::default())?;
            let answer = client.oneshot(request).await?;
            let status = answer.status();
            answer.into_body().collect().await?;
            Ok::<_, BoxError>(status)
        });
    }
    while let Some(call) = calls.join_next().await {
        let status = call??;
        if !status.is_success() {
            return Err(format!("a request ended with {status}").into());
        }
    }
    let report = api.report();
    if report.refused() > 0 || report.early() > 0 {
        return Err(format!("the API had to refuse: {report}").into());
    }
    Ok(timeline)
}

/// What stands above the picture.
pub fn heading() -> Heading {
    Heading::new(
        "Requests to an API that allows 3 per second and 3 at once",
        [
            "Twelve come at the same moment. Each waits in line, and is sent at the first moment at which the API allows it.",
            "Request 7 gets a 429 all the same: somebody else uses the account. The server asks for two seconds, so all wait;",
            "then it goes first, as it is the oldest. Four that come meanwhile stand behind the others.",
        ],
    )
}

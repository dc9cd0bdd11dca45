//! The response extension `Waited`.

use crate::support::*;
use http::{Request, Response, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_throttle::{
    Backoff, BoxError, ConcurrencyLayer, Quota, RetryLayer, RpsLayer, ThrottleLayer, Waited,
};

/// A server that answers these statuses one after the other, each after 10 ms, and 200 from then on; 0 is no answer.
fn server(
    statuses: &'static [u16],
) -> impl Service<Request<&'static str>, Response = Response<String>, Error = BoxError, Future: Send>
+ Clone
+ Send {
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    service_fn(move |_: Request<&'static str>| {
        let next = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            tokio::time::sleep(ms(10)).await;
            let status = statuses.get(next).copied().unwrap_or(200);
            if status == 0 {
                let lost = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                return Err(BoxError::from(lost));
            }
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(response)
        }
    })
}

/// What a response says, in milliseconds: queued, paused, attempts.
fn told<B>(response: &Response<B>) -> Option<(u64, u64, u32)> {
    let waited = response.extensions().get::<Waited>()?;
    Some((
        whole(waited.queued()),
        whole(waited.paused()),
        waited.attempts(),
    ))
}

/// By default no response says anything; asked, each does, exactly, also one that did not wait.
#[tokio::test(start_paused = true)]
async fn a_response_says_how_long_its_request_was_queued_if_that_is_asked_for() {
    let quota = || endpoint_a(per(1, 100));
    for asked in [false, true] {
        let rps = RpsLayer::new(quota());
        let throttle = ThrottleLayer::new(quota());
        let once = ThrottleLayer::new(quota()).without_retry();
        let (rps, throttle, once) = if asked {
            (
                rps.report_waited(),
                throttle.report_waited(),
                once.report_waited(),
            )
        } else {
            (rps, throttle, once)
        };
        let start = Instant::now();
        let mut all = Vec::new();
        for _ in 0..3 {
            let rps = rps.layer(server(&[])).oneshot(get("/a"));
            let throttle = throttle.layer(server(&[])).oneshot(get("/a"));
            let once = once.layer(server(&[])).oneshot(get("/a"));
            let (rps, throttle, once) = tokio::join!(rps, throttle, once);
            let (rps, throttle, once) = (rps.unwrap(), throttle.unwrap(), once.unwrap());
            all.push([told(&rps), told(&throttle), told(&once)]);
        }
        assert_eq!(start.elapsed(), ms(210));
        let expected = [0, 90, 90].map(|queued| [asked.then_some((queued, 0, 1)); 3]);
        assert_eq!(all, expected);
    }
}

/// What a pause took of the wait is told as well.
#[tokio::test(start_paused = true)]
async fn a_response_says_how_long_it_waited_for_pauses() {
    let layer = ConcurrencyLayer::new(endpoint_a(Quota::concurrent(1))).report_waited();
    let handle = layer.handle();
    let client = layer.layer(server(&[]));
    handle.pause("/a", ms(70)).unwrap();
    let sending = tokio::spawn(client.oneshot(get("/a")));
    tokio::time::sleep(ms(30)).await;
    handle.resume("/a").unwrap();
    let response = sending.await.unwrap().unwrap();
    assert_eq!(told(&response), Some((30, 30, 1)));
}

/// All attempts are added up: those that were throttled, failed, and were lost without an answer.
#[tokio::test(start_paused = true)]
async fn the_attempts_of_a_retried_request_are_added_up() {
    let retry = RetryLayer::new().backoff(Backoff::decorrelated(ms(20), ms(20)));
    let endpoints = || endpoint_a(per(1, 100));
    // An attempt takes 10 ms, the back-off 20 ms, and then it is queued until the window opens.
    let layer = ThrottleLayer::new(endpoints())
        .retry(retry.clone())
        .report_waited();
    let client = layer.layer(server(&[500, 0]));
    let response = client.oneshot(get("/a")).await.unwrap();
    assert_eq!(told(&response), Some((140, 0, 3)));
    // A stack by hand says the same.
    let stack = ServiceBuilder::new()
        .layer(retry.report_waited())
        .layer(ConcurrencyLayer::new(endpoint_a(Quota::concurrent(4))).report_waited())
        .layer(RpsLayer::new(endpoints()).report_waited())
        .service(server(&[500, 0]));
    let response = stack.oneshot(get("/a")).await.unwrap();
    assert_eq!(told(&response), Some((140, 0, 3)));
}

/// The queues of a stack are added up.
#[tokio::test(start_paused = true)]
async fn the_layers_of_a_stack_are_added_up() {
    let stack = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(endpoint_a(Quota::concurrent(1))).report_waited())
        .layer(RpsLayer::new(endpoint_a(per(1, 100))).report_waited())
        .service(server(&[]));
    let mut all = Vec::new();
    let sent: Vec<_> = (0..3)
        .map(|_| tokio::spawn(stack.clone().oneshot(get("/a"))))
        .collect();
    for sent in sent {
        let response = sent.await.unwrap().unwrap();
        all.push(told(&response).unwrap());
    }
    // The second waits for the first to end, and then for the window: 10 + 90; the third for both: 110 + 90.
    assert_eq!(all, [(0, 0, 1), (100, 0, 1), (200, 0, 1)]);
}

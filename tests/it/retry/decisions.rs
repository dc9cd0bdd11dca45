//! What is retried, how often, and what comes back in the end.

use std::{io::ErrorKind, time::Duration};

use http::{Request, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_throttle::{
    Attempts, Backoff, BoxError, Budget, ConcurrencyLayer, Deadline, Endpoints, Idempotent, Quota,
    Refused, Retry, RetryLayer, RpsLayer, ThrottleLayer, signal::Profile,
};

use crate::retry_support::{Answer, Server, call, error, get, post, status, with};

const SECOND: Duration = Duration::from_secs(1);

/// Quick, so that what counts is what the server says.
fn layer() -> RetryLayer {
    RetryLayer::new().backoff(Backoff::full(
        Duration::from_millis(1),
        Duration::from_millis(10),
    ))
}

async fn send(
    layer: &RetryLayer,
    server: &Server,
    request: Request<String>,
) -> Result<http::Response<()>, BoxError> {
    let mut service: Retry<Server> = layer.layer(server.clone());
    let response = call(&mut service, request).await?;
    Ok(response.map(drop))
}

/// How often a request is sent that gets these answers, and what comes back.
async fn outcome(
    answers: impl IntoIterator<Item = Answer>,
    request: Request<String>,
) -> (usize, Result<StatusCode, BoxError>) {
    let server = Server::answering(answers);
    let result = send(&layer(), &server, request).await;
    (
        server.sent().len(),
        result.map(|response| response.status()),
    )
}

fn attempts_of(response: &http::Response<()>) -> Option<u32> {
    response.extensions().get().map(Attempts::attempts)
}

#[tokio::test(start_paused = true)]
async fn a_success_is_handed_up_as_it_came() {
    let server = Server::answering([status(204)]);
    let response = send(&layer(), &server, get("/a")).await.unwrap();
    assert_eq!(response.status(), 204);
    assert!(response.extensions().is_empty());
    assert_eq!(server.sent()[0].attempt, None);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_retried_until_it_is_none() {
    let server = Server::answering([status(500), error(ErrorKind::ConnectionReset), status(200)]);
    let response = send(&layer(), &server, get("/a")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(attempts_of(&response), Some(3));
    let numbers: Vec<_> = server.sent().iter().map(|sent| sent.attempt).collect();
    assert_eq!(numbers, [None, Some(2), Some(3)]);
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_handed_up() {
    let (sent, result) = outcome(
        [status(500), status(502), status(503), status(200)],
        get("/"),
    )
    .await;
    assert_eq!(
        (sent, result.unwrap()),
        (3, StatusCode::SERVICE_UNAVAILABLE)
    );
    let resets = [(); 4].map(|()| error(ErrorKind::ConnectionReset));
    let (sent, result) = outcome(resets, get("/")).await;
    assert_eq!(sent, 3);
    let error = result.unwrap_err();
    let error: &std::io::Error = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn throttling_answers_do_not_count_as_attempts() {
    let answers = (0..20).map(|_| with(429, &[("retry-after", "1")])).chain([
        status(500),
        with(503, &[("retry-after", "1")]),
        status(500),
    ]);
    let (sent, result) = outcome(answers, get("/")).await;
    assert_eq!((sent, result.unwrap()), (24, StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_repeated_is_sent_again_only_if_nothing_was_done() {
    for answer in [
        status(429),
        with(503, &[("retry-after", "1")]),
        with(529, &[("retry-after", "1")]),
        error(ErrorKind::ConnectionRefused),
        with(500, &[("x-should-retry", "true")]),
    ] {
        let (sent, result) = outcome([answer], post("/")).await;
        assert_eq!((sent, result.unwrap()), (2, StatusCode::OK));
    }
    for answer in [
        status(500),
        status(503),
        status(408),
        error(ErrorKind::ConnectionReset),
    ] {
        let (sent, _) = outcome([answer], post("/")).await;
        assert_eq!(sent, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_repeatable_if_it_says_so() {
    let mut keyed = post("/");
    keyed
        .headers_mut()
        .insert("idempotency-key", "7f".parse().unwrap());
    let mut marked = post("/");
    marked.extensions_mut().insert(Idempotent);
    for request in [keyed, marked] {
        let (sent, result) = outcome([status(500)], request).await;
        assert_eq!((sent, result.unwrap()), (2, StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_can_forbid_it() {
    for answer in [
        with(429, &[("x-should-retry", "false")]),
        with(500, &[("x-should-retry", "false")]),
    ] {
        let (sent, _) = outcome([answer], get("/")).await;
        assert_eq!(sent, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn credits_that_are_used_up_do_not_come_back() {
    let body =
        r#"{"detail":{"status":"quota_exceeded","message":"This request exceeds your quota."}}"#;
    let answer = with(401, &[("content-type", "application/json")])
        .map(|response| response.map(|_| bytes::Bytes::from(body).into()));
    let (sent, result) = outcome([answer], get("/")).await;
    assert_eq!((sent, result.unwrap()), (1, StatusCode::UNAUTHORIZED));
}

#[tokio::test(start_paused = true)]
async fn a_profile_can_say_what_is_a_limit() {
    let answers = || {
        [with(
            403,
            &[("x-ratelimit-remaining", "0"), ("retry-after", "1")],
        )]
    };
    let (sent, _) = outcome(answers(), get("/")).await;
    assert_eq!(sent, 1);
    let server = Server::answering(answers());
    let github = layer().classify(Profile::GitHub);
    let response = send(&github, &server, get("/")).await.unwrap();
    assert_eq!(
        (server.sent().len(), response.status()),
        (2, StatusCode::OK)
    );
}

#[tokio::test(start_paused = true)]
async fn our_own_refusals_are_not_retried() {
    let server = Server::answering([]);
    let endpoints = Endpoints::new().route("GET /a", Quota::per(1, 60 * SECOND));
    let mut service = ServiceBuilder::new()
        .layer(layer())
        .layer(RpsLayer::new(endpoints.clone()).max_waiting(0))
        .service(server.clone());
    let mut throttle = ThrottleLayer::new(endpoints)
        .max_waiting(0)
        .layer(server.clone());
    call(&mut service, get("/a")).await.unwrap();
    call(&mut throttle, get("/a")).await.unwrap();
    let before = Instant::now();
    let error = call(&mut service, get("/a")).await;
    assert!(Refused::in_error(&error.unwrap_err()).is_some());
    let error = call(&mut throttle, get("/a")).await;
    assert!(Refused::in_error(&error.unwrap_err()).is_some());
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(server.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_is_too_long_is_handed_up_at_once() {
    let day = || with(429, &[("retry-after", "86400")]);
    let server = Server::answering([day()]);
    let response = send(&layer(), &server, get("/a")).await.unwrap();
    assert_eq!(
        (response.status(), attempts_of(&response)),
        (StatusCode::TOO_MANY_REQUESTS, None)
    );
    assert_eq!(server.times(), [Duration::ZERO]);

    let patient = layer()
        .max_retry_after(90_000 * SECOND)
        .max_total(90_000 * SECOND);
    let server = Server::answering([day()]);
    assert_eq!(
        send(&patient, &server, get("/a")).await.unwrap().status(),
        200
    );
    assert!(server.times()[1] >= 86_400 * SECOND);
}

/// Would wait for as long as a server asks.
fn patient() -> RetryLayer {
    layer()
        .max_total(Duration::MAX)
        .max_retry_after(Duration::MAX)
}

/// Sends one request through the joint layer, by hand through each of its halves, and through tower's own
/// retry. Each time the first answer is this one, and it has to go up at once.
async fn goes_up_at_once(answer: impl Fn() -> Answer, max_wait: Option<Duration>) {
    macro_rules! limit {
        ($Layer:ident) => {{
            let layer = $Layer::new(Endpoints::new().route("GET /a", Quota::unlimited()));
            match max_wait {
                Some(wait) => layer.max_wait(wait),
                None => layer,
            }
        }};
    }
    macro_rules! check {
        ($stack:expr) => {{
            let server = Server::answering([answer()]);
            let asked = Instant::now();
            let response = call(&mut $stack.service(server.clone()), get("/a")).await;
            let response = response.unwrap();
            assert_ne!(response.status(), StatusCode::OK);
            assert_eq!(asked.elapsed(), Duration::ZERO);
            assert_eq!(server.times(), [Duration::ZERO]);
        }};
    }
    let stack = ServiceBuilder::new;
    let policy = || tower::retry::RetryLayer::new(patient().policy());
    check!(stack().layer(limit!(ThrottleLayer).retry(patient())));
    check!(stack().layer(patient()).layer(limit!(RpsLayer)));
    check!(stack().layer(patient()).layer(limit!(ConcurrencyLayer)));
    check!(stack().layer(policy()).layer(limit!(RpsLayer)));
}

/// L8. The layer below opens after two minutes (`max_pause`), long before the server's time.
#[tokio::test(start_paused = true)]
async fn no_patience_is_enough_for_a_delay_beyond_the_ceiling_of_pauses() {
    for status in [429, 503, 529] {
        goes_up_at_once(|| with(status, &[("retry-after", "86400")]), None).await;
    }
}

/// The layer below would refuse the retry, so the answer is of more use.
#[tokio::test(start_paused = true)]
async fn no_patience_is_enough_for_a_pause_beyond_max_wait() {
    for status in [429, 503, 529] {
        let wait = Some(4 * SECOND);
        goes_up_at_once(|| with(status, &[("retry-after", "5")]), wait).await;
    }
}

/// Without a deadline and with limits that no delay exceeds, a day is waited for where a day is possible.
#[tokio::test(start_paused = true)]
async fn limits_without_end_wait_for_as_long_as_the_server_asks() {
    let day = 86_400 * SECOND;
    let answers = || [with(429, &[("retry-after", "86400")])];
    let alone = Server::answering(answers());
    let response = send(&patient(), &alone, get("/a")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(alone.times()[1] >= day);

    let joint = Server::answering(answers());
    let layer = ThrottleLayer::new(Endpoints::new()).max_pause(day);
    let mut service = layer.retry(patient()).layer(joint.clone());
    let response = call(&mut service, get("/a")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(joint.times()[1] >= day);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_pass_the_total_is_handed_up_at_once() {
    let server = Server::new(|_, _| with(429, &[("retry-after", "3")]));
    let layer = layer().max_total(10 * SECOND);
    let response = send(&layer, &server, get("/a")).await.unwrap();
    assert_eq!(response.status(), 429);
    let times = server.times();
    // Three waits of 3 s and a little; a fourth would end after 12 s.
    assert_eq!(times.len(), 4);
    let waited = response.extensions().get::<Attempts>().unwrap().waited();
    assert!(waited >= 9 * SECOND && waited <= 10 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_pass_the_deadline_is_handed_up_at_once() {
    for (deadline, sent) in [(2_999, 1), (3_000, 2)] {
        let started = Instant::now();
        let server = Server::new(|_, _| with(429, &[("retry-after", "3")]));
        let mut request = get("/a");
        let deadline = Duration::from_millis(deadline);
        request
            .extensions_mut()
            .insert(Deadline(started + deadline));
        let response = send(&layer(), &server, request).await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(server.sent().len(), sent);
        assert!(started.elapsed() <= deadline);
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_by_the_layers_services_and_refilled_by_successes() {
    let layer = layer().budget(Budget::new(2, 0.5));
    let server = Server::new(|_, head| status(if head.uri.path() == "/ok" { 200 } else { 500 }));
    // Two retries, by two services, and then no more.
    send(&layer, &server, get("/a")).await.unwrap();
    assert_eq!(server.sent().len(), 3);
    send(&layer.clone(), &server, get("/a")).await.unwrap();
    assert_eq!(server.sent().len(), 4);
    for _ in 0..2 {
        send(&layer, &server, get("/ok")).await.unwrap();
    }
    send(&layer, &server, get("/a")).await.unwrap();
    assert_eq!(server.sent().len(), 8);
    // What cannot be retried takes nothing; nor do throttling answers.
    for _ in 0..2 {
        send(&layer, &server, get("/ok")).await.unwrap();
    }
    send(&layer, &server, post("/a")).await.unwrap();
    send(&layer, &server, get("/a")).await.unwrap();
    assert_eq!(server.sent().len(), 13);
}

#[tokio::test(start_paused = true)]
async fn throttling_answers_take_nothing_from_the_budget() {
    let layer = layer().budget(Budget::new(0, 0.0));
    let server = Server::answering([with(429, &[("retry-after", "1")]), status(429)]);
    assert_eq!(
        send(&layer, &server, get("/a")).await.unwrap().status(),
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_not_sent_gives_its_share_of_the_budget_back() {
    let layer = RetryLayer::new().budget(Budget::new(1, 0.0));
    let server = Server::answering([status(500), status(500), status(200)]);
    let mut service = layer.layer(server.clone());
    let mut dropped = tokio_test::task::spawn(service.call(get("/a")));
    assert!(dropped.poll().is_pending());
    drop(dropped);
    assert_eq!(
        send(&layer, &server, get("/a")).await.unwrap().status(),
        200
    );
}

#[tokio::test(start_paused = true)]
async fn other_statuses_can_be_listed() {
    let layer = layer().statuses([StatusCode::CONFLICT]);
    let server = Server::answering([status(409), status(500)]);
    assert_eq!(
        send(&layer, &server, get("/a")).await.unwrap().status(),
        500
    );
    assert_eq!(server.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn throttle_layer_retries_and_can_go_without() {
    let server = Server::new(|before, _| match before {
        0 => with(429, &[("retry-after", "2")]),
        _ => status(200),
    });
    let mut service = ThrottleLayer::new(Endpoints::new()).layer(server.clone());
    let response = call(&mut service, get("/a")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.extensions().get().map(Attempts::attempts), Some(2));
    assert!(server.times()[1] >= 2 * SECOND);

    let server = Server::answering([status(429)]);
    let layer = ThrottleLayer::new(Endpoints::new()).without_retry();
    let response = layer.layer(server).oneshot(get("/a")).await.unwrap();
    assert_eq!(response.status(), 429);

    let server = Server::new(|_, _| status(500));
    let layer = ThrottleLayer::new(Endpoints::new()).retry(self::layer().max_attempts(5));
    let response = layer
        .layer(server.clone())
        .oneshot(get("/a"))
        .await
        .unwrap();
    assert_eq!(
        (response.status(), server.sent().len()),
        (StatusCode::INTERNAL_SERVER_ERROR, 5)
    );
}

#[test]
#[should_panic(expected = "0 attempts")]
fn no_attempt_at_all_is_refused() {
    let _ = RetryLayer::new().max_attempts(0);
}

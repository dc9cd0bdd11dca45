//! What requests cost: windows and permits of any unit, estimated before and settled after (law L14).

use std::time::Duration;

use crate::support::*;
use http::Request;
use tower::{Service, ServiceExt};
use tower_throttle::{
    BoxError, Cost, Endpoints, Handle, Quota, Refused, RefusedReason, RetryLayer, Settlement,
    Terms, ThrottleLayer, Unit, WindowUse, signal::Profile,
};

const TOKENS: Unit = Unit::TOKENS;
const OUTPUT: Unit = Unit::OUTPUT_TOKENS;

fn tokens(n: u64, millis: u64) -> Quota {
    Quota::unlimited().units(TOKENS, n, ms(millis))
}

/// A request that costs so much, and is worked on for `work`.
fn costs(path: &str, cost: Cost, work: u64) -> Req {
    let mut request = job(path, ms(work));
    request.extensions_mut().insert(Terms::new().cost(cost));
    request
}

fn of(n: u64) -> Cost {
    Cost::new().of(TOKENS, n)
}

async fn enter_all(client: &Client, probe: &Probe, path: &str, all: &[u64]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for &n in all {
        tasks.push(enter(client, probe, costs(path, of(n), 0)).await);
    }
    tasks
}

#[tokio::test(start_paused = true)]
async fn a_window_holds_what_its_requests_cost() {
    for face in WINDOWS {
        let probe = Probe::new();
        let client = layer_a(face, tokens(100, 1000)).client(&probe);
        let tasks = enter_all(&client, &probe, "/a", &[60, 40, 1, 99, 100, 50, 50, 0]).await;
        came(tasks).await;
        // 60 + 40 fill it. When both have left, 1 and 99 do.
        assert_eq!(
            probe.times(),
            [0, 0, 1000, 1000, 2000, 3000, 3000, 3000],
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_passes_a_large_head() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, tokens(100, 1000)).client(&probe);
    let mut tasks = enter_all(&client, &probe, "/a", &[60]).await;
    tokio::time::sleep(ms(500)).await;
    tasks.extend(enter_all(&client, &probe, "/a", &[30, 100, 5]).await);
    came(tasks).await;
    // 60 at 0, 30 at 500: the 100 go when both have left, and the 5 after them.
    assert_eq!(probe.times(), [0, 500, 1500, 2500]);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_refused_on_entry() {
    let probe = Probe::new();
    let quota = tokens(100, 1000).and_per(5, ms(1000)).concurrency(3);
    let client = layer_a(Face::Throttle, quota).client(&probe);
    for (cost, fits) in [
        (of(100), true),
        (of(101), false),
        (of(u64::MAX), false),
        (Cost::new().requests(5), true),
        (Cost::new().requests(6), false),
        (Cost::new().permits(3), true),
        (Cost::new().permits(4), false),
    ] {
        let answer = client.clone().oneshot(costs("/a", cost.clone(), 0)).await;
        let reason = answer
            .err()
            .map(|error| Refused::in_error(&error).unwrap().reason());
        assert_eq!(
            reason,
            (!fits).then_some(RefusedReason::NeverFits),
            "{cost:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_smaller_quota_refuses_who_can_never_go_any_more() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000));
    let client = layer.client(&probe);
    let tasks = enter_all(&client, &probe, "/a", &[100, 60, 20]).await;
    layer.handle().set_quota("/a", tokens(50, 1000)).unwrap();
    let came = came(tasks).await;
    assert_eq!(came[1], Came::Refused(0, RefusedReason::NeverFits, None));
    assert_eq!(probe.times(), [0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn requests_and_permits_are_counted_by_cost() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(5, 1000)).client(&probe);
    let mut tasks = Vec::new();
    for n in [3, 2, 0, 1, 5] {
        tasks.push(enter(&client, &probe, costs("/a", Cost::new().requests(n), 0)).await);
    }
    came(tasks).await;
    assert_eq!(probe.times(), [0, 0, 0, 1000, 2000]);

    let probe = Probe::new();
    let client = layer_a(Face::Throttle, Quota::concurrent(4)).client(&probe);
    let mut tasks = Vec::new();
    for n in [3, 1, 0, 2, 4] {
        tasks.push(enter(&client, &probe, costs("/a", Cost::new().permits(n), 100)).await);
    }
    came(tasks).await;
    assert_eq!(probe.times(), [0, 0, 0, 100, 200]);
}

/// The answer of a request that was sent.
async fn answer(client: &Client, request: Req) -> Answer {
    client.clone().oneshot(request).await.unwrap()
}

fn settlement(answer: &Answer) -> Settlement {
    answer
        .extensions()
        .get::<Settlement>()
        .expect("the endpoint counts tokens")
        .clone()
}

#[tokio::test(start_paused = true)]
async fn less_than_estimated_lets_others_go_at_once() {
    for face in WINDOWS {
        let probe = Probe::new();
        let client = layer_a(face, tokens(100, 1000)).client(&probe);
        let first = answer(&client, costs("/a", of(90), 0)).await;
        let tasks = enter_all(&client, &probe, "/a", &[50, 50]).await;
        tokio::time::sleep(ms(300)).await;
        settlement(&first).settle(of(20));
        came(tasks).await;
        // 20 + 50 fit, and the next 50 when the first has left.
        assert_eq!(probe.times(), [0, 300, 1000], "{face:?}");
        assert_eq!(settlement(&first).estimate(), &of(90));
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_estimated_closes_the_window_for_as_long_as_it_takes() {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, tokens(100, 1000)).client(&probe);
    let first = answer(&client, costs("/a", of(10), 0)).await;
    settlement(&first).settle(of(u64::MAX));
    let tasks = enter_all(&client, &probe, "/a", &[0, 1]).await;
    came(tasks).await;
    assert_eq!(probe.times(), [0, 0, 1000]);
    // Long after the window has passed, and twice: it harms nobody.
    settlement(&first).settle(of(500));
    settlement(&first).settle(of(600));
    let tasks = enter_all(&client, &probe, "/a", &[99]).await;
    came(tasks).await;
    assert_eq!(probe.times(), [0, 0, 1000, 1000]);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_counts_and_the_layer_may_be_gone() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000));
    let client = layer.client(&probe);
    let first = answer(&client, costs("/a", of(10), 0)).await;
    settlement(&first).settle(of(100));
    settlement(&first).settle(of(40));
    came(enter_all(&client, &probe, "/a", &[60]).await).await;
    assert_eq!(probe.times(), [0, 0]);
    let settlement = settlement(&first);
    drop((layer, client, first));
    settlement.settle(of(5));
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_nobody_counts_is_an_error_that_names_those_that_are() {
    let probe = Probe::new();
    let quota = tokens(100, 1000).units(OUTPUT, 100, ms(1000));
    let client = layer_a(Face::Throttle, quota).client(&probe);
    let first = answer(&client, costs("/a", of(90), 0)).await;
    let both = of(10).of(Unit::CREDITS, 5);
    let error = settlement(&first).try_settle(both).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the endpoint does not count `credits`: expected `output_tokens` or `tokens`"
    );
    // The rest is settled.
    came(enter_all(&client, &probe, "/a", &[90]).await).await;
    assert_eq!(probe.times(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_the_estimate_counts_until_it_is_settled_and_that_from_then_on() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(OUTPUT, 100, ms(1000));
    let client = layer_a(Face::Throttle, quota).client(&probe);
    let out = |n| Cost::new().of(OUTPUT, n);
    let first = answer(&client, costs("/a", out(80), 0)).await;
    let second = enter(&client, &probe, costs("/a", out(70), 0)).await;
    let third = enter(&client, &probe, costs("/a", out(30), 0)).await;
    tokio::time::sleep(ms(5000)).await;
    // The window has long passed, and the estimate counts.
    assert_eq!(probe.times(), [0]);
    settlement(&first).settle(out(50));
    drop(first);
    came(vec![second, third]).await;
    // 50 count until 6000, so 70 do not fit before.
    assert_eq!(probe.times(), [0, 6000, 6000]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_settles_keeps_its_estimate_from_its_end_on() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(OUTPUT, 100, ms(1000));
    let client = layer_a(Face::Throttle, quota).client(&probe);
    let out = |n| Cost::new().of(OUTPUT, n);
    let first = answer(&client, costs("/a", out(80), 700)).await;
    let second = enter(&client, &probe, costs("/a", out(70), 0)).await;
    drop(first);
    came(vec![second]).await;
    assert_eq!(probe.times(), [0, 1700]);
}

#[tokio::test(start_paused = true)]
async fn without_a_cost_it_is_an_eighth_and_then_what_others_were_settled_at() {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, tokens(800, 1000)).client(&probe);
    let first = answer(&client, get("/a")).await;
    assert_eq!(settlement(&first).estimate(), &of(100));
    settlement(&first).settle(of(300));
    drop(first);
    let second = answer(&client, get("/a")).await;
    assert_eq!(settlement(&second).estimate(), &of(300));
    settlement(&second).settle(of(100));
    drop(second);
    let third = answer(&client, get("/a")).await;
    assert_eq!(settlement(&third).estimate(), &of(200));
}

#[tokio::test(start_paused = true)]
async fn at_a_wider_scope_those_pass_who_cost_nothing_of_what_is_waited_for() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(tokens(100, 1000).and_per(3, ms(1000)));
    let client = AnyLayer::new(Face::Throttle, endpoints).client(&probe);
    let mut tasks = enter_all(&client, &probe, "/a", &[100, 50]).await;
    tasks.extend(enter_all(&client, &probe, "/b", &[0, 0, 10]).await);
    came(tasks).await;
    // The first request of /b passes the one of /a that waits for tokens; the second waits for a request, as that one
    // does, and is behind it.
    assert_eq!(probe.times_of("/a"), [0, 1000]);
    assert_eq!(probe.times_of("/b"), [0, 0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_grace_keeps_the_permit_of_who_has_left() {
    for face in PERMITS {
        let probe = Probe::new();
        let quota = Quota::concurrent(1).grace(ms(300));
        let client = layer_a(face, quota).client(&probe);
        let dropped = enter(&client, &probe, job("/a", ms(10_000))).await;
        let next = enter(&client, &probe, job("/a", ms(50))).await;
        tokio::time::sleep(ms(100)).await;
        dropped.abort();
        came(vec![next]).await;
        // And who reads its answer to the end needs no grace.
        came(vec![enter(&client, &probe, job("/a", ms(50))).await]).await;
        assert_eq!(probe.times(), [0, 400, 450], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_estimated_by_the_layer_where_the_request_says_nothing() {
    let probe = Probe::new();
    let layer = ThrottleLayer::new(endpoint_a(tokens(100, 1000)))
        .without_retry()
        .cost_by(|head, body| {
            assert_eq!(head.uri().path(), "/a");
            Some(of(body?.len() as u64))
        });
    let client = tower::Layer::layer(&layer, probe.clone());
    let body = "0123456789";
    let request = || Request::get("/a").body(body).unwrap();
    let answer = client.clone().oneshot(request()).await.unwrap();
    let settlement = answer.extensions().get::<Settlement>().unwrap();
    assert_eq!(settlement.estimate(), &of(10));
    let mut stated = request();
    stated.extensions_mut().insert(Terms::new().cost(of(7)));
    let answer = client.clone().oneshot(stated).await.unwrap();
    let settlement = answer.extensions().get::<Settlement>().unwrap();
    assert_eq!(settlement.estimate(), &of(7));
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_says_how_full_each_window_is() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000).and_per(5, ms(2000)));
    let client = layer.client(&probe);
    drop(answer(&client, costs("/a", of(30), 0)).await);
    tokio::time::sleep(ms(400)).await;
    drop(answer(&client, costs("/a", of(20), 0)).await);
    let snapshot = layer.handle().snapshot();
    let windows = snapshot.bucket("/a").unwrap().windows();
    let said: Vec<_> = windows
        .iter()
        .map(|of| {
            (
                of.window().unit().name().to_owned(),
                of.used(),
                of.falls_in(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("requests".to_owned(), 2, Some(Duration::from_millis(1600))),
            ("tokens".to_owned(), 50, Some(Duration::from_millis(600))),
        ]
    );
}

/// Sends a request to a server whose answers have these headers, and says when it went.
async fn sent<S>(client: &S, cost: Cost, start: tokio::time::Instant) -> u64
where
    S: tower::Service<Request<String>, Error = tower_throttle::BoxError> + Clone,
{
    let request = Request::get("/a")
        .extension(Terms::new().cost(cost))
        .body(String::new())
        .unwrap();
    client.clone().oneshot(request).await.ok().unwrap();
    whole(start.elapsed())
}

fn over(
    headers: &'static [(&'static str, &'static str)],
    quota: Quota,
) -> impl Clone + tower::Service<Request<String>, Error = tower_throttle::BoxError> {
    let inner = tower::service_fn(move |_: Request<String>| async move {
        let mut response = http::Response::new(http_body_util::Empty::<bytes::Bytes>::new());
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        Ok::<_, tower_throttle::BoxError>(response)
    });
    let layer = throttle(endpoint_a(quota)).classify(Profile::Anthropic);
    tower::Layer::layer(&layer, inner)
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_is_left_of_a_unit_narrows_that_unit() {
    const LEFT: &[(&str, &str)] = &[
        ("x-ratelimit-limit-requests", "1000"),
        ("x-ratelimit-remaining-requests", "999"),
        ("x-ratelimit-limit-tokens", "100"),
        ("x-ratelimit-remaining-tokens", "20"),
        ("x-ratelimit-reset-tokens", "500ms"),
    ];
    let client = over(LEFT, tokens(100, 1000));
    let start = tokio::time::Instant::now();
    // Ten are used here, and the server knows of eighty.
    assert_eq!(sent(&client, of(10), start).await, 0);
    assert_eq!(sent(&client, of(0), start).await, 0);
    assert_eq!(sent(&client, of(30), start).await, 500);
    let client = over(LEFT, tokens(100, 1000));
    let start = tokio::time::Instant::now();
    assert_eq!(sent(&client, of(10), start).await, 0);
    assert_eq!(sent(&client, of(20), start).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_unit_delays_only_who_needs_it() {
    const EMPTY: &[(&str, &str)] = &[
        ("anthropic-ratelimit-input-tokens-limit", "100"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        (
            "anthropic-ratelimit-input-tokens-reset",
            "2030-01-01T00:00:10Z",
        ),
        ("date", "Tue, 01 Jan 2030 00:00:00 GMT"),
    ];
    let input = |n| Cost::new().of(Unit::INPUT_TOKENS, n);
    let client = over(
        EMPTY,
        Quota::unlimited().units(Unit::INPUT_TOKENS, 100, ms(1000)),
    );
    let start = tokio::time::Instant::now();
    assert_eq!(sent(&client, input(10), start).await, 0);
    assert_eq!(sent(&client, input(0), start).await, 0);
    assert_eq!(sent(&client, input(1), start).await, 1000);
}

#[tokio::test(start_paused = true)]
async fn with_as_much_left_as_was_counted_nothing_is_narrowed() {
    const LEFT: &[(&str, &str)] = &[
        ("x-ratelimit-limit-tokens", "100"),
        ("x-ratelimit-remaining-tokens", "90"),
        ("x-ratelimit-reset-tokens", "60s"),
    ];
    let client = over(LEFT, tokens(100, 1000));
    let start = tokio::time::Instant::now();
    for at in [0, 0, 0] {
        assert_eq!(sent(&client, of(10), start).await, at);
    }
    assert_eq!(sent(&client, of(70), start).await, 0);
    assert_eq!(sent(&client, of(1), start).await, 1000);
}

/// A refusal about tokens.
#[tokio::test(start_paused = true)]
async fn a_refusal_about_a_unit_narrows_that_unit_and_nothing_else() {
    let inner = tower::service_fn(move |request: Request<String>| async move {
        let mut response = http::Response::new(http_body_util::Full::new(bytes::Bytes::new()));
        if request.uri().query() == Some("refused") {
            let said = r#"{"error": {"message": "Rate limit reached on tokens per min (TPM). Please try again in 100ms.", "type": "tokens"}}"#;
            *response.body_mut() = bytes::Bytes::from(said).into();
            *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        }
        Ok::<_, tower_throttle::BoxError>(response)
    });
    let quota = tokens(1000, 1000)
        .units(Unit::CREDITS, 1000, ms(1000))
        .and_per(10, ms(1000));
    let layer = throttle(endpoint_a(quota));
    let client = tower::Layer::layer(&layer, inner);
    let request = Request::get("/a?refused")
        .extension(Terms::new().cost(of(400).of(Unit::CREDITS, 300)))
        .body(String::new())
        .unwrap();
    let answer = client.clone().oneshot(request).await.unwrap();
    let signal = answer
        .extensions()
        .get::<tower_throttle::signal::Signal>()
        .unwrap();
    assert_eq!(signal.unit(), Some(TOKENS));
    let snapshot = layer.handle().snapshot();
    let said: Vec<_> = (snapshot.bucket("/a").unwrap().windows().iter())
        .map(|of| (of.window().unit().to_string(), of.used(), of.left_free()))
        .collect();
    // What was refused has cost a request and nothing else.
    let of = |name: &str, used, left_free| (name.to_owned(), used, left_free);
    assert_eq!(
        said,
        [
            of("requests", 1, 0),
            of("tokens", 0, 50),
            of("credits", 0, 0)
        ]
    );
}

/// A request that costs so much of the tokens, and is answered with a status and a body.
fn answered_with(cost: u64, status: u16, said: &'static str) -> Req {
    let mut work = Work::head(ms(0)).body([Step::Data(said)]);
    work.status = http::StatusCode::from_u16(status).unwrap();
    let mut request = work.of("/a");
    request.extensions_mut().insert(Terms::new().cost(of(cost)));
    request
}

fn tokens_used(handle: &Handle) -> u64 {
    handle.snapshot().bucket("/a").unwrap().windows()[0].used()
}

const SAID: &str = r#"{"error":{"message":"Rate limit reached on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000.","type":"tokens"}}"#;

#[tokio::test(start_paused = true)]
async fn what_was_not_accepted_costs_nothing_and_what_was_lost_costs_its_estimate() {
    for (status, counted, expected) in [
        (200, false, 30),
        (404, false, 0),
        (429, false, 0),
        (429, true, 30),
        (500, false, 30),
    ] {
        let mut layer = throttle(endpoint_a(tokens(100, 60_000)));
        if counted {
            layer = layer.count_throttled();
        }
        let client = tower::Layer::layer(&layer, Probe::new());
        drop(
            client
                .oneshot(answered_with(30, status, "{}"))
                .await
                .unwrap(),
        );
        assert_eq!(tokens_used(&layer.handle()), expected, "{status} {counted}");
    }
    for end in [End::Error, End::PanicInFuture, End::PanicInCall] {
        let probe = Probe::new();
        let layer = layer_a(Face::Throttle, tokens(100, 60_000));
        let mut request = Work::head(ms(0)).end(end).of("/a");
        request.extensions_mut().insert(Terms::new().cost(of(30)));
        let mut client = layer.client(&probe);
        let lost = tokio::spawn(async move {
            let answer = client.ready().await?.call(request);
            answer.await.map(drop)
        });
        assert!(!matches!(lost.await, Ok(Ok(()))));
        assert_eq!(tokens_used(&layer.handle()), 30, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_successes_teach_what_requests_cost() {
    let client = throttle(endpoint_a(tokens(800, 1000)));
    let client = tower::Layer::layer(&client, Probe::new());
    let mut not_found = answered_with(0, 404, "");
    not_found.extensions_mut().remove::<Terms>();
    let answer = client.clone().oneshot(not_found).await.unwrap();
    let settlement = answer.extensions().get::<Settlement>().unwrap();
    // It says what was estimated, though that has been settled to nothing.
    assert_eq!(settlement.estimate(), &of(100));
    settlement.settle(of(300));
    let answer = client.oneshot(get("/a")).await.unwrap();
    let settlement = answer.extensions().get::<Settlement>().unwrap();
    assert_eq!(settlement.estimate(), &of(100));
}

#[tokio::test(start_paused = true)]
async fn the_average_is_of_what_was_settled_last() {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, tokens(8000, 1000)).client(&probe);
    let first = answer(&client, get("/a")).await;
    for n in [10, 700, 500] {
        settlement(&first).settle(of(n));
    }
    let second = answer(&client, get("/a")).await;
    assert_eq!(settlement(&second).estimate(), &of(500));
    settlement(&second).settle(of(200));
    let third = answer(&client, get("/a")).await;
    assert_eq!(settlement(&third).estimate(), &of(350));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_goes_by_its_own_average() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(tokens(800, 1000));
    let client = AnyLayer::new(Face::Throttle, endpoints).client(&probe);
    settlement(&answer(&client, get("/a")).await).settle(of(300));
    let next = settlement(&answer(&client, get("/a")).await);
    assert_eq!(next.estimate(), &of(300));
    let other = settlement(&answer(&client, get("/b")).await);
    assert_eq!(other.estimate(), &of(100));
}

#[tokio::test(start_paused = true)]
async fn those_who_state_nothing_go_by_the_average_as_soon_as_it_is_known() {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, tokens(80, 1000)).client(&probe);
    let first = answer(&client, costs("/a", of(5), 0)).await;
    let mut tasks = enter_all(&client, &probe, "/a", &[70]).await;
    tasks.push(enter(&client, &probe, get("/a")).await);
    tokio::time::sleep(ms(300)).await;
    // As it was estimated: nobody has less taken from it. But the average is 5 by now, and not an eighth of 80.
    settlement(&first).settle(of(5));
    came(tasks).await;
    assert_eq!(probe.times(), [0, 0, 300]);
}

#[tokio::test(start_paused = true)]
async fn what_ends_with_the_head_needs_no_grace() {
    let probe = Probe::new();
    let quota = Quota::concurrent(5).release_at_head().grace(ms(300));
    let client = layer_a(Face::Throttle, quota.units(OUTPUT, 100, ms(1000))).client(&probe);
    let out = |n| Cost::new().of(OUTPUT, n);
    let mut request = Work::head(ms(0)).body([Step::Data("x")]).of("/a");
    request.extensions_mut().insert(Terms::new().cost(out(80)));
    drop(answer(&client, request).await);
    // The estimate counts from when it was dropped on.
    came(vec![enter(&client, &probe, costs("/a", out(70), 0)).await]).await;
    assert_eq!(probe.times(), [0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_grace_ends_also_where_nobody_waits() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, Quota::concurrent(5).grace(ms(300)));
    let client = layer.client(&probe);
    let dropped = enter(&client, &probe, job("/a", ms(10_000))).await;
    dropped.abort();
    settle().await;
    let in_flight = || layer.handle().snapshot().bucket("/a").unwrap().in_flight();
    tokio::time::sleep(ms(299)).await;
    assert_eq!(in_flight(), 1);
    tokio::time::sleep(ms(1)).await;
    assert_eq!(in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_that_go_on_at_one_instant_keep_their_order() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/c", tokens(1, 1))
        .overall(Quota::concurrent(1))
        .across_partitions(Quota::unlimited());
    let client = AnyLayer::new(Face::Throttle, endpoints).client(&probe);
    let mut tasks = Vec::new();
    for path in ["/a", "/c", "/a"] {
        tasks.push(enter(&client, &probe, job(path, ms(100))).await);
    }
    came(tasks).await;
    // The waiting requests are of different kinds, and the one of /c has waited for longer.
    assert_eq!(probe.times_of("/c"), [100]);
    assert_eq!(probe.times_of("/a"), [0, 200]);
}

#[tokio::test(start_paused = true)]
async fn who_needs_nothing_of_what_others_wait_for_need_not_wait_at_all() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(Quota::concurrent(1));
    let client = AnyLayer::new(Face::Throttle, endpoints)
        .max_waiting(1)
        .client(&probe);
    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(enter(&client, &probe, job("/a", ms(100))).await);
    }
    let free = costs("/b", Cost::new().permits(0), 0);
    tasks.push(enter(&client, &probe, free).await);
    assert_eq!(came(tasks).await[2], Came::Sent(0));
}

#[tokio::test(start_paused = true)]
async fn at_a_wider_scope_nobody_passes_a_head_that_waits_for_the_same() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(tokens(100, 1000));
    let client = AnyLayer::new(Face::Throttle, endpoints).client(&probe);
    let mut tasks = enter_all(&client, &probe, "/a", &[60, 50]).await;
    // Of another kind, as it needs no permit; and there is room for it.
    tasks.push(enter(&client, &probe, costs("/b", of(30).permits(0), 0)).await);
    came(tasks).await;
    assert_eq!(probe.times_of("/a"), [0, 1000]);
    assert_eq!(probe.times_of("/b"), [1000]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_it_is_sent_was_charged_nothing() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000));
    drop(offered(&layer, &probe).await);
    assert_eq!(tokens_used(&layer.handle()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_charged_anew() {
    let layer = ThrottleLayer::new(endpoint_a(tokens(100, 600_000)));
    let layer = layer
        .count_throttled()
        .retry(RetryLayer::new().max_attempts(2));
    let probe = Probe::new();
    let client = tower::Layer::layer(&layer, probe.clone());
    let answer = client.oneshot(answered_with(30, 429, "")).await.unwrap();
    assert_eq!(answer.status(), 429);
    let attempts = probe.times().len() as u64;
    assert!(attempts > 1);
    assert_eq!(tokens_used(&layer.handle()), 30 * attempts);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_two_windows_is_passed_when_the_first_of_them_opens() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(tokens(10, 1000).and_per(1, ms(100)));
    let client = AnyLayer::new(Face::Throttle, endpoints).client(&probe);
    let mut tasks = enter_all(&client, &probe, "/a", &[10, 10]).await;
    tasks.extend(enter_all(&client, &probe, "/b", &[0]).await);
    came(tasks).await;
    assert_eq!(probe.times_of("/a"), [0, 1000]);
    assert_eq!(probe.times_of("/b"), [100]);
}

#[tokio::test(start_paused = true)]
async fn those_that_count_as_no_request_are_ahead_of_nobody() {
    let probe = Probe::new();
    let layer = layer_a(Face::Rps, per(1, 10)).max_wait(ms(25));
    let client = layer.client(&probe);
    let mut tasks = Vec::new();
    for n in [1, 1, 0, 1] {
        tasks.push(enter(&client, &probe, costs("/a", Cost::new().requests(n), 0)).await);
    }
    assert_eq!(came(tasks).await[3], Came::Sent(20));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_quota_refuses_who_can_never_go_any_more_also_where_nothing_counts() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000));
    let client = layer.client(&probe);
    let tasks = enter_all(&client, &probe, "/a", &[100, 60]).await;
    tokio::time::sleep(ms(500)).await;
    layer.handle().set_quota("/a", tokens(50, 100)).unwrap();
    let came = came(tasks).await;
    assert_eq!(came[1], Came::Refused(500, RefusedReason::NeverFits, None));
    assert_eq!(probe.times(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_quota_refuses_at_once_who_is_not_the_head_too() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000));
    let client = layer.client(&probe);
    let tasks = enter_all(&client, &probe, "/a", &[100, 20, 60]).await;
    layer.handle().set_quota("/a", tokens(50, 1000)).unwrap();
    let came = came(tasks).await;
    assert_eq!(came[2], Came::Refused(0, RefusedReason::NeverFits, None));
    assert_eq!(probe.times(), [0, 1000]);
}

/// A request that takes 60 and has been offered its places after a second, and has not been polled since.
async fn offered(
    layer: &AnyLayer,
    probe: &Probe,
) -> impl Future<Output = Result<Answer, BoxError>> {
    let mut client = layer.client(probe);
    drop(answer(&client, costs("/a", of(100), 0)).await);
    let call = client.ready().await.unwrap().call(costs("/a", of(60), 0));
    let mut second = tokio_test::task::spawn(call);
    assert!(second.poll().is_pending());
    tokio::time::sleep(ms(1000)).await;
    assert!(second.is_woken());
    second
}

#[tokio::test(start_paused = true)]
async fn who_is_admitted_and_not_out_goes_by_a_smaller_quota() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000));
    let second = offered(&layer, &probe).await;
    layer.handle().set_quota("/a", tokens(50, 100)).unwrap();
    let error = second.await.map(drop).expect_err("60 are more than 50");
    let refused = Refused::in_error(&error).unwrap();
    assert_eq!(refused.reason(), RefusedReason::NeverFits);
}

#[tokio::test(start_paused = true)]
async fn who_is_admitted_and_not_out_counts_in_a_unit_that_is_new() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, per(1, 1000));
    let second = offered(&layer, &probe).await;
    layer.handle().set_quota("/a", tokens(100, 1000)).unwrap();
    drop(second.await.unwrap());
    assert_eq!(tokens_used(&layer.handle()), 60);
}

#[tokio::test(start_paused = true)]
async fn who_is_admitted_and_not_out_goes_by_what_is_settled_meanwhile() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(100, 1000));
    let mut client = layer.client(&probe);
    drop(answer(&client, costs("/a", of(100), 0)).await);
    tokio::time::sleep(ms(500)).await;
    let late = answer(&client, costs("/a", of(0), 0)).await;
    let call = client.ready().await.unwrap().call(costs("/a", of(60), 0));
    let mut second = tokio_test::task::spawn(call);
    assert!(second.poll().is_pending());
    tokio::time::sleep(ms(500)).await;
    // It has its places, and has not been polled.
    assert!(second.is_woken());
    settlement(&late).settle(of(50));
    drop(second.await.unwrap());
    assert_eq!(probe.times(), [0, 500, 1500]);
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_again_at_the_end_counts_from_then_on() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(OUTPUT, 100, ms(1000));
    let client = layer_a(Face::Throttle, quota).client(&probe);
    let out = |n| Cost::new().of(OUTPUT, n);
    let first = answer(&client, costs("/a", out(80), 0)).await;
    settlement(&first).settle(out(50));
    tokio::time::sleep(ms(600)).await;
    settlement(&first).settle(out(50));
    came(vec![enter(&client, &probe, costs("/a", out(70), 0)).await]).await;
    assert_eq!(probe.times(), [0, 1600]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_about_a_unit_teaches_a_margin_of_that_unit_only() {
    let quota = Quota::unlimited()
        .units(TOKENS, 1000, ms(60_000))
        .units(Unit::CREDITS, 1000, ms(60_000))
        .and_per(1000, ms(60_000));
    let layer = throttle(endpoint_a(quota));
    let client = tower::Layer::layer(&layer, Probe::new());
    let answer = client.oneshot(answered_with(30, 429, SAID)).await.unwrap();
    assert_eq!(answer.status(), 429);
    let snapshot = layer.handle().snapshot();
    let bucket = snapshot.bucket("/a").unwrap();
    let of = |window: &WindowUse| (window.window().unit().name().to_owned(), window.left_free());
    let left_free: Vec<_> = bucket.windows().iter().map(of).collect();
    let expected = [("requests", 0), ("tokens", 50), ("credits", 0)];
    assert_eq!(left_free, expected.map(|(name, n)| (name.to_owned(), n)));
    assert!(bucket.learned().is_none());
}

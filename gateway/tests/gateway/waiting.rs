//! What a request is told that would wait too long.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response, StatusCode, Version};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, service_fn};
use tower_throttle::{
    BoxError, Endpoints, Quota, RpsLayer,
    mock::{Judge, Limit, Work},
};

use crate::{
    answers,
    support::{LONG, Line, VERSIONS, Whole, client, get, ms, post, send, serve_judge},
};

const A: &str = "POST /a";

fn judge(work: Duration) -> Judge {
    Judge::builder()
        .route(A, Limit::unlimited(), Work::fixed(work))
        .build()
}

fn number(answer: &Whole, header: &str) -> u64 {
    answer.headers[header].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_full_queue_is_said_with_the_time_at_which_there_is_room() {
    join_all(VERSIONS.map(async |version| {
        let judge = judge(Duration::ZERO);
        let limit = format!("{A}=per:1/3s");
        let args = ["--limit", &limit, "--max-waiting", "0"];
        let line = Line::start(&serve_judge(&judge), &args);
        let client = client(version);
        let started = Instant::now();
        let first = send(&client, post(&line.url("/a"))).await;
        assert_eq!(first.status, StatusCode::OK);
        let refused = send(&client, post(&line.url("/a"))).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(
            refused.headers["proxy-status"],
            "tower-throttle; error=connection_limit_reached"
        );
        let wait = number(&refused, "retry-after-ms");
        assert_eq!(number(&refused, "retry-after"), wait.div_ceil(1_000));
        let error = &refused.json()["error"];
        assert_eq!(error["type"], "queue_full");
        assert_eq!(error["endpoint"], A);
        assert_eq!(error["retry_after_ms"], wait);

        // It is the truth: then there is room, and not before.
        assert!(wait <= 3_000, "{wait}");
        sleep(ms(wait)).await;
        assert!(started.elapsed() >= ms(3_000));
        let again = send(&client, post(&line.url("/a"))).await;
        assert_eq!(again.status, StatusCode::OK);
    }))
    .await;
}

#[tokio::test(start_paused = true)]
async fn times_are_rounded_up() {
    for (micros, seconds, millis) in [(1_500_000, "2", "1500"), (2_500, "1", "3")] {
        let quota = Quota::per(1, Duration::from_micros(micros));
        let layer = RpsLayer::new(Endpoints::new().overall(quota)).max_waiting(0);
        let mut api = layer.layer(service_fn(async |_: Request<()>| {
            Ok::<_, BoxError>(Response::new(String::new()))
        }));
        api.call(Request::default()).await.unwrap();
        let refused = api.call(Request::default()).await.unwrap_err();
        let answer = answers::failed(&refused);
        assert_eq!(answer.headers()["retry-after"], seconds);
        assert_eq!(answer.headers()["retry-after-ms"], millis);
    }
}

#[tokio::test]
async fn one_connection_can_hold_a_long_queue() {
    let judge = judge(LONG * 2);
    let limit = format!("{A}=concurrency:4");
    let line = Line::start(&serve_judge(&judge), &["--limit", &limit]);
    let client = client(Version::HTTP_2);
    let calls = [(); 500].map(|()| {
        let (client, request) = (client.clone(), post(&line.url("/a")));
        tokio::spawn(async move { client.request(request).await })
    });
    line.counted(A, 496, 4).await;
    for call in calls {
        call.abort();
    }
    line.counted(A, 0, 0).await;
}

#[tokio::test]
async fn where_only_the_end_of_others_makes_room_no_time_is_named() {
    for version in VERSIONS {
        let judge = judge(LONG * 2);
        let limit = format!("{A}=concurrency:1");
        let args = ["--limit", &limit, "--max-waiting", "1"];
        let line = Line::start(&serve_judge(&judge), &args);
        let calls = [(); 2].map(|()| {
            let (client, request) = (client(version), post(&line.url("/a")));
            tokio::spawn(async move { client.request(request).await })
        });
        line.counted(A, 1, 1).await;
        let refused = send(&client(version), post(&line.url("/a"))).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(!refused.headers.contains_key("retry-after"));
        assert!(!refused.headers.contains_key("retry-after-ms"));
        let error = &refused.json()["error"];
        assert_eq!(error["type"], "queue_full");
        assert!(error["retry_after_ms"].is_null());
        for call in calls {
            call.abort();
        }
    }
}

#[tokio::test]
async fn patience_is_bounded_by_the_gateway_or_by_the_caller() {
    let judge = judge(Duration::ZERO);
    let limit = format!("{A}=per:1/1h");
    let upstream = serve_judge(&judge);
    let bounded = Line::start(&upstream, &["--limit", &limit, "--max-wait", "2m"]);
    let open = Line::start(&upstream, &["--limit", &limit]);
    let client = client(Version::HTTP_2);
    for line in [&bounded, &open] {
        let first = send(&client, post(&line.url("/a"))).await;
        assert_eq!(first.status, StatusCode::OK);
    }
    let refused = send(&client, post(&bounded.url("/a"))).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["error"]["type"], "would_wait_too_long");
    assert!((3_500..=3_600).contains(&number(&refused, "retry-after")));

    let mut request = post(&open.url("/a"));
    let wait = "2m".parse().unwrap();
    request.headers_mut().insert("x-gateway-max-wait", wait);
    let refused = send(&client, request).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["error"]["type"], "deadline_would_pass");
    assert!((3_500..=3_600).contains(&number(&refused, "retry-after")));
}

#[tokio::test]
async fn the_status_page_says_what_is_going_on() {
    let judge = judge(LONG * 2);
    let limit = format!("{A}=concurrency:1,rps:50");
    let upstream = serve_judge(&judge);
    let line = Line::start(&upstream, &["--limit", &limit]);
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (client, request) = (client(Version::HTTP_11), post(&line.url("/a")));
            tokio::spawn(async move { client.request(request).await })
        })
        .collect();
    line.counted(A, 2, 1).await;
    let page = get(&line.url("/__gateway__/status?pretty")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.headers["content-type"], "application/json");
    let page = page.json();
    assert_eq!(page["upstream"], upstream);
    assert_eq!(page["tunnels"], 0);
    let buckets = page["buckets"].as_array().unwrap();
    let bucket = buckets
        .iter()
        .find(|bucket| bucket["endpoint"] == A)
        .unwrap();
    assert_eq!(bucket["waiting"], 2);
    assert_eq!(bucket["in_flight"], 1);
    assert_eq!(bucket["concurrency"], 1);
    assert_eq!(bucket["admitted"], 1);
    assert!(bucket["paused_ms"].is_null());
    line.handle().pause(A, LONG).unwrap();
    let page = get(&line.url("/__gateway__/status")).await.json();
    let buckets = page["buckets"].as_array().unwrap();
    let bucket = buckets
        .iter()
        .find(|bucket| bucket["endpoint"] == A)
        .unwrap();
    assert!(bucket["paused_ms"].as_f64().unwrap() > 0.0);
    for call in calls {
        call.abort();
    }
}

//! The gateway's own pages: health and metrics.

use http::{Request, StatusCode, Version};
use tower_throttle::mock::{Judge, Limit, Work};

use crate::{
    meters,
    support::{LONG, Line, client, full, get, post, recorder, send, serve_judge},
};

#[tokio::test]
async fn health_is_live_and_ready_while_requests_are_taken_on() {
    let judge = Judge::builder()
        .route("POST /a", Limit::unlimited(), Work::fixed(LONG * 2))
        .build();
    let mut line = Line::start(&serve_judge(&judge), &["--concurrency=1", "--grace=20s"]);
    for path in ["health", "health/ready", "health/live"] {
        let page = get(&line.url(&format!("/__gateway__/{path}"))).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.json()["live"], true);
    }
    let (caller, request) = (client(Version::HTTP_11), post(&line.url("/a")));
    let running = tokio::spawn(async move { send(&caller, request).await });
    line.counted("overall", 0, 1).await;
    line.interrupt();
    crate::support::until("it drains", || !line.gateway.is_open()).await;
    let page = get(&line.url("/__gateway__/health")).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&page.json()["live"], &page.json()["ready"]),
        (&true.into(), &false.into())
    );
    let page = get(&line.url("/__gateway__/health/live")).await;
    assert_eq!(page.status, StatusCode::OK);
    let page = get(&line.url("/__gateway__/metrics")).await;
    assert_eq!(page.status, StatusCode::OK);
    // Requests for the API are refused.
    let late = get(&line.url("/a")).await;
    assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(late.json()["error"]["type"], "shutting_down");
    assert_eq!(late.headers["connection"], "close");
    running.abort();
    line.ended().await;
}

#[tokio::test]
async fn pages_that_there_are_not_are_named() {
    let line = Line::start("http://127.0.0.1:1", &[]);
    let answer = get(&line.url("/__gateway__/healthy")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let request = Request::post(line.url("/__gateway__/metrics"));
    let request = request.body(full("")).unwrap();
    let answer = send(&client(Version::HTTP_11), request).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_metrics_page_is_what_prometheus_reads() {
    let (upstream, _recorded) = recorder();
    let line = Line::start(&upstream, &["--name", "pages", "--limit", "/a=rps:5"]);
    assert_eq!(get(&line.url("/a")).await.status, StatusCode::OK);
    let page = get(&line.url("/__gateway__/metrics")).await;
    assert_eq!(
        page.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    for series in [
        "tower_throttle_dispatched_total{layer=\"pages\",endpoint=\"/a\"} 1",
        "tower_throttle_answer_duration_seconds_bucket{layer=\"pages\",endpoint=\"/a\",le=\"300\"} 1",
        "tower_throttle_gateway_answers_total{layer=\"pages\",http_response_status_code=\"200\"} 1",
        "tower_throttle_gateway_ready{layer=\"pages\"} 1",
    ] {
        assert!(page.contains(series), "{series} is not in\n{page}");
    }
    for (name, kind, help) in meters::ALL {
        if page.contains(&format!("\n{name}")) {
            assert!(page.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
            assert!(page.contains(&format!("# HELP {name} {help}\n")), "{name}");
        }
    }
}

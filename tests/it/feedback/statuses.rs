//! What pauses a bucket and what is retried are two questions: statuses and errors by which servers and
//! clients say that a request did not succeed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_throttle::{
    Backoff, BoxError, Endpoints, RetryLayer, ThrottleLayer,
    signal::{Classify, Profile},
};

type Head = (u16, &'static [(&'static str, &'static str)], &'static str);

fn response((status, headers, body): Head) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body)).unwrap()
}

fn request(method: &Method) -> Request<()> {
    let request = Request::builder().method(method).uri("/a");
    request.body(()).unwrap()
}

/// How often a server is asked in 100 s by a GET a second, if it always answers like this.
async fn asked_in_100_seconds(classify: impl Classify + Clone, head: Head) -> usize {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let layer = ThrottleLayer::new(Endpoints::new()).classify(classify);
    let service = layer.layer(service_fn(move |_: Request<()>| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, BoxError>(response(head)) }
    }));
    let started = Instant::now();
    for second in 0..100 {
        tokio::time::sleep_until(started + Duration::from_secs(second)).await;
        tokio::spawn(service.clone().oneshot(request(&Method::GET)));
    }
    tokio::time::sleep_until(started + Duration::from_secs(100)).await;
    asked.load(Ordering::Relaxed)
}

const MINUTE: &[(&str, &str)] = &[("retry-after", "60")];

#[tokio::test(start_paused = true)]
async fn throttling_told_by_another_status_pauses_the_bucket() {
    for status in [403, 418, 420, 429, 430, 503, 509, 529] {
        let asked = asked_in_100_seconds(Profile::Standard, (status, MINUTE, "")).await;
        assert_eq!(asked, 2, "{status}: {asked}");
    }
    // A missing permission, and a joke.
    for status in [403, 404, 418] {
        let asked = asked_in_100_seconds(Profile::Standard, (status, &[], "")).await;
        assert_eq!(asked, 100, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_told_by_a_400_pauses_the_bucket_of_a_profile() {
    const THROTTLED: &[(&str, &str)] = &[
        ("x-amzn-errortype", "ThrottlingException"),
        ("retry-after", "60"),
    ];
    let asked = asked_in_100_seconds(Profile::Aws, (400, THROTTLED, "")).await;
    assert!(asked <= 3, "{asked}");
    let asked = asked_in_100_seconds(Profile::Standard, (400, THROTTLED, "")).await;
    assert_eq!(asked, 100);
}

#[tokio::test(start_paused = true)]
async fn a_penalty_pauses_for_as_long_as_it_is() {
    let airtable = Profile::Standard.with_penalty(Duration::from_secs(30));
    let asked = asked_in_100_seconds(airtable, (429, &[], "")).await;
    assert!((2..=6).contains(&asked), "{asked}");
}

/// How often one request is sent that always fails like this.
async fn sent<E>(
    method: Method,
    fails: impl Fn() -> Result<Head, E> + Clone + Send + 'static,
) -> usize
where
    E: Into<BoxError> + Send + 'static,
{
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let layer = RetryLayer::new().backoff(Backoff::full(
        Duration::from_millis(1),
        Duration::from_millis(1),
    ));
    let service = layer.layer(service_fn(move |_: Request<()>| {
        count.fetch_add(1, Ordering::Relaxed);
        let fails = fails.clone();
        async move { fails().map(response).map_err(Into::<BoxError>::into) }
    }));
    let _ = service.oneshot(request(&method)).await;
    sent.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn every_transient_status_is_sent_again_if_repeatable() {
    for status in 400..600 {
        let head = move || Ok::<_, BoxError>((status, &[][..], ""));
        let get = sent(Method::GET, head).await;
        let post = sent(Method::POST, head).await;
        let expected = match status {
            // As long as there is time.
            429 => {
                assert!(get > 3 && post > 3);
                continue;
            }
            521 | 522 | 523 | 525 | 526 | 530 => (3, 3),
            408 | 500.. if !matches!(status, 501 | 505 | 508 | 509 | 511) => (3, 1),
            _ => (1, 1),
        };
        assert_eq!((get, post), expected, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_pauses_is_sent_again_if_that_is_asked_for() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let statuses = [StatusCode::FORBIDDEN];
    let retry = RetryLayer::new().statuses(statuses);
    let layer = ThrottleLayer::new(Endpoints::new()).retry(retry);
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        let head: Head = if first {
            (403, MINUTE, "")
        } else {
            (200, &[], "")
        };
        async move { Ok::<_, BoxError>(response(head)) }
    }));
    let started = Instant::now();
    let answer = service.oneshot(request(&Method::GET)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert!(started.elapsed() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_around_the_client_is_sent_again_if_repeatable() {
    let of_tower = || Err::<Head, _>(tower::timeout::error::Elapsed::new());
    assert_eq!(sent(Method::GET, of_tower).await, 3);
    assert_eq!(sent(Method::POST, of_tower).await, 1);

    for (method, expected) in [(Method::GET, 3), (Method::POST, 1)] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let service = ServiceBuilder::new()
            .layer(ThrottleLayer::new(Endpoints::new()))
            .timeout(Duration::from_secs(1))
            .service_fn(move |_: Request<()>| {
                count.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>()
            });
        assert!(service.oneshot(request(&method)).await.is_err());
        assert_eq!(sent.load(Ordering::Relaxed), expected, "{method}");
    }

    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let service = RetryLayer::new().layer(service_fn(move |_: Request<()>| {
        count.fetch_add(1, Ordering::Relaxed);
        async {
            let never = std::future::pending::<Response<Full<Bytes>>>();
            tokio::time::timeout(Duration::from_secs(1), never).await
        }
    }));
    assert!(service.oneshot(request(&Method::GET)).await.is_err());
    assert_eq!(sent.load(Ordering::Relaxed), 3);
}

/// A server that is closed for 58 s, and says so in its body only.
#[tokio::test(start_paused = true)]
async fn a_delay_that_only_the_body_names_is_waited_for_by_everybody() {
    for with_list in [false, true] {
        let opens = Instant::now() + Duration::from_secs(58);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let service = ThrottleLayer::new(Endpoints::new()).layer(service_fn(move |_: Request<()>| {
            let log = Arc::clone(&log);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let now = Instant::now();
                log.lock().unwrap().push(now);
                let left = opens.saturating_duration_since(now).as_secs_f64();
                if left == 0.0 {
                    return Ok::<_, BoxError>(response((200, &[], "{}")));
                }
                let body = format!(
                    r#"{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{left:.9}s"}}]}}}}"#
                );
                let body = if with_list { format!("[{body}]") } else { body };
                let response = Response::builder().status(429).body(Full::from(body));
                Ok(response.unwrap())
            }
        }));
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(service.clone().oneshot(request(&Method::GET))))
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status(), 200);
        }
        let asked = asked.lock().unwrap();
        let (during, after): (Vec<Instant>, _) = asked.iter().partition(|&&at| at < opens);
        assert_eq!(during.len(), 20, "each is refused once");
        assert_eq!(after.len(), 20, "and nobody is refused again");
    }
}

/// The same in other words, and those who come during the pause wait for its end, too.
#[tokio::test(start_paused = true)]
async fn whatever_words_name_a_delay_nothing_is_sent_while_it_lasts() {
    type Words = fn(f64) -> String;
    let words: [Words; 4] = [
        |left| format!(r#"{{"ok":false,"parameters":{{"retry_after":{left:.0}}}}}"#),
        |left| format!(r#"{{"error":{{"message":"Please retry after {left:.0} seconds."}}}}"#),
        |left| format!(r#"{{"error":{{"message":"Please try again in {left:.3}s."}}}}"#),
        |left| format!("Too many requests, try again in {left:.0} seconds"),
    ];
    for body in words {
        for closed in [58, 41, 100] {
            let started = Instant::now();
            let opens = started + Duration::from_secs(closed);
            let asked = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&asked);
            let layer = ThrottleLayer::new(Endpoints::new());
            let service = layer.layer(service_fn(move |_: Request<()>| {
                let now = Instant::now();
                log.lock().unwrap().push(now);
                let left = opens.saturating_duration_since(now).as_secs_f64();
                let body = if left > 0.0 {
                    body(left)
                } else {
                    String::new()
                };
                let status = if left > 0.0 { 429 } else { 200 };
                let response = Response::builder()
                    .status(status)
                    .body(Full::<Bytes>::from(body));
                async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, BoxError>(response.unwrap())
                }
            }));
            let mut calls = Vec::new();
            for second in 0..30 {
                tokio::time::sleep_until(started + Duration::from_secs(second)).await;
                let callers = if second == 0 { 20 } else { 1 };
                for _ in 0..callers {
                    calls.push(tokio::spawn(service.clone().oneshot(request(&Method::GET))));
                }
            }
            for call in calls {
                assert_eq!(call.await.unwrap().unwrap().status(), 200);
            }
            let asked = asked.lock().unwrap();
            let (during, after): (Vec<Instant>, _) = asked.iter().partition(|&&at| at < opens);
            assert_eq!(during, [started; 20], "each is refused once");
            assert_eq!(after.len(), 49, "and nobody is refused again");
        }
    }
}

/// What is used up, and what opens later than anybody waits, is handed up as it came.
#[tokio::test(start_paused = true)]
async fn what_comes_back_after_hours_is_sent_once_per_caller() {
    const USED_UP: &str = r#"{"error":{"type":"usage_limit_reached","resets_in_seconds":529498}}"#;
    const ACCOUNT: &str = r#"{"error":{"type":"exceeded_current_quota_error"}}"#;
    const DAY: &str = r#"{"error":{"message":"Rate limit reached on tokens per day (TPD): Limit 100000, Used 99000, Requested 5000."}}"#;
    const SECOND_WINDOW: &[(&str, &str)] = &[
        ("date", "Thu, 21 Aug 2025 12:40:00 GMT"),
        ("x-rate-limit-remaining", "1079999"),
        ("x-app-limit-24hour-remaining", "0"),
        ("x-app-limit-24hour-reset", "1755783600"),
    ];
    const OF_A_USER: &[(&str, &str)] = &[
        ("date", "Thu, 21 Aug 2025 12:40:00 GMT"),
        ("x-rate-limit-remaining", "1079999"),
        ("x-user-limit-24hour-remaining", "0"),
        ("x-user-limit-24hour-reset", "1755787200"),
    ];
    let heads: [Head; 5] = [
        (429, &[], USED_UP),
        (429, &[], ACCOUNT),
        (429, &[], DAY),
        (429, SECOND_WINDOW, ""),
        (429, OF_A_USER, ""),
    ];
    for head in heads {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let layer = ThrottleLayer::new(Endpoints::new());
        let service = layer.layer(service_fn(move |_: Request<()>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok::<_, BoxError>(response(head))
            }
        }));
        let started = Instant::now();
        let calls: Vec<_> = (0..10)
            .map(|_| tokio::spawn(service.clone().oneshot(request(&Method::POST))))
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status(), 429);
        }
        assert_eq!(started.elapsed(), Duration::from_millis(20), "{head:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 10, "{head:?}");
    }
}

//! Beyond the ceiling: servers that name a time for which nobody waits.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_throttle::{
    Body, BoxError, ConcurrencyLayer, Deadline, Endpoints, Handle, Quota, Refused, RefusedReason,
    RpsLayer, ThrottleLayer,
};

use std::sync::{Arc, Mutex};

const HOUR: Duration = Duration::from_secs(3_600);
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// Refuses with its own time until that is over, and keeps when it was asked.
#[derive(Clone)]
struct Server {
    opens: Arc<Mutex<Instant>>,
    asked: Arc<Mutex<Vec<Duration>>>,
    started: Instant,
}

impl Server {
    fn closed_for(time: Duration) -> Self {
        let started = Instant::now();
        Self {
            opens: Arc::new(Mutex::new(started + time)),
            asked: Arc::default(),
            started,
        }
    }

    fn open_now(&self) {
        *self.opens.lock().unwrap() = Instant::now();
    }

    fn asked(&self) -> Vec<Duration> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self) -> Response<Empty<Bytes>> {
        let now = Instant::now();
        self.asked.lock().unwrap().push(now - self.started);
        let left = self.opens.lock().unwrap().saturating_duration_since(now);
        let response = Response::builder();
        let response = if left.is_zero() {
            response
        } else {
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            response.status(429).header("retry-after", seconds)
        };
        response.body(Empty::new()).unwrap()
    }
}

type Answer = Result<Response<Body<Empty<Bytes>>>, BoxError>;

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn client(
    layer: &ThrottleLayer,
    server: &Server,
) -> impl Service<Request<()>, Response = Response<Body<Empty<Bytes>>>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ 'static {
    let server = server.clone();
    layer.layer(service_fn(move |_: Request<()>| {
        let server = server.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, BoxError>(server.answer())
        }
    }))
}

fn reason(answer: &Answer) -> Option<(RefusedReason, Option<Duration>)> {
    let refused = Refused::in_error(answer.as_ref().err()?)?;
    Some((refused.reason(), refused.retry_after()))
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_hour() {
    let server = Server::closed_for(HOUR);
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(100)));
    let service = client(&layer, &server);
    let first = service.clone().oneshot(get("/a")).await;
    assert_eq!(first.unwrap().status(), 429);
    tokio::time::sleep_until(server.started + Duration::from_secs(1)).await;
    for _ in 0..50 {
        let before = Instant::now();
        let answer = service.clone().oneshot(get("/a")).await;
        assert_eq!(before, Instant::now());
        let (reason, wait) = reason(&answer).expect("refused");
        assert_eq!(reason, RefusedReason::ServerClosed);
        let wait = wait.expect("with the server's time");
        let left = Duration::from_secs(3_599);
        assert!(wait.abs_diff(left) <= Duration::from_secs(1), "{wait:?}");
    }
    assert_eq!(server.asked().len(), 1);
    // Other endpoints go on.
    server.open_now();
    let other = service.oneshot(get("/b")).await;
    assert_eq!(other.unwrap().status(), 200);
}

/// Whatever the time beyond the ceiling, and whatever it is told in.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_time_beyond_the_ceiling_in_whatever_form() {
    type Form = fn(u64) -> Response<Full<Bytes>>;
    let forms: [Form; 4] = [
        |left| told(Some(("retry-after", left.to_string())), String::new()),
        |left| told(Some(("ratelimit-reset", left.to_string())), String::new()),
        |left| {
            told(
                None,
                format!(r#"{{"parameters":{{"retry_after":{left}}}}}"#),
            )
        },
        |left| {
            let text = format!("Please retry after {left} seconds.");
            told(None, format!(r#"{{"error":{{"message":"{text}"}}}}"#))
        },
    ];
    for form in forms {
        for closed in [122, 600, 3_600, 86_400] {
            let started = Instant::now();
            let asked = Arc::new(Mutex::new(0));
            let count = Arc::clone(&asked);
            let service =
                ThrottleLayer::new(Endpoints::new()).layer(service_fn(move |_: Request<()>| {
                    *count.lock().unwrap() += 1;
                    async move { Ok::<_, BoxError>(form(closed - started.elapsed().as_secs())) }
                }));
            let first = service.clone().oneshot(get("/a")).await.unwrap();
            assert_eq!(first.status(), 429);
            tokio::time::sleep_until(started + Duration::from_secs(1)).await;
            for _ in 0..50 {
                let error = service.clone().oneshot(get("/a")).await.unwrap_err();
                let refused = Refused::in_error(&error).expect("refused");
                assert_eq!(refused.reason(), RefusedReason::ServerClosed);
                let wait = refused.retry_after().expect("with the server's time");
                let late = wait.checked_sub(Duration::from_secs(closed - 1));
                let late = late.expect("no earlier than the server said");
                assert!(late <= Duration::from_secs(1), "{closed}: {wait:?}");
            }
            assert_eq!(started.elapsed(), Duration::from_secs(1), "at once");
            assert_eq!(*asked.lock().unwrap(), 1);
        }
    }
}

fn told(header: Option<(&str, String)>, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(429);
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response.body(Full::from(body)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_already_are_refused_at_that_instant() {
    for by_permits in [true, false] {
        let quota = if by_permits {
            Quota::concurrent(1)
        } else {
            Quota::per(1, Duration::from_secs(1))
        };
        let server = Server::closed_for(HOUR);
        let layer = ThrottleLayer::new(Endpoints::new().route("/a", quota));
        let service = client(&layer, &server);
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(service.clone().oneshot(get("/a"))))
            .collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        assert_eq!(server.started.elapsed(), Duration::from_millis(20));
        assert_eq!(answers.iter().filter(|of| of.is_ok()).count(), 1);
        let closed = |of: &&Answer| {
            reason(of).is_some_and(|(reason, _)| reason == RefusedReason::ServerClosed)
        };
        assert_eq!(answers.iter().filter(closed).count(), 19);
        assert_eq!(server.asked().len(), 1);
        let bucket = layer.handle().snapshot();
        assert_eq!(bucket.bucket("/a").unwrap().waiting(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_goes_in_each_max_pause_and_its_success_opens_the_bucket() {
    let server = Server::closed_for(HOUR);
    let layer = ThrottleLayer::new(Endpoints::new());
    let service = client(&layer, &server);
    // A request in each second, for 7 minutes.
    for second in 0..420 {
        let at = server.started + Duration::from_secs(second);
        tokio::time::sleep_until(at).await;
        let answer = service.clone().oneshot(get("/a")).await;
        assert!(answer.is_ok() || reason(&answer).is_some());
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 4, "{asked:?}");
    for pair in asked.windows(2) {
        let apart = pair[1].saturating_sub(pair[0]);
        let late = apart.checked_sub(MAX_PAUSE).expect("no probe is early");
        assert!(late <= Duration::from_millis(1_100), "{apart:?}");
    }
    // It has changed its mind.
    server.open_now();
    tokio::time::sleep(MAX_PAUSE).await;
    let probe = service.clone().oneshot(get("/a")).await;
    assert_eq!(probe.unwrap().status(), 200);
    for _ in 0..10 {
        let answer = service.clone().oneshot(get("/a")).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_probe() {
    let server = Server::closed_for(HOUR);
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(4)));
    let service = client(&layer, &server);
    assert!(service.clone().oneshot(get("/a")).await.is_ok());
    tokio::time::sleep(MAX_PAUSE).await;
    let probe = tokio::spawn(service.clone().oneshot(get("/a")));
    settle().await;
    for _ in 0..3 {
        let answer = service.clone().oneshot(get("/a")).await;
        let (reason, _) = reason(&answer).expect("refused");
        assert_eq!(reason, RefusedReason::ServerClosed);
    }
    assert_eq!(probe.await.unwrap().unwrap().status(), 429);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_is_followed_by_another_and_leaves_nothing() {
    let server = Server::closed_for(HOUR);
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(1)));
    let service = client(&layer, &server);
    assert!(service.clone().oneshot(get("/a")).await.is_ok());
    for _ in 0..3 {
        tokio::time::sleep(MAX_PAUSE).await;
        let mut probe = tokio_test::task::spawn(service.clone().oneshot(get("/a")));
        assert!(probe.poll().is_pending());
        drop(probe);
        let handle = layer.handle();
        assert_eq!(handle.snapshot().bucket("/a").unwrap().in_flight(), 0);
    }
    server.open_now();
    tokio::time::sleep(MAX_PAUSE).await;
    assert_eq!(service.oneshot(get("/a")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn when_the_servers_time_is_over_everybody_goes() {
    let server = Server::closed_for(HOUR);
    let layer = ThrottleLayer::new(Endpoints::new());
    let service = client(&layer, &server);
    assert!(service.clone().oneshot(get("/a")).await.is_ok());
    tokio::time::sleep_until(server.started + HOUR + Duration::from_secs(1)).await;
    for _ in 0..10 {
        let answer = service.clone().oneshot(get("/a")).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn resume_opens_a_closed_bucket() {
    let server = Server::closed_for(HOUR);
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per_second(100)));
    let service = client(&layer, &server);
    assert!(service.clone().oneshot(get("/a")).await.is_ok());
    assert!(service.clone().oneshot(get("/a")).await.is_err());
    server.open_now();
    layer.handle().resume("/a").unwrap();
    assert_eq!(service.oneshot(get("/a")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_wider_scope_is_closed_for_all_below_it() {
    let server = Server::closed_for(HOUR);
    let github = tower_throttle::signal::Profile::GitHub;
    let endpoints = Endpoints::new()
        .route("/a", Quota::concurrent(1))
        .route("/b", Quota::concurrent(1))
        .overall(Quota::concurrent(10));
    let layer = ThrottleLayer::new(endpoints).classify(github);
    let service = client(&layer, &server);
    assert!(service.clone().oneshot(get("/a")).await.is_ok());
    for path in ["/a", "/b", "/c"] {
        let answer = service.clone().oneshot(get(path)).await;
        let refused = answer.unwrap_err();
        let refused = Refused::in_error(&refused).unwrap();
        assert_eq!(refused.reason(), RefusedReason::ServerClosed, "{path}");
        assert_eq!(refused.scope(), Endpoints::OVERALL);
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delay_below_the_ceiling_is_waited_for() {
    let server = Server::closed_for(Duration::from_secs(60));
    let layer = ThrottleLayer::new(Endpoints::new());
    let service = client(&layer, &server);
    let answer = service.oneshot(get("/a")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(server.asked().len(), 2);
}

/// A stack by hand: each layer is closed by what it hears, and each lets the probe through.
#[tokio::test(start_paused = true)]
async fn a_stack_by_hand_is_closed_and_opened_as_one() {
    let server = Server::closed_for(HOUR);
    let endpoints = Endpoints::new().route("/a", Quota::per_second(10).concurrency(4));
    let rps = RpsLayer::new(endpoints.clone());
    let concurrency = ConcurrencyLayer::new(endpoints);
    let handles: [Handle; 2] = [rps.handle(), concurrency.handle()];
    let inner = server.clone();
    let service = concurrency.layer(rps.layer(service_fn(move |_: Request<()>| {
        let server = inner.clone();
        async move { Ok::<_, BoxError>(server.answer()) }
    })));
    assert!(service.clone().oneshot(get("/a")).await.is_ok());
    assert!(service.clone().oneshot(get("/a")).await.is_err());
    server.open_now();
    tokio::time::sleep(MAX_PAUSE).await;
    assert_eq!(
        service.clone().oneshot(get("/a")).await.unwrap().status(),
        200
    );
    assert_eq!(
        service.clone().oneshot(get("/a")).await.unwrap().status(),
        200
    );
    for handle in handles {
        let snapshot = handle.snapshot();
        assert_eq!(snapshot.bucket("/a").unwrap().paused_for(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_deadline_has_passed_is_no_probe() {
    let server = Server::closed_for(HOUR);
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(100)));
    let service = client(&layer, &server);
    let first = service.clone().oneshot(get("/a")).await;
    assert_eq!(first.unwrap().status(), 429);
    tokio::time::sleep(MAX_PAUSE).await;
    let mut late = get("/a");
    let passed = Instant::now() - Duration::from_millis(1);
    late.extensions_mut().insert(Deadline(passed));
    let answer = service.clone().oneshot(late).await;
    assert!(reason(&answer).is_some(), "refused");
    assert_eq!(server.asked().len(), 1);
    let probe = service.oneshot(get("/a")).await;
    assert_eq!(probe.unwrap().status(), 429);
    assert_eq!(server.asked().len(), 2);
}

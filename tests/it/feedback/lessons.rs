//! What answers teach, and what they must not: nearly each of these once failed, for the fault that it
//! names.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_throttle::{
    Backoff, BoxError, ConcurrencyLayer, Endpoints, Learning, Quota, RefusedReason, RetryLayer,
    RpsLayer, ThrottleLayer,
    signal::{Answer as Seen, Classify, Profile, Signal},
};

type Text = Full<Bytes>;
type Server = BoxCloneSyncService<Request<Text>, Response<Text>, BoxError>;
type Boxed = BoxCloneSyncService<Request<Text>, Response<tower_throttle::Body<Text>>, BoxError>;

/// Boxed, since `oneshot` in a spawned task needs it.
fn boxed<S>(layer: &ThrottleLayer, service: S) -> Boxed
where
    S: Service<Request<Text>, Response = Response<Text>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(layer.layer(service))
}

/// What the server says to its n-th request (from 0), which came at this many milliseconds.
struct Reply {
    after: Duration,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
}

fn ok(after: u64) -> Reply {
    Reply {
        after: ms(after),
        status: 200,
        headers: Vec::new(),
        body: "",
    }
}

fn no(status: u16, after: u64) -> Reply {
    Reply {
        status,
        ..ok(after)
    }
}

impl Reply {
    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }
}

const TOO_MANY: &str = r#"{"detail":{"status":"too_many_concurrent_requests","message":"Too many concurrent requests. Your current subscription is associated with a maximum of 4 concurrent requests."}}"#;
const TOO_MANY_UNNAMED: &str =
    r#"{"detail":{"status":"too_many_concurrent_requests","message":"Too many."}}"#;

#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u64>>>);

impl Sent {
    fn times(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

/// A server that answers by script, and the times at which it was asked.
fn server(reply: impl Fn(usize, u64, &str) -> Reply + Send + Sync + 'static) -> (Server, Sent) {
    let start = Instant::now();
    let sent = Sent::default();
    let log = sent.clone();
    let reply = Arc::new(reply);
    let service = service_fn(move |request: Request<Text>| {
        let at = u64::try_from(start.elapsed().as_millis()).unwrap();
        let n = {
            let mut log = log.0.lock().unwrap();
            log.push(at);
            log.len() - 1
        };
        let reply = reply(n, at, request.uri().path());
        async move {
            if !reply.after.is_zero() {
                tokio::time::sleep(reply.after).await;
            }
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            Ok::<_, BoxError>(response.body(Full::from(reply.body)).unwrap())
        }
    });
    (BoxCloneSyncService::new(service), sent)
}

fn post(path: &str) -> Request<Text> {
    Request::post(path).body(Text::default()).unwrap()
}

fn fetch(path: &str) -> Request<Text> {
    Request::get(path).body(Text::default()).unwrap()
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap()
}

/// Strangers use the same account: the limit that is named is larger than what we have in flight, so
/// it closes nothing, and a concurrency answer pauses nothing while another of ours is in flight.
#[tokio::test(start_paused = true)]
async fn a_named_limit_that_strangers_use_up_causes_no_storm() {
    let (service, sent) = server(|n, at, _| match n {
        // Ours is long; three strangers' requests last until 10 s.
        0 => ok(10_000),
        _ if at < 10_000 => no(429, 20).body(TOO_MANY),
        _ => ok(20),
    });
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(10)));
    let client = boxed(&layer, service);
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let client = client.clone();
        tasks.spawn(async move { client.oneshot(post("/a")).await.unwrap().status() });
        settle().await;
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let sent = sent.times().len();
    assert!(sent < 30, "two requests were sent {sent} times");
}

/// `Learning::none()`: "Pauses are no lesson, and stay". A concurrency answer then neither pauses nor
/// narrows anything, and is sent again at once, for ever.
#[tokio::test(start_paused = true)]
async fn without_learning_a_concurrency_answer_causes_no_storm() {
    let (service, sent) = server(|n, at, _| match n {
        0 => ok(10_000),
        _ if at < 10_000 => no(429, 20).body(TOO_MANY_UNNAMED),
        _ => ok(20),
    });
    let layer = ThrottleLayer::new(Endpoints::new()).learn(Learning::none());
    let client = boxed(&layer, service);
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let client = client.clone();
        tasks.spawn(async move { client.oneshot(post("/a")).await.unwrap().status() });
        settle().await;
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let sent = sent.times().len();
    assert!(sent < 30, "two requests were sent {sent} times");
}

/// A refusal that names the limit starts the estimate afresh: patience and failures are forgotten, so
/// every second round tries one more, for ever.
#[tokio::test(start_paused = true)]
async fn a_limit_that_refusals_name_is_not_tried_again_and_again() {
    let busy = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let service = service_fn(move |_: Request<Text>| {
        let (busy, count) = (Arc::clone(&busy), Arc::clone(&count));
        async move {
            if busy.fetch_add(1, Ordering::SeqCst) >= 4 {
                busy.fetch_sub(1, Ordering::SeqCst);
                tokio::time::sleep(ms(10)).await;
                count.fetch_add(1, Ordering::SeqCst);
                let response = Response::builder().status(429);
                return Ok::<_, BoxError>(response.body(Text::from(TOO_MANY)).unwrap());
            }
            tokio::time::sleep(ms(200)).await;
            busy.fetch_sub(1, Ordering::SeqCst);
            Ok(Response::new(Text::default()))
        }
    });
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(10)));
    let client = boxed(&layer, service);
    let mut tasks = JoinSet::new();
    for _ in 0..2_000 {
        let client = client.clone();
        tasks.spawn(async move { client.oneshot(post("/a")).await.unwrap().status() });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let refused = refused.load(Ordering::SeqCst);
    // One per 100 admissions, and the first wave.
    assert!(refused <= 20 + 10, "{refused} of 2000 were refused");
}

/// A daily (or hourly, or quarter-hourly) policy becomes a sliding window of that length, and the
/// stamps that were never kept count as having just been sent.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_a_long_window_does_not_stop_the_client_for_that_long() {
    let (service, sent) = server(|n, _, _| match n {
        20 => no(429, 0)
            .header("ratelimit-policy", "\"day\";q=1000;w=86400")
            .header("ratelimit", "\"day\";r=0;t=5"),
        _ => ok(0),
    });
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per_second(5)))
        .retry(RetryLayer::new());
    let client = boxed(&layer, service);
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(
            client.clone().oneshot(post("/a")).await.unwrap().status(),
            200
        );
    }
    // The answer goes up at once, since its retry would be kept too long.
    let status = client.clone().oneshot(post("/a")).await.unwrap().status();
    let (before, now) = (millis(start), Instant::now());
    let next = client.clone().oneshot(post("/a")).await.unwrap().status();
    assert_eq!(next, 200);
    assert!(
        now.elapsed() < Duration::from_secs(150),
        "the refusal (status {status} at {before} ms) said 5 s, only 21 requests were ever sent of \
         1000 a day, and the next went out after {:?}; {:?}",
        now.elapsed(),
        sent.times().len(),
    );
}

/// The same without a quota, and with express-rate-limit's headers and default window.
#[tokio::test(start_paused = true)]
async fn resume_ends_what_a_named_window_holds_back() {
    let (service, _) = server(|n, _, _| match n {
        100 => no(429, 0)
            .header("retry-after", "3")
            .header("ratelimit-policy", "100;w=900")
            .header("ratelimit", "limit=100, remaining=0, reset=3"),
        _ => ok(0),
    });
    let layer =
        ThrottleLayer::new(Endpoints::new().route("/a", Quota::unlimited())).without_retry();
    let handle = layer.handle();
    let client = boxed(&layer, service);
    for _ in 0..101 {
        client.clone().oneshot(post("/a")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(130)).await;
    handle.resume("/a").unwrap();
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket("/a").unwrap();
    assert_eq!(bucket.paused_for(), None);
    let now = Instant::now();
    client.clone().oneshot(post("/a")).await.unwrap();
    assert_eq!(now.elapsed(), Duration::ZERO, "{bucket:?}");
}

/// A server that is down for maintenance says nothing about rates.
#[tokio::test(start_paused = true)]
async fn maintenance_teaches_no_rate() {
    let (service, sent) = server(|_, at, _| {
        if at < 60_000 {
            no(503, 20).header("retry-after", "60")
        } else {
            ok(20)
        }
    });
    let layer = ThrottleLayer::new(Endpoints::new());
    let client = boxed(&layer, service);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        tasks.spawn(async move { client.oneshot(post("/a")).await.unwrap().status() });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(90),
        "20 requests took {:?} after a minute of maintenance: {:?}",
        start.elapsed(),
        sent.times()
    );
}

/// One refusal beside an answer that never ends: the learned limit of 1 is used up by that answer,
/// nothing succeeds, and only a success would ever forget what was learned.
#[tokio::test(start_paused = true)]
async fn what_was_learned_is_forgotten_after_ten_minutes_even_if_nothing_succeeds() {
    let (service, _) = server(|n, _, _| match n {
        0 => ok(1_000_000_000),
        1 => no(429, 20).body(TOO_MANY_UNNAMED),
        _ => ok(20),
    });
    let layer = ThrottleLayer::new(Endpoints::new());
    let client = boxed(&layer, service);
    let stream = tokio::spawn(client.clone().oneshot(post("/a")));
    settle().await;
    let other = tokio::spawn(client.clone().oneshot(post("/a")));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(other.is_finished(), "nothing has gone out for an hour");
    stream.abort();
}

/// L7: "Without a hint: a rate or overload answer pauses by the back-off's delay". An answer to a
/// request that was sent before the last news pauses nothing, however late it comes, and is retried
/// in the same instant.
#[tokio::test(start_paused = true)]
async fn an_overload_that_is_heard_of_late_backs_off_too() {
    let (service, sent) = server(|n, _, _| match n {
        0 => no(503, 10),
        1 => no(503, 5_000),
        _ => ok(10),
    });
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per_second(100)));
    let client = boxed(&layer, service);
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let client = client.clone();
        tasks.spawn(async move { client.oneshot(fetch("/a")).await.unwrap().status() });
        settle().await;
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let times = sent.times();
    assert!(times[3] > 5_001, "{times:?}");
}

/// The docs of `retry`: "Where the server named no delay, after a `Backoff`."
#[tokio::test(start_paused = true)]
async fn the_configured_backoff_is_what_an_overload_waits_for() {
    let (service, sent) = server(|n, _, _| if n == 0 { no(503, 0) } else { ok(0) });
    let backoff = Backoff::equal(Duration::from_secs(10), Duration::from_secs(20));
    let layer = ThrottleLayer::new(Endpoints::new()).retry(RetryLayer::new().backoff(backoff));
    layer.layer(service).oneshot(fetch("/a")).await.unwrap();
    let times = sent.times();
    assert!(times[1] >= 5_000, "{times:?}");
}

/// Whoever was throttled is older than all who wait, and is refused for their sake.
#[tokio::test(start_paused = true)]
async fn a_throttled_request_finds_its_place_in_a_full_queue() {
    let (service, _) = server(|n, _, _| match n {
        0 => no(429, 100).header("retry-after", "1"),
        _ => ok(10),
    });
    let layer =
        ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(1))).max_waiting(2);
    let client = boxed(&layer, service);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let client = client.clone();
        tasks.push(tokio::spawn(
            async move { client.oneshot(post("/a")).await },
        ));
        settle().await;
    }
    for (i, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(response) => assert_eq!(response.status(), 200, "{i}"),
            Err(error) => panic!("request {i}: {error}"),
        }
    }
}

/// `max_wait`: the server's answer is in hand, and is replaced by an error of ours.
#[tokio::test(start_paused = true)]
async fn a_pause_beyond_max_wait_hands_up_the_answer() {
    let (service, _) = server(|_, _, _| no(429, 10).header("retry-after", "30"));
    let layer = ThrottleLayer::new(Endpoints::new()).max_wait(Duration::from_secs(5));
    let answer = layer.layer(service).oneshot(post("/a")).await;
    match answer {
        Ok(response) => assert_eq!(response.status(), 429),
        Err(error) => panic!("{error}"),
    }
}

/// L10: "computed on entry and again when a pause ... moves it; ... the refusal comes at that instant".
#[tokio::test(start_paused = true)]
async fn a_pause_by_quota_headers_refuses_the_hopeless_at_once() {
    let (service, _) = server(|_, _, _| {
        ok(100)
            .header("x-ratelimit-limit", "100")
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", "60")
    });
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::concurrent(1)))
        .max_wait(Duration::from_secs(5));
    let client = boxed(&layer, service);
    let start = Instant::now();
    let first = tokio::spawn(client.clone().oneshot(post("/a")));
    settle().await;
    let second = tokio::spawn(async move {
        let error = client.oneshot(post("/a")).await.unwrap_err();
        (millis(start), refused(&error).reason())
    });
    first.await.unwrap().unwrap();
    let came = second.await.unwrap();
    assert_eq!(came, (100, RefusedReason::WouldWaitTooLong));
}

/// L7: what a report says about everything stops everything, and what it says about an endpoint only that.
#[tokio::test(start_paused = true)]
async fn a_report_stops_those_that_share_its_quota() {
    for (resource, stopped) in [
        (Some("core"), Endpoints::OVERALL),
        (None, Endpoints::OVERALL),
        (Some("search"), "/a"),
    ] {
        let (service, sent) = server(move |_, _, _| {
            let reply = ok(0)
                .header("x-ratelimit-limit", "100")
                .header("x-ratelimit-remaining", "0")
                .header("x-ratelimit-reset", "60");
            match resource {
                Some(resource) => reply.header("x-ratelimit-resource", resource),
                None => reply,
            }
        });
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .route("/b", Quota::unlimited());
        let layer = ThrottleLayer::new(endpoints).classify(Profile::GitHub);
        let handle = layer.handle();
        let client = boxed(&layer, service);
        client.clone().oneshot(post("/a")).await.unwrap();
        for bucket in ["/a", Endpoints::OVERALL] {
            let paused = handle.snapshot().bucket(bucket).unwrap().paused_for();
            assert_eq!(
                paused.is_some(),
                bucket == stopped,
                "{bucket}: {resource:?}"
            );
        }
        client.oneshot(post("/b")).await.unwrap();
        let waits = stopped == Endpoints::OVERALL;
        assert_eq!(sent.times()[1] > 0, waits, "{resource:?}");
    }
}

/// A later report that plenty is left does not end the pace of an earlier one.
#[tokio::test(start_paused = true)]
async fn plenty_left_ends_a_pace() {
    let (service, sent) = server(|n, _, _| match n {
        0 => ok(10)
            .header("x-ratelimit-limit", "100")
            .header("x-ratelimit-remaining", "1")
            .header("x-ratelimit-reset", "100"),
        // Answered later: the window has been reset, or the plan upgraded.
        1 => ok(1_000)
            .header("x-ratelimit-limit", "100")
            .header("x-ratelimit-remaining", "99")
            .header("x-ratelimit-reset", "100"),
        _ => ok(0),
    });
    let client = boxed(&ThrottleLayer::new(Endpoints::new()), service);
    let first = tokio::spawn(client.clone().oneshot(post("/a")));
    let second = tokio::spawn(client.clone().oneshot(post("/a")));
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    client.oneshot(post("/a")).await.unwrap();
    assert!(sent.times()[2] < 2_000, "{:?}", sent.times());
}

/// A refusal that nobody has fetched keeps no node, but its drop looks at one.
#[tokio::test(start_paused = true)]
async fn dropping_a_refused_request_whose_key_has_been_forgotten() {
    let probe = Probe::new();
    let layer = ConcurrencyLayer::new(Endpoints::new().each_other_path(Quota::concurrent(1)))
        .max_wait(Duration::from_secs(10));
    let handle = layer.handle();
    let mut service = layer.layer(probe.clone());
    let mut first = call(&mut service, job("/a", ms(100)));
    assert!(first.poll().is_pending());
    let mut second = call(&mut service, get("/a"));
    assert!(second.poll().is_pending());
    // It is refused for that, and woken, but not polled yet.
    handle
        .pause(Endpoints::EACH_OTHER_PATH, Duration::from_secs(60))
        .unwrap();
    assert!(second.is_woken());
    drop(first);
    handle.sweep();
    let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(second)));
    assert!(dropped.is_ok(), "its drop panicked");
}

/// The permit of a tunnel ends before its answer is reported, and with it the node's right to stay.
#[tokio::test(start_paused = true)]
async fn an_answer_that_opens_a_tunnel_is_reported_before_its_key_can_be_forgotten() {
    struct Sweeping(Arc<Mutex<Option<tower_throttle::Handle>>>);
    impl Classify for Sweeping {
        // Stands for whatever another thread does between the two.
        fn classify(&self, answer: &Seen<'_>) -> Option<Signal> {
            if let Some(handle) = &*self.0.lock().unwrap() {
                handle.sweep();
            }
            Profile::Standard.classify(answer)
        }
    }
    let (service, _) = server(|_, _, _| no(101, 0).header("maximum-concurrent-requests", "4"));
    let slot = Arc::default();
    let layer = ConcurrencyLayer::new(Endpoints::new()).classify(Sweeping(Arc::clone(&slot)));
    *slot.lock().unwrap() = Some(layer.handle());
    let task = tokio::spawn(layer.layer(service).oneshot(post("/a")));
    let answer = task.await;
    assert!(answer.is_ok(), "{answer:?}");
}

/// Pitfall 2: what was readied and is not called stays reserved.
#[tokio::test(start_paused = true)]
async fn an_unknown_name_releases_the_readied_service() {
    let probe = Probe::new();
    let mut service = RpsLayer::new(Endpoints::new()).layer(probe.clone());
    let mut request = get("/a");
    request
        .extensions_mut()
        .insert(tower_throttle::EndpointName::new("nobody"));
    ready_now::<_, Req>(&mut service);
    let future = service.call(request);
    assert!(future.await.is_err());
    assert_eq!(probe.log().reserved, 0);
}

/// L2: six requests were ever sent; a window of a thousand a day has room for the seventh.
#[tokio::test(start_paused = true)]
async fn a_longer_window_counts_no_more_requests_than_were_ever_sent() {
    let probe = Probe::new();
    let layer = RpsLayer::new(Endpoints::new().route("/a", Quota::per_second(5)));
    let handle = layer.handle();
    let client = BoxCloneSyncService::new(layer.layer(probe.clone()));
    for _ in 0..6 {
        send(client.clone(), get("/a")).await.unwrap();
    }
    handle
        .set_quota("/a", Quota::per(1_000, Duration::from_secs(86_400)))
        .unwrap();
    let now = Instant::now();
    send(client.clone(), get("/a")).await.unwrap();
    assert_eq!(now.elapsed(), Duration::ZERO);
}

/// The same as for a concurrency that is named: a rate that is named is tried again and again.
#[tokio::test(start_paused = true)]
async fn a_rate_that_refusals_name_is_not_tried_again_and_again() {
    let (service, refused) = five_per_second(true);
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per_second(10)))
        .retry(RetryLayer::new().max_total(Duration::from_secs(3_600)));
    let client = boxed(&layer, service);
    all(&client, 2_000).await;
    let refused = refused.load(Ordering::SeqCst);
    // One per 100 admissions, and the first wave.
    assert!(refused <= 20 + 10, "{refused} of 2000");
}

/// Five in a sliding second, refused at once otherwise.
fn five_per_second(named: bool) -> (Server, Arc<AtomicUsize>) {
    let times = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let service = service_fn(move |_: Request<Text>| {
        let (times, count) = (Arc::clone(&times), Arc::clone(&count));
        async move {
            let now = Instant::now();
            let allowed = {
                let mut times = times.lock().unwrap();
                times.retain(|&time| time + Duration::from_secs(1) > now);
                let allowed = times.len() < 5;
                if allowed {
                    times.push(now);
                }
                allowed
            };
            tokio::time::sleep(ms(10)).await;
            let mut response = Response::builder();
            if !allowed {
                count.fetch_add(1, Ordering::SeqCst);
                response = response.status(429);
                if named {
                    response = response
                        .header("ratelimit-policy", "\"s\";q=5;w=1")
                        .header("ratelimit", "\"s\";r=0;t=1");
                }
            }
            Ok::<_, BoxError>(response.body(Text::default()).unwrap())
        }
    });
    (BoxCloneSyncService::new(service), refused)
}

/// Sends so many at once, all of which succeed.
async fn all(client: &Boxed, n: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..n {
        let client = client.clone();
        tasks.spawn(async move { client.oneshot(post("/a")).await.unwrap().status() });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}

/// Successes count towards a higher limit although they came one by one, and say nothing about it.
#[tokio::test(start_paused = true)]
async fn requests_one_by_one_do_not_raise_a_learned_concurrency() {
    let busy = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let service = service_fn(move |_: Request<Text>| {
        let (busy, count) = (Arc::clone(&busy), Arc::clone(&count));
        async move {
            let fits = busy.fetch_add(1, Ordering::SeqCst) < 4;
            if !fits {
                busy.fetch_sub(1, Ordering::SeqCst);
            }
            tokio::time::sleep(ms(20)).await;
            if fits {
                busy.fetch_sub(1, Ordering::SeqCst);
            }
            let response = Response::builder().status(if fits { 200 } else { 429 });
            count.fetch_add(usize::from(!fits), Ordering::SeqCst);
            let body = if fits { "" } else { TOO_MANY_UNNAMED };
            Ok::<_, BoxError>(response.body(Text::from(body)).unwrap())
        }
    });
    let layer = ThrottleLayer::new(Endpoints::new());
    let client = boxed(&layer, service);
    all(&client, 50).await;
    let first = refused.swap(0, Ordering::SeqCst);
    let mut waves = Vec::new();
    for _ in 0..10 {
        for _ in 0..100 {
            client.clone().oneshot(post("/a")).await.unwrap();
        }
        let learned = layer.handle().snapshot();
        let limit = learned
            .bucket("unmatched")
            .and_then(tower_throttle::BucketSnapshot::concurrency);
        all(&client, 50).await;
        waves.push((limit, refused.swap(0, Ordering::SeqCst)));
    }
    let sum: usize = waves.iter().map(|wave| wave.1).sum();
    assert!(
        sum <= 15,
        "{first} at first, then per 150 admissions {waves:?}"
    );
}

/// L7: the answer was received when its head was, with the delay in it; its body is slow.
#[tokio::test(start_paused = true)]
async fn a_head_that_names_a_delay_is_news_before_its_body_has_come() {
    let probe = Probe::new();
    let layer = throttle(Endpoints::new());
    let start = Instant::now();
    let inner = probe.clone();
    let service = service_fn(move |request: Req| {
        let mut inner = inner.clone();
        async move {
            let mut response = inner.ready().await?.call(request).await?;
            if response.status() == 429 {
                response
                    .headers_mut()
                    .insert("retry-after", "10".parse().unwrap());
            }
            Ok::<_, InnerError>(response)
        }
    });
    let client = Client::new(layer.layer(service));
    let mut work = Work::head(ms(10)).body([Step::Wait(ms(200)), Step::Data("{}")]);
    work.status = http::StatusCode::TOO_MANY_REQUESTS;
    let first = tokio::spawn(send(client.clone(), work.of("/a")));
    at(&probe, 100).await;
    let second = tokio::spawn(send(client, get("/a")));
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    let sent = probe.times();
    assert!(sent[1] >= 10_010, "{sent:?} {:?}", start.elapsed());
}

/// An inner service that answers at once (a cache, a mock, a circuit breaker): the retry of a
/// concurrency answer goes round within one poll, for as long as the other request takes.
#[tokio::test(start_paused = true)]
async fn a_poll_sends_a_request_a_bounded_number_of_times() {
    let (service, sent) = server(|n, _, _| match n {
        0 => ok(10_000),
        n if n < 10_000 => no(429, 0).body(TOO_MANY),
        _ => ok(0),
    });
    let client = boxed(&ThrottleLayer::new(Endpoints::new()), service);
    let _first = tokio::spawn(client.clone().oneshot(post("/a")));
    settle().await;
    let mut second = tokio_test::task::spawn(client.oneshot(post("/a")));
    let _ = second.poll().is_ready();
    let sent = sent.times().len();
    assert!(sent < 100, "one poll sent {sent} requests");
}

/// L2: what a quota header asks for ends when it said, not a spacing after the last dispatch.
#[tokio::test(start_paused = true)]
async fn a_pace_ends_when_its_window_does() {
    let (service, sent) = server(|n, _, _| match n {
        0 => ok(1_000)
            .header("x-ratelimit-limit", "100")
            .header("x-ratelimit-remaining", "1")
            .header("x-ratelimit-reset", "5"),
        _ => ok(30_000),
    });
    let layer = ThrottleLayer::new(Endpoints::new());
    let client = boxed(&layer, service);
    client.clone().oneshot(post("/a")).await.unwrap();
    let pace = || {
        let snapshot = layer.handle().snapshot();
        snapshot
            .buckets()
            .find_map(|bucket| bucket.learned()?.pace())
    };
    assert_eq!(pace(), Some(Duration::from_secs(5)));
    let rest: Vec<_> = (0..2)
        .map(|_| tokio::spawn(client.clone().oneshot(post("/a"))))
        .collect();
    for task in rest {
        task.await.unwrap().unwrap();
    }
    // The window is whole again 5 s after the answer of 1 s.
    assert!(sent.times()[2] <= 6_001, "{:?}", sent.times());
    assert_eq!(pace(), None);
}

/// By hand as joint: a concurrency answer waits for a completion (L7). `RpsLayer`, which counts none,
/// pauses everybody by a back-off that doubles with each wave.
#[tokio::test(start_paused = true)]
async fn by_hand_a_concurrency_answer_pauses_nobody_while_others_are_in_flight() {
    let run = |joint: bool| async move {
        let busy = Arc::new(AtomicUsize::new(0));
        let service = service_fn(move |_: Request<Text>| {
            let busy = Arc::clone(&busy);
            async move {
                let fits = busy.fetch_add(1, Ordering::SeqCst) < 4;
                if !fits {
                    busy.fetch_sub(1, Ordering::SeqCst);
                }
                tokio::time::sleep(ms(if fits { 100 } else { 10 })).await;
                if fits {
                    busy.fetch_sub(1, Ordering::SeqCst);
                }
                let response = Response::builder().status(if fits { 200 } else { 429 });
                let body = if fits { "" } else { TOO_MANY_UNNAMED };
                Ok::<_, BoxError>(response.body(Text::from(body)).unwrap())
            }
        });
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
        let start = Instant::now();
        if joint {
            let client = boxed(&ThrottleLayer::new(endpoints), service);
            all(&client, 200).await;
        } else {
            let client = tower::ServiceBuilder::new()
                .layer(RetryLayer::new())
                .layer(ConcurrencyLayer::new(endpoints.clone()))
                .layer(RpsLayer::new(endpoints))
                .service(service);
            let client = BoxCloneSyncService::new(client);
            let mut tasks = JoinSet::new();
            for _ in 0..200 {
                let client = client.clone();
                tasks.spawn(async move { client.oneshot(post("/a")).await.unwrap().status() });
            }
            while let Some(status) = tasks.join_next().await {
                assert_eq!(status.unwrap(), 200);
            }
        }
        start.elapsed()
    };
    let (joint, by_hand) = (run(true).await, run(false).await);
    println!("joint {joint:?}, by hand {by_hand:?}");
    assert!(by_hand < joint * 2, "joint {joint:?}, by hand {by_hand:?}");
}

/// For comparison: the rate that nobody names is tried less and less often.
#[tokio::test(start_paused = true)]
async fn a_rate_that_is_named_nowhere_is_tried_less_and_less_often() {
    let (service, refused) = five_per_second(false);
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per_second(10)))
        .retry(RetryLayer::new().max_total(Duration::from_secs(3_600)));
    let client = boxed(&layer, service);
    all(&client, 2_000).await;
    let refused = refused.load(Ordering::SeqCst);
    assert!(refused <= 20 + 10, "{refused} of 2000");
}

/// A concurrency answer opens the wave; an overload of the same wave then pauses nothing, and a
/// request that may be sent again is, in the same instant.
#[tokio::test(start_paused = true)]
async fn an_overload_among_concurrency_answers_backs_off_too() {
    let (service, sent) = server(|n, _, _| match n {
        0 => ok(3_000),
        1 => no(429, 10).body(TOO_MANY_UNNAMED),
        2 => no(503, 20),
        _ => ok(10),
    });
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per_second(100)));
    let client = boxed(&layer, service);
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let client = client.clone();
        tasks.spawn(async move { client.oneshot(fetch("/a")).await.unwrap().status() });
        settle().await;
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let times = sent.times();
    assert!(times[3] > 100, "{times:?}");
}

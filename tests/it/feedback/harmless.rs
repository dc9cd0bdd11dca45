//! Lessons do no harm: with default settings a client does what a careful person would do with the same
//! answers. Each of these held clients up for minutes once.

use std::{
    collections::VecDeque,
    fmt::Display,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{ms, settle};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_throttle::{BoxError, Endpoints, Handle, Learning, Quota, RetryLayer, ThrottleLayer};

type Text = Full<Bytes>;
type Client = BoxCloneSyncService<Request<Text>, Response<tower_throttle::Body<Text>>, BoxError>;
type Headers = Vec<(&'static str, String)>;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a server decides when a request arrives: for how long it works, and its answer.
#[derive(Clone)]
struct Reply {
    after: Duration,
    status: u16,
    headers: Headers,
    body: &'static str,
}

fn ok(after: Duration) -> Reply {
    Reply {
        after,
        status: 200,
        headers: Vec::new(),
        body: "",
    }
}

fn no(after: Duration) -> Reply {
    Reply {
        status: 429,
        ..ok(after)
    }
}

impl Reply {
    fn header(mut self, name: &'static str, value: impl Display) -> Self {
        self.headers.push((name, format!("{value}")));
        self
    }

    fn retry_after(self, seconds: u64) -> Self {
        self.header("retry-after", seconds)
    }
}

/// What a request looks like to the server.
struct Seen<'a> {
    /// How many came before, and since when the server runs.
    n: usize,
    at: Duration,
    path: &'a str,
    /// How many it is working on.
    busy: usize,
}

#[derive(Default)]
struct Journal {
    sent: Vec<(Duration, String)>,
    busy: usize,
}

#[derive(Clone)]
struct Server {
    start: Instant,
    journal: Arc<Mutex<Journal>>,
}

impl Server {
    fn sent(&self) -> Vec<u64> {
        self.sent_to("")
    }

    fn times(&self) -> Vec<Duration> {
        let journal = self.journal.lock().unwrap();
        journal.sent.iter().map(|(at, _)| *at).collect()
    }

    /// The seconds at which requests to paths that begin like this were sent.
    fn sent_to(&self, path: &str) -> Vec<u64> {
        let journal = self.journal.lock().unwrap();
        let sent = journal.sent.iter().filter(|(_, to)| to.starts_with(path));
        sent.map(|(at, _)| at.as_secs()).collect()
    }
}

/// A client over a server that answers by `reply`.
fn client(
    layer: &ThrottleLayer,
    reply: impl Fn(&Seen<'_>) -> Reply + Send + Sync + 'static,
) -> (Client, Server) {
    let server = Server {
        start: Instant::now(),
        journal: Arc::default(),
    };
    let (of_service, reply) = (server.clone(), Arc::new(reply));
    let service = service_fn(move |request: Request<Text>| {
        let Server { start, journal } = of_service.clone();
        let path = request.uri().path().to_owned();
        let reply = {
            let mut journal = journal.lock().unwrap();
            let seen = Seen {
                n: journal.sent.len(),
                at: start.elapsed(),
                path: &path,
                busy: journal.busy,
            };
            let reply = reply(&seen);
            journal.sent.push((start.elapsed(), path));
            journal.busy += usize::from(reply.status == 200);
            reply
        };
        async move {
            if !reply.after.is_zero() {
                tokio::time::sleep(reply.after).await;
            }
            journal.lock().unwrap().busy -= usize::from(reply.status == 200);
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            Ok::<_, BoxError>(response.body(Text::from(reply.body)).unwrap())
        }
    });
    let client = BoxCloneSyncService::new(layer.layer(service));
    (client, server)
}

fn patient() -> RetryLayer {
    RetryLayer::new().max_total(secs(100_000))
}

fn post(path: &str) -> Request<Text> {
    Request::post(path).body(Text::default()).unwrap()
}

async fn send(client: &Client, path: &str) -> u16 {
    let response = client.clone().oneshot(post(path)).await.unwrap();
    response.status().as_u16()
}

/// So many callers send as many requests in all, each one after the other.
async fn in_turns(client: &Client, callers: u32, requests: u32) {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..requests / callers {
                send(&client, "/a").await;
            }
        });
    }
    tasks.join_all().await;
}

/// Sends so many at once, and waits for all of them.
async fn all(client: &Client, n: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..n {
        let client = client.clone();
        tasks.spawn(async move { send(&client, "/a").await });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}

/// Sends requests to paths, one per `distance`, and tells how long each took.
fn steadily(
    client: &Client,
    n: usize,
    distance: Duration,
    path: impl Fn(usize) -> String,
) -> impl Future<Output = Vec<Duration>> {
    let client = client.clone();
    let paths: Vec<_> = (0..n).map(path).collect();
    async move {
        let mut tasks = JoinSet::new();
        for path in paths {
            let client = client.clone();
            tasks.spawn(async move {
                let start = Instant::now();
                assert_eq!(send(&client, &path).await, 200);
                start.elapsed()
            });
            tokio::time::sleep(distance).await;
        }
        let mut took = tasks.join_all().await;
        took.sort_unstable();
        took
    }
}

fn learned_rate(handle: &Handle) -> Option<(u32, Duration)> {
    let snapshot = handle.snapshot();
    let mut learned = snapshot.buckets().filter_map(|bucket| bucket.learned());
    learned.find_map(|learned| learned.rate().map(|(n, period, _)| (n, period)))
}

// A delay is no period.

#[tokio::test(start_paused = true)]
async fn a_delay_holds_up_nobody_after_it_has_passed() {
    for delay in [5, 30, 60] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |seen| match seen.n {
            0 => no(ms(0)).retry_after(delay),
            _ => ok(ms(20)),
        });
        for _ in 0..30 {
            send(&client, "/a").await;
        }
        let took = server.start.elapsed();
        assert!(took < secs(delay + 3), "{delay}: {:?}", server.sent());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_wave_of_which_nothing_was_accepted_all_are_served_soon() {
    for (callers, delay) in [(20, 60), (50, 20), (200, 60), (5, 10)] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |seen| {
            if seen.at < secs(delay) {
                no(ms(20)).retry_after(delay)
            } else {
                ok(ms(20))
            }
        });
        all(&client, callers).await;
        let took = server.start.elapsed();
        assert!(took < secs(delay + 6), "{callers}: {took:?}");
        let early = server.sent().iter().filter(|&&at| at < delay).count();
        assert_eq!(early, callers, "{:?}", server.sent());
    }
}

/// Whatever bucket has no window: one may go when the delay is over, and after each tenth of a second twice as many.
#[tokio::test(start_paused = true)]
async fn after_a_delay_no_bucket_without_a_window_keeps_anybody() {
    let concurrent = Quota::concurrent(4);
    for endpoints in [
        Endpoints::new(),
        Endpoints::new().each_other_path(concurrent.clone()),
        Endpoints::new().route("/a", Quota::unlimited()),
        Endpoints::new().route("/a", concurrent.clone()),
        Endpoints::new()
            .route("/a", concurrent.clone())
            .partition_by_header("x-key"),
        Endpoints::new().overall(concurrent),
    ] {
        for delay in [60, 9, 45] {
            let layer = ThrottleLayer::new(endpoints.clone());
            let (client, server) = client(&layer, move |seen| match seen.n {
                0 => no(ms(0)).retry_after(delay),
                _ => ok(ms(20)),
            });
            for _ in 0..30 {
                assert_eq!(send(&client, "/a").await, 200);
            }
            let sent = server.times();
            let jitter = sent[1].checked_sub(secs(delay)).unwrap();
            assert!(jitter <= ms(251), "{jitter:?}");
            let after = sent[1..].iter().map(|at| at.abs_diff(sent[1]).as_millis());
            let ramp = [
                0, 100, 200, 220, 300, 320, 340, 360, 400, 420, 440, 460, 480,
            ];
            let rest = (500..).step_by(20).take(17);
            let expected = ramp.into_iter().chain(rest);
            assert!(after.eq(expected), "{endpoints:?}: {sent:?}");
            assert_eq!(learned_rate(&layer.handle()), None);
        }
    }
}

/// All come back within the second in which those do that were told no delay.
#[tokio::test(start_paused = true)]
async fn callers_who_were_all_refused_are_back_a_second_after_the_delay() {
    for (callers, delay) in [(20, 60), (20, 61), (50, 30), (8, 5)] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |seen| {
            if seen.at < secs(delay) {
                no(ms(20)).retry_after(delay)
            } else {
                ok(ms(20))
            }
        });
        all(&client, callers).await;
        let sent = server.times();
        assert_eq!(sent.len(), 2 * callers);
        assert!(sent[..callers].iter().all(Duration::is_zero));
        assert!(sent[callers] >= secs(delay), "{sent:?}");
        let took = server.start.elapsed();
        let most = secs(delay + 1) + ms(20 + 251 + 20);
        assert!(took <= most, "{callers}: {took:?}");
        assert_eq!(learned_rate(&layer.handle()), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_refusal_that_names_a_delay_does_not_slow_down_a_steady_load() {
    for (distance, delay) in [(500, 60), (200, 5), (1000, 45)] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, _) = client(&layer, move |seen| match seen.n {
            3 => no(ms(20)).retry_after(delay),
            _ => ok(ms(20)),
        });
        let took = steadily(&client, 1200, ms(distance), |_| "/a".to_owned()).await;
        let median = took[took.len() / 2];
        assert!(median < ms(100), "{distance}: {median:?}");
    }
}

/// The same of a server that is busy, and of a delay in another form.
#[tokio::test(start_paused = true)]
async fn a_delay_of_whatever_form_is_no_period() {
    let refusals = [
        no(ms(0)).header("ratelimit-reset", 60),
        no(ms(0)).header("retry-after-ms", 60_000),
        Reply {
            status: 503,
            ..no(ms(0)).retry_after(60)
        },
    ];
    for refusal in refusals {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |seen| match seen.n {
            0 => refusal.clone(),
            _ => ok(ms(20)),
        });
        for _ in 0..30 {
            send(&client, "/a").await;
        }
        let took = server.start.elapsed();
        assert!(took < secs(63), "{:?}", server.sent());
    }
}

// What was sent in the last minute is remembered.

#[tokio::test(start_paused = true)]
async fn what_was_sent_in_the_last_minute_is_known_when_a_delay_names_it() {
    let unmatched = Endpoints::new();
    let paths = Endpoints::new().each_other_path(Quota::concurrent(4));
    let partitions = Endpoints::new()
        .route("/a", Quota::unlimited())
        .partition_by_header("x-key");
    for endpoints in [unmatched, paths, partitions] {
        for (accepted, distance, delay) in [(99, 500, 60), (30, 900, 30), (8, 1000, 10)] {
            let layer = ThrottleLayer::new(endpoints.clone()).without_retry();
            let (client, _) = client(&layer, move |seen| {
                if seen.n == accepted {
                    no(ms(5)).retry_after(delay)
                } else {
                    ok(ms(5))
                }
            });
            for _ in 0..=accepted {
                send(&client, "/a").await;
                tokio::time::sleep(ms(distance)).await;
                layer.handle().sweep();
            }
            let expected = (u32::try_from(accepted).unwrap(), secs(delay));
            assert_eq!(
                learned_rate(&layer.handle()),
                Some(expected),
                "{endpoints:?}"
            );
        }
    }
}

/// So many in each minute, which begins when the server says: of ten minutes' capacity nearly all is used.
#[tokio::test(start_paused = true)]
async fn a_limit_per_fixed_minute_is_used_though_no_two_are_ever_at_once() {
    let paths = || Endpoints::new().each_other_path(Quota::concurrent(4));
    for (endpoints, limit, work) in [
        (Endpoints::new(), 100, 100),
        (paths(), 100, 100),
        (paths(), 60, 50),
        (Endpoints::new(), 30, 200),
    ] {
        let layer = ThrottleLayer::new(endpoints).retry(patient());
        let counts = Mutex::new((0, 0));
        let (client, server) = client(&layer, move |seen| {
            let mut counts = counts.lock().unwrap();
            let (minute, used) = &mut *counts;
            if *minute != seen.at.as_secs() / 60 {
                (*minute, *used) = (seen.at.as_secs() / 60, 0);
            }
            if *used == limit {
                return no(ms(work)).retry_after(60 - seen.at.as_secs() % 60);
            }
            *used += 1;
            ok(ms(work))
        });
        let mut count = 0;
        while server.start.elapsed() < secs(600) {
            assert_eq!(send(&client, "/a").await, 200);
            count += 1;
        }
        assert!(count >= 10 * limit * 9 / 10, "{count} of {}", 10 * limit);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_key_keeps_to_a_window_that_comes_later() {
    let paths = Endpoints::new().each_other_path(Quota::concurrent(4));
    let partitions = Endpoints::new()
        .route("/a", Quota::concurrent(4))
        .partition_by_header("x-key");
    for (endpoints, name) in [(paths, Endpoints::EACH_OTHER_PATH), (partitions, "/a")] {
        for (n, seconds) in [(5, 60), (1, 30), (3, 45), (20, 60)] {
            let layer = ThrottleLayer::new(endpoints.clone());
            let (client, server) = client(&layer, |_| ok(ms(0)));
            for _ in 0..n {
                send(&client, "/a").await;
            }
            tokio::time::sleep(secs(5)).await;
            layer.handle().sweep();
            layer
                .handle()
                .set_quota(name, Quota::per(n, secs(seconds)))
                .unwrap();
            for _ in 0..n {
                send(&client, "/a").await;
            }
            let again = server.sent()[n as usize];
            assert_eq!(again, seconds, "{name} {n}: {:?}", server.sent());
        }
    }
}

// One request's trouble is its own.

/// One is always refused, and the others are always served.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_always_refused_holds_up_no_other() {
    let quota = || Endpoints::new().route("/{*rest}", Quota::per_second(100));
    for (endpoints, learning) in [
        (Endpoints::new(), Learning::all()),
        (Endpoints::new(), Learning::none()),
        (quota(), Learning::all()),
        (quota(), Learning::none()),
    ] {
        for (distance, refusal) in [
            (200, no(ms(20))),
            (50, no(ms(100))),
            (50, no(ms(300)).retry_after(1)),
        ] {
            let named = !refusal.headers.is_empty();
            let layer = ThrottleLayer::new(endpoints.clone())
                .learn(learning)
                .retry(patient());
            let (client, server) = client(&layer, move |seen| {
                if seen.path == "/poisoned" {
                    refusal.clone()
                } else {
                    ok(ms(20))
                }
            });
            let others = steadily(&client, 30, ms(distance), |_| "/a".to_owned()).await;
            assert!(others[29] < ms(30));
            let poisoned = tokio::spawn({
                let client = client.clone();
                async move { send(&client, "/poisoned").await }
            });
            let n = usize::try_from(120_000 / distance).unwrap();
            let others = steadily(&client, n, ms(distance), |_| "/a".to_owned()).await;
            let (median, longest) = (others[n / 2], others[n - 1]);
            // The first delay that is named pauses everyone.
            let most = if named { ms(1400) } else { ms(2000) };
            assert!(median < ms(30), "{distance} {learning:?}: {median:?}");
            let seen = server.sent_to("/poisoned");
            assert!(
                longest < most,
                "{distance} {named} {learning:?}: {longest:?} {seen:?}"
            );
            let sent = server.sent_to("/poisoned").len();
            assert!((8..=16).contains(&sent), "{sent} times");
            poisoned.abort();
        }
    }
}

/// Too large, or locked: refused at the first attempt, or for ever.
#[tokio::test(start_paused = true)]
async fn requests_that_have_a_trouble_of_their_own_hold_up_no_other() {
    for (each, distance, for_ever) in [
        (300, 50, true),
        (20, 50, false),
        (150, 100, true),
        (30, 20, false),
    ] {
        let layer = ThrottleLayer::new(Endpoints::new()).retry(patient());
        let refused = Mutex::new(std::collections::HashSet::new());
        let (client, _) = client(&layer, move |seen| {
            let number: usize = seen.path[1..].parse().unwrap();
            let first = refused.lock().unwrap().insert(number);
            if number % each == each - 1 && (first || for_ever) {
                no(ms(20))
            } else {
                ok(ms(20))
            }
        });
        let mut tasks = JoinSet::new();
        for number in 0..1200 {
            let client = client.clone();
            let troubled = number % each == each - 1;
            let mut sending = tokio::spawn(async move {
                let start = Instant::now();
                send(&client, &format!("/{number}")).await;
                start.elapsed()
            });
            tasks.spawn(async move {
                let took = tokio::time::timeout(secs(600), &mut sending).await;
                sending.abort();
                (troubled, took.map_or(secs(600), Result::unwrap))
            });
            tokio::time::sleep(ms(distance)).await;
        }
        let mut others: Vec<_> = tasks.join_all().await;
        others.retain(|(troubled, _)| !troubled);
        others.sort_unstable();
        let median = others[others.len() / 2].1;
        let most = others[others.len() * 99 / 100].1;
        assert!(median < ms(30), "{each}: {median:?}");
        assert!(most < ms(1000), "{each}: {most:?}");
    }
}

/// Law L17: never less than the delay that it names, and longer each time.
#[tokio::test(start_paused = true)]
async fn a_troubled_request_backs_off_by_itself() {
    for delay in [None, Some(3)] {
        let layer = ThrottleLayer::new(Endpoints::new()).retry(patient());
        let (client, server) = client(&layer, move |seen| match (seen.path, delay) {
            ("/poisoned", None) => no(ms(20)),
            ("/poisoned", Some(delay)) => no(ms(500)).retry_after(delay),
            _ => ok(ms(20)),
        });
        let steady = client.clone();
        let _others = tokio::spawn(async move {
            steadily(&steady, 2000, ms(100), |_| "/a".to_owned()).await;
        });
        tokio::time::sleep(secs(10)).await;
        let poisoned = client.clone();
        let _poisoned = tokio::spawn(async move { send(&poisoned, "/poisoned").await });
        tokio::time::sleep(secs(120)).await;
        let journal = server.journal.lock().unwrap();
        let sent: Vec<_> = journal
            .sent
            .iter()
            .filter(|sent| sent.1 == "/poisoned")
            .collect();
        let gaps: Vec<_> = sent
            .windows(2)
            .map(|pair| pair[1].0.saturating_sub(pair[0].0))
            .collect();
        let least = delay.map_or(Duration::ZERO, secs);
        assert!(gaps.iter().all(|&gap| gap >= least), "{gaps:?}");
        // The first delay that is named pauses everyone, and may do so twice.
        let sixth = gaps[if delay.is_some() { 7 } else { 5 }];
        assert!(sixth >= secs(12).max(least) && sixth < secs(23), "{gaps:?}");
        assert!(*gaps.last().unwrap() <= secs(23), "{gaps:?}");
    }
}

// Quota headers pace only what does not fit.

#[tokio::test(start_paused = true)]
async fn what_fits_into_what_is_left_is_not_paced() {
    for (limit, left, reset, n) in [
        (500, 100, 1_036_800, 20),
        (500, 100, 60, 60),
        (100, 5, 100, 5),
    ] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |seen| {
            ok(ms(20))
                .header("x-ratelimit-requests-limit", limit)
                .header("x-ratelimit-requests-remaining", left - seen.n)
                .header("x-ratelimit-requests-reset", reset)
        });
        for _ in 0..n {
            send(&client, "/a").await;
        }
        assert!(server.start.elapsed() < secs(3), "{:?}", server.sent());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_beyond_the_longest_pause_paces_nobody() {
    for reset in [121, 3600, 86_400] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |seen| {
            ok(ms(20))
                .header("x-ratelimit-limit", 1000)
                .header("x-ratelimit-remaining", 60 - seen.n)
                .header("x-ratelimit-reset", reset)
        });
        let first = send(&client, "/a").await;
        assert_eq!(first, 200);
        all(&client, 59).await;
        assert!(server.start.elapsed() < secs(3), "{:?}", server.sent());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_served_although_nothing_was_left_proves_that_nothing_is_no_stop() {
    for (reset, n) in [(86_400, 10), (3600, 30), (400, 10)] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |_| {
            ok(ms(20))
                .header("x-ratelimit-limit", 100)
                .header("x-ratelimit-remaining", 0)
                .header("x-ratelimit-reset", reset)
        });
        for _ in 0..n {
            send(&client, "/a").await;
        }
        assert!(server.start.elapsed() < secs(2), "{:?}", server.sent());
    }
}

/// Each goes in the instant in which the one before is answered, but for half a second in which it turns out that
/// nothing left is no stop.
#[tokio::test(start_paused = true)]
async fn quota_headers_of_what_is_served_all_the_same_cost_no_time() {
    for (limit, left, reset, n) in [
        (500, 100, 1_036_800, 20),
        (500, 100, 1_036_800, 100),
        (500, 0, 86_400, 10),
        (100, 0, 3600, 10),
        (1000, 0, 1_036_800, 40),
    ] {
        let layer = ThrottleLayer::new(Endpoints::new());
        let (client, server) = client(&layer, move |seen| {
            ok(ms(20))
                .header("x-ratelimit-requests-limit", limit)
                .header(
                    "x-ratelimit-requests-remaining",
                    usize::saturating_sub(left, seen.n),
                )
                .header("x-ratelimit-requests-reset", reset)
        });
        for _ in 0..n {
            assert_eq!(send(&client, "/a").await, 200);
        }
        let took = server.start.elapsed();
        let proof = if left == 0 { ms(500) } else { ms(0) };
        assert_eq!(took, ms(20) * n + proof, "{left} {reset}");
    }
}

/// Always nothing, always little, or a count that comes to nothing; and everything is served.
#[tokio::test(start_paused = true)]
async fn quota_headers_that_nobody_keeps_to_hold_up_nobody() {
    let names = [
        [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ],
        ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
        [
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ],
    ];
    let left: [fn(usize) -> usize; 4] = [|_| 0, |_| 3, |_| 1, |n| 40_usize.saturating_sub(n)];
    for names in names {
        for left in left {
            for (reset, callers) in [(60, 1), (60, 20), (86_400, 5), (4, 3), (45, 2)] {
                let layer = ThrottleLayer::new(Endpoints::new());
                let (client, server) = client(&layer, move |seen| {
                    ok(ms(20))
                        .header(names[0], 100)
                        .header(names[1], left(seen.n))
                        .header(names[2], reset)
                });
                in_turns(&client, callers, 200).await;
                let took = server.start.elapsed();
                let possible = ms(20) * (200 / callers);
                assert!(
                    took < possible + secs(3),
                    "{names:?} {reset} {callers}: {took:?}, {:?}",
                    server.sent()
                );
            }
        }
    }
}

/// A server that keeps to its headers is believed after a refusal, and then gets none any more.
#[tokio::test(start_paused = true)]
async fn quota_headers_that_are_kept_to_cost_a_refusal() {
    for (limit, period, callers) in [(10, 10, 1), (30, 20, 5), (5, 30, 1)] {
        let layer = ThrottleLayer::new(Endpoints::new()).retry(patient());
        let refused = Arc::new(Mutex::new(0));
        let refusals = Arc::clone(&refused);
        let counts = Mutex::new((0, 0));
        let (client, server) = client(&layer, move |seen| {
            let mut counts = counts.lock().unwrap();
            let (window, used) = &mut *counts;
            if *window != seen.at.as_secs() / period {
                (*window, *used) = (seen.at.as_secs() / period, 0);
            }
            let reset = period - seen.at.as_secs() % period;
            let reply = if *used == limit {
                *refusals.lock().unwrap() += 1;
                no(ms(20)).retry_after(reset)
            } else {
                *used += 1;
                ok(ms(20))
            };
            reply
                .header("x-ratelimit-limit", limit)
                .header("x-ratelimit-remaining", limit - *used)
                .header("x-ratelimit-reset", reset)
        });
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let client = client.clone();
            tasks.spawn(async move {
                for _ in 0..6 * limit / callers {
                    send(&client, "/a").await;
                }
            });
        }
        tasks.join_all().await;
        let refused = *refused.lock().unwrap();
        assert!(refused <= callers, "{limit}/{period}: {refused}");
        let took = server.start.elapsed();
        assert!(took < secs(period * 7), "{limit}/{period}: {took:?}");
    }
}

// Too fast, or too many at once?

/// Takes so many at once, and refuses the others at once without a word.
fn at_once(limit: usize, work: Duration, body: &'static str) -> impl Fn(&Seen<'_>) -> Reply {
    move |seen| {
        if seen.busy < limit {
            ok(work)
        } else {
            Reply { body, ..no(ms(0)) }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_to_what_is_in_flight_is_found_whatever_the_words() {
    let configured = || Endpoints::new().route("/a", Quota::per_second(100).concurrency(10));
    let small = || Endpoints::new().route("/a", Quota::per_second(20).concurrency(10));
    for (endpoints, limit, work, n) in [
        (configured(), 8, 100, 500),
        (configured(), 4, 300, 200),
        (configured(), 2, 50, 200),
        (configured(), 8, 2000, 60),
        (small(), 4, 500, 100),
        (small(), 8, 1000, 100),
        (Endpoints::new(), 8, 100, 500),
        (Endpoints::new(), 30, 500, 500),
        (Endpoints::new(), 3, 1500, 40),
    ] {
        for body in ["", "slow down", r#"{"error":"too many requests"}"#] {
            let layer = ThrottleLayer::new(endpoints.clone()).retry(patient());
            let (client, server) = client(&layer, at_once(limit, ms(work), body));
            all(&client, n).await;
            let rounds = u64::try_from(n.div_ceil(limit)).unwrap();
            let possible = ms(work * rounds);
            let took = server.start.elapsed();
            let most = possible.mul_f64(1.28);
            println!(
                "{limit} at once, {work} ms: {took:?} of {possible:?}, {} sent",
                server.sent().len()
            );
            assert!(
                took <= most,
                "{limit} {work} {body}: {took:?} of {possible:?}"
            );
        }
    }
}

/// Words that name no delay and no rate.
#[tokio::test(start_paused = true)]
async fn five_hundred_calls_at_eight_at_once_take_eight_seconds_in_whatever_words() {
    for body in [
        "",
        "slow down",
        "429 Too Many Requests\n",
        "Rate limit exceeded",
        "Limit reached. Try again later.",
        "<html><head><title>429 Too Many Requests</title></head><body>nginx</body></html>",
        r#"{"error":{"type":"rate_limit_error","message":"Too many requests"}}"#,
        r#"{"error":{"code":"rate_limit_exceeded"}}"#,
        r#"{"error":"Server busy"}"#,
        r#"{"error":"Too many concurrent requests"}"#,
        r#"{"detail":"Concurrency limit is 8"}"#,
        r#"{"detail":"concurrency limit reached"}"#,
        r#"{"error":{"code":"account_concurrency_exceeded"}}"#,
        "Too many simultaneous connections",
        "Zu viele Anfragen",
        "\u{8bf7}\u{6c42}\u{8fc7}\u{4e8e}\u{9891}\u{7e41}",
    ] {
        let endpoints = Endpoints::new().route("/a", Quota::per_second(100).concurrency(10));
        let layer = ThrottleLayer::new(endpoints);
        let (client, server) = client(&layer, at_once(8, ms(100), body));
        all(&client, 500).await;
        let took = server.start.elapsed();
        println!("{body:?}: {took:?}, {} sent", server.sent().len());
        assert!(took <= secs(8), "{body}: {took:?}");
    }
}

/// The rate is what explains what is refused, though it looks like the other at first.
#[tokio::test(start_paused = true)]
async fn a_rate_is_found_however_long_the_work_is() {
    for (limit, work, n) in [(5, 2000, 100), (20, 20, 300), (10, 500, 200), (5, 100, 60)] {
        let layer = ThrottleLayer::new(Endpoints::new()).retry(patient());
        let stamps = Mutex::new(VecDeque::new());
        let (client, server) = client(&layer, move |seen| {
            let mut stamps = stamps.lock().unwrap();
            while stamps.front().is_some_and(|&at| at + secs(1) <= seen.at) {
                stamps.pop_front();
            }
            if stamps.len() < limit {
                stamps.push_back(seen.at);
                ok(ms(work))
            } else {
                no(ms(0))
            }
        });
        all(&client, n).await;
        let took = server.start.elapsed();
        let possible = secs(n.div_ceil(limit) as u64 - 1) + ms(work);
        println!(
            "{limit}/s, {work} ms: {took:?} of {possible:?}, {} sent",
            server.sent().len()
        );
        assert!(
            took <= possible.mul_f64(1.1) + secs(1),
            "{limit} {work}: {took:?} of {possible:?}"
        );
        assert!(server.sent().len() <= 2 * n + 20);
    }
}

// Tokens are no requests.

#[tokio::test(start_paused = true)]
async fn a_refusal_about_tokens_teaches_nothing_about_requests() {
    const BODIES: [&str; 4] = [
        r#"{"error":{"message":"Rate limit reached on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000.","type":"tokens"}}"#,
        r#"{"error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 40,000 input tokens per minute."}}"#,
        r#"{"error":{"details":[{"violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_input_token_count"}]}]}}"#,
        "",
    ];
    for quota in [
        Quota::per_second(10),
        Quota::per(10, secs(10)).concurrency(10),
        Quota::unlimited(),
    ] {
        for body in BODIES {
            let layer = ThrottleLayer::new(Endpoints::new().route("/a", quota.clone()));
            let (client, server) = client(&layer, move |seen| match seen.n {
                9 => {
                    let refusal = no(ms(20)).retry_after(2);
                    Reply { body, ..refusal }
                        .header("x-ratelimit-remaining-requests", 54)
                        .header("x-ratelimit-remaining-tokens", 0)
                }
                _ => ok(ms(20)),
            });
            all(&client, 10).await;
            let handle = layer.handle().snapshot();
            let learned = handle.bucket("/a").unwrap().learned();
            assert!(learned.is_none(), "{quota:?} {body}: {learned:?}");
            assert_eq!(server.sent().len(), 11);
        }
    }
    // The same about requests does teach.
    let layer = ThrottleLayer::new(Endpoints::new().route("/a", Quota::per_second(10)));
    let (client, _) = client(&layer, |seen| match seen.n {
        9 => no(ms(20)).retry_after(2),
        _ => ok(ms(20)),
    });
    all(&client, 10).await;
    let snapshot = layer.handle().snapshot();
    let learned = snapshot.bucket("/a").unwrap().learned().unwrap();
    assert!(learned.margin().is_some(), "{learned:?}");
}

const SEEDS: usize = 9;

/// A share of all requests is refused, whatever one does: no limit explains that.
#[tokio::test(start_paused = true)]
async fn what_no_limit_explains_teaches_none() {
    let quota = || Endpoints::new().route("/a", Quota::per_second(100));
    for endpoints in [Endpoints::new(), quota()] {
        for percent in [10, 30, 50, 70u32] {
            for (delay, load) in [
                (None, None),
                (Some(1), None),
                (None, Some(100)),
                (Some(1), Some(100)),
            ] {
                let mut times = Vec::new();
                for learning in [Learning::all(), Learning::none()] {
                    let mut took = Vec::new();
                    for seed in 0..SEEDS as u64 {
                        fastrand::seed(seed);
                        let layer = ThrottleLayer::new(endpoints.clone())
                            .retry(patient())
                            .learn(learning);
                        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
                        let (client, server) = client(&layer, move |_| {
                            if rng.lock().unwrap().u32(0..100) >= percent {
                                return ok(ms(30));
                            }
                            match delay {
                                Some(delay) => no(ms(30)).retry_after(delay),
                                None => no(ms(30)),
                            }
                        });
                        match load {
                            Some(distance) => {
                                steadily(&client, 200, ms(distance), |_| "/a".to_owned()).await;
                            }
                            None => all(&client, 200).await,
                        }
                        took.push(server.start.elapsed());
                    }
                    took.sort_unstable();
                    times.push(took[SEEDS / 2]);
                }
                println!("{percent} %, {delay:?}, {load:?}, {endpoints:?}: {times:?}");
                // Where few are accepted chance has the last word: in either run one request may be
                // refused many times.
                let most = if percent > 50 { 1.8 } else { 1.25 };
                assert!(
                    times[0] <= times[1].mul_f64(most) + ms(300),
                    "{percent} {delay:?} {load:?}: {times:?}"
                );
            }
        }
    }
}

/// The same of a few callers, all of which wait out each delay: fewer at once are refused as often.
#[tokio::test(start_paused = true)]
async fn a_share_that_is_refused_of_a_few_callers_holds_up_nobody() {
    for (percent, callers, delay) in [(58, 10, 1), (50, 6, 2), (60, 20, 1)] {
        let mut times = Vec::new();
        for learning in [Learning::all(), Learning::none()] {
            let mut took = Vec::new();
            for seed in 0..SEEDS as u64 {
                fastrand::seed(seed);
                let layer = ThrottleLayer::new(Endpoints::new())
                    .retry(patient())
                    .learn(learning);
                let rng = Mutex::new(fastrand::Rng::with_seed(seed));
                let (client, server) = client(&layer, move |_| {
                    if rng.lock().unwrap().u32(0..100) >= percent {
                        ok(ms(12))
                    } else {
                        no(ms(8)).retry_after(delay)
                    }
                });
                in_turns(&client, callers, 90).await;
                took.push(server.start.elapsed());
            }
            took.sort_unstable();
            times.push(took[SEEDS / 2]);
        }
        println!("{percent} %, {callers} callers, {delay} s: {times:?}");
        assert!(
            times[0] <= times[1].mul_f64(1.5),
            "{percent} {callers}: {times:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_over_when_it_is_over() {
    for status in [429, 503] {
        for (callers, length) in [(20, 3), (100, 10), (200, 30)] {
            let mut times = Vec::new();
            for learning in [Learning::all(), Learning::none()] {
                fastrand::seed(7);
                let layer = ThrottleLayer::new(Endpoints::new())
                    .retry(patient().max_attempts(1000))
                    .learn(learning);
                let (client, server) = client(&layer, move |seen| {
                    let status = if seen.at < secs(length) { status } else { 200 };
                    Reply {
                        status,
                        ..ok(ms(50))
                    }
                });
                let mut tasks = JoinSet::new();
                for _ in 0..callers {
                    let client = client.clone();
                    tasks.spawn(async move {
                        let request = Request::get("/a").body(Text::default()).unwrap();
                        client.oneshot(request).await.unwrap().status().as_u16()
                    });
                }
                tasks.join_all().await;
                times.push(server.start.elapsed());
            }
            println!("{status}, {callers} for {length} s: {times:?}");
            assert!(times[0] <= times[1].mul_f64(1.15) + ms(100), "{times:?}");
        }
    }
    settle().await;
}

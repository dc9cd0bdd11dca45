//! Where discovery applies, and for how long what it found is kept.

use std::time::Duration;

use tokio::time::sleep;
use tower::{Layer, service_fn};
use tower_throttle::{
    ConcurrencyLayer, Endpoints, Handle, Learning, Quota, RetryLayer, RpsLayer, ThrottleLayer,
    signal::Profile,
};

use crate::support::{Client, Probe, Req, Step, Work, burst, finish, get, ms, send, settle};

const ON: Learning = Learning::all().discover();

fn client(endpoints: Endpoints) -> (Client, Probe, Handle) {
    let layer = ThrottleLayer::new(endpoints).without_retry().learn(ON);
    let probe = Probe::new();
    let client = Client::new(layer.layer(probe.clone()));
    (client, probe, layer.handle())
}

fn to(path: &'static str, time: Duration) -> impl Fn(usize) -> Req {
    move |_| Work::head(time).of(path)
}

/// How many of 100 at once are in flight at first.
async fn at_once(client: &Client, probe: &Probe, path: &'static str) -> usize {
    let before = probe.log().in_flight;
    let sent = burst(client, 100, to(path, ms(100))).await;
    let at_once = probe.log().in_flight - before;
    finish(sent).await;
    at_once
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_discovers_if_nothing_is_configured_for_it_or_wider() {
    let endpoints = Endpoints::new()
        .route("/bare", Quota::unlimited())
        .route("/window", Quota::per_second(1000))
        .route("/permits", Quota::concurrent(50))
        .group("none", Quota::unlimited(), ["/grouped"])
        .group("some", Quota::per_second(1000), ["/limited"]);
    let (client, probe, _) = client(endpoints);
    for (path, most) in [
        ("/bare", 16),
        ("/window", 100),
        ("/permits", 50),
        ("/grouped", 16),
        ("/limited", 100),
        ("/unmatched", 16),
    ] {
        assert_eq!(at_once(&client, &probe, path).await, most, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_overall_limit_or_one_across_partitions_leaves_nothing_to_discover() {
    let limit = Quota::per_second(100_000);
    let across = Endpoints::new()
        .partition_by(|_| Some(1))
        .across_partitions(limit.clone());
    for endpoints in [Endpoints::new().overall(limit), across] {
        let (client, probe, _) = client(endpoints);
        assert_eq!(at_once(&client, &probe, "/a").await, 100);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_discovers_for_as_long_as_no_quota_is_set() {
    let (client, probe, handle) = client(Endpoints::new().route("/a", Quota::unlimited()));
    assert_eq!(at_once(&client, &probe, "/a").await, 16);
    sleep(ms(120_000)).await;
    let overall = Endpoints::OVERALL;
    handle
        .set_quota(overall, Quota::per_second(100_000))
        .unwrap();
    assert_eq!(at_once(&client, &probe, "/a").await, 100);
    handle.set_quota(overall, Quota::unlimited()).unwrap();
    sleep(ms(120_000)).await;
    assert_eq!(at_once(&client, &probe, "/a").await, 16);
    handle.set_learning(Learning::all());
    assert_eq!(at_once(&client, &probe, "/a").await, 100);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_counts_what_is_in_flight_discovers_and_no_other() {
    let probe = Probe::new();
    let layer = ConcurrencyLayer::new(Endpoints::new()).learn(ON);
    let client = Client::new(layer.layer(probe.clone()));
    assert_eq!(at_once(&client, &probe, "/a").await, 16);
    let layer = RpsLayer::new(Endpoints::new()).learn(ON);
    let client = Client::new(layer.layer(probe.clone()));
    assert_eq!(at_once(&client, &probe, "/a").await, 100);
}

#[tokio::test(start_paused = true)]
async fn each_success_raises_the_limit_while_half_of_it_is_in_use() {
    let (client, probe, handle) = client(Endpoints::new().route("/a", Quota::unlimited()));
    let limit = || handle.snapshot().bucket("/a").unwrap().concurrency();
    assert_eq!(limit(), Some(16));
    // Seven at a time never need more.
    for _ in 0..10 {
        finish(burst(&client, 7, to("/a", ms(100))).await).await;
    }
    assert_eq!(limit(), Some(16));
    let sent = burst(&client, 100, to("/a", ms(100))).await;
    let mut seen = Vec::new();
    while probe.log().in_flight > 0 {
        seen.push((probe.log().in_flight, limit().unwrap()));
        sleep(ms(100)).await;
        settle().await;
    }
    assert_eq!(seen, [(16, 16), (32, 32), (52, 64)]);
    finish(sent).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_use_for_a_minute_is_forgotten() {
    let (client, probe, handle) = client(Endpoints::new().route("/a", Quota::unlimited()));
    assert_eq!(at_once(&client, &probe, "/a").await, 16);
    sleep(ms(59_000)).await;
    assert_eq!(at_once(&client, &probe, "/a").await, 100);
    // A trickle does not keep it.
    for _ in 0..70 {
        send(client.clone(), Work::head(ms(10)).of("/a"))
            .await
            .unwrap();
        sleep(ms(1000)).await;
    }
    let bucket = handle.snapshot().bucket("/a").unwrap().concurrency();
    assert_eq!(bucket, Some(16));
    assert_eq!(at_once(&client, &probe, "/a").await, 16);
}

/// Their heads are successes, and what they leave open is in use.
#[tokio::test(start_paused = true)]
async fn streams_that_stay_open_do_not_use_the_limit_up() {
    let (client, probe, _) = client(Endpoints::new());
    let stream = |_| {
        let wait = Step::Wait(ms(3_600_000));
        Work::head(ms(10)).body([wait]).of("/a")
    };
    let streams = burst(&client, 40, stream).await;
    sleep(ms(1000)).await;
    assert_eq!(probe.log().in_flight, 40);
    sleep(ms(600_000)).await;
    let before = tokio::time::Instant::now();
    finish(burst(&client, 30, to("/a", ms(10))).await).await;
    // Sixteen, and then the others.
    assert_eq!(before.elapsed(), ms(20));
    drop(streams);
}

#[tokio::test(start_paused = true)]
async fn keys_that_discover_are_forgotten_when_they_have_been_idle() {
    let (client, _, handle) = client(Endpoints::new().each_other_path(Quota::unlimited()));
    for n in 0..200 {
        let path = format!("/{n}");
        let sent = burst(&client, 20, |_| Work::head(ms(10)).of(&path)).await;
        finish(sent).await;
    }
    let keys = || handle.snapshot().buckets().count();
    assert!(keys() >= 200);
    handle.sweep();
    assert!(keys() >= 200);
    sleep(ms(61_000)).await;
    handle.sweep();
    assert!(keys() < 5, "{}", keys());
}

/// Law L17 holds from the first answers on.
#[tokio::test(start_paused = true)]
async fn one_refusal_after_twenty_answers_is_its_own_trouble() {
    let (client, probe, handle) = client(Endpoints::new().route("/a", Quota::unlimited()));
    for _ in 0..5 {
        finish(burst(&client, 4, to("/a", ms(10))).await).await;
    }
    let refused = |_| {
        let mut work = Work::head(ms(10));
        work.status = http::StatusCode::TOO_MANY_REQUESTS;
        work.of("/a")
    };
    // The eighth in flight has discovery listen, just before one of them is refused.
    let mut sent = burst(&client, 9, to("/a", ms(10))).await;
    sent.extend(burst(&client, 1, refused).await);
    finish(sent).await;
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket("/a").unwrap();
    assert_eq!((bucket.paused_for(), bucket.learned()), (None, None));
    assert_eq!(probe.log().calls.len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_threads_everybody_is_answered() {
    let probe = Probe::new();
    let layer = ThrottleLayer::new(Endpoints::new()).without_retry();
    let client = Client::new(layer.learn(ON).layer(probe.clone()));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let client = client.clone();
        callers.spawn(async move {
            for _ in 0..20 {
                let request = Work::head(ms(1)).of("/a");
                send(client.clone(), request).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    assert_eq!(probe.log().calls.len(), 4000);
    assert!(probe.log().most_in_flight > 100);
}

/// Such a refusal teaches no limit, since the overall quota learns none.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_concerns_everything_slows_its_endpoint_down() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    let start = tokio::time::Instant::now();
    let server = service_fn(move |_: Req| {
        let n = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            sleep(ms(100)).await;
            let refused = start.elapsed() < ms(30_000) && n >= 16;
            let status = if refused { 429 } else { 200 };
            let response = http::Response::builder().status(status);
            let response = response.header("x-ratelimit-scope", "global");
            Ok::<_, tower::BoxError>(response.body(crate::support::Scripted::new([])).unwrap())
        }
    });
    let retry = RetryLayer::new().max_attempts(1000).without_budget();
    let layer = ThrottleLayer::new(Endpoints::new())
        .classify(Profile::Discord)
        .learn(ON)
        .retry(retry.max_total(ms(1_000_000)));
    let client = Client::new(layer.layer(server));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let client = client.clone();
        tasks.spawn(send(client, get("/a")));
    }
    for answer in tasks.join_all().await {
        answer.unwrap();
    }
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    // A wave of 32, and 16 after each back-off until the server takes them again. Without discovery it is 200.
    assert!(sent <= 200 + 32 + 6 * 16, "{sent}");
}

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_throttle::{
    BoxError, Endpoints, Handle, Observer, Quota, RetryLayer, ThrottleLayer, Usage,
    store::{
        Asking, Mailbox, MemoryStore, Store, StoreError,
        protocol::{Ask, Timing},
    },
};

type Req = Request<&'static str>;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Answers after 10 ms as the last segment of the path says.
async fn serve(request: Req) -> Result<Response<String>, BoxError> {
    tokio::time::sleep(ms(10)).await;
    let what = request.uri().path().rsplit('/').next().unwrap_or_default();
    let response = Response::builder().header("content-type", "application/json");
    Ok(match what {
        "lost" => return Err(std::io::Error::from(ErrorKind::ConnectionReset).into()),
        "busy" => response
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header("retry-after", "1")
            .body(r#"{"detail":{"status":"too_many_concurrent_requests"}}"#.to_owned())?,
        "failing" => response
            .status(StatusCode::SERVICE_UNAVAILABLE)
            .body(String::new())?,
        "paid" => response
            .status(StatusCode::UNAUTHORIZED)
            .body(r#"{"detail":{"status":"quota_exceeded"}}"#.to_owned())?,
        "settled" => {
            let usage = r#"{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
            response.body(usage.to_owned())?
        }
        _ => response.body("{}".to_owned())?,
    })
}

fn endpoints() -> Endpoints {
    Endpoints::new()
        .route("/one", Quota::concurrent(1))
        .route("/window", Quota::per(1, ms(100)))
        .route("/crowd/{what}", Quota::concurrent(20))
        .route("/quota/{what}", "1000 tokens/min".parse().unwrap())
        .each_other_path(Quota::per(1000, ms(100)))
}

/// A store that can be away.
#[derive(Clone, Debug, Default)]
struct Moody {
    store: MemoryStore,
    away: Arc<AtomicBool>,
}

impl Store for Moody {
    fn timing(&self) -> Timing {
        self.store.timing()
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        if self.away.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::away("it sulks")) });
        }
        self.store.ask(ask)
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.store.hash_keys()
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.store.listen(member)
    }
}

/// A store that is away for a second, and another member with another quota.
async fn fleet(observer: impl Observer) {
    let store = Moody::default();
    let of = |n| {
        let layer = ThrottleLayer::new(Endpoints::new().route("/one", Quota::concurrent(n)));
        layer.store(store.clone())
    };
    let get = || Request::get("/one").body("").unwrap();
    let other = of(1).layer(service_fn(serve));
    drop(other.oneshot(get()).await.unwrap());
    let client = of(2).observe(observer).layer(service_fn(serve));
    for _ in 0..2 {
        store.away.store(true, Ordering::SeqCst);
        let waits = tokio::spawn(client.clone().oneshot(get()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.away.store(false, Ordering::SeqCst);
        drop(waits.await.unwrap().unwrap());
    }
}

/// A run in which each kind of event comes about. The clock is paused. Returns the handle of the layer, which is closed,
/// and calls `look` when there is something to be seen.
pub async fn everything(observer: impl Observer, look: impl Fn(&Handle)) -> Handle {
    let observer = Arc::new(observer);
    fleet(Arc::clone(&observer)).await;
    let retry = RetryLayer::new().max_attempts(2);
    let layer = ThrottleLayer::new(endpoints())
        .retry(retry)
        .settle_by(Usage::OPENAI)
        .observe(observer);
    let handle = layer.handle();
    let hasty = layer.clone().max_wait(ms(5)).layer(service_fn(serve));
    let client = layer.layer(service_fn(serve));
    let get = |path: &str| Request::get(path).body("").unwrap();
    let send = |path: &str| tokio::spawn(client.clone().oneshot(get(path)));

    // Queued for a window, and for a pause.
    let queued = [send("/window"), send("/window")];
    tokio::task::yield_now().await;
    handle.pause("/window", ms(150)).unwrap();
    hasty.oneshot(get("/window")).await.unwrap_err();
    look(&handle);
    for one in queued {
        one.await.unwrap().unwrap();
    }
    handle.pause("/window", ms(10)).unwrap();
    handle.resume("/window").unwrap();

    // A body that is kept while another request waits.
    let kept = client.clone().oneshot(get("/one")).await.unwrap();
    let waiting = send("/one");
    tokio::time::sleep(Duration::from_secs(31)).await;
    look(&handle);
    drop(kept);
    drop(waiting.await.unwrap().unwrap());

    // A request that does not take its turn.
    let holds = client.clone().oneshot(get("/one")).await.unwrap();
    let mut service = client.clone();
    service.ready().await.unwrap();
    let mut absent = tokio_test::task::spawn(service.call(get("/one")));
    assert!(absent.poll().is_pending());
    let next = send("/one");
    tokio::task::yield_now().await;
    drop(holds);
    drop(next.await.unwrap().unwrap());
    drop(absent);

    // Settled, and not.
    for path in ["/quota/settled", "/quota/unsettled"] {
        let response = client.clone().oneshot(get(path)).await.unwrap();
        http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap();
    }

    // Lost, failed until it is given up, throttled for good, and throttled by a crowd, which teaches.
    send("/some/lost").await.unwrap().unwrap_err();
    drop(send("/secret-path/failing").await.unwrap().unwrap());
    drop(send("/some/paid").await.unwrap().unwrap());
    let crowd: Vec<_> = (0..12).map(|_| send("/crowd/busy")).collect();
    tokio::time::sleep(ms(500)).await;
    look(&handle);
    for one in crowd {
        one.abort();
    }
    // What was learned ends by itself after ten minutes, and idle keys are forgotten.
    tokio::time::sleep(Duration::from_secs(700)).await;
    drop(send("/crowd/well").await.unwrap().unwrap());
    handle.sweep();
    handle.close();
    look(&handle);
    handle
}

//! Real time, several threads, and records from within the inner service.
//!
//! Runs for three seconds, or for as many as `TOWER_THROTTLE_STRESS_SECONDS` says.

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use support::*;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{BoxError, Endpoints};

const PATHS: [&str; 4] = ["/a", "/b", "/c", "/d"];
const WINDOW: Duration = ms(20);
const PER_WINDOW: u32 = 50;
const AT_ONCE: usize = 8;
const OVERALL_PER_WINDOW: u32 = 120;
const OVERALL_AT_ONCE: usize = 20;

/// What one scope saw.
#[derive(Default)]
struct Record {
    /// Taken on entry to `call`.
    calls: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

impl Record {
    fn enter(self: &Arc<Self>, at: Instant) -> Flight {
        self.calls.lock().unwrap().push(at);
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Flight(self.clone())
    }

    fn violations(&self, n: usize, window: Duration) -> usize {
        let mut calls = self.calls.lock().unwrap().clone();
        calls.sort_unstable();
        calls
            .windows(n + 1)
            .filter(|w| w[n] - w[0] < window)
            .count()
    }
}

struct Flight(Arc<Record>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
struct Server(Arc<Records>);

#[derive(Default)]
struct Records {
    paths: [Arc<Record>; 4],
    overall: Arc<Record>,
    seed: AtomicUsize,
}

/// Holds the flights to the end of the body, which it does not foresee.
struct Slow {
    flights: Option<[Flight; 2]>,
    left: usize,
}

impl http_body::Body for Slow {
    type Data = bytes::Bytes;
    type Error = InnerError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, InnerError>>> {
        if self.left == 0 {
            self.flights = None;
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(http_body::Frame::data("x".into()))))
    }
}

impl Service<Req> for Server {
    type Response = http::Response<Slow>;
    type Error = InnerError;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, InnerError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let at = Instant::now();
        let path = PATHS
            .iter()
            .position(|path| *path == request.uri().path())
            .unwrap();
        let flights = [self.0.paths[path].enter(at), self.0.overall.enter(at)];
        let seed = self.0.seed.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match seed % 7 {
                0 => tokio::time::sleep(ms(1)).await,
                1 => tokio::task::yield_now().await,
                2 => return Err(InnerError("now and then")),
                _ => {}
            }
            Ok(http::Response::new(Slow {
                flights: Some(flights),
                left: 1 + seed % 3,
            }))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_window_and_no_limit_is_ever_broken() {
    let seconds = std::env::var("TOWER_THROTTLE_STRESS_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(3);
    let quota = tower_throttle::Quota::per(PER_WINDOW, WINDOW).concurrency(AT_ONCE);
    let mut endpoints = Endpoints::new().overall(
        tower_throttle::Quota::per(OVERALL_PER_WINDOW, WINDOW).concurrency(OVERALL_AT_ONCE),
    );
    for path in PATHS {
        endpoints = endpoints.route(path, quota.clone());
    }
    let layer = throttle(endpoints);
    let server = Server::default();
    let stop = Arc::new(AtomicBool::new(false));
    let service = layer.layer(server.clone());
    let tasks: Vec<_> = (0..256usize)
        .map(|task| {
            // Half of them through one service's clones, half through services of their own.
            let mut service = if task % 2 == 0 {
                service.clone()
            } else {
                layer.layer(server.clone())
            };
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut sent = 0usize;
                while !stop.load(Ordering::Relaxed) {
                    let path = PATHS[(task + sent) % PATHS.len()];
                    sent += 1;
                    let future = service.ready().await?.call(get(path));
                    let response = if sent % 5 == 0 {
                        // Cancelled wherever it is then.
                        match tokio::time::timeout(ms(sent as u64 % 7), future).await {
                            Ok(response) => response,
                            Err(_) => continue,
                        }
                    } else {
                        future.await
                    };
                    let Ok(response) = response else { continue };
                    if sent % 11 == 0 {
                        tokio::time::sleep(ms(1)).await;
                        continue;
                    }
                    let mut body = std::pin::pin!(response.into_body());
                    while let Some(frame) =
                        std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx))
                            .await
                    {
                        frame?;
                    }
                }
                Ok::<_, BoxError>(())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap().unwrap();
    }

    assert_idle(&layer.handle());
    let records = &server.0;
    for (path, record) in PATHS.iter().zip(&records.paths) {
        assert_eq!(record.violations(PER_WINDOW as usize, WINDOW), 0, "{path}");
        assert!(record.most.load(Ordering::SeqCst) <= AT_ONCE, "{path}");
    }
    assert_eq!(
        records
            .overall
            .violations(OVERALL_PER_WINDOW as usize, WINDOW),
        0
    );
    assert!(records.overall.most.load(Ordering::SeqCst) <= OVERALL_AT_ONCE);
    // The limits did bind, and the work went on.
    let calls = records.overall.calls.lock().unwrap().len();
    let possible = usize::try_from(seconds).unwrap() * 50 * OVERALL_PER_WINDOW as usize;
    assert!(calls > possible / 10, "{calls} calls of {possible}");
}

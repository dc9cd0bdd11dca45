//! tower-throttle under the clients that people use, over sockets of this machine.
//!
//! The tests are in `tests/clients`, a file for each client. Here is what they talk to, and what several of
//! them need. The guide's code is compiled as doctests of this package, which has everything that it uses.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tower_throttle::{BucketSnapshot, Handle, mock};

#[cfg(doctest)]
#[doc = include_str!("../../../docs/clients.md")]
struct Guide;

/// Longer than anything here takes on the busiest machine.
pub const LONG: Duration = Duration::from_secs(30);

/// Waits until it is so, and not for ever.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, waiting).await;
    waited.unwrap_or_else(|_| panic!("it never came to this: {what}"));
}

/// How many requests a bucket has waiting, and how many in flight.
pub fn counts(handle: &Handle, endpoint: &str) -> (usize, usize) {
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket(endpoint);
    let count = |bucket: &BucketSnapshot| (bucket.waiting(), bucket.in_flight());
    bucket.map_or_else(|| panic!("no bucket {endpoint}"), count)
}

/// How many requests a server works on, from their arrival until their answer is over or dropped.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Mutex<Counts>>);

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Now.
    pub working: usize,
    /// At most at once so far.
    pub most: usize,
    /// Altogether.
    pub arrived: usize,
}

impl Gauge {
    /// A request begins. It ends when this is dropped.
    #[must_use]
    pub fn enter(&self) -> Working {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.arrived += 1;
        counts.working += 1;
        counts.most = counts.most.max(counts.working);
        Working(self.clone())
    }

    pub fn counts(&self) -> Counts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Working(Gauge);

impl Drop for Working {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.working -= 1;
    }
}

/// Listens on a free port, for HTTP/1.1 and HTTP/2, until the runtime ends.
pub fn serve(router: Router) -> SocketAddr {
    let listener = mock::bind().expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A server whose answers take their time.
///
/// - `POST /echo` answers with what it is sent, as it comes.
/// - `POST /endless` reads nothing, and answers with a few bytes and no end.
/// - `POST /broken` answers with a few bytes, and breaks off.
/// - `POST /read` reads the request to its end, and tells what it was: `length`, and the headers
///   `content-length` and `transfer-encoding`.
/// - `GET /moved` sends on to `GET /here`.
#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    pub gauge: Gauge,
}

impl Upstream {
    #[expect(clippy::new_without_default, reason = "it starts a server")]
    pub fn new() -> Self {
        let gauge = Gauge::default();
        let router = Router::new()
            .route("/echo", post(echo))
            .route("/endless", post(endless))
            .route("/broken", post(broken))
            .route("/read", post(read))
            .route("/moved", get(moved))
            .route("/here", get(async || "here"))
            .with_state(gauge.clone());
        Self {
            address: serve(router),
            gauge,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A body that counts as work until it is over or dropped.
fn working(working: Working, body: Body) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _ = &working;
        frame
    }))
}

async fn echo(State(gauge): State<Gauge>, body: Body) -> Body {
    working(gauge.enter(), body)
}

async fn endless(State(gauge): State<Gauge>) -> Body {
    let beginning = stream::iter([Ok::<_, axum::Error>(Bytes::from("beginning"))]);
    let body = Body::from_stream(beginning.chain(stream::pending()));
    working(gauge.enter(), body)
}

async fn broken(State(gauge): State<Gauge>) -> Body {
    let beginning = stream::iter([Ok(Bytes::from("beginning"))]);
    let end = stream::once(async {
        // So that the beginning leaves before.
        tokio::task::yield_now().await;
        Err("it breaks off")
    });
    working(gauge.enter(), Body::from_stream(beginning.chain(end)))
}

async fn read(
    State(gauge): State<Gauge>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<serde_json::Value>, StatusCode> {
    let _working = gauge.enter();
    let body = body.collect().await;
    let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Ok(Json(serde_json::json!({
        "length": body.to_bytes().len(),
        "content-length": header(header::CONTENT_LENGTH),
        "transfer-encoding": header(header::TRANSFER_ENCODING),
    })))
}

async fn moved() -> (StatusCode, [(HeaderName, &'static str); 1]) {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/here")])
}

/// Refuses the first request, the third, and so on, with a 429 that names a short delay.
pub fn every_other_refused(router: Router) -> Router {
    let arrived = Arc::new(AtomicUsize::new(0));
    router.layer(axum::middleware::from_fn_with_state(arrived, refuse))
}

async fn refuse(State(arrived): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    if arrived.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
        return next.run(request).await;
    }
    // Read to its end, so that the connection can go on.
    let _ = request.into_body().collect().await;
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after-ms", "5")]).into_response()
}

/// A request body, and where it comes from. It ends when the sender is dropped.
pub fn channel() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let parts = stream::unfold(receiver, async |mut receiver| {
        let part: &'static str = receiver.recv().await?;
        Some((Ok::<_, axum::Error>(part), receiver))
    });
    (sender, Body::from_stream(parts))
}

//! What the tests share: layers by face, and an inner service that keeps records.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)]

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_throttle::{
    Body, BoxError, ConcurrencyLayer, Endpoints, Handle, Quota, Refused, RpsLayer, ThrottleLayer,
    store::{MemoryStore, Store},
};

mod came;
mod deadlock;
mod limits;
mod recorder;

pub use came::{Came, Task, came, enter};
pub use deadlock::without_deadlock;
pub use limits::{Limits, any_face, cases, few_limits, nested, quota_of};
pub use recorder::{Recorder, Told, What, observed};

pub type Req = Request<&'static str>;
pub type Answer = Response<Body<Scripted>>;
pub type Client = BoxCloneSyncService<Req, Answer, BoxError>;

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The only place that makes a `ThrottleLayer`: without retry, which has tests of its own.
pub fn throttle(endpoints: Endpoints) -> ThrottleLayer {
    alone(
        ThrottleLayer::new(endpoints).without_retry(),
        ThrottleLayer::store,
    )
}

/// With a store of its own that no other layer shares, if the test run wants one. With `STORE=at-once` reservations take
/// no time, and under paused time the laws hold as they do without; in real time that is too short to be of use, and
/// `STORE=memory` has those of 10 ms.
pub fn alone<L>(layer: L, store: impl FnOnce(L, MemoryStore) -> L) -> L {
    match std::env::var("STORE") {
        Err(_) => layer,
        Ok(kind) => match kind.as_str() {
            "at-once" => store(layer, MemoryStore::at_once()),
            "memory" => store(layer, MemoryStore::new()),
            _ => panic!("STORE is `{kind}`: expected `at-once` or `memory`"),
        },
    }
}

pub fn get(path: &str) -> Req {
    Request::get(path).body("").unwrap()
}

/// A request that the probe works on for `time` until the head; the body is empty.
pub fn job(path: &str, time: Duration) -> Req {
    let mut request = get(path);
    request.extensions_mut().insert(Work::head(time));
    request
}

/// `/a` with this quota.
pub fn endpoint_a(quota: Quota) -> Endpoints {
    Endpoints::new().route("/a", quota)
}

/// A quota of `n` in `millis`.
pub const fn per(n: u32, millis: u64) -> Quota {
    Quota::per(n, ms(millis))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    Rps,
    Concurrency,
    Throttle,
}

pub const FACES: [Face; 3] = [Face::Rps, Face::Concurrency, Face::Throttle];
/// The faces that enforce windows.
pub const WINDOWS: [Face; 2] = [Face::Rps, Face::Throttle];
/// The faces that enforce concurrency.
pub const PERMITS: [Face; 2] = [Face::Concurrency, Face::Throttle];

/// A layer whose face is chosen while the test runs.
#[derive(Clone, Debug)]
pub enum AnyLayer {
    Rps(RpsLayer),
    Concurrency(ConcurrencyLayer),
    Throttle(ThrottleLayer),
}

/// A layer whose `/a` has this quota.
pub fn layer_a(face: Face, quota: Quota) -> AnyLayer {
    AnyLayer::new(face, endpoint_a(quota))
}

macro_rules! each {
    ($self:expr, $layer:ident => $then:expr) => {
        match $self {
            Self::Rps($layer) => $then,
            Self::Concurrency($layer) => $then,
            Self::Throttle($layer) => $then,
        }
    };
}

macro_rules! each_wrapped {
    ($self:expr, $layer:ident => $then:expr) => {
        match $self {
            Self::Rps($layer) => Self::Rps($then),
            Self::Concurrency($layer) => Self::Concurrency($then),
            Self::Throttle($layer) => Self::Throttle($then),
        }
    };
}

impl AnyLayer {
    pub fn new(face: Face, endpoints: Endpoints) -> Self {
        match face {
            Face::Rps => Self::Rps(alone(RpsLayer::new(endpoints), RpsLayer::store)),
            Face::Concurrency => Self::Concurrency(alone(
                ConcurrencyLayer::new(endpoints),
                ConcurrencyLayer::store,
            )),
            Face::Throttle => Self::Throttle(throttle(endpoints)),
        }
    }

    /// As it is, whatever the test run wants.
    pub fn bare(face: Face, endpoints: Endpoints) -> Self {
        match face {
            Face::Rps => Self::Rps(RpsLayer::new(endpoints)),
            Face::Concurrency => Self::Concurrency(ConcurrencyLayer::new(endpoints)),
            Face::Throttle => Self::Throttle(ThrottleLayer::new(endpoints).without_retry()),
        }
    }

    pub fn client(&self, probe: &Probe) -> Client {
        self.over(probe.clone())
    }

    pub fn over<S>(&self, inner: S) -> Client
    where
        S: Service<Req, Response = Response<Scripted>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        each!(self, layer => BoxCloneSyncService::new(layer.layer(inner)))
    }

    pub fn handle(&self) -> Handle {
        each!(self, layer => layer.handle())
    }

    pub fn store(self, store: impl Store) -> Self {
        each_wrapped!(self, layer => layer.store(store))
    }

    pub fn max_waiting(self, n: usize) -> Self {
        each_wrapped!(self, layer => layer.max_waiting(n))
    }

    pub fn max_wait(self, wait: Duration) -> Self {
        each_wrapped!(self, layer => layer.max_wait(wait))
    }

    pub fn max_keys(self, n: usize) -> Self {
        each_wrapped!(self, layer => layer.max_keys(n))
    }
}

/// What the probe does with a request: an extension of it.
#[derive(Clone, Debug)]
pub struct Work {
    pub id: usize,
    /// How long until the head, or the error.
    pub head_after: Duration,
    pub body: Vec<Step>,
    pub end: End,
    pub status: http::StatusCode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Answer,
    Error,
    PanicInCall,
    PanicInFuture,
}

impl Work {
    pub fn head(head_after: Duration) -> Self {
        Self {
            id: 0,
            head_after,
            body: Vec::new(),
            end: End::Answer,
            status: http::StatusCode::OK,
        }
    }

    pub fn id(mut self, id: usize) -> Self {
        self.id = id;
        self
    }

    pub fn body(mut self, body: impl IntoIterator<Item = Step>) -> Self {
        self.body = body.into_iter().collect();
        self
    }

    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    pub fn of(self, path: &str) -> Req {
        let mut request = get(path);
        request.extensions_mut().insert(self);
        request
    }
}

/// What happens next in a response body.
#[derive(Clone, Debug)]
pub enum Step {
    Data(&'static str),
    Wait(Duration),
    Trailers,
    Error,
    /// No frame, but from here on the body says that it does not know its end before it is asked.
    Coy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerError(pub &'static str);

impl fmt::Display for InnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InnerError {}

/// A call of the inner service.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: usize,
    pub path: String,
    pub body: &'static str,
    pub at: Instant,
    /// When the answer's body had ended, or was dropped, or the future was.
    pub released: Option<Instant>,
}

#[derive(Default, Debug)]
pub struct Log {
    pub calls: Vec<Call>,
    /// How long the next instances take to become ready; nothing once it is empty.
    pub readiness: VecDeque<Duration>,
    pub readiness_errors: VecDeque<&'static str>,
    /// Instances that are ready and have not been called.
    pub reserved: usize,
    pub most_reserved: usize,
    pub in_flight: usize,
    pub most_in_flight: usize,
}

/// An inner service whose readiness belongs to the exact instance, and which keeps records.
pub struct Probe {
    log: Arc<Mutex<Log>>,
    start: Instant,
    state: Readiness,
}

enum Readiness {
    Idle,
    Preparing(Pin<Box<Sleep>>),
    Ready(#[allow(unused)] Reservation),
}

struct Reservation(Arc<Mutex<Log>>);

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.0).reserved -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Probe {
    pub fn new() -> Self {
        Self {
            log: Arc::default(),
            start: Instant::now(),
            state: Readiness::Idle,
        }
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// The instants of all calls, in milliseconds since the probe was made. Panics where one is
    /// not a whole number.
    pub fn times(&self) -> Vec<u64> {
        self.log()
            .calls
            .iter()
            .map(|call| self.millis(call.at))
            .collect()
    }

    pub fn times_of(&self, path: &str) -> Vec<u64> {
        self.log()
            .calls
            .iter()
            .filter(|call| call.path == path)
            .map(|call| self.millis(call.at))
            .collect()
    }

    pub fn ids(&self) -> Vec<usize> {
        self.log().calls.iter().map(|call| call.id).collect()
    }

    pub fn start(&self) -> Instant {
        self.start
    }

    pub fn millis(&self, at: Instant) -> u64 {
        whole(at - self.start)
    }
}

/// Milliseconds, of which there has to be a whole number.
pub fn whole(time: Duration) -> u64 {
    assert_eq!(
        time.subsec_nanos() % 1_000_000,
        0,
        "not on a tick: {time:?}"
    );
    u64::try_from(time.as_millis()).unwrap()
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self {
            log: Arc::clone(&self.log),
            start: self.start,
            state: Readiness::Idle,
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl Service<Req> for Probe {
    type Response = Response<Scripted>;
    type Error = InnerError;
    type Future = Working;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
        loop {
            match &mut self.state {
                Readiness::Idle => {
                    let mut log = lock(&self.log);
                    if let Some(error) = log.readiness_errors.pop_front() {
                        return Poll::Ready(Err(InnerError(error)));
                    }
                    match log.readiness.pop_front() {
                        Some(time) if !time.is_zero() => {
                            self.state = Readiness::Preparing(Box::pin(tokio::time::sleep(time)));
                        }
                        _ => {
                            log.reserved += 1;
                            log.most_reserved = log.most_reserved.max(log.reserved);
                            self.state = Readiness::Ready(Reservation(Arc::clone(&self.log)));
                        }
                    }
                }
                Readiness::Preparing(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    let mut log = lock(&self.log);
                    log.reserved += 1;
                    log.most_reserved = log.most_reserved.max(log.reserved);
                    self.state = Readiness::Ready(Reservation(Arc::clone(&self.log)));
                }
                Readiness::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn call(&mut self, request: Req) -> Working {
        assert!(
            matches!(self.state, Readiness::Ready(_)),
            "called an instance that was not ready"
        );
        self.state = Readiness::Idle;
        let work = request
            .extensions()
            .get::<Work>()
            .cloned()
            .unwrap_or_else(|| Work::head(Duration::ZERO));
        let index = {
            let mut log = lock(&self.log);
            log.calls.push(Call {
                id: work.id,
                path: request.uri().path().to_owned(),
                body: request.body(),
                at: Instant::now(),
                released: None,
            });
            log.in_flight += 1;
            log.most_in_flight = log.most_in_flight.max(log.in_flight);
            log.calls.len() - 1
        };
        let flight = Flight {
            log: Arc::clone(&self.log),
            index,
        };
        if work.end == End::PanicInCall {
            // Without the panic hook's noise.
            std::panic::resume_unwind(Box::new("a panic in `call`"));
        }
        Working {
            sleep: None,
            work,
            flight: Some(flight),
        }
    }
}

/// As long as the server works on a request.
#[derive(Debug)]
struct Flight {
    log: Arc<Mutex<Log>>,
    index: usize,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut log = lock(&self.log);
        log.in_flight -= 1;
        log.calls[self.index].released = Some(Instant::now());
    }
}

pub struct Working {
    sleep: Option<Pin<Box<Sleep>>>,
    work: Work,
    flight: Option<Flight>,
}

impl Future for Working {
    type Output = Result<Response<Scripted>, InnerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !this.work.head_after.is_zero() {
            let time = this.work.head_after;
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
            ready!(sleep.as_mut().poll(cx));
        }
        let flight = this.flight.take();
        Poll::Ready(match this.work.end {
            End::Error => Err(InnerError("inner")),
            End::PanicInFuture => std::panic::resume_unwind(Box::new("a panic in the future")),
            End::Answer | End::PanicInCall => {
                let mut body = Scripted::new(this.work.body.iter().cloned());
                body.flight = flight;
                body.end_flight_if_over();
                let mut response = Response::new(body);
                *response.status_mut() = this.work.status;
                Ok(response)
            }
        })
    }
}

/// A response body that follows a script. It ends its flight as soon as it knows that it is over.
#[derive(Debug, Default)]
pub struct Scripted {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    coy: bool,
    flight: Option<Flight>,
}

impl Scripted {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..Self::default()
        }
    }

    fn end_flight_if_over(&mut self) {
        if self.is_end_stream() {
            self.flight = None;
        }
    }
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        let this = &mut *self;
        let frame = loop {
            match this.steps.front() {
                None => {
                    this.flight = None;
                    break None;
                }
                Some(Step::Wait(time)) => {
                    let time = *time;
                    let sleep = this
                        .sleep
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
                    ready!(sleep.as_mut().poll(cx));
                    this.sleep = None;
                    this.steps.pop_front();
                }
                Some(Step::Coy) => {
                    this.coy = true;
                    this.steps.pop_front();
                }
                Some(Step::Data(text)) => {
                    let frame = Frame::data(Bytes::from_static(text.as_bytes()));
                    this.steps.pop_front();
                    break Some(Ok(frame));
                }
                Some(Step::Trailers) => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("x-trailer", "1".parse().unwrap());
                    this.steps.pop_front();
                    break Some(Ok(Frame::trailers(trailers)));
                }
                Some(Step::Error) => {
                    this.flight = None;
                    break Some(Err(InnerError("body")));
                }
            }
        };
        this.end_flight_if_over();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        !self.coy && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let sum = self
            .steps
            .iter()
            .map(|step| match step {
                Step::Data(text) => text.len() as u64,
                _ => 0,
            })
            .sum();
        SizeHint::with_exact(sum)
    }
}

/// Makes the client ready, calls it, and reads the whole body.
pub async fn send(mut client: Client, request: Req) -> Result<(), BoxError> {
    let response = client.ready().await?.call(request).await?;
    read(response.into_body()).await
}

pub async fn read(body: Body<Scripted>) -> Result<(), BoxError> {
    let mut body = std::pin::pin!(body);
    while !body.is_end_stream() {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => break,
            Some(frame) => {
                frame?;
            }
        }
    }
    Ok(())
}

/// Spawns `n` requests of the same kind, in order; each is entered before the next.
pub async fn burst(client: &Client, n: usize, request: impl Fn(usize) -> Req) -> Vec<Sent> {
    let mut sent = Vec::new();
    for i in 0..n {
        sent.push(tokio::spawn(send(client.clone(), request(i))));
    }
    settle().await;
    sent
}

pub type Sent = tokio::task::JoinHandle<Result<(), BoxError>>;

/// Lets all tasks run as far as they can without time passing.
pub async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Waits for all of them, and fails if one is not answered within a day.
pub async fn finish(sent: Vec<Sent>) {
    for (i, sent) in sent.into_iter().enumerate() {
        let ended = tokio::time::timeout(ms(86_400_000), sent).await;
        let ended = ended.unwrap_or_else(|_| panic!("number {i} waits for ever"));
        ended.unwrap().unwrap();
    }
}

/// Sleeps until `millis` after the probe was made.
pub async fn at(probe: &Probe, millis: u64) {
    tokio::time::sleep_until(probe.start() + ms(millis)).await;
    settle().await;
}

pub fn refused(error: &BoxError) -> &Refused {
    Refused::in_error(error).unwrap_or_else(|| panic!("not a refusal: {error:?}"))
}

/// `(waiting, in_flight)` of an endpoint.
pub fn gauge(handle: &Handle, endpoint: &str) -> (usize, usize) {
    let snapshot = handle.snapshot();
    let bucket = snapshot
        .bucket(endpoint)
        .unwrap_or_else(|| panic!("no bucket {endpoint}"));
    (bucket.waiting(), bucket.in_flight())
}

/// Nobody waits, nothing is in flight, anywhere.
pub fn assert_idle(handle: &Handle) {
    for bucket in handle.snapshot().buckets() {
        assert_eq!(
            (bucket.waiting(), bucket.in_flight()),
            (0, 0),
            "{bucket:?} is not idle"
        );
    }
}

pub fn paused_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Runs in a paused runtime of its own, for the cases of property tests.
pub fn paused<F: Future>(future: F) -> F::Output {
    paused_runtime().block_on(future)
}

/// A call of a service that is always ready.
pub fn call<S, R>(service: &mut S, request: R) -> tokio_test::task::Spawn<S::Future>
where
    S: Service<R>,
    S::Error: fmt::Debug,
{
    ready_now(service);
    tokio_test::task::spawn(service.call(request))
}

pub fn ready_now<S, R>(service: &mut S)
where
    S: Service<R>,
    S::Error: fmt::Debug,
{
    let mut task = tokio_test::task::spawn(());
    match task.enter(|cx, _| service.poll_ready(cx)) {
        Poll::Ready(Ok(())) => {}
        other => panic!("not ready: {other:?}"),
    }
}

/// A body that is over.
pub type Nothing = http_body_util::Empty<Bytes>;

pub fn nothing() -> Response<Nothing> {
    Response::new(Nothing::new())
}

pub type Never = Infallible;

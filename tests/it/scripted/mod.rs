//! A server that answers by a rule and keeps a journal: what it was sent, what it answered, and how
//! much of that is still held.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use tokio::{
    task::JoinHandle,
    time::{Instant, Sleep},
};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_throttle::{
    Attempt, BoxError, ConcurrencyLayer, Endpoints, Handle, RetryLayer, RpsLayer, ThrottleLayer,
};

pub type Req = Request<Full<Bytes>>;
pub type Answer = Response<BoxBody<Bytes, BoxError>>;
pub type Client = BoxCloneSyncService<Req, Answer, BoxError>;

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// By which tests tell requests apart, whatever attempt it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub usize);

pub fn request(method: Method, path: &str, id: usize) -> Req {
    let mut request = Request::new(Full::from("body"));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request.extensions_mut().insert(Id(id));
    request
}

pub fn get(path: &str, id: usize) -> Req {
    request(Method::GET, path, id)
}

pub fn post(path: &str, id: usize) -> Req {
    request(Method::POST, path, id)
}

/// An attempt as the server sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: usize,
    pub path: String,
    /// Which attempt of its request, as the client says.
    pub attempt: u32,
    /// How many came before, altogether and of this request.
    pub before: usize,
    pub of_request_before: usize,
    pub at: Instant,
    /// How many are open on this path, itself not included.
    pub open: usize,
    /// When the server was started.
    pub start: Instant,
}

/// What the server answers, and when.
#[derive(Clone, Debug)]
pub struct Reply {
    after: Duration,
    status: Result<StatusCode, io::ErrorKind>,
    headers: HeaderMap,
    body: &'static str,
    stall: Option<Duration>,
    hint: Option<Duration>,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            after: Duration::ZERO,
            status: Ok(StatusCode::from_u16(status).unwrap()),
            headers: HeaderMap::new(),
            body: "",
            stall: None,
            hint: None,
        }
    }

    pub fn ok() -> Self {
        Self::status(200)
    }

    pub fn error(kind: io::ErrorKind) -> Self {
        Self {
            status: Err(kind),
            ..Self::ok()
        }
    }

    pub fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }

    pub fn header(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.headers.append(
            HeaderName::from_static(name),
            HeaderValue::try_from(value.to_string()).unwrap(),
        );
        self
    }

    pub fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    pub fn json(self, body: &'static str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    /// Lets so much time pass between the head and the body.
    pub fn stall(mut self, time: Duration) -> Self {
        self.stall = Some(time);
        self
    }

    /// What it asks for, for the books.
    pub fn hint(mut self, hint: Duration) -> Self {
        self.hint = Some(hint);
        self
    }

    pub fn code(&self) -> Option<u16> {
        Some(self.status.ok()?.as_u16())
    }

    pub fn retry_after(self, seconds: u64) -> Self {
        self.header("retry-after", seconds).hint(secs(seconds))
    }
}

#[derive(Clone, Debug)]
pub struct Event {
    pub at: Instant,
    pub id: usize,
    pub path: String,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Sent {
        attempt: u32,
    },
    Answered {
        status: Option<StatusCode>,
        hint: Option<Duration>,
        /// What it said, for messages.
        headers: HeaderMap,
    },
}

#[derive(Default, Debug)]
pub struct Journal {
    pub events: Vec<Event>,
    attempts: HashMap<usize, usize>,
    sent: usize,
    pub open: HashMap<String, usize>,
    pub most_open: HashMap<String, usize>,
    /// Answers whose bodies are neither over nor dropped.
    pub held: usize,
}

type Rule = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

#[derive(Clone)]
pub struct Server {
    journal: Arc<Mutex<Journal>>,
    rule: Rule,
    start: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    pub fn new(rule: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            journal: Arc::default(),
            rule: Arc::new(rule),
            start: Instant::now(),
        }
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    pub fn start(&self) -> Instant {
        self.start
    }

    /// When what was sent, to which request: milliseconds, rounded down.
    pub fn sent(&self) -> Vec<(u64, usize)> {
        self.sent_where(|_| true)
    }

    pub fn sent_to(&self, path: &str) -> Vec<(u64, usize)> {
        self.sent_where(|event| event.path == path)
    }

    fn sent_where(&self, wanted: impl Fn(&Event) -> bool) -> Vec<(u64, usize)> {
        self.journal()
            .events
            .iter()
            .filter(|event| matches!(event.what, What::Sent { .. }) && wanted(event))
            .map(|event| (self.millis(event.at), event.id))
            .collect()
    }

    pub fn times(&self, path: &str) -> Vec<u64> {
        self.sent_to(path).into_iter().map(|(at, _)| at).collect()
    }

    pub fn millis(&self, at: Instant) -> u64 {
        u64::try_from((at - self.start).as_millis()).unwrap()
    }

    pub fn now(&self) -> u64 {
        self.millis(Instant::now())
    }

    pub fn held(&self) -> usize {
        self.journal().held
    }

    /// Answers that say no.
    pub fn refused(&self) -> usize {
        self.journal()
            .events
            .iter()
            .filter(|event| {
                matches!(event.what, What::Answered { status: Some(status), .. } if status != 200)
            })
            .count()
    }

    /// L7: after an answer with a hint nothing is sent to its path before the time, up to `ceiling`, unless the
    /// trouble is the request's own (L17).
    pub fn assert_nobody_early(&self, ceiling: Duration) {
        let mut until = HashMap::<&str, (Instant, &Event)>::new();
        let journal = self.journal();
        for (index, event) in journal.events.iter().enumerate() {
            match event.what {
                What::Sent { attempt } => {
                    if let Some((until, answer)) = until.get(event.path.as_str()) {
                        assert!(
                            event.at >= *until,
                            "request {} (attempt {attempt}) was sent to {} at {:?}, not from {:?} on; \
                             what was said at {:?}: {:?}",
                            event.id,
                            event.path,
                            event.at - self.start,
                            *until - self.start,
                            answer.at - self.start,
                            answer.what,
                        );
                    }
                }
                What::Answered { hint, .. } => {
                    if let Some(hint) = hint.filter(|_| !is_own_trouble(&journal.events[..=index]))
                    {
                        let end = event.at + hint.min(ceiling);
                        let until = until.entry(&event.path).or_insert((end, event));
                        if end > until.0 {
                            *until = (end, event);
                        }
                    }
                }
            }
        }
    }

    /// L8: no request is sent again before the time that its own last answer named.
    pub fn assert_no_retry_early(&self) {
        let mut until = HashMap::<usize, (Instant, &Event)>::new();
        for event in &self.journal().events {
            match event.what {
                What::Sent { .. } => {
                    if let Some((until, answer)) = until.get(&event.id) {
                        assert!(
                            event.at >= *until,
                            "{} was sent again at {:?}, not from {:?} on; what was said at {:?}: {:?}",
                            event.id,
                            event.at - self.start,
                            *until - self.start,
                            answer.at - self.start,
                            answer.what,
                        );
                    }
                }
                What::Answered { hint, .. } => {
                    if let Some(hint) = hint {
                        until.insert(event.id, (event.at + hint, event));
                    }
                }
            }
        }
    }

    /// L1: no half-open interval of `period` has more than `n`.
    pub fn assert_window(&self, path: &str, n: usize, period: Duration) {
        let times: Vec<_> = self
            .journal()
            .events
            .iter()
            .filter(|event| event.path == path && matches!(event.what, What::Sent { .. }))
            .map(|event| event.at)
            .collect();
        for pair in times.windows(n + 1) {
            assert!(
                pair[n] - pair[0] >= period,
                "{} sent to {path} within {:?}, from {:?}",
                n + 1,
                pair[n] - pair[0],
                pair[0] - self.start
            );
        }
    }

    pub fn assert_most_open(&self, path: &str, n: usize) {
        let most = self.journal().most_open.get(path).copied().unwrap_or(0);
        assert!(most <= n, "{most} open on {path}");
    }
}

impl Service<Req> for Server {
    type Response = Response<Held>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Held>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Id(id) = *request.extensions().get().expect("an id");
        let attempt = request.extensions().get().map_or(1, Attempt::number);
        let path = request.uri().path().to_owned();
        let now = Instant::now();
        let seen = {
            let mut journal = self.journal();
            journal.events.push(Event {
                at: now,
                id,
                path: path.clone(),
                what: What::Sent { attempt },
            });
            let before = journal.sent;
            journal.sent += 1;
            let attempts = journal.attempts.entry(id).or_default();
            let of_request_before = *attempts;
            *attempts += 1;
            let open = journal.open.entry(path.clone()).or_default();
            let open_before = *open;
            *open += 1;
            let most = journal.most_open.entry(path.clone()).or_default();
            *most = (open_before + 1).max(*most);
            Seen {
                id,
                path: path.clone(),
                attempt,
                before,
                of_request_before,
                at: now,
                open: open_before,
                start: self.start,
            }
        };
        let reply = (self.rule)(&seen);
        let flight = Flight {
            journal: Arc::clone(&self.journal),
            path: path.clone(),
        };
        let server = self.clone();
        Box::pin(async move {
            if !reply.after.is_zero() {
                tokio::time::sleep(reply.after).await;
            }
            let now = Instant::now();
            let mut journal = server.journal();
            journal.events.push(Event {
                at: now,
                id,
                path,
                what: What::Answered {
                    status: reply.status.ok(),
                    hint: reply.hint,
                    headers: reply.headers.clone(),
                },
            });
            let status = reply.status.map_err(io::Error::from)?;
            journal.held += 1;
            drop(journal);
            let mut response = Response::new(Held {
                data: Some(Bytes::from_static(reply.body.as_bytes())),
                sleep: reply.stall.map(|time| Box::pin(tokio::time::sleep(time))),
                holding: Some(Holding(Arc::clone(&server.journal), flight)),
            });
            *response.status_mut() = status;
            *response.headers_mut() = reply.headers;
            response.headers_mut().entry("date").or_insert_with(|| {
                HeaderValue::try_from(httpdate::fmt_http_date(date(server.start, now))).unwrap()
            });
            response.body_mut().over();
            Ok(response)
        })
    }
}

/// The wall clock, which follows tokio's, in whole seconds, as `Date` has it. A day in 2031: the
/// client's own clock does not matter.
pub fn date(start: Instant, now: Instant) -> SystemTime {
    let since = now - start;
    UNIX_EPOCH + secs(1_930_000_000 + since.as_secs())
}

#[derive(Debug)]
struct Flight {
    journal: Arc<Mutex<Journal>>,
    path: String,
}

impl Drop for Flight {
    fn drop(&mut self) {
        *lock(&self.journal).open.get_mut(&self.path).unwrap() -= 1;
    }
}

#[derive(Debug)]
struct Holding(Arc<Mutex<Journal>>, #[allow(unused)] Flight);

impl Drop for Holding {
    fn drop(&mut self) {
        lock(&self.0).held -= 1;
    }
}

/// A body of which the server knows whether it is held.
#[derive(Debug)]
pub struct Held {
    data: Option<Bytes>,
    sleep: Option<Pin<Box<Sleep>>>,
    holding: Option<Holding>,
}

impl Held {
    fn over(&mut self) {
        if self.is_end_stream() {
            self.holding = None;
        }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        let data = self.data.take().filter(|data| !data.is_empty());
        self.over();
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.sleep.is_none() && self.data.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// The two ways to have retries around limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    Joint,
    Hand,
}

pub const STACKS: [Stack; 2] = [Stack::Joint, Stack::Hand];

/// A client, and what watches its layers.
#[derive(Clone)]
pub struct Setup {
    pub client: Client,
    pub handles: Vec<Handle>,
}

pub fn boxed<S, B>(service: S) -> Client
where
    S: Service<Req, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError> + Send + Sync,
{
    BoxCloneSyncService::new(
        service
            .map_err(Into::into)
            .map_response(|response: Response<B>| {
                response.map(|body| body.map_err(Into::into).boxed())
            }),
    )
}

pub fn joint<S, B>(layer: &ThrottleLayer, inner: S) -> Setup
where
    S: Service<Req, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError> + Send + Sync,
{
    Setup {
        client: boxed(layer.layer(inner)),
        handles: vec![layer.handle()],
    }
}

pub fn hand<S, B>(
    retry: &RetryLayer,
    concurrency: &ConcurrencyLayer,
    rps: &RpsLayer,
    inner: S,
) -> Setup
where
    S: Service<Req, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError> + Send + Sync,
{
    Setup {
        client: boxed(retry.layer(concurrency.layer(rps.layer(inner)))),
        handles: vec![concurrency.handle(), rps.handle()],
    }
}

pub fn alone(retry: &RetryLayer, server: &Server) -> Setup {
    Setup {
        client: boxed(retry.layer(server.clone())),
        handles: Vec::new(),
    }
}

impl Stack {
    pub fn over<S, B>(self, endpoints: &Endpoints, retry: &RetryLayer, inner: S) -> Setup
    where
        S: Service<Req, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<BoxError> + Send + Sync,
    {
        self.with_ceiling(endpoints, retry, secs(120), inner)
    }

    pub fn with_ceiling<S, B>(
        self,
        endpoints: &Endpoints,
        retry: &RetryLayer,
        ceiling: Duration,
        inner: S,
    ) -> Setup
    where
        S: Service<Req, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<BoxError> + Send + Sync,
    {
        let endpoints = || endpoints.clone();
        match self {
            Self::Joint => joint(
                &ThrottleLayer::new(endpoints())
                    .retry(retry.clone())
                    .max_pause(ceiling),
                inner,
            ),
            Self::Hand => hand(
                retry,
                &ConcurrencyLayer::new(endpoints()).max_pause(ceiling),
                &RpsLayer::new(endpoints()).max_pause(ceiling),
                inner,
            ),
        }
    }
}

pub type Sent = JoinHandle<Result<StatusCode, BoxError>>;

impl Setup {
    /// Sends, and reads the body to its end.
    pub async fn fetch(&self, request: Req) -> Result<(Response<()>, Bytes), BoxError> {
        let response = self.client.clone().oneshot(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok((Response::from_parts(head, ()), body))
    }

    pub fn send(&self, request: Req) -> Sent {
        let setup = self.clone();
        tokio::spawn(async move { Ok(setup.fetch(request).await?.0.status()) })
    }

    pub fn resume(&self, endpoint: &str) {
        for handle in &self.handles {
            handle.resume(endpoint).unwrap();
        }
    }

    /// The longest that any layer says.
    pub fn paused_for(&self, endpoint: &str) -> Option<Duration> {
        self.handles
            .iter()
            .filter_map(|handle| handle.snapshot().bucket(endpoint)?.paused_for())
            .max()
    }

    pub fn in_flight(&self) -> usize {
        self.sum(tower_throttle::BucketSnapshot::in_flight)
    }

    pub fn waiting(&self) -> usize {
        self.sum(tower_throttle::BucketSnapshot::waiting)
    }

    fn sum(&self, of: impl Fn(&tower_throttle::BucketSnapshot) -> usize) -> usize {
        self.handles
            .iter()
            .map(|handle| handle.snapshot().buckets().map(&of).sum::<usize>())
            .sum()
    }

    /// Nobody waits, nothing is in flight, anywhere.
    pub fn assert_idle(&self) {
        for handle in &self.handles {
            for bucket in handle.snapshot().buckets() {
                assert_eq!(
                    (bucket.waiting(), bucket.in_flight()),
                    (0, 0),
                    "{bucket:?} is not idle"
                );
            }
        }
    }
}

/// Lets all tasks run as far as they can without time passing.
pub async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub async fn all(sent: Vec<Sent>) -> Vec<Result<StatusCode, BoxError>> {
    let mut answers = Vec::new();
    for sent in sent {
        answers.push(sent.await.expect("no panic"));
    }
    answers
}

/// Whether nobody waits for the server, since it asks for more than the ceiling.
pub fn is_closed(error: &BoxError) -> bool {
    let refused = tower_throttle::Refused::in_error(error);
    refused.is_some_and(|of| of.reason() == tower_throttle::RefusedReason::ServerClosed)
}

pub async fn all_ok(sent: Vec<Sent>) {
    for (i, answer) in all(sent).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), StatusCode::OK, "request {i}");
    }
}

/// A paused runtime of its own, and the layers' randomness from a seed.
pub fn paused<F: Future>(seed: u64, future: F) -> F::Output {
    fastrand::seed(seed);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// Retries that give up nothing in a test's time.
pub fn patient() -> RetryLayer {
    RetryLayer::new().max_total(secs(100_000))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, in the form of the standard, of RFC 850, and of asctime.
pub fn dates(time: SystemTime) -> [String; 3] {
    let standard = httpdate::fmt_http_date(time);
    let parts: Vec<_> = standard.split([' ', ',']).collect();
    let (short, day, month, year, clock) = (parts[0], parts[2], parts[3], parts[4], parts[5]);
    let long = match short {
        "Mon" => "Monday",
        "Tue" => "Tuesday",
        "Wed" => "Wednesday",
        "Thu" => "Thursday",
        "Fri" => "Friday",
        "Sat" => "Saturday",
        _ => "Sunday",
    };
    let number: u32 = day.parse().unwrap();
    [
        standard.clone(),
        format!("{long}, {day}-{month}-{} {clock} GMT", &year[2..]),
        format!("{short} {month} {number:2} {clock} {year}"),
    ]
}

pub fn epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A refusal that asks for `seconds`, in a dialect drawn from those that are understood by default.
/// Answered `after` so long, and dated then.
pub fn throttled(rng: &mut fastrand::Rng, seen: &Seen, seconds: u64, after: Duration) -> Reply {
    let then = date(seen.start, seen.at + after) + secs(seconds);
    let whole = secs(seconds);
    let dialect = rng.usize(..16);
    let status = if dialect < 9 {
        [429, 429, 503, 529][rng.usize(..4)]
    } else {
        429
    };
    let reply = Reply::status(status).after(after);
    let millis = rng.u64(1..1000);
    let odd = whole + ms(millis);
    match dialect {
        0 => reply.retry_after(seconds),
        1 => reply
            .header("retry-after", format!("{seconds}.{millis:03}"))
            .hint(odd),
        2..=4 => reply
            .header("retry-after", &dates(then)[dialect - 2])
            .hint(whole),
        5 => reply
            .header("retry-after-ms", seconds * 1000 + millis)
            .hint(odd),
        6 => reply
            .header("x-ms-retry-after-ms", seconds * 1000 + millis)
            .hint(odd),
        7 => reply.header("retry-after", epoch(then)).hint(whole),
        // A shorter time elsewhere does not count.
        8 => reply
            .header("ratelimit", r#""default";r=0;t=1"#)
            .header("x-ratelimit-reset", 1)
            .retry_after(seconds),
        9 => reply
            .header("x-ratelimit-remaining", 0)
            .header("x-ratelimit-reset", epoch(then))
            .hint(whole),
        10 => reply
            .header("x-ratelimit-remaining", 0)
            .header("x-ratelimit-reset", seconds)
            .hint(whole),
        11 => reply
            .header("ratelimit", format!(r#""default";r=0;t={seconds}"#))
            .hint(whole),
        12 => reply
            .header(
                "ratelimit",
                format!("limit=100, remaining=0, reset={seconds}"),
            )
            .hint(whole),
        13 => reply
            .header("ratelimit-remaining", 0)
            .header("ratelimit-reset", seconds)
            .hint(whole),
        14 => reply
            .header("x-ratelimit-remaining-requests", 0)
            .header(
                "x-ratelimit-reset-requests",
                format!("{seconds}.{millis:03}s"),
            )
            .hint(odd),
        _ => reply
            .header("retry-after", seconds)
            .header("retry-after", 1)
            .hint(whole),
    }
}

/// As ElevenLabs refuses what is too much at once.
pub fn too_many(limit: Option<usize>) -> Reply {
    Reply::status(429).json(match limit {
        None => {
            r#"{"detail":{"status":"too_many_concurrent_requests","message":"Too many concurrent requests."}}"#
        }
        Some(2) => {
            r#"{"detail":{"type":"rate_limit_error","code":"concurrent_limit_exceeded","message":"Too many concurrent requests. Your current subscription is associated with a maximum of 2 concurrent requests (running in parallel).","status":"too_many_concurrent_requests"}}"#
        }
        Some(4) => {
            r#"{"detail":{"type":"rate_limit_error","code":"concurrent_limit_exceeded","message":"Too many concurrent requests. Your current subscription is associated with a maximum of 4 concurrent requests (running in parallel).","status":"too_many_concurrent_requests"}}"#
        }
        Some(other) => panic!("no body that names {other}"),
    })
}

/// L17: whether the last of these answers is at least the second refusal in a row of its request, nobody else
/// in its bucket was refused since the one before, and at least three that were sent after that one were accepted
/// there. A bucket may be of one path, of a group's, or of all that match no route, and the journal does not tell: it
/// may have any path but those on which something was refused.
fn is_own_trouble(events: &[Event]) -> bool {
    let (last, before) = events.split_last().unwrap();
    let answers = |event: &Event| matches!(event.what, What::Answered { .. });
    let of_request = |event: &Event| event.id == last.id && answers(event);
    let Some(earlier) = before.iter().rposition(of_request) else {
        return false;
    };
    let refuses = |event: &Event| match event.what {
        What::Answered {
            status: Some(status),
            hint,
            ..
        } => hint.is_some() || [429, 503, 529].contains(&status.as_u16()),
        _ => false,
    };
    if !refuses(&before[earlier]) {
        return false;
    }
    let since = &before[earlier + 1..];
    let excluded: HashSet<_> = since
        .iter()
        .filter(|event| refuses(event))
        .map(|event| &event.path)
        .collect();
    if excluded.contains(&last.path) {
        return false;
    }
    let mut sent = Vec::new();
    let mut accepted = 0;
    for event in since.iter().filter(|event| !excluded.contains(&event.path)) {
        match event.what {
            What::Sent { .. } => sent.push(event.id),
            What::Answered {
                status: Some(_), ..
            } => accepted += usize::from(sent.contains(&event.id)),
            What::Answered { .. } => {}
        }
    }
    accepted >= 3
}

//! What is read of an answer's body to tell what it means, and that its reader gets all of it.

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    marker::PhantomPinned,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use proptest::prelude::*;
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{
    Backoff, Body, BoxError, ConcurrencyLayer, Endpoints, Handle, Quota, RetryLayer, RpsLayer,
    ThrottleLayer,
    signal::{Answer, Profile, Signal, SignalKind},
};

#[derive(Clone, Debug)]
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Wait(Duration),
    Fail,
}

pin_project! {
    /// A body by script, that may not be moved once it has been polled.
    #[derive(Debug)]
    struct Script {
        steps: VecDeque<Step>,
        // How often it has been asked for a frame and had an answer.
        frames: Arc<AtomicUsize>,
        ended: bool,
        // Whether it tells its length.
        exact: bool,
        sleep: Option<Pin<Box<Sleep>>>,
        #[pin]
        pinned: PhantomPinned,
    }
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            frames: Arc::default(),
            ended: false,
            exact: false,
            sleep: None,
            pinned: PhantomPinned,
        }
    }

    fn text(text: &'static str) -> Self {
        Self::new([data(text)])
    }
}

fn data(text: &'static str) -> Step {
    Step::Data(Bytes::from_static(text.as_bytes()))
}

#[derive(Debug, PartialEq, Eq)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let this = self.project();
        loop {
            if let Some(sleep) = this.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                *this.sleep = None;
            }
            let step = this.steps.pop_front();
            if let Some(Step::Wait(time)) = step {
                *this.sleep = Some(Box::pin(tokio::time::sleep(time)));
                continue;
            }
            this.frames.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(match step {
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Fail) => Some(Err(Failed)),
                _ => {
                    assert!(!*this.ended, "polled after its end");
                    *this.ended = true;
                    None
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exact && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.exact {
            return SizeHint::default();
        }
        let lengths = self.steps.iter().map(|step| match step {
            Step::Data(data) => data.len() as u64,
            _ => 0,
        });
        SizeHint::with_exact(lengths.sum())
    }
}

/// Answers once, with this.
struct Once(Option<Response<Script>>);

impl Once {
    fn new(status: u16, body: Script) -> Self {
        let response = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        Self(Some(response.body(body).unwrap()))
    }
}

/// For the layers; the clone never answers.
impl Clone for Once {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Service<Request<()>> for Once {
    type Response = Response<Script>;
    type Error = BoxError;
    type Future = Ready<Result<Response<Script>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(self
            .0
            .take()
            .expect("the readied instance is called, once")))
    }
}

async fn answer(status: u16, body: Script) -> Response<Body<Script>> {
    let layer = RpsLayer::new(Endpoints::new());
    let service = layer.layer(Once::new(status, body));
    service
        .oneshot(Request::get("/a").body(()).unwrap())
        .await
        .unwrap()
}

fn signal<B>(response: &Response<B>) -> Option<&Signal> {
    response.extensions().get()
}

fn kind<B>(response: &Response<B>) -> Option<SignalKind> {
    signal(response).map(Signal::kind)
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    Data(Bytes),
    Trailers(HeaderMap),
    Failed,
}

/// All frames, as they come, checking what the body says about itself before each.
async fn read(body: Body<Script>) -> Vec<Read> {
    let mut body = pin!(body);
    let mut frames = Vec::new();
    let mut hints = Vec::new();
    loop {
        hints.push(body.size_hint());
        let ended = body.is_end_stream();
        match body.frame().await {
            None => break,
            Some(frame) => {
                assert!(!ended, "there was more");
                frames.push(match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => Read::Data(data),
                    Ok(Err(frame)) => Read::Trailers(frame.into_trailers().unwrap()),
                    Err(Failed) => Read::Failed,
                });
            }
        }
    }
    let mut left = 0;
    for (frame, hint) in frames.iter().rev().zip(hints.iter().rev().skip(1)) {
        left += match frame {
            Read::Data(data) => data.remaining() as u64,
            _ => 0,
        };
        assert!(hint.lower() <= left);
        assert!(
            hint.upper()
                .is_none_or(|upper| upper >= left || frames.contains(&Read::Failed))
        );
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn a_body_tells_what_a_429_means_and_is_read_all_the_same() {
    let text = r#"{"detail":{"status":"too_many_concurrent_requests","message":"Too many"}}"#;
    let (one, other) = text.split_at(30);
    let response = answer(429, Script::new([data(one), data(other)])).await;
    assert_eq!(kind(&response), Some(SignalKind::Concurrency));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, text);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_success_is_not_touched() {
    for status in [200, 404, 500] {
        let body = Script::text("{}");
        let frames = Arc::clone(&body.frames);
        let response = answer(status, body).await;
        assert_eq!(frames.load(Ordering::Relaxed), 0);
        assert!(response.extensions().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_4_kib_are_read_before_the_answer_is_handed_up() {
    let steps = vec![Step::Data(Bytes::from(vec![b'x'; 1000])); 1000];
    let body = Script::new(steps);
    let frames = Arc::clone(&body.frames);
    let response = answer(429, body).await;
    assert_eq!(frames.load(Ordering::Relaxed), 5);
    assert_eq!(kind(&response), Some(SignalKind::Rate));
    assert_eq!(read(response.into_body()).await.len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn empty_frames_come_to_an_end() {
    let steps = vec![data(""); 10_000];
    let response = answer(429, Script::new(steps)).await;
    assert_eq!(read(response.into_body()).await.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_waited_for_for_250_ms() {
    let started = Instant::now();
    let wait = Step::Wait(Duration::from_secs(10));
    let response = answer(429, Script::new([data("{"), wait, data("}")])).await;
    assert_eq!(started.elapsed(), Duration::from_millis(250));
    assert_eq!(kind(&response), Some(SignalKind::Rate));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "{}");
    assert_eq!(started.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_waited_for_for_250_ms_in_all() {
    let started = Instant::now();
    let steps = (0..100).flat_map(|_| [Step::Wait(Duration::from_millis(10)), data("x")]);
    let response = answer(429, Script::new(steps)).await;
    assert_eq!(started.elapsed(), Duration::from_millis(250));
    assert_eq!(read(response.into_body()).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_read_to_its_end_is_not_asked_again() {
    let response = answer(429, Script::text("{}")).await;
    let mut body = pin!(response.into_body());
    assert!(body.frame().await.unwrap().is_ok());
    // The script panics if it is asked.
    for _ in 0..3 {
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_left_for_the_reader() {
    let response = answer(429, Script::new([data("{"), Step::Fail])).await;
    assert_eq!(kind(&response), Some(SignalKind::Rate));
    let expected = [Read::Data(Bytes::from("{")), Read::Failed];
    assert_eq!(read(response.into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn trailers_are_left_for_the_reader() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "7".parse().unwrap());
    let steps = [data("{}"), Step::Trailers(trailers.clone())];
    let response = answer(429, Script::new(steps)).await;
    let expected = [Read::Data(Bytes::from("{}")), Read::Trailers(trailers)];
    assert_eq!(read(response.into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn only_the_innermost_layer_peeks() {
    // A 401 that means nothing, whose body stalls.
    let started = Instant::now();
    let wait = Step::Wait(Duration::from_secs(10));
    let inner = RpsLayer::new(Endpoints::new()).layer(Once::new(401, Script::new([wait])));
    let service = RetryLayer::new().layer(ConcurrencyLayer::new(Endpoints::new()).layer(inner));
    let request = Request::get("/a").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_millis(250));
    assert_eq!(kind(&response), None);
}

#[tokio::test(start_paused = true)]
async fn the_innermost_classifier_is_believed() {
    let rate = |_: &Answer<'_>| Some(Signal::new(SignalKind::Rate));
    let quota = |_: &Answer<'_>| Some(Signal::new(SignalKind::QuotaExhausted));
    let inner = RpsLayer::new(Endpoints::new())
        .classify(quota)
        .layer(Once::new(429, Script::text("")));
    let service = RetryLayer::new().classify(rate).layer(inner);
    let request = Request::get("/a").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(kind(&response), Some(SignalKind::QuotaExhausted));
}

#[tokio::test(start_paused = true)]
async fn a_profile_reads_more() {
    let service = RpsLayer::new(Endpoints::new())
        .classify(Profile::Discord)
        .layer(Once::new(
            429,
            Script::text(r#"{"retry_after": 1.5, "global": false}"#),
        ));
    let request = Request::get("/a").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let delay = signal(&response).and_then(Signal::retry_after);
    assert_eq!(delay, Some(Duration::from_millis(1_500)));
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_held_while_peeking_and_until_the_body_has_ended() {
    let endpoints = Endpoints::new().route("GET /a", Quota::concurrent(1));
    let layer = ConcurrencyLayer::new(endpoints);
    let handle = layer.handle();
    let in_flight = || handle.snapshot().bucket("GET /a").unwrap().in_flight();

    // Read to its end by the peeking.
    let wait = Step::Wait(Duration::from_millis(100));
    let body = Script::new([wait, data("{}")]);
    let mut service = layer.layer(Once::new(429, body));
    let request = || Request::get("/a").body(()).unwrap();
    let mut call = tokio_test::task::spawn(service.call(request()));
    assert!(call.poll().is_pending());
    assert_eq!(in_flight(), 1);
    let response = call.await.unwrap();
    assert_eq!(in_flight(), 0);
    drop(response);

    // Not read to its end. The pause after the refusal is not what this is about.
    handle.resume("GET /a").unwrap();
    let wait = Step::Wait(Duration::from_millis(300));
    let body = Script::new([wait, data("{}")]);
    let mut service = layer.layer(Once::new(429, body));
    let response = service.call(request()).await.unwrap();
    assert_eq!(in_flight(), 1);
    response.into_body().collect().await.unwrap();
    assert_eq!(in_flight(), 0);

    // Dropped while peeking.
    handle.resume("GET /a").unwrap();
    let wait = Step::Wait(Duration::from_millis(300));
    let mut service = layer.layer(Once::new(429, Script::new([wait])));
    let mut call = tokio_test::task::spawn(service.call(request()));
    assert!(call.poll().is_pending());
    drop(call);
    assert_eq!(in_flight(), 0);
}

/// Answers with the next of its answers, and counts them.
#[derive(Clone)]
struct InTurn {
    answers: Arc<Mutex<VecDeque<Response<Script>>>>,
    sent: Arc<AtomicUsize>,
}

impl InTurn {
    fn new(answers: impl IntoIterator<Item = (u16, Script)>) -> Self {
        let answers = answers.into_iter().map(|(status, body)| {
            let response = Response::builder().status(status);
            response.body(body).unwrap()
        });
        Self {
            answers: Arc::new(Mutex::new(answers.collect())),
            sent: Arc::default(),
        }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Service<Request<()>> for InTurn {
    type Response = Response<Script>;
    type Error = BoxError;
    type Future = Ready<Result<Response<Script>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let ok = || Response::new(Script::new([]));
        ready(Ok(answers.pop_front().unwrap_or_else(ok)))
    }
}

fn after(milliseconds: u64, text: &'static str) -> Script {
    let wait = Step::Wait(Duration::from_millis(milliseconds));
    Script::new([data("{"), wait, data(text)])
}

const USED_UP: &str = r#""error":{"code":"insufficient_quota"}}"#;

#[tokio::test(start_paused = true)]
async fn a_retry_learns_from_a_body_that_comes_late_that_no_retry_helps() {
    for late in [0, 100, 249, 251, 300, 600, 999] {
        let server = InTurn::new([(429, after(late, USED_UP))]);
        let endpoints = Endpoints::new().route("GET /a", Quota::concurrent(4));
        let throttled = ThrottleLayer::new(endpoints.clone()).layer(server.clone());
        let response = throttled.oneshot(Request::get("/a").body(()).unwrap());
        let started = Instant::now();
        let response = response.await.unwrap();
        assert_eq!(kind(&response), Some(SignalKind::QuotaExhausted), "{late}");
        assert_eq!(server.sent(), 1, "{late}");
        assert_eq!(started.elapsed(), Duration::from_millis(late));
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, format!("{{{USED_UP}"));

        // The same in a stack by hand, and without any limits.
        let server = InTurn::new([(429, after(late, USED_UP)), (429, after(late, USED_UP))]);
        let request = || Request::get("/a").body(()).unwrap();
        let inner = RpsLayer::new(endpoints.clone()).layer(server.clone());
        let limited = ConcurrencyLayer::new(endpoints).layer(inner);
        let stack = RetryLayer::new().layer(limited);
        let response = stack.oneshot(request()).await.unwrap();
        assert_eq!(kind(&response), Some(SignalKind::QuotaExhausted), "{late}");
        assert_eq!(server.sent(), 1, "{late}");
        let alone = RetryLayer::new().layer(server.clone());
        let response = alone.oneshot(request()).await.unwrap();
        assert_eq!(kind(&response), Some(SignalKind::QuotaExhausted), "{late}");
        assert_eq!(server.sent(), 2, "{late}");
    }
}

/// The first answer names a delay, too late; nothing is sent before that is over.
async fn check_late_delay<S, R>(service: S, server: &InTurn, handle: &Handle)
where
    S: Service<Request<()>, Response = Response<R>, Error = BoxError> + Clone,
{
    let started = Instant::now();
    let request = || Request::get("/a").body(()).unwrap();
    let first = async {
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 200);
        started.elapsed()
    };
    let other = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(server.sent(), 1);
        let paused = handle.snapshot().bucket("GET /a").unwrap().paused_for();
        let paused = paused.expect("the bucket has heard of the delay");
        assert!(paused >= Duration::from_millis(29_900), "{paused:?}");
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 200);
        started.elapsed()
    };
    let (first, other) = tokio::join!(first, other);
    let due = Duration::from_millis(30_400);
    assert!(first >= due && other >= due, "{first:?} {other:?}");
    assert_eq!(server.sent(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_delay_in_a_body_that_comes_late_pauses_the_bucket() {
    let late = || InTurn::new([(429, after(400, r#""retry_after":30}"#))]);
    let endpoints = Endpoints::new().route("GET /a", Quota::concurrent(4));

    let server = late();
    let layer = ThrottleLayer::new(endpoints.clone());
    let handle = layer.handle();
    check_late_delay(layer.layer(server.clone()), &server, &handle).await;

    let server = late();
    let layer = ConcurrencyLayer::new(endpoints);
    let handle = layer.handle();
    let service = RetryLayer::new().layer(layer.layer(server.clone()));
    check_late_delay(service, &server, &handle).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_delays_a_retry_by_no_more_than_a_second() {
    let forever = Duration::from_secs(100_000);
    let stalls = || Script::new([data("{"), Step::Wait(forever)]);
    let server = InTurn::new([(429, stalls())]);
    let layer = RetryLayer::new().backoff(Backoff::full(
        Duration::from_millis(10),
        Duration::from_millis(10),
    ));
    let started = Instant::now();
    let request = Request::get("/a").body(()).unwrap();
    let response = layer.layer(server.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let took = started.elapsed();
    assert!(took <= Duration::from_millis(1_020), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_late_keeps_its_key_for_as_long_as_its_answer_is_there() {
    let endpoints = Endpoints::new().each_other_path(Quota::per_second(1));
    let layer = RpsLayer::new(endpoints);
    let handle = layer.handle();
    let stalls = Script::new([Step::Wait(Duration::from_secs(1))]);
    let service = layer.layer(Once::new(503, stalls));
    let request = Request::get("/a").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let rest = Duration::from_secs(3_600);
    tokio::time::sleep(rest).await;
    handle.sweep();
    let keys = || {
        handle
            .snapshot()
            .buckets()
            .filter(|of| of.name() == "/a")
            .count()
    };
    assert_eq!(keys(), 1);
    drop(response);
    handle.sweep();
    assert_eq!(keys(), 0);
}

#[derive(Clone, Debug)]
struct Case {
    steps: Vec<Step>,
    exact: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let size = prop_oneof![4 => 0_usize..20, 1 => 0_usize..3_000];
    let step = prop_oneof![
        4 => size.prop_map(|size| Step::Data(Bytes::from(vec![b'x'; size]))),
        1 => (0_u64..400).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ];
    let end = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Step::Fail)),
        1 => Just(Some(Step::Trailers(HeaderMap::new()))),
    ];
    (prop::collection::vec(step, 0..20), end, any::<bool>()).prop_map(|(mut steps, end, exact)| {
        steps.extend(end);
        Case { steps, exact }
    })
}

proptest! {
    #[test]
    fn every_frame_is_replayed_as_it_came(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let expected: Vec<_> = case
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Data(data) => Some(Read::Data(data.clone())),
                Step::Trailers(trailers) => Some(Read::Trailers(trailers.clone())),
                Step::Fail => Some(Read::Failed),
                Step::Wait(_) => None,
            })
            .collect();
        let read = runtime.block_on(async {
            let mut body = Script::new(case.steps.clone());
            body.exact = case.exact;
            let started = Instant::now();
            let response = answer(429, body).await;
            assert!(started.elapsed() <= Duration::from_millis(250));
            read(response.into_body()).await
        });
        prop_assert_eq!(read, expected);
    }
}

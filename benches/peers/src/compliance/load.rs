//! Loads, and what is behind the contestants: the same for all.

use std::{
    convert::Infallible,
    future::{Future, Ready, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tower::{BoxError, Service, ServiceExt};

use super::contestants::{Client, Req, Server, boxed};

/// Where all requests go.
pub const PATH: &str = "/work";

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Runs on a paused clock of its own, with the same draws whenever the seed is the same.
pub fn virtually<F: Future>(seed: u64, future: F) -> F::Output {
    run(true, seed, future)
}

/// Runs in real time, on one thread as well.
pub fn really<F: Future>(future: F) -> F::Output {
    run(false, 0, future)
}

fn run<F: Future>(paused: bool, seed: u64, future: F) -> F::Output {
    // Ours and tower's draws come from this thread's generator, and so do our own.
    fastrand::seed(seed);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(paused)
        .build()
        .expect("a runtime without sockets")
        .block_on(future)
}

/// The request that came as number `place`, from 0.
#[derive(Clone, Copy)]
pub struct Place(pub usize);

impl Place {
    pub fn of(request: &Req) -> Self {
        let place = request.extensions().get();
        *place.expect("everyone has a place")
    }
}

fn request(place: usize) -> Req {
    let mut request = Request::post(PATH)
        .body(Full::default())
        .expect("the path is a URI");
    request.extensions_mut().insert(Place(place));
    request
}

/// When requests come: durations from the start, in order.
pub type Arrivals = Vec<Duration>;

/// So many at the start.
pub fn at_start(n: usize) -> Arrivals {
    vec![Duration::ZERO; n]
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When its answer had been read to the end, after the start.
    pub ended: Duration,
    /// `None` if there was no answer.
    pub status: Option<StatusCode>,
    /// How often it was polled until the head of its answer was there.
    pub polls: usize,
}

/// Sends a request for each arrival, and reads the answers.
pub async fn send(client: &Client, arrivals: &Arrivals) -> Vec<Outcome> {
    send_and_watch(client, arrivals, |_| {}).await
}

/// The same, with a look at each outcome as it comes.
pub async fn send_and_watch(
    client: &Client,
    arrivals: &Arrivals,
    mut watch: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let mut crowd = Crowd::new(client);
    let mut outcomes = Vec::new();
    for arrival in arrivals {
        crowd.wait_until(*arrival).await;
        crowd.enter();
        while let Some(Ok(outcome)) = crowd.tasks.try_join_next() {
            watch(&outcome);
            outcomes.push(outcome);
        }
    }
    while let Some(Ok(outcome)) = crowd.tasks.join_next().await {
        watch(&outcome);
        outcomes.push(outcome);
    }
    assert_eq!(outcomes.len(), arrivals.len(), "a task has panicked");
    outcomes
}

/// Requests that are under way, each in a task.
pub struct Crowd<'a> {
    client: &'a Client,
    start: Instant,
    places: usize,
    pub tasks: JoinSet<Outcome>,
}

impl<'a> Crowd<'a> {
    pub fn new(client: &'a Client) -> Self {
        Self {
            client,
            start: Instant::now(),
            places: 0,
            tasks: JoinSet::new(),
        }
    }

    pub async fn wait_until(&self, time: Duration) {
        if time > self.start.elapsed() {
            sleep_until(self.start + time).await;
        }
    }

    /// Another one.
    pub fn enter(&mut self) -> AbortHandle {
        self.enter_readied(Duration::ZERO)
    }

    /// Another one, whose service is made ready now and called no sooner than `called`.
    pub fn enter_readied(&mut self, called: Duration) -> AbortHandle {
        let (client, start, place) = (self.client.clone(), self.start, self.places);
        self.places += 1;
        self.tasks.spawn(async move {
            let mut polls = 0;
            let mut head = Box::pin(head(client, place, start + called));
            let answer = poll_fn(|cx| {
                polls += 1;
                head.as_mut().poll(cx)
            })
            .await;
            let status = match answer {
                Ok(answer) => {
                    let status = answer.status();
                    let body = answer.into_body().collect().await;
                    body.is_ok().then_some(status)
                }
                Err(_) => None,
            };
            Outcome {
                ended: start.elapsed(),
                status,
                polls,
            }
        })
    }
}

async fn head(
    mut client: Client,
    place: usize,
    called: Instant,
) -> Result<super::contestants::Res, BoxError> {
    let ready = client.ready().await?;
    if called > Instant::now() {
        sleep_until(called).await;
    }
    ready.call(request(place)).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes down what is sent when, and answers at once.
#[derive(Clone)]
pub struct Recorder {
    start: Instant,
    sent: Arc<Mutex<Vec<Sent>>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub place: usize,
    /// After the start.
    pub at: Duration,
}

impl Recorder {
    /// Times count from now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            sent: Arc::default(),
        }
    }

    pub fn server(&self) -> Server {
        boxed(self.clone())
    }

    /// All of it, in the order in which it was sent.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.sent).clone()
    }

    pub fn times(&self) -> Vec<Duration> {
        lock(&self.sent).iter().map(|sent| sent.at).collect()
    }
}

impl Service<Req> for Recorder {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Place(place) = Place::of(&request);
        let at = self.start.elapsed();
        lock(&self.sent).push(Sent { place, at });
        ready(Ok(Response::new(Empty::new())))
    }
}

/// The largest number of them in any half-open second.
pub fn worst_second(times: &[Duration]) -> usize {
    worst_window(times, secs(1))
}

/// The largest number of them in any half-open interval of this length.
pub fn worst_window(times: &[Duration], length: Duration) -> usize {
    let mut times = times.to_vec();
    times.sort();
    let mut worst = 0;
    let mut first = 0;
    for (last, time) in times.iter().enumerate() {
        while *time - times[first] >= length {
            first += 1;
        }
        worst = worst.max(last + 1 - first);
    }
    worst
}

/// Answers after 50 ms, and goes on speaking for a second: the answer has not ended with its head.
#[derive(Clone, Default)]
pub struct Streaming {
    in_flight: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Streaming {
    pub const HEAD: Duration = ms(50);
    pub const BODY: Duration = ms(1_000);

    /// The largest number of answers at once that had not ended.
    pub fn most_in_flight(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    pub fn server(&self) -> Server {
        boxed(self.clone())
    }
}

struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Req> for Streaming {
    type Response = Response<Speech>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        let now = 1 + self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(now, Ordering::Relaxed);
        let in_flight = InFlight(Arc::clone(&self.in_flight));
        Box::pin(async move {
            sleep(Self::HEAD).await;
            Ok(Response::new(Speech {
                end: Box::pin(sleep(Self::BODY)),
                in_flight: Some(in_flight),
            }))
        })
    }
}

/// One chunk, when the second is over.
pub struct Speech {
    end: Pin<Box<Sleep>>,
    in_flight: Option<InFlight>,
}

impl http_body::Body for Speech {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.in_flight.is_none() {
            return Poll::Ready(None);
        }
        std::task::ready!(self.end.as_mut().poll(cx));
        self.in_flight = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"spoken")))))
    }

    fn is_end_stream(&self) -> bool {
        self.in_flight.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_requests_a_second_apart_one_is_in_it() {
        assert_eq!(worst_second(&[]), 0);
        assert_eq!(worst_second(&[ms(0), ms(1_000)]), 1);
        assert_eq!(worst_second(&[ms(0), ms(999)]), 2);
        assert_eq!(worst_second(&[ms(1_900), ms(0), ms(1_000), ms(999)]), 3);
    }

    #[test]
    fn requests_come_when_they_should_and_are_written_down() {
        virtually(0, async {
            let recorder = Recorder::start();
            let arrivals = vec![ms(0), ms(0), ms(7)];
            let outcomes = send(&recorder.server(), &arrivals).await;
            assert_eq!(recorder.times(), arrivals);
            let places: Vec<_> = recorder.sent().iter().map(|sent| sent.place).collect();
            assert_eq!(places, [0, 1, 2]);
            assert!(outcomes.iter().all(|o| o.status == Some(StatusCode::OK)));
        });
    }

    #[test]
    fn an_answer_is_in_flight_until_its_body_has_ended() {
        virtually(0, async {
            let streaming = Streaming::default();
            let outcomes = send(&streaming.server(), &at_start(3)).await;
            assert_eq!(streaming.most_in_flight(), 3);
            assert_eq!(streaming.in_flight.load(Ordering::Relaxed), 0);
            assert!(outcomes.iter().all(|o| o.ended == ms(1_050)));
        });
    }
}

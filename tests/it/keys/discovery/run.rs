//! A server with a limit that it does not tell, and a crowd of callers before it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt, service_fn};
use tower_throttle::{Endpoints, Learning, RetryLayer, ThrottleLayer};

/// What a server takes. What it refuses it does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    /// So many in any second.
    Sliding(usize),
    /// So many in each second, the first of which ends so many milliseconds after the beginning.
    Fixed(usize, u64),
    AtOnce(usize),
}

/// A server and its callers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) limit: Limit,
    /// In milliseconds, how long it takes until an answer is there, and until a refusal is.
    pub(crate) answer: u64,
    pub(crate) refusal: u64,
    /// Whether refusals say `Retry-After: 1`.
    pub(crate) retry_after: bool,
    pub(crate) callers: usize,
    /// How many requests each caller makes, one after the other.
    pub(crate) each: usize,
    /// Of what is random in back-offs.
    pub(crate) seed: u64,
}

/// A request that came to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) at: Duration,
    pub(crate) refused: bool,
    /// How many are being answered or refused, this one included.
    pub(crate) in_flight: usize,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) visits: Vec<Visit>,
    /// How many had come when the first refusal was heard.
    pub(crate) first_heard: Option<usize>,
    pub(crate) requests: usize,
    pub(crate) took: Duration,
}

impl Run {
    /// Those that were refused and had been sent before the first refusal was heard.
    pub(crate) fn first_wave(&self) -> usize {
        let wave = &self.visits[..self.first_heard.unwrap_or(0)];
        wave.iter().filter(|visit| visit.refused).count()
    }

    /// How many were sent per request, besides the first refused wave.
    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    pub(crate) fn ratio(&self) -> f64 {
        (self.visits.len() - self.first_wave()) as f64 / self.requests as f64
    }
}

#[derive(Debug, Default)]
struct State {
    visits: Vec<Visit>,
    first_heard: Option<usize>,
    /// When those were accepted that the window counts.
    accepted: VecDeque<Instant>,
    in_flight: usize,
    working: usize,
}

impl State {
    fn takes(&mut self, limit: Limit, start: Instant, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        let n = match limit {
            Limit::None => return true,
            Limit::AtOnce(n) => return self.working < n,
            Limit::Sliding(n) => {
                self.accepted.retain(|&at| now - at < second);
                n
            }
            Limit::Fixed(n, first) => {
                let shift = second - Duration::from_millis(first);
                let number = |at: Instant| (at - start + shift).as_secs();
                self.accepted.retain(|&at| number(at) == number(now));
                n
            }
        };
        self.accepted.len() < n
    }
}

impl Scene {
    pub(crate) fn requests(&self) -> usize {
        self.callers * self.each
    }

    /// Sends everything on a fresh paused clock, and waits until all is answered.
    pub(crate) fn run(self, learning: Learning) -> Run {
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(self.run_here(learning))
    }

    async fn run_here(self, learning: Learning) -> Run {
        let start = Instant::now();
        let state: Arc<Mutex<State>> = Arc::default();
        let of_server = Arc::clone(&state);
        let server = service_fn(move |_: Request<Full<Bytes>>| {
            let state = Arc::clone(&of_server);
            async move { Ok::<_, Infallible>(self.answer(&state, start).await) }
        });
        // Everybody is patient.
        let retry = RetryLayer::new()
            .max_attempts(1_000_000)
            .max_total(Duration::from_secs(100_000))
            .without_budget();
        let client = ThrottleLayer::new(Endpoints::new())
            .learn(learning)
            .retry(retry)
            .layer(server);
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let client = client.clone();
            callers.spawn(async move {
                for _ in 0..self.each {
                    let request = Request::get("http://api.example/a");
                    let request = request.body(Full::<Bytes>::default()).unwrap();
                    let answer = client.clone().oneshot(request).await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.into_body().collect().await.unwrap();
                }
            });
        }
        let everybody = async { while callers.join_next().await.transpose().unwrap().is_some() {} };
        let longest = Duration::from_secs(24 * 3600);
        let answered = tokio::time::timeout(longest, everybody).await;
        assert!(answered.is_ok(), "not everybody is answered: {self:?}");
        let took = start.elapsed();
        let state = state.lock().unwrap();
        Run {
            visits: state.visits.clone(),
            first_heard: state.first_heard,
            requests: self.requests(),
            took,
        }
    }

    async fn answer(&self, state: &Mutex<State>, start: Instant) -> Response<Full<Bytes>> {
        let now = Instant::now();
        let takes = {
            let mut state = state.lock().unwrap();
            let takes = state.takes(self.limit, start, now);
            state.in_flight += 1;
            if takes {
                state.working += 1;
                state.accepted.push_back(now);
            }
            let visit = Visit {
                at: now - start,
                refused: !takes,
                in_flight: state.in_flight,
            };
            state.visits.push(visit);
            takes
        };
        let time = if takes { self.answer } else { self.refusal };
        tokio::time::sleep(Duration::from_millis(time)).await;
        let mut state = state.lock().unwrap();
        state.in_flight -= 1;
        if takes {
            state.working -= 1;
            return Response::new(Full::default());
        }
        let visits = state.visits.len();
        state.first_heard.get_or_insert(visits);
        let mut refusal = Response::builder().status(429);
        if self.retry_after {
            refusal = refusal.header("retry-after", "1");
        }
        refusal.body(Full::default()).unwrap()
    }
}

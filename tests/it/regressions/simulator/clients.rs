//! Three clients of the crate before the same server with the same load.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::{task::JoinSet, time::Instant};
use tower::{BoxError, Layer, ServiceExt};
use tower_throttle::{
    Endpoints, Event, EventKind, Learning, Observer, Quota, RetryLayer, Throttle, ThrottleLayer,
};

use super::{
    draws::{Configured, Draw, Load},
    limits::Limit,
    servers::{Id, Running, Trouble, Verdict, Visit},
};

/// A run that takes longer than this is ended.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// How long a request that is always refused is tried for: as by default.
const PATIENCE_WITH_POISON: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// With default settings.
    Learns,
    /// With the same limits configured, and `Learning::none()`.
    DoesNotLearn,
    /// With the server's limits configured, and a margin for the network's jitter. It does not learn either.
    KnowsTheTruth,
}

pub(crate) const CLIENTS: [Who; 3] = [Who::Learns, Who::DoesNotLearn, Who::KnowsTheTruth];

/// What one run came to.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// When each request was answered with success, in order; without the poisoned ones.
    pub(crate) done: Vec<Duration>,
    /// Answered without success, without the poisoned ones.
    pub(crate) given_up: usize,
    /// Not answered when the run was ended.
    pub(crate) unanswered: usize,
    /// When the last request that is not poisoned was answered.
    pub(crate) took: Duration,
    pub(crate) visits: Vec<Visit>,
    /// What the layer told of pauses and lessons.
    pub(crate) news: Vec<(Duration, String)>,
}

impl Run {
    pub(crate) fn sent(&self) -> usize {
        self.visits.len()
    }

    pub(crate) fn refused(&self) -> usize {
        let refused = |visit: &&Visit| matches!(visit.verdict, Some(Verdict::Refused(_)));
        self.visits.iter().filter(refused).count()
    }
}

/// Runs a draw on a fresh paused clock.
pub(crate) fn run(draw: &Draw, who: Who) -> Run {
    // The crate's own randomness: back-offs and the jitter of pauses.
    fastrand::seed(draw.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(run_here(draw, who))
}

async fn run_here(draw: &Draw, who: Who) -> Run {
    let server = Running::new(draw.seed, &draw.server, draw.requests);
    let start = Instant::now();
    let news = Arc::new(News {
        start,
        told: Mutex::default(),
    });
    let mut layer = ThrottleLayer::new(endpoints(draw, who)).observe(Arc::clone(&news));
    if who != Who::Learns {
        layer = layer.learn(Learning::none());
    }
    let patient = retry(draw).max_total(LONGEST * 2);
    let impatient = retry(draw).max_total(PATIENCE_WITH_POISON);
    let clients = Clients {
        others: layer.clone().retry(patient).layer(server.clone()),
        poisoned: layer.retry(impatient).layer(server.clone()),
        trouble: draw.server.trouble.clone(),
    };
    let answers = Arc::new(Mutex::new(Vec::new()));
    let _ = tokio::time::timeout(LONGEST, everyone(draw, &clients, &answers)).await;

    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let mut done = Vec::new();
    let mut given_up = 0;
    let mut took = Duration::ZERO;
    for &(request, at, status) in &*answers {
        if !draw.server.trouble.is_poisoned(request) {
            took = took.max(at - start);
            if status == Some(StatusCode::OK) {
                done.push(at - start);
            } else {
                given_up += 1;
            }
        }
    }
    let unanswered = draw.requests - answers.len();
    if unanswered > 0 {
        took = LONGEST;
    }
    done.sort();
    let told = news.told.lock().unwrap_or_else(PoisonError::into_inner);
    Run {
        done,
        given_up,
        unanswered,
        took,
        visits: server.visits(),
        news: told.clone(),
    }
}

type Answer = (usize, Instant, Option<StatusCode>);

/// Sends all requests of a draw, and waits until all have been answered.
async fn everyone(draw: &Draw, clients: &Clients, answers: &Arc<Mutex<Vec<Answer>>>) {
    let requests = draw.requests;
    let mut tasks = JoinSet::new();
    match &draw.load {
        Load::Callers(callers) => {
            let next = Arc::new(AtomicUsize::new(0));
            for _ in 0..*callers {
                let (clients, next) = (clients.clone(), Arc::clone(&next));
                let answers = Arc::clone(answers);
                tasks.spawn(async move {
                    loop {
                        let request = next.fetch_add(1, Ordering::Relaxed);
                        if request >= requests {
                            break;
                        }
                        clients.answer(request, &answers).await;
                    }
                });
            }
        }
        Load::Arrivals(gaps) => {
            let mut at = Instant::now();
            for (request, gap) in gaps.iter().enumerate() {
                at += *gap;
                let (clients, answers) = (clients.clone(), Arc::clone(answers));
                tasks.spawn(async move {
                    tokio::time::sleep_until(at).await;
                    clients.answer(request, &answers).await;
                });
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("nobody panics");
    }
}

/// The services of one layer.
#[derive(Clone)]
struct Clients {
    others: Throttle<Running>,
    /// Gives up earlier.
    poisoned: Throttle<Running>,
    trouble: Trouble,
}

impl Clients {
    async fn answer(&self, request: usize, answers: &Mutex<Vec<Answer>>) {
        let status = self.send(request).await.ok();
        answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((request, Instant::now(), status));
    }

    /// Sends a request, and reads the answer to its end.
    async fn send(&self, id: usize) -> Result<StatusCode, BoxError> {
        let client = if self.trouble.is_poisoned(id) {
            &self.poisoned
        } else {
            &self.others
        };
        let mut request = Request::get("http://api.example/items").body(Empty::<Bytes>::new())?;
        request.extensions_mut().insert(Id(id));
        let answer = client.clone().oneshot(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status)
    }
}

/// Everyone is patient, and retries the status with which this server refuses.
fn retry(draw: &Draw) -> RetryLayer {
    let statuses = [408, 429, 500, 502, 503, 504, 529, draw.server.manner.status];
    RetryLayer::new()
        .max_attempts(1_000_000)
        .without_budget()
        .statuses(statuses.map(|status| StatusCode::from_u16(status).expect("it is one")))
}

fn endpoints(draw: &Draw, who: Who) -> Endpoints {
    let limit = &draw.server.limit;
    let quota = if who == Who::KnowsTheTruth {
        truth(draw)
    } else {
        match draw.configured {
            Configured::Nothing => None,
            Configured::Published => quota(limit.window(), limit.at_once()),
            Configured::OnlyWindow => quota(limit.window(), None),
            Configured::OnlyAtOnce => quota(None, limit.at_once()),
            Configured::TooHigh(percent) => {
                let window = limit
                    .window()
                    .map(|(n, period)| ((n * percent).div_ceil(100), period));
                let times = usize::try_from(percent).expect("500 at most");
                let at_once = limit.at_once().map(|n| (n * times).div_ceil(100));
                quota(window, at_once)
            }
        }
    };
    match quota {
        Some(quota) => Endpoints::new().overall(quota),
        None => Endpoints::new(),
    }
}

/// The server's limit less what strangers want, with a margin for the jitter.
fn truth(draw: &Draw) -> Option<Quota> {
    let ours = match draw.server.trouble {
        Trouble::Strangers { percent, .. } => 100 - percent,
        _ => 100,
    };
    let limit = &draw.server.limit;
    let share = usize::try_from(ours).expect("100 at most");
    let at_once = limit.at_once().map(|n| (n * share / 100).max(1));
    let windows = limit.true_windows().into_iter();
    let mut windows = windows.map(|(n, period)| ((n * ours / 100).max(1), period));
    let first = windows.next();
    let mut quota = quota(first, at_once)?;
    for (n, period) in windows {
        quota = quota.and_per(n, period);
    }
    let jitter = draw.server.network.jitter;
    let margin = first.is_some() && jitter > Duration::ZERO;
    Some(if margin { quota.margin(jitter) } else { quota })
}

/// A bucket of n that fills within a period serves exactly n at once and n a period for long.
fn quota(window: Option<(u32, Duration)>, at_once: Option<usize>) -> Option<Quota> {
    match (window, at_once) {
        (Some((n, period)), Some(at_once)) => Some(Quota::per(n, period).concurrency(at_once)),
        (Some((n, period)), None) => Some(Quota::per(n, period)),
        (None, Some(at_once)) => Some(Quota::concurrent(at_once)),
        (None, None) => None,
    }
}

/// Whether the one who knows the truth is never refused: a limit that can be configured, nobody else, and nothing
/// that refuses for other reasons.
pub(crate) fn truth_is_never_refused(draw: &Draw) -> bool {
    !matches!(draw.server.limit, Limit::None | Limit::Unknown { .. })
        && matches!(
            draw.server.trouble,
            Trouble::None | Trouble::Bans { .. } | Trouble::Soft(_)
        )
}

/// Keeps what a layer tells of pauses and lessons.
struct News {
    start: Instant,
    told: Mutex<Vec<(Duration, String)>>,
}

impl Observer for News {
    fn on_event(&self, event: &Event<'_>) {
        let text = match event.kind {
            EventKind::Paused { time, cause } => {
                let until = (event.at + time - self.start).as_secs_f64();
                format!("paused until {until:.3} ({cause:?})")
            }
            EventKind::Learned(learned) => format!("learned {learned:?}"),
            EventKind::Eased(Some(learned)) => format!("eased to {learned:?}"),
            EventKind::Eased(None) => "eased to nothing".to_owned(),
            _ => return,
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push((event.at - self.start, text));
    }
}

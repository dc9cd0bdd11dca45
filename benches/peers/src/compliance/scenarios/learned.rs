//! Limits that are not the configured ones: what a client finds, and what it costs until then.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use tower::Layer;
use tower_throttle::{
    Handle,
    mock::{Judge, JudgeBuilder, Limit, RefusedBy, Work},
};

use super::{FIXED, SEEDS, SLIDING_LOG, trial::Trial};
use crate::compliance::{
    contestants::{
        Adaptive, Backon, Client, Contestant, Limits, NoLimiter, Resilience, ResilienceRetry,
        Semaphore, Server, Tower, TowerRetry, TowerThrottle, boxed,
    },
    figures::{Learned, LearnedRow, Spread, seconds},
    load::{PATH, ms, virtually},
};

/// A limit that is believed, and another one that holds.
struct Scenario {
    name: &'static str,
    requests: usize,
    believed: Limits,
    judge: fn() -> JudgeBuilder,
    /// The server's limit at the end.
    allowed: usize,
    /// Whether the server's limit doubles in the middle, to that.
    doubles: bool,
    contestants: Vec<(&'static str, MakeLearner)>,
}

/// For each run another one: what was learned must not be known in the next.
type MakeLearner = fn() -> Box<dyn Learner>;

/// A contestant that perhaps knows what it has found.
trait Learner {
    fn client(&self, limits: Limits, server: Server) -> Client;

    fn found(&self) -> Option<usize> {
        None
    }
}

/// Has nothing to say.
struct Mute<C>(C);

impl<C: Contestant> Learner for Mute<C> {
    fn client(&self, limits: Limits, server: Server) -> Client {
        self.0.client(limits, server)
    }
}

#[derive(Default)]
struct Ours(OnceLock<Handle>);

impl Learner for Ours {
    fn client(&self, limits: Limits, server: Server) -> Client {
        let layer = TowerThrottle { retry: true }.layer(limits);
        // One client is made of each.
        let _ = self.0.set(layer.handle());
        boxed(layer.layer(server))
    }

    /// What its buckets have learned: there is one that is used.
    fn found(&self) -> Option<usize> {
        let snapshot = self.0.get()?.snapshot();
        let mut learned = snapshot.buckets().filter_map(|bucket| bucket.learned());
        learned.find_map(|learned| {
            let at_once = learned.concurrency().map(|(n, _)| n);
            let per_second = learned
                .rate()
                .map(|(n, period, _)| (f64::from(n) / period.as_secs_f64()).round() as usize);
            per_second.or(at_once)
        })
    }
}

struct ItsAdaptive(Arc<Adaptive>);

impl Learner for ItsAdaptive {
    fn client(&self, limits: Limits, server: Server) -> Client {
        let over = Arc::clone(&self.0);
        ResilienceRetry { random: true, over }.client(limits, server)
    }

    fn found(&self) -> Option<usize> {
        Some(self.0.limit())
    }
}

const OURS: (&str, MakeLearner) = ("tower-throttle", || Box::<Ours>::default());

fn tower_and_retry() -> Box<dyn Learner> {
    Box::new(Mute(TowerRetry {
        budget: false,
        over: Tower,
    }))
}

fn resilience_and_retry(over: Resilience) -> Box<dyn Learner> {
    Box::new(Mute(ResilienceRetry { random: true, over }))
}

fn scenarios() -> [Scenario; 4] {
    [
        Scenario {
            name: "10 per second configured, 5 allowed",
            requests: 200,
            believed: Limits::per_second(10),
            judge: || Judge::builder().route(PATH, Limit::rps(5), Work::uniform(ms(200)..ms(400))),
            allowed: 5,
            doubles: false,
            contestants: vec![
                OURS,
                ("tower: retry, buffer, rate", tower_and_retry),
                ("tower-resilience: retry, sliding log", || {
                    resilience_and_retry(SLIDING_LOG)
                }),
                ("backon, tokio semaphore and a timer per call", || {
                    Box::new(Mute(Backon {
                        over: Semaphore::WithTimers,
                    }))
                }),
            ],
        },
        Scenario {
            name: "nothing configured, 20 per second allowed, no Retry-After",
            requests: 2_000,
            believed: Limits::default(),
            judge: || {
                Judge::builder()
                    .route(PATH, Limit::rps(20), Work::fixed(ms(20)))
                    .refusal_after(ms(20))
            },
            allowed: 20,
            doubles: false,
            contestants: vec![
                OURS,
                ("tower-resilience retry, exponential ±50 %", || {
                    Box::new(Mute(ResilienceRetry {
                        random: true,
                        over: NoLimiter,
                    }))
                }),
                ("backon, exponential with jitter", || {
                    Box::new(Mute(Backon { over: NoLimiter }))
                }),
            ],
        },
        Scenario {
            name: "10 at once configured, 4 allowed, which nobody says",
            requests: 200,
            believed: Limits::default().at_once(10),
            judge: || at_once(false),
            allowed: 4,
            doubles: false,
            contestants: at_once_contestants(),
        },
        Scenario {
            name: "10 at once configured, 4 and then 8 allowed, as the answers say",
            requests: 200,
            believed: Limits::default().at_once(10),
            judge: || {
                at_once(true).answer(PATH, |received| {
                    let limit = received.concurrency_limit().unwrap_or_default();
                    Response::builder()
                        .header("current-concurrent-requests", received.in_flight())
                        .header("maximum-concurrent-requests", limit)
                        .body(Bytes::from_static(b"done"))
                        .expect("these are valid")
                })
            },
            allowed: 8,
            doubles: true,
            contestants: at_once_contestants(),
        },
    ]
}

/// Those who can be asked for so many at once.
fn at_once_contestants() -> Vec<(&'static str, MakeLearner)> {
    vec![
        OURS,
        ("tower: retry, buffer, concurrency", tower_and_retry),
        ("tower-resilience: retry, bulkhead", || {
            resilience_and_retry(FIXED)
        }),
        ("tower-resilience: retry, adaptive", || {
            Box::new(ItsAdaptive(Arc::new(Adaptive::new(10))))
        }),
    ]
}

/// Four at once, refused as ElevenLabs does, with the limit in the message or without.
fn at_once(named: bool) -> JudgeBuilder {
    Judge::builder()
        .route(PATH, Limit::concurrent(4), Work::uniform(ms(200)..ms(400)))
        .refusal(move |refusal| {
            let message = match refusal.by() {
                RefusedBy::Concurrency { limit } if named => format!(
                    "Too many concurrent requests. Your current subscription is associated with a \
                     maximum of {limit} concurrent requests (running in parallel)."
                ),
                _ => "Too many concurrent requests.".to_owned(),
            };
            let detail = serde_json::json!({
                "type": "rate_limit_error",
                "code": "concurrent_limit_exceeded",
                "status": "too_many_concurrent_requests",
                "message": message,
            });
            Response::builder()
                .status(StatusCode::TOO_MANY_REQUESTS)
                .header(CONTENT_TYPE, "application/json")
                .body(Bytes::from(
                    serde_json::json!({ "detail": detail }).to_string(),
                ))
                .expect("these are valid")
        })
}

pub fn run() -> Vec<Learned> {
    let table = |scenario: &Scenario| Learned {
        scenario: scenario.name.to_owned(),
        requests: scenario.requests,
        rows: scenario
            .contestants
            .iter()
            .map(|(name, learner)| scenario.row(name, *learner))
            .collect(),
    };
    scenarios().iter().map(table).collect()
}

impl Scenario {
    fn row(&self, name: &str, learner: MakeLearner) -> LearnedRow {
        let runs: Vec<(Trial, Option<usize>)> = SEEDS
            .map(|seed| virtually(seed, self.trial(&*learner(), seed)))
            .collect();
        let found: Option<Vec<_>> = runs.iter().map(|(_, found)| *found).collect();
        let took: Vec<Duration> = runs.iter().map(|(trial, _)| trial.took).collect();
        LearnedRow {
            client: name.to_owned(),
            allowed: self.allowed,
            found: found.map(Spread::of),
            refused: Spread::of(runs.iter().map(|(trial, _)| trial.score.refused())),
            succeeded: Spread::of(runs.iter().map(|(trial, _)| trial.succeeded)),
            took: Spread::of(took.into_iter().map(seconds)),
        }
    }

    async fn trial(&self, learner: &dyn Learner, seed: u64) -> (Trial, Option<usize>) {
        let mut found = None;
        let client = |server| learner.client(self.believed, server);
        let judge = (self.judge)().seed(seed);
        let trial = Trial::watch(client, judge, self.requests, |count, judge| {
            if self.doubles && count == self.requests / 2 {
                judge.set_limit(PATH, Limit::concurrent(self.allowed));
            }
            if count == self.requests * 9 / 10 {
                found = learner.found();
            }
        });
        let trial = trial.await;
        (trial, found)
    }
}

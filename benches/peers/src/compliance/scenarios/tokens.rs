//! Calls that are all there at once, of 100 to 900 tokens each, before a judge that allows 10 000 tokens in any
//! minute. It counts what a call takes when it arrives, or when its answer ends. What is refused is sent again.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use http_body_util::Full;
use tower::{BoxError, ServiceExt, service_fn};
use tower_throttle::mock::{EndpointReport, Judge, Limit, Verdict, Work};

use super::order::overtaken;
use crate::compliance::{
    contestants::{
        Budget, Budgeter, GovernorOfTokens, LeakyBucket, NoLimiter, Req, Server, ThrottleNet,
        TokenGate, Tokens, ToldTheMean, TowerThrottle, boxed,
    },
    figures::{Spread, TokensRow, TokensTable, rounded, seconds},
    load::{PATH, Place, Sent, at_start, ms, secs, send, virtually},
};

/// Half as many runs as elsewhere: they are long.
const SEEDS: Range<u64> = 0..10;

const TOKENS: u32 = 10_000;
const PERIOD: Duration = secs(60);
const LARGE: u32 = 4_000;

/// What is known of a call before it is sent.
#[derive(Clone, Copy)]
pub enum Estimates {
    Exact,
    /// Up to two times what it takes, as `max_tokens` is.
    UpperBounds,
    /// By up to two times, in both directions.
    Off,
    Nothing,
}

impl Estimates {
    pub const ALL: [Self; 4] = [Self::Exact, Self::UpperBounds, Self::Off, Self::Nothing];

    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::UpperBounds => "upper bounds",
            Self::Off => "off by up to 2",
            Self::Nothing => "none",
        }
    }

    fn of(self, taken: u32, random: &mut fastrand::Rng) -> Option<u32> {
        let times = |factor: f64| Some(((f64::from(taken) * factor) as u32).clamp(1, TOKENS));
        match self {
            Self::Exact => Some(taken),
            Self::UpperBounds => times(1.0 + random.f64()),
            Self::Off => times((random.f64() * 2.0 - 1.0).exp2()),
            Self::Nothing => None,
        }
    }
}

/// A server that counts tokens, and what is asked of it.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    calls: usize,
    at_end: bool,
    work: Duration,
    /// One in so many takes 4 000.
    large: Option<usize>,
}

const ARRIVAL: Scenario = Scenario {
    name: "counted at arrival, 2 s of work",
    calls: 400,
    at_end: false,
    work: secs(2),
    large: None,
};
const END: Scenario = Scenario {
    name: "counted at the answer's end, 2 s of work",
    at_end: true,
    ..ARRIVAL
};

const ALL: [Scenario; 6] = [
    ARRIVAL,
    Scenario {
        name: "counted at arrival, 10 s of work",
        calls: 200,
        work: secs(10),
        ..ARRIVAL
    },
    Scenario {
        name: "counted at arrival, 2 s of work, one in ten of 4 000",
        calls: 200,
        large: Some(10),
        ..ARRIVAL
    },
    END,
    Scenario {
        name: "counted at the answer's end, 10 s of work",
        calls: 200,
        work: secs(10),
        ..END
    },
    Scenario {
        name: "counted at the answer's end, 2 s of work, one in ten of 4 000",
        calls: 200,
        large: Some(10),
        ..END
    },
];

/// The table that the README shows.
pub const HEADLINE: &str = ARRIVAL.name;

/// Where answers' ends are counted, and else all is the same.
pub const AT_END: &str = END.name;

const OURS: TowerThrottle = TowerThrottle { retry: true };
const TOLD_THE_MEAN: ToldTheMean = ToldTheMean(OURS);

const CONTESTANTS: [&dyn Budgeter; 11] = [
    &OURS,
    &NoLimiter,
    &TOLD_THE_MEAN,
    &ThrottleNet::Bucket,
    &ThrottleNet::Smooth,
    &ThrottleNet::SlidingLog,
    &GovernorOfTokens::BurstOfN,
    &GovernorOfTokens::BurstOfLargest,
    &LeakyBucket::Chunks,
    &LeakyBucket::OneByOne,
    &TokenGate,
];

pub fn run() -> Vec<TokensTable> {
    ALL.iter().map(Scenario::table).collect()
}

impl Scenario {
    fn table(&self) -> TokensTable {
        let rows = |estimates: Estimates| {
            let is_another = move |contestant: &&&dyn Budgeter| {
                contestant.name() != TOLD_THE_MEAN.name() || matches!(estimates, Estimates::Nothing)
            };
            CONTESTANTS
                .iter()
                .filter(is_another)
                .map(move |contestant| {
                    let run = |seed| virtually(seed, self.run(*contestant, estimates, seed));
                    let runs: Vec<_> = SEEDS.map(run).collect();
                    Run::row(contestant.name(), estimates, &runs)
                })
        };
        TokensTable {
            scenario: self.name.to_owned(),
            calls: self.calls,
            rows: Estimates::ALL.into_iter().flat_map(rows).collect(),
        }
    }

    fn work(&self) -> Work {
        Work::uniform(self.work - ms(200)..self.work + ms(200))
    }

    /// The same calls for everyone, whatever is known of them.
    fn calls(&self, estimates: Estimates, seed: u64) -> Vec<Tokens> {
        let mut sizes = fastrand::Rng::with_seed(seed);
        let mut errors = sizes.fork();
        let guess = match self.large {
            Some(one_in) => 500 + (LARGE - 500) / u32::try_from(one_in).expect("a small number"),
            None => 500,
        };
        let call = |_| {
            let is_large = self.large.is_some_and(|one_in| sizes.usize(..one_in) == 0);
            let taken = if is_large {
                LARGE
            } else {
                sizes.u32(100..=900)
            };
            Tokens {
                estimate: estimates.of(taken, &mut errors),
                guess,
                taken,
            }
        };
        (0..self.calls).map(call).collect()
    }

    async fn run(&self, contestant: &dyn Budgeter, estimates: Estimates, seed: u64) -> Run {
        let calls = self.calls(estimates, seed);
        let limit = Limit::unlimited();
        let limit = if self.at_end {
            limit.units_at_end("tokens", TOKENS.into(), PERIOD)
        } else {
            limit.units("tokens", TOKENS.into(), PERIOD)
        };
        let judge = Judge::builder()
            .route(PATH, limit, self.work())
            .cost_of(|_, body| {
                let text = std::str::from_utf8(body).expect("a number");
                vec![("tokens", text.parse().expect("a number"))]
            })
            .truthful_retry_after()
            .seed(seed)
            .build();
        let watch = Watch::default();
        let server = watch.server(boxed(judge.clone()));
        let largest = calls.iter().map(|call| call.counted()).max();
        let budget = Budget {
            tokens: TOKENS,
            period: PERIOD,
            at_end: self.at_end,
            largest: largest.unwrap_or_default(),
        };
        let client = contestant.client(budget, server);
        let works = self.work().draws(seed, PATH);
        let best_possible = best_possible(calls.iter().map(|call| call.taken).zip(works));
        let arrivals = at_start(calls.len());
        let client = boxed(client.map_request(move |mut request: Req| {
            let Place(place) = Place::of(&request);
            request.extensions_mut().insert(calls[place]);
            request.map(|_| Full::from(calls[place].taken.to_string()))
        }));
        let outcomes = send(&client, &arrivals).await;
        let ends = outcomes.iter().map(|outcome| outcome.ended);
        let succeeded = outcomes.iter().filter(|o| o.status == Some(StatusCode::OK));
        Run {
            took: ends.max().unwrap_or_default(),
            lost: outcomes.len() - succeeded.count(),
            best_possible,
            overtaken: overtaken(&watch.accepted()),
            score: judge.report().endpoint(PATH).clone(),
        }
    }
}

/// When the last of them has been answered, if each arrives in order, as soon as the window has room for it.
fn best_possible(calls: impl Iterator<Item = (u32, Duration)>) -> Duration {
    let mut window: VecDeque<(Duration, u32)> = VecDeque::new();
    let (mut now, mut used, mut end) = (Duration::ZERO, 0, Duration::ZERO);
    for (taken, work) in calls {
        while used + taken > TOKENS {
            let (arrived, taken) = window.pop_front().expect("one alone has room");
            now = now.max(arrived + PERIOD);
            used -= taken;
        }
        window.push_back((now, taken));
        used += taken;
        end = end.max(now + work);
    }
    end
}

/// What one run came to.
struct Run {
    score: EndpointReport,
    took: Duration,
    best_possible: Duration,
    overtaken: f64,
    lost: usize,
}

impl Run {
    fn refused_after(&self, time: Duration) -> usize {
        let records = self.score.records.iter();
        let refused = records.filter(|record| record.verdict != Verdict::Accepted);
        refused.filter(|record| record.at >= time).count()
    }

    fn row(client: String, estimates: Estimates, runs: &[Self]) -> TokensRow {
        let mean = |of: &dyn Fn(&Self) -> f64| {
            rounded(runs.iter().map(of).sum::<f64>() / runs.len() as f64)
        };
        let per_call = |run: &Self, refused: usize| refused as f64 / run.score.accepted as f64;
        let worst = runs.iter().map(|run| run.score.unit("tokens").worst_window);
        TokensRow {
            client,
            estimates: estimates.name().to_owned(),
            refused: mean(&|run| per_call(run, run.score.refused())),
            refused_later: mean(&|run| per_call(run, run.refused_after(PERIOD))),
            used: mean(&|run| run.score.unit("tokens").used_share()),
            worst_window: worst.max().unwrap_or_default(),
            took: Spread::of(runs.iter().map(|run| seconds(run.took))),
            best_possible: Spread::of(runs.iter().map(|run| seconds(run.best_possible))),
            overtaken: mean(&|run| run.overtaken),
            lost: runs.iter().map(|run| run.lost).max().unwrap_or_default(),
        }
    }
}

/// Writes down in which order calls were sent that were accepted.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Vec<(Sent, bool)>>>);

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Vec<(Sent, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self, server: Server) -> Server {
        let watch = self.clone();
        let start = tokio::time::Instant::now();
        boxed(service_fn(move |request: Req| {
            let Place(place) = Place::of(&request);
            let (watch, server) = (watch.clone(), server.clone());
            async move {
                let sent = Sent {
                    place,
                    at: start.elapsed(),
                };
                let nth = {
                    let mut all = watch.lock();
                    all.push((sent, false));
                    all.len() - 1
                };
                let answer = server.oneshot(request).await?;
                watch.lock()[nth].1 = answer.status() == StatusCode::OK;
                Ok::<_, BoxError>(answer)
            }
        }))
    }

    fn accepted(&self) -> Vec<Sent> {
        let all = self.lock();
        let accepted = all.iter().filter(|(_, accepted)| *accepted);
        accepted.map(|(sent, _)| *sent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_possible_end_can_be_counted_on_fingers() {
        let end = |calls: &[u32]| best_possible(calls.iter().map(|n| (*n, secs(2))));
        assert_eq!(end(&[5_000, 5_000]), secs(2));
        assert_eq!(end(&[5_000, 5_001, 4_999]), secs(62));
        assert_eq!(end(&[10_000, 10_000, 1]), secs(122));
    }
}

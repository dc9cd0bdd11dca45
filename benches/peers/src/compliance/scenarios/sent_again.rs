//! Jitter of which nobody knew: what is refused is sent again.

use super::{FIXED, SEEDS, SLIDING_LOG, judged::SHAKY, trial::Trial};
use crate::compliance::{
    contestants::{
        Backon, Contestant, LeakyBucket, ReqwestRetry, ResilienceRetry, Semaphore, Tower,
        TowerRetry, TowerThrottle,
    },
    figures::SentAgain,
};

const CONTESTANTS: [(&str, &dyn Contestant); 7] = [
    ("tower-throttle", &TowerThrottle { retry: true }),
    (
        "tower: retry, buffer, concurrency, rate",
        &TowerRetry {
            budget: false,
            over: Tower,
        },
    ),
    (
        "tower-resilience: retry, bulkhead, fixed window",
        &ResilienceRetry {
            random: true,
            over: FIXED,
        },
    ),
    (
        "tower-resilience: retry, bulkhead, sliding log",
        &ResilienceRetry {
            random: true,
            over: SLIDING_LOG,
        },
    ),
    (
        "backon, semaphore, leaky-bucket one by one",
        &Backon {
            over: LeakyBucket::OneByOne,
        },
    ),
    (
        "backon, tokio semaphores and a timer per call",
        &Backon {
            over: Semaphore::WithTimers,
        },
    ),
    (
        "reqwest-retry's policy, semaphore, leaky-bucket",
        &ReqwestRetry {
            over: LeakyBucket::Chunks,
        },
    ),
];

pub fn run() -> Vec<SentAgain> {
    let table = |requests| SentAgain {
        scenario: format!("{}, refused requests sent again", SHAKY.name),
        requests,
        rows: CONTESTANTS
            .iter()
            .map(|(name, contestant)| {
                let trial =
                    |seed| Trial::run(*contestant, SHAKY.limits(), SHAKY.judge(), requests, seed);
                let trials: Vec<_> = SEEDS.map(trial).collect();
                Trial::row((*name).to_owned(), &trials)
            })
            .collect(),
    };
    vec![table(200), table(2_000)]
}

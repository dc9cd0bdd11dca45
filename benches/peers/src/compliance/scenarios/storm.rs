//! A limit that nobody has configured: 200 callers at once, and a judge that takes 20 per second and
//! answers after 20 ms, with a `Retry-After` of a second or with none.

use tower_throttle::mock::{Judge, JudgeBuilder, Limit, Work};

use super::{SEEDS, trial::Trial};
use crate::compliance::{
    contestants::{
        Backon, Contestant, Limits, NoLimiter, ReqwestRetry, ResilienceRetry, TowerRetry,
        TowerThrottle,
    },
    figures::SentAgain,
    load::{PATH, ms, secs},
};

pub const CALLERS: usize = 200;
pub const LIMIT: usize = 20;

pub const OURS: TowerThrottle = TowerThrottle { retry: true };
pub const RESILIENCE: ResilienceRetry<NoLimiter> = ResilienceRetry {
    random: true,
    over: NoLimiter,
};
pub const BACKON: Backon<NoLimiter> = Backon { over: NoLimiter };
pub const REQWEST: ReqwestRetry<NoLimiter> = ReqwestRetry { over: NoLimiter };

const CONTESTANTS: [&dyn Contestant; 8] = [
    &OURS,
    &NoLimiter,
    &TowerRetry {
        budget: false,
        over: NoLimiter,
    },
    &TowerRetry {
        budget: true,
        over: NoLimiter,
    },
    &ResilienceRetry {
        random: false,
        over: NoLimiter,
    },
    &RESILIENCE,
    &BACKON,
    &REQWEST,
];

pub fn judge() -> JudgeBuilder {
    without_hint().retry_after(secs(1))
}

fn without_hint() -> JudgeBuilder {
    Judge::builder()
        .route(PATH, Limit::rps(LIMIT), Work::fixed(ms(20)))
        .refusal_after(ms(20))
}

pub fn run() -> Vec<SentAgain> {
    let table = |scenario: &str, judge: fn() -> JudgeBuilder| SentAgain {
        scenario: scenario.to_owned(),
        requests: CALLERS,
        rows: CONTESTANTS
            .iter()
            .map(|contestant| {
                let trials: Vec<_> = SEEDS
                    .map(|seed| Trial::run(*contestant, Limits::default(), judge(), CALLERS, seed))
                    .collect();
                Trial::row(contestant.name(), &trials)
            })
            .collect(),
    };
    vec![
        table("storm, Retry-After: 1", judge),
        table("storm, no Retry-After", without_hint),
    ]
}

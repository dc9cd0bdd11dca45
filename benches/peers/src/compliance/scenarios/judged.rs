//! Before a judge that allows so many in any second and so many at once. Nothing is sent again: who is
//! refused is lost.

use std::{ops::Range, time::Duration};

use tower_throttle::mock::{Judge, JudgeBuilder, Limit, Work};

use super::{BACKPRESSURE, FIXED, OURS, SEEDS, SLIDING_COUNTER, SLIDING_LOG, oracle, trial::Trial};
use crate::compliance::{
    contestants::{
        Contestant, LeakyBucket, Limits, NoLimiter, PollingLoop, Semaphore, ThrottleNet, Tower,
    },
    figures::{Judged, JudgedRow, Spread, rounded, seconds},
    load::{PATH, ms},
};

/// What others do is plain after twenty runs. That ours never fails takes more to be believed.
const OUR_SEEDS: Range<u64> = 0..100;

/// The way takes up to this long.
pub const JITTER: Duration = ms(100);

/// An API, and what is asked of it.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub requests: usize,
    pub per_second: u32,
    pub at_once: usize,
    /// Milliseconds of work, from and to.
    pub work: (u64, u64),
    pub jitter: bool,
    pub margin: bool,
}

pub const TTS: Scenario = Scenario {
    name: "TTS: 5 per second, 4 at once, 0.2-0.4 s",
    requests: 200,
    per_second: 5,
    at_once: 4,
    work: (200, 400),
    jitter: false,
    margin: false,
};
pub const BOTH: Scenario = Scenario {
    name: "both bind: 5 per second, 4 at once, 0.5-1.0 s",
    work: (500, 1_000),
    ..TTS
};
pub const CLONE: Scenario = Scenario {
    name: "clone: 1 per second, 1 at once, 0.8-10.2 s",
    requests: 20,
    per_second: 1,
    at_once: 1,
    work: (800, 10_200),
    ..TTS
};
pub const SHAKY: Scenario = Scenario {
    name: "TTS, 0-100 ms of jitter on the way, no margin",
    jitter: true,
    ..TTS
};
pub const MARGIN: Scenario = Scenario {
    name: "TTS, 0-100 ms of jitter on the way, windows 100 ms wider",
    margin: true,
    ..SHAKY
};
/// The margin alone: with room for any number at once, when the last one is sent can be computed.
pub const MARGIN_ALONE: Scenario = Scenario {
    name: "5 per second, 0-100 ms of jitter on the way, windows 100 ms wider",
    at_once: 200,
    ..MARGIN
};

const ALL: [Scenario; 6] = [TTS, BOTH, CLONE, SHAKY, MARGIN, MARGIN_ALONE];

pub const CONTESTANTS: [&dyn Contestant; 15] = [
    &OURS,
    &NoLimiter,
    &Semaphore::Plain,
    &Tower,
    &FIXED,
    &SLIDING_COUNTER,
    &SLIDING_LOG,
    &BACKPRESSURE,
    &ThrottleNet::Bucket,
    &ThrottleNet::Smooth,
    &ThrottleNet::SlidingLog,
    &LeakyBucket::Chunks,
    &LeakyBucket::OneByOne,
    &Semaphore::WithTimers,
    &PollingLoop,
];

pub fn run() -> Vec<Judged> {
    let table = |scenario: &Scenario| Judged {
        scenario: scenario.name.to_owned(),
        requests: scenario.requests,
        rows: CONTESTANTS
            .map(|contestant| scenario.row(contestant))
            .into(),
    };
    ALL.iter().map(table).collect()
}

impl Scenario {
    pub fn limits(&self) -> Limits {
        let margin = if self.margin { JITTER } else { Duration::ZERO };
        Limits::per_second(self.per_second)
            .at_once(self.at_once)
            .margin(margin)
    }

    fn work(&self) -> Work {
        let (from, to) = self.work;
        Work::uniform(ms(from)..ms(to))
    }

    pub fn judge(&self) -> JudgeBuilder {
        let limit = Limit::rps(self.per_second as usize).concurrency(self.at_once);
        let judge = Judge::builder().route(PATH, limit, self.work());
        if self.jitter {
            judge.jitter(Duration::ZERO..JITTER)
        } else {
            judge
        }
    }

    fn best_possible(&self, seed: u64) -> Duration {
        let times = self.work().draws(seed, PATH).take(self.requests);
        oracle::makespan(self.per_second as usize, self.at_once, times)
    }

    fn row(&self, contestant: &dyn Contestant) -> JudgedRow {
        let ours = contestant.name() == OURS.name();
        let seeds = || if ours { OUR_SEEDS } else { SEEDS };
        let trials: Vec<_> = seeds()
            .map(|seed| Trial::run(contestant, self.limits(), self.judge(), self.requests, seed))
            .collect();
        let best: Vec<_> = seeds().map(|seed| self.best_possible(seed)).collect();
        let pairs = || trials.iter().zip(&best);
        let off = pairs().map(|(trial, best)| trial.took.abs_diff(*best));
        let used = pairs().map(|(trial, best)| {
            let done = trial.ends.iter().filter(|end| *end <= best).count();
            done as f64 / self.requests as f64
        });
        let used = rounded(Spread::of(used).median);
        let off = off.max().unwrap_or_default();
        JudgedRow {
            client: contestant.name(),
            refused: Spread::of(trials.iter().map(|trial| trial.score.refused())),
            took: Spread::of(trials.iter().map(|trial| seconds(trial.took))),
            best_possible: (!self.jitter).then(|| Spread::of(best.iter().map(|t| seconds(*t)))),
            off_by_ms: (!self.jitter).then(|| rounded(off.as_secs_f64() * 1_000.0)),
            utilisation: (!self.jitter).then_some(used),
            last_sent: Spread::of(trials.iter().map(|trial| seconds(trial.last_sent()))),
        }
    }
}

//! When requests are sent, for the picture: one run each.

use std::{collections::BTreeMap, time::Duration};

use super::{
    FIXED, OURS,
    judged::TTS,
    storm,
    trial::Trial,
    windows::{edge, sent},
};
use crate::compliance::{
    contestants::{Contestant, LeakyBucket, Limits, PollingLoop, Semaphore, Tower},
    figures::{Timeline, seconds},
};

pub fn run() -> Vec<Timeline> {
    let at_the_edge: [(&str, &dyn Contestant); 4] = [
        ("tower", &Tower),
        ("leaky-bucket", &LeakyBucket::Chunks),
        ("tower-resilience (default)", &FIXED),
        ("tower-throttle", &OURS),
    ];
    let both_limits: [(&str, &dyn Contestant); 4] = [
        ("tokio semaphore", &Semaphore::Plain),
        ("tower", &Tower),
        ("polling loop", &PollingLoop),
        ("tower-throttle", &OURS),
    ];
    let storms: [(&str, &dyn Contestant); 4] = [
        ("tower-resilience retry", &storm::RESILIENCE),
        ("reqwest-retry", &storm::REQWEST),
        ("backon with Retry-After", &storm::BACKON),
        ("tower-throttle", &storm::OURS),
    ];
    let edges = at_the_edge.map(|(name, contestant)| at_the_edge_of_a_second(name, contestant));
    let judged = both_limits.map(|(name, contestant)| {
        let trial = Trial::run(contestant, TTS.limits(), TTS.judge(), TTS.requests, 0);
        timeline("both limits", name, TTS.per_second as usize, &trial)
    });
    let storms = storms.map(|(name, contestant)| {
        let judge = storm::judge();
        let trial = Trial::run(contestant, Limits::default(), judge, storm::CALLERS, 0);
        timeline("storm", name, storm::LIMIT, &trial)
    });
    edges.into_iter().chain(judged).chain(storms).collect()
}

/// Nobody judges: all are answered at once.
fn at_the_edge_of_a_second(name: &str, contestant: &dyn Contestant) -> Timeline {
    let limit = 20;
    let times = sent(contestant, limit, &edge());
    Timeline {
        scenario: "edge".to_owned(),
        client: name.to_owned(),
        limit: limit as usize,
        requests: times.len(),
        refused: 0,
        succeeded: times.len(),
        took: seconds(times.last().copied().unwrap_or_default()),
        sent: counted(&times),
    }
}

fn timeline(scenario: &str, name: &str, limit: usize, trial: &Trial) -> Timeline {
    Timeline {
        scenario: scenario.to_owned(),
        client: name.to_owned(),
        limit,
        requests: trial.succeeded + trial.lost(),
        refused: trial.score.refused(),
        succeeded: trial.succeeded,
        took: seconds(trial.took),
        sent: counted(&trial.sent),
    }
}

fn counted(times: &[Duration]) -> Vec<(u64, usize)> {
    let mut counts = BTreeMap::new();
    for time in times {
        let millis = u64::try_from(time.as_millis()).expect("minutes");
        *counts.entry(millis).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

//! Who goes first, for the picture: one run each.

use std::time::Duration;

use super::{
    fairness::{beside_greedy, is_polite},
    priority::{BACKLOG, SATURATED, is_batch, is_interactive},
    served::Served,
};
use crate::compliance::{
    contestants::{Caller, Contestant, Semaphore, ThrottleNet, ThrottleNetQueue, ToldWho, Tower},
    figures::Series,
};

const CONTESTANTS: [(&str, &dyn Contestant); 4] = [
    ("tower", &Tower),
    ("tokio semaphore and timers", &Semaphore::WithTimers),
    (
        "throttle-net's queue",
        &ThrottleNetQueue(ThrottleNet::SlidingLog),
    ),
    ("tower-throttle", &ToldWho::DefaultFloor),
];

type Points = Vec<(u64, u64)>;

pub fn run() -> Vec<Series> {
    let interactive = of_each("interactive", |contestant| {
        waits(&BACKLOG.serve(contestant, 0), is_interactive)
    });
    let batch = of_each("batch", |contestant| sent(&SATURATED.serve(contestant, 0)));
    let polite = of_each("polite", |contestant| {
        waits(&beside_greedy(contestant, 0), is_polite)
    });
    [interactive, batch, polite].concat()
}

fn of_each(scenario: &str, points: impl Fn(&dyn Contestant) -> Points) -> Vec<Series> {
    let series = CONTESTANTS.map(|(client, contestant)| Series {
        scenario: scenario.to_owned(),
        client: client.to_owned(),
        points: points(contestant),
    });
    series.into()
}

/// When each of them came, and how long it waited.
fn waits(run: &[Served], meant: impl Fn(&Caller) -> bool) -> Points {
    let of_those = run.iter().filter(|served| meant(&served.caller));
    let mut waits: Vec<_> = of_those
        .map(|served| (millis(served.came), millis(served.wait())))
        .collect();
    waits.sort_unstable();
    waits
}

/// When some of the batch are sent, and how many have been by then.
fn sent(run: &[Served]) -> Points {
    let batch = run.iter().filter(|served| is_batch(&served.caller));
    batch
        .zip(1..)
        .map(|(served, nth)| (millis(served.sent), nth))
        .collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("minutes")
}

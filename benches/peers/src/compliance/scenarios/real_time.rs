//! In real time: governor, whose clock cannot be paused, and the others beside it. Under a paused clock
//! all who wake at one instant do so in order; here it shows who depends on that.

use std::thread;

use tower_throttle::mock::{Judge, Limit, Work};

use super::{
    OURS, SLIDING_LOG,
    order::{LIMIT, arrivals, longest_wait, overtaken},
    trial::Trial,
    windows,
};
use crate::compliance::{
    contestants::{Contestant, Governor, LeakyBucket, Limits, Semaphore, Tower},
    figures::{RealTime, rounded},
    load::{Arrivals, PATH, Recorder, at_start, ms, really, send, worst_second},
};

const CONTESTANTS: [&dyn Contestant; 7] = [
    &OURS,
    &Governor::BurstOfN,
    &Governor::OneByOne,
    &Tower,
    &SLIDING_LOG,
    &LeakyBucket::Chunks,
    &Semaphore::WithTimers,
];

/// Takes about twenty seconds.
pub fn run() -> Vec<RealTime> {
    // A thread each. They mostly wait, so they are hardly in each other's way.
    thread::scope(|scope| {
        let threads = CONTESTANTS.map(|contestant| scope.spawn(move || really(row(contestant))));
        threads
            .map(|thread| thread.join().expect("it does not panic"))
            .into()
    })
}

async fn row(contestant: &dyn Contestant) -> RealTime {
    // These four need little, and so go on at the same time.
    let (edge, after_idle, refused, (polls, worst)) = tokio::join!(
        worst_of_twenty(contestant, windows::edge()),
        // Three and a half seconds of rest are enough for any bucket to be full.
        worst_of_twenty(
            contestant,
            [[ms(0); 20].as_slice(), &[ms(3_500); 60]].concat()
        ),
        refused(contestant),
        crowd(contestant),
    );
    let (overtaken, longest_wait) = order(contestant).await;
    RealTime {
        client: contestant.name(),
        edge,
        after_idle,
        refused,
        polls_per_admission: polls,
        worst_of_200: worst,
        overtaken,
        longest_wait,
    }
}

async fn worst_of_twenty(contestant: &dyn Contestant, arrivals: Arrivals) -> usize {
    let recorder = Recorder::start();
    let client = contestant.client(Limits::per_second(20), recorder.server());
    send(&client, &arrivals).await;
    worst_second(&recorder.times())
}

/// TTS, ten times as fast.
async fn refused(contestant: &dyn Contestant) -> usize {
    let (n, period, at_once) = (5, ms(100), 4);
    let judge = Judge::builder().route(
        PATH,
        Limit::per(n, period).concurrency(at_once),
        Work::uniform(ms(20)..ms(40)),
    );
    let n = u32::try_from(n).expect("small");
    let limits = Limits::per(n, period).at_once(at_once);
    let client = |server| contestant.client(limits, server);
    let trial = Trial::watch(client, judge, 200, |_, _| {}).await;
    trial.score.refused()
}

async fn crowd(contestant: &dyn Contestant) -> (f64, usize) {
    let recorder = Recorder::start();
    let client = contestant.client(Limits::per_second(LIMIT), recorder.server());
    let outcomes = send(&client, &at_start(1_000)).await;
    let polls: usize = outcomes.iter().map(|outcome| outcome.polls).sum();
    (
        rounded(polls as f64 / outcomes.len() as f64),
        worst_second(&recorder.times()),
    )
}

/// Newcomers for five seconds.
async fn order(contestant: &dyn Contestant) -> (f64, f64) {
    let arrivals = arrivals(1_250);
    let recorder = Recorder::start();
    let client = contestant.client(Limits::per_second(LIMIT), recorder.server());
    send(&client, &arrivals).await;
    let sent = recorder.sent();
    (overtaken(&sent), longest_wait(&arrivals, &sent))
}

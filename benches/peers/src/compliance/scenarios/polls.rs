//! What a crowd costs: how often each caller is polled until its request is sent, at 20 per second.

use super::{FIXED, OURS, SLIDING_COUNTER, SLIDING_LOG};
use crate::compliance::{
    contestants::{Contestant, LeakyBucket, Limits, PollingLoop, Semaphore, ThrottleNet, Tower},
    figures::{Crowd, Polls, rounded},
    load::{Recorder, at_start, send, virtually},
};

pub const CROWDS: [usize; 4] = [200, 1_000, 4_000, 16_000];

const CONTESTANTS: [&dyn Contestant; 11] = [
    &OURS,
    &Tower,
    &FIXED,
    &SLIDING_COUNTER,
    &SLIDING_LOG,
    &ThrottleNet::Bucket,
    &ThrottleNet::SlidingLog,
    &LeakyBucket::Chunks,
    &LeakyBucket::OneByOne,
    &Semaphore::WithTimers,
    &PollingLoop,
];

/// Who takes more than this with one crowd is spared the next: it is four times as large, and takes
/// sixteen times as long.
const ENDLESS: f64 = 450.0;

pub fn run() -> Vec<Polls> {
    let row = |contestant: &dyn Contestant| {
        let mut last = Some(0.0);
        let per_admission = CROWDS.map(|waiting| {
            last = last
                .filter(|last| *last < ENDLESS)
                .map(|_| polls(contestant, waiting));
            Crowd {
                waiting,
                polls: last,
            }
        });
        Polls {
            client: contestant.name(),
            per_admission: per_admission.into(),
        }
    };
    CONTESTANTS.map(row).into()
}

fn polls(contestant: &dyn Contestant, waiting: usize) -> f64 {
    let outcomes = virtually(0, async {
        let recorder = Recorder::start();
        let client = contestant.client(Limits::per_second(20), recorder.server());
        send(&client, &at_start(waiting)).await
    });
    let polls: usize = outcomes.iter().map(|outcome| outcome.polls).sum();
    rounded(polls as f64 / outcomes.len() as f64)
}

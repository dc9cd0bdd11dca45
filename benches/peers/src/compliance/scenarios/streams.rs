//! Answers that go on after their head, four at once allowed.

use super::{FIXED, OURS};
use crate::compliance::{
    contestants::{Contestant, Limits, NoLimiter, PollingLoop, Semaphore, ThrottleNet, Tower},
    figures::{Streams, seconds},
    load::{Streaming, at_start, send, virtually},
};

const LIMIT: usize = 4;

const CONTESTANTS: [(&str, &dyn Contestant); 7] = [
    ("tower-throttle", &OURS),
    ("no limiter", &NoLimiter),
    ("tower: concurrency", &Tower),
    ("tower-resilience: bulkhead", &FIXED),
    ("throttle-net: bulkhead", &ThrottleNet::Bucket),
    ("tokio semaphore around the call", &Semaphore::Plain),
    ("polling loop, every 50 ms", &PollingLoop),
];

pub fn run() -> Vec<Streams> {
    let row = |(name, contestant): (&str, &dyn Contestant)| {
        let (streaming, outcomes) = virtually(0, async {
            let streaming = Streaming::default();
            let limits = Limits::default().at_once(LIMIT);
            let client = contestant.client(limits, streaming.server());
            let outcomes = send(&client, &at_start(40)).await;
            (streaming, outcomes)
        });
        let ends = outcomes.iter().map(|outcome| outcome.ended);
        Streams {
            client: name.to_owned(),
            limit: LIMIT,
            most_in_flight: streaming.most_in_flight(),
            took: seconds(ends.max().unwrap_or_default()),
        }
    };
    CONTESTANTS.map(row).into()
}

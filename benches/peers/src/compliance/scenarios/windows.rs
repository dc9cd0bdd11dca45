//! How many requests are sent in the worst second, at 20 per second.

use std::time::Duration;

use super::LIMITERS;
use crate::compliance::{
    contestants::{Contestant, Limits},
    figures::{Windows, WindowsRow},
    load::{Arrivals, Crowd, Recorder, at_start, ms, secs, send, virtually, worst_second},
};

const LIMIT: u32 = 20;

pub fn run() -> Windows {
    let rows = LIMITERS.map(|contestant| WindowsRow {
        client: contestant.name(),
        saturated: worst(contestant, &at_start(200)),
        edge: worst(contestant, &edge()),
        after_idle: worst(contestant, &after_idle()),
        readied_early: virtually(0, readied_early(contestant)),
    });
    Windows {
        limit: LIMIT,
        rows: rows.into(),
    }
}

/// One, so that a window begins; more than a window takes just before its end, and again at it.
pub fn edge() -> Arrivals {
    let one = Duration::ZERO;
    [[one; 1].as_slice(), &[ms(950); 30], &[ms(1_000); 30]].concat()
}

/// A window's worth, ten seconds of rest, and three times as many in the middle of a second.
pub fn after_idle() -> Arrivals {
    [[Duration::ZERO; 20].as_slice(), &[ms(10_500); 60]].concat()
}

fn worst(contestant: &dyn Contestant, arrivals: &Arrivals) -> usize {
    worst_second(&sent(contestant, LIMIT, arrivals))
}

/// When each request was sent.
pub fn sent(contestant: &dyn Contestant, limit: u32, arrivals: &Arrivals) -> Vec<Duration> {
    virtually(0, async {
        let recorder = Recorder::start();
        let client = contestant.client(Limits::per_second(limit), recorder.server());
        send(&client, arrivals).await;
        recorder.times()
    })
}

/// 40 services that are made ready as soon as they can be, and not called before the first second is
/// over: as in a client that looks for an idle service first, and for something to send then.
async fn readied_early(contestant: &dyn Contestant) -> usize {
    let recorder = Recorder::start();
    let client = contestant.client(Limits::per_second(LIMIT), recorder.server());
    let mut crowd = Crowd::new(&client);
    for _ in 0..40 {
        crowd.enter_readied(secs(1));
    }
    while crowd.tasks.join_next().await.is_some() {}
    worst_second(&recorder.times())
}

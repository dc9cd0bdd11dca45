//! What those cost who go away: how many requests fewer are sent than could be.

use super::LIMITERS;
use crate::compliance::{
    contestants::{Contestant, Limits},
    figures::Cancelled,
    load::{Crowd, Recorder, ms, virtually},
};

const LIMIT: u32 = 20;
/// Gone or going before anyone leaves, and not leaving.
const FIRST: usize = 20;
const THEN: usize = 400;

pub fn run() -> Vec<Cancelled> {
    let row = |contestant: &dyn Contestant| Cancelled {
        client: contestant.name(),
        lost_to_leavers: to_leavers(contestant),
        lost_to_readied: to_readied(contestant),
    };
    LIMITERS.map(row).into()
}

/// 420 at once; of the last 400 every other one goes away after half a second. Against the same without
/// those who went: by how many places in a window the last request came later.
fn to_leavers(contestant: &dyn Contestant) -> usize {
    let last = |leavers: bool| {
        virtually(0, async {
            let recorder = Recorder::start();
            let client = contestant.client(limits(), recorder.server());
            let mut crowd = Crowd::new(&client);
            let mut leaving = Vec::new();
            for place in 0..FIRST + THEN {
                let leaves = place >= FIRST && place % 2 == 1;
                if leaves && leavers {
                    leaving.push(crowd.enter());
                } else if !leaves {
                    crowd.enter();
                }
            }
            crowd.wait_until(ms(500)).await;
            for task in leaving {
                task.abort();
            }
            while crowd.tasks.join_next().await.is_some() {}
            recorder.times().last().copied().unwrap_or_default()
        })
    };
    let later = last(true).saturating_sub(last(false));
    (later.as_secs_f64() * f64::from(LIMIT)).round() as usize
}

/// Services are made ready, and dropped before anything is to be sent. Of a window's worth that comes then:
/// how many fewer are sent at once than otherwise.
fn to_readied(contestant: &dyn Contestant) -> usize {
    let sent_at_once = |readied: usize| {
        virtually(0, async {
            let recorder = Recorder::start();
            let client = contestant.client(limits(), recorder.server());
            let mut dropped = Crowd::new(&client);
            for _ in 0..readied {
                dropped.enter_readied(ms(60_000));
            }
            dropped.wait_until(ms(10)).await;
            dropped.tasks.shutdown().await;
            let mut crowd = Crowd::new(&client);
            for _ in 0..LIMIT {
                crowd.enter();
            }
            crowd.wait_until(ms(10)).await;
            recorder.times().len()
        })
    };
    sent_at_once(0).saturating_sub(sent_at_once(LIMIT as usize))
}

fn limits() -> Limits {
    Limits::per_second(LIMIT)
}

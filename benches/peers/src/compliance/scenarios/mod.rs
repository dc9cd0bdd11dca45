//! A table each.

pub mod cancelled;
pub mod fairness;
pub mod judged;
pub mod learned;
pub mod order;
pub mod polls;
pub mod priority;
pub mod real_time;
pub mod sent_again;
pub mod series;
pub mod storm;
pub mod streams;
pub mod timelines;
pub mod tokens;
pub mod windows;

mod oracle;
mod served;
mod trial;

use tower_resilience_ratelimiter::WindowType;

use super::contestants::{
    Contestant, LeakyBucket, PollingLoop, Resilience, Semaphore, ThrottleNet, ThrottleNetQueue,
    ToldWho, Tower, TowerThrottle,
};

pub const OURS: TowerThrottle = TowerThrottle { retry: false };

/// Where something is drawn: so many runs, each with draws of its own.
pub const SEEDS: std::ops::Range<u64> = 0..20;

const FIXED: Resilience = Resilience {
    window: WindowType::Fixed,
    backpressure: false,
};
const SLIDING_LOG: Resilience = Resilience {
    window: WindowType::SlidingLog,
    backpressure: false,
};
const SLIDING_COUNTER: Resilience = Resilience {
    window: WindowType::SlidingCounter,
    backpressure: false,
};
const BACKPRESSURE: Resilience = Resilience {
    window: WindowType::SlidingLog,
    backpressure: true,
};

/// All who limit a rate and can do so on a paused clock.
pub const LIMITERS: [&dyn Contestant; 14] = [
    &OURS,
    &Tower,
    &FIXED,
    &SLIDING_COUNTER,
    &SLIDING_LOG,
    &BACKPRESSURE,
    &ThrottleNet::Bucket,
    &ThrottleNet::Smooth,
    &ThrottleNet::SlidingLog,
    &LeakyBucket::Chunks,
    &LeakyBucket::DefaultMax,
    &LeakyBucket::OneByOne,
    &Semaphore::WithTimers,
    &PollingLoop,
];

/// Those who order requests by more than their age, or by that alone. What ours does without classes and flows is shown
/// beside it.
pub const QUEUES: [(&str, &dyn Contestant); 7] = [
    ("tower-throttle", &ToldWho::DefaultFloor),
    ("tower-throttle, no floor", &ToldWho::NoFloor),
    ("tower-throttle, told nothing", &OURS),
    (
        "throttle-net: queue, bucket",
        &ThrottleNetQueue(ThrottleNet::Bucket),
    ),
    (
        "throttle-net: queue, sliding log",
        &ThrottleNetQueue(ThrottleNet::SlidingLog),
    ),
    ("tower: buffer, rate", &Tower),
    (
        "tokio semaphore and a timer per call",
        &Semaphore::WithTimers,
    ),
];

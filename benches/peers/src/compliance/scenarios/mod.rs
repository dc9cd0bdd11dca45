//! A table each.

pub mod cancelled;
pub mod judged;
pub mod learned;
pub mod order;
pub mod polls;
pub mod real_time;
pub mod sent_again;
pub mod storm;
pub mod streams;
pub mod timelines;
pub mod tokens;
pub mod windows;

mod oracle;
mod trial;

use tower_resilience_ratelimiter::WindowType;

use super::contestants::{
    Contestant, LeakyBucket, PollingLoop, Resilience, Semaphore, ThrottleNet, Tower, TowerThrottle,
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

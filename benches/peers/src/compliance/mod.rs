//! Who keeps to the limits, who wastes them, and what it costs the server to find out: ours beside the
//! peers, under tokio's paused clock, so that each figure is the same on every run.
//!
//! - [`contestants`]: who takes part, each behind the same small trait
//! - [`load`]: what they are asked to send, and what is behind them
//! - [`scenarios`]: a table each
//! - [`figures`]: what the tables hold, as it is committed
//! - [`targets`]: what has to hold, and the best of the others
//! - [`tables`], [`readme`]: for people; [`json`]: for programs, and for comparing with what is committed

mod columns;

pub mod contestants;
pub mod figures;
pub mod json;
pub mod load;
pub mod readme;
pub mod scenarios;
pub mod tables;
pub mod targets;

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    thread::{self, ScopedJoinHandle},
};

use figures::Figures;

/// Runs everything. What needs real time can be left out.
pub fn run(real_time: bool) -> Figures {
    // By itself: there it matters who has the processor.
    let real_time = real_time.then(scenarios::real_time::run);
    // Virtual clocks and draws belong to a thread, so what takes longest can go on at the same time.
    thread::scope(|scope| {
        let judged = scope.spawn(scenarios::judged::run);
        let sent_again = scope.spawn(scenarios::sent_again::run);
        let order = scope.spawn(scenarios::order::run);
        let priority = scope.spawn(scenarios::priority::run);
        let fairness = scope.spawn(scenarios::fairness::run);
        let polls = scope.spawn(scenarios::polls::run);
        let learned = scope.spawn(scenarios::learned::run);
        let tokens = scope.spawn(scenarios::tokens::run);
        let mut figures = Figures {
            versions: versions(),
            targets: Vec::new(),
            windows: scenarios::windows::run(),
            cancelled: scenarios::cancelled::run(),
            storm: scenarios::storm::run(),
            streams: scenarios::streams::run(),
            timelines: scenarios::timelines::run(),
            series: scenarios::series::run(),
            judged: finished(judged),
            sent_again: finished(sent_again),
            order: finished(order),
            priority: finished(priority),
            fairness: finished(fairness),
            polls: finished(polls),
            learned: finished(learned),
            tokens: finished(tokens),
            real_time,
        };
        figures.targets = targets::targets(&figures);
        figures
    })
}

fn finished<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

const PEERS: [&str; 13] = [
    "backon",
    "governor",
    "leaky-bucket",
    "retry-policies",
    "throttle-net",
    "tokio",
    "tower",
    "tower-resilience-adaptive",
    "tower-resilience-bulkhead",
    "tower-resilience-core",
    "tower-resilience-ratelimiter",
    "tower-resilience-retry",
    "tower-throttle",
];

/// As they are in the lock file that this was built with.
fn versions() -> BTreeMap<String, String> {
    let lock = include_str!("../../../../Cargo.lock");
    let entry = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        Some(value.strip_suffix('"')?.to_owned())
    };
    let mut lines = lock.lines().peekable();
    let mut versions = BTreeMap::new();
    while let Some(line) = lines.next() {
        let name = entry(line, "name").filter(|name| PEERS.contains(&&**name));
        let version = lines.peek().and_then(|line| entry(line, "version"));
        if let (Some(name), Some(version)) = (name, version) {
            versions.insert(name, version);
        }
    }
    versions
}

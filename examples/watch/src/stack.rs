use std::time::Duration;

use tower_throttle::{Awaited, BucketSnapshot, QueueHead, Snapshot};

use crate::recent::{News, Recent, lesson};

/// What a layer was doing, as the view shows it. Made from a snapshot, or from the status page of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// In the order in which they are shown.
    pub buckets: Vec<Bucket>,
    /// How many requests were between two attempts, outside of any queue; `None` if that is not known.
    pub backing_off: Option<usize>,
    /// How many answers were throttled within the last minute, in all.
    pub throttled_last_minute: u64,
    /// Whether the layer was closed.
    pub is_closed: bool,
    /// Newest first.
    pub news: Vec<News>,
}

/// What one bucket was doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// What it is called.
    pub name: String,
    /// The partition that it belongs to, if any.
    pub partition: Option<String>,
    /// Its windows.
    pub windows: Vec<Window>,
    /// How many permits are held.
    pub in_flight: u64,
    /// How many there are; `None` without a limit.
    pub concurrency: Option<u64>,
    /// How many requests wait there, or below it.
    pub waiting: u64,
    /// The request that is the next to go.
    pub head: Option<Head>,
    /// How long the present pause goes on.
    pub paused_for: Option<Duration>,
    /// What was learned, in a few words.
    pub learned: Option<String>,
    /// How many requests were admitted since the bucket was made.
    pub admitted: u64,
    /// How many the layer has refused.
    pub refused: u64,
    /// How many answers were throttled.
    pub throttled: u64,
    /// The throttled answers of the last minute, second by second, the latest last. A shorter list has what is known.
    pub throttled_by_second: Vec<u64>,
}

/// How full a window was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// As a quota is written.
    pub label: String,
    /// How much of it was used.
    pub used: u64,
    /// How much may be used.
    pub allowed: u64,
    /// How long the oldest of what is used goes on to count, if that is known.
    pub falls_in: Option<Duration>,
}

/// The request that stood first in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// For how long it had been queued.
    pub age: Duration,
    /// What it waited for, if that is known.
    pub awaits: Option<String>,
}

impl Stack {
    /// What a layer of this process was doing. `recent` is its observer, or a part of it.
    pub fn of(snapshot: &Snapshot, recent: &Recent) -> Self {
        let bucket = |bucket| Bucket::of(bucket, recent);
        let buckets: Vec<_> = snapshot.buckets().map(bucket).collect();
        Self {
            // An event is told of the bucket of its request's endpoint, and of no other.
            throttled_last_minute: buckets.iter().map(Bucket::throttled_last_minute).sum(),
            buckets,
            backing_off: Some(snapshot.backing_off()),
            is_closed: snapshot.is_closed(),
            news: recent.news(),
        }
    }
}

impl Bucket {
    fn of(bucket: &BucketSnapshot, recent: &Recent) -> Self {
        let windows = bucket.windows().iter().map(|of| Window {
            label: of.window().to_string(),
            used: of.used(),
            allowed: of.window().n(),
            falls_in: of.falls_in(),
        });
        Self {
            name: bucket.name().to_owned(),
            // As the gateway writes it.
            partition: bucket.partition().map(|hash| format!("{hash:016x}")),
            windows: windows.collect(),
            in_flight: bucket.in_flight() as u64,
            concurrency: bucket.concurrency().map(|n| n as u64),
            waiting: bucket.waiting() as u64,
            head: bucket.head().map(|head| Head::of(head, bucket.name())),
            paused_for: bucket.paused_for(),
            learned: bucket.learned().map(lesson),
            admitted: bucket.admitted(),
            refused: bucket.refused(),
            throttled: bucket.throttled(),
            throttled_by_second: recent.throttled(bucket.name(), bucket.partition()),
        }
    }

    /// How many answers were throttled within the last minute.
    pub fn throttled_last_minute(&self) -> u64 {
        self.throttled_by_second.iter().sum()
    }
}

impl Head {
    fn of(head: &QueueHead, bucket: &str) -> Self {
        let what = match head.awaits() {
            Awaited::Window(unit) => format!("a window of {unit}"),
            Awaited::Permits => "a permit".to_owned(),
            Awaited::Pause => "the end of a pause".to_owned(),
            Awaited::Turn => "its turn".to_owned(),
            _ => "something else".to_owned(),
        };
        let awaits = if head.scope() == bucket {
            what
        } else {
            format!("{what} at {}", head.scope())
        };
        Self {
            age: head.waiting_for(),
            awaits: Some(awaits),
        }
    }
}

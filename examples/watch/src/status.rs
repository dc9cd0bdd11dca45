use std::{collections::HashMap, mem, time::Duration};

use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    recent::{Recent, margin, seconds},
    stack::{Bucket, Head, Stack, Window},
};

/// The status pages of a gateway, read one after another. A page says how many answers were throttled so far, and what was
/// added since the page before counts for the time of this one.
#[derive(Debug, Default)]
pub struct Status {
    recent: Recent,
    /// By name and partition: how many answers were throttled when the last page was read.
    throttled: HashMap<Key, u64>,
}

/// The name of a bucket, and its partition.
type Key = (String, Option<String>);

/// What a page says. Other members are ignored, and those that a page does not have are empty.
#[derive(Debug, Deserialize)]
struct Page {
    buckets: Vec<PageBucket>,
}

#[derive(Debug, Deserialize)]
struct PageBucket {
    endpoint: String,
    #[serde(default)]
    partition: Option<String>,
    #[serde(default)]
    windows: Vec<PageWindow>,
    #[serde(default)]
    waiting: u64,
    #[serde(default)]
    in_flight: u64,
    #[serde(default)]
    concurrency: Option<u64>,
    #[serde(default)]
    head_waiting_ms: Option<f64>,
    #[serde(default)]
    paused_ms: Option<f64>,
    #[serde(default)]
    admitted: u64,
    #[serde(default)]
    refused: u64,
    #[serde(default)]
    throttled: u64,
    #[serde(default)]
    learned: Option<PageLearned>,
}

#[derive(Debug, Deserialize)]
struct PageWindow {
    window: String,
    used: u64,
    n: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageLearned {
    concurrency: Option<u64>,
    rate: Option<PageRate>,
    margin_thousandths: Option<u64>,
    pace_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct PageRate {
    n: u64,
    period_ms: f64,
}

impl Status {
    /// No page was read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a page that was fetched just now.
    ///
    /// # Errors
    ///
    /// If it is no status page: it has to be a JSON object with a list of `buckets`, each with an `endpoint`.
    pub fn read(&mut self, page: &[u8]) -> Result<Stack, serde_json::Error> {
        let page: Page = serde_json::from_slice(page)?;
        let now = Instant::now();
        // Without the keys that are gone.
        let before = mem::take(&mut self.throttled);
        let bucket = |bucket| self.bucket(bucket, &before, now);
        let buckets: Vec<_> = page.buckets.into_iter().map(bucket).collect();
        // A page counts an answer at each scope of its request, and the widest has them all.
        let throttled = buckets.iter().map(Bucket::throttled_last_minute).max();
        Ok(Stack {
            throttled_last_minute: throttled.unwrap_or_default(),
            buckets,
            ..Stack::default()
        })
    }

    fn bucket(&mut self, page: PageBucket, before: &HashMap<Key, u64>, now: Instant) -> Bucket {
        let key = (page.endpoint.clone(), page.partition.clone());
        // What came before the first page has no time. A gateway that was started anew counts from 0.
        let before = before.get(&key).copied().unwrap_or(page.throttled);
        let added = page.throttled.saturating_sub(before);
        self.throttled.insert(key, page.throttled);
        let label = label(&page.endpoint, page.partition.as_deref());
        if added > 0 {
            self.recent.add(&label, None, now, added);
        }
        let window = |of: PageWindow| Window {
            label: of.window,
            used: of.used,
            allowed: of.n,
            falls_in: None,
        };
        let head = page.head_waiting_ms.map(|ms| Head {
            age: millis(ms),
            awaits: None,
        });
        Bucket {
            throttled_by_second: self.recent.throttled(&label, None),
            name: page.endpoint,
            partition: page.partition,
            windows: page.windows.into_iter().map(window).collect(),
            in_flight: page.in_flight,
            concurrency: page.concurrency,
            waiting: page.waiting,
            head,
            paused_for: page.paused_ms.map(millis),
            learned: page.learned.map(|learned| learned.words()),
            admitted: page.admitted,
            refused: page.refused,
            throttled: page.throttled,
        }
    }
}

/// One name for a bucket, whose partition is text here.
fn label(endpoint: &str, partition: Option<&str>) -> String {
    format!("{endpoint}\n{}", partition.unwrap_or_default())
}

impl PageLearned {
    fn words(&self) -> String {
        let concurrency = self.concurrency.map(|n| format!("{n} at once"));
        let rate = self.rate.as_ref();
        let rate = rate.map(|rate| format!("{} per {}", rate.n, seconds(millis(rate.period_ms))));
        let margin = self.margin_thousandths.map(margin);
        let pace = self
            .pace_ms
            .map(|ms| format!("one each {}", seconds(millis(ms))));
        let parts = [concurrency, rate, margin, pace];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Nothing, for a number that is no time.
fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

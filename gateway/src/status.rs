//! What the gateway is doing, as a page.

use std::time::Duration;

use serde_json::{Value, json};
use tower_throttle::{BucketSnapshot, Learned, Snapshot};

use super::{meters::Now, upstream::Upstream};

/// Names of endpoints and numbers; nothing of any request.
pub(crate) fn page(upstream: &Upstream, snapshot: &Snapshot, now: Now) -> Value {
    let buckets: Vec<_> = snapshot.buckets().map(bucket).collect();
    let away = snapshot
        .store_away()
        .map(|(time, error)| json!({ "ms": millis(time), "error": error.to_string() }));
    json!({
        "upstream": upstream.to_string(),
        "ready": now.is_ready,
        "requests": now.requests,
        "connections": now.connections,
        "tunnels": now.tunnels,
        "store_away": away,
        "buckets": buckets,
    })
}

fn bucket(bucket: &BucketSnapshot) -> Value {
    let windows = bucket.windows().iter().map(
        |of| json!({ "window": of.window().to_string(), "used": of.used(), "n": of.window().n() }),
    );
    let windows: Vec<_> = windows.collect();
    json!({
        "endpoint": bucket.name(),
        // As text: not every reader of JSON has whole numbers of 64 bits.
        "partition": bucket.partition().map(|hash| format!("{hash:016x}")),
        "quota": format!("{:?}", bucket.quota()),
        "waiting": bucket.waiting(),
        "in_flight": bucket.in_flight(),
        "concurrency": bucket.concurrency(),
        "windows": windows,
        "head_waiting_ms": bucket.head().map(|head| millis(head.waiting_for())),
        "paused_ms": bucket.paused_for().map(millis),
        "admitted": bucket.admitted(),
        "refused": bucket.refused(),
        "throttled": bucket.throttled(),
        "learned": bucket.learned().map(learned),
    })
}

fn learned(learned: &Learned) -> Value {
    let rate = learned
        .rate()
        .map(|(n, period, _)| json!({ "n": n, "period_ms": millis(period) }));
    json!({
        "concurrency": learned.concurrency().map(|(n, _)| n),
        "rate": rate,
        "margin_thousandths": learned.margin(),
        "pace_ms": learned.pace().map(millis),
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

//! Layers that share a store, where it is hard: many at once, long bodies, strange names, stores that fail.

mod support;

use support::*;
use tower::ServiceExt;
use tower_throttle::{Endpoints, Quota, store::MemoryStore};

fn layers<const N: usize>(endpoints: &Endpoints) -> [AnyLayer; N] {
    let store = MemoryStore::new();
    [(); N].map(|()| AnyLayer::bare(Face::Throttle, endpoints.clone()).store(store.clone()))
}

async fn done(calls: Vec<tokio::task::JoinHandle<Result<Answer, tower::BoxError>>>) {
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// Law L4: a permit is held for as long as its body runs, also for longer than the store's leases.
#[tokio::test(start_paused = true)]
async fn a_long_body_keeps_its_permit() {
    let probe = Probe::new();
    let [one, other] = layers(&endpoint_a(Quota::concurrent(1))).map(|layer| layer.client(&probe));
    let held = tokio::spawn(one.oneshot(job("/a", ms(60_000))));
    settle().await;
    let waits = tokio::spawn(other.oneshot(job("/a", ms(0))));
    done(vec![held, waits]).await;
    assert_eq!(probe.times(), [0, 60_000]);
}

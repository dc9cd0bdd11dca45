//! Layers that share a store, where it is hard: many at once, long bodies, strange names, stores that fail.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use support::*;
use tower::ServiceExt;
use tower_throttle::{
    Endpoints, Flow, Quota, Terms,
    store::{
        Asking, Mailbox, MemoryStore, Store,
        protocol::{Ask, Timing},
    },
};

/// The reservation of a store in memory.
const D: u64 = 10;

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

/// More leaves wait than one call reports.
#[tokio::test(start_paused = true)]
async fn many_keys_wait() {
    let probe = Probe::new();
    let endpoints = Endpoints::new().each_other_path(per(1, 1000));
    let clients = layers::<2>(&endpoints).map(|layer| layer.client(&probe));
    let mut calls = Vec::new();
    for i in 0..300 {
        let client = clients[i % 2].clone();
        let path = format!("/{}", i / 3);
        calls.push(tokio::spawn(client.oneshot(job(&path, ms(0)))));
        settle().await;
    }
    done(calls).await;
    for key in 0..100 {
        let times = probe.times_of(&format!("/{key}"));
        assert_eq!(times, [0, 1000 + D, 2 * (1000 + D)], "{key}");
    }
}

/// More flows wait at one endpoint than are looked at.
#[tokio::test(start_paused = true)]
async fn many_flows_wait() {
    let probe = Probe::new();
    let clients = layers::<2>(&endpoint_a(per(150, 1000))).map(|layer| layer.client(&probe));
    let mut calls = Vec::new();
    for i in 0..600_usize {
        let mut request = job("/a", ms(0));
        let terms = Terms::new().flow(Flow::new(format!("{i}")));
        request.extensions_mut().insert(terms);
        calls.push(tokio::spawn(clients[i % 2].clone().oneshot(request)));
    }
    done(calls).await;
    let times = probe.times();
    for (round, times) in (0..).zip(times.chunks(150)) {
        assert_eq!(times, [round * (1000 + D); 150]);
    }
}

/// A key may be longer than a name in a store.
#[tokio::test(start_paused = true)]
async fn a_long_key_is_limited_too() {
    let probe = Probe::new();
    let endpoints = Endpoints::new().each_other_path(per(1, 1000));
    let clients = layers::<2>(&endpoints).map(|layer| layer.client(&probe));
    let paths = ["x", "y"].map(|end| format!("/{}{end}", "long".repeat(500)));
    let mut calls = Vec::new();
    for path in &paths {
        for client in &clients {
            calls.push(tokio::spawn(client.clone().oneshot(job(path, ms(0)))));
        }
    }
    done(calls).await;
    for path in &paths {
        assert_eq!(probe.times_of(path), [0, 1000 + D]);
    }
}

/// A store whose calls panic now and then.
#[derive(Clone, Debug, Default)]
struct Panics {
    store: MemoryStore,
    left: Arc<AtomicUsize>,
}

impl Store for Panics {
    fn timing(&self) -> Timing {
        self.store.timing()
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        Box::pin(async move {
            let left = |left: usize| left.checked_sub(1);
            let left = self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
            assert!(left.is_err(), "the store's own");
            self.store.ask(ask).await
        })
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.store.hash_keys()
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.store.listen(member)
    }
}

/// A store that panics has not answered.
#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_asked_again() {
    let store = Panics::default();
    store.left.store(2, Ordering::SeqCst);
    let probe = Probe::new();
    let layer = AnyLayer::bare(Face::Throttle, endpoint_a(per(1, 1000))).store(store);
    let client = layer.client(&probe);
    client.oneshot(get("/a")).await.unwrap();
    assert_eq!(probe.times(), [150]);
}

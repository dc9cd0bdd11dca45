//! Layers that share a store, where it is hard: many at once, long bodies, strange names, stores that fail.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::*;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tower::ServiceExt;
use tower_throttle::{
    Cost, Endpoints, Flow, Quota, Terms, Unit,
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

/// A store that counts the scopes of calls.
#[derive(Clone, Debug, Default)]
struct Counts {
    store: MemoryStore,
    /// By call.
    scopes: Arc<Mutex<Vec<usize>>>,
}

impl Store for Counts {
    fn timing(&self) -> Timing {
        self.store.timing()
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        self.scopes.lock().unwrap().push(ask.scopes.len());
        self.store.ask(ask)
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.store.hash_keys()
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.store.listen(member)
    }
}

/// Law L4: permits of many keys are all held for longer than a lease, and no call names all of them.
#[tokio::test(start_paused = true)]
async fn many_permits_are_held_by_small_calls() {
    const KEYS: usize = 1100;
    let probe = Probe::new();
    let endpoints = Endpoints::new().each_other_path(Quota::concurrent(1));
    let store = Counts::default();
    let one = AnyLayer::bare(Face::Throttle, endpoints.clone()).store(store.clone());
    let other = AnyLayer::bare(Face::Throttle, endpoints).store(store.store.clone());
    let other = other.max_wait(ms(0));
    let [one, other] = [one, other].map(|layer| layer.client(&probe));
    let send = |client: &Client, time: u64| {
        let calls = (0..KEYS).map(|key| {
            let request = job(&format!("/{key}"), ms(time));
            tokio::spawn(client.clone().oneshot(request))
        });
        calls.collect::<Vec<_>>()
    };
    let held = send(&one, 20_000);
    at(&probe, 12_000).await;
    let calls = store.scopes.lock().unwrap().len();
    one.oneshot(job("/another", ms(0))).await.unwrap();
    let most = store.scopes.lock().unwrap()[calls..].iter().max().copied();
    assert!(most < Some(10), "{most:?}");
    at(&probe, 19_000).await;
    for call in send(&other, 0) {
        refused(&call.await.unwrap().unwrap_err());
    }
    done(held).await;
    done(send(&other, 0)).await;
    for key in 0..KEYS {
        assert_eq!(probe.times_of(&format!("/{key}")), [0, 20_000], "{key}");
    }
    let most = store.scopes.lock().unwrap().iter().max().copied();
    assert!(most < Some(150), "{most:?}");
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

/// A request with its own end.
#[derive(Clone, Copy, Debug)]
struct Plan {
    after: u64,
    cost: u64,
    time: u64,
    /// When the caller gives it up.
    patience: u64,
    of: usize,
}

/// Laws L1 and L4: whatever comes, goes, is given up or changed, no window and no permit is taken by more than there
/// are, and all that is not given up goes.
#[test]
fn no_limit_is_broken_and_nobody_waits_for_ever() {
    let plan = (0..40_u64, 1..4_u64, 0..300_u64, 0..4000_u64, 0..4_usize);
    let plan = plan.prop_map(|(after, cost, time, patience, of)| Plan {
        after,
        cost,
        time,
        patience: if patience < 1500 { patience } else { 1_000_000 },
        of,
    });
    let changes = proptest::collection::vec((0..2000_u64, 1..6_u32), 0..4);
    let plans = proptest::collection::vec(plan, 1..60);
    let mut runner = TestRunner::new(Config {
        cases: std::env::var("CASES").map_or(60, |n| n.parse().unwrap()),
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&(plans, changes), |(plans, changes)| {
        paused(judge(&plans, &changes));
        Ok(())
    });
    result.unwrap();
}

const QUOTA: Quota = Quota::per(5, ms(500)).concurrency(6);

async fn judge(plans: &[Plan], changes: &[(u64, u32)]) {
    let probe = Probe::new();
    let quota = QUOTA.units(Unit::TOKENS, 9, ms(700));
    let endpoints = endpoint_a(quota).overall(Quota::unlimited().concurrency(5));
    let layers = layers::<4>(&endpoints);
    let mut calls = Vec::new();
    for plan in plans {
        tokio::time::sleep(ms(plan.after)).await;
        let client = layers[plan.of].client(&probe);
        let mut request = job("/a", ms(plan.time))
            .map(|_| ["", "1", "2", "3"][usize::try_from(plan.cost).unwrap()]);
        let terms = Terms::new().cost(Cost::new().of(Unit::TOKENS, plan.cost));
        request.extensions_mut().insert(terms);
        let patience = ms(plan.patience);
        let call = tokio::time::timeout(patience, client.oneshot(request));
        calls.push(tokio::spawn(call));
        if let Some((_, n)) = changes
            .iter()
            .find(|(at, _)| *at % 60 == calls.len() as u64)
        {
            for layer in &layers {
                // Fewer at a time, from now on; never more than the judge allows.
                let quota = Quota::per(*n.min(&5), ms(500)).concurrency(6);
                let quota = quota.units(Unit::TOKENS, 9, ms(700));
                layer.handle().set_quota("/a", quota).unwrap();
            }
        }
    }
    for (call, plan) in calls.into_iter().zip(plans) {
        let call = tokio::time::timeout(ms(600_000), call).await;
        let call = call.expect("somebody waits for ever").unwrap();
        if plan.patience == 1_000_000 {
            call.unwrap().unwrap();
        }
    }
    let log = probe.log();
    assert!(log.most_in_flight <= 5, "{}", log.most_in_flight);
    for first in &log.calls {
        let within = |time: u64| {
            let calls = log.calls.iter();
            calls.filter(move |call| call.at >= first.at && call.at < first.at + ms(time))
        };
        assert!(within(500).count() <= 5);
        let tokens = within(700).map(|call| call.body.parse::<u64>().unwrap());
        assert!(tokens.sum::<u64>() <= 9);
    }
    drop(log);
    for layer in &layers {
        assert_idle(&layer.handle());
    }
}

/// Threads of several layers neither block each other nor break a window.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_share_a_window() {
    let probe = Probe::new();
    let clients = layers::<4>(&endpoint_a(per(100, 300).concurrency(30)));
    let clients = clients.map(|layer| layer.client(&probe));
    let calls = (0..800).map(|i| {
        let client = clients[i % 4].clone();
        tokio::spawn(client.oneshot(job("/a", ms(i as u64 % 7))))
    });
    done(calls.collect()).await;
    let log = probe.log();
    assert!(log.most_in_flight <= 30);
    let mut times: Vec<_> = log.calls.iter().map(|call| call.at).collect();
    times.sort();
    for pair in times.windows(101) {
        // The stamps of the probe come some time after those of the layers.
        assert!(pair[100] - pair[0] > ms(150), "{:?}", pair[100] - pair[0]);
    }
}

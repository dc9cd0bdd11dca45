//! A layer whose store decides with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::crowd::{Crowd, to_path};
use crate::{
    Endpoints, Quota,
    store::{
        Asking, Mailbox, MemoryStore, Store,
        protocol::{Ask, Timing},
    },
};

/// Keys that are not in use any more leave nothing behind.
#[tokio::test(start_paused = true)]
async fn names_of_keys_that_are_gone_are_forgotten() {
    let endpoints = Endpoints::new().each_other_path(Quota::per(1, Duration::from_secs(1)));
    let mut crowd = Crowd::with(&endpoints, |shared| {
        assert!(shared.engine.join(Arc::new(MemoryStore::new())));
    });
    let size = |crowd: &Crowd| {
        let locked = crowd.shared.engine.lock();
        format!("{:?}", locked.core.tree.fleet().unwrap()).len()
    };
    let mut sizes = Vec::new();
    for round in 0..40 {
        for n in 0..100 {
            crowd.call(to_path(round * 100 + n));
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        sizes.push(size(&crowd));
    }
    assert_eq!(crowd.gone, 4000);
    let (early, late) = sizes.split_at(20);
    assert!(late.iter().max() <= early.iter().max(), "{sizes:?}");
}

/// A store that counts the slots that come back.
#[derive(Clone, Debug)]
struct Counts {
    store: MemoryStore,
    back: Arc<AtomicUsize>,
}

impl Store for Counts {
    fn timing(&self) -> Timing {
        self.store.timing()
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        self.back.fetch_add(ask.back.len(), Ordering::SeqCst);
        self.store.ask(ask)
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.store.hash_keys()
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.store.listen(member)
    }
}

/// A machine that was frozen finds its slots closed when it goes on: by its wall clock, as the other one stood still. A wall
/// clock that is set right little by little closes none.
#[tokio::test(start_paused = true)]
async fn a_slot_is_over_after_a_frost() {
    let endpoints = Endpoints::new().each_other_path(Quota::per(1, Duration::from_secs(1)));
    let timing = Timing {
        reservation: 50_000,
        ..Timing::LASTING
    };
    for (frost, goes_back) in [(1_500, 0), (30_000, 0), (60_000, 1)] {
        let (store, back) = (MemoryStore::with_timing(timing), Arc::default());
        let store = Counts { store, back };
        let mut crowd = Crowd::with(&endpoints, |shared| {
            assert!(shared.engine.join(Arc::new(store.clone())));
        });
        let wall = |crowd: &Crowd, time| {
            *crowd.shared.engine.clock.injected.lock().unwrap() = Some(time);
        };
        let year = Duration::from_secs(1_800_000_000);
        wall(&crowd, year);
        crowd.call(to_path(0));
        crowd.call(to_path(0));
        // It opens at 1050 ms and closes at 1100 ms, and is known from 1035 ms on.
        crowd.pass(Duration::from_millis(1040)).await;
        wall(&crowd, year + Duration::from_micros(frost));
        crowd.pass(Duration::from_millis(10)).await;
        let back = store.back.load(Ordering::SeqCst);
        assert_eq!((crowd.gone, back), (2, goes_back), "{frost}");
    }
}

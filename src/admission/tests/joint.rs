//! A layer whose store decides with it.

use std::{sync::Arc, time::Duration};

use super::crowd::{Crowd, to_path};
use crate::{Endpoints, Quota, store::MemoryStore};

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

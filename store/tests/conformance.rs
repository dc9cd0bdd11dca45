//! Every store does what the conformance suite says.

mod support;

use std::time::Duration;

use tower_throttle_store::{FileStore, MemoryStore, RedisStore, conformance};

use support::server::Server;

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_conforms_under_paused_time() {
    conformance::run(async || MemoryStore::new()).await;
}

#[tokio::test]
async fn the_store_in_a_file_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let mut many = 0;
    conformance::run(async || {
        many += 1;
        FileStore::open(dir.path().join(format!("store{many}.json"))).unwrap()
    })
    .await;
}

#[tokio::test]
async fn the_store_in_redis_conforms() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut many = 0;
    conformance::run(async || {
        many += 1;
        store
            .clone()
            .fleet(&format!("suite{many}"))
            .lease(Duration::from_secs(1))
    })
    .await;
    store.leave().await;
}

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

/// A node of a cluster that has the slots of some fleets' keys, and no others: it refuses all other keys, also from
/// within a script.
#[tokio::test]
async fn the_script_keeps_to_one_slot_of_a_cluster() {
    let port = std::iter::repeat_with(free_port)
        .find(|port| *port < 55_000) // the nodes talk to each other 10 000 above
        .unwrap()
        .to_string();
    let extra = [
        ["--cluster-enabled", "yes"],
        ["--cluster-require-full-coverage", "no"],
        ["--bind", "127.0.0.1"],
        ["--port", &port],
    ];
    let Some(server) = Server::start(&extra.concat()) else {
        return;
    };
    let mut connection = server.connection();
    for fleet in 1..=FLEETS {
        let slot: u16 = redis::cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(format!("tower-throttle:{{suite{fleet}}}"))
            .query(&mut connection)
            .unwrap();
        redis::cmd("CLUSTER")
            .arg("ADDSLOTS")
            .arg(slot)
            .exec(&mut connection)
            .unwrap();
    }
    let mut is_up = || -> bool {
        let info: String = redis::cmd("CLUSTER")
            .arg("INFO")
            .query(&mut connection)
            .unwrap();
        info.contains("cluster_state:ok")
    };
    tokio::time::timeout(Duration::from_secs(30), async {
        while !is_up() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the node is up");
    let other = "redis.call('EXISTS', KEYS[1]) return redis.call('EXISTS', 'other')";
    redis::cmd("EVAL")
        .arg(other)
        .arg(1)
        .arg("tower-throttle:{suite1}")
        .exec(&mut connection)
        .expect_err("a script may use no key of another slot");
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut many = 0;
    conformance::run(async || {
        many += 1;
        assert!(many <= FLEETS);
        store
            .clone()
            .fleet(&format!("suite{many}"))
            .lease(Duration::from_secs(1))
    })
    .await;
    store.leave().await;
}

/// How many the suite may use.
const FLEETS: i32 = 64;

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

//! A real server that fails: no window holds more than its `n` by dispatch stamps, and the fleet goes on afterwards.

mod support;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tower_throttle_store::RedisStore;

use support::{
    server::Server,
    worker::{Stamps, scope, work, worst},
};

const N: usize = 20;
const PERIOD: Duration = Duration::from_millis(500);

/// Three processes with a backlog; after three seconds something happens.
async fn fleet(happens: impl AsyncFnOnce(&mut Server)) {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let lasts = Duration::from_secs(10);
    let (stamps, end) = (Stamps::default(), Instant::now() + lasts);
    let mut workers = Vec::new();
    for _ in 0..3 {
        let store = RedisStore::connect(&server.url())
            .await
            .unwrap()
            .lease(Duration::from_secs(1))
            .reservation(Duration::from_millis(50));
        let scope = scope(20, PERIOD);
        workers.push(tokio::spawn(work(store, scope, end, stamps.clone())));
    }
    sleep(Duration::from_secs(3)).await;
    let before = stamps.lock().unwrap().len();
    assert!(before > N, "{before} were sent before");
    happens(&mut server).await;
    for worker in workers {
        worker.await.unwrap();
    }
    let stamps = stamps.lock().unwrap();
    let worst = worst(&stamps, PERIOD);
    assert!(worst <= N, "{worst} of {N} in a window");
    let last = stamps
        .iter()
        .filter(|at| **at > end - Duration::from_secs(2))
        .count();
    assert!(last >= N, "{last} were sent in the last two seconds");
}

fn command(server: &Server, name: &str, args: &[&str]) {
    redis::cmd(name)
        .arg(args)
        .exec(&mut server.connection())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_is_flushed_is_sent_again() {
    fleet(async |server: &mut Server| command(server, "SCRIPT", &["FLUSH"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_all_breaks_no_window() {
    fleet(async |server: &mut Server| command(server, "FLUSHALL", &[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_restart_breaks_no_window() {
    fleet(async |server: &mut Server| {
        server.kill();
        server.restart();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_from_an_older_dump_breaks_no_window() {
    fleet(async |server: &mut Server| {
        command(server, "SAVE", &[]);
        sleep(Duration::from_millis(700)).await;
        server.kill();
        server.restart();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_for_three_seconds_breaks_no_window() {
    fleet(async |server: &mut Server| {
        server.freeze();
        sleep(Duration::from_secs(3)).await;
        server.thaw();
    })
    .await;
}

//! What is wrong with a server is said when the store connects.

mod support;

use tower_throttle_store::{RedisStore, Store, StoreError};

use support::server::Server;

async fn refusal(url: &str) -> StoreError {
    RedisStore::connect(url).await.expect_err("it connected")
}

#[tokio::test]
async fn a_wrong_url_is_named() {
    let error = refusal("http://localhost").await;
    assert!(
        !error.is_away() && error.to_string().contains("expected redis://"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(&format!("redis+unix://{}/none.sock", dir.path().display())).await;
    assert!(error.is_away(), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_named() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else {
        return;
    };
    for url in [server.url(), format!("{}?pass=wrong", server.url())] {
        let error = refusal(&url).await;
        assert!(
            !error.is_away() && error.to_string().contains("password"),
            "{error}"
        );
    }
    let store = RedisStore::connect(&format!("{}?pass=right", server.url()))
        .await
        .unwrap();
    assert!(!format!("{store:?}").contains("right"), "{store:?}");
}

#[tokio::test]
async fn a_policy_that_evicts_is_refused() {
    let Some(server) = Server::start(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"])
    else {
        return;
    };
    let error = refusal(&server.url()).await;
    assert!(error.to_string().contains("allkeys-lru"), "{error}");
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let rules = ["SETUSER", "default", "-eval", "-evalsha", "-script"];
    redis::cmd("ACL")
        .arg(&rules)
        .exec(&mut server.connection())
        .unwrap();
    let error = refusal(&server.url()).await;
    assert!(
        !error.is_away() && error.to_string().contains("permission"),
        "{error}"
    );
}

/// The server may refuse what comes after the writing. The same call again is answered all the same.
#[tokio::test]
async fn a_call_that_fails_after_it_was_executed_is_answered_when_it_is_repeated() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    redis::cmd("ACL")
        .arg(&["SETUSER", "default", "-publish"])
        .exec(&mut server.connection())
        .unwrap();
    let ask = tower_throttle_store::protocol::Ask {
        member: "a".to_owned(),
        seq: 1,
        units: vec!["requests".to_owned()],
        ..Default::default()
    };
    let error = Store::ask(&store, &ask).await.unwrap_err();
    assert!(
        !error.is_away() && error.to_string().contains("permission"),
        "{error}"
    );
    let answer = Store::ask(&store, &ask).await.unwrap();
    assert!(!answer.epoch.is_empty() && !answer.stale, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_is_refused_in_favour_of_the_store_in_memory() {
    let error = refusal("redis://localhost").await;
    assert!(error.to_string().contains("MemoryStore"), "{error}");
}

#[test]
fn a_store_outlives_the_runtime_that_connected_it_and_ends_when_it_is_left() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let store = runtime()
        .block_on(RedisStore::connect(&server.url()))
        .unwrap();
    runtime().block_on(tower_throttle_store::conformance::run(async || {
        store.clone().fleet(&name())
    }));
    runtime().block_on(store.leave());
    let error = runtime().block_on(Store::ask(
        &store,
        &tower_throttle_store::protocol::Ask {
            member: "a".to_owned(),
            units: vec!["requests".to_owned()],
            ..Default::default()
        },
    ));
    assert!(error.is_err_and(|error| error.to_string().contains("left")));
}

fn name() -> String {
    tower_throttle_store::member::Member::random_id()
}

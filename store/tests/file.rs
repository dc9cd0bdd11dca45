//! `FileStore` survives a restart, and is for one process.

use tower_throttle_store::{
    FileStore, Store,
    member::{Member, Slot},
    protocol::{Head, Leaf, REQUESTS, Scope, Window},
};

/// What a new process gets of a window of 3 a day, when it wants 2.
async fn two_of_three_a_day(store: &FileStore) -> Vec<Slot> {
    let mut member = Member::new(
        Member::random_id(),
        vec![REQUESTS.to_owned()],
        store.timing(),
    );
    let window = Window {
        unit: REQUESTS.to_owned(),
        n: 3,
        period: 86_400_000_000,
        ..Window::default()
    };
    let scope = Scope {
        name: "day".to_owned(),
        windows: vec![window],
        permits: Some(2),
        ..Scope::default()
    };
    let heads = vec![
        Head {
            id: 1,
            ..Head::default()
        },
        Head {
            id: 2,
            ..Head::default()
        },
    ];
    let leaf = Leaf {
        leaf: 1,
        scopes: vec![0],
        heads,
        ages: vec![0; 2],
        waiting: 2,
        ..Leaf::default()
    };
    let ask = member.ask(0, vec![scope], vec![leaf]).clone();
    let answer = store.ask(&ask).await.unwrap();
    member.hear(0, &answer).slots
}

#[tokio::test]
async fn the_day_is_not_forgotten_and_permits_are_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.json");
    let store = FileStore::open(&path).unwrap();
    assert_eq!(two_of_three_a_day(&store).await.len(), 2);
    drop(store);
    let store = FileStore::open(&path).unwrap();
    assert_eq!(two_of_three_a_day(&store).await.len(), 1);
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.json");
    let store = FileStore::open(&path).unwrap();
    let error = FileStore::open(&path).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(store);
    FileStore::open(&path).unwrap();
}

#[test]
fn a_file_that_holds_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.json");
    std::fs::write(&path, "my notes").unwrap();
    let error = FileStore::open(&path).unwrap_err();
    assert!(error.to_string().contains("no store's state"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
}

#[tokio::test]
async fn a_wall_clock_that_was_set_back_delays() {
    // The state is an hour ahead of the clock: what it holds lasts.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.json");
    let store = FileStore::open(&path).unwrap();
    assert_eq!(two_of_three_a_day(&store).await.len(), 2);
    drop(store);
    let text = std::fs::read_to_string(&path).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let last = state["clock"]["last"].as_i64().unwrap();
    let ahead = last + 3_600_000_000;
    std::fs::write(
        &path,
        text.replace(&format!("\"last\":{last}"), &format!("\"last\":{ahead}")),
    )
    .unwrap();
    let store = FileStore::open(&path).unwrap();
    assert_eq!(two_of_three_a_day(&store).await.len(), 1);
}

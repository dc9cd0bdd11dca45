//! Several gateways, one quota; and one gateway after another.

use std::process::Stdio;

use futures_util::future::join_all;
use http::{StatusCode, Version};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tower_throttle::mock::{Judge, Limit, Work};

use crate::{
    options::Options,
    redis_server::Server,
    store::Place,
    support::{client, get, ms, options, post, recorder, send, serve_judge, soon},
};

/// The program, and its address.
async fn start(args: &[&str]) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = soon("an address", out.next_line()).await.unwrap().unwrap();
    (child, address)
}

#[tokio::test]
async fn gateways_with_one_store_keep_one_limit() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let judge = Judge::builder()
        .route("POST /a", Limit::concurrent(4), Work::fixed(ms(100)))
        .build();
    let (upstream, store) = (serve_judge(&judge), server.url());
    let args = [
        "--upstream",
        &upstream,
        "--limit=POST /a=concurrency:4",
        "--no-retry",
        "--store",
        &store,
    ];
    let (_one, first) = start(&args).await;
    let (_other, second) = start(&args).await;
    let calls = (0..24).map(async |n| {
        let address = if n % 2 == 0 { &first } else { &second };
        let request = post(&format!("{address}/a"));
        send(&client(Version::HTTP_11), request).await.status
    });
    assert_eq!(join_all(calls).await, [StatusCode::OK; 24]);
    judge.report().assert_compliant();
    assert_eq!(judge.report().endpoint("POST /a").most_in_flight, 4);
    let status = get(&format!("{first}/__gateway__/status")).await.json();
    assert!(status["store_away"].is_null(), "{status}");
}

#[tokio::test]
async fn windows_in_a_file_outlast_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("file:{}", dir.path().join("limits").display());
    let (upstream, _recorded) = recorder();
    let args = [
        "--upstream",
        &upstream,
        "--limit=/a=per:2/1h",
        "--max-wait=1s",
        "--store",
        &store,
    ];
    for expected in [
        [StatusCode::OK, StatusCode::OK],
        [StatusCode::TOO_MANY_REQUESTS; 2],
    ] {
        let (mut child, address) = start(&args).await;
        for expected in expected {
            let answer = get(&format!("{address}/a")).await;
            assert_eq!(answer.status, expected, "{:?}", answer.body);
        }
        // As a crash does.
        child.kill().await.unwrap();
    }
}

#[test]
fn a_fleet_is_named_by_its_upstream_unless_it_is_said() {
    let sharing =
        |args: &[&str]| options(&[&["--upstream", "http://api.example"], args].concat()).sharing;
    assert!(sharing(&[]).is_none());
    let said = sharing(&["--store=redis://x"]).unwrap();
    assert_eq!(said.place, Place::Redis("redis://x".into()));
    assert_eq!((said.fleet.as_str(), said.away), ("api.example", None));
    let said = sharing(&["--store=redis://x", "--fleet=a", "--store-away=2s"]).unwrap();
    assert_eq!((said.fleet.as_str(), said.away), ("a", Some(ms(2_000))));
    let said = sharing(&["--store=file:a/b"]).unwrap();
    assert_eq!(said.place, Place::File("a/b".into()));
    // No password in a log.
    let said = sharing(&["--store=redis://me:secret@x"]).unwrap();
    assert!(!format!("{said:?}").contains("secret"), "{said:?}");
}

#[test]
fn what_is_wrong_with_a_store_is_said() {
    let refused = |args: &[&str]| {
        let args = [&["--upstream", "http://x"], args].concat();
        Options::parse(args).unwrap_err().to_string()
    };
    let place = "expected redis://HOST[:PORT][/DB], redis+unix:///PATH or file:PATH, not";
    // A password is not repeated.
    assert_eq!(
        refused(&["--store", "http://me:secret@x"]),
        format!("--store: {place} \"http...\"")
    );
    assert_eq!(
        refused(&["--store=file:"]),
        format!("--store: {place} \"file...\"")
    );
    assert_eq!(
        refused(&["--store=redis://x", "--fleet={a}"]),
        "--fleet: expected 1 to 256 bytes without braces, not \"{a}\""
    );
    for (option, key) in [("--fleet=a", "fleet"), ("--store-away=1s", "store_away")] {
        let expected = format!("{key}: expected with a store that is a server");
        assert_eq!(refused(&[option]), expected);
        assert_eq!(refused(&[option, "--store=file:a"]), expected);
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_ends_the_gateway_with_the_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args([
            "--upstream",
            "http://x",
            "--store",
            "redis+unix:///nonexistent/redis.sock",
        ])
        .output();
    let output = soon("it ends", output).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("gateway: --store: "), "{said}");
}

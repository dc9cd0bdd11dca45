//! Settings from a file, beside those of the command line, and read again while requests wait.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use http::{StatusCode, Version};
use tokio::task::JoinSet;
use tower_throttle::{
    Quota,
    mock::{Judge, Limit, Work},
};

use crate::{
    costs::Api,
    options::Options,
    reload,
    support::{Line, client, ms, options, post, send, serve_judge, until},
};

const A: &str = "POST /a";

/// A file that is removed in the end.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    pub(crate) fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-throttle-gateway-{}-{n}.toml", process::id());
        let file = Self(env::temp_dir().join(name));
        file.write(text);
        file
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

fn quota(options: &Options, endpoint: &str) -> Quota {
    let snapshot = options.limits.layer().handle().snapshot();
    snapshot.bucket(endpoint).unwrap().quota().clone()
}

const WHOLE: &str = r#"
upstream = "https://api.openai.com"
host = "::1"
port = 8080
name = "openai"
usage = "openai"
estimate = false
keep = 4096
http2 = true
timeout = "2m"
header_timeout = "1s"
idle_timeout = "2s"
body_timeout = "3s"
read_timeout = "4s"
forwarded = true
grace = "0s"

[limits]
overall = "50 at once"
max_waiting = 7

[limits.routes]
"POST /v1/chat/completions" = "500/min, 30_000 tokens/min"
"/v1/models" = "5/s"
"#;

#[test]
fn a_file_says_all_that_the_command_line_can() {
    let file = Temporary::new(WHOLE);
    let read = options(&["--config", file.path()]);
    assert_eq!(read.upstream.to_string(), "https://api.openai.com");
    assert_eq!(read.listen.to_string(), "[::1]:8080");
    assert_eq!(
        (read.name.as_str(), read.usage),
        ("openai", Some(Api::OpenAi))
    );
    assert!(!read.estimate && read.http2 && read.forwarded);
    assert_eq!((read.keep, read.timeout), (4096, ms(120_000)));
    let patience = read.patience;
    let times = [patience.header, patience.idle, patience.body, patience.read];
    assert_eq!(times, [ms(1_000), ms(2_000), ms(3_000), ms(4_000)]);
    assert_eq!(read.grace, ms(0));
    let chat: Quota = "500/min, 30_000 tokens/min".parse().unwrap();
    assert_eq!(quota(&read, "POST /v1/chat/completions"), chat);
    assert_eq!(quota(&read, "overall"), Quota::concurrent(50));
}

#[test]
fn the_command_line_goes_before_the_file_key_by_key() {
    let file = Temporary::new(WHOLE);
    let args = [
        "--config",
        file.path(),
        "--port=1",
        "--limit=/v1/models=rps:1",
        "--limit=/v1/files=rps:2",
        "--overall=concurrency:3",
        "--grace=1s",
    ];
    let read = options(&args);
    assert_eq!(read.listen.to_string(), "[::1]:1");
    assert_eq!(read.grace, ms(1_000));
    assert_eq!(quota(&read, "/v1/models"), Quota::per_second(1));
    assert_eq!(quota(&read, "/v1/files"), Quota::per_second(2));
    assert_eq!(quota(&read, "overall"), Quota::concurrent(3));
    // What only the file says holds as well.
    assert_ne!(
        quota(&read, "POST /v1/chat/completions"),
        Quota::unlimited()
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_key() {
    let upstream = "upstream = 'http://x'\n";
    for (text, reason) in [
        ("port = 1", "--upstream is missing: "),
        (
            "upstream = 5",
            "upstream: expected a text such as \"https://HOST\", not 5",
        ),
        (
            "upstream = 'x'",
            "upstream: expected http://HOST[:PORT] or https://HOST[:PORT], not \"x\"",
        ),
        (
            &format!("{upstream}port = 70000"),
            "port: expected a port from 0 to 65535, not 70000",
        ),
        (
            &format!("{upstream}grace = 5"),
            "grace: expected a text such as \"250ms\", \"1.5s\" or \"2m\", not 5",
        ),
        (
            &format!("{upstream}read_timeout = '0s'"),
            "read_timeout: expected a time longer than 0, not \"0s\"",
        ),
        (
            &format!("{upstream}http2 = 1"),
            "http2: expected true or false, not 1",
        ),
        (
            &format!("{upstream}usage = 'mistral'"),
            "usage: expected one of openai, anthropic, gemini, elevenlabs, not \"mistral\"",
        ),
        (
            &format!("{upstream}speed = 1"),
            "speed: there is no such key: expected one of `upstream`",
        ),
        (
            &format!("{upstream}limits.overal = '5/s'"),
            "limits: overal: there is no such key: expected one of ",
        ),
        (
            &format!("{upstream}limits.routes.'GET /a' = '5/fortnight'"),
            "limits: routes.\"GET /a\": quota part \"5/fortnight\"",
        ),
        (
            &format!("{upstream}limits.routes.'api.example/a' = '5/s'"),
            "limits: expected a path that begins with a slash, such as \"POST /v1/speech\", not \
             \"api.example/a\"",
        ),
        (
            &format!("{upstream}elevenlabs = 'free'\nlimits.named.flash = '5/s'"),
            "limits: named: \"flash\" is there already, from the plan (elevenlabs)",
        ),
    ] {
        let file = Temporary::new(text);
        let error = Options::parse(["--config", file.path()]).unwrap_err();
        let named = format!("--config {}: {reason}", file.path());
        assert!(error.to_string().starts_with(&named), "{error}");
    }
    let error = Options::parse(["--config", "/nonexistent.toml"]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("--config /nonexistent.toml: ")
    );
    let file = Temporary::new("port = ");
    let error = Options::parse(["--config", file.path()]).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[tokio::test]
async fn a_reload_in_the_middle_of_traffic_loses_nobody() {
    let judge = Judge::builder()
        .route(A, Limit::concurrent(20), Work::fixed(ms(20)))
        .build();
    let file = Temporary::new("limits.routes.'POST /a' = '1 at once'");
    let line = Line::start(&serve_judge(&judge), &["--config", file.path()]);
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (client, request) = (client(Version::HTTP_11), post(&line.url("/a")));
        calls.spawn(async move { send(&client, request).await.status });
    }
    until("many wait", || line.counts(A).0 > 80).await;
    // What is wrong changes nothing, and then what is right does.
    file.write("limits.routes.'POST /a' = '20 at one'");
    reload::again(&line.gateway, file.path().as_ref());
    assert_eq!(
        line.handle().snapshot().bucket(A).unwrap().concurrency(),
        Some(1)
    );
    file.write("limits.routes.'POST /{any}' = '20 at once'");
    reload::again(&line.gateway, file.path().as_ref());
    let snapshot = line.handle().snapshot();
    assert_eq!(
        snapshot.bucket("POST /{any}").unwrap().concurrency(),
        Some(20)
    );
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    let report = judge.report();
    assert_eq!((report.accepted(), report.refused()), (100, 0));
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_and_so_it_is_when_asked() {
    let file = Temporary::new("limits.overall = '1 at once'");
    let line = Line::start("http://127.0.0.1:1", &["--config", file.path()]);
    let (ask, mut asked) = tokio::sync::mpsc::channel(1);
    let follow = reload::follow(line.gateway.clone(), async move || {
        if asked.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    });
    let follow = tokio::spawn(follow);
    let concurrency = || {
        line.handle()
            .snapshot()
            .bucket("overall")
            .unwrap()
            .concurrency()
    };
    file.write("limits.overall = '20 at once'");
    until("it is read again", || concurrency() == Some(20)).await;
    // Same length, and perhaps within what the clock of the file system tells apart.
    file.write("limits.overall = '30 at once'");
    ask.send(()).await.unwrap();
    until("it is read again", || concurrency() == Some(30)).await;
    follow.abort();
}

#[test]
fn what_a_reload_does_not_take_over_is_named() {
    let file = Temporary::new("upstream = 'http://x'\ngrace = '1s'\nlimits.overall = '1/s'");
    let before = options(&["--config", file.path(), "--port=1"]);
    file.write("upstream = 'http://x'\nlimits.overall = '2/s'\nlimits.max_wait = '1s'\nlimits.retry = false");
    let after = before.again().unwrap();
    let differ = before.fixed_that_differ(&after);
    assert_eq!(differ, ["grace", "limits.max_wait", "limits.retry"]);
    assert_eq!(after.listen.port(), 1);
}

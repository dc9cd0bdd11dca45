//! The command line of the mock server.

#[path = "../../examples/mock_server/options.rs"]
mod options;
#[path = "../../examples/mock_server/values.rs"]
mod values;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use options::{Command, HELP, Options};
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt;
use tower_throttle_mock::{Limit, elevenlabs::MockElevenLabs, elevenlabs::TTS};

fn parse(line: &str) -> Result<Options, String> {
    match Options::parse(line.split_whitespace()) {
        Ok(Command::Run(options)) => Ok(*options),
        Ok(Command::Help) => Err("help".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn mock(line: &str) -> MockElevenLabs {
    parse(line).unwrap().mock.build()
}

async fn send(mock: &MockElevenLabs, path: &str, key: &str, body: &'static str) -> Response<Bytes> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(path);
    let request = request.header("xi-api-key", key);
    let request = request.body(Full::<Bytes>::from(body)).unwrap();
    let (head, body) = mock.clone().oneshot(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

async fn speak(mock: &MockElevenLabs, key: &str) -> Response<Bytes> {
    send(mock, "/v1/text-to-speech/a", key, r#"{"text": "Hello"}"#).await
}

#[test]
fn it_listens_on_a_free_port_of_this_machine_by_default() {
    assert_eq!(parse("").unwrap().address.to_string(), "127.0.0.1:0");
    let options = parse("--host ::1 --port 8080").unwrap();
    assert_eq!(options.address.to_string(), "[::1]:8080");
}

#[test]
fn help_is_asked_for_and_names_every_option() {
    for line in ["-h", "--help", "--plan free --help"] {
        assert_eq!(parse(line).unwrap_err(), "help");
    }
    for option in options::TAKES_VALUE {
        assert!(HELP.contains(option), "{option}");
    }
}

#[test]
fn errors_name_the_value_and_what_was_expected() {
    for (line, expected) in [
        (
            "--plan gold",
            r#"--plan: "gold" is no known plan: expected one of free, starter, creator, pro, scale, business"#,
        ),
        (
            "--port 65536",
            r#"--port: expected a whole number, not "65536": number too large to fit in target type"#,
        ),
        (
            "--host localhost",
            r#"--host: expected an IP address, not "localhost""#,
        ),
        ("--key secret", r#"--key: expected KEY=PLAN, not "secret""#),
        ("--key =free", r#"--key: expected KEY=PLAN, not "=free""#),
        (
            "--key a=free,slow",
            r#"--key: expected workspace=NAME, credits=N, without=PERMISSION, unusual-activity or disabled, not "slow""#,
        ),
        (
            "--key a=free --key a=pro",
            r#"--key: the key "a" is there twice"#,
        ),
        (
            "--key a=free,workspace=w --key b=pro,workspace=w",
            r#"--key: expected one plan for the workspace "w", not free and pro"#,
        ),
        (
            "--concurrency 0",
            "--concurrency: expected at least 1, not 0",
        ),
        (
            "--latency 5",
            r#"--latency: expected a time like 50ms or 1.5s, up to a day, not "5""#,
        ),
        (
            "--latency -5ms",
            r#"--latency: expected a time like 50ms or 1.5s, up to a day, not "-5ms""#,
        ),
        (
            "--work 2s:1s",
            r#"--work: expected the shorter time first, not "2s:1s""#,
        ),
        (
            "--queue 50ms",
            r#"--queue: expected TIME:N, like 50ms:10, not "50ms""#,
        ),
        (
            "--audio loud",
            r#"--audio: expected text or silence, not "loud""#,
        ),
        (
            "--dialect old",
            r#"--dialect: expected current or legacy, not "old""#,
        ),
        (
            "--voice Rachel",
            r#"--voice: expected ID=NAME, not "Rachel""#,
        ),
        ("--fast", "invalid option '--fast'"),
        ("free", r#"unexpected argument "free""#),
        ("--plan", "missing argument for option '--plan'"),
    ] {
        assert_eq!(parse(line).unwrap_err(), expected, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn options_are_those_of_the_mock() {
    let mock = mock("--concurrency 6 --rps 7 --work 1s --seed 3 --require-key --retry-after 2s");
    assert_eq!(mock.judge().limit(TTS), Limit::rps(7).concurrency(6));
    assert_eq!(speak(&mock, "").await.status(), 401);
    let start = Instant::now();
    assert_eq!(speak(&mock, "any").await.status(), 200);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let open: Vec<_> = (0..7).map(|_| Box::pin(speak(&mock, "any"))).collect();
    let answers = futures_util::future::join_all(open).await;
    let refused = answers
        .iter()
        .find(|answer| answer.status() == 429)
        .unwrap();
    assert_eq!(refused.headers()["retry-after"], "2");
}

#[tokio::test(start_paused = true)]
async fn keys_have_their_plans_and_whatever_is_said_of_them() {
    let line = "--key a=starter,workspace=team,credits=7 --key b=starter,workspace=team \
                --key c=free,without=user_read --key d=free,disabled --key e=free,unusual-activity";
    let mock = mock(line);
    let user = async |key: &str| {
        let user = send(&mock, "/v1/user", key, "").await;
        let json: Value = serde_json::from_slice(user.body()).unwrap();
        (user.status().as_u16(), json)
    };
    let (_, b) = user("b").await;
    assert_eq!(b["workspace_id"], "team");
    assert_eq!(b["subscription"]["tier"], "starter");
    assert_eq!(b["subscription"]["character_limit"], 7);
    for (key, word) in [("c", "missing_permissions"), ("d", "invalid_api_key")] {
        let (status, answer) = user(key).await;
        assert_eq!((status, &answer["detail"]["status"]), (401, &word.into()));
    }
    assert_eq!(speak(&mock, "e").await.status(), 401);
    assert_eq!(speak(&mock, "a").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn realistic_times_and_known_voices_are_switched_on() {
    let mock = mock("--plan pro --realistic --known-voices-only --voice a=Ann --audio silence");
    let start = Instant::now();
    assert_eq!(speak(&mock, "").await.status(), 200);
    // Five characters, beyond what was measured.
    assert_eq!(start.elapsed(), Duration::from_millis(932));
    let other = send(&mock, "/v1/text-to-speech/b", "", r#"{"text": "Hello"}"#).await;
    assert_eq!(other.status(), 404);
}

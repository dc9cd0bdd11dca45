//! The official Python SDKs against the mock of the chat APIs.
//!
//! `.ci/interop` installs them, and says in `SDK_PYTHON` which Python has them. Without it these tests say on
//! standard error that they tried nothing, and pass.

#![allow(
    clippy::explicit_write,
    reason = "a test runner captures what `eprintln` says"
)]

use std::{
    io::{self, Write},
    process::Command,
    time::Duration,
};

use tower_throttle_mock::{
    Limit, Report, bind,
    llm::{
        CHAT_COMPLETIONS, INPUT_TOKENS, MESSAGES, MockLlm, MockLlmBuilder, OUTPUT_TOKENS, TOKENS,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

/// Runs a part of `tests/sdk/llm.py` against this mock; `None` if there is no Python that has the SDKs.
async fn run(mode: &'static str, mock: MockLlmBuilder) -> Option<Report> {
    let Some(python) = std::env::var_os("SDK_PYTHON") else {
        // Not by a macro, whose output a test keeps to itself when it passes.
        writeln!(
            io::stderr(),
            "SDK_PYTHON names no Python that has the SDKs: `{mode}` was not tried. See .ci/interop"
        )
        .unwrap();
        return None;
    };
    let api = mock.build();
    let listener = bind().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(api.clone().serve(listener));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/llm.py");
    let ran = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .args([script, mode, &url])
            // Nobody's proxy is for this machine.
            .envs([("no_proxy", "127.0.0.1"), ("NO_PROXY", "127.0.0.1")])
            .output()
            .unwrap()
    });
    let ran = ran.await.unwrap();
    server.abort();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    print!("{out}");
    assert!(ran.status.success(), "{out}{err}");
    Some(api.report())
}

#[tokio::test]
async fn the_sdks_understand_every_kind_of_answer() {
    let work = Duration::from_millis(2);
    let mock = MockLlm::builder().seed(7).per_token(work);
    let Some(report) = run("shapes", mock).await else {
        return;
    };
    assert_eq!(report.unmatched(), 0);
    assert_eq!(report.endpoint(CHAT_COMPLETIONS).invalid, 1);
    assert_eq!(report.endpoint(MESSAGES).invalid, 1);
    report.assert_compliant();
}

#[tokio::test]
async fn the_sdks_see_limits_and_refusals() {
    let openai = Limit::per(50, MINUTE).units(TOKENS, 100, MINUTE);
    let anthropic = Limit::per(50, MINUTE)
        .units(INPUT_TOKENS, 100, MINUTE)
        .units_at_end(OUTPUT_TOKENS, 100, MINUTE);
    let mock = MockLlm::builder().openai(openai).anthropic(anthropic);
    let Some(report) = run("limits", mock).await else {
        return;
    };
    assert_eq!(report.endpoint(CHAT_COMPLETIONS).unit(TOKENS).refused, 3);
    assert_eq!(report.endpoint(MESSAGES).unit(INPUT_TOKENS).refused, 1);
}

#[tokio::test]
async fn the_sdks_wait_as_long_as_they_are_told() {
    let limit = Limit::per(1, Duration::from_secs(2));
    let mock = MockLlm::builder().openai(limit.clone()).anthropic(limit);
    let Some(report) = run("retries", mock).await else {
        return;
    };
    for endpoint in [CHAT_COMPLETIONS, MESSAGES] {
        let seen = report.endpoint(endpoint);
        assert_eq!((seen.accepted, seen.refused_by_rate, seen.early), (2, 1, 0));
    }
}

//! The official Python SDKs through the gateway: more calls at once than the API allows, and none is refused.
//!
//! `.ci/interop` installs them, and says in `SDK_PYTHON` and `ELEVENLABS_PYTHON` which Pythons have them. Without these
//! the tests say on standard error that they tried nothing, and pass.

#![allow(
    clippy::explicit_write,
    reason = "a test runner captures what `eprintln` says"
)]

use std::{
    io::{self, Write},
    process::{Output, Stdio},
    time::Duration,
};

use tower_throttle::mock::{
    Limit, Report, Work, bind,
    elevenlabs::MockElevenLabs,
    llm::{INPUT_TOKENS, MockLlm, OUTPUT_TOKENS, TOKENS},
};

use crate::{
    files::Temporary,
    reload,
    support::{Line, until},
};

const WAYS: [&str; 2] = ["plain", "streamed"];

const NUMBERS: [usize; 2] = [12, 50];

/// Longer than all of the calls.
const HOUR: Duration = Duration::from_secs(3600);

/// The Python that has an SDK. Without one, the test says so and passes.
fn python(variable: &str) -> Option<String> {
    let python = std::env::var(variable).ok();
    if python.is_none() {
        // Not by a macro, whose output a test keeps to itself when it passes.
        writeln!(
            io::stderr(),
            "{variable} names no Python that has the SDK: it was not tried. See .ci/interop"
        )
        .unwrap();
    }
    python
}

/// Runs `mock/tests/sdk/gateway.py`.
async fn run(python: &str, sdk: &str, way: &str, n: usize, line: &Line) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../mock/tests/sdk/gateway.py");
    tokio::process::Command::new(python)
        .args([script, sdk, way, &n.to_string(), &line.url("")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

fn passed(ran: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    print!("{out}");
    assert!(ran.status.success(), "{out}{err}");
}

fn none_refused(report: &Report, accepted: usize) {
    assert_eq!(
        (report.accepted(), report.refused()),
        (accepted, 0),
        "{report}"
    );
    report.assert_compliant();
}

fn serve_llm(limit: Limit) -> (MockLlm, String) {
    let mock = MockLlm::builder()
        .openai(limit.clone())
        .anthropic(limit)
        .per_token(Duration::from_millis(1))
        .build();
    let listener = bind().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(mock.clone().serve(listener));
    (mock, url)
}

/// Each of the SDKs for language models, with what its API limits and what the gateway is told of it.
fn language_models() -> [(&'static str, Limit, [String; 2]); 2] {
    // The windows are wider by what the way to the mock can vary on a busy machine.
    let quota = |units: &str| format!("limits.overall = '20 at once, 30/s{units}, margin 300ms'");
    [
        (
            "openai",
            Limit::per(30, Duration::from_secs(1))
                .concurrency(20)
                .units(TOKENS, 1_000, Duration::from_secs(1)),
            ["openai".to_owned(), quota(", 1_000 tokens/s")],
        ),
        (
            "anthropic",
            Limit::per(30, Duration::from_secs(1))
                .concurrency(20)
                .units(INPUT_TOKENS, 1_000, Duration::from_secs(1))
                .units_at_end(OUTPUT_TOKENS, 1_000, Duration::from_secs(1)),
            [
                "anthropic".to_owned(),
                quota(", 1_000 input_tokens/s, 1_000 output_tokens/s"),
            ],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_of_a_language_model_is_refused() {
    let Some(python) = python("SDK_PYTHON") else {
        return;
    };
    for (sdk, limit, [usage, limits]) in language_models() {
        for n in NUMBERS {
            for way in WAYS {
                let (mock, upstream) = serve_llm(limit.clone());
                let file = Temporary::new(&format!("usage = '{usage}'\n{limits}"));
                let line = Line::start(&upstream, &["--config", file.path(), "--no-retry"]);
                passed(&run(&python, sdk, way, n, &line).await);
                none_refused(&mock.report(), n);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_for_speech_is_refused() {
    let Some(python) = python("ELEVENLABS_PYTHON") else {
        return;
    };
    for n in NUMBERS {
        for way in WAYS {
            let work = Work::fixed(Duration::from_millis(100));
            let mock = MockElevenLabs::builder()
                .tts(Limit::concurrent(4), work)
                .build();
            let listener = bind().unwrap();
            let upstream = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(mock.clone().serve(listener));
            let limit = "POST /v1/text-to-speech/{*rest}=4 at once, 100_000 credits/h";
            let args = ["--limit", limit, "--usage=elevenlabs", "--no-retry"];
            let line = Line::start(&upstream, &args);
            passed(&run(&python, "elevenlabs", way, n, &line).await);
            none_refused(&mock.report(), n);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_in_the_middle_of_their_calls_loses_nobody() {
    let Some(python) = python("SDK_PYTHON") else {
        return;
    };
    for way in WAYS {
        let (mock, upstream) = serve_llm(Limit::concurrent(25).units(TOKENS, 1 << 40, HOUR));
        let file = Temporary::new("usage = 'openai'\nlimits.overall = '1 at once'");
        let line = Line::start(&upstream, &["--config", file.path(), "--no-retry"]);
        let ran = run(&python, "openai", way, 50, &line);
        let changed = async {
            until("many wait", || line.counts("overall").0 > 25).await;
            file.write("limits.overall = 'nonsense'");
            reload::again(&line.gateway, file.path().as_ref());
            // With the route alone, nothing would hold back those that wait under `overall`.
            let route = "limits.routes.'POST /v1/chat/completions' = '25 at once'";
            file.write(&format!(
                "usage = 'openai'\nlimits.overall = '25 at once'\n{route}"
            ));
            reload::again(&line.gateway, file.path().as_ref());
        };
        let (ran, ()) = tokio::join!(ran, changed);
        passed(&ran);
        none_refused(&mock.report(), 50);
    }
}

//! The gateway as a program.

use std::process::{Command, Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    options::HELP,
    support::{get, recorder, soon},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway");

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

#[test]
fn help_is_printed() {
    for arg in ["--help", "-h"] {
        let output = run(&[arg]);
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), HELP);
    }
}

#[test]
fn what_is_wrong_with_the_arguments_is_said() {
    let refused: [(&[&str], &str); 4] = [
        (
            &[],
            "gateway: --upstream is missing: expected http://HOST[:PORT] or https://HOST[:PORT]\n\
             Try --help.\n",
        ),
        (
            &["--upstream", "http://x", "--port", "70000"],
            "gateway: --port: expected a port from 0 to 65535, not \"70000\": number too large to fit in \
             target type\nTry --help.\n",
        ),
        (
            &[
                "--upstream",
                "http://x",
                "--host",
                "192.0.2.1",
                "--port",
                "1",
            ],
            "gateway: --host, --port: cannot listen on 192.0.2.1:1: ",
        ),
        (
            &["--upstream", "https://x", "--ca", "/nonexistent.pem"],
            "gateway: --ca /nonexistent.pem: ",
        ),
    ];
    for (args, reason) in refused {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(reason), "{said}");
    }
}

/// Ctrl-C there is no signal that a test could send.
#[cfg(unix)]
#[tokio::test]
async fn it_says_where_it_listens_and_runs_until_it_is_interrupted() {
    for signal in ["INT", "TERM"] {
        let (upstream, mut recorded) = recorder();
        let mut child = tokio::process::Command::new(PROGRAM)
            .args(["--upstream", &upstream, "--limit", "/a=rps:5"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = soon("an address", out.next_line()).await.unwrap().unwrap();
        assert!(address.starts_with("http://127.0.0.1:"), "{address}");
        assert_eq!(get(&format!("{address}/a")).await.body, "ok");
        recorded.recv().await.unwrap();

        let id = child.id().unwrap().to_string();
        let kill = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &id])
            .status();
        assert!(kill.unwrap().success());
        let output = soon("the program ends", child.wait_with_output())
            .await
            .unwrap();
        assert!(output.status.success());
        assert_eq!(out.next_line().await.unwrap(), None);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("gateway: /a: Quota(5 per 1s)"), "{said}");
    }
}

/// Nobody who waits is lost by it, and the program says what it does.
#[cfg(unix)]
#[tokio::test]
async fn it_reads_its_file_again_when_it_changes_and_at_a_hang_up() {
    let (upstream, _recorded) = recorder();
    let file = crate::files::Temporary::new("limits.overall = '5/s'");
    let mut child = tokio::process::Command::new(PROGRAM)
        .args(["--upstream", &upstream, "--config", file.path()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = async || soon("a line", said.next_line()).await.unwrap().unwrap();
    assert_eq!(next().await, "gateway: overall: Quota(5 per 1s)");
    file.write("limits.overall = '5/fortnight'");
    let line = next().await;
    assert!(
        line.contains("limits: overall: quota part \"5/fortnight\""),
        "{line}"
    );
    assert_eq!(next().await, "gateway: the limits stay as they were");
    file.write("grace = '1s'\nlimits.overall = '50/s'");
    let path = file.path();
    let expected = format!(
        "gateway: {path}: the limits were read again; these take effect at the next start: grace"
    );
    assert_eq!(next().await, expected);
    let id = child.id().unwrap().to_string();
    let kill = Command::new("sh")
        .args(["-c", "kill -s HUP \"$0\"", &id])
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(next().await, expected);
}

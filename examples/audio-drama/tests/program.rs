//! The program itself: what it says, and how it ends.

use std::process::{Command, Output};

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_audio-drama"))
        .args(arguments)
        .env_remove("ELEVENLABS_MAX_CONCURRENT")
        .env_remove("ELEVENLABS_API_KEY")
        .env_remove("ELEVENLABS_API_BASE_URL")
        .envs(variables.iter().copied())
        // There is no .env here.
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

#[test]
fn a_setting_that_is_no_number_ends_it_at_once() {
    for arguments in [&[][..], &["--demo"]] {
        let (success, stdout, stderr) =
            run(arguments, &[("ELEVENLABS_MAX_CONCURRENT", "nonsense")]);
        assert!(!success);
        assert_eq!(stdout, "");
        assert_eq!(
            stderr,
            "error: ELEVENLABS_MAX_CONCURRENT is \"nonsense\": expected a positive integer\n"
        );
    }
}

#[test]
fn help_names_every_variable() {
    let (success, stdout, _) = run(&["--help"], &[]);
    assert!(success);
    for name in [
        "ELEVENLABS_MAX_CONCURRENT",
        "ELEVENLABS_API_KEY",
        "ELEVENLABS_API_BASE_URL",
        "--port",
        "--demo",
    ] {
        assert!(stdout.contains(name), "{name}");
    }
}

#[test]
fn an_address_that_cannot_be_served_ends_it_at_once() {
    let (success, _, stderr) = run(
        &["--elevenlabs-url", "unix:/tmp/socket"],
        &[("ELEVENLABS_API_KEY", "key")],
    );
    assert!(!success);
    assert!(stderr.starts_with("error: --elevenlabs-url: "), "{stderr}");
}

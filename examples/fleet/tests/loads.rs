//! Some of the loads that are measured, as a user runs them; the machine may be busy, so how much of a quota is used is
//! printed and not required.

use std::process::Command;

mod server;

/// It fails if more go within a window of any scope than that allows, by the instants at which all processes send.
#[test]
fn no_load_breaks_a_window() {
    if !server::is_there() {
        return;
    }
    let run = Command::new(env!("CARGO_BIN_EXE_fleet"))
        .args(["--seconds", "10"])
        .args(["--loads", "r200-c50", "r5-c4", "costs", "leaves"])
        .output()
        .expect("the loads run");
    let (out, errors) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    eprintln!("{out}");
    assert!(run.status.success(), "{out}\n{errors}");
    // A head, and a row for each.
    assert_eq!(out.lines().count(), 5, "{out}");
}

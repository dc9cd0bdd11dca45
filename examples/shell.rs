//! A loop of commands, each of which uses a limited API: two per second, three at once.
//!
//! Tools such as `gh` or `aws` keep to no limit across calls. The loop asks a handle before each command. One that ends
//! with 75, "try again later", makes the others wait, too.

use std::{process::Stdio, time::Duration};

use futures_util::future::try_join_all;
use http::Request;
use tokio::{process::Command, time::Instant};
use tower_throttle::{
    BoxError, Endpoints, Handle, ThrottleLayer,
    signal::{Signal, SignalKind},
};

/// What sysexits.h calls a temporary failure.
const TEMPORARY_FAILURE: i32 = 75;

/// In place of a tool: it works for a moment, and is refused when it is run for the first time with a 3.
const TOOL: &str = r#"
    sleep 0.1
    if test "$1" = 3 && test "$2" = 1; then exit 75; fi
    echo "$1 is done, attempt $2"
"#;

/// Runs the tool until it is not refused any more, when the limits have room for it.
async fn run(handle: &Handle, number: u32, start: Instant) -> Result<(), BoxError> {
    // Any method and path will do, if the routes know them.
    let head = Request::builder().method("RUN").uri("/tool").body(())?;
    let mut permit = handle.admit(&head).await?.dispatched().await?;
    for attempt in 1.. {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            TOOL,
            "tool",
            &number.to_string(),
            &attempt.to_string(),
        ]);
        // If this future is dropped, the command ends. (Its permit ends as well, and it counts as accepted.)
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let time = start.elapsed().as_secs_f64();
        println!("{time:.1} s: {number} begins");
        let output = match command.spawn() {
            Ok(child) => child.wait_with_output().await?,
            Err(error) => {
                // It has not been run, so the API has not seen it. That is not known here, and it stays counted.
                permit.failed();
                return Err(error.into());
            }
        };
        match output.status.code() {
            Some(0) => {
                let said = String::from_utf8_lossy(&output.stdout);
                let time = start.elapsed().as_secs_f64();
                print!("{time:.1} s: {said}");
                return Ok(());
            }
            Some(TEMPORARY_FAILURE) => {
                // The tool does not say how long to wait: one second is a guess.
                let signal = Signal::new(SignalKind::Rate).with_retry_after(Duration::from_secs(1));
                if permit.throttled(&signal).is_none() {
                    return Err("no retry helps".into());
                }
                // It keeps its age: it goes before those that came later.
                permit = handle.admit_again(permit).await?.dispatched().await?;
            }
            _ => {
                permit.failed();
                return Err(format!("{number} has failed: {}", output.status).into());
            }
        }
    }
    unreachable!("attempts do not end")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let quota = "2/s, 3 at once".parse()?;
    let layer = ThrottleLayer::new(Endpoints::new().route("RUN /tool", quota));
    let handle = layer.handle();
    let start = Instant::now();
    try_join_all((1..=6).map(|number| run(&handle, number, start))).await?;

    let snapshot = handle.snapshot();
    let tool = snapshot.bucket("RUN /tool").ok_or("it has a route")?;
    println!("{} run, {} refused", tool.admitted(), tool.throttled());
    assert_eq!((tool.admitted(), tool.throttled()), (7, 1));
    assert!(start.elapsed() >= Duration::from_millis(2500));
    Ok(())
}

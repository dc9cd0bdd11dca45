//! The whole of it, as a user runs it; and the store in a file, which needs no server.

use std::{convert::Infallible, process::Command, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn};
use tower_throttle::{Endpoints, Quota, Refused, ThrottleLayer, store::FileStore};

mod server;

/// It fails if more go within a second than the API allows, whatever happens meanwhile.
#[test]
fn a_fleet_keeps_the_quota_whatever_happens() {
    if !server::is_there() {
        return;
    }
    let run = Command::new(env!("CARGO_BIN_EXE_fleet"))
        .args(["--seconds", "10"])
        .output()
        .expect("the example runs");
    let (out, errors) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{out}\n{errors}");
    assert!(out.contains("it has forgotten everything"), "{out}");
}

/// Sends one request through a layer made anew, as a job does that is started, sends and ends.
async fn job(store: FileStore) -> Result<(), tower::BoxError> {
    let quota = Quota::per(2, Duration::from_secs(3600));
    let layer = ThrottleLayer::new(Endpoints::new().route("/jobs", quota))
        .max_wait(Duration::from_millis(500))
        .store(store);
    let inner = service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let request = Request::get("/jobs").body(Empty::new())?;
    layer.layer(inner).oneshot(request).await?;
    Ok(())
}

#[test]
fn a_window_of_an_hour_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("limits");
    let runs = (0..3).map(|_| {
        // As a process of its own would.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async { job(FileStore::open(&path).expect("it opens")).await })
    });
    let runs: Vec<_> = runs.collect();
    assert!(runs[0].is_ok() && runs[1].is_ok(), "{runs:?}");
    let refused = runs[2].as_ref().expect_err("two in an hour");
    assert!(refused.is::<Refused>(), "{refused}");
}

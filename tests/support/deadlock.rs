use std::{sync::mpsc, time::Duration};

use super::paused;

/// Runs `test` in a thread with a paused runtime, and fails if it does not end.
pub fn without_deadlock(name: &str, test: impl Future<Output = ()> + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        paused(test);
        _ = done.send(());
    });
    match finished.recv_timeout(Duration::from_secs(20)) {
        Ok(()) => thread.join().unwrap(),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: {:?}", thread.join().err()),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name}: deadlock"),
    }
}

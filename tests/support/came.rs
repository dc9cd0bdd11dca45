use std::time::Duration;

use tokio::time::Instant;
use tower::{Service, ServiceExt};
use tower_throttle::RefusedReason;

use super::{Client, Probe, Req, refused, settle};

/// What came of a request: when its work was done, or when it was refused, with reason and `retry_after`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Came {
    Sent(u64),
    Refused(u64, RefusedReason, Option<Duration>),
}

pub type Task = tokio::task::JoinHandle<Came>;

/// Enters a request now.
pub async fn enter(client: &Client, probe: &Probe, request: Req) -> Task {
    let (mut client, start) = (client.clone(), probe.start());
    let task = tokio::spawn(async move {
        let answer = client.ready().await.unwrap().call(request).await;
        let now = u64::try_from((Instant::now() - start).as_millis()).unwrap();
        match answer {
            Ok(_) => Came::Sent(now),
            Err(error) => {
                let refused = refused(&error);
                Came::Refused(now, refused.reason(), refused.retry_after())
            }
        }
    });
    settle().await;
    task
}

/// What came of all of them. Fails if one waits for more than a day.
pub async fn came(tasks: Vec<Task>) -> Vec<Came> {
    let mut came = Vec::new();
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(86_400), task).await;
        came.push(ended.expect("it waits for ever").unwrap());
    }
    came
}

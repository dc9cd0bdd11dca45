//! The API, in a process of its own: it says on standard output where it is, and at the end of its input what it saw.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tower_throttle::{
    BoxError,
    mock::{self, Judge, Limit, Work},
};

use super::options::Load;

/// The only endpoint.
pub(crate) const JOBS: &str = "GET /jobs";

/// How much earlier than its window says a request may arrive: what the way takes at times.
pub(crate) const MARGIN: Duration = Duration::from_millis(10);

pub(crate) async fn run(load: Load) -> Result<(), BoxError> {
    let limit = Limit::rps(load.rate as usize).concurrency(load.concurrency);
    let judge = Judge::builder()
        .route(JOBS, limit, Work::fixed(load.work))
        .build();
    let listener = mock::bind()?;
    println!("http://{}", listener.local_addr()?);
    tokio::spawn(judge.clone().serve(listener));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    let report = judge.report();
    let jobs = report.endpoint(JOBS);
    println!(
        "{} accepted, {} refused by rate and {} by concurrency; at most {} arrived within a second and {} were at work",
        jobs.accepted,
        jobs.refused_by_rate,
        jobs.refused_by_concurrency,
        jobs.worst_window,
        jobs.most_in_flight,
    );
    Ok(())
}

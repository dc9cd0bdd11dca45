//! The demonstration: has things happen, and shows what came of it.

use std::time::Duration;

use tokio::time::sleep;
use tower_throttle::BoxError;

use super::{
    figures,
    fleet::Fleet,
    loads::{Demand, Load, MARGIN},
    stamp::Stamp,
};

/// Who goes this much later than somebody who came later was overtaken.
const OVERTAKEN: u64 = 50_000;

const SECOND: u64 = 1_000_000;

pub(crate) async fn show(load: Load, calm: bool) -> Result<(), BoxError> {
    let mut fleet = Fleet::start(&load).await?;
    let begin = fleet.begin;
    let limits = &load.leaves[0];
    let rate = limits.rate.map_or(0, |rate| u64::from(rate.n));
    let backlog = match load.demand {
        Demand::Backlog(n) => n,
        _ => 0,
    };
    println!(
        "{} processes, {backlog} requests each; the API takes {rate} per second and {} at once, and works {:?} on each",
        load.workers,
        limits.concurrency.unwrap_or(0),
        load.work.start
    );
    if !calm {
        happen(&load, &mut fleet).await?;
    }
    let outcome = fleet.end().await?;
    let worst = tell(&load, rate, begin, &outcome.dispatched);
    println!("the judge: {}", outcome.seen);
    if worst == 0 || worst > rate {
        return Err(format!(
            "{worst} went within a second: expected at least one, and at most {rate}"
        )
        .into());
    }
    Ok(())
}

/// A worker is killed, the server stands still for three seconds, and it forgets everything.
async fn happen(load: &Load, fleet: &mut Fleet) -> Result<(), BoxError> {
    let part = load.time / 5;
    sleep(part).await;
    if let Some(worker) = fleet.workers.first_mut() {
        worker.kill().await?;
        println!("{part:?}: a worker was killed");
    }
    sleep(part).await;
    fleet.server.signal("-STOP").await?;
    println!("{:?}: the server stands still", 2 * part);
    sleep(Duration::from_secs(3)).await;
    fleet.server.signal("-CONT").await?;
    println!("{:?}: it goes on", 2 * part + Duration::from_secs(3));
    sleep((2 * part).saturating_sub(Duration::from_secs(3))).await;
    fleet.server.tell(&["FLUSHALL"]).await?;
    println!("{:?}: it has forgotten everything", 4 * part);
    Ok(())
}

/// Shows what was sent, and returns how many went within a second at most.
fn tell(load: &Load, rate: u64, begin: u64, stamps: &[Stamp]) -> u64 {
    let went = figures::amounts(stamps, None, false);
    let Some((&(first, _), &(last, _))) = went.first().zip(went.last()) else {
        println!("nothing was sent");
        return 0;
    };
    println!("\nsecond  sent");
    for second in 0..=(last - begin) / SECOND {
        let of = |(at, _): &&(u64, u64)| (at - begin) / SECOND == second;
        let n = went.iter().filter(of).count();
        println!("{second:>6}  {n:>4} {}", "#".repeat(n / 2));
    }
    let worst = figures::worst(&went, SECOND);
    let time = (last - first) as f64 / 1e6;
    let bound = 1.0 / (1.0 + (load.reservation + MARGIN).as_secs_f64());
    // The first window begins with as many at once.
    let used = (went.len() as f64 - rate as f64).max(0.0) / time / rate as f64;
    println!(
        "\n{} were sent, {worst} at most within a second; {used:.3} of the rate was used (at best {bound:.3})",
        went.len(),
    );
    let overtaken = figures::overtaken(stamps, OVERTAKEN, 0);
    println!(
        "{:.0} of them were overtaken by more than 50 ms",
        overtaken.share * stamps.len() as f64
    );
    worst
}

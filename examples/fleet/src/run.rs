//! Starts all of it, has things happen, and shows what came of it.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::sleep,
};
use tower_throttle::BoxError;

use super::{
    judge::MARGIN,
    options::Load,
    redis::Server,
    stamp::{self, Stamp},
};

/// A reservation of the store, if nothing else is said.
const RESERVATION: Duration = Duration::from_millis(10);
/// Who goes this much later than somebody who came later was overtaken.
const OVERTAKEN: u64 = 50_000;

type Stamps = Arc<Mutex<Vec<Stamp>>>;

pub(crate) async fn show(load: Load) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let (mut judge, mut said) = start(&load, &["--judge"])?;
    let api = said.next_line().await?.ok_or("the API did not start")?;
    let stamps = Stamps::default();
    let mut workers = Vec::new();
    let mut readers = Vec::new();
    let url = server.url();
    let begin = stamp::now();
    for _ in 0..load.workers {
        let (child, lines) = start(&load, &["--api", &api, "--store", &url])?;
        workers.push(child);
        readers.push(tokio::spawn(read(lines, Arc::clone(&stamps))));
    }
    println!(
        "{} processes, {} requests each; the API takes {} per second and {} at once, and works {:?} on each",
        load.workers, load.backlog, load.rate, load.concurrency, load.work
    );
    if !load.calm {
        happen(&load, &server, &mut workers).await?;
    }
    for reader in readers {
        reader.await??;
    }
    for worker in &mut workers {
        worker.wait().await?;
    }
    drop(judge.stdin.take());
    let report = said.next_line().await?.ok_or("the judge said nothing")?;
    judge.wait().await?;
    let stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
    let worst = tell(&load, begin, &stamps);
    println!("the judge: {report}");
    if worst == 0 || worst > load.rate as usize {
        return Err(format!(
            "{worst} went within a second: expected at least one, and at most {}",
            load.rate
        )
        .into());
    }
    Ok(())
}

fn start(load: &Load, role: &[&str]) -> Result<(Child, Lines<BufReader<ChildStdout>>), BoxError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(load.arguments())
        .args(role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().ok_or("no standard output")?;
    Ok((child, BufReader::new(out).lines()))
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>, stamps: Stamps) -> Result<(), BoxError> {
    while let Some(line) = lines.next_line().await? {
        // Who is killed may leave half a line.
        if let Ok(stamp) = line.parse() {
            let mut stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
            stamps.push(stamp);
        }
    }
    Ok(())
}

/// A worker is killed, the server stands still for three seconds, and it forgets everything.
async fn happen(load: &Load, server: &Server, workers: &mut [Child]) -> Result<(), BoxError> {
    let part = load.time / 5;
    sleep(part).await;
    if let Some(worker) = workers.first_mut() {
        worker.kill().await?;
        println!("{part:?}: a worker was killed");
    }
    sleep(part).await;
    server.signal("-STOP").await?;
    println!("{:?}: the server stands still", 2 * part);
    sleep(Duration::from_secs(3)).await;
    server.signal("-CONT").await?;
    println!("{:?}: it goes on", 2 * part + Duration::from_secs(3));
    sleep((2 * part).saturating_sub(Duration::from_secs(3))).await;
    server.flush().await?;
    println!("{:?}: it has forgotten everything", 4 * part);
    Ok(())
}

/// Shows what was sent, and returns how many went within a second at most.
fn tell(load: &Load, begin: u64, stamps: &[Stamp]) -> usize {
    let mut went: Vec<u64> = stamps.iter().map(|stamp| stamp.went).collect();
    went.sort_unstable();
    let Some((&first, &last)) = went.first().zip(went.last()) else {
        println!("nothing was sent");
        return 0;
    };
    println!("\nsecond  sent");
    for second in 0..=(last - begin) / 1_000_000 {
        let of = |at: &&u64| (**at - begin) / 1_000_000 == second;
        let n = went.iter().filter(of).count();
        println!("{second:>6}  {n:>4} {}", "#".repeat(n / 2));
    }
    let worst = (0..went.len())
        .map(|from| went.partition_point(|at| *at < went[from] + 1_000_000) - from)
        .max()
        .unwrap_or(0);
    let time = (last - first) as f64 / 1e6;
    let bound = 1.0 / (1.0 + (RESERVATION + MARGIN).as_secs_f64());
    // The first window begins with as many at once.
    let used = (went.len() as f64 - f64::from(load.rate)).max(0.0) / time / f64::from(load.rate);
    println!(
        "\n{} were sent, {} at most within a second; {:.3} of the rate was used (at best {bound:.3})",
        went.len(),
        worst,
        used,
    );
    println!(
        "{} of them were overtaken by more than 50 ms",
        overtaken(stamps)
    );
    worst
}

/// How many went more than 50 ms later than one that came later.
fn overtaken(stamps: &[Stamp]) -> usize {
    let mut by_age = stamps.to_vec();
    by_age.sort_unstable_by_key(|stamp| stamp.came);
    let mut earliest = u64::MAX;
    let mut n = 0;
    for stamp in by_age.iter().rev() {
        n += usize::from(stamp.went > earliest.saturating_add(OVERTAKEN));
        earliest = earliest.min(stamp.went);
    }
    n
}

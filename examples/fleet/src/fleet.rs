//! The processes of one run: a server, an API, the workers, and a gateway if they have one.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};
use tower_throttle::BoxError;

use super::{
    judge::Seen,
    loads::{self, Load, MARGIN, Way},
    options,
    redis::Server,
    stamp::{self, End, Stamp},
};

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) server: Server,
    pub(crate) workers: Vec<Child>,
    /// When it began, in microseconds.
    pub(crate) begin: u64,
    judge: Child,
    gateway: Option<Child>,
    dispatched: Stamps,
    arrived: Stamps,
    readers: Vec<JoinHandle<Result<Option<Seen>, BoxError>>>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As the workers sent them.
    pub(crate) dispatched: Vec<Stamp>,
    /// As the API accepted them.
    pub(crate) arrived: Vec<Stamp>,
    pub(crate) seen: Seen,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stamps(Arc<Mutex<Read>>);

#[derive(Debug, Default)]
struct Read {
    stamps: Vec<Stamp>,
    /// The last of each request.
    places: HashMap<(u64, u64), usize>,
}

impl Fleet {
    pub(crate) async fn start(load: &Load) -> Result<Self, BoxError> {
        let server = Server::start().await?;
        let (judge, mut said) = start(itself(load)?.arg("--judge"))?;
        let mut api = said.next_line().await?.ok_or("the API did not start")?;
        let (dispatched, arrived) = (Stamps::default(), Stamps::default());
        let mut readers = vec![tokio::spawn(read(said, arrived.clone()))];
        let mut gateway = None;
        if load.way == Way::Gateway {
            let (child, said) = start(&mut gateway_to(&api, load)?)?;
            gateway = Some(child);
            let mut said = said;
            api = said.next_line().await?.ok_or("the gateway did not start")?;
        }
        let begin = stamp::now();
        let mut workers = Vec::new();
        for index in 0..load.workers {
            let place = [index.to_string(), begin.to_string()];
            let mut command = itself(load)?;
            command.arg("--worker").args(place);
            let (child, said) = start(command.args([&api, &server.url()]))?;
            workers.push(child);
            readers.push(tokio::spawn(read(said, dispatched.clone())));
        }
        Ok(Self {
            server,
            workers,
            begin,
            judge,
            gateway,
            dispatched,
            arrived,
            readers,
        })
    }

    /// Who has most requests under way.
    pub(crate) fn busiest(&self) -> usize {
        let mut under_way = vec![0; self.workers.len()];
        for stamp in &self.dispatched.lock().stamps {
            under_way[stamp.tag.worker as usize] += usize::from(stamp.ended.is_none());
        }
        let most = under_way.iter().zip(0..).max_by_key(|(n, _)| **n);
        most.map_or(0, |(_, index)| index)
    }

    /// Waits until the workers are done.
    pub(crate) async fn end(mut self) -> Result<Outcome, BoxError> {
        for worker in &mut self.workers {
            worker.wait().await?;
        }
        if let Some(mut gateway) = self.gateway {
            gateway.kill().await?;
        }
        drop(self.judge.stdin.take());
        let mut seen = None;
        for reader in self.readers {
            let said = reader.await??;
            seen = seen.or(said);
        }
        self.judge.wait().await?;
        Ok(Outcome {
            dispatched: std::mem::take(&mut self.dispatched.lock().stamps),
            arrived: std::mem::take(&mut self.arrived.lock().stamps),
            seen: seen.ok_or("the judge said nothing")?,
        })
    }
}

fn itself(load: &Load) -> Result<Command, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(options::arguments(load));
    Ok(command)
}

/// The gateway of this repository, built beside this program.
fn gateway_to(api: &str, load: &Load) -> Result<Command, BoxError> {
    let program = std::env::current_exe()?.with_file_name("gateway");
    if !program.exists() {
        return Err(format!(
            "there is no {}: build the package tower-throttle-gateway in the same way",
            program.display()
        )
        .into());
    }
    let mut command = Command::new(program);
    command.args(["--upstream", api]).stderr(Stdio::null());
    for (leaf, index) in load.leaves.iter().zip(0..) {
        if let Some(quota) = leaf.quota(1) {
            let limit = format!("{}={quota}", loads::template(index));
            command.args(["--limit", &limit]);
        }
    }
    if let Some(n) = load.overall {
        let margin = MARGIN.as_millis();
        command.args(["--overall", &format!("rps:{n},margin:{margin}ms")]);
    }
    Ok(command)
}

fn start(command: &mut Command) -> Result<(Child, Lines<BufReader<ChildStdout>>), BoxError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().ok_or("no standard output")?;
    Ok((child, BufReader::new(out).lines()))
}

async fn read(
    mut lines: Lines<BufReader<ChildStdout>>,
    stamps: Stamps,
) -> Result<Option<Seen>, BoxError> {
    let mut seen = None;
    while let Some(line) = lines.next_line().await? {
        // A process that is killed may leave half a line.
        if let Ok(stamp) = line.parse::<Stamp>() {
            stamps.add(stamp);
        } else if let Ok(end) = line.parse::<End>() {
            stamps.end(end);
        } else {
            seen = seen.or(line.parse().ok());
        }
    }
    Ok(seen)
}

impl Stamps {
    fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, stamp: Stamp) {
        let mut read = self.lock();
        let place = read.stamps.len();
        let request = (stamp.tag.worker, stamp.tag.id);
        // A retry: the attempt before has ended by then.
        if let Some(before) = read.places.insert(request, place) {
            read.stamps[before].ended = Some(stamp.went);
        }
        read.stamps.push(stamp);
    }

    fn end(&self, end: End) {
        let mut read = self.lock();
        if let Some(&place) = read.places.get(&(end.worker, end.id)) {
            read.stamps[place].ended = Some(end.at);
        }
    }
}

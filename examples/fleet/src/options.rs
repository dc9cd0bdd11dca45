//! What the command line says.

use std::{str::FromStr, time::Duration};

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
Several processes share one quota through Redis.

Options:
  --rate N         requests per second that the API allows, together [40]
  --concurrency N  requests at once that it allows [8]
  --work MS        how long it works on one, in milliseconds [100]
  --workers N      processes that send [4]
  --backlog N      requests that each of them has ready at any time [20]
  --seconds N      for how long they send [20]
  --calm           nothing happens to the workers and the server meanwhile
  --help           this text";

/// What is to be sent, and what is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) rate: u32,
    pub(crate) concurrency: usize,
    pub(crate) work: Duration,
    pub(crate) workers: usize,
    pub(crate) backlog: usize,
    pub(crate) time: Duration,
    pub(crate) calm: bool,
}

/// Which of the processes this one is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Help,
    Judge(Load),
    /// With the URLs of the API and of the store.
    Worker(Load, String, String),
    Show(Load),
}

pub(crate) fn parse() -> Result<Role, lexopt::Error> {
    let mut load = Load {
        rate: 40,
        concurrency: 8,
        work: Duration::from_millis(100),
        workers: 4,
        backlog: 20,
        time: Duration::from_secs(20),
        calm: false,
    };
    let (mut is_judge, mut api, mut store) = (false, None, None);
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("rate") => load.rate = at_least_one(&mut parser, "rate")?,
            Arg::Long("concurrency") => {
                load.concurrency = at_least_one(&mut parser, "concurrency")?;
            }
            Arg::Long("work") => load.work = Duration::from_millis(parser.value()?.parse()?),
            Arg::Long("workers") => load.workers = at_least_one(&mut parser, "workers")?,
            Arg::Long("backlog") => load.backlog = at_least_one(&mut parser, "backlog")?,
            Arg::Long("seconds") => {
                load.time = Duration::from_secs(at_least_one(&mut parser, "seconds")?);
            }
            Arg::Long("calm") => load.calm = true,
            // For the processes that this one starts.
            Arg::Long("judge") => is_judge = true,
            Arg::Long("api") => api = Some(parser.value()?.string()?),
            Arg::Long("store") => store = Some(parser.value()?.string()?),
            Arg::Long("help") => return Ok(Role::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(match (is_judge, api, store) {
        (true, ..) => Role::Judge(load),
        (false, Some(api), Some(store)) => Role::Worker(load, api, store),
        _ => Role::Show(load),
    })
}

fn at_least_one<T>(parser: &mut Parser, name: &str) -> Result<T, lexopt::Error>
where
    T: FromStr + PartialOrd + From<u8>,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let value: T = parser.value()?.parse()?;
    if value < T::from(1) {
        return Err(format!("--{name} 0: expected at least 1").into());
    }
    Ok(value)
}

impl Load {
    /// The same for another process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        [
            ("--rate", self.rate.to_string()),
            ("--concurrency", self.concurrency.to_string()),
            ("--work", self.work.as_millis().to_string()),
            ("--backlog", self.backlog.to_string()),
            ("--seconds", self.time.as_secs().to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

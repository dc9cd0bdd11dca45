//! What the command line says.

use std::{str::FromStr, time::Duration};

use lexopt::{Arg, Parser, ValueExt};

use super::{
    loads::{self, Demand, Leaf, Load, Rate},
    worker::Place,
};

pub(crate) const HELP: &str = "\
Several processes share one quota through Redis.

Options:
  --rate N         requests per second that the API allows, together [40]
  --concurrency N  requests at once that it allows [8]
  --work MS        how long it works on one, in milliseconds [100]
  --workers N      processes that send [4]
  --backlog N      requests that each of them has ready at any time [20]
  --seconds N      for how long they send [20, or as the load says]
  --reservation MS how long a reservation of the store lasts, in milliseconds [10, or as the load says]
  --calm           nothing happens to the workers and the server meanwhile

  --loads [NAME…]  measures these loads instead, or all; --loads help lists them
  --runs N         so many times each [1]
  --help           this text";

/// Which of the processes this one is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Help,
    ListLoads,
    Judge(Load),
    Worker(Load, Place),
    /// Nothing happens if it is calm.
    Show {
        load: Load,
        calm: bool,
    },
    Measure {
        loads: Vec<Load>,
        runs: usize,
    },
}

pub(crate) fn parse() -> Result<Role, lexopt::Error> {
    let mut load = loads::demo();
    let (mut calm, mut runs, mut measured) = (false, 1, None);
    let (mut is_judge, mut place) = (false, None);
    let (mut seconds, mut reservation) = (None, None);
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("rate") => {
                let n = at_least_one(&mut parser, "rate")?;
                let period = Duration::from_secs(1);
                leaf(&mut load).rate = Some(Rate { n, period });
            }
            Arg::Long("concurrency") => {
                let n = at_least_one::<u16>(&mut parser, "concurrency")?;
                leaf(&mut load).concurrency = Some(n.into());
            }
            Arg::Long("work") => {
                let time = Duration::from_millis(parser.value()?.parse()?);
                load.work = time..time;
            }
            Arg::Long("workers") => {
                load.workers = at_least_one::<u16>(&mut parser, "workers")?.into();
            }
            Arg::Long("backlog") => {
                let n = at_least_one::<u16>(&mut parser, "backlog")?;
                load.demand = Demand::Backlog(n.into());
            }
            Arg::Long("seconds") => {
                let time = Duration::from_secs(at_least_one(&mut parser, "seconds")?);
                load.time = time;
                seconds = Some(time);
            }
            Arg::Long("reservation") => {
                let time = Duration::from_millis(at_least_one(&mut parser, "reservation")?);
                load.reservation = time;
                reservation = Some(time);
            }
            Arg::Long("calm") => calm = true,
            Arg::Long("loads") => {
                let names = parser.optional_value();
                let names = names
                    .into_iter()
                    .chain(parser.values().into_iter().flatten());
                let names: Result<Vec<_>, _> = names.map(ValueExt::string).collect();
                measured = Some(names?);
            }
            Arg::Long("runs") => runs = at_least_one::<u16>(&mut parser, "runs")?.into(),
            // For the processes that this one starts.
            Arg::Long("load") => load = named(&parser.value()?.string()?)?,
            Arg::Long("judge") => is_judge = true,
            Arg::Long("worker") => {
                place = Some(Place {
                    index: parser.value()?.parse()?,
                    begin: parser.value()?.parse()?,
                    api: parser.value()?.string()?,
                    store: parser.value()?.string()?,
                });
            }
            Arg::Long("help") => return Ok(Role::Help),
            other => return Err(other.unexpected()),
        }
    }
    if is_judge {
        return Ok(Role::Judge(load));
    }
    if let Some(place) = place {
        return Ok(Role::Worker(load, place));
    }
    let mut loads = match measured.as_deref() {
        None => return Ok(Role::Show { load, calm }),
        Some([name]) if name == "help" => return Ok(Role::ListLoads),
        Some([]) => loads::all(),
        Some(names) => {
            let loads: Result<_, _> = names.iter().map(|name| named(name)).collect();
            loads?
        }
    };
    for load in &mut loads {
        load.time = seconds.unwrap_or(load.time);
        load.reservation = reservation.unwrap_or(load.reservation);
    }
    Ok(Role::Measure { loads, runs })
}

fn named(name: &str) -> Result<Load, lexopt::Error> {
    let mut all = loads::all().into_iter().chain([loads::demo()]);
    let load = all.find(|load| load.name == name);
    load.ok_or_else(|| format!("no load `{name}`: --loads help lists them").into())
}

fn leaf(load: &mut Load) -> &mut Leaf {
    &mut load.leaves[0]
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

/// The arguments with which another process has the same load.
pub(crate) fn arguments(load: &Load) -> Vec<String> {
    let mut arguments = vec!["--load".to_owned(), load.name.to_owned()];
    let mut say = |name: &str, value: u128| {
        arguments.extend([format!("--{name}"), value.to_string()]);
    };
    // Only of the demonstration these.
    if load.name == loads::demo().name {
        let Leaf {
            rate, concurrency, ..
        } = load.leaves[0];
        if let Some(rate) = rate {
            say("rate", rate.n.into());
        }
        if let Some(n) = concurrency {
            say("concurrency", n as u128);
        }
        if let Demand::Backlog(n) = load.demand {
            say("backlog", n as u128);
        }
        say("work", load.work.start.as_millis());
    }
    // Of all loads the command line can change these.
    say("seconds", load.time.as_secs().into());
    say("reservation", load.reservation.as_millis());
    arguments
}

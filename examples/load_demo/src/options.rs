//! The command line.

use std::{ffi::OsString, fmt::Display, str::FromStr};

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
How rate limits shape throughput and latency: a load test of a mock ElevenLabs.

Usage: load_demo [OPTIONS]

  --seed N      the seed of the mock's working times [default: 0]
  --users N,N   how many users call at once, a row of the table for each [default: 2,5]
  --runs N      how often part two (real time, about 5 s) is run [default: 1]
  --skip-real   leaves part two out
  -h, --help    prints this

Exit code: 0 if the API accepted and refused what it should, 1 if not, 2 for bad arguments.
";

/// More would be no demonstration any more, but minutes of computing.
const MOST_USERS: usize = 10_000;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run(Options),
    Help,
}

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) users: Vec<usize>,
    /// How often part two is run; 0 leaves it out.
    pub(crate) runs: usize,
}

impl Options {
    pub(crate) fn parse<I>(args: I) -> Result<Command, lexopt::Error>
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        let mut options = Self {
            seed: 0,
            users: Vec::new(),
            runs: 1,
        };
        let mut skip_real = false;
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("seed") => options.seed = number("--seed", &parser.value()?.string()?)?,
                Arg::Long("users") => {
                    for users in parser.value()?.string()?.split(',') {
                        options.users.push(positive("--users", users)?);
                    }
                }
                Arg::Long("runs") => options.runs = positive("--runs", &parser.value()?.string()?)?,
                Arg::Long("skip-real") => skip_real = true,
                Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
                _ => return Err(arg.unexpected()),
            }
        }
        if let Some(users) = options.users.iter().find(|users| **users > MOST_USERS) {
            return Err(format!("--users: {users} is more than {MOST_USERS}").into());
        }
        if options.users.is_empty() {
            options.users = vec![2, 5];
        }
        if skip_real {
            options.runs = 0;
        }
        Ok(Command::Run(options))
    }
}

fn number<N: FromStr<Err: Display>>(option: &str, text: &str) -> Result<N, lexopt::Error> {
    text.trim()
        .parse()
        .map_err(|error| format!("{option}: expected a whole number, not {text:?}: {error}").into())
}

fn positive(option: &str, text: &str) -> Result<usize, lexopt::Error> {
    match number(option, text)? {
        0 => Err(format!("{option}: expected at least 1, not 0").into()),
        n => Ok(n),
    }
}

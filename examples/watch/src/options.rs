//! The command line.

use std::{ffi::OsString, time::Duration};

use http::Uri;
use lexopt::{Arg, Parser, ValueExt};

use crate::{attach, demo::SHORTEST};

/// What `--help` prints.
pub const HELP: &str = "\
Shows in a terminal what a layer of tower-throttle is doing.

Usage: watch URL
       watch --demo [--seconds N]

  URL            a gateway, such as http://127.0.0.1:8080: reads its /__gateway__/status twice a second
  --demo         a client under load and a mock API, in this process
  --seconds N    how long the demo runs, at least 5 [default: 30]
  -h, --help     prints this

Keys: q quits, p pauses the view, arrows and PgUp, PgDn, Home, End select a bucket.

Without a terminal on standard output it prints one screen as text: of the gateway as it is, or the last of the demo,
which takes no time then.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// To watch a gateway, whose status page is there.
    Attach(Uri),
    /// To run the demo for so long.
    Demo(Duration),
    /// To print [`HELP`].
    Help,
}

impl Command {
    /// Reads arguments, without the name of the program.
    ///
    /// # Errors
    ///
    /// If they make no sense.
    pub fn parse<I>(args: I) -> Result<Self, lexopt::Error>
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        let (mut url, mut is_demo, mut seconds) = (None, false, None);
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("demo") => is_demo = true,
                Arg::Long("seconds") => seconds = Some(seconds_of(&parser.value()?.string()?)?),
                Arg::Short('h') | Arg::Long("help") => return Ok(Self::Help),
                Arg::Value(value) if url.is_none() => url = Some(value.string()?),
                _ => return Err(arg.unexpected()),
            }
        }
        match (url, is_demo, seconds) {
            (None, true, seconds) => Ok(Self::Demo(Duration::from_secs(seconds.unwrap_or(30)))),
            (Some(url), false, None) => Ok(Self::Attach(attach::address(&url)?)),
            (Some(_), false, Some(_)) => Err("--seconds is for --demo".into()),
            (Some(_), true, _) => Err("expected a URL or --demo, not both".into()),
            (None, false, _) => Err("expected a URL or --demo".into()),
        }
    }
}

fn seconds_of(text: &str) -> Result<u64, lexopt::Error> {
    // A day of a demo is enough.
    let seconds = text.trim().parse().ok();
    let seconds = seconds.filter(|n| (SHORTEST..=86_400).contains(n));
    seconds.ok_or_else(|| {
        format!("--seconds: expected a whole number from {SHORTEST} to 86400, not {text:?}").into()
    })
}

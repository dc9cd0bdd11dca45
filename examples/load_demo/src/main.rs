//! How rate limits shape throughput and latency: a small load test of a mock ElevenLabs.
//!
//! ```text
//! cargo run --example load_demo
//! cargo run --example load_demo -- --help
//! ```
//!
//! Part one runs in virtual time: minutes of waiting pass in milliseconds, and every instant is exact.
//! Part two runs in real time, over a real socket. In both, the API refuses what is above its limits
//! and keeps score; if it had to refuse a call that should have been held back, the exit code is 1.
//!
//! Everything is set by arguments. No environment variable, proxy or file of the machine counts.

mod options;
mod real_time;
mod row;
mod table;
#[cfg(test)]
mod tests;
mod virtual_time;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use options::{Command, Options};
use row::Row;
use tower_throttle::BoxError;

/// Why the times are what they are.
const WHY: &str = "\
Why: a voice is cloned only when the one before is done (1 at once), so n users wait n times 0.8 to
10.2 s, while TTS calls overlap (4 at once, 5 started per second), so that a few users hardly wait at
all. Nobody can be faster without being refused: 10 segments of 12 s, 3 at a time, take 4 rounds, and
20 calls at 5 per second start in 4 bursts, each a window and its margin after the one before.";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("load_demo: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(&options, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("load_demo: the API did not answer as it should have: see above");
            ExitCode::FAILURE
        }
        // Whoever reads no further (`| head`) has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load_demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints both parts. Whether everything was accepted and refused as it should be.
fn run(options: &Options, out: &mut impl Write) -> Result<bool, BoxError> {
    let seed = options.seed;
    let mut rows = Vec::new();

    let (users, segments) = virtual_time::run(seed, &options.users)?;
    writeln!(out, "Part 1, in virtual time (seed {seed})\n")?;
    writeln!(
        out,
        "Users who call at the same moment, through ThrottleLayer with the API's own limits:"
    )?;
    writeln!(out, "{}\n", table::of(&users))?;
    writeln!(
        out,
        "Ten segments of 12 s each, where the API allows 4 at once at any rate:"
    )?;
    writeln!(out, "{}\n", table::of(&segments))?;
    rows.extend(users.into_iter().chain(segments));

    if options.runs > 0 {
        writeln!(out, "Part 2, in real time, over a socket on 127.0.0.1\n")?;
        writeln!(
            out,
            "{} TTS calls made at the same moment, through ThrottleLayer with a margin of {} ms:",
            real_time::CALLS,
            real_time::MARGIN.as_millis()
        )?;
        let runs = real_time::run(seed, options.runs)?;
        writeln!(out, "{}", table::of(&runs))?;
        if let Some(closest) = real_time::closest(&runs) {
            writeln!(
                out,
                "  Any {} arrivals in a row took at least {:.3} s; less than 1 s would have been a 429.\n",
                real_time::PER_SECOND + 1,
                closest.as_secs_f64()
            )?;
        }
        rows.extend(runs);
    }

    writeln!(out, "{WHY}")?;
    Ok(rows.iter().all(Row::is_as_expected))
}

fn is_broken_pipe(error: &BoxError) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

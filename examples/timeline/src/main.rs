//! `timeline FILE.svg` draws what became of each request of a run against a mock API. With `--check`, it fails if the
//! picture that is there is another one.

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use lexopt::Arg::{Long, Short, Value};
use timeline::story;

const USAGE: &str = "usage: timeline [--check] FILE.svg";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("timeline: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut check, mut file) = (false, None::<PathBuf>);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("check") => check = true,
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(path) if file.is_none() => file = Some(path.into()),
            _ => return Err(format!("{}\n{USAGE}", arg.unexpected()).into()),
        }
    }
    let file = file.ok_or_else(|| format!("no file is named\n{USAGE}"))?;
    let svg = draw()?;
    let name = file.display();
    let told = |error| format!("{name}: {error}");
    if !check {
        fs::write(&file, svg).map_err(told)?;
    } else if fs::read_to_string(&file).map_err(told)? == svg {
        println!("{name} is as the run is");
    } else {
        return Err(format!(
            "{name} is not what the run looks like: draw it afresh without --check"
        )
        .into());
    }
    Ok(())
}

/// Minutes of waiting take milliseconds under a paused clock, and every instant is exact.
fn draw() -> Result<String, Box<dyn Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async { Ok(story::run().await?.svg(&story::heading())) })
}

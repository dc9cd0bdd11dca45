//! `picture FIGURES LIMITS ORDER` draws what the compliance bench measured: who keeps to the limits, and who goes first.
//! With `--check`, it fails if a picture that is there is another one.

mod canvas;
mod layout;
mod limits;
mod order;
mod style;
mod timeline;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use lexopt::Arg::{Long, Value};

const USAGE: &str = "usage: picture [--check] FIGURES.json LIMITS.svg ORDER.svg";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut check, mut files) = (false, Vec::<PathBuf>::new());
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("check") => check = true,
            Value(file) => files.push(file.into()),
            _ => return Err(format!("{}\n{USAGE}", arg.unexpected()).into()),
        }
    }
    let [figures, limits, order] = files.try_into().map_err(|_| USAGE)?;
    let figures = serde_json::from_str(&read(&figures)?)?;
    for (file, svg) in [
        (limits, limits::svg(&figures)?),
        (order, order::svg(&figures)?),
    ] {
        let name = file.display();
        if !check {
            fs::write(&file, svg).map_err(|error| format!("{name}: {error}"))?;
        } else if read(&file)? == svg {
            println!("{name} is as the figures are");
        } else {
            return Err(format!("{name} is not what these figures look like").into());
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

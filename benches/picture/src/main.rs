//! `picture FIGURES PICTURE` draws what the compliance bench measured; with `--check`, it fails if the
//! picture that is there is another one.

mod canvas;
mod layout;
mod limits;
mod style;
mod timeline;

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use lexopt::Arg::{Long, Value};

const USAGE: &str = "usage: picture [--check] FIGURES.json PICTURE.svg";

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
    let [figures, picture] = files.try_into().map_err(|_| USAGE)?;
    let read = |file: &PathBuf| {
        fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
    };
    let svg = limits::svg(&serde_json::from_str(&read(&figures)?)?)?;
    let name = picture.display();
    if !check {
        return fs::write(&picture, svg).map_err(|error| format!("{name}: {error}").into());
    }
    if read(&picture)? != svg {
        return Err(format!("{name} is not what these figures look like").into());
    }
    println!("{name} is as the figures are");
    Ok(())
}

//! Who keeps to the limits, who wastes them, and what it costs the server to find out: ours beside the
//! peers, in virtual time. `README.md` of this package says how each table comes about.
//!
//! ```text
//! cargo bench -p peers --bench compliance
//! cargo bench -p peers --bench compliance -- --json
//! cargo bench -p peers --bench compliance -- --check benches/peers/results/compliance.json
//! ```

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use lexopt::Arg::Long;
use peers::compliance::{self, figures::Figures, json, readme, tables};

const USAGE: &str = "\
usage: cargo bench -p peers --bench compliance [-- OPTION...]
  (none)         print the tables
  --json         print the same figures as JSON
  --write FILE   write them into this file
  --check FILE   list what is different from this file; fail if anything is, or misses its target.
                 What needs real time is left out.
  --readme FILE  with --write: put the headline figures between the marks of this file.
                 With --check: fail if it has other figures there than the committed ones.
Paths start at the root of the repository.";

#[derive(Default)]
struct Options {
    json: bool,
    write: Option<PathBuf>,
    check: Option<PathBuf>,
    readme: Option<PathBuf>,
}

fn main() -> ExitCode {
    match parse().and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Options, Box<dyn Error>> {
    // Benches are run in the directory of their package.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut options = Options::default();
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            // What cargo adds.
            Long("bench") => {}
            Long("json") => options.json = true,
            Long("write") => options.write = Some(root.join(args.value()?)),
            Long("check") => options.check = Some(root.join(args.value()?)),
            Long("readme") => options.readme = Some(root.join(args.value()?)),
            _ => return Err(format!("{}\n{USAGE}", arg.unexpected()).into()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(file) = &options.check {
        return check(file, options.readme.as_deref());
    }
    let figures = compliance::run(true);
    if let Some(file) = &options.write {
        write(file, &json::to_string(&figures))?;
        if let Some(file) = &options.readme {
            let text = readme::with_section(&read(file)?, &figures)?;
            write(file, &text)?;
        }
    }
    if options.json {
        print!("{}", json::to_string(&figures));
    } else {
        print!("{}", tables::to_string(&figures));
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path, readme: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let committed: Figures = serde_json::from_str(&read(file)?)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let fresh = compliance::run(false);
    let mut complaints = json::differences(&committed, &fresh);
    for target in fresh.targets.iter().filter(|target| !target.met) {
        let (what, ours, at_most) = (&target.what, target.ours, target.at_most);
        complaints.push(format!(
            "{what}: {ours}, and the target is at most {at_most}"
        ));
    }
    if let Some(readme) = readme {
        let text = read(readme)?;
        if readme::with_section(&text, &committed)? != text {
            let name = readme.display();
            complaints.push(format!("{name} has other figures than are committed"));
        }
    }
    if complaints.is_empty() {
        println!("all figures are as committed, and all targets are met");
        return Ok(ExitCode::SUCCESS);
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!(
        "{} differences; `.ci/results` measures and writes down afresh",
        complaints.len()
    );
    Ok(ExitCode::FAILURE)
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

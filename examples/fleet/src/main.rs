//! Several processes share one quota through Redis, and live through what can happen to it.
//!
//! Starts a `redis-server` of its own, an API that judges its clients in a process of its own, and workers with more to
//! do than the quota allows. One worker is killed, the server stands still for three seconds, and forgets everything.
//! Then it shows what was used of the quota, what the judge refused, and whether anybody was overtaken.
//!
//! Run it with `cargo run -p fleet`; `--help` names the options. With `--loads` it measures what a fleet makes of the
//! loads in `loads.rs`, and prints a row for each.

mod figures;
mod fleet;
mod judge;
mod loads;
mod measure;
mod options;
mod redis;
mod run;
mod stamp;
mod worker;

use std::process::ExitCode;

use options::Role;

fn main() -> ExitCode {
    let role = match options::parse() {
        Ok(role) => role,
        Err(error) => {
            eprintln!("{error}\n\n{}", options::HELP);
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let done = runtime.block_on(async {
        match role {
            Role::Help => {
                println!("{}", options::HELP);
                Ok(())
            }
            Role::Judge(load) => judge::run(load).await,
            Role::ListLoads => {
                for load in loads::all() {
                    println!("{}", load.name);
                }
                Ok(())
            }
            Role::Worker(load, place) => worker::run(load, place).await,
            Role::Show { load, calm } => run::show(load, calm).await,
            Role::Measure { loads, runs } => measure::run(loads, runs).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

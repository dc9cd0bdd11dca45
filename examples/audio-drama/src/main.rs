//! The command line of the audio-drama service.

use std::{
    env,
    io::{self, IsTerminal as _},
    path::Path,
    process::ExitCode,
};

use audio_drama::{
    config::{Command, Config, HELP, Variables},
    demo,
    mocks::Mocks,
    server::Server,
};
use tower_throttle::BoxError;
use tracing::level_filters::LevelFilter;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode, BoxError> {
    let variables = Variables::of_process().and_file(Path::new(".env"))?;
    let command = Command::read(env::args_os().skip(1), &variables)?;
    log_to_stderr()?;
    match command {
        Command::Help => print!("{HELP}"),
        Command::Serve(config) => serve(*config).await?,
        Command::Demo(setting) => {
            if !demo::run(setting).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<(), BoxError> {
    let server = Server::start(config, Mocks::default()).await?;
    for address in server.addresses() {
        println!("listening on http://{address}");
    }
    let stop = async {
        interrupted().await;
        tracing::info!(
            "no new requests from now on; scripts that are running are finished (again: ends at once)"
        );
    };
    tokio::select! {
        result = server.run(stop) => result?,
        () = async { interrupted().await; interrupted().await } => {
            tracing::warn!("ended at once");
        }
    }
    Ok(())
}

/// Ctrl-C, or what a supervisor sends.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
        tokio::select! {
            result = tokio::signal::ctrl_c() => result.expect("signals can be listened to"),
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c()
        .await
        .expect("signals can be listened to");
}

fn log_to_stderr() -> Result<(), BoxError> {
    let level = match env::var("RUST_LOG") {
        Ok(level) => level.parse().map_err(|_| {
            format!("RUST_LOG is {level:?}: expected error, warn, info, debug or trace")
        })?,
        Err(_) => LevelFilter::INFO,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

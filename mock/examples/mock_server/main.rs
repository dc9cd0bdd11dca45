//! A mock ElevenLabs to point any client at, in any language.
//!
//! ```text
//! cargo run -p tower-throttle-mock --example mock_server -- --plan free
//! cargo run -p tower-throttle-mock --example mock_server -- --help
//! ```
//!
//! It prints its address as a line on standard output, `http://127.0.0.1:PORT`, and runs until it is
//! interrupted; then it prints the score card on standard error. While it runs, tests read the score, schedule
//! faults and change limits over HTTP: see the documentation of `tower_throttle_mock::elevenlabs`.
//!
//! Everything is set by arguments. No environment variable, proxy or file of the machine counts.

mod options;
mod values;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use mock::elevenlabs::MockElevenLabs;
use options::{Command, Options};
use tokio::net::TcpListener;
use tower_throttle_mock as mock;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("mock_server: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(*options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mock_server: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: Options) -> io::Result<()> {
    let address = options.address;
    // Before anybody knows the address: whoever does may interrupt at once.
    let interrupted = Interrupted::watch()?;
    let listener = mock::bind_to(address).map_err(|error| {
        let message = format!("cannot listen on {address}: {error}");
        io::Error::new(error.kind(), message)
    })?;
    announce(&listener)?;
    let api = options.mock.build();
    let served = tokio::select! {
        served = serve(&api, listener) => served,
        () = interrupted.wait() => Ok(()),
    };
    eprintln!("{}", api.report());
    served
}

fn announce(listener: &TcpListener) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "http://{}", listener.local_addr()?)?;
    // Whoever waits for the line reads from a pipe, which is not flushed by itself.
    out.flush()
}

async fn serve(api: &MockElevenLabs, listener: TcpListener) -> io::Result<()> {
    api.clone().serve(listener).await
}

/// Ctrl-C, and where there is one, the signal that asks to end.
struct Interrupted {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Interrupted {
    fn watch() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn wait(mut self) {
        let interrupt = async {
            if tokio::signal::ctrl_c().await.is_err() {
                // It cannot be watched, so that it ends the program by itself.
                std::future::pending::<()>().await;
            }
        };
        #[cfg(unix)]
        tokio::select! {
            () = interrupt => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        interrupt.await;
    }
}

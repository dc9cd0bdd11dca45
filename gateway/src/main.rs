//! A gateway that keeps every program on a machine within the limits of one API account.
//!
//! ```text
//! cargo run -p tower-throttle-gateway -- --upstream https://api.elevenlabs.io --elevenlabs free --port 8080
//! cargo run -p tower-throttle-gateway -- --help
//! ```
//!
//! Programs in any language use its address instead of the API's: most SDKs take a base URL. It passes on
//! what it gets, in both directions, as it comes; what would exceed a limit waits for its turn, and what the
//! API refuses all the same is sent again. Who goes away gives up its place, in the queue as in the API.
//!
//! 1. Bounds on waiting are answered with 429 and the reason as JSON, and with a `Retry-After` wherever
//!    windows and pauses tell when there will be room.
//! 2. Failures of the upstream are answered with 502, and with 504 if it takes too long.
//! 3. Headers that are about one connection are not passed on, `Via` is added, and a `Location` at the upstream
//!    becomes one at the gateway. Path, query and everything else stay as they are.
//! 4. A websocket becomes a tunnel. It counts in the windows, and in the concurrency until it is open.
//! 5. After an interrupt it takes on no more requests, and ends when those that it has are done, or when
//!    `--grace` is over: then who waits is answered with 503.
//! 6. A file can say what the command line does, and its limits are read again when it changes.
//! 7. With a store, several gateways have one quota together, or one keeps its windows over restarts.
//!
//! `docs/gateway.md` is the guide.
//!
//! A request whose body is longer than `--keep`, or does not say how long it is, is sent once. While such a
//! request of HTTP/1.1 waits for its turn nobody reads from its connection: if its caller goes away, that is
//! noticed when its turn has come.
//!
//! https needs no C compiler, and for that a processor with certain instructions, which is checked. For
//! another implementation of TLS, change the connector.

mod answers;
mod caller;
mod command_line;
mod connector;
mod costs;
mod download;
mod gateway;
mod head;
mod limits;
mod meters;
mod options;
mod own;
mod reload;
mod server;
mod settings;
mod status;
mod store;
mod terms;
mod tunnel;
mod upload;
mod upstream;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use gateway::Gateway;
use options::{Command, Options};
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use tower_throttle::BoxError;

/// For how long the end waits for the store to hear of it.
const LEAVING: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => *options,
        Ok(Command::Help) => {
            // A reader that has closed the pipe (`| head`) has seen enough.
            let _ = io::stdout().write_all(options::HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("gateway: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    let result = Runtime::new().map_err(BoxError::from).and_then(|runtime| {
        let result = runtime.block_on(run(options));
        // A look-up of a name may still be under way, which nobody waits for any more.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::from(2)
        }
    }
}

/// Serves until it is interrupted. The errors are those of beginning.
async fn run(options: Options) -> Result<(), BoxError> {
    // Before the address is printed, so that a program that has read it can interrupt.
    let mut interrupts = Interrupts::new()?;
    // Without a file, the end of a terminal ends the gateway, as it ends other programs.
    let mut reloads = options.file().map(|_| Reloads::new()).transpose()?;
    let (listen, grace) = (options.listen, options.grace);
    let store = match &options.sharing {
        Some(sharing) => Some(sharing.open().await?),
        None => None,
    };
    let gateway = Gateway::new(options, store.as_ref())?;
    let listener = server::bind(listen)
        .map_err(|error| format!("--host, --port: cannot listen on {listen}: {error}"))?;
    announce(&listener, &gateway)?;

    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let interrupted = async {
        interrupts.next().await;
        eprintln!(
            "gateway: interrupted: ends when its requests have, or in {grace:?}, or when interrupted again"
        );
        drop(stop);
        interrupts.next().await;
    };
    tokio::select! {
        () = server::serve(listener, gateway.clone(), stopped, grace) => {}
        () = interrupted => {}
        () = reload::follow(gateway, async || Reloads::next(&mut reloads).await) => {}
    }
    if let Some(store) = store {
        // What a server that does not answer is not told lapses with its lease.
        let _ = tokio::time::timeout(LEAVING, store.leave()).await;
    }
    Ok(())
}

/// One line for programs on the standard output, and the limits for people beside it.
fn announce(listener: &TcpListener, gateway: &Gateway) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "http://{}", listener.local_addr()?)?;
    out.flush()?;
    for bucket in gateway.handle().snapshot().buckets() {
        eprintln!("gateway: {}: {:?}", bucket.name(), bucket.quota());
    }
    Ok(())
}

/// Ctrl-C, and what service managers send.
struct Interrupts {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Interrupts {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        // Without the signal, only the process's end ends it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What asks for the file to be read again.
struct Reloads {
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
}

impl Reloads {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    #[cfg(unix)]
    async fn next(this: &mut Option<Self>) {
        match this {
            Some(this) => drop(this.hang_up.recv().await),
            None => std::future::pending().await,
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(_: &mut Option<Self>) {
        std::future::pending::<()>().await;
    }
}

//! Connections from callers.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};

use http::{Request, Response};
use http_body_util::Either;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    answers,
    gateway::{Download, Gateway},
};

/// How many connections may wait to be accepted. A burst beyond the usual 128 would come back a second
/// later.
const BACKLOG: u32 = 4096;

/// How many requests a caller may have on one connection of HTTP/2. What is above waits in the caller,
/// and so neither in order nor within the bounds of our queue.
const STREAMS: u32 = 10_000;

/// How long a connection of HTTP/1.1 is kept while nothing is asked on it: longer than clients usually
/// do, since what we close may just have been taken for a request.
const IDLE: Duration = Duration::from_secs(300);

/// How often a connection of HTTP/2 on which nothing moves is asked whether anybody is there.
const PING: Duration = Duration::from_secs(20);

/// When no connection can be accepted, because there are no descriptors left, others have to end first.
const RESPITE: Duration = Duration::from_millis(100);

/// How long it may take to tell those who have no answer yet that there will be none.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// No more are taken on. Those that are here wait for their turn, and run, as before.
    Closing,
    /// Whoever has no answer yet gets none.
    Closed,
}

/// Listens.
///
/// # Errors
///
/// If the address is not ours, or taken.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A fixed port can be taken again although connections of the last run linger on it.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves HTTP/1.1 and HTTP/2 (prior knowledge) until `stop`. Then no more requests are taken on, and those
/// that are here have `grace` to end.
pub(crate) async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_concurrent_streams(STREAMS);
    let phase = watch::Sender::new(Phase::Open);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
            // So that those that have ended do not pile up.
            Some(_) = connections.join_next() => continue,
        };
        let (stream, caller) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_about_one_connection(&error) => continue,
            Err(error) => {
                eprintln!("gateway: cannot accept a connection: {error}");
                sleep(RESPITE).await;
                continue;
            }
        };
        // Without it, the end of a chunk can wait 40 ms for an acknowledgement of its beginning.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let (gateway, phase) = (gateway.clone(), phase.subscribe());
        let service = service_fn(move |request| {
            let answer = answer(gateway.clone(), request, caller, phase.clone());
            async { Ok::<_, Infallible>(answer.await) }
        });
        // A connection fails when its caller goes away, which callers may do.
        let connection = server
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        connections.spawn(graceful.watch(connection));
    }

    drop(listener);
    phase.send_replace(Phase::Closing);
    let mut ended = pin!(async {
        graceful.shutdown().await;
        gateway.tunnels().closed().await;
    });
    if timeout(grace, &mut ended).await.is_err() {
        phase.send_replace(Phase::Closed);
        gateway.tunnels().cut();
        // What is still on its way after that is cut off.
        let _ = timeout(LAST_WORDS, ended).await;
    }
}

async fn answer(
    gateway: Gateway,
    request: Request<Incoming>,
    caller: SocketAddr,
    mut phase: watch::Receiver<Phase>,
) -> Response<Download> {
    let method = request.method().clone();
    let is_open = *phase.borrow() == Phase::Open;
    if is_open {
        tokio::select! {
            biased;
            answer = gateway.answer(request, caller) => return answer,
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
        }
    }
    answers::to(&method, answers::shutting_down()).map(Either::Left)
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

//! Connections from callers.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response, Version};
use http_body_util::Either;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulConnection, GracefulShutdown},
    },
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tower_throttle::BoxError;

use super::{
    answers,
    caller::{Caller, Patient},
    gateway::{Gateway, Phase, Reply},
};

/// How many connections may wait to be accepted. A burst beyond the usual 128 would come back a second
/// later.
const BACKLOG: u32 = 4096;

/// How many requests a caller may have on one connection of HTTP/2. What is above waits in the caller,
/// and so neither in order nor within the bounds of our queue.
const STREAMS: u32 = 10_000;

/// How long the head of a request may be; what is longer is answered with 431. Far above what any API takes.
const HEAD: usize = 64 * 1024;

/// How many headers a request may have.
const HEADERS: usize = 100;

/// How often a connection of HTTP/2 on which nothing moves is asked whether anybody is there.
const PING: Duration = Duration::from_secs(20);

/// When no connection can be accepted, because there are no descriptors left, others have to end first.
const RESPITE: Duration = Duration::from_millis(100);

/// How often what histograms were given is added up, if nobody asks for the metrics.
const TIDY: Duration = Duration::from_secs(5);

/// How long it may take to refuse the requests that have no answer yet.
const LAST_WORDS: Duration = Duration::from_secs(1);

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

/// Serves HTTP/1.1 and HTTP/2 (prior knowledge) until `stop`. Then no more requests are taken on, and those that are
/// here have `grace` to end. Meanwhile who connects anew is told so, and may ask for the gateway's own pages.
pub(crate) async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let server = server();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    let mut tidy = interval(TIDY);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = tidy.tick() => gateway.meters().tidy(),
            stream = accept(&listener) => if let Some((stream, caller)) = stream {
                let connection = connection(&server, &gateway, stream, caller);
                connections.spawn(graceful.watch(connection));
            },
            // So that those that have ended do not pile up.
            Some(_) = connections.join_next() => {}
        }
    }

    gateway.phase().send_replace(Phase::Closing);
    let mut latecomers = JoinSet::new();
    let mut ended = pin!(async {
        graceful.shutdown().await;
        gateway.tunnels().closed().await;
    });
    let mut grace = pin!(sleep(grace));
    loop {
        tokio::select! {
            () = &mut ended => return,
            () = &mut grace => break,
            stream = accept(&listener) => if let Some((stream, caller)) = stream {
                latecomers.spawn(connection(&server, &gateway, stream, caller));
            },
            Some(_) = latecomers.join_next() => {}
        }
    }
    drop(listener);
    tell_who_is_cut(&gateway);
    // Who waits is refused, and what comes back from the upstream is not sent again.
    gateway.handle().close();
    gateway.phase().send_replace(Phase::Closed);
    gateway.tunnels().cut();
    // What is still on its way after that is cut off.
    let _ = timeout(LAST_WORDS, ended).await;
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        // The connection sees to that: see `Patient`.
        .header_read_timeout(None)
        .max_buf_size(HEAD)
        .max_headers(HEADERS);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX));
    server
}

/// The next caller. `None` if there was one that has gone again, or that cannot be served.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let (stream, caller) = match listener.accept().await {
        Ok(accepted) => accepted,
        Err(error) if is_about_one_connection(&error) => return None,
        Err(error) => {
            eprintln!("gateway: cannot accept a connection: {error}");
            sleep(RESPITE).await;
            return None;
        }
    };
    // Without it, the end of a chunk can wait 40 ms for an acknowledgement of its beginning.
    stream.set_nodelay(true).ok()?;
    Some((stream, caller))
}

fn connection(
    server: &auto::Builder<TokioExecutor>,
    gateway: &Gateway,
    stream: TcpStream,
    caller: SocketAddr,
) -> impl GracefulConnection<Error = BoxError> + Send + 'static {
    let caller = Caller::new(caller);
    let patience = gateway.options().patience;
    let stream = Patient::new(stream, &caller, patience, gateway.meters());
    let (gateway, connected) = (gateway.clone(), gateway.connected());
    let service = service_fn(move |request| {
        // Counted for as long as the connection has this closure.
        let _ = &connected;
        let answer = answer(gateway.clone(), request, Arc::clone(&caller));
        async { Ok::<_, Infallible>(answer.await) }
    });
    // A connection fails when its caller goes away, which callers may do.
    server
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned()
}

async fn answer(
    gateway: Gateway,
    request: Request<Incoming>,
    caller: Arc<Caller>,
) -> Response<Reply> {
    let method = request.method().clone();
    let running = caller.begin(gateway.begun());
    if request.version() == Version::HTTP_2 {
        caller.free();
    }
    let mut phase = gateway.phase().subscribe();
    tokio::select! {
        biased;
        answer = gateway.answer(request, &caller, running) => answer,
        _ = phase.wait_for(|phase| *phase == Phase::Closed) => {
            answers::to(&method, answers::shutting_down()).map(Either::Left)
        }
    }
}

/// For people: what the end of the grace period takes away.
fn tell_who_is_cut(gateway: &Gateway) {
    let requests = gateway.requests();
    let tunnels = gateway.tunnels().count();
    eprintln!("gateway: the time is over for {requests} requests and {tunnels} tunnels");
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

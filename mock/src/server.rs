//! The judge on a socket: HTTP/1.1, and HTTP/2 with prior knowledge.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};
use tower_service::Service;

use super::{body::is_reset, state::Judge};

/// How many connections may wait to be accepted. A burst beyond the usual 128 would lose its SYNs, and
/// come back a second later: an error in any measurement.
const BACKLOG: u32 = 4_096;

/// A client cannot know of a `Retry-After` while that is on its way, nor call back what it has sent
/// meanwhile. Loopback takes well under a millisecond; the rest is for busy machines.
const NOTICE: Duration = Duration::from_millis(50);

/// How long before a reset, or an end that comes too soon, what is ahead of it is sent. Until then it waits
/// in buffers that are thrown away with the connection, or the stream; this is far longer than the tasks
/// need that send what is in them.
const SETTLE: Duration = Duration::from_millis(50);

/// Listens on a free port of 127.0.0.1, with a backlog that takes a burst of 4 096 connections.
///
/// # Errors
///
/// If the system has no port or no descriptor left.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn bind() -> io::Result<TcpListener> {
    bind_to(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Listens on this address, with a backlog that takes a burst of 4 096 connections.
///
/// # Errors
///
/// If the address is in use or not ours, or if the system has no descriptor left.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
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

impl Judge {
    /// Serves HTTP/1.1 and HTTP/2 (prior knowledge) on any listener of tokio's: see [`bind`].
    ///
    /// Runs until it is dropped, or its task aborted; that ends its connections too. A client that
    /// goes away gives back what it had in flight. Over a socket, a request can have been on its way when
    /// a `Retry-After` was handed out: see [`JudgeBuilder::notice`](super::JudgeBuilder::notice).
    ///
    /// # Errors
    ///
    /// If no further connection can be accepted. A connection that fails by itself is not an error.
    pub async fn serve(mut self, listener: TcpListener) -> io::Result<()> {
        self.notice = self.shared.settings.notice.unwrap_or(NOTICE);
        self.settle = SETTLE;
        // Nothing is ever sent: the tasks see it being dropped, with this future.
        let (_running, stopped) = watch::channel(());
        let tasks = Tasks(stopped);
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_about_one_connection(&error) => continue,
                Err(error) => return Err(error),
            };
            // Answers are small: with Nagle's algorithm each would wait for an acknowledgement.
            if stream.set_nodelay(true).is_ok() {
                let connection = serve_connection(self.clone(), stream, tasks.clone());
                tasks.execute(connection);
            }
        }
    }
}

async fn serve_connection(judge: Judge, stream: TcpStream, tasks: Tasks) {
    let mut server = auto::Builder::new(tasks);
    // hyper protects its servers from greedy clients. Here that would hide what a greedy client does.
    server
        .http2()
        .max_concurrent_streams(None)
        .max_pending_accept_reset_streams(None)
        .max_local_error_reset_streams(None);
    let service = service_fn(move |request: Request<Incoming>| judge.clone().call(request));
    let resets = Arc::new(AtomicBool::new(false));
    let wire = Wire {
        stream,
        resets: Arc::clone(&resets),
    };
    let mut connection = pin!(server.serve_connection(TokioIo::new(wire), service));
    // A connection fails when its client goes away, which clients may do, and when a fault wants it to.
    if let Err(error) = connection.as_mut().await {
        resets.store(is_reset(&*error), Ordering::Relaxed);
    }
}

/// A stream whose end can be a reset.
struct Wire {
    stream: TcpStream,
    resets: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.resets.load(Ordering::Relaxed) {
            // What is closed without lingering is reset. If the system does not do that, the client sees
            // the connection end in the middle all the same.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Spawns tasks that end when the server does, HTTP/2 streams included.
#[derive(Clone)]
struct Tasks(watch::Receiver<()>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut stopped = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = stopped.changed() => {}
                _ = task => {}
            }
        });
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

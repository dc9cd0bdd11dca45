//! A caller's connection: what is under way on it, and for how long it may keep us waiting.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    meters::{Cut, Meters},
    options::Patience,
};

/// What a connection and its requests know of each other.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    /// Requests that are not answered to the end.
    running: AtomicUsize,
    /// Requests that have ever begun.
    begun: AtomicUsize,
    /// Heads are no longer waited for: it speaks HTTP/2, which has pings for that, or has become a tunnel.
    is_free: AtomicBool,
    /// The connection, to be woken when nothing runs any more: its idle time begins then.
    waits: Mutex<Option<Waker>>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            running: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            is_free: AtomicBool::new(false),
            waits: Mutex::new(None),
        })
    }

    /// A request has come, and runs for as long as what is returned lives. So long there is a clone of `token`.
    pub(crate) fn begin(self: &Arc<Self>, token: Arc<()>) -> Running {
        self.begun.fetch_add(1, SeqCst);
        self.running.fetch_add(1, SeqCst);
        Running {
            caller: Arc::clone(self),
            _token: token,
        }
    }

    /// Whether something runs. If so, the task is woken when nothing does any more.
    fn poll_running(&self, cx: &mut Context<'_>) -> bool {
        if self.running.load(SeqCst) == 0 {
            return false;
        }
        *self.waits() = Some(cx.waker().clone());
        // The last may have ended meanwhile, and have found nobody to wake.
        self.running.load(SeqCst) > 0
    }

    fn waits(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No head is waited for any more.
    pub(crate) fn free(&self) {
        self.is_free.store(true, SeqCst);
    }
}

/// A request of a caller that is not answered to the end.
#[derive(Debug)]
pub(crate) struct Running {
    caller: Arc<Caller>,
    _token: Arc<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.caller.running.fetch_sub(1, SeqCst) == 1 {
            let waker = self.caller.waits().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// A connection that fails when its caller takes too long: with the head of a request, with nothing at all, or to read
/// what it is sent.
///
/// hyper's own time-out for heads begins when the connection has nothing to do, so one that is short enough for heads
/// would close connections that callers keep for their next request.
pub(crate) struct Patient {
    stream: TcpStream,
    caller: Arc<Caller>,
    patience: Patience,
    meters: Arc<Meters>,
    /// The number of the request whose head is waited for.
    begun: usize,
    /// Its first byte has come.
    is_in_head: bool,
    /// Until when there has to be something to read. Set while nothing is under way.
    read: Timer,
    /// Until when something has to have been written. Set while nothing can be.
    written: Timer,
}

impl Patient {
    pub(crate) fn new(
        stream: TcpStream,
        caller: &Arc<Caller>,
        patience: Patience,
        meters: &Arc<Meters>,
    ) -> Self {
        Self {
            stream,
            caller: Arc::clone(caller),
            patience,
            meters: Arc::clone(meters),
            begun: 0,
            is_in_head: false,
            read: Timer::default(),
            written: Timer::default(),
        }
    }

    /// Whether the caller has kept us waiting for too long, with nothing to read.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let begun = self.caller.begun.load(SeqCst);
        if begun != self.begun {
            self.begun = begun;
            self.is_in_head = false;
            self.read.stop();
        }
        if self.caller.is_free.load(SeqCst) || self.caller.poll_running(cx) {
            self.read.stop();
            return Poll::Pending;
        }
        let (patience, cut) = if self.is_in_head {
            (self.patience.header, Cut::Header)
        } else {
            (self.patience.idle, Cut::Idle)
        };
        ready!(self.read.poll(patience, cx));
        self.meters.cut(cut);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    fn poll_unread<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(Pin::new(&mut self.stream), cx);
        if written.is_ready() {
            self.written.stop();
            return written;
        }
        ready!(self.written.poll(self.patience.read, cx));
        self.meters.cut(Cut::Read);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if Pin::new(&mut this.stream).poll_read(cx, buf)?.is_pending() {
            return this.poll_late(cx).map(Err);
        }
        if !this.is_in_head {
            this.is_in_head = true;
            // From now on it is the head's time that counts.
            this.read.stop();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_unread(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_unread(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
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

/// Runs from when it is first asked until it is stopped.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, after: std::time::Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + after)));
        sleep.as_mut().poll(cx)
    }

    fn stop(&mut self) {
        self.0 = None;
    }
}

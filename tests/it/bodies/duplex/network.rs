//! Connections in memory, on which everything can go wrong that does on a network.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    task::AbortHandle,
    time::{Sleep, sleep},
};
use tower::Service;

/// What becomes of one connection.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// How long it takes to open.
    pub opening: u64,
    /// How many bytes are under way at once: fewer than a head, so that everything comes in pieces.
    pub buffer: usize,
    pub client: Vec<Event>,
    pub server: Vec<Event>,
}

/// Happens to a side when it has read or written so many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub writing: bool,
    pub after: usize,
    pub effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing gets through for so many milliseconds.
    Stall(u64),
    /// The connection ends here, and the other side hears of an error.
    Reset,
    /// The connection ends here, and the other side hears of an end.
    Close,
    /// This side reads an end, though the other one has not ended and hears what this one writes.
    DeafSide,
    /// The other side reads an end, though this one goes on; what it writes is lost.
    MuteSide,
    /// Nothing gets through any more, and nobody hears of that.
    BlackHole,
}

/// How long an end of the connection takes to get to the other side: the server that has ended it has
/// cleaned up by then.
const NEWS: Duration = Duration::from_millis(1);

/// One side of a connection.
pub struct Side {
    /// `None` when the connection has ended here.
    stream: Option<DuplexStream>,
    was_reset: Arc<AtomicBool>,
    reading: Way,
    writing: Way,
    /// What is read is the end, and this is how long that takes.
    ending: Option<Pin<Box<Sleep>>>,
    deaf: bool,
    mute: bool,
    black: bool,
}

/// One direction, as one side sees it.
struct Way {
    bytes: usize,
    events: VecDeque<(usize, Effect)>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Way {
    fn new(events: &[Event], writing: bool) -> Self {
        let mut events: Vec<_> = events
            .iter()
            .filter(|event| event.writing == writing)
            .map(|event| (event.after, event.effect))
            .collect();
        events.sort_by_key(|(after, _)| *after);
        Self {
            bytes: 0,
            events: events.into(),
            stall: None,
        }
    }

    /// What happens now, if anything does; and then how many bytes may pass before the next does.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Effect>> {
        loop {
            if let Some(stall) = &mut self.stall {
                ready!(stall.as_mut().poll(cx));
                self.stall = None;
            }
            match self.events.front() {
                None => return Poll::Ready(Ok(usize::MAX)),
                Some((after, _)) if *after > self.bytes => {
                    return Poll::Ready(Ok(after - self.bytes));
                }
                Some(&(_, effect)) => {
                    self.events.pop_front();
                    match effect {
                        Effect::Stall(time) => {
                            self.stall = Some(Box::pin(sleep(Duration::from_millis(time))));
                        }
                        effect => return Poll::Ready(Err(effect)),
                    }
                }
            }
        }
    }
}

/// Both sides of a connection.
pub fn connection(plan: &Plan) -> (Side, Side) {
    let (client, server) = tokio::io::duplex(plan.buffer.max(1));
    let was_reset = Arc::new(AtomicBool::new(false));
    let side = |stream, events: &[Event]| Side {
        stream: Some(stream),
        was_reset: Arc::clone(&was_reset),
        reading: Way::new(events, false),
        writing: Way::new(events, true),
        ending: None,
        deaf: false,
        mute: false,
        black: false,
    };
    (side(client, &plan.client), side(server, &plan.server))
}

impl Side {
    fn suffer(&mut self, effect: Effect) {
        match effect {
            Effect::Stall(_) => unreachable!("the way itself waits"),
            Effect::Reset => {
                self.was_reset.store(true, Ordering::Relaxed);
                self.stream = None;
            }
            Effect::Close => self.stream = None,
            Effect::DeafSide => self.deaf = true,
            Effect::MuteSide => self.mute = true,
            Effect::BlackHole => self.black = true,
        }
    }

    fn broken(&self) -> io::Error {
        let reset = self.was_reset();
        let kind = if reset {
            io::ErrorKind::ConnectionReset
        } else {
            io::ErrorKind::BrokenPipe
        };
        kind.into()
    }

    /// What a read comes to when nothing more can come.
    fn end(&self) -> io::Result<()> {
        let reset = self.was_reset();
        if reset { Err(self.broken()) } else { Ok(()) }
    }

    fn was_reset(&self) -> bool {
        self.was_reset.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Side {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(ending) = &mut this.ending {
            ready!(ending.as_mut().poll(cx));
            return Poll::Ready(this.end());
        }
        let room = loop {
            match ready!(this.reading.next(cx)) {
                Ok(room) => break room,
                Err(effect) => this.suffer(effect),
            }
        };
        if this.black {
            return Poll::Pending;
        }
        let Some(stream) = this.stream.as_mut().filter(|_| !this.deaf) else {
            return Poll::Ready(this.end());
        };
        let mut bytes = [0; 1024];
        let wanted = buffer.remaining().min(room).min(bytes.len());
        let mut part = ReadBuf::new(&mut bytes[..wanted]);
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        buffer.put_slice(part.filled());
        let read = part.filled().len();
        this.reading.bytes += read;
        if read == 0 && wanted > 0 {
            this.ending = Some(Box::pin(sleep(NEWS)));
            return Pin::new(this).poll_read(cx, buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(ending) = &mut this.ending {
            ready!(ending.as_mut().poll(cx));
            return Poll::Ready(Err(this.broken()));
        }
        let room = loop {
            match ready!(this.writing.next(cx)) {
                Ok(room) => break room,
                Err(effect) => {
                    this.suffer(effect);
                    if effect == Effect::MuteSide {
                        if let Some(stream) = &mut this.stream {
                            ready!(Pin::new(stream).poll_shutdown(cx))?;
                        }
                    }
                }
            }
        };
        let data = &data[..data.len().min(room)];
        let written = if this.black || this.mute {
            data.len()
        } else {
            let Some(stream) = &mut this.stream else {
                return Poll::Ready(Err(this.broken()));
            };
            let Ok(written) = ready!(Pin::new(stream).poll_write(cx, data)) else {
                this.ending = Some(Box::pin(sleep(NEWS)));
                return Pin::new(this).poll_write(cx, data);
            };
            written
        };
        this.writing.bytes += written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.stream {
            Some(stream) if !this.black => Pin::new(stream).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Connection for Side {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Serves one connection until that ends or the task is aborted.
pub type Serve = Arc<dyn Fn(Side) -> AbortHandle + Send + Sync>;

/// The way to the server: opens connections, each by its plan, while the server is there.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    plans: Vec<Plan>,
    opened: usize,
    is_up: bool,
    connections: Vec<AbortHandle>,
    serve: Serve,
}

impl Network {
    /// The plans go round.
    pub fn new(plans: Vec<Plan>, serve: Serve) -> Self {
        Self(Arc::new(Mutex::new(State {
            plans,
            opened: 0,
            is_up: true,
            connections: Vec::new(),
            serve,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The server vanishes, and all its connections with it.
    pub fn vanish(&self) {
        let mut state = self.lock();
        state.is_up = false;
        for connection in std::mem::take(&mut state.connections) {
            connection.abort();
        }
    }

    pub fn come_back(&self) {
        self.lock().is_up = true;
    }

    fn connect(&self, plan: &Plan) -> io::Result<Side> {
        let mut state = self.lock();
        if !state.is_up {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, server) = connection(plan);
        let task = (state.serve)(server);
        state.connections.push(task);
        Ok(client)
    }
}

impl Service<Uri> for Network {
    type Response = TokioIo<Side>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Side>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let network = self.clone();
        let plan = {
            let mut state = network.lock();
            let plan = state.plans[state.opened % state.plans.len()].clone();
            state.opened += 1;
            plan
        };
        Box::pin(async move {
            if plan.opening > 0 {
                sleep(Duration::from_millis(plan.opening)).await;
            }
            network.connect(&plan).map(TokioIo::new)
        })
    }
}

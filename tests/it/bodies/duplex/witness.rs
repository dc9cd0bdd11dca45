//! What the two ends of the wire saw, told attempt by attempt.
//!
//! An attempt is one call of the client below the layers. [`Client`] numbers them and notes when each is
//! over for the client; [`Server`] notes which it has at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use tokio::time::Instant;
use tower::{BoxError, Service};
use tower_throttle::mock::{self, Judge};

pub const ID: &str = "x-id";
const ATTEMPT: &str = "x-attempt";

#[derive(Clone)]
pub struct Witness {
    start: Instant,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    /// When each attempt was dispatched.
    dispatched: Vec<Duration>,
    /// The attempts that are not over for the client.
    open: BTreeSet<usize>,
    /// The attempts that the server has at work.
    at_work: BTreeSet<usize>,
    /// How many attempts of each request have reached the server and were not refused.
    arrivals: BTreeMap<usize, usize>,
    /// Before when nothing more may be sent, as the server has said and the client has heard.
    not_before: Duration,
    /// Attempts that were sent before that.
    early: usize,
    /// The most attempts that were open for the client and at work for the server.
    most: usize,
}

impl Witness {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            books: Arc::default(),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub fn dispatched(&self) -> Vec<Duration> {
        self.books().dispatched.clone()
    }

    pub fn arrivals(&self, id: usize) -> usize {
        self.books().arrivals.get(&id).copied().unwrap_or(0)
    }

    pub fn early(&self) -> usize {
        self.books().early
    }

    pub fn most(&self) -> usize {
        self.books().most
    }

    /// How many attempts are open for the client, and at work for the server.
    pub fn left(&self) -> (usize, usize) {
        let books = self.books();
        (books.open.len(), books.at_work.len())
    }
}

/// An attempt that is not over for the client, until this is dropped.
pub struct Open(Witness, usize);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.books().open.remove(&self.1);
    }
}

/// An attempt that the server has at work, until this is dropped.
pub struct AtWork(Witness, usize);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.books().at_work.remove(&self.1);
    }
}

/// A body that lasts as long as it has not ended, failed or been dropped.
pub struct Lasting<B, T> {
    body: B,
    token: Option<T>,
}

impl<B: http_body::Body, T> Lasting<B, T> {
    fn new(body: B, token: T) -> Self {
        let token = Some(token).filter(|_| !body.is_end_stream());
        Self { body, token }
    }
}

impl<B, T> http_body::Body for Lasting<B, T>
where
    B: http_body::Body + Unpin,
    T: Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.token = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

type Pending<B, T> =
    Pin<Box<dyn Future<Output = Result<Response<Lasting<B, T>>, BoxError>> + Send>>;

/// The client's end of the wire.
#[derive(Clone)]
pub struct Client<S> {
    inner: S,
    witness: Witness,
}

impl<S> Client<S> {
    pub fn new(inner: S, witness: Witness) -> Self {
        Self { inner, witness }
    }
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body + Unpin + 'static,
{
    type Response = Response<Lasting<R, Open>>;
    type Error = BoxError;
    type Future = Pending<R, Open>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let attempt = {
            let now = self.witness.start.elapsed();
            let mut books = self.witness.books();
            books.dispatched.push(now);
            books.early += usize::from(now < books.not_before);
            let attempt = books.dispatched.len() - 1;
            books.open.insert(attempt);
            attempt
        };
        let witness = self.witness.clone();
        let open = Open(witness.clone(), attempt);
        let headers = request.headers_mut();
        headers.insert(ATTEMPT, HeaderValue::from(attempt));
        let answer = self.inner.call(request);
        async move {
            let response = answer.await.map_err(Into::into)?;
            if let Some(seconds) = response.headers().get(header::RETRY_AFTER) {
                let seconds = seconds.to_str()?.parse()?;
                let until = witness.start.elapsed() + Duration::from_secs(seconds);
                let mut books = witness.books();
                books.not_before = books.not_before.max(until);
            }
            Ok(response.map(|body| Lasting::new(body, open)))
        }
        .boxed()
    }
}

/// The server's end of the wire.
#[derive(Clone)]
pub struct Server {
    judge: Judge,
    witness: Witness,
}

impl Server {
    pub fn new(judge: Judge, witness: Witness) -> Self {
        Self { judge, witness }
    }

    pub fn serve<B>(
        mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Lasting<mock::Body, AtWork>>, BoxError>> + Send + use<B>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let number = |name| -> usize {
            let value = request.headers()[name].to_str().unwrap();
            value.parse().unwrap()
        };
        let (id, attempt) = (number(ID), number(ATTEMPT));
        {
            let mut books = self.witness.books();
            *books.arrivals.entry(id).or_default() += 1;
            assert!(books.at_work.insert(attempt), "{attempt} arrived twice");
            let open = books.at_work.intersection(&books.open).count();
            books.most = books.most.max(open);
        }
        let witness = self.witness.clone();
        let at_work = AtWork(self.witness, attempt);
        let answer = self.judge.call(request);
        async move {
            let response: Response<mock::Body> = answer.await?;
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                *witness.books().arrivals.entry(id).or_default() -= 1;
            }
            Ok(response.map(|body| Lasting::new(body, at_work)))
        }
    }
}

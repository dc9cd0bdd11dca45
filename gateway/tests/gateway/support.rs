//! A gateway in this process, what stands before it, and what stands behind it.

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower_throttle::{
    BoxError, Handle,
    mock::{self, EndpointReport, Judge},
};

use crate::{
    gateway::Gateway,
    options::{Command, Options},
    server,
};

/// Longer than anything here takes on the busiest machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What has to happen soon, or the test fails.
pub(crate) async fn soon<F: Future>(what: &str, happens: F) -> F::Output {
    let waited = timeout(LONG, happens).await;
    waited.unwrap_or_else(|_| panic!("it never happened: {what}"))
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    soon(what, async {
        while !is_so() {
            sleep(ms(1)).await;
        }
    })
    .await;
}

/// A gateway that runs.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Gateway,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Line {
    pub(crate) fn start(upstream: &str, args: &[&str]) -> Self {
        let options = options(&[&["--upstream", upstream], args].concat());
        let (listen, grace) = (options.listen, options.grace);
        let gateway = Gateway::new(options, None).unwrap();
        let listener = server::bind(listen).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // Dropped without a word, it does not stop: the test's end does that.
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        };
        let served = tokio::spawn(server::serve(listener, gateway.clone(), stopped, grace));
        Self {
            address,
            gateway,
            stop: Some(stop),
            served,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.gateway.handle()
    }

    /// How many requests wait, and how many hold a permit.
    pub(crate) fn counts(&self, endpoint: &str) -> (usize, usize) {
        let snapshot = self.handle().snapshot();
        let bucket = snapshot.bucket(endpoint).unwrap();
        (bucket.waiting(), bucket.in_flight())
    }

    pub(crate) async fn counted(&self, endpoint: &str, waiting: usize, in_flight: usize) {
        let what = format!("{waiting} waiting and {in_flight} in flight");
        until(&what, || self.counts(endpoint) == (waiting, in_flight)).await;
    }

    /// As an interrupt does.
    pub(crate) fn interrupt(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Until it serves no more.
    pub(crate) async fn ended(self) {
        soon("the gateway ends", self.served).await.unwrap();
    }
}

pub(crate) fn options(args: &[&str]) -> Options {
    match Options::parse(args) {
        Ok(Command::Run(options)) => *options,
        other => panic!("{args:?}: {other:?}"),
    }
}

/// A judge behind a socket, at which a gateway can be pointed.
pub(crate) fn serve_judge(judge: &Judge) -> String {
    let listener = mock::bind().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(judge.clone().serve(listener));
    url
}

/// Waits until the judge's only endpoint is so.
pub(crate) async fn judged(judge: &Judge, what: &str, is_so: impl Fn(&EndpointReport) -> bool) {
    until(what, || {
        let report = judge.report();
        report.endpoints().all(&is_so)
    })
    .await;
}

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(body: impl Into<Bytes>) -> AnyBody {
    let body = Full::new(body.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

/// What comes next in a body. It ends when this is dropped.
pub(crate) struct Frames(mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>);

impl Frames {
    pub(crate) fn data(&self, bytes: impl Into<Bytes>) {
        // Who hung up hears no more.
        let _ = self.0.send(Ok(Frame::data(bytes.into())));
    }

    pub(crate) fn trailers(&self, trailers: HeaderMap) {
        self.0.send(Ok(Frame::trailers(trailers))).unwrap();
    }

    /// Whether nobody wants any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub(crate) fn fail(&self) {
        self.0.send(Err("broken".into())).unwrap();
    }
}

pub(crate) fn streamed() -> (Frames, AnyBody) {
    let (sender, frames) = mpsc::unbounded_channel();
    let frames = stream::unfold(frames, |mut frames| async {
        let next = frames.recv().await?;
        Some((next, frames))
    });
    (Frames(sender), StreamBody::new(frames).boxed_unsync())
}

/// An upstream that answers as `answer` says, in whichever version it is asked.
pub(crate) fn serve<F, A>(answer: F) -> String
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    serve_and_count(answer).0
}

/// The same, and how many connections it has had.
pub(crate) fn serve_and_count<F, A>(answer: F) -> (String, Arc<AtomicUsize>)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = mock::bind().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let stream = TokioIo::new(stream);
                let _ = server.serve_connection_with_upgrades(stream, service).await;
            });
        }
    });
    (url, connections)
}

/// An upstream that says this on each connection, whatever it is asked, and hangs up.
pub(crate) fn says(words: &'static str) -> String {
    let listener = mock::bind().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            tokio::spawn(async move {
                // What is not read is answered with a reset, which would overtake the words.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    url
}

/// An upstream that remembers the heads and bodies of what it was sent, and answers `ok`.
pub(crate) fn recorder() -> (String, mpsc::UnboundedReceiver<Request<Bytes>>) {
    let (record, recorded) = mpsc::unbounded_channel();
    let url = serve(move |request| {
        let record = record.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            record.send(Request::from_parts(head, body)).unwrap();
            Response::new(full("ok"))
        }
    });
    (url, recorded)
}

pub(crate) type TestClient = Client<HttpConnector, AnyBody>;

/// A caller with connections of its own.
pub(crate) fn client(version: Version) -> TestClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .build(connector)
}

/// An answer that has been read to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Whole {
    pub(crate) async fn read(answer: Response<Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        let body = soon("the body ends", body.collect()).await.unwrap();
        Self {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) async fn send(client: &TestClient, request: Request<AnyBody>) -> Whole {
    let answer = soon("an answer", client.request(request)).await.unwrap();
    Whole::read(answer).await
}

pub(crate) async fn get(url: &str) -> Whole {
    let request = Request::get(url).body(full("")).unwrap();
    send(&client(Version::HTTP_11), request).await
}

pub(crate) fn post(url: &str) -> Request<AnyBody> {
    Request::post(url).body(full("question")).unwrap()
}

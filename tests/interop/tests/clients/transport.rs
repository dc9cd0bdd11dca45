//! What `RetryLayer` does when a connection fails: over sockets, with hyper-util's client and with reqwest's.
//!
//! The servers speak just enough HTTP to fail in the way that a test is about.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_throttle::{
    Attempts, Backoff, BoxError, Idempotent, RetryLayer, mock, reqwest::ReqwestService,
};

/// What becomes of the first request; all others are answered.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// HTTP/1.1: the connection is closed when the request has been read.
    Closed,
    /// HTTP/1.1: the same, in the middle of the answer's head.
    ClosedInTheHead,
    /// HTTP/2: its stream is reset with this code.
    Reset(u32),
    /// HTTP/2: the server shuts down with this code, and has accepted no stream.
    GoAway(u32),
    /// HTTP/2: the connection is closed.
    Gone,
}

impl Fate {
    fn is_http2(self) -> bool {
        matches!(self, Self::Reset(_) | Self::GoAway(_) | Self::Gone)
    }
}

/// Codes of RFC 9113, section 7.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

struct Server {
    address: SocketAddr,
    /// The requests that have arrived.
    arrived: Arc<AtomicUsize>,
}

impl Server {
    fn new(fate: Fate) -> Self {
        let listener = mock::bind().unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = Arc::default();
        tokio::spawn(serve(listener, fate, Arc::clone(&arrived)));
        Self { address, arrived }
    }

    fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, fate: Fate, arrived: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let arrived = Arc::clone(&arrived);
        tokio::spawn(async move {
            // A connection ends when its client goes away.
            let _ = if fate.is_http2() {
                http2(stream, fate, &arrived).await
            } else {
                http1(stream, fate, &arrived).await
            };
        });
    }
}

async fn http1(mut stream: TcpStream, fate: Fate, arrived: &AtomicUsize) -> io::Result<()> {
    let mut read = Vec::new();
    // The requests here are of one byte, or of none.
    while !(read.ends_with(b"\r\n\r\n") && !read.starts_with(b"POST")
        || read.ends_with(b"\r\n\r\nx"))
    {
        read.push(stream.read_u8().await?);
    }
    if arrived.fetch_add(1, Ordering::Relaxed) > 0 {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return stream.write_all(answer).await;
    }
    match fate {
        Fate::ClosedInTheHead => stream.write_all(b"HTTP/1.1 200 OK\r\ncont").await,
        _ => Ok(()),
    }
}

async fn http2(mut stream: TcpStream, fate: Fate, arrived: &AtomicUsize) -> io::Result<()> {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    stream.read_exact(&mut [0; PREFACE]).await?;
    write_frame(&mut stream, 4, 0, 0, &[]).await?; // SETTINGS
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, _, s0, s1, s2, s3] = head;
        let id = u32::from_be_bytes([s0, s1, s2, s3]);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        if kind != HEADERS {
            continue;
        }
        if arrived.fetch_add(1, Ordering::Relaxed) > 0 {
            // END_STREAM, END_HEADERS; `:status: 200` is number 8 of HPACK's static table.
            write_frame(&mut stream, HEADERS, 0b101, id, &[0x88]).await?;
            continue;
        }
        match fate {
            Fate::Reset(code) => write_frame(&mut stream, 3, 0, id, &code.to_be_bytes()).await?,
            Fate::GoAway(code) => {
                let last_stream = 0_u32.to_be_bytes();
                let payload = [last_stream, code.to_be_bytes()].concat();
                write_frame(&mut stream, 7, 0, 0, &payload).await?;
            }
            _ => return Ok(()),
        }
    }
}

async fn write_frame(
    stream: &mut TcpStream,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await
}

type Answer = UnsyncBoxBody<Bytes, BoxError>;
type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<Answer>, BoxError>;

/// Neither sends anything again by itself.
fn clients(http2: bool) -> [(&'static str, Client); 2] {
    let hyper = legacy::Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .retry_canceled_requests(false)
        .build_http::<Full<Bytes>>();
    let mut reqwest = reqwest::Client::builder().no_proxy();
    if http2 {
        reqwest = reqwest.http2_prior_knowledge();
    }
    let reqwest = ReqwestService::build(reqwest).unwrap();
    [
        (
            "hyper-util",
            BoxCloneSyncService::new(
                ServiceBuilder::new()
                    .map_response(|answer: Response<hyper::body::Incoming>| {
                        answer.map(|body| body.map_err(BoxError::from).boxed_unsync())
                    })
                    .map_err(BoxError::from)
                    .service(hyper),
            ),
        ),
        (
            "reqwest",
            BoxCloneSyncService::new(
                ServiceBuilder::new()
                    .map_response(|answer: Response<reqwest::Body>| {
                        answer.map(|body| body.map_err(BoxError::from).boxed_unsync())
                    })
                    .map_err(BoxError::from)
                    .service(reqwest),
            ),
        ),
    ]
}

fn retry() -> RetryLayer {
    let ms = Duration::from_millis(1);
    RetryLayer::new().backoff(Backoff::full(ms, ms))
}

/// Whether the request is sent again, which goes well then, or fails.
async fn is_sent_again(fate: Fate, request: impl Fn(&str) -> Request<Full<Bytes>>) -> bool {
    let mut results = Vec::new();
    for (name, client) in clients(fate.is_http2()) {
        let server = Server::new(fate);
        let request = request(&format!("http://{}/a", server.address));
        let result = retry().layer(client).oneshot(request).await;
        let sent = match &result {
            Ok(answer) => answer.extensions().get().map_or(1, Attempts::attempts),
            Err(_) => 1,
        };
        assert_eq!(server.arrived(), sent as usize, "{name}: {result:?}");
        assert_eq!(result.is_ok(), sent == 2, "{name}: {result:?}");
        results.push(sent == 2);
    }
    assert_eq!(results[0], results[1], "{fate:?}: the clients differ");
    results[0]
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

fn post(uri: &str) -> Request<Full<Bytes>> {
    Request::post(uri).body("x".into()).unwrap()
}

fn idempotent_post(uri: &str) -> Request<Full<Bytes>> {
    let mut request = post(uri);
    request.extensions_mut().insert(Idempotent);
    request
}

#[tokio::test]
async fn what_may_have_arrived_is_sent_again_only_if_that_does_no_harm() {
    let lost = [
        Fate::Closed,
        Fate::ClosedInTheHead,
        Fate::Reset(INTERNAL_ERROR),
        Fate::Reset(CANCEL),
        Fate::GoAway(ENHANCE_YOUR_CALM),
        Fate::Gone,
    ];
    for fate in lost {
        assert!(is_sent_again(fate, get).await, "{fate:?}");
        assert!(is_sent_again(fate, idempotent_post).await, "{fate:?}");
        assert!(!is_sent_again(fate, post).await, "{fate:?}");
    }
}

#[tokio::test]
async fn what_a_server_has_not_accepted_is_sent_again_whatever_it_is() {
    for fate in [Fate::Reset(REFUSED_STREAM), Fate::GoAway(NO_ERROR)] {
        assert!(is_sent_again(fate, post).await, "{fate:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_whatever_the_request() {
    for (name, client) in clients(false) {
        // Taken, so that nobody else listens there.
        let port = TcpSocket::new_v4().unwrap();
        port.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = port.local_addr().unwrap();
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let client = ServiceBuilder::new()
            .layer(retry())
            .map_request(move |request: Request<Full<Bytes>>| {
                counted.fetch_add(1, Ordering::Relaxed);
                request
            })
            .service(client);
        let request = post(&format!("http://{address}/a"));
        client.oneshot(request).await.unwrap_err();
        assert_eq!(tries.load(Ordering::Relaxed), 3, "{name}");
    }
}

#[tokio::test]
async fn whatever_keeps_a_client_from_connecting_nothing_was_sent() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    // Such as a name that has no address, or a certificate that nobody trusts.
    let connector = service_fn(move |_: http::Uri| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Err::<Connection, _>("no such host"))
    });
    let client = legacy::Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
    let request = post("http://nowhere.example/a");
    let error = retry().layer(client).oneshot(request).await.unwrap_err();
    assert!(error.to_string().contains("Connect"), "{error}");
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}

type Connection = hyper_util::rt::TokioIo<TcpStream>;

#[tokio::test]
async fn a_request_body_that_fails_is_nothing_of_the_connection() {
    type Stream = UnsyncBoxBody<Bytes, io::Error>;
    let broken = || {
        let frames = [
            Ok(Frame::data(Bytes::from("x"))),
            Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
        ];
        UnsyncBoxBody::new(StreamBody::new(futures_util::stream::iter(frames)))
    };
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let server = Server::new(Fate::Gone);
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Stream>();
    let client = ServiceBuilder::new()
        .layer(retry().clone_body_with::<Stream>(move |_| Some(broken())))
        .map_request(move |request: Request<Stream>| {
            counted.fetch_add(1, Ordering::Relaxed);
            request
        })
        .service(client);
    let uri = format!("http://{}/a", server.address);
    let request = Request::builder().method(Method::PUT).uri(uri);
    client
        .oneshot(request.body(broken()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(tries.load(Ordering::Relaxed), 1);
}

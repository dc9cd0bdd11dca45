//! Callers that go away: each test closes a caller's connection, and looks at both ends.

use std::net::Shutdown;

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc};
use tower_throttle::mock::{
    self, Judge, Limit, Work,
    elevenlabs::{Audio, MockElevenLabs, TTS_STREAM},
};

use crate::support::{
    AnyBody, LONG, Line, VERSIONS, client, full, judged, post, send, serve, serve_judge, soon,
    streamed, until,
};

const A: &str = "POST /a";
const ONE: [&str; 2] = ["--limit", "POST /a=concurrency:1"];

/// A caller with one connection, which it can close at any time.
struct Caller {
    sender: Sender,
    /// The same socket, past hyper.
    socket: std::net::TcpStream,
}

enum Sender {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

impl Caller {
    async fn new(version: Version, line: &Line) -> Self {
        let stream = TcpStream::connect(line.address).await.unwrap();
        let stream = stream.into_std().unwrap();
        let socket = stream.try_clone().unwrap();
        let stream = TokioIo::new(TcpStream::from_std(stream).unwrap());
        let sender = if version == Version::HTTP_2 {
            let executor = TokioExecutor::new();
            let (sender, connection) = http2::handshake(executor, stream).await.unwrap();
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Self { sender, socket }
    }

    fn send(&mut self, path: &str) -> BoxFuture<'static, hyper::Result<Response<Incoming>>> {
        let request = Request::post(format!("http://gateway{path}"))
            .header(header::HOST, "gateway")
            .header(header::CONTENT_TYPE, "application/json")
            .body(full(r#"{"text": "Once upon a time"}"#))
            .unwrap();
        match &mut self.sender {
            Sender::Http1(sender) => Box::pin(sender.send_request(request)),
            Sender::Http2(sender) => Box::pin(sender.send_request(request)),
        }
    }

    /// What the other end sees when the process is killed.
    fn kill(self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }
}

/// One request at a time, and an upstream that allows any number and works on each for ever.
fn start() -> (Judge, Line) {
    let judge = Judge::builder()
        .route(A, Limit::unlimited(), Work::fixed(LONG * 2))
        .build();
    let line = Line::start(&serve_judge(&judge), &ONE);
    (judge, line)
}

async fn freed(judge: &Judge, line: &Line) {
    line.counted(A, 0, 0).await;
    judged(judge, "the API works on nothing", |api| api.in_flight == 0).await;
}

#[tokio::test]
async fn in_the_middle_of_a_stream_both_ends_are_freed() {
    let limit = format!("{TTS_STREAM}=concurrency:1");
    for (version, args) in [
        (Version::HTTP_11, &[][..]),
        (Version::HTTP_2, &[]),
        (Version::HTTP_11, &["--http2"]),
        (Version::HTTP_2, &["--http2"]),
    ] {
        // Speaks for as long, bit by bit, and refuses a second request meanwhile.
        let api = MockElevenLabs::builder()
            .tts(Limit::concurrent(1), Work::fixed(LONG * 2))
            .audio(Audio::Silence)
            .build();
        let in_flight = || api.report().endpoint(TTS_STREAM).in_flight;
        let upstream = serve_judge(api.judge());
        let args = [&["--limit", &limit, "--no-retry"], args].concat();
        let line = Line::start(&upstream, &args);
        for accepted in 1..=2 {
            let mut caller = Caller::new(version, &line).await;
            let speech = caller.send("/v1/text-to-speech/narrator/stream");
            let mut speech = soon("an answer", speech).await.unwrap();
            assert_eq!(speech.status(), StatusCode::OK);
            soon("a frame", speech.frame()).await.unwrap().unwrap();
            assert_eq!(line.counts(TTS_STREAM), (0, 1));
            assert_eq!(in_flight(), 1);

            // The body is kept: it is the connection that ends.
            caller.kill();
            line.counted(TTS_STREAM, 0, 0).await;
            until("the API stops", || in_flight() == 0).await;
            drop(speech);
            assert_eq!(api.report().accepted(), accepted);
        }
        api.report().assert_compliant();
    }
}

#[tokio::test]
async fn before_the_answer_both_ends_are_freed() {
    for version in VERSIONS {
        let (judge, line) = start();
        let mut caller = Caller::new(version, &line).await;
        let answer = tokio::spawn(caller.send("/a"));
        judged(&judge, "the API works", |api| api.in_flight == 1).await;
        assert_eq!(line.counts(A), (0, 1));
        caller.kill();
        freed(&judge, &line).await;
        soon("the end", answer).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn in_the_queue_a_place_is_freed() {
    for version in VERSIONS {
        let (judge, line) = start();
        let mut first = Caller::new(version, &line).await;
        let _running = tokio::spawn(first.send("/a"));
        judged(&judge, "the API works", |api| api.in_flight == 1).await;
        let mut second = Caller::new(version, &line).await;
        let _waiting = tokio::spawn(second.send("/a"));
        line.counted(A, 1, 1).await;
        second.kill();
        line.counted(A, 0, 1).await;
        first.kill();
        freed(&judge, &line).await;
        assert_eq!(judge.report().accepted(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_leaves_the_others_on_its_connection_alone() {
    let (judge, line) = start();
    let mut caller = Caller::new(Version::HTTP_2, &line).await;
    let first = tokio::spawn(caller.send("/a"));
    line.counted(A, 0, 1).await;
    let _second = tokio::spawn(caller.send("/a"));
    line.counted(A, 1, 1).await;
    first.abort();
    judged(&judge, "the second has its turn", |api| {
        (api.accepted, api.in_flight) == (2, 1)
    })
    .await;
    assert_eq!(line.counts(A), (0, 1));
    caller.kill();
    freed(&judge, &line).await;
}

#[tokio::test]
async fn an_upstream_that_goes_away_takes_no_permit_with_it() {
    for version in VERSIONS {
        let judge = Judge::builder()
            .route(A, Limit::unlimited(), Work::fixed(LONG * 2))
            .build();
        let listener = mock::bind().unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let api = tokio::spawn(judge.clone().serve(listener));
        let line = Line::start(&upstream, &[&ONE[..], &["--no-retry"]].concat());
        let calls = [(); 3].map(|()| {
            let (client, request) = (client(version), post(&line.url("/a")));
            tokio::spawn(async move { send(&client, request).await.status })
        });
        judged(&judge, "the API works", |api| api.in_flight == 1).await;
        line.counted(A, 2, 1).await;
        api.abort();
        for call in calls {
            assert_eq!(soon("an answer", call).await.unwrap(), 502);
        }
        assert_eq!(line.counts(A), (0, 0));
    }
}

/// As a caller does that stops at `[DONE]`.
#[tokio::test]
async fn who_leaves_just_before_the_end_of_an_answer_does_not_end_it_upstream() {
    for version in VERSIONS {
        let (started, mut starts) = mpsc::unbounded_channel();
        let upstream = serve(move |_| {
            let (frames, body) = streamed();
            frames.data("data: [DONE]");
            started.send(frames).unwrap();
            async { Response::new(body) }
        });
        let line = Line::start(&upstream, &["--concurrency", "1"]);
        let caller = client(version);
        let mut answer = soon("an answer", caller.request(post(&line.url("/a"))))
            .await
            .unwrap();
        soon("an event", answer.frame()).await.unwrap().unwrap();
        let frames = soon("a start", starts.recv()).await.unwrap();
        drop(answer);
        drop(caller);
        // The end comes, and nobody has hung up on it.
        until("it is noticed", || line.gateway.requests() == 0).await;
        let (is_closed, counts) = (frames.is_closed(), line.counts("overall"));
        drop(frames);
        assert_eq!((is_closed, counts), (false, (0, 1)), "{version:?}");
        line.counted("overall", 0, 0).await;
        // One that does not end is hung up on all the same.
        let caller = client(version);
        let answer = caller.request(post(&line.url("/a")));
        drop(soon("an answer", answer).await.unwrap());
        drop(caller);
        let frames = soon("a start", starts.recv()).await.unwrap();
        until("the call ends", || frames.is_closed()).await;
        line.counted("overall", 0, 0).await;
    }
}

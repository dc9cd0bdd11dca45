//! The mock on real sockets and in real time, so with no exact instants; every wait is bounded.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use mock::{Answer, Fault, Judge, JudgeBuilder, Limit, Work, elevenlabs};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower_throttle_mock as mock;

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Longer than anything here takes on the busiest machine.
const LONG: Duration = Duration::from_secs(20);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn http1() -> HttpClient {
    Client::builder(TokioExecutor::new()).build(connector())
}

fn http2() -> HttpClient {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build(connector())
}

/// Without Nagle's algorithm, which costs 40 ms for every request with a body over HTTP/2.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

fn serve(judge: &Judge) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let listener = mock::bind().unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(judge.clone().serve(listener)))
}

fn request(address: SocketAddr) -> Request<Full<Bytes>> {
    Request::post(format!("http://{address}/a"))
        .body(Full::from("question"))
        .unwrap()
}

async fn send(client: &HttpClient, address: SocketAddr) -> (StatusCode, Version) {
    let answer = client.request(request(address)).await.unwrap();
    let (head, body) = answer.into_parts();
    body.collect().await.unwrap();
    (head.status, head.version)
}

/// Waits until the judge has this many requests in flight.
async fn in_flight(judge: &Judge, n: usize) {
    let reached = async {
        while judge.report().endpoint("/a").in_flight != n {
            sleep(ms(1)).await;
        }
    };
    let waited = timeout(LONG, reached).await;
    waited.unwrap_or_else(|_| panic!("there were never {n} in flight:\n{}", judge.report()));
}

fn slow(n: usize) -> Judge {
    let limit = Limit::concurrent(n);
    Judge::builder()
        .route("/a", limit, Work::fixed(LONG * 2))
        .build()
}

#[tokio::test]
async fn ten_at_once_where_four_are_allowed_over_http_1_and_2() {
    let both = [(http1(), Version::HTTP_11), (http2(), Version::HTTP_2)];
    join_all(both.map(async |(client, version)| {
        let judge = Judge::builder()
            .route("/a", Limit::concurrent(4), Work::fixed(ms(1_000)))
            .build();
        let (address, _server) = serve(&judge);
        let answers = join_all((0..10).map(|_| send(&client, address))).await;
        let accepted = answers.iter().filter(|answer| answer.0 == StatusCode::OK);
        assert_eq!(accepted.count(), 4);
        assert!(answers.iter().all(|answer| answer.1 == version));
        let report = judge.report();
        assert_eq!(report.endpoint("/a").refused_by_concurrency, 6);
        assert_eq!(report.endpoint("/a").in_flight, 0);
    }))
    .await;
}

#[tokio::test]
async fn a_client_that_reads_one_answer_after_the_other_is_never_two() {
    for client in [http1(), http2()] {
        let judge = Judge::builder()
            .route("/a", Limit::concurrent(1), Work::none())
            .build();
        let (address, _server) = serve(&judge);
        for _ in 0..100 {
            send(&client, address).await;
        }
        judge.report().assert_compliant();
        assert_eq!(judge.report().accepted(), 100);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot() {
    for client in [http1(), http2()] {
        let judge = slow(1);
        let (address, _server) = serve(&judge);
        let answer = tokio::spawn(client.request(request(address)));
        in_flight(&judge, 1).await;
        answer.abort();
        in_flight(&judge, 0).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_an_upload_frees_its_slot() {
    let judge = slow(1);
    let (address, _server) = serve(&judge);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    in_flight(&judge, 1).await;
    drop(stream);
    in_flight(&judge, 0).await;
}

#[tokio::test]
async fn dropping_the_server_ends_its_connections_and_their_requests() {
    for client in [http1(), http2()] {
        let judge = slow(10);
        let (address, server) = serve(&judge);
        let answers: Vec<_> = (0..3)
            .map(|_| tokio::spawn(client.request(request(address))))
            .collect();
        in_flight(&judge, 3).await;
        server.abort();
        in_flight(&judge, 0).await;
        for answer in answers {
            timeout(LONG, answer).await.unwrap().unwrap().unwrap_err();
        }
        // Nobody listens any more.
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn an_idle_connection_ends_with_the_server() {
    let (address, server) = serve(&slow(1));
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The first byte is answered by nothing; it makes sure that the connection was accepted.
    stream.write_all(b"P").await.unwrap();
    sleep(ms(50)).await;
    server.abort();
    let ended = timeout(LONG, stream.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
}

#[tokio::test]
async fn more_streams_than_hyper_allows_by_default_reach_the_judge_at_once() {
    let judge = slow(1_000);
    let (address, _server) = serve(&judge);
    let client = http2();
    let answers: Vec<_> = (0..500)
        .map(|_| tokio::spawn(client.request(request(address))))
        .collect();
    in_flight(&judge, 500).await;
    for answer in &answers {
        answer.abort();
    }
    in_flight(&judge, 0).await;
}

#[tokio::test]
async fn what_crossed_the_refusal_on_the_way_is_not_early_and_what_came_later_is() {
    let judge = Judge::builder()
        .route("/a", Limit::per(1, LONG), Work::none())
        .retry_after(LONG)
        .build();
    let (address, _server) = serve(&judge);
    let client = http2();
    send(&client, address).await;
    send(&client, address).await;
    assert_eq!(judge.report().early(), 0);
    sleep(ms(60)).await;
    send(&client, address).await;
    assert_eq!(judge.report().early(), 1);
}

#[tokio::test]
async fn eleven_labs_over_both_protocols() {
    for client in [http1(), http2()] {
        let api = elevenlabs::MockElevenLabs::builder()
            .tts(Limit::concurrent(4), Work::none())
            .clone_voice(Limit::concurrent(1), Work::none())
            .build();
        let listener = mock::bind().unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let _server = tokio::spawn(api.clone().serve(listener));
        let client = elevenlabs::Client::new(client).base_url(url);
        let voice = client.clone_voice("narrator").await.unwrap();
        assert_eq!(voice, "voice_id::ec62dcc7");
        let audio = client.tts("ä/b?", "Once upon a time").await.unwrap();
        assert_eq!(audio, "AUDIO(ä/b?):Once upon ...");
        api.report().assert_compliant();
    }
}

/// An endpoint with so many slots that answers at once, with ten bytes.
fn ten_bytes(slots: usize) -> JudgeBuilder {
    Judge::builder()
        .route("/a", Limit::concurrent(slots), Work::none())
        .answer("/a", |_| Response::new(Bytes::from_static(b"0123456789")))
}

/// One that sends a chunk with its head, and another after this time.
fn two_chunks(apart: Duration) -> Judge {
    ten_bytes(1)
        .answer("/a", move |_| {
            let answer = Answer::stream(Response::new(()));
            answer.chunk(Duration::ZERO, "first").chunk(apart, "second")
        })
        .build()
}

/// Sends a request by hand, and reads all that comes.
async fn by_hand(address: SocketAddr) -> (String, io::Result<()>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut all = Vec::new();
    let end = loop {
        let mut part = [0; 1_024];
        match timeout(LONG, stream.read(&mut part)).await.unwrap() {
            Ok(0) => break Ok(()),
            Ok(n) => all.extend(&part[..n]),
            Err(error) => break Err(error),
        }
    };
    (String::from_utf8(all).unwrap(), end)
}

fn was_reset(end: &io::Result<()>) -> bool {
    let kind = end.as_ref().map_err(io::Error::kind);
    kind == Err(io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn chunks_are_sent_when_they_are_due_over_http_1_and_2() {
    let apart = ms(500);
    for client in [http1(), http2()] {
        let judge = two_chunks(apart);
        let (address, _server) = serve(&judge);
        let start = Instant::now();
        let answer = client.request(request(address)).await.unwrap();
        assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
        let mut body = answer.into_body();
        let mut chunk = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(chunk().await, "first");
        in_flight(&judge, 1).await;
        assert_eq!(chunk().await, "second");
        assert!(start.elapsed() >= apart);
        assert!(body.frame().await.is_none());
        in_flight(&judge, 0).await;
    }
}

#[tokio::test]
async fn a_client_that_is_killed_in_the_middle_of_a_stream_frees_its_slot() {
    for client in [http1(), http2()] {
        // Only the end of the client can free it in time.
        let judge = two_chunks(LONG * 2);
        let (address, _server) = serve(&judge);
        let mut body = client.request(request(address)).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        in_flight(&judge, 1).await;
        drop((body, client));
        in_flight(&judge, 0).await;
    }
}

#[tokio::test]
async fn an_aborted_stream_frees_its_slot_though_its_connection_lives_on() {
    let judge = two_chunks(LONG * 2);
    let (address, _server) = serve(&judge);
    let client = http2();
    for _ in 0..3 {
        let mut body = client.request(request(address)).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        in_flight(&judge, 1).await;
        drop(body);
        in_flight(&judge, 0).await;
    }
    judge.report().assert_compliant();
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_its_slot() {
    // More than the server's socket, the windows and hyper's buffers hold together.
    const LARGE: usize = 16 << 20;
    let mut small = connector();
    small.set_recv_buffer_size(Some(64 << 10));
    let builder = Client::builder(TokioExecutor::new());
    let http1: HttpClient = builder.clone().build(small.clone());
    let http2: HttpClient = builder.clone().http2_only(true).build(small);
    for client in [http1, http2] {
        let judge = ten_bytes(1)
            .answer("/a", |_| Response::new(Bytes::from(vec![b'a'; LARGE])))
            .build();
        let (address, _server) = serve(&judge);
        let answer = client.request(request(address)).await.unwrap();
        sleep(ms(200)).await;
        in_flight(&judge, 1).await;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), LARGE);
        in_flight(&judge, 0).await;
    }
}

#[tokio::test]
async fn who_waits_in_the_queue_gets_an_answer_over_both_protocols() {
    for client in [http1(), http2()] {
        let judge = Judge::builder()
            .route("/a", Limit::concurrent(2), Work::fixed(ms(50)))
            .queue(ms(10), 100)
            .build();
        let (address, _server) = serve(&judge);
        let answers = join_all((0..20).map(|_| send(&client, address))).await;
        assert!(answers.iter().all(|answer| answer.0 == StatusCode::OK));
        assert!(judge.report().endpoint("/a").queued > 0);
        in_flight(&judge, 0).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_leaves_the_queue() {
    for client in [http1(), http2()] {
        let judge = Judge::builder()
            .route("/a", Limit::concurrent(1), Work::fixed(LONG * 2))
            .queue(Duration::ZERO, 1)
            .build();
        let (address, _server) = serve(&judge);
        let calls = [(); 2].map(|()| tokio::spawn(client.request(request(address))));
        let waiting = async |n| {
            while judge.report().endpoint("/a").waiting != n {
                sleep(ms(1)).await;
            }
        };
        timeout(LONG, waiting(1)).await.unwrap();
        for call in calls {
            call.abort();
        }
        timeout(LONG, waiting(0)).await.unwrap();
        in_flight(&judge, 0).await;
    }
}

#[tokio::test]
async fn a_reset_is_one_for_whoever_looks_at_the_connection() {
    let judge = ten_bytes(1).build();
    let (address, _server) = serve(&judge);
    judge.fault(Fault::reset());
    let (read, end) = by_hand(address).await;
    assert_eq!(read, "");
    assert!(was_reset(&end), "{end:?}");

    judge.fault(Fault::reset_after(4));
    let (read, end) = by_hand(address).await;
    assert!(read.contains("content-length: 10\r\n"), "{read}");
    assert!(read.ends_with("\r\n\r\n0123"), "{read}");
    assert!(was_reset(&end), "{end:?}");
    in_flight(&judge, 0).await;
}

#[tokio::test]
async fn a_stream_of_chunks_is_reset_in_its_middle() {
    let judge = two_chunks(ms(50));
    let (address, _server) = serve(&judge);
    judge.fault(Fault::reset_after(7));
    let (read, end) = by_hand(address).await;
    assert!(read.contains("first\r\n2\r\nse\r\n"), "{read}");
    assert!(was_reset(&end), "{end:?}");
}

#[tokio::test]
async fn over_http_2_only_the_stream_is_reset() {
    let judge = Judge::builder()
        .route("/a", Limit::unlimited(), Work::fixed(ms(500)))
        .answer("/a", |_| Response::new(Bytes::from_static(b"0123456789")))
        .build();
    let (address, _server) = serve(&judge);
    let client = http2();
    let undisturbed = tokio::spawn({
        let client = client.clone();
        async move { send(&client, address).await.0 }
    });
    in_flight(&judge, 1).await;
    judge.fault(Fault::reset());
    client.request(request(address)).await.unwrap_err();

    judge.fault(Fault::reset_after(4));
    let mut body = client.request(request(address)).await.unwrap().into_body();
    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(data, "0123");
    body.frame().await.unwrap().unwrap_err();

    assert_eq!(undisturbed.await.unwrap(), StatusCode::OK);
    in_flight(&judge, 0).await;
}

#[tokio::test]
async fn a_body_that_is_shorter_than_announced_is_noticed() {
    for client in [http1(), http2()] {
        for fault in [Fault::cut_short(4), Fault::cut_short(0)] {
            for judge in [ten_bytes(1).build(), two_chunks(ms(10))] {
                let (address, _server) = serve(&judge);
                judge.fault(fault.clone());
                let answer = client.request(request(address)).await.unwrap();
                assert!(answer.headers().contains_key(header::CONTENT_LENGTH));
                let body = timeout(LONG, answer.into_body().collect()).await.unwrap();
                body.unwrap_err();
                in_flight(&judge, 0).await;
                assert_eq!(send(&client, address).await.0, StatusCode::OK);
            }
        }
    }
    let judge = ten_bytes(1).build();
    let (address, _server) = serve(&judge);
    judge.fault(Fault::cut_short(4));
    let (read, end) = by_hand(address).await;
    assert!(read.contains("content-length: 10\r\n"), "{read}");
    assert!(read.ends_with("\r\n\r\n0123"), "{read}");
    end.unwrap();
}

#[tokio::test]
async fn a_length_that_is_none_is_sent_as_it_stands() {
    let judge = ten_bytes(1).build();
    let (address, _server) = serve(&judge);
    for length in ["banana", "-1", "99"] {
        let body = Fault::status(200).body("body");
        judge.fault(body.header("content-length", length));
        let (read, end) = by_hand(address).await;
        assert!(
            read.contains(&format!("content-length: {length}\r\n")),
            "{read}"
        );
        assert!(read.ends_with("\r\n\r\nbody"), "{read}");
        end.unwrap();
    }
}

#[tokio::test]
async fn a_slow_body_takes_its_time_over_both_protocols() {
    for client in [http1(), http2()] {
        let judge = ten_bytes(1).build();
        let (address, _server) = serve(&judge);
        judge.fault(Fault::slow_body(2, ms(50)));
        let start = Instant::now();
        assert_eq!(send(&client, address).await.0, StatusCode::OK);
        assert!(start.elapsed() >= ms(200));
    }
}

#[tokio::test]
async fn a_connection_outlives_a_fault_that_is_an_answer() {
    let judge = ten_bytes(1).build();
    let (address, _server) = serve(&judge);
    judge.fault(Fault::status(503).body("<h1>no</h1>").gzip().times(2));
    let mut stream = TcpStream::connect(address).await.unwrap();
    for expected in [
        "503 Service Unavailable",
        "503 Service Unavailable",
        "200 OK",
    ] {
        let request = b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = [0; 1_024];
        let read = timeout(LONG, stream.read(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read.unwrap()]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
    }
}

//! The mock on real sockets and in real time, so with no exact instants; every wait is bounded.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower_throttle::mock::{self, Judge, Limit, Work, elevenlabs};

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

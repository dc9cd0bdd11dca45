//! The whole service over real sockets.

mod common;

use std::{net::SocketAddr, time::Duration};

use audio_drama::{
    config::Config,
    http_client::{HttpClient, http_client},
    mocks::{self, Mocks},
    routes::MAX_BODY,
    server::Server,
};
use bytes::Bytes;
use common::{script, setting};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower_throttle::mock::{EndpointReport, Work, elevenlabs::TTS};

/// Nothing here depends on how long anything takes, unless it takes this long.
const TOO_LONG: Duration = Duration::from_secs(60);

struct Service {
    addresses: Vec<SocketAddr>,
    mocks: Mocks,
    client: HttpClient,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Service {
    async fn start(takes: Duration) -> Self {
        let mocks = Mocks {
            elevenlabs: mocks::elevenlabs_taking(Work::fixed(takes)),
            narrator: mocks::narrator_taking(Work::fixed(Duration::ZERO)),
        };
        let config = Config::with_mocks(setting(3));
        let server = Server::start(config, mocks.clone()).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        Self {
            addresses: server.addresses().collect(),
            mocks,
            client: http_client(false).unwrap(),
            stop,
            task: tokio::spawn(server.run(async {
                let _ = stopped.await;
            })),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses[0])
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status();
        (
            status,
            answer.into_body().collect().await.unwrap().to_bytes(),
        )
    }

    async fn generate(&self, text: &str) -> (StatusCode, Bytes) {
        self.send(generate(&self.url("/generate"), text)).await
    }

    async fn status(&self) -> Value {
        let request = Request::get(self.url("/status")).body(Full::default());
        let (_, body) = self.send(request.unwrap()).await;
        serde_json::from_slice(&body).unwrap()
    }

    fn tts(&self) -> EndpointReport {
        self.mocks.elevenlabs.report().endpoint(TTS).clone()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Value, EndpointReport) -> bool) {
        let reached = async {
            while !condition(&self.status().await, self.tts()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = timeout(TOO_LONG, reached).await;
        assert!(reached.is_ok(), "never {what}: {}", self.status().await);
    }
}

fn generate(url: &str, text: &str) -> Request<Full<Bytes>> {
    Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(json!({"text": text}).to_string()))
        .unwrap()
}

#[tokio::test]
async fn two_long_texts_at_the_same_time_are_voiced_without_a_refusal() {
    let service = Service::start(Duration::from_millis(20)).await;
    let text = script(12);
    let (first, second) = tokio::join!(service.generate(&text), service.generate(&text));
    assert_eq!((first.0, second.0), (StatusCode::OK, StatusCode::OK));
    assert_eq!(first.1, second.1, "the same text makes the same zip");
    let tts = service.tts();
    assert_eq!((tts.accepted, tts.most_in_flight), (24, 2));
    service.mocks.elevenlabs.report().assert_compliant();
}

#[tokio::test]
async fn localhost_is_reached_by_either_of_its_addresses() {
    let service = Service::start(Duration::ZERO).await;
    for address in &service.addresses {
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), service.addresses[0].port());
        let url = format!("http://{address}/generate");
        let (status, zip) = service.send(generate(&url, "Hello.")).await;
        assert_eq!((status, &zip[..2]), (StatusCode::OK, &b"PK"[..]));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_places_at_both_ends() {
    let service = Service::start(TOO_LONG).await;
    let gone = tokio::spawn({
        let client = http_client(false).unwrap();
        let request = generate(&service.url("/generate"), &script(10));
        async move { client.request(request).await.map(|_| ()) }
    });
    service
        .until("voicing", |status, tts| {
            tts.in_flight == 2 && status["dialogue"]["limit"] == 2
        })
        .await;
    gone.abort();
    service
        .until("idle", |status, tts| {
            tts.in_flight == 0
                && status["dialogue"]["generating"] == 0
                && status["dialogue"]["waiting"] == 0
                && status["dialogue"]["limit"] == 3
                && status["scripts"]["running"] == json!([])
        })
        .await;
    assert_eq!(service.tts().accepted, 2);
}

#[tokio::test]
async fn what_runs_is_finished_before_the_service_stops() {
    let service = Service::start(Duration::from_millis(300)).await;
    let request = generate(&service.url("/generate"), "“Hello.”");
    let running = tokio::spawn(service.client.request(request));
    service.until("voicing", |_, tts| tts.in_flight == 1).await;
    let address = service.addresses[0];
    service.stop.send(()).unwrap();
    // The connection is closed behind the answer; others that are open are closed, too.
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        &answer.into_body().collect().await.unwrap().to_bytes()[..2],
        b"PK"
    );
    let stopped = timeout(TOO_LONG, service.task).await;
    stopped.expect("it stops").unwrap().unwrap();
    let refused = TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn whoever_sends_too_much_is_told_so_although_they_do_not_listen_before_the_end() {
    let service = Service::start(Duration::ZERO).await;
    let mut client = TcpStream::connect(service.addresses[0]).await.unwrap();
    let length = MAX_BODY + 1;
    let head = format!(
        "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b' '; length]).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.ends_with(r#"{"error":"the body is larger than 64 MiB: send the text in parts"}"#)
    );
}

#[tokio::test]
async fn whoever_asks_first_is_told_before_anything_is_sent() {
    let service = Service::start(Duration::ZERO).await;
    let mut client = TcpStream::connect(service.addresses[0]).await.unwrap();
    let length = MAX_BODY + 1;
    let head = format!(
        "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let service = Service::start(Duration::ZERO).await;
    let address = service.addresses[0];
    let config = Config {
        host: Some(address.ip()),
        port: address.port(),
        ..Config::with_mocks(setting(3))
    };
    let error = Server::start(config, Mocks::default()).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {address}: ")),
        "{error}"
    );
}

//! Websockets: here, any bytes after the switch will do.

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::TcpStream,
};

use crate::support::{Line, full, get, serve, soon, until};

const SWITCH: &str = "GET /v1/stream-input HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                      sec-websocket-version: 13\r\n\r\n";

/// Switches if it is asked to, and then sends back what it gets.
fn echo() -> String {
    serve(async |mut request: Request<Incoming>| {
        let headers = request.headers();
        let asked = headers.get(header::UPGRADE).cloned();
        let named = headers.get(header::CONNECTION) == Some(&HeaderValue::from_static("upgrade"));
        let key = headers.contains_key("sec-websocket-key");
        let Some(protocol) = asked.filter(|_| named && key) else {
            return Response::new(full("not asked"));
        };
        let upgraded = upgrade::on(&mut request);
        tokio::spawn(async {
            let (mut from, mut to) = split(TokioIo::new(upgraded.await.unwrap()));
            // Ends when the caller does, in whichever way.
            let _ = copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        });
        let mut answer = Response::new(full(""));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        answer
    })
}

/// Sends this, and reads a head.
async fn ask(line: &Line, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(line.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn bytes_pass_both_ways_through_a_tunnel_that_holds_no_permit() {
    let line = Line::start(&echo(), &["--concurrency", "1"]);
    let (mut first, head) = ask(&line, SWITCH).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    // Another one finds its place free.
    let (mut second, _) = ask(&line, SWITCH).await;
    assert_eq!(line.counts("overall"), (0, 0));
    let status = get(&line.url("/__gateway__/status")).await.json();
    assert_eq!(status["tunnels"], 2);

    for message in [b"one", b"two"] {
        for stream in [&mut first, &mut second] {
            stream.write_all(message).await.unwrap();
            let mut echo = [0; 3];
            soon("an echo", stream.read_exact(&mut echo)).await.unwrap();
            assert_eq!(&echo, message);
        }
    }
    // One side's end is the other's.
    first.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end", first.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    drop(second);
    let tunnels = line.gateway.tunnels();
    until("no tunnel is left", || tunnels.count() == 0).await;
}

#[tokio::test]
async fn an_interrupt_leaves_a_tunnel_its_time_and_then_cuts_it() {
    let mut line = Line::start(&echo(), &["--grace", "2s"]);
    let (mut tunnel, _) = ask(&line, SWITCH).await;
    line.interrupt();
    until("it drains", || !line.gateway.is_open()).await;
    tunnel.write_all(b"one").await.unwrap();
    let mut rest = Vec::new();
    soon("the end", tunnel.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, b"one");
    line.ended().await;
}

#[tokio::test]
async fn other_protocols_are_not_switched_to() {
    let line = Line::start(&echo(), &[]);
    let request = SWITCH.replace("websocket\r\n", "h2c\r\n");
    let (_stream, head) = ask(&line, &request).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
}

#[tokio::test]
async fn an_upstream_that_switches_unasked_is_a_bad_gateway() {
    let upstream = serve(async |_| {
        let mut answer = Response::new(full(""));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("other"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        answer
    });
    let line = Line::start(&upstream, &["--no-retry"]);
    let answer = get(&line.url("/a")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn what_a_gateway_cannot_do_is_said() {
    let line = Line::start("http://127.0.0.1:1", &["--http2"]);
    let (_stream, head) = ask(&line, SWITCH).await;
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
    let request = "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n";
    let (_stream, head) = ask(&line, request).await;
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
}

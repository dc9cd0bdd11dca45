//! Callers that try to get past the limits, or to the wrong place.

use http::{Request, StatusCode, Version};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    strict,
    support::{Line, client, full, recorder, send, soon},
};

/// Sends this, with a head that asks for the connection to be closed; what comes back.
async fn raw(line: &Line, request_line: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(line.address).await.unwrap();
    let sent = format!("{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut received = String::new();
    let read = stream.read_to_string(&mut received);
    soon("the end", read).await.unwrap();
    received
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_past_its_limit() {
    let (upstream, record) = strict::serve();
    let line = Line::start(&upstream, &["--limit=/v1/speech/{voice}=per:100/1h"]);
    let spellings = [
        "/v1/speech/x",
        "/v1//speech/x",
        "//v1/speech/x",
        "/v1/./speech/x",
        "/v1/speech/../speech/x",
        "/v1/other/../speech/x",
        "/../v1/speech/x",
        "/v1/%2e/speech/x",
        "/v1/other/%2e%2E/speech/x",
        "/v1/.%2e/v1/speech/x",
        "/v1/%73peech/x",
        "/v1/s%70%65ech/x/",
        "/v1/speech/x?y=/../..",
        "http://x/v1/speech/x",
    ];
    for (n, path) in spellings.iter().enumerate() {
        let received = raw(&line, &format!("GET {path}"), "").await;
        assert!(received.starts_with("HTTP/1.1 200 "), "{path}: {received}");
        let snapshot = line.handle().snapshot();
        let admitted = snapshot.bucket("/v1/speech/{voice}").unwrap().admitted();
        assert_eq!(admitted, n as u64 + 1, "{path}");
    }
    // They go up as they came.
    let targets = record.all().into_iter();
    let targets: Vec<_> = targets
        .map(|request| request.unwrap().target().to_owned())
        .collect();
    let sent = spellings.map(|path| path.strip_prefix("http://x").unwrap_or(path));
    assert_eq!(targets, sent);
}

#[tokio::test]
async fn no_spelling_of_speech_leads_past_the_plan() {
    let (upstream, _record) = strict::serve();
    let line = Line::start(&upstream, &["--elevenlabs=free"]);
    for (n, path) in [
        "/v1/text-to-speech/x",
        "/v1//text-to-speech/x/stream",
        "/v1/./text-to-speech/x",
        "/v1/text%2Dto-speech/x/with-timestamps",
        "/v1/a/../text-to-speech/x",
    ]
    .iter()
    .enumerate()
    {
        let received = raw(&line, &format!("POST {path}"), "content-length: 0\r\n").await;
        assert!(received.starts_with("HTTP/1.1 200 "), "{path}: {received}");
        let snapshot = line.handle().snapshot();
        let admitted = snapshot.bucket("multilingual").unwrap().admitted();
        assert_eq!(admitted, n as u64 + 1, "{path}");
    }
}

#[tokio::test]
async fn the_gateway_s_own_paths_go_nowhere_else() {
    let (upstream, record) = strict::serve();
    let line = Line::start(&upstream, &[]);
    for (path, status) in [
        ("/__gateway__/status", "200"),
        ("/__gateway__/status?x=/../..", "200"),
        ("http://x/__gateway__/health", "200"),
        ("/__gateway__/", "404"),
        ("/__gateway__/../v1/models", "404"),
        ("/__gateway__/%2e%2e/v1/models", "404"),
        ("/__gateway__/status/", "404"),
        ("/__gateway__//status", "404"),
    ] {
        let received = raw(&line, &format!("GET {path}"), "").await;
        assert!(
            received.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {received}"
        );
    }
    assert!(record.all().is_empty());
}

#[tokio::test]
async fn a_header_for_the_gateway_never_goes_up_whatever_is_said_of_it() {
    let (upstream, record) = strict::serve();
    let line = Line::start(&upstream, &[]);
    for lines in [
        "X-GATEWAY-PRIORITY: low\r\n",
        "connection: x-gateway-priority\r\nx-gateway-priority: low\r\n",
        "te: trailers\r\nx-gateway-flow: a\r\nx-gateway-flow-weight: 1000\r\n",
    ] {
        let received = raw(&line, "GET /a", lines).await;
        assert!(received.starts_with("HTTP/1.1 200 "), "{lines}: {received}");
    }
    for lines in [
        "x-gateway-priority: high, low\r\n",
        "x-gateway-priority: HIGH\r\n",
        "x-gateway-priority: low\r\nX-Gateway-Priority: low\r\n",
        "x-gateway-flow-weight: -1\r\nx-gateway-flow: a\r\n",
        "x-gateway-flow-weight: 99999999999\r\nx-gateway-flow: a\r\n",
        "x-gateway-flow: \u{ff}\u{fe}\r\nx-gateway-flow: b\r\n",
        "x-gateway-max-wait: 999999999999999999h\r\n",
        "x-gateway-max-wait: NaNs\r\n",
        "x-gateway-endpoint: ../../etc\r\n",
        "x-gateway-: 1\r\n",
        "x-gateway-upstream: http://y\r\n",
    ] {
        let received = raw(&line, "GET /a", lines).await;
        assert!(received.starts_with("HTTP/1.1 400 "), "{lines}: {received}");
    }
    let requests = record.all();
    assert_eq!(requests.len(), 3);
    for request in requests {
        let request = request.unwrap();
        let ours = request
            .headers
            .iter()
            .find(|(name, _)| name.starts_with("x-gateway"));
        assert_eq!(ours, None);
    }
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_by_their_kind() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    let long = "x".repeat(50_000);
    // As much as this is no trouble.
    let received = raw(&line, "GET /a", &format!("x-one: {long}\r\n")).await;
    assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
    assert_eq!(recorded.recv().await.unwrap().headers()["x-one"], *long);
    let received = raw(
        &line,
        "GET /a",
        &format!("x-one: {long}\r\nx-two: {long}\r\n"),
    )
    .await;
    assert!(received.starts_with("HTTP/1.1 431 "), "{received}");
    let many = "x-one: 1\r\n".repeat(120);
    let received = raw(&line, "GET /a", &many).await;
    assert!(received.starts_with("HTTP/1.1 431 "), "{received}");
    // And in HTTP/2, of which the size is counted as its own standard says.
    let request = Request::get(line.url("/a"))
        .header("x-one", &long)
        .header("x-two", &long);
    let answer = client(Version::HTTP_2).request(request.body(full("")).unwrap());
    match soon("an answer", answer).await {
        Ok(answer) => assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(error) => assert!(!error.is_connect(), "{error:?}"),
    }
    assert!(recorded.try_recv().is_err());
}

#[tokio::test]
async fn the_authority_of_http_2_is_held_to_the_host() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    for (host, status) in [
        (line.address.to_string(), StatusCode::OK),
        ("other.example".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        let request = Request::get(line.url("/a")).header("host", host);
        let answer = send(&client(Version::HTTP_2), request.body(full("")).unwrap()).await;
        assert_eq!(answer.status, status);
    }
    recorded.try_recv().unwrap();
    assert!(recorded.try_recv().is_err());
}

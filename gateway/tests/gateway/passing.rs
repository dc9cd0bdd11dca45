//! What comes out at the other end.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    Line, VERSIONS, client, full, get, recorder, says, send, serve, serve_and_count, soon, streamed,
};

/// The ways from a caller through the gateway: the version of each side.
const WAYS: [(Version, &[&str]); 4] = [
    (Version::HTTP_11, &[]),
    (Version::HTTP_2, &[]),
    (Version::HTTP_11, &["--http2"]),
    (Version::HTTP_2, &["--http2"]),
];

/// Sends back what it gets, frame by frame, trailers included.
fn echo() -> String {
    serve(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let mut answer = Response::new(body.map_err(Into::into).boxed_unsync());
        // Without it, HTTP/1.1 sends no trailers.
        if let Some(trailer) = head.headers.get(header::TRAILER) {
            answer
                .headers_mut()
                .insert(header::TRAILER, trailer.clone());
        }
        answer
    })
}

#[tokio::test]
async fn bytes_arrive_as_they_are_sent_in_both_directions() {
    for (version, args) in WAYS {
        let line = Line::start(&echo(), args);
        let (frames, body) = streamed();
        let request = Request::post(line.url("/a")).body(body).unwrap();
        let client = client(version);
        let answer = client.request(request);
        // What comes next is said only when what came before has been heard.
        frames.data("one");
        let mut answer = soon("an answer", answer).await.unwrap();
        assert_eq!(answer.version(), version);
        for next in ["two", "three"] {
            let frame = soon("an echo", answer.frame()).await.unwrap().unwrap();
            assert!(frame.is_data());
            frames.data(next);
        }
        drop(frames);
        let rest = answer.collect().await.unwrap().to_bytes();
        assert_eq!(rest, "three", "{version:?} {args:?}");
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    for (version, args) in WAYS {
        let line = Line::start(&echo(), args);
        let (frames, body) = streamed();
        let request = Request::post(line.url("/a"))
            .header(header::TE, "trailers")
            .header(header::TRAILER, "x-sum")
            .body(body)
            .unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        frames.data("question");
        frames.trailers(trailers.clone());
        drop(frames);
        let answer = send(&client(version), request).await;
        assert_eq!(answer.body, "question");
        assert_eq!(answer.trailers, Some(trailers), "{version:?} {args:?}");
    }
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    const CHUNKS: u8 = 24;
    for (version, args) in WAYS {
        let line = Line::start(&echo(), args);
        let (frames, body) = streamed();
        let request = Request::post(line.url("/a")).body(body).unwrap();
        let chunks: Vec<_> = (0..CHUNKS).map(|n| Bytes::from(vec![n; 1 << 20])).collect();
        for chunk in &chunks {
            frames.data(chunk.clone());
        }
        drop(frames);
        let answer = send(&client(version), request).await;
        assert!(answer.body == chunks.concat(), "{version:?} {args:?}");
    }
}

#[tokio::test]
async fn heads_are_rewritten_for_the_next_connection_and_no_more() {
    for version in VERSIONS {
        let (upstream, mut recorded) = recorder();
        let line = Line::start(&upstream, &[]);
        let path = "/v1//text/%41%2f..;x=1?q=a+b&&c=%20";
        let request = Request::put(line.url(path))
            .header("xi-api-key", "secret")
            .header("x-gateway-max-wait", "20s")
            .header("accept-encoding", "gzip")
            .body(full("question"))
            .unwrap();
        let answer = send(&client(version), request).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"ok"[..]));

        let received = recorded.recv().await.unwrap();
        assert_eq!(received.method(), Method::PUT);
        assert_eq!(received.uri().to_string(), path);
        assert_eq!(received.version(), Version::HTTP_11);
        assert_eq!(received.body(), "question");
        let mut headers: Vec<_> = received.headers().iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        let via = if version == Version::HTTP_2 {
            "2 tower-throttle"
        } else {
            "1.1 tower-throttle"
        };
        let host = upstream.strip_prefix("http://").unwrap();
        let expected = [
            ("accept-encoding", "gzip"),
            ("content-length", "8"),
            ("host", host),
            ("via", via),
            ("xi-api-key", "secret"),
        ];
        let headers: Vec<_> = headers
            .into_iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(headers, expected);
    }
}

#[tokio::test]
async fn the_upstream_is_told_who_called_if_that_is_wanted() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &["--forwarded"]);
    let request = Request::get(line.url("/a"))
        .header("x-forwarded-for", "203.0.113.9")
        .body(full(""))
        .unwrap();
    send(&client(Version::HTTP_2), request).await;
    let received = recorded.recv().await.unwrap();
    let header = |name| received.headers()[name].to_str().unwrap();
    assert_eq!(header("x-forwarded-for"), "203.0.113.9, 127.0.0.1");
    assert_eq!(header("x-forwarded-proto"), "http");
    assert_eq!(header("x-forwarded-host"), line.address.to_string());
    let forwarded = format!("for=127.0.0.1;host=\"{}\";proto=http", line.address);
    assert_eq!(header("forwarded"), forwarded);
}

#[tokio::test]
async fn the_length_that_a_head_request_asks_for_is_passed_on() {
    for (version, args) in WAYS {
        let upstream = serve(async |request: Request<Incoming>| {
            assert_eq!(request.method(), Method::HEAD);
            let mut answer = Response::new(full(""));
            let length = header::HeaderValue::from_static("6");
            answer.headers_mut().insert(header::CONTENT_LENGTH, length);
            answer
        });
        let line = Line::start(&upstream, &[&["--concurrency", "1"], args].concat());
        let request = Request::head(line.url("/a")).body(full("")).unwrap();
        let answer = send(&client(version), request).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, "");
        assert_eq!(answer.headers[header::CONTENT_LENGTH], "6");
        // A body that never comes holds no permit.
        assert_eq!(line.counts("overall"), (0, 0));
    }
}

#[tokio::test]
async fn nor_do_the_gateway_s_own_answers_to_head_have_a_body() {
    for version in VERSIONS {
        let line = Line::start("http://127.0.0.1:1", &["--no-retry"]);
        for (path, status) in [
            ("/__gateway__/status", StatusCode::OK),
            ("/a", StatusCode::BAD_GATEWAY),
        ] {
            let request = Request::head(line.url(path)).body(full("")).unwrap();
            let answer = send(&client(version), request).await;
            assert_eq!((answer.status, &*answer.body), (status, &b""[..]));
            let length = &answer.headers[header::CONTENT_LENGTH];
            assert!(length.to_str().unwrap().parse::<u64>().unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn a_get_may_have_a_body_whose_length_nobody_knows() {
    for (version, args) in WAYS {
        let line = Line::start(&echo(), args);
        let (frames, body) = streamed();
        frames.data("question");
        drop(frames);
        let mut request = Request::get(line.url("/a")).body(body).unwrap();
        if version == Version::HTTP_11 {
            let chunked = "chunked".parse().unwrap();
            request
                .headers_mut()
                .insert(header::TRANSFER_ENCODING, chunked);
        }
        let answer = send(&client(version), request).await;
        assert_eq!(answer.body, "question", "{version:?} {args:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_the_upstream_stays_with_the_gateway() {
    let upstream = serve(async |request: Request<Incoming>| {
        let host = request.headers()[header::HOST].to_str().unwrap();
        let mut answer = Response::new(full(""));
        *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        let location = match request.uri().path() {
            "/there" => "https://example.com/a".to_owned(),
            path => format!("http://{host}{path}/?b=c#d"),
        };
        let location = location.parse().unwrap();
        answer.headers_mut().insert(header::LOCATION, location);
        answer
    });
    let line = Line::start(&upstream, &[]);
    for (path, location) in [("/a", "/a/?b=c#d"), ("/there", "https://example.com/a")] {
        let answer = get(&line.url(path)).await;
        assert_eq!(answer.headers[header::LOCATION], location);
    }
}

/// What comes back on a connection until it is closed.
async fn raw(line: &Line, sent: &[&str]) -> String {
    let mut stream = TcpStream::connect(line.address).await.unwrap();
    for part in sent {
        stream.write_all(part.as_bytes()).await.unwrap();
    }
    let mut received = String::new();
    let read = stream.read_to_string(&mut received);
    soon("the connection closes", read).await.unwrap();
    received
}

#[tokio::test]
async fn a_caller_that_waits_for_a_continue_gets_one() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    let mut stream = TcpStream::connect(line.address).await.unwrap();
    let head = "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\nexpect: 100-continue\r\n\
                connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut received = [0; 25];
    let read = stream.read_exact(&mut received);
    soon("a continue", read).await.unwrap();
    assert_eq!(&received, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"question").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let received = recorded.recv().await.unwrap();
    assert_eq!(received.body(), "question");
    assert!(!received.headers().contains_key(header::EXPECT));
}

#[tokio::test]
async fn a_length_beside_an_encoding_is_not_passed_on() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    let answer = raw(
        &line,
        &[
            "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
            "8\r\nquestion\r\n0\r\n\r\n",
        ],
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let received = recorded.recv().await.unwrap();
    assert_eq!(received.body(), "question");
    assert!(!received.headers().contains_key(header::CONTENT_LENGTH));
}

#[tokio::test]
async fn options_of_the_whole_server_pass() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    let sent = "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = raw(&line, &[sent]).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(recorded.recv().await.unwrap().uri(), "*");
}

#[tokio::test]
async fn a_caller_of_http_1_0_is_answered_in_kind() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    let answer = raw(&line, &["GET /a HTTP/1.0\r\n\r\n"]).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    let received = recorded.recv().await.unwrap();
    assert_eq!(received.headers()[header::VIA], "1.0 tower-throttle");
}

#[tokio::test]
async fn headers_about_one_connection_are_not_passed_on() {
    let (upstream, mut recorded) = recorder();
    let line = Line::start(&upstream, &[]);
    let sent = "GET /a HTTP/1.1\r\nhost: x\r\nconnection: close, x-secret\r\nx-secret: 1\r\n\
                keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic x\r\n\
                upgrade: h2c\r\nte: deflate\r\naccept: */*\r\n\r\n";
    raw(&line, &[sent]).await;
    let received = recorded.recv().await.unwrap();
    let mut names: Vec<_> = received.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "via"]);
}

/// What is left of an answer for a caller that closes: its head, without the date, and its body.
async fn left_of(answer: &'static str) -> (Vec<String>, String) {
    let line = Line::start(&says(answer), &[]);
    let sent = "GET /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = raw(&line, &[sent]).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines = head.lines().filter(|line| !line.starts_with("date:"));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines[1..].sort_unstable();
    (lines, body.to_owned())
}

#[tokio::test]
async fn nor_are_those_of_the_answer() {
    let (head, body) = left_of(
        "HTTP/1.1 200 Fine\r\nconnection: close, x-internal\r\nx-internal: 1\r\n\
         keep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nx-other: 2\r\n\
         content-length: 2\r\n\r\nok",
    )
    .await;
    let expected = [
        "HTTP/1.1 200 Fine",
        "connection: close",
        "content-length: 2",
        "x-other: 2",
    ];
    assert_eq!(head, expected);
    assert_eq!(body, "ok");

    // A length that is overridden is none.
    let (head, body) = left_of(
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let expected = [
        "HTTP/1.1 200 OK",
        "connection: close",
        "transfer-encoding: chunked",
    ];
    assert_eq!(head, expected);
    assert_eq!(body, "2\r\nok\r\n0\r\n\r\n");
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let (upstream, connections) = serve_and_count(async |_| Response::new(full("ok")));
    let line = Line::start(&upstream, &[]);
    for _ in 0..3 {
        // Each from a program of its own.
        assert_eq!(get(&line.url("/a")).await.body, "ok");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

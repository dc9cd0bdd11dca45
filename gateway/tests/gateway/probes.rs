//! Requests that two servers may read in two ways. Whatever a caller sends, the upstream gets requests that can be read
//! in one way only, and none that was hidden in another.
//!
//! `docs/gateway.md` names the published lists that these follow.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    strict::{self, Raw, Record},
    support::{LONG, Line, ms},
    unclear,
};

/// Longer than an answer takes: what has not come by then does not come.
const QUIET: std::time::Duration = ms(1_500);

/// How many callers there are at a time.
const AT_ONCE: usize = 64;

/// Sends this on a connection of its own; what comes back, and whether the connection was closed then.
async fn send(line: &Line, bytes: Vec<u8>) -> (String, bool) {
    let mut stream = TcpStream::connect(line.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // It may close before it has read all.
    let _ = stream.write_all(&bytes).await;
    let mut received = Vec::new();
    let is_closed = loop {
        match timeout(QUIET, stream.read_buf(&mut received)).await {
            Ok(Ok(n)) if n > 0 => {}
            Ok(_) => break true,
            Err(_) => break false,
        }
    };
    (String::from_utf8_lossy(&received).into_owned(), is_closed)
}

fn answers(received: &str) -> usize {
    received.matches("HTTP/1.1 ").count()
}

/// What the upstream has got, each read without doubt.
fn clear(record: &Record) -> Vec<Raw> {
    let all = record.all().into_iter();
    all.map(|one| one.unwrap_or_else(|what| panic!("the upstream was sent {what}")))
        .collect()
}

/// Ways to write `Transfer-Encoding: chunked` that some servers read and others do not.
fn encodings() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b" Transfer-Encoding: chunked"[..],
        b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding\t:\tchunked",
        b"Transfer Encoding: chunked",
        b"Transfer_Encoding: chunked",
        b"Transfer Encoding:chunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:  chunked",
        b"Transfer-Encoding:\x0Bchunked",
        b"Transfer-Encoding: chunked, cow",
        b"Transfer-Encoding: cow, chunked",
        b"Transfer-Encoding: chunked,chunked",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding:",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: chunked;q=1",
        b"Content-Encoding: chunked",
        b"Transfer-Encoding:\n chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding:\r\n\tchunked",
        b"Transfer-Encoding: \"chunked\"",
        b"Transfer-Encoding: 'chunked'",
        b"Transfer-Encoding: chunk",
        b"Transfer-Encoding: xchunked",
        b"TrAnSFer-EnCODinG: cHuNkeD",
        b"TRANSFER-ENCODING: CHUNKED",
        b"Transfer-Encoding: chunked\r",
        b"Transfer-Encoding: chunked\t",
        b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer\r-Encoding: chunked",
        b"Transfer-Encoding: cow chunked bar",
        b"Transfer-Encoding:\xFFchunked",
        b"Transfer-Encoding: ch\x96nked",
        b"Transf\x82r-Encoding: chunked",
        b"X:X\rTransfer-Encoding: chunked",
        b"X:X\nTransfer-Encoding: chunked",
        b"X: X\r\n\rTransfer-Encoding: chunked",
        b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        b"Connection: Content-Length\r\nTransfer-Encoding: chunked",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for byte in (0x00..0x20).chain(0x7F..=0xFF) {
        let around = [
            [&b"Transfer-Encoding:"[..], &[byte], b"chunked"].concat(),
            [&b"Transfer-Encoding"[..], &[byte], b": chunked"].concat(),
            [&[byte][..], b"Transfer-Encoding: chunked"].concat(),
            [&b"Transfer-Encoding: chunked"[..], &[byte]].concat(),
        ];
        all.extend(around);
    }
    all
}

/// A request with this encoding and a length. To who reads the encoding, another request follows; to who reads the
/// length, that is the body.
fn hiding(n: usize, encoding: &[u8], is_before: bool) -> Vec<u8> {
    let hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: x\r\nx: y";
    let length = format!("content-length: {}\r\n", hidden.len());
    let mut bytes = format!("POST /probe/{n} HTTP/1.1\r\n").into_bytes();
    let host = b"host: x\r\n".to_vec();
    let encoding = [encoding, b"\r\n"].concat();
    let lines = if is_before {
        [encoding, host, length.into_bytes()]
    } else {
        [host, length.into_bytes(), encoding]
    };
    bytes.extend(lines.concat());
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(hidden.as_bytes());
    bytes
}

#[tokio::test]
async fn no_way_to_write_an_encoding_hides_a_request() {
    let (upstream, record) = strict::serve();
    let line = std::sync::Arc::new(Line::start(&upstream, &["--no-retry"]));
    let encodings = encodings();
    let mut callers = JoinSet::new();
    for (n, encoding) in encodings.iter().enumerate() {
        for is_before in [true, false] {
            if callers.len() >= AT_ONCE {
                callers.join_next().await.unwrap().unwrap();
            }
            let (line, bytes) = (line.clone(), hiding(n, encoding, is_before));
            let what = bytes.escape_ascii().to_string();
            callers.spawn(async move {
                let (received, is_closed) = send(&line, bytes).await;
                let accepted = received.matches("HTTP/1.1 200 ").count();
                assert!(accepted <= 1, "{what}: {received}");
                // Who is refused has no second try on the same connection.
                assert!(
                    is_closed || received.starts_with("HTTP/1.1 200 "),
                    "{what}: {received}"
                );
            });
        }
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let received = clear(&record);
    assert!(!received.is_empty());
    for request in &received {
        let n = request.target().strip_prefix("/probe/");
        let n: usize = n.unwrap_or_else(|| panic!("{request:?}")).parse().unwrap();
        assert!(n < encodings.len());
    }
}

#[tokio::test]
async fn what_is_not_clear_is_refused_and_the_connection_closed() {
    let (upstream, record) = strict::serve();
    let line = std::sync::Arc::new(Line::start(&upstream, &["--no-retry"]));
    let mut callers = JoinSet::new();
    for (what, mut bytes) in unclear::all() {
        let line = line.clone();
        // A server that went on after it would answer this.
        bytes.extend_from_slice(b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n");
        callers.spawn(async move {
            let (received, is_closed) = send(&line, bytes).await;
            let status = received.split(' ').nth(1).unwrap_or("none");
            let is_refusal =
                ["none", "400", "408", "414", "431", "501", "502", "505"].contains(&status);
            (!is_refusal || !is_closed || answers(&received) > 1)
                .then(|| format!("{what}: closed: {is_closed}: {}", received.escape_debug()))
        });
    }
    let mut wrong = Vec::new();
    while let Some(caller) = callers.join_next().await {
        wrong.extend(caller.unwrap());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A body that turns out to be bad was perhaps begun to be passed on, and is not ended.
    let whole: Vec<_> = clear(&record)
        .into_iter()
        .map(|request| request.line)
        .collect();
    assert!(whole.is_empty(), "{whole:?}");
}

/// What is clear, however unusual it is, and how it goes up.
#[tokio::test]
async fn what_is_clear_is_passed_on_in_the_plainest_form() {
    for (what, sent, body) in [
        (
            "bare line feeds",
            "POST /a HTTP/1.1\nhost: x\ncontent-length: 2\n\nhi",
            "hi",
        ),
        (
            "an extension",
            "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2;x=\"y\"\r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        (
            "leading zeros",
            "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0002\r\nhi\r\n000\r\n\r\n",
            "hi",
        ),
        (
            "a length beside an encoding",
            "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        (
            "an encoding beside a length",
            "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        (
            "one length twice",
            "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
            "hi",
        ),
        (
            "a length with zeros",
            "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 0002\r\n\r\nhi",
            "hi",
        ),
        (
            "an absolute target",
            "GET http://x/a HTTP/1.1\r\nhost: x\r\n\r\n",
            "",
        ),
        (
            "blank lines before it",
            "\r\n\r\nGET /a HTTP/1.1\r\nhost: x\r\n\r\n",
            "",
        ),
        (
            "a length that is about the connection",
            "POST /a HTTP/1.1\r\nhost: x\r\nconnection: content-length\r\ncontent-length: 2\r\n\r\nhi",
            "hi",
        ),
        (
            "a host that is about the connection",
            "GET /a HTTP/1.1\r\nhost: x\r\nconnection: host\r\n\r\n",
            "",
        ),
        (
            "an upgrade that there is not",
            "POST /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\ncontent-length: 2\r\n\r\nhi",
            "hi",
        ),
        (
            "a websocket with a body",
            "POST /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nhi",
            "hi",
        ),
    ] {
        let (upstream, record) = strict::serve();
        let line = Line::start(&upstream, &["--no-retry"]);
        let (received, _) = timeout(LONG, send(&line, sent.into())).await.unwrap();
        assert!(received.starts_with("HTTP/1.1 200 "), "{what}: {received}");
        let requests = clear(&record);
        assert_eq!(requests.len(), 1, "{what}: {requests:?}");
        let request = &requests[0];
        assert_eq!(request.target(), "/a", "{what}");
        assert_eq!(request.body, body.as_bytes(), "{what}");
        assert_eq!(
            request.values("host"),
            [upstream.strip_prefix("http://").unwrap()]
        );
        assert!(
            request.values("connection").is_empty(),
            "{what}: {request:?}"
        );
    }
}

/// RFC 9112, section 6.1: a request with both may be an attempt at smuggling.
#[tokio::test]
async fn nothing_follows_a_request_with_both_a_length_and_an_encoding() {
    let (upstream, record) = strict::serve();
    let line = Line::start(&upstream, &["--no-retry"]);
    for lines in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ] {
        let sent = format!(
            "POST /first HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let (received, is_closed) = send(&line, sent.into()).await;
        assert_eq!((answers(&received), is_closed), (1, true), "{received}");
    }
    let targets = clear(&record).into_iter();
    let targets: Vec<_> = targets.map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/first", "/first"]);
}

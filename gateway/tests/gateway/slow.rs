//! Callers that take too long, and those that only seem to.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{
    Line, VERSIONS, client, full, get, ms, post, recorder, send, serve, soon, streamed, until,
};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n";

/// How many callers were cut, and for what.
async fn cuts(line: &Line, cause: &str) -> bool {
    let page = get(&line.url("/__gateway__/metrics")).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    page.contains(&format!("cause=\"{cause}\"}} 1\n"))
}

async fn connect(line: &Line) -> TcpStream {
    TcpStream::connect(line.address).await.unwrap()
}

/// Until the other side has closed.
async fn closes(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = soon("it closes", stream.read_to_end(&mut rest)).await;
    rest
}

/// An answer of two bytes, on a connection that stays.
async fn answered(stream: &mut TcpStream) {
    stream.write_all(GET).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"ok") {
        let n = soon("an answer", stream.read_buf(&mut received))
            .await
            .unwrap();
        assert!(n > 0, "it is closed");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_not_waited_for() {
    let (upstream, _recorded) = recorder();
    let args = ["--name=slow-head", "--header-timeout=200ms"];
    let line = Line::start(&upstream, &args);
    let mut stream = connect(&line).await;
    stream.write_all(b"GET /a HT").await.unwrap();
    assert!(closes(&mut stream).await.is_empty());

    // Nor is one of which a byte comes now and then.
    let mut stream = connect(&line).await;
    let started = Instant::now();
    let drip = async {
        stream.write_all(b"GET /a HTTP/1.1\r\nx: ").await.unwrap();
        while stream.write_all(b"y").await.is_ok() {
            sleep(ms(50)).await;
        }
    };
    soon("it is cut", drip).await;
    assert!(started.elapsed() >= ms(200));
}

#[tokio::test]
async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let (upstream, _recorded) = recorder();
    let args = ["--header-timeout=200ms", "--idle-timeout=20s"];
    let line = Line::start(&upstream, &args);
    let mut stream = connect(&line).await;
    sleep(ms(400)).await;
    answered(&mut stream).await;
    sleep(ms(400)).await;
    answered(&mut stream).await;
    // The time of a head begins anew with each.
    stream.write_all(b"GET").await.unwrap();
    closes(&mut stream).await;
}

#[tokio::test]
async fn an_idle_connection_ends_in_time() {
    let (upstream, _recorded) = recorder();
    let line = Line::start(&upstream, &["--name=idle", "--idle-timeout=200ms"]);
    let mut silent = connect(&line).await;
    let mut used = connect(&line).await;
    answered(&mut used).await;
    assert!(closes(&mut silent).await.is_empty());
    assert!(closes(&mut used).await.is_empty());
    until("none is left", || line.gateway.connections() == 0).await;
}

#[tokio::test]
async fn a_request_that_waits_is_no_idle_connection() {
    for version in VERSIONS {
        let (upstream, _recorded) = recorder();
        let args = [
            "--limit=/a=per:1/700ms",
            "--idle-timeout=100ms",
            "--header-timeout=100ms",
        ];
        let line = Line::start(&upstream, &args);
        assert_eq!(
            send(&client(version), post(&line.url("/a"))).await.status,
            StatusCode::OK
        );
        let waited = send(&client(version), post(&line.url("/a"))).await;
        assert_eq!(waited.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (upstream, mut recorded) = recorder();
    let args = [
        "--name=slow-body",
        "--concurrency=1",
        "--body-timeout=200ms",
    ];
    let line = Line::start(&upstream, &args);
    // Kept, so that nothing is asked of the limits before it is here.
    let mut stream = connect(&line).await;
    let head = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nques";
    stream.write_all(head).await.unwrap();
    let received = String::from_utf8(closes(&mut stream).await).unwrap();
    assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
    assert!(received.contains("request_timed_out"), "{received}");
    assert!(recorded.try_recv().is_err());
    until("it is counted", || line.counts("overall") == (0, 0)).await;
    assert!(cuts(&line, "body_timeout").await);
}

#[tokio::test]
async fn a_body_that_flows_and_stops_gives_its_permit_back() {
    for version in VERSIONS {
        let upstream = serve(async |request: Request<Incoming>| {
            let whole = request.collect().await;
            let status = if whole.is_ok() { 200 } else { 400 };
            Response::builder().status(status).body(full("ok")).unwrap()
        });
        let args = ["--concurrency=1", "--body-timeout=1s"];
        let line = Line::start(&upstream, &args);
        let (frames, body) = streamed();
        frames.data("ques");
        let request = Request::post(line.url("/a")).body(body).unwrap();
        let answer = send(&client(version), request).await;
        assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
        line.counted("overall", 0, 0).await;
        // It goes on for as long as something comes.
        let (frames, body) = streamed();
        let request = Request::post(line.url("/a")).body(body).unwrap();
        let caller = client(version);
        let call = tokio::spawn(async move { send(&caller, request).await });
        for _ in 0..5 {
            frames.data("more");
            sleep(ms(300)).await;
        }
        drop(frames);
        assert_eq!(call.await.unwrap().status, StatusCode::OK);
    }
}

/// Sends without end.
fn endless() -> String {
    serve(async |_| {
        let (frames, body) = streamed();
        tokio::spawn(async move {
            loop {
                frames.data(vec![0; 1 << 16]);
                sleep(ms(1)).await;
                if frames.is_closed() {
                    return;
                }
            }
        });
        Response::new(body)
    })
}

#[tokio::test]
async fn a_caller_that_reads_nothing_keeps_no_permit() {
    for version in VERSIONS {
        let args = ["--concurrency=1", "--read-timeout=300ms"];
        let line = Line::start(&endless(), &args);
        let caller = client(version);
        let answer = caller.request(post(&line.url("/a")));
        let answer = soon("an answer", answer).await.unwrap();
        line.counted("overall", 0, 1).await;
        line.counted("overall", 0, 0).await;
        // What it reads at last is no whole answer.
        soon("the end", answer.collect()).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_caller_that_waits_for_the_api_is_not_slow() {
    for version in VERSIONS {
        let (frames, body) = streamed();
        let body = std::sync::Mutex::new(Some(body));
        let body = std::sync::Arc::new(body);
        let upstream = serve(move |_| {
            let body = body.lock().unwrap().take().unwrap_or_else(|| full(""));
            async { Response::new(body) }
        });
        let args = [
            "--read-timeout=1s",
            "--idle-timeout=1s",
            "--header-timeout=1s",
        ];
        let line = Line::start(&upstream, &args);
        let caller = client(version);
        let answer = caller.request(post(&line.url("/a")));
        let answer = soon("an answer", answer).await.unwrap();
        frames.data("one, ");
        sleep(ms(1_500)).await;
        frames.data("two");
        drop(frames);
        let whole = soon("the end", answer.collect()).await.unwrap();
        assert_eq!(whole.to_bytes(), Bytes::from("one, two"));
    }
}

#[tokio::test]
async fn one_stream_that_is_not_read_does_not_end_the_others() {
    let args = ["--limit=/a=concurrency:1", "--read-timeout=300ms"];
    let line = Line::start(&endless(), &args);
    let caller = client(Version::HTTP_2);
    let unread = caller.request(post(&line.url("/a")));
    let unread = soon("an answer", unread).await.unwrap();
    line.counted("/a", 0, 0).await;
    let request = Request::get(line.url("/__gateway__/health"))
        .body(full(""))
        .unwrap();
    assert_eq!(send(&caller, request).await.status, StatusCode::OK);
    assert_eq!(line.gateway.connections(), 1);
    drop(unread);
}

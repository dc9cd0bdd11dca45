//! Where the view has its figures from: a layer with an observer, and the status page of a gateway.

use std::{io, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{advance, sleep},
};
use tower::{Layer, ServiceExt};
use tower_throttle::{
    Endpoints, Quota, ThrottleLayer,
    mock::{Fault, Judge, Limit, Work},
};
use watch::{Recent, Stack, Status, attach, demo::Demo, options::Command};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// With every member that a gateway writes, and one that this program does not know.
const PAGE: &str = r#"{
    "upstream": "https://api.example.com", "tunnels": 0, "new": [1],
    "buckets": [{
        "endpoint": "GET /a", "partition": "00000000000000ff", "quota": "Quota(5 per 1s)", "new": {"a": null},
        "waiting": 3, "in_flight": 2, "concurrency": 4, "paused_ms": 1500.5, "head_waiting_ms": 250.0,
        "windows": [{"window": "5/s", "used": 6, "n": 5, "new": 1}],
        "admitted": 10, "refused": 1, "throttled": 4,
        "learned": {"concurrency": 3, "rate": {"n": 4, "period_ms": 1000.0}, "margin_thousandths": 125, "pace_ms": 20.0}
    }]
}"#;

#[tokio::test(start_paused = true)]
async fn a_status_page_is_read() {
    let stack = Status::new().read(PAGE.as_bytes()).unwrap();
    let [bucket] = &stack.buckets[..] else {
        panic!("{stack:?}")
    };
    assert_eq!(bucket.name, "GET /a");
    assert_eq!(bucket.partition.as_deref(), Some("00000000000000ff"));
    assert_eq!(
        (bucket.waiting, bucket.in_flight, bucket.concurrency),
        (3, 2, Some(4))
    );
    assert_eq!(bucket.paused_for, Some(Duration::from_micros(1_500_500)));
    assert_eq!(
        bucket.head.as_ref().unwrap().age,
        Duration::from_millis(250)
    );
    let window = &bucket.windows[0];
    assert_eq!((&*window.label, window.used, window.allowed), ("5/s", 6, 5));
    assert_eq!(
        (bucket.admitted, bucket.refused, bucket.throttled),
        (10, 1, 4)
    );
    let learned = "3 at once, 4 per 1 s, a margin of 12.5 %, one each 20 ms";
    assert_eq!(bucket.learned.as_deref(), Some(learned));
    // When these came is not known.
    assert_eq!(bucket.throttled_last_minute(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_between_two_pages_counts_for_a_minute() {
    let page = |overall: u64, a: u64| {
        format!(
            r#"{{"buckets": [{{"endpoint": "overall", "throttled": {overall}}}, {{"endpoint": "/a", "throttled": {a}}}]}}"#
        )
    };
    let mut status = Status::new();
    let mut read = |overall, a| status.read(page(overall, a).as_bytes()).unwrap();
    read(7, 5);
    advance(seconds(1)).await;
    let stack = read(10, 7);
    // Each answer counts at both.
    assert_eq!(stack.throttled_last_minute, 3);
    assert_eq!(stack.buckets[1].throttled_last_minute(), 2);
    advance(seconds(59)).await;
    assert_eq!(read(10, 7).throttled_last_minute, 3);
    advance(seconds(1)).await;
    assert_eq!(read(10, 7).throttled_last_minute, 0);
    // A gateway that was started anew.
    assert_eq!(read(1, 1).throttled_last_minute, 0);
    assert_eq!(read(2, 1).throttled_last_minute, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_status_page_is_an_error() {
    for page in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"buckets": [{}]}"#,
        r#"{"buckets": 1}"#,
    ] {
        Status::new().read(page.as_bytes()).unwrap_err();
    }
    let bare = Status::new().read(br#"{"buckets": [{"endpoint": "/a", "paused_ms": -1}]}"#);
    assert_eq!(bare.unwrap().buckets[0].paused_for, Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_observer_keeps_throttled_answers_for_a_minute_and_tells_news() {
    let api = Judge::builder()
        .route("GET /a", Limit::unlimited(), Work::none())
        .build();
    api.fault(Fault::status(429).retry_after(seconds(2)));
    let recent = Recent::new();
    let endpoints = Endpoints::new().route("GET /a", Quota::per_second(5));
    let layer = ThrottleLayer::new(endpoints).observe(recent.clone());
    let (handle, client) = (layer.handle(), layer.layer(api));
    let request = Request::get("/a").body(Full::<Bytes>::default()).unwrap();
    let call = tokio::spawn(client.oneshot(request));
    sleep(seconds(1)).await;

    let stack = Stack::of(&handle.snapshot(), &recent);
    let bucket = stack.buckets.iter().find(|bucket| bucket.name == "GET /a");
    let bucket = bucket.unwrap();
    assert_eq!(bucket.throttled_by_second[58..], [1, 0]);
    assert_eq!((stack.throttled_last_minute, bucket.throttled), (1, 1));
    assert!(bucket.paused_for.unwrap() >= seconds(1), "{bucket:?}");
    let head = bucket.head.as_ref().unwrap();
    assert_eq!(head.awaits.as_deref(), Some("the end of a pause"));
    let paused = stack
        .news
        .iter()
        .find(|news| news.words.starts_with("paused"));
    let paused = paused.unwrap();
    assert_eq!((paused.ago, &*paused.bucket), (seconds(1), "GET /a"));
    assert!(
        paused.words.ends_with("the server asked for it"),
        "{paused:?}"
    );

    call.await.unwrap().unwrap();
    sleep(seconds(60)).await;
    assert_eq!(
        Stack::of(&handle.snapshot(), &recent).throttled_last_minute,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn the_demo_ends_when_it_is_told_to_and_is_the_same_each_time() {
    let run = async || {
        let demo = Demo::new();
        let start = tokio::time::Instant::now();
        demo.drive(seconds(6)).await;
        assert_eq!(start.elapsed(), seconds(6));
        demo.look()
    };
    let first = run().await;
    assert!(
        first.buckets.iter().any(|bucket| bucket.waiting > 0),
        "{first:?}"
    );
    assert_eq!(run().await, first);
}

/// Answers each connection with that, and returns the address.
async fn server(answer: &'static str) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..read]);
            assert!(
                head.starts_with("GET /__gateway__/status HTTP/1.1\r\n"),
                "{head}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Ok(format!("http://{address}"))
}

#[tokio::test]
async fn a_gateway_is_asked_for_its_status() {
    let page = r#"{"buckets": [{"endpoint": "/a", "waiting": 2}]}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}",
        page.len()
    );
    let server = server(answer.leak()).await.unwrap();
    let stack = attach::look(attach::address(&server).unwrap())
        .await
        .unwrap();
    assert_eq!(stack.buckets[0].waiting, 2);
}

#[tokio::test]
async fn errors_say_what_is_wrong_with_a_gateway() {
    let answers = [
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "404 Not Found",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
            "no status page: ",
        ),
        ("SSH-2.0-OpenSSH\r\n", "HTTP version"),
    ];
    for (answer, expected) in answers {
        let address = attach::address(&server(answer).await.unwrap()).unwrap();
        let error = attach::look(address).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = attach::look(attach::address(&address).unwrap())
        .await
        .unwrap_err();
    assert!(error.to_lowercase().contains("refused"), "{error}");
}

#[test]
fn addresses_are_of_gateways_or_of_status_pages() {
    let page = |text| attach::address(text).map(|uri| uri.to_string());
    let status = "http://localhost:8080/__gateway__/status";
    assert_eq!(page("http://localhost:8080").unwrap(), status);
    assert_eq!(page("http://localhost:8080/").unwrap(), status);
    assert_eq!(
        page("http://proxy/gate/status").unwrap(),
        "http://proxy/gate/status"
    );
    for wrong in [
        "",
        "localhost:8080",
        "/status",
        "https://localhost",
        "http://",
        "http://a b",
    ] {
        let error = page(wrong).unwrap_err();
        assert!(error.starts_with(&format!("{wrong:?}: ")), "{error}");
        assert!(
            error.ends_with("expected an address such as http://127.0.0.1:8080"),
            "{error}"
        );
    }
}

#[test]
fn the_command_line_is_one_of_two_things() {
    let parse = |line: &str| Command::parse(line.split_whitespace().map(str::to_owned));
    assert_eq!(parse("--demo").unwrap(), Command::Demo(seconds(30)));
    assert_eq!(
        parse("--seconds 5 --demo").unwrap(),
        Command::Demo(seconds(5))
    );
    assert_eq!(parse("-h").unwrap(), Command::Help);
    let page = attach::address("http://localhost").unwrap();
    assert_eq!(parse("http://localhost").unwrap(), Command::Attach(page));
    for (line, expected) in [
        ("", "expected a URL or --demo"),
        (
            "--demo http://localhost",
            "expected a URL or --demo, not both",
        ),
        ("http://localhost --seconds 5", "--seconds is for --demo"),
        (
            "--demo --seconds 4",
            "--seconds: expected a whole number from 5 to 86400, not \"4\"",
        ),
        (
            "--demo --seconds x",
            "--seconds: expected a whole number from 5 to 86400, not \"x\"",
        ),
        ("a b", "unexpected argument \"b\""),
        ("--other", "invalid option '--other'"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{line}: {error}");
    }
}

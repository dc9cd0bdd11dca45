//! The mock ElevenLabs on real sockets, as a test in another language has it: in real time, so with no
//! exact instants, and every wait is bounded. And its controls, over HTTP.

use std::{net::SocketAddr, time::Duration};

use super::support::{Answer, Ask, ms};
use futures_util::future::join_all;
use http::{Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep, time::timeout};
use tower_throttle_mock as mock;
use tower_throttle_mock::{
    Limit, Work,
    elevenlabs::{Audio, MockBuilder, MockElevenLabs, TTS, TTS_STREAM},
};
use tower_throttle_plans::elevenlabs::Plan;

/// Longer than anything here takes on the busiest machine.
const LONG: Duration = Duration::from_secs(20);

type HttpClient = Client<HttpConnector, Full<bytes::Bytes>>;

/// A mock that is served, for as long as this lives.
struct Served {
    mock: MockElevenLabs,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    fn new(mock: MockBuilder) -> Self {
        let mock = mock.build();
        let listener = mock::bind().unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(mock.clone().serve(listener));
        Self {
            mock,
            address,
            server,
        }
    }

    async fn head(&self, client: &HttpClient, ask: Ask) -> Response<Incoming> {
        let mut request = ask.request();
        let path = request.uri().path_and_query().unwrap().clone();
        let uri = format!("http://{}{path}", self.address);
        *request.uri_mut() = uri.parse::<Uri>().unwrap();
        let answer = timeout(LONG, client.request(request)).await;
        answer.expect("an answer in time").unwrap()
    }

    async fn send(&self, client: &HttpClient, ask: Ask) -> Answer {
        let (head, body) = self.head(client, ask).await.into_parts();
        let body = timeout(LONG, body.collect()).await.unwrap().unwrap();
        Answer(Response::from_parts(head, body.to_bytes()))
    }

    /// Waits until so many requests are in flight in the pool.
    async fn in_flight(&self, pool: &str, n: usize) {
        let reached = async {
            while self.mock.report().pool(pool).in_flight != n {
                sleep(ms(1)).await;
            }
        };
        let waited = timeout(LONG, reached).await;
        waited.unwrap_or_else(|_| panic!("there were never {n}:\n{}", self.mock.report()));
    }
}

fn clients() -> [(HttpClient, Version); 2] {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = |http2| {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(http2).build(connector.clone())
    };
    [
        (client(false), Version::HTTP_11),
        (client(true), Version::HTTP_2),
    ]
}

fn hello() -> Value {
    json!({"text": "Hello there, whoever you may be"})
}

fn slow(plan: Plan) -> MockBuilder {
    MockElevenLabs::builder()
        .plan(plan)
        .work(Work::fixed(LONG * 2))
}

#[tokio::test]
async fn streams_really_are_streams_over_http_1_and_2() {
    for (client, version) in clients() {
        let served = Served::new(
            MockElevenLabs::builder()
                .audio(Audio::Silence)
                .work(Work::fixed(ms(600))),
        );
        let whole = served.send(&client, Ask::speak("a", "", &hello())).await;
        let length = whole.bytes().len().to_string();
        assert_eq!(whole.header("content-length"), Some(&*length));
        let ask = Ask::speak("a", "/stream", &hello());
        let mut answer = served.head(&client, ask).await;
        assert_eq!(answer.version(), version);
        assert!(!answer.headers().contains_key("content-length"));
        if version == Version::HTTP_11 {
            assert_eq!(answer.headers()["transfer-encoding"], "chunked");
        }
        let mut audio = Vec::new();
        let mut frames = 0;
        while let Some(frame) = timeout(LONG, answer.frame()).await.unwrap() {
            frames += 1;
            audio.extend(frame.unwrap().into_data().unwrap());
        }
        assert!(frames > 1, "{frames}");
        assert_eq!(audio, *whole.bytes());
        served.in_flight("default", 0).await;
    }
}

#[tokio::test]
async fn a_client_that_is_killed_in_the_middle_of_a_stream_frees_its_slot() {
    for (client, _) in clients() {
        let served = Served::new(slow(Plan::Free));
        let stream = async |client: &HttpClient| {
            let ask = Ask::speak("a", "/stream", &hello());
            served.head(client, ask).await.into_body()
        };
        let mut body = stream(&client).await;
        body.frame().await.unwrap().unwrap();
        let other = stream(&client).await;
        let refused = served.send(&client, Ask::speak("a", "", &hello())).await;
        assert_eq!(refused.status(), 429);
        assert_eq!(served.mock.report().endpoint(TTS_STREAM).in_flight, 2);
        drop((body, other));
        served.in_flight("default/multilingual", 0).await;
        let again = stream(&client).await;
        served.in_flight("default/multilingual", 1).await;
        drop(again);
        drop(client);
        served.in_flight("default/multilingual", 0).await;
    }
}

#[tokio::test]
async fn twelve_at_once_where_four_are_allowed() {
    for (client, version) in clients() {
        let mock = MockElevenLabs::builder().tts(Limit::concurrent(4), Work::fixed(ms(2_000)));
        let served = Served::new(mock);
        let ask = || Ask::speak("a", "", &hello()).header("accept-encoding", "gzip");
        let answers = join_all((0..12).map(|_| served.send(&client, ask()))).await;
        let (accepted, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status() == 200);
        assert_eq!((accepted.len(), refused.len()), (4, 8));
        for answer in refused {
            assert_eq!(answer.status(), 429);
            assert_eq!(answer.header("content-encoding"), Some("gzip"));
            if version == Version::HTTP_11 {
                assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
            }
            for absent in ["retry-after", "request-id", "content-length"] {
                assert_eq!(answer.header(absent), None, "{absent}");
            }
        }
        let report = served.mock.report();
        assert_eq!(report.endpoint(TTS).refused_by_concurrency, 8);
        assert!(report.endpoint(TTS).slowest_refusal < ms(2_000));
    }
}

#[tokio::test]
async fn the_report_is_read_as_json() {
    let [(client, _), _] = clients();
    let served = Served::new(slow(Plan::Free));
    let open = [(); 2].map(|()| {
        let (client, mut request) = (client.clone(), Ask::speak("a", "", &hello()).request());
        let uri = format!("http://{}/v1/text-to-speech/a", served.address);
        *request.uri_mut() = uri.parse().unwrap();
        tokio::spawn(async move { client.request(request).await.map(drop) })
    });
    let reached = async {
        while served.mock.report().accepted() < 2 {
            sleep(ms(1)).await;
        }
    };
    timeout(LONG, reached).await.unwrap();
    served.send(&client, Ask::speak("a", "", &hello())).await;
    served.send(&client, Ask::speak("a", "", &json!({}))).await;
    served.send(&client, Ask::get("/nowhere")).await;
    let report = served
        .send(&client, Ask::get("/__mock__/report"))
        .await
        .json();
    assert_eq!(report["accepted"], 2);
    assert_eq!(report["refused_by_concurrency"], 1);
    assert_eq!(report["unmatched"], 1);
    let tts = &report["endpoints"][0];
    assert_eq!(tts["name"], TTS);
    assert_eq!((&tts["invalid"], &tts["in_flight"]), (&json!(1), &json!(2)));
    assert!(tts["slowest_refusal_ms"].is_number());
    assert_eq!(tts["records"], Value::Null);
    assert_eq!(report["pools"][0]["name"], "default/multilingual");
    assert_eq!(report["pools"][0]["limit"], "2 at once");
    let violation = report["pools"][0]["violations"][0].as_str().unwrap();
    assert!(
        violation.contains("2 in flight where 2 are allowed"),
        "{violation}"
    );

    let ask = Ask::get("/__mock__/report?records=true");
    let report = served.send(&client, ask).await.json();
    let records = report["endpoints"][0]["records"].as_array().unwrap().iter();
    let verdicts: Vec<_> = records
        .map(|record| record["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        ["accepted", "accepted", "refused_by_concurrency", "invalid"]
    );
    for open in open {
        open.abort();
    }
}

#[tokio::test]
async fn faults_are_scheduled_and_cleared() {
    for (client, _) in clients() {
        let served = Served::new(MockElevenLabs::builder().work(Work::none()));
        let control = async |method: &str, resource: &str, body: Value| {
            let ask = Ask::new(method, format!("/__mock__/{resource}")).json(&body);
            let answer = served.send(&client, ask).await;
            (answer.status().as_u16(), answer.json())
        };
        let speak = async || served.send(&client, Ask::speak("a", "", &hello())).await;
        let html = json!({
            "kind": "status", "status": 502, "times": 2,
            "body": "<h1>Bad Gateway</h1>", "headers": {"x-cache": "miss"},
        });
        let busy = json!({"kind": "system_busy", "on": TTS, "retry_after": 2, "gzip": true});
        let late = json!({"kind": "delay", "delay_ms": 100});
        let scheduled = control("POST", "faults", json!([html, busy, late])).await;
        assert_eq!(scheduled, (200, json!({"scheduled": 3})));
        for _ in 0..2 {
            let bad = speak().await;
            assert_eq!(
                (bad.status().as_u16(), bad.text()),
                (502, "<h1>Bad Gateway</h1>")
            );
            assert_eq!(bad.header("content-type"), Some("text/html"));
            assert_eq!(bad.header("x-cache"), Some("miss"));
        }
        let busy = speak().await;
        assert_eq!(busy.status(), 429);
        assert_eq!(busy.header("retry-after"), Some("2"));
        assert_eq!(busy.bytes()[..2], [0x1f, 0x8b]);
        let shown = control("GET", "faults", json!(null)).await.1;
        assert_eq!(shown["scheduled"].as_array().unwrap().len(), 1);
        let start = tokio::time::Instant::now();
        assert_eq!(speak().await.status(), 200);
        assert!(start.elapsed() >= ms(100));

        let broken = json!({"kind": "reset_after", "bytes": 5, "times": "always"});
        control("POST", "faults", broken).await;
        let head = served.head(&client, Ask::speak("a", "", &hello())).await;
        assert!(timeout(LONG, head.collect()).await.unwrap().is_err());
        let cleared = control("DELETE", "faults", json!(null)).await;
        assert_eq!(cleared, (200, json!({"cleared": 1})));
        assert_eq!(speak().await.status(), 200);
    }
}

#[tokio::test]
async fn limits_network_and_memory_are_changed() {
    let [(client, _), _] = clients();
    let served = Served::new(MockElevenLabs::builder().plan(Plan::Pro).work(Work::none()));
    let control = async |resource: &str, body: Value| {
        let ask = Ask::new("POST", format!("/__mock__/{resource}")).json(&body);
        served.send(&client, ask).await.json()
    };
    let status = async |ask: Ask| served.send(&client, ask).await.status().as_u16();
    let speak = || Ask::speak("a", "", &hello());
    let models = || Ask::get("/v1/models");

    let limit = control("limits", json!({"rps": 1, "concurrency": 3})).await;
    assert_eq!(limit, json!({"limit": "1 per 1s, 3 at once"}));
    // An hour, since seconds can pass on a busy machine.
    served.mock.set_speech_limit(Limit::per(1, LONG * 180));
    assert_eq!(status(speak()).await, 200);
    assert_eq!(status(speak()).await, 429);
    control(
        "limits",
        json!({"endpoint": "GET /v1/models", "concurrency": 1}),
    )
    .await;
    assert_eq!(
        served.mock.judge().limit("GET /v1/models"),
        Limit::concurrent(1)
    );
    control("limits", json!({"pool": "default/multilingual"})).await;
    assert_eq!(status(speak()).await, 200);

    control("network", json!({"latency_ms": 150, "jitter_ms": 10})).await;
    let start = tokio::time::Instant::now();
    assert_eq!(status(models()).await, 200);
    assert!(start.elapsed() >= ms(150));

    let user = async || {
        served
            .send(&client, Ask::get("/v1/user/subscription"))
            .await
            .json()
    };
    let credits = user().await["character_count"].as_u64().unwrap();
    assert!(credits > 0);
    let reset = control("reset", json!({"score_only": true})).await;
    assert_eq!(reset, json!({"reset": "score"}));
    assert_eq!(served.mock.report().accepted(), 0);
    assert_eq!(user().await["character_count"], credits);
    // Without a body, too.
    let ask = Ask::new("POST", "/__mock__/reset");
    let reset = served.send(&client, ask).await.json();
    assert_eq!(reset, json!({"reset": "everything"}));
    assert_eq!(user().await["character_count"], 0);
    assert_eq!(
        served.mock.judge().limit("GET /v1/models"),
        Limit::unlimited()
    );
    assert_eq!(status(speak()).await, 200);
    assert_eq!(status(speak()).await, 200);
}

/// Method, resource and body; status and what is said.
const NOT_UNDERSTOOD: [(&str, &str, &str, u16, &str); 17] = [
    (
        "POST",
        "faults",
        "{oops",
        400,
        r#"the body is "{oops": expected JSON (key must be a string at line 1 column 2)"#,
    ),
    (
        "POST",
        "faults",
        "3",
        400,
        "the body is 3: expected an object",
    ),
    (
        "POST",
        "faults",
        "{}",
        400,
        r#"there is no "kind": expected "status", "system_busy", "delay", "reset", "reset_after", "cut_short" or "slow_body""#,
    ),
    (
        "POST",
        "faults",
        r#"{"kind": "fire"}"#,
        400,
        r#""kind" is "fire": expected "status", "system_busy", "delay", "reset", "reset_after", "cut_short" or "slow_body""#,
    ),
    (
        "POST",
        "faults",
        r#"{"kind": "status"}"#,
        400,
        r#"there is no "status", which a fault of the kind "status" needs"#,
    ),
    (
        "POST",
        "faults",
        r#"{"kind": "status", "status": 99}"#,
        400,
        r#""status" is 99: expected 200 to 599"#,
    ),
    (
        "POST",
        "faults",
        r#"{"kind": "status", "status": 500, "headers": {"a b": "c"}}"#,
        400,
        r#""headers" has "a b": "c", which is no header"#,
    ),
    (
        "POST",
        "faults",
        r#"{"kind": "slow_body", "bytes": 0, "every_ms": 1}"#,
        400,
        r#""bytes" is 0: expected a positive integer"#,
    ),
    (
        "POST",
        "faults",
        r#"{"kind": "reset", "times": 0}"#,
        400,
        r#""times" is 0: expected a positive integer or "always""#,
    ),
    (
        "POST",
        "faults",
        r#"{"kind": "delay", "delay_ms": -1}"#,
        400,
        r#""delay_ms" is -1: expected a number of milliseconds, up to a day"#,
    ),
    (
        "POST",
        "faults",
        r#"[{"kind": "reset"}, {"kind": "reset", "bytes": 3}]"#,
        400,
        r#"the field "bytes" has no place here: expected "kind", "delay_ms", "accepted", "on", "after", "times""#,
    ),
    (
        "POST",
        "limits",
        r#"{"concurrency": "four"}"#,
        400,
        r#""concurrency" is "four": expected a positive integer"#,
    ),
    (
        "POST",
        "limits",
        r#"{"endpoint": "a", "pool": "b"}"#,
        400,
        r#"there are "endpoint" and "pool": expected at most one of them"#,
    ),
    (
        "POST",
        "network",
        r#"{"latency": 3}"#,
        400,
        r#"the field "latency" has no place here: expected "latency_ms", "jitter_ms""#,
    ),
    (
        "POST",
        "reset",
        r#"{"score_only": "yes"}"#,
        400,
        r#""score_only" is "yes": expected true or false"#,
    ),
    (
        "PUT",
        "report",
        "",
        405,
        "PUT report is not possible: there are report (GET), faults (GET, POST, DELETE), limits (POST), network (POST) and reset (POST)",
    ),
    (
        "GET",
        "a/b",
        "",
        404,
        "there is no /__mock__/a/b: there are report (GET), faults (GET, POST, DELETE), limits (POST), network (POST) and reset (POST)",
    ),
];

#[tokio::test]
async fn what_is_not_understood_is_said_and_changes_nothing() {
    let [(client, _), _] = clients();
    let served = Served::new(MockElevenLabs::builder().require_key());
    for (method, resource, body, status, message) in NOT_UNDERSTOOD {
        let ask = Ask::new(method, format!("/__mock__/{resource}")).body(body);
        let answer = served.send(&client, ask).await;
        let got = (answer.status().as_u16(), answer.json());
        assert_eq!(got, (status, json!({"error": message})));
    }
    let unknown = json!({"kind": "reset", "on": "POST /v1/nothing"});
    for (resource, body) in [("faults", unknown), ("limits", json!({"endpoint": "/a"}))] {
        let ask = Ask::new("POST", format!("/__mock__/{resource}")).json(&body);
        let answer = served.send(&client, ask).await;
        assert_eq!(answer.status(), 400);
        assert!(
            answer.text().contains("expected one of"),
            "{}",
            answer.text()
        );
    }
    assert!(served.mock.judge().faults().is_empty());
    assert_eq!(served.mock.report().requests(), 0);
}

//! What the gateway is for.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tower_throttle::{
    elevenlabs::{Family, Plan},
    mock::{Judge, Limit, Work},
};

use crate::support::{
    Line, VERSIONS, client, full, get, ms, post, send, serve, serve_judge, streamed,
};

const SPEECH: &str = "POST /v1/text-to-speech/{voice_id}";
const PATH: &str = "/v1/text-to-speech/narrator";

fn speech(at_once: usize, work: Duration) -> Judge {
    Judge::builder()
        .route(SPEECH, Limit::concurrent(at_once), Work::fixed(work))
        .build()
}

/// So many calls at the same moment, each from a program of its own; the statuses of the answers.
async fn at_once(n: usize, url: &str, version: Version) -> Vec<StatusCode> {
    let calls = (0..n).map(async |_| send(&client(version), post(url)).await.status);
    join_all(calls).await
}

#[tokio::test]
async fn twelve_programs_at_once_are_all_answered_where_the_api_allows_four() {
    for version in VERSIONS {
        let judge = speech(4, ms(100));
        let limit = format!("{SPEECH}=concurrency:4");
        let line = Line::start(&serve_judge(&judge), &["--limit", &limit, "--no-retry"]);
        let statuses = at_once(12, &line.url(PATH), version).await;
        assert_eq!(statuses, [StatusCode::OK; 12]);
        let report = judge.report();
        report.assert_compliant();
        assert_eq!(report.accepted(), 12);
        assert_eq!(report.endpoint(SPEECH).most_in_flight, 4);
    }
}

#[tokio::test]
async fn straight_at_the_api_eight_of_twelve_are_refused() {
    join_all(VERSIONS.map(async |version| {
        // So long that none ends before all have arrived.
        let url = serve_judge(&speech(4, ms(3_000)));
        let statuses = at_once(12, &format!("{url}{PATH}"), version).await;
        let count = |status| statuses.iter().filter(|each| **each == status).count();
        assert_eq!(count(StatusCode::OK), 4);
        assert_eq!(count(StatusCode::TOO_MANY_REQUESTS), 8);
    }))
    .await;
}

#[tokio::test]
async fn what_the_api_refuses_all_the_same_is_sent_again() {
    for version in VERSIONS {
        // Nobody has told the gateway of the limit.
        let judge = speech(2, ms(50));
        let line = Line::start(&serve_judge(&judge), &[]);
        let statuses = at_once(6, &line.url(PATH), version).await;
        assert_eq!(statuses, [StatusCode::OK; 6]);
        let report = judge.report();
        assert_eq!(report.accepted(), 6);
        assert!(report.refused() > 0, "{report}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_kept_is_sent_once() {
    // Refuses whatever comes, and has nothing to say of when to come again.
    let url = serve(async |request: Request<Incoming>| {
        request.collect().await.unwrap();
        let mut refusal = Response::new(full("no"));
        *refusal.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        refusal
    });
    let short = Line::start(&url, &["--keep", "7"]);
    let none = Line::start(&url, &["--no-retry"]);
    let flowing = Line::start(&url, &[]);
    for (line, body) in [
        (&short, full("question")),
        (&none, full("question")),
        (&flowing, {
            let (frames, body) = streamed();
            frames.data("question");
            body
        }),
    ] {
        let request = Request::post(line.url("/a")).body(body).unwrap();
        let answer = send(&client(Version::HTTP_11), request).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        // It is the upstream's, and goes down as it came.
        assert_eq!(answer.body, "no");
        assert!(!answer.headers.contains_key("proxy-status"));
        let snapshot = line.handle().snapshot();
        assert_eq!(snapshot.buckets().next().unwrap().admitted(), 1);
    }
}

#[tokio::test]
async fn each_family_of_models_has_a_limit_of_its_own() {
    let line = Line::start(
        &serve_judge(&speech(20, ms(1))),
        &["--elevenlabs", "creator"],
    );
    let speak = async |path: &str, body: String| {
        let request = Request::post(line.url(path)).body(full(body)).unwrap();
        send(&client(Version::HTTP_11), request).await.status
    };
    let text = |model| json!({ "model_id": model, "text": "Hello" }).to_string();
    for (body, family) in [
        (text("eleven_flash_v2_5"), Family::Flash),
        (text("eleven_multilingual_v2"), Family::Multilingual),
        (json!({ "text": "Hello" }).to_string(), Family::Multilingual),
        ("{".to_owned(), Family::Multilingual),
    ] {
        let admitted = |family: Family| {
            let snapshot = line.handle().snapshot();
            let bucket = snapshot.bucket(family.name()).unwrap();
            assert_eq!(
                bucket.concurrency(),
                Some(Plan::Creator.concurrency(family))
            );
            bucket.admitted()
        };
        let before = Family::ALL.map(admitted);
        assert_eq!(speak(PATH, body.clone()).await, StatusCode::OK);
        let grown = Family::ALL.map(|each| u64::from(each == family));
        assert_eq!(
            Family::ALL.map(admitted),
            [before[0] + grown[0], before[1] + grown[1]],
            "{body}"
        );
    }
    // What is no speech is not asked for its model.
    let body = text("eleven_flash_v2_5");
    assert_eq!(speak("/v1/sound", body).await, StatusCode::NOT_FOUND);
    let snapshot = line.handle().snapshot();
    assert_eq!(snapshot.bucket("flash").unwrap().admitted(), 1);
}

#[tokio::test]
async fn keys_have_their_limits_to_themselves_and_show_nowhere() {
    let judge = speech(20, ms(1));
    // A key whose requests are over is forgotten, unless a window still counts them.
    let limit = format!("{SPEECH}=per:5/1h");
    let args = ["--limit", &limit, "--partition-by", "xi-api-key"];
    let line = Line::start(&serve_judge(&judge), &args);
    for key in ["sk_one", "sk_two"] {
        let mut request = post(&line.url(&format!("{PATH}?token={key}")));
        let value = key.parse().unwrap();
        request.headers_mut().insert("xi-api-key", value);
        let answer = send(&client(Version::HTTP_11), request).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let page = get(&line.url("/__gateway__/status")).await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("sk_"), "{text}");
    let buckets = page.json()["buckets"].as_array().unwrap().clone();
    let speech = buckets.iter().filter(|bucket| bucket["endpoint"] == SPEECH);
    let partitions: Vec<_> = speech.map(|bucket| &bucket["partition"]).collect();
    assert_eq!(partitions.len(), 2);
    assert_ne!(partitions[0], partitions[1]);
}

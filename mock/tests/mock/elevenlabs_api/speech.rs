//! Speech from the mock ElevenLabs: what it consists of, when it comes, and what it counts as meanwhile.

use std::time::Duration;

use super::support::{Ask, RACHEL, ms};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tower_throttle_mock::{
    Body, Limit, Work,
    elevenlabs::{
        Account, Audio, MockBuilder, MockElevenLabs, TTS, TTS_STREAM, TTS_STREAM_WITH_TIMESTAMPS,
        TTS_WITH_TIMESTAMPS,
    },
};
use tower_throttle_plans::elevenlabs::Plan;

const FORMS: [&str; 4] = ["", "/stream", "/with-timestamps", "/stream/with-timestamps"];

fn hello() -> Value {
    json!({"text": "Hello there"})
}

fn in_a_second() -> MockBuilder {
    MockElevenLabs::builder().tts(Limit::concurrent(1), Work::fixed(ms(1_000)))
}

/// When each frame of a body comes, and what it is.
async fn frames(mut body: Body) -> Vec<(Duration, Vec<u8>)> {
    let start = Instant::now();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        frames.push((start.elapsed(), data.to_vec()));
    }
    frames
}

fn joined(frames: &[(Duration, Vec<u8>)]) -> Vec<u8> {
    frames.iter().flat_map(|(_, data)| data.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn all_four_endpoints_say_the_same() {
    let mock = in_a_second().build();
    let mut said = Vec::new();
    for rest in FORMS {
        let start = Instant::now();
        let answer = Ask::speak("voice", rest, &hello()).send(&mock).await;
        // All of it has come when the work is done, streamed or not.
        assert_eq!(start.elapsed(), ms(1_000), "{rest}");
        said.push(if rest.ends_with("timestamps") {
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let parts = answer.text().lines().map(|line| {
                let part: Value = serde_json::from_str(line).unwrap();
                let audio = part["audio_base64"].as_str().unwrap();
                BASE64_STANDARD.decode(audio).unwrap()
            });
            parts.collect::<Vec<_>>().concat()
        } else {
            assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
            answer.bytes().to_vec()
        });
    }
    assert!(said.iter().all(|said| said == b"AUDIO(voic):Hello ther..."));
    let report = mock.report();
    for endpoint in [
        TTS,
        TTS_STREAM,
        TTS_WITH_TIMESTAMPS,
        TTS_STREAM_WITH_TIMESTAMPS,
    ] {
        assert_eq!(report.endpoint(endpoint).accepted, 1, "{endpoint}");
    }
    assert_eq!(report.pool("default").accepted, 4);
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_early_and_ends_when_the_work_is_done() {
    let mock = in_a_second().build();
    for rest in ["/stream", "/stream/with-timestamps"] {
        let start = Instant::now();
        let ask = Ask::speak("voice", rest, &hello());
        let body = ask.call(&mock).await.unwrap().into_body();
        assert_eq!(start.elapsed(), ms(100), "{rest}");
        let frames = frames(body).await;
        let times: Vec<_> = frames.iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(times, [0, 300, 600, 900], "{rest}");
        if rest != "/stream" {
            // Each frame is a line that can be read by itself.
            for (_, line) in &frames {
                assert_eq!(
                    line.iter().position(|byte| *byte == b'\n'),
                    Some(line.len() - 1)
                );
                assert!(serde_json::from_slice::<Value>(line).is_ok());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_in_flight_until_its_last_byte_or_until_nobody_reads_it() {
    let mock = in_a_second().build();
    let next = async |rest: &str| {
        let answer = Ask::speak("a", rest, &hello()).send(&mock).await;
        answer.status().as_u16()
    };
    let stream = || Ask::speak("a", "/stream", &hello()).call(&mock);
    let mut body = stream().await.unwrap().into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
        // They share one limit, whichever of them is asked.
        for rest in FORMS {
            assert_eq!(next(rest).await, 429);
        }
    }
    body.frame().await.unwrap().unwrap();
    assert_eq!(next("").await, 200);

    let body = stream().await.unwrap().into_body();
    assert_eq!(next("").await, 429);
    drop(body);
    assert_eq!(next("/stream").await, 200);
    let pending = stream();
    assert_eq!(next("").await, 429);
    drop(pending);
    assert_eq!(next("").await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_success_has_the_headers_of_the_real_one() {
    let mock = MockElevenLabs::builder()
        .plan(Plan::Starter)
        .work(Work::fixed(ms(447)))
        .build();
    let other = Ask::speak("a", "/stream", &hello()).call(&mock);
    let body = json!({"text": "Hello there!", "model_id": "eleven_v3"});
    let answer = Ask::speak("a", "", &body).send(&mock).await;
    let expected = [
        ("content-type", "audio/mpeg"),
        ("character-cost", "3"),
        ("current-concurrent-requests", "2"),
        ("maximum-concurrent-requests", "3"),
        ("workspace-concurrent-requests", "2"),
        ("tts-latency-ms", "447"),
        ("collect-preference", "True"),
        ("server", "uvicorn"),
        ("via", "1.1 google"),
        ("strict-transport-security", "max-age=1800;"),
        ("vary", "Accept-Language"),
        ("access-control-allow-origin", "*"),
        ("access-control-max-age", "600"),
        (
            "access-control-expose-headers",
            "request-id, history-item-id, character-cost, regeneration-count, generation-info, \
             current-concurrent-requests, maximum-concurrent-requests, collect-preference",
        ),
    ];
    for (name, value) in expected {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    for (name, length) in [
        ("request-id", 20),
        ("history-item-id", 20),
        ("x-trace-id", 32),
    ] {
        let id = answer.header(name).unwrap();
        assert_eq!(id.len(), length, "{name}");
        assert!(
            id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{name}"
        );
    }
    // Without a plan, only on request.
    let mock = MockElevenLabs::builder().build();
    let answer = Ask::speak("a", "", &hello()).send(&mock).await;
    assert_eq!(answer.header("maximum-concurrent-requests"), None);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn each_family_of_models_has_the_limit_that_its_plan_says() {
    let mock = MockElevenLabs::builder()
        .plan(Plan::Free)
        .work(Work::fixed(ms(1_000)))
        .build();
    let speak = |model: &str, rest: &str| {
        let body = json!({"text": "a", "model_id": model});
        Ask::speak("a", rest, &body)
    };
    let multilingual = ["eleven_multilingual_v2", "eleven_v3"];
    let flash = ["eleven_flash_v2_5", "eleven_turbo_v2_5"];
    let mut open: Vec<_> = multilingual
        .iter()
        .map(|model| speak(model, "").call(&mock))
        .collect();
    for rest in FORMS {
        open.push(speak(flash[open.len() % 2], rest).call(&mock));
    }
    for (models, limit) in [(multilingual, 2), (flash, 4)] {
        for model in models {
            let refused = speak(model, "/stream").send(&mock).await;
            let message = refused.json()["detail"]["message"].to_string();
            let expected = format!("a maximum of {limit} concurrent requests");
            assert!(message.contains(&expected), "{model}: {message}");
        }
    }
    let report = mock.report();
    let pool = |name: &str| {
        let pool = report.pool(name);
        (pool.accepted, pool.refused_by_concurrency, pool.in_flight)
    };
    assert_eq!(pool("default/multilingual"), (2, 2, 2));
    assert_eq!(pool("default/flash"), (4, 2, 4));
    drop(open);
    // There is no rate.
    for _ in 0..20 {
        assert_eq!(speak("eleven_v3", "").send(&mock).await.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn workspaces_have_limits_of_their_own_and_their_keys_share_them() {
    let team = |plan| Account::new(plan).workspace("team");
    let mock = MockElevenLabs::builder()
        .work(Work::fixed(ms(1_000)))
        .key("one", team(Plan::Starter))
        .key("two", team(Plan::Starter))
        .key("own", Account::new(Plan::Free))
        .build();
    let speak = |key: &str| Ask::speak("a", "", &hello()).key(key);
    let open: Vec<_> = ["one", "two", "one", "own", "own"]
        .map(|key| speak(key).call(&mock))
        .into();
    for key in ["one", "two", "own"] {
        assert_eq!(speak(key).send(&mock).await.status(), 429, "{key}");
    }
    let report = mock.report();
    assert_eq!(report.pool("team/multilingual").most_in_flight, 4);
    assert_eq!(report.pool("workspace-3/multilingual").in_flight, 2);
    // No key is ever on the score card.
    assert!(!report.to_string().contains("own"));
    drop(open);

    // A limit that is changed takes the place of the plans', and who is in flight counts.
    let open = [speak("one").call(&mock), speak("own").call(&mock)];
    mock.set_speech_limit(Limit::concurrent(1));
    for key in ["one", "two", "own"] {
        assert_eq!(speak(key).send(&mock).await.status(), 429, "{key}");
    }
    drop(open);
    assert_eq!(speak("two").send(&mock).await.status(), 200);
    mock.reset_all();
    let open = [speak("own").call(&mock), speak("own").call(&mock)];
    assert_eq!(speak("own").send(&mock).await.status(), 429);
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn the_demos_limit_follows_when_the_judge_is_told_another() {
    let mock = MockElevenLabs::builder().build();
    mock.judge().set_limit(TTS, Limit::concurrent(1));
    let open = Ask::speak("a", "", &hello()).call(&mock);
    let stream = || Ask::speak("a", "/stream", &hello());
    assert_eq!(stream().send(&mock).await.status(), 429);
    mock.set_speech_limit(Limit::concurrent(2));
    assert_eq!(stream().send(&mock).await.status(), 200);
    assert_eq!(mock.judge().limit(TTS), Limit::concurrent(2));
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_the_documented_queue_waits_in_it() {
    let mock = MockElevenLabs::builder()
        .plan(Plan::Free)
        .work(Work::fixed(ms(1_000)))
        .queue(ms(50), 1)
        .build();
    let speak = || Ask::speak("a", "", &hello());
    let start = Instant::now();
    let open = [speak().call(&mock), speak().call(&mock)];
    let queued = speak().call(&mock);
    assert_eq!(speak().send(&mock).await.status(), 429);
    assert_eq!(start.elapsed(), ms(0));
    for open in open {
        open.await.unwrap().into_body().collect().await.unwrap();
    }
    assert_eq!(queued.await.unwrap().status(), 200);
    assert_eq!(start.elapsed(), ms(2_050));
    assert_eq!(mock.report().pool("default/multilingual").queued, 1);
}

#[tokio::test(start_paused = true)]
async fn realistic_times_are_those_that_were_measured() {
    let mock = MockElevenLabs::builder()
        .plan(Plan::Pro)
        .realistic_times()
        .build();
    let took = async |model: &str, rest: &str, characters: usize| {
        let body = json!({"text": "a".repeat(characters), "model_id": model});
        let start = Instant::now();
        Ask::speak("a", rest, &body).send(&mock).await;
        start.elapsed()
    };
    assert_eq!(took("eleven_multilingual_v2", "", 40).await, ms(1_090));
    assert_eq!(took("eleven_multilingual_v2", "", 600).await, ms(5_620));
    assert_eq!(took("eleven_flash_v2_5", "", 40).await, ms(320));
    assert_eq!(took("eleven_flash_v2_5", "/stream", 170).await, ms(580));
    let body = json!({"text": "a".repeat(600), "model_id": "eleven_flash_v2_5"});
    let start = Instant::now();
    let head = Ask::speak("a", "/stream", &body).call(&mock).await.unwrap();
    assert_eq!(start.elapsed(), ms(208));
    let last = frames(head.into_body()).await.pop().unwrap();
    assert_eq!(last.0, ms(1_240 - 208));
}

#[tokio::test(start_paused = true)]
async fn silence_comes_in_the_format_that_was_asked_for() {
    let mock = MockElevenLabs::builder()
        .plan(Plan::Pro)
        .work(Work::none())
        .audio(Audio::Silence)
        .build();
    let second = json!({"text": "a".repeat(16)});
    let cases: [(&str, &str, usize, &[u8]); 6] = [
        ("mp3_44100_128", "audio/mpeg", 16_300, b"\xff\xfb"),
        ("pcm_16000", "audio/pcm", 32_000, b"\0\0"),
        ("wav_24000", "audio/wav", 48_044, b"RIFF"),
        ("ulaw_8000", "audio/basic", 8_000, b"\xff"),
        ("alaw_8000", "audio/x-alaw-basic", 8_000, b"\xd5"),
        ("opus_48000_64", "audio/ogg", 322, b"OggS"),
    ];
    for (format, kind, length, start) in cases {
        let query = format!("?output_format={format}");
        let answer = Ask::speak("a", &query, &second).send(&mock).await;
        assert_eq!(answer.header("content-type"), Some(kind), "{format}");
        assert_eq!(answer.bytes().len(), length, "{format}");
        assert!(answer.bytes().starts_with(start), "{format}");
        let query = format!("/stream?output_format={format}");
        let stream = Ask::speak("a", &query, &second).send(&mock).await;
        assert_eq!(stream.bytes(), answer.bytes(), "{format}");
    }
    let slow = json!({"text": "a".repeat(16), "voice_settings": {"speed": 0.8}});
    let answer = Ask::speak("a", "?output_format=pcm_16000", &slow);
    assert_eq!(answer.send(&mock).await.bytes().len(), 40_000);
}

#[tokio::test(start_paused = true)]
async fn a_long_stream_of_silence_comes_about_once_a_second_of_it() {
    let mock = MockElevenLabs::builder()
        .tts(Limit::unlimited(), Work::fixed(ms(2_000)))
        .audio(Audio::Silence)
        .build();
    let body = json!({"text": "a".repeat(320)});
    let ask = Ask::speak(RACHEL, "/stream", &body);
    let frames = frames(ask.call(&mock).await.unwrap().into_body()).await;
    assert_eq!(frames.len(), 20);
    assert_eq!(frames.last().unwrap().0, ms(1_900));
    let whole = Ask::speak(RACHEL, "", &body).send(&mock).await;
    assert_eq!(joined(&frames), *whole.bytes());
}

#[tokio::test(start_paused = true)]
async fn timestamps_are_those_of_the_characters() {
    let mock = MockElevenLabs::builder().work(Work::none()).build();
    let ask = Ask::speak("a", "/with-timestamps", &json!({"text": "Zoë"}));
    let answer = ask.send(&mock).await.json();
    let expected = json!({
        "characters": ["Z", "o", "ë"],
        "character_start_times_seconds": [0.0, 0.063, 0.125],
        "character_end_times_seconds": [0.063, 0.125, 0.188],
    });
    assert_eq!(answer["alignment"], expected);
    assert_eq!(answer["normalized_alignment"], expected);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_run() {
    let run = async |seed| {
        let mock = MockElevenLabs::builder().seed(seed).build();
        let answer = Ask::speak("a", "", &hello()).send(&mock).await;
        let id = answer.header("request-id").unwrap().to_owned();
        advance(ms(1_000)).await;
        (id, answer.header("tts-latency-ms").unwrap().to_owned())
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}

//! What the post-mortem asks for, at exact instants.

mod common;

use std::{num::NonZeroUsize, time::Duration};

use audio_drama::{
    mocks,
    script::Script,
    split::Kind,
    three_ways::{self, Outcome},
};
use common::{DIALOGUE, NARRATION, SECOND, Stage, script, settle};
use futures_util::future::{join, join3};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn ten_segments_are_refused_or_take_48_or_120_seconds() {
    let base = "http://mock.example".parse().unwrap();
    let outcome = |voiced, seconds| Outcome {
        voiced,
        refused: 10 - voiced,
        took: Duration::from_secs(seconds),
    };
    let api = common::elevenlabs;
    assert_eq!(
        three_ways::unlimited(api(), &base).await.unwrap(),
        outcome(4, 12)
    );
    assert_eq!(
        three_ways::limited(api(), &base, 3).await.unwrap(),
        outcome(10, 48)
    );
    assert_eq!(
        three_ways::limited(api(), &base, 1).await.unwrap(),
        outcome(10, 120)
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_text_is_voiced_all_at_once() {
    let stage = Stage::new(3);
    let start = Instant::now();
    let answer = stage.generate("“One.” “Two.” “Three.” Four.").await;
    assert_eq!(start.elapsed(), DIALOGUE);
    assert_eq!(answer.files().len(), 5);
    assert_eq!(stage.tts().most_in_flight, 3);
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn many_segments_of_dialogue_are_voiced_in_waves_of_one_less() {
    let stage = Stage::new(3);
    let start = Instant::now();
    let answer = stage.generate(&script(10)).await;
    assert_eq!(start.elapsed(), 5 * DIALOGUE);
    assert_eq!(answer.files().len(), 21);
    assert_eq!(stage.tts().most_in_flight, 2);
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn the_careful_limit_is_one_less_and_at_least_one() {
    for (setting, careful) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
        let stage = Stage::new(setting);
        stage.generate(&script(8)).await;
        assert_eq!(stage.tts().most_in_flight, careful);
        stage.assert_calm(setting);
    }
}

#[tokio::test(start_paused = true)]
async fn two_requests_at_the_same_time_share_the_limit() {
    let stage = Stage::new(3);
    let start = Instant::now();
    let (short, other) = (script(3), script(2));
    let (first, second) = join(stage.generate(&short), stage.generate(&other)).await;
    // Five segments, three at a time.
    assert_eq!(start.elapsed(), 2 * DIALOGUE);
    assert_eq!((first.files().len(), second.files().len()), (7, 5));
    assert_eq!(stage.tts().most_in_flight, 3);
    stage.assert_calm(3);

    let start = Instant::now();
    let long = script(6);
    join(stage.generate(&long), stage.generate(&long)).await;
    assert_eq!(start.elapsed(), 6 * DIALOGUE);
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_restored_when_the_last_script_with_much_dialogue_has_ended() {
    let stage = Stage::new(3);
    let (long, longer) = (script(4), script(6));
    let second = async {
        settle().await;
        stage.generate(&longer).await
    };
    let watch = async {
        settle().await;
        assert_eq!(stage.limit(), Some(2));
        // Four segments, two at a time.
        sleep(2 * DIALOGUE).await;
        let running = stage.studio.status().scripts.running;
        assert_eq!(
            running
                .iter()
                .map(|script| script.script)
                .collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(stage.limit(), Some(2));
        sleep(3 * DIALOGUE).await;
        assert_eq!(stage.limit(), Some(3));
    };
    let (first, second, ()) = join3(stage.generate(&long), second, watch).await;
    assert_eq!(
        (first.status, second.status),
        (StatusCode::OK, StatusCode::OK)
    );
}

#[tokio::test(start_paused = true)]
async fn narration_is_not_limited_but_taken_in_ten_at_a_time() {
    let stage = Stage::new(3);
    let sentence = format!("{}. ", "word ".repeat(400));
    let start = Instant::now();
    let answer = stage.generate(&sentence.repeat(25)).await;
    assert_eq!(answer.files().len(), 26);
    assert_eq!(start.elapsed(), 3 * NARRATION);
    assert_eq!(
        stage
            .narrator
            .report()
            .endpoint(mocks::NARRATE)
            .most_in_flight,
        10
    );
    assert_eq!(stage.tts().accepted, 0);
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn the_zip_has_all_segments_in_order_and_a_manifest() {
    let stage = Stage::new(3);
    let answer = stage
        .generate("He said：「你好，『朋友』。」 Then “Bye.”")
        .await;
    assert_eq!(answer.headers["content-type"], "application/zip");
    assert_eq!(
        answer.headers["content-length"],
        answer.body.len().to_string()
    );
    let mut files = answer.files();
    let (name, manifest) = files.pop().unwrap();
    let files: Vec<_> = files
        .into_iter()
        .map(|(name, audio)| (name, String::from_utf8(audio).unwrap()))
        .collect();
    let file = |name: &str, audio: &str| (name.to_owned(), audio.to_owned());
    assert_eq!(
        files,
        [
            file("001_narration.mp3", "NARRATION:He said：..."),
            file("002_dialogue.mp3", "AUDIO(21m0):你好，『朋友』。..."),
            file("003_narration.mp3", "NARRATION:Then..."),
            file("004_dialogue.mp3", "AUDIO(21m0):Bye...."),
        ]
    );
    assert_eq!(name, "manifest.json");
    let entry = |file: &str, kind: &str, text: &str, bytes: usize| json!({"file": file, "kind": kind, "text": text, "bytes": bytes});
    assert_eq!(
        serde_json::from_slice::<Value>(&manifest).unwrap(),
        json!({
            "segments": 4,
            "dialogue": 2,
            "narration": 2,
            "characters": 24,
            "files": [
                entry("001_narration.mp3", "narration", "He said：", files[0].1.len()),
                entry("002_dialogue.mp3", "dialogue", "你好，『朋友』。", files[1].1.len()),
                entry("003_narration.mp3", "narration", "Then", files[2].1.len()),
                entry("004_dialogue.mp3", "dialogue", "Bye.", files[3].1.len()),
            ],
        })
    );
}

#[test]
fn names_sort_as_segments_do_however_many_there_are() {
    for (segments, first, last) in [
        (1, "001_narration.mp3", "001_narration.mp3"),
        (999, "001_narration.mp3", "999_narration.mp3"),
        (1_000, "0001_narration.mp3", "1000_narration.mp3"),
    ] {
        let word = NonZeroUsize::new(4).unwrap();
        let script = Script::new("word ".repeat(segments), word).unwrap();
        assert_eq!(script.segments().len(), segments);
        assert_eq!(script.file_name(0), first);
        assert_eq!(script.file_name(segments - 1), last);
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_what_is_going_on() {
    let stage = Stage::new(3);
    let text = script(8);
    let watch = async {
        sleep(DIALOGUE + SECOND).await;
        let status = stage.status().await;
        // The first five segments are done, so the ten from the sixth on are taken in: all narration of
        // these is done, two of dialogue are being voiced, and three wait.
        assert_eq!(status["setting"], 3);
        assert_eq!(
            status["dialogue"],
            json!({"limit": 2, "generating": 2, "waiting": 3, "sent": 4, "throttled": 0})
        );
        assert_eq!(status["narration"]["limit"], Value::Null);
        assert_eq!(
            status["scripts"],
            json!({
                "begun": 1,
                "completed": 0,
                "running": [{"script": 1, "segments": 16, "dialogue": 8, "completed": 10, "percent": 62}],
            })
        );
    };
    join(stage.generate(&text), watch).await;
    let status = stage.status().await;
    assert_eq!(
        status["scripts"],
        json!({"begun": 1, "completed": 1, "running": []})
    );
    assert_eq!(status["dialogue"]["sent"], 8);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_cancels_its_work() {
    let stage = Stage::new(3);
    let text = script(10);
    let gone = timeout(DIALOGUE + SECOND, stage.generate(&text)).await;
    assert!(gone.is_err());
    assert_eq!(stage.tts().accepted, 4);
    stage.assert_calm(3);

    // All places are free at once.
    let start = Instant::now();
    stage.generate(&script(3)).await;
    assert_eq!(start.elapsed(), DIALOGUE);
    stage.assert_calm(3);
}

#[tokio::test(start_paused = true)]
async fn a_setting_above_the_plan_is_refused_and_corrected() {
    let stage = Stage::new(8);
    let answer = stage.generate(&script(16)).await;
    assert_eq!(answer.files().len(), 33);
    assert!(stage.tts().refused_by_concurrency > 0);
    assert_eq!(stage.tts().accepted, 16);
    let learned = stage.limits.activity(Kind::Dialogue).limit;
    assert_eq!(learned, Some(4), "as the refusals say");
}

#[tokio::test(start_paused = true)]
async fn one_script_too_many_is_told_to_come_back() {
    let stage = Stage::new(3);
    let text = script(1);
    let running: Vec<_> = (0..8)
        .map(|_| {
            let (stage, text) = (stage.clone(), text.clone());
            tokio::spawn(async move { stage.generate(&text).await.status })
        })
        .collect();
    settle().await;
    let answer = stage.generate(&text).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "10");
    assert_eq!(
        answer.error(),
        "8 scripts are running already: try again later"
    );
    for script in running {
        assert_eq!(script.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(stage.generate(&text).await.status, StatusCode::OK);
}

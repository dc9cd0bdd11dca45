//! What the log says.

mod common;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use audio_drama::studio::plan_warnings;
use common::{SECOND, Stage, script, setting};
use serde_json::{Value, json};
use tower_throttle::elevenlabs::Plan;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged on this thread, which is where the whole runtime is.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, (DefaultGuard, MutexGuard<'static, ()>)) {
        // Which events anybody wants is decided for the process, whenever a subscriber comes or goes.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .with_target(false)
            .with_level(false)
            .without_time()
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (log, (guard, turn))
    }

    fn lines(&self) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn lines_with(&self, part: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.contains(part));
        lines
    }
}

impl io::Write for Log {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn every_completion_is_reported_once() {
    let (log, _guard) = Log::start();
    let stage = Stage::new(3);
    stage.generate(&script(10)).await;
    let expected: Vec<_> = (1..=20)
        .map(|n| format!("script 1: {n}/20 ({}%)", n * 5))
        .collect();
    assert_eq!(log.lines_with("%"), expected);
}

#[tokio::test(start_paused = true)]
async fn it_says_what_starts_under_which_limit() {
    let (log, _guard) = Log::start();
    let stage = Stage::new(3);
    stage.generate("“One.” “Two.” Three. “Four.”").await;
    assert_eq!(
        log.lines_with("starts"),
        [
            "script 1: segment 1 of 4 (dialogue) starts: 1 generating, at most 3",
            "script 1: segment 2 of 4 (dialogue) starts: 2 generating, at most 3",
            "script 1: segment 3 of 4 (narration) starts: 1 generating, no limit",
            "script 1: segment 4 of 4 (dialogue) starts: 3 generating, at most 3",
        ]
    );
    stage.generate("“One.” “Two.” “Three.” “Four.”").await;
    assert_eq!(
        log.lines_with("script 2: segment"),
        [
            "script 2: segment 1 of 4 (dialogue) starts: 1 generating, at most 2",
            "script 2: segment 2 of 4 (dialogue) starts: 2 generating, at most 2",
            "script 2: segment 3 of 4 (dialogue) starts: 2 generating, at most 2",
            "script 2: segment 4 of 4 (dialogue) starts: 2 generating, at most 2",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn it_says_when_and_why_the_limit_changes() {
    let (log, _guard) = Log::start();
    let stage = Stage::new(3);
    stage.generate(&script(4)).await;
    assert_eq!(
        log.lines_with("from now on"),
        [
            "a script with 4 segments of dialogue is running: at most 2 segments of dialogue at once from now on",
            "the script with many segments of dialogue has ended: at most 3 segments of dialogue at once from now on",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_setting_above_the_plan_is_said_loudly() {
    let (log, _guard) = Log::start();
    let stage = Stage::new(5);
    stage.studio.check_plan(Some(Plan::Free)).await;
    assert_eq!(
        log.lines_with("recommended"),
        ["the plan free allows 4 at once; 3 are recommended, 5 are set"]
    );
    assert_eq!(
        log.lines_with("ELEVENLABS_MAX_CONCURRENT"),
        [
            "ELEVENLABS_MAX_CONCURRENT is 5, but the plan free allows 4 at once: requests above that will be refused!"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_plan_is_the_one_that_the_api_says() {
    let (log, _guard) = Log::start();
    let stage = Stage::new(5);
    stage.studio.check_plan(None).await;
    let above = "the plan free allows 4 at once: requests above that will be refused!";
    assert_eq!(log.lines_with(above).len(), 1);
    stage.studio.check_plan(Some(Plan::Pro)).await;
    assert_eq!(log.lines_with(above).len(), 1);
    assert_eq!(
        log.lines_with("says the API"),
        ["the plan is free, says the API, and not pro"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_accounts_quota_is_read_with_each_script() {
    let (log, _guard) = Log::start();
    let stage = Stage::new(3);
    assert_eq!(stage.status().await["subscription"], Value::Null);
    stage.studio.check_plan(None).await;
    stage.generate("“Twenty characters.”").await;
    stage.generate("Hello.").await;
    let lines = log.lines_with("subscription");
    let used = |n| format!("subscription: plan free, {n} of 1000000000 characters used");
    // Whether the second is read before or after its script has sent the first request, nobody knows. The
    // model costs half a credit for each character.
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0], &lines[2]), (&used(0), &used(9)));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(
        stage.status().await["subscription"],
        json!({
            "tier": "free",
            "character_count": 9,
            "character_limit": 1_000_000_000,
            "read_seconds_ago": 6,
        })
    );
}

#[test]
fn both_tables_of_limits_are_asked() {
    let warnings = |n, plan, model| plan_warnings(setting(n), plan, model);
    let flash = "eleven_flash_v2_5";
    for (plan, limit) in [
        (Plan::Free, 4),
        (Plan::Starter, 6),
        (Plan::Creator, 10),
        (Plan::Pro, 20),
    ] {
        assert_eq!(warnings(limit, plan, flash), [""; 0]);
        assert_eq!(warnings(limit + 1, plan, flash).len(), 1);
    }
    assert_eq!(
        warnings(8, Plan::Starter, flash),
        [
            "ELEVENLABS_MAX_CONCURRENT is 8, but the plan starter allows 6 at once: requests above that will be refused (of the models in the family flash, as published on 2026-06-26)"
        ]
    );
    assert_eq!(warnings(3, Plan::Free, "eleven_multilingual_v2").len(), 1);
    assert_eq!(warnings(51, Plan::Pro, flash).len(), 1);
}

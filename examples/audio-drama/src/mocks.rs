//! Providers for those who have none at hand: mocks, which judge whether the service keeps to the rules.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tower_throttle::{
    elevenlabs::{Family, Plan},
    mock::{self, Judge, Limit, Received, Work, elevenlabs::MockElevenLabs},
};

use crate::base_url::BaseUrl;

/// The narrator's endpoint.
pub const NARRATE: &str = "POST /v1/audio/speech";

/// What ElevenLabs' free plan allows at once, of the family that the service's model is in.
pub const FREE_PLAN: usize = Plan::Free.concurrency(Family::Flash);

/// Credits enough for everybody who tries the service out.
const CREDITS: u64 = 1_000_000_000;

/// How long the mock ElevenLabs takes for a segment.
const DIALOGUE_TAKES: std::ops::Range<Duration> =
    Duration::from_millis(200)..Duration::from_millis(400);

/// How long the mock narrator does.
const NARRATION_TAKES: std::ops::Range<Duration> =
    Duration::from_millis(50)..Duration::from_millis(150);

/// The mocks that stand in where the configuration names no provider.
#[derive(Clone, Debug)]
pub struct Mocks {
    /// For dialogue.
    pub elevenlabs: MockElevenLabs,
    /// For narration.
    pub narrator: Judge,
}

impl Default for Mocks {
    fn default() -> Self {
        Self {
            elevenlabs: elevenlabs(),
            narrator: narrator(),
        }
    }
}

/// A mock on a socket of its own, until this is dropped.
#[derive(Debug)]
pub struct Served {
    base: BaseUrl,
    task: JoinHandle<io::Result<()>>,
}

impl Served {
    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn start<F>(serve: impl FnOnce(TcpListener) -> F) -> io::Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = mock::bind()?;
        let base = format!("http://{}", listener.local_addr()?);
        Ok(Self {
            base: base.parse().expect("an address makes a URL"),
            task: tokio::spawn(serve(listener)),
        })
    }

    /// Where it is.
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An ElevenLabs on the free plan.
pub fn elevenlabs() -> MockElevenLabs {
    elevenlabs_taking(Work::uniform(DIALOGUE_TAKES))
}

/// The same, that takes another time for a segment.
pub fn elevenlabs_taking(work: Work) -> MockElevenLabs {
    MockElevenLabs::builder()
        .plan(Plan::Free)
        .credits(CREDITS)
        .require_key()
        .known_voices_only()
        .work(work)
        .build()
}

/// A narrator without limits.
pub fn narrator() -> Judge {
    narrator_taking(Work::uniform(NARRATION_TAKES))
}

/// The same, that takes another time for a segment.
pub fn narrator_taking(work: Work) -> Judge {
    Judge::builder()
        .route(NARRATE, Limit::unlimited(), work)
        .check(NARRATE, |received| input(received).is_none().then(no_input))
        .answer(NARRATE, |received| {
            let text = input(received).unwrap_or_default();
            let mut audio = Response::new(Bytes::from(narrated(&text)));
            let mpeg = HeaderValue::from_static("audio/mpeg");
            audio.headers_mut().insert(header::CONTENT_TYPE, mpeg);
            audio
        })
        .build()
}

/// What the mock narrator makes of a text.
pub fn narrated(text: &str) -> String {
    let beginning: String = text.chars().take(10).collect();
    format!("NARRATION:{beginning}...")
}

/// What the mock ElevenLabs makes of a text.
pub fn spoken(voice: &str, text: &str) -> String {
    let voice: String = voice.chars().take(4).collect();
    let beginning: String = text.chars().take(10).collect();
    format!("AUDIO({voice}):{beginning}...")
}

fn input(received: &Received<'_>) -> Option<String> {
    let body: Value = serde_json::from_slice(received.body()).ok()?;
    Some(body["input"].as_str()?.to_owned())
}

fn no_input() -> Response<Bytes> {
    let body = json!({"error": {"message": "input: a text is required"}}).to_string();
    let mut answer = Response::new(body.into());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}

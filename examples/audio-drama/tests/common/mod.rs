//! The service over mocks, all of it in memory and under paused time.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    io::{Cursor, Read},
    sync::Arc,
    time::Duration,
};

use audio_drama::{
    limits::Limits,
    mocks,
    routes::router,
    speech::{ElevenLabs, Narrator, Speech},
    studio::{BATCH, Studio},
};
use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_throttle::{
    BoxError,
    elevenlabs::MaxConcurrent,
    mock::{
        EndpointReport, Judge, Work,
        elevenlabs::{MockElevenLabs, TTS},
    },
};
use zip::ZipArchive;

pub const SECOND: Duration = Duration::from_secs(1);

/// How long a segment of dialogue takes, as in the post-mortem, and one of narration.
pub const DIALOGUE: Duration = Duration::from_secs(12);
pub const NARRATION: Duration = SECOND;

#[derive(Clone)]
pub struct Stage {
    pub app: Router,
    pub studio: Arc<Studio>,
    pub limits: Limits,
    pub elevenlabs: MockElevenLabs,
    pub narrator: Judge,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub fn setting(n: usize) -> MaxConcurrent {
    MaxConcurrent::parse(&n.to_string()).unwrap()
}

pub fn elevenlabs() -> MockElevenLabs {
    mocks::elevenlabs_taking(Work::fixed(DIALOGUE))
}

/// The speech of these services, which look at no address.
pub fn speech<D, BD>(dialogue: D, narrator: Judge, limits: Limits) -> Speech
where
    D: Service<Request<Full<Bytes>>, Response = http::Response<BD>> + Clone + Send + Sync + 'static,
    D::Error: Into<BoxError>,
    D::Future: Send + 'static,
    BD: http_body::Body<Data = Bytes> + Send + 'static,
    BD::Error: Into<BoxError> + Send,
{
    let base = "http://mock.example".parse().unwrap();
    Speech::new(
        ElevenLabs::mock(Clone::clone(&base)),
        dialogue,
        Narrator::mock(base),
        narrator,
        limits,
    )
}

impl Stage {
    pub fn new(at_once: usize) -> Self {
        let elevenlabs = elevenlabs();
        Self::over(at_once, elevenlabs.clone(), elevenlabs)
    }

    /// Sends dialogue to `api`, which may be another way to the mock, or none at all.
    pub fn over<D, BD>(at_once: usize, api: D, elevenlabs: MockElevenLabs) -> Self
    where
        D: Service<Request<Full<Bytes>>, Response = http::Response<BD>>
            + Clone
            + Send
            + Sync
            + 'static,
        D::Error: Into<BoxError>,
        D::Future: Send + 'static,
        BD: http_body::Body<Data = Bytes> + Send + 'static,
        BD::Error: Into<BoxError> + Send,
    {
        Self::with(at_once, api, elevenlabs, NARRATION)
    }

    /// Everything takes no time.
    pub fn instant(at_once: usize) -> Self {
        let work = Work::fixed(Duration::ZERO);
        let api = mocks::elevenlabs_taking(work);
        Self::with(at_once, api.clone(), api, Duration::ZERO)
    }

    fn with<D, BD>(at_once: usize, api: D, elevenlabs: MockElevenLabs, narration: Duration) -> Self
    where
        D: Service<Request<Full<Bytes>>, Response = http::Response<BD>>
            + Clone
            + Send
            + Sync
            + 'static,
        D::Error: Into<BoxError>,
        D::Future: Send + 'static,
        BD: http_body::Body<Data = Bytes> + Send + 'static,
        BD::Error: Into<BoxError> + Send,
    {
        let narrator = mocks::narrator_taking(Work::fixed(narration));
        let limits = Limits::new(setting(at_once));
        let speech = speech(api, narrator.clone(), limits.clone());
        let studio = Arc::new(Studio::new(speech, BATCH));
        Self {
            app: router(Arc::clone(&studio)),
            studio,
            limits,
            elevenlabs,
            narrator,
        }
    }

    pub async fn generate(&self, text: &str) -> Answer {
        let body = json!({"text": text}).to_string();
        self.post("application/json", body).await
    }

    pub async fn post(&self, content_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post("/generate")
            .header(header::CONTENT_TYPE, content_type)
            .body(body.into());
        self.send(request.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.app.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub async fn status(&self) -> Value {
        let answer = self.get("/status").await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.json()
    }

    pub fn tts(&self) -> EndpointReport {
        self.elevenlabs.report().endpoint(TTS).clone()
    }

    /// The limit of dialogue now.
    pub fn limit(&self) -> Option<usize> {
        self.limits
            .activity(audio_drama::split::Kind::Dialogue)
            .limit
    }

    /// Nothing was refused, and nothing is left behind.
    pub fn assert_calm(&self, limit: usize) {
        self.elevenlabs.report().assert_compliant();
        self.assert_idle(limit);
    }

    pub fn assert_idle(&self, limit: usize) {
        let status = self.studio.status();
        assert_eq!(self.tts().in_flight, 0, "at the API");
        assert_eq!(status.dialogue.generating, 0, "at the limiter");
        assert_eq!(status.dialogue.waiting, 0);
        assert_eq!(status.narration.generating, 0);
        assert_eq!(status.scripts.running, []);
        assert_eq!(status.dialogue.limit, Some(limit));
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn error(&self) -> String {
        let json = self.json();
        json["error"].as_str().unwrap().to_owned()
    }

    /// The names and contents of the zip's files, in order.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        let mut zip = ZipArchive::new(Cursor::new(&self.body)).unwrap();
        let files = (0..zip.len()).map(|index| {
            let mut file = zip.by_index(index).unwrap();
            let mut data = Vec::new();
            file.read_to_end(&mut data).unwrap();
            (file.name().to_owned(), data)
        });
        files.collect()
    }
}

/// Somebody tells, and then somebody says something, so many times.
pub fn script(dialogue: usize) -> String {
    let lines = (1..=dialogue).map(|n| format!("Line {n}. “Speech {n}!”\n"));
    lines.collect()
}

/// Lets everything happen that needs no time.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

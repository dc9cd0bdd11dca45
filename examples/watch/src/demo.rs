//! A client under load, and the API that judges it, both in this process.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tower::{Layer, ServiceExt};
use tower_throttle::{
    Cost, Endpoints, Handle, Quota, Terms, Throttle, ThrottleLayer, Unit,
    mock::{Judge, Limit, Work},
};

use crate::{
    recent::Recent,
    stack::{Stack, Window},
};

const SPEECH: &str = "POST /v1/text-to-speech/{voice_id}";
const CLONING: &str = "POST /v1/voices/add";
const VOICES: &str = "GET /v1/voices";
const CHAT: &str = "POST /v1/chat/completions";

const SECOND: Duration = Duration::from_secs(1);

/// The shortest demo that shows everything, in seconds.
pub const SHORTEST: u64 = 5;

/// A client, its layer, and its API.
#[derive(Debug)]
pub struct Demo {
    client: Throttle<Judge>,
    handle: Handle,
    recent: Recent,
}

/// What a demo has shown so far.
#[derive(Clone, Debug, Default)]
pub struct Seen(BTreeSet<&'static str>);

/// What it has to show.
const SHOWN: [&str; 5] = [FULL, QUEUE, PAUSE, LESSON, THROTTLED];
const FULL: &str = "a full window";
const QUEUE: &str = "a queue";
const PAUSE: &str = "a pause";
const LESSON: &str = "a lesson";
const THROTTLED: &str = "a throttled answer";

/// Requests that come together.
struct Wave {
    /// The path, with its method.
    what: (&'static str, &'static str),
    tokens: Option<u64>,
    n: usize,
    /// When the first come, and after how long the next.
    first: Duration,
    every: Duration,
}

impl Demo {
    /// Nothing has been sent yet.
    pub fn new() -> Self {
        // Pauses end a little later than the server asks for, by chance: the same in each demo.
        fastrand::seed(7);
        let ms = Duration::from_millis;
        let api = Judge::builder()
            .route(
                SPEECH,
                Limit::per(5, SECOND).concurrency(4),
                Work::uniform(ms(300)..ms(1_200)),
            )
            .route(
                CLONING,
                Limit::concurrent(1),
                Work::uniform(ms(1_500)..ms(3_000)),
            )
            // Fewer than the client is told below.
            .route(
                VOICES,
                Limit::per(4, SECOND),
                Work::uniform(ms(50)..ms(150)),
            )
            .route(CHAT, Limit::unlimited(), Work::uniform(ms(200)..ms(800)))
            .truthful_retry_after()
            .seed(7)
            .build();
        let margin = ms(50);
        let endpoints = Endpoints::new()
            .route(SPEECH, Quota::per_second(5).concurrency(4).margin(margin))
            .route(CLONING, Quota::concurrent(1))
            .route(VOICES, Quota::per_second(10))
            .route(
                CHAT,
                Quota::per_minute(500).units(Unit::TOKENS, 4_000, 10 * SECOND),
            )
            .overall(Quota::per_second(50));
        let recent = Recent::new();
        let layer = ThrottleLayer::new(endpoints).observe(recent.clone());
        Self {
            handle: layer.handle(),
            client: layer.layer(api),
            recent,
        }
    }

    /// What the layer is doing now.
    pub fn look(&self) -> Stack {
        Stack::of(&self.handle.snapshot(), &self.recent)
    }

    /// Sends requests for so long, and drops what is not answered then.
    pub async fn drive(&self, time: Duration) {
        let start = Instant::now();
        let mut calls = JoinSet::new();
        for wave in waves() {
            let mut at = wave.first;
            while at < time {
                for _ in 0..wave.n {
                    calls.spawn(call(
                        self.client.clone(),
                        wave.what,
                        wave.tokens,
                        start + at,
                    ));
                }
                at += wave.every;
            }
        }
        sleep_until(start + time).await;
    }
}

impl Default for Demo {
    fn default() -> Self {
        Self::new()
    }
}

fn waves() -> [Wave; 4] {
    let ms = Duration::from_millis;
    let wave = |what, tokens, n, first, every| Wave {
        what,
        tokens,
        n,
        first: ms(first),
        every: ms(every),
    };
    [
        wave(("POST", "/v1/text-to-speech/narrator"), None, 9, 0, 2_600),
        wave(("POST", "/v1/voices/add"), None, 3, 500, 7_000),
        wave(("GET", "/v1/voices"), None, 7, 1_000, 2_300),
        wave(("POST", "/v1/chat/completions"), Some(650), 2, 200, 1_500),
    ]
}

/// What becomes of one request does not matter here: the view shows what becomes of all.
async fn call(
    client: Throttle<Judge>,
    (method, path): (&'static str, &'static str),
    tokens: Option<u64>,
    at: Instant,
) {
    sleep_until(at).await;
    let mut request = Request::builder().method(method).uri(path);
    if let Some(tokens) = tokens {
        request = request.extension(Terms::new().cost(Cost::new().of(Unit::TOKENS, tokens)));
    }
    let request = request.body(Full::<Bytes>::default());
    let request = request.expect("the method and the path are valid");
    if let Ok(answer) = client.oneshot(request).await {
        let _ = answer.into_body().collect().await;
    }
}

impl Seen {
    /// Notes what there is to be seen now.
    pub fn note(&mut self, stack: &Stack) {
        for bucket in &stack.buckets {
            let is_full = |window: &Window| window.used >= window.allowed;
            let there = [
                (FULL, bucket.windows.iter().any(is_full)),
                (QUEUE, bucket.waiting > 0 && bucket.head.is_some()),
                (PAUSE, bucket.paused_for.is_some()),
                (LESSON, bucket.learned.is_some()),
                (THROTTLED, bucket.throttled_last_minute() > 0),
            ];
            let there = there.into_iter().filter(|(_, is_there)| *is_there);
            self.0.extend(there.map(|(what, _)| what));
        }
    }

    /// What was not seen.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = SHOWN.into_iter().filter(|what| !self.0.contains(what));
        missing.collect()
    }
}

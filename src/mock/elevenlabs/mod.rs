//! A mock of the ElevenLabs API: two of its endpoints, with its limits, statuses and bodies.
//!
//! | endpoint | limit | takes | answers |
//! |---|---|---|---|
//! | [`TTS`] | 5 per second, 4 at once | 0.2 to 0.4 s | `AUDIO(` + first 4 characters of the voice's id + `):` + first 10 of the text + `...` |
//! | [`CLONE_VOICE`] | 1 per second, 1 at once | 0.8 to 10.2 s | `voice_id::` + first 8 hex digits of the SHA-1 of the voice's name |
//!
//! The real API never queues and never sends `Retry-After`: whoever is above the limit gets a 429 at
//! once, and so it is here. A request whose schema is wrong gets the real API's 422, before the limits
//! are asked.
//!
//! ```
//! use tower_throttle::mock::elevenlabs::{Client, MockElevenLabs, TTS};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower_throttle::mock::elevenlabs::Error> {
//! let api = MockElevenLabs::builder().seed(7).build();
//!
//! let client = Client::new(api.clone());
//! let voice = client.clone_voice("narrator").await?;
//! let audio = client.tts(&voice, "Once upon a time").await?;
//!
//! assert_eq!(voice, "voice_id::ec62dcc7");
//! assert_eq!(audio, "AUDIO(voic):Once upon ...");
//! assert_eq!(api.report().endpoint(TTS).accepted, 1);
//! api.report().assert_compliant();
//! # Ok(())
//! # }
//! ```

mod answers;
mod client;

use std::{
    io,
    ops::Range,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::net::TcpListener;
use tower::BoxError;
use tower_service::Service;

use super::{Body, Judge, JudgeBuilder, Limit, Report, ResponseFuture, Work};

pub use client::{Client, Error};

/// The template of the endpoint that turns text to speech.
pub const TTS: &str = "POST /v1/text-to-speech/{voice_id}";

/// The template of the endpoint that clones a voice.
pub const CLONE_VOICE: &str = "POST /v1/voices/add";

/// A mock of the ElevenLabs API, as a service or a server: see the [module](self).
///
/// Clones share their state.
#[derive(Clone, Debug)]
pub struct MockElevenLabs {
    judge: Judge,
}

/// Says what a [`MockElevenLabs`] allows, and how it behaves.
///
/// The order of the calls makes no difference.
#[derive(Debug)]
pub struct MockBuilder {
    judge: JudgeBuilder,
    tts: (Limit, Work),
    clone_voice: (Limit, Work),
    concurrency_headers: bool,
    seed: u64,
}

impl MockElevenLabs {
    /// Starts with the limits and times of the [module](self)'s table, and the seed 0.
    pub fn builder() -> MockBuilder {
        let millis = Duration::from_millis;
        MockBuilder {
            judge: Judge::builder(),
            tts: (
                Limit::rps(5).concurrency(4),
                Work::uniform(millis(200)..millis(400)),
            ),
            clone_voice: (
                Limit::rps(1).concurrency(1),
                Work::uniform(millis(800)..millis(10_200)),
            ),
            concurrency_headers: false,
            seed: 0,
        }
    }

    /// The score card as it is now. Its endpoints are [`TTS`] and [`CLONE_VOICE`].
    pub fn report(&self) -> Report {
        self.judge.report()
    }

    /// The judge that this mock is made of: to change limits, to reset the score, to foretell draws.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Serves HTTP/1.1 and HTTP/2: see [`Judge::serve`].
    ///
    /// # Errors
    ///
    /// As [`Judge::serve`].
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        self.judge.serve(listener).await
    }
}

impl MockBuilder {
    /// Changes what [`TTS`] allows, and how long it works on each request.
    pub fn tts(mut self, limit: Limit, work: Work) -> Self {
        self.tts = (limit, work);
        self
    }

    /// Changes what [`CLONE_VOICE`] allows, and how long it works on each request.
    pub fn clone_voice(mut self, limit: Limit, work: Work) -> Self {
        self.clone_voice = (limit, work);
        self
    }

    /// The seed of all draws: see [`JudgeBuilder::seed`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.judge = self.judge.seed(seed);
        self
    }

    /// Lets every request arrive so much later than it was sent: see [`JudgeBuilder::latency`].
    pub fn latency(mut self, inbound: Duration) -> Self {
        self.judge = self.judge.latency(inbound);
        self
    }

    /// Lets every request arrive later by a time from this range: see [`JudgeBuilder::jitter`].
    ///
    /// # Panics
    ///
    /// If the range ends before it starts.
    #[track_caller]
    pub fn jitter(mut self, inbound: Range<Duration>) -> Self {
        self.judge = self.judge.jitter(inbound);
        self
    }

    /// Lets every refusal take so long to be answered: see [`JudgeBuilder::refusal_after`].
    ///
    /// The real API was seen to take about a quarter of a second.
    pub fn refusal_after(mut self, time: Duration) -> Self {
        self.judge = self.judge.refusal_after(time);
        self
    }

    /// Puts this `Retry-After` on every refusal, unlike the real API: see [`JudgeBuilder::retry_after`].
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.judge = self.judge.retry_after(time);
        self
    }

    /// Puts a `Retry-After` on refusals by rate, unlike the real API: see
    /// [`JudgeBuilder::truthful_retry_after`].
    pub fn truthful_retry_after(mut self) -> Self {
        self.judge = self.judge.truthful_retry_after();
        self
    }

    /// How much notice a client gets of a `Retry-After`: see [`JudgeBuilder::notice`].
    pub fn notice(mut self, time: Duration) -> Self {
        self.judge = self.judge.notice(time);
        self
    }

    /// How many requests each endpoint's report lists: see [`JudgeBuilder::kept_records`].
    pub fn kept_records(mut self, n: usize) -> Self {
        self.judge = self.judge.kept_records(n);
        self
    }

    /// Puts `current-concurrent-requests` and `maximum-concurrent-requests` on [`TTS`]'s successes, as
    /// the real API does: how many are running, the request itself included, and how many may be.
    pub fn concurrency_headers(mut self) -> Self {
        self.concurrency_headers = true;
        self
    }

    /// Opens the API: times on the score card count from now.
    pub fn build(self) -> MockElevenLabs {
        let Self {
            judge,
            tts,
            clone_voice,
            concurrency_headers,
            seed,
        } = self;
        let judge = judge
            .route(TTS, tts.0, tts.1)
            .check(TTS, answers::check_tts)
            .answer(TTS, move |received| {
                answers::tts(received, concurrency_headers)
            })
            .route(CLONE_VOICE, clone_voice.0, clone_voice.1)
            .check(CLONE_VOICE, answers::check_clone_voice)
            .answer(CLONE_VOICE, answers::clone_voice)
            .refusal(answers::refusals(seed))
            .build();
        MockElevenLabs { judge }
    }
}

impl<B> Service<Request<B>> for MockElevenLabs
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    /// Always ready.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::<Request<B>>::poll_ready(&mut self.judge, cx)
    }

    /// As [`Judge`]'s.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        self.judge.call(request)
    }
}

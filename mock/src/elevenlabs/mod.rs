//! A mock of the ElevenLabs API that its real clients cannot tell from the real one.
//!
//! It has the endpoints that speak, clone and manage voices, with the real API's limits, statuses, headers
//! and bodies; it remembers voices and history, and counts credits; and it keeps score of its client, as
//! any [`Judge`] does. It is a service by itself and a server with [`MockElevenLabs::serve`], and as a
//! program it is `cargo run -p tower-throttle-mock --example mock_server`, for tests in other languages.
//!
//! ```
//! use tower_throttle_mock::elevenlabs::{Client, MockElevenLabs, TTS};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower_throttle_mock::elevenlabs::Error> {
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
//!
//! # Endpoints
//!
//! | endpoint | limit by default | takes | answers | permission |
//! |---|---|---|---|---|
//! | [`TTS`] | 5 per second, 4 at once | 0.2 to 0.4 s | `AUDIO(` + first 4 characters of the voice's id + `):` + first 10 of the text + `...` | `text_to_speech` |
//! | [`TTS_STREAM`] | shared with [`TTS`] | the same | the same in chunks, from 0.1 s on | `text_to_speech` |
//! | [`TTS_WITH_TIMESTAMPS`] | shared with [`TTS`] | the same | the same in base64, and when each character is spoken | `text_to_speech` |
//! | [`TTS_STREAM_WITH_TIMESTAMPS`] | shared with [`TTS`] | the same | the same as lines of JSON, from 0.1 s on | `text_to_speech` |
//! | [`CLONE_VOICE`] | 1 per second, 1 at once | 0.8 to 10.2 s | `voice_id::` + first 8 hex digits of the SHA-1 of the voice's name | `create_instant_voice_clone` |
//! | [`VOICES`], [`VOICES_V2`], [`VOICE`] | none | no time | all voices; a page of those that were asked for; one | `voices_read` |
//! | [`DELETE_VOICE`] | none | no time | `{"status":"ok"}` | `voices_write` |
//! | [`MODELS`] | none | no time | all models | `models_read` |
//! | [`USER`], [`SUBSCRIPTION`] | none | no time | the plan, and what is left of it | `user_read` |
//! | [`HISTORY`], [`HISTORY_ITEM`], [`HISTORY_AUDIO`] | none | no time | what was spoken, the newest 1 000 of it | `speech_history_read` |
//! | [`DELETE_HISTORY_ITEM`] | none | no time | `{"status":"ok"}` | `speech_history_write` |
//!
//! Objects have every field that any known client insists on.
//!
//! # Limits
//!
//! By default those of a small demo, as in the table. With [`MockBuilder::plan`], and with
//! [keys](MockBuilder::key), which have plans of their own, it is the real ones: a number of requests in
//! flight for each workspace and each family of models, whichever of the four endpoints they go to, as
//! [`Plan::concurrency`](tower_throttle_plans::elevenlabs::Plan::concurrency) has it; nothing else is limited.
//! A request is in flight until the last byte of its answer has been read, or its client has gone away.
//! Who is above the limit gets a 429 at once, with no `Retry-After` and none of the headers of a
//! success: there is [a queue](MockBuilder::queue), as documented, but only for those who ask for it.
//!
//! On the score card, the limits of workspaces are [pools](Report::pools): `default` without keys, and
//! with plans `default/multilingual` and `default/flash`. A key's workspace has the name that
//! [it was given](Account::workspace), or `workspace-` and the key's number.
//!
//! # Order of checks
//!
//! As in the real API. Whoever is turned down by one of them is not judged: it costs no credits and takes
//! no place.
//!
//! 1. The schema of the query and the body: 422.
//! 2. The key, and its permission: 401, or 404 for the models without a key.
//! 3. Suspected misuse: 401.
//! 4. `output_format`: 400 if unknown, 403 if above the plan.
//! 5. The text's length: 400. The speed, which is no matter of the schema: 400.
//! 6. The voice: 404 if unknown, 402 if it is from the library and the plan is free.
//! 7. The model: 400.
//! 8. Credits: 401.
//! 9. The limits: 429.
//!
//! # Faults
//!
//! Those of [`Judge::fault`] and the API's own [`system_busy`](MockElevenLabs::system_busy):
//!
//! ```
//! use tower_throttle_mock::{Fault, elevenlabs::{MockElevenLabs, TTS}};
//!
//! let api = MockElevenLabs::builder().build();
//! api.judge().fault(api.system_busy().on(TTS).times(2));
//! api.judge().fault(Fault::reset());
//! ```
//!
//! # Control over HTTP
//!
//! For tests that are not written in Rust, under a path that the real API does not have. Nothing there is
//! judged, and no key is asked for. What is not understood is answered with a 4xx and
//! `{"error": ...}`, which names the value and what was expected.
//!
//! | request | does |
//! |---|---|
//! | `GET /__mock__/report` | answers with the score card; with `?records=true` request by request |
//! | `POST /__mock__/faults` | schedules a fault, or a list of them, after those that are scheduled |
//! | `GET`, `DELETE /__mock__/faults` | shows, or clears, those that have not struck as often as they will |
//! | `POST /__mock__/limits` | changes the limit of speech ([`set_speech_limit`](MockElevenLabs::set_speech_limit)), or of the `endpoint` or `pool` that is named: `{"concurrency": 4, "rps": 5}`; what is not there is not limited |
//! | `POST /__mock__/network` | changes how late requests arrive: `{"latency_ms": 50, "jitter_ms": 20}` |
//! | `POST /__mock__/reset` | makes everything as it was in the beginning; with `{"score_only": true}` only the score card |
//!
//! A fault has a `kind`, and whom it strikes: `on` (an endpoint, as in the report; otherwise any), `after` so
//! many requests, so many `times` (or `"always"`; otherwise once), `"accepted": true` for only those that are
//! within the limits; and `delay_ms`, by which the answer comes later.
//!
//! | `kind` | with | what happens |
//! |---|---|---|
//! | `status` | `status`, `body`, `headers`, `gzip`, `retry_after` or `retry_after_date` (in seconds) | an answer with this status; without a body, with the API's own |
//! | `system_busy` | `gzip`, `retry_after`, `retry_after_date` | the API's 429 at times of heavy traffic |
//! | `delay` | `delay_ms` | the answer comes later |
//! | `reset` | | the connection breaks before the answer |
//! | `reset_after` | `bytes` | the connection breaks after so much of the answer's body |
//! | `cut_short` | `bytes` | the body ends there, although more of it was announced |
//! | `slow_body` | `bytes`, `every_ms` | the body comes so many bytes at a time |
//!
//! # Differences from the real API
//!
//! - Speech consists of `AUDIO(...)`, or of [silence](Audio::Silence).
//! - Any voice's id can speak until [told otherwise](MockBuilder::known_voices_only), and two voices with
//!   the same name are one.
//! - Credits come back only by a [reset](#control-over-http). Those of a client that goes away while it is
//!   spoken to are gone.
//! - Words that nobody has published are the mock's own: those about formats, models and items of the history that are
//!   unknown, and about texts that are too long. So is the `content-type` of everything but MP3.
//! - A request above the limit, a route that does not exist and a wrong method are answered in the real words; the
//!   last two without the real headers.

mod account;
mod api;
mod audio;
mod builder;
mod client;
mod cloning;
mod control;
mod endpoints;
mod history;
mod ids;
mod limits;
mod lookup;
mod models;
mod problem;
mod query;
mod response;
mod schema;
mod speech;
mod state;
mod tier;
mod times;
mod user;
mod voice;
mod voices;

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio::net::TcpListener;
use tower::BoxError;
use tower_service::Service;

use self::{api::Api, limits::Limits};
use super::{Body, Fault, Judge, Limit, Report, ResponseFuture};

pub use self::{
    account::Account,
    audio::Audio,
    builder::MockBuilder,
    client::{Client, Error},
    problem::Dialect,
    voice::Voice,
};

/// The template of the endpoint that turns text to speech.
pub const TTS: &str = "POST /v1/text-to-speech/{voice_id}";

/// The template of the endpoint that turns text to speech, and sends it while it is generated.
pub const TTS_STREAM: &str = "POST /v1/text-to-speech/{voice_id}/stream";

/// The template of the endpoint that turns text to speech, and says when each character is spoken.
pub const TTS_WITH_TIMESTAMPS: &str = "POST /v1/text-to-speech/{voice_id}/with-timestamps";

/// The template of the endpoint that does what the other three do, at once.
pub const TTS_STREAM_WITH_TIMESTAMPS: &str =
    "POST /v1/text-to-speech/{voice_id}/stream/with-timestamps";

/// The template of the endpoint that clones a voice.
pub const CLONE_VOICE: &str = "POST /v1/voices/add";

/// The template of the endpoint that lists all voices.
pub const VOICES: &str = "GET /v1/voices";

/// The template of the endpoint that finds voices, page by page.
pub const VOICES_V2: &str = "GET /v2/voices";

/// The template of the endpoint that shows a voice.
pub const VOICE: &str = "GET /v1/voices/{voice_id}";

/// The template of the endpoint that deletes a voice.
pub const DELETE_VOICE: &str = "DELETE /v1/voices/{voice_id}";

/// The template of the endpoint that lists the models.
pub const MODELS: &str = "GET /v1/models";

/// The template of the endpoint that shows the user.
pub const USER: &str = "GET /v1/user";

/// The template of the endpoint that shows the plan, and what is left of it.
pub const SUBSCRIPTION: &str = "GET /v1/user/subscription";

/// The template of the endpoint that lists what was spoken, page by page.
pub const HISTORY: &str = "GET /v1/history";

/// The template of the endpoint that shows something that was spoken.
pub const HISTORY_ITEM: &str = "GET /v1/history/{history_item_id}";

/// The template of the endpoint that forgets something that was spoken.
pub const DELETE_HISTORY_ITEM: &str = "DELETE /v1/history/{history_item_id}";

/// The template of the endpoint that plays again what was spoken.
pub const HISTORY_AUDIO: &str = "GET /v1/history/{history_item_id}/audio";

/// Where the controls are.
const CONTROL: &str = "/__mock__/";

/// A mock of the ElevenLabs API, as a service or a server: see the [module](self).
///
/// Clones share their state.
#[derive(Clone, Debug)]
pub struct MockElevenLabs {
    judge: Judge,
    api: Arc<Api>,
    limits: Arc<Limits>,
}

impl MockElevenLabs {
    /// Starts with the limits and times of the [module](self)'s table, and the seed 0. No key is needed.
    pub fn builder() -> MockBuilder {
        MockBuilder::new()
    }

    /// The score card as it is now. Its endpoints are the constants of this [module](self).
    pub fn report(&self) -> Report {
        self.judge.report()
    }

    /// The judge that this mock is made of: to change limits, to schedule faults, to reset the score, to
    /// foretell draws.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The answer of the real API at times of heavy traffic, to be scheduled with [`Judge::fault`]: a 429
    /// that no limit of the account explains.
    pub fn system_busy(&self) -> Fault {
        control::system_busy(&self.api.responder)
    }

    /// Changes what speech is limited to, on all four endpoints together, from the next arrival on: in each
    /// workspace, and with plans for each family of models. Who is in flight stays so, and counts.
    pub fn set_speech_limit(&self, limit: Limit) {
        self.limits.set(&self.judge, limit);
    }

    /// Makes everything as it was when the mock was built: [what is judged](Judge::reset_all), voices,
    /// history and credits.
    pub fn reset_all(&self) {
        self.judge.reset_all();
        self.limits.reset();
        self.api.state.reset();
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

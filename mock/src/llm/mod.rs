//! A mock of the two large chat APIs, with limits in tokens.
//!
//! It has OpenAI's chat completions and Anthropic's messages, as JSON and as streams, with the real APIs'
//! usage, limits, headers and errors, so that their official SDKs can be pointed at it. What it says makes no
//! sense, but costs tokens; it keeps score of its client, as any [`Judge`] does. It is a service by itself and
//! a server with [`MockLlm::serve`].
//!
//! ```
//! use std::time::Duration;
//!
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use tower::ServiceExt;
//! use tower_throttle_mock::{Limit, llm::{CHAT_COMPLETIONS, MockLlm, TOKENS}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let minute = Duration::from_secs(60);
//! let api = MockLlm::builder()
//!     .openai(Limit::per(500, minute).units(TOKENS, 30_000, minute))
//!     .seed(7)
//!     .build();
//!
//! let body = r#"{"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}"#;
//! let usage = api.usage(CHAT_COMPLETIONS, body.as_bytes()).unwrap();
//! assert_eq!(usage.input_tokens, 2);
//! assert!((1..=50).contains(&usage.output_tokens));
//!
//! let request = Request::post("/v1/chat/completions").body(Full::<bytes::Bytes>::from(body)).unwrap();
//! let answer = api.clone().oneshot(request).await.unwrap();
//! assert_eq!(answer.headers()["x-ratelimit-remaining-requests"], "499");
//! answer.into_body().collect().await.unwrap();
//! assert_eq!(api.report().endpoint(CHAT_COMPLETIONS).unit(TOKENS).accepted, usage.total());
//! # }
//! ```
//!
//! # Endpoints
//!
//! | endpoint | answers | a stream |
//! |---|---|---|
//! | [`CHAT_COMPLETIONS`] | `chat.completion`, with `usage` | `chat.completion.chunk`s, one a token, then `[DONE]`; `usage` in one of its own before that, if the request has `stream_options.include_usage` |
//! | [`MESSAGES`] | `message`, with `usage` | `message_start` with `input_tokens`, a `content_block_delta` for each token, `message_delta` with `output_tokens`, `message_stop` |
//!
//! No key is asked for. Requests that make no sense get the vendor's 400, and are not judged.
//!
//! # What requests cost
//!
//! [`INPUT_TOKENS`] are a quarter of the bytes of all the text in the messages and the system prompt, rounded up,
//! and at least 1. Anything but text costs nothing. [`OUTPUT_TOKENS`] are, by default, drawn from the seed and the
//! request's body: 1 to `max_tokens` (or `max_completion_tokens`; without either to 256), all equally likely. So a
//! request that is sent again costs the same again, and gets the same answer. [`TOKENS`] are both together.
//! [`MockLlm::usage`] tells all of it in advance.
//!
//! Each token is a word of four bytes, so that an answer that becomes part of the next request costs there what
//! it cost here.
//!
//! # Limits
//!
//! None by default. [`MockLlmBuilder::openai`] and [`MockLlmBuilder::anthropic`] take any [`Limit`], in requests,
//! in the units above, and in requests at once; [`MockLlmBuilder::model`] has one for requests that name a
//! model, in addition. Anthropic counts its output tokens [at the end](super::Limit::units_at_end). In a limit that
//! counts [`TOKENS`] or [`OUTPUT_TOKENS`] at arrival, the mock counts what the answer will turn out to cost.
//!
//! Every answer that has been judged says what is left: `x-ratelimit-limit-requests`, `-remaining-`,
//! `-reset-` and the same for `tokens`, as OpenAI does, or
//! `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`. A reset is when
//! the window is empty. Of several windows of a unit, the one with the least room is told. Where Anthropic limits
//! tokens in and out, `tokens` are their sums.
//!
//! Refusals are 429s with the vendors' types and words, and say when there is room: Anthropic's in `retry-after`,
//! OpenAI's also in `retry-after-ms` and in their message. They name no time if a request is
//! [too large](super::Refusal::fits) for a limit, or if too many were in flight.
//!
//! # Differences from the real APIs
//!
//! - Windows are exact, where the real ones are buckets that fill up steadily. So a `reset` is later here.
//! - OpenAI counts at arrival what a request may cost at most, by its `max_tokens`, and does not give back what
//!   was not used. Here it is what it does cost.
//! - An answer whose reader goes away costs as much as one that is read to its end.
//! - There is one choice, of text: no tools, no images, no log probabilities. Fields that are not named here
//!   make no difference, but to the draw.
//!
//! [`Limit`]: super::Limit

mod anthropic;
mod api;
mod builder;
mod chat;
mod headers;
mod limits;
mod openai;
mod output;
mod problem;
mod said;
mod service;
mod times;
mod usage;

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio::net::TcpListener;
use tower::BoxError;

use self::{api::Api, service::Service};
use super::{Body, Fault, Judge, Report, ResponseFuture};

pub use self::{
    api::{CHAT_COMPLETIONS, MESSAGES},
    builder::MockLlmBuilder,
    chat::Chat,
    usage::{INPUT_TOKENS, OUTPUT_TOKENS, TOKENS, Usage},
};

/// A mock of the chat APIs, as a service or a server: see the [module](self).
///
/// Clones share their state.
#[derive(Clone, Debug)]
pub struct MockLlm {
    judge: Judge,
    service: Arc<Service>,
}

impl MockLlm {
    /// Starts without limits, with answers that take no time, and the seed 0.
    pub fn builder() -> MockLlmBuilder {
        MockLlmBuilder::new()
    }

    /// The score card as it is now. Its endpoints are [`CHAT_COMPLETIONS`] and [`MESSAGES`], its pools are
    /// models.
    pub fn report(&self) -> Report {
        self.judge.report()
    }

    /// The judge that this mock is made of: to change limits, to schedule faults, to reset the score.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// What a request with this body costs at this endpoint; nothing if it makes no sense there.
    ///
    /// For clients that have to know exactly what they send.
    ///
    /// # Panics
    ///
    /// If there is no such endpoint.
    #[track_caller]
    pub fn usage(&self, endpoint: &str, body: &[u8]) -> Option<Usage> {
        self.service.usage(known(endpoint), body)
    }

    /// The vendor's answer of this endpoint at times of heavy traffic, to be scheduled with [`Judge::fault`]:
    /// a 529 of Anthropic's, a 503 of OpenAI's.
    ///
    /// # Panics
    ///
    /// If there is no such endpoint.
    #[track_caller]
    pub fn overloaded(&self, endpoint: &str) -> Fault {
        let answer = self.service.overloaded(known(endpoint));
        Fault::answer(answer).on(endpoint)
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

#[track_caller]
fn known(endpoint: &str) -> Api {
    Api::at(endpoint).unwrap_or_else(|| {
        panic!(
            "the mock has no endpoint {endpoint:?}: it has {CHAT_COMPLETIONS:?} and {MESSAGES:?}"
        )
    })
}

impl<B> tower_service::Service<Request<B>> for MockLlm
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
        tower_service::Service::<Request<B>>::poll_ready(&mut self.judge, cx)
    }

    /// As [`Judge`]'s.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        self.judge.call(request)
    }
}

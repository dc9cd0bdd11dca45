//! What the mock is made of, and how it answers.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header, request};

use super::{
    anthropic,
    api::Api,
    chat::Chat,
    headers::put,
    limits, openai,
    output::Output,
    problem::{Problem, error},
    said::Said,
    times::Clock,
    usage::Usage,
};
use crate::{Answer, Received, Refusal, answer};

/// The API behind the judge.
pub(super) struct Service {
    pub(super) output: Output,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    /// Whether OpenAI's refusals have nothing but their message.
    pub(super) bare_refusals: bool,
    /// How many ids have been made.
    pub(super) ids: AtomicU64,
}

impl Service {
    pub(super) fn check(&self, received: &Received<'_>) -> Option<Response<Bytes>> {
        let api = Api::of(received.head());
        let problem = if lacks_version(api, received.head()) {
            Problem::no_version()
        } else {
            Chat::read(api, received.body()).err()?
        };
        let id = self.request_id();
        let mut response = problem.answer(api, &id);
        put_request_id(response.headers_mut(), api, &id);
        Some(response)
    }

    pub(super) fn usage(&self, api: Api, body: &[u8]) -> Option<Usage> {
        let chat = Chat::read(api, body).ok()?;
        Some(Usage {
            input_tokens: chat.input_tokens(),
            output_tokens: self.output.tokens(&chat, body),
        })
    }

    pub(super) fn answer(&self, received: &Received<'_>, per_token: Duration) -> Answer {
        let (api, body) = (Api::of(received.head()), received.body());
        let chat = Chat::read(api, body).expect("it has been checked");
        let output_tokens = self.output.tokens(&chat, body);
        let said = Said {
            usage: Usage {
                input_tokens: chat.input_tokens(),
                output_tokens,
            },
            words: self.output.words(body, output_tokens),
            cut: chat.max_tokens() == Some(output_tokens),
            id: self.id(),
            created: self.clock.unix_now(),
            chat: &chat,
        };
        let mut answer = match (api, chat.is_stream()) {
            (Api::OpenAi, false) => openai::whole(&said),
            (Api::OpenAi, true) => openai::stream(&said, per_token),
            (Api::Anthropic, false) => anthropic::whole(&said),
            (Api::Anthropic, true) => anthropic::stream(&said, per_token),
        };
        let headers = answer.head_mut().headers_mut();
        put_request_id(headers, api, &self.request_id());
        limits::put(headers, api, &received.windows(), &self.clock);
        answer
    }

    /// How much longer than its beginning an answer takes, before it can be sent: a stream's does not.
    pub(super) fn time(&self, received: &Received<'_>, per_token: Duration) -> Duration {
        let (api, body) = (Api::of(received.head()), received.body());
        let chat = Chat::read(api, body).expect("it has been checked");
        if chat.is_stream() {
            return Duration::ZERO;
        }
        let tokens = self.output.tokens(&chat, body);
        per_token.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX))
    }

    /// What is said at times of heavy traffic.
    pub(super) fn overloaded(&self, api: Api) -> Response<Bytes> {
        let (status, kind, message) = match api {
            Api::OpenAi => (
                503,
                "server_error",
                "The engine is currently overloaded, please try again later",
            ),
            Api::Anthropic => (529, "overloaded_error", "Overloaded"),
        };
        let id = self.request_id();
        let status = StatusCode::from_u16(status).expect("both are statuses");
        let mut response = answer::json(status, error(api, kind, message, None, None, &id));
        put_request_id(response.headers_mut(), api, &id);
        response
    }

    pub(super) fn refusal(&self, refusal: &Refusal) -> Answer {
        let api = Api::of(refusal.head());
        let chat = Chat::read(api, refusal.body());
        let model = chat.as_ref().map_or("the model", Chat::model);
        let id = self.request_id();
        let mut response = limits::refusal(api, refusal, model, &id);
        let headers = response.headers_mut();
        if self.bare_refusals && api == Api::OpenAi {
            headers.remove(header::RETRY_AFTER);
            headers.remove(limits::RETRY_AFTER_MS);
        } else {
            limits::put(headers, api, refusal.windows(), &self.clock);
        }
        put_request_id(headers, api, &id);
        response.into()
    }

    /// 24 letters and digits, never the same again.
    fn id(&self) -> String {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut rng = fastrand::Rng::with_seed(self.seed.wrapping_add(number << 32));
        (0..24).map(|_| rng.alphanumeric()).collect()
    }

    fn request_id(&self) -> String {
        format!("req_{}", self.id())
    }
}

fn lacks_version(api: Api, head: &request::Parts) -> bool {
    api == Api::Anthropic && !head.headers.contains_key("anthropic-version")
}

fn put_request_id(headers: &mut HeaderMap, api: Api, id: &str) {
    let name = HeaderName::from_static(match api {
        Api::OpenAi => "x-request-id",
        Api::Anthropic => "request-id",
    });
    put(headers, name, id);
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

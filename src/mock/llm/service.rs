//! Which of the two APIs is spoken, and what the mock is made of.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request};

use super::{
    CHAT_COMPLETIONS, MESSAGES, Usage, anthropic,
    chat::Chat,
    limits, openai,
    output::Output,
    problem::{Problem, error},
    times::Clock,
};
use crate::mock::{Answer, Received, Refusal, answer, path::percent_decode};

/// Whose API a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    OpenAi,
    Anthropic,
}

impl Api {
    pub(super) const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];

    /// The one whose endpoint this is.
    pub(super) fn of(head: &request::Parts) -> Self {
        if percent_decode(head.uri.path()).ends_with("/messages") {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }

    pub(super) fn at(endpoint: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.endpoint() == endpoint)
    }

    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Self::OpenAi => CHAT_COMPLETIONS,
            Self::Anthropic => MESSAGES,
        }
    }

    /// Who may say something in a conversation.
    pub(super) fn roles(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &[
                "system",
                "assistant",
                "user",
                "function",
                "tool",
                "developer",
            ],
            Self::Anthropic => &["user", "assistant"],
        }
    }

    /// How a field of a message is named in errors.
    pub(super) fn message_field(self, at: usize, field: &str) -> String {
        match self {
            Self::OpenAi => format!("messages[{at}].{field}"),
            Self::Anthropic => format!("messages.{at}.{field}"),
        }
    }
}

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

/// What there is to say to a request that makes sense.
pub(super) struct Said<'a> {
    pub(super) chat: &'a Chat,
    pub(super) usage: Usage,
    /// One for each token.
    pub(super) words: Vec<&'static str>,
    /// Whether it ends because no more was asked for.
    pub(super) cut: bool,
    pub(super) id: String,
    /// Now, in seconds of the epoch.
    pub(super) created: u64,
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

/// Sets a header whose value is one of the mock's own making.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::try_from(value);
    headers.insert(name, value.expect("the mock's ids and numbers are ASCII"));
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

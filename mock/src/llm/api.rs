//! Which of the two APIs is spoken.

use http::request;

use crate::path::percent_decode;

/// The template of OpenAI's endpoint.
pub const CHAT_COMPLETIONS: &str = "POST /v1/chat/completions";

/// The template of Anthropic's endpoint.
pub const MESSAGES: &str = "POST /v1/messages";

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

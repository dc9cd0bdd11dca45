//! What a request asks for, in both APIs.

use serde_json::{Map, Value};

use super::{api::Api, problem::Problem};

/// How many tokens an answer can be asked for, at most: no model makes more.
const MOST_TOKENS: u64 = 128_000;

/// A request for an answer, as the mock reads it: see [`MockLlmBuilder::output`](super::MockLlmBuilder::output).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    model: String,
    input_tokens: u64,
    max_tokens: Option<u64>,
    streams: bool,
    /// Whether a stream of OpenAI's says what it has cost.
    pub(super) include_usage: bool,
}

impl Chat {
    /// The name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// How many tokens go in: a quarter of the bytes of all text, rounded up, and at least 1.
    pub fn input_tokens(&self) -> u64 {
        self.input_tokens
    }

    /// How many tokens may come out, if the request says so: `max_tokens`, or `max_completion_tokens`.
    pub fn max_tokens(&self) -> Option<u64> {
        self.max_tokens
    }

    /// Whether the answer is asked for piece by piece.
    pub fn is_stream(&self) -> bool {
        self.streams
    }

    /// Reads a request's body, as strictly as the real API does.
    pub(super) fn read(api: Api, body: &[u8]) -> Result<Self, Problem> {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return Err(Problem::no_json(api));
        };
        let fields = Fields { api, body: &body };
        let model = fields.model()?;
        let max_tokens = fields.max_tokens()?;
        let mut bytes = fields.messages()?;
        if let Some(system) = body.get("system").filter(|_| api == Api::Anthropic) {
            bytes += text_bytes(system).ok_or_else(|| Problem::wrong(api, "system", "string"))?;
        }
        let streams = fields.flag(&body, "stream")?;
        let options = body.get("stream_options").filter(|_| api == Api::OpenAi);
        let include_usage = match options {
            None | Some(Value::Null) => false,
            Some(_) if !streams => return Err(Problem::options_without_stream()),
            Some(Value::Object(options)) => fields.flag(options, "include_usage")?,
            Some(_) => return Err(Problem::wrong(api, "stream_options", "object")),
        };
        Ok(Self {
            model: model.to_owned(),
            input_tokens: tokens(bytes).max(1),
            max_tokens,
            streams,
            include_usage,
        })
    }
}

/// How many tokens a text of so many bytes has.
fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

struct Fields<'a> {
    api: Api,
    body: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn model(&self) -> Result<&'a str, Problem> {
        match self.body.get("model") {
            None | Some(Value::Null) => Err(Problem::missing(self.api, "model")),
            Some(Value::String(model)) if !model.is_empty() => Ok(model),
            Some(_) => Err(Problem::wrong(self.api, "model", "string")),
        }
    }

    /// How many bytes of text the messages have.
    fn messages(&self) -> Result<usize, Problem> {
        let api = self.api;
        let messages = match self.body.get("messages") {
            None | Some(Value::Null) => return Err(Problem::missing(api, "messages")),
            Some(Value::Array(messages)) => messages,
            Some(_) => return Err(Problem::wrong(api, "messages", "array")),
        };
        if messages.is_empty() {
            return Err(Problem::no_messages(api));
        }
        let mut bytes = 0;
        for (at, message) in messages.iter().enumerate() {
            let name = |field: &str| api.message_field(at, field);
            let role = message.get("role").and_then(Value::as_str);
            if !role.is_some_and(|role| api.roles().contains(&role)) {
                return Err(Problem::wrong_role(api, &name("role")));
            }
            bytes += match message.get("content") {
                // A message that only calls tools has none.
                None | Some(Value::Null) if api == Api::OpenAi && role == Some("assistant") => 0,
                None | Some(Value::Null) => return Err(Problem::missing(api, &name("content"))),
                Some(content) => text_bytes(content)
                    .ok_or_else(|| Problem::wrong(api, &name("content"), "string"))?,
            };
        }
        Ok(bytes)
    }

    fn max_tokens(&self) -> Result<Option<u64>, Problem> {
        let names: &[&str] = match self.api {
            Api::OpenAi => &["max_completion_tokens", "max_tokens"],
            Api::Anthropic => &["max_tokens"],
        };
        let given = |name: &&&str| self.body.get(**name).is_some_and(|value| !value.is_null());
        let mut given = names.iter().filter(given);
        let Some(name) = given.next() else {
            return match self.api {
                Api::OpenAi => Ok(None),
                Api::Anthropic => Err(Problem::missing(self.api, "max_tokens")),
            };
        };
        if given.next().is_some() {
            return Err(Problem::two_maxima());
        }
        match self.body[*name].as_u64() {
            Some(0) => Err(Problem::too_small(self.api, name)),
            Some(tokens) if tokens > MOST_TOKENS => Err(Problem::too_many_tokens(
                self.api,
                name,
                tokens,
                MOST_TOKENS,
            )),
            Some(tokens) => Ok(Some(tokens)),
            None if self.body[*name].is_i64() => Err(Problem::too_small(self.api, name)),
            None => Err(Problem::wrong(self.api, name, "integer")),
        }
    }

    fn flag(&self, object: &Map<String, Value>, name: &str) -> Result<bool, Problem> {
        match object.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Problem::wrong(self.api, name, "boolean")),
        }
    }
}

/// How many bytes of text a content has, which is a string or a list of parts; nothing if it is neither.
fn text_bytes(content: &Value) -> Option<usize> {
    match content {
        Value::String(text) => Some(text.len()),
        Value::Array(parts) => parts
            .iter()
            .map(|part| {
                let text = part.as_object()?.get("text");
                // A part that is no text costs nothing here.
                Some(text.and_then(Value::as_str).map_or(0, str::len))
            })
            .sum(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(api: Api, body: &Value) -> Result<Chat, String> {
        let body = body.to_string();
        Chat::read(api, body.as_bytes()).map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn all_text_counts() {
        let body = json!({
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "12345678"},
                {"role": "user", "content": [
                    {"type": "text", "text": "123"},
                    {"type": "image_url", "image_url": {"url": "data:..."}},
                ]},
                {"role": "assistant", "content": null, "tool_calls": []},
            ],
            "max_completion_tokens": 7,
        });
        let chat = read(Api::OpenAi, &body).unwrap();
        assert_eq!((chat.model(), chat.input_tokens()), ("gpt-4o", 3));
        assert_eq!((chat.max_tokens(), chat.is_stream()), (Some(7), false));
        assert!(!chat.include_usage);

        let body = json!({
            "model": "claude",
            "system": [{"type": "text", "text": "1234"}],
            "messages": [{"role": "user", "content": "123456789"}],
            "max_tokens": 7,
            "stream": true,
        });
        let chat = read(Api::Anthropic, &body).unwrap();
        assert_eq!((chat.input_tokens(), chat.is_stream()), (4, true));
    }

    #[test]
    fn usage_in_streams_is_asked_for() {
        let body = |options: &Value| {
            json!({
                "model": "m", "messages": [{"role": "user", "content": ""}],
                "stream": true, "stream_options": options,
            })
        };
        let include = |options: &Value| read(Api::OpenAi, &body(options)).map(|c| c.include_usage);
        assert_eq!(include(&json!({"include_usage": true})), Ok(true));
        assert_eq!(include(&json!({"include_usage": false})), Ok(false));
        assert_eq!(include(&json!({})), Ok(false));
        assert_eq!(include(&Value::Null), Ok(false));
        assert!(include(&json!(1)).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let message = json!([{"role": "user", "content": "Hello"}]);
        for (body, expected) in [
            (json!([]), "parse the JSON"),
            (json!({"messages": message}), "model"),
            (json!({"model": "m"}), "'messages'"),
            (json!({"model": "m", "messages": []}), "empty array"),
            (json!({"model": "m", "messages": [{}]}), "messages[0].role"),
            (
                json!({"model": "m", "messages": [{"role": "user"}]}),
                "messages[0].content",
            ),
            (
                json!({"model": "m", "messages": message, "max_tokens": 0}),
                "'max_tokens'",
            ),
            (
                json!({"model": "m", "messages": message, "max_tokens": "7"}),
                "'max_tokens'",
            ),
            (
                json!({"model": "m", "messages": message, "max_tokens": 1_000_000}),
                "at most 128000",
            ),
            (
                json!({"model": "m", "messages": message, "max_tokens": 1, "max_completion_tokens": 1}),
                "'max_completion_tokens'",
            ),
            (
                json!({"model": "m", "messages": message, "stream_options": {}}),
                "'stream_options'",
            ),
        ] {
            let error = read(Api::OpenAi, &body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
        for (body, expected) in [
            (
                json!({"model": "m", "messages": message}),
                "max_tokens: Field required",
            ),
            (
                json!({"model": "m", "messages": [], "max_tokens": 1}),
                "messages: at least one message is required",
            ),
            (
                json!({"model": "m", "messages": [{"role": "system", "content": ""}], "max_tokens": 1}),
                "messages.0.role",
            ),
            (
                json!({"model": "m", "messages": message, "max_tokens": -1}),
                "max_tokens: Input should be greater than or equal to 1",
            ),
        ] {
            let error = read(Api::Anthropic, &body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}

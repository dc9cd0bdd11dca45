//! What the APIs say to requests that make no sense: statuses, types and words as captured or documented.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::api::Api;
use crate::answer;

/// A 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

impl Problem {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param: None,
            code: None,
        }
    }

    fn about(param: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param: Some(param.to_owned()),
            code: Some(code),
        }
    }

    pub(super) fn no_json(api: Api) -> Self {
        Self::new(match api {
            Api::OpenAi => {
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using \
                 your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was \
                 not valid JSON.)"
            }
            Api::Anthropic => "The request body is not valid JSON.",
        })
    }

    pub(super) fn missing(api: Api, field: &str) -> Self {
        match api {
            Api::OpenAi if field == "model" => Self::new("you must provide a model parameter"),
            Api::OpenAi => {
                let message = format!("Missing required parameter: '{field}'.");
                Self::about(field, "missing_required_parameter", message)
            }
            Api::Anthropic => Self::new(format!("{field}: Field required")),
        }
    }

    pub(super) fn wrong(api: Api, field: &str, expected: &str) -> Self {
        match api {
            Api::OpenAi => {
                let message =
                    format!("Invalid type for '{field}': expected a value of type {expected}.");
                Self::about(field, "invalid_type", message)
            }
            Api::Anthropic => Self::new(format!("{field}: Input should be a valid {expected}")),
        }
    }

    pub(super) fn wrong_role(api: Api, field: &str) -> Self {
        let roles = api.roles().iter();
        let roles: Vec<_> = roles.map(|role| format!("'{role}'")).collect();
        let roles = roles.join(", ");
        match api {
            Api::OpenAi => {
                let message =
                    format!("Invalid value for '{field}'. Supported values are: {roles}.");
                Self::about(field, "invalid_value", message)
            }
            Api::Anthropic => Self::new(format!("{field}: Input should be one of {roles}")),
        }
    }

    pub(super) fn no_messages(api: Api) -> Self {
        match api {
            Api::OpenAi => Self::about(
                "messages",
                "empty_array",
                "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty \
                 array instead.",
            ),
            Api::Anthropic => Self::new("messages: at least one message is required"),
        }
    }

    pub(super) fn too_small(api: Api, field: &str) -> Self {
        match api {
            Api::OpenAi => Self::about(
                field,
                "integer_below_min_value",
                format!("Invalid '{field}': integer below minimum value. Expected a value >= 1."),
            ),
            Api::Anthropic => Self::new(format!(
                "{field}: Input should be greater than or equal to 1"
            )),
        }
    }

    pub(super) fn too_many_tokens(api: Api, field: &str, given: u64, most: u64) -> Self {
        match api {
            Api::OpenAi => Self::about(
                field,
                "invalid_value",
                format!(
                    "{field} is too large: {given}. This model supports at most {most} completion tokens, \
                     whereas you provided {given}."
                ),
            ),
            Api::Anthropic => Self::new(format!(
                "{field}: {given} > {most}, which is the maximum allowed number of output tokens"
            )),
        }
    }

    pub(super) fn two_maxima() -> Self {
        Self::about(
            "max_tokens",
            "invalid_parameter_combination",
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        )
    }

    pub(super) fn options_without_stream() -> Self {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        Self {
            param: Some("stream_options".to_owned()),
            ..Self::new(message)
        }
    }

    pub(super) fn no_version() -> Self {
        Self::new("anthropic-version: header is required")
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The API's answer, but for the headers of every answer.
    pub(super) fn answer(&self, api: Api, id: &str) -> Response<Bytes> {
        let body = error(
            api,
            "invalid_request_error",
            &self.message,
            self.param.as_deref(),
            self.code,
            id,
        );
        answer::json(StatusCode::BAD_REQUEST, body)
    }
}

/// An error's body. Only OpenAI names parameters and codes.
pub(super) fn error(
    api: Api,
    kind: &str,
    message: &str,
    param: Option<&str>,
    code: Option<&str>,
    id: &str,
) -> String {
    let message = Value::from(message);
    match api {
        Api::OpenAi => {
            let (param, code) = (Value::from(param), Value::from(code));
            format!(
                r#"{{"error":{{"message":{message},"type":"{kind}","param":{param},"code":{code}}}}}"#
            )
        }
        Api::Anthropic => format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":{message}}},"request_id":"{id}"}}"#
        ),
    }
}

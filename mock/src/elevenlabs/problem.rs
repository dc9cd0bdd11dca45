//! What the API says when it refuses, in both of its dialects: statuses, codes and messages as captured.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::Value;

use tower_throttle_plans::elevenlabs::Plan;

const DOCS: &str =
    "https://elevenlabs.io/docs/eleven-api/resources/errors#rate-limiting-and-concurrency";

/// How the API words its refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// As since the end of 2025: `{"detail":{"type":..,"code":..,"message":..,"status":..,"request_id":..}}`.
    #[default]
    Current,
    /// As before: `{"detail":{"status":..,"message":..}}`.
    Legacy,
}

/// A refusal that is no 422: those have no dialects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    kind: &'static str,
    code: &'static str,
    /// The only word that both dialects share.
    word: &'static str,
    message: String,
    param: Option<&'static str>,
    documented: bool,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: &'static str,
        word: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            code,
            word,
            message: message.into(),
            param: None,
            documented: false,
        }
    }

    /// The answer's body. `trace` is the answer's `x-trace-id`.
    pub(super) fn body(&self, dialect: Dialect, trace: &str) -> String {
        // Written by hand, since the order of the fields is the real one.
        let message = Value::from(self.message.as_str());
        let word = self.word;
        if dialect == Dialect::Legacy {
            return format!(r#"{{"detail":{{"status":"{word}","message":{message}}}}}"#);
        }
        let (kind, code) = (self.kind, self.code);
        let mut body = format!(
            r#"{{"detail":{{"type":"{kind}","code":"{code}","message":{message},"status":"{word}","request_id":"{trace}""#
        );
        if let Some(param) = self.param {
            let _ = write!(body, r#","param":"{param}""#);
        }
        if self.documented {
            let _ = write!(body, r#","docs_url":"{DOCS}""#);
        }
        body.push_str("}}");
        body
    }

    pub(super) fn too_many_at_once(limit: usize) -> Self {
        let message = format!(
            "Too many concurrent requests. Your current subscription is associated with a maximum of \
             {limit} concurrent requests (running in parallel). This is done such that a single user \
             does not overwhelm our systems and affect other users negatively. Please upgrade your \
             subscription or contact sales if you want to increase this limit."
        );
        Self {
            documented: true,
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "concurrent_limit_exceeded",
                "too_many_concurrent_requests",
                message,
            )
        }
    }

    pub(super) fn too_fast() -> Self {
        Self {
            documented: true,
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "rate_limit_exceeded",
                "rate_limit_exceeded",
                "We are sorry, the system is experiencing heavy traffic, please try again.",
            )
        }
    }

    pub(super) fn system_busy() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "system_busy",
            "system_busy",
            "We are sorry, the system is experiencing heavy traffic, please try again. Higher \
             subscriptions have higher priority.",
        )
    }

    /// A failure of the API's own. Only the words of the 500 were seen.
    pub(super) fn failure(status: StatusCode) -> Self {
        let (kind, word) = match status {
            StatusCode::SERVICE_UNAVAILABLE => ("service_unavailable", "service_unavailable"),
            _ => ("internal_error", "something_went_wrong"),
        };
        let message = "We are sorry, something went wrong. You are not charged for this request.";
        Self::new(status, kind, word, word, message)
    }

    fn unauthorized(word: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::UNAUTHORIZED;
        Self::new(
            status,
            "authentication_error",
            "unauthorized",
            word,
            message,
        )
    }

    pub(super) fn no_key() -> Self {
        let message = "Neither authorization header nor xi-api-key received, please provide one.";
        Self::unauthorized("needs_authorization", message)
    }

    pub(super) fn unknown_key() -> Self {
        Self::unauthorized("invalid_api_key", "Invalid API key")
    }

    pub(super) fn bad_authorization_header() -> Self {
        let message = "Provided authorization header was invalid.";
        Self::unauthorized("invalid_authorization_header", message)
    }

    pub(super) fn missing_permission(permission: &str) -> Self {
        let message = format!(
            "The API key you used is missing the permission {permission} to execute this operation."
        );
        Self::unauthorized("missing_permissions", message)
    }

    pub(super) fn unusual_activity() -> Self {
        let message = "Unusual activity detected. Free Tier usage disabled. If you are using a \
                       proxy/VPN you might need to purchase a Paid Plan to not trigger our abuse \
                       detectors. Free Tier only works if users do not abuse it, for example by \
                       creating multiple free accounts. If we notice that many people try to abuse \
                       it, we will need to reconsider Free Tier altogether. \nPlease play fair and \
                       purchase any Paid Subscription to continue.";
        Self::unauthorized("detected_unusual_activity", message)
    }

    /// Without a key, the list of models is looked for in a workspace that does not exist.
    pub(super) fn no_workspace() -> Self {
        let message = "Workspace 1anonymous1 not found.";
        let word = "workspace_not_found";
        Self::new(StatusCode::NOT_FOUND, "not_found", word, word, message)
    }

    pub(super) fn quota_exceeded(quota: u64, remaining: u64, required: u64) -> Self {
        let message = format!(
            "This request exceeds your quota of {quota}. You have {remaining} credits remaining, \
             while {required} credits are required for this request."
        );
        let word = "quota_exceeded";
        // Documented as 402; this is what is seen.
        let status = StatusCode::UNAUTHORIZED;
        Self::new(status, "invalid_request", word, word, message)
    }

    pub(super) fn library_voice() -> Self {
        Self::new(
            StatusCode::PAYMENT_REQUIRED,
            "payment_required",
            "paid_plan_required",
            "payment_required",
            "Free users cannot use library voices via the API. Please upgrade your subscription to \
             use this voice.",
        )
    }

    pub(super) fn no_cloning() -> Self {
        // A 400, in spite of its type.
        Self::new(
            StatusCode::BAD_REQUEST,
            "payment_required",
            "paid_plan_required",
            "can_not_use_instant_voice_cloning",
            "Your subscription does not include instant voice cloning. Please upgrade your plan.",
        )
    }

    pub(super) fn no_voice_slot(limit: usize) -> Self {
        let message = format!(
            "You have reached your maximum amount of custom voices ({limit} / {limit}). You can \
             upgrade your subscription to increase your custom voice limit."
        );
        Self::bad_request("voice_limit_reached", message)
    }

    fn bad_request(word: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self::new(status, "validation_error", word, word, message)
    }

    pub(super) fn unknown_format(format: &str) -> Self {
        let message = format!("Output format '{format}' is not supported.");
        Self {
            param: Some("output_format"),
            ..Self::bad_request("invalid_output_format", message)
        }
    }

    pub(super) fn format_above_plan(format: &str, plan: Plan) -> Self {
        let name = plan.name();
        let (first, rest) = name.split_at(1);
        let plan = first.to_uppercase() + rest;
        Self::new(
            StatusCode::FORBIDDEN,
            "authorization_error",
            "subscription_required",
            "output_format_not_allowed",
            format!("Output format '{format}' is only available on the {plan} tier and above."),
        )
    }

    pub(super) fn text_too_long(characters: usize, limit: usize) -> Self {
        let message = format!(
            "This request's text has {characters} characters and exceeds the character limit of \
             {limit} characters for this model."
        );
        Self::bad_request("max_character_limit_exceeded", message)
    }

    pub(super) fn setting_out_of_range(
        name: &'static str,
        least: f64,
        most: f64,
        got: f64,
    ) -> Self {
        let message = format!(
            "Invalid setting for {name} received, expected to be greater or equal to {least:?} and \
             less or equal to {most:?}, received {got:?}."
        );
        Self::bad_request("invalid_voice_settings", message)
    }

    pub(super) fn unknown_model(model_id: &str) -> Self {
        let message = format!("A model with model ID {model_id} does not exist");
        Self::bad_request("model_not_found", message)
    }

    pub(super) fn no_context(model_id: &str) -> Self {
        let message = format!(
            "Providing previous_text or next_text is not yet supported with the '{model_id}' model."
        );
        Self::bad_request("unsupported_model", message)
    }

    /// The same refusal is a 404 for speech and a 400 for the voice itself.
    pub(super) fn unknown_voice(status: StatusCode, voice_id: &str) -> Self {
        let message = format!("A voice with voice_id '{voice_id}' was not found.");
        let word = "voice_not_found";
        Self::new(status, "not_found", word, word, message)
    }

    pub(super) fn unknown_history_item(id: &str) -> Self {
        let message = format!("History item with id {id} not found.");
        let word = "history_item_not_found";
        Self::new(StatusCode::NOT_FOUND, "not_found", word, word, message)
    }
}

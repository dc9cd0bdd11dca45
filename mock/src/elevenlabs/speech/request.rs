//! What a request for speech says, as far as it is well formed.

use bytes::Bytes;
use http::{HeaderMap, Uri, header, request::Parts};
use serde_json::{Map, Value};

use crate::elevenlabs::{
    models,
    query::Query,
    schema::{Errors, Loc},
};

/// The fields of the body, in the order in which all of them are missed where there is no JSON.
const FIELDS: [&str; 13] = [
    "text",
    "model_id",
    "language_code",
    "voice_settings",
    "pronunciation_dictionary_locators",
    "seed",
    "previous_text",
    "next_text",
    "previous_request_ids",
    "next_request_ids",
    "use_pvc_as_ivc",
    "apply_text_normalization",
    "apply_language_text_normalization",
];

/// A well-formed request for speech.
#[derive(Debug)]
pub(super) struct Speech {
    pub(super) text: String,
    pub(super) model_id: String,
    /// As it was sent, for the history.
    pub(super) settings: Map<String, Value>,
    pub(super) speed: f64,
    /// Whether it says what comes before or after the text.
    pub(super) has_context: bool,
    /// As it was sent: whether there is such a format is asked later.
    pub(super) output_format: Option<String>,
    /// Whether it may be remembered.
    pub(super) logged: bool,
}

impl Speech {
    /// Reads a request, or says why it is not well formed.
    pub(super) fn read(head: &Parts, body: &Bytes) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mut speech = Self::of_query(&mut errors, &head.uri);
        speech.read_body(&mut errors, &head.headers, body);
        errors.none()?;
        Ok(speech)
    }

    fn of_query(errors: &mut Errors, uri: &Uri) -> Self {
        let query = Query::of(uri);
        let logged = query.boolean(errors, "enable_logging").unwrap_or(true);
        query.integer(errors, "optimize_streaming_latency", 0, 4);
        Self {
            text: String::new(),
            model_id: models::DEFAULT.to_owned(),
            settings: Map::new(),
            speed: 1.0,
            has_context: false,
            output_format: query.get("output_format").map(str::to_owned),
            logged,
        }
    }

    fn read_body(&mut self, errors: &mut Errors, headers: &HeaderMap, body: &Bytes) {
        let loc = Loc::body();
        if !may_be_json(headers) {
            for field in FIELDS {
                errors.missing(&loc.then(field));
            }
            return;
        }
        if body.is_empty() {
            errors.missing(&loc);
            return;
        }
        let body = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(error) => return errors.no_json(body, &error),
        };
        let Some(fields) = errors.object(&loc, &body) else {
            return;
        };
        match fields.get("text") {
            Some(text) => {
                let text = errors.string(&loc.then("text"), text);
                self.text = text.unwrap_or_default().to_owned();
            }
            None => errors.missing(&loc.then("text")),
        }
        // Whatever else is null counts as not said.
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            self.read_field(errors, name, value);
        }
    }

    fn read_field(&mut self, errors: &mut Errors, name: &str, value: &Value) {
        let loc = Loc::body().then(name);
        match name {
            "model_id" => {
                if let Some(id) = errors.string(&loc, value) {
                    self.model_id = id.to_owned();
                }
            }
            "language_code" => {
                errors.string(&loc, value);
            }
            "voice_settings" => self.read_settings(errors, &loc, value),
            "seed" => {
                errors.integer_within(&loc, value, 0, 4_294_967_295);
            }
            "previous_text" | "next_text" => {
                let text = errors.string(&loc, value);
                self.has_context |= text.is_some_and(|text| !text.is_empty());
            }
            "previous_request_ids" | "next_request_ids" => {
                for (at, id) in errors.list(&loc, value, 3).iter().enumerate() {
                    errors.string(&loc.then(at), id);
                }
            }
            "pronunciation_dictionary_locators" => {
                for (at, locator) in errors.list(&loc, value, 3).iter().enumerate() {
                    let loc = loc.then(at);
                    let id = "pronunciation_dictionary_id";
                    let locator = errors.object(&loc, locator);
                    match locator.map(|locator| locator.get(id)) {
                        Some(Some(value)) => drop(errors.string(&loc.then(id), value)),
                        Some(None) => errors.missing(&loc.then(id)),
                        None => {}
                    }
                }
            }
            "apply_text_normalization" => errors.word(&loc, value, &["auto", "on", "off"]),
            "apply_language_text_normalization" | "use_pvc_as_ivc" => {
                errors.boolean(&loc, value);
            }
            // What the API does not know, it does not look at.
            _ => {}
        }
    }

    fn read_settings(&mut self, errors: &mut Errors, loc: &Loc, value: &Value) {
        let Some(settings) = errors.object(loc, value) else {
            return;
        };
        for (name, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
            let loc = loc.then(name.as_str());
            match name.as_str() {
                "stability" | "similarity_boost" | "style" => {
                    errors.fraction(&loc, value);
                }
                "speed" => self.speed = errors.number(&loc, value).unwrap_or(1.0),
                "use_speaker_boost" => {
                    errors.boolean(&loc, value);
                }
                _ => {}
            }
        }
        self.settings.clone_from(settings);
    }
}

/// A body that says to be something else is not read as JSON, which is how some clients' requests fail.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let content_type = content_type.to_str().unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

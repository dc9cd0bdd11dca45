//! The table of endpoints: what checks and answers each of them.

use serde_json::Value;

use super::{
    CLONE_VOICE, DELETE_HISTORY_ITEM, DELETE_VOICE, HISTORY, HISTORY_AUDIO, HISTORY_ITEM, MODELS,
    SUBSCRIPTION, TTS, TTS_STREAM, TTS_STREAM_WITH_TIMESTAMPS, TTS_WITH_TIMESTAMPS, USER, VOICE,
    VOICES, VOICES_V2,
    api::{Api, Stop},
    cloning, lookup,
    speech::{self, Form, Pace},
};
use crate::{Answer, Received};

pub(super) struct Endpoint {
    pub(super) template: &'static str,
    pub(super) kind: Kind,
    /// Whether a request can be answered with success. Nothing is changed by asking.
    pub(super) check: fn(&Api, &Received<'_>) -> Result<(), Stop>,
    pub(super) answer: fn(&Api, &Received<'_>) -> Result<Answer, Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of those that share the limit of speech.
    Speech(Pace),
    Cloning,
    /// One of those that take no time, and are not limited.
    Other,
}

/// An endpoint that shows what there is: it is checked by looking.
macro_rules! look {
    ($template:expr, $look:path) => {
        Endpoint {
            template: $template,
            kind: Kind::Other,
            check: |api, request| $look(api, request).map(drop),
            answer: |api, request| Ok(json(api, request, &$look(api, request)?)),
        }
    };
}

macro_rules! delete {
    ($template:expr, $check:path, $delete:path) => {
        Endpoint {
            template: $template,
            kind: Kind::Other,
            check: $check,
            answer: |api, request| Ok(json(api, request, &$delete(api, request)?)),
        }
    };
}

macro_rules! speech {
    ($template:expr, $form:expr, $pace:expr) => {
        Endpoint {
            template: $template,
            kind: Kind::Speech($pace),
            check: speech::check,
            answer: |api, request| speech::answer(api, request, $form, $pace),
        }
    };
}

pub(super) fn all() -> [Endpoint; 16] {
    [
        speech!(TTS, Form::Audio, Pace::AtOnce),
        Endpoint {
            template: CLONE_VOICE,
            kind: Kind::Cloning,
            check: cloning::check,
            answer: |api, request| {
                let body = cloning::clone(api, request)?;
                Ok(api.responder.json(&request.head().headers, body).into())
            },
        },
        speech!(TTS_STREAM, Form::Audio, Pace::Streamed),
        speech!(TTS_WITH_TIMESTAMPS, Form::Timestamps, Pace::AtOnce),
        speech!(TTS_STREAM_WITH_TIMESTAMPS, Form::Timestamps, Pace::Streamed),
        look!(VOICES, lookup::voices),
        look!(VOICES_V2, lookup::voices_v2),
        look!(VOICE, lookup::voice),
        delete!(
            DELETE_VOICE,
            lookup::check_delete_voice,
            lookup::delete_voice
        ),
        look!(MODELS, lookup::models),
        look!(USER, lookup::user),
        look!(SUBSCRIPTION, lookup::subscription),
        look!(HISTORY, lookup::history),
        look!(HISTORY_ITEM, lookup::history_item),
        delete!(
            DELETE_HISTORY_ITEM,
            lookup::check_delete_history_item,
            lookup::delete_history_item
        ),
        Endpoint {
            template: HISTORY_AUDIO,
            kind: Kind::Other,
            check: lookup::check_history_audio,
            answer: |api, request| lookup::history_audio(api, request).map(Into::into),
        },
    ]
}

fn json(api: &Api, request: &Received<'_>, body: &Value) -> Answer {
    let headers = &request.head().headers;
    api.responder.json(headers, body.to_string()).into()
}

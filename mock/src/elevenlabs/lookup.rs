//! The endpoints that show and delete what there is.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    api::{Api, Stop},
    history::{self, Item},
    models,
    problem::Problem,
    query::Query,
    schema::Errors,
    user,
    voice::Category,
    voices,
};
use crate::Received;

const READ_MODELS: &str = "models_read";
const READ_USER: &str = "user_read";
const READ_VOICES: &str = "voices_read";
const WRITE_VOICES: &str = "voices_write";
const READ_HISTORY: &str = "speech_history_read";
const WRITE_HISTORY: &str = "speech_history_write";

type Found = Result<Value, Stop>;

pub(super) fn models(api: &Api, request: &Received<'_>) -> Found {
    api.enter(request, READ_MODELS)?;
    Ok(models::list())
}

pub(super) fn user(api: &Api, request: &Received<'_>) -> Found {
    let now = api.now_unix();
    api.within(request, READ_USER, |workspace| {
        Ok(user::user(workspace, now))
    })
}

pub(super) fn subscription(api: &Api, request: &Received<'_>) -> Found {
    let now = api.now_unix();
    api.within(request, READ_USER, |workspace| {
        Ok(user::subscription(workspace, now))
    })
}

pub(super) fn voices(api: &Api, request: &Received<'_>) -> Found {
    let query = Query::of(&request.head().uri);
    let mut errors = Errors::default();
    query.boolean(&mut errors, "show_legacy");
    errors.none()?;
    api.within(request, READ_VOICES, |workspace| {
        Ok(voices::all(workspace.voices.iter()))
    })
}

pub(super) fn voices_v2(api: &Api, request: &Received<'_>) -> Found {
    let mut errors = Errors::default();
    let wanted = voices::Wanted::of(&Query::of(&request.head().uri), &mut errors);
    errors.none()?;
    api.within(request, READ_VOICES, |workspace| {
        Ok(voices::page(workspace.voices.iter(), &wanted))
    })
}

pub(super) fn voice(api: &Api, request: &Received<'_>) -> Found {
    let id = request.param("voice_id").unwrap_or_default();
    api.within(request, READ_VOICES, |workspace| {
        let voice = workspace.voice(id);
        Ok(voice.ok_or_else(|| no_voice(id))?.json())
    })
}

/// Whether the voice could be deleted.
pub(super) fn check_delete_voice(api: &Api, request: &Received<'_>) -> Result<(), Stop> {
    let id = request.param("voice_id").unwrap_or_default();
    api.within(request, WRITE_VOICES, |workspace| {
        let voice = workspace.voice(id);
        let owned = voice.filter(|voice| voice.category != Category::Premade);
        owned.map(drop).ok_or_else(|| no_voice(id))
    })
}

pub(super) fn delete_voice(api: &Api, request: &Received<'_>) -> Found {
    check_delete_voice(api, request)?;
    let id = request.param("voice_id").unwrap_or_default();
    api.within(request, WRITE_VOICES, |workspace| {
        // Somebody else may have been faster.
        let removed = workspace.remove_voice(id);
        removed.then(deleted).ok_or_else(|| no_voice(id))
    })
}

pub(super) fn history(api: &Api, request: &Received<'_>) -> Found {
    let mut errors = Errors::default();
    let wanted = history::Wanted::of(&Query::of(&request.head().uri), &mut errors);
    errors.none()?;
    api.within(request, READ_HISTORY, |workspace| {
        Ok(workspace.history.page(&wanted))
    })
}

pub(super) fn history_item(api: &Api, request: &Received<'_>) -> Found {
    item(api, request, READ_HISTORY, Item::json)
}

pub(super) fn check_delete_history_item(api: &Api, request: &Received<'_>) -> Result<(), Stop> {
    item(api, request, WRITE_HISTORY, |_| ())
}

pub(super) fn delete_history_item(api: &Api, request: &Received<'_>) -> Found {
    let id = request.param("history_item_id").unwrap_or_default();
    api.within(request, WRITE_HISTORY, |workspace| {
        let removed = workspace.history.remove(id);
        let none = || Problem::unknown_history_item(id);
        removed.then(deleted).ok_or_else(none)
    })
}

pub(super) fn check_history_audio(api: &Api, request: &Received<'_>) -> Result<(), Stop> {
    item(api, request, READ_HISTORY, |_| ())
}

/// The same bytes as when it was spoken.
pub(super) fn history_audio(api: &Api, request: &Received<'_>) -> Result<Response<Bytes>, Stop> {
    let item = item(api, request, READ_HISTORY, Item::clone)?;
    let audio = api.audio;
    let audio = audio.speech(item.format, &item.voice_id, &item.text, item.speed);
    let mut response = Response::new(audio);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, item.format.content_type());
    api.responder.put_common(headers);
    Ok(response)
}

fn item<T>(
    api: &Api,
    request: &Received<'_>,
    permission: &str,
    look: impl FnOnce(&Item) -> T,
) -> Result<T, Stop> {
    let id = request.param("history_item_id").unwrap_or_default();
    api.within(request, permission, |workspace| {
        let item = workspace.history.get(id);
        item.map(look)
            .ok_or_else(|| Problem::unknown_history_item(id))
    })
}

fn no_voice(id: &str) -> Problem {
    Problem::unknown_voice(StatusCode::BAD_REQUEST, id)
}

fn deleted() -> Value {
    json!({"status": "ok"})
}

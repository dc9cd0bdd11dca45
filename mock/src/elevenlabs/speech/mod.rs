//! Text to speech: four endpoints that check and cost the same, and answer differently.

mod request;
mod timestamps;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use self::request::Speech;
use super::{
    api::{Api, Stop},
    audio::{self, Format},
    history::Item,
    models::{self, Model},
    problem::Problem,
    response::put,
    state::Workspace,
    times,
    voice::{Category, Voice},
};
use crate::{Answer, Received};
use tower_throttle_plans::elevenlabs::{Family, Plan};

const SPEAK: &str = "text_to_speech";

/// The settings that are checked after the key, and not with the schema.
const SPEED: (f64, f64) = (0.7, 1.2);

/// A stream has at least so many chunks, where it has so many bytes.
const LEAST_CHUNKS: usize = 4;

/// What the browser is allowed to see.
const EXPOSED: &str = "request-id, history-item-id, character-cost, regeneration-count, \
                       generation-info, current-concurrent-requests, maximum-concurrent-requests, \
                       collect-preference";

/// What a request that names no format gets, by name.
const DEFAULT_FORMAT: &str = "mp3_44100_128";

/// What the answer consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Audio,
    Timestamps,
}

/// How the answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    AtOnce,
    Streamed,
}

/// A request that can be spoken.
struct Order {
    speech: Speech,
    format: Format,
    model: &'static Model,
    characters: usize,
}

impl Order {
    /// Reads a request and checks it, in the real API's order. What can change while it is worked on is
    /// checked only `before` that.
    fn of(api: &Api, request: &Received<'_>, before: bool) -> Result<Self, Stop> {
        let speech = Speech::read(request.head(), request.body())?;
        let voice_id = request.param("voice_id").unwrap_or_default();
        api.within(request, SPEAK, |workspace| {
            if workspace.suspicious {
                return Err(Problem::unusual_activity());
            }
            let format = check_format(workspace, speech.output_format.as_deref())?;
            let model = models::find(&speech.model_id);
            let characters = speech.text.chars().count();
            if let Some(model) = model.filter(|model| characters > model.characters) {
                return Err(Problem::text_too_long(characters, model.characters));
            }
            if !(SPEED.0..=SPEED.1).contains(&speech.speed) {
                let (least, most) = SPEED;
                return Err(Problem::setting_out_of_range(
                    "speed",
                    least,
                    most,
                    speech.speed,
                ));
            }
            if before {
                check_voice(workspace, voice_id, api.any_voice)?;
            }
            let model = model.ok_or_else(|| Problem::unknown_model(&speech.model_id))?;
            if speech.has_context && !model.takes_context {
                return Err(Problem::no_context(model.id));
            }
            if before {
                workspace.afford(model.credits(characters))?;
            }
            Ok(Self {
                speech,
                format,
                model,
                characters,
            })
        })
    }

    fn cost(&self) -> u64 {
        self.model.credits(self.characters)
    }

    /// About one for each second of speech.
    fn chunks(&self) -> usize {
        let seconds = audio::duration(self.characters, self.speech.speed).as_secs();
        usize::try_from(seconds)
            .unwrap_or(LEAST_CHUNKS)
            .max(LEAST_CHUNKS)
    }
}

/// Whether a request can be spoken.
pub(super) fn check(api: &Api, request: &Received<'_>) -> Result<(), Stop> {
    Order::of(api, request, true).map(drop)
}

/// A request that was checked has been accepted: it has to be paid for.
pub(super) fn accepted(api: &Api, request: &Received<'_>) {
    let (order, name) = (Order::of(api, request, false), api.enter(request, SPEAK));
    if let (Ok(order), Ok(name)) = (order, name) {
        api.state.lock().get(name).used += order.cost();
    }
}

/// The workspace that a request belongs to. It has been checked.
pub(super) fn workspace<'a>(api: &'a Api, request: &Received<'_>) -> Option<&'a str> {
    api.enter(request, SPEAK).ok()
}

fn check_format(workspace: &Workspace, name: Option<&str>) -> Result<Format, Problem> {
    let Some(name) = name else {
        return Ok(Format::DEFAULT);
    };
    let format = Format::parse(name).ok_or_else(|| Problem::unknown_format(name))?;
    let rank = |plan| Plan::ALL.iter().position(|known| *known == plan);
    match (format.plan(), workspace.plan) {
        (Some(least), Some(plan)) if rank(plan) < rank(least) => {
            Err(Problem::format_above_plan(name, least))
        }
        _ => Ok(format),
    }
}

fn check_voice(workspace: &Workspace, id: &str, any_voice: bool) -> Result<(), Problem> {
    match workspace.voice(id) {
        None if any_voice && !workspace.had_voice(id) => Ok(()),
        None => Err(Problem::unknown_voice(StatusCode::NOT_FOUND, id)),
        Some(voice) => {
            let free = workspace.plan == Some(Plan::Free);
            if free && voice.category == Category::Library {
                return Err(Problem::library_voice());
            }
            Ok(())
        }
    }
}

/// The family of the model that a request names. It has been checked.
pub(super) fn family(request: &Received<'_>) -> Family {
    let speech = Speech::read(request.head(), request.body());
    let model = speech.map_or_else(|_| models::DEFAULT.to_owned(), |speech| speech.model_id);
    Family::of_model(&model)
}

/// How long the real API takes. The request has been checked.
pub(super) fn time(request: &Received<'_>) -> Duration {
    match Speech::read(request.head(), request.body()) {
        Ok(speech) => {
            let family = Family::of_model(&speech.model_id);
            times::generation(family, speech.text.chars().count())
        }
        Err(_) => Duration::ZERO,
    }
}

/// Speaks, and remembers it.
pub(super) fn answer(
    api: &Api,
    request: &Received<'_>,
    form: Form,
    pace: Pace,
) -> Result<Answer, Stop> {
    let order = Order::of(api, request, false)?;
    let voice_id = request.param("voice_id").unwrap_or_default();
    let Order { speech, format, .. } = &order;
    let (text, speed) = (&speech.text, speech.speed);
    let audio = api.audio.speech(*format, voice_id, text, speed);
    let mut head = head(api, request, &order)?;
    let remaining = request.remaining();
    if form == Form::Audio {
        let response = head.map(|()| audio);
        return Ok(match pace {
            Pace::AtOnce => response.into(),
            Pace::Streamed => Answer::spread(response, order.chunks(), remaining),
        });
    }
    let json = HeaderValue::from_static("application/json");
    head.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(match pace {
        Pace::AtOnce => {
            let whole = timestamps::whole(&audio, text, speed);
            head.map(|()| Bytes::from(whole)).into()
        }
        Pace::Streamed => {
            let lines = timestamps::lines(&audio, text, speed, order.chunks());
            evenly(head, lines, remaining)
        }
    })
}

/// Sends the first chunk with the head, and the last at the end.
fn evenly(head: Response<()>, chunks: Vec<String>, over: Duration) -> Answer {
    let gaps = u32::try_from(chunks.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let gap = over / gaps.max(1);
    let mut answer = Answer::stream(head);
    for (at, chunk) in chunks.into_iter().enumerate() {
        let after = if at == 0 { Duration::ZERO } else { gap };
        answer = answer.chunk(after, chunk);
    }
    answer
}

/// The head of an answer that has succeeded, of which an item of the history is made.
fn head(api: &Api, request: &Received<'_>, order: &Order) -> Result<Response<()>, Stop> {
    let ids = &api.responder.ids;
    let (request_id, item_id) = (ids.object(), ids.object());
    let name = HeaderName::from_static;

    let mut head = Response::new(());
    let headers = head.headers_mut();
    api.responder.put_common(headers);
    headers.insert(header::CONTENT_TYPE, order.format.content_type());
    let exposed = HeaderValue::from_static(EXPOSED);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    put(headers, name("request-id"), &request_id);
    put(headers, name("character-cost"), &order.cost());
    put(headers, name("collect-preference"), &"True");
    let latency = request.work().saturating_sub(request.remaining());
    put(headers, name("tts-latency-ms"), &latency.as_millis());
    if api.concurrency_headers {
        let in_flight = request.in_flight();
        put(headers, name("current-concurrent-requests"), &in_flight);
        put(headers, name("workspace-concurrent-requests"), &in_flight);
        if let Some(limit) = request.concurrency_limit() {
            put(headers, name("maximum-concurrent-requests"), &limit);
        }
    }
    if order.speech.logged {
        put(headers, name("history-item-id"), &item_id);
        remember(api, request, order, request_id, item_id)?;
    }
    Ok(head)
}

fn remember(
    api: &Api,
    request: &Received<'_>,
    order: &Order,
    request_id: String,
    id: String,
) -> Result<(), Stop> {
    let date_unix = api.now_unix();
    let Speech {
        text,
        settings,
        output_format,
        speed,
        ..
    } = &order.speech;
    let voice_id = request.param("voice_id").unwrap_or_default();
    api.within(request, SPEAK, |workspace| {
        let voice = workspace.voice(voice_id);
        let item = Item {
            id,
            request_id,
            voice_id: voice_id.to_owned(),
            voice_name: voice.map_or_else(|| voice_id.to_owned(), |voice| voice.name.clone()),
            voice_category: voice.map_or("generated", Voice::category_name),
            model_id: order.model.id.to_owned(),
            text: text.clone(),
            settings: settings.clone(),
            speed: *speed,
            format: order.format,
            format_name: output_format
                .clone()
                .unwrap_or_else(|| DEFAULT_FORMAT.into()),
            date_unix,
            credits: (workspace.used.saturating_sub(order.cost()), workspace.used),
        };
        workspace.history.add(item);
        Ok(())
    })
}

//! Requests to clone a voice.

use std::{convert::Infallible, fmt::Write as _};

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{header, request::Parts};
use sha1::{Digest, Sha1};

use super::{
    api::{Api, Stop},
    problem::Problem,
    schema::{Errors, Loc},
    voice::{Details, Sample, Voice},
};
use crate::Received;

const CLONE: &str = "create_instant_voice_clone";

/// Whether the voice that a request describes can be made.
pub(super) fn check(api: &Api, request: &Received<'_>) -> Result<(), Stop> {
    let details = read(api, request)?;
    let id = voice_id(&details.name);
    api.within(request, CLONE, |workspace| {
        if workspace.suspicious {
            return Err(Problem::unusual_activity());
        }
        let tier = workspace.tier();
        if !tier.can_clone {
            return Err(Problem::no_cloning());
        }
        if workspace.own_voices() >= tier.voices && workspace.voice(&id).is_none() {
            return Err(Problem::no_voice_slot(tier.voices));
        }
        Ok(())
    })
}

/// Makes the voice. Several with the same name are the same one.
pub(super) fn clone(api: &Api, request: &Received<'_>) -> Result<String, Stop> {
    let details = read(api, request)?;
    let id = voice_id(&details.name);
    let now = api.now_unix();
    api.within(request, CLONE, |workspace| {
        // By hand, for the order of the fields.
        let body = format!(r#"{{"voice_id":"{id}","requires_verification":false}}"#);
        workspace.add_voice(Voice::made_of(id, details, now));
        Ok(body)
    })
}

fn read(api: &Api, request: &Received<'_>) -> Result<Details, Stop> {
    let form = parts(request.head(), request.body());
    let mut errors = Errors::default();
    let body = Loc::body();
    // An empty field of a form counts as none.
    let name = form.name.filter(|name| !name.is_empty());
    if name.is_none() {
        errors.missing(&body.then("name"));
    }
    if form.files.is_empty() {
        errors.missing(&body.then("files"));
    }
    if let Some(text) = form.remove_background_noise {
        let loc = body.then("remove_background_noise");
        errors.boolean(&loc, &text.into());
    }
    errors.none()?;
    let ids = &api.responder.ids;
    let samples = form.files.into_iter();
    let samples = samples.map(|file| Sample {
        id: ids.object(),
        ..file
    });
    let labels = form.labels;
    Ok(Details {
        name: name.unwrap_or_default(),
        description: form.description.filter(|text| !text.is_empty()),
        // One of the official clients says `null` where it means nothing.
        labels: labels
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
        samples: samples.collect(),
    })
}

/// `voice_id::` and the first 8 hexadecimal digits of the SHA-1 of the voice's name.
pub(super) fn voice_id(name: &str) -> String {
    let mut id = String::from("voice_id::");
    for byte in &Sha1::digest(name)[..4] {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[derive(Debug, Default)]
struct Form {
    name: Option<String>,
    description: Option<String>,
    labels: Option<String>,
    remove_background_noise: Option<String>,
    /// Without ids.
    files: Vec<Sample>,
}

/// What can be read of a multipart body; nothing if it is none.
fn parts(head: &Parts, body: &Bytes) -> Form {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let Some(boundary) = content_type.and_then(|text| multer::parse_boundary(text).ok()) else {
        return Form::default();
    };
    let body = stream::iter([Ok::<_, Infallible>(body.clone())]);
    let mut multipart = multer::Multipart::new(body, boundary);
    let read = async {
        let mut form = Form::default();
        while let Ok(Some(field)) = multipart.next_field().await {
            let text = match field.name() {
                Some("name") => &mut form.name,
                Some("description") => &mut form.description,
                Some("labels") => &mut form.labels,
                Some("remove_background_noise") => &mut form.remove_background_noise,
                Some("files") => {
                    let file_name = field.file_name().unwrap_or("blob").to_owned();
                    let kind = field.content_type().map(ToString::to_string);
                    let Ok(data) = field.bytes().await else {
                        break;
                    };
                    form.files.push(Sample {
                        id: String::new(),
                        file_name,
                        mime_type: kind.unwrap_or_else(|| "application/octet-stream".into()),
                        size: data.len(),
                        hash: hash(&data),
                    });
                    continue;
                }
                _ => continue,
            };
            *text = field.text().await.ok();
        }
        form
    };
    // The whole body is in memory, so there is nothing that it could wait for.
    read.now_or_never().unwrap_or_default()
}

fn hash(data: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha1::digest(data) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

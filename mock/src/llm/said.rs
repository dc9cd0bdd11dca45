//! What an answer says, in whichever API.

use http::{HeaderValue, Response, header};

use super::{chat::Chat, usage::Usage};
use crate::Answer;

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

/// A stream of events, of which there are none yet.
pub(super) fn event_stream() -> Answer {
    let mut head = Response::new(());
    let events = HeaderValue::from_static("text/event-stream; charset=utf-8");
    head.headers_mut().insert(header::CONTENT_TYPE, events);
    let no_cache = HeaderValue::from_static("no-cache");
    head.headers_mut().insert(header::CACHE_CONTROL, no_cache);
    Answer::stream(head)
}

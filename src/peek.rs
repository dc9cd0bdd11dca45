//! Telling what an answer means, from its head and perhaps the beginning of its body.
//!
//! The innermost layer of ours that an answer passes does this once. It leaves a [`Signal`] among the
//! extensions of a throttling answer, and the layers above take that for granted.

use std::{
    fmt,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http::Response;
use http_body::{Body as _, Frame};
use tokio::time::Sleep;

use crate::{
    body::Body,
    late::Unfinished,
    signal::{Answer, Classifier, Signal},
};

/// How much of a body is read before its meaning is decided. Refusals of the known APIs take some
/// hundred bytes.
pub(crate) const MAX_PEEKED_BYTES: usize = 4 * 1024;

/// How long the rest of a beginning is waited for. Refusals are short, and come with their head.
pub(crate) const MAX_PEEK_TIME: Duration = Duration::from_millis(250);

/// How much longer it is waited for before a retry: what it says may be that no retry helps.
const MAX_LATE_TIME: Duration = Duration::from_millis(750);

impl Classifier {
    /// Tells what an answer means, if that can be told now; otherwise its body has to be peeked. There is
    /// nothing to tell of one that is no refusal ([`may_refuse`](Self::may_refuse)).
    pub(crate) fn look<B: http_body::Body>(
        &self,
        mut response: Response<Body<B>>,
    ) -> Result<Response<Body<B>>, Peek<B>> {
        let extensions = response.extensions();
        if extensions.get::<Signal>().is_some() || extensions.get::<Peeked>().is_some() {
            return Ok(response);
        }
        let answer = Answer::arriving(response.status(), response.headers());
        if !response.body().is_end_stream() && self.get().wants_body(&answer) {
            return Err(Peek::new(response.map(Body::peekable)));
        }
        if let Some(signal) = self.get().classify(&answer) {
            response.extensions_mut().insert(signal);
        }
        Ok(response)
    }
}

/// Marks an answer whose body has been peeked and meant nothing, so that no layer peeks it again.
#[derive(Clone, Copy)]
struct Peeked;

/// An answer whose body is being peeked.
///
/// Boxed, as few answers are, and the futures that may hold one are many.
pub struct Peek<B: http_body::Body>(Box<Peeking<B>>);

struct Peeking<B: http_body::Body> {
    /// Taken when it is done.
    response: Option<Response<Body<B>>>,
    /// The beginning of the body in one piece; the frames themselves stay as they are.
    text: Vec<u8>,
    /// What the frames count for against the cap.
    size: usize,
    /// Runs from the first time that the body had nothing.
    timer: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl<B: http_body::Body> Peek<B> {
    fn new(response: Response<Body<B>>) -> Self {
        Self(Box::new(Peeking {
            response: Some(response),
            text: Vec::new(),
            size: 0,
            timer: None,
            patience: MAX_PEEK_TIME,
        }))
    }

    /// Goes on with an answer that was handed up [unfinished](Unfinished).
    pub(crate) fn resume(response: Response<Body<B>>) -> Self {
        let mut peek = Self::new(response.map(Body::peekable));
        peek.0.patience = MAX_LATE_TIME;
        let response = peek.0.response.as_ref();
        for frame in response.into_iter().flat_map(|of| of.body().peeked()) {
            peek.0.size = peek.0.size.saturating_add(count(frame));
            if let Some(data) = frame.data_ref() {
                append(&mut peek.0.text, data);
            }
        }
        peek
    }

    /// Ready when the rest has been read, with what the answer means now. A caller that has acted on what it
    /// meant before hears of it.
    pub(crate) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Response<Body<B>>> {
        let (mut response, _) = ready!(self.poll_text(cx));
        let Some(told) = response.extensions_mut().remove::<Unfinished>() else {
            return Poll::Ready(response);
        };
        let before = response.extensions_mut().remove::<Signal>();
        let signal = self.classify(&mut response, &told.classifier);
        if let Some(signal) = signal.filter(|of| before.as_ref() != Some(of)) {
            told.tell(&signal);
        }
        Poll::Ready(response)
    }

    /// The head of the answer.
    pub(crate) fn head(&self) -> Option<&Response<Body<B>>> {
        self.0.response.as_ref()
    }

    /// Ready when enough has been read, with a [`Signal`] among the extensions of a refusal.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        classifier: &Classifier,
    ) -> Poll<Response<Body<B>>> {
        let (mut response, is_unfinished) = ready!(self.poll_text(cx));
        self.classify(&mut response, classifier);
        if is_unfinished {
            let unfinished = Unfinished::new(classifier.clone());
            response.extensions_mut().insert(unfinished);
        }
        Poll::Ready(response)
    }

    /// Ready when enough has been read, or when that has taken too long.
    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<(Response<Body<B>>, bool)> {
        let Peeking {
            response: slot,
            text,
            size,
            timer,
            patience,
        } = &mut *self.0;
        let mut response = slot.take().expect("polled after it was ready");
        while *size < MAX_PEEKED_BYTES && !response.body().get_ref().is_end_stream() {
            let Poll::Ready(frame) = response.body_mut().poll_peek(cx) else {
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(*patience)));
                if timer.as_mut().poll(cx).is_pending() {
                    *slot = Some(response);
                    return Poll::Pending;
                }
                return Poll::Ready((response, true));
            };
            let Some(frame) = frame else { break };
            *size = size.saturating_add(count(frame));
            let data = frame.data_ref();
            if data.is_some_and(|data| !append(text, data)) {
                break;
            }
        }
        Poll::Ready((response, false))
    }

    /// Leaves with an answer what it means.
    fn classify(
        &self,
        response: &mut Response<Body<B>>,
        classifier: &Classifier,
    ) -> Option<Signal> {
        let answer = Answer::arriving(response.status(), response.headers());
        let signal = classifier.get().classify(&answer.with_body(&self.0.text));
        match signal.clone() {
            Some(signal) => response.extensions_mut().insert(signal).is_some(),
            None => response.extensions_mut().insert(Peeked).is_some(),
        };
        signal
    }
}

/// What a frame counts for against the cap: a byte at least, so that empty ones come to an end, too.
fn count<D: Buf>(frame: &Frame<D>) -> usize {
    frame.data_ref().map_or(0, Buf::remaining).max(1)
}

/// Copies data without consuming it, up to the cap; `false` if what follows would not join up.
fn append(text: &mut Vec<u8>, data: &impl Buf) -> bool {
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = data.chunks_vectored(&mut slices);
    let mut copied = 0;
    for slice in &slices[..filled] {
        let room = MAX_PEEKED_BYTES - text.len();
        let slice = &slice[..slice.len().min(room)];
        text.extend_from_slice(slice);
        copied += slice.len();
    }
    copied == data.remaining()
}

impl<B: http_body::Body> fmt::Debug for Peek<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peek").finish_non_exhaustive()
    }
}

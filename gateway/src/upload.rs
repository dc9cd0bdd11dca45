//! The bodies of requests on their way up.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request,
};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Either, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tower_throttle::{BoxError, elevenlabs::Family};

use super::meters::{Cut, Meters};

/// Kept, so that it can be sent again; or passed on as it comes, and sent once.
pub(crate) type Upload = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BoxError>>;

/// For the retries.
pub(crate) fn copy(body: &Upload) -> Option<Upload> {
    match body {
        Either::Left(kept) => Some(Either::Left(kept.clone())),
        Either::Right(_) => None,
    }
}

/// What a caller sends.
pub(crate) enum Received {
    Whole(Bytes),
    Flowing(UnsyncBoxBody<Bytes, BoxError>),
}

impl Received {
    /// Reads a body that says that it is short, before anything is asked of the limits.
    ///
    /// So hyper reads on while the request waits for its turn, and notices if the caller goes away. A
    /// body that does not say how long it is may be half of a conversation whose other half is the answer:
    /// it is not waited for. (`RetryLayer::collect_body_with` would wait.)
    ///
    /// # Errors
    ///
    /// If the caller breaks off, or if nothing more comes for as long as `patience`.
    pub(crate) async fn read(
        body: Incoming,
        keep: u64,
        patience: Duration,
        meters: &Arc<Meters>,
    ) -> Result<Self, BoxError> {
        let is_short = body
            .size_hint()
            .exact()
            .is_some_and(|length| length <= keep);
        let body = Patient {
            body,
            patience,
            late: None,
            meters: Arc::clone(meters),
        };
        if !is_short {
            return Ok(Self::Flowing(body.boxed_unsync()));
        }
        let whole = body.collect().await?;
        Ok(match whole.trailers() {
            None => Self::Whole(whole.to_bytes()),
            Some(_) => Self::Flowing(whole.map_err(|never| match never {}).boxed_unsync()),
        })
    }

    /// The bytes, if they are all here.
    pub(crate) fn kept(&self) -> Option<Bytes> {
        match self {
            Self::Whole(body) => Some(body.clone()),
            Self::Flowing(_) => None,
        }
    }

    /// The family of models that a request to ElevenLabs is for, if it is one for speech that names its model.
    pub(crate) fn family(&self, head: &request::Parts) -> Option<Family> {
        let speech = head.uri.path().starts_with("/v1/text-to-speech/");
        let Self::Whole(body) = self else {
            return None;
        };
        if !speech || head.method != Method::POST {
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        let model = body.get("model_id")?.as_str()?;
        Some(Family::of_model(model))
    }
}

impl From<Received> for Upload {
    fn from(received: Received) -> Self {
        match received {
            Received::Whole(body) => Self::Left(Full::new(body)),
            Received::Flowing(body) => Self::Right(body),
        }
    }
}

/// Announces a body of unknown length, as HTTP/1.1 has it. Without that hyper takes a `GET` for one that
/// has no body.
pub(crate) fn announce(headers: &mut HeaderMap, body: &Upload) {
    if body.size_hint().exact().is_none() && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// A caller's body, which fails when the caller takes too long to send more. Time counts only while more is wanted.
struct Patient {
    body: Incoming,
    patience: Duration,
    late: Option<Pin<Box<Sleep>>>,
    meters: Arc<Meters>,
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.late = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = this
            .late
            .get_or_insert_with(|| Box::pin(sleep(this.patience)));
        ready!(late.as_mut().poll(cx));
        this.late = None;
        this.meters.cut(Cut::Body);
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a request was given up.
#[derive(Debug)]
pub(crate) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the next part of the request's body has not come in time")
    }
}

impl Error for TooSlow {}

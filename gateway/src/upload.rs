//! The bodies of requests on their way up.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request,
};
use http_body::Body as _;
use http_body_util::{BodyExt, Either, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tower_throttle::{BoxError, EndpointName, elevenlabs::Family};

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
    /// If the caller breaks off.
    pub(crate) async fn read(body: Incoming, keep: u64) -> Result<Self, hyper::Error> {
        if body.size_hint().exact().is_none_or(|length| length > keep) {
            return Ok(Self::Flowing(body.map_err(BoxError::from).boxed_unsync()));
        }
        let whole = body.collect().await?;
        Ok(match whole.trailers() {
            None => Self::Whole(whole.to_bytes()),
            Some(_) => Self::Flowing(whole.map_err(|never| match never {}).boxed_unsync()),
        })
    }

    /// The limit that a request to ElevenLabs is under, if it is one for speech that names its model.
    pub(crate) fn family(&self, head: &request::Parts) -> Option<EndpointName> {
        let speech = head.uri.path().starts_with("/v1/text-to-speech/");
        let Self::Whole(body) = self else {
            return None;
        };
        if !speech || head.method != Method::POST {
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        let model = body.get("model_id")?.as_str()?;
        Some(Family::of_model(model).endpoint())
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

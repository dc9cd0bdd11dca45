use std::{
    any::Any,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};

use crate::{BoxError, in_memory::only_frame};

/// The same body as one of reqwest's. One that is in memory stays that, so that its length is known and
/// reqwest can clone it; any other streams.
pub(super) fn into_reqwest<B>(body: B) -> reqwest::Body
where
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
{
    if body.is_end_stream() {
        return reqwest::Body::default();
    }
    let mut body = Some(body);
    if let Some(body) = take::<reqwest::Body>(&mut body) {
        return body;
    }
    let in_memory = take::<Full<Bytes>>(&mut body)
        .map(only_frame)
        .or_else(|| take::<String>(&mut body).map(Bytes::from))
        .or_else(|| take::<Empty<Bytes>>(&mut body).map(|_| Bytes::new()));
    match (in_memory, body) {
        (Some(bytes), _) => bytes.into(),
        (None, Some(body)) => reqwest::Body::wrap(Shared(Mutex::new(Box::pin(body)))),
        (None, None) => unreachable!("what was taken has been returned"),
    }
}

/// The body, if it is a `T`.
fn take<T: 'static>(body: &mut (dyn Any + Send)) -> Option<T> {
    body.downcast_mut::<Option<T>>()?.take()
}

/// A body that is `Sync`, as reqwest wants them. Those of axum and tonic are not.
///
/// Polling takes no lock: the caller has the only reference.
struct Shared<B>(Mutex<Pin<Box<B>>>);

impl<B: Body> Body for Shared<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let body = self.get_mut().0.get_mut();
        let body = body.unwrap_or_else(PoisonError::into_inner);
        body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

    use super::*;

    fn in_memory<B>(body: B) -> Option<Vec<u8>>
    where
        B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
    {
        into_reqwest(body).as_bytes().map(<[u8]>::to_vec)
    }

    #[test]
    fn bodies_in_memory_stay_in_memory() {
        assert_eq!(in_memory(Full::<Bytes>::from("x")).unwrap(), b"x");
        assert_eq!(in_memory(String::from("x")).unwrap(), b"x");
        assert_eq!(in_memory(reqwest::Body::from("x")).unwrap(), b"x");
        assert_eq!(in_memory(Empty::<Bytes>::new()).unwrap(), b"");
        assert_eq!(in_memory(Full::<Bytes>::default()).unwrap(), b"");
    }

    #[test]
    fn what_is_in_memory_is_not_copied() {
        let bytes = Bytes::from(vec![1; 100]);
        let body = into_reqwest(Full::new(bytes.clone()));
        assert_eq!(body.as_bytes().unwrap().as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn whatever_has_ended_is_empty() {
        let ended = UnsyncBoxBody::<Bytes, Infallible>::new(Empty::new());
        assert_eq!(in_memory(ended).unwrap(), b"");
    }

    #[test]
    fn other_bodies_stream_and_keep_their_length() {
        let body = into_reqwest(UnsyncBoxBody::new(Full::<Bytes>::from("four")));
        assert!(body.as_bytes().is_none());
        assert_eq!(body.size_hint().exact(), Some(4));
        assert!(!body.is_end_stream());
        assert_eq!(only_frame(body), "four");
    }

    #[tokio::test]
    async fn trailers_and_errors_pass() {
        let trailers =
            http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        let sent = trailers.clone();
        let body = Full::<Bytes>::from("x").with_trailers(async move { Some(Ok(sent)) });
        let collected = into_reqwest(body).collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));

        let broken = http_body_util::StreamBody::new(futures_util::stream::iter([
            Ok(Frame::data(Bytes::from("x"))),
            Err("broken"),
        ]));
        let error = into_reqwest(broken).collect().await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "broken");
    }
}

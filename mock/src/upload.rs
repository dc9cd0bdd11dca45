//! A request's body on its way into memory.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use tower::BoxError;

pub(crate) struct Upload<B> {
    /// `None` once it is complete. Boxed, so that it need not be `Unpin`.
    body: Option<Pin<Box<B>>>,
    received: BytesMut,
}

impl<B> Upload<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(body: B) -> Self {
        Self {
            body: Some(Box::pin(body)),
            received: BytesMut::new(),
        }
    }

    /// All of the body, when it has become complete; nothing if it was already.
    pub(crate) fn poll_complete(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BoxError>> {
        while let Some(body) = &mut self.body {
            match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received.put(data);
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Err(error.into()));
                }
                None => {
                    self.body = None;
                    return Poll::Ready(Ok(Some(self.received.split().freeze())));
                }
            }
        }
        Poll::Ready(Ok(None))
    }
}

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::admission::Permit;

pin_project! {
    /// A response body that holds the permit of its request.
    ///
    /// The permit ends when the inner body has ended or failed, or when this is dropped, whichever
    /// comes first. Everything else is the inner body's: data, trailers, size hint, end of stream.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        inner: B,
        permit: Option<Permit>,
    }
}

impl<B: http_body::Body> Body<B> {
    /// A body that has ended already (of an answer to `HEAD`, or of length 0) may never be polled.
    pub(crate) fn new(inner: B, permit: Option<Permit>) -> Self {
        let permit = permit.filter(|_| !inner.is_end_stream());
        Self { inner, permit }
    }
}

impl<B> Body<B> {
    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// The inner body. Reading from it does not end the permit; dropping this body does.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// The inner body alone. The permit ends here.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

/// A body that holds no permit.
impl<B: Default> Default for Body<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            permit: None,
        }
    }
}

impl<B: http_body::Body> http_body::Body for Body<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        // Whoever knows the length stops polling after the last byte, and keeps the body perhaps.
        if !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream() {
            *this.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

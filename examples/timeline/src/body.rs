use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::current::{Request, within};

pin_project! {
    /// The body of an answer whose request is recorded: the end of its permit is told while it is polled or dropped.
    #[derive(Debug)]
    pub struct Body<B> {
        // `None` only while it is dropped.
        #[pin]
        inner: Option<B>,
        request: Request,
    }

    impl<B> PinnedDrop for Body<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            within(*this.request, || this.inner.set(None));
        }
    }
}

impl<B> Body<B> {
    pub(crate) fn new(inner: B, request: Request) -> Self {
        let inner = Some(inner);
        Self { inner, request }
    }
}

impl<B: http_body::Body> http_body::Body for Body<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(None);
        };
        within(*this.request, || inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.inner.as_ref().map_or_else(none, B::size_hint)
    }
}

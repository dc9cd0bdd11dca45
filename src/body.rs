//! The response body of every layer here.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::admission::InFlight;

pin_project! {
    /// The response body of every layer here: it holds the permit of its request, and what was peeked of
    /// an answer.
    ///
    /// The permit ends when the inner body has ended or failed, or when this is dropped, whichever
    /// comes first: with the frame after which the inner body says that it has ended, for who knows the
    /// length may not ask for more. A body that is kept and not read keeps its permit. Of a body that
    /// had ended from the start it holds nothing; of one whose permit ended with the head
    /// ([`Quota::release_at_head`](crate::Quota::release_at_head), `101`, `CONNECT`) only what
    /// [`Handle::drain`](crate::Handle::drain) counts.
    ///
    /// What was peeked to tell why a server refused is replayed before the rest, frame by frame, as it
    /// came; so are the end and the error, if that is how far the peeking got. Everything else is the
    /// inner body's: data, trailers, errors, size hint, end of stream. It is `Send` and `Sync` if the
    /// inner body, its data and its error are, and `Unpin` if the inner body is.
    pub struct Body<B>
    where
        B: http_body::Body,
    {
        #[pin]
        inner: Inner<B>,
        permit: Option<InFlight>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B>
    where
        B: http_body::Body,
    {
        Untouched { #[pin] body: B },
        /// Pinned on the heap, since it has been polled and has yet to move up with its response.
        Peeked { peeked: Pin<Box<Peeked<B>>> },
    }
}

pin_project! {
    struct Peeked<B>
    where
        B: http_body::Body,
    {
        #[pin]
        body: B,
        frames: VecDeque<Frame<B::Data>>,
        end: End<B::Error>,
    }
}

/// How far the peeking got.
enum End<E> {
    /// The inner body has more.
    Open,
    /// It has said that it has ended, and must not be polled again.
    Ended,
    /// It has failed, and the reader does not have the error yet.
    Failed(E),
}

impl<B: http_body::Body> Body<B> {
    pub(crate) fn new(body: B) -> Self {
        Self {
            inner: Inner::Untouched { body },
            permit: None,
        }
    }

    /// A body that holds what is left of the permit after the head.
    #[inline]
    pub(crate) fn holding(body: B, permit: InFlight) -> Self {
        Self::new(body).and_hold(permit)
    }

    /// Holds what is left of the permit after the head, unless the inner body has ended: such a body (of
    /// an answer to `HEAD`, or of length 0) may never be polled.
    #[inline]
    pub(crate) fn and_hold(mut self, permit: InFlight) -> Self {
        // Where nothing is left to come, all permits end in one step. To end those of the head first, and then
        // the rest, would let other requests pass one that waits for both.
        self.permit = if self.is_over() {
            permit.end(false);
            None
        } else {
            Some(permit.head_arrived())
        };
        self
    }

    /// Whether nothing is left to come of the inner body.
    pub(crate) fn is_over(&self) -> bool {
        match &self.inner {
            Inner::Untouched { body } => body.is_end_stream(),
            Inner::Peeked { peeked } => peeked.has_ended(),
        }
    }

    /// The inner body, which goes on after what was peeked of it.
    pub fn get_ref(&self) -> &B {
        match &self.inner {
            Inner::Untouched { body } => body,
            Inner::Peeked { peeked } => &peeked.body,
        }
    }

    /// Reads one more frame of the inner body and keeps it; `None` if there is no more to read.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Option<&Frame<B::Data>>> {
        let Inner::Peeked { peeked } = &mut self.inner else {
            unreachable!("`peekable` comes first")
        };
        let more = ready!(peeked.as_mut().poll_peek(cx));
        Poll::Ready(peeked.frames.back().filter(|_| more))
    }

    /// What was peeked and nobody has read.
    pub(crate) fn peeked(&self) -> impl Iterator<Item = &Frame<B::Data>> {
        let peeked = match &self.inner {
            Inner::Untouched { .. } => None,
            Inner::Peeked { peeked } => Some(&peeked.frames),
        };
        peeked.into_iter().flatten()
    }

    /// The same body, ready for [`poll_peek`](Self::poll_peek). Allocates.
    pub(crate) fn peekable(self) -> Self {
        let Self { inner, permit } = self;
        let peeked = match inner {
            Inner::Untouched { body } => Box::pin(Peeked {
                body,
                frames: VecDeque::new(),
                end: End::Open,
            }),
            Inner::Peeked { peeked } => peeked,
        };
        Self {
            inner: Inner::Peeked { peeked },
            permit,
        }
    }
}

impl<B: http_body::Body> Peeked<B> {
    /// Whether the inner body has nothing more, even if what was peeked of it is not read yet.
    fn has_ended(&self) -> bool {
        !matches!(self.end, End::Open) || self.body.is_end_stream()
    }

    fn poll_peek(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = self.project();
        if !matches!(this.end, End::Open) {
            return Poll::Ready(false);
        }
        match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.frames.push_back(frame);
                return Poll::Ready(true);
            }
            Some(Err(error)) => *this.end = End::Failed(error),
            None => *this.end = End::Ended,
        }
        Poll::Ready(false)
    }
}

impl<B: http_body::Body> http_body::Body for Peeked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        if let Some(frame) = this.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match std::mem::replace(this.end, End::Open) {
            End::Open => this.body.poll_frame(cx),
            End::Ended => {
                *this.end = End::Ended;
                Poll::Ready(None)
            }
            // What comes after is again the inner body's to say.
            End::Failed(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && match self.end {
                End::Open => self.body.is_end_stream(),
                End::Ended => true,
                End::Failed(_) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.frames.iter().filter_map(Frame::data_ref);
        let kept: u64 = data.map(|data| data.remaining() as u64).sum();
        let rest = match self.end {
            End::Ended => SizeHint::with_exact(0),
            End::Open | End::Failed(_) => self.body.size_hint(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(kept)) {
            hint.set_upper(upper);
        }
        hint
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
        let frame = match this.inner.as_mut().project() {
            InnerProj::Untouched { body } => ready!(body.poll_frame(cx)),
            InnerProj::Peeked { peeked } => ready!(peeked.as_mut().poll_frame(cx)),
        };
        // A reader that knows the length stops polling after the last byte, and perhaps keeps the body.
        if let (Some(permit), Some(Ok(frame))) = (this.permit.as_mut(), &frame) {
            permit.saw(frame);
        }
        if !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream() {
            if let Some(permit) = this.permit.take() {
                permit.end(matches!(frame, Some(Err(_))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Untouched { body } => body.size_hint(),
            Inner::Peeked { peeked } => peeked.size_hint(),
        }
    }
}

impl<B: http_body::Body> Inner<B> {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Untouched { body } => body.is_end_stream(),
            Self::Peeked { peeked } => peeked.is_end_stream(),
        }
    }
}

/// A body that holds no permit.
impl<B: http_body::Body + Default> Default for Body<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

/// Without what was peeked, which may be secret.
impl<B: http_body::Body + fmt::Debug> fmt::Debug for Body<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peeked = match &self.inner {
            Inner::Untouched { .. } => 0,
            Inner::Peeked { peeked } => peeked.frames.len(),
        };
        f.debug_struct("Body")
            .field("inner", self.get_ref())
            .field("peeked", &format_args!("{peeked} frames"))
            .field("permit", &self.permit)
            .finish()
    }
}

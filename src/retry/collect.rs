use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

use super::replay::Replay;

/// A request body that was collected, or as much of it as fits: see
/// [`RetryLayer::collect_body_with`](crate::RetryLayer::collect_body_with).
///
/// What was collected comes first, frame by frame, trailers included. If the body was longer than the
/// cap, or failed, the rest of it or the error follows, and the request is sent once.
pub struct ReplayBody<B: http_body::Body> {
    frames: VecDeque<Frame<Bytes>>,
    rest: Rest<B>,
}

enum Rest<B: http_body::Body> {
    None,
    Failed(B::Error),
    /// Pinned on the heap, since it has been polled already.
    Body(Pin<Box<B>>),
}

/// Reads a request body before its first attempt.
pub(super) struct Collecting<B> {
    read: Pin<Box<dyn Future<Output = Read<B>> + Send>>,
}

/// The body to send now, and what to make it from again, if that can be.
type Read<B> = (B, Option<Replay<B>>);

impl<B: 'static> Collecting<B> {
    pub(super) fn new<R>(body: B, cap: usize, rebuild: Arc<R>) -> Self
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Send,
        R: Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
    {
        // Erased, since the service takes any body, and cannot name what only some of them have.
        Self {
            read: Box::pin(async move {
                let (collected, rest) = collect(body, cap).await;
                let replay = matches!(rest, Rest::None).then(|| {
                    let (collected, rebuild) = (Collected::new(&collected), Arc::clone(&rebuild));
                    Replay::Rebuild(Box::new(move || rebuild(collected.replay())))
                });
                let first = ReplayBody {
                    frames: collected,
                    rest,
                };
                (rebuild(first), replay)
            }),
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Read<B>> {
        self.read.as_mut().poll(cx)
    }
}

async fn collect<B: http_body::Body>(body: B, cap: usize) -> (VecDeque<Frame<Bytes>>, Rest<B>) {
    let mut frames = VecDeque::new();
    let mut body = Box::pin(body);
    if body.size_hint().lower() > cap as u64 {
        // It will not fit, so there is nothing to wait for.
        return (frames, Rest::Body(body));
    }
    let mut size = 0_usize;
    while size <= cap {
        if body.is_end_stream() {
            return (frames, Rest::None);
        }
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => {
                let frame = into_bytes(frame);
                // A frame counts for a byte at least, so that empty ones come to an end, too.
                let length = frame.data_ref().map_or(0, Bytes::len);
                size = size.saturating_add(length.max(1));
                frames.push_back(frame);
            }
            Some(Err(error)) => return (frames, Rest::Failed(error)),
            None => return (frames, Rest::None),
        }
    }
    (frames, Rest::Body(body))
}

fn into_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

/// A whole body. Frames themselves cannot be cloned.
struct Collected {
    data: Vec<Bytes>,
    trailers: Option<http::HeaderMap>,
}

impl Collected {
    fn new(frames: &VecDeque<Frame<Bytes>>) -> Self {
        Self {
            data: frames.iter().filter_map(Frame::data_ref).cloned().collect(),
            trailers: frames.iter().find_map(Frame::trailers_ref).cloned(),
        }
    }

    fn replay<B: http_body::Body>(&self) -> ReplayBody<B> {
        let data = self.data.iter().cloned().map(Frame::data);
        let trailers = self.trailers.clone().map(Frame::trailers);
        ReplayBody {
            frames: data.chain(trailers).collect(),
            rest: Rest::None,
        }
    }
}

/// Nothing but the errors is touched where it stands; the rest of the body has its pin already.
impl<B: http_body::Body> Unpin for ReplayBody<B> {}

impl<B: http_body::Body> http_body::Body for ReplayBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match std::mem::replace(&mut self.rest, Rest::None) {
            Rest::None => Poll::Ready(None),
            Rest::Failed(error) => Poll::Ready(Some(Err(error))),
            Rest::Body(mut body) => {
                let polled = body.as_mut().poll_frame(cx);
                self.rest = Rest::Body(body);
                polled.map_ok(into_bytes)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && match &self.rest {
                Rest::None => true,
                Rest::Failed(_) => false,
                Rest::Body(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.frames.iter().filter_map(Frame::data_ref);
        let kept: u64 = data.map(|data| data.len() as u64).sum();
        let rest = match &self.rest {
            Rest::None => SizeHint::with_exact(0),
            Rest::Failed(_) => SizeHint::new(),
            Rest::Body(body) => body.size_hint(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(kept)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B: http_body::Body> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody")
            .field("frames", &self.frames.len())
            .finish_non_exhaustive()
    }
}

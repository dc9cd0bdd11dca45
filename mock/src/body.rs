//! The body of the mock's answers: what comes when, and how it ends.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::BoxError;

use super::{
    answer::{Answer, Chunk},
    faults::Spoilt,
    judge::Place,
};

/// How much of a body is handed out at once, at most: what HTTP/2 sends in one frame by default. So a
/// reader that is slow, or has gone, is noticed before all of a large body has left the judge's hands.
const MOST_AT_ONCE: usize = 16 * 1_024;

/// The body of the mock's answers. While it has not ended, its request is in flight.
///
/// It ends with its last byte, so before whoever reads it can know; and when it is dropped. It fails only
/// where a [`Fault`](super::Fault) wants it to.
#[derive(Default)]
pub struct Body {
    /// What is still to come.
    chunks: VecDeque<Chunk>,
    /// When the head was handed out, if anything comes later than that.
    head_at: Option<Instant>,
    /// How many bytes are still announced, where the length was.
    announced: Option<u64>,
    pace: Option<Pace>,
    /// How it ends, if not as it should.
    ending: Option<Ending>,
    /// Runs while the next chunk, or the end, is not due.
    timer: Option<Pin<Box<Sleep>>>,
    /// Given back with the last byte.
    place: Option<Place>,
}

/// How fast a body comes that a fault has made slow.
#[derive(Debug)]
struct Pace {
    bytes: usize,
    every: Duration,
    next: Instant,
}

/// An end that comes before all has been sent that was announced.
#[derive(Debug)]
struct Ending {
    /// Whether the connection breaks, rather than the body end.
    reset: bool,
    /// How long what has been sent needs to leave before.
    settle: Duration,
    /// When it is due, once everything ahead of it has been handed out.
    at: Option<Instant>,
}

impl Body {
    /// An answer that is handed out now. Its body holds the place until it has ended; what a fault has
    /// spoilt goes wrong.
    pub(crate) fn of(
        mut answer: Answer,
        spoilt: Option<Spoilt>,
        settle: Duration,
        place: Option<Place>,
    ) -> Response<Self> {
        let total = answer.len();
        let mut body = Self::default();
        let ending = |reset| Ending {
            reset,
            settle,
            at: None,
        };
        match spoilt {
            Some(Spoilt::ResetAfter(bytes)) => {
                answer.truncate(bytes.min(total.saturating_sub(1)));
                body.ending = Some(ending(true));
            }
            Some(Spoilt::CutShort(bytes)) if bytes < total => {
                answer.truncate(bytes);
                body.ending = Some(ending(false));
                let headers = answer.head_mut().headers_mut();
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(total));
            }
            Some(Spoilt::Slow { bytes, every }) => {
                let next = Instant::now();
                body.pace = Some(Pace { bytes, every, next });
            }
            _ => {}
        }
        let total = total as u64;
        // A transport trusts what we say more than what a head says that is no number, and refuses a
        // number that is another.
        let header = answer.head().headers().get(header::CONTENT_LENGTH);
        let header = header.and_then(|header| header.to_str().ok()?.parse().ok());
        let agrees = header.is_none_or(|header: u64| header == total);
        // A transport that knows of no bytes to come would not ask for the end.
        let asked = total > 0 || body.ending.is_none();
        body.announced = (answer.whole && agrees && asked).then_some(total);
        let later = answer.chunks.iter().any(|chunk| !chunk.at.is_zero());
        body.head_at = later.then(Instant::now);
        body.chunks = answer.chunks.into();
        // What has ended already need not be read.
        body.place = place.filter(|_| !body.has_ended());
        answer.head.map(|()| body)
    }

    fn has_ended(&self) -> bool {
        self.chunks.is_empty() && self.ending.is_none()
    }

    fn poll_until(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if time > Instant::now() {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(time)));
            ready!(timer.as_mut().poll(cx));
        }
        self.timer = None;
        Poll::Ready(())
    }

    /// The next piece, when it is due; empty at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        while let Some(chunk) = self.chunks.front() {
            let due = self.head_at.map(|head_at| head_at + chunk.at);
            let paced = self.pace.as_ref().map(|pace| pace.next);
            if let Some(time) = due.max(paced) {
                ready!(self.poll_until(time, cx));
            }
            let chunk = self.chunks.front_mut().expect("nobody has taken it");
            let most = self.pace.as_ref().map_or(MOST_AT_ONCE, |pace| pace.bytes);
            let piece = chunk.data.split_to(most.min(chunk.data.len()));
            if chunk.data.is_empty() {
                self.chunks.pop_front();
            }
            if let Some(pace) = &mut self.pace {
                pace.next = Instant::now() + pace.every;
            }
            if !piece.is_empty() {
                return Poll::Ready(piece);
            }
        }
        Poll::Ready(Bytes::new())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = ready!(self.poll_piece(cx));
        if let Some(announced) = &mut self.announced {
            *announced -= piece.len() as u64;
        }
        if !piece.is_empty() {
            if self.has_ended() {
                // Before the frame is returned: its reader may send the next request at once.
                self.place = None;
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let mut end = None;
        if let Some(ending) = &mut self.ending {
            let settle = ending.settle;
            let time = *ending.at.get_or_insert_with(|| Instant::now() + settle);
            let resets = ending.reset;
            ready!(self.poll_until(time, cx));
            end = resets.then(|| Err(reset()));
        }
        self.ending = None;
        self.place = None;
        Poll::Ready(end)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.announced
            .map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// A connection that was reset, for whoever sees no connection.
pub(crate) fn reset() -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, Reset).into()
}

/// Whether an error is, or comes from, [`reset`].
pub(crate) fn is_reset(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .filter_map(|error| error.downcast_ref::<io::Error>()?.get_ref())
        .any(<dyn std::error::Error + Send + Sync>::is::<Reset>)
}

#[derive(Debug)]
struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scheduled fault reset the connection")
    }
}

impl std::error::Error for Reset {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("chunks", &self.chunks)
            .field("announced", &self.announced)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

//! Bodies whose bytes are all there.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Body;

/// All that there is of a body in memory.
pub(crate) fn only_frame<B>(mut body: B) -> Bytes
where
    B: Body<Data = Bytes> + Unpin,
{
    match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

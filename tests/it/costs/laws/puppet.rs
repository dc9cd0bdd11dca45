//! An inner service that answers when and as the test says, and notes its calls.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tower::Service;

use crate::support::{InnerError, Req};

/// Which request it is: an extension.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub usize);

/// How a call is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer {
        status: StatusCode,
        headers: HeaderMap,
        /// Whether the body goes on until it is ended.
        open: bool,
    },
    Error,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            open: false,
        }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.insert(name, value.parse().unwrap());
        }
        self
    }

    pub fn open(mut self) -> Self {
        if let Self::Answer { open, .. } = &mut self {
            *open = true;
        }
        self
    }
}

#[derive(Clone, Debug)]
pub enum Chunk {
    Data(String),
    End,
    Fail,
}

#[derive(Default)]
pub struct Strings {
    /// All calls, by the number of the request, in order.
    pub calls: Vec<(usize, Instant)>,
    replies: BTreeMap<usize, oneshot::Sender<Reply>>,
    bodies: BTreeMap<usize, mpsc::UnboundedSender<Chunk>>,
}

/// The inner service, and the hand that moves it.
#[derive(Clone, Default)]
pub struct Puppet(Arc<Mutex<Strings>>);

impl Puppet {
    pub fn strings(&self) -> MutexGuard<'_, Strings> {
        self.0.lock().unwrap()
    }

    /// Answers the latest call of a request.
    pub fn reply(&self, id: usize, reply: Reply) {
        let sender = self.strings().replies.remove(&id).expect("it is in flight");
        assert!(sender.send(reply).is_ok(), "{id} was dropped");
    }

    /// Goes on with the open body of a request.
    pub fn body(&self, id: usize, chunk: Chunk) {
        let sender = self.strings().bodies[&id].clone();
        assert!(sender.send(chunk).is_ok(), "the body of {id} was dropped");
    }
}

impl Service<Req> for Puppet {
    type Response = Response<OpenBody>;
    type Error = InnerError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, InnerError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let id = request.extensions().get::<Id>().expect("it has a number").0;
        let (sender, receiver) = oneshot::channel();
        let mut strings = self.strings();
        strings.calls.push((id, Instant::now()));
        strings.replies.insert(id, sender);
        drop(strings);
        let puppet = self.clone();
        Box::pin(async move {
            let reply = receiver.await.map_err(|_| InnerError("nobody answers"))?;
            let Reply::Answer {
                status,
                headers,
                open,
            } = reply
            else {
                return Err(InnerError("inner"));
            };
            let mut body = OpenBody(None);
            if open {
                let (sender, receiver) = mpsc::unbounded_channel();
                puppet.strings().bodies.insert(id, sender);
                body.0 = Some(receiver);
            }
            let mut response = Response::new(body);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        })
    }
}

/// A body that goes on until the test ends it.
#[derive(Debug)]
pub struct OpenBody(Option<mpsc::UnboundedReceiver<Chunk>>);

impl Body for OpenBody {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let Poll::Ready(chunk) = receiver.poll_recv(cx) else {
            return Poll::Pending;
        };
        if !matches!(chunk, Some(Chunk::Data(_))) {
            self.0 = None;
        }
        Poll::Ready(match chunk {
            Some(Chunk::Data(text)) => Some(Ok(Frame::data(Bytes::from(text)))),
            Some(Chunk::Fail) => Some(Err(InnerError("body"))),
            Some(Chunk::End) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

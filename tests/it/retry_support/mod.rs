//! A server by script, and what it was sent.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceExt};
use tower_throttle::Attempt;

pub(crate) type Answer = Result<Response<Full<Bytes>>, BoxError>;

type Script = dyn FnMut(usize, &http::request::Parts) -> Answer + Send;

/// Answers at once, as its script says.
#[derive(Clone)]
pub(crate) struct Server {
    started: Instant,
    sent: Arc<Mutex<Vec<Sent>>>,
    script: Arc<Mutex<Script>>,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Duration,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) attempt: Option<u32>,
}

impl Server {
    /// The script is told how many requests came before.
    pub(crate) fn new(
        script: impl FnMut(usize, &http::request::Parts) -> Answer + Send + 'static,
    ) -> Self {
        Self {
            started: Instant::now(),
            sent: Arc::default(),
            script: Arc::new(Mutex::new(script)),
        }
    }

    /// Answers in this order; with 200 when there is nothing left.
    pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Vec<_> = answers.into_iter().collect();
        let mut answers = answers.into_iter();
        Self::new(move |_, _| answers.next().unwrap_or_else(|| status(200)))
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// The times between them.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        let times = self.times();
        let pairs = times.iter().zip(times.iter().skip(1));
        pairs.map(|(one, next)| next.saturating_sub(*one)).collect()
    }

    /// When each request came in.
    pub(crate) fn times(&self) -> Vec<Duration> {
        self.sent().into_iter().map(|sent| sent.at).collect()
    }
}

impl<B> Service<Request<B>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = request.into_parts().0;
        let before = {
            let mut sent = self.sent.lock().unwrap();
            sent.push(Sent {
                at: self.started.elapsed(),
                path: head.uri.path().to_owned(),
                headers: head.headers.clone(),
                attempt: head.extensions.get().map(Attempt::number),
            });
            sent.len() - 1
        };
        ready((self.script.lock().unwrap())(before, &head))
    }
}

pub(crate) fn status(status: u16) -> Answer {
    with(status, &[])
}

#[expect(clippy::unnecessary_wraps, reason = "among answers that may be errors")]
pub(crate) fn with(status: u16, headers: &[(&str, &str)]) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Full::default()).unwrap())
}

pub(crate) fn error(kind: std::io::ErrorKind) -> Answer {
    Err(std::io::Error::from(kind).into())
}

pub(crate) fn get(path: &str) -> Request<String> {
    Request::get(path).body(String::new()).unwrap()
}

pub(crate) fn post(path: &str) -> Request<String> {
    Request::post(path).body("body".to_owned()).unwrap()
}

/// Makes it ready, and calls it.
pub(crate) async fn call<S, B>(
    service: &mut S,
    request: Request<B>,
) -> Result<S::Response, S::Error>
where
    S: Service<Request<B>>,
{
    service.ready().await?.call(request).await
}

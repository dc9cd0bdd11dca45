//! The judge as a tower service.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::BoxError;
use tower_service::Service;

use super::{body::Body, state::Judge, visit::Visit};

impl<B> Service<Request<B>> for Judge
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    /// Always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// Judges the request now, if nothing holds it up on the way.
    ///
    /// Errors come only from the request's own body, and from a [`Fault`](super::Fault) that resets the
    /// connection.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let mut visit = Visit::new(self.clone(), request);
        visit.arrive_now_if_possible();
        ResponseFuture(Box::pin(visit.run()))
    }
}

/// The future of a [`Judge`]'s answer.
///
/// Dropping it means that the client went away: what it had in flight ends, and if it had not arrived
/// yet it never will.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

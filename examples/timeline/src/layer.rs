use std::{
    any::Any,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tower_throttle::{BoxError, Refused};

use crate::{
    body::Body,
    current::{Request, within},
    record::{Step, Timeline},
};

/// Gives each request a lane of a [`Timeline`]. Made by [`Timeline::layer`].
#[derive(Clone, Debug)]
pub struct TimelineLayer(Timeline);

impl TimelineLayer {
    pub(crate) fn new(timeline: Timeline) -> Self {
        Self(timeline)
    }
}

impl<S> Layer<S> for TimelineLayer {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        let timeline = self.0.clone();
        Recorded { inner, timeline }
    }
}

/// The service of [`TimelineLayer`].
#[derive(Clone, Debug)]
pub struct Recorded<S> {
    inner: S,
    timeline: Timeline,
}

impl<S, B, ResB> Service<http::Request<B>> for Recorded<S>
where
    S: Service<http::Request<B>, Response = Response<ResB>>,
    S::Error: 'static,
{
    type Response = Response<Body<ResB>>;
    type Error = S::Error;
    type Future = RecordedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let timeline = self.timeline.clone();
        let number = timeline.came();
        let future = within(number, || self.inner.call(request));
        RecordedFuture {
            future: Some(future),
            request: number,
            timeline,
        }
    }
}

pin_project! {
    /// The response of [`Recorded`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RecordedFuture<F> {
        // `None` once it is over.
        #[pin]
        future: Option<F>,
        request: Request,
        timeline: Timeline,
    }

    impl<F> PinnedDrop for RecordedFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                within(*this.request, || this.future.set(None));
                this.timeline.step(*this.request, Step::Dropped);
            }
        }
    }
}

impl<F, ResB, E> Future for RecordedFuture<F>
where
    F: Future<Output = Result<Response<ResB>, E>>,
    E: 'static,
{
    type Output = Result<Response<Body<ResB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let request = *this.request;
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("it is not polled after it was ready");
        let result = ready!(within(request, || future.poll(cx)));
        within(request, || this.future.set(None));
        if let Err(error) = &result {
            this.timeline.step(request, failed(error));
        }
        Poll::Ready(result.map(|response| response.map(|body| Body::new(body, request))))
    }
}

/// What an error says about its request. The event of a refusal may be told by another's call, and so to nobody here.
fn failed<E: 'static>(error: &E) -> Step {
    let boxed = (error as &dyn Any).downcast_ref::<BoxError>();
    match boxed {
        Some(error) if error.is::<Refused>() => Step::Refused,
        _ => Step::Failed,
    }
}

impl<F> fmt::Debug for RecordedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedFuture")
            .field("request", &self.request.number)
            .finish_non_exhaustive()
    }
}

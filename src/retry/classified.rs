use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::BoxError;
use tower_service::Service;

use crate::{body::Body, peek::Peek, signal::Classifier};

/// Classifies the answers of a service, unless a layer below has done so.
#[derive(Clone, Debug)]
pub(super) struct Classified<S> {
    pub(super) inner: S,
    classifier: Classifier,
}

impl<S> Classified<S> {
    pub(super) fn new(inner: S, classifier: Classifier) -> Self {
        Self { inner, classifier }
    }
}

impl<S, B, ResB> Service<Request<B>> for Classified<S>
where
    S: Service<Request<B>, Response = Response<ResB>>,
    S::Error: Into<BoxError>,
    ResB: http_body::Body,
{
    type Response = Response<Body<ResB>>;
    type Error = BoxError;
    type Future = Classifying<S::Future, Peek<ResB>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Classifying::new(self.inner.call(request), self.classifier.clone())
    }
}

pin_project! {
    /// An answer, and then what it means.
    pub(super) struct Classifying<F, P> {
        #[pin]
        stage: Stage<F, P>,
        classifier: Classifier,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, P> {
        Calling { #[pin] future: F },
        Peeking { peek: P },
        Done,
    }
}

impl<F, P> Classifying<F, P> {
    fn new(future: F, classifier: Classifier) -> Self {
        Self {
            stage: Stage::Calling { future },
            classifier,
        }
    }
}

impl<F, ResB, E> Future for Classifying<F, Peek<ResB>>
where
    F: Future<Output = Result<Response<ResB>, E>>,
    E: Into<BoxError>,
    ResB: http_body::Body,
{
    type Output = Result<Response<Body<ResB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Calling { future } => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    this.stage.set(Stage::Done);
                    let response = result?.map(Body::new);
                    if !this.classifier.may_refuse(&response) {
                        return Poll::Ready(Ok(response));
                    }
                    match this.classifier.look(response) {
                        Ok(response) => return Poll::Ready(Ok(response)),
                        Err(peek) => this.stage.set(Stage::Peeking { peek }),
                    }
                }
                StageProj::Peeking { peek } => {
                    let response = ready!(peek.poll(cx, this.classifier));
                    this.stage.set(Stage::Done);
                    return Poll::Ready(Ok(response));
                }
                StageProj::Done => panic!("polled after it was ready"),
            }
        }
    }
}

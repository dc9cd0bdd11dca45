use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::BoxError;
use tower_service::Service;

use super::{
    classified::Classified,
    clone_body::Plan,
    future::{Resend, ResponseFuture, RetryFuture},
    head::Head,
    rules::Rules,
};
use crate::{body::Body, peek::Peek, waited::Tally};

/// The service of [`RetryLayer`](crate::RetryLayer).
///
/// Cloning shares the budget. There is nothing per instance: readiness is the inner service's.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    service: RetryService<Classified<S>>,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        let classifier = rules.classifier.clone();
        Self {
            service: RetryService::new(Classified::new(inner, classifier), rules),
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.service.inner.inner
    }

    /// The inner service. Calls made through it are not retried.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.service.inner.inner
    }

    /// The inner service alone.
    pub fn into_inner(self) -> S {
        self.service.inner.inner
    }
}

impl<S, B, ResB> Service<Request<B>> for Retry<S>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    B: 'static,
    ResB: http_body::Body,
{
    type Response = Response<Body<ResB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, S::Future, Peek<ResB>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.service, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::new(self.service.call(request))
    }
}

/// Retries over a service that classifies its answers, and leaves them as they are.
#[derive(Clone, Debug)]
pub(crate) struct RetryService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> RetryService<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }

    #[cfg(test)]
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, ResB> Service<Request<B>> for RetryService<S>
where
    S: Service<Request<B>, Response = Response<Body<ResB>>> + Clone,
    S::Error: Into<BoxError>,
    B: 'static,
    ResB: http_body::Body,
{
    type Response = Response<Body<ResB>>;
    type Error = BoxError;
    type Future = RetryFuture<S, B, S::Future, Peek<ResB>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[expect(
        clippy::inline_always,
        reason = "it spares moves of the request and the future"
    )]
    #[inline(always)]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let rules = Arc::clone(&self.rules);
        if rules.reports_waited {
            tally(&mut request);
        }
        let replay = match rules.bodies.plan(request.body_mut()) {
            Plan::Replay(replay) => Some(replay),
            Plan::Once => None,
            Plan::Collect(collect) => {
                // The readied instance may have reserved something, which it must not hold while the
                // body is read. Only its drop gives that back; a clone has reserved nothing.
                self.inner = self.inner.clone();
                let head = Head::of(&request);
                let collecting = collect(request.into_body());
                let resend = Resend::boxed(self.inner.clone(), head, None);
                return RetryFuture::collecting(collecting, resend, rules);
            }
        };
        // The event of its failure depends on the head.
        let is_kept = replay.is_some() || rules.observer.is_some();
        let resend = is_kept.then(|| {
            let mut resend = Resend::boxed(self.inner.clone(), Head::of(&request), replay);
            resend.sent();
            resend
        });
        // The readied instance makes the first attempt; a clone goes along for the others.
        let future = self.inner.call(request);
        RetryFuture::calling(future, resend, rules)
    }
}

/// The queues of all attempts of a request are added up; those of a retrying layer above, too.
#[cold]
fn tally<B>(request: &mut Request<B>) {
    request.extensions_mut().get_or_insert_default::<Tally>();
}

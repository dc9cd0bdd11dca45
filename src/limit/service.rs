use std::task::{Context, Poll};

use http::{Method, Request, Response};
use tower::BoxError;
use tower_service::Service;

use super::future::ResponseFuture;
use crate::{admission::Shared, body::Body, peek::Peek, per_thread::PerThread};

/// What the three faces have in common: an inner service and what its layer shares.
///
/// Cloning shares the engine. There is nothing per instance: readiness is the inner service's.
#[derive(Clone, Debug)]
pub(super) struct Limit<S> {
    pub(super) inner: S,
    shared: PerThread<Shared>,
}

impl<S> Limit<S> {
    pub(super) fn new(inner: S, shared: &Shared) -> Self {
        shared.engine.begin();
        Self {
            inner,
            shared: PerThread::new(shared),
        }
    }
}

impl<S> Limit<S> {
    /// [`call`](Service::call), which is built in place where that is asked for: the future is large.
    #[expect(clippy::inline_always, reason = "it spares two moves of the future")]
    #[inline(always)]
    pub(super) fn start<B, ResB>(
        &mut self,
        request: Request<B>,
    ) -> ResponseFuture<S, Request<B>, S::Future, Peek<ResB>>
    where
        S: Service<Request<B>, Response = Response<ResB>> + Clone,
        S::Error: Into<BoxError>,
        B: 'static,
        ResB: http_body::Body,
    {
        let shared = self.shared.get();
        match shared.admit(&request) {
            Ok(dispatch) => {
                let is_connect = request.method() == Method::CONNECT;
                let future = self.inner.call(request);
                ResponseFuture::calling(future, dispatch.done(), is_connect)
            }
            Err(unadmitted) => {
                // The readied instance may have reserved something below. It must not be held while
                // waiting, and only a call or its drop gives that back; a clone has reserved nothing.
                let acquire = shared.wait(unadmitted);
                self.inner = self.inner.clone();
                match acquire {
                    Ok(acquire) => ResponseFuture::queued(acquire, self.inner.clone(), request),
                    Err(error) => ResponseFuture::failed(error.into()),
                }
            }
        }
    }
}

impl<S, B, ResB> Service<Request<B>> for Limit<S>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    B: 'static,
    ResB: http_body::Body,
{
    type Response = Response<Body<ResB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, Request<B>, S::Future, Peek<ResB>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[expect(
        clippy::inline_always,
        reason = "it spares moves of the request and the future"
    )]
    #[inline(always)]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.start(request)
    }
}

/// A face's service: a newtype around [`Limit`], so that each has its own name and docs.
macro_rules! face {
    ($(#[$docs:meta])* $Service:ident) => {
        $(#[$docs])*
        #[derive(Clone, Debug)]
        pub struct $Service<S> {
            limit: Limit<S>,
        }

        impl<S> $Service<S> {
            pub(super) fn new(limit: Limit<S>) -> Self {
                Self { limit }
            }

            /// The inner service.
            pub fn get_ref(&self) -> &S {
                &self.limit.inner
            }

            /// The inner service. Calls made through it are not limited.
            pub fn get_mut(&mut self) -> &mut S {
                &mut self.limit.inner
            }

            /// The inner service alone.
            pub fn into_inner(self) -> S {
                self.limit.inner
            }
        }

        impl<S, B, ResB> Service<Request<B>> for $Service<S>
        where
            S: Service<Request<B>, Response = Response<ResB>> + Clone,
            S::Error: Into<BoxError>,
            B: 'static,
            ResB: http_body::Body,
        {
            type Response = Response<Body<ResB>>;
            type Error = BoxError;
            type Future = ResponseFuture<S, Request<B>, S::Future, Peek<ResB>>;

            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
                Service::<Request<B>>::poll_ready(&mut self.limit, cx)
            }

            fn call(&mut self, request: Request<B>) -> Self::Future {
                self.limit.call(request)
            }
        }
    };
}

face! {
    /// The service of [`RpsLayer`](crate::RpsLayer).
    Rps
}

face! {
    /// The service of [`ConcurrencyLayer`](crate::ConcurrencyLayer).
    Concurrency
}

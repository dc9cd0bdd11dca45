//! Both limits and retry: the one place that knows `limit` and `retry`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::BoxError;
use tower_layer::Layer;
use tower_service::Service;

use super::{future::ResponseFuture, layer::builder, service::Limit};
use crate::{
    admission::{Handle, Shared},
    body::Body,
    bucket::Enforced,
    endpoints::Endpoints,
    peek::Peek,
    retry::{RetryFuture, RetryLayer, RetryService},
    signal::{Classifier, Classify},
};

/// Windows and concurrency, decided together, and retries.
///
/// What [`RetryLayer`] over [`ConcurrencyLayer`](crate::ConcurrencyLayer) over
/// [`RpsLayer`](crate::RpsLayer) do, without that stack's one fault: there, a request that waits for
/// its window holds a permit meanwhile. Here no request holds anything while it waits, and a request that
/// the server throttled waits where all requests do, in its old place.
///
/// [`retry`](Self::retry) and [`without_retry`](Self::without_retry) change what is sent again,
/// [`learn`](Self::learn) what answers teach, [`max_pause`](Self::max_pause) how long they can pause.
///
/// ```
/// use tower::{ServiceBuilder, service_fn};
/// use tower_throttle::{BoxError, Endpoints, Quota, ThrottleLayer};
///
/// let endpoints = Endpoints::new()
///     .route("POST /v1/text-to-speech/{voice_id}", Quota::per_second(5).concurrency(4))
///     .overall(Quota::per_second(50));
/// let client = ServiceBuilder::new()
///     .layer(ThrottleLayer::new(endpoints))
///     .service(service_fn(|_: http::Request<String>| async {
///         Ok::<_, BoxError>(http::Response::new(String::new()))
///     }));
/// # let _ = client;
/// ```
///
/// # Limits on waiting
///
/// [`max_waiting`](Self::max_waiting) is for new requests: a retry returns to its place in a full queue
/// as well. [`max_wait`](Self::max_wait) applies to each attempt. A [`Deadline`](crate::Deadline) holds
/// for all attempts together, and so does the retry layer's [`max_total`](RetryLayer::max_total). If the
/// endpoint is known to open too late for one of these three, or the server asks for more than
/// [`max_pause`](Self::max_pause), no retry is begun, and the answer goes up. A retry that turns out
/// later to come too late for `max_wait` or the deadline ends as [`Refused`](crate::Refused).
///
/// # Errors
///
/// The service's error is a [`BoxError`]. An error of the inner service comes as it is. The layer's own are a
/// [`Refused`](crate::Refused); an [`UnknownEndpoint`](crate::UnknownEndpoint), if the request chooses a name that
/// does not exist; and an error without a public type, if it has to wait for a time and no runtime has timers.
///
/// # Cancellation
///
/// Dropping the response future ends the attempt that is under way, and none comes after. What it held
/// goes to the next in line: see [Cancellation](crate#cancellation).
#[derive(Clone, Debug)]
pub struct ThrottleLayer {
    shared: Shared,
    retry: Option<RetryLayer>,
}

impl ThrottleLayer {
    /// A layer with its own state, shared by all services it makes and by its clones, and a
    /// [`RetryLayer`] as it is by default.
    ///
    /// Needs no runtime. Only a request that waits for a time does, with timers: see
    /// [Composition](crate#composition).
    #[expect(clippy::needless_pass_by_value, reason = "as with the other layers")]
    pub fn new(endpoints: Endpoints) -> Self {
        let face = Enforced {
            windows: true,
            permits: true,
        };
        Self {
            shared: Shared::new(&endpoints, face),
            retry: Some(RetryLayer::new()),
        }
    }

    /// Retries as `retry` says.
    ///
    /// What answers mean is told by this layer's [`classify`](Self::classify), not by that of `retry`.
    /// The budget is the one of `retry`, and shared with its clones elsewhere.
    pub fn retry(mut self, retry: RetryLayer) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sends each request once, and hands up whatever comes back. Refusals pause and teach all the same.
    pub fn without_retry(mut self) -> Self {
        self.retry = None;
        self
    }
}

builder!(ThrottleLayer);

impl<S> Layer<S> for ThrottleLayer {
    type Service = Throttle<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let limit = Limit::new(inner, &self.shared);
        let kind = match &self.retry {
            Some(retry) => {
                let mut retry = retry.clone();
                if self.shared.reports_waited {
                    retry = retry.report_waited();
                }
                let observer = self.shared.engine.observer().cloned();
                Kind::Retried(retry.joint(limit, self.shared.home(), observer))
            }
            None => Kind::Once(limit),
        };
        Throttle { kind }
    }
}

/// The service of [`ThrottleLayer`].
#[derive(Clone, Debug)]
pub struct Throttle<S> {
    kind: Kind<S>,
}

#[derive(Clone, Debug)]
enum Kind<S> {
    Once(Limit<S>),
    Retried(RetryService<Limit<S>>),
}

impl<S> Throttle<S> {
    fn limit(&self) -> &Limit<S> {
        match &self.kind {
            Kind::Once(limit) => limit,
            Kind::Retried(service) => service.get_ref(),
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.limit().inner
    }

    /// The inner service. Calls made through it are not limited.
    pub fn get_mut(&mut self) -> &mut S {
        match &mut self.kind {
            Kind::Once(limit) => &mut limit.inner,
            Kind::Retried(service) => &mut service.get_mut().inner,
        }
    }

    /// The inner service alone.
    pub fn into_inner(self) -> S {
        match self.kind {
            Kind::Once(limit) => limit.inner,
            Kind::Retried(service) => service.into_inner().inner,
        }
    }
}

impl<S, B, ResB> Service<Request<B>> for Throttle<S>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    B: 'static,
    ResB: http_body::Body,
{
    type Response = Response<Body<ResB>>;
    type Error = BoxError;
    type Future = ThrottleFuture<S, B, S::Future, Peek<ResB>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.kind {
            Kind::Once(limit) => Service::<Request<B>>::poll_ready(limit, cx),
            Kind::Retried(service) => Service::<Request<B>>::poll_ready(service, cx),
        }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match &mut self.kind {
            Kind::Once(limit) => ThrottleFuture {
                kind: FutureKind::Once {
                    future: limit.start(request),
                },
            },
            Kind::Retried(service) => ThrottleFuture {
                kind: FutureKind::Retried {
                    future: service.call(request),
                },
            },
        }
    }
}

pin_project! {
    /// The response of [`Throttle`].
    ///
    /// Named by the inner service, the request's body, the inner service's future and the peeking of
    /// its answer, and bound by none of them.
    #[must_use = "futures do nothing unless polled"]
    pub struct ThrottleFuture<S, B, F, P> {
        #[pin]
        kind: FutureKind<S, B, F, P>,
    }
}

pin_project! {
    #[project = FutureKindProj]
    enum FutureKind<S, B, F, P> {
        Once {
            #[pin]
            future: ResponseFuture<S, Request<B>, F, P>,
        },
        Retried {
            #[pin]
            future: RetryFuture<Limit<S>, B, ResponseFuture<S, Request<B>, F, P>, P>,
        },
    }
}

impl<S, B, ResB> Future for ThrottleFuture<S, B, S::Future, Peek<ResB>>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    B: 'static,
    ResB: http_body::Body,
{
    type Output = Result<Response<Body<ResB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            FutureKindProj::Once { future } => future.poll(cx),
            FutureKindProj::Retried { future } => future.poll(cx),
        }
    }
}

impl<S, B, F, P> fmt::Debug for ThrottleFuture<S, B, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind: &dyn fmt::Debug = match &self.kind {
            FutureKind::Once { future } => future,
            FutureKind::Retried { future } => future,
        };
        f.debug_tuple("ThrottleFuture").field(kind).finish()
    }
}

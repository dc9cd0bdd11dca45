//! The same decisions for tower's own retry.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::tower::BoxError;
use ::tower::retry::Policy;
use http::{Request, Response};
use tokio::time::{Instant, Sleep};

use super::{
    layer::RetryLayer,
    policy::Facts,
    progress::{Progress, Verdict, Wakeup, judge},
    rules::Rules,
};
use crate::signal::Signal;

/// The decisions of a [`RetryLayer`] as a policy for `tower::retry::RetryLayer`.
///
/// ```
/// use tower::{ServiceBuilder, retry, service_fn};
/// use tower_throttle::{BoxError, RetryLayer};
///
/// let client = ServiceBuilder::new()
///     .layer(retry::RetryLayer::new(RetryLayer::new().policy()))
///     .service(service_fn(|_: http::Request<String>| async {
///         Ok::<_, BoxError>(http::Response::new(String::new()))
///     }));
/// # let _ = client;
/// ```
///
/// # Differences from `RetryLayer`
///
/// - The inner service's error must be a [`BoxError`] (`map_err(BoxError::from)`).
/// - Bodies of answers are not peeked: where no limiting layer of ours is below, an answer means what
///   its head says.
/// - Bodies of requests are not collected.
/// - There is no event for a request whose body cannot be sent again: tower does not ask about it.
#[derive(Debug)]
pub struct RetryPolicy {
    rules: Arc<Rules>,
    /// Of the request that this clone belongs to.
    progress: Progress,
}

impl RetryLayer {
    /// This layer's decisions as a policy for tower's own `RetryLayer`.
    pub fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            rules: Arc::clone(self.rules()),
            progress: Progress::new(),
        }
    }
}

/// For the next request, which is how tower uses it: shares the budget, and knows nothing of other
/// requests' attempts.
impl Clone for RetryPolicy {
    fn clone(&self) -> Self {
        let mut progress = Progress::new();
        // tower clones the policy when it has sent the first attempt.
        progress.sent();
        Self {
            rules: Arc::clone(&self.rules),
            progress,
        }
    }
}

impl<B: 'static, A> Policy<Request<B>, Response<A>, BoxError> for RetryPolicy {
    type Future = Pause;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<A>, BoxError>,
    ) -> Option<Pause> {
        if let Ok(response) = result {
            if response.extensions().get::<Signal>().is_none() {
                if let Some(signal) = self.rules.classifier.by_head(response) {
                    response.extensions_mut().insert(signal);
                }
            }
        }
        let verdict = judge(result, &self.rules).and_then(|(failure, now)| {
            let has_header = |name: &_| request.headers().contains_key(name);
            let facts = Facts::of(request.method(), request.extensions(), has_header, now);
            self.progress.decide(&failure, facts, &self.rules, now)
        });
        let (wakeup, event) = match verdict {
            Some(Verdict { wakeup, event }) => (wakeup, Some(event)),
            None => (None, None),
        };
        match (&wakeup, &mut *result) {
            (Some(_), result) => {
                self.progress.remember(result);
                self.progress.mark(request.extensions_mut());
            }
            (None, Ok(response)) => self.progress.tell(response.extensions_mut()),
            (None, Err(_)) => {}
        }
        if let Some(event) = event {
            self.rules.tell_observer(event);
        }
        wakeup.map(|wakeup| Pause::until(&wakeup))
    }

    /// tower calls this right before it sends the request that it is given.
    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        self.progress.sent();
        let mut again = Request::new(self.rules.bodies.copy(request.body())?);
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.version_mut() = request.version();
        *again.headers_mut() = request.headers().clone();
        *again.extensions_mut() = request.extensions().clone();
        Some(again)
    }
}

/// The time until a retry of a [`RetryPolicy`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Pause {
    until: Instant,
    /// Made by the first poll.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    fn until(wakeup: &Wakeup) -> Self {
        let until = match wakeup {
            Wakeup::At(until) => *until,
            Wakeup::Now => Instant::now(),
        };
        Self { until, timer: None }
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { until, timer } = self.get_mut();
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*until)));
        timer.as_mut().poll(cx)
    }
}

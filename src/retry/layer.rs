use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tower::BoxError;
use tower_layer::Layer;

use super::{
    backoff::Backoff,
    budget::Budget,
    collect::ReplayBody,
    rules::Rules,
    service::{Retry, RetryService},
};
use crate::{
    admission::Home,
    event::Observer,
    event::SharedObserver,
    signal::{Classifier, Classify},
};

/// Retries what failed, as the [module](crate::retry) says.
///
/// The outermost of a stack by hand; [`ThrottleLayer`](crate::ThrottleLayer) has one inside. Its error is
/// a [`BoxError`]: the inner service's last one, as it came. The inner service has to be `Clone`, since
/// each request takes one along for its retries.
///
/// The layer is its own builder. Settings apply to the services that this value of the layer makes;
/// the budget belongs to the layer and its clones.
///
/// Dropping the response future drops the attempt that is under way, and no other comes: see
/// [Cancellation](crate::retry#cancellation).
///
/// ```
/// use std::time::Duration;
/// use tower::{ServiceBuilder, service_fn};
/// use tower_throttle::{Backoff, BoxError, RetryLayer};
///
/// let retry = RetryLayer::new()
///     .max_attempts(5)
///     .max_total(Duration::from_secs(30))
///     .backoff(Backoff::full(Duration::from_millis(100), Duration::from_secs(5)));
/// let client = ServiceBuilder::new()
///     .layer(retry)
///     .service(service_fn(|_: http::Request<String>| async {
///         Ok::<_, BoxError>(http::Response::new(String::new()))
///     }));
/// # let _ = client;
/// ```
#[derive(Clone, Debug, Default)]
pub struct RetryLayer {
    rules: Arc<Rules>,
}

impl RetryLayer {
    /// A layer that retries as the [module](crate::retry) says, with a budget of its own.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, set: impl FnOnce(&mut Rules)) -> Self {
        set(Arc::make_mut(&mut self.rules));
        self
    }

    /// Hands up the `n`-th failure. 3 by default: AWS's standard mode, and what the SDKs of `OpenAI`,
    /// Anthropic and ElevenLabs do.
    ///
    /// Throttling answers do not count, so with 1 they alone are retried.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[track_caller]
    pub fn max_attempts(self, n: u32) -> Self {
        assert!(n > 0, "a request cannot be sent in {n} attempts");
        self.with(|rules| rules.policy.max_attempts = n)
    }

    /// Waits for no retry that would come later than this after the first failure. Two minutes by
    /// default: as long as the longest delay that is waited for.
    ///
    /// A [`Deadline`](crate::Deadline) on a request limits it to an instant.
    pub fn max_total(self, time: Duration) -> Self {
        self.with(|rules| rules.policy.max_total = time)
    }

    /// Waits for no server that asks for a longer delay than this. Two minutes by default, as in the
    /// `OpenAI` SDK. Above a limiting layer, its `max_pause` bounds the delay as well.
    pub fn max_retry_after(self, delay: Duration) -> Self {
        self.with(|rules| rules.policy.max_retry_after = delay)
    }

    /// How long to wait where the server does not say. By default [`Backoff::full`] from 500 ms (the
    /// Anthropic, `OpenAI` and Stripe SDKs) to 20 s (AWS's standard mode).
    ///
    /// Above a limiting layer, 429s wait in its queue instead, and overloads for the longer of the two.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.with(|rules| rules.backoff = backoff)
    }

    /// How much load retries may add, instead of the default [`Budget`]: 100 retries, and a tenth of
    /// one for each success. Throttling answers take nothing from it.
    pub fn budget(self, budget: Budget) -> Self {
        self.with(|rules| rules.budget = Some(Arc::new(budget)))
    }

    /// Retries however many requests fail; attempts and times still limit each of them.
    pub fn without_budget(self) -> Self {
        self.with(|rules| rules.budget = None)
    }

    /// Which failures of servers are worth a retry, instead of 408, 429 and every 5xx but 501, 505, 508,
    /// 509 and 511.
    ///
    /// An answer that the classifier takes for a limit or an overload is retried whatever its status. But
    /// where a limit is told by a status that means something else to others (403, 418, 420, 430 and 509),
    /// the bucket pauses, and the request is retried only if the status is listed here.
    pub fn statuses(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        let statuses = statuses.into_iter().collect();
        self.with(|rules| rules.policy.statuses = Some(statuses))
    }

    /// Whether a 503 or 529 with a delay means that the request was not processed, so that any request
    /// may be sent again. On by default.
    ///
    /// No standard says so. It is what servers and proxies that shed load mean by it, and what clients
    /// commonly assume. Otherwise only repeatable requests are sent again.
    pub fn trust_retry_after(self, trust: bool) -> Self {
        self.with(|rules| rules.policy.trust_retry_after = trust)
    }

    /// Sends bodies of type `B` again, as what `copy` makes of them; once if it returns `None`.
    ///
    /// `copy` sees the body before anything of it has been read. Later registrations of a type replace
    /// earlier ones, and the built-in ones.
    ///
    /// ```
    /// use tower_throttle::RetryLayer;
    ///
    /// #[derive(Clone)]
    /// struct Json(std::sync::Arc<str>);
    ///
    /// let layer = RetryLayer::new().clone_body_with::<Json>(|json| Some(json.clone()));
    /// # let _ = layer;
    /// ```
    pub fn clone_body_with<B: 'static>(
        self,
        copy: impl Fn(&B) -> Option<B> + Send + Sync + 'static,
    ) -> Self {
        self.with(|rules| rules.bodies.copy_with(copy))
    }

    /// Collects bodies of type `B` before their first attempt, up to `cap` bytes, so that they can be
    /// sent again.
    ///
    /// `rebuild` makes a `B` of what was collected. A longer body is sent once: what was read of it,
    /// and then the rest. So is a body that fails, with its error. The body is read before the request
    /// queues for anything below.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::combinators::BoxBody;
    /// use tower_throttle::{BoxError, RetryLayer};
    ///
    /// type Stream = BoxBody<Bytes, BoxError>;
    /// let layer = RetryLayer::new().collect_body_with::<Stream>(64 * 1024, BoxBody::new);
    /// # let _ = layer;
    /// ```
    pub fn collect_body_with<B>(
        self,
        cap: usize,
        rebuild: impl Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
    ) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError> + Send,
    {
        self.with(|rules| rules.bodies.collect_with(cap, rebuild))
    }

    /// Tells by other means what answers mean: a [`Profile`](crate::signal::Profile), or your own.
    ///
    /// [`Profile::Standard`](crate::signal::Profile::Standard) by default. Asked only about answers
    /// that no layer of ours below has classified.
    pub fn classify(self, classify: impl Classify) -> Self {
        self.with(|rules| rules.classifier = Classifier::new(classify))
    }

    /// Gives `observer` an event for each retry that is decided
    /// ([`EventKind::RetryScheduled`](crate::EventKind::RetryScheduled)), and for each request that could have been
    /// retried and is handed up ([`EventKind::GivenUp`](crate::EventKind::GivenUp)). A success has no such event.
    ///
    /// The events have no bucket and no partition. Their [`sequence`](crate::Event::sequence) counts from 1, over
    /// this layer, its clones and their services. An observer that was set before is replaced.
    ///
    /// Within a [`ThrottleLayer`](crate::ThrottleLayer) that has an observer itself, this one gets the events of
    /// the retries, and that one all others. If this layer has no observer, that one gets both.
    ///
    /// With an observer, a request whose body cannot be sent again costs a copy of its head, too. If the observer
    /// panics, the panic comes out of the poll of the response future; no permit is held then.
    pub fn observe(self, observer: impl Observer) -> Self {
        let observer = SharedObserver::new(observer);
        self.with(|rules| rules.observer = Some(observer))
    }

    /// Leaves with each response for how long all attempts of its request together were queued: the extension
    /// [`Waited`](crate::Waited). The limiting layers below are to be asked, too.
    ///
    /// Off by default. A [`ThrottleLayer`](crate::ThrottleLayer) that is asked sees to its own retries.
    pub fn report_waited(self) -> Self {
        self.with(|rules| rules.reports_waited = true)
    }

    /// Retries of the layer to which `inner` belongs, which is their `home`. `observer` is that layer's, and gets the events of retries
    /// unless this layer has an observer of its own.
    pub(crate) fn joint<S>(
        &self,
        inner: S,
        home: Home,
        observer: Option<SharedObserver>,
    ) -> RetryService<S> {
        let mut rules = Rules::clone(&self.rules);
        rules.home = Some(home);
        rules.observer = rules.observer.or(observer);
        RetryService::new(inner, Arc::new(rules))
    }

    #[cfg(feature = "tower-retry")]
    pub(super) fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::clone(&self.rules))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use tokio::time::Instant;

    use super::*;
    use crate::{Endpoints, Event, EventKind, admission::Shared, bucket::Enforced};

    fn home() -> Home {
        let enforced = Enforced {
            windows: true,
            permits: true,
        };
        Shared::new(&Endpoints::new(), enforced).home()
    }

    /// The numbers of what was told.
    #[derive(Default)]
    struct Log(Mutex<Vec<u64>>);

    impl Observer for Log {
        fn on_event(&self, event: &Event<'_>) {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(event.sequence);
        }
    }

    impl Log {
        fn told(&self) -> Vec<u64> {
            self.0.lock().unwrap().clone()
        }
    }

    fn tell(layer: &RetryLayer, observer: Option<SharedObserver>) {
        let event = (Instant::now(), EventKind::GivenUp { attempts: 1 });
        layer
            .joint((), home(), observer)
            .rules()
            .tell_observer(event);
    }

    #[test]
    fn the_joint_layers_observer_counts_across_its_services() {
        let (log, layer) = (Arc::new(Log::default()), RetryLayer::new());
        let shared = SharedObserver::new(Arc::clone(&log));
        tell(&layer, Some(shared.clone()));
        tell(&layer.clone(), Some(shared));
        // It belongs to the services, and not to this layer.
        tell(&layer, None);
        assert_eq!(log.told(), [1, 2]);
    }

    #[test]
    fn a_layers_own_observer_is_told_instead_of_the_joint_layers() {
        let (own, other) = (Arc::new(Log::default()), Arc::new(Log::default()));
        let layer = RetryLayer::new().observe(Arc::clone(&own));
        tell(&layer, Some(SharedObserver::new(Arc::clone(&other))));
        tell(&layer, None);
        assert_eq!(own.told(), [1, 2]);
        assert!(other.told().is_empty());
    }
}

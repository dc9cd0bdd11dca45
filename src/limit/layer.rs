use std::time::Duration;

use tower_layer::Layer;

use super::service::{Concurrency, Limit, Rps};
use crate::{
    admission::{Handle, Shared},
    bucket::Enforced,
    endpoints::Endpoints,
    signal::{Classifier, Classify},
};

/// The builder of what all faces have, and their handle.
macro_rules! builder {
    ($Layer:ident) => {
        impl $Layer {
            /// Refuses a request that would have to wait while `n` requests wait in its bucket, in
            /// its group's or in any wider one. If they wait at its own endpoint, and some are of a lower
            /// [class](crate::Priority), one of those is refused instead: the youngest of the lowest class, of those that
            /// this limit is for. Retries are not, nor are requests of services without this setting.
            ///
            /// Off by default. 0 means: admit now or refuse. Applies to the services that this value
            /// of the layer makes. The refusal is a [`Refused`](crate::Refused) from the response
            /// future. A retry is not refused for this: it has waited before, and returns to its place.
            pub fn max_waiting(mut self, n: usize) -> Self {
                self.shared.limits.max_waiting = Some(n);
                self
            }

            /// Refuses a request whose turn comes later than `wait` after it began to wait.
            ///
            /// Off by default. Where windows and pauses tell when its turn comes, it is refused at
            /// once, or as soon as a pause, a new quota or a permit that it gets shows that its turn comes too
            /// late; where it waits for other requests to end, when the time has passed. With several windows
            /// each is taken by itself, and in windows of other units than requests those that wait before it are
            /// taken to cost nothing, so that no request is refused that would have gone in time. (What is under
            /// way counts as estimated: if it settles to less, one may be.) 0 means:
            /// admit now or refuse. Applies to the services that this value of the layer makes. The
            /// refusal is a [`Refused`](crate::Refused) from the response future. Each attempt may wait
            /// as long; an answer after which the bucket stays closed for longer is not retried.
            pub fn max_wait(mut self, wait: Duration) -> Self {
                self.shared.limits.max_wait = Some(wait);
                self
            }

            /// Lets all new keys share one bucket once `n` are in use.
            ///
            /// Off by default. Keys are the paths of `each_other_path`, the authorities of requests
            /// that match nothing, and the values of a partition. Applies to the layer's state, and
            /// so to all its clones.
            ///
            /// # Panics
            ///
            /// If a service or a handle has been made: from then on
            /// [`Handle::set_max_keys`](crate::Handle::set_max_keys) is for that.
            #[track_caller]
            pub fn max_keys(self, n: usize) -> Self {
                self.shared.engine.assert_unused("max_keys", "set_max_keys");
                self.shared.engine.set_max_keys(n);
                self
            }

            /// Learns these lessons from answers, and no others.
            ///
            /// All of them by default: each can only narrow what was configured, and is given back
            /// while all goes well. Pauses are no lessons, and stay. Applies to the layer's state,
            /// and so to all its clones.
            ///
            /// # Panics
            ///
            /// If a service or a handle has been made: from then on
            /// [`Handle::set_learning`](crate::Handle::set_learning) is for that.
            #[track_caller]
            pub fn learn(self, learning: crate::bucket::Learning) -> Self {
                self.shared.engine.assert_unused("learn", "set_learning");
                self.shared.engine.set_learning(learning);
                self
            }

            /// Pauses no bucket for longer than `time` because an answer asks for it.
            ///
            /// Two minutes by default, as long as openai-python honours. Up to a quarter of a second of
            /// jitter comes on top. Applies to the layer's state, and so to all its clones.
            ///
            /// Nobody waits for a server that asks for more. Its answer is handed up and not retried, even
            /// if [`RetryLayer::max_retry_after`](crate::RetryLayer::max_retry_after) is longer. Requests
            /// that wait for the bucket, and those that come later, are refused at once with the server's
            /// own time ([`ServerClosed`](crate::RefusedReason::ServerClosed)). Once in each `time` the
            /// next request goes all the same, as a probe. If it is accepted the bucket is open again.
            ///
            /// # Panics
            ///
            /// If a service or a handle has been made: from then on
            /// [`Handle::set_max_pause`](crate::Handle::set_max_pause) is for that.
            #[track_caller]
            pub fn max_pause(self, time: Duration) -> Self {
                self.shared
                    .engine
                    .assert_unused("max_pause", "set_max_pause");
                self.shared.engine.set_max_pause(time);
                self
            }

            /// Tells by other means what answers mean: a [`Profile`](crate::signal::Profile), or your
            /// own.
            ///
            /// [`Profile::Standard`](crate::signal::Profile::Standard) by default. Where layers are
            /// stacked, it is the innermost that decides, and those above believe it. Applies to the
            /// services that this value of the layer makes.
            pub fn classify(mut self, classify: impl Classify) -> Self {
                self.shared.classifier = Classifier::new(classify);
                self
            }

            /// Tells what a request costs from its head, and from its body where that is in memory.
            ///
            /// By default a request that carries no [`Terms`](crate::Terms) states no cost, and takes one request, one
            /// permit, and of everything else that its endpoint counts what requests there took on average. `None`
            /// states nothing either. Where both state something of a unit, the terms win.
            ///
            /// The closure gets the bytes of a body of type `Full<Bytes>`, `Bytes`, `String`, `&'static str`,
            /// `Vec<u8>`, `Empty<Bytes>` or `()`, and with the feature `reqwest` those of a `reqwest::Body` that is no
            /// stream; `None` of every other. It runs once for each attempt, within `call` and before the layer's lock
            /// is taken. A panic goes up to the caller.
            ///
            /// [`estimate_chat`](crate::estimate_chat) is one for language models. The last call counts. Applies to the
            /// services that this value of the layer makes.
            ///
            /// ```
            /// use tower_throttle::{Cost, Endpoints, ThrottleLayer, Unit};
            ///
            /// let quota = "10_000 characters/min".parse()?;
            /// let layer = ThrottleLayer::new(Endpoints::new().route("POST /speech", quota))
            ///     .cost_by(|_, body| Some(Cost::new().of(Unit::new("characters"), body?.len() as u64)));
            /// # let _ = layer;
            /// # Ok::<(), tower_throttle::InvalidQuota>(())
            /// ```
            pub fn cost_by(
                mut self,
                f: impl Fn(
                    &crate::request_head::RequestHead<'_>,
                    Option<&[u8]>,
                ) -> Option<crate::costs::Cost>
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.shared.pricing.set_cost_by(f);
                self
            }

            /// Reads from answers what their requests have cost: see [`Settle`](crate::Settle).
            ///
            /// By default nothing is read: what a request is estimated to cost counts unless its
            /// [`Settlement`](crate::Settlement) is told otherwise. The last call counts. Applies to the services that
            /// this value of the layer makes.
            ///
            /// ```
            /// use tower_throttle::{Endpoints, ThrottleLayer, Usage, estimate_chat};
            ///
            /// let quota = "50/min, 30_000 input_tokens/min, 8_000 output_tokens/min".parse()?;
            /// let layer = ThrottleLayer::new(Endpoints::new().route("POST /v1/messages", quota))
            ///     .cost_by(estimate_chat)
            ///     .settle_by(Usage::ANTHROPIC)
            ///     .count_throttled();
            /// # let _ = layer;
            /// # Ok::<(), tower_throttle::InvalidQuota>(())
            /// ```
            pub fn settle_by(mut self, settle: impl crate::costs::Settle) -> Self {
                self.shared.pricing.set_settle(settle);
                self
            }

            /// Counts an attempt that was throttled as it was estimated, in every unit.
            ///
            /// By default it counts as the requests that it states, and as nothing else: most servers take no tokens
            /// for what they refuse. Applies to the services that this value of the layer makes. The example of
            /// `settle_by` has it.
            pub fn count_throttled(mut self) -> Self {
                self.shared.pricing.set_counts_throttled();
                self
            }

            /// Says of which class a request is that states none in its [`Terms`](crate::Terms::priority): those of a
            /// higher class go first.
            ///
            /// By default, and where the closure says `None`, it is [`Priority::NORMAL`](crate::Priority::NORMAL). The
            /// closure runs once for each attempt, within `call` and before the layer's lock is taken. A panic goes up to the
            /// caller. The last call counts. Applies to the services that this value of the layer
            /// makes.
            ///
            /// ```
            /// use tower_throttle::{Endpoints, Priority, Quota, ThrottleLayer};
            ///
            /// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)))
            ///     .priority_by(|head| head.headers().contains_key("x-batch").then_some(Priority::LOW))
            ///     .priority_floor(Some(10));
            /// # let _ = layer;
            /// ```
            pub fn priority_by(
                mut self,
                f: impl Fn(&crate::request_head::RequestHead<'_>) -> Option<crate::costs::Priority>
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.shared.pricing.set_priority_by(f);
                self
            }

            /// Says of which flow a request is that states none in its [`Terms`](crate::Terms::flow): flows share fairly what
            /// an endpoint gives out.
            ///
            /// By default, and where the closure says `None`, it is of the flow of all requests that have none. The closure
            /// runs once for each attempt, within `call` and before the layer's lock is taken. A panic goes up to the
            /// caller. The last call counts. Applies to the services that this value of the layer makes.
            ///
            /// ```
            /// use tower_throttle::{Endpoints, Flow, Quota, ThrottleLayer};
            ///
            /// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)))
            ///     .flow_by(|head| head.headers().get("x-tenant").map(Flow::new));
            /// # let _ = layer;
            /// ```
            pub fn flow_by(
                mut self,
                f: impl Fn(&crate::request_head::RequestHead<'_>) -> Option<crate::costs::Flow>
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.shared.pricing.set_flow_by(f);
                self
            }

            /// What lower classes get at least while higher ones have a backlog: of what is given out one part in
            /// `one_in`, to within one request. Nothing with `None`.
            ///
            /// By default one in 8. What is given out is counted as requests take it of their tightest limit. It is kept at
            /// the widest limited scope that a request passes: below it a higher class always goes first, so lower classes
            /// get nothing there if the wider scope is limited and never full. A request that costs nothing counts for
            /// nothing. Applies to the layer's state, and so to all its clones.
            ///
            /// # Panics
            ///
            /// If `one_in` is less than 4: a higher class would be none. And if a service or a handle has been made.
            #[track_caller]
            pub fn priority_floor(self, one_in: Option<u32>) -> Self {
                if let Some(one_in) = one_in {
                    assert!(
                        one_in >= 4,
                        "the floor is one part in {one_in}: expected one in 4, or in more"
                    );
                }
                self.shared.engine.assert_unused("priority_floor", "");
                self.shared.engine.set_priority_floor(one_in);
                self
            }

            /// Gives `observer` an event for every decision.
            ///
            /// By default there is no observer, and no event is made. [`EventKind`](crate::EventKind) lists the
            /// events; [`Observer`](crate::Observer) says what becomes of its panics. Applies to the layer's state,
            /// and so to all its clones. With a [`ThrottleLayer`](crate::ThrottleLayer) it also gets the events of
            /// the retries, unless they have an observer of their own.
            ///
            /// # Panics
            ///
            /// If there is an observer already, or if a service or a handle has been made.
            #[track_caller]
            pub fn observe(self, observer: impl crate::event::Observer) -> Self {
                self.shared.engine.assert_unused("observe", "");
                let first = self.shared.engine.observe(observer);
                assert!(
                    first,
                    "a layer has one observer: make one that tells the others"
                );
                self
            }

            /// Shares the layer's limits with all other layers and processes that use the same store.
            ///
            /// By default the limits are this layer's alone. Together, layers that share a store keep each window, and
            /// hold no more permits than there are, as long as they give the same names to endpoints, groups and named
            /// ones; where they are configured differently, the strictest counts. A pause of one holds back all.
            ///
            /// A request goes when the store has granted a reservation to its endpoint: it enters the queue of this
            /// layer, and the first of each endpoint and class ask the store, together. So a request alone takes one
            /// call of the store more than without, and none goes while the store does not answer. A window is used up
            /// to P / (P + reservation + margin): a reservation is 10 ms long if nothing else is said. What the layers
            /// learn stays in force, and is told to the others.
            ///
            /// A request that would have to wait enters the queue to ask, so
            /// [`max_waiting`](Self::max_waiting) of 0 counts as 1, and [`max_wait`](Self::max_wait) includes the call.
            /// Applies to the layer's state, and so to all its clones.
            ///
            /// # Panics
            ///
            /// If there is a store already, or if a service or a handle has been made.
            ///
            /// ```
            /// use tower_throttle::{Endpoints, Quota, ThrottleLayer, store::MemoryStore};
            ///
            /// let store = MemoryStore::new();
            /// let quota = Quota::per_second(5).concurrency(4);
            /// let endpoints = Endpoints::new().route("POST /speech", quota);
            /// // Together, both send at most five in any second.
            /// let one = ThrottleLayer::new(endpoints.clone()).store(store.clone());
            /// let other = ThrottleLayer::new(endpoints).store(store);
            /// # let _ = (one, other);
            /// ```
            #[track_caller]
            pub fn store(self, store: impl tower_throttle_store::Store) -> Self {
                self.shared.engine.assert_unused("store", "");
                let first = self.shared.engine.join(std::sync::Arc::new(store));
                assert!(first, "a layer has one store");
                self
            }

            /// Leaves with each response for how long its request was held back: the extension
            /// [`Waited`](crate::Waited).
            ///
            /// Off by default. Applies to the services that this value of the layer makes.
            pub fn report_waited(mut self) -> Self {
                self.shared.engine.track_pauses();
                self.shared.reports_waited = true;
                self
            }

            /// Watches and changes the layer while it runs, and [admits](Handle::admit) what is no request of its
            /// services: as this value of the layer is set.
            ///
            /// From then on `max_keys`, `learn`, `max_pause` and `observe` of the layer panic; the handle has
            /// setters for the first three.
            pub fn handle(&self) -> Handle {
                crate::admission::Handle::new(&self.shared)
            }
        }
    };
}
pub(super) use builder;

/// A face's layer.
macro_rules! face {
    ($(#[$docs:meta])* $Layer:ident, $Service:ident, $face:expr) => {
        $(#[$docs])*
        #[derive(Clone, Debug)]
        pub struct $Layer {
            shared: Shared,
        }

        impl $Layer {
            /// A layer with its own state, shared by all services it makes and by its clones.
            ///
            /// Needs no runtime. Only a request that waits for a time does, with timers: see
            /// [Composition](crate#composition).
            pub fn new(endpoints: Endpoints) -> Self {
                Self {
                    shared: Shared::new(&endpoints, $face),
                }
            }
        }

        builder!($Layer);

        impl<S> Layer<S> for $Layer {
            type Service = $Service<S>;

            fn layer(&self, inner: S) -> Self::Service {
                $Service::new(Limit::new(inner, &self.shared))
            }
        }
    };
}

face! {
    /// At most n requests in any window.
    ///
    /// Enforces the windows of the endpoints' [`Quota`](crate::Quota)s, and nothing of their
    /// concurrency. The window is exact: any half-open interval of the period's length holds at most
    /// n dispatches, wherever it begins. Requests beyond wait, in order, until the first timer tick
    /// (1 ms) at which there is room.
    ///
    /// # Errors
    ///
    /// The service's error is a [`BoxError`](crate::BoxError). An error of the inner service comes as it is. The
    /// layer's own are a [`Refused`](crate::Refused); an [`UnknownEndpoint`](crate::UnknownEndpoint), if the request
    /// chooses a name that does not exist; and an error without a public type, if it has to wait for a time and no
    /// runtime has timers.
    ///
    /// # Cancellation
    ///
    /// Dropping a response future that waits takes no place in the window; a dispatched request keeps its place. See
    /// [Cancellation](crate#cancellation).
    ///
    /// ```
    /// use tower::{ServiceBuilder, service_fn};
    /// use tower_throttle::{BoxError, Endpoints, Quota, RpsLayer};
    ///
    /// let endpoints = Endpoints::new().route("GET /v1/voices", Quota::per_second(5));
    /// let client = ServiceBuilder::new()
    ///     .layer(RpsLayer::new(endpoints))
    ///     .service(service_fn(|_: http::Request<String>| async {
    ///         Ok::<_, BoxError>(http::Response::new(String::new()))
    ///     }));
    /// # let _ = client;
    /// ```
    RpsLayer,
    Rps,
    Enforced { windows: true, permits: false }
}

face! {
    /// At most n requests in flight, until the response body has ended.
    ///
    /// Enforces the concurrency of the endpoints' [`Quota`](crate::Quota)s, and none of their
    /// windows. A permit is held from dispatch until the response *body* has ended, failed or been
    /// dropped: as long as the server works on the answer. Requests beyond wait, in order.
    ///
    /// # Errors
    ///
    /// The service's error is a [`BoxError`](crate::BoxError). An error of the inner service comes as it is. The
    /// layer's own are a [`Refused`](crate::Refused); an [`UnknownEndpoint`](crate::UnknownEndpoint), if the request
    /// chooses a name that does not exist; and an error without a public type, if it has to wait for a time and no
    /// runtime has timers.
    ///
    /// # Cancellation
    ///
    /// Dropping a response future or a response body ends its permit. See [Cancellation](crate#cancellation).
    ///
    /// ```
    /// use tower::{ServiceBuilder, service_fn};
    /// use tower_throttle::{BoxError, ConcurrencyLayer, Endpoints, Quota};
    ///
    /// let endpoints = Endpoints::new().route("GET /v1/voices", Quota::concurrent(4));
    /// let client = ServiceBuilder::new()
    ///     .layer(ConcurrencyLayer::new(endpoints))
    ///     .service(service_fn(|_: http::Request<String>| async {
    ///         Ok::<_, BoxError>(http::Response::new(String::new()))
    ///     }));
    /// # let _ = client;
    /// ```
    ConcurrencyLayer,
    Concurrency,
    Enforced { windows: false, permits: true }
}

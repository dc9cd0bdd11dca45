use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{Concurrency, Rps, Throttle};
use crate::{
    admission::{Engine, Handle, Patience},
    bucket::Face,
    endpoints::Endpoints,
};

/// A face's layer: the engine with a choice of what it enforces, and the builder of its queue policy.
macro_rules! face {
    ($(#[$docs:meta])* $Layer:ident, $Service:ident, $face:expr) => {
        $(#[$docs])*
        #[derive(Clone, Debug)]
        pub struct $Layer {
            engine: Arc<Engine>,
            patience: Patience,
        }

        impl $Layer {
            /// A layer with its own state, shared by all services it makes and by its clones.
            ///
            /// Needs no runtime; only a request that waits does.
            pub fn new(endpoints: Endpoints) -> Self {
                Self {
                    engine: Arc::new(Engine::new(&endpoints, $face)),
                    patience: Patience::default(),
                }
            }

            /// Refuses a request that would have to wait while `n` requests wait in its bucket, in
            /// its group's or in any wider one.
            ///
            /// Off by default. 0 means: admit now or refuse. Applies to the services that this value
            /// of the layer makes. The refusal is a [`Refused`](crate::Refused) from the response
            /// future.
            pub fn max_waiting(mut self, n: usize) -> Self {
                self.patience.max_waiting = Some(n);
                self
            }

            /// Refuses a request whose turn comes later than `wait` after it began to wait.
            ///
            /// Off by default. Where windows and pauses tell when its turn comes, it is refused at
            /// once; where it waits for other requests to end, when the time has passed. 0 means:
            /// admit now or refuse. Applies to the services that this value of the layer makes. The
            /// refusal is a [`Refused`](crate::Refused) from the response future.
            pub fn max_wait(mut self, wait: Duration) -> Self {
                self.patience.max_wait = Some(wait);
                self
            }

            /// Lets all new keys share one bucket once `n` are in use.
            ///
            /// Off by default. Keys are the paths of `each_other_path`, the authorities of requests
            /// that match nothing, and the values of a partition. Applies to the layer's state, and
            /// so to all its clones.
            pub fn max_keys(self, n: usize) -> Self {
                self.engine.set_max_keys(n);
                self
            }

            /// Watches and changes the layer while it runs.
            pub fn handle(&self) -> Handle {
                self.engine.handle()
            }
        }

        impl<S> Layer<S> for $Layer {
            type Service = $Service<S>;

            fn layer(&self, inner: S) -> Self::Service {
                $Service::new(inner, Arc::clone(&self.engine), self.patience)
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
    Face { windows: true, permits: false }
}

face! {
    /// At most n requests in flight, until the response body has ended.
    ///
    /// Enforces the concurrency of the endpoints' [`Quota`](crate::Quota)s, and none of their
    /// windows. A permit is held from dispatch until the response *body* has ended, failed or been
    /// dropped: as long as the server works on the answer. Requests beyond wait, in order.
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
    Face { windows: false, permits: true }
}

face! {
    /// Windows and concurrency, decided together.
    ///
    /// What [`ConcurrencyLayer`] over [`RpsLayer`] enforce, without their one fault: in that stack a
    /// request that waits for its window holds a permit meanwhile. Here nobody holds anything while
    /// waiting.
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
    ThrottleLayer,
    Throttle,
    Face { windows: true, permits: true }
}

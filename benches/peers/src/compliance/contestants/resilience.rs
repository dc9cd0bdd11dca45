//! tower-resilience.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tower::{BoxError, Layer, ServiceExt};
use tower_resilience_adaptive::{AdaptiveError, AdaptiveService, Aimd, ConcurrencyAlgorithm};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};
use tower_resilience_retry::{ExponentialBackoff, FnInterval, IntervalFunction, RetryLayer};

use super::{Client, Contestant, Limits, Req, Res, Server, boxed};

/// Its bulkhead over its rate limiter, which waits for as long as it takes.
pub struct Resilience {
    pub window: WindowType,
    /// Whether it is the readiness that waits for the window.
    pub backpressure: bool,
}

impl Contestant for Resilience {
    fn name(&self) -> String {
        let window = match self.window {
            WindowType::Fixed => "fixed window",
            WindowType::SlidingLog => "sliding log",
            WindowType::SlidingCounter => "sliding counter",
        };
        let backpressure = if self.backpressure {
            ", back-pressure"
        } else {
            ""
        };
        format!("tower-resilience: {window}{backpressure}")
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let mut client = server;
        if let Some(rate) = limits.rate {
            let builder = RateLimiterLayer::builder()
                .limit_for_period(rate.n as usize)
                .refresh_period(rate.widened())
                .timeout_duration(Duration::from_secs(86_400))
                .window_type(self.window);
            let builder = if self.backpressure {
                builder.backpressure()
            } else {
                builder
            };
            // With the handle comes a limiter that all services of the layer share.
            let (layer, _) = builder.build_with_handle().expect("these are valid");
            client = boxed(layer.layer(client));
        }
        if let Some(at_once) = limits.at_once {
            let layer = BulkheadLayer::builder()
                .max_concurrent_calls(at_once)
                .build()
                .expect("there is room for one");
            client = boxed(layer.layer(client));
        }
        client
    }
}

/// Its retry: ten attempts, exponential from 100 ms.
pub struct ResilienceRetry<C> {
    /// Whether half of each delay is random, as in its `ExponentialRandomBackoff`.
    pub random: bool,
    pub over: C,
}

impl<C: Contestant> Contestant for ResilienceRetry<C> {
    fn name(&self) -> String {
        if self.random {
            "tower-resilience retry, exponential ±50 %".to_owned()
        } else {
            "tower-resilience retry, exponential".to_owned()
        }
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let retry = RetryLayer::<Req, Res, BoxError>::builder()
            .max_attempts(11)
            .retry_on_response(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
        let exponential = ExponentialBackoff::new(Duration::from_millis(100));
        let retry = if self.random {
            // Its own draws start differently in each process; these are the same in each.
            retry.backoff(FnInterval::new(move |attempt| {
                exponential
                    .next_interval(attempt)
                    .mul_f64(0.5 + fastrand::f64())
            }))
        } else {
            retry.backoff(exponential)
        };
        boxed(retry.build().layer(self.over.client(limits, server)))
    }
}

/// Its adaptive concurrency: starts at the limit that is believed, halves with each refusal, and rises
/// by one with each success.
pub struct Adaptive {
    algorithm: Arc<Aimd>,
}

impl Adaptive {
    pub fn new(believed: usize) -> Self {
        let algorithm = Aimd::builder()
            .initial_limit(believed)
            .min_limit(1)
            .max_limit(believed)
            // It reads the real clock, which a paused one leaves behind. So refusals are all it goes by.
            .latency_threshold(Duration::from_secs(60))
            .build()
            .expect("these are valid");
        Self {
            algorithm: Arc::new(algorithm),
        }
    }

    pub fn limit(&self) -> usize {
        self.algorithm.limit()
    }
}

impl Contestant for Adaptive {
    fn name(&self) -> String {
        "tower-resilience: adaptive".to_owned()
    }

    fn client(&self, _: Limits, server: Server) -> Client {
        // An error is what it takes for a failure, and the answer is what a retry above needs.
        let failing = server.then(async |result: Result<Res, BoxError>| match result {
            Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Refused(answer))
            }
            other => Ok(other?),
        });
        let adaptive = AdaptiveService::new(failing, Arc::clone(&self.algorithm));
        boxed(adaptive.then(async |result| match result {
            Err(AdaptiveError::Service(Failure::Refused(answer))) => Ok(answer),
            other => other,
        }))
    }
}

#[derive(Debug)]
enum Failure {
    Refused(Res),
    NoAnswer,
}

impl From<BoxError> for Failure {
    fn from(_: BoxError) -> Self {
        Self::NoAnswer
    }
}

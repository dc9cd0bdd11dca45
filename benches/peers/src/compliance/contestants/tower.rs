//! tower itself.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::StatusCode;
use tower::{
    BoxError, Layer, ServiceBuilder,
    limit::{ConcurrencyLimitLayer, RateLimitLayer},
    retry::{
        Policy, RetryLayer,
        backoff::{Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff},
        budget::{Budget, TpsBudget},
    },
    util::rng::Rng,
};

use super::{Client, Contestant, Limits, Req, Res, Server, boxed};

/// More than ever wait, since a full buffer is a limit of its own.
const BUFFER: usize = 1 << 15;

/// `ConcurrencyLimit` over `RateLimit`, behind a `Buffer`: the latter is not `Clone`.
pub struct Tower;

impl Contestant for Tower {
    fn name(&self) -> String {
        "tower: buffer, concurrency, rate".to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let at_once = limits.at_once.map(ConcurrencyLimitLayer::new);
        let rate = limits
            .rate
            .map(|rate| RateLimitLayer::new(u64::from(rate.n), rate.widened()));
        boxed(
            ServiceBuilder::new()
                .buffer(BUFFER)
                .option_layer(at_once)
                .option_layer(rate)
                .service(server),
        )
    }
}

/// tower's retry, with a policy as its documentation has it: ten retries of what is refused, tower's
/// exponential back-off from 100 ms to a minute, all of its jitter, and perhaps tower's budget.
pub struct TowerRetry<C> {
    pub budget: bool,
    pub over: C,
}

impl<C: Contestant> Contestant for TowerRetry<C> {
    fn name(&self) -> String {
        if self.budget {
            "tower retry, default budget".to_owned()
        } else {
            "tower retry, exponential with jitter".to_owned()
        }
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let policy = TenTimes {
            left: 10,
            maker: ExponentialBackoffMaker::new(
                Duration::from_millis(100),
                Duration::from_secs(60),
                1.0,
                Seeded(fastrand::Rng::new()),
            )
            .expect("these are valid"),
            backoff: None,
            budget: self.budget.then(Arc::default),
        };
        boxed(RetryLayer::new(policy).layer(self.over.client(limits, server)))
    }
}

/// tower's own generator starts differently in each process. Like that one, each clone of this one goes
/// on from where the original stood.
#[derive(Clone)]
struct Seeded(fastrand::Rng);

impl Rng for Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }
}

#[derive(Clone)]
struct TenTimes {
    left: u32,
    maker: ExponentialBackoffMaker<Seeded>,
    backoff: Option<ExponentialBackoff<Seeded>>,
    budget: Option<Arc<TpsBudget>>,
}

impl Policy<Req, Res, BoxError> for TenTimes {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(
        &mut self,
        _: &mut Req,
        result: &mut Result<Res, BoxError>,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let answer = result.as_ref().ok()?;
        if answer.status() != StatusCode::TOO_MANY_REQUESTS {
            if let Some(budget) = &self.budget {
                budget.deposit();
            }
            return None;
        }
        if self
            .budget
            .as_ref()
            .is_some_and(|budget| !budget.withdraw())
        {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let backoff = self
            .backoff
            .get_or_insert_with(|| self.maker.make_backoff());
        Some(Box::pin(backoff.next_backoff()))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

//! leaky-bucket, with a semaphore for the concurrency, of which it knows nothing.

use std::sync::Arc;

use leaky_bucket::RateLimiter;
use tokio::sync::Semaphore;
use tower::{ServiceExt, service_fn};

use super::{
    ATTEMPTS, Budget, Budgeter, Client, Contestant, Limits, Req, Server, Tokens,
    backon::sent_again, boxed,
};

/// How the tokens come.
pub enum LeakyBucket {
    /// n at a time, once per period. Full at n: with its default, ten times as many can be saved up.
    Chunks,
    /// The same, with that default.
    DefaultMax,
    /// One at a time.
    OneByOne,
}

impl Contestant for LeakyBucket {
    fn name(&self) -> String {
        match self {
            Self::Chunks => "leaky-bucket: n per second",
            Self::DefaultMax => "leaky-bucket: n per second, default max",
            Self::OneByOne => "leaky-bucket: one by one",
        }
        .to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let tokens = limits.rate.map(|rate| {
            let n = rate.n as usize;
            let mut builder = RateLimiter::builder();
            match self {
                Self::Chunks => builder.refill(n).interval(rate.widened()).max(n).initial(n),
                Self::DefaultMax => builder.refill(n).interval(rate.widened()).initial(n),
                Self::OneByOne => builder
                    .refill(1)
                    .interval(rate.widened() / rate.n)
                    .max(1)
                    .initial(1),
            };
            Arc::new(builder.build())
        });
        let permits = limits.at_once.map(|n| Arc::new(Semaphore::new(n)));
        boxed(service_fn(move |request: Req| {
            let (server, tokens, permits) = (server.clone(), tokens.clone(), permits.clone());
            async move {
                let _permit = match &permits {
                    Some(permits) => Some(permits.acquire().await?),
                    None => None,
                };
                if let Some(tokens) = &tokens {
                    tokens.acquire_one().await;
                }
                server.oneshot(request).await
            }
        }))
    }
}

/// It cannot settle, nor give back: a call that is refused has taken its tokens, and takes them again.
impl Budgeter for LeakyBucket {
    fn name(&self) -> String {
        match self {
            Self::Chunks => "leaky-bucket: n per minute",
            Self::DefaultMax => "leaky-bucket: n per minute, default max",
            Self::OneByOne => "leaky-bucket: a thousandth at a time",
        }
        .to_owned()
    }

    fn client(&self, budget: Budget, server: Server) -> Client {
        let n = budget.tokens as usize;
        let mut builder = RateLimiter::builder();
        match self {
            Self::Chunks => builder.refill(n).interval(budget.period).max(n).initial(n),
            Self::DefaultMax => builder.refill(n).interval(budget.period).initial(n),
            Self::OneByOne => builder
                .refill(n / 1_000)
                .interval(budget.period / 1_000)
                .max(n / 1_000)
                .initial(n / 1_000),
        };
        let limiter = Arc::new(builder.build());
        let client = boxed(service_fn(move |request: Req| {
            let (server, limiter) = (server.clone(), Arc::clone(&limiter));
            let n = Tokens::of(&request).counted() as usize;
            async move {
                limiter.acquire(n).await;
                server.oneshot(request).await
            }
        }));
        sent_again(client, ATTEMPTS as usize - 1)
    }
}

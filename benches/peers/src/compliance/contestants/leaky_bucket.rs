//! leaky-bucket, with a semaphore for the concurrency, of which it knows nothing.

use std::sync::Arc;

use leaky_bucket::RateLimiter;
use tokio::sync::Semaphore;
use tower::{ServiceExt, service_fn};

use super::{Client, Contestant, Limits, Req, Server, boxed};

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

//! governor. It reads a clock of its own, so it takes part in real time only.

use std::{num::NonZeroU32, sync::Arc};

use governor::{Quota, RateLimiter};
use tokio::sync::Semaphore;
use tower::{ServiceExt, service_fn};

use super::{Client, Contestant, Limits, Req, Server, boxed};

/// Waits with `until_ready`. The concurrency is a semaphore's.
pub enum Governor {
    /// As `Quota::per_second(n)` has it.
    BurstOfN,
    OneByOne,
}

impl Contestant for Governor {
    fn name(&self) -> String {
        match self {
            Self::BurstOfN => "governor: n per second",
            Self::OneByOne => "governor: burst of one",
        }
        .to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let limiter = limits.rate.map(|rate| {
            let n = NonZeroU32::new(rate.n).expect("somebody may go");
            let burst = match self {
                Self::BurstOfN => n,
                Self::OneByOne => NonZeroU32::MIN,
            };
            let quota = Quota::with_period(rate.widened() / rate.n).expect("it is not zero");
            Arc::new(RateLimiter::direct(quota.allow_burst(burst)))
        });
        let permits = limits.at_once.map(|n| Arc::new(Semaphore::new(n)));
        boxed(service_fn(move |request: Req| {
            let (server, limiter, permits) = (server.clone(), limiter.clone(), permits.clone());
            async move {
                let _permit = match &permits {
                    Some(permits) => Some(permits.acquire().await?),
                    None => None,
                };
                if let Some(limiter) = &limiter {
                    limiter.until_ready().await;
                }
                server.oneshot(request).await
            }
        }))
    }
}

//! governor. It reads a clock of its own, and waits by a timer of its own. So it takes part in real time
//! only, but for tokens.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower::{ServiceExt, service_fn};

use super::{
    ATTEMPTS, Budget, Budgeter, Client, Contestant, Limits, Req, Server, Tokens,
    backon::sent_again, boxed,
};

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

/// Its `check_n` on tokio's clock, in the loop of its `until_n_ready`, which waits by tokio's timer here.
pub enum GovernorOfTokens {
    /// As `Quota::per_minute(n)` has it.
    BurstOfN,
    BurstOfLargest,
}

/// Counts from when it was made.
#[derive(Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// It cannot settle, nor give back: a call that is refused has taken its tokens, and takes them again.
impl Budgeter for GovernorOfTokens {
    fn name(&self) -> String {
        match self {
            Self::BurstOfN => "governor: n per minute",
            Self::BurstOfLargest => "governor: burst of the largest",
        }
        .to_owned()
    }

    fn client(&self, budget: Budget, server: Server) -> Client {
        let positive = |n| NonZeroU32::new(n).expect("somebody may go");
        let burst = positive(match self {
            Self::BurstOfN => budget.tokens,
            Self::BurstOfLargest => budget.largest,
        });
        let quota = Quota::with_period(budget.period / budget.tokens).expect("it is not zero");
        let clock = TokioClock(Instant::now());
        let limiter = RateLimiter::direct_with_clock(quota.allow_burst(burst), clock);
        let limiter = Arc::new(limiter);
        let client = boxed(service_fn(move |request: Req| {
            let (server, limiter) = (server.clone(), Arc::clone(&limiter));
            let n = positive(Tokens::of(&request).counted());
            async move {
                while let Err(not_until) = limiter.check_n(n)? {
                    sleep(not_until.wait_time_from(limiter.clock().now())).await;
                }
                server.oneshot(request).await
            }
        }));
        sent_again(client, ATTEMPTS as usize - 1)
    }
}

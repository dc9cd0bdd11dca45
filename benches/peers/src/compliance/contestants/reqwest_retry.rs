//! What reqwest-retry does, without reqwest, which needs a socket: its loop around the policy that its
//! documentation recommends, from the crate that both take it from.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use retry_policies::{Jitter, RetryDecision, RetryPolicy, policies::ExponentialBackoff};
use tower::{ServiceExt, service_fn};

use super::{Client, Contestant, Limits, Req, Server, boxed};

/// Ten retries, exponential from a second, with full jitter.
pub struct ReqwestRetry<C> {
    pub over: C,
}

impl<C: Contestant> Contestant for ReqwestRetry<C> {
    fn name(&self) -> String {
        "reqwest-retry's policy".to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let client = self.over.client(limits, server);
        // Its draws start differently in each process: the full jitter is drawn below.
        let policy = ExponentialBackoff::builder()
            .jitter(Jitter::None)
            .build_with_max_retries(10);
        boxed(service_fn(move |request: Req| {
            let client = client.clone();
            async move {
                let mut retries = 0;
                loop {
                    let answer = client.clone().oneshot(request.clone()).await?;
                    if answer.status() != StatusCode::TOO_MANY_REQUESTS {
                        return Ok::<_, tower::BoxError>(answer);
                    }
                    let Some(delay) = delay(&policy, retries) else {
                        return Ok(answer);
                    };
                    drop(answer);
                    tokio::time::sleep(delay.mul_f64(fastrand::f64())).await;
                    retries += 1;
                }
            }
        }))
    }
}

/// The policy names a time on the system's clock. What lies between two looks at that clock is taken out
/// by rounding to the millisecond, and by asking again if somebody else had the processor in between.
fn delay(policy: &impl RetryPolicy, retries: u32) -> Option<Duration> {
    loop {
        let now = SystemTime::now();
        let RetryDecision::Retry { execute_after } = policy.should_retry(now, retries) else {
            return None;
        };
        let asking = now.elapsed().unwrap_or(Duration::MAX);
        let delay = execute_after.duration_since(now).unwrap_or_default();
        if asking < Duration::from_micros(500) {
            return Some(Duration::from_millis(
                u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            ));
        }
    }
}

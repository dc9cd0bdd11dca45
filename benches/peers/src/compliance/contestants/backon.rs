//! backon, with the server's `Retry-After` in place of its delays, as its documentation shows.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::{StatusCode, header::RETRY_AFTER};
use tower::{BoxError, ServiceExt, service_fn};

use super::{Client, Contestant, Limits, Req, Res, Server, boxed};

/// Ten retries. Exponential from 100 ms with jitter, where the server names no time.
pub struct Backon<C> {
    pub over: C,
}

enum Failure {
    Throttled(Res),
    Other(BoxError),
}

impl Failure {
    fn retry_after(&self) -> Option<Duration> {
        let Self::Throttled(answer) = self else {
            return None;
        };
        let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
        seconds.parse().ok().map(Duration::from_secs)
    }
}

impl<C: Contestant> Contestant for Backon<C> {
    fn name(&self) -> String {
        "backon, with Retry-After".to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let client = self.over.client(limits, server);
        boxed(service_fn(move |request: Req| {
            let client = client.clone();
            let backoff = ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(100))
                .with_max_times(10)
                .with_jitter()
                .with_jitter_seed(fastrand::u64(..));
            async move {
                let send = || async {
                    let answer = client.clone().oneshot(request.clone()).await;
                    let answer = answer.map_err(Failure::Other)?;
                    if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                        return Err(Failure::Throttled(answer));
                    }
                    Ok(answer)
                };
                let result = send
                    .retry(backoff)
                    .when(|failure| matches!(failure, Failure::Throttled(_)))
                    // `None` is that the attempts are used up.
                    .adjust(|failure, delay| {
                        delay.map(|delay| failure.retry_after().unwrap_or(delay))
                    })
                    .await;
                match result {
                    Ok(answer) | Err(Failure::Throttled(answer)) => Ok(answer),
                    Err(Failure::Other(error)) => Err(error),
                }
            }
        }))
    }
}

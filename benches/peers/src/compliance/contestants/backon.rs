//! backon, with the server's `Retry-After` in place of its delays, as its documentation shows.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::StatusCode;
use tower::{BoxError, ServiceExt, service_fn};

use super::{Client, Contestant, Limits, Req, Res, Server, boxed, retry_after};

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
        match self {
            Self::Throttled(answer) => retry_after(answer.headers()),
            Self::Other(_) => None,
        }
    }
}

impl<C: Contestant> Contestant for Backon<C> {
    fn name(&self) -> String {
        "backon, with Retry-After".to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        sent_again(self.over.client(limits, server), 10)
    }
}

/// Sends again what is refused, so many times at most.
pub(super) fn sent_again(client: Client, times: usize) -> Client {
    boxed(service_fn(move |request: Req| {
        let client = client.clone();
        let backoff = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(times)
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
                .adjust(|failure, delay| delay.map(|delay| failure.retry_after().unwrap_or(delay)))
                .await;
            match result {
                Ok(answer) | Err(Failure::Throttled(answer)) => Ok(answer),
                Err(Failure::Other(error)) => Err(error),
            }
        }
    }))
}

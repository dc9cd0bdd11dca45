//! What can be done with tokio's semaphore alone.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{ServiceExt, service_fn};

use super::{
    ATTEMPTS, Budget, Budgeter, Client, Contestant, Limits, Req, Server, Tokens, boxed, read,
    retry_after,
};

pub enum Semaphore {
    /// A permit around each call: as many at once as allowed, or, where only a rate is given, as many as
    /// that. It knows no time.
    Plain,
    /// And another one that comes back a period after the call, by a task of its own: an exact window.
    WithTimers,
}

impl Contestant for Semaphore {
    fn name(&self) -> String {
        match self {
            Self::Plain => "tokio semaphore",
            Self::WithTimers => "tokio semaphores and a timer per call",
        }
        .to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let semaphore = |n| Arc::new(tokio::sync::Semaphore::new(n));
        let of_rate = |limits: Limits| limits.rate.map(|rate| rate.n as usize);
        let permits = match self {
            Self::Plain => limits.at_once.or(of_rate(limits)),
            Self::WithTimers => limits.at_once,
        }
        .map(semaphore);
        let window = match self {
            Self::Plain => None,
            Self::WithTimers => limits
                .rate
                .map(|rate| (semaphore(rate.n as usize), rate.widened())),
        };
        boxed(service_fn(move |request: Req| {
            let (server, permits, window) = (server.clone(), permits.clone(), window.clone());
            async move {
                let _permit = match &permits {
                    Some(permits) => Some(permits.acquire().await?),
                    None => None,
                };
                if let Some((places, period)) = window {
                    let place = places.acquire_owned().await?;
                    tokio::spawn(async move {
                        sleep(period).await;
                        drop(place);
                    });
                }
                server.oneshot(request).await
            }
        }))
    }
}

/// A permit for each token. They come back a period after the call, or after its answer has ended, if that is
/// when they are counted: an exact window. Those that a call did not take come back when its answer has ended.
/// A call that is refused keeps its permits until it is sent again.
///
/// If a call takes more than it has permits for, the window does not know of it.
pub struct TokenGate;

impl Budgeter for TokenGate {
    fn name(&self) -> String {
        "tokio semaphore and a timer per call".to_owned()
    }

    fn client(&self, budget: Budget, server: Server) -> Client {
        let gate = Arc::new(tokio::sync::Semaphore::new(budget.tokens as usize));
        boxed(service_fn(move |request: Req| {
            let (server, gate) = (server.clone(), Arc::clone(&gate));
            async move {
                let tokens = Tokens::of(&request);
                let mut permits = gate.acquire_many_owned(tokens.counted()).await?;
                let mut attempts = 1;
                let (sent, answer) = loop {
                    let sent = Instant::now();
                    let answer = server.clone().oneshot(request.clone()).await?;
                    if answer.status() != StatusCode::TOO_MANY_REQUESTS || attempts == ATTEMPTS {
                        break (sent, answer);
                    }
                    attempts += 1;
                    sleep(retry_after(answer.headers()).unwrap_or_default()).await;
                };
                let answer = read(answer).await;
                let rest = tokens.counted().saturating_sub(tokens.taken);
                drop(permits.split(rest as usize));
                let counted = if budget.at_end { Instant::now() } else { sent };
                tokio::spawn(async move {
                    sleep_until(counted + budget.period).await;
                    drop(permits);
                });
                answer
            }
        }))
    }
}

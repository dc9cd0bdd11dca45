//! What can be done with tokio's semaphore alone.

use std::sync::Arc;

use tower::{ServiceExt, service_fn};

use super::{Client, Contestant, Limits, Req, Server, boxed};

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
                        tokio::time::sleep(period).await;
                        drop(place);
                    });
                }
                server.oneshot(request).await
            }
        }))
    }
}

//! This crate.

use std::time::Duration;

use tower::{Layer, ServiceExt, service_fn};
use tower_throttle::{
    Cost, Endpoints, Flow, Priority, Quota, RetryLayer, Settlement, Terms, ThrottleLayer, Unit,
};

use super::{
    ATTEMPTS, Budget, Budgeter, Caller, Class, Client, Contestant, Limits, Req, Server, Tokens,
    boxed, read,
};
use crate::compliance::load::PATH;

/// `ThrottleLayer`, with its defaults.
pub struct TowerThrottle {
    /// Whether what is refused is sent again.
    pub retry: bool,
}

impl TowerThrottle {
    pub fn layer(&self, limits: Limits) -> ThrottleLayer {
        let window = limits.rate.map(|rate| {
            let quota = Quota::per(rate.n, rate.period);
            if rate.margin.is_zero() {
                quota
            } else {
                quota.margin(rate.margin)
            }
        });
        let quota = match (window, limits.at_once) {
            (Some(window), Some(n)) => Some(window.concurrency(n)),
            (window, None) => window,
            (None, Some(n)) => Some(Quota::concurrent(n)),
        };
        let endpoints = Endpoints::new();
        let layer = ThrottleLayer::new(match quota {
            Some(quota) => endpoints.route(PATH, quota),
            None => endpoints,
        });
        if self.retry {
            layer
        } else {
            layer.without_retry()
        }
    }
}

impl Contestant for TowerThrottle {
    fn name(&self) -> String {
        "tower-throttle".to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        boxed(self.layer(limits).layer(server))
    }
}

/// Without retries, and with [`Terms`] that say of which class and flow a request is.
pub enum ToldWho {
    DefaultFloor,
    NoFloor,
}

impl Contestant for ToldWho {
    fn name(&self) -> String {
        match self {
            Self::DefaultFloor => "tower-throttle",
            Self::NoFloor => "tower-throttle, no floor",
        }
        .to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let layer = TowerThrottle { retry: false }.layer(limits);
        let layer = match self {
            Self::DefaultFloor => layer,
            Self::NoFloor => layer.priority_floor(None),
        };
        boxed(layer.layer(server).map_request(|mut request: Req| {
            let caller = Caller::of(&request);
            let priority = match caller.class {
                Class::Interactive => Priority::HIGH,
                Class::Batch => Priority::LOW,
            };
            let flow = Flow::new(caller.tenant).weight(caller.weight);
            let terms = Terms::new().priority(priority).flow(flow);
            request.extensions_mut().insert(terms);
            request
        }))
    }
}

/// With [`Terms`] that say what a call is expected to take, if that is known, and settled by hand.
impl Budgeter for TowerThrottle {
    fn name(&self) -> String {
        "tower-throttle".to_owned()
    }

    fn client(&self, budget: Budget, server: Server) -> Client {
        let unit = if budget.at_end {
            Unit::TOKENS.at_end()
        } else {
            Unit::TOKENS
        };
        let quota = Quota::unlimited().units(unit, budget.tokens.into(), budget.period);
        let retry = RetryLayer::new()
            .max_attempts(ATTEMPTS)
            .max_total(Duration::from_secs(86_400));
        let layer = ThrottleLayer::new(Endpoints::new().route(PATH, quota)).retry(retry);
        let client = boxed(layer.layer(server));
        boxed(service_fn(move |mut request: Req| {
            let client = client.clone();
            let tokens = Tokens::of(&request);
            let of = |n: u32| Cost::new().of(unit, n.into());
            let terms = Terms::new().idempotent();
            request.extensions_mut().insert(match tokens.estimate {
                Some(n) => terms.cost(of(n)),
                None => terms,
            });
            async move {
                let answer = client.oneshot(request).await?;
                let settlement = answer.extensions().get::<Settlement>().cloned();
                let answer = read(answer).await;
                if let Some(settlement) = settlement {
                    settlement.settle(Cost::new().of(unit, tokens.taken.into()));
                }
                answer
            }
        }))
    }
}

/// The same, if it takes a call of which nothing is known for the mean of all, as the others must.
pub struct ToldTheMean(pub TowerThrottle);

impl Budgeter for ToldTheMean {
    fn name(&self) -> String {
        "tower-throttle, told the mean".to_owned()
    }

    fn client(&self, budget: Budget, server: Server) -> Client {
        let client = Budgeter::client(&self.0, budget, server);
        boxed(client.map_request(|mut request: Req| {
            let tokens = Tokens::of(&request);
            request.extensions_mut().insert(Tokens {
                estimate: Some(tokens.counted()),
                ..tokens
            });
            request
        }))
    }
}

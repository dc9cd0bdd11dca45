//! This crate.

use tower::Layer;
use tower_throttle::{Endpoints, Quota, ThrottleLayer};

use super::{Client, Contestant, Limits, Server, boxed};
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

//! Makes calls through one contestant, for instruction counts: `peers CONTESTANT CALLS`.
//!
//! `.ci/instructions` runs it under valgrind, which counts what happens within [`measured`]. It compiles each
//! contestant alone, since what the compiler inlines depends on what else is there.
#![cfg_attr(alone, allow(unused, reason = "the others are not compiled"))]

use std::time::Duration;

use http::Request;
use peers::{
    Body, Governed, PATH, answers::Answering, by_path, call, endpoints, plenty, request, routes,
};
use tower::{Layer, Service, limit::ConcurrencyLimitLayer};
use tower_throttle::{ConcurrencyLayer, RpsLayer, Throttle, ThrottleLayer};

macro_rules! contestants {
    ($($name:literal => $service:expr,)+) => {
        fn run(contestant: &str, calls: usize) {
            match contestant {
                $(
                    #[cfg(any(not(alone), contestant = $name))]
                    $name => warm_up($service, calls),
                )+
                other => panic!("no contestant is called {other}"),
            }
        }
    };
}

contestants! {
    "bare" => bare(0),
    "bare-5-headers" => bare(5),
    "bare-12-headers" => bare(12),
    "bare-quota-headers" => Answering::with_quota(),
    "governor" => governor(),
    "tower-concurrency" => ConcurrencyLimitLayer::new(1000).layer(bare(0)),
    "both" => ConcurrencyLimitLayer::new(1000).layer(governor()),
    "throttle-net" => throttle_net(),
    "concurrency" => ConcurrencyLayer::new(endpoints()).layer(bare(0)),
    "throttle" => throttle(bare(0)),
    "throttle-5-headers" => throttle(bare(5)),
    "throttle-12-headers" => throttle(bare(12)),
    "throttle-quota-headers" => throttle(Answering::with_quota()),
    "retry" => ThrottleLayer::new(endpoints()).layer(bare(0)),
    "rps" => RpsLayer::new(endpoints()).layer(bare(0)),
    "rps-5-headers" => RpsLayer::new(endpoints()).layer(bare(5)),
    "rps-12-headers" => RpsLayer::new(endpoints()).layer(bare(12)),
    "rps-quota-headers" => RpsLayer::new(endpoints()).layer(Answering::with_quota()),
    "rps-by-path" => RpsLayer::new(by_path()).layer(bare(0)),
    "rps-host" => RpsLayer::new(routes::of_a_host()).layer(bare(0)),
    "rps-unmatched" => RpsLayer::new(routes::unmatched()).layer(bare(0)),
    "rps-partitioned" => RpsLayer::new(routes::partitioned()).layer(bare(0)),
    "rps-overall" => RpsLayer::new(routes::overall()).layer(bare(0)),
    "rps-group-overall" => RpsLayer::new(routes::group_and_overall()).layer(bare(0)),
}

fn main() {
    let mut args = std::env::args().skip(1);
    let contestant = args.next().expect("a contestant");
    let calls = args.next().expect("a number of calls");
    run(&contestant, calls.parse().expect("a number"));
}

fn bare(headers: usize) -> Answering {
    Answering::with(headers)
}

fn governor() -> Governed<Answering> {
    Governed::new(bare(0), plenty())
}

fn throttle_net() -> impl Service<Request<Body>> {
    let bucket = throttle_net::Throttle::per_duration(1_000_000, Duration::from_millis(100));
    throttle_net::tower::ThrottleLayer::new(bucket).layer(bare(0))
}

fn throttle(inner: Answering) -> Throttle<Answering> {
    ThrottleLayer::new(endpoints()).without_retry().layer(inner)
}

/// The first call makes what later ones find.
fn warm_up<S: Service<Request<Body>>>(mut service: S, calls: usize) {
    let request = request(PATH);
    call(&mut service, request.clone());
    measured(&mut service, &request, calls);
}

/// A function of its own, so that valgrind can tell the calls from what is made ready for them.
#[inline(never)]
fn measured<S: Service<Request<Body>>>(service: &mut S, request: &Request<Body>, calls: usize) {
    for _ in 0..calls {
        call(service, request.clone());
    }
}

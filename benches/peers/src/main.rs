//! Makes calls through one contestant, for instruction counts: `peers CONTESTANT CALLS`.
//!
//! `.ci/instructions` runs it under valgrind, which counts what happens within [`measured`].

use http::Request;
use peers::{
    Body, Governed, PATH, answers::Answering, by_path, call, endpoints, plenty, request, routes,
};
use tower::{Layer, Service};
use tower_throttle::{ConcurrencyLayer, RpsLayer, Throttle, ThrottleLayer};

fn main() {
    let mut args = std::env::args().skip(1);
    let contestant = args.next().expect("a contestant");
    let calls: usize = args
        .next()
        .expect("a number of calls")
        .parse()
        .expect("a number");
    let request = request(PATH);
    macro_rules! run {
        ($service:expr) => {{
            let mut service = $service;
            // The first call makes what later ones find.
            call(&mut service, request.clone());
            measured(&mut service, &request, calls);
        }};
    }
    // Of one type whatever it answers, so that no row is compiled differently from another.
    let bare = Answering::with;
    match &*contestant {
        "bare" => run!(bare(0)),
        "bare-5-headers" => run!(bare(5)),
        "bare-12-headers" => run!(bare(12)),
        "bare-quota-headers" => run!(Answering::with_quota()),
        "governor" => run!(Governed::new(bare(0), plenty())),
        "tower-concurrency" => run!(tower::limit::ConcurrencyLimitLayer::new(1000).layer(bare(0))),
        "both" => {
            let governed = Governed::new(bare(0), plenty());
            run!(tower::limit::ConcurrencyLimitLayer::new(1000).layer(governed));
        }
        "concurrency" => run!(ConcurrencyLayer::new(endpoints()).layer(bare(0))),
        "throttle" => run!(throttle(bare(0))),
        "throttle-5-headers" => run!(throttle(bare(5))),
        "throttle-12-headers" => run!(throttle(bare(12))),
        "throttle-quota-headers" => run!(throttle(Answering::with_quota())),
        "retry" => run!(ThrottleLayer::new(endpoints()).layer(bare(0))),
        "rps" => run!(RpsLayer::new(endpoints()).layer(bare(0))),
        "rps-5-headers" => run!(RpsLayer::new(endpoints()).layer(bare(5))),
        "rps-12-headers" => run!(RpsLayer::new(endpoints()).layer(bare(12))),
        "rps-quota-headers" => run!(RpsLayer::new(endpoints()).layer(Answering::with_quota())),
        "rps-by-path" => run!(RpsLayer::new(by_path()).layer(bare(0))),
        "rps-host" => run!(RpsLayer::new(routes::of_a_host()).layer(bare(0))),
        "rps-unmatched" => run!(RpsLayer::new(routes::unmatched()).layer(bare(0))),
        "rps-partitioned" => run!(RpsLayer::new(routes::partitioned()).layer(bare(0))),
        "rps-overall" => run!(RpsLayer::new(routes::overall()).layer(bare(0))),
        "rps-group-overall" => run!(RpsLayer::new(routes::group_and_overall()).layer(bare(0))),
        other => panic!("no contestant is called {other}"),
    }
}

fn throttle(inner: Answering) -> Throttle<Answering> {
    ThrottleLayer::new(endpoints()).without_retry().layer(inner)
}

/// A function of its own, so that valgrind can tell the calls from what is made ready for them.
#[inline(never)]
fn measured<S: Service<Request<Body>>>(service: &mut S, request: &Request<Body>, calls: usize) {
    for _ in 0..calls {
        call(service, request.clone());
    }
}

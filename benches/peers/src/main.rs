//! Makes calls through one contestant, for instruction counts: `peers CONTESTANT CALLS`.
//!
//! `.ci/instructions` runs it under valgrind, which counts what happens within [`measured`].

use http::Request;
use peers::{Bare, Body, Governed, PATH, by_path, call, endpoints, plenty, request};
use tower::{Layer, Service};
use tower_throttle::{ConcurrencyLayer, RpsLayer, ThrottleLayer};

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
    match &*contestant {
        "bare" => run!(Bare),
        "governor" => run!(Governed::new(Bare, plenty())),
        "rps" => run!(RpsLayer::new(endpoints()).layer(Bare)),
        "rps-by-path" => run!(RpsLayer::new(by_path()).layer(Bare)),
        "concurrency" => run!(ConcurrencyLayer::new(endpoints()).layer(Bare)),
        "throttle" => run!(ThrottleLayer::new(endpoints()).without_retry().layer(Bare)),
        "retry" => run!(ThrottleLayer::new(endpoints()).layer(Bare)),
        "tower-concurrency" => run!(tower::limit::ConcurrencyLimitLayer::new(1000).layer(Bare)),
        "both" => {
            let governed = Governed::new(Bare, plenty());
            run!(tower::limit::ConcurrencyLimitLayer::new(1000).layer(governed));
        }
        other => panic!("no contestant is called {other}"),
    }
}

/// A function of its own, so that valgrind can tell the calls from what is made ready for them.
#[inline(never)]
fn measured<S: Service<Request<Body>>>(service: &mut S, request: &Request<Body>, calls: usize) {
    for _ in 0..calls {
        call(service, request.clone());
    }
}

//! What one uncontended call costs over the bare service: ours beside the peers, interleaved.

use std::{num::NonZeroU32, time::Duration};

use http::Request;
use peers::{Bare, Body, Contestant, Governed, call, interleaved, request};
use tower::{Layer, Service, ServiceBuilder};
use tower_throttle::{ConcurrencyLayer, Endpoints, Quota, RpsLayer, ThrottleLayer};

const CALLS: usize = 20_000;

fn calls<S: Service<Request<Body>>>(service: &mut S) {
    let request = request("http://api.example.com/v1/text-to-speech/voice");
    for _ in 0..CALLS {
        call(service, request.clone());
    }
}

fn main() {
    let n = 1_000_000;
    let endpoints = Endpoints::new().route(
        "POST /v1/text-to-speech/{voice_id}",
        Quota::per(n, Duration::from_millis(100)).concurrency(1000),
    );
    let plenty = NonZeroU32::new(n * 1000).expect("positive");
    let mut bare = Bare;
    let mut governor = Governed::new(Bare, plenty);
    let mut both = ServiceBuilder::new()
        .layer(tower::limit::ConcurrencyLimitLayer::new(1000))
        .service(Governed::new(Bare, plenty));
    let mut tower_concurrency = tower::limit::ConcurrencyLimitLayer::new(1000).layer(Bare);
    let mut rps = RpsLayer::new(endpoints.clone()).layer(Bare);
    let mut concurrency = ConcurrencyLayer::new(endpoints.clone()).layer(Bare);
    let mut throttle = ThrottleLayer::new(endpoints).layer(Bare);
    let mut contestants: Vec<Contestant<'_>> = vec![
        ("bare", Box::new(|| calls(&mut bare))),
        ("governor, keyed by path", Box::new(|| calls(&mut governor))),
        (
            "tower concurrency",
            Box::new(|| calls(&mut tower_concurrency)),
        ),
        (
            "governor + tower concurrency",
            Box::new(|| calls(&mut both)),
        ),
        ("RpsLayer", Box::new(|| calls(&mut rps))),
        ("ConcurrencyLayer", Box::new(|| calls(&mut concurrency))),
        ("ThrottleLayer", Box::new(|| calls(&mut throttle))),
    ];
    let times = interleaved(101, &mut contestants);
    for ((name, _), time) in contestants.iter().zip(&times) {
        let over = time.saturating_sub(times[0]).as_secs_f64() * 1e9 / CALLS as f64;
        println!("{name:32} {over:7.1} ns a call over the bare service");
    }
}

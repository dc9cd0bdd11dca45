//! What the engine's one lock costs: calls per thread on one key, on many keys of one layer, and on
//! layers that share nothing, which is what the best sharding could come to.

use std::{sync::Barrier, thread, time::Duration};

use peers::{Bare, Contestant, call, interleaved, request};
use tower::{Layer, Service};
use tower_throttle::{BoxError, ConcurrencyLayer, Endpoints, Quota, RpsLayer, ThrottleLayer};

const CALLS: usize = 100_000;
const ROUNDS: usize = 15;

fn endpoints() -> Endpoints {
    Endpoints::new()
        .route(
            "POST /v1/text-to-speech/{voice_id}",
            Quota::per(1_000_000, Duration::from_millis(100)).concurrency(1000),
        )
        .each_other_path(Quota::per(1_000_000, Duration::from_millis(100)).concurrency(1000))
}

/// All threads make their calls at the same time.
fn on_threads<S>(services: Vec<(S, &'static str)>)
where
    S: Service<http::Request<peers::Body>, Error = BoxError> + Clone + Send,
{
    let barrier = Barrier::new(services.len());
    thread::scope(|scope| {
        for (mut service, path) in services {
            let barrier = &barrier;
            scope.spawn(move || {
                let request = request(path);
                barrier.wait();
                for _ in 0..CALLS {
                    call(&mut service, request.clone());
                }
            });
        }
    });
}

const ONE: &str = "http://api.example.com/v1/text-to-speech/voice";
const MANY: [&str; 4] = [
    "http://api.example.com/a/1",
    "http://api.example.com/b/2",
    "http://api.example.com/c/3",
    "http://api.example.com/d/4",
];

fn main() {
    for threads in [1, 2, 4] {
        let shared = ThrottleLayer::new(endpoints());
        let rps = RpsLayer::new(endpoints());
        let concurrency = ConcurrencyLayer::new(endpoints());
        let own: Vec<_> = (0..threads)
            .map(|_| ThrottleLayer::new(endpoints()))
            .collect();
        let mut contestants: Vec<Contestant<'_>> = vec![
            (
                "bare service",
                Box::new(|| {
                    let bare = tower::util::MapErr::new(Bare, BoxError::from);
                    on_threads((0..threads).map(|_| (bare.clone(), ONE)).collect());
                }),
            ),
            (
                "RpsLayer, one key",
                Box::new(|| {
                    on_threads((0..threads).map(|_| (rps.layer(Bare), ONE)).collect());
                }),
            ),
            (
                "ConcurrencyLayer, one key",
                Box::new(|| {
                    on_threads(
                        (0..threads)
                            .map(|_| (concurrency.layer(Bare), ONE))
                            .collect(),
                    );
                }),
            ),
            (
                "ThrottleLayer, one key",
                Box::new(|| {
                    on_threads((0..threads).map(|_| (shared.layer(Bare), ONE)).collect());
                }),
            ),
            (
                "ThrottleLayer, a key per thread",
                Box::new(|| {
                    on_threads(
                        (0..threads)
                            .map(|i| (shared.layer(Bare), MANY[i]))
                            .collect(),
                    );
                }),
            ),
            (
                "ThrottleLayer, a layer per thread",
                Box::new(|| {
                    on_threads((0..threads).map(|i| (own[i].layer(Bare), ONE)).collect());
                }),
            ),
        ];
        let times = interleaved(ROUNDS, &mut contestants);
        println!("{threads} thread(s):");
        for ((name, _), time) in contestants.iter().zip(&times) {
            let over = time.saturating_sub(times[0]).as_secs_f64() * 1e9 / (CALLS * threads) as f64;
            println!("  {name:36} {over:7.1} ns a call over the bare service");
        }
    }
}

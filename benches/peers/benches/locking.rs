//! For how long anything holds up the calls beside it: the longest call of a thread that does nothing but call, while
//! another one looks at a layer, changes it, or makes keys in it, at ten to a million keys.
//!
//! The machine takes threads off their processors, too, so each figure is the smallest of several tries. What the lock
//! is held for at most is counted in steps by the tests of law L18; this shows what comes of it.

use std::{
    collections::HashMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use peers::{Bare, Body, Governed, call, plenty, request};
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_throttle::{Endpoints, Handle, Quota, RpsLayer};

const KEYS: [usize; 4] = [10, 1_000, 100_000, 1_000_000];
const TRIES: usize = 5;
/// What is never a key of the tables below.
const BESIDE: &str = "http://api.example.com/beside";

fn path(key: usize) -> String {
    format!("http://api.example.com/v1/items/{key:07}")
}

/// What an operation took, and the longest call beside it.
#[derive(Clone, Copy)]
struct Times {
    whole: Duration,
    longest_call: Duration,
}

/// Runs `operation` beside a thread that calls `service`. The smallest of some tries.
fn beside<S>(service: &S, mut operation: impl FnMut()) -> Times
where
    S: Service<http::Request<Body>> + Clone + Send,
{
    let mut tries = (0..TRIES).map(|_| {
        let mut service = service.clone();
        let (calls, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (calls, over) = (&calls, &over);
        thread::scope(|scope| {
            let caller = scope.spawn(move || {
                let mut longest = Duration::ZERO;
                while !over.load(Ordering::Relaxed) {
                    let request = request(BESIDE);
                    let begun = Instant::now();
                    call(&mut service, request);
                    longest = longest.max(begun.elapsed());
                    if calls.fetch_add(1, Ordering::Relaxed) == 100 {
                        // It has warmed up, and the operation begins.
                        longest = Duration::ZERO;
                    }
                }
                longest
            });
            while calls.load(Ordering::Relaxed) <= 100 {
                std::hint::spin_loop();
            }
            let begun = Instant::now();
            operation();
            let whole = begun.elapsed();
            over.store(true, Ordering::Relaxed);
            let longest_call = caller.join().expect("no panic");
            Times {
                whole,
                longest_call,
            }
        })
    });
    let first = tries.next().expect("one try");
    tries.fold(first, |least, of| Times {
        whole: least.whole.min(of.whole),
        longest_call: least.longest_call.min(of.longest_call),
    })
}

/// A layer with so many keys, none of which is idle.
fn with_keys(keys: usize) -> (tower_throttle::Rps<Bare>, Handle) {
    let quota = Quota::per(1_000_000, Duration::from_secs(3600));
    let layer = RpsLayer::new(Endpoints::new().each_other_path(quota));
    let mut service = layer.layer(Bare);
    for key in 0..keys {
        call(&mut service, request(&path(key)));
    }
    (service, layer.handle())
}

fn operations() {
    const OTHERS: &str = "each other path";
    let quotas = [900_000, 800_000].map(|n| Quota::per(n, Duration::from_secs(3600)));
    println!("The longest call beside it, and how long it took in all, by the number of keys");
    println!(
        "  {:34} {}",
        "",
        KEYS.map(|keys| format!("{keys:>24}")).concat()
    );
    let mut lines: Vec<(&str, String)> = Vec::new();
    for keys in KEYS {
        let (service, handle) = with_keys(keys);
        let mut turns = 0;
        let mut turn = || {
            turns += 1;
            turns
        };
        let figures = [
            (
                "nothing",
                beside(&service, || {
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_millis(5) {
                        std::hint::spin_loop();
                    }
                }),
            ),
            ("snapshot()", beside(&service, || drop(handle.snapshot()))),
            (
                "set_quota()",
                beside(&service, || {
                    let quota = quotas[turn() % 2].clone();
                    handle.set_quota(OTHERS, quota).expect("it is known");
                }),
            ),
            (
                "pause(0) and resume()",
                beside(&service, || {
                    handle.pause(OTHERS, Duration::ZERO).expect("it is known");
                    handle.resume(OTHERS).expect("it is known");
                }),
            ),
            (
                "sweep(), of none that is idle",
                beside(&service, || handle.sweep()),
            ),
        ];
        for (name, times) in figures {
            let cell = format!(
                "{:>11} / {:>10}",
                micros(times.longest_call),
                micros(times.whole)
            );
            match lines.iter_mut().find(|(of, _)| *of == name) {
                Some((_, line)) => line.push_str(&cell),
                None => lines.push((name, cell)),
            }
        }
    }
    for (name, line) in lines {
        println!("  {name:34} {line}");
    }
    println!();
}

fn micros(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}

/// The longest of the calls that make a million keys, and how many were longer than 50 us: a table that moves all of
/// its entries when it grows shows here. The smallest of some tries.
fn growth() {
    let keys = KEYS[KEYS.len() - 1];
    let of = |make: &mut dyn FnMut(usize)| {
        let (mut longest, mut long) = (Duration::ZERO, 0);
        for key in 0..keys {
            let begun = Instant::now();
            make(key);
            let time = begun.elapsed();
            longest = longest.max(time);
            long += usize::from(time > Duration::from_micros(50));
        }
        (longest, long)
    };
    let least = |make_all: &dyn Fn() -> (Duration, usize)| {
        let tries = (0..3).map(|_| make_all());
        tries.min().expect("some tries")
    };
    let ours = least(&|| {
        let (mut service, _) = with_keys(0);
        of(&mut |key| {
            call(&mut service, request(&path(key)));
        })
    });
    let governor = least(&|| {
        let mut service = Governed::new(Bare, plenty());
        of(&mut |key| {
            call(&mut service, request(&path(key)));
        })
    });
    // The table of the standard library is hashbrown's. What stands for a node is as large as one of ours.
    let hashbrown = |shards: usize| {
        let tables: Vec<_> = (0..shards).map(|_| Mutex::new(HashMap::new())).collect();
        of(&mut |key| {
            let mut table = tables[key % shards].lock().expect("no panic");
            table.insert(path(key), [0_u64; 24]);
        })
    };
    let (one, many) = (least(&|| hashbrown(1)), least(&|| hashbrown(64)));
    println!(
        "The longest of the calls that make a million keys, and how many took more than 50 us"
    );
    for (name, (longest, long)) in [
        ("RpsLayer, each path by itself", ours),
        ("governor, keyed by path", governor),
        ("hashbrown behind a mutex", one),
        ("hashbrown in 64 shards", many),
    ] {
        println!("  {:>10}  {long:>5}  {name}", micros(longest));
    }
}

fn main() {
    // As the test runner calls benches: this is nothing to be tested.
    if env::args().any(|arg| arg == "--test") {
        return;
    }
    operations();
    growth();
}

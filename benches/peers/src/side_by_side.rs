//! Calls of several threads at the same time. The threads wait for each other in a loop, since a barrier that
//! sleeps lets one begin long before the other; and what counts are rounds in which all ran side by side.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use http::Request;
use tokio::time::Instant;
use tower::Service;

use crate::{Body, call, request};

/// Short enough that most rounds end before the machine takes a thread off its processor.
const CALLS: u32 = 2000;
/// Before a round, so that its threads know what they need.
const WARM_UP: u32 = 100;
/// The part of a round in which all its threads have to run.
const TOGETHER: f64 = 0.9;
/// Of fewer rounds nothing can be said.
const MIN_ROUNDS: usize = 20;

/// A service that several threads call, by name.
pub type Called<'a> = (
    &'a str,
    Box<dyn Fn(&[&'static str]) -> Option<Duration> + 'a>,
);

/// Clones of it, for a thread each.
pub fn called<'a, S>(name: &'a str, service: S) -> Called<'a>
where
    S: Service<Request<Body>> + Clone + Send + Sync + 'a,
{
    let round = move |paths: &[&'static str]| round(&service, paths);
    (name, Box::new(round))
}

/// How long a call of each takes with a thread for each path, when left in peace: of the rounds that count,
/// taken in turns, what a tenth stay below. `None` if there were too few.
pub fn side_by_side(
    rounds: usize,
    services: &[Called<'_>],
    paths: &[&'static str],
) -> Vec<Option<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); services.len()];
    for _ in 0..rounds {
        for ((_, round), times) in services.iter().zip(&mut times) {
            times.extend(round(paths));
        }
    }
    let undisturbed = |mut times: Vec<Duration>| {
        times.sort();
        (times.len() >= MIN_ROUNDS).then(|| times[times.len() / 10])
    };
    times.into_iter().map(undisturbed).collect()
}

/// The time of a call in one round, if all threads ran side by side.
fn round<S>(service: &S, paths: &[&'static str]) -> Option<Duration>
where
    S: Service<Request<Body>> + Clone + Send,
{
    let arrived = AtomicUsize::new(0);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let spawn = |&path: &&'static str| {
            let (mut service, arrived) = (service.clone(), &arrived);
            scope.spawn(move || {
                let request = request(path);
                let mut calls = |number| {
                    for _ in 0..number {
                        call(&mut service, request.clone());
                    }
                };
                calls(WARM_UP);
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < paths.len() {
                    std::hint::spin_loop();
                }
                let start = Instant::now();
                calls(CALLS);
                (start, Instant::now())
            })
        };
        let threads: Vec<_> = paths.iter().map(spawn).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect()
    });
    let (first, last) = spans
        .iter()
        .fold(spans[0], |all, span| (all.0.min(span.0), all.1.max(span.1)));
    let (all_run, one_ends) = spans
        .iter()
        .fold(spans[0], |all, span| (all.0.max(span.0), all.1.min(span.1)));
    let together = one_ends.saturating_duration_since(all_run);
    let whole = last.duration_since(first);
    (together.as_secs_f64() >= TOGETHER * whole.as_secs_f64()).then(|| whole / CALLS)
}

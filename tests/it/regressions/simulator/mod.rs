//! Learning must do no harm: a client that learns beside one that does not, and beside one that knows the
//! truth, before servers of every kind that was reported.
//!
//! A seed is a draw: a server, a network and a load ([`draws`]). Three clients meet each draw ([`clients`]), on a
//! paused clock, so that all figures are the same each time. They differ in what they know and learn; all of
//! them retry until they succeed.
//!
//! # What is drawn
//!
//! - **The limit**, dealt by turns: sliding window, fixed window, token bucket, so many at once, window and so many
//!   at once, none, or a shape that no quota describes: a second and shorter window, even spacing, refusals that
//!   become more likely with the load, a window that changes, requests of different costs. n is log-uniform from
//!   2 to 200, a period 1 to 60 s with most weight on a second and a minute, how many at once log-uniform from 1
//!   to 32. Some sliding windows count what they refused.
//! - **A trouble** on top, dealt by turns: none (twice as often), bans after some refusals, outages, strangers
//!   who want 10 to 80 % of the limit and come again when they are refused, random rejection of 10 to 90 %,
//!   requests that are always refused, quota headers on successes that are true or that nobody enforces.
//! - **How it refuses**: 429 mostly, or 503, 529, 403, 420, 509. With a delay in half of the draws of each limit and
//!   of each trouble: `Retry-After` in seconds or as a date, `retry-after-ms`, the resets of five dialects of quota
//!   headers, three ways to say it in a body. The delay is exact (but rounded up to what the form can say), or
//!   always the whole period, or always the same, such as 60 s. The limit is named or not, in the dialect's
//!   headers. In words of none, a rate, or of concurrency where that is the reason.
//! - **The network**: 0 to 80 ms each way, and in half of the draws 2 to 200 ms of jitter each way.
//! - **The work**: a mean log-uniform from 10 ms to 3 s; constant, uniform, exponential, log-normal, or one in ten
//!   ten times as long; in a quarter of the draws most of it in the body.
//! - **The load**: 1 to 200 callers, each with one request at a time, half of the time as many as make a third to
//!   thirty times what the server can serve; or arrivals at 0.4 to 2 times that, evenly or at random, one by one
//!   or several at a time. Enough requests for five to twelve periods, or for 10 to 40 rounds of those who may
//!   be at work at once; 40 to 1 200.
//! - **What is configured**: half of the time nothing; else the limit as it is published, one of two, or too high
//!   by a fifth to five times.
//!
//! Kinds come from public reports (the trackers of API clients, and the headers that APIs document); numbers
//! span what such APIs have, as far as a run stays affordable. Who wrote it had not read the code of the lessons, and
//! who adds to it should not have either.
//! Left out: periods and delays beyond two minutes, which nobody waits for; delays that are rounded down, since
//! then no client can be right; connection errors, which teach nothing.
//!
//! # What is compared
//!
//! - **time**: until the last request was answered, beside the client that does not learn. Requests that are always
//!   refused are left out; they are tried for two minutes. `- period` is the time less one period of the limit.
//! - **sent**: how many attempts the server saw, beside the same client.
//! - **pace**: time per success from the third period on, beside the client that knows the truth: it has the
//!   server's limit, less what strangers want, and a margin as large as the jitter. Only where there is a window,
//!   and at least two periods' worth of requests are left by then.
//!
//! What is random about an attempt depends on the seed, the request and the number of the attempt, and on nothing
//! else; and how often a request is rejected at random, on the request, so that no client is the slower for the luck
//! that another reason took from it. So a client that learned nothing would have a ratio of exactly 1 in each draw.
//!
//! The targets: time at most 1.0 in the median, at most 1.1 and one period of the limit in the 95th percentile, and at
//! most 2 in the worst draw; sent at most 1.02 in the 95th percentile; pace at most 1.25 in the median.
//!
//! # To run it
//!
//! `cargo test --test simulator -- --nocapture` runs a part of the draws and prints the table; `.ci/simulate` runs
//! all 300 and requires the targets. `SIMULATOR_DRAWS` says how many draws there are, `SIMULATOR_FIRST` with
//! which seed they begin, `SIMULATOR_TARGETS=1` that the targets have to be met. `SIMULATOR_SEED=17` runs one
//! draw, and prints what happened in it. `SIMULATOR_LINES=1` prints a line for each draw.

#![expect(
    clippy::unchecked_time_subtraction,
    reason = "a time before the beginning is a mistake here, and shall panic"
)]

mod answers;
mod clients;
mod draws;
mod figures;
mod limits;
mod servers;
mod trace;

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use clients::{CLIENTS, Who, run, truth_is_never_refused};
use draws::Draw;
use figures::{Figures, missed, table};
use limits::{Limit, Shape};
use servers::Trouble;

/// How many draws `cargo test` runs.
const DRAWS: u64 = 60;
/// For how many of them it runs everything twice, or looks closely.
const FEW: u64 = 14;

#[test]
fn learning_does_no_harm() {
    if let Some(seed) = number("SIMULATOR_SEED") {
        show(seed);
        return;
    }
    let first = number("SIMULATOR_FIRST").unwrap_or(0);
    let draws = number("SIMULATOR_DRAWS").unwrap_or(DRAWS);
    let all = each(first..first + draws, |seed| Figures::of(&Draw::new(seed)));
    if number("SIMULATOR_LINES").is_some() {
        for figures in &all {
            println!("{}", figures.line());
        }
    }
    println!("{}", table(&all));
    let missed = missed(&all);
    println!("targets that are missed: {missed:#?}");
    for figures in &all {
        for (who, outcome) in figures.outcomes() {
            let line = figures.line();
            assert_eq!(outcome.unanswered, 0, "{who:?}: {line}");
            assert_eq!(outcome.given_up, 0, "{who:?}: {line}");
        }
    }
    if number("SIMULATOR_TARGETS").is_some() {
        assert!(missed.is_empty(), "{missed:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let seeds = 0..FEW;
    let once = each(seeds.clone(), |seed| Figures::of(&Draw::new(seed)));
    let again = each(seeds, |seed| Figures::of(&Draw::new(seed)));
    assert_eq!(once, again);
}

#[test]
fn who_knows_the_truth_is_never_refused_where_it_is_alone() {
    let seeds = (0..DRAWS).filter(|&seed| truth_is_never_refused(&Draw::new(seed)));
    let refused = each(seeds, |seed| {
        (seed, run(&Draw::new(seed), Who::KnowsTheTruth).refused())
    });
    assert!(refused.len() > 10, "few draws: {refused:?}");
    for (seed, refused) in refused {
        assert_eq!(refused, 0, "seed {seed}");
    }
}

/// Counted by other means than the servers count.
#[test]
fn servers_keep_their_own_limits() {
    each(0..2 * FEW, |seed| {
        let draw = Draw::new(seed);
        let visits = run(&draw, Who::DoesNotLearn).visits;
        let work = visits.iter().filter_map(|visit| visit.work);
        let (mut began, mut ended): (Vec<_>, Vec<_>) = work.unzip();
        began.sort();
        ended.sort();
        let before = |times: &[Duration], at| times.partition_point(|&time| time < at);
        // A fixed window allows twice its n around its end, and so does a bucket that fills meanwhile.
        let most = |n: u32| match draw.server.limit {
            Limit::Fixed { .. } | Limit::Tokens { .. } => 2 * n,
            Limit::Unknown {
                shape: Shape::ByLoad,
                ..
            } => n + n.div_ceil(2),
            Limit::Unknown {
                shape: Shape::Weighted,
                ..
            } => n.max(4),
            _ => n,
        };
        for &at in &began {
            if let Some((n, period)) = draw.server.limit.window() {
                let within = before(&began, at + period) - before(&began, at);
                let most = usize::try_from(most(n)).expect("few");
                assert!(within <= most, "seed {seed} at {at:?}: {within}");
            }
            if let Some(at_once) = draw.server.limit.at_once() {
                let just_after = at + Duration::from_nanos(1);
                let at_work = before(&began, just_after) - before(&ended, just_after);
                assert!(at_work <= at_once, "seed {seed} at {at:?}: {at_work}");
            }
        }
    });
}

#[test]
fn of_each_kind_there_is_a_tenth_of_all_draws_with_a_delay_and_without() {
    let mut counts = BTreeMap::<_, [u32; 2]>::new();
    for seed in 0..300 {
        let server = Draw::new(seed).server;
        let without = usize::from(server.manner.form.is_none());
        counts.entry(server.limit.name()).or_default()[without] += 1;
        let trouble = match server.trouble {
            Trouble::Soft(_) => "quota headers",
            trouble => trouble.name(),
        };
        counts.entry(trouble).or_default()[without] += 1;
        if server.network.jitter > Duration::ZERO {
            counts.entry("jitter").or_default()[without] += 1;
        }
    }
    assert_eq!(counts.len(), 7 + 7 + 1, "{counts:?}");
    for (kind, [with, without]) in counts {
        assert!(with + without >= 30, "{kind}: {with} and {without}");
        assert!(with >= 12 && without >= 12, "{kind}: {with} and {without}");
    }
}

/// Prints a draw, and what happened to each client.
fn show(seed: u64) {
    let draw = Draw::new(seed);
    println!("{:#?}\n{}\n", draw.server, draw.describe());
    for who in CLIENTS {
        let run = run(&draw, who);
        println!("{who:?}:\n{}", trace::trace(&run));
    }
    println!("{}", Figures::of(&draw).line());
}

/// Runs `work` for each seed, on as many threads as there are processors. The results are in order.
fn each<T: Send>(seeds: impl IntoIterator<Item = u64>, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let seeds: Vec<_> = seeds.into_iter().collect();
    let next = AtomicU64::new(0);
    let results = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&seed) = seeds.get(usize::try_from(index).expect("few")) else {
                        break;
                    };
                    let result = work(seed);
                    results.lock().expect("nobody panics").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("nobody panics");
    results.sort_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A setting.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text:?}")),
    )
}

//! Discovery: a crowd before a limit that nobody knows is no storm.
//!
//! `cargo test --test discovery -- --nocapture` prints what was sent, with discovery and without.

#![expect(
    clippy::unchecked_time_subtraction,
    reason = "a time before the beginning is a mistake here, and shall panic"
)]

mod places;
mod run;
use crate::support;
use std::time::Duration;

use proptest::prelude::*;
use run::{Limit, Run, Scene};
use tower_throttle::Learning;

const OFF: Learning = Learning::all();
const ON: Learning = Learning::all().discover();

/// 200 at once, each with one request. Refusals take as long as answers.
fn crowd(limit: Limit, answer: u64) -> Scene {
    Scene {
        limit,
        answer,
        refusal: answer,
        retry_after: false,
        callers: 200,
        each: 1,
        seed: 1,
    }
}

/// Both ways to say no, both times that a refusal takes, and some random back-offs.
fn variants(scene: Scene) -> impl Iterator<Item = Scene> {
    let prompt = scene.answer.min(20);
    let ways = [scene.answer, prompt].map(|refusal| [(refusal, false), (refusal, true)]);
    ways.into_iter()
        .flatten()
        .map(move |(refusal, retry_after)| Scene {
            refusal,
            retry_after,
            ..scene
        })
        .flat_map(|scene| (1..=3).map(move |seed| Scene { seed, ..scene }))
}

#[track_caller]
fn show(scene: &Scene, run: &Run) {
    println!(
        "{:>13} {:>4} ms, refused after {:>4} ms, {}: {:>3} sent, first wave {:>3}, {:.3} a request, {:>6.2} s",
        format!("{:?}", scene.limit),
        scene.answer,
        scene.refusal,
        if scene.retry_after { "delay" } else { "plain" },
        run.visits.len(),
        run.first_wave(),
        run.ratio(),
        run.took.as_secs_f64(),
    );
}

#[test]
fn besides_the_first_refused_wave_few_requests_are_sent_again() {
    for n in [5, 20, 100] {
        for answer in [20, 200, 2000] {
            for limit in [Limit::Sliding(n), Limit::Fixed(n, 300)] {
                for scene in variants(crowd(limit, answer)) {
                    let run = scene.run(ON);
                    if scene.seed == 1 {
                        show(&scene, &run);
                    }
                    // Where two fixed windows meet, more is accepted in a second than the limit.
                    let most = if limit == Limit::Sliding(n) {
                        1.15
                    } else {
                        1.25
                    };
                    assert!(run.ratio() <= most, "{scene:?}: {}", run.ratio());
                    // The first wave is no storm either: the limit had doubled with each clean round trip.
                    assert!(run.first_wave() <= 2 * n + 16, "{scene:?}");
                }
            }
        }
    }
}

#[test]
fn callers_that_go_on_are_refused_no_more_often() {
    for n in [5, 20, 100] {
        for answer in [20, 200, 2000] {
            let scene = Scene {
                each: 4,
                ..crowd(Limit::Sliding(n), answer)
            };
            let run = scene.run(ON);
            show(&scene, &run);
            assert!(run.ratio() <= 1.05, "{scene:?}: {}", run.ratio());
        }
    }
}

#[test]
fn a_server_without_limits_is_used_fully_after_a_few_round_trips() {
    for callers in [10, 16, 17, 50, 200, 1000] {
        for answer in [20, 200, 2000] {
            let scene = Scene {
                callers,
                each: 20,
                ..crowd(Limit::None, answer)
            };
            let run = scene.run(ON);
            let all = run.visits.iter().find(|visit| visit.in_flight == callers);
            // In whole round trips, log2(callers / 16) + 1.
            let most = 1 + (callers / 16).checked_ilog2().unwrap_or(0);
            let most = Duration::from_millis(answer) * most;
            let at = all.expect("all are in flight at last").at;
            assert!(at <= most, "{scene:?}: {at:?}");
            assert_eq!(run.visits.len(), scene.requests());
        }
    }
}

#[test]
fn so_many_at_once_are_found_where_all_answers_come_together() {
    for n in [5, 20, 100] {
        for (answer, retry_after) in [(20, false), (200, false), (20, true), (200, true)] {
            let scene = Scene {
                each: 4,
                retry_after,
                ..crowd(Limit::AtOnce(n), answer)
            };
            let run = scene.run(ON);
            show(&scene, &run);
            let most = if retry_after { 1.25 } else { 1.15 };
            assert!(run.ratio() <= most, "{scene:?}: {}", run.ratio());
            let rounds = u32::try_from(scene.requests().div_ceil(n)).unwrap();
            // Each try beyond the limit is paid with the delay.
            let tries = Duration::from_secs(if retry_after { 20 } else { 2 });
            let fastest = Duration::from_millis(answer) * rounds;
            assert!(run.took <= 2 * fastest + tries, "{scene:?}: {:?}", run.took);
        }
    }
}

/// As it was before there was discovery.
#[test]
fn without_discovery_everything_is_sent_as_ever() {
    let plain = |limit, answer| Scene {
        seed: 0,
        ..crowd(limit, answer)
    };
    let named = Scene {
        retry_after: true,
        ..plain(Limit::Sliding(100), 2000)
    };
    for (scene, sent, took) in [
        (plain(Limit::Sliding(5), 20), 399, "39.10"),
        (plain(Limit::Sliding(20), 200), 382, "9.60"),
        (plain(Limit::AtOnce(5), 200), 2134, "23.11"),
        (named, 300, "5.12"),
        (plain(Limit::None, 200), 200, "0.20"),
    ] {
        let run = scene.run(OFF);
        show(&scene, &run);
        let took_now = format!("{:.2}", run.took.as_secs_f64());
        assert_eq!((run.visits.len(), &*took_now), (sent, took), "{scene:?}");
    }
}

/// As many small ones as large ones: of so many bits.
fn any_number(bits: std::ops::Range<u32>) -> impl Strategy<Value = usize> {
    bits.prop_flat_map(|bits| 1usize << (bits - 1)..1 << bits)
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let limit = prop_oneof![
        4 => any_number(2..10).prop_map(Limit::Sliding),
        1 => (any_number(2..10), 1..1000u64).prop_map(|(n, first)| Limit::Fixed(n, first)),
        2 => any_number(1..10).prop_map(Limit::AtOnce),
        1 => Just(Limit::None),
    ];
    let (answer, callers) = (any_number(3..12), any_number(2..10));
    let rest = (0..100usize, any::<bool>(), 1..5usize, any::<u64>());
    (limit, answer, callers, rest).prop_map(|(limit, answer, callers, rest)| {
        let (percent, retry_after, each, seed) = rest;
        Scene {
            limit,
            answer: answer as u64,
            refusal: (1 + answer * percent / 100) as u64,
            retry_after,
            callers,
            each,
            seed,
        }
    })
}

proptest! {
    #![proptest_config(support::cases(64))]

    /// `run` fails if somebody is not answered.
    #[test]
    fn whatever_the_limit_everybody_is_answered_and_no_storm_begins(scene in any_scene()) {
        let run = scene.run(ON);
        let again = run.visits.len() - run.first_wave() - run.requests;
        if matches!(scene.limit, Limit::Sliding(_)) {
            let few = run.requests * 15 / 100 + 12;
            prop_assert!(again <= few, "{} sent again, {} requests, {:?}", again, run.requests, scene);
        }
        if run.first_heard.is_none() {
            prop_assert_eq!(again, 0);
        }
        if run.first_heard.is_none() && scene.callers <= 16 {
            // So few never notice.
            prop_assert_eq!(run, scene.run(OFF));
        }
    }
}

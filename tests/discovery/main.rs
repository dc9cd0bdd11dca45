//! Discovery: a crowd before a limit that nobody knows is no storm.

#![expect(
    clippy::unchecked_time_subtraction,
    reason = "a time before the beginning is a mistake here, and shall panic"
)]

mod run;

use run::{Limit, Scene};
use tower_throttle::Learning;

#[test]
fn grid() {
    for each in [1, 5] {
        for prompt in [false, true] {
            println!("each {each}, prompt refusals {prompt}");
            println!(
                "{:>18} {:>6} {:>5} | {:>6} {:>6} {:>6} {:>8} {:>8}",
                "limit", "answer", "after", "sent", "first", "ratio", "worst", "took"
            );
            for limit in [
                Limit::Sliding(5),
                Limit::Sliding(20),
                Limit::Sliding(100),
                Limit::Fixed(5, 1000),
                Limit::Fixed(20, 300),
                Limit::Fixed(100, 900),
                Limit::AtOnce(5),
                Limit::AtOnce(20),
                Limit::AtOnce(100),
                Limit::None,
            ] {
                for answer in [20, 200, 2000] {
                    for retry_after in [false, true] {
                        if prompt && answer == 20 || limit == Limit::None && retry_after {
                            continue;
                        }
                        let mut runs = Vec::new();
                        for seed in 0..5 {
                            let scene = Scene {
                                limit,
                                answer,
                                refusal: if prompt { 20 } else { answer },
                                retry_after,
                                callers: 200,
                                each,
                                seed,
                            };
                            runs.push(scene.run(Learning::all()));
                        }
                        let run = &runs[0];
                        let worst = runs.iter().map(|r| r.ratio()).fold(0.0, f64::max);
                        println!(
                            "{:>18} {:>6} {:>5} | {:>6} {:>6} {:>6.3} {:>8.3} {:>8.2}",
                            format!("{limit:?}"),
                            answer,
                            retry_after,
                            run.visits.len(),
                            run.first_wave(),
                            run.ratio(),
                            worst,
                            run.took.as_secs_f64()
                        );
                    }
                }
            }
        }
    }
}

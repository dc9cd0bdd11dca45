//! No window of any scope ever holds more than its `n` by dispatch stamps, and no more permits are out than there
//! are, in random histories of a fleet. The decision is the one in Rust; the oracle shares no code with it.

mod support;

use support::{
    fleet::{self, Count, TIMING, Troubles},
    world::Memory,
};

fn run(seeds: std::ops::Range<u64>, troubles: Troubles) -> Count {
    let mut all = Count::default();
    for seed in seeds {
        let count = fleet::run(seed, &mut Memory::new(TIMING), troubles, 150);
        all.calls += count.calls;
        all.sent += count.sent;
        all.missed += count.missed;
        all.repeated += count.repeated;
        all.epochs += count.epochs;
        all.steps += count.steps;
    }
    println!("{all:?}");
    all
}

#[test]
fn no_limit_is_broken_where_all_is_well() {
    let count = run(0..100, Troubles::NONE);
    assert!(count.sent > 5_000, "{count:?}");
}

#[test]
fn no_limit_is_broken_by_losses_deaths_amnesia_and_steps_of_the_clock() {
    let count = run(1_000..1_400, Troubles::ALL);
    assert!(
        count.sent > 8_000 && count.epochs > 500 && count.steps > 500,
        "{count:?}"
    );
}

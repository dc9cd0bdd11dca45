//! No window of any scope ever holds more than its `n` by dispatch stamps, and no more permits are out than there
//! are, in random histories of a fleet. The decision is the one in Rust; the oracle shares no code with it.
//! `HISTORIES=10000` runs as many; `FIRST=7` begins with that seed. It prints how many of them kept a limit only
//! because of what no store can know, as the README says.

mod support;

use support::{
    fleet::{self, Count, TIMING, Troubles, number},
    world::Memory,
};

/// The sum; of what was excused, the number of histories.
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
        all.excused.silent += usize::from(count.excused.silent > 0);
        all.excused.cut_off += usize::from(count.excused.cut_off > 0);
    }
    println!("{all:?}");
    all
}

#[test]
fn no_limit_is_broken_where_all_is_well() {
    let count = run(0..100, Troubles::NONE);
    assert!(count.sent > 5_000, "{count:?}");
    assert_eq!((count.excused.silent, count.excused.cut_off), (0, 0));
}

#[test]
fn no_limit_is_broken_by_losses_deaths_amnesia_and_steps_of_the_clock() {
    let first = number("FIRST", 1_000);
    let many = number("HISTORIES", 400);
    let count = run(first..first + many, Troubles::ALL);
    let least = usize::try_from(many).unwrap();
    assert!(
        count.sent > 20 * least && count.epochs > least && count.steps > least,
        "{count:?}"
    );
    // What no store can know is rare: a fleet that leaned on it would prove nothing.
    let excused = count.excused.silent + count.excused.cut_off;
    assert!(excused < least / 25, "{count:?}");
}

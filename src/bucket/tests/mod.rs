mod concurrency;
mod discovery;
mod learned;
mod rates;
mod reports;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Quota;

const BOTH: Enforced = Enforced {
    windows: true,
    permits: true,
};

fn rules(quota: &Quota) -> Rules {
    Rules::new(quota, BOTH, Learning::none(), true)
}

fn at(millis: u64) -> Tick {
    Tick(1_000_000 * (1_000_000 + millis))
}

/// A request that is dispatched the moment it is admitted.
fn dispatch(bucket: &mut Bucket, rules: &Rules, now: Tick) {
    assert_eq!(bucket.gate(rules, &Demand::ONE, now), Gate::Open);
    bucket.take_places(1);
    bucket.stamp(rules, 1, now);
}

#[test]
fn a_window_is_half_open() {
    let rules = rules(&Quota::per_second(2));
    let mut bucket = Bucket::default();
    dispatch(&mut bucket, &rules, at(0));
    dispatch(&mut bucket, &rules, at(600));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(999)),
        Gate::Until(at(1000))
    );
    dispatch(&mut bucket, &rules, at(1000));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(1000)),
        Gate::Until(at(1600))
    );
}

#[test]
fn all_windows_have_to_have_room() {
    let rules = rules(&Quota::per_second(2).and_per(3, Duration::from_secs(10)));
    let mut bucket = Bucket::default();
    dispatch(&mut bucket, &rules, at(0));
    dispatch(&mut bucket, &rules, at(0));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(0)),
        Gate::Until(at(1000))
    );
    dispatch(&mut bucket, &rules, at(1000));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(1000)),
        Gate::Until(at(10_000))
    );
}

#[test]
fn a_margin_widens_the_window() {
    let rules = rules(&Quota::per_second(1).margin(Duration::from_millis(100)));
    let mut bucket = Bucket::default();
    dispatch(&mut bucket, &rules, at(0));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(1099)),
        Gate::Until(at(1100))
    );
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(1100)), Gate::Open);
}

#[test]
fn a_place_counts_until_it_is_given_back() {
    let rules = rules(&Quota::per_second(1));
    let mut bucket = Bucket::default();
    bucket.take_places(1);
    // However long the call takes: nobody knows when its stamp will be.
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(5000)), Gate::Closed);
    bucket.give_back_places(1);
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(5000)), Gate::Open);
}

#[test]
fn a_place_pushes_out_the_stamp_it_will_replace() {
    let rules = rules(&Quota::per_second(2));
    let mut bucket = Bucket::default();
    dispatch(&mut bucket, &rules, at(0));
    bucket.take_places(1);
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(500)),
        Gate::Until(at(1000))
    );
}

#[test]
fn permits_close_the_gate_without_a_time() {
    let rules = rules(&Quota::concurrent(1));
    let mut bucket = Bucket::default();
    bucket.take_permits(1);
    assert_eq!(bucket.in_flight(), 1);
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(0)), Gate::Closed);
    bucket.release_permits(1);
    assert_eq!(bucket.in_flight(), 0);
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(0)), Gate::Open);
}

#[test]
fn a_bucket_is_open_if_its_gate_is() {
    let rules = rules(&Quota::per_second(1).concurrency(2));
    let mut bucket = Bucket::default();
    let check = |bucket: &Bucket, now: u64, open: bool| {
        let gate = bucket.gate(&rules, &Demand::ONE, at(now));
        assert_eq!(gate == Gate::Open, open, "{now}: {gate:?}");
        assert_eq!(bucket.is_open(&rules, at(now)), open, "{now}: {gate:?}");
    };
    check(&bucket, 0, true);
    bucket.take_places(1);
    bucket.take_permits(1);
    check(&bucket, 0, false);
    bucket.stamp(&rules, 1, at(0));
    check(&bucket, 999, false);
    check(&bucket, 1000, true);
    bucket.take_permits(1);
    check(&bucket, 1000, false);
    bucket.release_permits(1);
    check(&bucket, 1000, true);
    bucket.pause(at(2000));
    check(&bucket, 1999, false);
    check(&bucket, 2000, true);
}

#[test]
fn a_pause_is_monotone() {
    let rules = rules(&Quota::unlimited());
    let mut bucket = Bucket::default();
    bucket.pause(at(500));
    bucket.pause(at(200));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(499)),
        Gate::Until(at(500))
    );
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(500)), Gate::Open);
    bucket.resume();
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(0)), Gate::Open);
}

#[test]
fn without_a_window_a_queue_goes_at_once() {
    let rules = rules(&Quota::concurrent(1));
    let bucket = Bucket::default();
    assert_eq!(bucket.slot(&rules, &Demand::ONE, 2, at(0), at(5)), at(5));
}

#[test]
fn a_window_holds_across_a_longer_period() {
    let mut bucket = Bucket::default();
    let short = rules(&Quota::per_second(2));
    dispatch(&mut bucket, &short, at(0));
    dispatch(&mut bucket, &short, at(0));
    let long = rules(&Quota::per(2, Duration::from_secs(60)));
    assert_eq!(
        bucket.gate(&long, &Demand::ONE, at(30_000)),
        Gate::Until(at(60_000))
    );
}

#[test]
fn what_was_forgotten_counts_as_late_as_it_can_have_been() {
    let mut bucket = Bucket::default();
    let small = rules(&Quota::per_second(1));
    for second in 0..5 {
        dispatch(&mut bucket, &small, at(1000 * second));
    }
    // The log knows the dispatch at 4 s, and that there were others, the last of them at 3 s.
    let large = rules(&Quota::per(3, Duration::from_secs(10)));
    assert_eq!(
        bucket.gate(&large, &Demand::ONE, at(5000)),
        Gate::Until(at(13_000))
    );
    // Of the same period nothing is missing.
    let wider = rules(&Quota::per_second(3));
    assert_eq!(bucket.gate(&wider, &Demand::ONE, at(4000)), Gate::Open);
}

#[test]
fn a_longer_window_counts_no_more_than_there_were() {
    let mut bucket = Bucket::default();
    let small = rules(&Quota::per_second(1));
    dispatch(&mut bucket, &small, at(0));
    dispatch(&mut bucket, &small, at(1000));
    // One was kept, and one is known to have been.
    let gate = |n| {
        let large = rules(&Quota::per(n, Duration::from_secs(10)));
        bucket.gate(&large, &Demand::ONE, at(2000))
    };
    assert_eq!(gate(2), Gate::Until(at(10_000)));
    assert_eq!(gate(3), Gate::Open);
}

#[test]
fn who_counts_no_window_and_learns_none_keeps_no_log() {
    let permits = Enforced {
        windows: false,
        permits: true,
    };
    let keeps = |quota: Quota, face, learning| Rules::new(&quota, face, learning, true).keeps_log();
    let (all, none) = (Learning::all(), Learning::none());
    assert!(keeps(Quota::per_second(1), BOTH, none));
    assert!(!keeps(Quota::per_second(1), permits, all));
    assert!(!keeps(Quota::unlimited(), BOTH, none));
    assert!(keeps(Quota::unlimited(), BOTH, none.rate(true)));
    assert!(keeps(Quota::unlimited(), BOTH, none.quota_headers(true)));
    assert!(!keeps(
        Quota::unlimited(),
        BOTH,
        none.concurrency(true).margin(true)
    ));
}

#[test]
fn a_permit_ends_with_the_head_if_the_quota_says_so() {
    assert!(rules(&Quota::concurrent(1).release_at_head()).releases_at_head());
    assert!(!rules(&Quota::concurrent(1)).releases_at_head());
}

#[test]
fn a_clock_that_stands_still_or_goes_back_only_closes() {
    let rules = rules(&Quota::per_second(2));
    let mut bucket = Bucket::default();
    dispatch(&mut bucket, &rules, at(5000));
    bucket.take_places(1);
    bucket.stamp(&rules, 1, at(1000));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(5999)),
        Gate::Until(at(6000))
    );
    assert_eq!(bucket.gate(&rules, &Demand::ONE, at(6000)), Gate::Open);
}

#[test]
fn a_period_beyond_all_time_never_opens_again() {
    for period in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let quota = Quota::per(1, period).margin(Duration::MAX);
        let rules = rules(&quota);
        let mut bucket = Bucket::default();
        dispatch(&mut bucket, &rules, at(0));
        assert_eq!(
            bucket.gate(&rules, &Demand::ONE, at(u64::from(u32::MAX))),
            Gate::Until(Tick::NEVER)
        );
        assert_eq!(
            bucket.slot(&rules, &Demand::ONE, usize::MAX, at(0), at(0)),
            Tick::NEVER
        );
    }
}

#[test]
fn a_window_of_a_hundred_thousand_is_exact_and_uses_what_it_needs() {
    const N: u32 = 100_000;
    let rules = rules(&Quota::per(N, Duration::from_secs(86_400)));
    let mut bucket = Bucket::default();
    for index in 0..u64::from(N) {
        dispatch(&mut bucket, &rules, at(index));
    }
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(200_000)),
        Gate::Until(at(86_400_000))
    );
    dispatch(&mut bucket, &rules, at(86_400_000));
    assert_eq!(
        bucket.gate(&rules, &Demand::ONE, at(86_400_000)),
        Gate::Until(at(86_400_001))
    );
}

#[test]
fn quiet_is_when_nothing_counts_any_more() {
    let rules = rules(&Quota::per_second(2).concurrency(1));
    let mut bucket = Bucket::default();
    let quiet = |bucket: &Bucket, now| bucket.is_quiet(rules.longest(), now);
    assert!(quiet(&bucket, at(0)));
    bucket.take_places(1);
    assert!(!quiet(&bucket, at(9000)));
    bucket.stamp(&rules, 1, at(0));
    assert!(!quiet(&bucket, at(999)));
    assert!(quiet(&bucket, at(1000)));
    bucket.take_permits(1);
    assert!(!quiet(&bucket, at(9000)));
    bucket.release_permits(1);
    bucket.pause(at(5000));
    assert!(!quiet(&bucket, at(4999)));
    assert!(quiet(&bucket, at(5000)));
}

#[test]
fn idle_is_who_has_neither_places_nor_permits() {
    let rules = rules(&Quota::per_second(2).concurrency(1));
    let mut bucket = Bucket::default();
    assert!(bucket.is_idle());
    bucket.take_places(1);
    assert!(!bucket.is_idle());
    bucket.take_permits(1);
    assert!(!bucket.is_idle());
    bucket.stamp(&rules, 1, at(0));
    assert!(!bucket.is_idle());
    bucket.release_permits(1);
    assert!(bucket.is_idle());
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let window = (1u32..6, 1u64..3000);
    (
        proptest::collection::vec(window, 1..4),
        proptest::option::of(1u64..500),
    )
        .prop_map(|(windows, margin)| {
            let quota = windows
                .iter()
                .fold(Quota::unlimited(), |quota, &(n, period)| {
                    quota.and_per(n, Duration::from_millis(period))
                });
            match margin {
                Some(margin) => quota.margin(Duration::from_millis(margin)),
                None => quota,
            }
        })
}

/// Whether a dispatch at `now` would make one of the windows hold too many, counted the naive way.
fn breaks(quota: &Quota, stamps: &[u64], now: u64) -> bool {
    quota.windows().any(|window| {
        let span = (window.period() + quota.window_margin()).as_millis();
        let counted = stamps
            .iter()
            .filter(|&&stamp| u128::from(stamp) + span > u128::from(now))
            .count();
        counted as u64 >= window.n()
    })
}

proptest! {
    /// L1 and L2 of the pure part: open exactly when a naive count finds room, and the time it names
    /// is the first at which it will be.
    #[test]
    fn the_gate_is_open_exactly_when_every_window_has_room(
        quota in any_quota(),
        steps in proptest::collection::vec(0u64..800, 1..60),
    ) {
        let rules = rules(&quota);
        let mut bucket = Bucket::default();
        let mut stamps = Vec::new();
        let mut now = 0;
        for step in steps {
            now += step;
            let gate = bucket.gate(&rules, &Demand::ONE, at(now));
            prop_assert_eq!(bucket.is_open(&rules, at(now)), gate == Gate::Open);
            match gate {
                Gate::Open => {
                    prop_assert!(!breaks(&quota, &stamps, now));
                    dispatch(&mut bucket, &rules, at(now));
                    stamps.push(now);
                }
                Gate::Until(opens) => {
                    prop_assert!(breaks(&quota, &stamps, now));
                    let opens = opens.0 / 1_000_000 - 1_000_000;
                    prop_assert!(breaks(&quota, &stamps, opens - 1));
                    prop_assert!(!breaks(&quota, &stamps, opens));
                }
                Gate::Closed => prop_assert!(false, "nothing holds a place"),
            }
        }
    }

    /// L10 of the pure part: with those ahead going as early as they can, the slot is when the request
    /// goes. Of several windows each counts by itself, so that it is no later than that.
    #[test]
    fn the_slot_is_when_a_queue_gets_there(
        quota in any_quota(),
        places in 0u32..3,
        history in proptest::collection::vec(0u64..800, 0..20),
        pause in 0u64..3000,
        ranks in 1usize..20,
    ) {
        let rules = rules(&quota);
        let mut bucket = Bucket::default();
        let mut now = 0;
        for step in history {
            now += step;
            if bucket.gate(&rules, &Demand::ONE, at(now)) == Gate::Open {
                dispatch(&mut bucket, &rules, at(now));
            }
        }
        bucket.pause(at(now + pause));
        for _ in 0..places {
            bucket.take_places(1);
        }
        let slots: Vec<_> = (0..ranks)
            .map(|rank| bucket.slot(&rules, &Demand::ONE, rank, at(now), at(now)))
            .collect();
        // They are stamped at the earliest moment that can be hoped for.
        for _ in 0..places {
            bucket.stamp(&rules, 1, at(now));
        }
        let mut time = at(now);
        for slot in slots {
            if let Gate::Until(opens) = bucket.gate(&rules, &Demand::ONE, time) {
                time = opens;
            }
            if rules.windows().len() > 1 {
                prop_assert!(slot <= time, "{slot:?} {time:?}");
            } else {
                prop_assert_eq!(slot, time);
            }
            dispatch(&mut bucket, &rules, time);
        }
    }

    /// No `Duration`, no n and no time makes it panic, overflow or open early.
    #[test]
    fn extremes_are_fine(
        n in 1u32..,
        secs in any::<u64>(),
        nanos in 1u32..1_000_000_000,
        margin in any::<u64>(),
        times in proptest::collection::vec(any::<u64>(), 1..20),
        rank in any::<usize>(),
    ) {
        let quota = Quota::per(n, Duration::new(secs, nanos)).margin(Duration::new(margin, 1));
        let rules = rules(&quota);
        let mut bucket = Bucket::default();
        for time in times {
            let time = Tick(time);
            bucket.pause(time);
            let _ = bucket.gate(&rules, &Demand::ONE, time);
            prop_assert!(bucket.slot(&rules, &Demand::ONE, rank, time, time) >= time);
            bucket.take_places(1);
            let _ = bucket.slot(&rules, &Demand::ONE, rank, time, time);
            bucket.stamp(&rules, 1, time);
            let _ = bucket.is_quiet(rules.longest(), time);
        }
    }
}

//! Sums in windows against a naive count of everything that was ever counted.

use proptest::{collection::vec, prelude::*};

use super::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn window(n: u64, period: Duration, counted: Counted) -> UnitWindow {
    UnitWindow {
        unit: "tokens",
        n,
        period,
        counted,
    }
}

/// What is in the half-open interval of this length that ends with `end`.
fn sum(amounts: &[(Duration, u64)], end: Duration, period: Duration) -> u64 {
    let inside = amounts
        .iter()
        .filter(|(at, _)| *at <= end && *at + period > end);
    inside.map(|(_, n)| n).sum()
}

proptest! {
    /// What a window holds, and when it has room, is what a naive count says, to the instant.
    #[test]
    fn sums_and_room_are_those_of_a_naive_count(
        amounts in vec((0_u64..10, 0_u64..8), 0..60),
        period in 1_u64..30,
        n in 1_u64..30,
        more in 0_u64..35,
        at_end in any::<bool>(),
    ) {
        let (start, period) = (Instant::now(), ms(period));
        let counted = if at_end { Counted::AtEnd } else { Counted::AtArrival };
        let window = window(n, period, counted);
        let mut counts = Counts::default();
        let (mut now, mut seen) = (Duration::ZERO, Vec::new());
        for (gap, amount) in amounts {
            now += ms(gap);
            let costs = Costs::new(vec![("other", 5), ("tokens", amount)]);
            if at_end {
                counts.end(start + now, &costs, &[window]);
            } else {
                counts.accept(start + now, &costs, &[window]);
            }
            seen.push((now, amount));
            prop_assert_eq!(counts.used(start + now, &window), sum(&seen, now, period));

            let room_at = counts.room_at(start + now, &window, more);
            prop_assert_eq!(room_at.is_none(), more > n);
            if let Some(room_at) = room_at {
                let room_at = room_at.saturating_duration_since(start).max(now);
                let fits = |at| sum(&seen, at, period) + more <= n;
                prop_assert!(fits(room_at), "no room at {room_at:?}");
                let just_before = room_at.saturating_sub(Duration::from_nanos(1));
                prop_assert!(room_at == now || !fits(just_before), "room before {room_at:?}");
            }
        }
        let empty_at = counts.empty_at(&window);
        let last = seen.iter().rev().find(|(_, amount)| *amount > 0);
        prop_assert_eq!(empty_at, last.map(|(at, _)| start + *at + period));
    }
}

#[test]
fn a_unit_that_is_named_twice_costs_the_sum() {
    let mut costs = Costs::new(vec![("a", 1), ("b", 2), ("a", 3)]);
    assert_eq!((costs.of("a"), costs.of("b"), costs.of("c")), (4, 2, 0));
    assert_eq!(costs.units().collect::<Vec<_>>(), ["a", "b"]);
    costs.replace(&Costs::new(vec![("a", 5), ("c", 6)]));
    assert_eq!((costs.of("a"), costs.of("b"), costs.of("c")), (5, 2, 6));
}

#[test]
fn memory_is_bounded_by_the_history_and_the_longest_window() {
    let start = Instant::now();
    let mut counts = Counts::default();
    let costs = Costs::new(vec![("tokens", 2)]);
    let long = window(1, ms(10_000), Counted::AtArrival);
    for at in 0..20_000 {
        counts.accept(start + ms(at * 4), &costs, &[long]);
    }
    assert_eq!(counts.0[0].accepted.sums.len(), 2_500);
    assert_eq!(counts.used(start + ms(19_999 * 4), &long), 5_000);

    // What is forgotten counts no more, also where a window is longer.
    counts.accept(start + ms(200_000), &costs, &[]);
    assert_eq!(counts.0[0].accepted.sums.len(), HISTORY);
    let longer = window(1, ms(1_000_000), Counted::AtArrival);
    assert_eq!(
        counts.used(start + ms(200_000), &longer),
        2 * HISTORY as u64
    );
}

#[test]
fn sums_do_not_overflow() {
    let start = Instant::now();
    let mut counts = Counts::default();
    let costs = Costs::new(vec![("tokens", u64::MAX), ("tokens", 1)]);
    let window = window(u64::MAX, ms(1_000), Counted::AtEnd);
    for _ in 0..3 {
        counts.end(start, &costs, &[window]);
    }
    assert_eq!(counts.used(start, &window), u64::MAX);
    assert_eq!(counts.room_at(start, &window, 1), Some(start + ms(1_000)));
}

//! When the last of many equal requests goes.
//!
//! Where all requests cost and last the same, each limit has a number of *places*, and a request holds its place for a
//! fixed time: request number i goes no earlier than `held` after request number i - `places`. So
//!
//! ```text
//! at(i) = max over the limits with places <= i of at(i - places) + held,  and 0 where there is none
//! ```
//!
//! Unrolled, that is the longest *chain* of waits that ends at i: the largest sum of `held` over any limits, each as
//! often as one likes, whose places sum to at most i. It is an unbounded knapsack of few items, one for each limit. The
//! search takes as many as possible of the slowest limit (by time for each place), fills up with the faster ones, and
//! goes back only as long as the slowest of those that are left could make up for it. The work depends on how alike the
//! limits are, and neither on i nor on the number of places.

use std::cmp::Ordering;

/// What one limit does to equal requests: it has room for `places` of them, each for the time `held`, in nanoseconds.
/// Neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) places: u64,
    pub(super) held: u128,
}

/// Between which times, in nanoseconds, a chain's length is. Both are the same unless the search was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length {
    pub(super) least: u128,
    pub(super) most: u128,
}

/// Times up to here are counted, in nanoseconds: 2⁹⁴ are more than a `Duration` holds.
const HORIZON: u128 = 1 << 94;

impl Length {
    pub(super) fn is_exact(&self) -> bool {
        self.least == self.most
    }
}

/// For how many steps a search goes on: some milliseconds. Limits whose rates differ by a tenth need some dozens of
/// steps, and those that differ by a thousandth, with up to a million places, some ten thousands at worst.
const PATIENCE: u32 = 1 << 18;

/// The length of the longest chain to request number `last`, where the first is number 0; `None` if it is beyond the
/// horizon.
pub(super) fn longest(turns: &[Turn], last: u64) -> Option<Length> {
    let mut turns: Vec<_> = turns.to_vec();
    turns.retain(|turn| turn.places <= last);
    // Each limit alone is within the horizon, and so all together are within twice of it: no sum below overflows.
    if !turns.iter().all(|turn| turn.is_countable(last)) {
        return None;
    }
    turns.sort_by(|a, b| a.cmp_speed(b).then(a.places.cmp(&b.places)));
    turns.dedup();
    let is_needed = |turn: &&Turn| {
        let mut others = turns.iter().filter(|other| other != turn);
        !others.any(|other| other.replaces(turn))
    };
    let needed: Vec<_> = turns.iter().filter(is_needed).copied().collect();
    let mut search = Search { best: 0, steps: 0 };
    search.extend(&levels(&needed), 0, last);
    let most = match needed.first() {
        Some(slowest) if search.steps >= PATIENCE => slowest.at_most(last),
        _ => search.best,
    };
    Some(Length {
        least: search.best,
        most,
    })
}

impl Turn {
    /// The slower first: by the time for each place.
    pub(super) fn cmp_speed(&self, other: &Self) -> Ordering {
        let time = wide_product(self.held, other.places);
        time.cmp(&wide_product(other.held, self.places)).reverse()
    }

    fn is_countable(&self, places: u64) -> bool {
        let time = u128::from(places / self.places).checked_mul(self.held);
        time.is_some_and(|time| time <= HORIZON)
    }

    /// Whether as many of this one as fit into the places of `other` are as long: no chain needs `other` then.
    fn replaces(&self, other: &Self) -> bool {
        u128::from(other.places / self.places) * self.held >= other.held
    }

    /// What `places` add to a chain at most, by this limit or faster ones: as if it had fractions of its turns.
    fn at_most(&self, places: u64) -> u128 {
        let whole = u128::from(places / self.places) * self.held;
        whole + part(self.held, places % self.places, self.places)
    }
}

/// A limit, and what it has in common with the faster ones.
struct Level {
    turn: Turn,
    /// All places that it and they take are multiples of this.
    step: u64,
    /// All times that they add are multiples of this.
    beat: u128,
    /// How many places are left to the faster ones at most.
    ///
    /// Of any `turn.places / step` of their turns some have places that sum to a multiple of `turn.places`, and as many
    /// turns of this limit instead of those are no shorter. So there is a longest chain with fewer of them, in which
    /// no more than `turn.places - 1` are left over.
    left: u128,
}

/// From the slowest to the fastest, as the turns are.
fn levels(turns: &[Turn]) -> Vec<Level> {
    let (mut step, mut beat, mut largest) = (0, 0, 0);
    let levels = turns.iter().rev().map(|&turn| {
        step = u64::try_from(gcd(step.into(), turn.places.into())).unwrap_or(1);
        beat = gcd(beat, turn.held);
        let faster = u128::from(turn.places / step - 1) * u128::from(largest);
        largest = largest.max(turn.places);
        Level {
            turn,
            step,
            beat,
            left: faster.saturating_add(u128::from(turn.places - 1)),
        }
    });
    let mut levels: Vec<_> = levels.collect();
    levels.reverse();
    levels
}

struct Search {
    best: u128,
    steps: u32,
}

impl Search {
    /// Extends a chain of length `so_far`, which has `places` left, by turns of these limits.
    fn extend(&mut self, levels: &[Level], so_far: u128, places: u64) {
        let Some((level, faster)) = levels.split_first() else {
            self.best = self.best.max(so_far);
            return;
        };
        let places = places - places % level.step;
        let most = places / level.turn.places;
        for count in (0..=most).rev() {
            let chain = u128::from(count) * level.turn.held;
            let left = places - count * level.turn.places;
            // Fewer turns of the slowest leave more places to the faster ones, and less hope.
            let hope = chain + faster.first().map_or(0, |next| next.turn.at_most(left));
            let is_hopeless = so_far + hope - hope % level.beat <= self.best && count < most;
            if is_hopeless || u128::from(left) > level.left || self.steps >= PATIENCE {
                return;
            }
            self.steps += 1;
            self.extend(faster, so_far + chain, left);
        }
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// `time * numerator / denominator`, rounded down, for a numerator below the denominator and a time up to the horizon.
fn part(time: u128, numerator: u64, denominator: u64) -> u128 {
    let (numerator, denominator) = (u128::from(numerator), u128::from(denominator));
    let high = (time >> 64) * numerator;
    let low = (time & u128::from(u64::MAX)) * numerator;
    let rest = (high % denominator) << 64;
    ((high / denominator) << 64)
        + rest / denominator
        + low / denominator
        + (rest % denominator + low % denominator) / denominator
}

/// `time * n` in two parts, the higher first.
fn wide_product(time: u128, n: u64) -> (u128, u128) {
    let mask = u128::from(u64::MAX);
    let low = (time & mask) * u128::from(n);
    let high = (time >> 64) * u128::from(n) + (low >> 64);
    (high, low & mask)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// By the recurrence itself.
    fn by_recurrence(turns: &[Turn], last: usize) -> u128 {
        let mut at = vec![0; last + 1];
        for i in 0..=last {
            for turn in turns {
                let before = usize::try_from(turn.places).ok();
                if let Some(before) = before.and_then(|places| i.checked_sub(places)) {
                    at[i] = at[i].max(at[before] + turn.held);
                }
            }
        }
        at[last]
    }

    fn turn(places: u64, held: u128) -> Turn {
        Turn { places, held }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_longest_chain_is_that_of_the_recurrence(
            turns in vec((1..40u64, 1..60u128), 0..9),
            last in 0..400usize,
        ) {
            let turns: Vec<_> = turns
                .into_iter()
                .map(|(places, held)| turn(places, held))
                .collect();
            let at = by_recurrence(&turns, last);
            prop_assert_eq!(longest(&turns, last as u64), Some(Length { least: at, most: at }));
        }

        #[test]
        fn limits_of_nearly_one_rate_interlock_as_the_recurrence_says(
            turns in vec((1..25u64, 0..3u128), 1..6),
            step in 1..4u64,
            last in 0..400usize,
        ) {
            let near = |(places, more)| turn(places * step, u128::from(places) * 10 + more);
            let turns: Vec<_> = turns.into_iter().map(near).collect();
            let at = by_recurrence(&turns, last);
            prop_assert_eq!(longest(&turns, last as u64), Some(Length { least: at, most: at }));
        }

        #[test]
        fn a_part_of_a_time_is_rounded_down(time in 0..=HORIZON, a in any::<u64>(), b in any::<u64>()) {
            let (numerator, denominator) = (a.min(b), a.max(b).max(1));
            prop_assume!(numerator < denominator);
            let part = part(time, numerator, denominator);
            let product = wide_product(time, numerator);
            prop_assert!(wide_product(part, denominator) <= product);
            prop_assert!(wide_product(part + 1, denominator) > product);
        }
    }

    #[test]
    fn the_work_does_not_depend_on_the_number_of_requests() {
        let second = 1_000_000_000;
        let turns = [
            turn(4_000_000_000, 300_000_000 * second),
            turn(599, 61 * second),
            turn(10, second),
        ];
        // The second is the slowest; of the rest of its places the third makes use.
        let whole = 1_000_000_000_000;
        let at = |last| longest(&turns, last).unwrap().least;
        for (more, time) in [(0, 0), (9, 0), (10, 1), (598, 59), (599, 61)] {
            let expected = whole * 61 + time;
            assert_eq!(
                at(599 * 1_000_000_000_000 + more),
                expected * second,
                "{more}"
            );
        }
    }
}

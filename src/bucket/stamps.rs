use std::collections::VecDeque;

use super::tick::Tick;

/// Ticks in ascending order: the oldest leaves, and new ones join behind the latest.
///
/// The first few are kept in place: most keys of a large table are used a few times and forgotten, and
/// whoever looks at them has no further to go.
#[derive(Debug)]
pub(super) enum Stamps {
    /// From the oldest on; what is [`Tick::NONE`] is not there.
    Few([Tick; FEW]),
    Many(VecDeque<Tick>),
}

/// As many as fit into the space that a `VecDeque` takes.
const FEW: usize = 3;

impl Default for Stamps {
    fn default() -> Self {
        Self::Few([Tick::NONE; FEW])
    }
}

impl Stamps {
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(ticks) => ticks.iter().filter(|&&tick| tick != Tick::NONE).count(),
            Self::Many(ticks) => ticks.len(),
        }
    }

    /// The latest but n-1; `None` if there are not so many. `n` is not 0.
    #[inline]
    pub(super) fn nth_last(&self, n: usize) -> Option<Tick> {
        match self {
            Self::Few(ticks) => self.len().checked_sub(n).map(|index| ticks[index]),
            Self::Many(ticks) => ticks.len().checked_sub(n).map(|index| ticks[index]),
        }
    }

    #[inline]
    pub(super) fn last(&self) -> Option<Tick> {
        match self {
            Self::Few(ticks) => {
                let there = |tick: &&Tick| **tick != Tick::NONE;
                ticks.iter().rev().find(there).copied()
            }
            Self::Many(ticks) => ticks.back().copied(),
        }
    }

    /// Adds `tick`, or the last one if that is later, after those have gone from the front that `goes` says
    /// so of, with how many there are. It is not [`Tick::NONE`].
    #[inline]
    pub(super) fn push(&mut self, tick: Tick, mut goes: impl FnMut(usize, Tick) -> bool) {
        let tick = self.last().map_or(tick, |last| last.max(tick));
        match self {
            Self::Few(ticks) => {
                let mut len = ticks.iter().filter(|&&tick| tick != Tick::NONE).count();
                while len > 0 && goes(len, ticks[0]) {
                    ticks[0] = Tick::NONE;
                    ticks.rotate_left(1);
                    len -= 1;
                }
                match ticks.get_mut(len) {
                    Some(free) => *free = tick,
                    None => *self = Self::Many(spilled(*ticks, tick)),
                }
            }
            Self::Many(ticks) => {
                while ticks.front().is_some_and(|&first| goes(ticks.len(), first)) {
                    ticks.pop_front();
                }
                ticks.push_back(tick);
            }
        }
    }

    /// How many are after `time`.
    pub(super) fn count_after(&self, time: Tick) -> usize {
        match self {
            Self::Few(ticks) => {
                let after = |tick: &&Tick| **tick > time && **tick != Tick::NONE;
                ticks.iter().filter(after).count()
            }
            Self::Many(ticks) => ticks.len() - ticks.partition_point(|&tick| tick <= time),
        }
    }
}

#[cold]
fn spilled(few: [Tick; FEW], tick: Tick) -> VecDeque<Tick> {
    let mut ticks = VecDeque::with_capacity(2 * FEW);
    ticks.extend(few);
    ticks.push_back(tick);
    ticks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_in_place_take_no_more_space_than_a_queue() {
        assert_eq!(size_of::<Stamps>(), size_of::<VecDeque<Tick>>());
    }

    proptest! {
        #[test]
        fn they_are_a_queue_whether_few_or_many(
            ops in prop::collection::vec(prop::sample::select(vec![0, 0, 0, 1, 1, 2, 5]), 0..60),
        ) {
            let (mut stamps, mut queue) = (Stamps::default(), VecDeque::new());
            let mut now = 1;
            for op in ops {
                now += op % 2;
                // As many as `op` leave before one joins, or as there are.
                let mut leaving = op;
                let staying = queue.len().saturating_sub(usize::try_from(op).unwrap());
                stamps.push(Tick(now), |len, first| {
                    assert_eq!((len, Some(&first)), (queue.len(), queue.front()));
                    let goes = leaving > 0;
                    if goes {
                        leaving -= 1;
                        queue.pop_front();
                    }
                    goes
                });
                prop_assert_eq!(queue.len(), staying);
                queue.push_back(Tick(now));
                prop_assert_eq!(stamps.len(), queue.len());
                prop_assert_eq!(stamps.last(), queue.back().copied());
                for n in 1..queue.len() + 2 {
                    let there = queue.iter().rev().nth(n - 1).copied();
                    prop_assert_eq!(stamps.nth_last(n), there);
                }
                for time in 0..=now {
                    let after = queue.iter().filter(|&&tick| tick > Tick(time)).count();
                    prop_assert_eq!(stamps.count_after(Tick(time)), after);
                }
            }
        }
    }
}

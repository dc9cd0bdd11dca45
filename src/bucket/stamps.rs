use std::collections::VecDeque;

use super::{chunked::Chunked, tick::Tick};
use crate::steps;

/// Ticks in ascending order: the oldest leaves, and new ones join behind the latest.
///
/// The first few are kept in place: most keys of a large table are used a few times and forgotten, and
/// a look at them fetches no other memory. Very many are kept in chunks: a queue moves all of its ticks
/// when it grows, and the engine's lock is held meanwhile.
#[derive(Debug)]
pub(super) enum Stamps {
    /// From the oldest on; what is [`Tick::NONE`] is not there.
    Few([Tick; FEW]),
    /// At most [`MANY`].
    Many(VecDeque<Tick>),
    VeryMany(Box<Chunks>),
}

/// As many as fit into the space that a `VecDeque` takes.
const FEW: usize = 3;

/// As many as may be moved at once.
const MANY: usize = 1024;

/// How many leave at most when one joins. Those that are left leave with the next ones.
const LEAVE_AT_ONCE: usize = 64;

impl Default for Stamps {
    fn default() -> Self {
        Self::Few([Tick::NONE; FEW])
    }
}

impl Stamps {
    /// Whether they take many pieces of memory.
    pub(super) fn is_large(&self) -> bool {
        matches!(self, Self::VeryMany(_))
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // `Many` comes first, here and below, since each call asks for each window, and of most buckets that
        // are called often there are many.
        if let Self::Many(ticks) = self {
            return ticks.len();
        }
        match self {
            Self::Few(ticks) => few(ticks),
            Self::Many(ticks) => ticks.len(),
            Self::VeryMany(ticks) => ticks.len(),
        }
    }

    /// The latest but n-1; `None` if there are not so many. `n` is not 0.
    #[expect(clippy::inline_always, reason = "each call does this for each window")]
    #[inline(always)]
    pub(super) fn nth_last(&self, n: usize) -> Option<Tick> {
        steps::count(1);
        if let Self::Many(ticks) = self {
            return ticks.len().checked_sub(n).map(|index| ticks[index]);
        }
        self.nth_last_of_others(n)
    }

    fn nth_last_of_others(&self, n: usize) -> Option<Tick> {
        match self {
            Self::Few(ticks) => few(ticks).checked_sub(n).map(|index| ticks[index]),
            Self::Many(_) => None,
            Self::VeryMany(ticks) => ticks.nth_last(n),
        }
    }

    #[inline]
    pub(super) fn last(&self) -> Option<Tick> {
        if let Self::Many(ticks) = self {
            return ticks.back().copied();
        }
        match self {
            Self::Few(ticks) => {
                let there = |tick: &&Tick| **tick != Tick::NONE;
                ticks.iter().rev().find(there).copied()
            }
            Self::Many(_) => None,
            Self::VeryMany(ticks) => ticks.nth_last(1),
        }
    }

    /// Drops ticks from the front while `goes` holds, up to [`LEAVE_AT_ONCE`]. `goes` gets the number of ticks
    /// and the oldest one. Then appends `tick`, raised to the last one so that the order holds. `tick` must not
    /// be [`Tick::NONE`].
    #[expect(clippy::inline_always, reason = "each call does this")]
    #[inline(always)]
    pub(super) fn push(&mut self, tick: Tick, mut goes: impl FnMut(usize, Tick) -> bool) {
        steps::count(1);
        let Self::Many(ticks) = self else {
            return self.push_to_others(tick, &mut goes);
        };
        let tick = ticks.back().map_or(tick, |&last| last.max(tick));
        let mut left = LEAVE_AT_ONCE;
        while ticks.front().is_some_and(|&first| goes(ticks.len(), first)) {
            steps::count(1);
            ticks.pop_front();
            left -= 1;
            if left == 0 {
                break;
            }
        }
        if ticks.len() >= MANY {
            return self.spill(tick);
        }
        if ticks.len() == ticks.capacity() {
            steps::count(ticks.len());
        }
        ticks.push_back(tick);
    }

    #[inline(never)]
    fn push_to_others(&mut self, tick: Tick, goes: &mut dyn FnMut(usize, Tick) -> bool) {
        let tick = self.last().map_or(tick, |last| last.max(tick));
        match self {
            Self::Few(ticks) => {
                let mut len = few(ticks);
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
            Self::Many(ticks) => ticks.push_back(tick),
            Self::VeryMany(ticks) => ticks.push(tick, goes),
        }
    }

    #[cold]
    fn spill(&mut self, tick: Tick) {
        if let Self::Many(ticks) = self {
            let ticks = std::mem::take(ticks);
            *self = Self::VeryMany(Box::new(Chunks::new(ticks, tick)));
        }
    }

    /// How many are after `time`.
    pub(super) fn count_after(&self, time: Tick) -> usize {
        let until = |&tick: &Tick| {
            steps::count(1);
            tick <= time
        };
        match self {
            Self::Few(ticks) => {
                let after = |tick: &&Tick| **tick > time && **tick != Tick::NONE;
                ticks.iter().filter(after).count()
            }
            Self::Many(ticks) => ticks.len() - ticks.partition_point(until),
            Self::VeryMany(ticks) => ticks.len() - ticks.partition_point(until),
        }
    }
}

/// How many of the places in place are taken.
#[inline]
fn few(ticks: &[Tick; FEW]) -> usize {
    ticks.iter().filter(|&&tick| tick != Tick::NONE).count()
}

#[cold]
fn spilled(few: [Tick; FEW], tick: Tick) -> VecDeque<Tick> {
    let mut ticks = VecDeque::with_capacity(2 * FEW);
    ticks.extend(few);
    ticks.push_back(tick);
    ticks
}

/// Very many ticks.
#[derive(Debug)]
pub(super) struct Chunks {
    ticks: Chunked<Tick>,
}

impl Chunks {
    #[cold]
    fn new(ticks: VecDeque<Tick>, tick: Tick) -> Self {
        let mut chunks = Self {
            ticks: Chunked::of_many(),
        };
        for tick in ticks.into_iter().chain([tick]) {
            chunks.ticks.push_back(tick);
        }
        chunks
    }

    #[cold]
    fn nth_last(&self, n: usize) -> Option<Tick> {
        self.len().checked_sub(n).map(|index| self.ticks.get(index))
    }

    #[cold]
    fn push(&mut self, tick: Tick, goes: &mut dyn FnMut(usize, Tick) -> bool) {
        for _ in 0..LEAVE_AT_ONCE {
            let len = self.len();
            if len == 0 || !goes(len, self.ticks.get(0)) {
                break;
            }
            self.ticks.pop_front();
        }
        self.ticks.push_back(tick);
    }

    #[cold]
    fn len(&self) -> usize {
        self.ticks.len()
    }

    fn partition_point(&self, is_before: impl Fn(&Tick) -> bool) -> usize {
        self.ticks.partition_point(is_before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_in_place_take_no_more_space_than_a_queue() {
        assert_eq!(size_of::<Stamps>(), size_of::<VecDeque<Tick>>());
    }

    /// Most steps of one push: the last that a queue can take moves all of them to chunks. 64 more may leave.
    /// Up to 500 000 ticks, the list of chunks grows by at most 512.
    const MOST_STEPS: usize = MANY + LEAVE_AT_ONCE + 4;

    /// A look at one tick, or a search by halves.
    const MOST_STEPS_OF_A_LOOK: usize = 24;

    #[test]
    fn no_operation_takes_more_steps_among_many_than_among_few() {
        const TICKS: usize = 300_000;
        let mut stamps = Stamps::default();
        let mut most = [0; 2];
        let mut now = 0;
        // It grows, stays as it is, becomes shorter, and grows again.
        for (times, depth) in [
            (TICKS, TICKS),
            (2000, TICKS),
            (TICKS / 50, 10),
            (5000, 4000),
        ] {
            for _ in 0..times {
                now += 1;
                let ((), steps) = steps::of(|| stamps.push(Tick(now), |len, _| len >= depth));
                most[0] = most[0].max(steps);
                let half = stamps.len().div_ceil(2);
                let looks = [
                    steps::of(|| stamps.nth_last(half)).1,
                    steps::of(|| stamps.last()).1,
                    steps::of(|| stamps.count_after(Tick(now / 2))).1,
                ];
                most[1] = most[1].max(looks.into_iter().max().unwrap());
            }
            assert_eq!(stamps.len(), depth);
        }
        println!("most steps: {most:?}");
        assert!(
            most[0] <= MOST_STEPS && most[1] <= MOST_STEPS_OF_A_LOOK,
            "{most:?}"
        );
    }

    #[test]
    fn chunks_are_given_back_when_their_ticks_have_left() {
        let mut stamps = Stamps::default();
        for now in 1..=100_000 {
            stamps.push(Tick(now), |_, _| false);
        }
        for now in 0..=100_000 / (LEAVE_AT_ONCE as u64 - 1) {
            stamps.push(Tick(100_001 + now), |len, _| len >= 10);
        }
        let Stamps::VeryMany(ticks) = &stamps else {
            panic!("{stamps:?}")
        };
        assert_eq!(stamps.len(), 10);
        assert!(ticks.ticks.chunks() <= 2);
    }

    /// Adds a tick to both, from which ticks leave while `goes` holds, and `staying` are left.
    #[track_caller]
    fn push(
        stamps: &mut Stamps,
        queue: &mut VecDeque<Tick>,
        now: u64,
        mut goes: impl FnMut(usize) -> bool,
        staying: usize,
    ) {
        stamps.push(Tick(now), |len, first| {
            assert_eq!((len, Some(&first)), (queue.len(), queue.front()));
            let goes = goes(len);
            if goes {
                queue.pop_front();
            }
            goes
        });
        assert_eq!(queue.len(), staying);
        queue.push_back(Tick(now));
    }

    /// Compares all looks, at these ranks and times.
    #[track_caller]
    fn check(
        stamps: &Stamps,
        queue: &VecDeque<Tick>,
        ranks: impl IntoIterator<Item = usize>,
        times: impl IntoIterator<Item = u64>,
    ) {
        assert_eq!(stamps.len(), queue.len());
        assert_eq!(stamps.last(), queue.back().copied());
        for n in ranks {
            let there = queue.iter().rev().nth(n - 1).copied();
            assert_eq!(stamps.nth_last(n), there);
        }
        for time in times {
            let after = queue.iter().filter(|&&tick| tick > Tick(time)).count();
            assert_eq!(stamps.count_after(Tick(time)), after);
        }
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
                let goes = |_: usize| {
                    let goes = leaving > 0;
                    leaving -= u64::from(goes);
                    goes
                };
                push(&mut stamps, &mut queue, now, goes, staying);
                check(&stamps, &queue, 1..queue.len() + 2, 0..=now);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn they_are_a_queue_when_they_are_very_many(
            phases in prop::collection::vec((0..2000_u32, 1..3000_usize, 0..3_u64), 1..8),
        ) {
            let (mut stamps, mut queue) = (Stamps::default(), VecDeque::new());
            let mut now = 1;
            for (times, depth, pace) in phases {
                for _ in 0..times {
                    now += pace;
                    let surplus = (queue.len() + 1).saturating_sub(depth);
                    let staying = queue.len() - surplus.min(LEAVE_AT_ONCE);
                    push(&mut stamps, &mut queue, now, |len| len >= depth, staying);
                }
                let ranks = (1..queue.len() + 2).step_by(37).chain([queue.len().max(1)]);
                check(&stamps, &queue, ranks, (0..=now).step_by(97).chain([now]));
            }
        }
    }
}

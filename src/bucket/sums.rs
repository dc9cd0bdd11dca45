use super::{chunked::Chunked, tick::Tick};

/// Amounts with their ticks, in ascending order of these: the oldest leaves, and new ones join behind the latest.
///
/// An amount is known by its number, and can be changed as long as it is there. How many of the latest amounts
/// sum to no more than a given sum is found on a way down, since there is a sum for each group of amounts, for
/// each group of groups, and so on.
#[derive(Debug, Default)]
pub(super) struct Sums {
    entries: Chunked<Entry>,
    /// The number of the first one that is there.
    first: u64,
    total: u128,
    /// From the groups of amounts up.
    levels: Vec<Level>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) tick: Tick,
    pub(super) amount: u64,
}

/// The sums of groups. A group that has lost its first members is the sum of those that are left.
#[derive(Debug, Default)]
struct Level {
    sums: Chunked<u128>,
    /// The number of the first group that is there.
    first: u64,
}

/// Members of a group, as a power of two.
const BITS: u32 = 3;
const GROUP: u64 = 1 << BITS;

/// With more members, the uppermost level gets one above it.
const MOST: usize = 2 << BITS;

impl Sums {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_large(&self) -> bool {
        self.entries.is_large()
    }

    pub(super) fn total(&self) -> u128 {
        self.total
    }

    /// The amount of this number with its tick, if it is still there.
    pub(super) fn entry(&self, number: u64) -> Option<Entry> {
        Some(self.entries.get(self.index(number)?))
    }

    /// When the amount was added that `index` others precede. It has to be there.
    pub(super) fn tick(&self, index: usize) -> Tick {
        self.entries.get(index).tick
    }

    pub(super) fn front(&self) -> Option<Entry> {
        (!self.entries.is_empty()).then(|| self.entries.get(0))
    }

    pub(super) fn last(&self) -> Option<Entry> {
        let last = self.entries.len().checked_sub(1)?;
        Some(self.entries.get(last))
    }

    /// Adds an amount at `tick`, or at the last one, if that is later. Returns its number.
    pub(super) fn push(&mut self, tick: Tick, amount: u64) -> u64 {
        let tick = self.last().map_or(tick, |last| last.tick.max(tick));
        let number = self.end();
        self.entries.push_back(Entry { tick, amount });
        self.total += u128::from(amount);
        let mut item = number;
        for level in &mut self.levels {
            item >>= BITS;
            level.add(item, amount);
        }
        if self.uppermost() > MOST {
            self.add_level();
        }
        number
    }

    pub(super) fn pop_front(&mut self) -> Entry {
        let entry = self.entries.pop_front();
        self.total -= u128::from(entry.amount);
        let mut item = self.first;
        self.first += 1;
        let mut first = self.first;
        for level in &mut self.levels {
            item >>= BITS;
            first >>= BITS;
            *level.sum_mut(item) -= u128::from(entry.amount);
            if first > item {
                level.sums.pop_front();
                level.first = first;
            }
        }
        if self.entries.is_empty() {
            self.levels.clear();
        }
        entry
    }

    /// The amount of this number, if it is still there.
    pub(super) fn get(&self, number: u64) -> Option<u64> {
        let index = self.index(number)?;
        Some(self.entries.get(index).amount)
    }

    /// Changes the amount of this number, if it is still there.
    pub(super) fn set(&mut self, number: u64, amount: u64) {
        let Some(index) = self.index(number) else {
            return;
        };
        let before = u128::from(std::mem::replace(
            &mut self.entries.get_mut(index).amount,
            amount,
        ));
        self.total = self.total - before + u128::from(amount);
        let mut item = number;
        for level in &mut self.levels {
            item >>= BITS;
            let sum = level.sum_mut(item);
            *sum = *sum - before + u128::from(amount);
        }
    }

    /// When the latest amount was added that does not fit into `most` together with all later ones; `None` if all
    /// do.
    pub(super) fn fills(&self, most: u128) -> Option<Tick> {
        if self.total <= most {
            return None;
        }
        let mut rest = most;
        // All before this number are still to be looked at. Up, as far as whole groups fit, and then down.
        let mut end = self.end();
        let mut height = 0;
        'up: loop {
            let is_uppermost = height == self.levels.len();
            let mut item = end >> (BITS * exponent(height));
            // A group that is not full is the last one: its members have been looked at.
            while item > self.first_at(height) && (is_uppermost || item % GROUP != 0) {
                let sum = self.sum(height, item - 1);
                if sum > rest {
                    item -= 1;
                    break 'up self.latest_below(height, item, rest);
                }
                rest -= sum;
                item -= 1;
            }
            if is_uppermost || item <= self.first_at(height) {
                return None;
            }
            end = item << (BITS * exponent(height));
            height += 1;
        }
    }

    /// Of a group that does not fit: when its latest member was added that does not.
    fn latest_below(&self, mut height: usize, mut item: u64, mut rest: u128) -> Option<Tick> {
        while height > 0 {
            height -= 1;
            let end = ((item + 1) << BITS).min(self.end_at(height));
            let first = (item << BITS).max(self.first_at(height));
            item = (first..end).rev().find(|&member| {
                let sum = self.sum(height, member);
                let fits = sum <= rest;
                rest -= if fits { sum } else { 0 };
                !fits
            })?;
        }
        Some(self.entries.get(self.index(item)?).tick)
    }

    /// The sum of those after `time`, and the tick of the first of these.
    pub(super) fn after(&self, time: Tick) -> (u128, Option<Tick>) {
        let until = self.entries.partition_point(|entry| entry.tick <= time);
        let mut before = 0;
        let (mut from, to) = (self.first, self.first + until as u64);
        // Single ones up to a whole group, whole groups up to a whole group of those, and back.
        let mut height = 0;
        while from < to {
            let size = 1_u64 << (BITS * exponent(height));
            let is_whole = |from: u64| from % (size << BITS) == 0 && from + (size << BITS) <= to;
            if height < self.levels.len() && is_whole(from) {
                height += 1;
            } else if from + size > to {
                height -= 1;
            } else {
                before += self.sum(height, from >> (BITS * exponent(height)));
                from += size;
            }
        }
        let oldest = (until < self.entries.len()).then(|| self.entries.get(until).tick);
        (self.total - before, oldest)
    }

    fn index(&self, number: u64) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (index < self.entries.len()).then_some(index)
    }

    /// The number of the next one.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn first_at(&self, height: usize) -> u64 {
        match height.checked_sub(1) {
            None => self.first,
            Some(level) => self.levels[level].first,
        }
    }

    fn end_at(&self, height: usize) -> u64 {
        match height.checked_sub(1) {
            None => self.end(),
            Some(level) => self.levels[level].end(),
        }
    }

    /// The sum of a group at a height; at the height 0, an amount.
    fn sum(&self, height: usize, item: u64) -> u128 {
        match height.checked_sub(1) {
            None => self.get(item).unwrap_or_default().into(),
            Some(level) => self.levels[level].sum(item),
        }
    }

    /// How many members the uppermost level has.
    fn uppermost(&self) -> usize {
        self.levels
            .last()
            .map_or(self.entries.len(), |level| level.sums.len())
    }

    #[cold]
    fn add_level(&mut self) {
        let height = self.levels.len();
        let mut level = Level::default();
        for item in self.first_at(height)..self.end_at(height) {
            level.add_sum(item >> BITS, self.sum(height, item));
        }
        self.levels.push(level);
    }
}

impl Level {
    fn add(&mut self, item: u64, amount: u64) {
        self.add_sum(item, amount.into());
    }

    fn add_sum(&mut self, item: u64, sum: u128) {
        if self.sums.is_empty() {
            self.first = item;
        }
        if item == self.end() {
            self.sums.push_back(0);
        }
        *self.sum_mut(item) += sum;
    }

    fn end(&self) -> u64 {
        self.first + self.sums.len() as u64
    }

    fn sum(&self, item: u64) -> u128 {
        self.sums.get(offset(item, self.first))
    }

    fn sum_mut(&mut self, item: u64) -> &mut u128 {
        self.sums.get_mut(offset(item, self.first))
    }
}

fn offset(item: u64, first: u64) -> usize {
    usize::try_from(item - first).expect("groups that are there fit into memory")
}

fn exponent(height: usize) -> u32 {
    u32::try_from(height).expect("64 bits have few levels")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::steps;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64, u64),
        Pop,
        Set(usize, u64),
        /// Leaves this many.
        Shorten(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            12 => (0..3_u64, 0..50_u64).prop_map(|(after, amount)| Step::Push(after, amount)),
            4 => Just(Step::Pop),
            3 => (any::<usize>(), prop_oneof![0..50_u64, Just(u64::MAX)]).prop_map(|(n, to)| Step::Set(n, to)),
            1 => (0..200_usize).prop_map(Step::Shorten),
        ]
    }

    proptest! {
        /// Against a plain list.
        #[test]
        fn sums_are_those_of_a_list(
            begin in prop_oneof![Just(0), Just(5000_usize)],
            steps in prop::collection::vec(step(), 0..400),
            asked in prop::collection::vec(0..2000_u64, 8),
        ) {
            let (mut sums, mut list) = (Sums::default(), Vec::<(u64, Entry)>::new());
            let (mut now, mut next) = (1, 0);
            let mut push = |sums: &mut Sums, list: &mut Vec<(u64, Entry)>, after, amount| {
                now += after;
                let tick = Tick(now);
                assert_eq!(sums.push(tick, amount), next);
                list.push((next, Entry { tick, amount }));
                next += 1;
            };
            for n in 0..begin {
                push(&mut sums, &mut list, 1, n as u64 % 7);
            }
            for step in steps {
                match step {
                    Step::Push(after, amount) => push(&mut sums, &mut list, after, amount),
                    Step::Pop if list.is_empty() => {}
                    Step::Pop => assert_eq!(sums.pop_front().amount, list.remove(0).1.amount),
                    Step::Set(n, to) => {
                        if let Some(n) = n.checked_rem(list.len()) {
                            sums.set(list[n].0, to);
                            list[n].1.amount = to;
                        }
                        // Those that have left cannot be changed.
                        let gone = list.first().map_or(0, |first| first.0);
                        (0..gone).rev().take(2).for_each(|gone| sums.set(gone, 5));
                    }
                    Step::Shorten(to) => {
                        while list.len() > to {
                            sums.pop_front();
                            list.remove(0);
                        }
                    }
                }
                prop_assert_eq!(sums.len(), list.len());
                prop_assert_eq!(sums.total(), list.iter().map(|(_, entry)| u128::from(entry.amount)).sum::<u128>());
                for &asked in &asked {
                    let mut left = u128::from(asked);
                    let fills = list.iter().rev().find(|(_, entry)| {
                        let fits = u128::from(entry.amount) <= left;
                        left -= if fits { entry.amount.into() } else { 0 };
                        !fits
                    });
                    prop_assert_eq!(sums.fills(asked.into()), fills.map(|(_, entry)| entry.tick));
                    let after = list.iter().filter(|(_, entry)| entry.tick > Tick(asked));
                    let after: u128 = after.map(|(_, entry)| u128::from(entry.amount)).sum();
                    let oldest = list.iter().map(|(_, entry)| entry.tick).find(|&tick| tick > Tick(asked));
                    prop_assert_eq!(sums.after(Tick(asked)), (after, oldest));
                }
            }
        }
    }

    #[test]
    fn no_operation_takes_many_steps_among_many() {
        const AMOUNTS: u64 = 300_000;
        let mut sums = Sums::default();
        let mut most = [0; 4];
        steps::take();
        for n in 0..AMOUNTS {
            sums.push(Tick(n + 1), 1);
            most[0] = most[0].max(steps::take());
            if n % 64 == 0 {
                sums.set(n / 2, 1);
                most[1] = most[1].max(steps::take());
                assert!(sums.fills(u128::from(n / 3)).is_some());
                most[2] = most[2].max(steps::take());
                assert_eq!(sums.after(Tick(n / 3)).0, u128::from(n + 1 - n / 3));
                most[3] = most[3].max(steps::take());
            }
        }
        for _ in 0..AMOUNTS {
            sums.pop_front();
            most[1] = most[1].max(steps::take());
        }
        // A chunk grows to 512, and so does the list of chunks.
        assert!(most[0] <= 1200 && most[1] <= 20, "{most:?}");
        assert!(most[2] <= 300 && most[3] <= 300, "{most:?}");
    }
}

use std::{
    num::NonZeroU32,
    ops::{Index, IndexMut},
};

use crate::steps;

/// Values at indices that stay as they are, in chunks of memory that stay where they are.
///
/// A vector that doubles would copy all of its values when it is full, while the engine's lock is held.
/// This never copies more than half a chunk. And a value needs no allocation of its own, which would be one
/// more place in memory to look at.
///
/// Only the list of chunks doubles: it moves three words for each chunk of 512 values.
#[derive(Debug)]
pub(super) struct Arena<T> {
    /// All of them are full, of values or of holes, but the last one.
    chunks: Vec<Vec<Slot<T>>>,
    /// How many values there are.
    len: usize,
    /// The first of the list of holes.
    hole: Option<SlotId>,
}

#[derive(Debug)]
enum Slot<T> {
    Value(T),
    Hole(Neighbours),
}

/// Where a hole stands in the list of holes. It goes both ways, so that a hole at the end can leave it.
#[derive(Clone, Copy, Debug)]
// As most values are: else a value would begin four bytes behind its tag, and be copied twice.
#[repr(align(8))]
struct Neighbours {
    /// Of the first hole, this is not kept up to date: filling a hole touches no other.
    before: Option<SlotId>,
    next: Option<SlotId>,
}

/// The index of a slot in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotId(NonZeroU32);

impl SlotId {
    #[inline]
    pub(super) fn new(index: usize) -> Self {
        u32::try_from(index + 1)
            .ok()
            .and_then(NonZeroU32::new)
            .map(Self)
            .expect("fewer than 2^32 values fit into memory")
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What one step of compacting did.
#[derive(Debug)]
#[must_use = "garbage is to be dropped after the lock is released"]
pub(super) enum Step<T> {
    /// The arena is shorter by one slot, or holds less memory. There may be more to do.
    More(Option<Garbage<T>>),
    /// The last value has to stay where it is.
    Blocked,
    /// There are no holes.
    Done,
}

/// Memory that an arena needs no longer. Freeing a large piece takes long: not while the lock is held.
#[derive(Debug)]
pub(super) struct Garbage<T>(#[allow(dead_code, reason = "it is only dropped")] Vec<Slot<T>>);

/// Values in a chunk. The more there are, the fewer chunks, so that a cache knows where they all are; the
/// fewer there are, the less is copied while the first chunk grows.
const CHUNK: usize = 512;

/// A vector of so few is not shrunk.
const FEW: usize = 4;

impl<T> Arena<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            hole: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Greater than every index in use, and no greater than the number of values there have been at once.
    pub(super) fn end(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1);
        full * CHUNK + self.chunks.last().map_or(0, Vec::len)
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        steps::count(1);
        match self.chunks.get(index / CHUNK)?.get(index % CHUNK)? {
            Slot::Value(value) => Some(value),
            Slot::Hole(_) => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        steps::count(1);
        match self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)? {
            Slot::Value(value) => Some(value),
            Slot::Hole(_) => None,
        }
    }

    /// Fills a hole, if there is one. Returns the index.
    pub(super) fn insert(&mut self, value: T) -> usize {
        self.len += 1;
        let Some(hole) = self.hole else {
            self.push(Slot::Value(value));
            return self.end() - 1;
        };
        self.fill(hole, value);
        hole.index()
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        self.get(index)?;
        let next = self.hole;
        let hole = Slot::Hole(Neighbours { before: None, next });
        let Slot::Value(value) = std::mem::replace(self.slot(index), hole) else {
            unreachable!("it was looked at")
        };
        let id = SlotId::new(index);
        if let Some(next) = next {
            self.hole_mut(next).before = Some(id);
        }
        self.hole = Some(id);
        self.len -= 1;
        Some(value)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let slots = self.chunks.iter().flatten().enumerate();
        slots.filter_map(|(index, slot)| {
            steps::count(1);
            match slot {
                Slot::Value(value) => Some((index, value)),
                Slot::Hole(_) => None,
            }
        })
    }

    /// Takes one slot from the end: a hole, or the last value, which moves into some hole in front of it. Where
    /// that has ended, the first chunk may become smaller.
    ///
    /// `moves` is asked before a value moves, with its index and the new one; if it says no, nothing
    /// changes. As many calls as there are slots end it.
    pub(super) fn compact_step(&mut self, moves: impl FnOnce(&T, usize, usize) -> bool) -> Step<T> {
        let Some(last) = self.end().checked_sub(1) else {
            return Step::Done;
        };
        let hole = self.hole;
        match (self.slot(last), hole) {
            (Slot::Hole(_), _) => self.unlink(SlotId::new(last)),
            (Slot::Value(_), None) => {
                let smaller = self.shrink_first();
                return smaller.map_or(Step::Done, |garbage| Step::More(Some(garbage)));
            }
            (Slot::Value(value), Some(hole)) => {
                if !moves(value, last, hole.index()) {
                    let smaller = self.shrink_first();
                    return smaller.map_or(Step::Blocked, |garbage| Step::More(Some(garbage)));
                }
                let (slot, garbage) = self.pop();
                let Slot::Value(value) = slot else {
                    unreachable!("it was looked at")
                };
                self.fill(hole, value);
                return Step::More(garbage);
            }
        }
        Step::More(self.pop().1)
    }

    /// Moves the slots of the only chunk to a smaller one, if half of it is unused.
    fn shrink_first(&mut self) -> Option<Garbage<T>> {
        let [first] = &mut self.chunks[..] else {
            return None;
        };
        // A power of two, so that it grows to a whole chunk again by doubling.
        let capacity = first.len().next_power_of_two().max(FEW);
        if first.capacity() <= capacity {
            return None;
        }
        steps::count(first.len());
        let mut smaller = Vec::with_capacity(capacity);
        smaller.append(first);
        Some(Garbage(std::mem::replace(first, smaller)))
    }

    /// The first hole of the list becomes a value.
    #[inline]
    fn fill(&mut self, hole: SlotId, value: T) {
        let slot = self.slot(hole.index());
        let Slot::Hole(Neighbours { next, .. }) = *slot else {
            unreachable!("the list of holes is one of holes")
        };
        *slot = Slot::Value(value);
        self.hole = next;
    }

    /// Takes a hole out of the list.
    fn unlink(&mut self, id: SlotId) {
        let Neighbours { before, next } = *self.hole_mut(id);
        if self.hole == Some(id) {
            self.hole = next;
            return;
        }
        let before = before.expect("a hole that is not the first has one before it");
        self.hole_mut(before).next = next;
        if let Some(next) = next {
            self.hole_mut(next).before = Some(before);
        }
    }

    fn hole_mut(&mut self, id: SlotId) -> &mut Neighbours {
        match self.slot(id.index()) {
            Slot::Hole(neighbours) => neighbours,
            Slot::Value(_) => unreachable!("the list of holes is one of holes"),
        }
    }

    #[inline]
    fn slot(&mut self, index: usize) -> &mut Slot<T> {
        steps::count(1);
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }

    fn push(&mut self, slot: Slot<T>) {
        steps::count(1);
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => {
                // Only the first chunk is ever smaller than a whole one.
                if last.len() == last.capacity() {
                    steps::count(last.len());
                }
                last.push(slot);
            }
            // The first grows as it is filled, since most engines never fill it.
            None => self.chunks.push(vec![slot]),
            Some(_) => {
                if self.chunks.len() == self.chunks.capacity() {
                    steps::count(self.chunks.len());
                }
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.chunks.push(chunk);
            }
        }
    }

    /// The last slot, of which there has to be one, and its chunk if it was the only one in it.
    fn pop(&mut self) -> (Slot<T>, Option<Garbage<T>>) {
        let last = self.chunks.last_mut().expect("there are slots");
        let slot = last.pop().expect("no chunk is empty");
        if !last.is_empty() {
            return (slot, None);
        }
        let garbage = self.chunks.pop().map(Garbage);
        if self.chunks.capacity() > FEW && self.chunks.len() * 4 <= self.chunks.capacity() {
            steps::count(self.chunks.len());
            self.chunks.shrink_to((self.chunks.len() * 2).max(FEW));
        }
        (slot, garbage)
    }
}

impl<T> Index<usize> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        self.get(index).expect("there is a value")
    }
}

impl<T> IndexMut<usize> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.get_mut(index).expect("there is a value")
    }
}

impl<T> FromIterator<T> for Arena<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut arena = Self::new();
        for value in values {
            arena.insert(value);
        }
        arena
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_removed_leaves_room_for_what_comes_next() {
        let mut arena: Arena<_> = ["a", "b", "c"].into_iter().collect();
        assert_eq!(arena.remove(1), Some("b"));
        assert_eq!(arena.remove(1), None);
        assert_eq!(arena.get(1), None);
        assert_eq!(arena.insert("d"), 1);
        assert_eq!(arena.insert("e"), 3);
        assert_eq!((arena.len(), arena.end()), (4, 4));
        let values: Vec<_> = arena.iter().collect();
        assert_eq!(values, [(0, &"a"), (1, &"d"), (2, &"c"), (3, &"e")]);
    }

    /// Compacts until it ends or is blocked, and returns whether it has ended.
    fn compact<T>(arena: &mut Arena<T>, mut moves: impl FnMut(&T, usize, usize) -> bool) -> bool {
        loop {
            match arena.compact_step(&mut moves) {
                Step::More(_) => {}
                Step::Blocked => return false,
                Step::Done => return true,
            }
        }
    }

    #[test]
    fn compacting_is_blocked_by_a_value_that_must_stay() {
        let mut arena: Arena<_> = (0..6).collect();
        for index in [5, 2, 1, 0] {
            arena.remove(index);
        }
        assert!(!compact(&mut arena, |&value, _, _| value != 3));
        let values: Vec<_> = arena.iter().collect();
        assert_eq!(values, [(0, &4), (3, &3)]);
        assert_eq!((arena.insert(7), arena.insert(8)), (1, 2));
        assert_eq!(arena.insert(9), 4);
    }

    #[test]
    fn a_chunk_is_given_out_when_its_last_slot_has_gone() {
        let mut arena: Arena<_> = (0..=CHUNK).collect();
        arena.remove(7);
        let step = arena.compact_step(|_, from, to| (from, to) == (CHUNK, 7));
        let Step::More(Some(Garbage(chunk))) = step else {
            panic!("{step:?}")
        };
        assert_eq!((chunk.len(), chunk.capacity()), (0, CHUNK));
        assert!(matches!(arena.compact_step(|_, _, _| true), Step::Done));
        assert_eq!((arena.len(), arena[7]), (CHUNK, CHUNK));
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_slot_is_no_larger_than_its_node() {
        use crate::admission::core::node::Node;
        assert_eq!(size_of::<Slot<Node>>(), size_of::<Node>());
    }

    #[test]
    fn values_stay_where_they_are_in_memory_once_their_chunk_is_full() {
        let mut arena: Arena<_> = (0..CHUNK).collect();
        let (first, last): (*const _, *const _) =
            (&raw const arena[0], &raw const arena[CHUNK - 1]);
        for value in CHUNK..5 * CHUNK {
            arena.insert(value);
        }
        assert!(std::ptr::eq(first, &raw const arena[0]));
        assert!(std::ptr::eq(last, &raw const arena[CHUNK - 1]));
        assert_eq!(arena[5 * CHUNK - 1], 5 * CHUNK - 1);
    }

    #[test]
    fn a_table_of_which_little_is_left_gives_its_chunks_back() {
        let mut arena: Arena<_> = (0..10 * CHUNK).collect();
        for index in 0..10 * CHUNK - 3 {
            arena.remove(index);
        }
        assert!(compact(&mut arena, |_, _, _| true));
        assert_eq!((arena.len(), arena.end()), (3, 3));
        assert_eq!(arena.chunks.len(), 1);
        assert_eq!(arena.chunks[0].capacity(), FEW);
        assert!(arena.chunks.capacity() < 10);
        for index in 0..3 {
            arena.remove(index);
        }
        assert!(compact(&mut arena, |_, _, _| true));
        assert!(arena.chunks.is_empty());
    }

    /// Most steps of one operation: the first chunk grows from 256 values to 512. The list of chunks grows
    /// by as many entries up to 256 000 values.
    const MOST_STEPS: usize = CHUNK / 2 + 1;

    /// Most steps of a removal or of a step of compacting, unless the first chunk is made smaller.
    const MOST_STEPS_OF_REMOVAL: usize = 6;

    #[test]
    fn no_operation_takes_more_steps_among_many_than_among_few() {
        const VALUES: usize = 200_000;
        let mut arena = Arena::new();
        let mut most = [0; 3];
        for value in 0..VALUES {
            most[0] = most[0].max(steps::of(|| arena.insert(value)).1);
        }
        // Out of order, so that holes at the end stand anywhere in the list.
        for n in 0..VALUES - 100 {
            let index = n * 77_773 % VALUES;
            let (removed, steps) = steps::of(|| arena.remove(index));
            assert_eq!(removed, Some(index));
            most[1] = most[1].max(steps);
        }
        loop {
            let (step, steps) = steps::of(|| arena.compact_step(|_, _, _| true));
            match step {
                Step::More(Some(_)) => most[0] = most[0].max(steps),
                Step::More(None) => most[2] = most[2].max(steps),
                Step::Blocked => unreachable!("all may move"),
                Step::Done => break,
            }
        }
        assert_eq!((arena.len(), arena.end()), (100, 100));
        assert!(most[0] <= MOST_STEPS, "{most:?}");
        assert!(most[1] <= MOST_STEPS_OF_REMOVAL, "{most:?}");
        assert!(most[2] <= MOST_STEPS_OF_REMOVAL, "{most:?}");
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            ops in prop::collection::vec((0..10_u8, any::<prop::sample::Index>()), 0..400),
        ) {
            let mut arena = Arena::new();
            let mut map = BTreeMap::new();
            let mut most = 0;
            for (serial, (op, at)) in ops.into_iter().enumerate() {
                match op {
                    0..6 => {
                        let index = arena.insert(serial);
                        prop_assert!(map.insert(index, serial).is_none());
                    }
                    6..9 if most > 0 => {
                        let index = at.index(most);
                        prop_assert_eq!(arena.remove(index), map.remove(&index));
                    }
                    _ => {
                        // One in seven has to stay. Now and then, compacting stops half-way.
                        let steps = if serial % 2 == 0 { 3 } else { usize::MAX };
                        for _ in 0..steps {
                            let step = arena.compact_step(|&value, from, to| {
                                let moves = value % 7 != 0;
                                if moves {
                                    assert_eq!(map.remove(&from), Some(value));
                                    assert!(map.insert(to, value).is_none() && to < from);
                                }
                                moves
                            });
                            match step {
                                Step::More(_) => {}
                                Step::Blocked => break,
                                Step::Done => {
                                    prop_assert_eq!(arena.end(), arena.len());
                                    break;
                                }
                            }
                        }
                    }
                }
                most = most.max(arena.end());
                prop_assert_eq!(arena.len(), map.len());
                prop_assert!(arena.iter().eq(map.iter().map(|(&index, value)| (index, value))));
                prop_assert!(map.keys().all(|&index| index < arena.end()));
            }
        }
    }
}

use std::ops::{Index, IndexMut};

/// Values at indices that stay as they are, in chunks of memory that stay where they are.
///
/// A vector that doubles would copy all of its values when it is full, while the engine's lock is held.
/// This never copies more than half a chunk. And a value needs no allocation of its own, which would be one
/// more place in memory to look at.
#[derive(Debug)]
pub(super) struct Arena<T> {
    /// All of them are full, of values or of holes, but the last one.
    chunks: Vec<Vec<Slot<T>>>,
    /// How many values there are.
    len: usize,
    /// The first of the list of holes.
    hole: Option<usize>,
}

#[derive(Debug)]
enum Slot<T> {
    Value(T),
    Hole { next: Option<usize> },
}

/// Values in a chunk. The more there are, the fewer chunks, so that a cache knows where they all are.
const CHUNK: usize = 4096;

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
        match self.chunks.get(index / CHUNK)?.get(index % CHUNK)? {
            Slot::Value(value) => Some(value),
            Slot::Hole { .. } => None,
        }
    }

    #[inline]
    fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)? {
            Slot::Value(value) => Some(value),
            Slot::Hole { .. } => None,
        }
    }

    /// Fills a hole, if there is one. Returns the index.
    pub(super) fn insert(&mut self, value: T) -> usize {
        self.len += 1;
        let Some(index) = self.hole else {
            self.push(Slot::Value(value));
            return self.end() - 1;
        };
        let slot = self.slot(index);
        let Slot::Hole { next } = *slot else {
            unreachable!("the list of holes is one of holes")
        };
        *slot = Slot::Value(value);
        self.hole = next;
        index
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        self.get(index)?;
        let hole = Slot::Hole { next: self.hole };
        let Slot::Value(value) = std::mem::replace(self.slot(index), hole) else {
            unreachable!("it was looked at")
        };
        self.hole = Some(index);
        self.len -= 1;
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let slots = self.chunks.iter().flatten().enumerate();
        slots.filter_map(|(index, slot)| match slot {
            Slot::Value(value) => Some((index, value)),
            Slot::Hole { .. } => None,
        })
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let slots = self.chunks.iter_mut().flatten();
        slots.filter_map(|slot| match slot {
            Slot::Value(value) => Some(value),
            Slot::Hole { .. } => None,
        })
    }

    /// Moves the last values into the first holes, and gives the memory back that is no longer needed.
    ///
    /// `moves` is asked for each of them, with its index and the new one; it ends with the first that must
    /// stay where it is.
    pub(super) fn compact(&mut self, mut moves: impl FnMut(&T, usize, usize) -> bool) {
        // Should `moves` panic, there are holes that nobody finds, and nothing worse.
        self.hole = None;
        let mut to = 0;
        while self.end() > self.len {
            let slot = self.pop();
            let Slot::Value(value) = &slot else {
                continue;
            };
            let from = self.end();
            while self.get(to).is_some() {
                to += 1;
            }
            if moves(value, from, to) {
                *self.slot(to) = slot;
            } else {
                self.push(slot);
                break;
            }
        }
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
        self.chunks.shrink_to_fit();
        self.find_holes();
    }

    /// The first ones are filled first.
    fn find_holes(&mut self) {
        for index in (0..self.end()).rev() {
            let first = self.hole;
            if let Slot::Hole { next } = self.slot(index) {
                *next = first;
                self.hole = Some(index);
            }
        }
    }

    fn slot(&mut self, index: usize) -> &mut Slot<T> {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }

    fn push(&mut self, slot: Slot<T>) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(slot),
            // The first grows as it is filled, since most engines never fill it.
            None => self.chunks.push(vec![slot]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.chunks.push(chunk);
            }
        }
    }

    /// The last slot; there has to be one.
    fn pop(&mut self) -> Slot<T> {
        let last = self.chunks.last_mut().expect("there are slots");
        let slot = last.pop().expect("no chunk is empty");
        if last.is_empty() {
            self.chunks.pop();
        }
        slot
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

    #[test]
    fn compacting_ends_with_the_first_that_must_stay() {
        let mut arena: Arena<_> = (0..6).collect();
        for index in [0, 1, 2, 5] {
            arena.remove(index);
        }
        arena.compact(|&value, _, _| value != 3);
        let values: Vec<_> = arena.iter().collect();
        assert_eq!(values, [(0, &4), (3, &3)]);
        assert_eq!((arena.insert(7), arena.insert(8)), (1, 2));
        assert_eq!(arena.insert(9), 4);
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
        arena.compact(|_, _, _| true);
        assert_eq!((arena.len(), arena.end()), (3, 3));
        assert_eq!(arena.chunks.len(), 1);
        assert!(arena.chunks[0].capacity() < 10);
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
                        // One in seven has to stay.
                        arena.compact(|&value, from, to| {
                            let moves = value % 7 != 0;
                            if moves {
                                assert_eq!(map.remove(&from), Some(value));
                                assert!(map.insert(to, value).is_none() && to < from);
                            }
                            moves
                        });
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

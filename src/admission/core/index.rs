use super::ids::NodeId;
use crate::steps;

/// Finds nodes by the hashes of their keys.
///
/// Open addressing with linear probing: an entry stands where its hash says, or behind others that do not
/// leave it room. So a look-up among many is one place in memory that no cache knows, where a table with
/// its tags apart has two. Places are in the order of the hashes, so that growing reads the old ones and
/// writes the new ones from one end to the other.
///
/// It grows and shrinks in steps, since the engine's lock is held meanwhile: the old table stays beside the
/// new one until all entries have moved, a few with each insertion and removal.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Slots,
    /// What `slots` replaces, while entries are left in it. Nothing is added here.
    old: Slots,
    /// The entries of `old` in front of this slot have moved.
    moved: usize,
    /// How many entries there are in both tables.
    len: usize,
    /// A table that is no longer needed and is too large to be freed while the lock is held.
    garbage: Option<Box<[u64]>>,
}

const FEWEST_SLOTS: usize = 8;

/// How many slots of the old table are visited by an insertion, a removal or a step.
///
/// A table grows when three in four of its slots are full, and the next one has room for as many more
/// entries again, so that even one slot for each would be enough. With 16 the time in which look-ups have
/// to probe twice is short.
const MOVED_AT_ONCE: usize = 16;

/// Freeing a table of at most so many slots takes no longer than using it.
const SMALL: usize = 512;

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The node with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        match self.slots.find(hash, &is_it) {
            Some((_, node)) => Some(node),
            None if self.old.is_empty() => None,
            None => self.find_old(hash, is_it),
        }
    }

    /// Apart from [`find`](Self::find), which is short without it.
    #[cold]
    fn find_old(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        self.old.find(hash, is_it).map(|(_, node)| node)
    }

    /// Adds a node that is not there.
    pub(super) fn insert(&mut self, hash: u32, node: NodeId) {
        self.step();
        // At most three in four: runs of neighbours stay short.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(FEWEST_SLOTS));
        }
        self.len += 1;
        self.slots.add(entry(hash, node));
    }

    /// Returns whether it was there.
    pub(super) fn remove(&mut self, hash: u32, node: NodeId) -> bool {
        let is_it = |id| id == node;
        let found = if let Some((slot, _)) = self.slots.find(hash, is_it) {
            self.slots.close(slot);
            true
        } else if let Some((slot, _)) = self.old.find(hash, is_it) {
            self.old.0[slot] = TOMBSTONE;
            true
        } else {
            false
        };
        self.len -= usize::from(found);
        self.step();
        found
    }

    /// Replaces a node's index in its entry. Returns whether the entry was there.
    pub(super) fn replace(&mut self, hash: u32, node: NodeId, by: NodeId) -> bool {
        let is_it = |id| id == node;
        for table in [&mut self.slots, &mut self.old] {
            if let Some((slot, _)) = table.find(hash, is_it) {
                table.0[slot] = entry(hash, by);
                return true;
            }
        }
        false
    }

    /// Moves a few entries, if the table is being replaced. Returns whether there are more to move.
    #[inline]
    pub(super) fn step(&mut self) -> bool {
        !self.old.is_empty() && self.move_some()
    }

    /// Takes one step towards the smallest table for what there is. Returns whether there are more to take.
    pub(super) fn shrink(&mut self) -> bool {
        if self.step() {
            return true;
        }
        let slots = self.fewest_slots();
        if slots >= self.slots.len() {
            return false;
        }
        if slots == 0 {
            let slots = std::mem::take(&mut self.slots);
            self.discard(slots);
            return false;
        }
        self.resize(slots);
        true
    }

    /// A table that is no longer needed, to be dropped after the lock is released: freeing it takes long.
    ///
    /// A table that is not taken is freed when the next one comes.
    pub(super) fn take_garbage(&mut self) -> Option<Box<[u64]>> {
        self.garbage.take()
    }

    /// The smallest table that is not full before all entries have moved there, whatever is added meanwhile.
    fn fewest_slots(&self) -> usize {
        if self.len == 0 {
            return 0;
        }
        // The first step is taken at once.
        let meanwhile = self.slots.len().div_ceil(MOVED_AT_ONCE).saturating_sub(1);
        ((self.len + meanwhile) * 4)
            .div_ceil(3)
            .next_power_of_two()
            .max(FEWEST_SLOTS)
    }

    #[cold]
    fn resize(&mut self, slots: usize) {
        assert!(
            self.old.is_empty(),
            "all entries have moved before a table is full"
        );
        self.old = std::mem::replace(&mut self.slots, Slots::new(slots));
        self.moved = 0;
        self.step();
    }

    #[cold]
    fn move_some(&mut self) -> bool {
        let end = (self.moved + MOVED_AT_ONCE).min(self.old.len());
        for slot in &mut self.old.0[self.moved..end] {
            steps::count(1);
            if node_of(*slot).is_some() {
                // Those behind it are found past the tombstone.
                self.slots.add(std::mem::replace(slot, TOMBSTONE));
            }
        }
        self.moved = end;
        if end < self.old.len() {
            return true;
        }
        let old = std::mem::take(&mut self.old);
        self.discard(old);
        false
    }

    fn discard(&mut self, slots: Slots) {
        if slots.len() > SMALL {
            self.garbage = Some(slots.0);
        }
    }
}

/// None, or a power of two. A slot is [`EMPTY`], a [`TOMBSTONE`], or an entry.
///
/// An entry is half of the hash beside the node: most that are not the one looked for are told apart
/// without a look at the node, and the table can grow without hashing a key again. It is one number, so
/// that a new table is memory which the allocator hands out as zeros and no code has to fill.
#[derive(Debug, Default)]
struct Slots(Box<[u64]>);

const EMPTY: u64 = 0;

/// An entry of no node: it was removed, or has moved to the new table. Only an old table has them.
const TOMBSTONE: u64 = 1;

fn entry(hash: u32, node: NodeId) -> u64 {
    (u64::from(node.to_bits()) << 32) | u64::from(hash)
}

fn hash_of(slot: u64) -> u32 {
    (slot & 0xffff_ffff) as u32
}

fn node_of(slot: u64) -> Option<NodeId> {
    NodeId::from_bits((slot >> 32) as u32)
}

impl Slots {
    fn new(slots: usize) -> Self {
        Self(vec![EMPTY; slots].into_boxed_slice())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The node with this hash for which `is_it` holds, and its slot.
    #[inline]
    fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<(usize, NodeId)> {
        if self.is_empty() {
            return None;
        }
        let mut slot = self.home(hash);
        loop {
            steps::count(1);
            let found = self.0[slot];
            if found == EMPTY {
                return None;
            }
            if hash_of(found) == hash {
                if let Some(node) = node_of(found).filter(|&node| is_it(node)) {
                    return Some((slot, node));
                }
            }
            slot = self.next(slot);
        }
    }

    fn add(&mut self, entry: u64) {
        let mut slot = self.home(hash_of(entry));
        steps::count(1);
        while self.0[slot] != EMPTY {
            steps::count(1);
            slot = self.next(slot);
        }
        self.0[slot] = entry;
    }

    /// Empties a slot. The entries behind it move up, unless that would take them in front of where they
    /// belong.
    fn close(&mut self, mut hole: usize) {
        let mut slot = hole;
        loop {
            steps::count(1);
            slot = self.next(slot);
            let entry = self.0[slot];
            if entry == EMPTY {
                break;
            }
            let from_home = self.distance(self.home(hash_of(entry)), slot);
            if from_home >= self.distance(hole, slot) {
                self.0[hole] = entry;
                hole = slot;
            }
        }
        self.0[hole] = EMPTY;
    }

    /// Where an entry belongs: the highest bits of its hash.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.0.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, slot: usize) -> usize {
        (slot + 1) & (self.0.len() - 1)
    }

    /// How far it is from one slot to another, going up.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn node(index: usize) -> NodeId {
        NodeId::new(index)
    }

    #[test]
    fn nodes_of_one_hash_are_told_apart_by_the_question() {
        let mut index = Index::default();
        index.insert(u32::MAX, node(1));
        index.insert(u32::MAX, node(2));
        assert_eq!(index.find(u32::MAX, |id| id == node(2)), Some(node(2)));
        assert_eq!(index.find(u32::MAX, |id| id == node(3)), None);
        assert_eq!(index.find(0, |_| true), None);
    }

    /// Spreads as a hasher does.
    fn hash(key: usize) -> u32 {
        let mixed = (key as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> 32) as u32
    }

    #[test]
    fn what_is_shrunk_takes_the_memory_of_what_is_left() {
        let mut index = Index::default();
        for n in 0..1000 {
            index.insert(hash(n), node(n));
        }
        assert_eq!(index.slots.len(), 2048);
        for n in 6..1000 {
            assert!(index.remove(hash(n), node(n)));
        }
        while index.shrink() {}
        assert_eq!((index.slots.len(), index.old.len()), (8, 0));
        for n in 0..6 {
            assert!(index.remove(hash(n), node(n)));
        }
        while index.shrink() {}
        assert_eq!((index.slots.len(), index.old.len()), (0, 0));
    }

    #[test]
    fn a_large_table_is_given_out_once_all_entries_have_moved() {
        let mut index = Index::default();
        for n in 0..=3 * SMALL / 2 {
            index.insert(hash(n), node(n));
        }
        assert_eq!((index.slots.len(), index.old.len()), (4 * SMALL, 2 * SMALL));
        assert_eq!(index.take_garbage(), None);
        while index.step() {
            assert_eq!(index.take_garbage(), None);
        }
        let old = index.take_garbage().unwrap();
        assert_eq!(old.len(), 2 * SMALL);
        assert!(old.iter().all(|&slot| node_of(slot).is_none()));
        assert_eq!(index.take_garbage(), None);
    }

    #[test]
    fn a_table_that_shrinks_takes_newcomers_all_the_while() {
        let mut index = Index::default();
        for n in 0..100_000 {
            index.insert(hash(n), node(n));
        }
        for n in 1..100_000 {
            index.remove(hash(n), node(n));
        }
        // It would panic if the new table were full too early.
        for n in 1..100_000 {
            index.shrink();
            index.insert(hash(n), node(n));
        }
        for n in 0..100_000 {
            assert_eq!(index.find(hash(n), |id| id == node(n)), Some(node(n)));
        }
    }

    /// Linear probing in a table of which three in four slots are full looks at runs whose longest is
    /// about `18 * log2(n)`, and hardly ever at one of a half of that. What moves at once is a few such
    /// looks more, at first in a table that is half as full.
    const MOST_STEPS: usize = 4 * MOVED_AT_ONCE;
    const MOST_STEPS_PER_DOUBLING: usize = 20;

    #[test]
    fn no_operation_takes_more_steps_than_a_few_runs() {
        const KEYS: usize = 400_000;
        fn check(index: &Index, steps: usize, most: &mut usize) {
            let doublings = index.slots.len().max(1).ilog2() as usize;
            assert!(
                steps <= MOST_STEPS + MOST_STEPS_PER_DOUBLING * doublings,
                "{steps} steps at {} of {} slots, {} of {} moved",
                index.len,
                index.slots.len(),
                index.moved,
                index.old.len(),
            );
            *most = steps.max(*most);
        }
        let mut index = Index::default();
        let mut most = [0; 4];
        for n in 0..KEYS {
            let ((), steps) = steps::of(|| index.insert(hash(n), node(n)));
            check(&index, steps, &mut most[0]);
            // One that is there, and one that is not.
            for key in [n / 2, KEYS + n] {
                let (_, steps) = steps::of(|| index.find(hash(key), |id| id == node(key)));
                check(&index, steps, &mut most[1]);
            }
        }
        for n in 0..KEYS - 1000 {
            let (_, steps) = steps::of(|| index.remove(hash(n), node(n)));
            check(&index, steps, &mut most[2]);
            if n % (KEYS / 4) == 0 {
                loop {
                    let (more, steps) = steps::of(|| index.shrink());
                    check(&index, steps, &mut most[3]);
                    if !more {
                        break;
                    }
                }
            }
        }
        loop {
            let (more, steps) = steps::of(|| index.shrink());
            check(&index, steps, &mut most[3]);
            if !more {
                break;
            }
        }
        println!("most steps: {most:?}");
        assert_eq!((index.len(), index.slots.len()), (1000, 2048));
    }

    proptest! {
        /// Few hashes, some of them at the end of the table: entries push each other around.
        #[test]
        fn it_finds_what_a_map_finds(
            ops in prop::collection::vec((0..8_u8, 0..40_usize), 0..400),
        ) {
            let mut index = Index::default();
            let mut map = BTreeMap::new();
            let hash = |key: usize| [0_u32, 1 << 28, 5 << 28, u32::MAX - 1, u32::MAX][key % 5];
            for (serial, (op, key)) in ops.into_iter().enumerate() {
                let known = map.get(&key).copied();
                match (op, known) {
                    (0..4, None) => {
                        index.insert(hash(key), node(serial));
                        map.insert(key, node(serial));
                    }
                    (0..4, Some(known)) => {
                        prop_assert!(index.replace(hash(key), known, node(serial)));
                        map.insert(key, node(serial));
                    }
                    (4..7, known) => {
                        let removed = index.remove(hash(key), known.unwrap_or(node(1_000_000)));
                        prop_assert_eq!(removed, known.is_some());
                        map.remove(&key);
                    }
                    _ => {
                        index.shrink();
                    }
                }
                prop_assert_eq!(index.len(), map.len());
                for key in 0..40 {
                    let known = map.get(&key).copied();
                    let found = index.find(hash(key), |id| Some(id) == known);
                    prop_assert_eq!(found, known);
                }
            }
        }

        /// So many keys that moving them takes many steps, which others come between.
        #[test]
        fn it_finds_what_a_map_finds_while_it_grows_and_shrinks(
            phases in prop::collection::vec((0..4_u8, 0..600_usize), 0..12),
        ) {
            let mut index = Index::default();
            let mut map = BTreeMap::new();
            let mut serial = 0;
            for (op, times) in phases {
                for n in 0..times {
                    serial += 1;
                    let first = map.first_key_value().map(|(&key, &node)| (key, node));
                    match (op, first) {
                        (0 | 1, _) => {
                            index.insert(hash(serial), node(serial));
                            map.insert(serial, node(serial));
                        }
                        (2, Some((key, known))) => {
                            prop_assert!(index.remove(hash(key), known));
                            prop_assert!(!index.remove(hash(key), known));
                            map.remove(&key);
                        }
                        (3, Some((key, known))) if n % 3 == 0 => {
                            prop_assert!(index.replace(hash(key), known, node(serial)));
                            map.insert(key, node(serial));
                        }
                        _ => {
                            index.shrink();
                        }
                    }
                    prop_assert_eq!(index.len(), map.len());
                    if n % 64 == 0 {
                        for (&key, &known) in &map {
                            let found = index.find(hash(key), |id| id == known);
                            prop_assert_eq!(found, Some(known));
                        }
                    }
                }
            }
            while index.shrink() {}
            prop_assert!(index.old.is_empty() && index.slots.len() <= index.fewest_slots());
            for key in 0..=serial {
                let known = map.get(&key).copied();
                prop_assert_eq!(index.find(hash(key), |id| Some(id) == known), known);
            }
        }
    }
}

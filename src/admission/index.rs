use super::ids::NodeId;

/// Finds nodes by the hashes of their keys.
///
/// Open addressing with linear probing: an entry stands where its hash says, or behind others that do not
/// leave it room. So a look-up among many is one place in memory that no cache knows, where a table with
/// its tags apart has two. Places are in the order of the hashes, so that growing reads the old ones and
/// writes the new ones from one end to the other.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// None, or a power of two.
    slots: Box<[Option<Entry>]>,
    len: usize,
}

/// Half of the hash beside the node: most that are not the one looked for are told apart without a look at
/// the node, and the table can grow without hashing a key again.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    node: NodeId,
}

const FEWEST_SLOTS: usize = 8;

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
        let slot = self.position(hash, is_it)?;
        self.slots[slot].map(|entry| entry.node)
    }

    /// Adds a node that is not there.
    pub(super) fn insert(&mut self, hash: u32, node: NodeId) {
        // At most three in four: runs of neighbours stay short.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(FEWEST_SLOTS));
        }
        self.len += 1;
        self.put(Entry { hash, node });
    }

    /// Returns whether it was there.
    pub(super) fn remove(&mut self, hash: u32, node: NodeId) -> bool {
        let Some(mut hole) = self.position(hash, |id| id == node) else {
            return false;
        };
        // Those behind it move up, unless that would take them in front of where they belong.
        let mut slot = hole;
        loop {
            slot = self.next(slot);
            let Some(entry) = self.slots[slot] else {
                break;
            };
            let from_home = self.distance(self.home(entry.hash), slot);
            if from_home >= self.distance(hole, slot) {
                self.slots[hole] = Some(entry);
                hole = slot;
            }
        }
        self.slots[hole] = None;
        self.len -= 1;
        true
    }

    /// The node is now another one. Returns whether it was there.
    pub(super) fn replace(&mut self, hash: u32, node: NodeId, by: NodeId) -> bool {
        let found = self.position(hash, |id| id == node);
        if let Some(slot) = found {
            self.slots[slot] = Some(Entry { hash, node: by });
        }
        found.is_some()
    }

    /// Gives back the memory that is not needed for what there is.
    pub(super) fn shrink(&mut self) {
        let mut slots = FEWEST_SLOTS;
        while self.len * 4 > slots * 3 {
            slots *= 2;
        }
        if self.len == 0 {
            *self = Self::default();
        } else if slots < self.slots.len() {
            self.resize(slots);
        }
    }

    #[inline]
    fn position(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.home(hash);
        loop {
            let entry = self.slots[slot]?;
            if entry.hash == hash && is_it(entry.node) {
                return Some(slot);
            }
            slot = self.next(slot);
        }
    }

    fn put(&mut self, entry: Entry) {
        let mut slot = self.home(entry.hash);
        while self.slots[slot].is_some() {
            slot = self.next(slot);
        }
        self.slots[slot] = Some(entry);
    }

    #[cold]
    fn resize(&mut self, slots: usize) {
        let new = vec![None; slots].into_boxed_slice();
        for entry in std::mem::replace(&mut self.slots, new)
            .into_iter()
            .flatten()
        {
            self.put(entry);
        }
    }

    /// Where an entry belongs: the highest bits of its hash.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    /// How far it is from one slot to another, going up.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
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

    #[test]
    fn what_is_shrunk_takes_the_memory_of_what_is_left() {
        let mut index = Index::default();
        let hash = |n: u32| n.wrapping_mul(0x9e37_79b9);
        for n in 0..1000 {
            index.insert(hash(n), node(n as usize));
        }
        assert_eq!(index.slots.len(), 2048);
        for n in 6..1000 {
            assert!(index.remove(hash(n), node(n as usize)));
        }
        index.shrink();
        assert_eq!(index.slots.len(), 8);
        for n in 0..6 {
            assert!(index.remove(hash(n), node(n as usize)));
        }
        index.shrink();
        assert_eq!(index.slots.len(), 0);
    }

    proptest! {
        /// Few hashes, some of them at the end of the table: entries push each other around.
        #[test]
        fn it_finds_what_a_map_finds(
            ops in prop::collection::vec((0..8_u8, 0..40_usize), 0..400),
        ) {
            let mut index = Index::default();
            let mut map = BTreeMap::new();
            let hash = |key: usize| [0, 1 << 28, 5 << 28, u32::MAX - 1, u32::MAX][key % 5];
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
                    _ => index.shrink(),
                }
                prop_assert_eq!(index.len(), map.len());
                for key in 0..40 {
                    let known = map.get(&key).copied();
                    let found = index.find(hash(key), |id| Some(id) == known);
                    prop_assert_eq!(found, known);
                }
            }
        }
    }
}

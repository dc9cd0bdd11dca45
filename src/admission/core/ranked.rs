use std::{cmp::Ordering, fmt::Debug, marker::PhantomData};

use super::arena::{Arena, SlotId, Step};

/// A sorted set that tells how many of its keys are smaller than a given one.
///
/// A treap: a binary search tree whose links are, from each one downwards, in descending order of priority.
/// Priorities are as good as random, so the tree has the shape of one into which the keys came in random
/// order. With high probability no way down is longer than a few times log2(n), and so is no operation.
///
/// This is the root only. The links of many sets are in one [`Links`], which every operation is given; it
/// has to be the same one each time. A set that is dropped before it is empty leaves its links there.
#[derive(Debug)]
pub(super) struct Ranked<K> {
    root: Option<SlotId>,
    /// The link of the smallest key, which is looked up most.
    first: Option<SlotId>,
    keys: PhantomData<K>,
}

/// The links of any number of sets.
#[derive(Debug)]
pub(super) struct Links<K> {
    links: Arena<Link<K>>,
    /// How many priorities have been drawn.
    drawn: u64,
}

#[derive(Debug)]
pub(super) struct Link<K> {
    key: K,
    priority: u32,
    /// How many links there are on the left. With this and not the size of the whole subtree, a way down
    /// visits no link beside it.
    smaller: u32,
    left: Option<SlotId>,
    right: Option<SlotId>,
}

/// What points to a link.
#[derive(Clone, Copy, Debug)]
enum Pointer {
    Root,
    LeftOf(SlotId),
    RightOf(SlotId),
}

impl<K> Default for Ranked<K> {
    fn default() -> Self {
        Self {
            root: None,
            first: None,
            keys: PhantomData,
        }
    }
}

impl<K: Copy + Ord + Debug> Ranked<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    #[cfg(test)]
    pub(super) fn len(&self, links: &Links<K>) -> usize {
        links.len_from(self.root) as usize
    }

    /// The smallest key.
    pub(super) fn first(&self, links: &Links<K>) -> Option<K> {
        self.first.map(|first| links.get(first).key)
    }

    /// The greatest key.
    pub(super) fn last(&self, links: &Links<K>) -> Option<K> {
        let (mut last, mut at) = (None, self.root);
        while let Some(id) = at {
            let link = links.get(id);
            (last, at) = (Some(link.key), link.right);
        }
        last
    }

    /// How many keys are smaller than `key`, which need not be there itself.
    pub(super) fn rank(&self, links: &Links<K>, key: &K) -> usize {
        self.locate(links, key).0 as usize
    }

    /// The smallest of the keys that are greater than `key`, which need not be there itself.
    pub(super) fn after(&self, links: &Links<K>, key: &K) -> Option<K> {
        let (mut after, mut at) = (None, self.root);
        while let Some(id) = at {
            let link = links.get(id);
            if *key < link.key {
                (after, at) = (Some(link.key), link.left);
            } else {
                at = link.right;
            }
        }
        after
    }

    /// The key that `n` others precede.
    pub(super) fn nth(&self, links: &Links<K>, n: usize) -> Option<K> {
        let (mut n, mut at) = (u32::try_from(n).ok()?, self.root);
        while let Some(id) = at {
            let link = links.get(id);
            match n.cmp(&link.smaller) {
                Ordering::Less => at = link.left,
                Ordering::Equal => return Some(link.key),
                Ordering::Greater => {
                    n -= link.smaller + 1;
                    at = link.right;
                }
            }
        }
        None
    }

    /// Returns whether the key is new.
    pub(super) fn insert(&mut self, links: &mut Links<K>, key: K) -> bool {
        let (rank, found) = self.locate(links, &key);
        if found.is_some() {
            return false;
        }
        let new = links.add(key);
        if rank == 0 {
            self.first = Some(new);
        }
        // The way down, as far as priorities are higher. `smaller` is the rank in the subtree at `at`.
        let priority = links.get(new).priority;
        let (mut pointer, mut at, mut smaller) = (Pointer::Root, self.root, rank);
        while let Some(id) = at {
            let link = links.get_mut(id);
            if link.priority < priority {
                break;
            }
            if key < link.key {
                link.smaller += 1;
                (pointer, at) = (Pointer::LeftOf(id), link.left);
            } else {
                smaller -= link.smaller + 1;
                (pointer, at) = (Pointer::RightOf(id), link.right);
            }
        }
        self.set(links, pointer, Some(new));
        links.get_mut(new).smaller = smaller;
        // What was there goes below, the smaller keys on the left and the greater ones on the right.
        let (mut left, mut right) = (Pointer::LeftOf(new), Pointer::RightOf(new));
        while let Some(id) = at {
            let link = links.get_mut(id);
            if link.key < key {
                smaller -= link.smaller + 1;
                at = link.right;
                self.set(links, left, Some(id));
                left = Pointer::RightOf(id);
            } else {
                link.smaller -= smaller;
                at = link.left;
                self.set(links, right, Some(id));
                right = Pointer::LeftOf(id);
            }
        }
        self.set(links, left, None);
        self.set(links, right, None);
        true
    }

    /// Returns whether the key was there.
    pub(super) fn remove(&mut self, links: &mut Links<K>, key: &K) -> bool {
        let (rank, Some(found)) = self.locate(links, key) else {
            return false;
        };
        let (mut pointer, mut at) = (Pointer::Root, self.root);
        while let Some(id) = at.filter(|&id| id != found) {
            let link = links.get_mut(id);
            if *key < link.key {
                link.smaller -= 1;
                (pointer, at) = (Pointer::LeftOf(id), link.left);
            } else {
                (pointer, at) = (Pointer::RightOf(id), link.right);
            }
        }
        // Its two subtrees take its place. `smaller` is the size of the left one.
        let Link {
            mut smaller,
            mut left,
            mut right,
            ..
        } = links.take(found);
        loop {
            let (Some(left_id), Some(right_id)) = (left, right) else {
                self.set(links, pointer, left.or(right));
                break;
            };
            if links.get(left_id).priority >= links.get(right_id).priority {
                self.set(links, pointer, left);
                let link = links.get(left_id);
                smaller -= link.smaller + 1;
                (pointer, left) = (Pointer::RightOf(left_id), link.right);
            } else {
                self.set(links, pointer, right);
                let link = links.get_mut(right_id);
                link.smaller += smaller;
                (pointer, right) = (Pointer::LeftOf(right_id), link.left);
            }
        }
        if rank == 0 {
            self.first = links.leftmost(self.root);
        }
        true
    }

    /// How many keys are smaller, and the link of the key itself if it is there.
    fn locate(&self, links: &Links<K>, key: &K) -> (u32, Option<SlotId>) {
        let (mut rank, mut at) = (0, self.root);
        while let Some(id) = at {
            let link = links.get(id);
            match key.cmp(&link.key) {
                Ordering::Less => at = link.left,
                Ordering::Equal => return (rank + link.smaller, Some(id)),
                Ordering::Greater => {
                    rank += link.smaller + 1;
                    at = link.right;
                }
            }
        }
        (rank, None)
    }

    fn set(&mut self, links: &mut Links<K>, pointer: Pointer, to: Option<SlotId>) {
        match pointer {
            Pointer::Root => self.root = to,
            Pointer::LeftOf(id) => links.get_mut(id).left = to,
            Pointer::RightOf(id) => links.get_mut(id).right = to,
        }
    }
}

impl<K: Copy + Ord + Debug> Links<K> {
    pub(super) fn new() -> Self {
        Self {
            links: Arena::new(),
            drawn: 0,
        }
    }

    /// How many keys there are in all sets.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Hands out all memory, if no set has a key.
    pub(super) fn take_all(&mut self) -> Option<Self> {
        let links =
            (self.links.len() == 0).then(|| std::mem::replace(&mut self.links, Arena::new()))?;
        let drawn = self.drawn;
        Some(Self { links, drawn })
    }

    /// Takes a free link from the end of the memory, if there is one. A link in use stays where it is.
    pub(super) fn compact_step(&mut self) -> Step<Link<K>> {
        self.links.compact_step(|_, _, _| false)
    }

    fn add(&mut self, key: K) -> SlotId {
        self.drawn += 1;
        let link = Link {
            key,
            priority: mixed(self.drawn),
            smaller: 0,
            left: None,
            right: None,
        };
        SlotId::new(self.links.insert(link))
    }

    fn take(&mut self, id: SlotId) -> Link<K> {
        let link = self.links.remove(id.index());
        link.expect("a set has its links until it is dropped")
    }

    fn get(&self, id: SlotId) -> &Link<K> {
        &self.links[id.index()]
    }

    fn get_mut(&mut self, id: SlotId) -> &mut Link<K> {
        &mut self.links[id.index()]
    }

    fn leftmost(&self, root: Option<SlotId>) -> Option<SlotId> {
        let (mut leftmost, mut at) = (None, root);
        while let Some(id) = at {
            (leftmost, at) = (at, self.get(id).left);
        }
        leftmost
    }

    #[cfg(test)]
    fn len_from(&self, root: Option<SlotId>) -> u32 {
        let (mut len, mut at) = (0, root);
        while let Some(id) = at {
            let link = self.get(id);
            len += link.smaller + 1;
            at = link.right;
        }
        len
    }
}

/// Numbers that follow each other become numbers that have nothing to do with each other (`SplitMix64`).
fn mixed(n: u64) -> u32 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (n >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ops::Bound};

    use proptest::prelude::*;

    use super::*;
    use crate::steps;

    #[test]
    fn a_set_takes_eight_bytes_and_a_link_of_two_words_takes_four() {
        assert!(size_of::<Ranked<(u64, u64)>>() <= 8);
        assert_eq!(size_of::<Link<(u64, u64)>>(), 32);
    }

    #[test]
    fn a_set_knows_the_rank_of_a_key_that_is_not_there() {
        let (mut links, mut set) = (Links::new(), Ranked::default());
        for key in [5, 1, 3] {
            assert!(set.insert(&mut links, key));
        }
        assert!(!set.insert(&mut links, 3));
        let ranks: Vec<_> = (0..7).map(|key| set.rank(&links, &key)).collect();
        assert_eq!(ranks, [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(
            (set.after(&links, &3), set.after(&links, &5)),
            (Some(5), None)
        );
        assert_eq!((set.nth(&links, 1), set.nth(&links, 3)), (Some(3), None));
    }

    #[test]
    fn all_memory_can_be_given_back_when_all_sets_are_empty() {
        let mut links = Links::new();
        let mut sets: Vec<_> = (0..100).map(|_| Ranked::default()).collect();
        for key in 0..10_000 {
            sets[key % 100].insert(&mut links, key);
        }
        for key in 0..10_000 {
            assert!(sets[key % 100].remove(&mut links, &key));
        }
        assert!(sets.iter().all(Ranked::is_empty));
        while let Step::More(_) = links.compact_step() {}
        assert_eq!((links.len(), links.links.end()), (0, 0));
    }

    /// Walks all links below `at`, checks what holds of each, and adds the keys in order.
    fn check(links: &Links<u16>, at: Option<SlotId>, keys: &mut Vec<u16>) {
        let Some(id) = at else { return };
        let link = links.get(id);
        for child in [link.left, link.right].into_iter().flatten() {
            assert!(links.get(child).priority <= link.priority);
        }
        let before = keys.len();
        check(links, link.left, keys);
        assert_eq!(keys.len() - before, link.smaller as usize);
        keys.push(link.key);
        check(links, link.right, keys);
    }

    proptest! {
        #[test]
        fn they_are_what_std_sets_are(
            ops in prop::collection::vec((0..3_usize, 0..5_u8, 0..64_u16), 0..400),
        ) {
            let mut links = Links::new();
            let mut sets = [(); 3].map(|()| (Ranked::default(), BTreeSet::new()));
            for (which, op, key) in ops {
                let (set, std) = &mut sets[which];
                if op < 3 {
                    prop_assert_eq!(set.insert(&mut links, key), std.insert(key));
                } else {
                    prop_assert_eq!(set.remove(&mut links, &key), std.remove(&key));
                }
                let mut keys = Vec::new();
                check(&links, set.root, &mut keys);
                prop_assert!(keys.iter().eq(std.iter()));
                prop_assert_eq!(set.len(&links), std.len());
                prop_assert_eq!(set.is_empty(), std.is_empty());
                prop_assert_eq!(set.first(&links), std.first().copied());
                prop_assert_eq!(set.last(&links), std.last().copied());
                prop_assert_eq!(set.rank(&links, &key), std.range(..key).count());
                let after = std.range((Bound::Excluded(key), Bound::Unbounded)).next();
                prop_assert_eq!(set.after(&links, &key), after.copied());
                let n = usize::from(key) / 2;
                prop_assert_eq!(set.nth(&links, n), std.iter().nth(n).copied());
            }
            prop_assert_eq!(links.len(), sets.iter().map(|(_, std)| std.len()).sum::<usize>());
        }
    }

    /// The longest way down is about three times log2(n), and an insertion or a removal goes it twice: once
    /// to find the key and once to change what is there, where it touches a link up to twice.
    const MOST_STEPS: usize = 16;
    const MOST_STEPS_PER_DOUBLING: usize = 8;

    /// An insertion may find the store full. Up to 256 000 links, it then moves 256 of them or of its chunks.
    const MOST_STEPS_TO_GROW: usize = 256;

    #[test]
    fn no_operation_takes_more_steps_than_a_few_ways_down() {
        const KEYS: u64 = 200_000;
        // Ascending, and mixed.
        let orders: [fn(u64) -> u64; 2] = [|n| n, |n| n * 77_773 % KEYS];
        for order in orders {
            let (mut links, mut set) = (Links::new(), Ranked::default());
            let [mut inserting, mut removing, mut looking] = [0; 3];
            let look = |set: &Ranked<u64>, links: &Links<u64>, key: u64| {
                let steps = [
                    steps::of(|| set.rank(links, &key)).1,
                    steps::of(|| set.after(links, &key)).1,
                    steps::of(|| set.nth(links, links.len() / 3)).1,
                    steps::of(|| set.first(links)).1,
                    steps::of(|| set.last(links)).1,
                    steps::of(|| set.len(links)).1,
                ];
                steps.into_iter().max().unwrap()
            };
            let bound =
                |keys: u64| MOST_STEPS + MOST_STEPS_PER_DOUBLING * keys.max(1).ilog2() as usize;
            for n in 0..KEYS {
                let key = order(n);
                let (new, steps) = steps::of(|| set.insert(&mut links, key));
                assert!(
                    new && steps <= bound(n) + MOST_STEPS_TO_GROW,
                    "{steps} of {n}"
                );
                inserting = steps.max(inserting);
                if n % 16 != 0 {
                    continue;
                }
                let steps = look(&set, &links, key / 2);
                assert!(steps <= bound(n), "{steps} of {n}");
                looking = steps.max(looking);
            }
            assert_eq!(set.len(&links) as u64, KEYS);
            for n in (0..KEYS).rev() {
                // In an order that has nothing to do with the one in which they came.
                let key = n * 7_919 % KEYS;
                let (known, steps) = steps::of(|| set.remove(&mut links, &key));
                assert!(known && steps <= bound(n), "{steps} of {n}");
                removing = steps.max(removing);
                if n % 16 != 0 {
                    continue;
                }
                let steps = look(&set, &links, key);
                assert!(steps <= bound(n), "{steps} of {n}");
                looking = steps.max(looking);
            }
            println!("most steps {inserting}, {removing}, {looking}");
            assert!(set.is_empty() && links.len() == 0);
        }
    }
}

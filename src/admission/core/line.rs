use super::{
    ids::{Order, QueueKey},
    ranked::{Links, Ranked},
};
use crate::costs::Priority;

/// Those that stand in one queue: by class, and within a class by age.
#[derive(Debug, Default)]
pub(super) struct Line {
    all: Ranked<QueueKey>,
    /// How many there are of each class.
    of_class: [u32; Priority::ALL.len()],
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether those of several classes stand here.
    pub(super) fn is_mixed(&self) -> bool {
        self.of_class.iter().filter(|&&n| n > 0).count() > 1
    }

    pub(super) fn has(&self, priority: Priority) -> bool {
        self.of_class[priority.place()] > 0
    }

    /// How many there are of a class.
    pub(super) fn len_of(&self, priority: Priority) -> usize {
        self.of_class[priority.place()] as usize
    }

    /// How many there are of this class and higher ones.
    pub(super) fn len_from(&self, priority: Priority) -> usize {
        let from = &self.of_class[..=priority.place()];
        from.iter().map(|&n| n as usize).sum()
    }

    pub(super) fn insert(&mut self, links: &mut Links<QueueKey>, key: QueueKey) {
        if self.all.insert(links, key) {
            self.of_class[key.order.priority().place()] += 1;
        }
    }

    /// Returns whether it was there.
    pub(super) fn remove(&mut self, links: &mut Links<QueueKey>, key: &QueueKey) -> bool {
        let known = self.all.remove(links, key);
        self.of_class[key.order.priority().place()] -= u32::from(known);
        known
    }

    /// The oldest of the highest class.
    pub(super) fn first(&self, links: &Links<QueueKey>) -> Option<QueueKey> {
        self.all.first(links)
    }

    /// The oldest of a class.
    pub(super) fn first_of(&self, links: &Links<QueueKey>, priority: Priority) -> Option<QueueKey> {
        if !self.has(priority) {
            return None;
        }
        self.after(links, &QueueKey::before(Order::first_of(priority)))
    }

    pub(super) fn after(&self, links: &Links<QueueKey>, key: &QueueKey) -> Option<QueueKey> {
        self.all.after(links, key)
    }

    /// The youngest of a class.
    pub(super) fn last_of(&self, links: &Links<QueueKey>, priority: Priority) -> Option<QueueKey> {
        let last = self.len_from(priority).checked_sub(1)?;
        self.all.nth(links, last).filter(|_| self.has(priority))
    }

    /// How many go before `key`, which need not be there itself.
    pub(super) fn rank(&self, links: &Links<QueueKey>, key: &QueueKey) -> usize {
        self.all.rank(links, key)
    }
}

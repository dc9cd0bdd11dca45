//! Keys that come and go.

use std::collections::BTreeMap;

use super::{Figures, Model, Stage, costs::Account};
use crate::config::Bucket;

impl Model<'_> {
    /// Whether a bucket can be forgotten: a new one would do the same.
    pub(super) fn is_quiet(&self, bucket: Bucket) -> bool {
        let comes_and_goes = !self.config.fixed().contains(&bucket);
        let pinned = self.requests.values().any(|request| {
            request.leaf == bucket
                && match request.stage {
                    Stage::Sent { pin, .. } => pin,
                    _ => true,
                }
        });
        let pinned = pinned || self.charges.values().any(|charge| charge.leaf == bucket);
        let parent = self
            .buckets
            .keys()
            .any(|&child| self.config.parent(child) == Some(bucket));
        let longest = self.scopes[bucket.scope].limit.longest();
        let counts = &self.buckets[&bucket];
        let counted = counts.accounts.values().flat_map(|account| &account.log);
        let counted = counted.map(|entry| &entry.0);
        let forgotten = counts
            .accounts
            .values()
            .filter_map(|account| account.forgotten);
        let forgotten = forgotten.map(|(last, _)| last).max();
        let last = counted.chain(counts.stamps.last()).chain(&forgotten).max();
        let mut accounts = counts.accounts.values();
        comes_and_goes
            && !pinned
            && !parent
            && self.is_idle(bucket)
            // An average is remembered for longer than any case takes.
            && !accounts.any(Account::remembers)
            && last.is_none_or(|last| last + longest <= self.now)
    }

    pub(super) fn forget(&mut self, bucket: Bucket) {
        self.buckets.remove(&bucket);
        self.unnoticed.remove(&bucket);
    }

    /// Forgets everything that can be.
    pub fn sweep(mut self) -> Self {
        while let Some(bucket) = self.buckets.keys().copied().find(|&b| self.is_quiet(b)) {
            self.forget(bucket);
        }
        self
    }

    /// Forgets what the layer has forgotten, as far as it may.
    pub fn without(mut self, kept: &BTreeMap<Bucket, Figures>) -> Self {
        loop {
            let gone = |bucket: &Bucket| !kept.contains_key(bucket) && self.is_quiet(*bucket);
            let Some(bucket) = self.buckets.keys().copied().find(gone) else {
                return self;
            };
            self.forget(bucket);
        }
    }
}

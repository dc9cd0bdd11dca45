//! The keys of the hashes of partitions.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::OnceLock,
};

use siphasher::sip::SipHasher13;

/// With random keys, unless a store has others: then all that share it give a partition the same hash, in other
/// processes too, and after a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct HashKeys {
    own: RandomState,
    of_store: OnceLock<SipHasher13>,
}

impl HashKeys {
    pub(super) fn set(&self, keys: [u64; 2]) {
        let [one, other] = keys;
        // A layer has one store.
        let _ = self.of_store.set(SipHasher13::new_with_keys(one, other));
    }

    #[inline]
    pub(super) fn hash_one<T: Hash>(&self, value: T) -> u64 {
        match self.of_store.get() {
            None => self.own.hash_one(value),
            Some(hasher) => shared(*hasher, &value),
        }
    }
}

#[cold]
fn shared<T: Hash>(mut hasher: SipHasher13, value: &T) -> u64 {
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_the_keys_of_a_store_hashes_are_the_same_everywhere() {
        let all = [HashKeys::default(), HashKeys::default()];
        assert_ne!(all[0].hash_one("tenant"), all[1].hash_one("tenant"));
        for keys in &all {
            keys.set([1, 2]);
        }
        assert_eq!(all[0].hash_one("tenant"), all[1].hash_one("tenant"));
        let others = HashKeys::default();
        others.set([1, 3]);
        assert_ne!(all[0].hash_one("tenant"), others.hash_one("tenant"));
    }
}

//! Whose buckets a request uses, where each user of the client has their own.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

use http::HeaderName;

use crate::request_head::RequestHead;

/// Where the partition's value comes from.
///
/// The value is a secret as a rule (an API key), so it exists here for the length of one function
/// only, and leaves it as a hash. The hash is keyed with random numbers: without them, a reader of
/// the hash could find out a weak value by trying.
#[derive(Clone)]
pub(super) enum PartitionRule {
    Header(HeaderName),
    Closure(Arc<Closure>),
}

type Closure = dyn Fn(&RequestHead<'_>, &RandomState) -> u64 + Send + Sync;

impl PartitionRule {
    pub(super) fn closure<V: Hash>(
        value: impl Fn(&RequestHead<'_>) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        Self::Closure(Arc::new(move |head, keys| keys.hash_one(value(head))))
    }

    /// The absence of a value is hashed as a value of its own, which differs from all others.
    pub(super) fn partition(&self, head: &RequestHead<'_>, keys: &RandomState) -> u64 {
        match self {
            Self::Header(name) => keys.hash_one(head.headers().get(name)),
            Self::Closure(hash) => hash(head, keys),
        }
    }
}

impl fmt::Debug for PartitionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Closure(_) => f.write_str("Closure(..)"),
        }
    }
}

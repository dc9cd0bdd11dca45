//! Whose buckets a request uses, where each user of the client has their own.

use std::{
    any::TypeId,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hash_keys::HashKeys;
use crate::request_head::RequestHead;

/// Where the partition's value comes from.
///
/// The value is a secret as a rule (an API key), so it exists here for the length of one function
/// only, and leaves it as a hash. The hash is keyed with random numbers: without them, a reader of
/// the hash could find out a weak value by trying.
#[derive(Clone)]
pub(super) enum PartitionRule {
    Header(HeaderName),
    /// With its type, if that is all there is to it: it captures nothing.
    Closure(Arc<Closure>, Option<TypeId>),
}

type Closure = dyn Fn(&RequestHead<'_>, &HashKeys) -> u64 + Send + Sync;

impl PartitionRule {
    pub(super) fn closure<F, V>(value: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<V> + Send + Sync + 'static,
        V: Hash,
    {
        let of_type = (size_of::<F>() == 0).then(TypeId::of::<F>);
        let hash = move |head: &RequestHead<'_>, keys: &HashKeys| keys.hash_one(value(head));
        Self::Closure(Arc::new(hash), of_type)
    }

    /// Whether both tell the same values apart, as far as that can be told: of two closures, if one is a clone of the
    /// other, or if both are the same piece of code and capture nothing.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(one), Self::Header(other)) => one == other,
            (Self::Closure(one, of_type), Self::Closure(other, of_other)) => {
                Arc::ptr_eq(one, other) || of_type.is_some() && of_type == of_other
            }
            _ => false,
        }
    }

    /// As that of a closure which returns the header as text, so that its value can be asked for as one. A value that
    /// is no text is hashed as bytes.
    fn of_header(value: Option<&HeaderValue>, keys: &HashKeys) -> u64 {
        match value.map(HeaderValue::as_bytes) {
            None => keys.hash_one(None::<&str>),
            // Most are ASCII, which is told at a glance.
            Some(text) if text.is_ascii() || std::str::from_utf8(text).is_ok() => {
                keys.hash_one(Some(Text(text)))
            }
            bytes => keys.hash_one(bytes),
        }
    }

    /// The partition of the requests that have this value.
    pub(super) fn partition_of<V: Hash + ?Sized>(value: &V, keys: &HashKeys) -> u64 {
        keys.hash_one(Some(value))
    }

    /// The absence of a value is hashed as a value of its own, which differs from all others.
    pub(super) fn partition(&self, head: &RequestHead<'_>, keys: &HashKeys) -> u64 {
        match self {
            Self::Header(name) => Self::of_header(first(head.headers(), name), keys),
            Self::Closure(hash, _) => hash(head, keys),
        }
    }
}

/// The map hashes a name byte by byte. To compare it with a few others is faster.
fn first<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    if headers.len() > 8 {
        return headers.get(name);
    }
    headers
        .iter()
        .find_map(|(of, value)| (of == name).then_some(value))
}

/// Bytes that are a text, and are hashed like the `str`.
struct Text<'a>(&'a [u8]);

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
        state.write_u8(0xff);
    }
}

impl fmt::Debug for PartitionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Closure(..) => f.write_str("Closure(..)"),
        }
    }
}

//! Stores: several layers, or a fleet of processes, share their limits.
//!
//! | store | for | time | survives |
//! |---|---|---|---|
//! | [`MemoryStore`] | layers of one process, and tests | tokio's, paused too | nothing |
//! | `FileStore`, feature `file` | one process | the wall clock, which never goes back | a restart |
//! | `RedisStore`, feature `redis` | a fleet; Redis 6.2 or later, Valkey | the server's | restarts of its members |
//!
//! [`ThrottleLayer::store`](crate::ThrottleLayer::store) and its like on the single layers take one. What is exact, and
//! what cannot be, is in the documentation of the package
//! [`tower-throttle-store`](tower_throttle_store), which has the protocol, too, for a store of your own.

#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
pub use tower_throttle_store::FileStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use tower_throttle_store::RedisStore;
pub use tower_throttle_store::{
    Asking, Mailbox, MemoryStore, Message, Store, StoreError, WhenAway, protocol,
};

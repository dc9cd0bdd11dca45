#![doc = include_str!("../README.md")]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod decide;
#[cfg(feature = "file")]
mod file;
pub mod member;
mod memory;
pub mod protocol;
#[cfg(feature = "redis")]
mod redis;
mod store;

#[cfg(feature = "file")]
pub use self::file::FileStore;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub use self::{
    memory::MemoryStore,
    store::{Asking, Mailbox, Message, Store, StoreError, WhenAway},
};

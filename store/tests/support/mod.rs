//! Random histories of a fleet, and an oracle over what was dispatched.
#![allow(dead_code, unreachable_pub)] // each test uses its own part

pub mod fleet;
pub mod oracle;
pub mod rng;
#[cfg(feature = "redis")]
pub mod server;
#[cfg(feature = "redis")]
pub mod twice;
#[cfg(feature = "redis")]
pub mod worker;
pub mod world;

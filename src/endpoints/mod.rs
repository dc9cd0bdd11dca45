//! Which buckets a request needs: templates, names, groups and partitions.
//!
//! [`Endpoints`] is what a user writes, [`Routes`] what the engine asks. All of it is pure: no
//! clock, no lock, no runtime.

mod authority;
mod builder;
mod error;
mod hash_keys;
mod identity;
mod name;
mod normalize;
mod partition;
mod router;
mod routes;
mod segment;
mod spec;
mod template;
#[cfg(test)]
mod tests;
mod tier;
mod tiers;
mod trie;

pub use self::{
    builder::Endpoints,
    error::{InvalidEndpoint, UnknownEndpoint},
    name::EndpointName,
};
pub(crate) use self::{
    identity::Identity,
    routes::{Key, Routes, Target},
    spec::{OfTier, SpecId, SpecKind, TierId},
};

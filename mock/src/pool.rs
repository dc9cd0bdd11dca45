//! Limits that several endpoints share, and which of them a request comes under.

use std::sync::Arc;

use super::limit::Limit;

/// A limit that requests to any endpoint share, chosen by the request: see
/// [`JudgeBuilder::pool_by`](super::JudgeBuilder::pool_by).
///
/// What has the same name is the same pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub(crate) name: Arc<str>,
    pub(crate) limit: Limit,
}

impl Pool {
    /// The pool with this name, and what it allows: from the next arrival on, if that has changed.
    pub fn new(name: impl Into<Arc<str>>, limit: Limit) -> Self {
        let name = name.into();
        Self { name, limit }
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the pool allows.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }
}

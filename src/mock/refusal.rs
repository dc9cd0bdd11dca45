use std::{sync::Arc, time::Duration};

use http::request;

use super::report::RefusedBy;

/// A request that was refused, for the hook that says so.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) head: Arc<request::Parts>,
    pub(crate) endpoint: Arc<str>,
    pub(crate) pool: Option<Arc<str>>,
    pub(crate) by: RefusedBy,
    pub(crate) room_in: Duration,
}

impl Refusal {
    /// The request's head.
    pub fn head(&self) -> &request::Parts {
        &self.head
    }

    /// The endpoint's template.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The pool whose limit the request was refused by; nothing if it was the endpoint's own.
    pub fn pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }

    /// Which limit the request was refused by.
    pub fn by(&self) -> RefusedBy {
        self.by
    }

    /// How long it takes from now until all windows have room, if no other request takes it; zero if they
    /// have it.
    pub fn room_in(&self) -> Duration {
        self.room_in
    }
}

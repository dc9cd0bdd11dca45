use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::request;

use super::{refused_by::RefusedBy, unit_report::WindowUse};

/// A request that was refused, for the hook that says so.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) head: Arc<request::Parts>,
    pub(crate) body: Bytes,
    pub(crate) endpoint: Arc<str>,
    pub(crate) pool: Option<Arc<str>>,
    pub(crate) by: RefusedBy,
    pub(crate) room_in: Option<Duration>,
    pub(crate) windows: Vec<WindowUse>,
}

impl Refusal {
    /// The request's head.
    pub fn head(&self) -> &request::Parts {
        &self.head
    }

    /// The request's whole body.
    pub fn body(&self) -> &Bytes {
        &self.body
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

    /// How long it takes from now until all windows have room for such a request, if no other takes it; zero
    /// if they have it, and also if they [never will](Refusal::fits).
    pub fn room_in(&self) -> Duration {
        self.room_in.unwrap_or_default()
    }

    /// Whether the windows have room for such a request at any time: it does not cost more of a unit than
    /// a window allows altogether.
    pub fn fits(&self) -> bool {
        self.room_in.is_some()
    }

    /// How full the windows are now: those of its endpoint, and those of its pool.
    pub fn windows(&self) -> &[WindowUse] {
        &self.windows
    }
}

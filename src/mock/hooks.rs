//! What the hooks are told that check and answer requests.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::request;

use super::{path::Params, report::RefusedBy};

/// A request that the mock has received completely, for the hooks that check and answer it.
#[derive(Debug)]
pub struct Received<'a> {
    pub(crate) head: &'a request::Parts,
    pub(crate) body: &'a Bytes,
    pub(crate) params: &'a Params,
    pub(crate) in_flight: usize,
    pub(crate) concurrency: Option<usize>,
}

impl Received<'_> {
    /// The request's head.
    pub fn head(&self) -> &request::Parts {
        self.head
    }

    /// The request's whole body.
    pub fn body(&self) -> &Bytes {
        self.body
    }

    /// What stands in the path for the template's `{name}` or `{*name}`, percent-decoded.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// How many requests were in flight on this endpoint when this one was accepted, itself included.
    /// For a check, which comes before that: how many are.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many may be in flight on this endpoint, if that is limited.
    pub fn concurrency_limit(&self) -> Option<usize> {
        self.concurrency
    }
}

/// A request that was refused, for the hook that says so.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) endpoint: Arc<str>,
    pub(crate) by: RefusedBy,
    pub(crate) room_in: Duration,
}

impl Refusal {
    /// The endpoint's template.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Which limit the request was refused by.
    pub fn by(&self) -> RefusedBy {
        self.by
    }

    /// How long it takes from now until all windows have room, if nobody else takes it; zero if they
    /// have it.
    pub fn room_in(&self) -> Duration {
        self.room_in
    }
}

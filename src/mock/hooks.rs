//! What the hooks are told that check and answer requests.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::request;

use super::{
    judge::{Judge, Shared},
    path::Params,
    report::RefusedBy,
};

/// A request that the mock has received completely, for the hooks that check and answer it.
#[derive(Debug)]
pub struct Received<'a> {
    pub(crate) judge: &'a Judge,
    pub(crate) head: &'a request::Parts,
    pub(crate) body: &'a Bytes,
    pub(crate) params: &'a Params,
    pub(crate) standing: Standing<'a>,
}

/// What the books say about a request, as far as it has got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing<'a> {
    pub(crate) pool: Option<&'a str>,
    pub(crate) in_flight: usize,
    pub(crate) concurrency: Option<usize>,
    pub(crate) work: Duration,
    pub(crate) remaining: Duration,
}

impl Standing<'_> {
    /// Of a request that has not been judged yet.
    pub(crate) fn now(shared: &Shared, route: usize) -> Self {
        let mut state = shared.state();
        let ledger = state.books.endpoint(route);
        Self {
            in_flight: ledger.in_flight(),
            concurrency: ledger.limit().at_once(),
            ..Self::default()
        }
    }
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

    /// The judge that asks, for hooks that report or change what it does. (A hook that kept one of its
    /// own would keep it alive for ever.)
    pub fn judge(&self) -> &Judge {
        self.judge
    }

    /// The pool that the request has been accepted in, if it has one. A check comes before that.
    pub fn pool(&self) -> Option<&str> {
        self.standing.pool
    }

    /// How many requests were in flight when this one was accepted (or got its slot, if it had to wait for
    /// one), itself included: in its pool, or on this endpoint if it has none. For a check, which comes
    /// before that: how many are on this endpoint.
    pub fn in_flight(&self) -> usize {
        self.standing.in_flight
    }

    /// How many may be in flight in the request's pool, or on this endpoint if it has none, where that
    /// is limited. For a check: on this endpoint.
    pub fn concurrency_limit(&self) -> Option<usize> {
        self.standing.concurrency
    }

    /// How long the mock works on this request, as drawn when it was accepted. Zero for a check.
    pub fn work(&self) -> Duration {
        self.standing.work
    }

    /// How much of the work is still to be done when the head of the answer goes out: nothing, unless
    /// the route is [streaming](super::JudgeBuilder::streaming).
    pub fn remaining(&self) -> Duration {
        self.standing.remaining
    }
}

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

    /// How long it takes from now until all windows have room, if nobody else takes it; zero if they
    /// have it.
    pub fn room_in(&self) -> Duration {
        self.room_in
    }
}

//! What the hooks are told that check and answer requests.

use std::time::Duration;

use bytes::Bytes;
use http::request;

use super::{
    state::{Judge, Received, Shared, Standing},
    unit_report::WindowUse,
};

impl Standing<'_> {
    /// Of a request that has not been judged yet.
    pub(crate) fn now(shared: &Shared, route: usize) -> Self {
        let mut state = shared.state();
        let ledger = state.books.endpoint(route);
        Self {
            route: Some(route),
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

    /// How full the windows are now: those of its endpoint, and those of the pool that it has been accepted
    /// in. Nothing for a request that comes to no endpoint.
    pub fn windows(&self) -> Vec<WindowUse> {
        let Standing { route, pool, .. } = self.standing;
        route.map_or_else(Vec::new, |route| self.judge.shared.windows(route, pool))
    }

    /// How long the mock works on this request, as drawn when it was accepted, or as the hook of
    /// [`JudgeBuilder::accepted`](super::JudgeBuilder::accepted) then said. Zero for a check.
    pub fn work(&self) -> Duration {
        self.standing.work
    }

    /// How much of the work is still to be done when the head of the answer goes out: nothing, unless
    /// the route is [streaming](super::JudgeBuilder::streaming).
    pub fn remaining(&self) -> Duration {
        self.standing.remaining
    }
}

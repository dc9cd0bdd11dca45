//! [`Signal`]: what a refusal means.

use std::time::Duration;

use super::time;
use crate::costs::Unit;

/// What an answer says about the limits of the server: why it refused, and what to do.
///
/// Throttling answers carry it upwards as a response extension; no other answer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    pub(super) kind: SignalKind,
    pub(super) scope: SignalScope,
    pub(super) retry_after: Option<Duration>,
    pub(super) should_retry: Option<bool>,
    pub(super) concurrency_limit: Option<usize>,
    pub(super) rate_limit: Option<u64>,
    pub(super) period: Option<Duration>,
    pub(super) unit: Option<Unit>,
    pub(super) by_status_alone: bool,
}

/// Why a server refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalKind {
    /// Too many requests in a time: slow down.
    Rate,
    /// Too many requests at once: wait for one of them to end.
    Concurrency,
    /// The server is busy for all clients: back off.
    Overload,
    /// What was paid for is used up: no retry helps.
    QuotaExhausted,
}

/// Which requests share the limit that an answer is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalScope {
    /// Requests to the same endpoint.
    #[default]
    Endpoint,
    /// Every request of this client.
    Everything,
}

impl Signal {
    /// A signal about the endpoint that says no more than its kind.
    pub fn new(kind: SignalKind) -> Self {
        Self {
            kind,
            scope: SignalScope::Endpoint,
            retry_after: None,
            should_retry: None,
            concurrency_limit: None,
            rate_limit: None,
            period: None,
            unit: None,
            by_status_alone: false,
        }
    }

    /// Whether the limit counts requests, as far as is known, and not tokens or something else.
    pub(crate) fn is_of_requests(&self) -> bool {
        self.unit.is_none_or(|unit| unit.is_requests())
    }

    /// What the limit counts that refused, if that is not requests and the answer says so: of tokens,
    /// [`INPUT_TOKENS`](Unit::INPUT_TOKENS) or [`OUTPUT_TOKENS`](Unit::OUTPUT_TOKENS) where it tells these apart, and
    /// [`TOKENS`](Unit::TOKENS) otherwise. `None` of requests, and where the answer does not say.
    pub fn unit(&self) -> Option<Unit> {
        self.unit
    }

    /// Why the server refused.
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// Whom it concerns.
    pub fn scope(&self) -> SignalScope {
        self.scope
    }

    /// How long the server asks to wait: positive, at most
    /// [`MAX_RETRY_AFTER`](super::MAX_RETRY_AFTER). `None` means that it named no delay, not "now".
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the server said explicitly that a retry is wanted, or that it is not.
    pub fn should_retry(&self) -> Option<bool> {
        self.should_retry
    }

    /// How many requests the server takes at the same time, if it said so; never 0.
    pub fn concurrency_limit(&self) -> Option<usize> {
        self.concurrency_limit
    }

    /// How many requests are allowed in a [`period`](Self::period), of the limit that refused; never 0.
    pub fn rate_limit(&self) -> Option<u64> {
        self.rate_limit
    }

    /// The length of the window that refused; positive.
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// Whether only the status says that this is a refusal, and means something else to others.
    pub(crate) fn is_by_status_alone(&self) -> bool {
        self.by_status_alone
    }

    /// About a limit that counts this unit. It is for a [`Classify`](super::Classify) of your own: the refusal then
    /// teaches nothing about requests, and a [margin](crate::Learning::margin) of the unit where the quota counts it.
    /// Units are told apart by their names.
    ///
    /// ```
    /// use tower_throttle::{Unit, signal::{Signal, SignalKind}};
    ///
    /// let signal = Signal::new(SignalKind::Rate).with_unit(Unit::CREDITS);
    /// assert_eq!(signal.unit(), Some(Unit::CREDITS));
    /// ```
    pub fn with_unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Concerning these requests.
    pub fn with_scope(mut self, scope: SignalScope) -> Self {
        self.scope = scope;
        self
    }

    /// With a delay; zero names none, and [`MAX_RETRY_AFTER`](super::MAX_RETRY_AFTER) is the most.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = time::wait(delay);
        self
    }

    /// With the server's word on whether to retry.
    pub fn with_should_retry(mut self, should_retry: bool) -> Self {
        self.should_retry = Some(should_retry);
        self
    }

    /// With a limit to the requests in flight; 0 names none.
    pub fn with_concurrency_limit(mut self, limit: usize) -> Self {
        self.concurrency_limit = (limit > 0).then_some(limit);
        self
    }

    /// With a limit to the requests in a period; a limit or period of 0 names none.
    pub fn with_rate_limit(mut self, limit: u64, period: Duration) -> Self {
        self.rate_limit = (limit > 0).then_some(limit);
        self.period = time::wait(period);
        self
    }
}

//! [`QuotaReport`]: what a success says about what is left.

use std::time::Duration;

use super::{meaning::SignalScope, time};
use crate::costs::Unit;

/// What an answer says about what is left of the server's limits, so that a client can slow down
/// before it is refused.
///
/// Of several buckets (a second's and a day's, requests and tokens) this is the one with the fewest
/// requests left; an empty bucket of tokens counts as no requests left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaReport {
    pub(super) scope: SignalScope,
    pub(super) remaining: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) reset: Option<Duration>,
    pub(super) period: Option<Duration>,
    pub(super) gradual: bool,
    pub(super) maximum_concurrency: Option<usize>,
    pub(super) current_concurrency: Option<usize>,
    /// What [`remaining`](Self::remaining) counts, if not requests.
    pub(super) unit: Option<Unit>,
    pub(super) units: [Option<(Unit, UnitQuota)>; MAX_UNITS],
}

/// How many units one report tells of: requests, tokens, and tokens in and out are all that is known.
const MAX_UNITS: usize = 3;

/// What an answer says about what is left of one unit besides requests: tokens, for example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitQuota {
    pub(super) remaining: u64,
    pub(super) limit: Option<u64>,
    pub(super) reset: Option<Duration>,
}

impl UnitQuota {
    /// So much is left.
    pub fn new(remaining: u64) -> Self {
        Self {
            remaining,
            ..Self::default()
        }
    }

    /// With so much when nothing is used.
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With a quota that is whole again after `reset`; zero says nothing, and
    /// [`MAX_RETRY_AFTER`](super::MAX_RETRY_AFTER) is the most.
    pub fn with_reset(mut self, reset: Duration) -> Self {
        self.reset = time::wait(reset);
        self
    }

    /// How much is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// How much there is when nothing is used.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How long until it is whole again.
    pub fn reset(&self) -> Option<Duration> {
        self.reset
    }
}

impl QuotaReport {
    /// A report that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which requests share this quota.
    pub fn scope(&self) -> SignalScope {
        self.scope
    }

    /// How many requests are left.
    pub fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// How many requests there are when none is used.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How long until the quota is whole again: positive, at most
    /// [`MAX_RETRY_AFTER`](super::MAX_RETRY_AFTER).
    pub fn reset(&self) -> Option<Duration> {
        self.reset
    }

    /// The length of the window in which [`limit`](Self::limit) requests are allowed.
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// Whether what was used comes back bit by bit until [`reset`](Self::reset) (a token bucket),
    /// not all at once then (a window).
    pub fn is_gradual(&self) -> bool {
        self.gradual
    }

    /// How many requests the server takes at the same time; never 0.
    pub fn maximum_concurrency(&self) -> Option<usize> {
        self.maximum_concurrency
    }

    /// How many requests the server is working on for this client, this one included.
    pub fn current_concurrency(&self) -> Option<usize> {
        self.current_concurrency
    }

    /// What is left of a unit besides requests, if the answer says so.
    pub fn unit(&self, unit: Unit) -> Option<UnitQuota> {
        let mut units = self.units();
        units.find_map(|(known, quota)| known.is_spelled_like(&unit).then_some(quota))
    }

    /// All units besides requests of which it says what is left: at most three.
    pub fn units(&self) -> impl Iterator<Item = (Unit, UnitQuota)> {
        self.units.iter().copied().flatten()
    }

    /// With so much left of a unit besides requests. A fourth unit is not kept.
    pub fn with_unit(mut self, unit: Unit, quota: UnitQuota) -> Self {
        let is_it = |slot: &Option<(Unit, UnitQuota)>| {
            slot.is_none_or(|(known, _)| known.is_called_as(&unit))
        };
        if let Some(at) = self.units.iter().position(is_it) {
            self.units[at] = Some((unit, quota));
        }
        self
    }

    /// Whether what is left is told of this unit, and not of requests.
    pub(crate) fn is_of_unit(&self, of: impl Fn(Unit) -> bool) -> bool {
        self.unit.is_some_and(of)
    }

    /// The distance between requests at which this quota does not run dry.
    ///
    /// Of a window: what is left, spread evenly until the reset; the whole time until then when
    /// nothing is left. Of a gradual quota: the time in which one request comes back, and the whole
    /// time until the reset when the limit or what is left is not known. `None` when there is no reset, or nothing
    /// has been used of a gradual quota.
    pub fn spacing(&self) -> Option<Duration> {
        let reset = self.reset?;
        let parts = if self.gradual {
            match (self.limit, self.remaining) {
                (Some(limit), Some(remaining)) => limit.checked_sub(remaining)?,
                _ => 1,
            }
        } else {
            self.remaining.unwrap_or(0).max(1)
        };
        let parts = u32::try_from(parts).unwrap_or(u32::MAX);
        reset.checked_div(parts).and_then(time::wait)
    }

    /// With a quota that these requests share.
    pub fn with_scope(mut self, scope: SignalScope) -> Self {
        self.scope = scope;
        self
    }

    /// With this many requests left.
    pub fn with_remaining(mut self, remaining: u64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    /// With this many requests in all.
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With a quota that is whole again after `reset`; zero says nothing, and
    /// [`MAX_RETRY_AFTER`](super::MAX_RETRY_AFTER) is the most.
    pub fn with_reset(mut self, reset: Duration) -> Self {
        self.reset = time::wait(reset);
        self
    }

    /// With a window of this length; zero says nothing.
    pub fn with_period(mut self, period: Duration) -> Self {
        self.period = time::wait(period);
        self
    }

    /// With a quota that comes back bit by bit.
    pub fn gradual(mut self) -> Self {
        self.gradual = true;
        self
    }

    /// With a limit to the requests in flight; 0 says nothing.
    pub fn with_maximum_concurrency(mut self, maximum: usize) -> Self {
        self.maximum_concurrency = (maximum > 0).then_some(maximum);
        self
    }

    /// With this many requests in flight.
    pub fn with_current_concurrency(mut self, current: usize) -> Self {
        self.current_concurrency = Some(current);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_is_spread_until_its_reset() {
        let report = QuotaReport::new().with_remaining(4).with_reset(secs(10));
        assert_eq!(report.spacing(), Some(Duration::from_millis(2_500)));
    }

    #[test]
    fn an_empty_window_waits_for_its_reset() {
        let report = QuotaReport::new().with_remaining(0).with_reset(secs(10));
        assert_eq!(report.spacing(), Some(secs(10)));
    }

    #[test]
    fn a_gradual_quota_is_spaced_by_what_comes_back() {
        let report = QuotaReport::new()
            .gradual()
            .with_limit(40)
            .with_remaining(8)
            .with_reset(secs(16));
        assert_eq!(report.spacing(), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_gradual_quota_that_is_whole_needs_no_spacing() {
        let full = QuotaReport::new().gradual().with_limit(40);
        assert_eq!(full.with_remaining(40).with_reset(secs(1)).spacing(), None);
        assert_eq!(full.with_remaining(50).with_reset(secs(1)).spacing(), None);
        assert_eq!(full.with_remaining(40).spacing(), None);
    }

    #[test]
    fn a_report_of_ones_own_says_what_it_was_given() {
        let report = QuotaReport::new()
            .with_scope(SignalScope::Everything)
            .with_remaining(3)
            .with_limit(100)
            .with_reset(secs(20))
            .with_period(secs(60))
            .gradual()
            .with_maximum_concurrency(4)
            .with_current_concurrency(1);
        assert_eq!(report.scope(), SignalScope::Everything);
        assert_eq!(report.remaining(), Some(3));
        assert_eq!(report.limit(), Some(100));
        assert_eq!(report.reset(), Some(secs(20)));
        assert_eq!(report.period(), Some(secs(60)));
        assert!(report.is_gradual());
        assert_eq!(report.maximum_concurrency(), Some(4));
        assert_eq!(report.current_concurrency(), Some(1));
    }

    #[test]
    fn nothing_is_zero() {
        let report = QuotaReport::new()
            .with_reset(Duration::ZERO)
            .with_period(Duration::ZERO)
            .with_maximum_concurrency(0);
        assert_eq!(report, QuotaReport::new());
    }
}

//! What answers mean to the engine: signals translated into the buckets' terms.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Engine, hint::RetryHint, taken::Taken};
use crate::{
    bucket::{Refusal, RefusalKind, Report},
    signal::{QuotaReport, Signal, SignalKind, SignalScope},
};

/// Of a known limit, this part left is little: a quarter.
const LITTLE: u64 = 4;
/// Of an unknown limit, this many left are few.
const FEW: u64 = 10;

impl Engine {
    pub(super) fn refused(&self, taken: Taken, signal: &Signal) -> Option<RetryHint> {
        let kind = match signal.kind() {
            SignalKind::Rate => RefusalKind::Rate,
            SignalKind::Concurrency => {
                RefusalKind::Concurrency(signal.concurrency_limit().map(saturated))
            }
            SignalKind::Overload => RefusalKind::Overload,
            // Waiting brings no credits, and requests that cost none still work.
            SignalKind::QuotaExhausted => return None,
        };
        let everything = signal.scope() == SignalScope::Everything;
        let opens = self.with(|state, now, wakes| {
            let refusal = Refusal {
                kind,
                retry_after: signal.retry_after().map(Into::into),
                rate: signal.rate_limit().map(saturated),
                period: signal.period().map(Into::into),
                ceiling: state.tree.max_pause.into(),
                random: fastrand::f64(),
            };
            let opens = state.refused(taken, &refusal, everything, now, wakes);
            self.note(state.tree.table.learned);
            // A retry would come too early if it came after the pause.
            let too_long = refusal.retry_after > Some(refusal.ceiling);
            refusal
                .concerns(state.tree.face)
                .then_some((opens, too_long))
        });
        let (opens, too_long) = opens?;
        let opens = self.clock.instant(opens).filter(|_| !too_long);
        Some(opens.map_or(RetryHint::Forbidden, RetryHint::NotBefore))
    }

    /// The head of an answer names a delay, and what else it says is not known yet.
    pub(super) fn asked_to_wait(&self, taken: Taken, delay: Duration) {
        self.with(|state, now, wakes| {
            let refusal = Refusal {
                kind: RefusalKind::Rate,
                retry_after: Some(delay.into()),
                rate: None,
                period: None,
                ceiling: state.tree.max_pause.into(),
                random: fastrand::f64(),
            };
            state.asked_to_wait(taken, &refusal, now, wakes);
        });
    }

    #[inline]
    pub(super) fn succeeded(&self, taken: Taken, quota: Option<&QuotaReport>) {
        // Relaxed: a success that just misses the first lesson would not have been counted by it.
        let learned = self.learned.load(Ordering::Relaxed) != 0;
        if learned || quota.is_some() {
            self.report(taken, quota, learned);
        }
    }

    fn report(&self, taken: Taken, quota: Option<&QuotaReport>, learned: bool) {
        let report = quota.map(report).unwrap_or_default();
        if !learned && report.is_empty() {
            return;
        }
        self.with(|state, now, wakes| {
            let report = report.at_most(state.tree.max_pause.into());
            state.succeeded(taken, &report, now, wakes);
            self.note(state.tree.table.learned);
        });
    }

    /// Under the lock, so that the last to tell is the one who knows.
    fn note(&self, learned: usize) {
        self.learned.store(learned, Ordering::Relaxed);
    }
}

fn report(quota: &QuotaReport) -> Report {
    let little = match (quota.remaining(), quota.limit()) {
        (Some(0) | None, _) => false,
        (Some(remaining), Some(limit)) => remaining.saturating_mul(LITTLE) <= limit,
        (Some(remaining), None) => remaining <= FEW,
    };
    let empty = quota.remaining() == Some(0);
    let until = if quota.is_gradual() {
        quota.spacing()
    } else {
        quota.reset()
    };
    Report {
        counts: quota.remaining().is_some(),
        maximum_concurrency: quota.maximum_concurrency().map(saturated),
        empty_for: until.filter(|_| empty).map(Into::into),
        pace: quota
            .spacing()
            .zip(quota.reset())
            .filter(|_| little)
            .map(|(spacing, until)| (spacing.into(), until.into())),
    }
}

/// A limit beyond 2³² is none.
fn saturated(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

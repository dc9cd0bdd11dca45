use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many retries a full budget holds: AWS's standard mode has 500 units and takes 5 for a retry.
pub(super) const CAPACITY: u32 = 100;

/// What each success adds: a tenth of a retry, after Marc Brooker's *Fixing retries with token buckets
/// and circuit breakers* and the example of gRPC's A6.
pub(super) const PER_SUCCESS: f64 = 0.1;

/// How much load retries may add when a server fails.
///
/// A token bucket: a retry takes one, a success adds a fraction. When most requests fail the bucket
/// runs empty, and from then on there are as few retries as there are successes, instead of a storm
/// that keeps the server down. It belongs to a layer; all services of the layer share it. Throttling
/// answers take nothing: who is told when to come back may come back.
///
/// The default holds 100 retries (AWS's standard mode has 500 units, and takes 5 for one) and adds 0.1
/// per success (the example of gRPC's A6).
#[derive(Debug)]
pub struct Budget {
    /// In millionths, so that fractions add up exactly.
    tokens: AtomicU64,
    capacity: u64,
    per_success: u64,
}

const UNIT: u64 = 1_000_000;

impl Budget {
    /// A budget for `capacity` retries, full at first, to which each success adds `per_success`.
    ///
    /// # Panics
    ///
    /// If `per_success` is negative or no number.
    #[track_caller]
    pub fn new(capacity: u32, per_success: f64) -> Self {
        assert!(
            per_success >= 0.0,
            "a budget to which a success adds {per_success}: needs 0 or more"
        );
        let capacity = u64::from(capacity) * UNIT;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "not negative, rounded, and more than the capacity is as good as that"
        )]
        let per_success = ((per_success * UNIT as f64).round() as u64).min(capacity);
        Self {
            tokens: AtomicU64::new(capacity),
            capacity,
            per_success,
        }
    }

    // All orderings are relaxed: the count is all there is.

    pub(super) fn deposit(&self, amount: Deposit) {
        let amount = match amount {
            Deposit::Success => self.per_success,
            Deposit::Refund => UNIT,
        };
        // A full budget is the usual case, and costs a read only.
        let _ = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                let more = tokens.saturating_add(amount).min(self.capacity);
                (more != tokens).then_some(more)
            });
    }

    pub(super) fn withdraw(self: &Arc<Self>) -> Option<Withdrawn> {
        self.tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                tokens.checked_sub(UNIT)
            })
            .ok()?;
        Some(Withdrawn(Some(Arc::clone(self))))
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(CAPACITY, PER_SUCCESS)
    }
}

#[derive(Clone, Copy)]
pub(super) enum Deposit {
    Success,
    Refund,
}

/// What a retry takes from the budget. Given back on drop, unless the retry was sent.
#[derive(Debug)]
pub(super) struct Withdrawn(Option<Arc<Budget>>);

impl Withdrawn {
    pub(super) fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Withdrawn {
    fn drop(&mut self) {
        if let Some(budget) = &self.0 {
            budget.deposit(Deposit::Refund);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(per_success: f64) -> Arc<Budget> {
        let budget = Arc::new(Budget::new(10, per_success));
        for _ in 0..10 {
            budget.withdraw().unwrap().spend();
        }
        budget
    }

    #[test]
    fn fractions_add_up_exactly() {
        for (per_success, successes) in [
            (0.1, 10),
            (0.6, 2),
            (0.25, 4),
            (1.0, 1),
            (0.000_001, 1_000_000),
        ] {
            let budget = empty(per_success);
            for _ in 0..successes {
                assert!(budget.withdraw().is_none(), "{per_success}");
                budget.deposit(Deposit::Success);
            }
            assert!(budget.withdraw().is_some(), "{per_success}");
        }
    }

    #[test]
    fn holds_no_more_than_its_capacity() {
        let budget = Arc::new(Budget::new(2, 1.0));
        for _ in 0..10 {
            budget.deposit(Deposit::Success);
        }
        let withdrawn: Vec<_> = std::iter::from_fn(|| budget.withdraw()).take(3).collect();
        assert_eq!(withdrawn.len(), 2);
    }

    #[test]
    fn a_retry_that_was_not_sent_is_given_back() {
        let budget = Arc::new(Budget::new(1, 0.0));
        drop(budget.withdraw().unwrap());
        budget.withdraw().unwrap().spend();
        assert!(budget.withdraw().is_none());
    }

    #[test]
    fn a_capacity_of_zero_allows_no_retry() {
        let budget = Arc::new(Budget::new(0, f64::INFINITY));
        budget.deposit(Deposit::Success);
        assert!(budget.withdraw().is_none());
    }

    #[test]
    #[should_panic(expected = "a success adds NaN")]
    fn what_is_no_number_is_refused() {
        let _ = Budget::new(1, f64::NAN);
    }

    #[test]
    #[should_panic(expected = "a success adds -0.5")]
    fn a_negative_number_is_refused() {
        let _ = Budget::new(1, -0.5);
    }
}

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The first step of the default back-off: that of the Anthropic, `OpenAI` and Stripe SDKs.
pub(super) const BASE: Duration = Duration::from_millis(500);

/// The longest step of the default back-off: that of the AWS SDKs' standard mode.
pub(super) const CAP: Duration = Duration::from_secs(20);

/// How long to wait before a retry when the server did not say.
///
/// The longest wait of the n-th retry doubles from `base` up to `cap`; the jitter decides how much of
/// it is waited. All three are those of [the AWS Architecture Blog][aws], which compares them. The
/// default is full jitter from 500 ms to 20 s.
///
/// Every wait is drawn afresh: no two requests share their jitter.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::{Backoff, RetryLayer};
///
/// let backoff = Backoff::equal(Duration::from_millis(100), Duration::from_secs(5));
/// let layer = RetryLayer::new().backoff(backoff);
/// # let _ = layer;
/// ```
///
/// [aws]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    jitter: Jitter,
    entropy: Entropy,
}

#[derive(Clone, Copy, Debug)]
enum Jitter {
    Full,
    Equal,
    Decorrelated,
}

impl Backoff {
    /// Anything from zero to the longest wait. Spreads retries best.
    ///
    /// # Panics
    ///
    /// If `base` is zero or `cap` is less than `base`.
    #[track_caller]
    pub fn full(base: Duration, cap: Duration) -> Self {
        Self::new(base, cap, Jitter::Full)
    }

    /// Half of the longest wait, and anything up to as much again.
    ///
    /// # Panics
    ///
    /// If `base` is zero or `cap` is less than `base`.
    #[track_caller]
    pub fn equal(base: Duration, cap: Duration) -> Self {
        Self::new(base, cap, Jitter::Equal)
    }

    /// Anything from `base` to three times the wait before, and no more than `cap`.
    ///
    /// # Panics
    ///
    /// If `base` is zero or `cap` is less than `base`.
    #[track_caller]
    pub fn decorrelated(base: Duration, cap: Duration) -> Self {
        Self::new(base, cap, Jitter::Decorrelated)
    }

    #[track_caller]
    fn new(base: Duration, cap: Duration, jitter: Jitter) -> Self {
        assert!(
            !base.is_zero() && base <= cap,
            "a back-off from {base:?} to {cap:?}: needs 0 < base <= cap"
        );
        Self {
            base,
            cap,
            jitter,
            entropy: Entropy::Fresh,
        }
    }

    /// Draws the same waits in each run, for tests. Clones go on in one sequence.
    pub fn seed(mut self, seed: u64) -> Self {
        self.entropy = Entropy::Seeded(Arc::new(AtomicU64::new(seed)));
        self
    }

    /// The wait before the retry that follows `failures` failures, the last of which was followed by
    /// a wait of `previous`.
    pub(super) fn wait(&self, failures: u32, previous: Duration) -> Duration {
        let longest = 1u32
            .checked_shl(failures.saturating_sub(1))
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |step| step.min(self.cap));
        match self.jitter {
            Jitter::Full => self.below(longest),
            Jitter::Equal => {
                let half = longest / 2;
                half + self.below(longest.saturating_sub(half))
            }
            Jitter::Decorrelated => {
                let most = previous.max(self.base).saturating_mul(3).min(self.cap);
                self.base + self.below(most.saturating_sub(self.base))
            }
        }
    }

    /// Uniformly from zero to `bound`.
    pub(super) fn below(&self, bound: Duration) -> Duration {
        Duration::try_from_secs_f64(bound.as_secs_f64() * self.entropy.unit())
            .map_or(bound, |drawn| drawn.min(bound))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::full(BASE, CAP)
    }
}

/// Where jitter comes from. Cloning never repeats a draw: a cloned generator would, and that is how
/// clients end up coming back at the same instant.
#[derive(Clone, Debug)]
enum Entropy {
    /// The thread's generator, which is seeded by the system.
    Fresh,
    /// One sequence, which all clones draw from.
    Seeded(Arc<AtomicU64>),
}

impl Entropy {
    /// Uniformly from [0, 1).
    fn unit(&self) -> f64 {
        match self {
            Self::Fresh => fastrand::f64(),
            Self::Seeded(state) => {
                // The increment of SplitMix64. Relaxed, as a draw depends on nothing else.
                let seed = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                fastrand::Rng::with_seed(seed).f64()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let backoff = Backoff::equal(100 * MS, 1_000 * MS).seed(1);
        for (failures, longest) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (4, 800),
            (5, 1_000),
            (60, 1_000),
        ] {
            let waits = (0..1_000).map(|_| backoff.wait(failures, Duration::ZERO));
            let (least, most) = waits
                .fold((Duration::MAX, Duration::ZERO), |(least, most), wait| {
                    (least.min(wait), most.max(wait))
                });
            let longest = longest * MS;
            assert!(
                least >= longest / 2 && least < longest * 52 / 100,
                "{least:?}"
            );
            assert!(most <= longest && most > longest * 98 / 100, "{most:?}");
        }
    }

    #[test]
    fn decorrelated_waits_grow_from_the_one_before() {
        let backoff = Backoff::decorrelated(100 * MS, 60_000 * MS).seed(1);
        let mut previous = Duration::ZERO;
        for failures in 1..100 {
            let wait = backoff.wait(failures, previous);
            assert!(wait >= 100 * MS && wait <= (previous * 3).max(300 * MS).min(60_000 * MS));
            previous = wait;
        }
    }

    #[test]
    fn clones_never_repeat_a_draw() {
        for backoff in [Backoff::default(), Backoff::default().seed(7)] {
            let (one, other) = (backoff.clone(), backoff.clone());
            for _ in 0..100 {
                assert_ne!(one.wait(9, Duration::ZERO), other.wait(9, Duration::ZERO));
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_waits() {
        let draw = || {
            let backoff = Backoff::default().seed(7);
            [1, 2, 3].map(|failures| backoff.wait(failures, Duration::ZERO))
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    #[should_panic(expected = "a back-off from 2s to 1s")]
    fn inverted_bounds_are_refused() {
        let _ = Backoff::full(Duration::from_secs(2), Duration::from_secs(1));
    }

    #[test]
    #[should_panic(expected = "a back-off from 0ns to 1s")]
    fn a_base_of_zero_is_refused() {
        let _ = Backoff::decorrelated(Duration::ZERO, Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn no_wait_exceeds_the_cap(
            base in 1u64..,
            more in any::<u64>(),
            failures in any::<u32>(),
            previous in any::<u64>(),
        ) {
            let base = Duration::new(base, 999_999_999);
            let cap = base.saturating_add(Duration::from_nanos(more));
            let previous = Duration::from_nanos(previous);
            for backoff in [
                Backoff::full(base, cap),
                Backoff::equal(base, cap),
                Backoff::decorrelated(base, cap),
            ] {
                prop_assert!(backoff.wait(failures, previous) <= cap);
            }
        }
    }
}

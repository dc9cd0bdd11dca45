use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

use crate::costs::Terms;

/// A request extension: the instant after which an answer is of no use. [`Terms::deadline`] goes before it.
///
/// A request that cannot be dispatched by then is refused as soon as that is known: at once where the
/// wait can be computed; later if what it waits for changes and its turn comes too late then; at this instant
/// otherwise. It limits the wait for a turn, not the work that follows.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_throttle::Deadline;
///
/// let mut request = http::Request::new(());
/// request
///     .extensions_mut()
///     .insert(Deadline::after(Duration::from_secs(2)));
/// // The same, at an instant of tokio's clock, which is not `std::time::Instant`:
/// let deadline = Deadline(Instant::now() + Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// More than this from now on is as good as no deadline.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

impl Deadline {
    /// The deadline that passes when this much time has gone by from now on, by tokio's clock, which can be paused in
    /// tests. The time counts from this call, not from the request's. More than thirty years are taken for thirty.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time.min(FAR))
    }

    /// The deadline of a request: as its [`Terms`] state it, or by itself.
    #[inline]
    pub(crate) fn of(request: &Extensions) -> Option<Self> {
        if request.is_empty() {
            return None;
        }
        let terms = request.get::<Terms>().and_then(Terms::stated_deadline);
        terms.map(Self).or_else(|| request.get().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_time_counts_from_the_call_on() {
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let Deadline(at) = Deadline::after(Duration::from_millis(500));
        assert_eq!(at - start, Duration::from_millis(1500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_without_end_is_far_away() {
        assert_eq!(Deadline::after(Duration::MAX).0, Instant::now() + FAR);
    }
}

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
///     .insert(Deadline(Instant::now() + Duration::from_secs(2)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

impl Deadline {
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

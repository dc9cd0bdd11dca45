use tokio::time::Instant;

/// A request extension: the instant after which an answer is of no use.
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

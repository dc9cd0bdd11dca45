use tokio::time::Instant;

/// A response extension for the retry above: the layer below holds a retry of this request until then.
///
/// Left on an answer by a limiting layer that keeps requests back because of it, whether for a time
/// or until one of its own requests has ended, which counts as none. Where it is there, a retry may
/// come at once, and will be sent when the server wants it. `None` if no retry is to come: it would be
/// refused for waiting too long, or the server asks for more than the ceiling of pauses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadyAt(pub(crate) Option<Instant>);

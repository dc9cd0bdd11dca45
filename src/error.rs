//! What the layers refuse by themselves.

use std::{error::Error, fmt, time::Duration};

use tower::BoxError;

/// A request that a limiting layer did not let through.
///
/// This attempt never reached the inner service; of a retry, earlier ones did. Refusals happen where waiting was limited: by `max_waiting`, by
/// `max_wait`, or by a [`Deadline`](crate::Deadline) on the request; where a server has named a time
/// that is too long to be waited for; where a request states to cost more than its quota ever allows; and once the layer
/// is [closed](crate::Handle::close).
///
/// Errors travel through a tower stack as [`BoxError`], perhaps wrapped by other layers on their way:
/// [`Refused::in_error`] finds a refusal at any depth.
///
/// ```
/// use tower_throttle::{BoxError, Refused};
///
/// fn should_slow_down(error: &BoxError) -> bool {
///     Refused::in_error(error).is_some()
/// }
/// # assert!(!should_slow_down(&"another error".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    endpoint: Box<str>,
    scope: Box<str>,
    reason: RefusedReason,
    retry_after: Option<Duration>,
}

/// Why a request was [`Refused`]. [`_troubleshooting`](crate::_troubleshooting) says what to do about each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedReason {
    /// As many requests wait already as `max_waiting` allows; or it waited, and had to make room for one of a higher
    /// [class](crate::Priority).
    QueueFull,
    /// Its turn is known to come later than `max_wait` allows.
    WouldWaitTooLong,
    /// Its turn is known to come after its [`Deadline`](crate::Deadline).
    DeadlineWouldPass,
    /// It has waited for as long as `max_wait` or its deadline allow.
    WaitedTooLong,
    /// The server has asked to be left alone for longer than `max_pause`, so nobody waits. Until then one
    /// request in each `max_pause` is sent to see whether it still means that.
    ServerClosed,
    /// It [states](crate::Cost), by its terms or by the layer's `cost_by`, to take more than a window or the
    /// concurrency that is configured for it can hold. It could never go. It is refused on entry, or while it waits
    /// when a new quota is set. What was learned never refuses a request so, nor does an average: a request that is
    /// larger than a learned limit goes alone.
    NeverFits,
    /// The layer is [closed](crate::Handle::close), and nothing is dispatched any more.
    Closed,
}

impl Refused {
    pub(crate) fn new(
        endpoint: &str,
        scope: &str,
        reason: RefusedReason,
        retry_after: Option<Duration>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            scope: scope.into(),
            reason,
            retry_after,
        }
    }

    /// The refusal in `error` or in its chain of sources.
    pub fn in_error(error: &BoxError) -> Option<&Self> {
        Self::in_dyn(&**error)
    }

    /// The refusal in `error` or in its chain of sources.
    pub fn in_dyn<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref() {
                return Some(refused);
            }
            next = error.source();
        }
        None
    }

    /// The endpoint of the request: its template, its name, or its host and path.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The scope that had no room: the endpoint itself, its group's name, or `overall`.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Why it was refused.
    pub fn reason(&self) -> RefusedReason {
        self.reason
    }

    /// How long after the refusal the request's turn would have come, as far as windows and pauses
    /// tell; `None` where only the end of other requests could have made room, where it never fits, and where the layer
    /// is closed.
    ///
    /// Exact where one window of requests decides. Where several do it can be later, since each is taken by itself. So
    /// it can where a window counts another unit, since the requests before it are taken to cost nothing of that.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request to `{}` refused: ", self.endpoint)?;
        match self.reason {
            RefusedReason::QueueFull => write!(
                f,
                "as many requests wait for `{}` as `max_waiting` allows",
                self.scope
            ),
            RefusedReason::WouldWaitTooLong => {
                write!(f, "`{}` is busy for longer than `max_wait`", self.scope)
            }
            RefusedReason::DeadlineWouldPass => {
                write!(f, "`{}` is busy until after its deadline", self.scope)
            }
            RefusedReason::WaitedTooLong => {
                write!(f, "it has waited for `{}` as long as it may", self.scope)
            }
            RefusedReason::ServerClosed => {
                write!(
                    f,
                    "the server of `{}` is closed for longer than `max_pause`",
                    self.scope
                )
            }
            RefusedReason::NeverFits => {
                write!(f, "it costs more than `{}` allows at any time", self.scope)
            }
            RefusedReason::Closed => f.write_str("the layer is closed"),
        }?;
        match self.retry_after {
            Some(wait) => write!(f, " (its turn would come in {wait:?})"),
            None => Ok(()),
        }
    }
}

impl Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Refused {
        Refused::new(
            "GET /a",
            "overall",
            RefusedReason::QueueFull,
            Some(Duration::from_millis(1500)),
        )
    }

    #[derive(Debug)]
    struct Wrapped(BoxError);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn is_found_at_any_depth() {
        let plain: BoxError = refused().into();
        assert_eq!(Refused::in_error(&plain), Some(&refused()));
        let deep: BoxError = Wrapped(Wrapped(refused().into()).into()).into();
        assert_eq!(Refused::in_error(&deep), Some(&refused()));
        let other: BoxError = Wrapped("something else".into()).into();
        assert_eq!(Refused::in_error(&other), None);
    }

    #[test]
    fn says_what_happened() {
        assert_eq!(
            refused().to_string(),
            "request to `GET /a` refused: as many requests wait for `overall` as `max_waiting` \
             allows (its turn would come in 1.5s)"
        );
    }
}

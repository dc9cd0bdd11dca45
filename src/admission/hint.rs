use tokio::time::Instant;

/// A response extension: what a limiting layer tells the retry above it.
///
/// A limiting layer leaves it on an answer because of which it holds requests back. An answer without one
/// was held against nobody, and the retry above waits by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryHint {
    /// The layer holds the request back until this instant, so the retry may send it down at once. If the
    /// layer waits for another of its requests to end, nobody knows when that is, and this is the present.
    NotBefore(Instant),
    /// The trouble is the request's own: the retry above waits until then, and the layer holds nobody back.
    Alone(Instant),
    /// The request must not be sent again. The server asks for more than the ceiling of pauses, so that the
    /// layer would send it too early; or the layer would refuse it, for waiting too long.
    Forbidden,
}

impl RetryHint {
    /// What two layers of a stack say together.
    pub(crate) fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotBefore(one), Self::NotBefore(other)) => Self::NotBefore(one.max(other)),
            (Self::Alone(one), Self::NotBefore(other) | Self::Alone(other))
            | (Self::NotBefore(other), Self::Alone(one)) => Self::Alone(one.max(other)),
            (Self::Forbidden, _) | (_, Self::Forbidden) => Self::Forbidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_stricter_layer_of_a_stack_decides() {
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        let (early, late) = (RetryHint::NotBefore(early), RetryHint::NotBefore(late));
        assert_eq!(early.stricter(late), late);
        // Who waits alone waits for the other layer as well.
        let alone = |at| match at {
            RetryHint::NotBefore(at) => RetryHint::Alone(at),
            hint => hint,
        };
        assert_eq!(alone(early).stricter(late), alone(late));
        assert_eq!(late.stricter(alone(early)), alone(late));
        assert_eq!(late.stricter(early), late);
        assert_eq!(late.stricter(RetryHint::Forbidden), RetryHint::Forbidden);
        assert_eq!(RetryHint::Forbidden.stricter(late), RetryHint::Forbidden);
    }
}

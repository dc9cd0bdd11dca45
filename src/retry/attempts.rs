use std::time::Duration;

/// A response extension: what it took to get this answer.
///
/// Only on answers that took more than one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    pub(super) attempts: u32,
    pub(super) waited: Duration,
}

impl Attempts {
    /// How many times the request was sent: 2 or more.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The delays before the retries, added up: those that servers asked for, and back-offs.
    ///
    /// Time spent in the queues of limiting layers for other reasons is not in it.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

/// A request extension for the layers and the client below: which attempt this is.
///
/// Only on retries, so its number is 2 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(pub(super) u32);

impl Attempt {
    /// The number of the attempt, counted from 1.
    pub fn number(&self) -> u32 {
        self.0
    }
}

/// A request extension: doing what the request asks for twice is as good as doing it once.
///
/// So it may be sent again if what became of it is unknown. It is taken for granted of `GET`,
/// `HEAD`, `OPTIONS`, `TRACE`, `PUT` and `DELETE` (RFC 9110, section 9.2.2), and of requests with an
/// `Idempotency-Key`.
///
/// ```
/// use tower_throttle::Idempotent;
///
/// // Speech that was made twice is paid for twice, but does no harm.
/// let mut request = http::Request::post("/v1/text-to-speech/x").body(()).unwrap();
/// request.extensions_mut().insert(Idempotent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotent;

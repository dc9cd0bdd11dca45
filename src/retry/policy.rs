//! Whether to retry, and when: no clock, no state, no randomness.

use std::{error::Error, sync::Arc, time::Duration};

use http::{Extensions, HeaderName, Method, Response, StatusCode};
use tokio::time::Instant;
use tower::BoxError;

use super::{attempts::Idempotent, cause::Cause, transport};
use crate::{
    admission::{Deadline, RetryHint},
    costs::Terms,
    error::Refused,
    signal::{Answer, Signal, SignalKind},
};

/// The attempts that may fail before the last failure is handed up: three, as in AWS's standard mode,
/// and as the `OpenAI`, Anthropic and ElevenLabs SDKs have it (two retries).
pub(super) const MAX_ATTEMPTS: u32 = 3;

/// For how long to go on retrying. With the ceiling below, one wait at most is as long as that.
pub(super) const MAX_TOTAL: Duration = Duration::from_secs(120);

/// The longest delay of a server that is waited for: that of the `OpenAI` SDK, the longest of those
/// that have a ceiling and do not come back before the server's time when it is exceeded.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Whether a failure of this status is worth a retry, unless the user says otherwise.
///
/// What the SDKs of `OpenAI`, Anthropic and ElevenLabs retry (408, 429 and every 5xx), without 409, which
/// is no transient error in most APIs, and without the 5xx that another attempt does not change.
pub(super) fn is_transient(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 429 => true,
        // Not implemented, version not supported, loop, bandwidth used up, authentication at a network.
        501 | 505 | 508 | 509 | 511 => false,
        status => (500..600).contains(&status),
    }
}

/// Whether a status says that a proxy has not reached the server: no connection (521, 522), no route
/// (523), no TLS (525, 526), no name (530). All are Cloudflare's.
fn is_unsent(status: StatusCode) -> bool {
    matches!(status.as_u16(), 521 | 522 | 523 | 525 | 526 | 530)
}

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) max_attempts: u32,
    pub(super) max_total: Duration,
    pub(super) max_retry_after: Duration,
    /// Instead of those that are [transient](is_transient).
    pub(super) statuses: Option<Arc<[StatusCode]>>,
    pub(super) trust_retry_after: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_attempts: MAX_ATTEMPTS,
            max_total: MAX_TOTAL,
            max_retry_after: MAX_RETRY_AFTER,
            statuses: None,
            trust_retry_after: true,
        }
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// The delay that the server named.
    pub(super) retry_after: Option<Duration>,
    /// The server's word on whether to retry.
    pub(super) should_retry: Option<bool>,
    /// What a limiting layer below does with a retry, if it holds requests back because of this.
    pub(super) hold: Option<Hold>,
}

/// What a limiting layer below does with a retry: a [`RetryHint`], seen from now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hold {
    /// Holds it back for this long.
    For(Duration),
    /// Lets it through, but it has a trouble of its own, and waits for this long by itself.
    Alone(Duration),
    /// Would send it too early, or refuse it.
    Forbidden,
}

impl Hold {
    fn of(hint: RetryHint, now: Instant) -> Self {
        match hint {
            RetryHint::NotBefore(opens) => Self::For(opens.saturating_duration_since(now)),
            RetryHint::Alone(until) => Self::Alone(until.saturating_duration_since(now)),
            RetryHint::Forbidden => Self::Forbidden,
        }
    }
}

/// What is known of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Sending it twice does no harm.
    pub(super) repeatable: bool,
    /// Until its deadline, if it has one.
    pub(super) left: Option<Duration>,
}

impl Facts {
    /// `has_header` tells whether the request has a header of that name.
    pub(super) fn of(
        method: &Method,
        extensions: &Extensions,
        has_header: impl FnOnce(&HeaderName) -> bool,
        now: Instant,
    ) -> Self {
        let terms = extensions.get::<Terms>();
        Self {
            repeatable: method.is_idempotent()
                || extensions.get::<Idempotent>().is_some()
                || terms.is_some_and(Terms::is_idempotent)
                || has_header(&IDEMPOTENCY_KEY),
            left: Deadline::of(extensions)
                .map(|Deadline(deadline)| deadline.saturating_duration_since(now)),
        }
    }
}

/// How far its attempts have got.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// Failures that count as attempts, with the one that is to be decided about.
    pub(super) failures: u32,
    /// Since the first failure.
    pub(super) elapsed: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Another attempt would be wrong, or of no use.
    Return,
    /// Another attempt would be right, but the request has none left, or no time for it.
    GiveUp,
    Retry {
        wait: Wait,
        /// Whether it takes one of the attempts, and from the budget.
        charged: bool,
        /// The longest that the wait may become.
        latest: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// As long as the server asked for, or longer, if that has room.
    AtLeast(Duration),
    /// The back-off.
    Own(Duration),
    /// As long as a limiting layer below says.
    Alone(Duration),
    /// Not here: a limiting layer below holds the retry back, for this long.
    Below(Duration),
}

impl Policy {
    pub(super) fn decide(
        &self,
        failure: &Failure,
        request: Facts,
        state: State,
        own: impl FnOnce() -> Duration,
    ) -> Decision {
        let Some(charged) = self.is_retried(failure, request.repeatable) else {
            return Decision::Return;
        };
        if charged && state.failures >= self.max_attempts {
            return Decision::GiveUp;
        }
        let named = failure.retry_after;
        if named.is_some_and(|named| named > self.max_retry_after) {
            return Decision::GiveUp;
        }
        let wait = match failure.hold {
            Some(Hold::Forbidden) => return Decision::GiveUp,
            Some(Hold::Alone(wait)) => {
                let own = if charged { own() } else { Duration::ZERO };
                Wait::Alone(wait.max(own))
            }
            // The time of the answer was read a moment later than by the layer below.
            Some(Hold::For(held_for))
                if named.unwrap_or_default() <= held_for.saturating_add(TICK) =>
            {
                // A busy server that names no delay gets the back-off that was asked for.
                let own = if charged { own() } else { Duration::ZERO };
                if own > held_for {
                    Wait::Own(own)
                } else {
                    Wait::Below(held_for)
                }
            }
            Some(Hold::For(_)) | None => named.map_or_else(|| Wait::Own(own()), Wait::AtLeast),
        };
        let held_for = match failure.hold {
            Some(Hold::For(time)) => time,
            _ => Duration::ZERO,
        };
        let (Wait::AtLeast(delay) | Wait::Own(delay) | Wait::Alone(delay) | Wait::Below(delay)) =
            wait;
        let total = self.max_total.saturating_sub(state.elapsed);
        let latest = request.left.map_or(total, |left| left.min(total));
        if delay.max(held_for) > latest {
            return Decision::GiveUp;
        }
        Decision::Retry {
            wait,
            charged,
            latest,
        }
    }

    /// Whether a failure is retried, and if so, whether that is charged.
    pub(super) fn is_retried(&self, failure: &Failure, repeatable: bool) -> Option<bool> {
        if failure.should_retry == Some(false) {
            return None;
        }
        let wanted = failure.should_retry == Some(true);
        let (status, overloaded) = match failure.cause {
            Cause::Refusal(SignalKind::QuotaExhausted, _) | Cause::Hopeless => return None,
            // A request of too many was refused, not served (RFC 6585, section 4).
            Cause::Refusal(SignalKind::Rate | SignalKind::Concurrency, _) => return Some(false),
            Cause::Unsent => return Some(true),
            Cause::Lost => return repeatable.then_some(true),
            Cause::Refusal(SignalKind::Overload, status) => (status, true),
            Cause::PerhapsRefusal(status) | Cause::Answer(status) => (status, false),
        };
        let throttled = overloaded && failure.retry_after.is_some();
        let unprocessed = status == StatusCode::TOO_MANY_REQUESTS
            || is_unsent(status)
            || throttled && self.trust_retry_after
            || wanted;
        let listed = overloaded || wanted || self.lists(status);
        (listed && (unprocessed || repeatable)).then_some(!throttled)
    }

    fn lists(&self, status: StatusCode) -> bool {
        let statuses = self.statuses.as_ref();
        statuses.map_or_else(|| is_transient(status), |of| of.contains(&status))
    }
}

/// A tick of tokio's timer.
const TICK: Duration = Duration::from_millis(1);

impl Failure {
    pub(super) fn is_success<B>(result: &Result<Response<B>, BoxError>) -> bool {
        result.as_ref().is_ok_and(|response| {
            response.status().as_u16() < 400 && response.extensions().get::<Signal>().is_none()
        })
    }

    /// What went wrong with what is no success.
    pub(super) fn of<B>(result: &Result<Response<B>, BoxError>, now: Instant) -> Self {
        match result {
            Ok(response) => Self::of_answer(response, now),
            Err(error) => Self::of_error(error),
        }
    }

    pub(super) fn of_answer<B>(response: &Response<B>, now: Instant) -> Self {
        let status = response.status();
        let signal = response.extensions().get::<Signal>();
        let answer = Answer::arriving(status, response.headers());
        let hint = response.extensions().get::<RetryHint>();
        Self {
            cause: signal.map_or(Cause::Answer(status), |signal| {
                if signal.is_by_status_alone() {
                    Cause::PerhapsRefusal(status)
                } else {
                    Cause::Refusal(signal.kind(), status)
                }
            }),
            retry_after: signal
                .and_then(Signal::retry_after)
                .or_else(|| answer.retry_after()),
            should_retry: signal
                .and_then(Signal::should_retry)
                .or_else(|| answer.should_retry()),
            hold: hint.map(|&hint| Hold::of(hint, now)),
        }
    }

    fn of_error(error: &BoxError) -> Self {
        Self {
            cause: Cause::of_error(&**error),
            retry_after: None,
            should_retry: None,
            hold: None,
        }
    }
}

impl Cause {
    fn of_error(error: &(dyn Error + 'static)) -> Self {
        if Refused::in_dyn(error).is_some() {
            return Self::Hopeless;
        }
        transport::cause(error).unwrap_or(Self::Hopeless)
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;
    use crate::error::RefusedReason;

    const SECOND: Duration = Duration::from_secs(1);
    const OWN: Duration = Duration::from_millis(123);

    fn answer(status: u16) -> Failure {
        Failure {
            cause: Cause::Answer(StatusCode::from_u16(status).unwrap()),
            retry_after: None,
            should_retry: None,
            hold: None,
        }
    }

    fn refusal(kind: SignalKind, status: u16) -> Failure {
        Failure {
            cause: Cause::Refusal(kind, StatusCode::from_u16(status).unwrap()),
            ..answer(status)
        }
    }

    impl Failure {
        fn after(self, delay: Duration) -> Self {
            Self {
                retry_after: Some(delay),
                ..self
            }
        }

        fn wanted(self, should_retry: bool) -> Self {
            Self {
                should_retry: Some(should_retry),
                ..self
            }
        }

        fn held(self, time: Duration) -> Self {
            Self {
                hold: Some(Hold::For(time)),
                ..self
            }
        }
    }

    const GET: Facts = Facts {
        repeatable: true,
        left: None,
    };

    const POST: Facts = Facts {
        repeatable: false,
        left: None,
    };

    const FIRST: State = State {
        failures: 1,
        elapsed: Duration::ZERO,
    };

    fn wait_of(policy: &Policy, failure: Failure, request: Facts, state: State) -> Option<Wait> {
        match policy.decide(&failure, request, state, || OWN) {
            Decision::Return | Decision::GiveUp => None,
            Decision::Retry { wait, .. } => Some(wait),
        }
    }

    fn wait(failure: Failure, request: Facts) -> Option<Wait> {
        wait_of(&Policy::default(), failure, request, FIRST)
    }

    fn charged(failure: Failure) -> Option<bool> {
        Policy::default().is_retried(&failure, true)
    }

    #[test]
    fn the_listed_statuses_are_retried_if_repeatable() {
        for status in [408, 500, 502, 503, 504, 507, 520, 524, 529, 599] {
            assert_eq!(wait(answer(status), GET), Some(Wait::Own(OWN)), "{status}");
            assert_eq!(wait(answer(status), POST), None, "{status}");
        }
        for status in [
            400, 401, 403, 404, 409, 418, 420, 430, 501, 505, 508, 509, 511,
        ] {
            assert_eq!(wait(answer(status), GET), None, "{status}");
        }
    }

    #[test]
    fn what_did_not_reach_the_server_is_retried_whatever_the_method() {
        for status in [521, 522, 523, 525, 526, 530] {
            assert_eq!(wait(answer(status), POST), Some(Wait::Own(OWN)), "{status}");
        }
    }

    #[test]
    fn a_refusal_by_status_alone_is_retried_if_that_was_asked_for() {
        let teapot = StatusCode::IM_A_TEAPOT;
        let perhaps = Failure {
            cause: Cause::PerhapsRefusal(teapot),
            ..answer(418)
        }
        .after(SECOND);
        assert_eq!(wait(perhaps, GET), None);
        let policy = Policy {
            statuses: Some([teapot].into_iter().collect()),
            ..Policy::default()
        };
        let asked = wait_of(&policy, perhaps, GET, FIRST);
        assert_eq!(asked, Some(Wait::AtLeast(SECOND)));
        assert_eq!(wait_of(&policy, perhaps, POST, FIRST), None);
    }

    #[test]
    fn a_429_is_retried_whatever_the_method() {
        assert_eq!(wait(answer(429), POST), Some(Wait::Own(OWN)));
        for kind in [
            SignalKind::Rate,
            SignalKind::Concurrency,
            SignalKind::Overload,
        ] {
            assert_eq!(wait(refusal(kind, 429), POST), Some(Wait::Own(OWN)));
        }
    }

    #[test]
    fn an_overload_with_a_delay_is_retried_whatever_the_method() {
        for status in [503, 529] {
            let overload = refusal(SignalKind::Overload, status);
            assert_eq!(wait(overload, POST), None);
            assert_eq!(wait(overload, GET), Some(Wait::Own(OWN)));
            let named = overload.after(SECOND);
            assert_eq!(wait(named, POST), Some(Wait::AtLeast(SECOND)));
        }
    }

    #[test]
    fn an_overload_with_a_delay_proves_nothing_if_it_is_not_trusted() {
        let policy = Policy {
            trust_retry_after: false,
            ..Policy::default()
        };
        let overload = refusal(SignalKind::Overload, 503).after(SECOND);
        assert_eq!(wait_of(&policy, overload, POST, FIRST), None);
        let get = wait_of(&policy, overload, GET, FIRST);
        assert_eq!(get, Some(Wait::AtLeast(SECOND)));
    }

    #[test]
    fn a_quota_that_is_used_up_is_never_retried() {
        for wanted in [true, false] {
            let exhausted = refusal(SignalKind::QuotaExhausted, 429).after(SECOND);
            assert_eq!(wait(exhausted.wanted(wanted), GET), None);
        }
    }

    #[test]
    fn the_server_has_the_last_word() {
        let rate = refusal(SignalKind::Rate, 429);
        assert_eq!(wait(rate.wanted(false), GET), None);
        assert_eq!(wait(answer(500).wanted(false), GET), None);
        assert_eq!(wait(answer(500).wanted(true), POST), Some(Wait::Own(OWN)));
        assert_eq!(wait(answer(409).wanted(true), POST), Some(Wait::Own(OWN)));
    }

    #[test]
    fn throttling_answers_are_not_charged() {
        assert_eq!(charged(refusal(SignalKind::Rate, 429)), Some(false));
        assert_eq!(charged(refusal(SignalKind::Concurrency, 429)), Some(false));
        let overload = refusal(SignalKind::Overload, 503);
        assert_eq!(charged(overload.after(SECOND)), Some(false));
        assert_eq!(charged(overload), Some(true));
        assert_eq!(charged(answer(500).after(SECOND)), Some(true));
    }

    #[test]
    fn the_last_attempt_is_the_last_only_for_what_is_charged() {
        let last = State {
            failures: 3,
            ..FIRST
        };
        let policy = Policy::default();
        assert_eq!(wait_of(&policy, answer(500), GET, last), None);
        let rate = refusal(SignalKind::Rate, 429);
        assert!(wait_of(&policy, rate, GET, last).is_some());
    }

    #[test]
    fn a_delay_beyond_the_ceiling_is_not_waited_for() {
        let rate = refusal(SignalKind::Rate, 429);
        assert!(wait(rate.after(MAX_RETRY_AFTER), GET).is_some());
        let beyond = MAX_RETRY_AFTER + Duration::from_nanos(1);
        assert_eq!(wait(rate.after(beyond), GET), None);
    }

    #[test]
    fn a_wait_that_would_pass_the_total_or_the_deadline_is_not_begun() {
        let policy = Policy::default();
        let rate = refusal(SignalKind::Rate, 429);
        let late = State {
            elapsed: MAX_TOTAL.saturating_sub(SECOND),
            ..FIRST
        };
        assert!(wait_of(&policy, rate.after(SECOND), GET, late).is_some());
        let longer = SECOND + Duration::from_nanos(1);
        assert_eq!(wait_of(&policy, rate.after(longer), GET, late), None);
        let urgent = Facts {
            left: Some(SECOND),
            ..GET
        };
        assert!(wait(rate.after(SECOND), urgent).is_some());
        assert_eq!(wait(rate.after(longer), urgent), None);
        // Nor one that would have to go on below.
        assert_eq!(wait(rate.after(SECOND).held(longer), urgent), None);
    }

    #[test]
    fn what_the_other_half_holds_back_does_not_sleep() {
        let policy = Policy::default();
        let decide = |failure| match policy.decide(&failure, POST, FIRST, || OWN) {
            Decision::Retry { wait, .. } => wait,
            Decision::Return | Decision::GiveUp => panic!("a 429 is retried"),
        };
        let rate = refusal(SignalKind::Rate, 429);
        assert_eq!(decide(rate), Wait::Own(OWN));
        assert_eq!(decide(rate.held(SECOND)), Wait::Below(SECOND));
        let held = rate.after(SECOND).held(Duration::from_micros(999_997));
        assert!(matches!(decide(held), Wait::Below(_)));
        // Should it be held for less than the server asked for, it is not sent early for that.
        let short = rate.after(2 * SECOND).held(SECOND);
        assert_eq!(decide(short), Wait::AtLeast(2 * SECOND));
    }

    #[test]
    fn what_the_layer_below_forbids_is_not_retried_however_long_one_would_wait() {
        let policy = Policy {
            max_total: Duration::MAX,
            max_retry_after: Duration::MAX,
            ..Policy::default()
        };
        for failure in [
            refusal(SignalKind::Rate, 429),
            refusal(SignalKind::Concurrency, 429).after(86_400 * SECOND),
            refusal(SignalKind::Overload, 503),
            refusal(SignalKind::Overload, 503).after(Duration::MAX),
        ] {
            let forbidden = Failure {
                hold: Some(Hold::Forbidden),
                ..failure
            };
            assert_eq!(wait_of(&policy, forbidden, GET, FIRST), None);
            assert!(wait_of(&policy, failure, GET, FIRST).is_some());
        }
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

    fn cause(error: impl Into<BoxError>) -> Cause {
        Cause::of_error(&*error.into())
    }

    #[test]
    fn a_refused_connection_has_sent_nothing() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(cause(refused()), Cause::Unsent);
        assert_eq!(cause(Wrapped(refused().into())), Cause::Unsent);
        assert_eq!(cause(io::Error::other(refused())), Cause::Unsent);
        assert_eq!(
            cause(io::Error::other(Wrapped(refused().into()))),
            Cause::Unsent
        );
        let unsent = Failure::of_error(&refused().into());
        assert_eq!(wait(unsent, POST), Some(Wait::Own(OWN)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_may_have_sent_everything() {
        let tokio_error = || async {
            let never = std::future::pending::<()>();
            tokio::time::timeout(SECOND, never).await.unwrap_err()
        };
        let of_tower = || tower::timeout::error::Elapsed::new();
        assert_eq!(cause(of_tower()), Cause::Lost);
        assert_eq!(cause(Wrapped(of_tower().into())), Cause::Lost);
        assert_eq!(cause(tokio_error().await), Cause::Lost);
        assert_eq!(cause(io::Error::other(tokio_error().await)), Cause::Lost);
        let lost = Failure::of_error(&of_tower().into());
        assert_eq!(wait(lost, GET), Some(Wait::Own(OWN)));
        assert_eq!(wait(lost, POST), None);
    }

    #[test]
    fn a_lost_connection_may_have_sent_everything() {
        for kind in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::NotConnected,
            io::ErrorKind::TimedOut,
            io::ErrorKind::UnexpectedEof,
        ] {
            assert_eq!(cause(Wrapped(io::Error::from(kind).into())), Cause::Lost);
            let lost = Failure::of_error(&io::Error::from(kind).into());
            assert_eq!(wait(lost, GET), Some(Wait::Own(OWN)));
            assert_eq!(wait(lost, POST), None);
        }
    }

    #[test]
    fn other_errors_are_not_retried() {
        assert_eq!(cause("no"), Cause::Hopeless);
        assert_eq!(cause(io::Error::other("no")), Cause::Hopeless);
        assert_eq!(
            cause(io::Error::from(io::ErrorKind::InvalidData)),
            Cause::Hopeless
        );
        let hopeless = Failure::of_error(&"no".into());
        assert_eq!(wait(hopeless, GET), None);
    }

    #[test]
    fn our_own_refusal_is_not_retried_at_any_depth() {
        let refused = Refused::new("GET /a", "GET /a", RefusedReason::QueueFull, Some(SECOND));
        assert_eq!(cause(refused.clone()), Cause::Hopeless);
        assert_eq!(
            cause(Wrapped(Wrapped(refused.into()).into())),
            Cause::Hopeless
        );
    }
}

//! Sending again what failed, when that pays and does no harm.
//!
//! [`RetryLayer`] makes [`Retry`] services. [`ThrottleLayer`](crate::ThrottleLayer) includes one.
//!
//! # What is retried
//!
//! | what came back | is retried |
//! |---|---|
//! | 429, or another answer that the [classifier](crate::signal::Classify) takes for a limit | always |
//! | 503 or 529 with a delay (`Retry-After` and the like) | always; see [`trust_retry_after`](RetryLayer::trust_retry_after) |
//! | a connection that was refused; by [what clients tell](#what-clients-tell) also any that could not be made, and what was not accepted | always |
//! | 521, 522, 523, 525, 526, 530: a proxy has not reached the server | always; see [`statuses`](RetryLayer::statuses) |
//! | 408 and every 5xx but 501, 505, 508, 509 and 511 | if repeatable; see [`statuses`](RetryLayer::statuses) |
//! | a lost connection (reset, aborted, broken pipe, timed out, unexpected end) | if repeatable |
//! | the `Elapsed` of tower's or tokio's timeout | if repeatable |
//! | 403, 418, 420, 430, 509 that the classifier takes for a limit by the status alone | if listed by [`statuses`](RetryLayer::statuses) and repeatable |
//! | any answer from 400 on with `x-should-retry: true` | always |
//! | any answer with `x-should-retry: false` | never |
//! | a refusal because credits are used up | never |
//! | our own [`Refused`](crate::Refused), at any depth | never |
//! | other errors and answers | never |
//!
//! A request is *repeatable* if its method is idempotent (RFC 9110, section 9.2.2), if it has an
//! `Idempotency-Key`, or if it carries [`Idempotent`] or [`Terms`](crate::Terms::idempotent) that say so.
//!
//! A request whose body cannot be sent twice is sent once. Bodies of type `()`, `Empty<Bytes>`,
//! `Full<Bytes>`, `Bytes`, `String`, `&'static str` and `Vec<u8>` can; others if
//! [`clone_body_with`](RetryLayer::clone_body_with) or
//! [`collect_body_with`](RetryLayer::collect_body_with) says so. That a type is `Clone` proves nothing:
//! there are bodies whose clones share one stream.
//!
//! # What clients tell
//!
//! Without further features, errors are understood as far as there is an [`std::io::Error`] in their chain,
//! for any client. With the feature `hyper-client` (which `reqwest` includes), those of hyper, hyper-util and
//! h2 are, and with `reqwest` reqwest's timeouts:
//!
//! - *Never sent*, and so retried whatever the request: whatever kept hyper-util's client or reqwest from
//!   connecting (a name that cannot be resolved, a timeout for connecting, TLS); a connection that was gone
//!   before it took the request; an HTTP/2 stream that the server refused, or had not accepted when it
//!   shut down (RFC 9113, section 8.7).
//! - *Lost*, and so retried if repeatable: a connection that was closed before the answer was complete, any
//!   other stream that the server reset, a timeout.
//! - *Neither*: a failing request body.
//!
//! A client that follows redirects by itself can fail to connect to where it was sent on to, after the
//! first server has carried out the request. That looks like a request that was never sent. Have it follow
//! none (`tower_throttle::reqwest::ReqwestService::build` sees to that).
//!
//! # When
//!
//! 1. Never before the time that the server asked for. Jitter only adds to it: up to 10 %, at most one
//!    second. A delay beyond [`max_retry_after`](RetryLayer::max_retry_after) is not waited for.
//! 2. Where the server named no delay, after a [`Backoff`].
//! 3. Above a limiting layer of ours, what was throttled is not waited for here: that layer holds it
//!    back, by its pause, with the pause's jitter, or until its limits have room. Only after an overload
//!    that names no delay comes the back-off, if it is longer than that. A retry that such a layer would
//!    not hold for long enough (because of its `max_pause`), or would refuse (because of its
//!    `max_wait`), is not begun.
//! 4. A retry that would come after [`max_total`](RetryLayer::max_total), counted from the first
//!    failure, or after the request's [`Deadline`](crate::Deadline), is not waited for. The time before
//!    the first answer does not count: a long queue below takes nothing from the retries.
//! 5. Throttling answers (limits, and 503 or 529 with a delay) are retried for as long as there is
//!    time. All other failures take one of [`max_attempts`](RetryLayer::max_attempts), and a retry from
//!    the [`Budget`].
//!
//! Whatever is not waited for is handed up at once, as it came. An answer that took more than one
//! attempt carries [`Attempts`]; a retry carries [`Attempt`] downwards.
//!
//! An [observer](RetryLayer::observe) gets an event for each retry when it is decided, and for each failure that
//! could have been retried and is handed up.
//!
//! # Order
//!
//! Outside the limits: `Retry -> Concurrency -> Rps -> client`, so that each attempt is charged, and
//! nothing is held while it waits. Inside, a retry would hold its permit through the back-off, and
//! would go out without a place in the window.
//!
//! Clients that retry by themselves do it below the limits, where nothing counts: switch that off
//! (reqwest: `ReqwestService::build`; hyper-util's client: `retry_canceled_requests(false)`, though what it
//! sends again has never left).
//!
//! Above any limiting layer of ours, by hand as within [`ThrottleLayer`](crate::ThrottleLayer), a throttled
//! request goes straight back into the queue, in its old place, and the bucket's pause holds it there; it
//! finds its place even if `max_waiting` keeps newcomers out. Without a limiting layer below, it sleeps.
//!
//! # Cancellation
//!
//! Dropping the response future drops the attempt that is under way, and nothing comes after. Nothing
//! is held between attempts: the answer, with its body and permit, is dropped before the wait, and the
//! inner service is made ready after it. A retry that was not sent takes nothing from the budget.

mod attempts;
mod backoff;
mod budget;
mod cause;
mod classified;
mod clone_body;
mod collect;
mod future;
mod head;
mod layer;
mod policy;
mod progress;
mod replay;
mod rules;
mod service;
#[cfg(feature = "tower-retry")]
mod tower;
mod transport;

#[cfg(feature = "tower-retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower-retry")))]
pub use self::tower::{Pause, RetryPolicy};
pub use self::{
    attempts::{Attempt, Attempts, Idempotent},
    backoff::Backoff,
    budget::Budget,
    collect::ReplayBody,
    future::ResponseFuture,
    layer::RetryLayer,
    service::Retry,
};
pub(crate) use self::{future::RetryFuture, service::RetryService};

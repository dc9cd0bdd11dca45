//! What an answer tells about the limits of the server.
//!
//! A [`Classify`] looks at the status, the headers and the first bytes of the body of an answer. A
//! refusal becomes a [`Signal`]: too fast, too many at once, overloaded, or out of credits, with the
//! delay and the limit that the server named. A success may become a [`QuotaReport`]: what is left.
//! Nothing here waits, and reading a success allocates nothing. Time is an argument of [`Answer::new`]; of the
//! answers that a layer looks at, the system's clock is read if they name an absolute time and have no `Date`.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use http::{HeaderMap, HeaderValue, StatusCode};
//! use tower_throttle::signal::{Answer, Classify, Profile, SignalKind};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("retry-after", HeaderValue::from_static("2"));
//! let answer = Answer::new(StatusCode::TOO_MANY_REQUESTS, &headers, SystemTime::now());
//!
//! let signal = Profile::Standard.classify(&answer).unwrap();
//! assert_eq!(signal.kind(), SignalKind::Rate);
//! assert_eq!(signal.retry_after(), Some(Duration::from_secs(2)));
//! ```
//!
//! # Rules
//!
//! Which answers are refusals:
//!
//! 1. A 429 is one of rate, unless it says otherwise: that there were too many at the same time, in whatever
//!    words. 503 and 529 are overload, with or without a delay. 420, 430 and 509, and 403 and 418 that name a
//!    delay, are one of rate, too; to others these statuses mean something else, so
//!    [retries](crate::RetryLayer::statuses) have to be asked for. Other statuses are none, whatever their
//!    headers, unless a profile says so.
//! 2. A body that says that credits, or the quota of a day or a month, are used up makes a 401, 402, 429 or
//!    503 [`QuotaExhausted`](SignalKind::QuotaExhausted), so that no request waits for what will not come.
//! 3. The body is looked at if it is not compressed, or by `gzip` or `deflate` and the feature `decompress`
//!    is on; any part of it will do. Of JSON its members and what they say, else its text; of an event stream its
//!    first event.
//! 4. What a profile knows comes before what can be told by looking: GitHub's 403 is a rate limit under its
//!    profile, if it says so.
//!
//! How long to wait:
//!
//! 5. The delay is the first that is found of: `retry-after-ms` and its like, `Retry-After`, other names of
//!    it, a member of the body that is named for it (`retry_after`, `retryDelay`), the fixed phrases in which
//!    APIs say it ("try again in 20s"), a member of the body that is named for a reset, the profile's own
//!    quota headers, `RateLimit`, `RateLimit-Reset` and its like. A window that is empty and says no more
//!    than its period is waited for that long, up to a minute.
//! 6. Where a header comes twice, in two lines or in one, the longer delay counts.
//! 7. What is malformed, negative, zero, not finite, or has passed names no delay: the next source
//!    is asked. No answer ever says "now".
//! 8. A delay is reported as it was named, up to [`MAX_RETRY_AFTER`]: whether to wait a day is not
//!    decided here.
//! 9. A time, as opposed to a span, counts from the answer's `Date` and the `Age` that a cache adds to it, or
//!    from the client's clock if the answer has no date. A number from 10⁹ on is a time, and its size tells its unit.
//!    The unit of other numbers is the second, unless a name or a word says otherwise.
//! 10. The reset of a quota is a delay only of a rate refusal, and only if nothing is left of it. Of
//!     several that are used up, the longest counts; if none is, of those that do not say what is
//!     left.
//!
//! What the quota is:
//!
//! 11. A malformed `RateLimit` or `RateLimit-Policy` is ignored as a whole.
//! 12. An answer with an `Age` was kept by a cache, so its quota headers are ignored.
//! 13. A count may have a fraction, which is dropped, but no sign.
//! 14. Where lines about the same bucket disagree, fewer left and a longer reset count.
//! 15. Of several buckets a success is about the one with the fewest requests left. Tokens and bytes
//!     matter only when there are none.
//!
#![doc = include_str!("DIALECTS.md")]

mod answer;
mod binary;
mod body;
mod buckets;
mod chinese;
mod classifier;
mod classify;
mod coding;
mod date;
mod dialect;
mod dialects;
mod headers;
mod json;
mod known;
mod meaning;
mod names;
mod phrases;
mod profile;
mod reading;
mod report;
mod retry;
mod spans;
#[cfg(test)]
mod tests;
mod time;
mod word;
mod words;

pub use answer::Answer;
pub(crate) use classifier::Classifier;
pub use classify::{Classify, WithPenalty};
pub use meaning::{Signal, SignalKind, SignalScope};
pub use profile::Profile;
pub use report::{QuotaReport, UnitQuota};
pub use time::MAX_RETRY_AFTER;

//! GitHub: its rate limits answer 403 as well as 429.
//!
//! A 403 is a rate limit if it names a delay, if nothing is left of the quota, or if its body says
//! so; otherwise it is a missing permission. The secondary limits (of points per minute, of requests
//! at once) may come with no header at all; the documentation asks for a minute then.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::{Answer, SignalScope, json::Members, retry};

/// "wait for at least one minute before retrying" (GitHub, Rate limits for the REST API).
const SECONDARY_PAUSE: Duration = Duration::from_secs(60);

static RESOURCE: HeaderName = HeaderName::from_static("x-ratelimit-resource");

/// Whether this 403 is about a rate limit. `empty`: the quota headers say that nothing is left.
pub(super) fn is_throttled(answer: &Answer<'_>, root: &Members<'_>, empty: bool) -> bool {
    empty || answer.retry_after().is_some() || names_a_limit(root)
}

/// The delay of a refusal that names none.
pub(super) fn unnamed_delay(root: &Members<'_>) -> Option<Duration> {
    (root.message.contains("secondary rate limit") || root.message.contains("abuse"))
        .then_some(SECONDARY_PAUSE)
}

/// The quota is one for everything, except that search, GraphQL and some others have their own.
pub(super) fn scope(headers: &HeaderMap) -> SignalScope {
    match retry::texts(headers, &RESOURCE).next() {
        None | Some("core") => SignalScope::Everything,
        Some(_) => SignalScope::Endpoint,
    }
}

fn names_a_limit(root: &Members<'_>) -> bool {
    root.message.contains("rate limit") || root.message.contains("abuse detection")
}

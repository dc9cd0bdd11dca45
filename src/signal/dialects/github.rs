//! GitHub: its rate limits answer 403 as well as 429.
//!
//! A 403 is a rate limit if it names a delay, if nothing is left of the quota, or if its body says
//! so; otherwise it is a missing permission. The secondary limits (of points per minute, of requests
//! at once) may come with no header at all; the documentation asks for a minute then.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::signal::{
    answer::Answer,
    body::Members,
    dialect::{Dialect, Meaning, Reading},
    headers,
    known::Pattern,
    meaning::{SignalKind, SignalScope},
    report::QuotaReport,
    words::Sentence,
};

pub(super) const GITHUB: Dialect = Dialect {
    refuses: &[403],
    headers: &Pattern::all(["x-ratelimit-"]),
    report,
    meaning,
    unnamed_delay,
    scope: |reading| Some(scope_of(&reading.answer)),
    ..Dialect::NONE
};

/// "wait for at least one minute before retrying" (GitHub, Rate limits for the REST API).
const SECONDARY_PAUSE: Duration = Duration::from_secs(60);

static RESOURCE: HeaderName = HeaderName::from_static("x-ratelimit-resource");

/// Whether a 403 is about a rate limit.
fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    if reading.status() != StatusCode::FORBIDDEN {
        return None;
    }
    let empty = (reading.blocking).is_some_and(|bucket| bucket.remaining == Some(0));
    let throttled =
        empty || reading.answer.retry_after().is_some() || names_a_limit(&reading.text.root);
    Some(if throttled {
        Meaning::Refused(SignalKind::Rate)
    } else {
        Meaning::NoLimit
    })
}

/// The secondary limits name no delay.
fn unnamed_delay(reading: &Reading<'_>) -> Option<Duration> {
    let root = &reading.text.root;
    let phrases = [
        "exceeded a secondary rate limit",
        "triggered an abuse detection mechanism",
    ];
    let sentence = Sentence::new(root.message);
    (phrases.iter().any(|phrase| sentence.says(phrase))).then_some(SECONDARY_PAUSE)
}

fn report(answer: &Answer<'_>, report: &mut QuotaReport) {
    if report.remaining.is_some() {
        report.scope = scope_of(answer);
    }
}

/// The quota is one for everything, except that search, GraphQL and some others have their own.
fn scope_of(answer: &Answer<'_>) -> SignalScope {
    match headers::texts(answer.headers(), &RESOURCE).next() {
        None | Some("core") => SignalScope::Everything,
        Some(_) => SignalScope::Endpoint,
    }
}

fn names_a_limit(root: &Members<'_>) -> bool {
    let phrases = [
        "API rate limit exceeded",
        "exceeded a secondary rate limit",
        "triggered an abuse detection mechanism",
    ];
    phrases
        .iter()
        .any(|phrase| Sentence::new(root.message).says(phrase))
}

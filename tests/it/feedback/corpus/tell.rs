//! What the crate reads off an answer, in the words of the documentation's table.

use std::fmt::{Debug, Write};

use tower_throttle::signal::{
    Answer, Classify, Profile, QuotaReport, Signal, SignalKind, SignalScope,
};

use super::read::Entry;

/// What an answer reads as.
pub fn reading(entry: &Entry) -> String {
    let headers = entry.header_map();
    let head = Answer::new(entry.status, &headers, entry.now);
    tell(
        entry.profile,
        &seen(entry.profile, head, entry.body.as_bytes()),
    )
}

/// The answer as a layer would see it: a body that nobody wants is not read.
pub fn seen<'a>(profile: Profile, head: Answer<'a>, body: &'a [u8]) -> Answer<'a> {
    if profile.wants_body(&head) {
        head.with_body(body)
    } else {
        head
    }
}

pub fn tell(profile: Profile, answer: &Answer<'_>) -> String {
    let signal = profile.classify(answer).map(|signal| tell_signal(&signal));
    let quota = || profile.quota(answer).map(|report| tell_quota(&report));
    signal
        .or_else(|| answer.status().is_success().then(quota)?)
        .unwrap_or_else(|| "nothing".to_owned())
}

fn tell_signal(signal: &Signal) -> String {
    let mut text = match signal.kind() {
        SignalKind::Rate => "rate",
        SignalKind::Concurrency => "concurrency",
        SignalKind::Overload => "overload",
        SignalKind::QuotaExhausted => "quota exhausted",
        kind => unreachable!("{kind:?} has no words yet"),
    }
    .to_owned();
    if signal.scope() == SignalScope::Everything {
        text += " of everything";
    }
    if let Some(wait) = signal.retry_after() {
        write!(text, "; wait {wait:?}").unwrap();
    }
    if let Some(limit) = signal.concurrency_limit() {
        write!(text, "; {limit} at once").unwrap();
    }
    if signal.rate_limit().is_some() || signal.period().is_some() {
        let (limit, period) = (known(signal.rate_limit()), known(signal.period()));
        write!(text, "; {limit} per {period}").unwrap();
    }
    match signal.should_retry() {
        Some(true) => text += "; retry",
        Some(false) => text += "; do not retry",
        None => {}
    }
    text
}

fn tell_quota(report: &QuotaReport) -> String {
    let mut parts = Vec::new();
    if let Some(remaining) = report.remaining() {
        parts.push(format!("{remaining} of {} left", known(report.limit())));
    }
    if let Some(reset) = report.reset() {
        let how = if report.is_gradual() {
            ", bit by bit"
        } else {
            ""
        };
        parts.push(format!("whole in {reset:?}{how}"));
    }
    if let Some(period) = report.period() {
        parts.push(format!("per {period:?}"));
    }
    if let Some(maximum) = report.maximum_concurrency() {
        let current = known(report.current_concurrency());
        parts.push(format!("{current} of {maximum} at once"));
    }
    parts.join("; ")
}

fn known<T: Debug>(value: Option<T>) -> String {
    value.map_or("?".to_owned(), |value| format!("{value:?}"))
}

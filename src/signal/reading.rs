//! How what the dialects of a profile say becomes one [`Signal`], or one [`QuotaReport`].

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::{
    answer::Answer,
    body::Text,
    buckets::{Bucket, Buckets, Unit},
    coding::Coding,
    dialect::{Dialect, Meaning, Reading},
    dialects::{Dialects, concurrency, delay_in_body, elevenlabs},
    headers,
    meaning::{Signal, SignalKind, SignalScope},
    profile::Profile,
    report::QuotaReport,
    words::Sentence,
};
use crate::costs;

/// "Site is overloaded", of Anthropic and some others; not in any registry.
const OVERLOADED: u16 = 529;

impl Profile {
    pub(super) fn wants_body(self, answer: &Answer<'_>) -> bool {
        let status = answer.status();
        let mut dialects = Dialects::of(self).iter();
        (is_refusal(status) || dialects.any(|of| of.refuses(status) && (of.wants_body)(answer)))
            && Coding::of(answer.headers()) != Coding::Other
    }

    pub(super) fn classify(self, answer: &Answer<'_>) -> Option<Signal> {
        if !self.may_refuse(answer.status()) {
            return None;
        }
        let dialects = Dialects::of(self);
        let body = Coding::of(answer.headers()).decode(answer.body());
        let answer = &answer.with_body(&body);
        let reading = dialects.read(answer);
        let meaning = dialects.iter().find_map(|of| (of.meaning)(&reading));
        let (kind, by_status_alone) = match meaning.or_else(|| by_status(&reading))? {
            Meaning::Refused(kind) => (kind, false),
            Meaning::RefusedByStatus(kind) => (kind, true),
            Meaning::NoLimit => return None,
        };
        // Only a limit is told by a quota, and only its own: a server that is overloaded, or that has too
        // many requests at once, is not waiting for a window to end.
        let blocking = reading.blocking.filter(|bucket| match kind {
            SignalKind::Rate => bucket.unit != Unit::InFlight,
            SignalKind::Concurrency => bucket.unit == Unit::InFlight,
            SignalKind::Overload | SignalKind::QuotaExhausted => false,
        });

        let mut signal = Signal::new(kind).with_scope(dialects.scope(&reading, kind));
        signal.by_status_alone = by_status_alone;
        signal.should_retry = answer.should_retry();
        signal.retry_after = dialects.delay(&reading, blocking);
        match kind {
            SignalKind::Concurrency => {
                signal.concurrency_limit = concurrency_limit(&reading, blocking);
            }
            SignalKind::Rate => {
                signal.unit = unit_of_tokens(&reading, blocking);
                let counted = blocking.filter(|bucket| bucket.unit == Unit::Requests);
                let limit = counted.and_then(|bucket| bucket.limit);
                signal.rate_limit = limit.filter(|&limit| limit > 0);
                signal.period = counted.and_then(|bucket| bucket.period);
            }
            SignalKind::Overload | SignalKind::QuotaExhausted => {}
        }
        Some(signal)
    }

    #[inline]
    pub(super) fn quota(self, answer: &Answer<'_>) -> Option<QuotaReport> {
        if self.tells_none(answer.headers()) {
            return None;
        }
        self.told_quota(answer)
    }

    /// The same of an answer of which [`tells_none`](Self::tells_none) is false.
    pub(super) fn told_quota(self, answer: &Answer<'_>) -> Option<QuotaReport> {
        Dialects::of(self).quota(answer)
    }

    /// Whether none of the headers tells a quota. Most answers have none that does, and this is all that they pay: so
    /// it is apart from what reads them.
    #[inline(never)]
    pub(super) fn tells_none(self, headers: &HeaderMap) -> bool {
        let dialects = Dialects::of(self);
        for name in headers.keys() {
            if dialects.may_know(name) {
                return false;
            }
        }
        true
    }
}

impl Profile {
    /// Whether an answer of this status can be a refusal; whether it is may be for its body to say.
    #[inline]
    pub(crate) fn may_refuse(self, status: StatusCode) -> bool {
        // As nearly all answers can be told.
        if status.as_u16() < 400 && self != Self::Grpc {
            return false;
        }
        let mut dialects = Dialects::of(self).iter();
        is_refusal(status) || status.as_u16() == OVERLOADED || dialects.any(|of| of.refuses(status))
    }
}

/// Whether an answer of this status can be a refusal, and its body tells which.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::UNAUTHORIZED
            | StatusCode::PAYMENT_REQUIRED
    )
}

/// The dialects whose quota headers an answer has, a bit each in their order.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen(u32);

impl Seen {
    const NONE: Self = Self(0);
}

impl Dialects {
    fn read<'a>(&self, answer: &Answer<'a>) -> Reading<'a> {
        let headers = answer.headers();
        let blocking = if is_cached(headers) {
            None
        } else {
            self.ask(answer, self.look(headers), Buckets::blocking)
        };
        Reading {
            answer: *answer,
            text: Text::read(answer.body()),
            blocking,
        }
    }

    #[inline(never)]
    fn quota(&self, answer: &Answer<'_>) -> Option<QuotaReport> {
        let seen = self.look(answer.headers());
        if seen == Seen::NONE || is_cached(answer.headers()) {
            return None;
        }
        let report = self.ask(answer, seen, Buckets::report);
        let mut report = report.unwrap_or_default();
        for dialect in self.seen(seen) {
            (dialect.report)(answer, &mut report);
        }
        (report != QuotaReport::default()).then_some(report)
    }

    fn look(&self, headers: &HeaderMap) -> Seen {
        let mut seen = Seen::NONE;
        for name in headers.keys() {
            if self.may_know(name) {
                // Most answers have several headers of one dialect, and one tells it.
                seen.0 |= self.told_by(name.as_str(), seen.0);
            }
        }
        seen
    }

    fn seen(&self, seen: Seen) -> impl Iterator<Item = &'static Dialect> {
        let dialects = self.iter().enumerate();
        dialects.filter_map(move |(at, dialect)| (seen.0 >> at & 1 == 1).then_some(dialect))
    }

    /// Asks the dialects in turn until one has an answer.
    fn ask<'a, T>(
        &self,
        answer: &Answer<'a>,
        seen: Seen,
        ask: impl Fn(&Buckets<'a>) -> Option<T>,
    ) -> Option<T> {
        // A loop, since the answer is large, and `find_map` moves it at each step.
        for dialect in self.seen(seen) {
            let found = ask(&(dialect.buckets)(answer));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Only limits have a scope that is known: that one endpoint is overloaded says nothing of
    /// others.
    fn scope(&self, reading: &Reading<'_>, kind: SignalKind) -> SignalScope {
        if !matches!(kind, SignalKind::Rate | SignalKind::Concurrency) {
            return SignalScope::Endpoint;
        }
        let scope = self.iter().find_map(|of| (of.scope)(reading));
        scope.unwrap_or(SignalScope::Endpoint)
    }

    /// By precedence: the headers that are made for it, members of the body, the quota that is used up,
    /// words, other quotas.
    fn delay(&self, reading: &Reading<'_>, blocking: Option<Bucket<'_>>) -> Option<Duration> {
        // An empty bucket that says when it is whole again is more exact than words.
        let exact = blocking.filter(|bucket| bucket.remaining == Some(0));
        (reading.answer.retry_after())
            .or_else(|| self.iter().find_map(|of| (of.delay)(reading)))
            .or_else(|| exact?.wait())
            .or_else(|| delay_in_body::less_exact(reading))
            .or_else(|| blocking?.wait())
            .or_else(|| self.iter().find_map(|of| (of.unnamed_delay)(reading)))
            .or_else(|| blocking?.whole_period())
    }
}

/// What a refusal means of which no dialect knows more.
fn by_status(reading: &Reading<'_>) -> Option<Meaning> {
    let kind = match reading.status() {
        StatusCode::TOO_MANY_REQUESTS => match reading.blocking {
            Some(bucket) if bucket.unit == Unit::InFlight => SignalKind::Concurrency,
            _ => SignalKind::Rate,
        },
        StatusCode::SERVICE_UNAVAILABLE => SignalKind::Overload,
        status if status.as_u16() == OVERLOADED => SignalKind::Overload,
        _ => return None,
    };
    Some(Meaning::Refused(kind))
}

/// What there were too many of, if it is tokens, or bytes.
fn unit_of_tokens(reading: &Reading<'_>, blocking: Option<Bucket<'_>>) -> Option<costs::Unit> {
    let says = |text: &str| {
        let sentence = Sentence::new(text);
        (text == "tokens" || sentence.is_about_tokens()).then(|| sentence.unit_of_tokens())
    };
    let of_text = reading.text.texts().filter_map(says);
    // What tells input and output apart says more than what does not.
    let named = of_text.max_by_key(|&unit| unit != costs::Unit::TOKENS);
    let of_headers = blocking.filter(|bucket| bucket.unit == Unit::Other);
    named.or_else(|| of_headers.map(|_| costs::Unit::TOKENS))
}

fn concurrency_limit(reading: &Reading<'_>, blocking: Option<Bucket<'_>>) -> Option<usize> {
    let named = |limit: u64| usize::try_from(limit).ok().filter(|&limit| limit > 0);
    elevenlabs::maximum(reading.answer.headers())
        .or_else(|| named(blocking?.limit?))
        .or_else(|| concurrency::limit(reading))
}

/// Whether a cache has kept the answer for a while: what it says about quotas is history then.
fn is_cached(headers: &HeaderMap) -> bool {
    headers::age(headers).is_some_and(|age| !age.is_zero())
}

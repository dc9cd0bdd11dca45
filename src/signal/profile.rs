//! [`Profile`]: which dialects are understood, and how what they say becomes one [`Signal`].

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    Answer, Classify, QuotaReport, Signal, SignalKind, SignalScope, anthropic,
    buckets::{Bucket, Buckets, Unit},
    discord, elevenlabs, github,
    json::Refusal,
    openai, ratelimit, retry, riot, shopify, x_ratelimit,
};

/// "Site is overloaded", of Anthropic and some others; not in any registry.
const OVERLOADED: u16 = 529;

/// Whose API it is, for what looking at an answer cannot tell.
///
/// Every profile understands what [`Standard`](Self::Standard) does; see the [dialects](super#dialects).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Standards, and what can be told apart by looking. The default.
    #[default]
    Standard,
    /// Anthropic: headers of its own, whose resets are when a bucket is full again.
    Anthropic,
    /// OpenAI, Azure OpenAI and the like: resets are when a bucket is full again.
    OpenAi,
    /// GitHub: 403 may be a rate limit, and the quota is one for everything.
    GitHub,
    /// Discord: the scope in headers, the delay in the body.
    Discord,
    /// Riot Games: headers of its own for the application and the method.
    Riot,
    /// Shopify (REST): a header of its own that counts upwards.
    Shopify,
}

impl Classify for Profile {
    fn wants_body(&self, answer: &Answer<'_>) -> bool {
        let status = answer.status();
        self.may_refuse(status) && status.as_u16() != OVERLOADED && !is_encoded(answer.headers())
    }

    fn classify(&self, answer: &Answer<'_>) -> Option<Signal> {
        if !self.may_refuse(answer.status()) {
            return None;
        }
        let refusal = if is_encoded(answer.headers()) {
            Refusal::default()
        } else {
            Refusal::read(answer.body())
        };
        let seen = self.look(answer.headers());
        let blocking = if is_cached(answer.headers()) {
            None
        } else {
            self.ask(answer, seen, Buckets::blocking)
        };
        let kind = self
            .kind_by_body(answer, &refusal)
            .or_else(|| self.kind_by_head(answer, &refusal, blocking))?;
        // Only a limit is told by a quota, and only its own: whoever is overloaded, or has too many
        // requests at once, is not waiting for a window to end.
        let blocking = blocking.filter(|bucket| match kind {
            SignalKind::Rate => bucket.unit != Unit::InFlight,
            SignalKind::Concurrency => bucket.unit == Unit::InFlight,
            SignalKind::Overload | SignalKind::QuotaExhausted => false,
        });

        let mut signal = Signal::new(kind).with_scope(self.scope(answer, &refusal, kind));
        signal.should_retry = answer.should_retry();
        signal.retry_after = self.delay(answer, &refusal, blocking);
        match kind {
            SignalKind::Concurrency => {
                signal.concurrency_limit = concurrency_limit(answer, &refusal, blocking);
            }
            SignalKind::Rate => {
                let counted = blocking.filter(|bucket| bucket.unit == Unit::Requests);
                let limit = counted.and_then(|bucket| bucket.limit);
                signal.rate_limit = limit.filter(|&limit| limit > 0);
                signal.period = counted.and_then(|bucket| bucket.period);
            }
            SignalKind::Overload | SignalKind::QuotaExhausted => {}
        }
        Some(signal)
    }

    fn quota(&self, answer: &Answer<'_>) -> Option<QuotaReport> {
        let seen = self.look(answer.headers());
        // Most answers have none of these headers, and then nothing else is looked at.
        if seen == Seen::default() {
            return None;
        }
        self.report(answer, seen)
    }
}

impl Profile {
    fn report(self, answer: &Answer<'_>, seen: Seen) -> Option<QuotaReport> {
        if is_cached(answer.headers()) {
            return None;
        }
        let mut report = self.ask(answer, seen, Buckets::report).unwrap_or_default();
        if seen.in_flight {
            elevenlabs::in_flight(answer.headers(), &mut report);
        }
        (report != QuotaReport::default()).then_some(report)
    }
}

/// Which dialects of quota headers an answer may speak, by the names of its headers alone.
#[derive(Clone, Copy, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "a set, not states")]
struct Seen {
    /// The profile's.
    own: bool,
    /// `RateLimit`.
    structured: bool,
    /// One header for each fact.
    separate: bool,
    /// The requests in flight.
    in_flight: bool,
}

impl Profile {
    /// Whether an answer of this status can be a refusal; whether it is may be for its body to say.
    #[inline]
    pub(crate) fn may_refuse(self, status: StatusCode) -> bool {
        // As nearly all answers can be told.
        if status.as_u16() < 400 {
            return false;
        }
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::UNAUTHORIZED
            | StatusCode::PAYMENT_REQUIRED => true,
            StatusCode::FORBIDDEN => self == Self::GitHub,
            status => status.as_u16() == OVERLOADED,
        }
    }

    fn kind_by_body(self, answer: &Answer<'_>, refusal: &Refusal<'_>) -> Option<SignalKind> {
        elevenlabs::kind(&refusal.detail, answer.status())
            .or_else(|| openai::kind(&refusal.error))
            .or_else(|| match self {
                Self::Anthropic => anthropic::kind(&refusal.error, answer.status()),
                _ => None,
            })
    }

    fn kind_by_head(
        self,
        answer: &Answer<'_>,
        refusal: &Refusal<'_>,
        blocking: Option<Bucket<'_>>,
    ) -> Option<SignalKind> {
        match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => Some(match blocking {
                _ if self == Self::Riot => riot::kind(answer.headers()),
                Some(bucket) if bucket.unit == Unit::InFlight => SignalKind::Concurrency,
                _ => SignalKind::Rate,
            }),
            StatusCode::SERVICE_UNAVAILABLE => Some(SignalKind::Overload),
            // `may_refuse` lets it through for GitHub only.
            StatusCode::FORBIDDEN => {
                let empty = blocking.is_some_and(|bucket| bucket.remaining == Some(0));
                github::is_throttled(answer, &refusal.root, empty).then_some(SignalKind::Rate)
            }
            status => (status.as_u16() == OVERLOADED).then_some(SignalKind::Overload),
        }
    }

    /// Only limits have a scope that is known: that one endpoint is overloaded says nothing of
    /// others.
    fn scope(self, answer: &Answer<'_>, refusal: &Refusal<'_>, kind: SignalKind) -> SignalScope {
        if !matches!(kind, SignalKind::Rate | SignalKind::Concurrency) {
            return SignalScope::Endpoint;
        }
        match self {
            Self::GitHub => github::scope(answer.headers()),
            Self::Discord => discord::scope(answer.headers(), &refusal.root),
            Self::Riot => riot::scope(answer.headers()),
            // One bucket for a shop.
            Self::Shopify => SignalScope::Everything,
            Self::Standard | Self::Anthropic | Self::OpenAi => SignalScope::Endpoint,
        }
    }

    /// By precedence: the headers that are made for it, the body, the quota that is used up.
    fn delay(
        self,
        answer: &Answer<'_>,
        refusal: &Refusal<'_>,
        blocking: Option<Bucket<'_>>,
    ) -> Option<Duration> {
        answer
            .retry_after()
            .or_else(|| match self {
                Self::Discord => discord::delay(answer, &refusal.root),
                _ => None,
            })
            .or_else(|| blocking?.wait())
            .or_else(|| match self {
                Self::GitHub => github::unnamed_delay(&refusal.root),
                _ => None,
            })
    }

    /// One pass over the names, which is all that an answer without quota headers costs: by the
    /// first letter, most names take one comparison.
    fn look(self, headers: &HeaderMap) -> Seen {
        let mut seen = Seen::default();
        for name in headers.keys().map(HeaderName::as_str) {
            match (name.as_bytes().first(), self) {
                (Some(b'r'), _) if name == ratelimit::RATELIMIT.as_str() => seen.structured = true,
                (Some(b'r'), _) if name.starts_with("ratelimit-") => seen.separate = true,
                (Some(b'x'), _) if name.starts_with("x-rate") => seen.separate = true,
                (Some(b'x'), Self::Riot) => {
                    seen.own |= name.starts_with("x-app-") || name.starts_with("x-method-");
                }
                (Some(b'x'), Self::Shopify) => seen.own |= name.starts_with("x-shopify-"),
                (Some(b'a'), Self::Anthropic) => seen.own |= name.starts_with(anthropic::PREFIX),
                (Some(b'c'), _) => seen.in_flight |= name == elevenlabs::CURRENT.as_str(),
                (Some(b'm'), _) => seen.in_flight |= name == elevenlabs::MAXIMUM.as_str(),
                _ => {}
            }
        }
        if self == Self::OpenAi {
            // The same headers, read in its way.
            seen.own = seen.separate;
        }
        seen
    }

    /// Asks the dialects in turn until one has an answer: the profile's own, `RateLimit`, and the
    /// many headers of one fact each.
    fn ask<'a, T>(
        self,
        answer: &Answer<'a>,
        seen: Seen,
        ask: impl Fn(&Buckets<'a>) -> Option<T>,
    ) -> Option<T> {
        let headers = answer.headers();
        let own = || match self {
            Self::Anthropic => ask(&anthropic::buckets(answer)),
            Self::OpenAi => ask(&openai::buckets(answer)),
            Self::Riot => ask(&riot::buckets(headers)),
            Self::Shopify => ask(&shopify::buckets(headers)),
            Self::Standard | Self::GitHub | Self::Discord => None,
        };
        let structured = || ask(&ratelimit::read(headers));
        let separate = || ask(&x_ratelimit::read(answer, x_ratelimit::PREFIXES));
        (seen.own.then(own).flatten())
            .or_else(|| seen.structured.then(structured).flatten())
            .or_else(|| seen.separate.then(separate).flatten())
    }
}

fn concurrency_limit(
    answer: &Answer<'_>,
    refusal: &Refusal<'_>,
    blocking: Option<Bucket<'_>>,
) -> Option<usize> {
    let mut report = QuotaReport::default();
    elevenlabs::in_flight(answer.headers(), &mut report);
    report
        .maximum_concurrency
        .or_else(|| {
            usize::try_from(blocking?.limit?)
                .ok()
                .filter(|&limit| limit > 0)
        })
        .or_else(|| elevenlabs::limit(refusal.detail.message))
}

/// Whether the body is compressed, which is not undone for this.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).into_iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a cache has kept the answer for a while: what it says about quotas is history then.
fn is_cached(headers: &HeaderMap) -> bool {
    retry::texts(headers, &header::AGE).any(|age| age.trim().parse().is_ok_and(|age: u64| age > 0))
}

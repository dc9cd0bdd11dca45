//! What holds for any answer.

use proptest::prelude::*;

use super::{
    Answer, DATE, Duration, HeaderMap, HeaderName, HeaderValue, MAX_RETRY_AFTER, NOW, Profile,
    SignalKind, StatusCode, UNIX_EPOCH,
    bodies::{
        BUSY, BUSY_AS_RATE, CONCURRENCY, CONCURRENCY_LEGACY, INSUFFICIENT, QUOTA, QUOTA_LEGACY,
        SECONDARY,
    },
    delay, kind_of, secs,
};
use crate::signal::dialects::Dialects;

const NAMES: &[&str] = &[
    "retry-after",
    "retry-after-ms",
    "x-amz-retry-after",
    "grpc-retry-pushback-ms",
    "x-should-retry",
    "date",
    "age",
    "content-encoding",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-rate-limit-reset",
    "x-rate-limit-type",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-minute",
    "x-ratelimit-",
    "x-ratelimit--",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-tokens-reset",
    "x-app-rate-limit",
    "x-app-rate-limit-count",
    "x-method-rate-limit",
    "x-shopify-shop-api-call-limit",
    "current-concurrent-requests",
    "maximum-concurrent-requests",
    "x-rate-limit-retry-after-milliseconds",
    "x-ratelimit-window",
    "x-app-limit-24hour-remaining",
    "x-hubspot-ratelimit-interval-milliseconds",
    "x-hubspot-ratelimit-remaining",
    "x-amzn-errortype",
    "grpc-status",
    "stripe-rate-limited-reason",
    "server",
];

const PROFILES: &[Profile] = &[
    Profile::Standard,
    Profile::Anthropic,
    Profile::OpenAi,
    Profile::GitHub,
    Profile::Discord,
    Profile::Riot,
    Profile::Shopify,
    Profile::Google,
    Profile::Aws,
    Profile::Grpc,
    Profile::Stripe,
    Profile::Salesforce,
];

/// Names that nearly every answer has, and that are told by comparison.
const COMMON: &[&str] = &[
    "age",
    "alt-svc",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "via",
];

/// What is passed by a look at a name must not be one that a dialect reads.
fn is_told_apart(name: &str) {
    let header = HeaderName::from_bytes(name.as_bytes()).expect("a name");
    for &profile in PROFILES {
        let dialects = Dialects::of(profile);
        let is_read = dialects.iter().any(|dialect| dialect.has_header(name));
        assert!(
            !is_read || dialects.may_know(&header),
            "{profile:?}: {name}"
        );
    }
}

#[test]
fn no_name_that_a_dialect_reads_is_passed() {
    for name in [NAMES, COMMON].concat() {
        is_told_apart(name);
    }
}

/// Values that lead into every parser, and any bytes at all.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[-+]?[0-9]{0,22}(\\.[0-9]{0,4})?(e[0-9]{1,4})?".prop_map(String::into_bytes),
        "([0-9.]{1,6}(d|h|m|s|ms|us|ns|)){0,4}".prop_map(String::into_bytes),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:?[0-9]{2})?"
            .prop_map(String::into_bytes),
        "([a-z\"]{0,3}(;(r|t|q|w|qu|pk)=[0-9\"a:-]{0,5}){0,3}[, ]{0,2}){0,4}"
            .prop_map(String::into_bytes),
        "((limit|remaining|reset)=[0-9]{0,21}, ?){0,4}".prop_map(String::into_bytes),
        "([0-9]{0,21}[:/;,](w=)?[0-9]{0,21},?){0,3}".prop_map(String::into_bytes),
        Just(DATE.as_bytes().to_vec()),
        Just(b"NaN".to_vec()),
        Just(b"inf".to_vec()),
        Just(b"application".to_vec()),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "[{}\\[\\]\":,\\\\ a-z0-9]{0,60}".prop_map(String::into_bytes),
        prop::sample::select(vec![CONCURRENCY, BUSY, QUOTA, INSUFFICIENT, SECONDARY])
            .prop_map(|body| body.as_bytes().to_vec()),
        "\\{\"(retry_after|message)\":[-0-9.e\"]{0,20}\\}".prop_map(String::into_bytes),
        "(\\[|\\{\"error\":)?\\{\"(message|retryDelay|reset_at)\":\"((retry|try|again|in|after|wait|for|resets|at|a|to|and|until|limit|of|concurrent|per|minute|seconds|ms|[0-9]{1,12}s?|-|\\.|:) ?){0,9}\"\\}?"
            .prop_map(String::into_bytes),
    ]
}

fn in_bounds(wait: Option<Duration>) -> bool {
    wait.is_none_or(|wait| wait > Duration::ZERO && wait <= MAX_RETRY_AFTER)
}

proptest! {
    #[test]
    fn no_name_at_all_that_a_dialect_reads_is_passed(
        start in prop::sample::select(&["", "x-", "rate", "ratelimit-", "x-app-", "x-ms-ratelimit-"][..]),
        name in "[a-z0-9_*-]{1,30}(-remaining)?",
    ) {
        is_told_apart(&format!("{start}{name}"));
    }

    #[test]
    fn no_answer_panics_or_names_a_wait_out_of_bounds(
        status in prop_oneof![Just(429_u16), Just(503), Just(403), Just(200), 100_u16..1000],
        pairs in prop::collection::vec((prop::sample::select(NAMES), value()), 0..8),
        body in body(),
        profile in prop::sample::select(PROFILES),
        now in prop_oneof![Just(NOW), (0_u64..1 << 35).prop_map(Duration::from_secs)],
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer::new(status, &headers, UNIX_EPOCH + now).with_body(&body);
        profile.wants_body(&answer);
        prop_assert!(in_bounds(answer.retry_after()));
        let signal = profile.classify(&answer);
        prop_assert!(status != 429 || signal.is_some());
        if let Some(signal) = signal {
            prop_assert!(in_bounds(signal.retry_after()));
            prop_assert!(in_bounds(signal.period()));
            prop_assert_ne!(signal.concurrency_limit(), Some(0));
        }
        if let Some(report) = profile.quota(&answer) {
            prop_assert!(in_bounds(report.reset()));
            prop_assert!(in_bounds(report.period()));
            prop_assert!(in_bounds(report.spacing()));
            prop_assert_ne!(report.maximum_concurrency(), Some(0));
        }
    }

    #[test]
    fn any_number_of_seconds_is_that_delay(seconds in 1_u64..86_400 * 366) {
        prop_assert_eq!(delay(&[("retry-after", &seconds.to_string())]), secs(seconds));
    }
}

#[test]
fn any_part_of_a_body_is_read_as_far_as_it_goes() {
    for (status, body, kind) in [
        (429, CONCURRENCY, SignalKind::Concurrency),
        (429, CONCURRENCY_LEGACY, SignalKind::Concurrency),
        (429, BUSY, SignalKind::Overload),
        (429, BUSY_AS_RATE, SignalKind::Overload),
        (429, QUOTA, SignalKind::QuotaExhausted),
        (401, QUOTA_LEGACY, SignalKind::QuotaExhausted),
        (429, INSUFFICIENT, SignalKind::QuotaExhausted),
    ] {
        let by_status = (status == 429).then_some(SignalKind::Rate);
        let mut decided = false;
        for end in 0..=body.len() {
            let found = kind_of(status, &body[..end]);
            assert!(
                found == by_status || found == Some(kind),
                "{}",
                &body[..end]
            );
            // Once enough has been read, more does not change it.
            assert!(!decided || found == Some(kind));
            decided = found == Some(kind);
        }
        assert!(decided, "{body}");
    }
}

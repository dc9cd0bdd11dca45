//! The APIs that have a profile.

use super::{
    DATE, Duration, Profile, SignalKind, SignalScope,
    bodies::{INSUFFICIENT, SECONDARY},
    classify_as, delay, kind_of, quota_as, secs,
};

#[test]
fn an_insufficient_quota_is_exhausted() {
    assert_eq!(kind_of(429, INSUFFICIENT), Some(SignalKind::QuotaExhausted));
}

#[test]
fn a_rate_limit_in_the_body_is_rate() {
    let body = r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    assert_eq!(kind_of(429, body), Some(SignalKind::Rate));
}

#[test]
fn a_bucket_of_openai_gives_one_request_back_early() {
    let pairs = [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1m0s"),
    ];
    let signal = classify_as(Profile::OpenAi, 429, &pairs, "").unwrap();
    assert_eq!(signal.retry_after(), secs(1));
    assert_eq!(delay(&pairs), secs(60));
}

#[test]
fn sentinels_of_azure_say_nothing() {
    let pairs = [
        ("x-ratelimit-remaining-requests", "-1"),
        ("x-ratelimit-remaining-tokens", "-1"),
        ("x-ratelimit-reset-tokens", "0"),
    ];
    let signal = classify_as(Profile::OpenAi, 429, &pairs, "").unwrap();
    assert_eq!(signal.retry_after(), None);
    assert_eq!(quota_as(Profile::OpenAi, &pairs), None);
}

#[test]
fn a_reset_before_the_date_is_none() {
    let pairs = [
        ("date", DATE),
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "50"),
        ("anthropic-ratelimit-requests-reset", "2025-08-21T12:39:59Z"),
    ];
    let report = quota_as(Profile::Anthropic, &pairs).unwrap();
    assert_eq!(report.remaining(), Some(50));
    assert_eq!(report.reset(), None);
}

#[test]
fn an_overloaded_error_is_overload_at_any_status() {
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let signal = classify_as(Profile::Anthropic, 429, &[], body).unwrap();
    assert_eq!(signal.kind(), SignalKind::Overload);
}

#[test]
fn a_403_of_github_is_a_refusal_only_if_it_says_so() {
    let classify = |pairs, body| classify_as(Profile::GitHub, 403, pairs, body);
    assert_eq!(
        classify(
            &[],
            r#"{"message":"Resource not accessible by integration"}"#
        ),
        None
    );
    assert_eq!(classify(&[("x-ratelimit-remaining", "41")], ""), None);
    for (pairs, wait) in [
        (&[("retry-after", "30")][..], 30),
        (
            &[
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1755780042"),
            ][..],
            42,
        ),
    ] {
        let signal = classify(pairs, "").unwrap();
        assert_eq!(signal.kind(), SignalKind::Rate);
        assert_eq!(signal.retry_after(), secs(wait));
    }
}

#[test]
fn a_secondary_limit_without_headers_asks_for_a_minute() {
    for status in [403, 429] {
        let signal = classify_as(Profile::GitHub, status, &[], SECONDARY).unwrap();
        assert_eq!(signal.retry_after(), secs(60));
        assert_eq!(signal.scope(), SignalScope::Everything);
    }
}

#[test]
fn search_has_a_quota_of_its_own() {
    let pairs = [("x-ratelimit-resource", "search"), ("retry-after", "9")];
    let signal = classify_as(Profile::GitHub, 429, &pairs, "").unwrap();
    assert_eq!(signal.scope(), SignalScope::Endpoint);
}

#[test]
fn a_report_is_about_those_that_share_its_quota() {
    fn scope(profile: Profile, pairs: &[(&'static str, &str)]) -> SignalScope {
        quota_as(profile, pairs).unwrap().scope()
    }
    let github = |resource| {
        let pairs = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1755780042"),
            ("x-ratelimit-resource", resource),
        ];
        scope(Profile::GitHub, &pairs)
    };
    assert_eq!(github("core"), SignalScope::Everything);
    assert_eq!(github("search"), SignalScope::Endpoint);
    assert_eq!(github("graphql"), SignalScope::Endpoint);
    let unnamed = [("x-ratelimit-remaining", "0")];
    assert_eq!(scope(Profile::GitHub, &unnamed), SignalScope::Everything);
    assert_eq!(scope(Profile::Standard, &unnamed), SignalScope::Endpoint);

    let riot = |application, method| {
        let pairs = [
            ("x-app-rate-limit", "100:120"),
            ("x-app-rate-limit-count", application),
            ("x-method-rate-limit", "100:120"),
            ("x-method-rate-limit-count", method),
        ];
        scope(Profile::Riot, &pairs)
    };
    assert_eq!(riot("99:120", "3:120"), SignalScope::Everything);
    assert_eq!(riot("3:120", "99:120"), SignalScope::Endpoint);

    let shop = [("x-shopify-shop-api-call-limit", "39/40")];
    assert_eq!(scope(Profile::Shopify, &shop), SignalScope::Everything);
}

#[test]
fn windows_of_riot_are_matched_by_their_length() {
    let pairs = [
        ("x-app-rate-limit", "20:1,100:120"),
        ("x-app-rate-limit-count", "99:120,3:1"),
    ];
    let report = quota_as(Profile::Riot, &pairs).unwrap();
    assert_eq!(report.remaining(), Some(1));
    assert_eq!(report.period(), secs(120));
}

#[test]
fn riot_without_a_type_is_overload() {
    let signal = classify_as(Profile::Riot, 429, &[], "").unwrap();
    assert_eq!(signal.kind(), SignalKind::Overload);
}

#[test]
fn the_scope_of_discord_may_be_in_any_of_three_places() {
    let scope = |pairs, body| {
        classify_as(Profile::Discord, 429, pairs, body)
            .unwrap()
            .scope()
    };
    assert_eq!(
        scope(&[("x-ratelimit-global", "true")], ""),
        SignalScope::Everything
    );
    assert_eq!(
        scope(&[("x-ratelimit-scope", "global")], ""),
        SignalScope::Everything
    );
    assert_eq!(scope(&[], r#"{"global":true}"#), SignalScope::Everything);
    assert_eq!(
        scope(&[("x-ratelimit-scope", "shared")], r#"{"global":false}"#),
        SignalScope::Endpoint
    );
}

#[test]
fn the_sizes_of_shopify_count_what_is_used() {
    let report = quota_as(
        Profile::Shopify,
        &[("x-shopify-shop-api-call-limit", "32/40")],
    )
    .unwrap();
    assert_eq!(report.remaining(), Some(8));
    assert_eq!(report.spacing(), Some(Duration::from_millis(500)));
    for value in ["", "/", "32", "32/0", "-1/40", "a/b"] {
        let pairs = [("x-shopify-shop-api-call-limit", value)];
        assert_eq!(quota_as(Profile::Shopify, &pairs), None, "{value}");
    }
    let over = [("x-shopify-shop-api-call-limit", "41/40")];
    let report = quota_as(Profile::Shopify, &over).unwrap();
    assert_eq!(report.remaining(), Some(0));
}

#[test]
fn an_anthropic_503_is_overload_whatever_it_says_of_connections() {
    let body = r#"{"error":{"type":"api_error","message":"concurrent connections"}}"#;
    let signal = classify_as(Profile::Anthropic, 503, &[], body).unwrap();
    assert_eq!(signal.kind(), SignalKind::Overload);
}

#[test]
fn tokens_of_openai_come_back_bit_by_bit() {
    let pairs = [
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    let report = quota_as(Profile::OpenAi, &pairs).unwrap();
    assert!(report.is_gradual());
}

//! The rules of the module's documentation, its table of dialects, and what must hold for any answer.

use std::{
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;

/// 2025-08-21T12:40:00Z.
const NOW: Duration = Duration::from_secs(1_755_780_000);
const DATE: &str = "Thu, 21 Aug 2025 12:40:00 GMT";

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what it is compared with is optional"
)]
fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn classify_as(
    profile: Profile,
    status: u16,
    pairs: &[(&'static str, &str)],
    body: &str,
) -> Option<Signal> {
    let headers = headers(pairs);
    let status = StatusCode::from_u16(status).unwrap();
    profile.classify(&Answer::new(status, &headers, now()).with_body(body.as_bytes()))
}

fn classify(status: u16, pairs: &[(&'static str, &str)]) -> Option<Signal> {
    classify_as(Profile::Standard, status, pairs, "")
}

fn kind_of(status: u16, body: &str) -> Option<SignalKind> {
    classify_as(Profile::Standard, status, &[], body).map(|signal| signal.kind())
}

/// The delay that a 429 with these headers names.
fn delay(pairs: &[(&'static str, &str)]) -> Option<Duration> {
    classify(429, pairs).unwrap().retry_after()
}

fn quota_as(profile: Profile, pairs: &[(&'static str, &str)]) -> Option<QuotaReport> {
    let headers = headers(pairs);
    profile.quota(&Answer::new(StatusCode::OK, &headers, now()))
}

fn quota(pairs: &[(&'static str, &str)]) -> Option<QuotaReport> {
    quota_as(Profile::Standard, pairs)
}

// Which answers are refusals.

#[test]
fn a_bare_429_is_a_rate_refusal_without_a_delay() {
    assert_eq!(classify(429, &[]), Some(Signal::new(SignalKind::Rate)));
}

#[test]
fn a_503_is_overload_with_or_without_a_delay() {
    let overload = Signal::new(SignalKind::Overload);
    assert_eq!(classify(503, &[]), Some(overload.clone()));
    assert_eq!(
        classify(503, &[("retry-after", "120")]),
        Some(overload.with_retry_after(Duration::from_secs(120)))
    );
}

#[test]
fn a_529_is_overload() {
    assert_eq!(classify(529, &[]), Some(Signal::new(SignalKind::Overload)));
}

#[test]
fn other_statuses_are_no_refusals_whatever_their_headers() {
    for status in [200, 301, 400, 401, 402, 403, 404, 408, 425, 500, 502, 504] {
        let pairs = [
            ("retry-after", "120"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "9"),
        ];
        assert_eq!(classify(status, &pairs), None, "{status}");
    }
}

#[test]
fn an_answer_of_any_status_can_name_a_delay() {
    let headers = headers(&[("retry-after", "5"), ("x-should-retry", "true")]);
    let answer = Answer::new(StatusCode::INTERNAL_SERVER_ERROR, &headers, now());
    assert_eq!(answer.retry_after(), secs(5));
    assert_eq!(answer.should_retry(), Some(true));
}

#[test]
fn should_retry_is_passed_on() {
    let told = |name, value| classify(429, &[(name, value)]).unwrap().should_retry();
    assert_eq!(told("x-should-retry", "false"), Some(false));
    assert_eq!(told("stripe-should-retry", "True"), Some(true));
    assert_eq!(told("x-should-retry", "perhaps"), None);
}

#[test]
fn the_body_is_wanted_of_refusals_only() {
    let headers = HeaderMap::new();
    let wanted = |profile: Profile, status: u16| {
        let status = StatusCode::from_u16(status).unwrap();
        profile.wants_body(&Answer::new(status, &headers, now()))
    };
    for status in 100..600 {
        let refusal = matches!(status, 401 | 402 | 429 | 503);
        assert_eq!(wanted(Profile::Standard, status), refusal, "{status}");
        let forbidden = status == 403;
        assert_eq!(wanted(Profile::GitHub, status), refusal || forbidden);
    }
}

#[test]
fn a_compressed_body_is_not_wanted() {
    let wanted = |encoding| {
        let headers = headers(&[("content-encoding", encoding)]);
        Profile::Standard.wants_body(&Answer::new(StatusCode::TOO_MANY_REQUESTS, &headers, now()))
    };
    assert!(!wanted("gzip"));
    assert!(!wanted("identity, br"));
    assert!(wanted("identity"));
    assert!(wanted("Identity"));
}

#[test]
fn a_compressed_body_is_not_looked_at() {
    let encoded = [("content-encoding", "gzip")];
    let signal = classify_as(Profile::Standard, 429, &encoded, BUSY).unwrap();
    assert_eq!(signal.kind(), SignalKind::Rate);
}

// Retry-After: linkerd's cases (`linkerd/http/classify/src/retry_after.rs`), as they are here.

#[test]
fn retry_after_is_in_seconds() {
    assert_eq!(delay(&[("retry-after", "120")]), secs(120));
}

#[test]
fn retry_after_zero_names_no_delay() {
    assert_eq!(delay(&[("retry-after", "0")]), None);
}

#[test]
fn retry_after_is_capped_at_a_year_not_at_a_day() {
    assert_eq!(delay(&[("retry-after", "86400")]), secs(86_400));
    assert_eq!(delay(&[("retry-after", "99999999")]), Some(MAX_RETRY_AFTER));
}

#[test]
fn retry_after_may_have_white_space_around() {
    assert_eq!(delay(&[("retry-after", "120 ")]), secs(120));
    assert_eq!(delay(&[("retry-after", " 120")]), secs(120));
}

#[test]
fn retry_after_that_is_malformed_names_no_delay() {
    for value in [
        "not-a-number",
        "-1",
        "",
        "NaN",
        "inf",
        "1e400",
        "12x",
        "\u{661}",
    ] {
        assert_eq!(delay(&[("retry-after", value)]), None, "{value}");
    }
}

#[test]
fn retry_after_that_is_not_utf8_names_no_delay() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_bytes(b"\xff1").unwrap());
    let answer = Answer::new(StatusCode::TOO_MANY_REQUESTS, &headers, now());
    assert_eq!(answer.retry_after(), None);
}

#[test]
fn retry_after_may_be_a_date() {
    for date in [
        "Thu, 21 Aug 2025 12:41:00 GMT",
        "Thursday, 21-Aug-25 12:41:00 GMT",
        "Thu Aug 21 12:41:00 2025",
    ] {
        assert_eq!(delay(&[("retry-after", date)]), secs(60), "{date}");
    }
}

#[test]
fn retry_after_in_the_past_names_no_delay() {
    let past = "Wed, 01 Jan 2020 00:00:00 GMT";
    assert_eq!(delay(&[("retry-after", past)]), None);
}

#[test]
fn retry_after_of_a_far_date_is_capped() {
    let far = "Fri, 31 Dec 9999 23:59:59 GMT";
    assert_eq!(delay(&[("retry-after", far)]), Some(MAX_RETRY_AFTER));
}

#[test]
fn retry_after_may_be_an_epoch_by_mistake() {
    assert_eq!(delay(&[("retry-after", "1755780007")]), secs(7));
    assert_eq!(delay(&[("retry-after", "1743441608")]), None);
}

#[test]
fn pushback_is_in_milliseconds() {
    let read = |value| delay(&[("grpc-retry-pushback-ms", value)]);
    assert_eq!(read("5000"), secs(5));
    assert_eq!(read(" 5000 "), secs(5));
    assert_eq!(read("0"), None);
    assert_eq!(read("not-a-number"), None);
    assert_eq!(read("99999999999"), Some(MAX_RETRY_AFTER));
}

#[test]
fn negative_pushback_asks_not_to_retry() {
    let signal = classify(429, &[("grpc-retry-pushback-ms", "-1")]).unwrap();
    assert_eq!(signal.retry_after(), None);
    assert_eq!(signal.should_retry(), Some(false));
}

// How long to wait.

#[test]
fn milliseconds_come_before_seconds() {
    for name in ["retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after"] {
        assert_eq!(
            delay(&[("retry-after", "5"), (name, "4321")]),
            Some(Duration::from_millis(4_321))
        );
    }
}

#[test]
fn seconds_stand_in_for_malformed_milliseconds() {
    assert_eq!(
        delay(&[("retry-after-ms", "soon"), ("retry-after", "5")]),
        secs(5)
    );
}

#[test]
fn the_longer_of_two_delays_counts() {
    assert_eq!(
        delay(&[
            ("retry-after", "3"),
            ("retry-after", "7"),
            ("retry-after", "x")
        ]),
        secs(7)
    );
}

#[test]
fn retry_after_comes_before_quota_headers() {
    let pairs = [
        ("ratelimit", "\"a\";r=0;t=30"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "40"),
        ("retry-after", "2"),
    ];
    assert_eq!(delay(&pairs), secs(2));
}

#[test]
fn the_structured_field_comes_before_separate_headers() {
    let pairs = [
        ("ratelimit", "\"a\";r=0;t=30"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "40"),
    ];
    assert_eq!(delay(&pairs), secs(30));
}

#[test]
fn a_delay_of_zero_gives_way_to_a_quota_header() {
    assert_eq!(
        delay(&[("retry-after", "0"), ("ratelimit-reset", "7")]),
        secs(7)
    );
}

#[test]
fn times_count_from_the_date_of_the_answer() {
    // The server's clock is an hour ahead.
    let date = ("date", "Thu, 21 Aug 2025 13:40:00 GMT");
    assert_eq!(
        delay(&[date, ("retry-after", "Thu, 21 Aug 2025 13:40:09 GMT")]),
        secs(9)
    );
    assert_eq!(delay(&[date, ("x-ratelimit-reset", "1755783607")]), secs(7));
}

#[test]
fn times_count_from_the_clients_clock_where_the_date_is_malformed() {
    assert_eq!(
        delay(&[("date", "today"), ("x-ratelimit-reset", "1755780007")]),
        secs(7)
    );
}

#[test]
fn spans_do_not_depend_on_a_clock() {
    assert_eq!(
        delay(&[
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("retry-after", "3")
        ]),
        secs(3)
    );
}

#[test]
fn a_reset_is_no_delay_while_something_is_left() {
    assert_eq!(
        delay(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "9")]),
        None
    );
}

#[test]
fn a_reset_is_a_delay_where_nothing_is_said_about_what_is_left() {
    assert_eq!(delay(&[("x-ratelimit-reset", "9")]), secs(9));
    assert_eq!(
        delay(&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "9")]),
        secs(9)
    );
}

#[test]
fn of_several_policies_the_blocking_one_counts() {
    let field = "\"a\";r=1;t=7, \"b\";r=0;t=3;pk=:cHsdsRa894==:";
    assert_eq!(delay(&[("ratelimit", field)]), secs(3));
}

#[test]
fn of_several_blocking_policies_the_longest_counts() {
    let field = "\"a\";r=0;t=7, \"b\";r=0;t=3, \"c\";t=99";
    assert_eq!(delay(&[("ratelimit", field)]), secs(7));
}

// What the quota is.

#[test]
fn the_structured_field_in_its_grammars() {
    let left = |field| quota(&[("ratelimit", field)]).and_then(|report| report.remaining());
    assert_eq!(left("\"default\";r=50;t=30"), Some(50));
    assert_eq!(left("default;r=50; t=30"), Some(50));
    assert_eq!(left("limit=100, remaining=50, reset=5"), Some(50));
    assert_eq!(left("\"limit\";r=50;t=30"), Some(50));
}

#[test]
fn a_policy_without_what_is_left_names_a_delay() {
    assert_eq!(delay(&[("ratelimit", "quota;t=1")]), secs(1));
    assert_eq!(quota(&[("ratelimit", "quota;t=1")]), None);
}

#[test]
fn policies_add_limit_and_window_by_name() {
    let report = quota(&[
        ("ratelimit-policy", "\"burst\";q=100;w=60"),
        ("ratelimit-policy", "\"daily\";q=1000;w=86400"),
        ("ratelimit", "\"burst\";r=3;t=30"),
        ("ratelimit", "\"daily\";r=50;t=36000"),
    ])
    .unwrap();
    assert_eq!(report.remaining(), Some(3));
    assert_eq!(report.limit(), Some(100));
    assert_eq!(report.period(), secs(60));
    assert_eq!(report.reset(), secs(30));
}

#[test]
fn older_policies_add_the_window_by_limit() {
    let report = quota(&[
        ("ratelimit-limit", "10"),
        ("ratelimit-policy", "10;w=1, 50;w=60"),
        ("ratelimit-remaining", "9"),
        ("ratelimit-reset", "1"),
    ])
    .unwrap();
    assert_eq!(report.limit(), Some(10));
    assert_eq!(report.period(), secs(1));
}

#[test]
fn a_malformed_field_is_ignored_as_a_whole() {
    for field in [
        "\"a\";r=0;t=3, \"b",
        "\"a\";r=0;t=3,",
        "\"a\";r=0;t=3 \"b\";r=0;t=4",
        "\"a\";r=0;t=-3",
        "\"a\";r=0;t=1.5",
        "\"a\";r=0;t=\"3\"",
        "\"a\";r=0;t",
        "\"a\";r=0;t=99999999999999999999",
        "\"a\";r=0;t=3;",
        "\"a\";r=0;t=3;pk=:abc",
        "(\"a\");r=0;t=3",
        "limit=1, remaining=-1, reset=3",
        "limit=1, remaining=, reset=3",
        "\u{e9};r=0;t=3",
        ",",
    ] {
        assert_eq!(delay(&[("ratelimit", field)]), None, "{field}");
        let split = [("ratelimit", "\"c\";r=0;t=9"), ("ratelimit", field)];
        assert_eq!(delay(&split), None, "{field}");
    }
}

#[test]
fn a_malformed_policy_is_ignored_as_a_whole() {
    let report = quota(&[
        ("ratelimit", "\"a\";r=5;t=3"),
        ("ratelimit-policy", "\"a\";q=10;w=1, \"b\";q=x"),
    ])
    .unwrap();
    assert_eq!(report.limit(), None);
}

#[test]
fn quota_headers_of_a_cached_answer_are_ignored() {
    let field = ("ratelimit", "\"a\";r=0;t=3");
    assert_eq!(delay(&[field, ("age", "1")]), None);
    assert_eq!(quota(&[field, ("age", "1")]), None);
    assert_eq!(delay(&[field, ("age", "0")]), secs(3));
    assert_eq!(delay(&[("retry-after", "3"), ("age", "1")]), secs(3));
}

#[test]
fn a_policy_of_concurrent_requests_is_a_concurrency_refusal() {
    let policy = ("ratelimit-policy", "\"c\";q=4;qu=\"concurrent-requests\"");
    let signal = classify(429, &[policy, ("ratelimit", "\"c\";r=0")]).unwrap();
    assert_eq!(signal.kind(), SignalKind::Concurrency);
    assert_eq!(signal.concurrency_limit(), Some(4));
    let report = quota(&[policy, ("ratelimit", "\"c\";r=1")]).unwrap();
    assert_eq!(report.maximum_concurrency(), Some(4));
    assert_eq!(report.current_concurrency(), Some(3));
    assert_eq!(report.remaining(), None);
}

#[test]
fn counts_of_separate_headers() {
    let left =
        |value| quota(&[("x-ratelimit-remaining", value)]).and_then(|report| report.remaining());
    assert_eq!(left("595.0"), Some(595));
    assert_eq!(left("76;w=21600"), Some(76));
    assert_eq!(left("-1"), None);
    assert_eq!(left("many"), None);
}

#[test]
fn the_less_favourable_of_two_lines_counts() {
    let report = quota(&[
        ("ratelimit-remaining", "5"),
        ("ratelimit-reset", "30"),
        ("x-ratelimit-remaining", "4"),
        ("x-ratelimit-reset", "1755780029"),
    ])
    .unwrap();
    assert_eq!(report.remaining(), Some(4));
    assert_eq!(report.reset(), secs(30));
}

#[test]
fn the_name_of_a_bucket_may_come_before_the_field_or_after_it() {
    for names in [
        [
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ],
        [
            "x-ratelimit-requests-remaining",
            "x-ratelimit-requests-reset",
        ],
    ] {
        let report = quota(&[(names[0], "5"), (names[1], "6m0s")]).unwrap();
        assert_eq!(report.remaining(), Some(5));
        assert_eq!(report.reset(), secs(360));
    }
}

#[test]
fn the_name_of_a_bucket_may_tell_its_window() {
    let report = quota(&[
        ("x-ratelimit-limit-minute", "20"),
        ("x-ratelimit-remaining-minute", "12"),
        ("x-ratelimit-remaining-hour", "900"),
    ])
    .unwrap();
    assert_eq!(report.remaining(), Some(12));
    assert_eq!(report.period(), secs(60));
}

#[test]
fn neighbours_of_quota_headers_are_not_counts() {
    for name in [
        "x-ratelimit-used",
        "x-ratelimit-bucket",
        "x-ratelimit-resource",
        "ratelimit-observed",
        "ratelimit-resettime",
        "ratelimit-policy",
        "x-rate-limit-type",
    ] {
        assert_eq!(quota(&[(name, "0")]), None, "{name}");
    }
}

#[test]
fn a_success_without_quota_headers_says_nothing() {
    assert_eq!(quota(&[]), None);
    assert_eq!(
        quota(&[("content-type", "audio/mpeg"), ("retry-after", "3")]),
        None
    );
}

#[test]
fn the_requests_in_flight_are_told_by_two_headers() {
    let report = quota(&[
        ("current-concurrent-requests", "7"),
        ("maximum-concurrent-requests", "10"),
    ])
    .unwrap();
    assert_eq!(report.current_concurrency(), Some(7));
    assert_eq!(report.maximum_concurrency(), Some(10));
    assert_eq!(quota(&[("maximum-concurrent-requests", "0")]), None);
    assert_eq!(quota(&[("maximum-concurrent-requests", "-1")]), None);
}

// ElevenLabs, as captured.

const CONCURRENCY: &str = r#"{"detail":{"type":"rate_limit_error","code":"concurrent_limit_exceeded","message":"Too many concurrent requests. Your current subscription is associated with a maximum of 4 concurrent requests (running in parallel). This is done such that a single user does not overwhelm our systems and affect other users negatively. Please upgrade your subscription or contact sales if you want to increase this limit.","status":"too_many_concurrent_requests","request_id":"332f31193d4ee91902a0cd173439968d","docs_url":"https://elevenlabs.io/docs/eleven-api/resources/errors#rate-limiting-and-concurrency"}}"#;
const CONCURRENCY_LEGACY: &str = r#"{"detail":{"status":"too_many_concurrent_requests","message":"Too many concurrent requests. Your current subscription is associated with a maximum of 5 concurrent requests (running in parallel). This is done such that a single user does not overwhelm our systems."}}"#;
const BUSY: &str = r#"{"detail":{"status":"system_busy","message":"We are sorry, the system is experiencing heavy traffic, please try again. Higher subscriptions have higher priority."}}"#;
const BUSY_CURRENT: &str = r#"{"detail":{"type":"rate_limit_error","code":"system_busy","status":"system_busy","message":"We are sorry."}}"#;
const BUSY_AS_RATE: &str = r#"{"detail":{"status":"rate_limit_exceeded","message":"We are sorry, the system is experiencing heavy traffic, please try again."}}"#;
const RATE: &str = r#"{"detail":{"type":"rate_limit_error","code":"rate_limit_exceeded","message":"Too many requests."}}"#;
const QUOTA: &str = r#"{"detail":{"type":"invalid_request","code":"quota_exceeded","status":"quota_exceeded","message":"This request exceeds your quota of 10000. You have 0 credits remaining, while 91 credits are required for this request."}}"#;
const QUOTA_LEGACY: &str = r#"{"detail":{"status":"quota_exceeded","message":"This request exceeds your quota of 10000. You have 0 credits remaining, while 91 credits are required for this request."}}"#;
const CREDITS: &str = r#"{"detail":{"type":"payment_required","code":"insufficient_credits","message":"Not enough."}}"#;

#[test]
fn elevenlabs_refuses_what_is_too_many_at_once() {
    for (body, limit) in [(CONCURRENCY, 4), (CONCURRENCY_LEGACY, 5)] {
        let signal = classify_as(Profile::Standard, 429, &[], body).unwrap();
        assert_eq!(signal.kind(), SignalKind::Concurrency);
        assert_eq!(signal.concurrency_limit(), Some(limit));
        assert_eq!(signal.retry_after(), None);
    }
}

#[test]
fn elevenlabs_limit_in_a_header_comes_before_the_message() {
    let pairs = [("maximum-concurrent-requests", "6")];
    let signal = classify_as(Profile::Standard, 429, &pairs, CONCURRENCY).unwrap();
    assert_eq!(signal.concurrency_limit(), Some(6));
}

#[test]
fn elevenlabs_message_without_a_number_names_no_limit() {
    for message in [
        "",
        "maximum of concurrent requests",
        "maximum of 0 concurrent requests",
        "maximum of -3 concurrent requests",
        "maximum of 99999999999999999999 concurrent requests",
        "maximum of 12 minutes",
        "maximum of 1",
    ] {
        assert_eq!(elevenlabs::limit(message), None, "{message}");
    }
    let second = "a maximum of 3 minutes and a maximum of 7 concurrent requests";
    assert_eq!(elevenlabs::limit(second), Some(7));
}

#[test]
fn elevenlabs_busy_is_overload() {
    for body in [BUSY, BUSY_CURRENT, BUSY_AS_RATE] {
        assert_eq!(kind_of(429, body), Some(SignalKind::Overload), "{body}");
    }
}

#[test]
fn elevenlabs_rate_is_rate() {
    assert_eq!(kind_of(429, RATE), Some(SignalKind::Rate));
}

#[test]
fn elevenlabs_quota_is_exhausted_whatever_the_status() {
    for body in [QUOTA, QUOTA_LEGACY, CREDITS] {
        for status in [401, 402, 429] {
            let kind = kind_of(status, body);
            assert_eq!(kind, Some(SignalKind::QuotaExhausted), "{status} {body}");
        }
    }
}

#[test]
fn elevenlabs_other_errors_are_no_refusals() {
    for (status, body) in [
        (
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"Neither authorization header nor xi-api-key received, please provide one.","status":"needs_authorization"}}"#,
        ),
        (
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"Invalid API key","status":"invalid_api_key"}}"#,
        ),
        (
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"Provided authorization header was invalid.","status":"invalid_authorization_header"}}"#,
        ),
        (
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"The API key you used is missing the permission user_read to execute this operation.","status":"missing_permissions"}}"#,
        ),
        (
            401,
            r#"{"detail":{"status":"detected_unusual_activity","message":"Unusual activity detected. Free Tier usage disabled."}}"#,
        ),
        (
            402,
            r#"{"detail":{"type":"payment_required","code":"paid_plan_required","message":"Free users cannot use library voices via the API. Please upgrade your subscription to use this voice.","status":"payment_required"}}"#,
        ),
        (
            400,
            r#"{"detail":{"type":"payment_required","code":"paid_plan_required","message":"Your subscription does not include instant voice cloning. Please upgrade your plan.","status":"can_not_use_instant_voice_cloning"}}"#,
        ),
        (
            400,
            r#"{"detail":{"status":"max_character_limit_exceeded","message":"This request's text has 627 characters and exceeds the character limit of 333 characters for non signed in accounts."}}"#,
        ),
        (
            400,
            r#"{"detail":{"type":"validation_error","code":"invalid_parameters","message":"The 'keyterms' parameter is only supported with the 'scribe_v2' model. You specified 'scribe_v1'.","param":"keyterms"}}"#,
        ),
        (
            404,
            r#"{"detail":{"type":"not_found","code":"voice_not_found","message":"A voice with voice_id 'alloy' was not found.","status":"voice_not_found"}}"#,
        ),
        (404, r#"{"detail":"Not Found"}"#),
        (405, r#"{"detail":"Method Not Allowed"}"#),
        (
            422,
            r#"{"detail":[{"type":"missing","loc":["body","text"],"msg":"Field required","input":null}]}"#,
        ),
        (
            422,
            r#"{"detail":[{"type":"less_than_equal","loc":["body","voice_settings","stability"],"msg":"Input should be less than or equal to 1","input":2,"ctx":{"le":1.0}}]}"#,
        ),
    ] {
        assert_eq!(kind_of(status, body), None, "{body}");
    }
}

#[test]
fn the_concurrency_status_of_a_401_means_nothing() {
    assert_eq!(kind_of(401, CONCURRENCY), None);
}

// OpenAI and its like.

const INSUFFICIENT: &str = r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;

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

// Anthropic.

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

// GitHub.

const SECONDARY: &str = r#"{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/"}"#;

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

// Riot and Discord.

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

// Classifiers of one's own.

#[test]
fn a_closure_classifies() {
    let classifier =
        |answer: &Answer<'_>| (answer.status() == 420).then(|| Signal::new(SignalKind::Rate));
    let classifier: Box<dyn Classify> = Box::new(classifier);
    let headers = headers(&[("x-ratelimit-remaining", "3")]);
    let answer = |status| Answer::new(StatusCode::from_u16(status).unwrap(), &headers, now());
    assert!(classifier.classify(&answer(420)).is_some());
    assert!(classifier.classify(&answer(429)).is_none());
    assert!(classifier.wants_body(&answer(429)));
    assert!(classifier.quota(&answer(200)).is_some());
}

#[test]
fn a_signal_of_ones_own_keeps_the_bounds() {
    let signal = Signal::new(SignalKind::Concurrency)
        .with_retry_after(Duration::MAX)
        .with_concurrency_limit(0)
        .with_rate_limit(0, Duration::ZERO);
    assert_eq!(signal.retry_after(), Some(MAX_RETRY_AFTER));
    assert_eq!(signal.concurrency_limit(), None);
    assert_eq!(signal.rate_limit(), None);
    assert_eq!(signal.period(), None);
    let none = signal.with_retry_after(Duration::ZERO);
    assert_eq!(none.retry_after(), None);
}

#[test]
fn an_answer_keeps_its_secrets() {
    let headers = headers(&[("set-cookie", "secret")]);
    let answer = Answer::new(StatusCode::OK, &headers, now()).with_body(b"secret");
    assert!(!format!("{answer:?}").contains("secret"));
}

// The table of dialects.

/// One row of the table in the documentation.
struct Row {
    dialect: &'static str,
    profile: Profile,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    reads: &'static str,
}

const fn row(
    dialect: &'static str,
    profile: Profile,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    reads: &'static str,
) -> Row {
    Row {
        dialect,
        profile,
        status,
        headers,
        body,
        reads,
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("RFC 9110, seconds", Profile::Standard, 429, &[("retry-after", "120")], "", "rate; wait 120s"),
    row("RFC 9110, date", Profile::Standard, 503, &[("retry-after", "Thu, 21 Aug 2025 12:41:00 GMT")], "", "overload; wait 60s"),
    row("decimal seconds (Discord, Shopify)", Profile::Standard, 429, &[("retry-after", "0.35")], "", "rate; wait 350ms"),
    row("epoch by mistake (Docker Hub)", Profile::Standard, 429, &[("retry-after", "1755780042")], "", "rate; wait 42s"),
    row("milliseconds (Azure, OpenAI)", Profile::Standard, 429, &[("retry-after-ms", "4321"), ("retry-after", "5")], "", "rate; wait 4.321s"),
    row("milliseconds (AWS)", Profile::Standard, 429, &[("x-amz-retry-after", "1500")], "", "rate; wait 1.5s"),
    row("pushback (gRPC)", Profile::Standard, 503, &[("grpc-retry-pushback-ms", "-1")], "", "overload; do not retry"),
    row("word on retries (OpenAI, Anthropic)", Profile::Standard, 429, &[("x-should-retry", "false")], "", "rate; do not retry"),
    row("word on retries (Stripe)", Profile::Standard, 503, &[("stripe-should-retry", "true")], "", "overload; retry"),
    row("IETF drafts from -08", Profile::Standard, 429, &[("ratelimit-policy", "\"burst\";q=100;w=60, \"daily\";q=1000;w=86400"), ("ratelimit", "\"burst\";r=0;t=30, \"daily\";r=700;t=40000")], "", "rate; wait 30s; 100 per 60s"),
    row("IETF drafts from -08, concurrency", Profile::Standard, 429, &[("ratelimit-policy", "\"jobs\";q=4;qu=\"concurrent-requests\""), ("ratelimit", "\"jobs\";r=0")], "", "concurrency; 4 at once"),
    row("IETF draft -07", Profile::Standard, 200, &[("ratelimit", "limit=100, remaining=50, reset=5"), ("ratelimit-policy", "100;w=10")], "", "50 of 100 left; whole in 5s; per 10s"),
    row("IETF drafts -03 to -06", Profile::Standard, 429, &[("ratelimit-limit", "10, 10;w=1, 50;w=60"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "7")], "", "rate; wait 7s; 10 per 1s"),
    row("GitLab", Profile::Standard, 429, &[("ratelimit-limit", "60"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "1755780030")], "", "rate; wait 30s; 60 per ?"),
    row("Docker Hub", Profile::Standard, 200, &[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")], "", "76 of 100 left; per 21600s"),
    row("X", Profile::Standard, 429, &[("x-rate-limit-limit", "900"), ("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "1755780420")], "", "rate; wait 420s; 900 per ?"),
    row("Reddit", Profile::Standard, 200, &[("x-ratelimit-used", "5"), ("x-ratelimit-remaining", "595.0"), ("x-ratelimit-reset", "312")], "", "595 of ? left; whole in 312s"),
    row("OpenRouter", Profile::Standard, 429, &[("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1755780009000")], "", "rate; wait 9s; 20 per ?"),
    row("Atlassian", Profile::Standard, 429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2025-08-21T12:45Z")], "", "rate; wait 300s"),
    row("go-limiter", Profile::Standard, 429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "Thu, 21 Aug 2025 12:40:05 GMT")], "", "rate; wait 5s"),
    row("Kong", Profile::Standard, 200, &[("x-ratelimit-limit-minute", "20"), ("x-ratelimit-remaining-minute", "12"), ("x-ratelimit-remaining-hour", "900")], "", "12 of 20 left; per 60s"),
    row("RapidAPI", Profile::Standard, 200, &[("x-ratelimit-requests-limit", "500"), ("x-ratelimit-requests-remaining", "31"), ("x-ratelimit-requests-reset", "3600")], "", "31 of 500 left; whole in 3600s"),
    row("Groq", Profile::Standard, 200, &[("x-ratelimit-remaining-requests", "9"), ("x-ratelimit-reset-requests", "2m59.56s")], "", "9 of ? left; whole in 179.56s"),
    row("MailerLite", Profile::Standard, 429, &[("x-ratelimit-retry-after", "59")], "", "rate; wait 59s"),
    row("ElevenLabs, concurrency", Profile::Standard, 429, &[], r#"{"detail": {"code": "concurrent_limit_exceeded", "message": "... a maximum of 4 concurrent requests ..."}}"#, "concurrency; 4 at once"),
    row("ElevenLabs, concurrency until 2025", Profile::Standard, 429, &[], r#"{"detail": {"status": "too_many_concurrent_requests", "message": "... a maximum of 5 concurrent requests ..."}}"#, "concurrency; 5 at once"),
    row("ElevenLabs, busy", Profile::Standard, 429, &[], r#"{"detail": {"status": "system_busy"}}"#, "overload"),
    row("ElevenLabs, rate", Profile::Standard, 429, &[], r#"{"detail": {"code": "rate_limit_exceeded"}}"#, "rate"),
    row("ElevenLabs, busy (speech to text)", Profile::Standard, 429, &[], r#"{"detail": {"status": "rate_limit_exceeded", "message": "... heavy traffic ..."}}"#, "overload"),
    row("ElevenLabs, credits", Profile::Standard, 401, &[], r#"{"detail": {"status": "quota_exceeded"}}"#, "quota exhausted"),
    row("ElevenLabs, credits as documented", Profile::Standard, 402, &[], r#"{"detail": {"code": "insufficient_credits"}}"#, "quota exhausted"),
    row("ElevenLabs, successes", Profile::Standard, 200, &[("current-concurrent-requests", "7"), ("maximum-concurrent-requests", "10")], "", "7 of 10 at once"),
    row("OpenAI, credits", Profile::Standard, 429, &[], r#"{"error": {"code": "insufficient_quota"}}"#, "quota exhausted"),
    row("OpenAI", Profile::OpenAi, 200, &[("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "54"), ("x-ratelimit-reset-requests", "6s"), ("x-ratelimit-remaining-tokens", "149984")], "", "54 of 60 left; whole in 6s, bit by bit"),
    row("OpenAI, tokens", Profile::OpenAi, 429, &[("x-ratelimit-remaining-requests", "54"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")], "", "rate; wait 360s"),
    row("Azure OpenAI", Profile::OpenAi, 429, &[("x-ratelimit-remaining-requests", "-1"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "37")], "", "rate; wait 37s"),
    row("Anthropic", Profile::Anthropic, 200, &[("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-remaining", "40"), ("anthropic-ratelimit-requests-reset", "2025-08-21T12:40:12Z")], "", "40 of 50 left; whole in 12s, bit by bit"),
    row("Anthropic, connections", Profile::Anthropic, 429, &[("retry-after", "3")], r#"{"error": {"type": "rate_limit_error", "message": "Number of concurrent connections has exceeded your rate limit. ..."}}"#, "concurrency; wait 3s"),
    row("Anthropic, overload", Profile::Anthropic, 529, &[], r#"{"error": {"type": "overloaded_error"}}"#, "overload"),
    row("GitHub", Profile::GitHub, 403, &[("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1755780600"), ("x-ratelimit-resource", "core")], "", "rate of everything; wait 600s; 5000 per ?"),
    row("GitHub, secondary limit", Profile::GitHub, 403, &[], r#"{"message": "You have exceeded a secondary rate limit. ..."}"#, "rate of everything; wait 60s"),
    row("GitHub, no limit", Profile::GitHub, 403, &[("x-ratelimit-remaining", "4999")], r#"{"message": "Must have admin rights to Repository."}"#, "nothing"),
    row("Discord, successes", Profile::Discord, 200, &[("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "1"), ("x-ratelimit-reset-after", "1.337")], "", "1 of 5 left; whole in 1.337s"),
    row("Discord", Profile::Discord, 429, &[("x-ratelimit-scope", "shared"), ("x-ratelimit-remaining", "3")], r#"{"retry_after": 1.337, "global": false}"#, "rate; wait 1.337s"),
    row("Discord, global limit", Profile::Discord, 429, &[("x-ratelimit-global", "true"), ("retry-after", "2")], "", "rate of everything; wait 2s"),
    row("Riot, successes", Profile::Riot, 200, &[("x-app-rate-limit", "20:1,100:120"), ("x-app-rate-limit-count", "1:1,98:120")], "", "2 of 100 left; per 120s"),
    row("Riot, application", Profile::Riot, 429, &[("x-rate-limit-type", "application"), ("retry-after", "77"), ("x-app-rate-limit", "20:1,100:120"), ("x-app-rate-limit-count", "3:1,101:120")], "", "rate of everything; wait 77s; 100 per 120s"),
    row("Riot, method", Profile::Riot, 429, &[("x-rate-limit-type", "method"), ("retry-after", "7")], "", "rate; wait 7s"),
    row("Riot, back-end", Profile::Riot, 429, &[], "", "overload"),
    row("Shopify, successes", Profile::Shopify, 200, &[("x-shopify-shop-api-call-limit", "32/40")], "", "8 of 40 left; whole in 16s, bit by bit; per 20s"),
    row("Shopify", Profile::Shopify, 429, &[("retry-after", "2.0")], "", "rate of everything; wait 2s"),
];

fn tell_signal(signal: &Signal) -> String {
    let mut text = match signal.kind() {
        SignalKind::Rate => "rate",
        SignalKind::Concurrency => "concurrency",
        SignalKind::Overload => "overload",
        SignalKind::QuotaExhausted => "quota exhausted",
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
    if let Some(limit) = signal.rate_limit() {
        write!(text, "; {limit} per {}", known(signal.period())).unwrap();
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
        parts.push(format!(
            "{} of {maximum} at once",
            known(report.current_concurrency())
        ));
    }
    parts.join("; ")
}

fn known<T: std::fmt::Debug>(value: Option<T>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| format!("{value:?}"))
}

#[test]
fn every_dialect_of_the_table_is_read_as_it_says() {
    for row in ROWS {
        let reads = if row.status == 200 {
            quota_as(row.profile, row.headers).map(|report| tell_quota(&report))
        } else {
            classify_as(row.profile, row.status, row.headers, row.body)
                .map(|signal| tell_signal(&signal))
        };
        assert_eq!(
            reads.as_deref().unwrap_or("nothing"),
            row.reads,
            "{}",
            row.dialect
        );
    }
}

#[test]
fn the_documentation_has_exactly_the_rows_of_the_table() {
    let rows = ROWS.iter().map(|row| {
        let mut answer = format!("`{}`", row.status);
        for (name, value) in row.headers {
            write!(answer, "<br>`{name}: {value}`").unwrap();
        }
        if !row.body.is_empty() {
            write!(answer, "<br>`{}`", row.body).unwrap();
        }
        let profile = match row.profile {
            Profile::Standard => String::new(),
            profile => format!("`{profile:?}`"),
        };
        format!("| {} | {profile} | {answer} | {} |", row.dialect, row.reads)
    });
    let expected = rows.collect::<Vec<_>>().join("\n");
    let documented = include_str!("DIALECTS.md")
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(documented == expected, "DIALECTS.md should be:\n{expected}");
}

// What holds for any answer.

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
];

const PROFILES: &[Profile] = &[
    Profile::Standard,
    Profile::Anthropic,
    Profile::OpenAi,
    Profile::GitHub,
    Profile::Discord,
    Profile::Riot,
    Profile::Shopify,
];

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
    ]
}

fn in_bounds(wait: Option<Duration>) -> bool {
    wait.is_none_or(|wait| wait > Duration::ZERO && wait <= MAX_RETRY_AFTER)
}

proptest! {
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

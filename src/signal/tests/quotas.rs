//! What the quota is: rules 11 to 15.

use super::{SignalKind, classify, delay, quota, secs};

#[test]
fn the_structured_field_in_its_grammars() {
    let left = |field| quota(&[("ratelimit", field)]).and_then(|report| report.remaining());
    assert_eq!(left("\"default\";r=50;t=30"), Some(50));
    assert_eq!(left("default;r=50; t=30"), Some(50));
    assert_eq!(left("limit=100, remaining=50, reset=5"), Some(50));
    assert_eq!(left("\"limit\";r=50;t=30"), Some(50));
}

#[test]
fn what_else_the_structured_field_may_hold_is_passed_over() {
    let left = |field: &str| quota(&[("ratelimit", field)]).and_then(|report| report.remaining());
    // Escapes, and parameters of every type.
    assert_eq!(left(r#""a \"b\"; r=1";r=50;t=30"#), Some(50));
    assert_eq!(left(r#""a\\";r=50;t=30"#), Some(50));
    for value in ["?1", ":cHs=:", "-1.5", "token/*", "\"text\""] {
        assert_eq!(
            left(&format!("\"a\";r=50;x={value};t=30")),
            Some(50),
            "{value}"
        );
    }
    assert_eq!(left("\"a\";x;r=50;t=30"), Some(50));
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
    let none = ("ratelimit-policy", "\"c\";q=0;qu=\"concurrent-requests\"");
    assert_eq!(quota(&[none, ("ratelimit", "\"c\";r=0")]), None);
    let signal = classify(429, &[none, ("ratelimit", "\"c\";r=0")]).unwrap();
    assert_eq!(signal.concurrency_limit(), None);
}

#[test]
fn a_policy_counts_requests_unless_it_says_otherwise() {
    let limit = |unit: &str| {
        let policy = format!("\"a\";q=100;w=60{unit}");
        let report = quota(&[("ratelimit-policy", &policy), ("ratelimit", "\"a\";r=0")]);
        report.unwrap().limit()
    };
    assert_eq!(limit(""), Some(100));
    assert_eq!(limit(";qu=\"requests\""), Some(100));
    assert_eq!(limit(";qu=\"content-bytes\""), None);
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
    for (name, window) in [
        ("x-ratelimit-remaining-second", secs(1)),
        ("x-ratelimit-remaining-hour", secs(3_600)),
        ("x-ratelimit-remaining-requests-day", secs(86_400)),
        ("x-ratelimit-remaining-week", None),
    ] {
        assert_eq!(quota(&[(name, "9")]).unwrap().period(), window, "{name}");
    }
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
    // Either may come alone.
    let report = quota(&[("current-concurrent-requests", "7")]).unwrap();
    assert_eq!(report.current_concurrency(), Some(7));
    let report = quota(&[("maximum-concurrent-requests", "10")]).unwrap();
    assert_eq!(report.maximum_concurrency(), Some(10));
    assert_eq!(quota(&[("maximum-concurrent-requests", "0")]), None);
    assert_eq!(quota(&[("maximum-concurrent-requests", "-1")]), None);
}

#[test]
fn a_limit_may_be_one_of_several_policies() {
    let report = quota(&[
        ("ratelimit-limit", "10, 50;w=60, 10;w=1"),
        ("ratelimit-remaining", "9"),
    ])
    .unwrap();
    assert_eq!(report.period(), secs(1));
}

#[test]
fn the_window_beside_a_limit_comes_before_that_of_a_policy() {
    let report = quota(&[
        ("ratelimit-limit", "10;w=1"),
        ("ratelimit-policy", "10;w=60"),
        ("ratelimit-remaining", "9"),
    ])
    .unwrap();
    assert_eq!(report.period(), secs(1));
}

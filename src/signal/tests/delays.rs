//! How long to wait: rules 5 to 10.

use super::{
    Duration, Profile,
    bodies::{BUSY, CONCURRENCY, QUOTA, RATE},
    classify_as, delay, secs,
};

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

#[test]
fn a_quota_is_no_delay_of_another_refusal() {
    let pairs = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "900")];
    for (status, body) in [(503, ""), (429, BUSY), (429, CONCURRENCY), (401, QUOTA)] {
        let signal = classify_as(Profile::Standard, status, &pairs, body).unwrap();
        assert_eq!(signal.retry_after(), None, "{status} {body}");
    }
}

#[test]
fn the_requests_in_flight_are_no_delay_of_a_rate_refusal() {
    let pairs = [
        ("ratelimit-policy", "\"c\";q=4;qu=\"concurrent-requests\""),
        ("ratelimit", "\"c\";r=0;t=9"),
    ];
    let signal = classify_as(Profile::Standard, 429, &pairs, RATE).unwrap();
    assert_eq!(signal.retry_after(), None);
}

//! `Retry-After`: linkerd's cases (`linkerd/http/classify/src/retry_after.rs`), as they are here.

use super::{
    Answer, HeaderMap, HeaderValue, MAX_RETRY_AFTER, StatusCode, classify, delay, now, secs,
};

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
    // From here on a time, and one that has passed.
    assert_eq!(read("100000000000"), None);
}

#[test]
fn negative_pushback_asks_not_to_retry() {
    let signal = classify(429, &[("grpc-retry-pushback-ms", "-1")]).unwrap();
    assert_eq!(signal.retry_after(), None);
    assert_eq!(signal.should_retry(), Some(false));
    let signal = classify(429, &[("grpc-retry-pushback-ms", "0")]).unwrap();
    assert_eq!(signal.should_retry(), None);
}

//! Which answers are refusals.

use super::{
    Answer, Classify, Duration, HeaderMap, MAX_RETRY_AFTER, Profile, QuotaReport, Signal,
    SignalKind, StatusCode, bodies::BUSY, classify, classify_as, headers, now, secs,
};

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
    for status in [200, 301, 400, 401, 402, 404, 408, 425, 500, 502, 504] {
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
        let refusal = matches!(status, 401 | 402 | 420 | 429 | 430 | 503 | 509);
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
    assert_eq!(wanted("gzip"), cfg!(feature = "decompress"));
    assert!(!wanted("br"));
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

#[test]
fn a_closure_classifies() {
    let classifier =
        |answer: &Answer<'_>| (answer.status() == 420).then(|| Signal::new(SignalKind::Rate));
    let classifier: Box<dyn Classify> = Box::new(classifier);
    let headers = headers(&[("x-ratelimit-remaining", "3")]);
    let answer = |status| Answer::new(StatusCode::from_u16(status).unwrap(), &headers, now());
    assert!(classifier.classify(&answer(420)).is_some());
    assert!(classifier.classify(&answer(429)).is_none());
    // The rest is as without a profile.
    assert!(classifier.wants_body(&answer(429)));
    assert!(!classifier.wants_body(&answer(404)));
    let left = QuotaReport::new().with_remaining(3);
    assert_eq!(classifier.quota(&answer(200)), Some(left));
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
fn a_signal_of_ones_own_says_what_it_was_given() {
    let signal = Signal::new(SignalKind::Concurrency)
        .with_concurrency_limit(4)
        .with_rate_limit(100, Duration::from_secs(60));
    assert_eq!(signal.concurrency_limit(), Some(4));
    assert_eq!(signal.rate_limit(), Some(100));
    assert_eq!(signal.period(), secs(60));
}

#[test]
fn an_answer_keeps_its_secrets() {
    let headers = headers(&[("set-cookie", "secret")]);
    let answer = Answer::arriving(StatusCode::OK, &headers).with_body(b"secret");
    assert_eq!(
        format!("{answer:?}"),
        "Answer { status: 200, headers: 1, body: 6, now: None }"
    );
}

#[test]
fn a_limit_of_nothing_at_all_is_none() {
    let refused = [
        ("x-ratelimit-limit", "0"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "9"),
    ];
    let signal = classify(429, &refused).unwrap();
    assert_eq!(signal.rate_limit(), None);
    assert_eq!(signal.retry_after(), secs(9));
}

#[test]
fn a_penalty_is_the_least_delay_of_a_429() {
    let classify = |status, pairs: &[(&'static str, &str)], body: &str| {
        let headers = headers(pairs);
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer::new(status, &headers, now()).with_body(body.as_bytes());
        let penalized = Profile::Standard.with_penalty(Duration::from_secs(30));
        assert_eq!(
            penalized.wants_body(&answer),
            Profile::Standard.wants_body(&answer)
        );
        assert_eq!(penalized.quota(&answer), Profile::Standard.quota(&answer));
        penalized
            .classify(&answer)
            .map(|signal| signal.retry_after())
    };
    assert_eq!(classify(429, &[], ""), Some(secs(30)));
    assert_eq!(classify(429, &[("retry-after", "3")], ""), Some(secs(30)));
    assert_eq!(classify(429, &[("retry-after", "60")], ""), Some(secs(60)));
    assert_eq!(
        classify(429, &[], super::bodies::CONCURRENCY),
        Some(secs(30))
    );
    assert_eq!(classify(429, &[], super::bodies::QUOTA), Some(None));
    assert_eq!(classify(503, &[], ""), Some(None));
    assert_eq!(classify(200, &[], ""), None);
}

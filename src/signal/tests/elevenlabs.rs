//! ElevenLabs.

use super::{
    Profile, SignalKind,
    bodies::{
        BUSY, BUSY_AS_RATE, BUSY_CURRENT, CONCURRENCY, CONCURRENCY_LEGACY, CREDITS, QUOTA,
        QUOTA_LEGACY, RATE,
    },
    classify_as, kind_of,
};
use crate::signal::words::Sentence;

fn limit(message: &str) -> Option<usize> {
    let sentence = Sentence::new(message);
    (sentence.is_about_concurrency())
        .then(|| sentence.concurrency_limit())
        .flatten()
}

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
        assert_eq!(limit(message), None, "{message}");
    }
    let second = "a maximum of 3 minutes and a maximum of 7 concurrent requests";
    assert_eq!(limit(second), Some(7));
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

use super::*;

fn credits(value: &str) -> Option<Cost> {
    let answer = Response::builder().header("character-cost", value);
    let answer = answer.body(()).expect("it is a header's value");
    Usage::ELEVENLABS.head(&(&answer).into())
}

#[test]
fn elevenlabs_tells_credits_in_a_header() {
    assert_eq!(credits("52"), Some(Cost::new().of(Unit::CREDITS, 52)));
    assert_eq!(credits("0"), Some(Cost::new().of(Unit::CREDITS, 0)));
    for value in ["", "-3", "+3", "3.5", "many", "99999999999999999999"] {
        assert_eq!(credits(value), None, "{value:?}");
    }
}

#[test]
fn elevenlabs_tells_nothing_without_the_header_and_nothing_in_bodies() {
    let answer = answer("application/json");
    assert_eq!(Usage::ELEVENLABS.head(&(&answer).into()), None);
    assert!(Usage::ELEVENLABS.body(&(&answer).into()).is_none());
}

#[test]
fn language_models_tell_nothing_in_heads() {
    let answer = Response::builder().header("character-cost", "52").body(());
    let answer = answer.expect("it is a header's value");
    for usage in [Usage::OPENAI, Usage::ANTHROPIC, Usage::GEMINI] {
        assert_eq!(usage.head(&(&answer).into()), None);
    }
}

#[test]
fn only_text_is_read() {
    for content_type in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/x-ndjson",
        "text/event-stream; charset=utf-8",
        "text/plain",
    ] {
        assert!(
            Usage::OPENAI
                .body(&(&answer(content_type)).into())
                .is_some()
        );
    }
    for content_type in ["audio/mpeg", "image/png", "application/octet-stream", ""] {
        assert!(
            Usage::OPENAI
                .body(&(&answer(content_type)).into())
                .is_none()
        );
    }
    assert!(Usage::OPENAI.body(&(&Response::new(())).into()).is_some());
}

#[test]
fn only_successes_have_usage() {
    let mut answer = answer("application/json");
    *answer.status_mut() = http::StatusCode::BAD_REQUEST;
    assert!(Usage::ANTHROPIC.body(&(&answer).into()).is_none());
}

#[test]
fn what_is_compressed_in_an_unknown_way_is_not_read() {
    for coding in ["br", "zstd", "gzip, gzip"] {
        let mut answer = answer("application/json");
        let value = coding.parse().expect("it is a header's value");
        answer.headers_mut().insert("content-encoding", value);
        assert!(Usage::OPENAI.body(&(&answer).into()).is_none());
    }
    let mut answer = answer("application/json");
    let value = http::HeaderValue::from_static("identity");
    answer.headers_mut().insert("content-encoding", value);
    assert!(Usage::OPENAI.body(&(&answer).into()).is_some());
}

//! What the mock ElevenLabs refuses, in which order, and in which words.

use super::support::{Ask, RACHEL, ms};
use http::StatusCode;
use serde_json::{Value, json};
use tower_throttle_mock::{
    Fault, Limit, Work,
    elevenlabs::{Account, Dialect, MockBuilder, MockElevenLabs, TTS, Voice},
};
use tower_throttle_plans::elevenlabs::Plan;

/// Keys of all kinds, and nothing takes time.
fn keys() -> MockBuilder {
    MockElevenLabs::builder()
        .work(Work::none())
        .clone_work(Work::none())
        .known_voices_only()
        .voice(Voice::library("library", "Zoe"))
        .key("good", Account::new(Plan::Creator))
        .key("free", Account::new(Plan::Free))
        .key("poor", Account::new(Plan::Creator).credits(90))
        .key("off", Account::new(Plan::Creator).disabled())
        .key("odd", Account::new(Plan::Free).unusual_activity())
        .key(
            "mute",
            Account::new(Plan::Creator)
                .without_permission("user_read")
                .without_permission("text_to_speech"),
        )
}

fn hello() -> Value {
    json!({"text": "Hello"})
}

/// The body, but for the id, which has to be the answer's `x-trace-id`.
async fn body(mock: &MockElevenLabs, ask: Ask) -> (u16, String) {
    let answer = ask.send(mock).await;
    let trace = answer.header("x-trace-id").unwrap().to_owned();
    let text = answer.text();
    assert!(text.contains(&trace), "{text}");
    (answer.status().as_u16(), text.replace(&trace, "ID"))
}

#[tokio::test(start_paused = true)]
async fn refusals_are_those_that_were_captured() {
    let mock = keys().build();
    let speak = || Ask::speak(RACHEL, "", &hello());
    let user = || Ask::get("/v1/user");
    let add = || Ask::clone_voice(&[("name", "a"), ("files", "b")]);
    let long = json!({"text": "a".repeat(91)});
    let cases = [
        (
            speak(),
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"Neither authorization header nor xi-api-key received, please provide one.","status":"needs_authorization","request_id":"ID"}}"#,
        ),
        (
            user().key("bad"),
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"Invalid API key","status":"invalid_api_key","request_id":"ID"}}"#,
        ),
        (
            user().header("authorization", "Bearer bad"),
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"Provided authorization header was invalid.","status":"invalid_authorization_header","request_id":"ID"}}"#,
        ),
        (
            user().key("mute"),
            401,
            r#"{"detail":{"type":"authentication_error","code":"unauthorized","message":"The API key you used is missing the permission user_read to execute this operation.","status":"missing_permissions","request_id":"ID"}}"#,
        ),
        (
            Ask::get("/v1/models"),
            404,
            r#"{"detail":{"type":"not_found","code":"workspace_not_found","message":"Workspace 1anonymous1 not found.","status":"workspace_not_found","request_id":"ID"}}"#,
        ),
        (
            Ask::speak(RACHEL, "", &long).key("poor"),
            401,
            r#"{"detail":{"type":"invalid_request","code":"quota_exceeded","message":"This request exceeds your quota of 90. You have 90 credits remaining, while 91 credits are required for this request.","status":"quota_exceeded","request_id":"ID"}}"#,
        ),
        (
            Ask::speak("library", "", &hello()).key("free"),
            402,
            r#"{"detail":{"type":"payment_required","code":"paid_plan_required","message":"Free users cannot use library voices via the API. Please upgrade your subscription to use this voice.","status":"payment_required","request_id":"ID"}}"#,
        ),
        (
            add().key("free"),
            400,
            r#"{"detail":{"type":"payment_required","code":"paid_plan_required","message":"Your subscription does not include instant voice cloning. Please upgrade your plan.","status":"can_not_use_instant_voice_cloning","request_id":"ID"}}"#,
        ),
        (
            Ask::speak("alloy", "", &hello()).key("good"),
            404,
            r#"{"detail":{"type":"not_found","code":"voice_not_found","message":"A voice with voice_id 'alloy' was not found.","status":"voice_not_found","request_id":"ID"}}"#,
        ),
        (
            Ask::get("/v1/voices/alloy").key("good"),
            400,
            r#"{"detail":{"type":"not_found","code":"voice_not_found","message":"A voice with voice_id 'alloy' was not found.","status":"voice_not_found","request_id":"ID"}}"#,
        ),
        (
            Ask::speak(RACHEL, "?output_format=pcm_44100", &hello()).key("good"),
            403,
            r#"{"detail":{"type":"authorization_error","code":"subscription_required","message":"Output format 'pcm_44100' is only available on the Pro tier and above.","status":"output_format_not_allowed","request_id":"ID"}}"#,
        ),
        (
            Ask::speak(
                RACHEL,
                "",
                &json!({"text": "a", "voice_settings": {"speed": 1.5}}),
            )
            .key("good"),
            400,
            r#"{"detail":{"type":"validation_error","code":"invalid_voice_settings","message":"Invalid setting for speed received, expected to be greater or equal to 0.7 and less or equal to 1.2, received 1.5.","status":"invalid_voice_settings","request_id":"ID"}}"#,
        ),
    ];
    for (ask, status, expected) in cases {
        let got = body(&mock, ask).await;
        assert_eq!(got, (status, expected.to_owned()));
    }
    assert_eq!(mock.report().accepted(), 0);
    assert_eq!(mock.report().refused(), 0);
}

/// Each request is wrong in all respects from its place in the order on.
#[tokio::test(start_paused = true)]
async fn checks_come_in_the_real_order() {
    let mock = keys().build();
    let settings = |name: &str, value: f64| json!({name: value});
    let body = |text: &str, model: &str, settings: Value| json!({"text": text, "model_id": model, "voice_settings": settings});
    let (fine, slow) = (json!({}), settings("speed", 0.1));
    let stable = settings("stability", 2.0);
    let short = "a";
    let costly = "a".repeat(91);
    let too_long = "a".repeat(10_001);
    let v2 = "eleven_multilingual_v2";
    let cases = [
        // Schema, key, format, length, speed, voice, model, credits.
        (
            "bad",
            "?output_format=x",
            body(&too_long, v2, stable),
            "alloy",
            (422, "less_than_equal"),
        ),
        (
            "bad",
            "?output_format=x",
            body(&too_long, v2, slow.clone()),
            "alloy",
            (401, "invalid_api_key"),
        ),
        (
            "mute",
            "?output_format=x",
            body(&too_long, v2, slow.clone()),
            "alloy",
            (401, "missing_permissions"),
        ),
        (
            "odd",
            "?output_format=x",
            body(&too_long, v2, slow.clone()),
            "alloy",
            (401, "detected_unusual_activity"),
        ),
        (
            "poor",
            "?output_format=x",
            body(&too_long, v2, slow.clone()),
            "alloy",
            (400, "invalid_output_format"),
        ),
        (
            "poor",
            "?output_format=wav_44100",
            body(&too_long, v2, slow.clone()),
            "alloy",
            (403, "output_format_not_allowed"),
        ),
        (
            "poor",
            "",
            body(&too_long, v2, slow.clone()),
            "alloy",
            (400, "max_character_limit_exceeded"),
        ),
        (
            "poor",
            "",
            body(&costly, "x", slow),
            "alloy",
            (400, "invalid_voice_settings"),
        ),
        (
            "poor",
            "",
            body(&costly, "x", fine.clone()),
            "alloy",
            (404, "voice_not_found"),
        ),
        (
            "poor",
            "",
            body(&costly, "x", fine.clone()),
            RACHEL,
            (400, "model_not_found"),
        ),
        (
            "poor",
            "",
            body(&costly, v2, fine.clone()),
            RACHEL,
            (401, "quota_exceeded"),
        ),
    ];
    for (key, query, body, voice, expected) in cases {
        for rest in ["", "/stream", "/with-timestamps", "/stream/with-timestamps"] {
            let ask = Ask::speak(voice, &format!("{rest}{query}"), &body).key(key);
            let (status, word) = ask.send(&mock).await.refusal();
            assert_eq!((status, &*word), expected, "{rest}");
        }
    }
    let fine = Ask::speak(RACHEL, "", &body(short, v2, fine)).key("poor");
    assert_eq!(fine.send(&mock).await.status(), StatusCode::OK);
    assert_eq!(mock.report().endpoint(TTS).invalid, 11);
    assert_eq!(mock.report().accepted(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_turned_down_is_so_although_the_limits_are_full() {
    let mock = MockElevenLabs::builder()
        .tts(Limit::concurrent(1), Work::fixed(ms(1_000)))
        .credits(3)
        .build();
    let open = Ask::speak("a", "", &json!({"text": "abc"})).call(&mock);
    let refused = Ask::speak("a", "", &json!({"text": ""})).send(&mock).await;
    let expected = (429, "too_many_concurrent_requests".to_owned());
    assert_eq!(refused.refusal(), expected);
    let broke = Ask::speak("a", "", &hello()).send(&mock).await;
    assert_eq!(broke.refusal(), (401, "quota_exceeded".to_owned()));
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn the_legacy_dialect_has_status_and_message_only() {
    let mock = MockElevenLabs::builder()
        .dialect(Dialect::Legacy)
        .require_key()
        .tts(Limit::concurrent(5), Work::fixed(ms(100)))
        .build();
    let user = Ask::get("/v1/user").send(&mock).await;
    assert_eq!(
        user.text(),
        r#"{"detail":{"status":"needs_authorization","message":"Neither authorization header nor xi-api-key received, please provide one."}}"#
    );
    let speak = || Ask::speak("a", "", &hello()).key("any");
    let open: Vec<_> = (0..5).map(|_| speak().call(&mock)).collect();
    let refused = speak().send(&mock).await;
    assert_eq!(
        refused.text(),
        r#"{"detail":{"status":"too_many_concurrent_requests","message":"Too many concurrent requests. Your current subscription is associated with a maximum of 5 concurrent requests (running in parallel). This is done such that a single user does not overwhelm our systems and affect other users negatively. Please upgrade your subscription or contact sales if you want to increase this limit."}}"#
    );
    drop(open);
    mock.judge().fault(mock.system_busy());
    let busy = speak().send(&mock).await;
    assert_eq!(
        busy.text(),
        r#"{"detail":{"status":"system_busy","message":"We are sorry, the system is experiencing heavy traffic, please try again. Higher subscriptions have higher priority."}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn heavy_traffic_is_a_429_that_no_limit_explains() {
    let mock = MockElevenLabs::builder().build();
    mock.judge().fault(mock.system_busy().on(TTS));
    mock.judge().fault(Fault::status(503).on(TTS));
    let busy = Ask::speak("a", "", &hello()).send(&mock).await;
    assert_eq!(busy.refusal(), (429, "system_busy".to_owned()));
    let detail = &busy.json()["detail"];
    assert_eq!(detail["type"], "rate_limit_error");
    assert_eq!(detail["code"], "system_busy");
    for absent in ["retry-after", "request-id", "current-concurrent-requests"] {
        assert_eq!(busy.header(absent), None);
    }
    let down = Ask::speak("a", "", &hello()).send(&mock).await;
    assert_eq!(down.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_429_has_the_headers_of_the_real_one_and_no_others() {
    let mock = MockElevenLabs::builder().plan(Plan::Free).build();
    let speak = || Ask::speak("a", "", &hello());
    let open = [speak().call(&mock), speak().call(&mock)];
    let names = |answer: &super::support::Answer| {
        let mut names: Vec<_> = answer.0.headers().keys().map(ToString::to_string).collect();
        names.sort();
        names.join(" ")
    };
    let common = "access-control-allow-headers access-control-allow-methods \
                  access-control-allow-origin access-control-max-age content-type date server \
                  strict-transport-security vary via x-region x-trace-id";
    let refused = speak().send(&mock).await;
    assert_eq!(names(&refused), common);
    assert_eq!(
        refused.header("vary"),
        Some("Accept-Language, Accept-Encoding")
    );
    let compressed = speak().header("accept-encoding", "gzip, deflate");
    let compressed = compressed.send(&mock).await;
    let with_encoding = common.replace("content-type", "content-encoding content-type");
    assert_eq!(names(&compressed), with_encoding);
    assert_eq!(compressed.bytes()[..2], [0x1f, 0x8b]);
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn schemas_are_checked_field_by_field() {
    let mock = MockElevenLabs::builder().build();
    let locator = json!([{}]);
    let body = json!({
        "text": 3,
        "model_id": null,
        "language_code": 4,
        "voice_settings": {"stability": "x", "style": -1, "use_speaker_boost": "maybe"},
        "seed": -1,
        "previous_request_ids": [1],
        "next_request_ids": ["a", "b", "c", "d"],
        "pronunciation_dictionary_locators": locator,
        "apply_text_normalization": "maybe",
        "use_pvc_as_ivc": "yes",
        "whatever": {},
    });
    let query = "?enable_logging=maybe&optimize_streaming_latency=5";
    let answer = Ask::speak("a", query, &body).send(&mock).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let detail = answer.json()["detail"].clone();
    let errors = detail.as_array().unwrap().iter().map(|error| {
        let loc = error["loc"].as_array().unwrap().iter();
        let loc = loc.map(|step| step.to_string().replace('"', ""));
        let loc = loc.collect::<Vec<_>>().join(".");
        format!("{loc} {}", error["type"].as_str().unwrap())
    });
    let mut errors: Vec<_> = errors.collect();
    // The query first; the body's fields in any order, but for the text.
    assert_eq!(errors[0], "query.enable_logging bool_parsing");
    assert_eq!(
        errors[1],
        "query.optimize_streaming_latency less_than_equal"
    );
    assert_eq!(errors[2], "body.text string_type");
    errors[3..].sort();
    assert_eq!(
        errors[3..],
        [
            "body.apply_text_normalization enum",
            "body.language_code string_type",
            "body.next_request_ids too_long",
            "body.previous_request_ids.0 string_type",
            "body.pronunciation_dictionary_locators.0.pronunciation_dictionary_id missing",
            "body.seed greater_than_equal",
            "body.voice_settings.stability float_parsing",
            "body.voice_settings.style greater_than_equal",
            "body.voice_settings.use_speaker_boost bool_parsing",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_to_be_no_json_misses_every_field() {
    let mock = MockElevenLabs::builder().build();
    let ask = Ask::new("POST", "/v1/text-to-speech/a")
        .header("content-type", "text/plain; charset=utf-8")
        .body(r#"{"text": "Hello"}"#);
    let answer = ask.send(&mock).await;
    assert_eq!(answer.refusal(), (422, "missing".to_owned()));
    assert_eq!(answer.json()["detail"].as_array().unwrap().len(), 13);
    for kind in [
        "application/json; charset=utf-8",
        "application/vnd.api+json",
    ] {
        let ask = Ask::new("POST", "/v1/text-to-speech/a")
            .header("content-type", kind)
            .body(r#"{"text": "Hello"}"#);
        assert_eq!(ask.send(&mock).await.status(), StatusCode::OK, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_form_without_its_parts_is_told_so_before_the_key_is_asked_for() {
    let mock = keys().build();
    let missing = |name: &str| {
        format!(
            r#"{{"type":"missing","loc":["body","{name}"],"msg":"Field required","input":null}}"#
        )
    };
    let neither = Ask::clone_voice(&[("name", "")]).send(&mock).await;
    let expected = format!(r#"{{"detail":[{},{}]}}"#, missing("name"), missing("files"));
    assert_eq!(neither.text(), expected);
    // What the official Python SDK sends when it retries.
    let retried = Ask::clone_voice(&[("files", "b")]).send(&mock).await;
    assert_eq!(
        retried.text(),
        format!(r#"{{"detail":[{}]}}"#, missing("name"))
    );
    let noisy = [
        ("name", "a"),
        ("files", "b"),
        ("remove_background_noise", "?"),
    ];
    let noisy = Ask::clone_voice(&noisy).send(&mock).await;
    assert_eq!(noisy.refusal(), (422, "bool_parsing".to_owned()));
    let both = Ask::clone_voice(&[("name", "a"), ("files", "b")]);
    let both = both.send(&mock).await;
    assert_eq!(both.refusal(), (401, "needs_authorization".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_and_after_is_not_for_every_model() {
    let mock = MockElevenLabs::builder().build();
    let body = json!({"text": "a", "model_id": "eleven_v3", "previous_text": "b"});
    let answer = Ask::speak("a", "", &body).send(&mock).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.json()["detail"]["message"],
        "Providing previous_text or next_text is not yet supported with the 'eleven_v3' model."
    );
    let body = json!({"text": "a", "model_id": "eleven_v3", "previous_text": ""});
    let answer = Ask::speak("a", "", &body).send(&mock).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn without_keys_everybody_is_let_in_unless_one_is_required() {
    let open = MockElevenLabs::builder().build();
    assert_eq!(Ask::get("/v1/user").send(&open).await.status(), 200);
    let any = Ask::get("/v1/user").key("any");
    assert_eq!(any.send(&open).await.status(), 200);
    let closed = MockElevenLabs::builder().require_key().build();
    assert_eq!(Ask::get("/v1/user").send(&closed).await.status(), 401);
    let empty = Ask::get("/v1/user").key("");
    assert_eq!(empty.send(&closed).await.status(), 401);
    let any = Ask::get("/v1/user").key("any");
    assert_eq!(any.send(&closed).await.status(), 200);
}

#[test]
#[should_panic(expected = "the same key was added twice")]
fn a_key_cannot_be_let_in_twice_and_is_not_told() {
    let account = || Account::new(Plan::Free);
    let _ = MockElevenLabs::builder()
        .key("secret", account())
        .key("secret", account());
}

#[test]
#[should_panic(
    expected = r#"the workspace "team" has the plan free, and so cannot have the plan pro"#
)]
fn a_workspace_has_one_plan() {
    let account = |plan| Account::new(plan).workspace("team");
    let _ = MockElevenLabs::builder()
        .key("a", account(Plan::Free))
        .key("b", account(Plan::Pro));
}

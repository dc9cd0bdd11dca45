//! Answers of kinds that users have reported. The first of each kind is one that was reported; the others
//! are its siblings.

use super::{
    Answer, DATE, Duration, Profile, SignalKind, SignalScope, StatusCode, classify_as, delay,
    headers, now, secs,
};
use SignalKind::{Concurrency, Overload, QuotaExhausted, Rate};

#[expect(
    clippy::unnecessary_wraps,
    reason = "what it is compared with is optional"
)]
fn ms(milliseconds: u64) -> Option<Duration> {
    Some(Duration::from_millis(milliseconds))
}

/// The kind and the delay of a 429 with this body.
fn told(body: &str) -> (SignalKind, Option<Duration>) {
    let signal = classify_as(Profile::Standard, 429, &[], body).unwrap();
    (signal.kind(), signal.retry_after())
}

/// Each body names this delay, and nothing else.
fn each_waits(bodies: &[(&str, Option<Duration>)]) {
    for &(body, delay) in bodies {
        assert_eq!(told(body), (Rate, delay), "{body}");
    }
}

#[test]
fn a_delay_in_the_details_of_google() {
    let error = |delay: &str| {
        format!(
            r#"{{"error":{{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.Help","links":[{{"url":"https://ai.google.dev/gemini-api/docs/rate-limits"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#
        )
    };
    each_waits(&[
        (&error("58s"), secs(58)),
        (&error("3.5s"), ms(3_500)),
        (&error("0.250s"), ms(250)),
        (&error("0s"), None),
        (&error("soon"), None),
        (&format!("[{}]", error("58s")), secs(58)),
        (&format!("[\n{}\n,{}]", error("7s"), error("5s")), secs(7)),
    ]);
}

#[test]
fn a_delay_in_a_member_that_names_it() {
    each_waits(&[
        (
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":41}}"#,
            secs(41),
        ),
        (r#"{"retry_after":41}"#, secs(41)),
        (r#"{"retryAfter":"41"}"#, secs(41)),
        (r#"{"error":{"retry-after":41.5}}"#, ms(41_500)),
        (r#"{"retry_after_ms":1500}"#, ms(1_500)),
        (r#"{"data":{"retryAfterMs":1500}}"#, ms(1_500)),
        (r#"{"retryAfterMilliseconds":1500}"#, ms(1_500)),
        (r#"{"retry_after_seconds":12}"#, secs(12)),
        (r#"{"error":{"resets_in_seconds":12}}"#, secs(12)),
        (r#"{"reset_in":12}"#, secs(12)),
        (r#"{"seconds_until_reset":12}"#, secs(12)),
        (r#"{"wait_time":12}"#, secs(12)),
        (r#"{"waitSeconds":12}"#, secs(12)),
        (r#"{"retry_in":"2 minutes"}"#, secs(120)),
        (r#"{"retryDelay":"1m30s"}"#, secs(90)),
        (r#"{"reset_at":"2025-08-21T12:40:30Z"}"#, secs(30)),
        (r#"{"resetsAt":1755780030}"#, secs(30)),
        (r#"{"reset":1755780030000}"#, secs(30)),
        (
            r#"{"error":{"metadata":{"headers":{"X-RateLimit-Reset":"1755780009000"}}}}"#,
            secs(9),
        ),
        // One for a retry counts before one for a reset, whatever their order.
        (
            r#"{"reset_at":"2025-08-21T23:00:00Z","retry_after":3}"#,
            secs(3),
        ),
        (r#"{"retry_after":3,"resets_in":300}"#, secs(3)),
    ]);
}

#[test]
fn a_member_that_names_no_delay() {
    for body in [
        r#"{"retry_after":null}"#,
        r#"{"retry_after":0}"#,
        r#"{"retry_after":-5}"#,
        r#"{"retry_after":true}"#,
        r#"{"retry_after":"later"}"#,
        r#"{"retry":3,"retries":5,"max_retries":7}"#,
        r#"{"limit":60,"rate_limit":60,"remaining":0,"used":60}"#,
        r#"{"retry_after_limit":60}"#,
        r#"{"timeout":30,"ttl":30,"delay":30,"interval":30,"window":30}"#,
        r#"{"status":429,"code":88}"#,
    ] {
        assert_eq!(told(body), (Rate, None), "{body}");
    }
}

#[test]
fn a_delay_in_words() {
    let said = |text: &str| told(&format!(r#"{{"error":{{"message":"{text}"}}}}"#)).1;
    for (text, delay) in [
        (
            "Requests to the Embeddings Create Operation have exceeded call rate limit of your current pricing tier. Please retry after 33 seconds. Please go here: https://aka.ms/oai/quotaincrease",
            secs(33),
        ),
        (
            "Rate limit reached for model `llama3-70b-8192` in organization `org_x` on requests per minute (RPM): Limit 30, Used 30, Requested 1. Please try again in 11.75s. Visit https://console.groq.com/docs/rate-limits for more information.",
            ms(11_750),
        ),
        (
            "Rate limit reached for gpt-4 in organization org-x on requests per min. Limit: 200 / min. Please try again in 300ms. Contact us.",
            ms(300),
        ),
        ("Please try again in 6m0s.", secs(360)),
        ("Please try again in 1h2m3s.", secs(3_723)),
        ("Please retry in 58.2s.", ms(58_200)),
        (
            "Request was throttled. Expected available in 120 seconds.",
            secs(120),
        ),
        (
            "Request was throttled. Expected available in 1 second.",
            secs(1),
        ),
        ("Rate limit exceeded, retry in 1 minute", secs(60)),
        (
            "you are doing that too much. try again in 9 minutes.",
            secs(540),
        ),
        (
            "Too many requests, please try again in 1 hour.",
            secs(3_600),
        ),
        ("Wait 12 seconds before the next call", secs(12)),
        ("Please wait for at least 30 seconds", secs(30)),
        ("Please wait a minute.", secs(60)),
        ("Slow down! Retry after: 45", secs(45)),
        (
            r"Slow down!\nRetry after 45 seconds\r\n\tThank you",
            secs(45),
        ),
        (r"Please try again after \u00276\u0027 minutes.", secs(360)),
        ("retry-after=45", secs(45)),
        ("Retry after 1 minute and 30 seconds", secs(90)),
        ("Try again in 1 min 30 sec", secs(90)),
        ("Try again in 5-10 minutes", secs(600)),
        ("Try again in 5 to 10 minutes", secs(600)),
        ("Your limit resets in 2 hours", secs(7_200)),
        ("Retry after 2025-08-21T12:40:30Z.", secs(30)),
        (
            "Your quota resets at 2025-08-21 12:40:30 UTC, until then nothing goes",
            secs(30),
        ),
        ("Retry after Thu, 21 Aug 2025 12:40:30 GMT", secs(30)),
        ("Retry after 2025-08-21T12:40:30Z: see the docs", secs(30)),
        ("Retry after 1755780030", secs(30)),
    ] {
        assert_eq!(said(text), delay, "{text}");
    }
}

#[test]
fn words_that_name_no_delay() {
    let said = |text: &str| told(&format!(r#"{{"message":"{text}"}}"#)).1;
    for text in [
        "Please try again later.",
        "Try again in a few minutes.",
        "You can retry after 5 failed attempts",
        "Please wait: 100 requests per minute are allowed",
        "Limited to 60 requests in 60 seconds",
        "The limit is 33 seconds of audio",
        "Please retry with fewer than 33 items",
        "Retry in 3 tries",
        "The log of a request after 30 days is deleted",
        "Send fewer requests after 5 failures",
        "Limit 30, Used 30, Requested 1",
        "retry after -5 seconds",
        "retry after 0 seconds",
        "no retry",
        "wait",
        "",
    ] {
        assert_eq!(said(text), None, "{text}");
    }
}

#[test]
fn a_delay_in_a_body_that_is_no_json() {
    each_waits(&[
        ("Rate limit exceeded, retry in 1 minute", secs(60)),
        (
            "<html><body><p>Too many requests. Please try again in 20 seconds.</p></body></html>",
            secs(20),
        ),
        ("Retry later\n", None),
        ("429 Too Many Requests", None),
    ]);
}

#[test]
fn what_is_used_up_under_other_names() {
    for (body, delay) in [
        (
            r#"{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_in_seconds":529498}}"#,
            secs(529_498),
        ),
        (
            r#"{"error":{"message":"Your account is suspended","type":"exceeded_current_quota_error"}}"#,
            None,
        ),
        (
            r#"{"error":{"message":"Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 99000, Requested 5000. Please try again in 57m36s.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            secs(3_456),
        ),
        (
            r#"{"error":{"message":"Rate limit reached on requests per day (RPD): Limit 200, Used 200, Requested 1."}}"#,
            None,
        ),
        (
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},{"retryDelay":"58s"}]}}"#,
            secs(58),
        ),
        (r#"{"error":{"code":"dailyLimitExceeded"}}"#, None),
        (r#"{"code":"DAILY_QUOTA_EXCEEDED"}"#, None),
        (
            r#"{"message":"You have exceeded your monthly request quota."}"#,
            None,
        ),
        (r#"{"error":"Insufficient Balance"}"#, None),
        (
            r#"{"error":{"message":"Your credit balance is too low to access the API."}}"#,
            None,
        ),
    ] {
        assert_eq!(told(body), (QuotaExhausted, delay), "{body}");
    }
    for body in [
        r#"{"message":"Limits: 5 requests per second, 1000 requests per day."}"#,
        r#"{"message":"You exceeded your current quota, please check your plan and billing details."}"#,
        r#"{"message":"Too many requests today, slow down."}"#,
    ] {
        assert_eq!(told(body).0, Rate, "{body}");
    }
}

#[test]
fn concurrency_in_other_words() {
    for (body, limit) in [
        (r#"{"detail":"Concurrency limit is 25"}"#, Some(25)),
        (r#"{"error":{"code":"account_concurrency_exceeded"}}"#, None),
        (
            r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
            None,
        ),
        (r#"{"message":"Too many concurrent requests"}"#, None),
        (
            r#"{"message":"You have 12 concurrent requests, the limit is 10."}"#,
            Some(10),
        ),
        (
            r#"{"message":"You have exceeded the maximum of 5 simultaneous connections."}"#,
            Some(5),
        ),
        (r#"{"message":"Max 3 parallel requests allowed"}"#, Some(3)),
        (
            r#"{"message":"Only 2 requests in flight are allowed"}"#,
            None,
        ),
        (
            r#"{"error":"concurrent_requests_limit","max_concurrent_requests":8}"#,
            Some(8),
        ),
        ("Too many concurrent requests: 11 (max 10)", Some(10)),
        (
            r#"{"message":"Limit of 60 requests per minute and of 4 concurrent requests"}"#,
            Some(4),
        ),
    ] {
        let signal = classify_as(Profile::Standard, 429, &[], body).unwrap();
        assert_eq!(signal.kind(), Concurrency, "{body}");
        assert_eq!(signal.concurrency_limit(), limit, "{body}");
    }
}

#[test]
fn words_about_concurrency_that_are_no_refusal_for_it() {
    for body in [
        r#"{"message":"Rate limit exceeded","documentation_url":"https://docs.example/rate-limits-and-concurrency"}"#,
        r#"{"message":"Rate limit of 5 per second exceeded. Reduce your concurrency."}"#,
        r#"{"message":"Rate limit exceeded. See https://docs.example/concurrency for more."}"#,
    ] {
        assert_eq!(told(body).0, Rate, "{body}");
    }
}

#[test]
fn a_unit_in_the_name_of_a_header() {
    for (name, value, wait) in [
        ("x-rate-limit-retry-after-milliseconds", "3500", ms(3_500)),
        ("x-ratelimit-retry-after-ms", "3500", ms(3_500)),
        ("x-retry-after-ms", "3500", ms(3_500)),
        ("retry-after-milliseconds", "3500", ms(3_500)),
        ("retry-after-in-ms", "3500", ms(3_500)),
        ("x-rate-limit-retry-after-seconds", "37", secs(37)),
        ("retry-after-seconds", "37", secs(37)),
        ("x-retry-after", "37", secs(37)),
        ("x-rate-limit-reset-ms", "3500", ms(3_500)),
        ("x-ratelimit-reset-milliseconds", "1755780003500", ms(3_500)),
        ("x-ratelimit-reset-after-ms", "3500", ms(3_500)),
        ("ratelimit-reset-seconds", "37", secs(37)),
    ] {
        assert_eq!(delay(&[(name, value)]), wait, "{name}");
        let used_up = [("x-rate-limit-remaining", "0"), (name, value)];
        assert_eq!(delay(&used_up), wait, "{name}");
    }
    for name in [
        "x-no-retry-afterwards",
        "x-retry-after-count",
        "retry-after-limit",
    ] {
        assert_eq!(delay(&[(name, "37")]), None, "{name}");
    }
}

#[test]
fn dates_in_headers_as_languages_write_them() {
    for date in [
        "Thu, 7 Aug 2025 12:41:00 GMT",
        "Thu, 07 Aug 2025 12:41:00 -0000",
        "Thu, 7 Aug 2025 14:41:00 +0200",
        "Thu, 07 Aug 2025 12:41:00 UTC",
        "Thu Aug 07 2025 12:41:00 GMT+0000 (Coordinated Universal Time)",
        "2025-08-07 12:41:00 +0000 UTC",
    ] {
        let server = "Thu, 7 Aug 2025 12:40:00 GMT";
        assert_eq!(
            delay(&[("date", server), ("retry-after", date)]),
            secs(60),
            "{date}"
        );
        let pairs = [
            ("date", date),
            ("retry-after", "Thu, 7 Aug 2025 12:41:07 GMT"),
        ];
        assert_eq!(delay(&pairs), secs(7), "{date}");
    }
}

#[test]
fn duplicates_that_were_joined() {
    assert_eq!(delay(&[("retry-after", "10, 20")]), secs(20));
    assert_eq!(delay(&[("retry-after", "20, 10, x")]), secs(20));
    assert_eq!(delay(&[("retry-after-ms", "1500, 2500")]), ms(2_500));
    assert_eq!(delay(&[("x-ratelimit-reset", "7, 9")]), secs(9));
    let dates = "Thu, 21 Aug 2025 12:40:05 GMT, Thu, 21 Aug 2025 12:40:09 GMT";
    assert_eq!(delay(&[("retry-after", dates)]), secs(9));
    assert_eq!(delay(&[("retry-after", "10,20")]), secs(20));
}

#[test]
fn a_second_window_with_a_name_of_its_own() {
    let hour = 3_600;
    for (remaining, reset) in [
        ("x-app-limit-24hour-remaining", "x-app-limit-24hour-reset"),
        ("x-user-limit-24hour-remaining", "x-user-limit-24hour-reset"),
        ("x-daily-quota-remaining", "x-daily-quota-reset"),
        ("x-requests-per-day-remaining", "x-requests-per-day-reset"),
    ] {
        let pairs = [
            ("x-rate-limit-remaining", "1079999"),
            ("x-rate-limit-reset", "1755780900"),
            (remaining, "0"),
            (reset, "1755783600"),
        ];
        assert_eq!(delay(&pairs), secs(hour), "{remaining}");
    }
    // Other counters are no windows.
    assert_eq!(
        delay(&[("x-attempts-remaining", "0"), ("x-attempts-reset", "9")]),
        None
    );
}

#[test]
fn a_period_beside_the_limit() {
    let hubspot = [
        ("x-hubspot-ratelimit-max", "100"),
        ("x-hubspot-ratelimit-remaining", "0"),
        ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
    ];
    let body = r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}"#;
    for (pairs, body) in [(&hubspot[..], body), (&hubspot[..], ""), (&[][..], body)] {
        let signal = classify_as(Profile::Standard, 429, pairs, body).unwrap();
        assert_eq!(
            (signal.kind(), signal.retry_after()),
            (Rate, secs(10)),
            "{body}"
        );
    }
    let daily = r#"{"status":"error","message":"You have reached your daily limit.","errorType":"RATE_LIMIT","policyName":"DAILY"}"#;
    assert_eq!(told(daily), (QuotaExhausted, None));
    // The same of others.
    for name in [
        "x-ratelimit-interval",
        "x-ratelimit-window",
        "x-ratelimit-period",
    ] {
        let pairs = [
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "0"),
            (name, "10"),
        ];
        let signal = classify_as(Profile::Standard, 429, &pairs, "").unwrap();
        assert_eq!(signal.period(), secs(10), "{name}");
        assert_eq!(signal.retry_after(), secs(10), "{name}");
    }
    // Nobody waits for the whole of a long one.
    let day = [
        ("x-ratelimit-remaining-day", "0"),
        ("x-ratelimit-limit-day", "5"),
    ];
    assert_eq!(delay(&day), None);
}

#[test]
fn a_ban_of_a_content_delivery_network_is_about_the_address() {
    let page = "<html><head><title>Access denied | Cloudflare</title></head></html>";
    for (profile, server, body) in [
        (Profile::Discord, "cloudflare", page),
        (Profile::Standard, "cloudflare", page),
        (Profile::Standard, "CloudFront", page),
        (Profile::Standard, "AkamaiGHost", page),
        (Profile::Discord, "cloudflare", "error code: 1015"),
    ] {
        let pairs = [
            ("server", server),
            ("content-type", "text/plain"),
            ("retry-after", "60"),
        ];
        let signal = classify_as(profile, 429, &pairs, body).unwrap();
        assert_eq!(signal.scope(), SignalScope::Everything, "{server}");
        assert_eq!((signal.kind(), signal.retry_after()), (Rate, secs(60)));
    }
    // The same where it says that it is a page, or where its body has not come.
    for content_type in ["text/html", "text/html; charset=UTF-8"] {
        let pairs = [
            ("server", "cloudflare"),
            ("content-type", content_type),
            ("retry-after", "60"),
        ];
        for body in [page, ""] {
            let signal = classify_as(Profile::Discord, 429, &pairs, body).unwrap();
            assert_eq!(signal.scope(), SignalScope::Everything, "{content_type}");
            assert_eq!((signal.kind(), signal.retry_after()), (Rate, secs(60)));
        }
    }
    // The API behind it answers for itself.
    let json = r#"{"message":"You are being rate limited.","retry_after":1.5,"global":false}"#;
    for server in ["cloudflare", "nginx"] {
        let pairs = [("server", server), ("content-type", "application/json")];
        let signal = classify_as(Profile::Discord, 429, &pairs, json).unwrap();
        assert_eq!(signal.scope(), SignalScope::Endpoint);
        assert_eq!(signal.retry_after(), ms(1_500));
    }
    let of_origin = [("server", "nginx"), ("content-type", "text/html")];
    let signal = classify_as(Profile::Standard, 429, &of_origin, page).unwrap();
    assert_eq!(signal.scope(), SignalScope::Endpoint);
}

#[test]
fn an_absolute_time_in_an_answer_from_a_cache() {
    let at = "Thu, 21 Aug 2025 12:41:00 GMT";
    for (age, wait) in [
        ("50", secs(10)),
        ("0", secs(60)),
        ("60", None),
        ("90", None),
    ] {
        let pairs = [("date", DATE), ("age", age), ("retry-after", at)];
        assert_eq!(delay(&pairs), wait, "{age}");
        let epoch = [("date", DATE), ("age", age), ("retry-after", "1755780060")];
        assert_eq!(delay(&epoch), wait, "{age}");
    }
    // A span is as long as it says.
    assert_eq!(
        delay(&[("date", DATE), ("age", "50"), ("retry-after", "60")]),
        secs(60)
    );
}

#[test]
fn words_of_github_that_name_no_limit_that_was_reached() {
    for message in [
        "Your organization's rate limit policy forbids this token",
        "Resource not accessible: see the rate limit settings",
        "This abuse report is closed",
    ] {
        let body = format!(r#"{{"message":"{message}"}}"#);
        assert_eq!(
            classify_as(Profile::GitHub, 403, &[], &body),
            None,
            "{message}"
        );
    }
    for message in [
        "API rate limit exceeded for user ID 1.",
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
        "You have triggered an abuse detection mechanism.",
    ] {
        let body = format!(r#"{{"message":"{message}"}}"#);
        let signal = classify_as(Profile::GitHub, 403, &[], &body).unwrap();
        assert_eq!(
            (signal.kind(), signal.scope()),
            (Rate, SignalScope::Everything)
        );
    }
}

#[test]
fn grpc_answers_200_whatever_it_means() {
    let as_grpc = |pairs: &[(&'static str, &str)]| classify_as(Profile::Grpc, 200, pairs, "");
    let exhausted = as_grpc(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "1000")]).unwrap();
    assert_eq!((exhausted.kind(), exhausted.retry_after()), (Rate, secs(1)));
    let unavailable = as_grpc(&[("grpc-status", "14")]).unwrap();
    assert_eq!(
        (unavailable.kind(), unavailable.retry_after()),
        (Overload, None)
    );
    let stop = as_grpc(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "-1")]).unwrap();
    assert_eq!(stop.should_retry(), Some(false));
    let of_proxy = classify_as(Profile::Grpc, 429, &[("grpc-status", "2")], "").unwrap();
    assert_eq!(of_proxy.kind(), Rate);
    for pairs in [&[("grpc-status", "0")][..], &[("grpc-status", "5")], &[]] {
        assert_eq!(as_grpc(pairs), None);
    }
    assert_eq!(
        classify_as(Profile::Standard, 200, &[("grpc-status", "8")], ""),
        None
    );
}

#[test]
fn throttling_is_told_by_other_statuses_too() {
    for status in [403, 418, 420, 430, 509] {
        let signal = classify_as(Profile::Standard, status, &[("retry-after", "60")], "").unwrap();
        assert_eq!(
            (signal.kind(), signal.retry_after()),
            (Rate, secs(60)),
            "{status}"
        );
        assert!(signal.is_by_status_alone());
    }
    for status in [403, 418] {
        assert_eq!(
            classify_as(Profile::Standard, status, &[], ""),
            None,
            "{status}"
        );
    }
    for status in [420, 430, 509] {
        let signal = classify_as(Profile::Standard, status, &[], "").unwrap();
        assert_eq!(
            (signal.kind(), signal.retry_after()),
            (Rate, None),
            "{status}"
        );
    }
    // What a profile knows is no guess.
    let github = classify_as(Profile::GitHub, 403, &[("retry-after", "60")], "").unwrap();
    assert!(!github.is_by_status_alone());
}

#[test]
fn aws_throttles_with_400() {
    let by_header = |error: &str| {
        classify_as(Profile::Aws, 400, &[("x-amzn-errortype", error)], "").map(|of| of.kind())
    };
    assert_eq!(by_header("ThrottlingException"), Some(Rate));
    assert_eq!(
        by_header("ThrottlingException:http://internal.amazon.com/coral/"),
        Some(Rate)
    );
    assert_eq!(
        by_header("com.amazonaws.dynamodb#ProvisionedThroughputExceededException"),
        Some(Rate)
    );
    assert_eq!(by_header("ValidationException"), None);
    let by_body = |status, body| classify_as(Profile::Aws, status, &[], body).map(|of| of.kind());
    let json = r#"{"__type":"com.amazon.coral.availability#ThrottlingException","message":"Rate exceeded"}"#;
    assert_eq!(by_body(400, json), Some(Rate));
    let xml = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    assert_eq!(by_body(503, xml), Some(Rate));
    assert_eq!(by_body(503, ""), Some(Overload));
    assert_eq!(by_body(400, r#"{"__type":"ValidationException"}"#), None);
    assert_eq!(classify_as(Profile::Standard, 400, &[], json), None);
}

#[test]
fn stripe_tells_which_limit_it_was() {
    let by_reason = |reason: &str| {
        let pairs = [("stripe-rate-limited-reason", reason)];
        classify_as(Profile::Stripe, 429, &pairs, "").map(|of| (of.kind(), of.scope()))
    };
    assert_eq!(
        by_reason("global-rate"),
        Some((Rate, SignalScope::Everything))
    );
    assert_eq!(
        by_reason("endpoint-rate"),
        Some((Rate, SignalScope::Endpoint))
    );
    assert_eq!(
        by_reason("global-concurrency"),
        Some((Concurrency, SignalScope::Everything))
    );
    assert_eq!(
        by_reason("endpoint-concurrency"),
        Some((Concurrency, SignalScope::Endpoint))
    );
    assert_eq!(by_reason("resource-specific"), None);
    let locked = r#"{"error":{"code":"lock_timeout","message":"This object cannot be accessed right now because another API request is currently accessing it."}}"#;
    assert_eq!(classify_as(Profile::Stripe, 429, &[], locked), None);
    let limited = r#"{"error":{"code":"rate_limit"}}"#;
    assert_eq!(
        classify_as(Profile::Stripe, 429, &[], limited)
            .unwrap()
            .kind(),
        Rate
    );
}

#[test]
fn google_throttles_with_403() {
    let of = |reason: &str| {
        let body = format!(
            r#"{{"error":{{"errors":[{{"domain":"usageLimits","reason":"{reason}"}}],"code":403}}}}"#
        );
        classify_as(Profile::Google, 403, &[], &body).map(|of| of.kind())
    };
    assert_eq!(of("rateLimitExceeded"), Some(Rate));
    assert_eq!(of("userRateLimitExceeded"), Some(Rate));
    assert_eq!(of("quotaExceeded"), Some(QuotaExhausted));
    assert_eq!(of("dailyLimitExceeded"), Some(QuotaExhausted));
    assert_eq!(of("forbidden"), None);
    assert_eq!(of("accessNotConfigured"), None);
}

#[test]
fn salesforce_throttles_with_403() {
    let of = |body| classify_as(Profile::Salesforce, 403, &[], body).map(|of| of.kind());
    let daily =
        r#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
    assert_eq!(of(daily), Some(QuotaExhausted));
    let at_once = r#"[{"message":"ConcurrentRequests (Concurrent API Requests) Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
    assert_eq!(of(at_once), Some(Concurrency));
    assert_eq!(
        of(r#"[{"message":"No access","errorCode":"INSUFFICIENT_ACCESS"}]"#),
        None
    );
}

#[test]
fn tokens_are_no_requests() {
    let of_requests = |pairs: &[(&'static str, &str)], body: &str| {
        classify_as(Profile::Standard, 429, pairs, body)
            .unwrap()
            .is_of_requests()
    };
    assert!(!of_requests(
        &[
            ("x-ratelimit-remaining-requests", "54"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6s")
        ],
        ""
    ));
    for body in [
        r#"{"error":{"message":"Rate limit reached on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000.","type":"tokens"}}"#,
        r#"{"error":{"type":"tokens"}}"#,
        r#"{"error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 40,000 input tokens per minute."}}"#,
        r#"{"error":{"details":[{"violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_input_token_count"}]}]}}"#,
    ] {
        assert!(!of_requests(&[], body), "{body}");
    }
    for body in [
        "",
        r#"{"error":{"message":"Rate limit reached on requests per min (RPM): Limit 3","type":"requests"}}"#,
        r#"{"error":{"message":"Too many requests for this token"}}"#,
    ] {
        assert!(of_requests(&[], body), "{body}");
    }
}

#[test]
fn the_body_of_a_403_is_wanted_where_it_can_be_a_refusal() {
    let wanted = |profile: Profile, pairs: &[(&'static str, &str)]| {
        let headers = headers(pairs);
        profile.wants_body(&Answer::new(StatusCode::FORBIDDEN, &headers, now()))
    };
    assert!(!wanted(Profile::Standard, &[]));
    assert!(wanted(Profile::Standard, &[("retry-after", "60")]));
    assert!(wanted(Profile::Google, &[]));
}

#[cfg(feature = "decompress")]
#[test]
fn a_compressed_refusal_is_read() {
    use std::io::Write;

    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let classify = |profile: Profile, status, body: &[u8]| {
        let headers = headers(&[("content-encoding", "gzip")]);
        let status = StatusCode::from_u16(status).unwrap();
        let head = Answer::new(status, &headers, now());
        assert!(profile.wants_body(&head));
        profile.classify(&head.with_body(body))
    };
    let body = gzip(r#"{"message":"You have exceeded a secondary rate limit."}"#);
    let signal = classify(Profile::GitHub, 403, &body).unwrap();
    assert_eq!(
        (signal.kind(), signal.scope()),
        (Rate, SignalScope::Everything)
    );
    assert_eq!(signal.retry_after(), secs(60));
    let body = gzip(r#"{"message":"API rate limit exceeded for user ID 1."}"#);
    let signal = classify(Profile::GitHub, 403, &body).unwrap();
    assert_eq!(
        (signal.kind(), signal.scope()),
        (Rate, SignalScope::Everything)
    );
    let body = gzip(r#"{"message":"Resource not accessible by integration"}"#);
    assert_eq!(classify(Profile::GitHub, 403, &body), None);
    let body = gzip(r#"{"error":{"code":"insufficient_quota"}}"#);
    let signal = classify(Profile::Standard, 429, &body).unwrap();
    assert_eq!(signal.kind(), QuotaExhausted);
    let body = gzip("Rate limit exceeded, retry in 1 minute");
    let signal = classify(Profile::Standard, 429, &body).unwrap();
    assert_eq!(signal.retry_after(), secs(60));
}

#[test]
fn columns_of_a_list_are_windows_of_their_own() {
    for prefix in ["x-ratelimit", "x-rate-limit", "ratelimit"] {
        let names =
            ["limit", "policy", "remaining", "reset"].map(|field| format!("{prefix}-{field}"));
        let of = |remaining: &str, status: u16| {
            let values = [
                "1, 15000",
                "1;w=1, 15000;w=2592000",
                remaining,
                "1, 1419704",
            ];
            let mut map = http::HeaderMap::new();
            for (name, value) in names.iter().zip(values) {
                let name: http::HeaderName = name.parse().unwrap();
                map.insert(name, value.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer::new(status, &map, now());
            let signal = Profile::Standard.classify(&answer);
            let report = Profile::Standard.quota(&answer);
            (signal.and_then(|of| of.retry_after()), report)
        };
        assert_eq!(of("0, 14700", 429).0, secs(1), "{prefix}");
        let report = of("1, 14700", 200).1.unwrap();
        assert_eq!((report.remaining(), report.reset()), (Some(1), secs(1)));
    }
}

#[test]
fn words_that_a_person_would_read_alike() {
    let said = |text: &str| told(&format!(r#"{{"message":"{text}"}}"#));
    for (text, delay) in [
        ("Please try again after '6' minutes.", secs(360)),
        ("Please try again in (2) minutes", secs(120)),
        ("Try again in 1,200 seconds", secs(1_200)),
        ("Retry after 2,500 ms", ms(2_500)),
        ("Try again in .5 seconds", ms(500)),
        ("Try again in 12,5 seconds", ms(12_500)),
        ("Please retry your request after 9 seconds", secs(9)),
        ("Quota will be replenished in 00:12:34", secs(754)),
        ("IP banned until 1755780060000", secs(60)),
        ("Take a break for 8 minutes before trying again", secs(480)),
        ("wait 12 more seconds", secs(12)),
        ("Please try again in 2025", None),
        ("Retry in 3D mode", None),
        ("Do not try again. In 5 seconds we close.", None),
    ] {
        assert_eq!(said(text).1, delay, "{text}");
    }
    for text in [
        "Daily limits are documented elsewhere",
        "Daily limit: 10000, remaining: 9532",
        "Your daily limit is 10000; you have used 20 today.",
        "This does not count against your monthly quota",
        "unused monthly quota: 4000",
        "Your key, which is limited to 5 requests per second and 1000 per day",
        "The free plan is limited to 1000 requests per day",
        "The day limit of your application is not reached",
        "Minute quota used up, daily quota fine",
        "Monthly plan: rate limit 5/s exceeded",
        "You have run out of API credits for the current minute",
        "You have exhausted your API Request Quota",
    ] {
        assert_eq!(said(text).0, Rate, "{text}");
    }
    for text in [
        "You have exceeded your monthly included credits",
        "You have reached your specified API usage limits",
        "Quota exceeded for quota metric 'Queries' and limit 'Queries per day'",
        "You have reached your daily API call limit",
        "24-hour limit exceeded",
        "The day limit of your application is reached",
        "you have used up your daily free allocation of 10,000 neurons",
        "API quota exhausted",
        "You do not have enough credits",
    ] {
        assert_eq!(said(text).0, QuotaExhausted, "{text}");
    }
    for text in [
        "Rate limit exceeded (100 rpm); your concurrency limit of 25 was not reached",
        "You exceeded 10 requests per second. Concurrent requests are allowed.",
        "concurrence of events: too many requests",
    ] {
        assert_eq!(said(text).0, Rate, "{text}");
    }
    for (text, limit) in [
        ("Concurrency limit exceeded: 11 of 10 in use", Some(10)),
        ("exceeded max concurrent requests: 1,000", Some(1_000)),
        (
            "Your account reached max organization concurrency: 1, please try again after 1 seconds",
            Some(1),
        ),
        ("Too many concurrent requests. 1 retry left", None),
        ("Please reduce the number of concurrent requests", None),
        ("Too many active requests", None),
    ] {
        let body = format!(r#"{{"message":"{text}"}}"#);
        let signal = classify_as(Profile::Standard, 429, &[], &body).unwrap();
        assert_eq!(
            (signal.kind(), signal.concurrency_limit()),
            (Concurrency, limit),
            "{text}"
        );
    }
}

#[test]
fn an_exact_reset_counts_before_words_and_a_member_before_both() {
    let pairs = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "41")];
    let of = |body: &str| {
        let signal = classify_as(Profile::Standard, 429, &pairs, body).unwrap();
        signal.retry_after()
    };
    assert_eq!(
        of(r#"{"message":"Wait an hour or so, then try again."}"#),
        secs(41)
    );
    assert_eq!(of("Try again in 3 minutes"), secs(41));
    assert_eq!(of(r#"{"retry_after":7}"#), secs(7));
}

#[test]
fn what_repeats_the_request_says_nothing() {
    for body in [
        r#"{"path":"/v1/concurrency"}"#,
        r#"{"prompt":"please try again in 50 seconds"}"#,
        r#"{"request":{"retry_after":7}}"#,
    ] {
        assert_eq!(told(body), (Rate, None), "{body}");
    }
    let card = r#"{"error":{"code":"card_declined","decline_code":"insufficient_funds"}}"#;
    assert_eq!(classify_as(Profile::Standard, 402, &[], card), None);
}

#[test]
fn a_reset_by_a_longer_name_belongs_to_its_bucket() {
    for name in [
        "x-ratelimit-reset-at",
        "x-ratelimit-reset-in",
        "x-ratelimit-reset-in-seconds",
        "x-ratelimit-reset-time",
        "x-ratelimit-reset-epoch",
        "x-ratelimit-reset-timestamp",
        "x-ratelimit-seconds-until-reset",
        "x-ratelimit-resetat",
        "x-ratelimit-resettime",
    ] {
        let value = if name.ends_with("in") || name.contains("seconds") {
            "30"
        } else {
            "1755780030"
        };
        assert_eq!(
            delay(&[("x-ratelimit-remaining", "0"), (name, value)]),
            secs(30),
            "{name}"
        );
    }
    let bigcommerce = [
        ("x-rate-limit-requests-left", "0"),
        ("x-rate-limit-time-reset-ms", "15000"),
    ];
    assert_eq!(delay(&bigcommerce), secs(15));
    for (name, value) in [
        ("x-rate-limit-retry-after-nanoseconds", "3500000000"),
        ("x-rate-limit-retry-after-microseconds", "3500000"),
    ] {
        assert_eq!(delay(&[(name, value)]), ms(3_500), "{name}");
    }
    // A named reset counts before the length of a window.
    let kong = [
        ("x-ratelimit-remaining-minute", "0"),
        ("ratelimit-remaining", "0"),
        ("ratelimit-reset", "37"),
    ];
    assert_eq!(delay(&kong), secs(37));
}

#[test]
fn a_message_that_is_too_large_is_no_limit() {
    for message in [
        "grpc: received message larger than max (5 vs. 4)",
        "message%20larger%20than%20max",
    ] {
        let pairs = [("grpc-status", "8"), ("grpc-message", message)];
        assert_eq!(classify_as(Profile::Grpc, 200, &pairs, ""), None);
    }
    assert_eq!(told(r#"[{"retryDelay":"-3s"}]"#), (Rate, None));
    each_waits(&[
        (r#"{"retryDelay":{"seconds":"30"}}"#, secs(30)),
        (r#"{"retryDelay":{"seconds":3,"nanos":5e8}}"#, ms(3_500)),
        (
            r#"{"retryDelay":{"nanos":500000000,"seconds":"3"}}"#,
            ms(3_500),
        ),
        (r#"{"retryDelay":{"nanos":250000000}}"#, ms(250)),
        (
            r#"{"resetTime":{"seconds":"1755780030","nanos":0}}"#,
            secs(30),
        ),
        // Two durations are not one.
        (
            r#"[{"retryDelay":{"seconds":3}},{"retryDelay":{"seconds":2,"nanos":1}}]"#,
            secs(3),
        ),
        (r#"{"retryDelay":{"seconds":-3,"nanos":500000000}}"#, None),
    ]);
}

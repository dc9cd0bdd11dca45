//! The table of dialects in the documentation.

use std::fmt::Write;

use super::{Profile, QuotaReport, Signal, SignalKind, SignalScope, classify_as, quota_as};

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
    row("Google, delay in the body", Profile::Standard, 429, &[], r#"{"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "58s"}]}}"#, "rate; wait 58s"),
    row("Google, quota of a day", Profile::Standard, 429, &[], r#"{"error": {"details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}"#, "quota exhausted"),
    row("Telegram", Profile::Standard, 429, &[], r#"{"ok": false, "parameters": {"retry_after": 41}}"#, "rate; wait 41s"),
    row("OpenAI, Groq, delay in words", Profile::Standard, 429, &[], r#"{"error": {"message": "... Please try again in 11.75s. ..."}}"#, "rate; wait 11.75s"),
    row("Azure OpenAI, delay in words", Profile::Standard, 429, &[], r#"{"error": {"message": "... Please retry after 33 seconds. ..."}}"#, "rate; wait 33s"),
    row("Django REST framework", Profile::Standard, 429, &[], r#"{"detail": "Request was throttled. Expected available in 120 seconds."}"#, "rate; wait 120s"),
    row("ChatGPT plans", Profile::Standard, 429, &[], r#"{"error": {"type": "usage_limit_reached", "resets_in_seconds": 529498}}"#, "quota exhausted; wait 529498s"),
    row("concurrency in other words", Profile::Standard, 429, &[], r#"{"detail": "Concurrency limit is 25"}"#, "concurrency; 25 at once"),
    row("unit in the name", Profile::Standard, 429, &[("x-rate-limit-retry-after-milliseconds", "3500")], "", "rate; wait 3.5s"),
    row("dates of Java, Kotlin, Python", Profile::Standard, 429, &[("retry-after", "Thu, 21 Aug 2025 14:41:00 +0200")], "", "rate; wait 60s"),
    row("lists that a proxy has joined", Profile::Standard, 429, &[("retry-after", "10, 20")], "", "rate; wait 20s"),
    row("answers from a cache", Profile::Standard, 429, &[("date", "Thu, 21 Aug 2025 12:40:00 GMT"), ("age", "50"), ("retry-after", "Thu, 21 Aug 2025 12:41:00 GMT")], "", "rate; wait 10s"),
    row("X, window of a day", Profile::Standard, 429, &[("x-rate-limit-remaining", "1079999"), ("x-app-limit-24hour-remaining", "0"), ("x-app-limit-24hour-reset", "1755783600")], "", "rate; wait 3600s; ? per 86400s"),
    row("HubSpot", Profile::Standard, 429, &[("x-hubspot-ratelimit-max", "100"), ("x-hubspot-ratelimit-remaining", "0"), ("x-hubspot-ratelimit-interval-milliseconds", "10000")], r#"{"policyName": "TEN_SECONDLY_ROLLING"}"#, "rate; wait 10s; 100 per 10s"),
    row("HubSpot, limit of a day", Profile::Standard, 429, &[], r#"{"policyName": "DAILY"}"#, "quota exhausted"),
    row("Cloudflare, ban of an address", Profile::Standard, 429, &[("server", "cloudflare"), ("retry-after", "60")], "error code: 1015", "rate of everything; wait 60s"),
    row("Binance, ban", Profile::Standard, 418, &[("retry-after", "60")], "", "rate; wait 60s"),
    row("EVE Online", Profile::Standard, 420, &[], "", "rate"),
    row("403 with a delay", Profile::Standard, 403, &[("retry-after", "60")], "", "rate; wait 60s"),
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
    row("Google, 403", Profile::Google, 403, &[], r#"{"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}"#, "rate"),
    row("AWS, JSON", Profile::Aws, 400, &[("x-amzn-errortype", "ThrottlingException")], "", "rate"),
    row("AWS, S3", Profile::Aws, 503, &[], "<Error><Code>SlowDown</Code></Error>", "rate"),
    row("gRPC", Profile::Grpc, 200, &[("grpc-status", "8"), ("grpc-retry-pushback-ms", "1000")], "", "rate; wait 1s"),
    row("Stripe", Profile::Stripe, 429, &[("stripe-rate-limited-reason", "global-concurrency")], "", "concurrency of everything"),
    row("Stripe, locked object", Profile::Stripe, 429, &[], r#"{"error": {"code": "lock_timeout"}}"#, "nothing"),
    row("Salesforce", Profile::Salesforce, 403, &[], r#"[{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]"#, "quota exhausted"),
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
    if signal.rate_limit().is_some() || signal.period().is_some() {
        let (limit, period) = (known(signal.rate_limit()), known(signal.period()));
        write!(text, "; {limit} per {period}").unwrap();
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
        let signal = classify_as(row.profile, row.status, row.headers, row.body);
        let reads = signal.map(|signal| tell_signal(&signal)).or_else(|| {
            let report = quota_as(row.profile, row.headers).filter(|_| row.status == 200);
            report.map(|report| tell_quota(&report))
        });
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
    let documented = include_str!("../DIALECTS.md")
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(documented == expected, "DIALECTS.md should be:\n{expected}");
}

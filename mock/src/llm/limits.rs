//! How the APIs tell what is left of their limits, and that there is nothing left.

use std::{cmp::Reverse, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};

use super::{
    api::Api,
    headers::put as put_header,
    problem::error,
    times::{Clock, go_duration, millis, whole_seconds},
    usage::{INPUT_TOKENS, OUTPUT_TOKENS, TOKENS},
};
use crate::{Refusal, RefusedBy, WindowUse, answer};

/// What is counted: as the judge names it, and as the headers do.
const REQUESTS: (&str, &str) = ("requests", "requests");
const OPENAI: [(&str, &str); 2] = [REQUESTS, (TOKENS, "tokens")];
const ANTHROPIC: [(&str, &str); 4] = [
    REQUESTS,
    (TOKENS, "tokens"),
    (INPUT_TOKENS, "input-tokens"),
    (OUTPUT_TOKENS, "output-tokens"),
];

pub(super) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// In nanoseconds.
const MINUTE: u128 = 60_000_000_000;
const DAY: u128 = 1_440 * MINUTE;

/// Says what is left of each limit that there is; of several windows, of the one of which the least is.
pub(super) fn put(headers: &mut HeaderMap, api: Api, windows: &[WindowUse], clock: &Clock) {
    let counted: &[_] = match api {
        Api::OpenAi => &OPENAI,
        Api::Anthropic => &ANTHROPIC,
    };
    for (unit, name) in counted {
        let window = tightest(windows, unit).or_else(|| {
            let is_sum = api == Api::Anthropic && *unit == TOKENS;
            is_sum.then(|| both(windows)).flatten()
        });
        let Some(window) = window else {
            continue;
        };
        let reset = match api {
            Api::OpenAi => go_duration(window.empty_in),
            Api::Anthropic => clock.rfc3339_in(window.empty_in),
        };
        let figures = [
            ("limit", window.limit.to_string()),
            ("remaining", window.remaining.to_string()),
            ("reset", reset),
        ];
        for (what, figure) in figures {
            let name = match api {
                Api::OpenAi => format!("x-ratelimit-{what}-{name}"),
                Api::Anthropic => format!("anthropic-ratelimit-{name}-{what}"),
            };
            let name = HeaderName::try_from(name).expect("all of it is ASCII, in small letters");
            put_header(headers, name, &figure);
        }
    }
}

/// What headers say about a window.
#[derive(Clone, Copy)]
struct Told {
    limit: u64,
    remaining: u64,
    empty_in: Duration,
}

/// Of several windows of a unit, the one of which the least is left.
fn tightest(windows: &[WindowUse], unit: &str) -> Option<Told> {
    let own = windows.iter().filter(|window| window.unit == unit);
    let tightest = own.min_by_key(|window| (window.remaining(), Reverse(window.empty_in)))?;
    Some(Told {
        limit: tightest.limit,
        remaining: tightest.remaining(),
        empty_in: tightest.empty_in,
    })
}

/// What Anthropic says about tokens where it limits them in and out: the sums (bespokelabsai/curator#239).
fn both(windows: &[WindowUse]) -> Option<Told> {
    let input = tightest(windows, INPUT_TOKENS)?;
    let output = tightest(windows, OUTPUT_TOKENS)?;
    Some(Told {
        limit: input.limit.saturating_add(output.limit),
        remaining: input.remaining.saturating_add(output.remaining),
        empty_in: input.empty_in.max(output.empty_in),
    })
}

/// A 429, but for the headers of every answer. Who waits for the time that it names is not early.
pub(super) fn refusal(api: Api, refusal: &Refusal, model: &str, id: &str) -> Response<Bytes> {
    let by = refusal.by();
    let (kind, message) = match api {
        Api::OpenAi => openai(refusal, model),
        Api::Anthropic => ("rate_limit_error", anthropic(by)),
    };
    let code = Some("rate_limit_exceeded");
    let body = error(api, kind, &message, None, code, id);
    let mut response = answer::json(StatusCode::TOO_MANY_REQUESTS, body);
    if api == Api::Anthropic {
        // As captured: anthropic-sdk-typescript#357.
        let name = HeaderName::from_static("x-should-retry");
        put_header(response.headers_mut(), name, "true");
    }
    if matches!(by, RefusedBy::Concurrency { .. }) || !refusal.fits() {
        return response;
    }
    let (headers, wait) = (response.headers_mut(), refusal.room_in());
    let seconds = whole_seconds(wait).to_string();
    put_header(headers, header::RETRY_AFTER, &seconds);
    if api == Api::OpenAi {
        put_header(headers, RETRY_AFTER_MS, &millis(wait).to_string());
    }
    response
}

/// The type of the error, and its message.
fn openai(refusal: &Refusal, model: &str) -> (&'static str, String) {
    const MORE: &str = "Visit https://platform.openai.com/account/rate-limits to learn more.";
    let (unit, period, limit, used, requested) = match refusal.by() {
        RefusedBy::Concurrency { limit } => {
            let message = format!(
                "Too many concurrent requests for {model} in organization org-mock: Limit {limit}. Please \
                 try again later. {MORE}"
            );
            return ("requests", message);
        }
        RefusedBy::Rate { limit, period } => {
            let limit = limit as u64;
            ("requests", period, limit, limit, 1)
        }
        RefusedBy::Units {
            unit,
            limit,
            period,
            used,
            requested,
        } => (unit, period, limit, used, requested),
    };
    let kind = if unit == "requests" {
        "requests"
    } else {
        "tokens"
    };
    let on = counted_on(unit, period);
    if !refusal.fits() {
        let message = format!(
            "Request too large for {model} in organization org-mock on {on}: Limit {limit}, Requested \
             {requested}. The input or output tokens must be reduced in order to run successfully. {MORE}"
        );
        return (kind, message);
    }
    let wait = go_duration(refusal.room_in());
    let message = format!(
        "Rate limit reached for {model} in organization org-mock on {on}: Limit {limit}, Used {used}, \
         Requested {requested}. Please try again in {wait}. {MORE}"
    );
    (kind, message)
}

fn anthropic(by: RefusedBy) -> String {
    let (limit, period, unit) = match by {
        RefusedBy::Concurrency { .. } => {
            return "Number of concurrent connections has exceeded your rate limit. Please try again later or \
                    contact sales at https://www.anthropic.com/contact-sales to discuss your options for a \
                    rate limit increase."
                .to_owned();
        }
        RefusedBy::Rate { limit, period } => (limit as u64, period, "requests"),
        RefusedBy::Units {
            unit,
            limit,
            period,
            ..
        } => (limit, period, unit),
    };
    let (limit, unit) = (grouped(limit), words(unit));
    let period = match period.as_nanos() {
        MINUTE => "minute".to_owned(),
        DAY => "day".to_owned(),
        _ => format!("{period:?}"),
    };
    format!(
        "This request would exceed the rate limit for your organization (mock) of {limit} {unit} per {period}. \
         For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers \
         for current usage. Please reduce the prompt length or the maximum tokens requested, or try again \
         later. You may also contact sales at https://www.anthropic.com/contact-sales to discuss your options \
         for a rate limit increase."
    )
}

/// `input tokens`
fn words(unit: &str) -> String {
    unit.replace('_', " ")
}

/// `tokens per min (TPM)`. Only what OpenAI itself limits has such a name.
fn counted_on(unit: &str, period: Duration) -> String {
    let known = match (unit, period.as_nanos()) {
        ("requests", MINUTE) => "requests per min (RPM)",
        ("requests", DAY) => "requests per day (RPD)",
        ("tokens", MINUTE) => "tokens per min (TPM)",
        ("tokens", DAY) => "tokens per day (TPD)",
        _ => return format!("{} per {period:?}", words(unit)),
    };
    known.to_owned()
}

/// `30,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (30_000, "30,000"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}

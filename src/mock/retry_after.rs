//! `Retry-After`: as the judge puts it on its answers, and as it reads it there.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{hooks::Refusal, report::RefusedBy};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Which `Retry-After` is added to refusals.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RetryAfter {
    Fixed(Duration),
    Truthful,
}

impl RetryAfter {
    /// Adds it, unless the answer names a time already.
    pub(crate) fn add_to(self, headers: &mut HeaderMap, refusal: &Refusal) {
        if headers.contains_key(header::RETRY_AFTER) || headers.contains_key(RETRY_AFTER_MS) {
            return;
        }
        let (wait, exact) = match (self, refusal.by) {
            (Self::Fixed(wait), _) => (wait, true),
            (Self::Truthful, RefusedBy::Rate { .. }) => (refusal.room_in, false),
            (Self::Truthful, RefusedBy::Concurrency { .. }) => return,
        };
        let rounded_up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(rounded_up));
        if exact && wait.subsec_nanos() > 0 {
            let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
        }
    }
}

/// The time that an answer asks its client to wait, if it does.
///
/// Where both are there, `retry-after-ms` is the more exact one. What is no number and no date asks
/// for nothing.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str, unit: f64| {
        let number: f64 = text.parse().ok()?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    if let Some(wait) = text(RETRY_AFTER_MS).and_then(|millis| number(millis, 1e-3)) {
        return Some(wait);
    }
    let value = text(header::RETRY_AFTER)?;
    number(value, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn asked(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        retry_after(&headers.collect(), NOW)
    }

    #[test]
    fn reads_seconds_milliseconds_and_dates() {
        let date = "Thu, 01 Jan 1970 00:00:07 GMT";
        assert_eq!(asked(&[("retry-after", "3")]), Some(Duration::from_secs(3)));
        assert_eq!(
            asked(&[("retry-after", date)]),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            asked(&[("retry-after", "1"), ("retry-after-ms", "200")]),
            Some(Duration::from_millis(200))
        );
        assert_eq!(asked(&[("retry-after", "soon")]), None);
        assert_eq!(asked(&[("retry-after", "-1")]), None);
        assert_eq!(asked(&[("retry-after", "inf")]), None);
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn writes_whole_seconds_rounded_up_and_milliseconds_where_needed() {
        let refusal = Refusal {
            endpoint: "/a".into(),
            by: RefusedBy::Rate {
                limit: 1,
                period: Duration::from_secs(1),
            },
            room_in: Duration::from_millis(1_001),
        };
        let headers = |retry_after: RetryAfter| {
            let mut headers = HeaderMap::new();
            retry_after.add_to(&mut headers, &refusal);
            let text = |name| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
            (text(header::RETRY_AFTER), text(RETRY_AFTER_MS))
        };
        let fixed = |millis| RetryAfter::Fixed(Duration::from_millis(millis));
        assert_eq!(headers(RetryAfter::Truthful), (Some("2".into()), None));
        assert_eq!(headers(fixed(3_000)), (Some("3".into()), None));
        assert_eq!(headers(fixed(200)), (Some("1".into()), Some("200".into())));
    }
}

//! `Retry-After`: as the judge puts it on its answers, and as it reads it there.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::refused_by::RefusedBy;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Which `Retry-After` is added to refusals.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RetryAfter {
    Fixed(Duration),
    Truthful,
}

impl RetryAfter {
    /// Adds it, unless the answer names a time already.
    ///
    /// Windows of units say it in milliseconds too: what is left of a request's cost can be a small part
    /// of a long window.
    pub(crate) fn add_to(self, headers: &mut HeaderMap, by: RefusedBy, room_in: Option<Duration>) {
        if headers.contains_key(header::RETRY_AFTER) || headers.contains_key(RETRY_AFTER_MS) {
            return;
        }
        let (wait, exact) = match (self, by) {
            (Self::Fixed(wait), _) => (wait, true),
            (Self::Truthful, RefusedBy::Rate { .. }) => (room_in.unwrap_or_default(), false),
            (Self::Truthful, RefusedBy::Units { .. }) => match room_in {
                Some(room_in) => (room_in, true),
                None => return,
            },
            (Self::Truthful, RefusedBy::Concurrency { .. }) => return,
        };
        headers.insert(header::RETRY_AFTER, whole_seconds(wait).into());
        if exact && wait.subsec_nanos() > 0 {
            let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
        }
    }
}

/// A `Retry-After` that is written when the answer is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hint {
    Seconds(Duration),
    Date(Duration),
}

impl Hint {
    pub(crate) fn add_to(self, headers: &mut HeaderMap, now: SystemTime) {
        let value = match self {
            Self::Seconds(time) => whole_seconds(time).into(),
            Self::Date(time) => {
                let since_epoch = |time: SystemTime| {
                    let since = time.duration_since(SystemTime::UNIX_EPOCH);
                    since.unwrap_or_default()
                };
                let seconds = whole_seconds(since_epoch(now).saturating_add(time));
                let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_DATE));
                HeaderValue::try_from(httpdate::fmt_http_date(date)).expect("a date is ASCII")
            }
        };
        headers.insert(header::RETRY_AFTER, value);
    }
}

/// The end of the year 9999, after which HTTP has no dates.
const LAST_DATE: u64 = 253_402_300_799;

fn whole_seconds(time: Duration) -> u64 {
    let part = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(part)
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
        let (limit, period) = (1, Duration::from_secs(1));
        let by = RefusedBy::Rate { limit, period };
        let headers = |retry_after: RetryAfter| {
            let mut headers = HeaderMap::new();
            retry_after.add_to(&mut headers, by, Some(Duration::from_millis(1_001)));
            let text = |name| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
            (text(header::RETRY_AFTER), text(RETRY_AFTER_MS))
        };
        let fixed = |millis| RetryAfter::Fixed(Duration::from_millis(millis));
        assert_eq!(headers(RetryAfter::Truthful), (Some("2".into()), None));
        assert_eq!(headers(fixed(3_000)), (Some("3".into()), None));
        assert_eq!(headers(fixed(200)), (Some("1".into()), Some("200".into())));
    }

    #[test]
    fn dates_are_never_too_soon() {
        let now = NOW + Duration::from_millis(5_300);
        let date = |hint: Hint| {
            let mut headers = HeaderMap::new();
            hint.add_to(&mut headers, now);
            headers[header::RETRY_AFTER].to_str().unwrap().to_owned()
        };
        let millis = Duration::from_millis;
        assert_eq!(date(Hint::Seconds(millis(1_001))), "2");
        assert_eq!(
            date(Hint::Date(millis(1_700))),
            "Thu, 01 Jan 1970 00:00:07 GMT"
        );
        assert_eq!(
            date(Hint::Date(millis(1_701))),
            "Thu, 01 Jan 1970 00:00:08 GMT"
        );
        assert_eq!(
            date(Hint::Date(Duration::MAX)),
            "Fri, 31 Dec 9999 23:59:59 GMT"
        );
    }
}

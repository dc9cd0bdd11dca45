//! How headers write a time: seconds, milliseconds, times since the epoch, dates and durations.
//!
//! Everything here answers with a wait: positive, and at most [`MAX_RETRY_AFTER`]. What names no
//! positive wait (zero, a negative number, a time that has passed) or is none of the known forms is
//! `None`, never "now".

use std::time::{Duration, UNIX_EPOCH};

use super::{answer::Answer, date};

/// The longest wait that is reported: a leap year.
///
/// It only keeps arithmetic in bounds. Whether a client waits that long is up to the ceiling of its
/// pauses, which has to see that a server asked for a day in order not to wait for one.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// From here on a number of seconds is a time since the epoch (September 2001), as Docker Hub puts
/// into `Retry-After` and GitHub into `X-RateLimit-Reset`: as a wait it would be thirty years.
const EPOCH_SECONDS: f64 = 1e9;
/// The same in milliseconds (March 1973), as OpenRouter does; in seconds it would be the year 5138.
const EPOCH_MILLISECONDS: f64 = 1e11;
/// The same in microseconds.
const EPOCH_MICROSECONDS: f64 = 1e14;
/// The same in nanoseconds.
const EPOCH_NANOSECONDS: f64 = 1e17;

/// A positive wait, within [`MAX_RETRY_AFTER`].
pub(super) fn wait(wait: Duration) -> Option<Duration> {
    (!wait.is_zero()).then(|| wait.min(MAX_RETRY_AFTER))
}

/// A wait in any of the forms seen: a number of seconds or since the epoch, a duration as Go writes
/// it, a date as RFC 3339 or HTTP writes it. The text has no white space around it, and `number` is what it
/// is as a [`number`].
pub(super) fn parse(text: &str, number: Option<f64>, answer: &Answer<'_>) -> Option<Duration> {
    if let Some(number) = number {
        return seconds(number, answer);
    }
    match go_duration(text) {
        Some(duration) => wait(duration),
        None => date(text, answer),
    }
}

/// The wait that a text names, or the longest of several that were joined into one line.
pub(super) fn longest(text: &str, read: impl Fn(&str) -> Option<Duration>) -> Option<Duration> {
    let of_parts = |commas: usize| {
        let mut rest = Some(text);
        let parts = std::iter::from_fn(move || {
            let list = rest?;
            let end = list.match_indices(',').nth(commas);
            rest = end.map(|(at, comma)| &list[at + comma.len()..]);
            Some(end.map_or(list, |(at, _)| &list[..at]))
        });
        parts.filter_map(|part| read(part.trim())).max()
    };
    // A date has a comma of its own, and its parts are no numbers of seconds.
    let is_date = text.contains(':');
    read(text).or_else(|| of_parts(usize::from(is_date)))
}

/// The wait until a date.
pub(super) fn date(text: &str, answer: &Answer<'_>) -> Option<Duration> {
    until(date::parse(text)?, answer)
}

/// A wait in milliseconds.
pub(super) fn milliseconds(text: &str, answer: &Answer<'_>) -> Option<Duration> {
    let number = number(text.trim())?;
    if number < EPOCH_MILLISECONDS {
        wait(from_seconds(number / 1e3))
    } else {
        seconds(number, answer)
    }
}

/// A number that may be a wait: not negative, and finite.
pub(super) fn number(text: &str) -> Option<f64> {
    // Most texts that are none end in a unit, and to find that out by parsing takes longest.
    if text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// A number of seconds, or a time since the epoch.
pub(super) fn seconds(number: f64, answer: &Answer<'_>) -> Option<Duration> {
    let per_second = match number {
        n if n >= EPOCH_NANOSECONDS => 1e9,
        n if n >= EPOCH_MICROSECONDS => 1e6,
        n if n >= EPOCH_MILLISECONDS => 1e3,
        n if n >= EPOCH_SECONDS => 1.0,
        _ => return wait(from_seconds(number)),
    };
    // Apart, since whole seconds since 1970 leave an f64 too few digits for the rest.
    let whole = (number / per_second).trunc();
    let rest = (number - whole * per_second).max(0.0);
    let time = from_seconds(whole).saturating_add(from_seconds(rest / per_second));
    until(time, answer)
}

/// Saturates, since only size can be wrong with a number that [`number`] let through.
pub(super) fn from_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The wait until a time since the epoch, on the server's clock if the answer shows it.
fn until(time: Duration, answer: &Answer<'_>) -> Option<Duration> {
    let now = answer.time().duration_since(UNIX_EPOCH).ok()?;
    wait(time.checked_sub(now)?)
}

/// `6m0s`, `2m59.56s`, `12ms`: one or more numbers, each with its unit. Go has no unit above the
/// hour; days are accepted since the meaning is plain.
fn go_duration(text: &str) -> Option<Duration> {
    with_units(text, |unit| {
        Some(match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            // The micro sign and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        })
    })
}

/// One or more numbers, each with its unit.
pub(super) fn with_units(text: &str, unit: impl Fn(&str) -> Option<f64>) -> Option<Duration> {
    let of_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.bytes().position(|byte| !of_number(byte))?);
        let of = tail.bytes().position(of_number).unwrap_or(tail.len());
        let (of, tail) = tail.split_at(of);
        total = total.saturating_add(from_seconds(number(digits)? * unit(of)?));
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// How many seconds a unit has. `m` is a minute.
pub(super) fn unit(text: &str) -> Option<f64> {
    let units: [(&[&str], f64); 7] = [
        (&["s", "sec", "secs", "second", "seconds"], 1.0),
        (
            &[
                "ms",
                "msec",
                "msecs",
                "millis",
                "millisecond",
                "milliseconds",
            ],
            1e-3,
        ),
        (&["m", "min", "mins", "minute", "minutes"], 60.0),
        (&["h", "hr", "hrs", "hour", "hours"], 3_600.0),
        (&["d", "day", "days"], 86_400.0),
        // The micro sign and the Greek letter.
        (&["us", "\u{b5}s", "\u{3bc}s", "microseconds"], 1e-6),
        (&["ns", "nanoseconds"], 1e-9),
    ];
    let mut units = units.iter();
    // A single capital is no unit.
    let is = |name: &&str| *name == text || text.len() > 1 && name.eq_ignore_ascii_case(text);
    units.find_map(|(names, seconds)| names.iter().any(is).then_some(*seconds))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::*;

    /// 2025-08-21T12:40:00Z.
    const NOW: u64 = 1_755_780_000;

    fn read(text: &str) -> Option<Duration> {
        read_at(text, UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn read_at(text: &str, now: SystemTime) -> Option<Duration> {
        let headers = HeaderMap::new();
        let text = text.trim();
        let answer = Answer::new(StatusCode::OK, &headers, now);
        parse(text, number(text), &answer)
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "what it is compared with is optional"
    )]
    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(read("120"), secs(120));
        assert_eq!(read("2.0"), secs(2));
        assert_eq!(read("0.35"), Some(Duration::from_millis(350)));
    }

    #[test]
    fn white_space_around_is_no_matter() {
        assert_eq!(read(" 120\t"), secs(120));
    }

    #[test]
    fn what_is_not_a_positive_wait_is_none() {
        for text in [
            "0", "0.0", "-0", "-1", "-0.5", "1e-12", "NaN", "nan", "inf", "-inf", "infinity",
            "1e400", "", " ", ".", "abc", "1 2", "0x10", "1,5", "0s", "-1s",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_day_is_a_day_and_a_century_is_a_year() {
        assert_eq!(read("86400"), secs(86_400));
        assert_eq!(read("999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("1e300"), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn epochs_are_told_by_their_size() {
        for text in [
            "1755780030",
            "1755780030.0",
            "1755780030000",
            "1755780030000000",
            "1755780030000000000",
        ] {
            assert_eq!(read(text), secs(30), "{text}");
        }
    }

    #[test]
    fn an_epoch_is_exact_to_its_last_digit() {
        let milliseconds = Some(Duration::from_millis(30_237));
        assert_eq!(read("1755780030237"), milliseconds);
        assert_eq!(read("1755780030237000"), milliseconds);
    }

    #[test]
    fn a_time_that_has_passed_is_none() {
        for text in [
            "1743441608",
            "1755780000",
            "2025-08-21T12:39:59Z",
            "Fri, 31 Dec 1999 23:59:59 GMT",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn http_dates_come_in_three_forms() {
        for text in [
            "Thu, 21 Aug 2025 12:41:00 GMT",
            "Thursday, 21-Aug-25 12:41:00 GMT",
            "Thu Aug 21 12:41:00 2025",
        ] {
            assert_eq!(read(text), secs(60), "{text}");
        }
    }

    #[test]
    fn go_durations() {
        assert_eq!(read("1s"), secs(1));
        assert_eq!(read("6m0s"), secs(360));
        assert_eq!(read("12ms"), Some(Duration::from_millis(12)));
        assert_eq!(read("2m59.56s"), Some(Duration::from_millis(179_560)));
        assert_eq!(read("1h2m3s"), secs(3_723));
        assert_eq!(read("5\u{b5}s"), Some(Duration::from_micros(5)));
        assert_eq!(read("1500ns"), Some(Duration::from_nanos(1_500)));
        assert_eq!(read("2d1s"), secs(172_801));
        for text in ["6m0", "m", "6x", "6mm", "1s ago", "1.2.3s"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn rfc_3339_with_and_without_its_parts() {
        for text in [
            "2025-08-21T12:40:59Z",
            "2025-08-21t12:40:59z",
            "2025-08-21 12:40:59+00:00",
            "2025-08-21T14:40:59+02:00",
            "2025-08-21T07:40:59-0500",
            "2025-08-21T12:40:59",
            "2025-08-21T18:10:59+05:30",
            "2025-08-22T12:39:59+23:59",
        ] {
            assert_eq!(read(text), secs(59), "{text}");
        }
        assert_eq!(read("2025-08-21T12:41Z"), secs(60));
        // A leap second is the next one.
        assert_eq!(read("2025-08-21T12:40:60Z"), secs(60));
        assert_eq!(
            read("2025-08-21T12:40:00.0625Z"),
            Some(Duration::from_micros(62_500))
        );
        for text in [
            "2025-08-21",
            "2025-13-21T12:41Z",
            "2025-08-21T24:00Z",
            "2025-08-21T25:41Z",
            "2025-08-21T12:60Z",
            "2025-08-21T12:40:61Z",
            "2025-08-22T12:41+24:00",
            "2025-08-21T13:41+00:60",
            "2025-08-21T14:41+02:00Z",
            "2025-08-21T12:41Zulu",
            "2025-08-21T12:41+2",
            "2025-08-21T12:41:00.Z+",
            "\u{661}025-08-21T12:41Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn milliseconds_may_have_a_fraction() {
        let headers = HeaderMap::new();
        let answer = Answer::new(StatusCode::OK, &headers, UNIX_EPOCH);
        let read = |text| milliseconds(text, &answer);
        assert_eq!(read("4321"), Some(Duration::from_millis(4_321)));
        assert_eq!(read("0.5"), Some(Duration::from_micros(500)));
        assert_eq!(read("-1"), None);
        assert_eq!(read("abc"), None);
    }

    #[test]
    fn a_clock_before_the_epoch_is_no_clock() {
        let now = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(read_at("1755780030", now), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_wait_in_bounds_or_none(text in "\\PC{0,40}|[0-9.:TZ+hms -]{0,30}") {
            if let Some(wait) = read(&text) {
                prop_assert!(wait > Duration::ZERO && wait <= MAX_RETRY_AFTER);
            }
        }
    }

    #[test]
    fn system_time_is_the_callers() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 10);
        assert_eq!(read_at("1755780030", now), secs(20));
    }
}

//! How headers write a time: seconds, milliseconds, times since the epoch, dates and durations.
//!
//! Everything here answers with a wait: positive, and at most [`MAX_RETRY_AFTER`]. What names no
//! positive wait (zero, a negative number, a time that has passed) or is none of the known forms is
//! `None`, never "now".

use std::time::{Duration, UNIX_EPOCH};

use super::Answer;

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
/// it, a date as RFC 3339 or HTTP writes it.
pub(super) fn parse(text: &str, answer: &Answer<'_>) -> Option<Duration> {
    let text = text.trim();
    if let Some(number) = number(text) {
        return seconds(number, answer);
    }
    if let Some(duration) = go_duration(text) {
        return wait(duration);
    }
    let time = rfc3339(text).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(UNIX_EPOCH).ok()
    })?;
    until(time, answer)
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
fn number(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

fn seconds(number: f64, answer: &Answer<'_>) -> Option<Duration> {
    let per_second = match number {
        n if n >= EPOCH_NANOSECONDS => 1e9,
        n if n >= EPOCH_MICROSECONDS => 1e6,
        n if n >= EPOCH_MILLISECONDS => 1e3,
        n if n >= EPOCH_SECONDS => 1.0,
        _ => return wait(from_seconds(number)),
    };
    until(from_seconds(number / per_second), answer)
}

/// Saturates, since only size can be wrong with a number that [`number`] let through.
fn from_seconds(seconds: f64) -> Duration {
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
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, tail) = tail.split_at(
            tail.find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(tail.len()),
        );
        let number = number(digits)?;
        let seconds = match unit {
            "d" => number * 86_400.0,
            "h" => number * 3_600.0,
            "m" => number * 60.0,
            "s" => number,
            "ms" => number / 1e3,
            // The micro sign and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => number / 1e6,
            "ns" => number / 1e9,
            _ => return None,
        };
        total = total.saturating_add(from_seconds(seconds));
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A date as RFC 3339 writes it, as time since the epoch. The seconds may be missing (Atlassian),
/// and so may the offset, which then is UTC.
fn rfc3339(text: &str) -> Option<Duration> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    let month = separated(&mut rest, b"-", 2)?;
    let day = separated(&mut rest, b"-", 2)?;
    let hour = separated(&mut rest, b"Tt ", 2)?;
    let minute = separated(&mut rest, b":", 2)?;
    let second = if rest.starts_with(':') {
        separated(&mut rest, b":", 2)?
    } else {
        0
    };
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let mut kept = fraction.get(..length.min(9))?;
        let kept_length = kept.len();
        nanos = digits(&mut kept, kept_length)?;
        for _ in kept_length..9 {
            nanos *= 10;
        }
        rest = &fraction[length..];
    }
    // 60 is a leap second.
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let local = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let seconds = match rest.bytes().next() {
        None => local,
        Some(b'Z' | b'z') if rest.len() == 1 => local,
        Some(sign @ (b'+' | b'-')) => {
            rest = &rest[1..];
            let hours = digits(&mut rest, 2)?;
            let minutes = digits(&mut rest, 2).or_else(|| separated(&mut rest, b":", 2))?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            let offset = (hours * 60 + minutes) * 60;
            // East of Greenwich the clock is ahead, so the same moment was earlier in UTC.
            if sign == b'+' {
                local.checked_sub(offset)?
            } else {
                local + offset
            }
        }
        Some(_) => return None,
    };
    Some(Duration::new(seconds, u32::try_from(nanos).ok()?))
}

fn separated(rest: &mut &str, separators: &[u8], count: usize) -> Option<u64> {
    let first = rest.bytes().next()?;
    if !separators.contains(&first) {
        return None;
    }
    *rest = &rest[1..];
    digits(rest, count)
}

/// Exactly `count` digits; takes nothing if there are fewer.
fn digits(rest: &mut &str, count: usize) -> Option<u64> {
    let text = rest.get(..count)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = text.parse().ok()?;
    *rest = &rest[count..];
    Some(value)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, by counting from 1 March of the year 0:
/// so the leap day comes last in its year, and the lengths of the months before a given one are
/// `(153 m + 2) / 5`. (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".)
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    /// From 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - EPOCH
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
        let headers = HeaderMap::new();
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        parse(text, &Answer::new(StatusCode::OK, &headers, now))
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
        let headers = HeaderMap::new();
        let now = UNIX_EPOCH - Duration::from_secs(1);
        let answer = Answer::new(StatusCode::OK, &headers, now);
        assert_eq!(parse("1755780030", &answer), None);
    }

    proptest! {
        /// `httpdate` counts days in its own way.
        #[test]
        fn the_calendar_agrees_with_httpdate(seconds in 0_u64..253_402_300_800) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let http = httpdate::fmt_http_date(time);
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let month = 1 + months.iter().position(|month| *month == &http[8..11]).unwrap();
            let text = format!("{}-{month:02}-{}T{}Z", &http[12..16], &http[5..7], &http[17..25]);
            prop_assert_eq!(rfc3339(&text), Some(Duration::from_secs(seconds)));
        }

        #[test]
        fn any_text_is_a_wait_in_bounds_or_none(text in "\\PC{0,40}|[0-9.:TZ+hms -]{0,30}") {
            if let Some(wait) = read(&text) {
                prop_assert!(wait > Duration::ZERO && wait <= MAX_RETRY_AFTER);
            }
        }
    }

    #[test]
    fn system_time_is_the_callers() {
        let headers = HeaderMap::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 10);
        let answer = Answer::new(StatusCode::OK, &headers, now);
        assert_eq!(parse("1755780030", &answer), secs(20));
    }
}

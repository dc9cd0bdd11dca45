//! Dates as servers write them, as time since the epoch.

use std::time::{Duration, UNIX_EPOCH};

/// A date as RFC 9110 asks for, or RFC 3339, or as the libraries of the large languages print one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let by_http = || {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(UNIX_EPOCH).ok()
    };
    rfc3339(text).or_else(by_http).or_else(|| of_words(text))
}

/// The parts of a date, as far as they have been read.
#[derive(Default)]
struct Parts {
    year: Option<u64>,
    month: Option<u64>,
    day: Option<u64>,
    /// Since midnight.
    time: Option<Duration>,
    /// Minutes, east of Greenwich.
    offset: Option<i64>,
}

/// A date in words: `Thu, 7 Aug 2025 12:41:00 GMT` (Java, Kotlin), `-0000` instead of the zone (Python),
/// `Thu Aug 07 2025 12:41:00 GMT+0000 (Coordinated Universal Time)` (JavaScript),
/// `2025-08-07 12:41:00 +0000 UTC` (Go).
fn of_words(text: &str) -> Option<Duration> {
    // What JavaScript adds in parentheses is a comment; Go adds its monotonic clock, Java the zone.
    let text = text.split(" (").next()?.split(" m=").next()?;
    let mut parts = Parts::default();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        parts.read(word)?;
    }
    parts.since_epoch()
}

impl Parts {
    /// `None` if a word has no place in a date.
    fn read(&mut self, word: &str) -> Option<()> {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && word.len() == 4 && self.year.is_none() {
            self.year = Some(word.parse().ok()?);
        } else if is_number && word.len() <= 2 && self.day.is_none() {
            self.day = Some(word.parse().ok()?);
        } else if word.contains(':') && self.time.is_none() {
            self.time = Some(time_of_day(word)?);
        } else if let Some(offset) = offset(word) {
            // Of a zone's name and its offset, the offset says more.
            self.offset = Some(self.offset.filter(|&known| known != 0).unwrap_or(offset));
        } else if let Some(month) = month(word).filter(|_| self.month.is_none()) {
            self.month = Some(month);
        } else if !is_weekday(word) {
            return self.read_iso(word).filter(|()| self.time.is_none());
        }
        Some(())
    }

    /// `2025-08-07`.
    fn read_iso(&mut self, word: &str) -> Option<()> {
        let mut rest = word;
        self.year = Some(digits(&mut rest, 4)?);
        self.month = Some(separated(&mut rest, b"-", 2)?);
        self.day = Some(separated(&mut rest, b"-", 2)?);
        rest.is_empty().then_some(())
    }

    fn since_epoch(&self) -> Option<Duration> {
        let (year, month, day) = (self.year?, self.month?, self.day?);
        if !is_day(year, month, day) {
            return None;
        }
        let days = Duration::from_secs(days_since_epoch(year, month, day) * 86_400);
        let local = days.checked_add(self.time?)?;
        let minutes = self.offset.unwrap_or_default();
        let offset = Duration::from_secs(minutes.unsigned_abs() * 60);
        // East of Greenwich the clock is ahead, so the same moment was earlier in UTC.
        if minutes > 0 {
            local.checked_sub(offset)
        } else {
            local.checked_add(offset)
        }
    }
}

/// `12:41:00`, perhaps with a fraction, or without the seconds.
fn time_of_day(text: &str) -> Option<Duration> {
    let mut rest = text;
    let hour = digits(&mut rest, 2).or_else(|| digits(&mut rest, 1))?;
    let minute = separated(&mut rest, b":", 2)?;
    let second = if rest.starts_with(':') {
        separated(&mut rest, b":", 2)?
    } else {
        0
    };
    let nanos = fraction(&mut rest)?;
    // 60 is a leap second.
    let in_range = hour < 24 && minute < 60 && second <= 60;
    (in_range && rest.is_empty()).then(|| Duration::new((hour * 60 + minute) * 60 + second, nanos))
}

/// `.56`, if there is one; in nanoseconds.
fn fraction(rest: &mut &str) -> Option<u32> {
    let Some(text) = rest.strip_prefix('.') else {
        return Some(0);
    };
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut kept = text.get(..length.min(9))?;
    let kept_length = kept.len();
    let mut nanos = digits(&mut kept, kept_length)?;
    for _ in kept_length..9 {
        nanos *= 10;
    }
    *rest = &text[length..];
    u32::try_from(nanos).ok()
}

/// `GMT`, `UTC`, `Z`, `+0200`, `-0000`, `+02:00`, `GMT+0200`; in minutes, east of Greenwich.
fn offset(word: &str) -> Option<i64> {
    // Those of North America, which RFC 5322 still knows.
    let names = ["EDT", "EST", "CDT", "CST", "MDT", "MST", "PDT", "PST"];
    let hours = [-4, -5, -5, -6, -6, -7, -7, -8];
    let known = names
        .iter()
        .position(|name| word.eq_ignore_ascii_case(name));
    if let Some(at) = known {
        return Some(hours[at] * 60);
    }
    let zones = ["GMT", "UTC", "UT", "Z"];
    let zone = |zone: &&&str| {
        let start = word.get(..zone.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(zone))
    };
    let mut rest = zones
        .iter()
        .find(zone)
        .map_or(word, |zone| &word[zone.len()..]);
    if rest.is_empty() {
        return Some(0);
    }
    let east = rest.starts_with('+');
    rest = rest.strip_prefix(['+', '-'])?;
    let hours = digits(&mut rest, 2)?;
    let minutes = digits(&mut rest, 2).or_else(|| separated(&mut rest, b":", 2))?;
    if !rest.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    let minutes = i64::try_from(hours * 60 + minutes).ok()?;
    Some(if east { minutes } else { -minutes })
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// A whole name, or its first three letters.
fn is_name(word: &str, name: &str) -> bool {
    word.eq_ignore_ascii_case(name) || word.eq_ignore_ascii_case(&name[..3])
}

fn month(word: &str) -> Option<u64> {
    let at = MONTHS.iter().position(|month| is_name(word, month))?;
    u64::try_from(at + 1).ok()
}

fn is_weekday(word: &str) -> bool {
    WEEKDAYS.iter().any(|day| is_name(word, day))
}

fn is_day(year: u64, month: u64, day: u64) -> bool {
    (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// A date as RFC 3339 writes it. The seconds may be missing (Atlassian), and so may the offset, which
/// then is UTC.
fn rfc3339(text: &str) -> Option<Duration> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    let month = separated(&mut rest, b"-", 2)?;
    let day = separated(&mut rest, b"-", 2)?;
    rest = rest.strip_prefix(['T', 't', ' '])?;
    let zone = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.');
    let (time, zone) = rest.split_at(zone.unwrap_or(rest.len()));
    let parts = Parts {
        year: Some(year),
        month: Some(month),
        day: Some(day),
        time: Some(time_of_day(time).filter(|_| time.len() >= 5)?),
        offset: if zone.is_empty() {
            None
        } else {
            Some(offset(zone)?)
        },
    };
    parts.since_epoch()
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
    use proptest::prelude::*;

    use super::*;

    /// 2025-08-07T12:41:00Z.
    const TIME: Duration = Duration::from_secs(1_754_570_460);

    #[test]
    fn dates_as_the_large_languages_write_them() {
        for text in [
            "Thu, 7 Aug 2025 12:41:00 GMT",
            "Thu, 07 Aug 2025 12:41:00 -0000",
            "Thu, 07 Aug 2025 12:41:00 +0000",
            "Thu, 7 Aug 2025 14:41:00 +0200",
            "Thu, 7 Aug 2025 08:41:00 -04:00",
            "Thu, 07 Aug 2025 12:41:00 UTC",
            "7 Aug 2025 12:41:00 Z",
            "7 August 2025 12:41 UTC",
            "Thursday, 7 Aug 2025 12:41:00 GMT",
            "Thu Aug 07 2025 12:41:00 GMT+0000 (Coordinated Universal Time)",
            "Thu Aug 07 2025 14:41:00 GMT+0200 (Central European Summer Time)",
            "Thu Aug 07 12:41:00 UTC 2025",
            "Thu Aug  7 12:41:00 2025",
            "Thursday, 07-Aug-25 12:41:00 GMT",
            "2025-08-07 12:41:00 +0000 UTC",
            "2025-08-07 12:41:00 UTC",
            "2025-08-07 14:41:00 +0200",
            "2025-08-07 12:41:00+00:00",
            "2025-08-07 12:41:00",
            "2025-08-07T12:41:00Z",
            "2025-08-07T12:41Z",
            "2025-08-07T12:41:00.000Z",
            "2025-08-07T14:41:00+02:00",
        ] {
            assert_eq!(parse(text), Some(TIME), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "Thu",
            "soon",
            "7 Aug 2025",
            "12:41:00",
            "Thu, 7 Aug 12:41:00 GMT",
            "Thu, 32 Aug 2025 12:41:00 GMT",
            "Thu, 7 Foo 2025 12:41:00 GMT",
            "Thu, 7 Aug 2025 25:41:00 GMT",
            "Thu, 7 Aug 2025 12:41:00 XYZ",
            "Thu, 7 Aug 2025 12:41:00 +9900",
            "7 7 Aug 2025 12:41:00 GMT",
            "2025-08-07T12Z",
            "2025-8-7T12:41:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
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
            prop_assert_eq!(of_words(&http), Some(Duration::from_secs(seconds)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[A-Za-z0-9:+ ,.()-]{0,40}") {
            let _ = parse(&text);
        }
    }
}

//! Numbers, and times, which are numbers of a unit of time.

use std::{fmt, time::Duration};

use super::error::Reason;

/// What people make numbers of.
fn is_numeric(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '_' | '.')
}

/// Its digits, at least one.
pub(super) fn read_digits(word: &str) -> Result<String, Reason> {
    let groups = || word.split('_');
    let is_number =
        groups().all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number {
        Ok(groups().collect())
    } else {
        Err(Reason::NotANumber(word.into()))
    }
}

/// `2min` and what comes after it.
pub(super) fn split_after_time(text: &str) -> (&str, &str) {
    let name = text
        .find(|c| !is_numeric(c) && c != ' ')
        .unwrap_or(text.len());
    match text[name..].split_once(' ') {
        Some((_, after)) => (text[..text.len() - after.len()].trim_end(), after),
        None => (text, ""),
    }
}

/// `2min` or `2 min`; and `min`, if there is a `default` for the number.
pub(super) fn read_time(text: &str, default: Option<&str>) -> Result<Duration, Reason> {
    let split = text.find(|c| !is_numeric(c)).unwrap_or(text.len());
    let (number, name) = (&text[..split], text[split..].trim_start());
    if name.is_empty() {
        return Err(Reason::NoTime);
    }
    let nanos = nanos_of(name).ok_or_else(|| Reason::NotATime(name.into()))?;
    let number = match (number, default) {
        ("", Some(default)) => default,
        ("", None) => return Err(Reason::NoTime),
        _ => number,
    };
    let count: Option<u128> = read_digits(number)?.parse().ok();
    let total = count
        .and_then(|count| count.checked_mul(nanos))
        .ok_or(Reason::TooLong)?;
    let secs = u64::try_from(total / NANOS).map_err(|_| Reason::TooLong)?;
    let time = Duration::new(secs, (total % NANOS) as u32);
    if time.is_zero() {
        return Err(Reason::ZeroTime);
    }
    Ok(time)
}

/// In a second.
const NANOS: u128 = 1_000_000_000;

/// The units of time that are written, the longest first.
pub(super) const TIMES: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS),
    ("h", 3_600 * NANOS),
    ("min", 60 * NANOS),
    ("s", NANOS),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

fn nanos_of(name: &str) -> Option<u128> {
    let written = match name {
        "day" | "days" => "d",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "m" | "mins" | "minute" | "minutes" => "min",
        "sec" | "secs" | "second" | "seconds" => "s",
        "millisecond" | "milliseconds" => "ms",
        // Unicode has two of this letter.
        "\u{b5}s" | "\u{3bc}s" | "microsecond" | "microseconds" => "us",
        "nanosecond" | "nanoseconds" => "ns",
        _ => name,
    };
    let found = TIMES.iter().find(|(known, _)| *known == written);
    found.map(|&(_, nanos)| nanos)
}

pub(super) struct Time(pub(super) Duration);

impl Time {
    pub(super) fn parts(&self) -> (u128, &'static str) {
        let total = self.0.as_nanos();
        let whole = TIMES.iter().find(|(_, nanos)| total % nanos == 0);
        // Every time is a whole number of nanoseconds.
        whole.map_or((total, "ns"), |(name, nanos)| (total / nanos, name))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, name) = self.parts();
        write!(f, "{}{name}", Grouped(count))
    }
}

/// A number with a `_` before every third digit from its end: `30_000`.
pub(super) struct Grouped(pub(super) u128);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1_000 {
            return write!(f, "{}", self.0);
        }
        write!(f, "{}_{:03}", Grouped(self.0 / 1_000), self.0 % 1_000)
    }
}

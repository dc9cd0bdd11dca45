//! Names of headers and members, whatever their case and however their words are joined.

use std::time::Duration;

use super::{answer::Answer, time, words::Sentence};

/// A name, or an identifier: its letters and digits, in lower case.
pub(super) struct Name {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl Name {
    const LONGEST: usize = 64;

    /// `None` if it is longer than any that is known.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut name = Self {
            bytes: [0; Self::LONGEST],
            len: 0,
        };
        for byte in text.bytes().filter(|byte| !b"_-. ".contains(byte)) {
            *name.bytes.get_mut(name.len)? = byte.to_ascii_lowercase();
            name.len += 1;
        }
        Some(name)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

/// The unit that the end of a name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedUnit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    /// It tells none: a value without one is in seconds.
    None,
}

/// The plural is a unit; the singular names a window (`x-ratelimit-limit-minute`).
const UNITS: [(&str, NamedUnit); 14] = [
    ("nanoseconds", NamedUnit::Nanoseconds),
    ("nanos", NamedUnit::Nanoseconds),
    ("microseconds", NamedUnit::Microseconds),
    ("micros", NamedUnit::Microseconds),
    ("milliseconds", NamedUnit::Milliseconds),
    ("millis", NamedUnit::Milliseconds),
    ("msecs", NamedUnit::Milliseconds),
    ("msec", NamedUnit::Milliseconds),
    ("ms", NamedUnit::Milliseconds),
    ("seconds", NamedUnit::Seconds),
    ("secs", NamedUnit::Seconds),
    ("sec", NamedUnit::Seconds),
    ("minutes", NamedUnit::Minutes),
    ("mins", NamedUnit::Minutes),
];

impl NamedUnit {
    /// Of the last word of a name whose words are joined by hyphens: also what stands before it.
    pub(super) fn of_last_word(name: &str) -> (&str, Self) {
        let hyphen = name.bytes().rposition(|byte| byte == b'-');
        let (rest, word) = hyphen.map_or(("", name), |at| (&name[..at], &name[at + 1..]));
        let found = UNITS.iter().find(|(unit, _)| *unit == word);
        found.map_or((name, Self::None), |&(_, unit)| (rest, unit))
    }

    /// Of the end of a name whose words are joined by nothing: also what stands before the unit.
    fn at_end(name: &str) -> (&str, Self) {
        let mut units = UNITS.iter();
        let found = units.find_map(|&(unit, of)| Some((name.strip_suffix(unit)?, of)));
        found.unwrap_or((name, Self::None))
    }

    /// The wait that a value in this unit names. A text that has a unit of its own keeps it.
    pub(super) fn read(self, text: &str, answer: &Answer<'_>) -> Option<Duration> {
        time::longest(text, |text| {
            let text = text.trim();
            match (self, time::number(text)) {
                (Self::Nanoseconds, Some(number)) => time::wait(time::from_seconds(number / 1e9)),
                (Self::Microseconds, Some(number)) => time::wait(time::from_seconds(number / 1e6)),
                (Self::Milliseconds, Some(_)) => time::milliseconds(text, answer),
                (Self::Minutes, Some(number)) => time::wait(time::from_seconds(number * 60.0)),
                (_, number) => time::parse(text, number, answer),
            }
        })
    }
}

/// Names of members that hold how long to wait, or until when.
const RETRY: [&str; 24] = [
    "toretry",
    "nextrequestin",
    "nextattemptin",
    "xretryafter",
    "wait",
    "towait",
    "untilretry",
    "backoff",
    "retryafter",
    "retryin",
    "retrydelay",
    "retryat",
    "retryaftertime",
    "nextretryin",
    "nextretryat",
    "tryagainin",
    "tryagainat",
    "waittime",
    "waitfor",
    "timetowait",
    "retrywaittime",
    "nextavailableat",
    "availablein",
    "cooldown",
];

/// Names of members that hold when a limit is whole again.
const RESET: [&str; 18] = [
    "timetoreset",
    "untilreset",
    "resetsin",
    "resetin",
    "resetafter",
    "resetsafter",
    "resetsat",
    "resetat",
    "resettime",
    "resetdate",
    "reset",
    "xratelimitreset",
    "ratelimitreset",
    "timeuntilreset",
    "quotaresetdelay",
    "quotaresettimestamp",
    "quotaresettime",
    "ratelimitresetat",
];

/// What a member's name says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DelayName {
    /// How long to wait before a retry.
    Retry(NamedUnit),
    /// When a limit is whole again.
    Reset(NamedUnit),
}

impl DelayName {
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = Name::new(name)?;
        let whole = Self::without_unit(name.text(), NamedUnit::None);
        whole.or_else(|| {
            if name.text() == "msbeforenext" {
                return Some(Self::Retry(NamedUnit::Milliseconds));
            }
            // `retry_after_ms`, `resets_in_seconds`, `retry_after_in_seconds`, `seconds_until_reset`.
            let (rest, unit) = NamedUnit::at_end(name.text());
            let start = name.text().strip_prefix("seconds");
            Self::without_unit(rest, unit)
                .or_else(|| Self::without_unit(rest.strip_suffix("in")?, unit))
                .or_else(|| Self::without_unit(start?, NamedUnit::Seconds))
        })
    }

    fn without_unit(name: &str, unit: NamedUnit) -> Option<Self> {
        if RETRY.contains(&name) {
            Some(Self::Retry(unit))
        } else {
            RESET.contains(&name).then_some(Self::Reset(unit))
        }
    }

    /// The wait that a member of this name holds.
    pub(super) fn read(self, text: &str, answer: &Answer<'_>) -> Option<Duration> {
        let (Self::Retry(unit) | Self::Reset(unit)) = self;
        unit.read(text, answer)
            .or_else(|| Sentence::new(text).as_span())
    }
}

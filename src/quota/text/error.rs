//! What is wrong with a text that is no quota.

use std::{error::Error, fmt};

use crate::{costs::Unit, quota::builder::MAX_WINDOWS};

/// A text that is no [`Quota`](crate::Quota): which part of it is wrong, and what was expected.
///
/// ```
/// use tower_throttle::Quota;
///
/// let error = "5/s, 100/2 fortnights".parse::<Quota>().unwrap_err();
/// assert_eq!(error.part(), "100/2 fortnights");
/// assert_eq!(
///     error.to_string(),
///     "quota part \"100/2 fortnights\": \"fortnights\" is not a unit of time: expected \"ns\", \"us\", \"ms\", \
///      \"s\", \"min\", \"h\" or \"d\""
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidQuota {
    part: Box<str>,
    reason: Reason,
}

impl InvalidQuota {
    pub(super) fn new(part: &str, reason: Reason) -> Self {
        Self {
            part: part.into(),
            reason,
        }
    }

    /// The part that is wrong, as it was written, without the white space around it.
    pub fn part(&self) -> &str {
        &self.part
    }
}

impl fmt::Display for InvalidQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quota part {:?}: {}", self.part, self.reason)
    }
}

impl Error for InvalidQuota {}

/// Each holds the piece of the part that is wrong, or what it clashes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Empty,
    Unknown,
    NotANumber(Box<str>),
    TooLarge { number: Box<str>, most: u64 },
    ZeroLimit,
    NotAUnit(Box<str>),
    Misspelt { name: Box<str>, meant: Unit },
    NoTime,
    NotATime(Box<str>),
    AfterTime(Box<str>),
    ZeroTime,
    TooLong,
    RequestsAtEnd,
    CountedTwice(Unit),
    TooManyWindows,
    Repeated(Setting),
    NotUnlimited,
    LimitsNothing,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "it is empty: expected a limit such as \"5/s\" or \"4 at once\", or \"unlimited\"",
            ),
            Self::Unknown => f.write_str(
                "expected a window such as \"5/s\" or \"30_000 tokens/min\", \"4 at once\", \"margin 50ms\", \"grace 2s\", \"until head\" or \"unlimited\"",
            ),
            Self::NotANumber(word) => write!(
                f,
                "{word:?} is not a whole number: expected digits, and perhaps \"_\" between them"
            ),
            Self::TooLarge { number, most } => {
                write!(f, "{number:?} is too large: expected at most {most}")
            }
            Self::ZeroLimit => f.write_str("0 would wait for ever: expected at least 1"),
            Self::NotAUnit(name) => write!(
                f,
                "{name:?} is not the name of a unit: expected a letter, followed by letters, digits, \"_\", \"-\" and \".\", and at most 23 in all"
            ),
            Self::Misspelt { name, meant } => write!(
                f,
                "did you mean \"{meant}\"? If there is a unit that is called {name:?}, say \"counted at dispatch\" or \"counted at end\" after the period"
            ),
            Self::NoTime => {
                f.write_str("a time is missing: expected one such as \"50ms\", \"2min\" or \"1h\"")
            }
            Self::NotATime(word) => write!(
                f,
                "{word:?} is not a unit of time: expected \"ns\", \"us\", \"ms\", \"s\", \"min\", \"h\" or \"d\""
            ),
            Self::AfterTime(rest) => write!(
                f,
                "{rest:?} after the period: expected nothing, \"counted at end\" or \"counted at dispatch\""
            ),
            Self::ZeroTime => f.write_str("a time of 0: expected at least \"1ns\""),
            Self::TooLong => write!(
                f,
                "a time that is too long to be counted: expected at most \"{}s\"",
                u64::MAX
            ),
            Self::RequestsAtEnd => f.write_str(
                "requests count when they are dispatched: expected no \"counted at end\"",
            ),
            Self::CountedTwice(unit) => write!(
                f,
                "a window before it counts \"{unit}\" {}: expected the same here",
                if unit.is_at_end() {
                    "at the answer's end"
                } else {
                    "at dispatch"
                }
            ),
            Self::TooManyWindows => {
                write!(f, "it is one too many: expected at most {MAX_WINDOWS} windows")
            }
            Self::Repeated(setting) => {
                write!(f, "it is not the first of its kind: expected {setting} once")
            }
            Self::NotUnlimited => {
                f.write_str("there is a limit beside it: expected \"unlimited\" or limits, not both")
            }
            Self::LimitsNothing => f.write_str(
                "it limits nothing by itself: expected a limit such as \"5/s\" or \"4 at once\" beside it, or \"unlimited\"",
            ),
        }
    }
}

/// What a quota has at most one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Unlimited,
    Concurrency,
    Margin,
    Grace,
    UntilHead,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unlimited => "\"unlimited\"",
            Self::Concurrency => "\"at once\"",
            Self::Margin => "\"margin\"",
            Self::Grace => "\"grace\"",
            Self::UntilHead => "\"until head\"",
        })
    }
}

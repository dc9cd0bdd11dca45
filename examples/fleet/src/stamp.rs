//! When a request came and when it went, on a clock that all processes of this machine share.

use std::{fmt, str::FromStr, time::SystemTime};

/// In microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) came: u64,
    pub(crate) went: u64,
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.came, self.went)
    }
}

impl FromStr for Stamp {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (came, went) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self {
            came: came.parse()?,
            went: went.parse()?,
        })
    }
}

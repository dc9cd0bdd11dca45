//! Times as the APIs write them.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The wall clock, as far as tokio's clock has run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// In seconds since the epoch.
    pub(super) fn unix_now(&self) -> u64 {
        self.since_epoch().as_secs()
    }

    fn since_epoch(&self) -> Duration {
        let now = self.wall + self.start.elapsed();
        now.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }

    /// The date so long from now, in whole seconds, rounded up: `2025-08-21T12:40:59Z`.
    pub(super) fn rfc3339_in(&self, time: Duration) -> String {
        rfc3339(whole_seconds(self.since_epoch().saturating_add(time)))
    }
}

pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// Whole milliseconds, rounded up.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A date of the Gregorian calendar, by Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March here, so that the leap day is the last.
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A duration as Go prints it, in whole milliseconds, rounded up: `12ms`, `1.5s`, `6m0s`, `1h0m0s`.
pub(super) fn go_duration(time: Duration) -> String {
    let millis = millis(time);
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    let (seconds, part) = (millis / 1_000, millis % 1_000);
    let part = format!(".{part:03}");
    let part = part.trim_end_matches('0').trim_end_matches('.');
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{part}s"),
        (0, minutes) => format!("{minutes}m{seconds}{part}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}{part}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (micros, expected) in [
            (0, "0s"),
            (1, "1ms"),
            (12_000, "12ms"),
            (999_001, "1s"),
            (1_500_000, "1.5s"),
            (59_931_000, "59.931s"),
            (90_050_000, "1m30.05s"),
            (360_000_000, "6m0s"),
            (3_600_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_755_780_059, "2025-08-21T12:40:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }
}

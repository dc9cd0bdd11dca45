//! How long the mock works on a request, drawn so that a run can be repeated and foretold.

use std::{ops::Range, time::Duration};

/// How long an endpoint works on each request that it accepts.
///
/// Made from a [`Duration`], a `Range<Duration>`, or by one of the functions below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work(Range<Duration>);

impl Work {
    /// Answers at once.
    pub fn none() -> Self {
        Self::fixed(Duration::ZERO)
    }

    /// Takes this long, every time.
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn fixed(time: Duration) -> Self {
        Self::uniform(time..time)
    }

    /// Takes any time of the range, all equally likely; the upper end is excluded.
    ///
    /// Where both ends are whole milliseconds, so is every draw: tokio's timers tick no finer, and
    /// with whole draws a test under paused time can compute every instant exactly. Otherwise the
    /// draws are whole nanoseconds.
    ///
    /// # Panics
    ///
    /// If the range ends before it starts, or after a century. (Both ends alike is [`Work::fixed`].)
    #[track_caller]
    pub fn uniform(range: Range<Duration>) -> Self {
        check(&range);
        Self(range)
    }

    /// What a judge with this seed draws on the route with this template: the `i`th item is the
    /// working time of the `i`th request *accepted* there, however the endpoints' requests interleave
    /// and whatever was refused between.
    ///
    /// For an oracle that computes when each answer has to come.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_throttle_mock::Work;
    ///
    /// let work = Work::uniform(Duration::from_millis(200)..Duration::from_millis(400));
    /// let times: Vec<_> = work.draws(7, "POST /tts").take(100).collect();
    /// assert!(times.iter().all(|time| (200..400).contains(&time.as_millis())));
    /// assert!(work.draws(7, "POST /tts").take(100).eq(times));
    /// ```
    pub fn draws(&self, seed: u64, template: &str) -> Draws {
        Draws::new(self.0.clone(), seed, "work", template)
    }
}

impl From<Duration> for Work {
    #[track_caller]
    fn from(time: Duration) -> Self {
        Self::fixed(time)
    }
}

impl From<Range<Duration>> for Work {
    #[track_caller]
    fn from(range: Range<Duration>) -> Self {
        Self::uniform(range)
    }
}

/// An endless sequence of times, the same for the same seed: see [`Work::draws`].
#[derive(Clone, Debug)]
pub struct Draws {
    range: Range<Duration>,
    rng: fastrand::Rng,
}

impl Draws {
    pub(crate) fn new(range: Range<Duration>, seed: u64, what: &str, template: &str) -> Self {
        // FNV-1a, so that every sequence has a generator of its own: a refusal here or a call there
        // must not shift what others draw.
        let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in what.bytes().chain(template.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let rng = fastrand::Rng::with_seed(hash);
        Self { range, rng }
    }

    pub(crate) fn set_range(&mut self, range: Range<Duration>) {
        self.range = range;
    }

    pub(crate) fn draw(&mut self) -> Duration {
        let Range { start, end } = self.range;
        if start == end {
            return start;
        }
        let whole = |time: Duration| time.subsec_nanos() % 1_000_000 == 0;
        if whole(start) && whole(end) {
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(self.rng.u64(millis(start)..millis(end)))
        } else {
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Duration::from_nanos(self.rng.u64(nanos(start)..nanos(end)))
        }
    }
}

impl Iterator for Draws {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.draw())
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

#[track_caller]
pub(crate) fn check(range: &Range<Duration>) {
    assert!(
        range.start <= range.end,
        "the range {range:?} ends before it starts"
    );
    // A mock that works for centuries is a mistake; refused here so that a draw cannot overflow.
    assert!(
        range.end <= CENTURY,
        "the range {range:?} is longer than a century"
    );
}

/// As [`check`], for a time that is not drawn.
#[track_caller]
pub(crate) fn check_time(time: Duration) {
    assert!(time <= CENTURY, "{time:?} is longer than a century");
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn draws_are_whole_milliseconds_within_the_range_and_reach_both_ends() {
        let work = Work::uniform(MS(200)..MS(204));
        let mut seen: Vec<_> = work.draws(1, "/a").take(100).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [MS(200), MS(201), MS(202), MS(203)]);
    }

    #[test]
    fn finer_ranges_are_drawn_finer() {
        let range = Duration::from_micros(10)..Duration::from_micros(20);
        let work = Work::from(range.clone());
        assert!(
            work.draws(1, "/a")
                .take(100)
                .all(|time| range.contains(&time))
        );
    }

    #[test]
    fn seeds_and_routes_differ_and_repeat() {
        let work = Work::uniform(MS(0)..MS(1_000_000));
        let first = |seed, template| work.draws(seed, template).take(4).collect::<Vec<_>>();
        assert_eq!(first(1, "/a"), first(1, "/a"));
        assert_ne!(first(1, "/a"), first(2, "/a"));
        assert_ne!(first(1, "/a"), first(1, "/b"));
    }

    #[test]
    fn a_fixed_time_is_no_draw() {
        assert!(
            Work::from(MS(12))
                .draws(1, "/a")
                .take(3)
                .all(|t| t == MS(12))
        );
        assert_eq!(Work::uniform(MS(3)..MS(3)), Work::fixed(MS(3)));
    }

    #[test]
    #[should_panic(expected = "is longer than a century")]
    fn nothing_takes_longer_than_a_century() {
        check_time(Duration::from_secs(1 << 40));
    }

    #[test]
    #[should_panic(expected = "2ms..1ms ends before it starts")]
    fn a_backward_range_is_refused() {
        let _ = Work::uniform(MS(2)..MS(1));
    }
}

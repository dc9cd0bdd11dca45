//! What quota headers say, whatever their dialect: some named buckets, of which one matters.

use std::{cmp::Reverse, time::Duration};

use super::{
    meaning::SignalScope,
    report::{QuotaReport, UnitQuota},
};
use crate::costs;

/// What a bucket counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Requests,
    /// Requests at the same time.
    InFlight,
    /// Tokens or bytes: nobody knows how many the next request takes, so all that can be read off
    /// such a bucket is that it is empty.
    Other,
}

/// A whole period is waited for where nothing is said about when it began, if it is no longer than a
/// minute: nearly always there is less of it left.
const LONGEST_PERIOD: Duration = Duration::from_secs(60);

/// One bucket of the server, as far as it is described.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket<'a> {
    pub(super) name: &'a str,
    pub(super) unit: Unit,
    pub(super) scope: SignalScope,
    pub(super) limit: Option<u64>,
    pub(super) remaining: Option<u64>,
    pub(super) reset: Option<Duration>,
    pub(super) period: Option<Duration>,
    /// What was used comes back bit by bit, and `reset` is when all of it is back; otherwise all
    /// comes back at `reset`.
    pub(super) gradual: bool,
}

impl Bucket<'_> {
    /// Whether nothing is known of it but its name.
    pub(super) fn is_untouched(&self) -> bool {
        let name = self.name;
        *self
            == Bucket {
                name,
                ..Bucket::default()
            }
    }

    /// Several lines may describe one bucket (a server that sends `RateLimit-*` and `X-RateLimit-*`,
    /// or a line twice). Where they disagree, the less favourable counts.
    pub(super) fn leave(&mut self, remaining: u64) {
        self.remaining = Some(
            self.remaining
                .map_or(remaining, |known| known.min(remaining)),
        );
    }

    /// See [`leave`](Self::leave).
    pub(super) fn reset_in(&mut self, reset: Option<Duration>) {
        self.reset = self.reset.max(reset);
    }

    /// How long a request that was refused has to wait.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self.unit {
            Unit::Requests => self.report().spacing(),
            Unit::InFlight | Unit::Other => self.reset,
        }
    }

    /// Of an empty window that does not say when it is whole again: by the end of its period it is.
    pub(super) fn whole_period(&self) -> Option<Duration> {
        self.period
            .filter(|&period| self.remaining == Some(0) && period <= LONGEST_PERIOD)
    }

    /// What it counts, if not requests, by its name.
    fn counted(&self) -> Option<costs::Unit> {
        costs::Unit::try_new(self.name).filter(|_| self.unit == Unit::Other)
    }

    /// What is left of a unit besides requests.
    fn of_unit(&self) -> Option<(costs::Unit, UnitQuota)> {
        let quota = UnitQuota {
            remaining: self.remaining?,
            limit: self.limit,
            reset: self.reset,
        };
        Some((self.counted()?, quota))
    }

    fn report(&self) -> QuotaReport {
        QuotaReport {
            scope: self.scope,
            remaining: self.remaining,
            limit: self.limit,
            reset: self.reset,
            period: self.period,
            gradual: self.gradual,
            ..QuotaReport::default()
        }
    }
}

/// More buckets than any dialect seen describes in one answer; what a server sends beyond is not
/// looked at. An array, since a success must not cost an allocation.
const MAX_BUCKETS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Buckets<'a> {
    rows: [Bucket<'a>; MAX_BUCKETS],
    len: usize,
}

impl<'a> Buckets<'a> {
    pub(super) fn push(&mut self, bucket: Bucket<'a>) -> Option<&mut Bucket<'a>> {
        let row = self.rows.get_mut(self.len)?;
        *row = bucket;
        self.len += 1;
        Some(row)
    }

    /// The bucket of this name, which is made if it is new.
    pub(super) fn named(&mut self, name: &'a str) -> Option<&mut Bucket<'a>> {
        let known = self.iter().position(|bucket| bucket.name == name);
        match known {
            Some(at) => self.rows.get_mut(at),
            None => self.push(Bucket {
                name,
                ..Bucket::default()
            }),
        }
    }

    /// Of a bucket that only says when it is whole again, and one that says all but that, makes one: their
    /// names differ by a word that names no bucket.
    pub(super) fn join_reset(&mut self) {
        let only_reset =
            |of: &Bucket<'_>| of.reset.is_some() && of.remaining.is_none() && of.limit.is_none();
        let no_reset = |of: &Bucket<'_>| of.reset.is_none() && of.remaining.is_some();
        let only = |is: &dyn Fn(&Bucket<'_>) -> bool| {
            let mut found = (0..self.len).filter(|&at| is(&self.rows[at]));
            found.next().filter(|_| found.next().is_none())
        };
        let (Some(from), Some(to)) = (only(&only_reset), only(&no_reset)) else {
            return;
        };
        if self.len == 2 {
            let Bucket { reset, period, .. } = self.rows[from];
            self.rows[to].reset = reset;
            self.rows[to].period = self.rows[to].period.or(period);
            let name = self.rows[from].name;
            self.remove(name);
        }
    }

    /// Gives the bucket without a name the window of the one that has its limit and as much left, if that is the
    /// only one: they are the same (Kong sends both `RateLimit-Remaining` and `X-RateLimit-Remaining-Minute`).
    pub(super) fn join_period(&mut self) {
        let Some(unnamed) = self.iter().position(|of| of.name.is_empty()) else {
            return;
        };
        let of = self.rows[unnamed];
        if of.period.is_some() || of.limit.is_none() || of.remaining.is_none() {
            return;
        }
        let same = |row: &&Bucket<'_>| {
            !row.name.is_empty() && (row.limit, row.remaining) == (of.limit, of.remaining)
        };
        let mut named = self.iter().filter(same);
        let period = named.next().and_then(|row| row.period);
        let is_only = named.next().is_none();
        drop(named);
        self.rows[unnamed].period = period.filter(|_| is_only);
    }

    /// Forgets the bucket of this name.
    pub(super) fn remove(&mut self, name: &str) {
        let known = self.iter().position(|bucket| bucket.name == name);
        if let Some(at) = known {
            self.rows[at..self.len].rotate_left(1);
            self.len -= 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket<'a>> {
        self.rows.iter().take(self.len)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Bucket<'a>> {
        self.rows.iter_mut().take(self.len)
    }

    /// The bucket that refused a request: one that is empty or, failing that, one that does not say.
    /// Of several, the one that takes longest. One that has something left did not refuse.
    pub(super) fn blocking(&self) -> Option<Bucket<'a>> {
        let longest = |remaining| {
            self.iter()
                .filter(move |bucket| bucket.remaining == remaining)
                .max_by_key(|bucket| (bucket.wait(), bucket.period))
        };
        longest(Some(0))
            .or_else(|| longest(None).filter(|bucket| bucket.reset.is_some()))
            .copied()
    }

    /// What a success should know: the bucket that runs dry first, and the requests in flight.
    pub(super) fn report(&self) -> Option<QuotaReport> {
        let nearest = self
            .iter()
            .filter(|bucket| match bucket.unit {
                Unit::Requests => bucket.remaining.is_some(),
                Unit::InFlight => false,
                Unit::Other => bucket.remaining == Some(0),
            })
            .min_by_key(|bucket| (bucket.remaining, Reverse(bucket.reset)));
        let in_flight = self.iter().find_map(|bucket| {
            let limit = usize::try_from(bucket.limit?).ok()?;
            (bucket.unit == Unit::InFlight && limit > 0).then_some((limit, bucket.remaining))
        });
        let mut units = self.iter().filter_map(Bucket::of_unit).peekable();
        if nearest.is_none() && in_flight.is_none() && units.peek().is_none() {
            return None;
        }
        let mut report = nearest.map(Bucket::report).unwrap_or_default();
        if let Some(bucket) = nearest.filter(|bucket| bucket.unit == Unit::Other) {
            // How many tokens there are says nothing about requests.
            report.limit = None;
            report.unit = bucket.counted();
        }
        for (unit, quota) in units {
            report = report.with_unit(unit, quota);
        }
        if let Some((limit, remaining)) = in_flight {
            report.maximum_concurrency = Some(limit);
            report.current_concurrency =
                remaining.and_then(|remaining| limit.checked_sub(usize::try_from(remaining).ok()?));
        }
        Some(report)
    }
}

/// A count at the start of a text: a whole number, or one with a fraction, which is dropped (Reddit
/// leaves `595.0`). A sign is malformed (Azure leaves `-1` where it does not know).
pub(super) fn count(text: &str) -> Option<u64> {
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // As most are.
    if are_digits(text) {
        return text.parse().ok();
    }
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    (are_digits(whole) && are_digits(fraction))
        .then(|| whole.parse().ok())
        .flatten()
}

/// `(count, window)` of each entry of a list such as `10, 10;w=1, 50;w=60`: early drafts of the
/// IETF, and Docker Hub.
pub(super) fn windows(list: &str) -> impl Iterator<Item = (u64, Option<Duration>)> {
    let mut rest = Some(list);
    let mut entries = std::iter::from_fn(move || {
        let list = rest?;
        let comma = list.bytes().position(|byte| byte == b',');
        rest = comma.map(|at| &list[at + 1..]);
        Some(comma.map_or(list, |at| &list[..at]))
    });
    std::iter::from_fn(move || entries.find_map(window))
}

fn window(entry: &str) -> Option<(u64, Option<Duration>)> {
    // Most are a count alone, or end in nothing else.
    if let Some(count) = count(entry) {
        return Some((count, None));
    }
    let (start, parts) = entry.split_once(';')?;
    let count = count(start)?;
    let window = parts.split(';').find_map(|part| {
        let seconds = part.trim().strip_prefix("w=")?.parse().ok()?;
        super::time::wait(Duration::from_secs(seconds))
    });
    Some((count, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(remaining: Option<u64>, reset: u64) -> Bucket<'static> {
        Bucket {
            remaining,
            reset: Some(Duration::from_secs(reset)),
            ..Bucket::default()
        }
    }

    fn blocking(rows: &[Bucket<'static>]) -> Option<u64> {
        let mut buckets = Buckets::default();
        for row in rows {
            buckets.push(*row);
        }
        buckets.blocking().map(|b| b.reset.unwrap().as_secs())
    }

    #[test]
    fn an_empty_bucket_blocks_before_one_that_does_not_say() {
        assert_eq!(blocking(&[bucket(None, 9), bucket(Some(0), 3)]), Some(3));
    }

    #[test]
    fn of_several_empty_buckets_the_longest_blocks() {
        let rows = [bucket(Some(0), 3), bucket(Some(0), 7), bucket(Some(0), 5)];
        assert_eq!(blocking(&rows), Some(7));
    }

    #[test]
    fn a_bucket_with_something_left_does_not_block() {
        assert_eq!(blocking(&[bucket(Some(1), 7)]), None);
    }

    #[test]
    fn a_gradual_bucket_gives_one_request_back_early() {
        let row = Bucket {
            limit: Some(60),
            gradual: true,
            ..bucket(Some(0), 60)
        };
        assert_eq!(row.wait(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn more_buckets_than_fit_are_left_out() {
        let mut buckets = Buckets::default();
        for _ in 0..MAX_BUCKETS {
            assert!(buckets.push(bucket(Some(1), 1)).is_some());
        }
        assert!(buckets.push(bucket(Some(0), 1)).is_none());
        assert!(buckets.named("another").is_none());
    }

    #[test]
    fn the_report_is_of_the_bucket_with_the_fewest_left() {
        let mut buckets = Buckets::default();
        buckets.push(bucket(Some(100), 9_000));
        buckets.push(bucket(Some(5), 1));
        buckets.push(bucket(None, 1));
        assert_eq!(buckets.report().unwrap().remaining(), Some(5));
    }

    #[test]
    fn tokens_count_when_there_are_none() {
        let tokens = |remaining| Bucket {
            unit: Unit::Other,
            limit: Some(9_000),
            ..bucket(Some(remaining), 4)
        };
        let mut buckets = Buckets::default();
        buckets.push(bucket(Some(50), 1));
        buckets.push(tokens(1));
        assert_eq!(buckets.report().unwrap().remaining(), Some(50));
        buckets.push(tokens(0));
        let report = buckets.report().unwrap();
        assert_eq!(report.remaining(), Some(0));
        assert_eq!(report.reset(), Some(Duration::from_secs(4)));
        assert_eq!(report.limit(), None);
    }

    #[test]
    fn the_same_bucket_under_two_names_has_one_window() {
        let period = |rows: &[(&'static str, u64, Option<u64>)]| {
            let mut buckets = Buckets::default();
            for &(name, limit, period) in rows {
                buckets.push(Bucket {
                    name,
                    limit: Some(limit),
                    period: period.map(Duration::from_secs),
                    ..bucket(Some(0), 9)
                });
            }
            buckets.join_period();
            buckets.rows[0].period.map(|period| period.as_secs())
        };
        assert_eq!(period(&[("", 5, None), ("minute", 5, Some(60))]), Some(60));
        assert_eq!(
            period(&[("", 5, Some(1)), ("minute", 5, Some(60))]),
            Some(1)
        );
        assert_eq!(period(&[("", 5, None), ("minute", 6, Some(60))]), None);
        let two = [
            ("", 5, None),
            ("minute", 5, Some(60)),
            ("hour", 5, Some(3_600)),
        ];
        assert_eq!(period(&two), None);
    }

    #[test]
    fn counts_may_have_a_fraction_but_no_sign() {
        assert_eq!(count("595.0"), Some(595));
        assert_eq!(count(" 7 "), Some(7));
        for text in ["-1", "+1", "", "1e3", "1.x", "x", "99999999999999999999"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn windows_of_a_list() {
        let minute = Some(Duration::from_secs(60));
        let all: Vec<_> = windows("10, 50;w=60, x;w=1, 7;w=0").collect();
        assert_eq!(all, [(10, None), (50, minute), (7, None)]);
    }
}

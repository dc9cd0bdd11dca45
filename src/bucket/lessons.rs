use std::time::Duration;

use super::tick::Span;

/// What a bucket has learned, in its own terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lessons {
    /// A limit, and whether the server named it.
    pub(crate) concurrency: Option<(usize, bool)>,
    /// A limit, its period, and whether the server named it.
    pub(crate) rate: Option<(u32, Span, bool)>,
    /// In thousandths of the period.
    pub(crate) margin: Option<u32>,
    /// The distance between requests that quota headers suggest.
    pub(crate) pace: Option<Span>,
}

impl Lessons {
    /// Whether any of it narrows more than `before` did.
    pub(crate) fn narrows_beyond(&self, before: &Self) -> bool {
        let fewer = |now: Option<u64>, before: Option<u64>| match (now, before) {
            (Some(now), Some(before)) => now < before,
            (now, None) => now.is_some(),
            (None, Some(_)) => false,
        };
        let more = |now: Option<u64>, before: Option<u64>| match (now, before) {
            (Some(now), Some(before)) => now > before,
            (now, None) => now.is_some(),
            (None, Some(_)) => false,
        };
        let concurrency = |of: &Self| of.concurrency.map(|(n, _)| n as u64);
        let rate = |of: &Self| of.rate.map(|(n, _, _)| u64::from(n));
        let period = |of: &Self| of.rate.map(|(_, period, _)| period.0);
        let margin = |of: &Self| of.margin.map(u64::from);
        let pace = |of: &Self| of.pace.map(|pace| pace.0);
        fewer(concurrency(self), concurrency(before))
            || fewer(rate(self), rate(before))
            || more(period(self), period(before))
            || more(margin(self), margin(before))
            || more(pace(self), pace(before))
    }
}

/// What a server's answers have taught about one bucket, and what is enforced for that.
///
/// Each part is `None` where nothing was learned, or where it has been given back or has ended.
/// [`Learning`](crate::Learning) says what is learned from what. Quota headers leave no lesson here:
/// they pause ([`paused_for`](crate::BucketSnapshot::paused_for)), or slow down until their reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    lessons: Lessons,
}

/// Where a lesson comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LearnedFrom {
    /// The server named the limit, in a refusal or in the headers of a success.
    Named,
    /// From which requests were refused and which were not: no limit was named, or fewer than that were
    /// accepted.
    Refusals,
}

impl Learned {
    pub(crate) fn of(lessons: Lessons) -> Option<Self> {
        (lessons != Lessons::default()).then_some(Self { lessons })
    }

    /// How many requests the server seems to take at once; at least 1.
    pub fn concurrency(&self) -> Option<(usize, LearnedFrom)> {
        let (limit, named) = self.lessons.concurrency?;
        Some((limit, LearnedFrom::new(named)))
    }

    /// How many requests the server seems to take, at least 1, in any interval of which length. A
    /// [`margin`](Self::margin) comes on top of the length.
    pub fn rate(&self) -> Option<(u32, Duration, LearnedFrom)> {
        let (n, period, named) = self.lessons.rate?;
        Some((n, Duration::from_nanos(period.0), LearnedFrom::new(named)))
    }

    /// By which part of its period each window is widened, in thousandths: 10 to 250.
    pub fn margin(&self) -> Option<u32> {
        self.lessons.margin
    }

    /// The distance between requests at which what is left lasts, from the quota headers of successes.
    /// It ends with the window that they are about.
    pub fn pace(&self) -> Option<Duration> {
        self.lessons.pace.map(|span| Duration::from_nanos(span.0))
    }
}

impl LearnedFrom {
    fn new(named: bool) -> Self {
        if named { Self::Named } else { Self::Refusals }
    }
}

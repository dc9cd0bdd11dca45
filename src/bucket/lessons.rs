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
    /// The time between two requests that quota headers suggest.
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
/// [`Learning`](crate::Learning) says what is learned from what. Quota headers that say that little is left
/// set the [`pace`](Self::pace). Headers that say that nothing is left pause the bucket instead
/// ([`paused_for`](crate::BucketSnapshot::paused_for)).
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
    /// The numbers of refused and accepted requests: the server named no limit, or accepted fewer than it
    /// named.
    Refusals,
}

impl Learned {
    pub(crate) fn of(lessons: Lessons) -> Option<Self> {
        (lessons != Lessons::default()).then_some(Self { lessons })
    }

    /// How many requests the server seems to take at once, and where that comes from; at least 1.
    pub fn concurrency(&self) -> Option<(usize, LearnedFrom)> {
        let (limit, named) = self.lessons.concurrency?;
        Some((limit, LearnedFrom::new(named)))
    }

    /// A number of requests and a period: how many the server seems to take in any interval of that length,
    /// at least 1, and where that comes from. A [`margin`](Self::margin) comes on top of the period.
    pub fn rate(&self) -> Option<(u32, Duration, LearnedFrom)> {
        let (n, period, named) = self.lessons.rate?;
        Some((n, Duration::from_nanos(period.0), LearnedFrom::new(named)))
    }

    /// The part of its period by which each window is widened, in thousandths: 10 to 250.
    pub fn margin(&self) -> Option<u32> {
        self.lessons.margin
    }

    /// The time between two requests that makes what is left last until the server's reset, from the quota
    /// headers of successes. It ends at that reset. Requests keep it once the server was seen to keep to its headers,
    /// while as many wait as are left.
    pub fn pace(&self) -> Option<Duration> {
        self.lessons.pace.map(|span| Duration::from_nanos(span.0))
    }
}

impl LearnedFrom {
    fn new(named: bool) -> Self {
        if named { Self::Named } else { Self::Refusals }
    }
}

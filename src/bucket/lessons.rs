use std::{fmt, time::Duration};

use super::tick::Span;
use crate::quota::Quota;

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
///
/// As text it is all that was learned, and from what: `3 at once (from refusals), 10/s (named), margin 5 %`. A pace is
/// `one each 250ms`.
#[derive(Clone, Copy, PartialEq, Eq)]
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

impl fmt::Display for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut part = |part: fmt::Arguments<'_>| {
            f.write_str(separator)?;
            separator = ", ";
            f.write_fmt(part)
        };
        if let Some((n, from)) = self.concurrency() {
            part(format_args!("{n} at once ({})", from.words()))?;
        }
        if let Some((n, period, from)) = self.rate() {
            part(format_args!("{} ({})", Quota::per(n, period), from.words()))?;
        }
        if let Some(thousandths) = self.margin() {
            match (thousandths / 10, thousandths % 10) {
                (percent, 0) => part(format_args!("margin {percent} %"))?,
                (percent, tenth) => part(format_args!("margin {percent}.{tenth} %"))?,
            }
        }
        if let Some(time) = self.pace() {
            part(format_args!("one each {time:?}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learned")
            .field("concurrency", &self.concurrency())
            .field("rate", &self.rate())
            .field("margin", &self.margin())
            .field("pace", &self.pace())
            .finish()
    }
}

impl LearnedFrom {
    fn words(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Refusals => "from refusals",
        }
    }

    fn new(named: bool) -> Self {
        if named { Self::Named } else { Self::Refusals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Lessons {
        Lessons {
            concurrency: Some((3, false)),
            rate: Some((10, Span(1_000_000_000), true)),
            margin: Some(50),
            pace: Some(Span(250_000_000)),
        }
    }

    #[test]
    fn what_was_learned_is_told_in_words() {
        let text = |lessons| Learned::of(lessons).unwrap().to_string();
        assert_eq!(
            text(all()),
            "3 at once (from refusals), 10/s (named), margin 5 %, one each 250ms"
        );
        let (margin, rate) = (Some(125), Some((1, Span(2_500_000_000), false)));
        let others = Lessons {
            margin,
            ..Lessons::default()
        };
        assert_eq!(text(others), "margin 12.5 %");
        let others = Lessons {
            rate,
            ..Lessons::default()
        };
        assert_eq!(text(others), "1/2_500ms (from refusals)");
    }

    #[test]
    fn it_is_shown_by_what_its_methods_return() {
        assert_eq!(
            format!("{:?}", Learned::of(all()).unwrap()),
            "Learned { concurrency: Some((3, Refusals)), rate: Some((10, 1s, Named)), margin: Some(50), \
             pace: Some(250ms) }"
        );
    }
}

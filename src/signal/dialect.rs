//! [`Dialect`]: one way in which servers tell about their limits.

use std::time::Duration;

use http::StatusCode;

use super::{
    answer::Answer,
    body::Text,
    buckets::{Bucket, Buckets},
    known::Pattern,
    meaning::{SignalKind, SignalScope},
    report::QuotaReport,
};

/// How one API, or many that do alike, tell about their limits. A [profile](super::Profile) is a choice of
/// dialects; each is asked in turn until one has an answer.
pub(super) struct Dialect {
    /// The statuses, besides those of the [standard](super::profile), whose answers can be refusals.
    pub(super) refuses: &'static [u16],
    /// Whether the body of such an answer can say more.
    pub(super) wants_body: fn(&Answer<'_>) -> bool,
    /// The names of its quota headers.
    pub(super) headers: &'static [Pattern],
    /// What its quota headers say.
    pub(super) buckets: for<'a> fn(&Answer<'a>) -> Buckets<'a>,
    /// Adds to a report what its quota headers say besides.
    pub(super) report: fn(&Answer<'_>, &mut QuotaReport),
    /// What a refusal means.
    pub(super) meaning: fn(&Reading<'_>) -> Option<Meaning>,
    /// The delay of a refusal whose headers name none.
    pub(super) delay: fn(&Reading<'_>) -> Option<Duration>,
    /// The delay of a refusal that names none anywhere.
    pub(super) unnamed_delay: fn(&Reading<'_>) -> Option<Duration>,
    /// Whom a refusal concerns.
    pub(super) scope: fn(&Reading<'_>) -> Option<SignalScope>,
}

/// An answer that may be a refusal, and what is known of it.
pub(super) struct Reading<'a> {
    pub(super) answer: Answer<'a>,
    pub(super) text: Text<'a>,
    /// By its quota headers, the bucket that refused.
    pub(super) blocking: Option<Bucket<'a>>,
}

/// What an answer means that may be a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Refused(SignalKind),
    /// Refused, by a status that means something else to others: the request may have been carried out.
    RefusedByStatus(SignalKind),
    /// Whatever its status says, it is not about a limit.
    NoLimit,
}

impl Dialect {
    /// One that says nothing: what a dialect does not have, it has from here.
    pub(super) const NONE: Self = Self {
        refuses: &[],
        wants_body: |_| true,
        headers: &[],
        buckets: |_| Buckets::default(),
        report: |_, _| (),
        meaning: |_| None,
        delay: |_| None,
        unnamed_delay: |_| None,
        scope: |_| None,
    };

    /// Whether an answer of this status can be a refusal.
    pub(super) fn refuses(&self, status: StatusCode) -> bool {
        self.refuses.contains(&status.as_u16())
    }

    /// Whether a header of this name tells its quota.
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|pattern| pattern.matches(name))
    }
}

impl Reading<'_> {
    pub(super) fn status(&self) -> StatusCode {
        self.answer.status()
    }
}

//! Too many requests at the same time, in whatever words a 429 says so.

use http::{HeaderName, StatusCode};

use super::xero;
use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    headers,
    meaning::SignalKind,
    names::Name,
    words::Sentence,
};

pub(super) const CONCURRENCY: Dialect = Dialect {
    meaning,
    ..Dialect::NONE
};

static REASON: HeaderName = HeaderName::from_static("stripe-rate-limited-reason");

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let mut texts = reading.text.texts();
    let says = |text| Sentence::new(text).is_about_concurrency();
    // Xero, and Stripe whatever the profile.
    let mut problems = [&xero::PROBLEM, &REASON]
        .into_iter()
        .flat_map(|name| headers::texts(reading.answer.headers(), name));
    let is_told = problems.any(|problem| problem.contains("concurren"));
    (reading.status() == StatusCode::TOO_MANY_REQUESTS && (is_told || texts.any(says)))
        .then_some(Meaning::Refused(SignalKind::Concurrency))
}

/// How many requests at the same time the body allows, in a member of its own or in words; not 0.
pub(in crate::signal) fn limit(reading: &Reading<'_>) -> Option<usize> {
    let in_a_member = reading.text.scalars().find_map(|scalar| {
        let name = Name::new(scalar.name)?;
        let is_limit = |part| name.text().contains(part);
        (is_limit("concurren") && (is_limit("limit") || is_limit("max")))
            .then(|| scalar.text.parse().ok().filter(|&limit: &usize| limit > 0))
            .flatten()
    });
    in_a_member.or_else(|| {
        let sentences = || reading.text.texts().map(Sentence::new);
        sentences()
            .filter(Sentence::is_about_concurrency)
            .find_map(|sentence| sentence.concurrency_limit())
    })
}

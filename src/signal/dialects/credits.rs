//! Credits, and quotas of days and months: what is used up comes back after longer than anybody waits.
//!
//! Read without a profile, since a client that takes this for a rate limit tries for ever.

use http::StatusCode;

use crate::signal::{
    dialect::{Dialect, Meaning, Reading},
    meaning::SignalKind,
    names::Name,
    words::Sentence,
};

pub(super) const CREDITS: Dialect = Dialect {
    meaning,
    ..Dialect::NONE
};

/// As whole values, whatever their case and however their words are joined.
const IDENTIFIERS: [&str; 21] = [
    // OpenAI and the many that answer in its way.
    "insufficientquota",
    "billinghardlimitreached",
    "billingnotactive",
    "exceededcurrentquotaerror",
    "usagelimitreached",
    "usagelimitexceeded",
    "insufficientcredits",
    "insufficientcredit",
    "insufficientbalance",
    "insufficientfunds",
    "outofcredits",
    "creditsexhausted",
    "creditlimitexceeded",
    "dailylimitexceeded",
    "dailylimitreached",
    "dailyquotaexceeded",
    "monthlylimitexceeded",
    "monthlylimitreached",
    "monthlyquotaexceeded",
    "planlimitreached",
    "spendinglimitexceeded",
];

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    let in_words = reading.status() != StatusCode::UNAUTHORIZED;
    let is_used_up = |text: &str| {
        let name = Name::new(text);
        let named = name.is_some_and(|name| IDENTIFIERS.contains(&name.text()));
        // `GenerateRequestsPerDayPerProjectPerModel-FreeTier` (Gemini).
        named || text.contains("PerDay") || in_words && Sentence::new(text).is_used_up()
    };
    let mut texts = reading.text.texts();
    texts
        .any(is_used_up)
        .then_some(Meaning::Refused(SignalKind::QuotaExhausted))
}

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
const IDENTIFIERS: [&str; 37] = [
    // OpenAI and the many that answer in its way.
    "insufficientquota",
    "billinghardlimitreached",
    "billingnotactive",
    "exceededcurrentquotaerror",
    "usagelimitreached",
    "usagelimitexceeded",
    "usagenotincluded",
    "insufficientcredits",
    "insufficientcredit",
    "insufficientbalance",
    "insufficientaccountbalance",
    "insufficienttokens",
    "outofcredits",
    "nocredits",
    "creditsdepleted",
    "creditsexhausted",
    "creditlimitexceeded",
    "quotaexhausted",
    "outofquota",
    "overquota",
    "freequotaexhausted",
    "subscriptionquotaexceeded",
    "quotaexceededdaily",
    "dailylimitexceeded",
    "dailylimitreached",
    "dailyquotaexceeded",
    "dailyquotareached",
    "monthlylimitexceeded",
    "monthlylimitreached",
    "monthlyquotaexceeded",
    "monthlyrequestcount",
    "planlimitreached",
    "spendinglimitexceeded",
    "publicapibillinglimitexceeded",
    "apikeyexhausted",
    "arrearage",
    "allocationquotafreetieronly",
];

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    is_used_up(reading).then_some(Meaning::Refused(SignalKind::QuotaExhausted))
}

/// Whether the body says that nothing is left for a day or longer.
pub(super) fn is_used_up(reading: &Reading<'_>) -> bool {
    // A wrong key may be answered with what a right one would have.
    let is_401 = reading.status() == StatusCode::UNAUTHORIZED;
    let says_so = |text: &str| {
        let name = Name::new(text);
        let sentence = Sentence::new(text);
        name.is_some_and(|name| IDENTIFIERS.contains(&name.text()))
            // `GenerateRequestsPerDayPerProjectPerModel-FreeTier` (Gemini).
            || text.contains("PerDay")
            || sentence.names_no_credits()
            || !is_401 && sentence.is_used_up()
    };
    let mut scalars = reading.text.scalars();
    scalars.any(|of| of.name == "code" && is_of_a_day(of.text)) || reading.text.texts().any(says_so)
}

/// Whether an identifier is one of a limit per day: `api-deployments-free-per-day` (Vercel).
fn is_of_a_day(code: &str) -> bool {
    Name::new(code).is_some_and(|name| name.text().ends_with("perday"))
}

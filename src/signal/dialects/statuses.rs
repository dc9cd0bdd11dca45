//! Statuses by which some APIs throttle, and others mean something else.
//!
//! | status | who |
//! |---|---|
//! | 403 with a delay | CDNs, firewalls, older APIs |
//! | 418 with a delay | Binance: banned for going on after a 429 |
//! | 420 | EVE Online, Twitter as it was |
//! | 430 | Shopify's firewall |
//! | 509 | hosts whose bandwidth is used up |
//!
//! They pause, and are not retried unless that is asked for.

use crate::signal::{
    answer::Answer,
    dialect::{Dialect, Meaning, Reading},
    meaning::SignalKind,
};

pub(super) const OTHER_STATUSES: Dialect = Dialect {
    refuses: &[403, 418, 420, 430, 509],
    wants_body: is_throttled,
    meaning,
    ..Dialect::NONE
};

fn is_throttled(answer: &Answer<'_>) -> bool {
    match answer.status().as_u16() {
        403 | 418 => answer.retry_after().is_some(),
        status => OTHER_STATUSES.refuses.contains(&status),
    }
}

fn meaning(reading: &Reading<'_>) -> Option<Meaning> {
    is_throttled(&reading.answer).then_some(Meaning::RefusedByStatus(SignalKind::Rate))
}

//! Shopify's REST API: `X-Shopify-Shop-Api-Call-Limit: 32/40` is how much is *used* of what the
//! bucket holds.
//!
//! It leaks: two requests per second of 40, four of 80, twenty of 400. So on every plan a full
//! bucket takes the same time to become empty.

use std::time::Duration;

use http::HeaderName;

use crate::signal::{
    answer::Answer,
    buckets::{Bucket, Buckets},
    dialect::Dialect,
    headers,
    known::Pattern,
    meaning::SignalScope,
    time,
};

pub(super) const SHOPIFY: Dialect = Dialect {
    headers: &Pattern::all(["x-shopify-shop-api-call-limit"]),
    buckets,
    // One bucket for a shop.
    scope: |_| Some(SignalScope::Everything),
    ..Dialect::NONE
};

/// 40 requests at two per second (Shopify, API rate limits).
const FULL_TO_EMPTY: Duration = Duration::from_secs(20);

static CALL_LIMIT: HeaderName = HeaderName::from_static("x-shopify-shop-api-call-limit");

fn buckets<'a>(answer: &Answer<'a>) -> Buckets<'a> {
    let mut buckets = Buckets::default();
    let text = headers::texts(answer.headers(), &CALL_LIMIT).next();
    if let Some((used, size)) = text.and_then(used_of) {
        buckets.push(Bucket {
            scope: SignalScope::Everything,
            limit: Some(size.into()),
            remaining: Some(size.saturating_sub(used).into()),
            reset: FULL_TO_EMPTY
                .checked_mul(used)
                .and_then(|time| time.checked_div(size))
                .and_then(time::wait),
            period: Some(FULL_TO_EMPTY),
            gradual: true,
            ..Bucket::default()
        });
    }
    buckets
}

fn used_of(text: &str) -> Option<(u32, u32)> {
    let (used, size) = text.trim().split_once('/')?;
    let size = size.parse().ok().filter(|&size| size > 0)?;
    Some((used.parse().ok()?, size))
}

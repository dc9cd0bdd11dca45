//! Shopify's REST API: `X-Shopify-Shop-Api-Call-Limit: 32/40` is how much is *used* of what the
//! bucket holds.
//!
//! It leaks: two requests per second of 40, four of 80, twenty of 400. So on every plan a full
//! bucket takes the same time to become empty.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::{
    buckets::{Bucket, Buckets},
    retry, time,
};

/// 40 requests at two per second (Shopify, API rate limits).
const FULL_TO_EMPTY: Duration = Duration::from_secs(20);

static CALL_LIMIT: HeaderName = HeaderName::from_static("x-shopify-shop-api-call-limit");

pub(super) fn buckets(headers: &HeaderMap) -> Buckets<'_> {
    let mut buckets = Buckets::default();
    let text = retry::texts(headers, &CALL_LIMIT).next();
    if let Some((used, size)) = text.and_then(used_of) {
        buckets.push(Bucket {
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

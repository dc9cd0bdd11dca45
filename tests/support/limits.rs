use proptest::{collection::vec, prelude::*};
use tower_throttle::{Endpoints, Quota};

use super::{Face, ms};

/// So many cases, or as many as `PROPTEST_CASES` says.
pub fn cases(n: u32) -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(n),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Both limits most often.
pub fn any_face() -> impl Strategy<Value = Face> {
    prop_oneof![
        1 => Just(Face::Rps),
        1 => Just(Face::Concurrency),
        3 => Just(Face::Throttle)
    ]
}

/// Windows, as (n, milliseconds), and a concurrency.
pub type Limits = (Vec<(u32, u64)>, Option<usize>);

pub fn few_limits() -> impl Strategy<Value = Limits> {
    (
        vec((1u32..4, 1u64..200), 0..3),
        proptest::option::weighted(0.6, 1usize..4),
    )
}

pub fn quota_of(windows: &[(u32, u64)], concurrency: Option<usize>) -> Quota {
    let quota = windows
        .iter()
        .fold(Quota::unlimited(), |quota, &(n, p)| quota.and_per(n, ms(p)));
    match concurrency {
        Some(n) => quota.concurrency(n),
        None => quota,
    }
}

/// An endpoint for each path, the first two in a group.
pub fn nested(
    paths: &[&str],
    quotas: impl IntoIterator<Item = Quota>,
    group: Option<Quota>,
    overall: Option<Quota>,
) -> Endpoints {
    let mut endpoints = Endpoints::new();
    for (path, quota) in paths.iter().zip(quotas) {
        endpoints = endpoints.route(path, quota);
    }
    if let Some(quota) = group {
        endpoints = endpoints.group("group", quota, [paths[0], paths[1]]);
    }
    if let Some(quota) = overall {
        endpoints = endpoints.overall(quota);
    }
    endpoints
}

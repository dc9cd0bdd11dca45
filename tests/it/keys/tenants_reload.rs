//! Tiers that come, go and change in a reload: windows and permits hold for each tenant (L1), and those that wait go on
//! by the new quota.

use std::panic::AssertUnwindSafe;

use crate::support::*;
use tower_throttle::{Endpoints, Handle, Quota};

const GOLD: &str = "wonka";

/// Partitions by header, of which one is gold.
fn in_tiers(endpoints: Endpoints) -> Endpoints {
    endpoints
        .partition_by_header("x-key")
        .tier_by(|head| (head.headers().get("x-key")? == GOLD).then_some("gold"))
}

fn of(tenant: &str, mut request: Req) -> Req {
    let value = tenant.parse().unwrap();
    request.headers_mut().insert("x-key", value);
    request
}

async fn sends(client: &Client, n: usize, tenant: &str) -> Vec<Sent> {
    burst(client, n, |_| of(tenant, get("/a"))).await
}

fn tier(handle: &Handle, tenant: &str) -> Option<String> {
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket_of("/a", tenant).unwrap();
    bucket.tier().map(str::to_owned)
}

fn with_gold(n: u32) -> Endpoints {
    in_tiers(endpoint_a(per(2, 1_000)).tier("gold", [("/a", per(n, 1_000))]))
}

fn without_tiers() -> Endpoints {
    endpoint_a(per(2, 1_000)).partition_by_header("x-key")
}

#[tokio::test(start_paused = true)]
async fn the_quota_of_a_tier_changes() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, with_gold(4));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = sends(&client, 6, GOLD).await;
        sent.extend(sends(&client, 3, "bucket").await);
        assert_eq!(probe.times(), [0; 6], "{face:?}");
        at(&probe, 100).await;
        handle.reload(with_gold(5)).unwrap();
        settle().await;
        assert_eq!(probe.times()[6..], [100], "{face:?}");
        finish(sent).await;
        assert_eq!(probe.times()[7..], [1_000, 1_000], "{face:?}");
        assert_eq!(tier(&handle, GOLD).as_deref(), Some("gold"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_comes_and_what_was_sent_counts() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, without_tiers());
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = sends(&client, 4, GOLD).await;
        at(&probe, 100).await;
        handle.reload(with_gold(3)).unwrap();
        // The next request says who is gold. Those that wait go first.
        sent.extend(sends(&client, 1, GOLD).await);
        assert_eq!(probe.times(), [0, 0, 100], "{face:?}");
        assert_eq!(tier(&handle, GOLD).as_deref(), Some("gold"));
        finish(sent).await;
        assert_eq!(probe.times()[3..], [1_000, 1_000], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_goes_and_those_that_wait_go_on_without_it() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, with_gold(4));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let sent = sends(&client, 9, GOLD).await;
        at(&probe, 100).await;
        handle.reload(without_tiers()).unwrap();
        settle().await;
        assert_eq!(probe.times(), [0; 4], "{face:?}");
        assert_eq!(tier(&handle, GOLD), None);
        finish(sent).await;
        assert_eq!(
            probe.times()[4..],
            [1_000, 1_000, 2_000, 2_000, 3_000],
            "{face:?}"
        );
        at(&probe, 120_000).await;
        handle.sweep();
        assert!(handle.snapshot().bucket_of("/a", GOLD).is_none());
        // A later reload finds nothing of the tier that is gone, and it may come back.
        handle.reload(with_gold(3)).unwrap();
        let sent = sends(&client, 4, GOLD).await;
        assert_eq!(probe.times()[9..], [120_000; 3], "{face:?}");
        finish(sent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_changes_its_group_keeps_its_tenants_windows_and_tiers() {
    for face in WINDOWS {
        let probe = Probe::new();
        let grouped = |group| with_gold(4).group(group, Quota::unlimited(), ["/a"]);
        let layer = AnyLayer::new(face, grouped("one"));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = sends(&client, 3, GOLD).await;
        sent.extend(sends(&client, 4, "bucket").await);
        at(&probe, 100).await;
        handle.reload(grouped("two")).unwrap();
        sent.extend(sends(&client, 3, GOLD).await);
        assert_eq!(probe.times(), [0, 0, 0, 0, 0, 100], "{face:?}");
        finish(sent).await;
        assert_eq!(probe.times()[6..], [1_000; 4], "{face:?}");
        assert_eq!(tier(&handle, GOLD).as_deref(), Some("gold"));
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_in_a_tier_go_on_in_it_in_another_group() {
    for face in PERMITS {
        let probe = Probe::new();
        let grouped = |group| {
            let quotas = [("/a", Quota::concurrent(2))];
            let endpoints = endpoint_a(Quota::concurrent(1)).tier("gold", quotas);
            in_tiers(endpoints).group(group, Quota::unlimited(), ["/a"])
        };
        let layer = AnyLayer::new(face, grouped("one"));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let sent = burst(&client, 6, |_| of(GOLD, job("/a", ms(100)))).await;
        at(&probe, 50).await;
        handle.reload(grouped("two")).unwrap();
        finish(sent).await;
        assert_eq!(probe.times(), [0, 0, 100, 100, 200, 200], "{face:?}");
        assert_eq!(tier(&handle, GOLD).as_deref(), Some("gold"));
    }
}

/// What tenants of all tiers have sent counts where partitions are others.
#[tokio::test(start_paused = true)]
async fn another_rule_for_partitions_counts_the_tenants_of_every_tier() {
    for face in WINDOWS {
        let probe = Probe::new();
        let layer = AnyLayer::new(face, with_gold(4));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = sends(&client, 3, GOLD).await;
        sent.extend(sends(&client, 1, "bucket").await);
        at(&probe, 100).await;
        let endpoints = endpoint_a(per(2, 1_000))
            .tier("gold", [("/a", per(5, 1_000))])
            .partition_by_header("x-other")
            .tier_by(|head| (head.headers().get("x-key")? == GOLD).then_some("gold"));
        handle.reload(endpoints).unwrap();
        // Four have been sent.
        sent.extend(sends(&client, 2, GOLD).await);
        assert_eq!(probe.times(), [0, 0, 0, 0, 100], "{face:?}");
        finish(sent).await;
        assert_eq!(probe.times()[5..], [1_000], "{face:?}");
    }
}

#[test]
#[should_panic(expected = "tier \"gold\": expected `tier_by`, which says who is of it")]
fn a_reload_of_tiers_that_nobody_is_of_panics_and_changes_nothing() {
    let handle = throttle(with_gold(4)).handle();
    let endpoints = without_tiers().tier("gold", []);
    let reload = AssertUnwindSafe(|| handle.reload(endpoints));
    let reloaded = std::panic::catch_unwind(reload);
    // It was not begun, so another one is.
    handle.reload(with_gold(5)).unwrap();
    handle.set_tier_quota("gold", "/a", per(1, 1)).unwrap();
    std::panic::resume_unwind(reloaded.unwrap_err());
}

//! Tenants: what is known of one by its value, and the quotas of a tier, which hold across a change of it (L1) and
//! keep nothing (L11).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::support::*;
use proptest::prelude::*;
use tower_throttle::{BucketSnapshot, Endpoints, Handle, Quota, UnknownEndpoint};

const MINUTE: u64 = 60_000;

/// What the program knows of its tenants.
#[derive(Clone, Default)]
struct Customers(Arc<Mutex<HashMap<String, &'static str>>>);

impl Customers {
    fn put(&self, tenant: &str, tier: &'static str) {
        self.0.lock().unwrap().insert(tenant.to_owned(), tier);
    }

    fn remove(&self, tenant: &str) {
        self.0.lock().unwrap().remove(tenant);
    }

    /// Partitions by header, each of the tier that is kept here.
    fn in_tiers(&self, endpoints: Endpoints) -> Endpoints {
        let customers = self.clone();
        let endpoints = endpoints.partition_by_header("x-key");
        endpoints.tier_by(move |head| {
            let key = head.headers().get("x-key")?.to_str().ok()?;
            customers.0.lock().unwrap().get(key).copied()
        })
    }
}

fn of(tenant: &str, mut request: Req) -> Req {
    let value = tenant.parse().unwrap();
    request.headers_mut().insert("x-key", value);
    request
}

/// Sends so many at once, and leaves them alone.
async fn sends(client: &Client, n: usize, tenant: &str, path: &str) -> Vec<Sent> {
    burst(client, n, |_| of(tenant, get(path))).await
}

/// Sends so many that each work for a time.
async fn works(client: &Client, n: usize, tenant: &str, time: u64) -> Vec<Sent> {
    burst(client, n, |_| of(tenant, job("/a", ms(time)))).await
}

fn buckets(handle: &Handle) -> usize {
    handle.snapshot().buckets().count()
}

fn tier_of(handle: &Handle, tenant: &str) -> Option<String> {
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket_of("/a", tenant).unwrap();
    bucket.tier().map(str::to_owned)
}

/// /a: 5 a minute; for gold 10.
fn five_or_ten(customers: &Customers) -> Endpoints {
    let endpoints = endpoint_a(per(5, MINUTE)).tier("gold", [("/a", per(10, MINUTE))]);
    customers.in_tiers(endpoints)
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_found_by_its_value() {
    for face in FACES {
        let probe = Probe::new();
        let endpoints = endpoint_a(per(1, 100).concurrency(1))
            .overall(Quota::concurrent(5))
            .partition_by_header("x-key");
        let layer = AnyLayer::new(face, endpoints);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = works(&client, 3, "wonka", 100).await;
        sent.extend(works(&client, 1, "bucket", 100).await);
        at(&probe, 40).await;

        let snapshot = handle.snapshot();
        let bucket = snapshot.bucket_of("/a", "wonka").unwrap();
        assert_eq!(bucket.waiting(), 2, "{face:?}");
        assert_eq!(bucket.head().unwrap().waiting_for(), ms(40));
        assert_eq!(bucket.quota().concurrency_limit(), Some(1));
        let bucket = snapshot.bucket_of("/a", "bucket").unwrap();
        assert_eq!((bucket.waiting(), bucket.admitted()), (0, 1));
        // A `String` is as good, a template may be spelled otherwise, and wider scopes are there as well.
        let overall = snapshot.bucket_of(Endpoints::OVERALL, &"wonka".to_owned());
        assert_eq!(overall.unwrap().waiting(), 2);
        assert!(snapshot.bucket_of("//a/", "wonka").is_some());
        let names = snapshot.partition("wonka").map(BucketSnapshot::name);
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        assert_eq!(names, ["/a", "overall"]);

        assert!(snapshot.bucket_of("/a", "nobody").is_none());
        assert!(snapshot.bucket_of("/b", "wonka").is_none());
        assert_eq!(snapshot.partition(&4711).count(), 0);
        assert!(!format!("{snapshot:?}").contains("wonka"));
        finish(sent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_value_of_a_closure_is_asked_for_as_what_it_returns() {
    #[derive(Clone, Hash)]
    struct Tenant(u64);

    let probe = Probe::new();
    let endpoints =
        endpoint_a(per(1, 100)).partition_by(|head| head.extensions().get::<Tenant>().cloned());
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let (client, handle) = (layer.client(&probe), layer.handle());
    let sent = burst(&client, 2, |_| {
        let mut request = get("/a");
        request.extensions_mut().insert(Tenant(7));
        request
    });
    let sent = sent.await;
    let snapshot = handle.snapshot();
    assert_eq!(snapshot.bucket_of("/a", &Tenant(7)).unwrap().waiting(), 1);
    assert!(snapshot.bucket_of("/a", &Tenant(8)).is_none());
    finish(sent).await;
}

#[tokio::test(start_paused = true)]
async fn without_partitions_there_are_no_tenants() {
    let handle = layer_a(Face::Throttle, per(1, 100)).handle();
    assert_eq!(handle.snapshot().partition("wonka").count(), 0);
    assert!(handle.snapshot().bucket_of("/a", "wonka").is_none());
}

#[tokio::test(start_paused = true)]
async fn each_tier_has_its_quotas_and_all_share_the_total() {
    for face in WINDOWS {
        let probe = Probe::new();
        let customers = Customers::default();
        customers.put("wonka", "gold");
        let endpoints = Endpoints::new()
            .route("/a", per(1, 100))
            .route("/b", Quota::unlimited())
            .overall(per(2, 100))
            .across_partitions(per(100, 100))
            .tier(
                "gold",
                [("/a", per(3, 100)), (Endpoints::OVERALL, per(4, 100))],
            )
            .tier("none listed", []);
        let layer = AnyLayer::new(face, customers.in_tiers(endpoints));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let gold = [
            sends(&client, 4, "wonka", "/a").await,
            sends(&client, 2, "wonka", "/b").await,
        ];
        assert_eq!(probe.times_of("/a"), [0; 3], "{face:?}");
        assert_eq!(probe.times_of("/b"), [0]);
        let free = [
            sends(&client, 2, "bucket", "/a").await,
            sends(&client, 2, "bucket", "/b").await,
        ];
        finish(gold.into_iter().chain(free).flatten().collect()).await;
        assert_eq!(probe.times_of("/a"), [0, 0, 0, 0, 100, 100], "{face:?}");
        assert_eq!(probe.times_of("/b"), [0, 0, 100, 100]);

        assert_eq!(tier_of(&handle, "wonka").as_deref(), Some("gold"));
        assert_eq!(tier_of(&handle, "bucket"), None);
        let snapshot = handle.snapshot();
        assert_eq!(
            *snapshot.bucket_of("/a", "wonka").unwrap().quota(),
            per(3, 100)
        );
        // What a tier does not list stays as it is.
        assert_eq!(snapshot.bucket_of("/b", "wonka").unwrap().tier(), None);
    }
}

/// L1: a window holds across a change of the tier.
#[tokio::test(start_paused = true)]
async fn what_a_tenant_has_sent_counts_in_its_new_tier() {
    for face in WINDOWS {
        let (probe, customers) = (Probe::new(), Customers::default());
        let layer = AnyLayer::new(face, five_or_ten(&customers));
        let client = layer.client(&probe);
        let mut sent = sends(&client, 5, "wonka", "/a").await;
        at(&probe, 1_000).await;
        customers.put("wonka", "gold");
        sent.extend(sends(&client, 8, "wonka", "/a").await);
        at(&probe, MINUTE - 1).await;
        assert_eq!(
            probe.times(),
            [vec![0; 5], vec![1_000; 5]].concat(),
            "{face:?}"
        );
        at(&probe, MINUTE).await;
        assert_eq!(probe.times()[10..], [MINUTE; 3], "{face:?}");

        // Down again: eight have been sent in the last minute, three of which are left then.
        customers.remove("wonka");
        sent.extend(sends(&client, 3, "wonka", "/a").await);
        finish(sent).await;
        let then = MINUTE + 1_000;
        assert_eq!(probe.times()[13..], [then, then, 2 * MINUTE], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn permits_are_held_across_a_change_of_the_tier() {
    for face in PERMITS {
        let (probe, customers) = (Probe::new(), Customers::default());
        let endpoints = endpoint_a(Quota::concurrent(1));
        let endpoints = endpoints.tier("gold", [("/a", Quota::concurrent(3))]);
        let layer = AnyLayer::new(face, customers.in_tiers(endpoints));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = works(&client, 4, "wonka", 100).await;
        at(&probe, 10).await;
        assert_eq!(probe.times(), [0]);
        // The next request is what tells. Those that wait go first, in their order.
        customers.put("wonka", "gold");
        sent.extend(works(&client, 1, "wonka", 100).await);
        assert_eq!(probe.times(), [0, 10, 10], "{face:?}");
        assert_eq!(gauge_of(&handle, "wonka"), (2, 3));
        // And down again: nothing is taken away, and nobody goes until there is room.
        customers.remove("wonka");
        sent.extend(works(&client, 1, "wonka", 100).await);
        finish(sent).await;
        assert_eq!(probe.times(), [0, 10, 10, 110, 210, 310], "{face:?}");
        assert_eq!(gauge_of(&handle, "wonka"), (0, 0));
    }
}

fn gauge_of(handle: &Handle, tenant: &str) -> (usize, usize) {
    let snapshot = handle.snapshot();
    let bucket = snapshot.bucket_of("/a", tenant).unwrap();
    (bucket.waiting(), bucket.in_flight())
}

#[tokio::test(start_paused = true)]
async fn the_quota_of_a_tier_is_set_at_once_for_all_of_it() {
    for face in WINDOWS {
        let (probe, customers) = (Probe::new(), Customers::default());
        for tenant in ["wonka", "salt"] {
            customers.put(tenant, "gold");
        }
        let layer = AnyLayer::new(face, five_or_ten(&customers));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut sent = Vec::new();
        for tenant in ["wonka", "salt", "bucket"] {
            sent.extend(sends(&client, 12, tenant, "/a").await);
        }
        assert_eq!(probe.times(), [0; 25], "{face:?}");
        at(&probe, 10).await;
        handle
            .set_tier_quota("gold", "/a", per(11, MINUTE))
            .unwrap();
        settle().await;
        assert_eq!(probe.times()[25..], [10; 2], "{face:?}");
        // Of those of no tier, and of no others.
        handle.set_quota("/a", per(8, MINUTE)).unwrap();
        settle().await;
        assert_eq!(probe.times()[27..], [10; 3], "{face:?}");
        finish(sent).await;
    }
}

#[test]
fn what_is_no_tier_is_an_error_that_says_which_there_are() {
    let endpoints = five_or_ten(&Customers::default()).overall(per(1, 1));
    let handle = throttle(endpoints.tier("silver", [])).handle();
    let set = |tier, endpoint| {
        let error = handle.set_tier_quota(tier, endpoint, per(1, 1));
        error.map_err(|error: UnknownEndpoint| error.to_string())
    };
    let expect = |text: &str| Err(text.to_owned());
    let unknown = r#"there is no tier "brass": expected "gold" or "silver""#;
    assert_eq!(set("brass", "/a"), expect(unknown));
    let unlisted = r#"there is no endpoint "overall": expected "/a""#;
    assert_eq!(set("gold", "overall"), expect(unlisted));
    assert_eq!(set("gold", "/a/"), Ok(()));
    assert!(
        set("gold", "/b")
            .unwrap_err()
            .contains(r#"no endpoint "/b""#)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_of_an_unknown_tier_is_an_error_and_not_sent() {
    let (probe, customers) = (Probe::new(), Customers::default());
    customers.put("wonka", "brass");
    let layer = AnyLayer::new(Face::Throttle, five_or_ten(&customers));
    let error = send(layer.client(&probe), of("wonka", get("/a"))).await;
    let error = error.unwrap_err().downcast::<UnknownEndpoint>().unwrap();
    assert_eq!(error.endpoint(), "brass");
    assert_eq!(
        error.to_string(),
        r#"there is no tier "brass": expected "gold""#
    );
    assert!(probe.times().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_for_all_tiers() {
    let (probe, customers) = (Probe::new(), Customers::default());
    customers.put("wonka", "gold");
    let layer = AnyLayer::new(Face::Throttle, five_or_ten(&customers));
    let (client, handle) = (layer.client(&probe), layer.handle());
    handle.pause("/a", ms(500)).unwrap();
    let mut sent = sends(&client, 1, "wonka", "/a").await;
    sent.extend(sends(&client, 1, "bucket", "/a").await);
    at(&probe, 300).await;
    for tenant in ["wonka", "bucket"] {
        let snapshot = handle.snapshot();
        let bucket = snapshot.bucket_of("/a", tenant).unwrap();
        assert_eq!(bucket.paused_for(), Some(ms(200)));
    }
    handle.resume("/a").unwrap();
    finish(sent).await;
    assert_eq!(probe.times(), [300, 300]);
}

/// L11: a change of the tier makes no bucket, and idle ones are forgotten whatever their tier.
#[tokio::test(start_paused = true)]
async fn tenants_that_change_their_tier_leave_nothing_behind() {
    for face in FACES {
        let (probe, customers) = (Probe::new(), Customers::default());
        let layer = AnyLayer::new(face, five_or_ten(&customers));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let before = buckets(&handle);
        for round in 0..4 {
            for tenant in (0..50).map(|n| format!("tenant {n}")) {
                if round % 2 == 0 {
                    customers.put(&tenant, "gold");
                } else {
                    customers.remove(&tenant);
                }
                finish(sends(&client, 1, &tenant, "/a").await).await;
            }
            // Its own, and the overall one.
            assert_eq!(buckets(&handle), before + 100, "{face:?}");
        }
        at(&probe, 2 * MINUTE).await;
        handle.sweep();
        assert_eq!(buckets(&handle), before, "{face:?}");
    }
}

/// L1, L11: a tenant is not forgotten while what it has sent could count in any tier.
#[tokio::test(start_paused = true)]
async fn a_tenant_is_kept_for_the_longest_window_of_any_tier() {
    for face in WINDOWS {
        let (probe, customers) = (Probe::new(), Customers::default());
        let endpoints = endpoint_a(per(5, 100)).tier("gold", [("/a", per(6, 10 * MINUTE))]);
        let layer = AnyLayer::new(face, customers.in_tiers(endpoints));
        let (client, handle) = (layer.client(&probe), layer.handle());
        finish(sends(&client, 5, "wonka", "/a").await).await;
        at(&probe, 9 * MINUTE).await;
        handle.sweep();
        customers.put("wonka", "gold");
        let sent = sends(&client, 2, "wonka", "/a").await;
        assert_eq!(probe.times()[5..], [9 * MINUTE], "{face:?}");
        finish(sent).await;
        assert_eq!(probe.times()[6..], [10 * MINUTE], "{face:?}");
        at(&probe, 21 * MINUTE).await;
        handle.sweep();
        assert!(handle.snapshot().bucket_of("/a", "wonka").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_beyond_the_most_are_of_no_tier() {
    let (probe, customers) = (Probe::new(), Customers::default());
    let layer = AnyLayer::new(Face::Throttle, five_or_ten(&customers)).max_keys(2);
    let (client, handle) = (layer.client(&probe), layer.handle());
    // Its endpoint's and the overall one are two.
    finish(sends(&client, 1, "first", "/a").await).await;
    for tenant in ["wonka", "salt"] {
        customers.put(tenant, "gold");
        finish(sends(&client, 1, tenant, "/a").await).await;
        assert!(handle.snapshot().bucket_of("/a", tenant).is_none());
    }
    let snapshot = handle.snapshot();
    assert!(snapshot.buckets().all(|bucket| bucket.tier().is_none()));
}

/// L1: the window that holds is that of the tier which the tenant has when a request is sent.
#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    Tier(usize, Option<&'static str>),
    Wait(u64),
}

const TIERS: [(Option<&str>, usize, u64); 3] = [
    (None, 3, 1_000),
    (Some("gold"), 7, 1_000),
    (Some("slow"), 4, 3_000),
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3_usize, 1..6_usize).prop_map(|(tenant, n)| Step::Send(tenant, n)),
        2 => (0..3_usize, 0..TIERS.len()).prop_map(|(tenant, tier)| Step::Tier(tenant, TIERS[tier].0)),
        3 => (0..1_500_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn windows_hold_however_tenants_change_their_tiers(steps in steps()) {
        paused(async move {
            let (probe, customers) = (Probe::new(), Customers::default());
            let quota = |at: usize| per(u32::try_from(TIERS[at].1).unwrap(), TIERS[at].2);
            let endpoints = endpoint_a(quota(0))
                .tier("gold", [("/a", quota(1))])
                .tier("slow", [("/a", quota(2))]);
            let layer = AnyLayer::new(Face::Throttle, customers.in_tiers(endpoints));
            let (client, handle) = (layer.client(&probe), layer.handle());
            let mut sent = Vec::new();
            let mut tiers = [0_usize; 3];
            let mut count = 0;
            // When each tenant's bucket went over to a tier.
            let mut changes: Vec<Vec<(u64, usize)>> = vec![vec![(0, 0)]; 3];
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Send(tenant, n) => {
                        let tier = tiers[tenant];
                        if changes[tenant].last().unwrap().1 != tier {
                            changes[tenant].push((now, tier));
                        }
                        let name = tenant.to_string();
                        for _ in 0..n {
                            // The work's number says whose it is.
                            let work = Work::head(ms(0)).id(tenant).of("/a");
                            sent.push(tokio::spawn(send(client.clone(), of(&name, work))));
                            settle().await;
                        }
                        count += n;
                    }
                    Step::Tier(tenant, tier) => {
                        let name = tenant.to_string();
                        tiers[tenant] = TIERS.iter().position(|of| of.0 == tier).unwrap();
                        match tier {
                            Some(tier) => customers.put(&name, tier),
                            None => customers.remove(&name),
                        }
                    }
                    Step::Wait(time) => {
                        now += time;
                        at(&probe, now).await;
                        handle.sweep();
                    }
                }
            }
            finish(sent).await;
            let log = probe.log();
            assert_eq!(log.calls.len(), count);
            for (tenant, changes) in changes.iter().enumerate() {
                let calls = log.calls.iter().filter(|call| call.id == tenant);
                let times: Vec<_> = calls.map(|call| probe.millis(call.at)).collect();
                for (i, &at) in times.iter().enumerate() {
                    // Of changes in the same instant, the call went out by one of them.
                    let fits = |&&(_, tier): &&(u64, usize)| {
                        let (_, n, period) = TIERS[tier];
                        let earlier = times[..=i].iter().filter(|&&other| other + period > at);
                        earlier.count() <= n
                    };
                    let before = changes.iter().rposition(|&(since, _)| since < at).unwrap_or(0);
                    let until = changes.iter().rposition(|&(since, _)| since <= at).unwrap_or(0);
                    assert!(
                        changes[before..=until].iter().any(|change| fits(&change)),
                        "tenant {tenant} at {at}: {times:?}, {changes:?}"
                    );
                }
            }
        });
    }
}

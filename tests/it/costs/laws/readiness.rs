//! Places that were given and not used, with costs: inner services that are not ready, panic, fail, and calls that are
//! dropped on the way.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;
use tower_throttle::{Cost, Endpoints, Terms};

use super::{
    ledger::{Limit, OUTPUT, UNITS},
    schedule::{limit, narrow},
};
use crate::support::{AnyLayer, End, Face, Probe, Work, cases, ms, paused, send};

#[derive(Clone, Debug)]
struct Ask {
    at: u64,
    endpoint: usize,
    costs: [u64; 3],
    permits: usize,
    work: u64,
    end: End,
    gives_up_after: Option<u64>,
}

fn ask() -> impl Strategy<Value = Ask> {
    let end = prop_oneof![
        6 => Just(End::Answer),
        1 => Just(End::Error),
        1 => Just(End::PanicInCall),
        1 => Just(End::PanicInFuture),
    ];
    (
        prop_oneof![1 => Just(0u64), 2 => 0u64..200],
        0usize..2,
        [0u64..3, 0u64..60, 0u64..60],
        0usize..3,
        0u64..60,
        end,
        proptest::option::weighted(0.3, 0u64..100),
    )
        .prop_map(
            |(at, endpoint, costs, permits, work, end, gives_up_after)| Ask {
                at,
                endpoint,
                costs,
                permits,
                work,
                end,
                gives_up_after,
            },
        )
}

impl Ask {
    /// The limits that it passes.
    fn limits<'a>(&self, endpoints: &'a [Limit], overall: &'a Limit) -> [&'a Limit; 2] {
        [&endpoints[self.endpoint], overall]
    }
}

proptest! {
    #![proptest_config(cases(100))]

    /// L5, L13, L14: they break no window, and leak nothing.
    #[test]
    fn places_that_were_not_used_go_back(
        mut endpoints in vec(narrow(), 2),
        mut overall in limit(),
        mut asks in vec(ask(), 1..30),
        readiness in vec(prop_oneof![Just(0u64), 0u64..40], 0..40),
        rps in any::<bool>(),
    ) {
        for limit in endpoints.iter_mut().chain([&mut overall]) {
            (limit.grace, limit.until_head) = (0, false);
            if rps {
                limit.permits = None;
            }
        }
        for ask in &mut asks {
            for limit in ask.clone().limits(&endpoints, &overall) {
                for &(unit, n, _) in &limit.windows {
                    ask.costs[unit] = ask.costs[unit].min(n);
                }
                ask.permits = ask.permits.min(limit.permits.unwrap_or(usize::MAX));
            }
        }
        paused(async {
            let probe = Probe::new();
            probe.log().readiness = readiness.into_iter().map(ms).collect();
            let start = probe.start();
            let config = Endpoints::new()
                .route("/a", endpoints[0].quota())
                .route("/b", endpoints[1].quota())
                .overall(overall.quota());
            let layer = AnyLayer::new(if rps { Face::Rps } else { Face::Throttle }, config);
            let client = layer.client(&probe);
            let tasks: Vec<_> = asks.iter().cloned().enumerate().map(|(id, ask)| {
                let client = client.clone();
                tokio::spawn(async move {
                    tokio::time::sleep_until(start + ms(ask.at)).await;
                    let mut cost = Cost::new().permits(ask.permits);
                    for (unit, n) in UNITS.into_iter().zip(ask.costs) {
                        cost = cost.of(unit, n);
                    }
                    let mut request = Work::head(ms(ask.work)).id(id).end(ask.end).of(["/a", "/b"][ask.endpoint]);
                    request.extensions_mut().insert(Terms::new().cost(cost));
                    let time = ask.gives_up_after.map_or(Duration::from_secs(3600), ms);
                    tokio::time::timeout(time, send(client, request)).await.is_ok()
                })
            }).collect();
            for (task, ask) in tasks.into_iter().zip(&asks) {
                match task.await {
                    Ok(came) => assert!(came || ask.gives_up_after.is_some(), "it waits for ever"),
                    Err(error) => assert!(error.is_panic() && ask.end != End::Answer),
                }
            }
            let calls = probe.log().calls.clone();
            for (i, call) in calls.iter().enumerate() {
                let asked = &asks[call.id];
                for (scope, limit) in asked.limits(&endpoints, &overall).into_iter().enumerate() {
                    let among = || calls[..=i].iter().filter(|other| scope == 1 || other.path == call.path);
                    for &(unit, n, period) in &limit.windows {
                        let counts = |from: Instant| call.at < from + ms(period + limit.margin);
                        let used: u64 = among()
                            .filter(|other| counts(other.at) || unit == OUTPUT && other.released.is_none_or(counts))
                            .map(|other| asks[other.id].costs[unit])
                            .sum();
                        assert!(asked.costs[unit] == 0 || used <= n, "{used} of {n} of unit {unit} with {i}: {calls:?}");
                    }
                    if let Some(n) = limit.permits {
                        let in_flight = |other: &&crate::support::Call| {
                            other.released.is_none_or(|end| end > call.at) || other.id == call.id
                        };
                        let held: usize = among().filter(in_flight).map(|other| asks[other.id].permits).sum();
                        assert!(asked.permits == 0 || held <= n, "{held} of {n} with {i}: {calls:?}");
                    }
                }
            }
            // L5
            let limits = endpoints.iter().chain([&overall]);
            let longest = limits.flat_map(|limit| (0..3).filter_map(|unit| limit.longest(unit))).max();
            tokio::time::sleep(ms(longest.unwrap_or(0))).await;
            for bucket in layer.handle().snapshot().buckets() {
                assert_eq!((bucket.waiting(), bucket.in_flight()), (0, 0), "{bucket:?}");
                assert!(bucket.windows().iter().all(|window| window.used() == 0), "{bucket:?}");
            }
        });
    }
}

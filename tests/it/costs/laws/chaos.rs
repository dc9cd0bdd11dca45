//! Units come and go with new quotas, while requests wait, work and are settled: nothing panics, hangs or leaks.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tower::{Service, ServiceExt};
use tower_throttle::{Cost, Endpoints, Quota, Refused, RefusedReason, Settlement, Terms, Unit};

use super::{
    ledger::{GROUP, Limit, OVERALL, UNITS, name},
    schedule::limit,
};
use crate::support::{AnyLayer, Face, Probe, Step, Work, cases, ms, paused, read};

#[derive(Clone, Debug)]
struct Ask {
    at: u64,
    endpoint: usize,
    costs: [Option<u64>; 3],
    permits: Option<usize>,
    work: u64,
    body: Option<u64>,
    settled: Vec<(u64, u64)>,
    gives_up_after: Option<u64>,
}

fn ask() -> impl Strategy<Value = Ask> {
    let cost = || proptest::option::of(prop_oneof![6 => 0u64..50, 1 => Just(u64::MAX)]);
    (
        (
            0u64..200,
            0usize..2,
            proptest::option::of(0u64..4),
            cost(),
            cost(),
        ),
        proptest::option::weighted(0.2, 0usize..4),
        (0u64..60, proptest::option::of(0u64..40)),
        vec(
            (0u64..100, prop_oneof![4 => 0u64..80, 1 => Just(u64::MAX)]),
            0..3,
        ),
        proptest::option::weighted(0.2, 0u64..150),
    )
        .prop_map(
            |(
                (at, endpoint, requests, tokens, output),
                permits,
                (work, body),
                settled,
                gives_up_after,
            )| Ask {
                at,
                endpoint,
                costs: [requests, tokens, output],
                permits,
                work,
                body,
                settled,
                gives_up_after,
            },
        )
}

async fn perform(ask: Ask, mut client: crate::support::Client) {
    let mut cost = Cost::new();
    for (unit, n) in UNITS.into_iter().zip(ask.costs) {
        if let Some(n) = n {
            cost = cost.of(unit, n);
        }
    }
    if let Some(permits) = ask.permits {
        cost = cost.permits(permits);
    }
    let mut body = Vec::new();
    if let Some(time) = ask.body {
        body = vec![Step::Data("x"), Step::Wait(ms(time)), Step::Data("y")];
    }
    let mut request = Work::head(ms(ask.work))
        .body(body)
        .of(["/a", "/b"][ask.endpoint]);
    request.extensions_mut().insert(Terms::new().cost(cost));
    let answer = match client.ready().await.unwrap().call(request).await {
        Ok(answer) => answer,
        Err(error) => {
            let refused = Refused::in_error(&error).expect("nothing else fails");
            assert_eq!(refused.reason(), RefusedReason::NeverFits);
            return;
        }
    };
    let (parts, body) = answer.into_parts();
    let settlement = parts.extensions.get::<Settlement>().cloned();
    drop(parts);
    let read = tokio::spawn(read(body));
    for (wait, n) in ask.settled {
        tokio::time::sleep(ms(wait)).await;
        if let Some(settlement) = &settlement {
            _ = settlement.try_settle(Cost::new().of(Unit::TOKENS, n).of(Unit::OUTPUT_TOKENS, n));
        }
    }
    drop(settlement);
    read.await.unwrap().unwrap();
}

proptest! {
    #![proptest_config(cases(100))]

    /// L5, L14: whatever is counted from one moment to the next.
    #[test]
    fn units_come_and_go(
        first in vec(limit(), 4),
        asks in vec(ask(), 1..30),
        mut quotas in vec((0u64..250, 0usize..4, prop_oneof![3 => limit(), 1 => Just(Limit::default())]), 0..8),
        rps in any::<bool>(),
    ) {
        quotas.sort_by_key(|quota| quota.0);
        paused(async {
            let probe = Probe::new();
            let start = probe.start();
            let config = Endpoints::new()
                .route("/a", first[0].quota())
                .route("/b", first[1].quota())
                .group("group", first[2].quota(), ["/a", "/b"])
                .overall(first[3].quota());
            let layer = AnyLayer::new(if rps { Face::Rps } else { Face::Throttle }, config);
            let client = layer.client(&probe);
            let tasks: Vec<_> = asks.into_iter().map(|ask| {
                let client = client.clone();
                tokio::spawn(async move {
                    tokio::time::sleep_until(start + ms(ask.at)).await;
                    let time = ask.gives_up_after.map_or(Duration::from_secs(3600), ms);
                    let may_give_up = ask.gives_up_after.is_some();
                    let came = tokio::time::timeout(time, perform(ask, client)).await;
                    assert!(came.is_ok() || may_give_up, "it waits for ever");
                })
            }).collect();
            let scopes = [0, 1, GROUP, OVERALL];
            for (at, scope, limit) in quotas {
                tokio::time::sleep_until(start + ms(at)).await;
                layer.handle().set_quota(name(scopes[scope]), limit.quota()).unwrap();
            }
            for task in tasks {
                task.await.unwrap();
            }
            tokio::time::sleep(ms(1000)).await;
            for bucket in layer.handle().snapshot().buckets() {
                assert_eq!((bucket.waiting(), bucket.in_flight()), (0, 0), "{bucket:?}");
                assert!(bucket.windows().iter().all(|window| window.used() == 0), "{bucket:?}");
            }
            // And with new quotas it goes on as if nothing had been.
            for scope in scopes {
                let quota = Quota::per(2, ms(100)).units(Unit::TOKENS, 10, ms(100));
                layer.handle().set_quota(name(scope), quota).unwrap();
            }
            tokio::time::sleep(ms(100)).await;
            let begin = tokio::time::Instant::now();
            let mut sent = Vec::new();
            for _ in 0..3 {
                let mut request = Work::head(ms(0)).of("/a");
                request.extensions_mut().insert(Terms::new().cost(Cost::new().of(Unit::TOKENS, 5)));
                crate::support::send(client.clone(), request).await.unwrap();
                sent.push(begin.elapsed());
            }
            assert_eq!(sent, [ms(0), ms(0), ms(100)]);
        });
    }
}

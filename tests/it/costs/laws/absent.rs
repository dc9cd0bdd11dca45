//! L13 with costs: a future that is kept and not polled delays the others once, by at most 10 ms.

use proptest::{collection::vec, prelude::*};
use tokio_test::assert_pending;
use tower_throttle::{Cost, Endpoints, Quota, Terms, Unit};

use crate::support::{
    AnyLayer, Face, Probe, Req, assert_idle, at, call, cases, job, ms, paused, send,
};

fn request(path: &str, tokens: u64) -> Req {
    let mut request = job(path, ms(0));
    let cost = Cost::new().of(Unit::TOKENS, tokens);
    request.extensions_mut().insert(Terms::new().cost(cost));
    request
}

proptest! {
    #![proptest_config(cases(60))]

    /// L13, L14: with costs, too.
    #[test]
    fn who_is_not_polled_delays_the_others_once(
        kept in 1u64..=100,
        others in vec(1u64..=100, 1..8),
        rps in any::<bool>(),
        wide in any::<bool>(),
        polled_at in proptest::option::of(1020u64..4000),
    ) {
        paused(async {
            let probe = Probe::new();
            let quota = Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
            let endpoints = if wide {
                Endpoints::new().route("/a", Quota::unlimited()).route("/b", Quota::unlimited()).overall(quota)
            } else {
                Endpoints::new().route("/a", quota)
            };
            let layer = AnyLayer::new(if rps { Face::Rps } else { Face::Throttle }, endpoints);
            let mut client = layer.client(&probe);
            let mut first = call(&mut client, request("/a", 100));
            assert!(first.poll().is_ready());
            let mut absent = call(&mut client, request("/a", kept));
            assert_pending!(absent.poll());
            let path = if wide { "/b" } else { "/a" };
            let mut tasks = Vec::new();
            for n in &others {
                tasks.push(tokio::spawn(send(client.clone(), request(path, *n))));
                crate::support::settle().await;
            }
            if let Some(time) = polled_at {
                at(&probe, time).await;
                // It goes now if there is room, or keeps its age; it is not polled again.
                _ = absent.poll();
            }
            // With nobody absent the others go so, each as soon as it fits, in order.
            let mut sent: Vec<(u64, u64)> = Vec::new();
            let mut now = 1000;
            for &n in &others {
                while sent.iter().filter(|(at, _)| now < at + 1000).map(|(_, n)| n).sum::<u64>() + n > 100 {
                    now += 1;
                }
                sent.push((now, n));
            }
            if polled_at.is_none() {
                for task in tasks {
                    tokio::time::timeout(ms(86_400_000), task).await.expect("it waits for ever").unwrap().unwrap();
                }
                let times: Vec<_> = probe.times()[1..].to_vec();
                let expected: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
                // Once: nobody is ever late by more than that, and at one endpoint all by the same.
                let late: Vec<_> = times.iter().zip(&expected).map(|(came, at)| came - at).collect();
                assert!(late.iter().all(|late| *late <= 10), "{late:?}: {times:?}, {expected:?}");
                assert!(wide || late.iter().all(|late| *late == 10), "{late:?}");
                tokio::time::sleep(ms(20)).await;
                drop(absent);
            } else {
                drop(absent);
                for task in tasks {
                    tokio::time::timeout(ms(86_400_000), task).await.expect("it waits for ever").unwrap().unwrap();
                }
            }
            assert_idle(&layer.handle());
            tokio::time::sleep(ms(1000)).await;
            for bucket in layer.handle().snapshot().buckets() {
                assert!(bucket.windows().iter().all(|window| window.used() == 0), "{bucket:?}");
            }
        });
    }
}

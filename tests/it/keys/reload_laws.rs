//! `Handle::reload` in random schedules: nobody who waits is lost or passed, and no window is laxer.

use std::collections::BTreeMap;

use crate::support::*;
use proptest::prelude::*;
use tower::{Service, ServiceExt};
use tower_throttle::{BoxError, Cost, Endpoints, Flow, Priority, Quota, Settlement, Terms, Unit};

/// What a request that is spawned does, and when.
#[derive(Clone, Debug)]
struct Job {
    after: u64,
    path: usize,
    key: usize,
    works: u64,
    dropped_after: Option<u64>,
    asks: Option<Asks>,
}

/// What a request asks for, where not all of them ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asks {
    priority: Priority,
    flow: Option<u8>,
    tokens: u64,
    /// What the server counts in the end.
    settled: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Send(Job),
    Reload(usize),
}

const PATHS: [&str; 2] = ["/a", "/b"];
const KEYS: [&str; 3] = ["1", "2", "3"];

fn op() -> impl Strategy<Value = Op> {
    op_that_asks(Just(None))
}

fn asks() -> impl Strategy<Value = Option<Asks>> {
    let priority = prop_oneof![
        Just(Priority::HIGH),
        Just(Priority::NORMAL),
        Just(Priority::LOW)
    ];
    let flow = prop::option::of(0..2_u8);
    (priority, flow, 0..9_u64, 0..9_u64).prop_map(|(priority, flow, tokens, settled)| {
        Some(Asks {
            priority,
            flow,
            tokens,
            settled,
        })
    })
}

fn op_that_asks(asks: impl Strategy<Value = Option<Asks>>) -> impl Strategy<Value = Op> {
    let job = (0..120_u64, 0..2_usize, 0..3_usize, 0..400_u64);
    let dropped = prop_oneof![3 => Just(None), 1 => (0..500_u64).prop_map(Some)];
    let job = (job, dropped, asks).prop_map(|((after, path, key, works), dropped_after, asks)| {
        Op::Send(Job {
            after,
            path,
            key,
            works,
            dropped_after,
            asks,
        })
    });
    prop_oneof![6 => job, 1 => (0..6_usize).prop_map(Op::Reload)]
}

fn request(id: usize, job: &Job) -> Req {
    let mut request = Work::head(ms(job.works)).id(id).of(PATHS[job.path]);
    let key = http::HeaderValue::from_static(KEYS[job.key]);
    request.headers_mut().insert("x-key", key);
    if let Some(asks) = job.asks {
        let mut terms = Terms::new()
            .priority(asks.priority)
            .cost(Cost::new().of(Unit::TOKENS, asks.tokens));
        if let Some(flow) = asks.flow {
            terms = terms.flow(Flow::new(flow));
        }
        request.extensions_mut().insert(terms);
    }
    request
}

/// Sends a request, settles what it has cost, and reads the body.
async fn send_and_settle(
    mut client: Client,
    request: Req,
    asks: Option<Asks>,
) -> Result<(), BoxError> {
    let answer = client.ready().await?.call(request).await?;
    let settlement = answer.extensions().get::<Settlement>();
    if let (Some(settlement), Some(asks)) = (settlement, asks) {
        settlement.settle(Cost::new().of(Unit::TOKENS, asks.settled));
    }
    read(answer.into_body()).await
}

/// To which endpoints, and after how many calls.
struct Reloaded {
    to: usize,
    calls: usize,
}

/// Sends what a schedule says, and returns when all have ended. Fails if somebody waits for ever.
async fn run(
    layer: &AnyLayer,
    probe: &Probe,
    ops: &[Op],
    endpoints: Option<&dyn Fn(usize) -> Endpoints>,
) -> Vec<Reloaded> {
    let client = layer.client(probe);
    let mut sent = Vec::new();
    let mut reloads = Vec::new();
    for (id, op) in ops.iter().enumerate() {
        match op {
            Op::Reload(n) => {
                if let Some(endpoints) = endpoints {
                    let calls = probe.log().calls.len();
                    layer.handle().reload(endpoints(*n)).unwrap();
                    reloads.push(Reloaded { to: *n, calls });
                    // Who is admitted by these endpoints goes out by them.
                    settle().await;
                }
            }
            Op::Send(job) => {
                tokio::time::sleep(ms(job.after)).await;
                let answer = send_and_settle(client.clone(), request(id, job), job.asks);
                let dropped = job.dropped_after;
                sent.push(tokio::spawn(async move {
                    match dropped {
                        None => answer.await,
                        Some(after) => {
                            drop(tokio::time::timeout(ms(after), answer).await);
                            Ok(())
                        }
                    }
                }));
                settle().await;
            }
        }
    }
    finish(sent).await;
    reloads
}

/// No window of `millis` has more than `n` of these.
fn holds(times: &[u64], n: usize, millis: u64) {
    let mut times = times.to_vec();
    times.sort_unstable();
    for some in times.windows(n + 1) {
        assert!(
            some[n] - some[0] >= millis,
            "{times:?}: more than {n} in {millis} ms"
        );
    }
}

/// The instants of the calls of a path that are for a key, or for any.
fn times(probe: &Probe, ops: &[Op], path: usize, key: Option<usize>) -> Vec<u64> {
    let log = probe.log();
    let of = |call: &&Call| {
        let Op::Send(job) = &ops[call.id] else {
            return false;
        };
        job.path == path && key.is_none_or(|key| job.key == key)
    };
    log.calls
        .iter()
        .filter(of)
        .map(|call| probe.millis(call.at))
        .collect()
}

/// In one of several groups, or in none.
fn in_group(n: usize) -> Endpoints {
    in_group_with(n, per(3, 500).concurrency(2))
}

fn in_group_with(n: usize, a: Quota) -> Endpoints {
    let endpoints = Endpoints::new().route("/a", a).route("/b", per(2, 300));
    match n {
        0 | 1 => endpoints,
        2 => endpoints.group("g", per(5, 500), ["/a", "/b"]),
        3 => endpoints.group("c", Quota::concurrent(2), ["/a"]),
        4 => endpoints
            .overall(per(6, 500))
            .across_partitions(per(7, 500)),
        _ => endpoints
            .group("h", per(4, 900), ["/b"])
            .across_partitions(per(9, 500)),
    }
}

/// The scopes of `in_group(n)` whose windows have one quota wherever they are there: their paths and windows.
fn wider_scopes(n: usize) -> &'static [(&'static str, &'static [usize], usize, u64)] {
    match n {
        2 => &[("g", &[0, 1], 5, 500)],
        5 => &[("h", &[1], 4, 900)],
        _ => &[],
    }
}

fn job_of(ops: &[Op], id: usize) -> &Job {
    match &ops[id] {
        Op::Send(job) => job,
        Op::Reload(_) => panic!("{id} is no request"),
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn windows_and_permits_hold_whatever_group_a_route_is_in(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        paused(async {
            let probe = Probe::new();
            let layer = AnyLayer::new(Face::Throttle, in_group(0));
            run(&layer, &probe, &ops, Some(&in_group)).await;
            holds(&times(&probe, &ops, 0, None), 3, 500);
            holds(&times(&probe, &ops, 1, None), 2, 300);
            let log = probe.log();
            let mut changes: Vec<_> = log
                .calls
                .iter()
                .filter(|call| call.path == "/a")
                .flat_map(|call| [(call.released.unwrap(), -1), (call.at, 1)])
                .collect();
            changes.sort_unstable();
            let mut in_flight = 0;
            for (_, change) in changes {
                in_flight += change;
                assert!(in_flight <= 2);
            }
            drop(log);
            assert_idle(&layer.handle());
        });
    }

    #[test]
    fn partitions_hold_theirs(ops in prop::collection::vec(op(), 1..60)) {
        paused(async {
            let probe = Probe::new();
            let endpoints = |n| in_group(n).partition_by_header("x-key");
            let layer = AnyLayer::new(Face::Throttle, endpoints(0));
            run(&layer, &probe, &ops, Some(&endpoints)).await;
            for key in 0..KEYS.len() {
                holds(&times(&probe, &ops, 0, Some(key)), 3, 500);
                holds(&times(&probe, &ops, 1, Some(key)), 2, 300);
            }
            assert_idle(&layer.handle());
        });
    }

    /// With or without partitions, everybody comes to an end.
    #[test]
    fn nobody_is_lost_when_partitions_come_and_go(ops in prop::collection::vec(op(), 1..60)) {
        paused(async {
            let probe = Probe::new();
            let endpoints = |n: usize| match n % 3 {
                0 => in_group(n),
                1 => in_group(n).partition_by_header("x-key"),
                _ => in_group(n).partition_by(|head| Some(head.method().clone())),
            };
            let layer = AnyLayer::new(Face::Throttle, endpoints(0));
            run(&layer, &probe, &ops, Some(&endpoints)).await;
            assert_idle(&layer.handle());
        });
    }

    /// Where partitions come or go, the window of each holds.
    #[test]
    fn windows_hold_when_partitions_come_or_go(
        ops in prop::collection::vec(op(), 1..60),
        come in any::<bool>(),
    ) {
        paused(async {
            let probe = Probe::new();
            let endpoints = |partitioned: bool| {
                let endpoints = Endpoints::new().route("/a", per(3, 500)).route("/b", per(2, 300));
                if partitioned {
                    return endpoints.partition_by_header("x-key");
                }
                endpoints
            };
            let layer = AnyLayer::new(Face::Throttle, endpoints(!come));
            run(&layer, &probe, &ops, Some(&|_| endpoints(come))).await;
            for key in 0..KEYS.len() {
                holds(&times(&probe, &ops, 0, Some(key)), 3, 500);
                holds(&times(&probe, &ops, 1, Some(key)), 2, 300);
            }
        });
    }

    /// The same endpoints, made anew, change nothing: not an instant, not the order, nothing of the snapshot.
    #[test]
    fn the_same_endpoints_change_nothing(
        ops in prop::collection::vec(op(), 1..60),
        n in 0..6_usize,
        partitioned in any::<bool>(),
    ) {
        let endpoints = move |_| {
            let endpoints = in_group(n).each_other_path(per(1, 100));
            if partitioned {
                return endpoints.partition_by_header("x-key");
            }
            endpoints
        };
        let runs = [true, false].map(|reloads| {
            paused(async {
                let probe = Probe::new();
                let layer = AnyLayer::new(Face::Throttle, endpoints(0));
                let reloads: Option<&dyn Fn(usize) -> Endpoints> = if reloads { Some(&endpoints) } else { None };
                run(&layer, &probe, &ops, reloads).await;
                let snapshot = layer.handle().snapshot();
                let mut buckets: Vec<_> = snapshot.buckets().map(|bucket| {
                    let counts = (bucket.admitted(), bucket.refused(), bucket.waiting(), bucket.in_flight());
                    (bucket.name().to_owned(), counts, bucket.quota().clone(), bucket.is_retired())
                }).map(|bucket| format!("{bucket:?}")).collect();
                buckets.sort_unstable();
                (probe.ids(), probe.times(), buckets)
            })
        });
        prop_assert_eq!(&runs[0], &runs[1]);
    }

    /// Those of an endpoint go by age, whatever bucket each of them came to. (Law L3)
    #[test]
    fn nobody_is_passed_at_an_endpoint(
        ops in prop::collection::vec(op(), 1..60),
        partitioned in any::<bool>(),
    ) {
        paused(async {
            let probe = Probe::new();
            let endpoints = |n| {
                let endpoints = in_group(n);
                if partitioned { endpoints.partition_by_header("x-key") } else { endpoints }
            };
            let layer = AnyLayer::new(Face::Throttle, endpoints(0));
            run(&layer, &probe, &ops, Some(&endpoints)).await;
            let mut last = BTreeMap::new();
            for id in probe.ids() {
                let job = job_of(&ops, id);
                let bucket = (job.path, partitioned.then_some(job.key));
                let before = last.insert(bucket, id);
                assert!(before.is_none_or(|before| before < id), "{id} went after {before:?}");
            }
        });
    }

    /// A group's window holds for all that are dispatched while it is there, even if it is not there for a while.
    /// (Law L1)
    #[test]
    fn windows_of_groups_hold_when_they_come_and_go(ops in prop::collection::vec(op(), 1..60)) {
        paused(async {
            let probe = Probe::new();
            let layer = AnyLayer::new(Face::Throttle, in_group(0));
            let reloads = run(&layer, &probe, &ops, Some(&in_group)).await;
            let mut windows = BTreeMap::<_, Vec<u64>>::new();
            for (index, call) in probe.log().calls.iter().enumerate() {
                let before = reloads.iter().rev().find(|reload| reload.calls <= index);
                let present = before.map_or(0, |reload| reload.to);
                for (name, paths, n, millis) in wider_scopes(present) {
                    if paths.contains(&job_of(&ops, call.id).path) {
                        let window = windows.entry((name, n, millis)).or_default();
                        window.push(probe.millis(call.at));
                    }
                }
            }
            for ((_, n, millis), times) in windows {
                holds(&times, *n, *millis);
            }
        });
    }

    /// With classes, flows and costs: what was known of them at each dispatch keeps the windows of tokens, those of a
    /// class and a flow go by age, everybody comes to an end, and the layer drains. (Laws L14 to L16, L20)
    #[test]
    fn costs_classes_and_flows_go_on_as_before(
        ops in prop::collection::vec(op_that_asks(asks()), 1..60),
    ) {
        const MOST: u64 = 20;
        paused(async {
            let probe = Probe::new();
            let a = per(3, 500).concurrency(2).units(Unit::TOKENS, MOST, ms(700));
            let endpoints = |n| in_group_with(n, a.clone());
            let layer = AnyLayer::new(Face::Throttle, endpoints(0));
            run(&layer, &probe, &ops, Some(&endpoints)).await;
            let calls: Vec<_> = (probe.log().calls.iter())
                .map(|call| (call.id, probe.millis(call.at), probe.millis(call.released.unwrap())))
                .collect();

            let of_a: Vec<_> = calls.iter().filter(|(id, ..)| job_of(&ops, *id).path == 0).collect();
            for &&(id, now, _) in &of_a {
                if job_of(&ops, id).asks.is_none_or(|asks| asks.tokens == 0) {
                    // It goes even if a settlement has overfilled the window.
                    continue;
                }
                let counted = of_a.iter().filter(|(_, at, _)| *at <= now && at + 700 > now);
                let counted = counted.map(|&&(id, at, released)| {
                    let job = job_of(&ops, id);
                    let asks = job.asks.expect("all of them ask");
                    let answered = at + job.works;
                    // One that was dropped is not settled.
                    if released < answered || now < answered {
                        asks.tokens
                    } else if now == answered {
                        asks.tokens.min(asks.settled)
                    } else {
                        asks.settled
                    }
                });
                assert!(counted.sum::<u64>() <= MOST, "at {now}: {of_a:?}");
            }

            let mut last = BTreeMap::new();
            for (id, ..) in calls {
                let job = job_of(&ops, id);
                let asks = job.asks.expect("all of them ask");
                let before = last.insert((job.path, asks.priority, asks.flow), id);
                assert!(before.is_none_or(|before| before < id), "{id} went after {before:?}");
            }

            tokio::time::timeout(ms(1), layer.handle().drain()).await.expect("all have ended");
        });
    }
}

//! Flows share what an endpoint gives out (law L16).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::support::*;
use proptest::{collection::vec, prelude::*};
use tower::{Service, ServiceExt};
use tower_throttle::{Cost, Flow, Priority, Quota, RpsLayer, Settlement, Terms, Unit};

const TOKENS: Unit = Unit::TOKENS;

/// The flows, and what each weighs.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn of(flow: &'static str, weight: u32) -> Req {
    let mut request = job("/a", ms(0)).map(|_| flow);
    let flow = Flow::new(flow).weight(weight);
    request.extensions_mut().insert(Terms::new().flow(flow));
    request
}

fn costs(flow: &'static str, weight: u32, tokens: u64) -> Req {
    let mut request = of(flow, weight);
    let terms = Terms::new()
        .flow(Flow::new(flow).weight(weight))
        .cost(Cost::new().of(TOKENS, tokens));
    request.extensions_mut().insert(terms);
    request
}

async fn enter_all(client: &Client, probe: &Probe, requests: Vec<Req>) -> Vec<Task> {
    let mut tasks = Vec::new();
    for request in requests {
        tasks.push(enter(client, probe, request).await);
    }
    tasks
}

fn sent(probe: &Probe) -> String {
    probe.log().calls.iter().map(|call| call.body).collect()
}

/// However much work each of them takes, a hold of the lock serves some of them. (Law L18)
#[tokio::test(start_paused = true)]
async fn a_new_quota_lets_those_go_that_have_flows_and_cost_four_units() {
    let quota = |n| {
        let units = [
            Unit::TOKENS,
            Unit::INPUT_TOKENS,
            Unit::OUTPUT_TOKENS,
            Unit::CREDITS,
        ];
        units
            .into_iter()
            .fold(per(n, 1000), |quota, unit| quota.units(unit, 800, ms(1000)))
    };
    let probe = Probe::new();
    let layer = layer_a(Face::Rps, quota(1));
    let client = layer.client(&probe);
    let waiting = enter_all(&client, &probe, (0..6).map(|_| of("a", 1)).collect()).await;
    layer.handle().set_quota("/a", quota(6)).unwrap();
    settle().await;
    assert_eq!(probe.times(), [0; 6]);
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn a_greedy_flow_takes_no_more_than_the_others() {
    for face in FACES {
        let probe = Probe::new();
        let quota = match face {
            Face::Concurrency => Quota::concurrent(1),
            _ => per(1, 100),
        };
        let client = layer_a(face, quota).client(&probe);
        let work = |mut request: Req| {
            request.extensions_mut().insert(Work::head(ms(100)));
            request
        };
        let mut requests = vec![of("a", 1); 20];
        requests.extend(vec![of("b", 1); 5]);
        requests.extend(vec![of("c", 1); 5]);
        let requests = requests.into_iter().map(work).collect();
        came(enter_all(&client, &probe, requests).await).await;
        // One of the first went before anybody waited.
        assert_eq!(
            sent(&probe),
            "a".to_owned() + "abcabcabcabcabc" + &"a".repeat(14),
            "{face:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn weights_are_kept_and_within_a_flow_the_oldest_goes_first() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 100)).client(&probe);
    let mut requests = vec![of("d", 1)];
    requests.extend(vec![of("a", 1); 30]);
    requests.extend(vec![of("b", 3); 30]);
    came(enter_all(&client, &probe, requests).await).await;
    let sent = sent(&probe);
    for to in (5..41).step_by(4) {
        let (a, b) = (
            sent[1..to].matches('a').count(),
            sent[1..to].matches('b').count(),
        );
        assert_eq!((a * 3, a + b), (b, to - 1), "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_flow_are_one_flow() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 100)).client(&probe);
    let plain = || get("/a").map(|_| "-");
    let mut requests = vec![plain(); 10];
    requests.extend(vec![of("a", 1); 3]);
    requests.extend(vec![plain(); 3]);
    came(enter_all(&client, &probe, requests).await).await;
    assert_eq!(sent(&probe), "--a-a-a---------");
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_comes_later_has_saved_nothing_up() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 100)).client(&probe);
    let mut tasks = enter_all(&client, &probe, vec![of("a", 1); 12]).await;
    tokio::time::sleep(ms(550)).await;
    tasks.extend(enter_all(&client, &probe, vec![of("b", 1); 4]).await);
    came(tasks).await;
    assert_eq!(sent(&probe), "aaaaaababababaaa");
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_is_charged_so_small_estimates_gain_nothing() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(TOKENS, 100, ms(1000));
    let client = layer_a(Face::Rps, quota).client(&probe);
    // Both cost 20. One says so, the other says 1, and is settled when it is answered after a while. So a whole window
    // of the other's goes at once, and is more than 20 windows take.
    let run = |flow: &'static str, stated: u64, n: usize| {
        (0..n)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move {
                    let ready = client.ready().await.unwrap();
                    let mut request = costs(flow, 1, stated);
                    request.extensions_mut().insert(Work::head(ms(300)));
                    let answer = ready.call(request).await.unwrap();
                    let settlement = answer.extensions().get::<Settlement>().unwrap();
                    settlement.settle(Cost::new().of(TOKENS, 20));
                })
            })
            .collect::<Vec<_>>()
    };
    let mut tasks = run("d", 100, 1);
    settle().await;
    tasks.extend(run("a", 20, 400));
    tasks.extend(run("b", 1, 400));
    settle().await;
    tokio::time::sleep(ms(45_500)).await;
    let sent = sent(&probe);
    let count = |flow| sent[1..].matches(flow).count();
    let (honest, other) = (count("a"), count("b"));
    assert!(honest > 100, "{sent}");
    // But for what has yet to be settled, at most a window of it.
    assert!(honest + 105 >= other, "{honest} and {other}: {sent}");
    for task in tasks {
        task.abort();
    }
}

/// Requests without a flow are one flow in this, too.
#[tokio::test(start_paused = true)]
async fn what_is_settled_is_charged_where_there_is_no_flow() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(TOKENS, 100, ms(1000));
    let client = layer_a(Face::Rps, quota).client(&probe);
    let plain = |tokens| {
        let mut request = get("/a").map(|_| "-");
        let terms = Terms::new().cost(Cost::new().of(TOKENS, tokens));
        request.extensions_mut().insert(terms);
        request
    };
    let mut first = client.clone();
    let first = first.ready().await.unwrap().call(plain(10)).await.unwrap();
    let mut requests = vec![costs("a", 1, 50); 6];
    requests.extend(vec![plain(50); 3]);
    let tasks = enter_all(&client, &probe, requests).await;
    // One of the flow went at once. What the first one has cost more is nearly what the flow is given by two requests.
    let settlement = first.extensions().get::<Settlement>().unwrap();
    settlement.settle(Cost::new().of(TOKENS, 100));
    came(tasks).await;
    // Two go at a time, those of one instant by age.
    assert_eq!(sent(&probe), "-aaaa-a-a-");
}

#[tokio::test(start_paused = true)]
async fn a_class_goes_before_a_flow() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 100)).client(&probe);
    let low = |flow: &'static str| {
        let mut request = of(flow, 1);
        let terms = Terms::new().flow(Flow::new(flow)).priority(Priority::LOW);
        request.extensions_mut().insert(terms);
        request
    };
    let requests = vec![
        low("d"),
        low("a"),
        low("a"),
        of("b", 1),
        low("c"),
        of("b", 1),
    ];
    came(enter_all(&client, &probe, requests).await).await;
    assert_eq!(sent(&probe), "dbbaca");
}

#[tokio::test(start_paused = true)]
async fn a_flow_can_be_told_from_the_head() {
    let probe = Probe::new();
    let layer = RpsLayer::new(endpoint_a(per(1, 100)))
        .flow_by(|head| head.headers().get("tenant").map(Flow::new));
    let client = AnyLayer::Rps(layer).client(&probe);
    let tenant = |name: &'static str| {
        let mut request = get("/a").map(|_| name);
        request
            .headers_mut()
            .insert("tenant", name.parse().unwrap());
        request
    };
    let requests = ["a", "a", "a", "a", "b", "b"].map(tenant).to_vec();
    came(enter_all(&client, &probe, requests).await).await;
    assert_eq!(sent(&probe), "aababa");
}

#[tokio::test(start_paused = true)]
async fn who_is_absent_or_leaves_is_charged_nothing() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 100)).client(&probe);
    let mut tasks = enter_all(&client, &probe, vec![of("a", 1); 8]).await;
    let mut absent = tokio_test::task::spawn({
        let mut client = client.clone();
        Service::call(&mut client, of("b", 1))
    });
    assert!(absent.poll().is_pending());
    tasks.extend(enter_all(&client, &probe, vec![of("b", 1); 3]).await);
    came(tasks).await;
    assert_eq!(sent(&probe), "aabababaaaa");
    drop(absent);
}

/// What became of a request.
#[derive(Debug)]
struct Life {
    flow: usize,
    tokens: u64,
    /// Since when, and until when it waited.
    from: u64,
    to: u64,
    sent: bool,
}

proptest! {
    #![proptest_config(cases(200))]

    /// While two flows both wait, what they were given by weight differs by no more than their largest requests do.
    #[test]
    fn while_two_flows_wait_they_are_given_the_same_by_weight(
        weights in vec(1_u32..5, NAMES.len()),
        arrivals in vec((0_u64..400, 0..NAMES.len(), 1_u64..30, 0_u8..10), 1..120),
    ) {
        paused(async {
            let probe = Probe::new();
            let quota = Quota::unlimited().units(TOKENS, 100, ms(1000));
            let client = layer_a(Face::Rps, quota).client(&probe);
            let mut arrivals = arrivals.clone();
            arrivals.sort_unstable();
            let mut tasks = Vec::new();
            let start = tokio::time::Instant::now();
            // When each began to wait and was sent or has left, by flow, and what it took.
            let life: Arc<Mutex<Vec<Life>>> = Arc::default();
            for &(at, flow, tokens, leaves) in &arrivals {
                tokio::time::sleep_until(start + ms(at)).await;
                let (mut client, life) = (client.clone(), Arc::clone(&life));
                let request = costs(NAMES[flow], weights[flow], tokens);
                tasks.push(tokio::spawn(async move {
                    let future = client.ready().await.unwrap().call(request);
                    // Some leave after a while.
                    let patience = if leaves == 0 { ms(700) } else { ms(10_000_000) };
                    let came = tokio::time::timeout(patience, future).await;
                    let now = u64::try_from((tokio::time::Instant::now() - start).as_millis()).unwrap();
                    let sent = came.is_ok();
                    let this = Life { flow, tokens, from: at, to: now, sent };
                    life.lock().unwrap().push(this);
                }));
                settle().await;
            }
            for task in tasks {
                task.await.unwrap();
            }
            let life = life.lock().unwrap();
            let waits = |flow: usize, from: u64, to: u64| {
                // Somebody of the flow waits at each instant of the stretch.
                let mut covered = from;
                loop {
                    let next = life
                        .iter()
                        .filter(|life| life.flow == flow && life.from <= covered)
                        .map(|life| life.to)
                        .max()
                        .unwrap_or(0);
                    if next >= to {
                        return true;
                    }
                    if next <= covered {
                        return false;
                    }
                    covered = next;
                }
            };
            let mut given: BTreeMap<u64, [u64; 4]> = BTreeMap::new();
            let mut sum = [0; 4];
            let mut sent: Vec<_> = life.iter().filter(|life| life.sent).collect();
            prop_assert_eq!(probe.log().calls.len(), sent.len());
            sent.sort_unstable_by_key(|life| life.to);
            for life in sent {
                sum[life.flow] += life.tokens;
                given.insert(life.to, sum);
            }
            let largest: Vec<u64> = (0..NAMES.len())
                .map(|flow| {
                    let of = life.iter().filter(|life| life.flow == flow);
                    of.map(|life| life.tokens).max().unwrap_or(0)
                })
                .collect();
            let instants: Vec<_> = given.iter().collect();
            for (f, g) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
                for (i, (from, before)) in instants.iter().enumerate() {
                    for (to, after) in &instants[i + 1..] {
                        if !waits(f, **from, **to + 1) || !waits(g, **from, **to + 1) {
                            break;
                        }
                        // Multiplied by both weights.
                        let (of_f, of_g) = (u64::from(weights[f]), u64::from(weights[g]));
                        let part_f = (after[f] - before[f]) * of_g;
                        let part_g = (after[g] - before[g]) * of_f;
                        let most = largest[f] * of_g + largest[g] * of_f;
                        prop_assert!(
                            part_f.abs_diff(part_g) <= most,
                            "{} and {} from {from} to {to}: {part_f} and {part_g}, {most}",
                            NAMES[f],
                            NAMES[g],
                        );
                    }
                }
            }
            Ok(())
        })?;
    }
}

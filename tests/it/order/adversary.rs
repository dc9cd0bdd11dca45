//! L15 and L16 by what they promise alone: classes, their floor, and flows, where an implementer may forget a case.
#![allow(missing_docs)]

use std::time::Duration;

use tower_throttle::{Cost, Endpoints, Flow, Handle, Priority, Quota, Terms, Unit};

use crate::support::{
    self, AnyLayer, Client, Face, Probe, Req, Work, at, endpoint_a, finish, ms, per, send, settle,
    throttle,
};

const TOKENS: Unit = Unit::new("tokens");
const LOW: Class = Class(Priority::LOW);
const NORMAL: Class = Class(Priority::NORMAL);
const HIGH: Class = Class(Priority::HIGH);

/// A class, from which terms are made.
#[derive(Clone, Copy)]
struct Class(Priority);

impl Class {
    fn terms(self) -> Terms {
        Terms::new().priority(self.0)
    }
}

fn ask(path: &str, id: usize, terms: Terms) -> Req {
    ask_for(path, id, Duration::ZERO, terms)
}

fn ask_for(path: &str, id: usize, work: Duration, terms: Terms) -> Req {
    let mut request = Work::head(work).id(id).of(path);
    request.extensions_mut().insert(terms);
    request
}

fn flow(key: u32) -> Terms {
    Terms::new().flow(Flow::new(key))
}

fn weighted(key: u32, weight: u32) -> Terms {
    Terms::new().flow(Flow::new(key).weight(weight))
}

fn spawn(client: &Client, request: Req) -> support::Sent {
    tokio::spawn(send(client.clone(), request))
}

/// The floor: in any stretch of what was given out while both waited, the lower classes had one part in `one_in`, to
/// within the largest request. `given` are (is lower, share).
fn assert_floor(given: &[(bool, f64)], one_in: f64) {
    let largest = given.iter().map(|&(_, share)| share).fold(0.0, f64::max);
    for from in 0..given.len() {
        let (mut all, mut lower) = (0.0, 0.0);
        for (to, &(is_lower, share)) in given.iter().enumerate().skip(from) {
            all += share;
            lower += if is_lower { share } else { 0.0 };
            let off = lower - all / one_in;
            assert!(
                off.abs() <= largest + 1e-9,
                "{from}..={to}: {lower} of {all}: {given:?}"
            );
        }
    }
}

/// Ids from 1000 on are of the lower class: up to the last of the class that was done first.
fn while_both_wait(ids: &[usize]) -> Vec<bool> {
    let lower: Vec<bool> = ids.iter().map(|&id| id >= 1000).collect();
    let last = |what| lower.iter().rposition(|&is| is == what).unwrap();
    lower[..last(true).min(last(false))].to_vec()
}

fn assert_plain_floor(ids: &[usize]) {
    let given: Vec<_> = while_both_wait(ids)
        .into_iter()
        .map(|is| (is, 1.0))
        .collect();
    assert!(given.len() > 20, "too little to judge: {ids:?}");
    assert_floor(&given, 8.0);
}

/// Fair: in any stretch, what two flows were given, by weight, differs by at most one request of each.
fn assert_fair(given: &[(usize, f64)], flows: [(usize, f64); 2]) {
    let largest = |flow| {
        let of = given.iter().filter(|(of, _)| *of == flow);
        of.map(|&(_, share)| share).fold(0.0, f64::max)
    };
    let [(f, wf), (g, wg)] = flows;
    let bound = largest(f) / wf + largest(g) / wg;
    for from in 0..given.len() {
        let (mut of_f, mut of_g) = (0.0, 0.0);
        for (to, &(flow, share)) in given.iter().enumerate().skip(from) {
            of_f += if flow == f { share / wf } else { 0.0 };
            of_g += if flow == g { share / wg } else { 0.0 };
            assert!(
                (of_f - of_g).abs() <= bound + 1e-9,
                "flows {f} and {g}, {from}..={to}: {of_f} and {of_g}: {given:?}"
            );
        }
    }
}

/// The flow of an id is its thousands. Cut where the first of the two flows has had its last.
fn flows_of(ids: &[usize], flows: [usize; 2]) -> Vec<(usize, f64)> {
    let of: Vec<_> = ids.iter().map(|id| (id / 1000, 1.0)).collect();
    let last = |flow| of.iter().rposition(|(of, _)| *of == flow).unwrap();
    of[..=last(flows[0]).min(last(flows[1]))].to_vec()
}

/// All of them wait; then the pause is over, and everybody goes in order.
async fn all_at_once(quota: Quota, requests: Vec<Req>) -> Vec<usize> {
    let (layer, probe) = (throttle(endpoint_a(quota)), Probe::new());
    let handle = layer.handle();
    let client = AnyLayer::Throttle(layer).client(&probe);
    handle.pause("/a", ms(1_000)).unwrap();
    let mut sent = Vec::new();
    for request in requests {
        sent.push(spawn(&client, request));
    }
    finish(sent).await;
    probe.ids()
}

/// L15: with nothing but a concurrency limit, the lower class gets its eighth of the permits.
#[tokio::test(start_paused = true)]
async fn the_floor_is_kept_of_permits_alone() {
    for face in [Face::Throttle, Face::Concurrency] {
        let (layer, probe) = (
            AnyLayer::new(face, endpoint_a(Quota::concurrent(2))),
            Probe::new(),
        );
        let client = layer.client(&probe);
        let mut sent = Vec::new();
        for id in 0..60 {
            sent.push(spawn(
                &client,
                ask_for("/a", 1000 + id, ms(100), LOW.terms()),
            ));
            sent.push(spawn(&client, ask_for("/a", id, ms(100), HIGH.terms())));
        }
        finish(sent).await;
        assert_plain_floor(&probe.ids()[2..]);
    }
}

/// L15: what a lower class gets counts by the tightest window, whichever that is for each request.
#[tokio::test(start_paused = true)]
async fn the_floor_goes_by_the_tightest_of_several_windows() {
    let quota = Quota::per_second(10).units(TOKENS, 100, ms(1_000));
    let (layer, probe) = (AnyLayer::new(Face::Rps, endpoint_a(quota)), Probe::new());
    let client = layer.client(&probe);
    // A tenth of the requests and a hundredth of the tokens, or half of the tokens.
    let tokens = |n| Cost::new().of(TOKENS, n);
    let high = |id| ask("/a", id, HIGH.terms().cost(tokens(1)));
    let low = |id| ask("/a", id, LOW.terms().cost(tokens(50)));
    let mut sent = Vec::new();
    for id in 0..10 {
        // Spread over the window, so that each later slot is at an instant of its own.
        at(&probe, 100 * u64::try_from(id).unwrap()).await;
        sent.push(spawn(&client, high(id)));
    }
    for id in 0..10 {
        sent.push(spawn(&client, low(1000 + id)));
    }
    for id in 10..200 {
        sent.push(spawn(&client, high(id)));
    }
    finish(sent).await;
    let given: Vec<_> = while_both_wait(&probe.ids()[10..])
        .into_iter()
        .map(|lower| (lower, if lower { 0.5 } else { 0.1 }))
        .collect();
    assert!(given.len() > 100, "{given:?}");
    assert_floor(&given, 8.0);
}

/// L15: an expensive request of a higher class pays for as many cheap ones of a lower class.
#[tokio::test(start_paused = true)]
async fn a_large_request_of_a_higher_class_owes_several_small_ones() {
    let quota = Quota::unlimited().units(TOKENS, 100, ms(1_000));
    let of = |n| Cost::new().of(TOKENS, n);
    let mut requests = Vec::new();
    for id in 0..40 {
        requests.push(ask("/a", id, HIGH.terms().cost(of(80))));
    }
    for id in 0..200 {
        requests.push(ask("/a", 1000 + id, LOW.terms().cost(of(5))));
    }
    let ids = all_at_once(quota, requests).await;
    let given: Vec<_> = while_both_wait(&ids)
        .into_iter()
        .map(|lower| (lower, if lower { 5.0 } else { 80.0 }))
        .collect();
    assert!(given.len() > 50, "{ids:?}");
    assert_floor(&given, 8.0);
}

/// L15: where overall is not limited, the floor is kept at the group, for all its endpoints together.
#[tokio::test(start_paused = true)]
async fn the_floor_is_kept_at_a_group_where_overall_is_unlimited() {
    let endpoints = Endpoints::new()
        .route("/a", per(3, 1_000))
        .route("/b", Quota::unlimited())
        .group("g", per(2, 1_000), ["/a", "/b"]);
    let (layer, probe) = (AnyLayer::new(Face::Throttle, endpoints), Probe::new());
    let client = layer.client(&probe);
    let mut sent = Vec::new();
    for id in 0..80 {
        sent.push(spawn(&client, ask("/b", id, HIGH.terms())));
        sent.push(spawn(&client, ask("/a", 1000 + id, LOW.terms())));
    }
    finish(sent).await;
    assert_plain_floor(&probe.ids()[2..]);
}

/// L15: each partition keeps a floor of its own, and with a limit across partitions it is kept once, there.
#[tokio::test(start_paused = true)]
async fn partitions_keep_the_floor_where_their_widest_limit_is() {
    let of = |key: &'static str, mut request: Req| {
        request.headers_mut().insert("key", key.parse().unwrap());
        request
    };
    let apart = Endpoints::new()
        .overall(per(2, 1_000))
        .partition_by_header("key");
    let (layer, probe) = (AnyLayer::new(Face::Throttle, apart.clone()), Probe::new());
    let client = layer.client(&probe);
    let mut sent = Vec::new();
    for id in 0..40 {
        sent.push(spawn(&client, of("x", ask("/a", id, HIGH.terms()))));
        sent.push(spawn(&client, of("y", ask("/a", 1000 + id, LOW.terms()))));
    }
    finish(sent).await;
    // Nobody is in the way of the other partition: two of each, every second.
    assert_eq!(probe.times()[79], 19_000);
    let lower = probe.ids()[..40].iter().filter(|id| **id >= 1000).count();
    assert_eq!(lower, 20);

    let together = apart.across_partitions(per(1, 1_000));
    let (layer, probe) = (AnyLayer::new(Face::Throttle, together), Probe::new());
    let client = layer.client(&probe);
    let mut sent = Vec::new();
    for id in 0..40 {
        sent.push(spawn(&client, of("x", ask("/a", id, HIGH.terms()))));
        sent.push(spawn(&client, of("y", ask("/a", 1000 + id, LOW.terms()))));
    }
    finish(sent).await;
    assert_plain_floor(&probe.ids()[1..]);
}

/// L15: while nobody of a lower class waits nothing is owed to it: one that comes later gets its part and no more.
#[tokio::test(start_paused = true)]
async fn a_lower_class_does_not_save_up_while_nobody_of_it_waits() {
    let (layer, probe) = (
        AnyLayer::new(Face::Throttle, endpoint_a(per(1, 10))),
        Probe::new(),
    );
    let client = layer.client(&probe);
    let mut sent = Vec::new();
    for id in 0..300 {
        sent.push(spawn(&client, ask("/a", id, HIGH.terms())));
    }
    at(&probe, 2_005).await;
    let before = probe.ids().len();
    for id in 0..30 {
        sent.push(spawn(&client, ask("/a", 1000 + id, LOW.terms())));
    }
    finish(sent).await;
    assert_plain_floor(&probe.ids()[before..]);
}

/// L15: what a lower class had while nobody of a higher one waited is not held against it.
#[tokio::test(start_paused = true)]
async fn a_lower_class_is_not_punished_for_what_it_had_alone() {
    let (layer, probe) = (
        AnyLayer::new(Face::Throttle, endpoint_a(per(1, 10))),
        Probe::new(),
    );
    let client = layer.client(&probe);
    let mut sent = Vec::new();
    for id in 0..300 {
        sent.push(spawn(&client, ask("/a", 1000 + id, LOW.terms())));
    }
    at(&probe, 2_005).await;
    let before = probe.ids().len();
    for id in 0..100 {
        sent.push(spawn(&client, ask("/a", id, HIGH.terms())));
    }
    finish(sent).await;
    assert_plain_floor(&probe.ids()[before..]);
}

/// L15: without a floor a lower class goes only when nobody of a higher one waits.
#[tokio::test(start_paused = true)]
async fn without_a_floor_a_lower_class_waits_for_the_end_of_the_higher() {
    let layer = throttle(endpoint_a(per(1, 10))).priority_floor(None);
    let probe = Probe::new();
    let client = AnyLayer::Throttle(layer).client(&probe);
    let mut sent = vec![spawn(&client, ask("/a", 0, NORMAL.terms()))];
    settle().await;
    for id in 0..40 {
        sent.push(spawn(&client, ask("/a", 2000 + id, LOW.terms())));
        sent.push(spawn(&client, ask("/a", 1000 + id, NORMAL.terms())));
        sent.push(spawn(&client, ask("/a", 1 + id, HIGH.terms())));
    }
    finish(sent).await;
    let ids = probe.ids();
    assert!(ids.is_sorted(), "{ids:?}");
}

/// L15: `priority_floor(Some(n))` gives one part in n.
#[tokio::test(start_paused = true)]
async fn the_floor_is_the_part_that_was_set() {
    for n in [4, 5, 100, u32::MAX] {
        let layer = throttle(endpoint_a(per(1, 10))).priority_floor(Some(n));
        let probe = Probe::new();
        let client = AnyLayer::Throttle(layer).client(&probe);
        let mut sent = Vec::new();
        for id in 0..300 {
            sent.push(spawn(&client, ask("/a", 1000 + id, LOW.terms())));
            sent.push(spawn(&client, ask("/a", id, HIGH.terms())));
        }
        settle().await;
        finish(sent).await;
        let ids = &probe.ids()[1..];
        let given: Vec<_> = while_both_wait(ids)
            .into_iter()
            .map(|is| (is, 1.0))
            .collect();
        assert!(given.len() > 200, "{ids:?}");
        assert_floor(&given, f64::from(n));
    }
}

/// L15: a floor of more than a quarter is refused, whatever it is.
#[test]
fn a_floor_of_a_third_or_more_panics() {
    for n in 0..4 {
        let layer = throttle(Endpoints::new());
        let set = std::panic::AssertUnwindSafe(|| drop(layer.priority_floor(Some(n))));
        assert!(std::panic::catch_unwind(set).is_err(), "{n}");
    }
}

/// L15: a request that takes nothing waits for no turn of the floor, and costs its class nothing.
#[tokio::test(start_paused = true)]
async fn those_that_take_nothing_do_not_upset_the_floor() {
    let free = Cost::new().requests(0).permits(0);
    let mut requests = Vec::new();
    for id in 0..80 {
        requests.push(ask("/a", id, HIGH.terms()));
        requests.push(ask("/a", 500 + id, HIGH.terms().cost(free.clone())));
        requests.push(ask("/a", 1000 + id, LOW.terms()));
    }
    let mut ids = all_at_once(per(1, 10), requests).await;
    ids.retain(|id| !(500..1000).contains(id));
    assert_plain_floor(&ids);
}

/// L15 with L13: if the head that the floor picks is absent, the floor's part goes to the next of the lower class.
#[tokio::test(start_paused = true)]
async fn an_absent_head_of_the_lower_class_does_not_lose_the_floor_for_those_behind() {
    let (layer, probe) = (
        AnyLayer::new(Face::Throttle, endpoint_a(per(1, 100))),
        Probe::new(),
    );
    let client = layer.client(&probe);
    let mut sent = vec![spawn(&client, ask("/a", 0, HIGH.terms()))];
    settle().await;
    let mut absent = client.clone();
    let mut absent = support::call(&mut absent, ask("/a", 1999, LOW.terms()));
    assert!(absent.poll().is_pending());
    for id in 0..80 {
        sent.push(spawn(&client, ask("/a", 1000 + id, LOW.terms())));
        sent.push(spawn(&client, ask("/a", 1 + id, HIGH.terms())));
    }
    finish(sent).await;
    let times = probe.times();
    let late = times.iter().zip(0u64..).map(|(time, i)| time - i * 100);
    assert!(late.clone().max().unwrap() <= 10, "{times:?}");
    assert_plain_floor(&probe.ids()[1..]);
    assert!(!probe.ids().contains(&1999));
}

/// L15: a seat in a wider contest keeps its place when its head leaves and one of the same class comes forward.
#[tokio::test(start_paused = true)]
async fn a_seat_keeps_its_place_when_its_head_leaves() {
    let endpoints = Endpoints::new().overall(per(1, 1_000));
    let endpoints = endpoints
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited());
    let (layer, probe) = (AnyLayer::new(Face::Throttle, endpoints), Probe::new());
    let client = layer.client(&probe);
    let mut sent = vec![spawn(&client, ask("/a", 0, LOW.terms()))];
    settle().await;
    let leaver = spawn(&client, ask("/a", 1, LOW.terms()));
    settle().await;
    sent.push(spawn(&client, ask("/b", 3, LOW.terms())));
    settle().await;
    sent.push(spawn(&client, ask("/a", 2, LOW.terms())));
    settle().await;
    leaver.abort();
    finish(sent).await;
    assert_eq!(probe.ids(), [0, 2, 3]);
}

/// L15: what is dropped in the queue, or called back by a pause, is not taken for what its class was given.
#[tokio::test(start_paused = true)]
async fn a_pause_in_between_does_not_upset_the_floor() {
    let (layer, probe) = (throttle(endpoint_a(per(2, 100))), Probe::new());
    let handle: Handle = layer.handle();
    let client = AnyLayer::Throttle(layer).client(&probe);
    let mut sent = Vec::new();
    for id in 0..120 {
        sent.push(spawn(&client, ask("/a", 1000 + id, LOW.terms())));
        sent.push(spawn(&client, ask("/a", id, HIGH.terms())));
    }
    settle().await;
    for step in 1..50 {
        at(&probe, step * 130).await;
        handle.pause("/a", ms(70)).unwrap();
        if step % 3 == 0 {
            sent.swap_remove(usize::try_from(step).unwrap()).abort();
        }
    }
    finish(sent).await;
    assert_plain_floor(&probe.ids()[2..]);
}

/// L16: a flow that comes back after it was idle has neither saved up a share nor is it behind.
#[tokio::test(start_paused = true)]
async fn a_flow_that_comes_back_begins_level_with_the_others() {
    let (layer, probe) = (
        AnyLayer::new(Face::Throttle, endpoint_a(per(1, 10))),
        Probe::new(),
    );
    let client = layer.client(&probe);
    let mut sent = Vec::new();
    let fill = |key: usize, from: usize, n: usize| {
        (from..from + n)
            .map(|i| {
                spawn(
                    &client,
                    ask("/a", key * 1000 + i, flow(u32::try_from(key).unwrap())),
                )
            })
            .collect::<Vec<_>>()
    };
    sent.extend(fill(1, 0, 50));
    at(&probe, 1_005).await; // Flow 1 has had 50, and is idle.
    sent.extend(fill(2, 0, 200));
    at(&probe, 1_505).await;
    let before = probe.ids().len();
    sent.extend(fill(1, 50, 20));
    at(&probe, 2_305).await; // Flow 1 is idle again, flow 2 goes on.
    let between = probe.ids().len();
    assert_fair(
        &flows_of(&probe.ids()[before..between], [1, 2]),
        [(1, 1.0), (2, 1.0)],
    );
    sent.extend(fill(1, 70, 20));
    finish(sent).await;
    assert_fair(
        &flows_of(&probe.ids()[between..], [1, 2]),
        [(1, 1.0), (2, 1.0)],
    );
}

/// L16: flows of the weights 1 to 4 get 1 to 4 parts, each pair to within one request of each.
#[tokio::test(start_paused = true)]
async fn weights_divide_what_is_given_out() {
    let mut requests = Vec::new();
    for i in 0..60 {
        for key in [1, 2, 3, 4] {
            let id = usize::try_from(key).unwrap() * 1000 + i;
            requests.push(ask("/a", id, weighted(key, key)));
        }
    }
    let ids = all_at_once(per(1, 10), requests).await;
    for (f, wf) in [(1, 1.0), (2, 2.0), (3, 3.0)] {
        for (g, wg) in [(2, 2.0), (3, 3.0), (4, 4.0)] {
            assert_fair(&flows_of(&ids, [f, g]), [(f, wf), (g, wg)]);
        }
    }
}

/// L16: the greatest weight starves nobody for ever, and two flows that have it are fair to each other.
#[tokio::test(start_paused = true)]
async fn flows_of_the_greatest_weight_are_fair_to_each_other() {
    for n in [1, 1_000_000, u32::MAX] {
        let mut requests = Vec::new();
        // Virtual time advances far by a flow of little weight first.
        for i in 0..3 {
            requests.push(ask("/a", 3000 + i, weighted(3, 1)));
        }
        for key in [1, 2] {
            for i in 0..40 {
                let id = usize::try_from(key).unwrap() * 1000 + i;
                requests.push(ask("/a", id, weighted(key, u32::MAX)));
            }
        }
        let ids = all_at_once(per(n, 1_000).concurrency(1), requests).await;
        assert_fair(&flows_of(&ids, [1, 2]), [(1, 1.0), (2, 1.0)]);
        let light = ids.iter().position(|&id| id == 3001).unwrap();
        assert!(light >= 80, "{n}: {ids:?}");
    }
}

/// L16: a weight of 0 would never get anything, and is refused.
#[test]
#[should_panic(expected = "weighs 0")]
fn a_weight_of_0_panics() {
    let _ = Flow::new("x").weight(0);
}

/// L16: of thousands of flows with one request each none waits for a second request of a flow with many.
#[tokio::test(start_paused = true)]
async fn thousands_of_flows_go_before_the_second_round_of_a_large_one() {
    const N: usize = 3_000;
    let mut requests = Vec::new();
    for i in 0..100 {
        requests.push(ask("/a", 10_000 + i, flow(u32::MAX)));
    }
    for i in 0..N {
        requests.push(ask("/a", i, flow(u32::try_from(i).unwrap())));
    }
    let ids = all_at_once(Quota::per_second(1_000), requests).await;
    let second = ids.iter().position(|&id| id == 10_001).unwrap();
    // One request of the large flow is ahead of the others' at most, and one of each of theirs.
    assert!(second >= N, "{second}");
}

/// L16: requests without a flow are one flow, beside those that have one.
#[tokio::test(start_paused = true)]
async fn those_without_a_flow_are_one_flow_of_weight_1() {
    let mut requests = Vec::new();
    for i in 0..40 {
        requests.push(ask("/a", i, Terms::new()));
    }
    for i in 0..40 {
        requests.push(ask("/a", 1000 + i, flow(1)));
    }
    for i in 0..40 {
        requests.push(ask("/a", 2000 + i, weighted(2, 2)));
    }
    let ids = all_at_once(per(1, 10), requests).await;
    assert_fair(&flows_of(&ids, [0, 1]), [(0, 1.0), (1, 1.0)]);
    assert_fair(&flows_of(&ids, [0, 2]), [(0, 1.0), (2, 2.0)]);
}

/// L16: a flow pays by the largest part of a limit that its requests take.
#[tokio::test(start_paused = true)]
async fn flows_share_by_cost_and_not_by_number() {
    let quota = Quota::per_second(10).units(TOKENS, 100, ms(1_000));
    let of = |n| Cost::new().of(TOKENS, n);
    let mut requests = Vec::new();
    for i in 0..200 {
        requests.push(ask("/a", 1000 + i, flow(1).cost(of(1)))); // a tenth of the requests
    }
    for i in 0..40 {
        requests.push(ask("/a", 2000 + i, flow(2).cost(of(60)))); // three fifths of the tokens
    }
    let ids = all_at_once(quota, requests).await;
    let mut given = flows_of(&ids, [1, 2]);
    for (flow, share) in &mut given {
        *share = if *flow == 1 { 0.1 } else { 0.6 };
    }
    assert_fair(&given, [(1, 1.0), (2, 1.0)]);
}

/// L16: what leaves the queue was charged nothing, so its flow is as far as before.
#[tokio::test(start_paused = true)]
async fn a_flow_pays_nothing_for_those_that_leave() {
    let (layer, probe) = (throttle(endpoint_a(per(4, 1_000))), Probe::new());
    let handle = layer.handle();
    let client = AnyLayer::Throttle(layer).client(&probe);
    handle.pause("/a", ms(1_000)).unwrap();
    let mut leavers = Vec::new();
    for i in 0..100 {
        leavers.push(spawn(&client, ask("/a", 1500 + i, flow(1))));
    }
    settle().await;
    let mut sent = Vec::new();
    for i in 0..40 {
        sent.push(spawn(&client, ask("/a", 1000 + i, flow(1))));
        sent.push(spawn(&client, ask("/a", 2000 + i, flow(2))));
    }
    settle().await;
    for leaver in &leavers {
        leaver.abort();
    }
    finish(sent).await;
    assert_fair(&flows_of(&probe.ids(), [1, 2]), [(1, 1.0), (2, 1.0)]);
}

/// L16 within L15: flows share what their class is given, the floor's part too.
#[tokio::test(start_paused = true)]
async fn flows_share_each_class_by_itself() {
    let mut requests = Vec::new();
    for i in 0..160 {
        requests.push(ask("/a", i, HIGH.terms().flow(Flow::new(1))));
    }
    for key in [1, 2] {
        for i in 0..20 {
            let id = usize::try_from(key).unwrap() * 1000 + i;
            requests.push(ask("/a", id, LOW.terms().flow(Flow::new(key))));
        }
    }
    let ids = all_at_once(per(1, 10), requests).await;
    assert_plain_floor(&ids);
    // Flow 1 of the higher class does not count against flow 1 of the lower.
    let lower: Vec<_> = ids.iter().copied().filter(|id| *id >= 1000).collect();
    assert_fair(&flows_of(&lower, [1, 2]), [(1, 1.0), (2, 1.0)]);
}

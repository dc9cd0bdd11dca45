//! What random schedules found to be wrong with law L14, one by one. Where a comment says what happens instead, that
//! is what did.

use crate::support::*;
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{
    AnswerHead, Cost, Endpoints, Learning, Quota, RefusedReason, Settle, SettleBody, Settlement,
    Terms, Unit,
};

const TOKENS: Unit = Unit::TOKENS;
const OUTPUT: Unit = Unit::OUTPUT_TOKENS;

fn of(n: u64) -> Cost {
    Cost::new().of(TOKENS, n)
}

fn tokens(n: u64, millis: u64) -> Quota {
    Quota::unlimited().units(TOKENS, n, ms(millis))
}

fn costs(path: &str, cost: Cost, work: u64) -> Req {
    let mut request = job(path, ms(work));
    request.extensions_mut().insert(Terms::new().cost(cost));
    request
}

/// `/a` and `/b` below a quota: of a group, or overall.
fn below(quota: Quota, group: bool) -> Endpoints {
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited());
    if group {
        endpoints.group("group", quota, ["/a", "/b"])
    } else {
        endpoints.overall(quota)
    }
}

async fn passes_who_waits_for_tokens(group: bool) {
    let probe = Probe::new();
    let quota = per(1, 100).units(TOKENS, 10, ms(1000));
    let client = AnyLayer::new(Face::Throttle, below(quota, group)).client(&probe);
    let mut tasks = vec![enter(&client, &probe, costs("/a", of(1), 0)).await];
    tasks.push(enter(&client, &probe, costs("/a", of(10), 0)).await);
    tasks.push(enter(&client, &probe, costs("/b", of(0), 0)).await);
    came(tasks).await;
    // At 100 there is room for a request again. The head of /a waits for tokens until 1000; /b costs none.
    assert_eq!(
        (probe.times_of("/a"), probe.times_of("/b")),
        (vec![0, 1000], vec![100])
    );
}

/// L14: at a wider scope a head passes heads that wait for others. It is held up for the whole window of tokens where
/// both had to wait for a request first: /b goes at 1100.
#[tokio::test(start_paused = true)]
async fn overall_a_head_passes_who_waits_for_tokens_after_both_waited_for_a_request() {
    passes_who_waits_for_tokens(false).await;
}

/// The same in a group: /b goes at 1000, and /a, which was in front of it, at 1100.
#[tokio::test(start_paused = true)]
async fn in_a_group_a_head_passes_who_waits_for_tokens_after_both_waited_for_a_request() {
    passes_who_waits_for_tokens(true).await;
}

/// The same after a pause that both waited for: /b goes at 1000, though it costs nothing of what is limited.
#[tokio::test(start_paused = true)]
async fn overall_a_head_passes_who_waits_for_tokens_after_both_waited_for_a_pause() {
    let probe = Probe::new();
    let layer = AnyLayer::new(Face::Throttle, below(tokens(10, 1000), false));
    let client = layer.client(&probe);
    let mut tasks = vec![enter(&client, &probe, costs("/a", of(1), 0)).await];
    tasks.push(enter(&client, &probe, costs("/a", of(10), 0)).await);
    layer.handle().pause(Endpoints::OVERALL, ms(100)).unwrap();
    tasks.push(enter(&client, &probe, costs("/b", of(0), 0)).await);
    came(tasks).await;
    assert_eq!(
        (probe.times_of("/a"), probe.times_of("/b")),
        (vec![0, 1000], vec![100])
    );
}

/// L14: a head that costs no request does not wait behind one that waits for a request only. /b goes at 400.
#[tokio::test(start_paused = true)]
async fn a_head_without_requests_passes_who_waits_for_a_request() {
    let probe = Probe::new();
    let quota = per(1, 300).units(TOKENS, 10, ms(100));
    let client = AnyLayer::new(Face::Throttle, below(quota, false)).client(&probe);
    let mut tasks = vec![enter(&client, &probe, costs("/a", of(10), 0)).await];
    tasks.push(enter(&client, &probe, costs("/a", of(10), 0)).await);
    tasks.push(enter(&client, &probe, costs("/b", of(1).requests(0), 0)).await);
    came(tasks).await;
    // At 100 there are tokens again, and the head of /a waits for a request until 300.
    assert_eq!(
        (probe.times_of("/a"), probe.times_of("/b")),
        (vec![0, 300], vec![100])
    );
}

/// L3, L14: in a group, too, heads go in the order in which they got there, whatever else they cost. With a cost of no
/// permits, of no requests, or of a unit that only its endpoint counts, the one that came later goes first: /a at 200,
/// /b at 300. (Overall, and where both cost the same, it is right.)
#[tokio::test(start_paused = true)]
async fn in_a_group_nobody_is_passed_in_tokens_for_what_else_it_costs() {
    for (says, cost, own) in [
        ("no permits", of(10).permits(0), Quota::unlimited()),
        ("no requests", of(10).requests(0), Quota::unlimited()),
        (
            "credits",
            of(10).of(Unit::CREDITS, 1),
            Quota::unlimited().units(Unit::CREDITS, 100, ms(1)),
        ),
    ] {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .route("/b", own)
            .group("group", tokens(10, 100), ["/a", "/b"]);
        let client = AnyLayer::new(Face::Throttle, endpoints).client(&probe);
        let mut tasks = Vec::new();
        for n in [1, 10, 10] {
            tasks.push(enter(&client, &probe, costs("/a", of(n), 0)).await);
        }
        tasks.push(enter(&client, &probe, costs("/b", cost, 0)).await);
        came(tasks).await;
        // At 100 the second of /a goes, and the third comes to the contest, where the one of /b has been since 0.
        assert_eq!(
            (probe.times_of("/a"), probe.times_of("/b")),
            (vec![0, 100, 300], vec![200]),
            "{says}"
        );
    }
}

/// L14: `NeverFits` is decided when a quota changes, also where the new window is empty. There the request that costs
/// 55 is sent at 100, past a limit of 1.
#[tokio::test(start_paused = true)]
async fn a_smaller_quota_with_an_empty_window_refuses_who_can_never_go() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(55, 68));
    let client = layer.client(&probe);
    let mut tasks = Vec::new();
    for n in [50, 6, 55] {
        tasks.push(enter(&client, &probe, costs("/a", of(n), 0)).await);
    }
    at(&probe, 100).await;
    layer.handle().set_quota("/a", tokens(1, 1)).unwrap();
    let came = came(tasks).await;
    assert_eq!(probe.times(), [0, 68]);
    assert_eq!(came[2], Came::Refused(100, RefusedReason::NeverFits, None));
}

/// The same with permits: the one that takes 2 is sent past a concurrency of 1.
#[tokio::test(start_paused = true)]
async fn a_smaller_concurrency_of_which_none_is_taken_refuses_who_can_never_go() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, tokens(10, 100));
    let client = layer.client(&probe);
    let mut tasks = vec![enter(&client, &probe, costs("/a", of(10), 0)).await];
    tasks.push(enter(&client, &probe, costs("/a", of(10).permits(2), 0)).await);
    at(&probe, 50).await;
    let quota = tokens(10, 1).concurrency(1);
    layer.handle().set_quota("/a", quota).unwrap();
    let came = came(tasks).await;
    assert_eq!(probe.times(), [0]);
    assert_eq!(came[1], Came::Refused(50, RefusedReason::NeverFits, None));
}

/// L14, L5, L2: what nobody settles of a dropped call counts for P from its end on, at the latest from the end of its
/// grace. The grace ends when somebody looks: the estimate counts for P from then on, and the next goes at 1050.
#[tokio::test(start_paused = true)]
async fn a_grace_ends_in_time_for_units_that_count_at_the_end() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(OUTPUT, 10, ms(50)).grace(ms(100));
    let client = layer_a(Face::Throttle, quota).client(&probe);
    let out = || Cost::new().of(OUTPUT, 7);
    let dropped = enter(&client, &probe, costs("/a", out(), 10_000)).await;
    dropped.abort();
    at(&probe, 1000).await;
    came(vec![enter(&client, &probe, costs("/a", out(), 0)).await]).await;
    assert_eq!(probe.times(), [0, 1000]);
}

/// L5: the first look after a grace has ended still sees the permit; the second does not.
#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_no_permit_after_the_grace() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, Quota::concurrent(4).grace(ms(100)));
    let client = layer.client(&probe);
    let dropped = enter(&client, &probe, costs("/a", Cost::new(), 10_000)).await;
    dropped.abort();
    at(&probe, 1000).await;
    assert_eq!(gauge(&layer.handle(), "/a"), (0, 0));
}

/// A cost is any number: nothing limits permits here. The layer panics (`a permit is released once`), and
/// `in_flight` stays wrong.
#[tokio::test(start_paused = true)]
async fn any_number_of_permits_can_be_taken_where_they_are_not_limited() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, Quota::unlimited());
    let client = layer.client(&probe);
    let mut tasks = Vec::new();
    for n in [1, usize::MAX] {
        let cost = Cost::new().permits(n);
        tasks.push(enter(&client, &probe, costs("/a", cost, 10)).await);
    }
    assert_eq!(came(tasks).await, [Came::Sent(10), Came::Sent(10)]);
    assert_idle(&layer.handle());
}

/// The same of requests. Without lessons the layer panics (`a place is given back once`).
#[tokio::test(start_paused = true)]
async fn any_number_of_requests_can_be_stated_where_they_are_not_limited() {
    let probe = Probe::new();
    let quota = Quota::concurrent(2).units(TOKENS, 25, ms(1));
    let layer = throttle(endpoint_a(quota)).learn(Learning::none());
    let client = tower::util::BoxCloneSyncService::new(layer.layer(probe.clone()));
    let mut tasks = Vec::new();
    for cost in [
        Cost::new().permits(2),
        Cost::new(),
        Cost::new().requests(u32::MAX),
    ] {
        tasks.push(enter(&client, &probe, costs("/a", cost, 10)).await);
    }
    let came = came(tasks).await;
    assert_eq!(came, [Came::Sent(10), Came::Sent(20), Came::Sent(20)]);
}

/// L10: the computed wait is a lower bound. A request that costs no request takes no slot, but is counted as one: the
/// last is refused with 300 ms, and would have gone at 200.
#[tokio::test(start_paused = true)]
async fn who_costs_no_request_takes_no_slot_in_a_computed_wait() {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, per(1, 100))
        .max_wait(ms(250))
        .client(&probe);
    let mut tasks = Vec::new();
    for n in [1, 1, 0, 1] {
        let cost = Cost::new().requests(n);
        tasks.push(enter(&client, &probe, costs("/a", cost, 0)).await);
    }
    let came = came(tasks).await;
    assert_eq!(came, [0, 100, 100, 200].map(Came::Sent));
}

async fn answered(status: u16) -> Option<Settlement> {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, tokens(100, 1000)).client(&probe);
    let mut work = Work::head(ms(0));
    work.status = http::StatusCode::from_u16(status).unwrap();
    let mut request = work.of("/a");
    request.extensions_mut().insert(Terms::new().cost(of(5)));
    let answer = client.oneshot(request).await.unwrap();
    answer.extensions().get().cloned()
}

/// `Settlement::estimate`: what the request was estimated to cost when it was admitted, not what it was settled to.
#[tokio::test(start_paused = true)]
async fn the_estimate_of_a_client_error_is_what_it_was() {
    assert_eq!(answered(404).await.unwrap().estimate(), &of(5));
}

/// `Settlement`: all responses have it whose endpoint counts something besides requests. One of 500 has none, though
/// its estimate counts and the caller may know better.
#[tokio::test(start_paused = true)]
async fn a_server_error_can_be_settled() {
    assert!(answered(500).await.is_some());
}

/// L14: the average is of what *successes* were settled at. A 404 that is settled by hand takes part: here 400.
#[tokio::test(start_paused = true)]
async fn the_average_is_of_successes() {
    let probe = Probe::new();
    let client = layer_a(Face::Throttle, tokens(800, 1000)).client(&probe);
    let mut work = Work::head(ms(0));
    work.status = http::StatusCode::NOT_FOUND;
    let answer = client.clone().oneshot(work.of("/a")).await.unwrap();
    let settlement = answer.extensions().get::<Settlement>().unwrap();
    settlement.settle(of(400));
    drop(answer);
    let answer = client.oneshot(get("/a")).await.unwrap();
    let settlement = answer.extensions().get::<Settlement>().unwrap();
    assert_eq!(settlement.estimate(), &of(100));
}

/// Says that a stream has made one token so far, as Anthropic's first event does.
struct OneSoFar;

impl Settle for OneSoFar {
    fn body(&self, _: &AnswerHead<'_>) -> Option<Box<dyn SettleBody>> {
        Some(Box::new(Self))
    }
}

impl SettleBody for OneSoFar {
    fn chunk(&mut self, _: &[u8]) -> Option<Cost> {
        Some(Cost::new().of(OUTPUT, 1))
    }
}

/// L14: of a unit that counts at the end the estimate counts until it is settled, and what a reader reads of it counts
/// at the body's end (`SettleBody::chunk`). A figure in the middle of a body lets others go: the second is sent at 0.
#[tokio::test(start_paused = true)]
async fn a_figure_in_a_body_that_goes_on_settles_nothing_that_counts_at_the_end() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(OUTPUT, 100, ms(1000));
    let layer = throttle(endpoint_a(quota)).settle_by(OneSoFar);
    let client: Client = tower::util::BoxCloneSyncService::new(layer.layer(probe.clone()));
    let body = [Step::Data("1"), Step::Wait(ms(500)), Step::Data("1")];
    let mut request = Work::head(ms(0)).body(body).of("/a");
    let out = || Cost::new().of(OUTPUT, 90);
    request.extensions_mut().insert(Terms::new().cost(out()));
    let stream = tokio::spawn(send(client.clone(), request));
    settle().await;
    let second = enter(&client, &probe, costs("/a", out(), 0)).await;
    stream.await.unwrap().unwrap();
    came(vec![second]).await;
    assert_eq!(probe.times(), [0, 500]);
}

/// L2: what a request is estimated to take is never more than the smallest window, of its endpoint or of a wider scope.
/// Where a wider scope gets a smaller quota, a request that waits at its endpoint may fit there at once. It waits until
/// 1000.
#[tokio::test(start_paused = true)]
async fn a_smaller_quota_of_a_wider_scope_lowers_estimates_at_its_endpoints() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", tokens(16, 1000))
        .overall(tokens(32, 100));
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let client = layer.client(&probe);
    let mut tasks = vec![enter(&client, &probe, costs("/a", of(15), 0)).await];
    // An eighth of 16.
    tasks.push(enter(&client, &probe, get("/a")).await);
    // And of 8: there is room for that at /a, and overall from 100 on.
    let quota = tokens(8, 100);
    layer.handle().set_quota(Endpoints::OVERALL, quota).unwrap();
    came(tasks).await;
    assert_eq!(probe.times(), [0, 100]);
}

/// L18: who has its places and is called back takes the places of the younger ones back first. Where those cost nothing
/// of what it lacks, they are admitted again before all of them were called back, and so it goes on for ever.
#[tokio::test(start_paused = true)]
async fn a_call_back_comes_to_an_end_however_many_younger_ones_cost_nothing() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", tokens(10, 1000))
        .overall(per(3, 400));
    let layer = AnyLayer::new(Face::Throttle, endpoints);
    let (client, handle) = (layer.client(&probe), layer.handle());
    handle.pause("/a", ms(100)).unwrap();
    let mut waiting: Vec<_> = (0..20)
        .map(|n| {
            let cost = Cost::new().requests(u32::from(n == 0));
            call(&mut client.clone(), costs("/a", cost, 0))
        })
        .collect();
    for future in &mut waiting {
        assert!(future.poll().is_pending());
    }
    tokio::time::advance(ms(90)).await;
    let answered = call(&mut client.clone(), get("/b"));
    tokio::time::advance(ms(10)).await;
    // All have their places, and nobody has been polled.
    assert_eq!(gauge(&handle, "/a"), (0, 20));
    handle.set_quota(Endpoints::OVERALL, per(1, 400)).unwrap();
    for _ in 0..100 {
        for future in waiting.iter_mut().filter(|future| future.is_woken()) {
            let _ = future.poll();
        }
    }
    assert!(waiting.iter_mut().all(|future| !future.is_woken()));
    assert_eq!((gauge(&handle, "/a"), probe.times()), ((20, 0), vec![90]));
    drop(answered);
}

/// L14: what is settled again, of a unit that counts at the end, counts from then on. A request that has its places, and
/// was admitted when the window of the first settlement had passed, goes back if there is no room for both. It goes out
/// at 400, and 12 count of 10.
#[tokio::test(start_paused = true)]
async fn who_has_its_places_goes_back_if_something_is_settled_again_at_less() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(OUTPUT, 10, ms(300));
    let mut client = layer_a(Face::Throttle, quota).client(&probe);
    let six = || costs("/a", Cost::new().of(OUTPUT, 6), 0);
    let answer = client.ready().await.unwrap().call(six()).await.unwrap();
    let settlement = answer.extensions().get::<Settlement>().unwrap();
    let mut waits = call(&mut client.clone(), six());
    assert!(waits.poll().is_pending());
    tokio::time::advance(ms(100)).await;
    settlement.settle(Cost::new().of(OUTPUT, 10));
    tokio::time::advance(ms(300)).await;
    assert!(waits.is_woken());
    settlement.settle(Cost::new().of(OUTPUT, 6));
    assert!(waits.poll().is_pending());
    assert_eq!(probe.times(), [0]);
    waits.await.unwrap();
    assert_eq!(probe.times(), [0, 700]);
}

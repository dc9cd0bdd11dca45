//! The engine without tower by what it promises alone: `admit`, `admit_again`, `wait_for`, `Admission` and `Permit`.
#![allow(missing_docs)]

use std::{pin::Pin, task::Poll, time::Duration};

use http::Request;
use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;
use tower_throttle::{
    BoxError, Cost, Flow, Handle, Permit, Priority, Quota, RefusedReason, Terms, Unit,
    UnknownEndpoint,
    signal::{Signal, SignalKind},
};

use crate::support::{
    self, AnyLayer, FACES, Face, Probe, assert_idle, at, cases, endpoint_a, enter, gauge, get,
    layer_a, ms, paused, per, quota_of, refused, settle, throttle, whole,
};

const TOKENS: Unit = Unit::new("tokens");

fn head(path: &str, terms: Terms) -> Request<()> {
    Request::get(path).extension(terms).body(()).unwrap()
}

fn a() -> Request<()> {
    head("/a", Terms::new())
}

fn tokens(n: u64) -> Terms {
    Terms::new().cost(Cost::new().of(TOKENS, n))
}

fn class(class: Priority) -> Terms {
    Terms::new().priority(class)
}

async fn begin(handle: &Handle, head: &Request<()>) -> Permit {
    handle
        .admit(head)
        .await
        .unwrap()
        .dispatched()
        .await
        .unwrap()
}

/// When it was dispatched, in milliseconds after `start`. The work then takes `work`.
fn spawn(handle: &Handle, start: Instant, head: Request<()>, work: Duration) -> Began {
    let handle = handle.clone();
    tokio::spawn(async move {
        let permit = handle.admit(&head).await?.dispatched().await?;
        let began = whole(Instant::now() - start);
        tokio::spawn(async move {
            tokio::time::sleep(work).await;
            drop(permit);
        });
        Ok(began)
    })
}

type Began = tokio::task::JoinHandle<Result<u64, BoxError>>;

#[track_caller]
fn now<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    match poll(future.as_mut()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// What waits, and how long its work takes.
#[derive(Clone, Debug)]
struct Asked {
    path: &'static str,
    class: usize,
    flow: Option<(u8, u32)>,
    requests: Option<u32>,
    permits: Option<usize>,
    work: u64,
    gap: u64,
}

fn asked() -> impl Strategy<Value = Asked> {
    let path = prop_oneof![3 => Just("/a"), 1 => Just("/b")];
    let flow = proptest::option::weighted(0.5, (0u8..3, 1u32..4));
    let requests = proptest::option::weighted(0.2, 0u32..3);
    let permits = proptest::option::weighted(0.2, 0usize..3);
    let class = prop_oneof![1 => Just(0), 2 => Just(1), 1 => Just(2)];
    (path, class, flow, requests, permits, 0u64..150, 0u64..60).prop_map(
        |(path, class, flow, requests, permits, work, gap)| Asked {
            path,
            class,
            flow,
            requests,
            permits,
            work,
            gap,
        },
    )
}

impl Asked {
    fn terms(&self) -> Terms {
        let mut terms = class([Priority::LOW, Priority::NORMAL, Priority::HIGH][self.class]);
        if let Some((key, weight)) = self.flow {
            terms = terms.flow(Flow::new(key).weight(weight));
        }
        let mut cost = Cost::new();
        if let Some(n) = self.requests {
            cost = cost.requests(n);
        }
        if let Some(n) = self.permits {
            cost = cost.permits(n);
        }
        terms.cost(cost)
    }
}

#[derive(Clone, Debug)]
struct Scene {
    windows: Vec<(u32, u64)>,
    concurrency: Option<usize>,
    overall: (u32, u64),
    pause: Option<u64>,
    ahead: Vec<Asked>,
    behind: Vec<Asked>,
    it: Asked,
}

fn scene() -> impl Strategy<Value = Scene> {
    let windows = vec((2u32..5, 20u64..300), 0..3);
    let concurrency = proptest::option::weighted(0.6, 2usize..4);
    let pause = proptest::option::weighted(0.3, 1u64..300);
    let overall = (2u32..8, 10u64..200);
    let (ahead, behind) = (vec(asked(), 0..25), vec(asked(), 0..10));
    (windows, concurrency, overall, pause, ahead, behind, asked()).prop_map(
        |(windows, concurrency, overall, pause, ahead, behind, it)| Scene {
            windows,
            concurrency,
            overall,
            pause,
            ahead,
            behind,
            it,
        },
    )
}

/// What came of `it`: when it began, or its refusal; when that was, and for how long `wait_for` had said that it would
/// wait, in milliseconds after it entered.
type Played = (Result<u64, BoxError>, u64, u64);

async fn play(scene: &Scene, deadline: Option<u64>) -> Played {
    let endpoints = endpoint_a(quota_of(&scene.windows, scene.concurrency))
        .route("/b", Quota::unlimited())
        .overall(per(scene.overall.0, scene.overall.1));
    let handle = AnyLayer::new(Face::Throttle, endpoints).handle();
    let start = Instant::now();
    if let Some(time) = scene.pause {
        handle.pause("/a", ms(time)).unwrap();
    }
    let ask = |asked: &Asked| {
        let head = head(asked.path, asked.terms());
        drop(spawn(&handle, start, head, ms(asked.work)));
    };
    for asked in &scene.ahead {
        ask(asked);
        tokio::time::sleep(ms(asked.gap / 4)).await;
    }
    settle().await;
    let (entered, it) = (Instant::now(), &scene.it);
    let said = handle.wait_for(&head(it.path, it.terms())).unwrap();
    let mut terms = it.terms();
    if let Some(after) = deadline {
        terms = terms.deadline(entered + ms(after));
    }
    let began = spawn(&handle, entered, head(it.path, terms), ms(it.work));
    let ended = tokio::spawn(async move {
        let began = began.await.unwrap();
        (began, whole(Instant::now() - entered))
    });
    settle().await;
    for asked in &scene.behind {
        ask(asked);
        tokio::time::sleep(ms(asked.gap)).await;
    }
    let (began, ended) = ended.await.unwrap();
    (began, ended, whole(said.expect("it fits")))
}

proptest! {
    #![proptest_config(cases(300))]

    /// L10, with classes, flows and costs: nobody goes before it was said to, nobody is refused who would have gone by
    /// its deadline, and who would have gone a millisecond too late is refused at its deadline at the latest.
    #[test]
    fn what_is_said_of_a_wait_is_a_lower_bound_and_refuses_nobody_in_vain(scene in scene()) {
        let (began, _, said) = paused(play(&scene, None));
        let began = began.unwrap();
        prop_assert!(began >= said, "said {said}, went after {began}");
        // Where a permit ends at the very tick of the deadline, either may come first.
        let spare = 1;
        let (in_time, ..) = paused(play(&scene, Some(began + spare)));
        prop_assert_eq!(in_time.ok(), Some(began));
        if began > 0 {
            let (late, ended, _) = paused(play(&scene, Some(began - 1)));
            let error = late.expect_err("it went after its deadline");
            prop_assert!(ended < began);
            let reason = refused(&error).reason();
            let at_limit = ended == began - 1 && reason == RefusedReason::WaitedTooLong;
            prop_assert!(at_limit || reason == RefusedReason::DeadlineWouldPass, "{reason:?}");
        }
    }
}

/// L10, L16: those who have no flow are one flow, and a newcomer of another one does not wait for all of them.
#[tokio::test(start_paused = true)]
async fn a_newcomer_of_a_flow_does_not_wait_for_all_that_have_none() {
    for deadline in [None, Some(700)] {
        let handle = layer_a(Face::Throttle, per(3, 1_000)).handle();
        handle.pause("/a", ms(500)).unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            drop(spawn(&handle, start, head("/a", Terms::new()), ms(0)));
            settle().await;
        }
        let mut terms = Terms::new().flow(Flow::new(1));
        let said = handle.wait_for(&head("/a", terms.clone())).unwrap();
        if let Some(after) = deadline {
            terms = terms.deadline(start + ms(after));
        }
        drop(handle.admit(&head("/a", terms)).await.unwrap());
        assert_eq!(Instant::now() - start, ms(500));
        assert_eq!(said, Some(ms(500)));
    }
}

/// L10: where one window decides and one class waits what is said is exact, whichever class that is, also behind a pause.
#[tokio::test(start_paused = true)]
async fn with_one_window_and_one_class_the_wait_is_exact() {
    for of in [Priority::LOW, Priority::NORMAL, Priority::HIGH] {
        for pause in [0, 250, 2_500] {
            let handle = layer_a(Face::Throttle, per(2, 1_000)).handle();
            let start = Instant::now();
            for _ in 0..7 {
                drop(spawn(&handle, start, head("/a", class(of)), ms(0)));
            }
            settle().await;
            if pause > 0 {
                handle.pause("/a", ms(pause)).unwrap();
            }
            let said = handle.wait_for(&head("/a", class(of))).unwrap();
            let began = spawn(&handle, start, head("/a", class(of)), ms(0));
            let began = began.await.unwrap().unwrap();
            assert_eq!(said, Some(ms(began)), "{of:?}, paused for {pause}");
        }
    }
}

/// L10: of a request nobody waits for: it has no end, never fits, or has a name that does not exist.
#[tokio::test(start_paused = true)]
async fn what_can_never_go_has_no_wait() {
    let quota = Quota::per_second(3)
        .units(TOKENS, 100, ms(1_000))
        .concurrency(2);
    let handle = layer_a(Face::Throttle, quota).handle();
    let cost = |cost| head("/a", Terms::new().cost(cost));
    for fits in [
        Cost::new().requests(3),
        Cost::new().permits(2),
        Cost::new().of(TOKENS, 100),
        Cost::new().of(Unit::CREDITS, u64::MAX),
    ] {
        let head = cost(fits);
        assert_eq!(handle.wait_for(&head).unwrap(), Some(ms(0)));
        drop(handle.admit(&head).await.unwrap());
    }
    for too_large in [
        Cost::new().requests(4),
        Cost::new().permits(3),
        Cost::new().of(TOKENS, 101),
        Cost::new()
            .requests(u32::MAX)
            .permits(usize::MAX)
            .of(TOKENS, u64::MAX),
    ] {
        let head = cost(too_large);
        assert_eq!(handle.wait_for(&head).unwrap(), None);
        let error = now(handle.admit(&head)).unwrap_err();
        assert_eq!(refused(&error).reason(), RefusedReason::NeverFits);
    }
    let unknown = head("/a", Terms::new().endpoint("nobody"));
    let error = handle.wait_for(&unknown).unwrap_err();
    assert!(error.downcast_ref::<UnknownEndpoint>().is_some());
    let error = now(handle.admit(&unknown)).unwrap_err();
    assert!(error.downcast_ref::<UnknownEndpoint>().is_some());
    handle.pause("/a", Duration::MAX).unwrap();
    assert_eq!(handle.wait_for(&a()).unwrap(), None);
    // What takes nothing waits for a pause all the same.
    let free = cost(Cost::new().requests(0).permits(0));
    assert_eq!(handle.wait_for(&free).unwrap(), None);
    handle.resume("/a").unwrap();
    assert_eq!(handle.wait_for(&a()).unwrap(), Some(ms(0)));
    assert_idle(&handle);
}

/// L10, L11: asking how long it would take takes no place, however often, and keeps no key for longer than a sweep.
#[tokio::test(start_paused = true)]
async fn asking_for_a_wait_takes_no_place_and_keeps_no_key() {
    let endpoints = endpoint_a(per(1, 1_000)).each_other_path(per(1, 1_000));
    let handle = throttle(endpoints).max_keys(3).handle();
    let buckets = handle.snapshot().buckets().count();
    for i in 0..100 {
        assert_eq!(handle.wait_for(&a()).unwrap(), Some(ms(0)));
        let other = head(&format!("/other/{i}"), Terms::new());
        assert_eq!(handle.wait_for(&other).unwrap(), Some(ms(0)));
    }
    handle.sweep();
    assert_eq!(handle.snapshot().buckets().count(), buckets);
    drop(now(handle.admit(&a())).unwrap());
}

/// L5: an admission that is dropped, however old it is, gives its places to the next at once.
#[tokio::test(start_paused = true)]
async fn an_admission_that_is_dropped_lets_the_next_go_at_once() {
    for face in FACES {
        let probe = Probe::new();
        let layer = layer_a(face, per(1, 10_000).concurrency(1));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let admission = handle.admit(&a()).await.unwrap();
        at(&probe, 5).await;
        let next = enter(&client, &probe, get("/a")).await;
        drop(admission);
        settle().await;
        assert!(next.is_finished(), "{face:?}");
        assert_eq!(probe.times(), [5]);
        assert_eq!(handle.snapshot().bucket("/a").unwrap().admitted(), 1);
    }
}

/// L13: an admission that nobody needs keeps its places for hours; once somebody waits it has 10 ms, and then its age.
#[tokio::test(start_paused = true)]
async fn an_admission_loses_its_places_only_to_somebody_who_waits() {
    let probe = Probe::new();
    let layer = layer_a(Face::Throttle, per(1, 1_000).concurrency(1));
    let (client, handle) = (layer.client(&probe), layer.handle());
    let old = handle.admit(&a()).await.unwrap();
    at(&probe, 3_600_000).await;
    drop(old.dispatch().expect("nobody took its places"));

    at(&probe, 3_602_000).await;
    let admission = handle.admit(&a()).await.unwrap();
    at(&probe, 3_602_100).await;
    let second = enter(&client, &probe, get("/a")).await;
    let last = enter(&client, &probe, get("/a")).await;
    at(&probe, 3_602_200).await;
    assert_eq!(probe.times().len(), 1);
    assert!(probe.times()[0] <= 3_602_110, "{:?}", probe.times());
    let first = probe.times()[0];
    let mut admission = admission
        .dispatch()
        .expect_err("its places were taken over");
    admission.admitted().await.unwrap();
    // As old as it was: before the last.
    assert_eq!(probe.millis(Instant::now()), first + 1_000);
    drop(admission.dispatch().unwrap());
    support::came(vec![second, last]).await;
    assert_eq!(probe.times()[1], first + 2_000);
}

/// L7: a pause calls back what was admitted and has not begun; so does a quota without room, and only then.
#[tokio::test(start_paused = true)]
async fn an_admission_is_called_back_by_a_pause_or_a_smaller_quota() {
    let handle = layer_a(Face::Throttle, Quota::concurrent(3)).handle();
    let start = Instant::now();
    let [one, two, three] = [(); 3].map(|()| now(handle.admit(&a())).unwrap());
    handle.set_quota("/a", Quota::concurrent(1)).unwrap();
    let permit = one.dispatch().expect("the oldest has room");
    let mut two = two.dispatch().expect_err("no room");
    drop(three.dispatch().expect_err("no room"));
    assert_eq!(gauge(&handle, "/a").1, 1);
    drop(permit);
    now(two.admitted()).unwrap();
    handle.pause("/a", ms(400)).unwrap();
    let mut two = two.dispatch().expect_err("it is paused");
    two.admitted().await.unwrap();
    assert_eq!(whole(Instant::now() - start), 400);
    let permit = two.dispatch().unwrap();
    // What has begun is not touched by a pause.
    handle.pause("/a", ms(400)).unwrap();
    assert_eq!(gauge(&handle, "/a"), (0, 1));
    drop(permit);
    assert_idle(&handle);
}

/// L3: a retry goes before those that came later of its class, and a higher class goes before it.
#[tokio::test(start_paused = true)]
async fn a_retry_keeps_its_age_within_its_class() {
    let handle = layer_a(Face::Throttle, per(1, 1_000)).handle();
    let start = Instant::now();
    let permit = begin(&handle, &a()).await;
    let later: Vec<_> = (0..2).map(|_| spawn(&handle, start, a(), ms(0))).collect();
    settle().await;
    permit.failed();
    let again = {
        let handle = handle.clone();
        tokio::spawn(async move {
            drop(
                handle
                    .admit_again(permit)
                    .await
                    .unwrap()
                    .dispatch()
                    .unwrap(),
            );
            whole(Instant::now() - start)
        })
    };
    settle().await;
    let high = spawn(&handle, start, head("/a", class(Priority::HIGH)), ms(0));
    settle().await;
    assert_eq!(high.await.unwrap().unwrap(), 1_000);
    assert_eq!(again.await.unwrap(), 2_000);
    for (later, at) in later.into_iter().zip([3_000, 4_000]) {
        assert_eq!(later.await.unwrap().unwrap(), at);
    }
}

/// L9: `admit_again` ends the permit at its first poll or drop, and an attempt is charged anew.
#[tokio::test(start_paused = true)]
async fn a_retry_holds_nothing_while_it_waits() {
    let handle = layer_a(Face::Throttle, per(2, 1_000).concurrency(1)).handle();
    let permit = begin(&handle, &a()).await;
    let again = handle.admit_again(permit);
    assert_eq!(gauge(&handle, "/a"), (0, 1));
    drop(again);
    assert_eq!(gauge(&handle, "/a"), (0, 0));
    let permit = begin(&handle, &a()).await;
    // Both of the window are used up, so the retry waits, and holds no permit.
    let mut again = Box::pin(handle.admit_again(permit));
    assert!(poll(again.as_mut()).is_pending());
    assert_eq!(gauge(&handle, "/a"), (1, 0));
    drop(again);
    assert_idle(&handle);
}

/// A retry finds its place in a full queue, and nobody is given up for it.
#[tokio::test(start_paused = true)]
async fn max_waiting_does_not_refuse_a_retry() {
    let handle = throttle(endpoint_a(per(1, 1_000))).max_waiting(1).handle();
    let start = Instant::now();
    let permit = begin(&handle, &a()).await;
    let waits = spawn(&handle, start, head("/a", class(Priority::LOW)), ms(0));
    settle().await;
    let mut again = Box::pin(handle.admit_again(permit));
    assert!(poll(again.as_mut()).is_pending());
    assert_eq!(gauge(&handle, "/a").0, 2);
    drop(again.await.unwrap().dispatch().unwrap());
    assert_eq!(whole(Instant::now() - start), 1_000);
    assert_eq!(waits.await.unwrap().unwrap(), 2_000);
}

/// L14: a permit settles until it is dropped, the last call counts, and it frees or closes the window at once.
#[tokio::test(start_paused = true)]
async fn the_last_settlement_of_a_permit_counts() {
    let quota = Quota::unlimited().units(TOKENS, 100, ms(1_000));
    let handle = layer_a(Face::Throttle, quota).handle();
    let ask = |n| head("/a", tokens(n));
    let permit = begin(&handle, &ask(100)).await;
    let start = Instant::now();
    let waits = spawn(&handle, start, ask(60), ms(0));
    settle().await;
    assert!(!waits.is_finished());
    // Of another unit, of requests or permits it has no effect.
    permit.settle(Cost::new().of(Unit::CREDITS, 1).requests(0).permits(0));
    settle().await;
    assert!(!waits.is_finished());
    permit.settle(Cost::new().of(TOKENS, 50));
    settle().await;
    assert!(!waits.is_finished());
    permit.settle(Cost::new().of(TOKENS, 40));
    settle().await;
    assert_eq!(waits.await.unwrap().unwrap(), 0);
    // More than there is: no error, and the window is closed until both are gone.
    permit.settle(Cost::new().of(TOKENS, 1_000_000));
    drop(permit);
    assert_eq!(handle.wait_for(&ask(1)).unwrap(), Some(ms(1_000)));
}

/// L7, L14: the first word about an attempt counts: `throttled` returns the same again, and after `failed` it does nothing.
#[tokio::test(start_paused = true)]
async fn the_first_word_about_a_permit_counts() {
    let handle = layer_a(Face::Throttle, Quota::concurrent(4)).handle();
    let signal = |time| Signal::new(SignalKind::Rate).with_retry_after(ms(time));
    let failed = begin(&handle, &a()).await;
    failed.failed();
    failed.throttled(&signal(60_000));
    assert_eq!(handle.snapshot().bucket("/a").unwrap().paused_for(), None);
    assert_eq!(handle.snapshot().bucket("/a").unwrap().throttled(), 0);
    let permit = begin(&handle, &a()).await;
    let first = permit.throttled(&signal(500)).unwrap();
    permit.failed();
    assert_eq!(permit.throttled(&signal(60_000)), Some(first));
    assert_eq!(handle.snapshot().bucket("/a").unwrap().throttled(), 1);
    let paused = handle
        .snapshot()
        .bucket("/a")
        .unwrap()
        .paused_for()
        .unwrap();
    assert!(paused >= ms(500) && paused <= ms(1_000), "{paused:?}");
    assert!(first >= Instant::now() + ms(500));
    // It holds its permit until it is dropped.
    assert_eq!(gauge(&handle, "/a").1, 2);
    drop((failed, permit));
    assert_idle(&handle);
}

/// L5: a permit outlives its layer and its handles.
#[tokio::test(start_paused = true)]
async fn a_permit_outlives_its_layer() {
    let handle = layer_a(
        Face::Throttle,
        Quota::concurrent(1).units(TOKENS, 9, ms(100)),
    )
    .handle();
    let (permit, waits) = (
        begin(&handle, &head("/a", tokens(9))).await,
        spawn(&handle, Instant::now(), head("/a", tokens(1)), ms(0)),
    );
    settle().await;
    drop(handle);
    tokio::time::sleep(ms(50)).await;
    permit.settle(Cost::new().of(TOKENS, 1));
    _ = permit.throttled(&Signal::new(SignalKind::Concurrency));
    drop(permit);
    assert!(waits.await.unwrap().is_ok());
}

/// L3: a future of `admit` enters at its first poll and not before.
#[tokio::test(start_paused = true)]
async fn an_admission_is_as_old_as_the_first_poll() {
    let handle = layer_a(Face::Throttle, per(1, 1_000)).handle();
    let request = a();
    let early = handle.admit(&request);
    let (start, _permit) = (Instant::now(), begin(&handle, &a()).await);
    let first = spawn(&handle, start, a(), ms(0));
    settle().await;
    drop(early.await.unwrap().dispatch().unwrap());
    assert_eq!(whole(Instant::now() - start), 2_000);
    assert_eq!(first.await.unwrap().unwrap(), 1_000);
}

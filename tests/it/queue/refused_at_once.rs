//! Who waits is refused as soon as it is known that its turn comes too late, and not before.
//!
//! `refusals.rs` has what is known on entry. Here, what a request waits for changes while it waits.

use std::time::Duration;

use crate::support::*;
use proptest::{collection::vec, prelude::*};
use tower_throttle::{Deadline, Endpoints, Quota, RefusedReason};

use Came::{Refused as No, Sent as Yes};
use RefusedReason::{DeadlineWouldPass, WaitedTooLong, WouldWaitTooLong};

/// What happens: at so many milliseconds, to which path, and the work in milliseconds.
type Ask = (u64, &'static str, u64);

/// The first holds the permit of `/a` until 100, the second waits for it, and the third takes what was left of
/// the window of a wider scope.
const ASKS: [Ask; 3] = [(0, "/a", 100), (1, "/a", 100), (50, "/b", 100)];

/// Enters all of `asks`, the second with `deadline`.
async fn play(layer: &AnyLayer, asks: &[Ask], deadline: Option<u64>) -> Vec<Came> {
    let probe = Probe::new();
    let client = layer.client(&probe);
    let mut tasks = Vec::new();
    for &(time, path, work) in asks {
        at(&probe, time).await;
        let mut request = job(path, ms(work));
        if let Some(deadline) = deadline.filter(|_| tasks.len() == 1) {
            let deadline = Deadline(probe.start() + ms(deadline));
            request.extensions_mut().insert(deadline);
        }
        tasks.push(enter(&client, &probe, request).await);
    }
    let came = came(tasks).await;
    assert_idle(&layer.handle());
    came
}

/// `/a` takes one at a time; everything together is `overall`.
fn narrow_and(overall: Quota) -> Endpoints {
    Endpoints::new()
        .route("/a", Quota::concurrent(1))
        .route("/b", Quota::unlimited())
        .overall(overall)
}

/// Two in 10 s.
fn narrow_and_wide() -> Endpoints {
    narrow_and(per(2, 10_000))
}

fn throttling(endpoints: Endpoints) -> AnyLayer {
    AnyLayer::new(Face::Throttle, endpoints)
}

/// L10: at 100 the permit of `/a` is free, and the second request waits for the window of everything, which has
/// room at 10 s only.
#[tokio::test(start_paused = true)]
async fn a_request_is_refused_when_it_has_its_permit_and_its_slot_is_too_late() {
    let layer = throttling(narrow_and_wide()).max_wait(ms(1000));
    assert_eq!(
        play(&layer, &ASKS, None).await,
        [
            Yes(100),
            No(100, WouldWaitTooLong, Some(ms(9900))),
            Yes(150)
        ]
    );
}

/// L10: the same for a deadline.
#[tokio::test(start_paused = true)]
async fn a_request_is_refused_when_its_slot_turns_out_to_be_after_its_deadline() {
    for deadline in [1001, 9_999] {
        let layer = throttling(narrow_and_wide());
        assert_eq!(
            play(&layer, &ASKS, Some(deadline)).await,
            [
                Yes(100),
                No(100, DeadlineWouldPass, Some(ms(9900))),
                Yes(150)
            ]
        );
    }
}

/// L10: the same where the wider scope is a group, or all partitions together.
#[tokio::test(start_paused = true)]
async fn the_wider_scope_may_be_any() {
    let group = Endpoints::new()
        .route("/a", Quota::concurrent(1))
        .route("/b", Quota::unlimited())
        .group("group", per(2, 10_000), ["/a", "/b"]);
    let across = Endpoints::new()
        .route("/a", Quota::concurrent(1))
        .partition_by_header("x-key")
        .across_partitions(per(2, 10_000));
    let deep = Endpoints::new()
        .route("/a", Quota::concurrent(1))
        .group("group", Quota::concurrent(3), ["/a", "/b"])
        .overall(per(2, 10_000));
    for endpoints in [group, across, deep] {
        let layer = throttling(endpoints.clone()).max_wait(ms(1000));
        assert_eq!(
            play(&layer, &ASKS, None).await,
            [
                Yes(100),
                No(100, WouldWaitTooLong, Some(ms(9900))),
                Yes(150)
            ],
            "{endpoints:?}"
        );
    }
}

/// L10: the permit may come free by a drop as well.
#[tokio::test(start_paused = true)]
async fn a_permit_that_a_dropped_call_gives_back_shows_that_the_slot_is_too_late() {
    let probe = Probe::new();
    let layer = throttling(narrow_and_wide()).max_wait(ms(1000));
    let client = layer.client(&probe);
    let first = enter(&client, &probe, job("/a", ms(5000))).await;
    let second = enter(&client, &probe, job("/a", ms(100))).await;
    let third = enter(&client, &probe, job("/b", ms(100))).await;
    at(&probe, 70).await;
    first.abort();
    assert_eq!(
        came(vec![second, third]).await,
        [No(70, WouldWaitTooLong, Some(ms(9930))), Yes(100)]
    );
    assert_idle(&layer.handle());
}

/// L10: three deep. At 100 it leaves its endpoint and waits for a permit of its group; only at 300, when it has
/// that, does it wait for the window of everything, which was used up at 200.
#[tokio::test(start_paused = true)]
async fn three_deep_each_step_shows_whether_the_slot_is_too_late() {
    let layer = throttling(
        Endpoints::new()
            .route("/a", Quota::concurrent(1))
            .group("group", Quota::concurrent(2), ["/a", "/x"])
            .route("/c", Quota::unlimited())
            .overall(per(4, 10_000)),
    )
    .max_wait(ms(1000));
    let asks = [
        (0, "/a", 100),
        (1, "/a", 100),
        (1, "/x", 299),
        // At 100 it is before the second in the contest for the group.
        (2, "/x", 200),
        (200, "/c", 1),
    ];
    assert_eq!(
        play(&layer, &asks, None).await,
        [
            Yes(100),
            No(300, WouldWaitTooLong, Some(ms(9700))),
            Yes(300),
            Yes(300),
            Yes(201)
        ]
    );
}

/// L10: the head is refused, and with it those behind it whose slots are no earlier; one that has no limit stays.
#[tokio::test(start_paused = true)]
async fn those_behind_the_head_are_refused_in_the_same_instant() {
    let probe = Probe::new();
    // Six in ten seconds: when they enter there is room for all who wait.
    let layer = throttling(narrow_and(per(6, 10_000)));
    let client = layer.client(&probe);
    let limited = |n| {
        let mut request = job("/a", ms(100));
        request
            .extensions_mut()
            .insert(Deadline(probe.start() + ms(n)));
        request
    };
    let mut tasks = vec![enter(&client, &probe, job("/a", ms(100))).await];
    for request in [
        limited(1000),
        limited(2000),
        job("/a", ms(100)),
        limited(3000),
    ] {
        tasks.push(enter(&client, &probe, request).await);
    }
    at(&probe, 50).await;
    for _ in 0..5 {
        tasks.push(enter(&client, &probe, job("/b", ms(100))).await);
    }
    let came = came(tasks).await;
    assert_eq!(came[0], Yes(100));
    assert_eq!(came[5..], [Yes(150); 5]);
    for refused in [came[1], came[2], came[4]] {
        // The first place is free at 10 s, the second at 10.05 s.
        assert!(
            matches!(refused, No(100, DeadlineWouldPass, Some(wait)) if wait >= ms(9900)),
            "{refused:?}"
        );
    }
    assert_eq!(came[3], Yes(10_100));
    assert_idle(&layer.handle());
}

/// L10: one that is not the head has a turn of its own. The one ahead goes, and its own permit comes free at 200.
#[tokio::test(start_paused = true)]
async fn one_that_is_not_the_head_is_refused_when_it_has_become_it_at_the_latest() {
    let endpoints = narrow_and(per(3, 10_000));
    let layer = throttling(endpoints).max_wait(ms(1000));
    let asks = [
        (0, "/a", 100),
        (1, "/a", 100),
        (2, "/a", 100),
        (50, "/b", 100),
    ];
    let came = play(&layer, &asks, None).await;
    assert_eq!((came[0], came[1], came[3]), (Yes(100), Yes(200), Yes(150)));
    // When it is known: the third place was given away at 100.
    assert!(
        matches!(came[2], No(100 | 200, WouldWaitTooLong, Some(wait))
            if wait == ms(9900) || wait == ms(9800)),
        "{:?}",
        came[2]
    );
}

/// L10: a pause of a wider scope moves the turn of one that waits for a permit, and refuses it at that instant.
#[tokio::test(start_paused = true)]
async fn a_pause_of_a_wider_scope_refuses_one_that_waits_for_a_permit() {
    for face in PERMITS {
        for scope in ["group", Endpoints::OVERALL] {
            for deadline in [None, Some(1001)] {
                let probe = Probe::new();
                let mut layer = AnyLayer::new(
                    face,
                    Endpoints::new().route("/a", Quota::concurrent(1)).group(
                        "group",
                        Quota::unlimited(),
                        ["/a"],
                    ),
                );
                if deadline.is_none() {
                    layer = layer.max_wait(ms(1000));
                }
                let client = layer.client(&probe);
                let first = enter(&client, &probe, job("/a", ms(100))).await;
                at(&probe, 1).await;
                let mut request = job("/a", ms(100));
                if let Some(deadline) = deadline {
                    let deadline = Deadline(probe.start() + ms(deadline));
                    request.extensions_mut().insert(deadline);
                }
                let second = enter(&client, &probe, request).await;
                at(&probe, 50).await;
                // This one is short enough.
                layer.handle().pause(scope, ms(900)).unwrap();
                settle().await;
                assert!(!second.is_finished(), "{face:?} {scope}");
                layer.handle().pause(scope, ms(10_000)).unwrap();
                let reason = deadline.map_or(WouldWaitTooLong, |_| DeadlineWouldPass);
                assert_eq!(
                    came(vec![first, second]).await,
                    [Yes(100), No(50, reason, Some(ms(10_000)))],
                    "{face:?} {scope}"
                );
                assert_idle(&layer.handle());
            }
        }
    }
}

/// L10: so does a quota that is set on a wider scope.
#[tokio::test(start_paused = true)]
async fn a_quota_of_a_wider_scope_refuses_one_that_waits_for_a_permit() {
    for scope in ["group", Endpoints::OVERALL] {
        let probe = Probe::new();
        let layer = throttling(
            Endpoints::new()
                .route("/a", Quota::concurrent(1))
                .group("group", per(5, 10_000), ["/a"])
                .overall(per(5, 10_000)),
        )
        .max_wait(ms(1000));
        let client = layer.client(&probe);
        let first = enter(&client, &probe, job("/a", ms(100))).await;
        at(&probe, 1).await;
        let second = enter(&client, &probe, job("/a", ms(100))).await;
        at(&probe, 50).await;
        layer.handle().set_quota(scope, per(1, 10_000)).unwrap();
        assert_eq!(
            came(vec![first, second]).await,
            [Yes(100), No(50, WouldWaitTooLong, Some(ms(9950)))],
            "{scope}"
        );
        assert_idle(&layer.handle());
    }
}

/// L10: nobody is refused whose turn comes in time, and not one tick later.
#[tokio::test(start_paused = true)]
async fn one_whose_slot_is_in_time_waits_for_it() {
    for (period, max_wait, sent) in [
        (10_000, 12_000, 10_000),
        (900, 1000, 900),
        // Entered at 1, so its limit is at 1001.
        (1001, 1000, 1001),
    ] {
        let endpoints = narrow_and(per(2, period));
        let layer = throttling(endpoints).max_wait(ms(max_wait));
        assert_eq!(
            play(&layer, &ASKS, None).await,
            [Yes(100), Yes(sent + 100), Yes(150)]
        );
    }
    // A millisecond more is too much.
    let endpoints = narrow_and(per(2, 1002));
    let layer = throttling(endpoints).max_wait(ms(1000));
    assert_eq!(
        play(&layer, &ASKS, None).await[1],
        No(100, WouldWaitTooLong, Some(ms(902)))
    );
}

/// L10: where the wider scope has room at that instant, nothing is refused.
#[tokio::test(start_paused = true)]
async fn one_that_finds_room_when_it_has_its_permit_goes() {
    let layer = throttling(narrow_and_wide()).max_wait(ms(1000));
    assert_eq!(
        play(&layer, &ASKS[..2], None).await,
        [Yes(100), Yes(200)],
        "nobody used the second place"
    );
    let probe = Probe::new();
    let layer = throttling(narrow_and_wide()).max_wait(ms(1000));
    let client = layer.client(&probe);
    let mut tasks = Vec::new();
    for (time, path, work) in ASKS {
        at(&probe, time).await;
        tasks.push(enter(&client, &probe, job(path, ms(work))).await);
    }
    at(&probe, 99).await;
    let handle = layer.handle();
    handle
        .set_quota(Endpoints::OVERALL, per(3, 10_000))
        .unwrap();
    assert_eq!(came(tasks).await, [Yes(100), Yes(200), Yes(150)]);
}

/// L10: the wait for permits counts as nothing: those ahead may end at any time.
#[tokio::test(start_paused = true)]
async fn one_behind_many_that_wait_for_permits_is_not_refused() {
    for face in PERMITS {
        let probe = Probe::new();
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let layer = AnyLayer::new(face, endpoints).max_wait(ms(150));
        let client = layer.client(&probe);
        let first = enter(&client, &probe, job("/a", ms(10_000))).await;
        let mut tasks = Vec::new();
        for _ in 0..20 {
            tasks.push(enter(&client, &probe, job("/a", ms(0))).await);
        }
        at(&probe, 149).await;
        first.abort();
        assert_eq!(came(tasks).await, [Yes(149); 20], "{face:?}");
        assert_idle(&layer.handle());
    }
}

/// L10: only the heads of endpoints compete for a wider scope, so a newcomer elsewhere is not behind all of a
/// long queue.
#[tokio::test(start_paused = true)]
async fn a_newcomer_is_not_refused_for_a_queue_that_it_does_not_stand_in() {
    for face in [Face::Rps, Face::Throttle] {
        for deadline in [210, 260] {
            let probe = Probe::new();
            let endpoints = Endpoints::new()
                .route("/a", Quota::unlimited())
                .route("/b", Quota::unlimited())
                .overall(per(1, 100));
            let layer = AnyLayer::new(face, endpoints);
            let client = layer.client(&probe);
            let mut tasks = Vec::new();
            for _ in 0..6 {
                tasks.push(enter(&client, &probe, get("/b")).await);
            }
            at(&probe, 10).await;
            let mut request = get("/a");
            let limit = Deadline(probe.start() + ms(deadline));
            request.extensions_mut().insert(limit);
            tasks.push(enter(&client, &probe, request).await);
            let came = came(tasks).await;
            // The head of `/b` was there before it; the others become heads later.
            assert_eq!(came[6], Yes(200), "{face:?}");
            assert_eq!(came[..3], [Yes(0), Yes(100), Yes(300)], "{face:?}");
        }
    }
}

/// L10: those who wait for a narrower window do not stand in the wider queue either.
#[tokio::test(start_paused = true)]
async fn a_newcomer_is_not_refused_for_those_that_their_own_window_keeps_back() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let endpoints = Endpoints::new()
            .route("/a", per(1, 1000))
            .route("/b", Quota::unlimited())
            .overall(per(1, 100));
        let layer = AnyLayer::new(face, endpoints);
        let client = layer.client(&probe);
        let mut tasks = Vec::new();
        for _ in 0..4 {
            tasks.push(enter(&client, &probe, get("/a")).await);
        }
        let mut request = get("/b");
        let limit = Deadline(probe.start() + ms(150));
        request.extensions_mut().insert(limit);
        tasks.push(enter(&client, &probe, request).await);
        assert_eq!(
            came(tasks).await,
            [Yes(0), Yes(1000), Yes(2000), Yes(3000), Yes(100)],
            "{face:?}"
        );
    }
}

/// L10: the computed wait supposes that all ahead go. If they do not, it goes earlier.
#[tokio::test(start_paused = true)]
async fn one_whose_predecessors_leave_goes_earlier() {
    for face in [Face::Rps, Face::Throttle] {
        let probe = Probe::new();
        let layer =
            AnyLayer::new(face, Endpoints::new().route("/a", per(1, 100))).max_wait(ms(300));
        let client = layer.client(&probe);
        let mut tasks = Vec::new();
        for _ in 0..4 {
            tasks.push(enter(&client, &probe, get("/a")).await);
        }
        at(&probe, 50).await;
        tasks.remove(1).abort();
        tasks.remove(1).abort();
        assert_eq!(came(tasks).await, [Yes(0), Yes(100)], "{face:?}");
    }
}

/// When the next can go that enters, or is at the head, at `now`.
fn slot(windows: &[(u32, u64)], sent: &[u64], now: u64) -> u64 {
    let mut turn = sent.last().map_or(now, |last| now.max(*last));
    while windows.iter().any(|&(n, period)| {
        let counted = |at: &&u64| turn < **at + period;
        sent.iter().filter(counted).count() >= n as usize
    }) {
        turn += 1;
    }
    turn
}

proptest! {
    #![proptest_config(cases(200))]

    /// L10: several windows on one bucket. Nobody is refused who would have gone in time if all ahead had gone;
    /// nobody waits beyond its limit; and with one window all that is known on entry.
    #[test]
    fn with_several_windows_nobody_is_refused_who_would_have_gone_in_time(
        windows in vec((1u32..5, 1u64..200), 1..4),
        mut asks in vec(0u64..600, 1..50),
        max_wait in 0u64..300,
        wide in any::<bool>(),
    ) {
        asks.sort_unstable();
        let quota = windows.iter().fold(Quota::unlimited(), |q, &(n, p)| q.and_per(n, ms(p)));
        let endpoints = if wide {
            Endpoints::new().overall(quota)
        } else {
            Endpoints::new().route("/a", quota)
        };
        let came = paused(async {
            let probe = Probe::new();
            let layer = throttling(endpoints).max_wait(ms(max_wait));
            let client = layer.client(&probe);
            let mut tasks = Vec::new();
            for &time in &asks {
                at(&probe, time).await;
                tasks.push(enter(&client, &probe, get("/a")).await);
            }
            let came = came(tasks).await;
            assert_idle(&layer.handle());
            came
        });
        let mut sent = Vec::new();
        for (id, &entry) in asks.iter().enumerate() {
            let limit = entry + max_wait;
            match came[id] {
                Yes(at) => {
                    prop_assert_eq!(at, slot(&windows, &sent, entry), "{}: {:?}", id, came);
                    prop_assert!(at <= limit, "{id}: {came:?}");
                    sent.push(at);
                }
                No(at, reason, wait) => {
                    prop_assert!((entry..=limit).contains(&at), "{id}: {came:?}");
                    if at < limit || at == entry {
                        prop_assert_eq!(reason, WouldWaitTooLong);
                        prop_assert!(wait.is_some_and(|wait| at + millis(wait) > limit));
                    }
                    // Those ahead, as they were then: gone, or supposed to go.
                    let mut ahead = Vec::new();
                    for (&entry, came) in asks[..id].iter().zip(&came) {
                        match *came {
                            Yes(gone) if gone <= at => ahead.push(gone),
                            No(gone, ..) if gone < at => {}
                            _ => ahead.push(slot(&windows, &ahead, at.max(entry))),
                        }
                    }
                    let turn = slot(&windows, &ahead, at);
                    prop_assert!(turn > limit, "{id} would have gone at {turn}: {came:?}");
                    if let [_] = windows[..] {
                        // Those ahead went, or were refused on entry.
                        let turn = slot(&windows, &sent, at);
                        prop_assert_eq!(at, entry, "{}: {:?}", id, came);
                        prop_assert_eq!(wait, Some(ms(turn - at)), "{}: {:?}", id, came);
                    }
                }
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// A limit of the random schedules: windows, and how many at once.
type Limit = (Vec<(u32, u64)>, Option<usize>);

fn limit() -> impl Strategy<Value = Limit> {
    (
        vec((1u32..4, 1u64..400), 0..2),
        proptest::option::weighted(0.6, 1usize..3),
    )
}

fn quota((windows, concurrency): &Limit) -> Quota {
    let quota = windows
        .iter()
        .fold(Quota::unlimited(), |q, &(n, p)| q.and_per(n, ms(p)));
    match concurrency {
        Some(n) => quota.concurrency(*n),
        None => quota,
    }
}

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

/// Enters requests with a deadline each, or none. Gives when each was dispatched, or refused and why.
async fn contest(
    endpoints: &Endpoints,
    asks: &[(u64, usize, u64)],
    deadlines: &[Option<u64>],
) -> Vec<Came> {
    let probe = Probe::new();
    let layer = throttling(endpoints.clone());
    let client = layer.client(&probe);
    let mut tasks = Vec::new();
    for (id, (&(time, path, work), deadline)) in asks.iter().zip(deadlines).enumerate() {
        at(&probe, time).await;
        let mut request = Work::head(ms(work)).id(id).of(PATHS[path]);
        if let Some(deadline) = deadline {
            let deadline = Deadline(probe.start() + ms(*deadline));
            request.extensions_mut().insert(deadline);
        }
        tasks.push(enter(&client, &probe, request).await);
    }
    let mut came = came(tasks).await;
    for call in &probe.log().calls {
        came[call.id] = Yes(probe.millis(call.at));
    }
    assert_idle(&layer.handle());
    came
}

proptest! {
    #![proptest_config(cases(64))]

    /// L10: with permits and wider scopes, what is refused early would not have gone in time. The same schedule
    /// is run again with all the patience of the world for the one that was refused.
    #[test]
    fn nobody_is_refused_early_who_would_have_gone_in_time(
        limits in vec(limit(), 3),
        group in proptest::option::of(limit()),
        overall in limit(),
        mut asks in vec((0u64..300, 0..3usize, 0u64..150), 1..16),
        max_wait in 1u64..600,
    ) {
        asks.sort_unstable();
        let mut endpoints = Endpoints::new().overall(quota(&overall));
        for (path, limit) in PATHS.iter().zip(&limits) {
            endpoints = endpoints.route(path, quota(limit));
        }
        if let Some(limit) = &group {
            endpoints = endpoints.group("group", quota(limit), ["/a", "/b"]);
        }
        let deadlines: Vec<_> = asks.iter().map(|(at, ..)| Some(at + max_wait)).collect();
        let came = paused(contest(&endpoints, &asks, &deadlines));
        for (id, (one, deadline)) in came.iter().zip(&deadlines).enumerate() {
            let limit = deadline.unwrap();
            let at = match *one {
                Yes(at) => {
                    prop_assert!(at <= limit, "{id}: {came:?}");
                    continue;
                }
                No(at, reason, _) => {
                    prop_assert!(at <= limit, "{id}: {came:?}");
                    prop_assert!(matches!(reason, DeadlineWouldPass | WaitedTooLong));
                    at
                }
            };
            if at == limit {
                continue;
            }
            let mut patient = deadlines.clone();
            patient[id] = None;
            let again = paused(contest(&endpoints, &asks, &patient));
            let Yes(gone) = again[id] else {
                panic!("{id} has all the time: {again:?}");
            };
            // If somebody left meanwhile, not everyone ahead has gone.
            let everyone_went = !again
                .iter()
                .any(|other| matches!(other, No(left, ..) if (at..=gone).contains(left)));
            prop_assert!(
                gone > limit || !everyone_went,
                "{id} would have gone at {gone}: {came:?}, {again:?}"
            );
        }
    }
}

/// L10: a request that lost its places while its inner service was not ready waits again: its limit holds.
#[tokio::test(start_paused = true)]
async fn one_that_lost_its_places_to_a_service_that_is_not_ready_is_refused_at_its_limit() {
    for face in PERMITS {
        for deadline in [false, true] {
            let probe = Probe::new();
            let layer = AnyLayer::new(face, Endpoints::new().route("/a", Quota::concurrent(1)));
            let layer = if deadline {
                layer
            } else {
                layer.max_wait(ms(50))
            };
            let client = layer.client(&probe);
            let long = || Work::head(ms(500)).of("/a");
            let mut limited = long();
            if deadline {
                let until = Deadline(probe.start() + ms(50));
                limited.extensions_mut().insert(until);
            }
            let first = enter(&client, &probe, Work::head(ms(20)).of("/a")).await;
            let unready = enter(&client, &probe, limited).await;
            let behind = enter(&client, &probe, long()).await;
            probe.log().readiness.push_back(ms(1000));
            at(&probe, 49).await;
            // At 30 the one behind took its place over.
            assert_eq!(gauge(&layer.handle(), "/a"), (1, 1), "{face:?}");
            assert!(!unready.is_finished(), "{face:?}");
            at(&probe, 50).await;
            assert!(unready.is_finished(), "{face:?} {deadline}");
            let tasks = vec![first, unready, behind];
            let expected = [Yes(20), No(50, WaitedTooLong, None), Yes(530)];
            assert_eq!(came(tasks).await, expected, "{face:?} {deadline}");
            assert_idle(&layer.handle());
        }
    }
}

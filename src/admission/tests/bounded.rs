//! L18: no hold of the lock takes more than [`K`] + [`C`] log2 n steps, whatever the number n of nodes,
//! waiters and stamps.
//!
//! A step is what [`steps`] counts: a look at a node, a waiter, a link of a queue, a slot of the table of
//! keys or a stamp, or the move of one. An operation on one of std's trees counts as one way down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::crowd::{Crowd, Request, to_name, to_path, within};
use crate::{
    Endpoints, Event, EventKind, Learning, Observer, Quota,
    admission::{InFlight, Setbacks},
    signal::{QuotaReport, Signal, SignalKind},
    steps,
};

/// What 64 waiters take besides their ways down. It is enough for 1024 stamps that move to chunks. And for the
/// 256 nodes at which a step of a sweep looks: they take up to 47 steps each while the table of keys is being
/// replaced, but if there are so few that log2 n is less than 11, that ends meanwhile.
const K: usize = 5_000;

/// A hold serves 64 waiters, and each of them takes about 11 ways down: of its queues, its ticket, its timers.
const C: usize = 700;

/// One waiter that times out by itself takes this many steps, and this many ways down.
const K_OF_ONE: usize = 100;
const C_OF_ONE: usize = 12;

/// log2 n, rounded down.
fn log2(n: usize) -> usize {
    n.ilog2() as usize
}

/// Bounds the holds since the last call, among `n` nodes, waiters and stamps.
#[track_caller]
fn bounded(what: &str, n: usize) {
    let most = steps::take_most();
    let log = log2(n);
    println!("{most:>7} steps, n = {n:>7}, log2 n = {log:>2}: {what}");
    assert!(most <= K + C * log, "{what}: {most} steps");
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(millis: usize) -> Duration {
    Duration::from_millis(millis as u64)
}

/// 0 to n-1 in another order, of which nothing is known that would help.
fn shuffled(n: usize) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut all: Vec<_> = (0..n).collect();
    random.shuffle(&mut all);
    all
}

mod keys {
    use super::*;

    const KEYS: usize = 200_000;

    #[tokio::test(start_paused = true)]
    async fn a_call_among_very_many_keys_does_a_little_of_a_pass() {
        // With a few more the table of keys would have been replaced.
        a_pass_among(3_080).await;
        a_pass_among(KEYS).await;
    }

    async fn a_pass_among(keys: usize) {
        let endpoints = Endpoints::new()
            .overall(Quota::per_second(1_000_000_000))
            .each_other_path(Quota::per_minute(2));
        let mut crowd = Crowd::new(&endpoints);
        for n in 0..keys {
            crowd.call(to_path(n));
        }
        bounded("keys come one by one", keys);
        for n in 0..1000 {
            crowd.call(to_path(n));
        }
        bounded("keys are used", keys);
        tokio::time::sleep(secs(61)).await;
        for n in 0..(keys / 64).max(200) {
            crowd.call(to_path(n % 100));
        }
        bounded("a pass", keys);
        assert!(crowd.handle.snapshot().buckets().count() < 200);
        for n in 0..keys {
            crowd.call(to_path(n));
        }
        bounded("keys come again", keys);
        let path = Endpoints::EACH_OTHER_PATH;
        crowd.handle.set_quota(path, Quota::per_minute(3)).unwrap();
        bounded("set_quota", keys);
        crowd.handle.pause(path, secs(5)).unwrap();
        bounded("pause", keys);
        crowd.handle.resume(path).unwrap();
        bounded("resume", keys);
        crowd.handle.set_learning(Learning::none());
        bounded("set_learning", keys);
        assert!(crowd.handle.snapshot().buckets().count() > keys);
        bounded("snapshot", keys);
        tokio::time::sleep(secs(61)).await;
        crowd.handle.sweep();
        bounded("Handle::sweep", keys);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_at_the_end_that_was_kept_costs_no_more_when_it_goes() {
        let endpoints = Endpoints::new().each_other_path(Quota::per_second(1));
        let mut crowd = Crowd::new(&endpoints);
        for n in 0..KEYS {
            crowd.call(to_path(n));
        }
        crowd.keeps_permits = true;
        crowd.call(to_path(KEYS));
        tokio::time::sleep(secs(2)).await;
        crowd.handle.sweep();
        bounded("all but the last key go", KEYS);
        crowd.permits.clear();
        tokio::time::sleep(secs(2)).await;
        crowd.handle.sweep();
        bounded("the last key goes", KEYS);
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_of_three_scopes_each() {
        let endpoints = Endpoints::new()
            .partition_by_header("x-user")
            .across_partitions(Quota::per_second(1_000_000_000))
            .overall(Quota::per_minute(100))
            .named("0", Quota::per_minute(10));
        let mut crowd = Crowd::new(&endpoints);
        let of = |user: usize| {
            let mut request = to_name(0);
            let user = http::HeaderValue::from_str(&user.to_string()).unwrap();
            request.headers_mut().insert("x-user", user);
            request
        };
        let users = KEYS / 4;
        for n in 0..users {
            crowd.call(of(n));
        }
        bounded("partitions come one by one", 2 * users);
        crowd
            .handle
            .set_quota("overall", Quota::per_minute(99))
            .unwrap();
        bounded("set_quota of all partitions", 2 * users);
        tokio::time::sleep(secs(61)).await;
        for n in 0..KEYS / 64 {
            crowd.call(of(n % 100));
        }
        bounded("two passes", 2 * users);
        assert!(crowd.handle.snapshot().buckets().count() < 400);
    }
}

mod reloads {
    use super::*;

    const KEYS: usize = 100_000;
    const WAITERS: usize = 10_000;

    /// The group that `0` is in; `n` others are in none.
    fn endpoints(n: usize, group: &str, each: &Quota) -> Endpoints {
        let endpoints = Endpoints::new().route("/0", each.clone());
        let endpoints = endpoints.group(group, Quota::concurrent(WAITERS), ["/0"]);
        (1..n).fold(endpoints, |endpoints, n| {
            endpoints.named(&n.to_string(), each.clone())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_of_a_route_that_changes_its_group() {
        let each = Quota::concurrent(1).and_per(1000, secs(60));
        let mut crowd = Crowd::new(&endpoints(1, "a", &each));
        crowd.keeps_permits = true;
        for _ in 0..WAITERS {
            crowd.call(within(to_path(0), secs(1_000_000)));
        }
        bounded("they enter", WAITERS);
        crowd.handle.reload(endpoints(1, "b", &each)).unwrap();
        bounded("the group changes", WAITERS);
        for _ in 0..WAITERS {
            crowd.call(to_path(0));
        }
        bounded("as many newcomers", 2 * WAITERS);
        crowd
            .handle
            .reload(endpoints(1, "c", &Quota::concurrent(4)))
            .unwrap();
        bounded("group and quota change", 2 * WAITERS);
        while !crowd.permits.is_empty() {
            crowd.permits.clear();
            crowd.serve();
        }
        assert_eq!((crowd.waiting(), crowd.refused), (0, 0));
        bounded("all go", 2 * WAITERS);
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_endpoints() {
        const N: usize = 20_000;
        let each = Quota::per_second(1);
        let mut crowd = Crowd::new(&endpoints(N, "a", &each));
        for n in 1..N {
            crowd.call(to_name(n));
        }
        bounded("each is called", N);
        let handle = crowd.handle.clone();
        handle.reload(endpoints(N, "a", &each)).unwrap();
        bounded("the same endpoints", N);
        handle
            .reload(endpoints(N, "a", &Quota::per_second(2)))
            .unwrap();
        bounded("all quotas change", N);
        let across = endpoints(N, "a", &each).across_partitions(Quota::per_second(1_000_000));
        handle.reload(across).unwrap();
        bounded("a scope above all others comes", N);
        for n in 1..N {
            crowd.call(to_name(n));
        }
        bounded("each is called again", N);
        tokio::time::sleep(secs(100)).await;
        handle.sweep();
        bounded("sweep", N);
        handle.reload(endpoints(1, "a", &each)).unwrap();
        bounded("all but one go", N);
        handle.reload(endpoints(1, "a", &each)).unwrap();
        bounded("what is left of them goes", N);
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_partitions() {
        let endpoints = |group| endpoints(1, group, &Quota::per_minute(2).concurrency(2));
        let mut crowd = Crowd::new(&endpoints("a").partition_by_header("x-user"));
        crowd.keeps_permits = true;
        let of = |user: usize| {
            let mut request = to_path(0);
            let user = http::HeaderValue::from_str(&user.to_string()).unwrap();
            request.headers_mut().insert("x-user", user);
            request
        };
        for n in 0..KEYS {
            crowd.call(of(n));
        }
        // Some have permits still, and at some there are waiters.
        let _ = crowd.permits.split_off(WAITERS);
        for n in 0..2 * WAITERS {
            crowd.call(of(n / 2));
        }
        bounded("they are there", 3 * KEYS);
        let handle = crowd.handle.clone();
        handle
            .reload(endpoints("b").partition_by_header("x-user"))
            .unwrap();
        bounded("their group changes", 3 * KEYS);
        for n in 0..WAITERS {
            crowd.call(of(n));
        }
        bounded("newcomers", 3 * KEYS);
        handle
            .reload(endpoints("b").partition_by_header("x-other"))
            .unwrap();
        bounded("the rule changes", 3 * KEYS);
        for n in 0..100 {
            crowd.call(of(n));
        }
        bounded("newcomers by the new rule", 3 * KEYS);
        for _ in 0..4 {
            crowd.permits.clear();
            tokio::time::sleep(secs(61)).await;
            crowd.serve();
        }
        bounded("time passes", 3 * KEYS);
        handle.sweep();
        bounded("sweep", 3 * KEYS);
        handle.reload(endpoints("b")).unwrap();
        bounded("no partitions any more", 3 * KEYS);
    }
}

mod queues {
    use super::*;

    const WAITERS: usize = 32_000;

    /// All in one leaf, or spread over a thousand.
    fn leaves() -> [(&'static str, usize); 2] {
        [("one leaf", 1), ("1000 leaves", 1000)]
    }

    fn endpoints(leaves: usize, each: &Quota, overall: Quota) -> Endpoints {
        let endpoints = Endpoints::new().overall(overall);
        (0..leaves).fold(endpoints, |endpoints, n| {
            endpoints.named(&n.to_string(), each.clone())
        })
    }

    /// One that is in flight keeps all others waiting.
    fn closed(leaves: usize, n: usize, request: impl Fn(usize, Request) -> Request) -> Crowd {
        let each = Quota::unlimited();
        let mut crowd = Crowd::new(&endpoints(leaves, &each, Quota::concurrent(1)));
        crowd.keeps_permits = true;
        crowd.call(to_name(0));
        for i in 0..n {
            crowd.call(request(i, to_name(i % leaves)));
        }
        assert_eq!(crowd.waiting(), n);
        crowd
    }

    #[tokio::test(start_paused = true)]
    async fn entering_and_leaving() {
        for (name, leaves) in leaves() {
            let mut crowd = closed(leaves, WAITERS, |_, request| request);
            bounded(&format!("{name}: enter"), WAITERS);
            for of in shuffled(WAITERS) {
                crowd.cancel(of);
            }
            bounded(&format!("{name}: cancel"), WAITERS);
            let mut crowd = closed(leaves, WAITERS, |_, request| within(request, secs(60)));
            bounded(&format!("{name}: enter with deadlines"), WAITERS);
            crowd.permits.clear();
            crowd.serve();
            while !crowd.permits.is_empty() {
                crowd.permits.clear();
                crowd.serve();
            }
            assert_eq!((crowd.waiting(), crowd.refused), (0, 0));
            bounded(&format!("{name}: one by one"), WAITERS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn entering_two_windows_with_max_wait_and_max_waiting() {
        for (name, leaves) in leaves() {
            let per_minute = |n| Quota::per_second(n).and_per(n * 2000, secs(3600));
            let each = per_minute(40);
            let all = endpoints(leaves, &each, per_minute(1000));
            let mut crowd = Crowd::with(&all, |shared| {
                shared.limits.max_wait = Some(secs(3600));
                shared.limits.max_waiting = Some(WAITERS);
            });
            for i in 0..WAITERS + 4000 {
                crowd.call(to_name(i % leaves));
            }
            bounded(&format!("{name}: enter two windows"), WAITERS);
            assert!(crowd.waiting() > WAITERS / 2 && crowd.refused > 0);
            for i in 0..1000 {
                crowd.call(within(to_name(i % leaves), ms(1)));
            }
            bounded(&format!("{name}: refused at once"), WAITERS);
            crowd.pass(secs(2)).await;
            bounded(&format!("{name}: windows open"), WAITERS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_out_costs_no_more_in_a_long_queue() {
        const N: usize = 16_000;
        for (name, leaves) in leaves() {
            for n in [60, 1000] {
                let due = |_, request| within(request, secs(10));
                let mut crowd = closed(leaves, n, due);
                crowd.pass(secs(11)).await;
                bounded(&format!("{name}: few time out at one instant"), n);
            }
            for (order, due) in [
                ("in random order", shuffled(N)),
                ("youngest first", (0..N).rev().collect()),
                ("oldest first", (0..N).collect()),
                ("at one instant", vec![0; N]),
            ] {
                let due = |i: usize, request| within(request, secs(10) + ms(due[i]));
                let mut crowd = closed(leaves, N, due);
                bounded(&format!("{name}: enter with deadlines"), N);
                steps::take();
                crowd.pass(secs(30)).await;
                let each = steps::take() / N;
                assert_eq!((crowd.waiting(), crowd.refused), (0, N));
                bounded(&format!("{name}: time-outs {order}"), N);
                println!("{each:>7} steps for each of them");
                assert!(each <= K_OF_ONE + C_OF_ONE * log2(N), "{each}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_that_opens_for_ten_thousand_at_once() {
        for (name, leaves) in leaves() {
            let quota = Quota::per_minute(10_000);
            let mut crowd = Crowd::new(&endpoints(leaves, &quota, quota.clone()));
            for i in 0..10_000 + WAITERS {
                crowd.call(to_name(i % leaves));
            }
            bounded(&format!("{name}: enter"), WAITERS);
            crowd.pass(secs(60)).await;
            crowd.pass(ms(10)).await;
            assert_eq!(crowd.gone, 20_000);
            bounded(&format!("{name}: 10 000 go at once"), WAITERS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_go_when_a_quota_lets_them() {
        for (name, leaves) in leaves() {
            let mut crowd = closed(leaves, WAITERS, |i, request| match i % 2 {
                0 => request,
                _ => within(request, secs(3600)),
            });
            bounded(&format!("{name}: enter"), WAITERS);
            crowd.handle.pause("overall", secs(30)).unwrap();
            bounded(&format!("{name}: pause"), WAITERS);
            crowd.handle.resume("overall").unwrap();
            bounded(&format!("{name}: resume"), WAITERS);
            assert_eq!(crowd.waiting(), WAITERS);
            crowd.handle.sweep();
            crowd.handle.snapshot();
            bounded(&format!("{name}: sweep and snapshot"), WAITERS);
            let began = tokio::time::Instant::now();
            crowd
                .handle
                .set_quota("overall", Quota::unlimited())
                .unwrap();
            bounded(&format!("{name}: set_quota to unlimited"), WAITERS);
            crowd.serve();
            assert_eq!((crowd.gone, crowd.waiting()), (WAITERS + 1, 0));
            assert_eq!(began.elapsed(), Duration::ZERO);
            bounded(&format!("{name}: all go"), WAITERS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_too_long_for_all_who_wait() {
        for (name, leaves) in leaves() {
            let mut crowd = closed(leaves, WAITERS, |_, request| within(request, secs(20)));
            bounded(&format!("{name}: enter"), WAITERS);
            crowd.handle.pause("overall", secs(30)).unwrap();
            bounded(&format!("{name}: pause"), WAITERS);
            crowd.serve();
            assert_eq!(crowd.refused, WAITERS);
            bounded(&format!("{name}: all refused"), WAITERS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn closing_refuses_all_who_wait() {
        for (name, leaves) in leaves() {
            let mut crowd = closed(leaves, WAITERS, |i, request| match i % 2 {
                0 => request,
                _ => within(request, secs(3600)),
            });
            // Some have been offered their places, and some of those are late.
            let more = Quota::concurrent(WAITERS / 4);
            crowd.handle.set_quota("overall", more).unwrap();
            tokio::time::sleep(ms(10)).await;
            let more = Quota::concurrent(WAITERS / 2);
            crowd.handle.set_quota("overall", more).unwrap();
            bounded(&format!("{name}: enter"), WAITERS);
            crowd.handle.close();
            bounded(&format!("{name}: close"), WAITERS);
            assert!(crowd.call(to_name(0)) && crowd.refused == 1);
            crowd.handle.snapshot();
            bounded(&format!("{name}: closed"), WAITERS);
            crowd.serve();
            assert_eq!((crowd.waiting(), crowd.gone), (0, 1));
            assert_eq!(crowd.refused, WAITERS + 1);
            bounded(&format!("{name}: all refused"), WAITERS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_open_bodies_are_told_of_a_few_at_a_time() {
        const N: usize = 10_000;
        struct Count(Arc<AtomicUsize>);
        impl Observer for Count {
            fn on_event(&self, event: &Event<'_>) {
                let is_open = matches!(event.kind, EventKind::BodyOpen { .. });
                self.0.fetch_add(is_open.into(), Ordering::Relaxed);
            }
        }
        for (name, leaves) in leaves() {
            let told = Arc::default();
            let endpoints = endpoints(leaves, &Quota::unlimited(), Quota::concurrent(N));
            let mut crowd = Crowd::with(&endpoints, |shared| {
                shared.engine.observe(Count(Arc::clone(&told)));
            });
            crowd.keeps_permits = true;
            for i in 0..N {
                crowd.call(to_name(i % leaves));
            }
            let dispatched = std::mem::take(&mut crowd.permits);
            crowd.permits = dispatched.into_iter().map(InFlight::head_arrived).collect();
            bounded(&format!("{name}: bodies are open"), N);
            for i in 0..100 {
                crowd.call(to_name(i % leaves));
            }
            tokio::time::sleep(secs(31)).await;
            assert_eq!(told.load(Ordering::Relaxed), N);
            bounded(&format!("{name}: they are told of"), N);
            crowd.keeps_permits = false;
            crowd.permits.clear();
            crowd.serve();
            assert_eq!(crowd.waiting(), 0);
            bounded(&format!("{name}: they end"), N);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_makes_the_turn_of_half_too_late() {
        for (name, leaves) in leaves() {
            let mut crowd = closed(leaves, WAITERS, |i, request| {
                within(request, secs(20 + 20 * (i as u64 % 2)))
            });
            bounded(&format!("{name}: enter"), WAITERS);
            let signal = Signal::new(SignalKind::Rate)
                .with_scope(crate::signal::SignalScope::Everything)
                .with_retry_after(secs(30));
            crowd.permits[0].throttled(&signal, &mut Setbacks::default());
            crowd.serve();
            assert_eq!(crowd.refused, WAITERS / 2);
            bounded(&format!("{name}: 429 with Retry-After"), WAITERS);
            crowd.permits.clear();
            crowd.pass(secs(29)).await;
            assert_eq!(crowd.waiting(), WAITERS / 2);
            crowd.keeps_permits = false;
            crowd.pass(secs(2)).await;
            assert_eq!(crowd.waiting(), 0);
            bounded(&format!("{name}: pause ends"), WAITERS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_offers_that_nobody_takes() {
        const N: usize = 10_000;
        for (name, leaves) in leaves() {
            let mut crowd = closed(leaves, 2 * N, |_, request| request);
            bounded(&format!("{name}: enter"), N);
            crowd.keeps_permits = false;
            crowd
                .handle
                .set_quota("overall", Quota::concurrent(N))
                .unwrap();
            bounded(&format!("{name}: offered"), N);
            // The futures of all but the last thousand are not polled any more.
            for _ in 0..1000 {
                crowd.forget_woken();
                tokio::time::sleep(ms(10)).await;
            }
            bounded(&format!("{name}: nobody takes it"), N);
            for of in N..crowd.len() {
                crowd.poll(of);
            }
            crowd.pass(secs(1)).await;
            bounded(&format!("{name}: others are polled"), N);
            assert!(crowd.gone > N, "{} are gone", crowd.gone);
            for of in 0..crowd.len() {
                crowd.poll(of);
            }
            crowd.pass(secs(1)).await;
            assert_eq!(crowd.waiting(), 0);
            bounded(&format!("{name}: all are polled"), N);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_quota_that_calls_ten_thousand_back() {
        const N: usize = 10_000;
        for (name, leaves) in leaves() {
            let mut crowd = closed(leaves, N, |_, request| request);
            crowd.keeps_permits = false;
            for n in [N, 1] {
                let quota = Quota::concurrent(n);
                crowd.handle.set_quota("overall", quota).unwrap();
            }
            crowd.permits.clear();
            bounded(&format!("{name}: offered"), N);
            crowd.poll(0);
            bounded(&format!("{name}: the oldest is polled"), N);
            crowd.pass(secs(1)).await;
            assert_eq!(crowd.waiting(), 0);
            bounded(&format!("{name}: all are polled"), N);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn discovery_lets_ten_thousand_go_a_few_at_a_time() {
        const N: usize = 10_000;
        let mut crowd = Crowd::new(&Endpoints::new());
        crowd.handle.set_learning(Learning::all().discover());
        crowd.keeps_permits = true;
        for _ in 0..N {
            crowd.call(to_path(0));
        }
        assert_eq!(crowd.gone, 16);
        bounded("enter", N);
        while crowd.gone < N {
            for permit in std::mem::take(&mut crowd.permits) {
                permit.accepted(None);
                crowd.serve();
            }
            crowd.serve();
        }
        bounded("each success lets some go", N);
        let signal = Signal::new(SignalKind::Rate).with_retry_after(secs(30));
        crowd.permits[0].throttled(&signal, &mut Setbacks::default());
        crowd.permits.clear();
        bounded("a refusal", N);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_ends_discovery_at_ten_thousand_endpoints() {
        const N: usize = 10_000;
        let names = (0..N).map(|n| n.to_string());
        let endpoints = names.fold(Endpoints::new(), |endpoints, name| {
            endpoints.named(&name, Quota::unlimited())
        });
        let crowd = Crowd::new(&endpoints);
        crowd.handle.set_learning(Learning::all().discover());
        bounded("set_learning", N);
        let limit = |name| crowd.handle.snapshot().bucket(name).unwrap().concurrency();
        assert_eq!(limit("9999"), Some(16));
        let quota = Quota::per_second(1000);
        crowd.handle.set_quota("overall", quota).unwrap();
        bounded("set_quota", N);
        assert_eq!(limit("9999"), None);
    }

    /// C1.
    #[tokio::test(start_paused = true)]
    async fn a_success_with_quota_headers_looks_at_nobody_who_waits_elsewhere() {
        let steps = [1000, 16_000].map(|n| {
            let mut crowd = Crowd::new(&endpoints(
                20,
                &Quota::concurrent(1),
                Quota::per_second(1_000_000),
            ));
            crowd.keeps_permits = true;
            for i in 0..20 {
                crowd.call(to_name(i));
            }
            for i in 0..n {
                crowd.call(within(to_name(1 + i % 19), secs(3600)));
            }
            assert_eq!(crowd.waiting(), n);
            steps::take_most();
            let few = QuotaReport::new().with_remaining(3).with_reset(secs(30));
            let teach =
                |of: usize, report| steps::of(|| crowd.permits[of].accepted(Some(report))).1;
            let elsewhere = [teach(0, &few), teach(0, &few)];
            // At an endpoint where others wait it looks at all of them only if their turn is later.
            let many = QuotaReport::new().with_remaining(1000).with_reset(secs(30));
            let own = teach(1, &many);
            let later = teach(1, &few);
            println!(
                "{elsewhere:?} steps elsewhere, {own} and {later} where {} wait",
                n / 19
            );
            bounded("a success with quota headers", n);
            assert!(later > n / 19);
            (elsewhere, own)
        });
        assert_eq!(steps[0], steps[1]);
        assert!(steps[0].0[0] < 20 && steps[0].1 < 40, "{steps:?}");
    }
}

mod costs {
    use super::*;
    use crate::{Cost, Terms, Unit};

    const N: usize = 16_000;

    fn costs(mut request: Request, cost: Cost) -> Request {
        request.extensions_mut().insert(Terms::new().cost(cost));
        request
    }

    fn tokens(n: usize) -> Cost {
        Cost::new().of(Unit::TOKENS, n as u64)
    }

    /// However many requests one counts as.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_counts_as_many_takes_as_little() {
        let endpoints = Endpoints::new()
            .named("0", Quota::per_second(u32::MAX))
            .named("1", Quota::unlimited());
        let mut crowd = Crowd::new(&endpoints);
        for n in [5_000_000, u32::MAX, 1, 2] {
            for name in [0, 1] {
                crowd.call(costs(to_name(name), Cost::new().requests(n)));
                crowd.pass(secs(2)).await;
            }
        }
        assert_eq!(crowd.gone, 8);
        bounded("as many requests", 2);
    }

    /// Of two units, for requests that need none, one, the other or both: four kinds that pass each other.
    #[tokio::test(start_paused = true)]
    async fn windows_of_units_that_open_for_many_at_once() {
        const UNITS: [Unit; 2] = [Unit::INPUT_TOKENS, Unit::OUTPUT_TOKENS];
        let minute = secs(60);
        for leaves in [1, 1000] {
            let mut all = Quota::unlimited();
            for unit in UNITS {
                all = all.units(unit, 4_000, minute);
            }
            let mut endpoints = Endpoints::new().overall(all);
            for n in 0..leaves {
                endpoints = endpoints.named(&n.to_string(), Quota::unlimited());
            }
            let mut crowd = Crowd::new(&endpoints);
            for i in 0..16_000 {
                let mut cost = Cost::new();
                for (n, unit) in UNITS.into_iter().enumerate() {
                    cost = cost.of(unit, (i >> n & 1) as u64);
                }
                crowd.call(costs(to_name(i % leaves), cost));
            }
            bounded(&format!("{leaves} endpoints: enter with two units"), 20_000);
            for _ in 0..2 {
                tokio::time::sleep(minute).await;
                crowd.pass(ms(20)).await;
                bounded(&format!("{leaves} endpoints: two windows open"), 20_000);
            }
        }
    }

    /// In one endpoint, and in as many as there are requests, which then compete for what is allowed to all.
    #[tokio::test(start_paused = true)]
    async fn whoever_states_a_cost_takes_as_little() {
        for leaves in [1, N] {
            let hour = secs(3600);
            let mut endpoints = Endpoints::new().overall(Quota::unlimited().units(
                Unit::TOKENS,
                10 * N as u64,
                hour,
            ));
            for n in 0..leaves {
                endpoints = endpoints.named(&n.to_string(), Quota::unlimited());
            }
            let mut crowd = Crowd::new(&endpoints);
            crowd.keeps_permits = true;
            // All windows are full of small ones, and as many wait.
            for i in 0..10 * N {
                crowd.call(costs(to_name(i % leaves), tokens(1)));
            }
            bounded(&format!("{leaves} endpoints: dispatched"), 10 * N);
            for i in 0..N {
                // Of a third nothing is known, and a third needs none and passes, or is behind one that does.
                let request = to_name(i % leaves);
                crowd.call(match i % 3 {
                    0 => costs(request, tokens(1 + i % 7)),
                    1 => costs(request, tokens(0)),
                    _ => request,
                });
            }
            bounded(&format!("{leaves} endpoints: enter"), 10 * N);
            for permit in crowd.permits.iter().step_by(40) {
                permit.cost_nothing(false);
            }
            crowd.serve();
            bounded(&format!("{leaves} endpoints: settled"), 10 * N);
            crowd.handle.snapshot();
            bounded(&format!("{leaves} endpoints: snapshot"), 10 * N);
            let smaller = Quota::unlimited().units(Unit::TOKENS, 3, hour);
            crowd.handle.set_quota("overall", smaller).unwrap();
            crowd.serve();
            bounded(&format!("{leaves} endpoints: a smaller quota"), 10 * N);
            assert!(crowd.refused > 0);
            let larger = Quota::unlimited().units(Unit::TOKENS, 100 * N as u64, hour);
            crowd.handle.set_quota("overall", larger).unwrap();
            crowd.serve();
            bounded(&format!("{leaves} endpoints: a larger quota"), 10 * N);
            for of in 0..crowd.len() {
                crowd.cancel(of);
            }
            bounded(&format!("{leaves} endpoints: cancel"), 10 * N);
            crowd.permits.clear();
            tokio::time::sleep(2 * hour).await;
            crowd.call(costs(to_name(0), tokens(1)));
            bounded(&format!("{leaves} endpoints: old amounts leave"), 10 * N);
        }
    }
}

mod order {
    use super::*;
    use crate::{Flow, Priority, Terms};

    const N: usize = 16_000;

    /// Of class and flow as the number says.
    fn of(i: usize, mut request: Request, flows: usize) -> Request {
        let priority = [Priority::HIGH, Priority::NORMAL, Priority::LOW][i % 3];
        let mut terms = Terms::new().priority(priority);
        if flows > 0 {
            terms = terms.flow(Flow::new(i % flows).weight([1, 2, 3][i % 3]));
        }
        request.extensions_mut().insert(terms);
        request
    }

    #[tokio::test(start_paused = true)]
    async fn classes_and_flows_that_come_wait_go_and_are_refused() {
        for (leaves, flows) in [(1, 0), (1000, 0), (1, 1), (1, 1000), (1000, 7), (1, N)] {
            let mut endpoints = Endpoints::new().overall(Quota::per_minute(4_000));
            for n in 0..leaves {
                endpoints = endpoints.named(&n.to_string(), Quota::unlimited());
            }
            let name = format!("{leaves} endpoints, {flows} flows");
            let mut crowd = Crowd::new(&endpoints);
            for i in 0..4_000 {
                crowd.call(to_name(i % leaves));
            }
            for i in 0..N {
                let request = within(to_name(i % leaves), secs(130) + ms(i % 5_000 * 14));
                crowd.call(of(i, request, flows));
            }
            bounded(&format!("{name}: enter"), N);
            crowd.pass(secs(61)).await;
            bounded(&format!("{name}: a window opens"), N);
            // The turn of those at the end becomes too late.
            crowd.handle.pause("overall", secs(75)).unwrap();
            bounded(&format!("{name}: pause"), N);
            crowd.pass(secs(80)).await;
            bounded(&format!("{name}: time-outs"), N);
            let quota = Quota::per_minute(100_000);
            crowd.handle.set_quota("overall", quota).unwrap();
            crowd.pass(secs(61)).await;
            bounded(&format!("{name}: all go"), N);
            assert_eq!(crowd.waiting(), 0, "{name}");
            assert!(crowd.gone > 8_000 && crowd.refused > 0, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_flows_come_and_go() {
        const FLOWS: usize = 100_000;
        let endpoints = Endpoints::new().named("0", Quota::per_second(10_000));
        let mut crowd = Crowd::new(&endpoints);
        for i in 0..10_000 + FLOWS {
            crowd.call(of(i, to_name(0), FLOWS));
        }
        bounded("flows come", FLOWS);
        crowd.pass(secs(20)).await;
        bounded("flows go", FLOWS);
        assert_eq!((crowd.waiting(), crowd.refused), (0, 0));
    }
}

//! Layers that share a store: together they keep the limits of one.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tower::{Service, ServiceExt};
use tower_throttle::{
    Cost, Endpoints, Quota, Settlement, Terms, Unit,
    store::{
        Asking, Mailbox, MemoryStore, Store, StoreError, WhenAway,
        protocol::{Ask, Timing},
    },
};

use crate::support::{
    self, AnyLayer, Client, FACES, Face, Probe, Recorder, Req, What, Work, get, job, ms, per,
};

/// The reservation of a store in memory.
const D: u64 = 10;

fn two(face: Face, quota: &Quota, probe: &Probe) -> [Client; 2] {
    let store = MemoryStore::new();
    [(); 2].map(|()| {
        let layer = AnyLayer::bare(face, support::endpoint_a(quota.clone())).store(store.clone());
        layer.client(probe)
    })
}

/// Sends `n` at once, by turns through each of them, and waits for all.
async fn send(clients: &[Client], n: usize, time: Duration) {
    let calls = (0..n).map(|i| {
        let client = clients[i % clients.len()].clone();
        tokio::spawn(client.oneshot(job("/a", time)))
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
}

/// Law L1: a window holds n of all layers together, and is used up to a reservation.
#[tokio::test(start_paused = true)]
async fn two_layers_share_a_window() {
    for face in support::WINDOWS {
        let probe = Probe::new();
        let clients = two(face, &per(4, 1000), &probe);
        send(&clients, 12, ms(0)).await;
        let times = probe.times();
        let round = 1000 + D;
        assert_eq!(times[..4], [0; 4], "{face:?}");
        assert_eq!(times[4..8], [round; 4], "{face:?}");
        assert_eq!(times[8..], [2 * round; 4], "{face:?}");
    }
}

/// Law L4: permits are held by all layers together, to the end of the body.
#[tokio::test(start_paused = true)]
async fn two_layers_share_permits() {
    for face in support::PERMITS {
        let probe = Probe::new();
        let clients = two(face, &Quota::concurrent(3), &probe);
        send(&clients, 12, ms(100)).await;
        assert_eq!(probe.log().most_in_flight, 3, "{face:?}");
        let times = probe.times();
        assert_eq!(times[..3], [0; 3], "{face:?}");
        assert_eq!(*times.last().unwrap(), 300, "{face:?}: {times:?}");
    }
}

/// A request alone goes at once.
#[tokio::test(start_paused = true)]
async fn a_request_alone_does_not_wait() {
    for face in FACES {
        let probe = Probe::new();
        let mut clients = two(face, &per(4, 1000).concurrency(4), &probe);
        for client in &mut clients {
            client.ready().await.unwrap().call(get("/a")).await.unwrap();
        }
        assert_eq!(probe.times(), [0, 0], "{face:?}");
    }
}

/// Law L5: what a caller gives up is there for others, of other layers too.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_gives_its_permit_to_the_other_layer() {
    for face in support::PERMITS {
        let probe = Probe::new();
        let [one, other] = two(face, &Quota::concurrent(1), &probe);
        let held = tokio::spawn(one.oneshot(job("/a", ms(10_000))));
        tokio::time::sleep(ms(5)).await;
        let waits = tokio::spawn(other.oneshot(job("/a", ms(0))));
        tokio::time::sleep(ms(45)).await;
        held.abort();
        waits.await.unwrap().unwrap();
        assert_eq!(probe.times(), [0, 50], "{face:?}");
    }
}

/// All scopes at once: an endpoint each, and an overall limit for both.
#[tokio::test(start_paused = true)]
async fn scopes_are_shared_by_their_names() {
    let probe = Probe::new();
    let store = MemoryStore::new();
    let endpoints = Endpoints::new()
        .route("/a", per(3, 1000))
        .route("/b", per(3, 1000))
        .overall(per(4, 1000));
    let clients = [(); 2].map(|()| {
        let layer = AnyLayer::bare(Face::Throttle, endpoints.clone()).store(store.clone());
        layer.client(&probe)
    });
    let calls = (0..12).map(|i: usize| {
        let path = if i % 4 < 2 { "/a" } else { "/b" };
        let client = clients[i % 2].clone();
        tokio::spawn(client.oneshot(Work::head(ms(0)).id(i).of(path)))
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    let times = probe.times();
    let in_window = |at: u64| {
        times
            .iter()
            .filter(|t| (at..at + 1000).contains(*t))
            .count()
    };
    assert!(times.iter().all(|at| in_window(*at) <= 4), "{times:?}");
    assert_eq!(*times.last().unwrap(), 2 * (1000 + D), "{times:?}");
    for path in ["/a", "/b"] {
        let times = probe.times_of(path);
        let in_window = |at: u64| {
            times
                .iter()
                .filter(|t| (at..at + 1000).contains(*t))
                .count()
        };
        assert!(
            times.iter().all(|at| in_window(*at) <= 3),
            "{path}: {times:?}"
        );
    }
}

/// Law L7: a pause of one holds back the other.
#[tokio::test(start_paused = true)]
async fn a_pause_is_shared() {
    let store = MemoryStore::new();
    let probe = Probe::new();
    let layers = [(); 2].map(|()| {
        AnyLayer::bare(Face::Throttle, support::endpoint_a(per(100, 1000))).store(store.clone())
    });
    let clients = [layers[0].client(&probe), layers[1].client(&probe)];
    send(&clients, 2, ms(0)).await;
    layers[0].handle().pause("/a", ms(500)).unwrap();
    let start = Instant::now();
    send(&clients, 2, ms(0)).await;
    assert_eq!(start.elapsed(), ms(500));
    assert_eq!(probe.times(), [0, 0, 500, 500]);
    layers[0].handle().pause("/a", ms(5000)).unwrap();
    tokio::time::sleep(ms(100)).await;
    let waits = tokio::spawn({
        let clients = clients.clone();
        async move { send(&clients, 2, ms(0)).await }
    });
    tokio::time::sleep(ms(100)).await;
    layers[1].handle().resume("/a").unwrap();
    waits.await.unwrap();
    assert_eq!(start.elapsed(), ms(700));
    assert_eq!(probe.times()[4..], [700, 700]);
}

fn cost(n: u64) -> Req {
    let mut request = get("/a");
    let terms = Terms::new().cost(Cost::new().of(Unit::TOKENS, n));
    request.extensions_mut().insert(terms);
    request
}

/// Law L14: what is settled for less lets others go, of other layers too.
#[tokio::test(start_paused = true)]
async fn units_are_shared_and_settled() {
    let store = MemoryStore::new();
    let probe = Probe::new();
    let quota = Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
    let [one, other] = [(); 2].map(|()| {
        let layer = AnyLayer::bare(Face::Throttle, support::endpoint_a(quota.clone()));
        layer.store(store.clone()).client(&probe)
    });
    let first = one.oneshot(cost(80)).await.unwrap();
    let waits = tokio::spawn(other.oneshot(cost(60)));
    tokio::time::sleep(ms(300)).await;
    assert_eq!(probe.times(), [0]);
    let settlement: &Settlement = first.extensions().get().unwrap();
    settlement.settle(Cost::new().of(Unit::TOKENS, 40));
    waits.await.unwrap().unwrap();
    assert_eq!(probe.times(), [0, 300]);
}

/// A store that refuses the first call of its kind, however often it is sent.
#[derive(Clone, Debug)]
struct Refuses {
    store: MemoryStore,
    kind: fn(&Ask) -> bool,
    /// The member and its number for the call.
    refused: Arc<Mutex<Option<(String, i64)>>>,
}

impl Refuses {
    fn new(kind: fn(&Ask) -> bool) -> Self {
        let (store, refused) = (MemoryStore::new(), Arc::default());
        Self {
            store,
            kind,
            refused,
        }
    }

    fn clients(&self, quota: &Quota, probe: &Probe) -> ([AnyLayer; 2], [Client; 2]) {
        let layers = [(); 2].map(|()| {
            AnyLayer::bare(Face::Throttle, support::endpoint_a(quota.clone())).store(self.clone())
        });
        let clients = [0, 1].map(|i| layers[i].client(probe));
        (layers, clients)
    }
}

impl Store for Refuses {
    fn timing(&self) -> Timing {
        self.store.timing()
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        let call = (ask.member.clone(), ask.seq);
        let mut refused = self.refused.lock().unwrap();
        if refused.is_none() && (self.kind)(ask) {
            *refused = Some(call.clone());
        }
        if *refused == Some(call) {
            return Box::pin(async { Err(StoreError::refused("not this one")) });
        }
        self.store.ask(ask)
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.store.hash_keys()
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.store.listen(member)
    }
}

/// After a try, and another one after 50 ms, a call is given up; 100 ms later the next one says what was in it.
const REFUSED: u64 = 50 + 100;

/// A store may refuse the call that says of an end.
#[tokio::test(start_paused = true)]
async fn a_release_that_is_refused_is_said_again() {
    let probe = Probe::new();
    let store = Refuses::new(|ask| !ask.releases.is_empty());
    let (layers, [one, other]) = store.clients(&Quota::concurrent(1), &probe);
    let held = tokio::spawn(one.oneshot(job("/a", ms(100))));
    tokio::time::sleep(ms(50)).await;
    let waits = tokio::spawn(other.oneshot(job("/a", ms(0))));
    tokio::time::sleep(ms(190)).await;
    let snapshot = layers[0].handle().snapshot();
    let (time, error) = snapshot.store_away().unwrap();
    assert_eq!((time, error.to_string()), (ms(140), "not this one".into()));
    held.await.unwrap().unwrap();
    waits.await.unwrap().unwrap();
    assert_eq!(probe.times(), [0, 100 + REFUSED]);
    assert!(layers[0].handle().snapshot().store_away().is_none());
}

/// Or the one that gives back what a caller has given up.
#[tokio::test(start_paused = true)]
async fn what_is_given_back_in_a_refused_call_is_given_back_again() {
    let probe = Probe::new();
    let store = Refuses::new(|ask| !ask.back.is_empty());
    let (_layers, [one, other]) = store.clients(&per(1, 1000), &probe);
    one.clone().oneshot(get("/a")).await.unwrap();
    let leaves = tokio::spawn(one.oneshot(get("/a")));
    tokio::time::sleep(ms(10)).await;
    let waits = tokio::spawn(other.oneshot(get("/a")));
    tokio::time::sleep(ms(990)).await;
    leaves.abort();
    waits.await.unwrap().unwrap();
    assert_eq!(probe.times(), [0, 1000 + REFUSED]);
}

/// Or the one that settles.
#[tokio::test(start_paused = true)]
async fn what_is_settled_in_a_refused_call_is_settled_again() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
    let store = Refuses::new(|ask| !ask.settlements.is_empty());
    let (_layers, [one, other]) = store.clients(&quota, &probe);
    let first = one.oneshot(cost(80)).await.unwrap();
    let waits = tokio::spawn(other.oneshot(cost(60)));
    tokio::time::sleep(ms(300)).await;
    let settlement: &Settlement = first.extensions().get().unwrap();
    settlement.settle(Cost::new().of(Unit::TOKENS, 40));
    waits.await.unwrap().unwrap();
    assert_eq!(probe.times(), [0, 300 + REFUSED]);
}

/// Law L7: or the one that tells of a pause, or of its end.
#[tokio::test(start_paused = true)]
async fn a_pause_that_is_refused_is_told_again() {
    let probe = Probe::new();
    let store = Refuses::new(|ask| ask.scopes.iter().any(|scope| scope.pause.is_some()));
    let (layers, [_, other]) = store.clients(&per(100, 1000), &probe);
    layers[0].handle().pause("/a", ms(5000)).unwrap();
    tokio::time::sleep(ms(REFUSED + 1)).await;
    other.oneshot(get("/a")).await.unwrap();
    assert_eq!(probe.times(), [5000]);

    let probe = Probe::new();
    let store = Refuses::new(|ask| ask.scopes.iter().any(|scope| scope.resume));
    let (layers, [_, other]) = store.clients(&per(100, 1000), &probe);
    layers[0].handle().pause("/a", ms(5000)).unwrap();
    layers[0].handle().resume("/a").unwrap();
    other.oneshot(get("/a")).await.unwrap();
    assert_eq!(probe.times(), [REFUSED]);
}

/// Or the one that asks.
#[tokio::test(start_paused = true)]
async fn who_asks_in_a_refused_call_asks_again() {
    let probe = Probe::new();
    let store = Refuses::new(|_| true);
    let (_layers, [one, other]) = store.clients(&per(2, 1000), &probe);
    let calls = [&one, &one, &other].map(|client| tokio::spawn(client.clone().oneshot(get("/a"))));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.times(), [0, REFUSED, 1000 + D]);
}

/// A store that does not answer.
#[derive(Clone, Debug, Default)]
struct Away {
    store: MemoryStore,
    gone: Arc<AtomicBool>,
    /// It answers, and refuses.
    refuses: bool,
    policy: Option<(WhenAway, Duration)>,
}

impl Store for Away {
    fn timing(&self) -> Timing {
        self.store.timing()
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        if self.gone.load(Ordering::SeqCst) {
            let error = if self.refuses {
                StoreError::refused("nothing doing")
            } else {
                StoreError::away("nobody is there")
            };
            return Box::pin(async { Err(error) });
        }
        self.store.ask(ask)
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.store.hash_keys()
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.store.listen(member)
    }

    fn when_away(&self) -> Option<(WhenAway, Duration)> {
        self.policy
    }
}

/// While the store does not answer nothing goes; afterwards all of it does, within half a second.
#[tokio::test(start_paused = true)]
async fn what_is_queued_waits_for_the_store() {
    let store = Away::default();
    let probe = Probe::new();
    let layer = AnyLayer::bare(Face::Throttle, support::endpoint_a(per(4, 1000)));
    let layer = layer.store(store.clone());
    let client = layer.client(&probe);
    store.gone.store(true, Ordering::SeqCst);
    let waits = tokio::spawn(async move { send(&[client], 3, ms(0)).await });
    tokio::time::sleep(ms(3000)).await;
    assert!(probe.times().is_empty());
    let snapshot = layer.handle().snapshot();
    let (time, error) = snapshot.store_away().unwrap();
    assert_eq!(
        (time, error.to_string()),
        (ms(3000), "nobody is there".to_owned())
    );
    store.gone.store(false, Ordering::SeqCst);
    waits.await.unwrap();
    let times = probe.times();
    assert!(
        times.iter().all(|at| (3000..3500).contains(at)),
        "{times:?}"
    );
    assert!(layer.handle().snapshot().store_away().is_none());
}

/// A store whose answers take 20 ms to come.
#[derive(Clone, Debug)]
struct Slow(MemoryStore);

impl Slow {
    fn new() -> Self {
        let reservation = 100_000;
        Self(MemoryStore::with_timing(Timing {
            reservation,
            ..Timing::LASTING
        }))
    }
}

impl Store for Slow {
    fn timing(&self) -> Timing {
        self.0.timing()
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        Box::pin(async move {
            let answer = self.0.ask(ask).await;
            tokio::time::sleep(ms(20)).await;
            answer
        })
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.0.hash_keys()
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.0.listen(member)
    }
}

/// A layer that is dropped while a call is under way holds nothing until its lease ends: neither what came back since the
/// call, nor what that was granted.
#[tokio::test(start_paused = true)]
async fn a_layer_that_ends_says_what_it_has_not_said() {
    let store = Slow::new();
    let probe = Probe::new();
    let layer = || {
        let layer = AnyLayer::bare(Face::Throttle, support::endpoint_a(Quota::concurrent(3)));
        layer.store(store.clone()).client(&probe)
    };
    // What is asked for at 0 is granted at 20, and ends at 120; that is told until 140, and what is asked meanwhile until 160.
    let one = layer();
    let held = tokio::spawn(one.clone().oneshot(job("/a", ms(100))));
    tokio::time::sleep(ms(125)).await;
    let ends = tokio::spawn(one.oneshot(job("/a", ms(0))));
    held.await.unwrap().unwrap();
    tokio::time::sleep(ms(25)).await;
    ends.abort();
    send(&[layer()], 3, ms(1000)).await;
    let times = probe.times();
    assert_eq!(times.len(), 4);
    assert!(times[1..].iter().all(|at| *at < 300), "{times:?}");
}

/// A request may end while the call is under way that tells of another's end, and be the layer's last.
#[tokio::test(start_paused = true)]
async fn a_layer_that_ends_with_a_request_gives_its_permit_back() {
    let store = Slow::new();
    let probe = Probe::new();
    let layer = || {
        let layer = AnyLayer::bare(Face::Throttle, support::endpoint_a(Quota::concurrent(2)));
        layer.store(store.clone()).client(&probe)
    };
    let one = layer();
    let held = [100, 85].map(|time| tokio::spawn(one.clone().oneshot(job("/a", ms(time)))));
    drop(one);
    for held in held {
        held.await.unwrap().unwrap();
    }
    send(&[layer()], 2, ms(1000)).await;
    let times = probe.times();
    assert!(times[2..].iter().all(|at| *at < 300), "{times:?}");
}

/// That the store does not answer is told once, and so is that it answers again.
#[tokio::test(start_paused = true)]
async fn an_outage_is_told_at_its_begin_and_its_end() {
    let store = Away::default();
    let recorder = Recorder::new();
    let endpoints = support::endpoint_a(per(9, 1000));
    let layer = support::observed(Face::Throttle, endpoints, recorder.clone()).store(store.clone());
    let client = layer.client(&Probe::new());
    store.gone.store(true, Ordering::SeqCst);
    let waits = tokio::spawn(async move { send(&[client], 3, ms(0)).await });
    tokio::time::sleep(ms(3000)).await;
    store.gone.store(false, Ordering::SeqCst);
    waits.await.unwrap();
    let told = recorder.of("overall");
    let [(0, away), (end, back)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(*away, What::StoreAway("nobody is there".to_owned()));
    assert_eq!(*back, What::StoreBack(*end));
    assert!((3000..3500).contains(end), "{told:?}");
}

/// That members are configured differently is told once for each difference, and not for each key.
#[tokio::test(start_paused = true)]
async fn a_difference_is_told_once() {
    let store = MemoryStore::new();
    let recorder = Recorder::new();
    let probe = Probe::new();
    let each = |n: u32, permits: usize| {
        Endpoints::new().each_other_path(per(n, 1000).concurrency(permits))
    };
    let other = AnyLayer::bare(Face::Throttle, each(5, 8)).store(store.clone());
    let layer = support::observed(Face::Throttle, each(4, 9), recorder.clone());
    let clients = [other, layer.store(store)].map(|layer| layer.client(&probe));
    for round in 0..3 {
        for client in &clients {
            for key in 0..4 {
                let path = format!("/{key}");
                client.clone().oneshot(get(&path)).await.unwrap();
            }
        }
        tokio::time::sleep(ms(1000 * round)).await;
    }
    let told = recorder.all().into_iter();
    let told = told.filter(|told| matches!(told.what, What::Disagrees(_)));
    let told: Vec<_> = told.map(|told| (told.bucket, told.what)).collect();
    let expected = ["permits : 9 here, 8", "n requests: 4 here, 5"];
    let told_of = |text: &str| What::Disagrees(text.to_owned());
    assert_eq!(
        told,
        expected.map(|text| ("each other path".to_owned(), told_of(text)))
    );
}

/// Or they go by the layer's own limits after a time.
#[tokio::test(start_paused = true)]
async fn without_the_store_requests_go_by_the_layer_alone_if_that_is_wanted() {
    for refuses in [false, true] {
        let store = Away {
            policy: Some((WhenAway::Unlimited, ms(700))),
            refuses,
            ..Away::default()
        };
        let probe = Probe::new();
        let layer = AnyLayer::bare(Face::Throttle, support::endpoint_a(per(2, 1000)));
        let client = layer.store(store.clone()).client(&probe);
        store.gone.store(true, Ordering::SeqCst);
        send(&[client], 3, ms(0)).await;
        assert_eq!(probe.times(), [700, 700, 1700]);
    }
}

/// A slot that nobody waits for any more goes to another layer.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_gives_its_slot_to_the_other_layer() {
    let probe = Probe::new();
    let [one, other] = two(Face::Throttle, &per(1, 1000), &probe);
    one.clone().oneshot(get("/a")).await.unwrap();
    let leaves = tokio::spawn(one.oneshot(get("/a")));
    tokio::time::sleep(ms(10)).await;
    let waits = tokio::spawn(other.oneshot(get("/a")));
    tokio::time::sleep(ms(990)).await;
    leaves.abort();
    waits.await.unwrap().unwrap();
    assert_eq!(probe.times(), [0, 1000 + D]);
}

/// A slot that is too small for all who wait goes back at once: the larger one stays, or is asked for.
#[tokio::test(start_paused = true)]
async fn a_slot_that_is_too_small_goes_back_at_once() {
    let quota = Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
    // Room for both, so both have slots; room for one of them only.
    for large in [60, 95] {
        let probe = Probe::new();
        let timing = Timing {
            reservation: 200_000,
            ..Timing::LASTING
        };
        let store = MemoryStore::with_timing(timing);
        let layer = AnyLayer::bare(Face::Throttle, support::endpoint_a(quota.clone()));
        let client = layer.store(store).client(&probe);
        client.clone().oneshot(cost(95)).await.unwrap();
        let leaves = tokio::spawn(client.clone().oneshot(cost(10)));
        tokio::time::sleep(ms(1)).await;
        let waits = tokio::spawn(client.oneshot(cost(large)));
        // The first has its slot.
        tokio::time::sleep(ms(1190)).await;
        leaves.abort();
        waits.await.unwrap().unwrap();
        assert_eq!(probe.times(), [0, 1200], "{large}");
    }
}

/// Law L7: a pause by hand of a layer that nobody uses is shared, too.
#[tokio::test(start_paused = true)]
async fn a_pause_of_an_idle_layer_is_shared() {
    let probe = Probe::new();
    let store = MemoryStore::new();
    let [one, other] = [(); 2].map(|()| {
        AnyLayer::bare(Face::Throttle, support::endpoint_a(per(9, 1000))).store(store.clone())
    });
    one.handle().pause("/a", ms(500)).unwrap();
    other.client(&probe).oneshot(get("/a")).await.unwrap();
    assert_eq!(probe.times(), [500]);
}

/// Law L18: a layer that is dropped leaves nothing behind that keeps others waiting.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_is_no_longer_waited_for() {
    let store = MemoryStore::new();
    let probe = Probe::new();
    let clients = [(); 2].map(|()| {
        let layer = AnyLayer::bare(Face::Throttle, support::endpoint_a(per(1, 1000)));
        layer.store(store.clone()).client(&probe)
    });
    let [one, other] = clients;
    one.clone().oneshot(get("/a")).await.unwrap();
    let leaves = tokio::spawn(one.oneshot(get("/a")));
    tokio::time::sleep(ms(10)).await;
    let waits = tokio::spawn(other.oneshot(get("/a")));
    tokio::time::sleep(ms(490)).await;
    leaves.abort();
    waits.await.unwrap().unwrap();
    assert_eq!(probe.times(), [0, 1000 + D]);
}

/// Law L4: partitions are the same for all layers, whichever `Endpoints` they were made with.
#[tokio::test(start_paused = true)]
async fn partitions_are_shared() {
    let store = MemoryStore::new();
    let probe = Probe::new();
    let clients = [(); 2].map(|()| {
        let endpoints = Endpoints::new()
            .route("/a", per(1, 1000))
            .partition_by_header("x-tenant");
        let layer = AnyLayer::bare(Face::Throttle, endpoints).store(store.clone());
        layer.client(&probe)
    });
    let of = |tenant: &str| {
        let mut request = get("/a");
        let tenant = tenant.parse().unwrap();
        request.headers_mut().insert("x-tenant", tenant);
        request
    };
    let calls = [(0, "one"), (1, "one"), (1, "other")];
    let calls = calls.map(|(i, tenant)| tokio::spawn(clients[i].clone().oneshot(of(tenant))));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.times(), [0, 0, 1000 + D]);
}

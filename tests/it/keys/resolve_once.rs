//! A request is resolved once: the closures over its head run once, and what they said first holds for as
//! long as it waits.

use crate::retry_support;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::support::*;
use http::Extensions;
use tower::Layer;
use tower_throttle::{BucketSnapshot, Deadline, Endpoints, Handle, Quota, ThrottleLayer};

/// How often each closure saw each request: (`name_by`, `partition_by`) by the id of the request.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<Mutex<BTreeMap<usize, (usize, usize)>>>);

/// The number of a request, where no [`Work`] has one.
#[derive(Clone, Copy)]
struct Id(usize);

impl Calls {
    /// Counts one more, and says how many there were before.
    fn count(&self, extensions: &Extensions, of: fn(&mut (usize, usize)) -> &mut usize) -> usize {
        let id = match extensions.get::<Work>() {
            Some(work) => work.id,
            None => extensions.get::<Id>().expect("a request has a number").0,
        };
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = of(calls.entry(id).or_default());
        *calls += 1;
        *calls - 1
    }

    /// Endpoints whose closures are counted, and always say the same.
    fn steady(&self, endpoints: Endpoints) -> Endpoints {
        let (named, partitioned) = (self.clone(), self.clone());
        endpoints
            .name_by(move |head| {
                named.count(head.extensions(), |calls| &mut calls.0);
                None::<&str>
            })
            .partition_by(move |head| {
                partitioned.count(head.extensions(), |calls| &mut calls.1);
                Some("always the same")
            })
    }

    #[track_caller]
    fn assert_once_for_each_of(&self, requests: usize, context: &str) {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let once: BTreeMap<_, _> = (0..requests).map(|id| (id, (1, 1))).collect();
        assert_eq!(*calls, once, "{context}: calls of (name_by, partition_by)");
    }
}

fn quota() -> Quota {
    per(1, 100).concurrency(1)
}

fn endpoints() -> Endpoints {
    Endpoints::new().route("/a", quota())
}

async fn done(sent: Vec<Sent>) {
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

fn working(id: usize) -> Req {
    Work::head(ms(100)).id(id).of("/a")
}

/// Request 0 is admitted at once. Request 1 waits until 100 ms, and its clone of the service is ready at
/// 600 ms only; a pause that begins meanwhile, and ends at 1 300 ms, has called it back by then.
async fn call_back_the_second(client: &Client, probe: &Probe, handle: &Handle) {
    probe.log().readiness = [ms(0), ms(0), ms(500)].into();
    let sent = burst(client, 2, working).await;
    at(probe, 300).await;
    handle.pause("/a", ms(1000)).unwrap();
    done(sent).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_admitted_at_once() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let client = AnyLayer::new(face, calls.steady(endpoints())).client(&probe);
        done(burst(&client, 1, working).await).await;
        assert_eq!(probe.times(), [0]);
        calls.assert_once_for_each_of(1, &format!("{face:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let client = AnyLayer::new(face, calls.steady(endpoints())).client(&probe);
        done(burst(&client, 3, working).await).await;
        assert_eq!(probe.times(), [0, 100, 200]);
        calls.assert_once_for_each_of(3, &format!("{face:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_own_path() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let endpoints = Endpoints::new().each_other_path(quota());
        let client = AnyLayer::new(face, calls.steady(endpoints)).client(&probe);
        done(burst(&client, 3, working).await).await;
        assert_eq!(probe.times(), [0, 100, 200]);
        calls.assert_once_for_each_of(3, &format!("{face:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_called_back_and_waits_again() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let layer = AnyLayer::new(face, calls.steady(endpoints()));
        let client = layer.client(&probe);
        call_back_the_second(&client, &probe, &layer.handle()).await;
        assert_eq!(probe.times(), [0, 1300]);
        calls.assert_once_for_each_of(2, &format!("{face:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let layer = AnyLayer::new(face, calls.steady(endpoints())).max_waiting(0);
        let client = layer.client(&probe);
        let sent = burst(&client, 1, working).await;
        let error = send(client.clone(), working(1)).await.unwrap_err();
        assert_eq!(refused(&error).endpoint(), "/a");
        let mut late = working(2);
        let over = tokio::time::Instant::now() - ms(1);
        late.extensions_mut().insert(Deadline(over));
        let error = send(client.clone(), late).await.unwrap_err();
        assert_eq!(refused(&error).endpoint(), "/a");
        done(sent).await;
        calls.assert_once_for_each_of(3, &format!("{face:?}"));
    }
}

/// An attempt is a request of its own to the limiter, and its head another one.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_retried_is_resolved_once_for_each_attempt() {
    let calls = Calls::default();
    let throttled = || retry_support::with(429, &[("retry-after", "1")]);
    let server = retry_support::Server::answering([throttled(), throttled()]);
    let layer = ThrottleLayer::new(calls.steady(Endpoints::new().route("/a", Quota::unlimited())));
    let mut request = retry_support::get("/a");
    request.extensions_mut().insert(Id(0));
    let response = retry_support::call(&mut layer.layer(server.clone()), request).await;
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(server.sent().len(), 3);
    let calls = calls.0.lock().unwrap();
    assert_eq!(calls[&0], (3, 3), "calls of (name_by, partition_by)");
}

/// Each request is in partition 0 when it is resolved first, and would be in 1, 2, ... after that.
fn fickle(calls: &Calls) -> Endpoints {
    let calls = calls.clone();
    endpoints().partition_by(move |head| Some(calls.count(head.extensions(), |calls| &mut calls.1)))
}

/// The partitions in which somebody was or waits.
fn partitions(handle: &Handle) -> BTreeSet<u64> {
    let snapshot = handle.snapshot();
    let used = snapshot
        .buckets()
        .filter(|bucket| bucket.name() == "/a" && (bucket.admitted() > 0 || bucket.waiting() > 0));
    used.filter_map(BucketSnapshot::partition).collect()
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_changes_its_mind_moves_nobody_who_waits() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let layer = AnyLayer::new(face, fickle(&calls));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let sent = burst(&client, 3, working).await;
        let mut seen = partitions(&handle);
        done(sent).await;
        seen.extend(partitions(&handle));
        assert_eq!(probe.times(), [0, 100, 200], "{face:?}");
        assert_eq!(seen.len(), 1, "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_changes_its_mind_moves_nobody_who_is_called_back() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let layer = AnyLayer::new(face, fickle(&calls));
        let (client, handle) = (layer.client(&probe), layer.handle());
        let mut seen = BTreeSet::new();
        let watch = async {
            for time in [50, 200, 400, 700] {
                at(&probe, time).await;
                seen.extend(partitions(&handle));
            }
        };
        tokio::join!(call_back_the_second(&client, &probe, &handle), watch);
        seen.extend(partitions(&handle));
        assert_eq!(probe.times(), [0, 1300], "{face:?}");
        assert_eq!(seen.len(), 1, "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_changes_moves_nobody_who_waits() {
    for face in FACES {
        let (probe, calls) = (Probe::new(), Calls::default());
        let counted = calls.clone();
        let endpoints = Endpoints::new()
            .named("first", quota())
            .named("other", quota())
            .name_by(move |head| {
                let before = counted.count(head.extensions(), |calls| &mut calls.0);
                Some(if before == 0 { "first" } else { "other" })
            });
        let layer = AnyLayer::new(face, endpoints);
        let (client, handle) = (layer.client(&probe), layer.handle());
        let sent = burst(&client, 3, working).await;
        assert_eq!(gauge(&handle, "first").0, 2, "{face:?}");
        assert_eq!(gauge(&handle, "other").0, 0, "{face:?}");
        done(sent).await;
        assert_eq!(probe.times(), [0, 100, 200], "{face:?}");
    }
}

//! L19: what an event says of its request: how long each part took, under which configured name it is counted, and
//! whether it was decided in the request's own call.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::*;
use tokio::time::Instant;
use tower_throttle::{Endpoints, Event, EventKind, Observer, Quota};

/// What an event says, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Dispatched { queued: u64, paused: u64 },
    Answered(u64),
    Ended(u64),
    Other(String),
}

use Said::{Answered, Dispatched, Ended};

#[derive(Clone, Debug, PartialEq)]
struct One {
    at: u64,
    endpoint: String,
    bucket: String,
    elsewhere: bool,
    said: Said,
}

/// Keeps what it is told.
#[derive(Clone)]
struct Log {
    start: Instant,
    all: Arc<Mutex<Vec<One>>>,
}

impl Observer for Log {
    fn on_event(&self, event: &Event<'_>) {
        let said = match event.kind {
            EventKind::Dispatched { queued, paused } => Dispatched {
                queued: whole(queued),
                paused: whole(paused),
            },
            EventKind::Answered { time, .. } => Answered(whole(time)),
            EventKind::Ended { in_flight } => Ended(whole(in_flight)),
            kind => {
                let shown = format!("{kind:?}");
                let name = shown.split([' ', '(', '{']).next();
                Said::Other(name.unwrap_or_default().to_owned())
            }
        };
        self.all.lock().unwrap().push(One {
            at: whole(event.at - self.start),
            endpoint: event.endpoint.to_owned(),
            bucket: event.bucket.to_owned(),
            elsewhere: event.elsewhere,
            said,
        });
    }
}

impl Log {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            all: Arc::default(),
        }
    }

    fn all(&self) -> Vec<One> {
        self.all.lock().unwrap().clone()
    }

    /// The times that were told, and when.
    fn times(&self) -> Vec<(u64, Said)> {
        let all = self.all().into_iter().map(|one| (one.at, one.said));
        all.filter(|(_, said)| !matches!(said, Said::Other(_)))
            .collect()
    }

    /// All events of this kind, and whether they were decided elsewhere.
    fn elsewhere(&self, kind: &str) -> Vec<bool> {
        let is_it = |one: &One| match &one.said {
            Said::Other(name) => name == kind,
            said => format!("{said:?}").starts_with(kind),
        };
        let all = self.all();
        all.iter()
            .filter(|one| is_it(one))
            .map(|one| one.elsewhere)
            .collect()
    }
}

/// L19: a dispatch tells for how long its request was queued, and for how much of that any scope of it was paused.
#[tokio::test(start_paused = true)]
async fn a_dispatch_tells_how_long_it_was_queued_and_paused() {
    for face in WINDOWS {
        let (log, probe) = (Log::new(), Probe::new());
        let endpoints = endpoint_a(per(1, 100))
            .route("/b", Quota::unlimited())
            .overall(Quota::unlimited());
        let layer = observed(face, endpoints, log.clone());
        let (client, handle) = (layer.client(&probe), layer.handle());
        // Over before anybody waits.
        handle.pause("/a", ms(10)).unwrap();
        at(&probe, 20).await;
        let mut sent = burst(&client, 1, |_| get("/a")).await;
        at(&probe, 50).await;
        sent.extend(burst(&client, 1, |_| get("/a")).await);
        at(&probe, 60).await;
        handle.pause("/a", ms(20)).unwrap();
        at(&probe, 70).await;
        handle.pause(Endpoints::OVERALL, ms(1000)).unwrap();
        // What is paused here is nothing to the other.
        handle.pause("/b", ms(500)).unwrap();
        at(&probe, 95).await;
        handle.resume(Endpoints::OVERALL).unwrap();
        finish(sent).await;
        let dispatched: Vec<_> = (log.times().into_iter())
            .filter(|(_, said)| matches!(said, Dispatched { .. }))
            .collect();
        let expected = [(20, (0, 0)), (120, (70, 35))];
        let expected = expected.map(|(at, (queued, paused))| (at, Dispatched { queued, paused }));
        assert_eq!(dispatched, expected, "{face:?}");
    }
}

/// L19: the answer and the end tell the time since the dispatch, also where the caller went away and the permit is kept.
#[tokio::test(start_paused = true)]
async fn an_answer_and_an_end_tell_the_time_since_the_dispatch() {
    for face in PERMITS {
        let log = Log::new();
        let quota = Quota::concurrent(1).grace(ms(500));
        let layer = observed(face, endpoint_a(quota), log.clone());
        let client = layer.client(&Probe::new());
        let request = |_| {
            Work::head(ms(50))
                .body([Step::Data("x"), Step::Wait(ms(30)), Step::Data("y")])
                .of("/a")
        };
        let mut sent = burst(&client, 3, request).await;
        tokio::time::sleep(ms(90)).await;
        let dropped = sent.remove(1);
        dropped.abort();
        finish(sent).await;
        let first = [
            (
                0,
                Dispatched {
                    queued: 0,
                    paused: 0,
                },
            ),
            (50, Answered(50)),
            (80, Ended(80)),
        ];
        let second = [
            (
                80,
                Dispatched {
                    queued: 80,
                    paused: 0,
                },
            ),
            (590, Ended(510)),
        ];
        let third = [
            (
                590,
                Dispatched {
                    queued: 590,
                    paused: 0,
                },
            ),
            (640, Answered(50)),
            (670, Ended(80)),
        ];
        let expected: Vec<_> = first.into_iter().chain(second).chain(third).collect();
        assert_eq!(log.times(), expected, "{face:?}");
    }
}

/// L19: `RpsLayer` has no permits that end, and tells the time of an answer all the same; that of a failure, too.
#[tokio::test(start_paused = true)]
async fn an_answer_tells_its_time_without_permits() {
    let log = Log::new();
    let layer = observed(Face::Rps, endpoint_a(per(5, 100)), log.clone());
    let client = layer.client(&Probe::new());
    send(client.clone(), job("/a", ms(40))).await.unwrap();
    let request = Work::head(ms(70)).end(End::Error).of("/a");
    send(client, request).await.unwrap_err();
    let answered: Vec<_> = (log.times().into_iter())
        .filter(|(_, said)| matches!(said, Answered(_)))
        .collect();
    assert_eq!(answered, [(40, Answered(40)), (110, Answered(70))]);
}

/// L19: there are as many endpoints as were configured, whatever paths requests have.
#[tokio::test(start_paused = true)]
async fn an_event_has_the_configured_name() {
    for face in FACES {
        let log = Log::new();
        let endpoints = Endpoints::new()
            .route("/v/{id}", per(5, 100))
            .each_other_path(per(5, 100));
        let layer = observed(face, endpoints, log.clone());
        let (client, handle) = (layer.client(&Probe::new()), layer.handle());
        for path in ["/v/1", "/v/2", "/secret/1", "/secret/2"] {
            send(client.clone(), get(path)).await.unwrap();
        }
        let mut names: Vec<_> = (log.all().into_iter())
            .map(|one| (one.endpoint, one.bucket))
            .collect();
        names.dedup();
        let others = Endpoints::EACH_OTHER_PATH;
        let expected = [
            ("/v/{id}", "/v/{id}"),
            (others, "/secret/1"),
            (others, "/secret/2"),
        ];
        let expected = expected.map(|(endpoint, bucket)| (endpoint.to_owned(), bucket.to_owned()));
        assert_eq!(names, expected, "{face:?}");
        // As the snapshot has it.
        let snapshot = handle.snapshot();
        for bucket in snapshot.buckets().filter(|of| of.admitted() > 0) {
            let overall = (Endpoints::OVERALL.to_owned(), Endpoints::OVERALL.to_owned());
            let pair = (bucket.endpoint().to_owned(), bucket.name().to_owned());
            assert!(pair == overall || expected.contains(&pair), "{pair:?}");
        }
        // They share no name that is a path, and neither do those that match nothing.
        let log = Log::new();
        let layer = observed(face, Endpoints::new(), log.clone());
        let client = layer.client(&Probe::new());
        send(client, get("http://host.example/x")).await.unwrap();
        assert!(!log.all().is_empty());
        assert!(
            log.all()
                .iter()
                .all(|one| one.endpoint == Endpoints::UNMATCHED)
        );
    }
}

/// L19: what another request, a handle or the timer decides is told from what a request's own call decides.
#[tokio::test(start_paused = true)]
async fn what_others_decide_is_marked() {
    for face in PERMITS {
        let log = Log::new();
        let layer = observed(face, endpoint_a(Quota::concurrent(1)), log.clone());
        let client = layer.client(&Probe::new());
        finish(burst(&client, 2, |_| job("/a", ms(50))).await).await;
        assert_eq!(log.elsewhere("Queued"), [false], "{face:?}");
        // The second gets its turn by the end of the first.
        assert_eq!(log.elsewhere("Admitted"), [false, true], "{face:?}");
        for own in ["Dispatched", "Answered", "Ended"] {
            assert_eq!(log.elsewhere(own), [false, false], "{face:?} {own}");
        }
    }
}

/// L19: a refusal on entry is a request's own, and so is one that its poll finds out; that of a timer is not.
#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_timer_is_marked() {
    for face in PERMITS {
        let log = Log::new();
        let quota = Quota::concurrent(1);
        let layer = observed(face, endpoint_a(quota.clone()), log.clone()).max_wait(ms(30));
        let full = layer.clone().max_waiting(0).client(&Probe::new());
        let client = layer.client(&Probe::new());
        let sent = burst(&client, 2, |_| job("/a", ms(50))).await;
        send(full, get("/a")).await.unwrap_err();
        for sent in sent {
            _ = sent.await;
        }
        assert_eq!(log.elsewhere("Refused"), [false, true], "{face:?}");
        // A pause refuses those who wait, and calls no one's own.
        let log = Log::new();
        let layer = observed(face, endpoint_a(quota), log.clone()).max_wait(ms(500));
        let (client, handle) = (layer.client(&Probe::new()), layer.handle());
        let sent = burst(&client, 2, |_| job("/a", ms(50))).await;
        handle.pause("/a", Duration::from_secs(1)).unwrap();
        for sent in sent {
            _ = sent.await;
        }
        assert_eq!(log.elsewhere("Paused"), [false], "{face:?}");
        assert_eq!(log.elsewhere("Refused"), [true], "{face:?}");
    }
}

/// L19: a request that is dropped gives its places back itself; one that is absent loses them to another.
#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_marked_if_it_was_taken() {
    for face in PERMITS {
        for dropped in [true, false] {
            let log = Log::new();
            let layer = observed(face, endpoint_a(Quota::concurrent(1)), log.clone());
            let mut client = layer.client(&Probe::new());
            let first = burst(&client, 1, |_| job("/a", ms(50))).await;
            let mut waiter = call(&mut client, get("/a"));
            assert!(waiter.poll().is_pending());
            let others = burst(&client, 1, |_| get("/a")).await;
            finish(first).await;
            if dropped {
                drop(waiter);
                finish(others).await;
                assert_eq!(log.elsewhere("GivenBack"), [false], "{face:?}");
                assert_eq!(log.elsewhere("Absent"), [] as [bool; 0], "{face:?}");
            } else {
                finish(others).await;
                assert_eq!(log.elsewhere("GivenBack"), [true], "{face:?}");
                assert_eq!(log.elsewhere("Absent"), [true], "{face:?}");
                drop(waiter);
            }
        }
    }
}

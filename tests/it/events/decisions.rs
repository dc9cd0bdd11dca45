//! Every decision is told once, in order, with its bucket, and after the lock was released.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use crate::support::*;
use futures_util::FutureExt as _;
use http::{Response, StatusCode};
use proptest::{collection::vec, prelude::*};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::Service;
use tower_throttle::{
    BoxError, Deadline, Endpoints, Event, EventKind, Handle, Observer, PauseCause, Quota,
    RefusedReason, signal::SignalKind,
};

use What::{
    Absent, Admitted, Answered, Dispatched, Eased, Ended, GivenBack, Learned, Paused, Queued,
    Refused, Resumed, Swept, Throttled,
};

/// What a request tells that is admitted at once, and answered and over at `end`.
fn at_once(face: Face, now: u64, end: u64) -> Vec<(u64, What)> {
    let mut told = vec![
        (now, Admitted(0)),
        (now, Dispatched),
        (end, Answered(Some(200))),
    ];
    if face != Face::Rps {
        told.push((end, Ended));
    }
    told
}

/// L19: a request that need not wait is admitted, dispatched, answered, and ended where it has a permit.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_admitted_at_once_tells_four_events_in_order() {
    for face in FACES {
        for quota in [Quota::unlimited(), per(5, 100).concurrency(5)] {
            let recorder = Recorder::new();
            let probe = Probe::new();
            let layer = observed(face, endpoint_a(quota), recorder.clone());
            let client = layer.client(&probe);
            send(client.clone(), job("/a", ms(50))).await.unwrap();
            assert_eq!(recorder.of("/a"), at_once(face, 0, 50), "{face:?}");
            send(client, job("/a", ms(30))).await.unwrap();
            assert_eq!(
                recorder.of("/a")[at_once(face, 0, 0).len()..],
                at_once(face, 50, 80)
            );
            assert_eq!(recorder.all().len(), recorder.of("/a").len(), "{face:?}");
            assert!(recorder.all().iter().all(|told| told.partition.is_none()));
            recorder.check();
        }
    }
}

/// L19: a request without a quota of its own belongs to a bucket as well, by the name of the snapshot.
#[tokio::test(start_paused = true)]
async fn an_unmatched_request_is_told_of_its_bucket() {
    for face in FACES {
        let recorder = Recorder::new();
        let layer = observed(face, Endpoints::new(), recorder.clone());
        let client = layer.client(&Probe::new());
        send(client, job("/a", ms(50))).await.unwrap();
        let snapshot = layer.handle().snapshot();
        let narrow = snapshot
            .buckets()
            .find(|bucket| bucket.name() != Endpoints::OVERALL && bucket.admitted() == 1);
        let name = narrow.expect("it has a bucket").name();
        assert_eq!(recorder.of(name), at_once(face, 0, 50), "{face:?} {name}");
        recorder.check();
    }
}

/// L19: the end is that of the body, whichever it is.
#[tokio::test(start_paused = true)]
async fn a_request_has_ended_when_its_body_has_ended_failed_or_been_dropped() {
    for face in PERMITS {
        let endings: [(&[Step], Option<u64>, u64); 3] = [
            (
                &[Step::Data("x"), Step::Wait(ms(30)), Step::Data("y")],
                None,
                80,
            ),
            (&[Step::Wait(ms(20)), Step::Error], None, 70),
            (&[Step::Wait(ms(1000)), Step::Data("x")], Some(10), 60),
        ];
        for (body, dropped, end) in endings {
            let recorder = Recorder::new();
            let layer = observed(face, endpoint_a(Quota::concurrent(1)), recorder.clone());
            let client = layer.client(&Probe::new());
            let request = Work::head(ms(50)).body(body.iter().cloned()).of("/a");
            let sending = tokio::spawn(send(client, request));
            if let Some(after) = dropped {
                tokio::time::sleep(ms(50 + after)).await;
                sending.abort();
            }
            _ = sending.await;
            let mut expected = at_once(face, 0, 50);
            expected[3] = (end, Ended);
            assert_eq!(recorder.of("/a"), expected, "{face:?}");
            recorder.check();
            assert_idle(&layer.handle());
        }
    }
}

/// L19: an error is an answer without a status, and a call that is dropped in flight has none.
#[tokio::test(start_paused = true)]
async fn an_error_and_a_drop_in_flight_are_told() {
    for face in FACES {
        for error in [true, false] {
            let recorder = Recorder::new();
            let layer = observed(face, endpoint_a(Quota::concurrent(1)), recorder.clone());
            let client = layer.client(&Probe::new());
            let work = if error { 50 } else { 1000 };
            let request = Work::head(ms(work)).end(End::Error).of("/a");
            let sending = tokio::spawn(send(client, request));
            tokio::time::sleep(ms(60)).await;
            sending.abort();
            _ = sending.await;
            let mut expected = at_once(face, 0, if error { 50 } else { 60 });
            expected[2] = (50, Answered(None));
            if !error {
                expected.remove(2);
            }
            assert_eq!(recorder.of("/a"), expected, "{face:?} {error}");
            recorder.check();
            assert_idle(&layer.handle());
        }
    }
}

/// L19: with `release_at_head` the permit ends with the head.
#[tokio::test(start_paused = true)]
async fn a_permit_that_is_released_at_the_head_ends_there() {
    for face in PERMITS {
        let recorder = Recorder::new();
        let quota = Quota::concurrent(1).release_at_head();
        let layer = observed(face, endpoint_a(quota), recorder.clone());
        let client = layer.client(&Probe::new());
        let request = Work::head(ms(50)).body([Step::Wait(ms(100)), Step::Data("x")]);
        send(client, request.of("/a")).await.unwrap();
        let ended = recorder.only("/a", |what| *what == Ended);
        assert_eq!(ended, [(50, Ended)], "{face:?}");
        recorder.check();
    }
}

/// L19: a request that waits is queued, and admitted with the exact time that it waited.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_window_is_queued_and_then_admitted() {
    for face in WINDOWS {
        let recorder = Recorder::new();
        let probe = Probe::new();
        let layer = observed(face, endpoint_a(per(1, 100)), recorder.clone());
        let client = layer.client(&probe);
        let mut sent = burst(&client, 1, |_| get("/a")).await;
        at(&probe, 30).await;
        sent.extend(burst(&client, 2, |_| get("/a")).await);
        for sent in sent {
            sent.await.unwrap().unwrap();
        }
        let mut expected = at_once(face, 0, 0);
        expected.extend([(30, Queued(1)), (30, Queued(2))]);
        for (now, waited) in [(100, 70), (200, 170)] {
            let mut one = at_once(face, now, now);
            one[0] = (now, Admitted(waited));
            expected.extend(one);
        }
        assert_eq!(recorder.of("/a"), expected, "{face:?}");
        recorder.check();
    }
}

/// L19: the same for a permit. The end of the one that had it is told before.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_permit_is_queued_and_then_admitted() {
    for face in PERMITS {
        let recorder = Recorder::new();
        let layer = observed(face, endpoint_a(Quota::concurrent(1)), recorder.clone());
        let client = layer.client(&Probe::new());
        for sent in burst(&client, 2, |_| job("/a", ms(100))).await {
            sent.await.unwrap().unwrap();
        }
        let mut expected = vec![(0, Admitted(0)), (0, Dispatched), (0, Queued(1))];
        expected.extend([
            (100, Answered(Some(200))),
            (100, Ended),
            (100, Admitted(100)),
            (100, Dispatched),
        ]);
        expected.extend([(200, Answered(Some(200))), (200, Ended)]);
        assert_eq!(recorder.of("/a"), expected, "{face:?}");
        recorder.check();
    }
}

/// L19: what keeps a request back may be a wider scope: it is told of its endpoint all the same.
#[tokio::test(start_paused = true)]
async fn a_request_is_told_of_its_endpoint_whatever_scope_it_waits_for() {
    for face in FACES {
        let recorder = Recorder::new();
        let endpoints = Endpoints::new()
            .group("group", Quota::unlimited(), ["/a", "/b"])
            .overall(per(1, 100).concurrency(1));
        let layer = observed(face, endpoints, recorder.clone());
        let client = layer.client(&Probe::new());
        let mut sent = burst(&client, 1, |_| job("/a", ms(100))).await;
        sent.extend(burst(&client, 1, |_| job("/b", ms(100))).await);
        for sent in sent {
            sent.await.unwrap().unwrap();
        }
        let mut expected = at_once(face, 100, 200);
        expected[0] = (100, Admitted(100));
        expected.insert(0, (0, Queued(1)));
        assert_eq!(recorder.of("/a"), at_once(face, 0, 100), "{face:?}");
        assert_eq!(recorder.of("/b"), expected, "{face:?}");
        assert_eq!(recorder.all().len(), 2 * expected.len() - 1, "{face:?}");
        recorder.check();
    }
}

/// L19: a refusal on entry is all that is told of a request.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_on_entry_tells_its_refusal() {
    use RefusedReason::{DeadlineWouldPass, QueueFull, WouldWaitTooLong};
    for face in WINDOWS {
        for reason in [QueueFull, WouldWaitTooLong, DeadlineWouldPass] {
            for wide in [false, true] {
                let recorder = Recorder::new();
                let probe = Probe::new();
                let endpoints = if wide {
                    endpoint_a(Quota::unlimited()).overall(per(1, 100))
                } else {
                    endpoint_a(per(1, 100))
                };
                let layer = observed(face, endpoints, recorder.clone());
                let layer = match reason {
                    QueueFull => layer.max_waiting(0),
                    WouldWaitTooLong => layer.max_wait(ms(50)),
                    _ => layer,
                };
                let client = layer.client(&probe);
                send(client.clone(), get("/a")).await.unwrap();
                recorder.forget();
                at(&probe, 20).await;
                let mut request = get("/a");
                if reason == DeadlineWouldPass {
                    let deadline = Deadline(probe.start() + ms(99));
                    request.extensions_mut().insert(deadline);
                }
                let error = send(client, request).await.unwrap_err();
                assert_eq!(refused(&error).reason(), reason);
                assert_eq!(
                    recorder.of("/a"),
                    [(20, Refused(reason, Some(ms(80))))],
                    "{face:?} {reason:?} {wide}"
                );
                assert_eq!(recorder.all().len(), 1);
            }
        }
    }
}

/// L19: so is one that waited, when its time is over.
#[tokio::test(start_paused = true)]
async fn a_request_whose_time_is_over_was_queued_and_is_refused() {
    for face in PERMITS {
        let recorder = Recorder::new();
        let layer =
            observed(face, endpoint_a(Quota::concurrent(1)), recorder.clone()).max_wait(ms(50));
        let client = layer.client(&Probe::new());
        let mut sent = burst(&client, 2, |_| job("/a", ms(100))).await;
        let error = sent.pop().unwrap().await.unwrap().unwrap_err();
        assert_eq!(refused(&error).reason(), RefusedReason::WaitedTooLong);
        let told = recorder.of("/a")[2..].to_vec();
        assert_eq!(
            told,
            [
                (0, Queued(1)),
                (50, Refused(RefusedReason::WaitedTooLong, None))
            ],
            "{face:?}"
        );
        sent.pop().unwrap().await.unwrap().unwrap();
        recorder.check();
    }
}

/// L19: a pause is told before those that it refuses, each of which is told once.
#[tokio::test(start_paused = true)]
async fn those_whom_a_pause_refuses_are_told_once_each() {
    for face in FACES {
        let recorder = Recorder::new();
        let layer = observed(
            face,
            endpoint_a(per(1, 100).concurrency(1)),
            recorder.clone(),
        );
        let layer = layer.max_wait(ms(1000));
        let client = layer.client(&Probe::new());
        let sent = burst(&client, 4, |_| job("/a", ms(100))).await;
        layer.handle().pause("/a", ms(5000)).unwrap();
        settle().await;
        let told = recorder.only("/a", |what| matches!(what, Paused(..) | Refused(..)));
        assert_eq!(told.len(), 4, "{face:?}: {told:?}");
        assert_eq!(
            told[0],
            (0, Paused(ms(5000), PauseCause::Handle)),
            "{face:?}"
        );
        for told in &told[1..] {
            // The window may let them go one by one when the pause is over.
            assert!(
                matches!(told, (0, Refused(RefusedReason::WouldWaitTooLong, Some(wait)))
                    if (ms(5000)..=ms(5200)).contains(wait)),
                "{face:?}: {told:?}"
            );
        }
        recorder.check();
        for (i, sent) in sent.into_iter().enumerate() {
            assert_eq!(sent.await.unwrap().is_ok(), i == 0);
        }
        assert_eq!(recorder.count("/a", |what| matches!(what, Refused(..))), 3);
    }
}

type Headers = &'static [(&'static str, &'static str)];

const NONE: Headers = &[];
const ASKS_FOR_2_S: Headers = &[("retry-after", "2")];
const AT_MOST_4: Headers = &[("maximum-concurrent-requests", "4")];

/// What an inner service answers, one after the other; 200 when there is no more. Each takes 10 ms.
fn answering(layer: &AnyLayer, answers: impl IntoIterator<Item = (u16, Headers)>) -> Client {
    let answers: VecDeque<_> = answers.into_iter().collect();
    let answers = Arc::new(Mutex::new(answers));
    layer.over(tower::service_fn(move |_: Req| {
        let (status, headers) = answers.lock().unwrap().pop_front().unwrap_or((200, NONE));
        async move {
            tokio::time::sleep(ms(10)).await;
            let mut response = Response::new(Scripted::default());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            Ok::<_, BoxError>(response)
        }
    }))
}

fn paused_for(handle: &Handle, bucket: &str) -> Option<Duration> {
    handle.snapshot().bucket(bucket)?.paused_for()
}

/// L19: a 429 tells its signal, and the pause for which it asks, for as long as the snapshot says.
#[tokio::test(start_paused = true)]
async fn an_answer_that_throttles_tells_its_signal_and_the_pause() {
    for face in FACES {
        for asked in [true, false] {
            let recorder = Recorder::new();
            let layer = observed(
                face,
                endpoint_a(per(10, 100).concurrency(10)),
                recorder.clone(),
            );
            let headers = if asked { ASKS_FOR_2_S } else { NONE };
            let client = answering(&layer, [(429, headers)]);
            send(client, get("/a")).await.unwrap();
            let pause = paused_for(&layer.handle(), "/a").unwrap();
            let (delay, cause) = if asked {
                assert!(pause >= ms(2000));
                (Some(ms(2000)), PauseCause::Asked)
            } else {
                (None, PauseCause::BackOff)
            };
            let told = recorder.only("/a", |what| !matches!(what, Learned(_)));
            let signal = (10, Throttled(SignalKind::Rate, delay));
            let paused = (10, Paused(pause, cause));
            let place = |wanted: &(u64, What)| {
                let count = told.iter().filter(|told| *told == wanted).count();
                assert_eq!(count, 1, "{face:?}: {wanted:?} in {told:?}");
                told.iter().position(|told| told == wanted)
            };
            assert!(place(&signal) < place(&paused), "{face:?}: {told:?}");
            let mut expected = at_once(face, 0, 10);
            expected[2] = (10, Answered(Some(429)));
            let rest: Vec<_> = told
                .iter()
                .filter(|told| **told != signal && **told != paused)
                .cloned()
                .collect();
            assert_eq!(rest, expected, "{face:?}");
            recorder.check();
        }
    }
}

/// L19: quota headers that say that nothing is left pause, and throttle nothing.
#[tokio::test(start_paused = true)]
async fn quota_headers_that_pause_are_told() {
    for face in FACES {
        let recorder = Recorder::new();
        let layer = observed(
            face,
            endpoint_a(per(10, 100).concurrency(10)),
            recorder.clone(),
        );
        let headers: Headers = &[
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "5"),
        ];
        let client = answering(&layer, [(200, headers)]);
        send(client, get("/a")).await.unwrap();
        let pause = paused_for(&layer.handle(), "/a").unwrap();
        let told = recorder.only("/a", |what| matches!(what, Paused(..) | Throttled(..)));
        assert_eq!(
            told,
            [(10, Paused(pause, PauseCause::QuotaHeaders))],
            "{face:?}"
        );
        recorder.check();
    }
}

/// L19: a pause by hand and its end by hand are told of the scope that was named.
#[tokio::test(start_paused = true)]
async fn a_pause_and_its_end_by_hand_are_told_of_the_scope_that_was_named() {
    for face in FACES {
        for scope in ["/a", "group", Endpoints::OVERALL] {
            let recorder = Recorder::new();
            let probe = Probe::new();
            let endpoints = Endpoints::new()
                .group("group", Quota::unlimited(), ["/a"])
                .overall(Quota::unlimited());
            let layer = observed(face, endpoints, recorder.clone());
            let handle = layer.handle();
            handle.pause(scope, ms(500)).unwrap();
            let sent = burst(&layer.client(&probe), 1, |_| get("/a")).await;
            at(&probe, 200).await;
            handle.resume(scope).unwrap();
            for sent in sent {
                sent.await.unwrap().unwrap();
            }
            let told = recorder.only(scope, |what| matches!(what, Paused(..) | Resumed));
            assert_eq!(
                told,
                [(0, Paused(ms(500), PauseCause::Handle)), (200, Resumed)],
                "{face:?} {scope}"
            );
            let mut expected = vec![(0, Queued(1)), (200, Admitted(200)), (200, Dispatched)];
            expected.push((200, Answered(Some(200))));
            if face != Face::Rps {
                expected.push((200, Ended));
            }
            let rest = recorder.only("/a", |what| !matches!(what, Paused(..) | Resumed));
            assert_eq!(rest, expected, "{face:?} {scope}");
            recorder.check();
        }
    }
}

/// L19: a pause that ends by itself is not resumed.
#[tokio::test(start_paused = true)]
async fn a_pause_that_ends_by_itself_tells_no_more() {
    for face in FACES {
        let recorder = Recorder::new();
        let layer = observed(face, endpoint_a(Quota::unlimited()), recorder.clone());
        layer.handle().pause("/a", ms(100)).unwrap();
        send(layer.client(&Probe::new()), get("/a")).await.unwrap();
        assert_eq!(recorder.count("/a", |what| *what == Resumed), 0, "{face:?}");
        assert_eq!(recorder.count("/a", |what| matches!(what, Paused(..))), 1);
        recorder.check();
    }
}

/// L19: what answers teach is told once, as the snapshot has it, and told again when it is given back.
#[tokio::test(start_paused = true)]
async fn what_was_learned_and_given_back_is_told_as_the_snapshot_has_it() {
    for (face, answer) in [
        (Face::Concurrency, (200, AT_MOST_4)),
        (Face::Throttle, (200, AT_MOST_4)),
        (Face::Rps, (429, NONE)),
        (Face::Throttle, (429, NONE)),
    ] {
        let recorder = Recorder::new();
        let layer = observed(
            face,
            endpoint_a(per(100, 1000).concurrency(10)),
            recorder.clone(),
        );
        let handle = layer.handle();
        let learned = || {
            let snapshot = handle.snapshot();
            let learned = snapshot.bucket("/a").unwrap().learned().copied();
            learned.map(|learned| format!("{learned:?}"))
        };
        let lessons = |what: &What| matches!(what, Learned(_) | Eased(_));
        let client = answering(&layer, [answer]);
        send(client.clone(), get("/a")).await.unwrap();
        let lesson = learned().expect("it taught something");
        assert_eq!(
            recorder.only("/a", lessons),
            [(10, Learned(lesson))],
            "{face:?}"
        );
        // Ten minutes later it is forgotten. When that is noticed is not said.
        tokio::time::sleep(Duration::from_secs(700)).await;
        send(client.clone(), get("/a")).await.unwrap();
        send(client, get("/a")).await.unwrap();
        assert_eq!(learned(), None);
        let told: Vec<_> = recorder
            .only("/a", lessons)
            .into_iter()
            .map(|told| told.1)
            .collect();
        assert_eq!(told.len(), 2, "{face:?}: {told:?}");
        assert_eq!(told[1], Eased(None), "{face:?}");
        recorder.check();
    }
}

/// L19: whatever answers teach, the last that was told is what the snapshot has.
#[tokio::test(start_paused = true)]
async fn the_last_lesson_told_is_what_is_learned() {
    for face in FACES {
        let recorder = Recorder::new();
        let layer = observed(
            face,
            endpoint_a(per(100, 1000).concurrency(10)),
            recorder.clone(),
        );
        let handle = layer.handle();
        let client = answering(
            &layer,
            [
                (200, AT_MOST_4),
                (429, NONE),
                (200, AT_MOST_4),
                (429, ASKS_FOR_2_S),
                (429, ASKS_FOR_2_S),
            ],
        );
        for round in 0..300 {
            send(client.clone(), get("/a")).await.unwrap();
            let snapshot = handle.snapshot();
            let learned = snapshot.bucket("/a").unwrap().learned();
            let told = recorder
                .all()
                .into_iter()
                .rev()
                .find_map(|told| match told.what {
                    Learned(lesson) => Some(Some(lesson)),
                    Eased(lesson) => Some(lesson),
                    _ => None,
                });
            assert_eq!(
                told.flatten(),
                learned.map(|learned| format!("{learned:?}")),
                "{face:?} {round}"
            );
        }
        recorder.check();
    }
}

/// A paused bucket lets one request go at 10 ms, whose clone is ready at 18 ms.
async fn slow_to_get_ready(face: Face, recorder: &Recorder) -> (AnyLayer, Probe, Sent) {
    let probe = Probe::new();
    let layer = observed(
        face,
        endpoint_a(per(2, 100).concurrency(2)),
        recorder.clone(),
    );
    let client = layer.client(&probe);
    layer.handle().pause("/a", ms(10)).unwrap();
    probe.log().readiness = [ms(0), ms(8)].into();
    let mut sent = burst(&client, 1, |_| get("/a")).await;
    (layer, probe, sent.pop().unwrap())
}

/// L19: what is dropped between admission and dispatch is given back.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_before_its_dispatch_is_given_back() {
    for face in FACES {
        let recorder = Recorder::new();
        let (layer, probe, sent) = slow_to_get_ready(face, &recorder).await;
        at(&probe, 15).await;
        sent.abort();
        settle().await;
        assert_eq!(
            recorder.of("/a")[1..],
            [(0, Queued(1)), (10, Admitted(10)), (15, GivenBack)],
            "{face:?}"
        );
        recorder.check();
        assert_idle(&layer.handle());
    }
}

/// L19: what a pause calls back is given back, and admitted again when the pause is over.
#[tokio::test(start_paused = true)]
async fn a_request_that_a_pause_calls_back_is_given_back_and_admitted_again() {
    for face in FACES {
        let recorder = Recorder::new();
        let (layer, probe, sent) = slow_to_get_ready(face, &recorder).await;
        at(&probe, 15).await;
        layer.handle().pause("/a", ms(100)).unwrap();
        sent.await.unwrap().unwrap();
        assert_eq!(probe.times(), [115], "{face:?}");
        let told = recorder.of("/a");
        let given_back = recorder.only("/a", |what| *what == GivenBack);
        assert_eq!(given_back.len(), 1, "{face:?}: {told:?}");
        // It learns of it when it is polled: at once, or when its clone is ready.
        assert!([15, 18].contains(&given_back[0].0), "{face:?}: {told:?}");
        let admitted = recorder.only("/a", |what| matches!(what, Admitted(_)));
        assert_eq!(admitted.len(), 2, "{face:?}: {told:?}");
        assert_eq!(
            (admitted[0].0, admitted[1].0),
            (10, 115),
            "{face:?}: {told:?}"
        );
        assert_eq!(recorder.count("/a", |what| *what == Dispatched), 1);
        recorder.check();
        assert_idle(&layer.handle());
    }
}

/// L13, L19: that a waiter is absent is told once, when its time is over, of its bucket.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_absent_is_told_once() {
    for face in FACES {
        for scope in ["/a", Endpoints::OVERALL] {
            let recorder = Recorder::new();
            let probe = Probe::new();
            let quota = per(1, 100).concurrency(1);
            let endpoints = if scope == "/a" {
                endpoint_a(quota).route("/b", Quota::unlimited())
            } else {
                endpoint_a(Quota::unlimited()).overall(quota)
            };
            let layer = observed(face, endpoints, recorder.clone());
            let mut client = layer.client(&probe);
            let mut sent = burst(&client, 1, |_| job("/a", ms(100))).await;
            let mut forgotten = call(&mut client, Work::head(ms(0)).id(1).of("/a"));
            assert_pending!(forgotten.poll());
            sent.extend(burst(&client, 3, |_| Work::head(ms(100)).id(2).of("/a")).await);
            for sent in sent {
                let ended = tokio::time::timeout(Duration::from_secs(3600), sent).await;
                ended.expect("it waits for ever").unwrap().unwrap();
            }
            assert_eq!(probe.times(), [0, 110, 210, 310], "{face:?}");
            let absent = recorder.only("/a", |what| *what == Absent);
            assert_eq!(absent, [(110, Absent)], "{face:?} {scope}");
            at(&probe, 500).await;
            drop(assert_ready_ok!(forgotten.poll()));
            assert_eq!(recorder.count("/a", |what| *what == Absent), 1);
            let count = |wanted: fn(&What) -> bool| recorder.count("/a", wanted);
            assert_eq!(count(|what| matches!(what, Queued(_))), 4, "{face:?}");
            assert_eq!(count(|what| *what == Dispatched), 5, "{face:?}");
            assert_eq!(
                count(|what| matches!(what, Admitted(_))),
                5 + count(|what| *what == GivenBack),
                "{face:?}"
            );
            let last = recorder.only("/a", |what| matches!(what, Admitted(_)));
            assert_eq!(*last.last().unwrap(), (500, Admitted(500)), "{face:?}");
            recorder.check();
            assert_idle(&layer.handle());
        }
    }
}

/// L13, L19: so it is of one whose inner service does not get ready.
#[tokio::test(start_paused = true)]
async fn a_request_whose_service_does_not_get_ready_is_told_to_be_absent() {
    for face in FACES {
        let recorder = Recorder::new();
        let probe = Probe::new();
        let layer = observed(
            face,
            endpoint_a(per(1, 100).concurrency(1)),
            recorder.clone(),
        );
        let client = layer.client(&probe);
        let sent = burst(&client, 3, |id| Work::head(ms(50)).id(id).of("/a")).await;
        probe.log().readiness = [ms(400)].into();
        for sent in sent {
            sent.await.unwrap().unwrap();
        }
        assert_eq!(probe.ids(), [0, 2, 1], "{face:?}");
        assert_eq!(recorder.count("/a", |what| *what == Absent), 1, "{face:?}");
        assert_eq!(
            recorder.count("/a", |what| *what == GivenBack),
            1,
            "{face:?}"
        );
        assert_eq!(recorder.count("/a", |what| matches!(what, Admitted(_))), 4);
        assert_eq!(recorder.count("/a", |what| *what == Dispatched), 3);
        recorder.check();
        assert_idle(&layer.handle());
    }
}

/// L11, L19: that a key is forgotten is told once; a bucket of that name begins anew.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_swept_is_told_and_begins_anew() {
    for face in WINDOWS {
        let recorder = Recorder::new();
        let endpoints = Endpoints::new().each_other_path(per(2, 100));
        let layer = observed(face, endpoints, recorder.clone());
        let (client, handle) = (layer.client(&Probe::new()), layer.handle());
        send(client.clone(), get("/x")).await.unwrap();
        handle.sweep();
        assert_eq!(recorder.of("/x"), at_once(face, 0, 0), "{face:?}: in use");
        tokio::time::sleep(ms(5000)).await;
        handle.sweep();
        handle.sweep();
        let mut expected = at_once(face, 0, 0);
        expected.push((5000, Swept));
        assert_eq!(recorder.of("/x"), expected, "{face:?}");
        send(client, get("/x")).await.unwrap();
        let told = recorder.all();
        let sequences: Vec<_> = told.iter().map(|told| told.sequence).collect();
        let first = 1..=at_once(face, 0, 0).len() as u64;
        let expected: Vec<_> = first
            .clone()
            .chain([first.end() + 1])
            .chain(first)
            .collect();
        assert_eq!(sequences, expected, "{face:?}");
        recorder.check();
    }
}

/// L19: partitions have sequences of their own, and are told by the hash of the snapshot.
#[tokio::test(start_paused = true)]
async fn partitions_are_told_as_the_snapshot_has_them() {
    for face in WINDOWS {
        let recorder = Recorder::new();
        let endpoints = endpoint_a(per(9, 1000).concurrency(9)).partition_by_header("x-key");
        let layer = observed(face, endpoints, recorder.clone());
        let client = layer.client(&Probe::new());
        for key in ["one", "two", "one", "one"] {
            let mut request = get("/a");
            request.headers_mut().insert("x-key", key.parse().unwrap());
            send(client.clone(), request).await.unwrap();
        }
        let each = at_once(face, 0, 0).len();
        let mut told = BTreeMap::<_, usize>::new();
        for one in recorder.all() {
            assert_eq!(one.bucket, "/a");
            *told
                .entry(one.partition.expect("it has a partition"))
                .or_default() += 1;
        }
        let snapshot = layer.handle().snapshot();
        let seen: BTreeMap<_, _> = snapshot
            .buckets()
            .filter(|bucket| bucket.name() == "/a" && bucket.admitted() > 0)
            .map(|bucket| {
                (
                    bucket.partition().unwrap(),
                    each * usize::try_from(bucket.admitted()).unwrap(),
                )
            })
            .collect();
        assert_eq!(told, seen, "{face:?}");
        recorder.check();
    }
}

const SECRET: &str = "sk-very-secret-4711";

/// L19: the value by which a request is partitioned is shown by no event.
#[tokio::test(start_paused = true)]
async fn partition_values_are_shown_by_no_event() {
    for face in FACES {
        let recorder = Recorder::new();
        let endpoints = endpoint_a(per(1, 100).concurrency(1))
            .overall(per(5, 100).concurrency(5))
            .each_other_path(per(1, 100).concurrency(1))
            .partition_by_header("x-key")
            .across_partitions(Quota::concurrent(100));
        let layer = observed(face, endpoints, recorder.clone()).max_waiting(1);
        let refusing: Headers = &[("retry-after", "2"), ("x-echo", SECRET)];
        let client = answering(&layer, [(429, refusing), (200, &[("x-echo", SECRET)])]);
        let mut sent = Vec::new();
        for path in ["/a", "/a", "/a", "/x", "/x", "/x"] {
            let mut request = get(path);
            request
                .headers_mut()
                .insert("x-key", SECRET.parse().unwrap());
            sent.push(tokio::spawn(send(client.clone(), request)));
            settle().await;
        }
        let handle = layer.handle();
        handle.pause("/a", ms(5000)).unwrap();
        handle.resume("/a").unwrap();
        handle.pause(Endpoints::OVERALL, ms(50)).unwrap();
        for sent in sent {
            _ = sent.await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        handle.sweep();
        let all = recorder.all();
        let kinds: BTreeSet<_> = all
            .iter()
            .map(|told| {
                format!("{:?}", told.what)
                    .split('(')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        for kind in [
            "Queued",
            "Admitted",
            "Refused",
            "Throttled",
            "Paused",
            "Swept",
        ] {
            assert!(
                kinds.contains(kind),
                "{face:?}: nothing was {kind}: {kinds:?}"
            );
        }
        for told in all {
            assert!(!told.shown.contains("4711"), "{face:?}: {}", told.shown);
        }
    }
}

/// An observer that does something with each event, which it is given later.
#[derive(Clone)]
struct Late(Arc<Mutex<Option<Doing>>>);

type Doing = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

impl Late {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn set(&self, doing: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        *self.0.lock().unwrap() = Some(Arc::new(doing));
    }
}

impl Observer for Late {
    fn on_event(&self, event: &Event<'_>) {
        let doing = self.0.lock().unwrap().clone();
        if let Some(doing) = doing {
            doing(event);
        }
    }
}

/// Does to a layer what can be done: nearly every kind of event comes of it. Each step runs within `step`.
///
/// `/a` takes one at a time and two in 100 ms; other paths have windows of their own.
async fn do_everything(layer: &AnyLayer, mut step: impl FnMut(&mut dyn FnMut())) {
    let handle = layer.handle();
    let mut client = answering(layer, [(200, NONE), (200, NONE), (429, ASKS_FOR_2_S)]);
    let mut calls = Vec::new();
    // What panicked is dropped: that is what a task does with a future that did.
    for path in ["/a", "/a", "/a", "/a", "/x", "/a"] {
        step(&mut || {
            ready_now(&mut client);
            let mut future = client.call(get(path));
            if (&mut future).now_or_never().is_none() {
                calls.push(future);
            }
        });
    }
    for round in 0..80 {
        tokio::time::sleep(ms(10)).await;
        match round {
            2 => step(&mut || handle.pause("/a", ms(30)).unwrap()),
            3 => step(&mut || handle.resume("/a").unwrap()),
            4 => step(&mut || handle.set_quota("/a", per(2, 50).concurrency(1)).unwrap()),
            5 => step(&mut || handle.pause(Endpoints::OVERALL, ms(30)).unwrap()),
            6 => step(&mut || handle.sweep()),
            7 => step(&mut || drop(calls.pop())),
            60 => step(&mut || handle.resume("/a").unwrap()),
            _ => {}
        }
        for mut future in std::mem::take(&mut calls) {
            let mut kept = None;
            step(&mut || {
                if (&mut future).now_or_never().is_none() {
                    kept = Some(());
                }
            });
            if kept.is_some() {
                calls.push(future);
            } else {
                step(&mut || {
                    let over = std::mem::replace(&mut future, Box::pin(std::future::pending()));
                    drop(over);
                });
            }
        }
    }
    while !calls.is_empty() {
        step(&mut || drop(calls.pop()));
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    step(&mut || handle.sweep());
}

fn everything() -> Endpoints {
    Endpoints::new()
        .route("/a", per(2, 100).concurrency(1))
        .each_other_path(per(1, 100))
        .overall(per(100, 1000).concurrency(50))
}

/// L19: an observer is called after the lock was released, so it may use the handle.
#[test]
fn an_observer_may_use_the_handle() {
    for face in FACES {
        without_deadlock("the observer", async move {
            let late = Late::new();
            let layer = observed(face, everything(), late.clone()).max_waiting(3);
            let handle = layer.handle();
            let told = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&told);
            late.set(move |event| {
                count.fetch_add(1, Relaxed);
                let snapshot = handle.snapshot();
                let bucket = snapshot
                    .buckets()
                    .find(|b| b.name() == event.bucket && b.partition() == event.partition);
                // What was just decided can be seen already.
                if let (Some(bucket), EventKind::Paused { time, .. }) = (bucket, event.kind) {
                    assert!(bucket.paused_for() >= Some(time), "{event:?} {bucket:?}");
                }
                if let EventKind::Swept = event.kind {
                    assert!(bucket.is_none(), "{event:?}");
                }
                handle.set_quota("/a", per(2, 100).concurrency(1)).unwrap();
                handle.sweep();
            });
            do_everything(&layer, |step| step()).await;
            assert!(told.load(Relaxed) > 20, "{face:?}");
            assert_idle(&layer.handle());
            late.0.lock().unwrap().take();
        });
    }
}

/// L19: an observer may even pause what it is told of, and is told of that.
#[test]
fn an_observer_may_pause_a_bucket() {
    for face in FACES {
        without_deadlock("the observer", async move {
            let late = Late::new();
            let layer = observed(face, endpoint_a(Quota::unlimited()), late.clone());
            let handle = layer.handle();
            let pauses = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&pauses);
            late.set(move |event| match event.kind {
                EventKind::Answered { .. } => handle.pause("/a", ms(100)).unwrap(),
                EventKind::Paused { time, .. } => seen.lock().unwrap().push((event.sequence, time)),
                _ => {}
            });
            let probe = Probe::new();
            for sent in burst(&layer.client(&probe), 1, |_| get("/a")).await {
                sent.await.unwrap().unwrap();
            }
            let pauses = pauses.lock().unwrap().clone();
            assert_eq!(pauses.len(), 1, "{face:?}");
            assert_eq!(pauses[0].1, ms(100));
            send(layer.client(&probe), get("/a")).await.unwrap();
            assert_eq!(probe.times(), [0, 100], "{face:?}");
            late.0.lock().unwrap().take();
        });
    }
}

/// What an observer panics with.
#[derive(Debug, PartialEq)]
struct Boom;

fn is_boom(panic: &(dyn Any + Send)) -> bool {
    panic.downcast_ref() == Some(&Boom)
}

/// L5, L19: whatever event an observer panics at, the panic reaches that caller, the layer works on, and nothing
/// leaks.
#[test]
fn an_observer_that_panics_at_any_event_breaks_nothing() {
    for face in FACES {
        let mut events = usize::MAX;
        let mut panic_at = 0;
        while panic_at < events {
            without_deadlock("the observer", async move {
                let late = Late::new();
                let layer = observed(face, everything(), late.clone()).max_waiting(3);
                let told = Arc::new(AtomicUsize::new(0));
                let count = Arc::clone(&told);
                late.set(move |_| {
                    if count.fetch_add(1, Relaxed) == panic_at {
                        // Without the panic hook's noise.
                        resume_unwind(Box::new(Boom));
                    }
                });
                let mut panics = 0;
                do_everything(&layer, |step| {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(step)) {
                        assert!(is_boom(&*panic), "{face:?} at {panic_at}: another panic");
                        panics += 1;
                    }
                })
                .await;
                let events = told.load(Relaxed);
                assert_eq!(
                    panics,
                    usize::from(panic_at < events),
                    "{face:?} at {panic_at}"
                );
                assert_idle(&layer.handle());
                // It works as if nothing had been.
                let probe = Probe::new();
                let client = layer.client(&probe);
                layer
                    .handle()
                    .set_quota("/a", per(2, 100).concurrency(1))
                    .unwrap();
                for sent in burst(&client, 3, |_| get("/a")).await {
                    let ended = tokio::time::timeout(Duration::from_secs(3600), sent).await;
                    ended.expect("it waits for ever").unwrap().unwrap();
                }
                let third = if face == Face::Concurrency { 0 } else { 100 };
                assert_eq!(probe.times(), [0, 0, third], "{face:?} at {panic_at}");
                assert_idle(&layer.handle());
            });
            if panic_at == 0 {
                let total = Arc::new(AtomicUsize::new(0));
                let count = Arc::clone(&total);
                paused(async {
                    let late = Late::new();
                    let layer = observed(face, everything(), late.clone()).max_waiting(3);
                    late.set(move |_| {
                        count.fetch_add(1, Relaxed);
                    });
                    do_everything(&layer, |step| step()).await;
                });
                events = total.load(Relaxed);
                assert!(events > 20, "{face:?}: {events} events");
            }
            panic_at += 1;
        }
    }
}

/// L19: the panic reaches whoever called: the task, the handle, or whoever drops.
#[tokio::test(start_paused = true)]
async fn the_panic_of_an_observer_reaches_the_caller_that_decided() {
    for face in FACES {
        let late = Late::new();
        let layer = observed(face, endpoint_a(per(1, 100).concurrency(1)), late.clone());
        let handle = layer.handle();
        let mut client = layer.client(&Probe::new());
        let panic_at = |wanted: fn(&EventKind<'_>) -> bool| {
            late.set(move |event| {
                if wanted(&event.kind) {
                    resume_unwind(Box::new(Boom));
                }
            });
        };
        let reaches = |caller: &mut dyn FnMut()| {
            let panic = catch_unwind(AssertUnwindSafe(caller));
            assert!(is_boom(&*panic.expect_err("it panics")), "{face:?}");
        };
        panic_at(|kind| matches!(kind, EventKind::Admitted { .. }));
        reaches(&mut || _ = call(&mut client, get("/a")));
        panic_at(|kind| matches!(kind, EventKind::Paused { .. }));
        reaches(&mut || handle.pause("/a", ms(100)).unwrap());
        assert!(
            paused_for(&handle, "/a").is_some(),
            "{face:?}: it is paused"
        );
        panic_at(|kind| matches!(kind, EventKind::Queued { .. }));
        let mut waiter = call(&mut client, get("/a"));
        reaches(&mut || _ = waiter.poll());
        drop(waiter);
        panic_at(|kind| matches!(kind, EventKind::Resumed));
        reaches(&mut || handle.resume("/a").unwrap());
        assert_eq!(paused_for(&handle, "/a"), None, "{face:?}: it is resumed");
        late.set(|_| {});
        tokio::time::sleep(ms(200)).await;
        if face != Face::Rps {
            let held = call(&mut client, job("/a", ms(5000)));
            panic_at(|kind| matches!(kind, EventKind::Ended { .. }));
            let mut held = Some(held);
            reaches(&mut || drop(held.take()));
        }
        late.set(|_| {});
        tokio::time::sleep(ms(200)).await;
        send(client.clone(), get("/a")).await.unwrap();
        assert_idle(&handle);
    }
}

/// L19: in many threads each event has a number of its own, and each thread tells its own in order.
#[test]
fn many_threads_number_the_events_of_a_bucket_without_gaps() {
    for face in FACES {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let late = Late::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        late.set(move |event| {
            tell.lock().unwrap().push((
                event.bucket.to_owned(),
                event.sequence,
                std::thread::current().id(),
            ));
        });
        let endpoints = Endpoints::new()
            .route("/a", per(40, 20).concurrency(8))
            .route("/b", Quota::concurrent(3));
        let layer = observed(face, endpoints, late);
        let client = layer.client(&Probe::new());
        runtime.block_on(async {
            let tasks: Vec<_> = (0..400)
                .map(|i| {
                    let request = get(["/a", "/b"][i % 2]);
                    tokio::spawn(tokio::time::timeout(
                        ms([2, 20_000][usize::from(i % 7 > 0)]),
                        send(client.clone(), request),
                    ))
                })
                .collect();
            for (i, task) in tasks.into_iter().enumerate() {
                let answer = task.await.unwrap();
                assert!(answer.is_ok() || i % 7 == 0, "{face:?}: {i} waits for ever");
            }
        });
        drop(runtime);
        let told = told.lock().unwrap();
        for bucket in ["/a", "/b"] {
            let of: Vec<_> = told.iter().filter(|told| told.0 == bucket).collect();
            let mut sequences: Vec<_> = of.iter().map(|told| told.1).collect();
            sequences.sort_unstable();
            assert!(
                sequences.iter().copied().eq(1..=of.len() as u64),
                "{face:?} {bucket}"
            );
            let mut last = std::collections::HashMap::new();
            for (_, sequence, thread) in of {
                let last = last.insert(*thread, *sequence);
                assert!(last < Some(*sequence), "{face:?} {bucket}");
            }
        }
        assert_idle(&layer.handle());
    }
}

#[derive(Clone, Debug)]
struct Ask {
    at: u64,
    endpoint: usize,
    work: u64,
    body: u64,
    fails: bool,
    dropped: Option<u64>,
}

const PATHS: [&str; 2] = ["/a", "/b"];

fn ask() -> impl Strategy<Value = Ask> {
    (
        prop_oneof![1 => Just(0u64), 3 => 0u64..300],
        0..PATHS.len(),
        prop_oneof![1 => Just(0u64), 3 => 0u64..80],
        prop_oneof![1 => Just(0u64), 1 => 0u64..80],
        proptest::bool::weighted(0.1),
        proptest::option::weighted(0.3, 0u64..200),
    )
        .prop_map(|(at, endpoint, work, body, fails, dropped)| Ask {
            at,
            endpoint,
            work,
            body,
            fails,
            dropped,
        })
}

fn quota() -> impl Strategy<Value = Quota> {
    few_limits().prop_map(|(windows, concurrency)| quota_of(&windows, concurrency))
}

/// What became of a request, as its caller saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered,
    Refused,
    Failed,
    Dropped,
}

struct Outcome {
    recorder: Recorder,
    fates: Vec<Fate>,
    /// Whether the first that was told of a request was that it is queued.
    queued: Vec<bool>,
    /// When a request was dispatched.
    dispatched: BTreeMap<usize, u64>,
    /// The requests that a bucket of that name refused, as the snapshot counts them.
    refused: Vec<u64>,
}

async fn run(layer: impl FnOnce(Recorder) -> AnyLayer, asks: &[Ask]) -> Outcome {
    let recorder = Recorder::new();
    let probe = Probe::new();
    let layer = layer(recorder.clone());
    let (mut client, handle) = (layer.client(&probe), layer.handle());
    let (mut tasks, mut queued) = (Vec::new(), Vec::new());
    for (id, ask) in asks.iter().enumerate() {
        at(&probe, ask.at).await;
        let path = PATHS[ask.endpoint];
        let before = recorder.of(path).len();
        let body = match ask.body {
            0 => Vec::new(),
            time => vec![Step::Data("x"), Step::Wait(ms(time)), Step::Data("y")],
        };
        let end = if ask.fails { End::Error } else { End::Answer };
        let request = Work::head(ms(ask.work)).id(id).body(body).end(end).of(path);
        ready_now(&mut client);
        let mut future = client.call(request);
        let first = (&mut future).now_or_never();
        let told = recorder.of(path)[before..].to_vec();
        let is_queued = match told.first() {
            Some((now, Queued(waiting))) => {
                assert_eq!(*now, ask.at);
                assert_eq!(*waiting, gauge(&handle, path).0, "{id}: {told:?}");
                true
            }
            Some((now, Admitted(0) | Refused(..))) => {
                assert_eq!(*now, ask.at);
                false
            }
            other => panic!("{id}: the first that is told is {other:?}"),
        };
        queued.push(is_queued);
        let dropped = ask.dropped;
        tasks.push(tokio::spawn(async move {
            let all = async move {
                let answer = match first {
                    Some(answer) => answer,
                    None => future.await,
                };
                match answer {
                    Ok(response) => {
                        read(response.into_body()).await.unwrap();
                        Fate::Answered
                    }
                    Err(error) if error.is::<InnerError>() => Fate::Failed,
                    Err(error) => {
                        refused(&error);
                        Fate::Refused
                    }
                }
            };
            match dropped {
                Some(after) => tokio::time::timeout(ms(after), all).await,
                None => Ok(all.await),
            }
            .unwrap_or(Fate::Dropped)
        }));
    }
    let mut fates = Vec::new();
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(86_400), task).await;
        fates.push(ended.expect("it waits for ever").unwrap());
    }
    assert_idle(&handle);
    let calls = probe.log().calls.clone();
    let snapshot = handle.snapshot();
    Outcome {
        recorder,
        fates,
        queued,
        dispatched: calls
            .iter()
            .map(|call| (call.id, probe.millis(call.at)))
            .collect(),
        refused: PATHS
            .iter()
            .map(|path| snapshot.bucket(path).unwrap().refused())
            .collect(),
    }
}

proptest! {
    #![proptest_config(cases(128))]

    /// L19: what was told adds up to what happened.
    #[test]
    fn events_balance(
        face in prop_oneof![Just(Face::Rps), Just(Face::Concurrency), Just(Face::Throttle)],
        quotas in vec(quota(), PATHS.len()),
        overall in proptest::option::of(quota()),
        max_wait in proptest::option::of(0u64..200),
        max_waiting in proptest::option::of(0usize..6),
        mut asks in vec(ask(), 1..30),
    ) {
        asks.sort_by_key(|ask| ask.at);
        let mut endpoints = Endpoints::new();
        for (path, quota) in PATHS.iter().zip(quotas) {
            endpoints = endpoints.route(path, quota);
        }
        if let Some(quota) = overall {
            endpoints = endpoints.overall(quota);
        }
        let outcome = paused(run(
            |recorder| {
                let mut layer = observed(face, endpoints, recorder);
                if let Some(time) = max_wait {
                    layer = layer.max_wait(ms(time));
                }
                if let Some(n) = max_waiting {
                    layer = layer.max_waiting(n);
                }
                layer
            },
            &asks,
        ));
        let recorder = &outcome.recorder;
        recorder.check();
        for (endpoint, path) in PATHS.iter().enumerate() {
            let count = |wanted: fn(&What) -> bool| recorder.count(path, wanted);
            let queued = count(|what| matches!(what, Queued(_)));
            let admitted = count(|what| matches!(what, Admitted(_)));
            let dispatched = count(|what| *what == Dispatched);
            let answered = count(|what| matches!(what, Answered(_)));
            let ended = count(|what| *what == Ended);
            let refused = count(|what| matches!(what, Refused(..)));
            let given_back = count(|what| *what == GivenBack);
            let ids = || (0..asks.len()).filter(|id| asks[*id].endpoint == endpoint);
            let with = |fate| ids().filter(|id| outcome.fates[*id] == fate).count();
            let sent = |id: &usize| outcome.dispatched.contains_key(id);
            let waited = |id: &usize| outcome.queued[*id];

            prop_assert_eq!(admitted, dispatched + given_back);
            prop_assert_eq!(dispatched, ids().filter(sent).count());
            prop_assert_eq!(ended, if face == Face::Rps { 0 } else { dispatched });
            prop_assert_eq!(refused as u64, outcome.refused[endpoint]);
            // One that was refused and then dropped was refused all the same.
            prop_assert!(refused >= with(Fate::Refused));
            prop_assert!(refused <= with(Fate::Refused) + with(Fate::Dropped));
            let heads = with(Fate::Answered) + with(Fate::Failed);
            prop_assert!((heads..=dispatched).contains(&answered));
            prop_assert_eq!(queued, ids().filter(waited).count());
            // The times that were told are those that were waited.
            let mut told: Vec<_> = recorder
                .of(path)
                .into_iter()
                .filter_map(|(now, what)| match what {
                    Admitted(waited) => Some((now, waited)),
                    _ => None,
                })
                .collect();
            for id in ids().filter(sent) {
                let at = outcome.dispatched[&id];
                let place = told.iter().position(|told| *told == (at, at - asks[id].at));
                let Some(place) = place else {
                    panic!("nothing tells that {id} was admitted at {at}: {told:?}");
                };
                told.swap_remove(place);
            }
            prop_assert_eq!(told.len(), given_back);
        }
    }
}

/// L19: polling a waiter, looking at a snapshot and a sweep that finds nothing decide nothing.
#[tokio::test(start_paused = true)]
async fn nothing_is_told_where_nothing_is_decided() {
    for face in FACES {
        let recorder = Recorder::new();
        let layer = observed(
            face,
            endpoint_a(per(1, 100).concurrency(1)),
            recorder.clone(),
        );
        let (mut client, handle) = (layer.client(&Probe::new()), layer.handle());
        let running = call(&mut client, job("/a", ms(1000)));
        let mut waiter = call(&mut client, get("/a"));
        assert_pending!(waiter.poll());
        let before = recorder.all().len();
        for _ in 0..5 {
            assert!(matches!(waiter.poll(), Poll::Pending));
            _ = handle.snapshot();
            handle.sweep();
        }
        drop(client);
        assert_eq!(
            recorder.all().len(),
            before,
            "{face:?}: {:?}",
            recorder.all()
        );
        // One that waits and leaves was not admitted, and gives nothing back.
        drop(waiter);
        assert_eq!(
            recorder.count("/a", |what| *what == GivenBack),
            0,
            "{face:?}"
        );
        drop(running);
        recorder.check();
    }
}

//! How the news of a refusal travels, and whom it must not miss: each of these once failed.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use tokio::time::Sleep;
use tower::Service;
use tower_throttle::{BoxError, Endpoints, Quota};

use crate::scripted::*;

fn sleep_until(server: &Server, millis: u64) -> tokio::time::Sleep {
    tokio::time::sleep_until(server.start() + ms(millis))
}

/// A pause is in force before anything else can be sent, even in the same instant.
#[test]
fn those_who_are_let_through_in_the_same_instant_hear_of_it() {
    // Completions and refusals at the same instants: a completion admits a waiter, and a refusal
    // pauses the bucket before the waiter has been polled, or the other way round.
    for seed in 0..60 {
        for stack in STACKS {
            paused(seed, async {
                let server = Server::new(|seen| {
                    if seen.id % 3 == 1 && seen.of_request_before == 0 {
                        Reply::status(429).retry_after(2).after(ms(100))
                    } else {
                        Reply::ok().after(ms(100))
                    }
                });
                let mut rng = fastrand::Rng::with_seed(seed);
                let endpoints = Endpoints::new().route(
                    "/a",
                    Quota::per(rng.u32(2..6), ms(100)).concurrency(rng.usize(2..6)),
                );
                let setup = stack.over(&endpoints, &patient(), server.clone());
                let sent = (0..20).map(|id| setup.send(get("/a", id))).collect();
                all_ok(sent).await;
                server.assert_nobody_early(secs(120));
            });
        }
    }
}

/// A hundred throttled requests are older than a thousand that came during their pause.
#[tokio::test(start_paused = true)]
async fn by_hand_the_throttled_come_back_before_the_newer() {
    for stack in [Stack::Hand] {
        for quota in [
            Quota::per(100, ms(1000)).concurrency(100),
            Quota::concurrent(100),
            Quota::unlimited(),
        ] {
            let server = Server::new(|seen| {
                let old = seen.id < 100;
                if old && seen.of_request_before == 0 {
                    Reply::status(429).retry_after(7).after(ms(20))
                } else {
                    Reply::ok().after(ms(20))
                }
            });
            let endpoints = Endpoints::new().route("/a", quota.clone());
            let setup = stack.over(&endpoints, &patient(), server.clone());
            let mut sent: Vec<_> = (0..100).map(|id| setup.send(post("/a", id))).collect();
            sleep_until(&server, 1100).await;
            sent.extend((100..1100).map(|id| setup.send(post("/a", id))));
            all_ok(sent).await;
            let ids: Vec<_> = server.sent().into_iter().map(|(_, id)| id).collect();
            // Once those that were sent first are through, nobody is overtaken.
            let first = ids.iter().position(|id| *id >= 100).unwrap();
            let old: Vec<_> = ids[..first].to_vec();
            let mut again = old.clone();
            again.sort_unstable();
            assert_eq!(
                again,
                (0..200).map(|i| i / 2).collect::<Vec<_>>(),
                "{stack:?} {quota:?}"
            );
            assert!(ids[first..].is_sorted(), "{stack:?} {quota:?}");
            if stack == Stack::Joint {
                assert!(old[100..].is_sorted(), "{:?}", &old[100..]);
            }
        }
    }
}

/// What was sent while a pause begins: the inner service is not ready for a second, and the answer
/// that pauses the bucket comes meanwhile.
#[tokio::test(start_paused = true)]
async fn whoever_was_admitted_and_not_sent_hears_of_the_pause() {
    for stack in STACKS {
        let server = Server::new(|seen| {
            if seen.before == 0 {
                Reply::status(429).retry_after(30).after(ms(500))
            } else {
                Reply::ok()
            }
        });
        let endpoints = Endpoints::new().route("/a", Quota::per(1, ms(100)));
        let setup = stack.over(&endpoints, &patient(), Unready::over(&server));
        let mut sent = vec![setup.send(get("/a", 0))];
        settle().await;
        // This one waits for the window, and is admitted at 100 ms; its clone is ready at 1 100 ms.
        sent.push(setup.send(get("/a", 1)));
        all_ok(sent).await;
        server.assert_nobody_early(secs(120));
    }
}

/// A wave of a hundred widens the window once: by 5 % of the period where one is refused, and by twice
/// that where two or more of the wave are.
#[tokio::test(start_paused = true)]
async fn a_wave_widens_the_window_once() {
    for stack in STACKS {
        for refused in [1, 2, 10, 100] {
            let server = Server::new(move |seen| {
                if (300..300 + refused).contains(&seen.before) {
                    Reply::status(429).retry_after(2).after(ms(100))
                } else {
                    Reply::ok().after(ms(10))
                }
            });
            let endpoints = Endpoints::new().route("/a", Quota::per(400, ms(1000)));
            let setup = stack.over(&endpoints, &patient(), server.clone());
            for id in 0..400 {
                setup.send(get("/a", id));
            }
            sleep_until(&server, 300).await;
            assert!(server.times("/a").iter().all(|at| *at == 0));
            let snapshot = setup.handles.last().unwrap().snapshot();
            let learned = snapshot.bucket("/a").unwrap().learned().unwrap();
            let margin = if refused == 1 { 50 } else { 100 };
            assert_eq!(
                learned.margin(),
                Some(margin),
                "{refused} refused, {stack:?}"
            );
        }
    }
}

/// The docs of `max_pause`, not those of the design: what is beyond the layer's ceiling goes up at once, also where the
/// retries' own ceiling is higher.
#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_ceiling_of_the_pauses_goes_up() {
    let server = Server::new(|seen| match seen.of_request_before {
        0 => Reply::status(429).retry_after(20),
        _ => Reply::ok(),
    });
    let endpoints = Endpoints::new().route("/a", Quota::per_second(10));
    let retry = patient().max_retry_after(secs(300));
    let setup = Stack::Joint.with_ceiling(&endpoints, &retry, secs(5), server.clone());
    let (head, _) = setup.fetch(get("/a", 0)).await.unwrap();
    assert_eq!((head.status().as_u16(), server.now()), (429, 0));
}

/// What successes say that were accepted before a refusal is older than what the refusal says: it does
/// not raise the limit again. Each fall of the limit costs at most as many refusals as there were
/// requests in flight; it costs four where successes name no limit.
#[tokio::test(start_paused = true)]
async fn old_successes_do_not_raise_a_limit_that_fell() {
    for (stack, headers) in [
        (Stack::Joint, false),
        (Stack::Hand, true),
        (Stack::Joint, true),
    ] {
        let server = Server::new(move |seen| {
            let limit = if seen.at < seen.start + ms(1010) {
                10
            } else {
                2
            };
            if seen.open >= limit {
                return too_many((limit == 2).then_some(2)).after(ms(20));
            }
            let reply = Reply::ok().after(ms(200 + (seen.before as u64 * 37) % 200));
            if headers {
                // As it was when the request was accepted.
                reply.header("maximum-concurrent-requests", limit)
            } else {
                reply
            }
        });
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(10));
        let setup = stack.over(&endpoints, &patient(), server.clone());
        let sent: Vec<_> = (0..200).map(|id| setup.send(get("/a", id))).collect();
        sleep_until(&server, 4000).await;
        let refused = server.refused();
        assert!(
            refused <= 10,
            "{refused} refused, {stack:?}, headers: {headers}"
        );
        for sent in sent {
            sent.abort();
        }
    }
}

/// A server whose instances become ready at once at first, and after 50 ms take a second for it.
struct Unready {
    server: Server,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Unready {
    fn over(server: &Server) -> Self {
        Self {
            server: server.clone(),
            sleep: None,
        }
    }
}

impl Clone for Unready {
    fn clone(&self) -> Self {
        Self::over(&self.server)
    }
}

impl Service<Req> for Unready {
    type Response = Response<Held>;
    type Error = BoxError;
    type Future = <Server as Service<Req>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.server.now() < 50 {
            return Poll::Ready(Ok(()));
        }
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(secs(1))));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.sleep = None;
        self.server.call(request)
    }
}

//! The judge on limits in units other than requests: what it refuses, what it says, and what it reports.

#[allow(dead_code, reason = "requests here have bodies")]
use std::{panic::catch_unwind, time::Duration};

use super::support::{OK, REFUSED, at_a, ms, scored};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, advance, sleep, sleep_until};
use tower::{BoxError, Service};
use tower_throttle_mock::{
    Answer, Body, EndpointReport, Fault, Judge, JudgeBuilder, Limit, Pool, RefusedBy, Verdict,
    WindowUse, Work,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A request that says what it costs: at arrival, and at the end.
async fn head(judge: &Judge, input: u64, output: u64) -> Result<Response<Body>, BoxError> {
    let body = Full::<Bytes>::from(format!("{input} {output}"));
    let request = Request::post("/a").body(body).unwrap();
    judge.clone().call(request).await
}

/// Sends such a request, and reads the answer to its end.
async fn send(judge: &Judge, input: u64, output: u64) -> StatusCode {
    let (head, body) = head(judge, input, output).await.unwrap().into_parts();
    body.collect().await.unwrap();
    head.status
}

/// Reads the costs that [`head`] has written.
fn costs(body: &[u8]) -> Vec<(&'static str, u64)> {
    let text = std::str::from_utf8(body).unwrap();
    let (input, output) = text.split_once(' ').unwrap();
    vec![
        ("input_tokens", input.parse().unwrap()),
        ("output_tokens", output.parse().unwrap()),
    ]
}

fn judge(limit: Limit, work: impl Into<Work>) -> JudgeBuilder {
    at_a(limit, work).cost_of(|_, body| costs(body))
}

fn input(n: u64) -> Limit {
    Limit::unlimited().units("input_tokens", n, MINUTE)
}

fn output(n: u64) -> Limit {
    Limit::unlimited().units_at_end("output_tokens", n, MINUTE)
}

fn complaint(judge: &Judge) -> String {
    let report = judge.report();
    let panic = catch_unwind(|| report.assert_compliant()).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_window_of_units_counts_what_was_accepted_in_the_last_period() {
    let judge = judge(input(1_000), Work::none()).build();
    assert_eq!(send(&judge, 600, 0).await, OK);
    advance(ms(20_000)).await;
    // Refused requests take no room, and what fits is let through.
    assert_eq!(send(&judge, 401, 0).await, REFUSED);
    assert_eq!(send(&judge, 400, 0).await, OK);
    assert_eq!(send(&judge, 1, 0).await, REFUSED);
    assert_eq!(send(&judge, 0, 0).await, OK);
    // The window is half-open: what is exactly one period old counts no more.
    advance(ms(39_999)).await;
    assert_eq!(send(&judge, 600, 0).await, REFUSED);
    advance(ms(1)).await;
    assert_eq!(send(&judge, 600, 0).await, OK);

    let report = scored(&judge);
    let unit = report.unit("input_tokens");
    assert_eq!((report.accepted, report.refused_by_units), (4, 3));
    assert_eq!(
        (unit.limit, unit.period, unit.at_end),
        (1_000, MINUTE, false)
    );
    assert_eq!((unit.accepted, unit.refused), (1_600, 3));
    // All that arrived within a minute, up to the last refusal: 600, 401, 400, 1 and 600 again.
    assert_eq!((unit.worst_window, unit.excess()), (2_002, 1_002));
    let verdict = Verdict::RefusedByUnits {
        unit: "input_tokens",
    };
    assert_eq!(report.records[1].verdict, verdict);
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_at_the_end_is_not_known_before() {
    let judge = judge(output(1_000), ms(10_000)).build();
    // Nothing has ended yet, so all of them are accepted: 1 500 at the end.
    join_all((0..3).map(async |_| assert_eq!(send(&judge, 0, 500).await, OK))).await;
    // They ended ten seconds after they arrived, and it is then that the period begins.
    assert_eq!(send(&judge, 0, 1).await, REFUSED);
    advance(ms(59_999)).await;
    assert_eq!(send(&judge, 0, 1).await, REFUSED);
    advance(ms(1)).await;
    assert_eq!(send(&judge, 0, 1_000).await, OK);

    let report = scored(&judge);
    let unit = report.unit("output_tokens");
    assert!(unit.at_end);
    assert_eq!((unit.accepted, unit.refused), (2_500, 2));
    assert_eq!((unit.worst_window, unit.excess()), (1_500, 500));
    assert_eq!((unit.exceeded, report.exceeded), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn any_room_will_do_for_what_is_counted_at_the_end() {
    let judge = judge(output(1_000), Work::none()).build();
    assert_eq!(send(&judge, 0, 999).await, OK);
    assert_eq!(send(&judge, 0, 5_000).await, OK);
    assert_eq!(send(&judge, 0, 0).await, REFUSED);
    assert_eq!(scored(&judge).unit("output_tokens").worst_window, 5_999);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_what_it_cost_and_counts_when_its_body_has_ended() {
    let judge = judge(output(1_000), Work::none())
        .answer("/a", |_| {
            let answer = Answer::stream(Response::new(()));
            let answer = answer.chunk(ms(1_000), "one ").chunk(ms(1_000), "two");
            answer.cost("output_tokens", 400)
        })
        .build();
    let counted = || scored(&judge).unit("output_tokens").accepted;
    let mut body = head(&judge, 0, 7).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(counted(), 0);
    body.frame().await.unwrap().unwrap();
    assert_eq!(counted(), 400);

    // Whose reader goes away in the middle has had it all made; who goes away before the answer has cost
    // what the request said.
    let mut body = head(&judge, 0, 7).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(counted(), 800);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_during_the_work_has_cost_what_its_request_said() {
    let judge = judge(output(1_000), ms(1_000))
        .answer("/a", |_| {
            Answer::from(Response::new(Bytes::new())).cost("output_tokens", 400)
        })
        .build();
    tokio::select! {
        _ = head(&judge, 0, 7) => unreachable!("the work takes a second"),
        () = sleep(ms(500)) => {}
    }
    assert_eq!(scored(&judge).unit("output_tokens").accepted, 7);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_unit_and_the_exact_time() {
    let judge = judge(
        Limit::rps(5).units("input_tokens", 1_000, MINUTE),
        Work::none(),
    )
    .truthful_retry_after()
    .build();
    send(&judge, 700, 0).await;
    advance(ms(1_250)).await;
    let refused = head(&judge, 301, 0).await.unwrap();
    assert_eq!(refused.status(), REFUSED);
    let header = |name: &str| refused.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("retry-after"), "59");
    assert_eq!(header("retry-after-ms"), "58750");
    assert_eq!(header("x-ratelimit-limit-input_tokens"), "1000");
    assert_eq!(header("x-ratelimit-remaining-input_tokens"), "300");
    assert_eq!(header("x-ratelimit-reset-input_tokens"), "58.75s");
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "error": "rate_limit_exceeded",
        "message": "1000 input_tokens per 60s are allowed here",
        "unit": "input_tokens",
        "limit": 1_000,
        "used": 700,
        "requested": 301,
        "retry_after": 58.75,
    });
    assert_eq!(body, expected);
    // Whoever comes exactly then is let through, and is not early.
    advance(ms(58_750)).await;
    assert_eq!(send(&judge, 301, 0).await, OK);
    assert_eq!(scored(&judge).early, 0);
}

#[tokio::test(start_paused = true)]
async fn what_costs_more_than_the_window_allows_is_refused_for_ever() {
    let judge = judge(input(1_000), Work::none())
        .truthful_retry_after()
        .build();
    let refused = head(&judge, 1_001, 0).await.unwrap();
    assert_eq!(refused.status(), REFUSED);
    assert!(!refused.headers().contains_key(header::RETRY_AFTER));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"], "request_too_large");
    assert!(body.get("retry_after").is_none());
    let complaint = complaint(&judge);
    let expected = "1001 input_tokens of one request in a window of 60s that allows 1000";
    assert!(complaint.contains(expected), "{complaint}");
}

#[tokio::test(start_paused = true)]
async fn a_hook_of_ones_own_is_told_which_unit_and_how_full_the_windows_are() {
    let limit = Limit::per(5, MINUTE)
        .units("input_tokens", 1_000, MINUTE)
        .units_at_end("output_tokens", 100, MINUTE);
    let judge = judge(limit, Work::none())
        .refusal(|refusal| {
            let by = RefusedBy::Units {
                unit: "output_tokens",
                limit: 100,
                period: MINUTE,
                used: 150,
                requested: 0,
            };
            assert_eq!(refusal.by(), by);
            assert!(refusal.fits());
            assert_eq!(refusal.room_in(), ms(50_000));
            let windows = refusal.windows().iter();
            let windows: Vec<_> = windows
                .map(|window| {
                    (
                        window.unit,
                        window.used,
                        window.remaining(),
                        window.empty_in,
                    )
                })
                .collect();
            let expected = [
                ("requests", 2, 3, ms(55_000)),
                ("input_tokens", 30, 970, ms(55_000)),
                ("output_tokens", 150, 0, ms(55_000)),
            ];
            assert_eq!(windows, expected);
            Response::builder()
                .status(429)
                .body(Bytes::from("no"))
                .unwrap()
        })
        .answer("/a", |received| {
            let windows = received.windows();
            let remaining: Vec<_> = windows.iter().map(WindowUse::remaining).collect();
            Response::new(Bytes::from(format!("{remaining:?}")))
        })
        .build();
    let answer = head(&judge, 10, 80).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "[4, 990, 100]");
    advance(ms(5_000)).await;
    assert_eq!(send(&judge, 20, 70).await, OK);
    advance(ms(5_000)).await;
    assert_eq!(send(&judge, 20, 0).await, REFUSED);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_the_rules_is_told_the_unit_the_figure_and_the_limit() {
    let limit = input(1_000).units_at_end("output_tokens", 100, MINUTE);
    let judge = judge(limit, Work::none()).build();
    assert_eq!(send(&judge, 900, 50).await, OK);
    judge.report().assert_compliant();
    advance(ms(15_500)).await;
    assert_eq!(send(&judge, 250, 50).await, REFUSED);
    assert_eq!(send(&judge, 10, 75).await, OK);
    assert_eq!(send(&judge, 0, 0).await, REFUSED);
    assert_eq!(
        complaint(&judge),
        "the client broke the rules:\n\
         /a: 2 requests refused by units, the first 15.500 s after the start: 1150 input_tokens in a \
         window of 60s that allows 1000, 44.500 s too soon\n\
         /a: 1 request over the limit at the end, 15.500 s after the start: 125 output_tokens at the ends \
         of answers, in a window of 60s that allows 100\n\
         /a: 1160 input_tokens in the worst window of 60s, 160 more than the 1000 that it allows\n\
         /a: 125 output_tokens in the worst window of 60s, 25 more than the 100 that it allows"
    );
    let second = &scored(&judge).violations[2];
    assert_eq!(
        second.to_string(),
        "15.500 s after the start: 125 output_tokens already in a window of 60s that allows 100, 44.500 s \
         too soon"
    );
}

#[tokio::test(start_paused = true)]
async fn the_report_has_a_line_for_each_window_of_units() {
    let limit = input(1_000).units_at_end("output_tokens", 100, MINUTE);
    let judge = judge(limit, Work::none()).build();
    send(&judge, 900, 50).await;
    send(&judge, 101, 50).await;
    let report = judge.report().to_string();
    let expected = "\n\
        /a: 1000 input_tokens per 60s: 900 counted, 1 request refused, worst window 1001\n\
        /a: 100 output_tokens per 60s counted at end: 50 counted, 0 requests refused, worst window 50";
    assert!(report.ends_with(expected), "{report}");
    assert!(report.lines().next().unwrap().contains("by units"));
}

#[tokio::test(start_paused = true)]
async fn how_much_of_what_is_allowed_was_used() {
    let judge = judge(input(1_000), Work::none()).build();
    let used = || scored(&judge).unit("input_tokens").used_share();
    assert!(used().abs() < 1e-9);
    advance(ms(7_000)).await;
    send(&judge, 1_000, 0).await;
    assert!((used() - 1.0).abs() < 1e-9);
    advance(MINUTE).await;
    // The second window has begun, and counts in full.
    send(&judge, 500, 0).await;
    assert!((used() - 0.75).abs() < 1e-9);
    // So does a third, however little is sent in it; and waiting makes no difference.
    advance(MINUTE).await;
    send(&judge, 900, 0).await;
    advance(10 * MINUTE).await;
    assert!((used() - 0.8).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn pools_count_units_too() {
    let judge = judge(input(1_000), Work::none())
        .pool_by("/a", |_| {
            Some(Pool::new(
                "small",
                output(50).units("input_tokens", 500, MINUTE),
            ))
        })
        .build();
    assert_eq!(send(&judge, 300, 60).await, OK);
    assert_eq!(send(&judge, 201, 0).await, REFUSED);
    let report = judge.report();
    let pool = report.pool("small");
    assert_eq!(pool.unit("output_tokens").excess(), 10);
    assert_eq!(pool.unit("input_tokens").accepted, 300);
    // It is the pool that has no room.
    assert_eq!(
        pool.unit("input_tokens").refused + pool.unit("output_tokens").refused,
        1
    );
    assert_eq!(report.endpoint("/a").unit("input_tokens").refused, 0);
    assert_eq!(report.endpoint("/a").refused_by_units, 1);
    let complaint = complaint(&judge);
    let expected = "60 output_tokens at the ends of answers, in a window of 60s that allows 50 \
                    (pool \"small\")";
    assert!(complaint.contains(expected), "{complaint}");
}

#[tokio::test(start_paused = true)]
async fn faults_count_as_they_do_for_requests() {
    let limit = input(1_000).units_at_end("output_tokens", 1_000, MINUTE);
    let judge = judge(limit, Work::none()).build();
    let counted = |report: &EndpointReport| {
        let unit = |name| report.unit(name).accepted;
        (unit("input_tokens"), unit("output_tokens"))
    };
    // Before it is judged, a fault takes nothing.
    judge.fault(Fault::status(503));
    send(&judge, 100, 10).await;
    assert_eq!(counted(&scored(&judge)), (0, 0));
    // What has been accepted was worked on.
    judge.fault(Fault::status(500).accepted());
    send(&judge, 100, 10).await;
    assert_eq!(counted(&scored(&judge)), (100, 10));
    judge.fault(Fault::reset().accepted());
    assert!(head(&judge, 100, 10).await.is_err());
    assert_eq!(counted(&scored(&judge)), (200, 20));
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_counts_what_came_before() {
    let judge = judge(Limit::unlimited(), Work::none()).build();
    send(&judge, 600, 60).await;
    judge.set_limit("/a", input(1_000));
    assert_eq!(send(&judge, 401, 0).await, REFUSED);
    judge.set_limit("/a", input(1_001));
    assert_eq!(send(&judge, 401, 0).await, OK);
    judge.set_limit("/a", output(60));
    assert_eq!(send(&judge, 0, 0).await, REFUSED);

    // The score begins again, the windows do not.
    judge.reset();
    assert_eq!(scored(&judge).refused_by_units, 0);
    assert_eq!(send(&judge, 0, 0).await, REFUSED);
    judge.reset_all();
    assert_eq!(send(&judge, 1_000_000, 0).await, OK);
}

#[test]
#[should_panic(expected = "\"/a\" limits input_tokens, and nothing says how many a request costs")]
fn a_limit_of_what_nobody_counts_is_a_mistake() {
    let _ = at_a(input(1), Work::none()).build();
}

#[test]
fn what_is_counted_at_the_end_may_be_known_from_answers_alone() {
    let _ = at_a(output(1), Work::none()).build();
}

/// A client that counts as its server does, by hand: first come, first served.
struct Client {
    limit: u64,
    /// Whether the server counts at the answers' ends.
    at_end: bool,
    /// What is counted of each call, and from when on its period runs; nothing while it has not ended.
    counted: Vec<(u64, Option<Instant>)>,
}

impl Client {
    fn fits(&self, cost: u64) -> bool {
        let now = Instant::now();
        let inside = |since: Option<Instant>| since.is_none_or(|since| now - since < MINUTE);
        let counted = self.counted.iter().filter(|(_, since)| inside(*since));
        counted.map(|(cost, _)| cost).sum::<u64>() + cost <= self.limit
    }

    /// Sends all calls, each with its real cost and what the client takes that for, as soon as they fit.
    async fn send(&mut self, judge: &Judge, calls: impl Iterator<Item = (u64, u64)>) {
        let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let mut open = 0;
        for (at, (real, estimate)) in calls.enumerate() {
            while !self.fits(estimate) {
                let now = Instant::now();
                let leave = self
                    .counted
                    .iter()
                    .filter_map(|(_, since)| Some((*since)? + MINUTE));
                let next = leave.filter(|leave| *leave > now).min();
                tokio::select! {
                    end = ends.recv(), if open > 0 => {
                        open -= 1;
                        self.end(end.unwrap());
                    }
                    () = sleep_until(next.unwrap_or(now + MINUTE)) => {}
                }
            }
            self.counted
                .push((estimate, (!self.at_end).then(Instant::now)));
            let costs = if self.at_end { (0, real) } else { (real, 0) };
            let (judge, ended) = (judge.clone(), ended.clone());
            open += 1;
            tokio::spawn(async move {
                let answer = head(&judge, costs.0, costs.1).await.unwrap();
                assert_eq!(answer.status(), OK, "call {at}");
                answer.into_body().collect().await.unwrap();
                ended.send((at, real, Instant::now())).unwrap();
            });
            // The request goes out now.
            tokio::task::yield_now().await;
        }
        for _ in 0..open {
            let end = ends.recv().await.unwrap();
            self.end(end);
        }
    }

    /// An answer has ended, and said what it cost.
    fn end(&mut self, (at, real, when): (usize, u64, Instant)) {
        if self.at_end {
            self.counted[at] = (real, Some(when));
        }
    }
}

/// What a client that counts as its server does never exceeds, however the server counts; and how much of
/// what it is allowed it uses.
async fn kept(at_end: bool, factor: u64, seed: u64) -> f64 {
    let (limit, unit) = if at_end {
        (output(10_000), "output_tokens")
    } else {
        (input(10_000), "input_tokens")
    };
    let judge = judge(limit, ms(1_500)..ms(2_500)).seed(seed).build();
    // As good a draw as any.
    let sizes = Work::uniform(ms(100)..ms(901))
        .draws(seed, "sizes")
        .take(200);
    let sizes = sizes.map(|size| u64::try_from(size.as_millis()).unwrap());
    let calls = sizes.map(|real| (real, real + real * (real % factor) / factor));
    let mut client = Client {
        limit: 10_000,
        at_end,
        counted: Vec::new(),
    };
    client.send(&judge, calls).await;
    judge.report().assert_compliant();
    let report = scored(&judge);
    let unit = report.unit(unit);
    assert_eq!((report.accepted, unit.refused, unit.excess()), (200, 0, 0));
    unit.used_share()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_counts_as_its_server_does_is_never_refused() {
    for seed in 0..5 {
        for at_end in [false, true] {
            let exact = kept(at_end, 1, seed).await;
            let bounds = kept(at_end, 10, seed).await;
            assert!((0.85..1.01).contains(&exact), "{exact}");
            assert!((0.5..=exact).contains(&bounds), "{bounds} and {exact}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A client that comes back exactly when it is told is let through, whatever it costs; and no window
    /// of what was accepted holds more than the limit.
    #[test]
    fn the_named_time_is_the_first_at_which_there_is_room(
        calls in vec((0_u64..5_000, 0_u64..1_000), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let judge = judge(input(1_000), Work::none()).truthful_retry_after().build();
            let mut accepted = Vec::new();
            for (gap, cost) in calls {
                sleep(ms(gap)).await;
                let answer = head(&judge, cost, 0).await.unwrap();
                if answer.status() == REFUSED {
                    let wait = answer.headers().get("retry-after-ms");
                    let wait = wait.or_else(|| answer.headers().get("retry-after"));
                    let is_ms = answer.headers().contains_key("retry-after-ms");
                    let wait: u64 = wait.unwrap().to_str().unwrap().parse().unwrap();
                    let wait = if is_ms { ms(wait) } else { Duration::from_secs(wait) };
                    let then = Instant::now() + wait;
                    sleep_until(then - ms(1)).await;
                    assert_eq!(send(&judge, cost, 0).await, REFUSED);
                    sleep_until(then).await;
                    assert_eq!(send(&judge, cost, 0).await, OK);
                }
                accepted.push((Instant::now(), cost));
            }
            for (end, _) in &accepted {
                let inside = accepted.iter().filter(|(at, _)| at <= end && *at + MINUTE > *end);
                assert!(inside.map(|(_, cost)| cost).sum::<u64>() <= 1_000);
            }
        });
    }
}

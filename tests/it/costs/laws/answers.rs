//! What answers do to costs: retries, throttling, client errors, readers, averages, and refusals about a unit.

use std::{
    collections::{HashSet, VecDeque},
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{
    AnswerHead, Backoff, BoxError, BucketSnapshot, Cost, Endpoints, Handle, Quota, RetryLayer,
    RpsLayer, Settle, SettleBody, Settlement, Terms, ThrottleLayer, Unit,
    signal::{Answer, Classify, Profile, Signal, SignalKind},
};

use super::puppet::{Chunk, Id, Puppet, Reply};
use crate::support::{cases, ms, paused, per, settle, throttle};

const TOKENS: Unit = Unit::TOKENS;
const OUTPUT: Unit = Unit::OUTPUT_TOKENS;

/// What becomes of the attempts of one request, by their status; 0 is an error.
#[derive(Clone)]
struct Plan {
    tokens: u64,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

/// Answers as the request plans, and notes each attempt: when, for how many tokens, how it was answered.
#[derive(Clone, Default)]
struct Planned(Arc<Mutex<Vec<(Instant, u64, u16)>>>);

impl Service<Request<String>> for Planned {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let plan = request.extensions().get::<Plan>().expect("it has a plan");
        let status = plan.answers.lock().unwrap().pop_front().unwrap_or(200);
        let attempt = (Instant::now(), plan.tokens, status);
        self.0.lock().unwrap().push(attempt);
        if status == 0 {
            return ready(Err(std::io::Error::from(
                std::io::ErrorKind::ConnectionReset,
            )
            .into()));
        }
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if status == 429 {
            let headers = response.headers_mut();
            headers.insert("retry-after", "1".parse().unwrap());
        }
        ready(Ok(response))
    }
}

fn planned(path: &str, cost: Cost, answers: &[u16]) -> Request<String> {
    let plan = Plan {
        tokens: cost.get(TOKENS).unwrap_or(0),
        answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
    };
    let mut request = Request::get(path).body(String::new()).unwrap();
    request.extensions_mut().insert(plan);
    if !cost.is_empty() {
        request.extensions_mut().insert(Terms::new().cost(cost));
    }
    request
}

fn of(n: u64) -> Cost {
    Cost::new().of(TOKENS, n)
}

fn bucket(handle: &Handle) -> BucketSnapshot {
    handle
        .snapshot()
        .bucket("/a")
        .expect("it is configured")
        .clone()
}

/// What is used of each window.
fn used(handle: &Handle) -> Vec<u64> {
    bucket(handle)
        .windows()
        .iter()
        .map(tower_throttle::WindowUse::used)
        .collect()
}

/// The units of the windows in which something is left free.
fn left_free(handle: &Handle) -> Vec<Unit> {
    let bucket = bucket(handle);
    let windows = bucket.windows().iter();
    windows
        .filter(|w| w.left_free() > 0)
        .map(|w| w.window().unit())
        .collect()
}

proptest! {
    #![proptest_config(cases(60))]

    /// L14: a retry is charged anew, and a throttled attempt takes no tokens.
    #[test]
    fn every_attempt_is_charged(
        requests in vec((1u64..=50, vec(prop_oneof![3 => Just(502u16), 1 => Just(429), 1 => Just(0)], 0..3)), 1..12),
        n in 50u64..200,
        period in 200u64..3000,
    ) {
        paused(async {
            let inner = Planned::default();
            let retry = RetryLayer::new()
                .max_attempts(5)
                .max_total(Duration::from_secs(86_400))
                .backoff(Backoff::full(ms(100), ms(300)));
            let quota = Quota::unlimited().units(TOKENS, n, ms(period));
            let layer = ThrottleLayer::new(Endpoints::new().route("/a", quota))
                .learn(tower_throttle::Learning::none())
                .retry(retry);
            let client = layer.layer(inner.clone());
            let tasks: Vec<_> = requests
                .iter()
                .map(|(tokens, answers)| {
                    let request = planned("/a", of(*tokens), answers);
                    tokio::spawn(client.clone().oneshot(request))
                })
                .collect();
            for task in tasks {
                let answer = tokio::time::timeout(ms(86_400_000), task).await.expect("it waits for ever");
                assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
            }
            let attempts = inner.0.lock().unwrap().clone();
            let planned: usize = requests.iter().map(|(_, answers)| answers.len() + 1).sum();
            assert_eq!(attempts.len(), planned);
            for (i, (at, tokens, _)) in attempts.iter().enumerate() {
                let before = attempts[..i]
                    .iter()
                    .filter(|(other, _, status)| *status != 429 && *at - *other < ms(period));
                let sum = before.map(|(_, tokens, _)| tokens).sum::<u64>() + tokens;
                assert!(sum <= n, "{sum} of {n} with {i} of {attempts:?}");
            }
            // The last attempts are a period old at most if they count; all is quiet after one more.
            tokio::time::sleep(ms(period)).await;
            assert_eq!(used(&layer.handle()), [0]);
        });
    }

    /// L14: throttled attempts and other client errors settle to 0 of each unit but requests; others keep their estimate.
    #[test]
    fn what_an_answer_settles_to(
        status in prop_oneof![Just(200u16), Just(204), Just(302), Just(400), Just(404), Just(429), Just(500), Just(502), Just(0)],
        tokens in 0u64..=100,
        output in 0u64..=100,
        requests in 0u32..5,
        rps in any::<bool>(),
        counts_throttled in any::<bool>(),
    ) {
        paused(async {
            let quota = per(5, 5000).units(TOKENS, 100, ms(5000)).units(OUTPUT, 100, ms(5000));
            let endpoints = Endpoints::new().route("/a", quota);
            let cost = of(tokens).of(OUTPUT, output).requests(requests);
            let request = planned("/a", cost, &[status]);
            macro_rules! played {
                ($layer:expr) => {{
                    let mut layer = $layer;
                    if counts_throttled {
                        layer = layer.count_throttled();
                    }
                    _ = layer.layer(Planned::default()).oneshot(request).await.map(drop);
                    layer.handle()
                }};
            }
            let handle = if rps { played!(RpsLayer::new(endpoints)) } else { played!(throttle(endpoints)) };
            let free = match status {
                429 => !counts_throttled,
                400 | 404 => true,
                _ => false,
            };
            let units = if free { [0, 0] } else { [tokens, output] };
            assert_eq!(used(&handle), [u64::from(requests), units[0], units[1]], "{status}");
            tokio::time::sleep(ms(5000)).await;
            assert_eq!(used(&handle), [0, 0, 0]);
        });
    }

    /// L14: before the first settlement an eighth; then what successes at this endpoint were settled at.
    #[test]
    fn who_states_nothing_costs_what_successes_were_settled_at(
        eighth in 1u64..50,
        settled in vec((0u64..200, prop_oneof![3 => Just(200u16), 1 => Just(400), 1 => Just(500), 1 => Just(429)]), 0..12),
        other in any::<bool>(),
    ) {
        paused(async {
            let quota = || Quota::unlimited().units(TOKENS, 8 * eighth, ms(1000));
            let endpoints = Endpoints::new().route("/a", quota()).route("/b", quota());
            let layer = throttle(endpoints).learn(tower_throttle::Learning::none());
            let client = layer.layer(Planned::default());
            let mut successes = Vec::new();
            for (n, status) in &settled {
                layer.handle().resume("/a").unwrap();
                let answer = client.clone().oneshot(planned("/a", of(1), &[*status])).await.unwrap();
                if *status == 200 {
                    answer.extensions().get::<Settlement>().unwrap().settle(of(*n));
                    successes.push(*n);
                }
            }
            layer.handle().resume("/a").unwrap();
            let path = if other { "/b" } else { "/a" };
            let answer = client.clone().oneshot(planned(path, Cost::new(), &[])).await.unwrap();
            let estimate = answer.extensions().get::<Settlement>().unwrap().estimate();
            let estimate = estimate.get(TOKENS).unwrap();
            let most = 8 * eighth;
            let average = if other || successes.is_empty() {
                (eighth, eighth)
            } else {
                let (least, greatest) = (successes.iter().min().unwrap(), successes.iter().max().unwrap());
                // More than n is as good as n: it goes alone.
                ((*least).min(most), *greatest)
            };
            assert!(
                average.0 <= estimate && estimate <= average.1,
                "{estimate}, not {average:?}"
            );
        });
    }

    /// L14: refusals about a unit narrow that unit and nothing else.
    #[test]
    fn a_refusal_about_a_unit_is_no_news_of_others(
        unit in prop_oneof![Just(TOKENS), Just(Unit::CREDITS), Just(OUTPUT)],
        before in 0usize..4,
        refusals in 1usize..4,
        cost in 1u64..=20,
    ) {
        paused(async {
            let quota = per(20, 1000)
                .units(TOKENS, 200, ms(1000))
                .units(Unit::CREDITS, 200, ms(1000))
                .units(OUTPUT, 200, ms(1000))
                .concurrency(3);
            let layer = throttle(Endpoints::new().route("/a", quota)).classify(AboutUnit(unit));
            let handle = layer.handle();
            let client = layer.layer(Planned::default());
            let all = Cost::new().of(TOKENS, cost).of(Unit::CREDITS, cost).of(OUTPUT, cost);
            let statuses = vec![200; before].into_iter().chain(vec![429; refusals]);
            for status in statuses {
                let request = planned("/a", all.clone(), &[status]);
                _ = client.clone().oneshot(request).await.unwrap();
                handle.resume("/a").unwrap();
            }
            assert_eq!(left_free(&handle), [unit]);
            let taken = before as u64 * cost;
            let requests = (before + refusals) as u64;
            assert_eq!(used(&handle), [requests, taken, taken, taken]);
            assert_eq!(bucket(&handle).concurrency(), Some(3));
            // Requests, and what else was not refused, are as they were: to the last one, and to the millisecond.
            let mut rest = Cost::new().requests(20 - u32::try_from(requests).unwrap());
            for other in [TOKENS, Unit::CREDITS, OUTPUT] {
                rest = rest.of(other, if other == unit { 0 } else { 200 - taken });
            }
            let start = Instant::now();
            drop(client.clone().oneshot(planned("/a", rest, &[])).await.unwrap());
            assert_eq!(start.elapsed(), ms(0));
            let mut next = Cost::new();
            for other in [TOKENS, Unit::CREDITS, OUTPUT] {
                next = next.of(other, if other == unit { 0 } else { 200 });
            }
            drop(client.clone().oneshot(planned("/a", next, &[])).await.unwrap());
            assert_eq!(start.elapsed(), ms(1000));
            // What fits into what is configured is never refused for what was learned: it goes alone.
            drop(client.clone().oneshot(planned("/a", Cost::new().of(unit, 200), &[])).await.unwrap());
            let elapsed = start.elapsed();
            assert!((ms(1000)..=ms(2300)).contains(&elapsed), "{elapsed:?}");
        });
    }
}

/// A 429 is about this unit.
struct AboutUnit(Unit);

impl Classify for AboutUnit {
    fn classify(&self, answer: &Answer<'_>) -> Option<Signal> {
        let signal = Signal::new(SignalKind::Rate).with_unit(self.0);
        (answer.status() == 429).then(|| signal.with_retry_after(ms(10)))
    }
}

/// L14: larger than a limit that the server has named, it goes alone.
#[test]
fn more_permits_than_a_named_limit_go_alone() {
    paused(async {
        let puppet = Puppet::default();
        let classify = |answer: &Answer<'_>| match answer.status().as_u16() {
            429 => Some(Signal::new(SignalKind::Concurrency).with_concurrency_limit(2)),
            _ => Profile::Standard.classify(answer),
        };
        let layer = throttle(Endpoints::new().route("/a", Quota::concurrent(4))).classify(classify);
        let client = layer.layer(puppet.clone());
        let request = |id, permits| {
            let mut request = crate::support::get("/a");
            request.extensions_mut().insert(Id(id));
            let terms = Terms::new().cost(Cost::new().permits(permits));
            request.extensions_mut().insert(terms);
            request
        };
        let mut tasks = Vec::new();
        for (id, permits) in [1, 1, 3, 1].into_iter().enumerate() {
            let mut client = client.clone();
            let request = request(id, permits);
            tasks.push(tokio::spawn(async move {
                client.ready().await.unwrap().call(request).await.map(drop)
            }));
            settle().await;
        }
        let sent = || {
            puppet
                .strings()
                .calls
                .iter()
                .map(|call| call.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(sent(), [0, 1]);
        puppet.reply(0, Reply::status(429));
        settle().await;
        layer.handle().resume("/a").unwrap();
        settle().await;
        assert!(bucket(&layer.handle()).concurrency() <= Some(2));
        assert_eq!(sent(), [0, 1], "three of two permits while one is taken");
        puppet.reply(1, Reply::status(200));
        settle().await;
        assert_eq!(sent(), [0, 1, 2], "alone");
        puppet.reply(2, Reply::status(200));
        settle().await;
        assert_eq!(sent(), [0, 1, 2, 3]);
        puppet.reply(3, Reply::status(200));
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
}

/// Reads `x-tokens` of heads, and numbers in bodies: of tokens, and of output tokens after a `o`.
struct Figures;

impl Settle for Figures {
    fn head(&self, head: &AnswerHead<'_>) -> Option<Cost> {
        let tokens = head.headers().get("x-tokens")?.to_str().ok()?;
        Some(of(tokens.parse().ok()?))
    }

    fn body(&self, _: &AnswerHead<'_>) -> Option<Box<dyn SettleBody>> {
        Some(Box::new(Figures))
    }
}

impl SettleBody for Figures {
    fn chunk(&mut self, data: &[u8]) -> Option<Cost> {
        let text = std::str::from_utf8(data).ok()?;
        Some(match text.strip_prefix('o') {
            Some(output) => Cost::new().of(OUTPUT, output.parse().ok()?),
            None => of(text.parse().ok()?),
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Figure {
    Tokens(u64),
    Output(u64),
    ByHand(u64),
}

proptest! {
    #![proptest_config(cases(60))]

    /// L14: later figures replace earlier ones, those by hand all others; at-end figures count from the body's end on.
    #[test]
    fn a_reader_settles_what_nobody_settles_by_hand(
        head in proptest::option::of(0u64..100),
        figures in vec(prop_oneof![
            (0u64..100).prop_map(Figure::Tokens),
            (0u64..100).prop_map(Figure::Output),
            (0u64..100).prop_map(Figure::ByHand),
        ], 0..6),
        time in 1u64..3000,
    ) {
        paused(async {
            let puppet = Puppet::default();
            let quota = Quota::unlimited().units(TOKENS, 100, ms(5000)).units(OUTPUT, 100, ms(1000));
            let layer = throttle(Endpoints::new().route("/a", quota)).settle_by(Figures);
            let handle = layer.handle();
            let mut client = layer.layer(puppet.clone());
            let mut request = crate::support::get("/a");
            request.extensions_mut().insert(Id(0));
            let cost = of(60).of(OUTPUT, 70);
            request.extensions_mut().insert(Terms::new().cost(cost));
            let call = tokio::spawn(client.ready().await.unwrap().call(request));
            settle().await;
            let mut reply = Reply::status(200).open();
            if let Some(tokens) = head {
                reply = reply.with("x-tokens", &tokens.to_string());
            }
            puppet.reply(0, reply);
            let (parts, body) = call.await.unwrap().unwrap().into_parts();
            let settlement = parts.extensions.get::<Settlement>().unwrap().clone();
            drop(parts);
            let mut body = Box::pin(body);
            let mut tokens = head.unwrap_or(60);
            let (mut output, mut read_alone, mut by_hand) = (70, 70, false);
            assert_eq!(used(&handle), [tokens, 70]);
            for figure in figures {
                match figure {
                    Figure::Tokens(n) => {
                        puppet.body(0, Chunk::Data(n.to_string()));
                        if !by_hand {
                            tokens = n;
                        }
                    }
                    Figure::Output(n) => {
                        puppet.body(0, Chunk::Data(format!("o{n}")));
                        if !by_hand {
                            read_alone = n;
                        }
                        output = n;
                    }
                    Figure::ByHand(n) => {
                        settlement.settle(of(n));
                        (tokens, by_hand) = (n, true);
                    }
                }
                if !matches!(figure, Figure::ByHand(_)) {
                    std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await.unwrap().unwrap();
                }
                // Of what counts at the end the estimate counts until then.
                let now = used(&handle);
                assert_eq!(now[0], tokens, "{figure:?}");
                assert_eq!(now[1], 70, "{now:?}, {figure:?}");
            }
            tokio::time::sleep(ms(time)).await;
            puppet.body(0, Chunk::End);
            assert!(std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await.is_none());
            drop((body, settlement));
            // It is not said whether a word by hand about one unit silences the reader about others.
            if by_hand && used(&handle)[1] != output {
                output = read_alone;
            }
            assert_eq!(used(&handle), [tokens, output]);
            tokio::time::sleep(ms(999)).await;
            assert_eq!(used(&handle)[1], output);
            tokio::time::sleep(ms(1)).await;
            assert_eq!(used(&handle)[1], 0);
            tokio::time::sleep(ms(5000)).await;
            assert_eq!(used(&handle), [0, 0]);
        });
    }
}

/// L14: what is settled may come at any time: also after the layer, its services and the runtime are gone.
#[test]
fn settlements_outlive_everything() {
    let mut settlements = Vec::new();
    let mut bodies = Vec::new();
    for rps in [true, false] {
        let (settlement, answer) = paused(async {
            let quota = per(5, 1000)
                .units(TOKENS, 100, ms(1000))
                .units(OUTPUT, 9, ms(1000))
                .grace(ms(50));
            let endpoints = Endpoints::new().route("/a", quota.clone()).overall(quota);
            let request = planned("/a", of(10), &[]);
            let answer = if rps {
                let (parts, body) = RpsLayer::new(endpoints)
                    .layer(Planned::default())
                    .oneshot(request)
                    .await
                    .unwrap()
                    .into_parts();
                (parts.extensions.get::<Settlement>().cloned(), body)
            } else {
                let (parts, body) = throttle(endpoints)
                    .layer(Planned::default())
                    .oneshot(request)
                    .await
                    .unwrap()
                    .into_parts();
                (parts.extensions.get::<Settlement>().cloned(), body)
            };
            (answer.0.unwrap(), answer.1)
        });
        settlements.push(settlement);
        bodies.push(answer);
    }
    let threads: Vec<_> = (0..4)
        .map(|i| {
            let settlements = settlements.clone();
            std::thread::spawn(move || {
                for settlement in settlements {
                    settlement.settle(of(i));
                    settlement.settle(of(u64::MAX).of(OUTPUT, i));
                    assert!(
                        settlement
                            .try_settle(Cost::new().of(Unit::CREDITS, 1))
                            .is_err()
                    );
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    drop(bodies);
    for settlement in settlements {
        settlement.settle(of(3));
    }
}

/// L14, L5: real threads: whatever the order in which settlements and dispatches are seen, what cannot be less is never more
/// than n, and everybody goes.
#[test]
fn settlements_from_many_threads_break_no_window() {
    const N: u64 = 1000;
    const PERIOD: Duration = ms(40);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let quota = Quota::unlimited()
        .units(TOKENS, N, PERIOD)
        .units(OUTPUT, N, PERIOD)
        .concurrency(12);
    let layer = throttle(
        Endpoints::new()
            .route("/a", quota)
            .overall(Quota::unlimited().units(TOKENS, N, PERIOD)),
    )
    .learn(tower_throttle::Learning::none());
    let handle = layer.handle();
    let inner = Planned::default();
    let client = layer.layer(inner.clone());
    let (sender, receiver) = std::sync::mpsc::channel::<(Settlement, u64)>();
    let receiver = Arc::new(Mutex::new(receiver));
    let settlers: Vec<_> = (0..3)
        .map(|_| {
            let receiver = Arc::clone(&receiver);
            std::thread::spawn(move || {
                loop {
                    let next = receiver.lock().unwrap().recv();
                    let Ok((settlement, n)) = next else { return };
                    settlement.settle(of(n * 2).of(OUTPUT, n));
                    std::thread::yield_now();
                    settlement.settle(of(n));
                }
            })
        })
        .collect();
    let least = |cost: u64| cost * 3 / 4;
    let all = async {
        let mut tasks = Vec::new();
        for i in 0..300u64 {
            let (client, sender) = (client.clone(), sender.clone());
            let cost = 1 + i * 7919 % 120;
            tasks.push(tokio::spawn(async move {
                let request = planned("/a", of(cost).of(OUTPUT, cost), &[]);
                let future = client.oneshot(request);
                if i % 10 == 9 {
                    _ = tokio::time::timeout(ms(i % 30), future).await;
                    return;
                }
                let answer = future.await.unwrap();
                let settlement = answer.extensions().get::<Settlement>().unwrap().clone();
                if i % 3 > 0 {
                    sender
                        .send((settlement, least(cost) + i % 2 * cost))
                        .unwrap();
                }
            }));
        }
        drop(sender);
        for task in tasks {
            task.await.unwrap();
        }
        tokio::task::yield_now().await;
    };
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), all)
            .await
            .expect("it hangs");
    });
    for settler in settlers {
        settler.join().unwrap();
    }
    let attempts = inner.0.lock().unwrap().clone();
    assert!(attempts.len() >= 270);
    let mut attempts: Vec<_> = attempts.iter().map(|(at, cost, _)| (*at, *cost)).collect();
    attempts.sort_unstable();
    for (i, (at, cost)) in attempts.iter().enumerate() {
        let before = attempts[..i]
            .iter()
            .filter(|(other, _)| *at - *other < PERIOD);
        let sum = before.map(|(_, cost)| least(*cost)).sum::<u64>() + cost;
        assert!(sum <= N, "{sum} with {i}");
    }
    // L5
    #[expect(
        clippy::disallowed_methods,
        reason = "real time passes, and no task runs"
    )]
    std::thread::sleep(PERIOD + ms(5));
    let bucket = bucket(&handle);
    assert_eq!((bucket.waiting(), bucket.in_flight()), (0, 0));
    let left: HashSet<_> = bucket
        .windows()
        .iter()
        .map(tower_throttle::WindowUse::used)
        .collect();
    assert_eq!(left, HashSet::from([0]));
}

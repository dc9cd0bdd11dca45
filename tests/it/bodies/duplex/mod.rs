//! Real HTTP under virtual time: hyper's client and the judge behind hyper's server, over connections
//! in memory that stall, break and go silent in every phase of a request, and a server that vanishes
//! and returns.
//!
//! Whatever happens, each request is answered once, by its own answer and all of it, or fails with an
//! error that says why; no window and no limit is broken; nothing is held in the end; and it does end.
//!
//! A server holds a request for as long as it has not heard that its client has given up. So where it is
//! the client's side that breaks, the server can have more at work than the client knows of: there, what
//! is held against the limit is what both sides have open. Where the server's side breaks, or nothing,
//! the judge itself must find nothing to object to.

#![allow(unreachable_pub)]

mod network;
mod witness;

use std::{sync::Arc, time::Duration};

use crate::support::{self, ms};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use network::{Effect, Event, Network, Plan};
use proptest::{collection::vec, option, prelude::*};
use tokio::time::{Instant, timeout};
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_throttle::{
    ConcurrencyLayer, Endpoints, Handle, Quota, RetryLayer, RpsLayer, ThrottleLayer,
    mock::{Judge, Limit, Work},
};
use witness::{ID, Server, Witness};

const TEMPLATE: &str = "/work";

/// How much later than others a request may arrive: what a connection may take to open, and to stall.
const JITTER: u64 = 50;
/// A millisecond for each time that a timer rounds up.
const MARGIN: u64 = JITTER + 10;

const N: u32 = 3;
const PERIOD: u64 = 100;
const AT_ONCE: usize = 2;

/// Nobody below the layers waits for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any case can take: with all attempts of all requests one after the other.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    Throttle,
    ByHand,
}

/// Who breaks connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    ServerSide,
    AnySide,
}

/// Whether the server allows as much as the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    AsConfigured,
    MoreStrictly,
}

#[derive(Clone, Debug)]
struct Ask {
    at: u64,
    post: bool,
    /// Of its body, and of the answer's.
    size: usize,
    /// Given up so long after it was made, wherever it is then.
    patience: Option<u64>,
    /// Of the answer's body, only so many frames are read, and then it is dropped.
    frames: Option<usize>,
}

fn event(effects: impl Strategy<Value = Effect>) -> impl Strategy<Value = Event> {
    // A head takes some 150 bytes, and HTTP/2 says hello with as many.
    let after = prop_oneof![1 => Just(0usize), 4 => 0usize..400, 2 => 0usize..4000];
    (any::<bool>(), after, effects).prop_map(|(writing, after, effect)| Event {
        writing,
        after,
        effect,
    })
}

/// A connection on which as much goes wrong as `breaks` allows, or nothing.
fn plan(breaks: Breaks) -> impl Strategy<Value = Plan> {
    let stall = || (1u64..10).prop_map(Effect::Stall);
    let server = prop_oneof![
        2 => stall(),
        1 => Just(Effect::Reset),
        1 => Just(Effect::Close),
        1 => Just(Effect::DeafSide),
    ];
    let any = prop_oneof![
        2 => stall(),
        1 => Just(Effect::Reset),
        1 => Just(Effect::Close),
        1 => Just(Effect::DeafSide),
        1 => Just(Effect::MuteSide),
        1 => Just(Effect::BlackHole),
    ];
    let (server, client) = match breaks {
        Breaks::ServerSide => (event(server).boxed(), event(stall()).boxed()),
        Breaks::AnySide => (event(any.clone()).boxed(), event(any).boxed()),
    };
    (
        prop_oneof![3 => Just(0u64), 1 => 1u64..10],
        prop_oneof![1 => 1usize..200, 1 => Just(4096usize)],
        // At most two of 10 ms on each side and 10 ms to open: no more than the jitter.
        vec(client, 0..=2),
        vec(server, 0..=2),
    )
        .prop_map(|(opening, buffer, client, server)| Plan {
            opening,
            buffer,
            client,
            server,
        })
}

fn ask(breaks: Breaks) -> impl Strategy<Value = Ask> {
    // Who gives up is a client's side that breaks, too.
    let may_give_up = breaks == Breaks::AnySide;
    (
        0u64..1000,
        any::<bool>(),
        prop_oneof![1 => Just(0usize), 2 => 1usize..200, 1 => 200usize..5000],
        option::weighted(0.2, 0u64..500),
        option::weighted(0.2, 0usize..3),
    )
        .prop_map(move |(at, post, size, patience, frames)| Ask {
            at,
            post,
            size,
            patience: patience.filter(|_| may_give_up),
            frames: frames.filter(|_| may_give_up),
        })
}

/// From when on the server is away, and for how long.
fn absences() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((0u64..1500, 1u64..400), 0..3)
}

#[derive(Clone, Debug)]
struct Case {
    stack: Stack,
    http2: bool,
    breaks: Breaks,
    judged: Judged,
    plans: Vec<Plan>,
    asks: Vec<Ask>,
    absences: Vec<(u64, u64)>,
    work: (u64, u64),
}

fn case(breaks: Breaks, judged: Judged) -> impl Strategy<Value = Case> {
    (
        prop_oneof![Just(Stack::Throttle), Just(Stack::ByHand)],
        any::<bool>(),
        vec(plan(breaks), 1..8),
        vec(ask(breaks), 1..25),
        absences(),
        (0u64..50, 1u64..100),
    )
        .prop_map(
            move |(stack, http2, plans, asks, absences, (from, length))| Case {
                stack,
                http2,
                breaks,
                judged,
                plans,
                asks,
                absences,
                work: (from, from + length),
            },
        )
}

type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<Answer>, BoxError>;
type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// The layers over hyper's client over the network.
fn client(case: &Case, network: Network, witness: &Witness) -> (Client, Vec<Handle>) {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_only(case.http2)
        // What it sends again by itself passes no layer.
        .retry_canceled_requests(false)
        .build(network);
    let inner = ServiceBuilder::new()
        .layer_fn(|inner| witness::Client::new(inner, witness.clone()))
        .timeout(PATIENCE)
        .service(http);
    let quota = Quota::per(N, ms(PERIOD))
        .concurrency(AT_ONCE)
        .margin(ms(MARGIN));
    let endpoints = Endpoints::new().route(TEMPLATE, quota);
    match case.stack {
        Stack::Throttle => {
            let layer = ThrottleLayer::new(endpoints);
            let handle = layer.handle();
            let stack = ServiceBuilder::new()
                .map_response(boxed)
                .layer(layer)
                .service(inner);
            (BoxCloneSyncService::new(stack), vec![handle])
        }
        Stack::ByHand => {
            let concurrency = ConcurrencyLayer::new(endpoints.clone());
            let rps = RpsLayer::new(endpoints);
            let handles = vec![concurrency.handle(), rps.handle()];
            let stack = ServiceBuilder::new()
                .map_response(boxed)
                .layer(RetryLayer::new())
                .layer(concurrency)
                .layer(rps)
                .service(inner);
            (BoxCloneSyncService::new(stack), handles)
        }
    }
}

fn boxed<B>(response: Response<B>) -> Response<Answer>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// A server's end of each connection, with the judge behind it.
fn serve(judge: &Judge, witness: &Witness) -> network::Serve {
    let server = Server::new(judge.clone(), witness.clone());
    Arc::new(move |side| {
        let server = server.clone();
        let connection = async move {
            let mut http = auto::Builder::new(TokioExecutor::new());
            http.http2()
                .max_pending_accept_reset_streams(None)
                .max_local_error_reset_streams(None);
            let service = hyper::service::service_fn(|request| server.clone().serve(request));
            let _ = http.serve_connection(TokioIo::new(side), service).await;
        };
        tokio::spawn(connection).abort_handle()
    })
}

/// What a request says, and its answer has to.
fn text(id: usize, size: usize) -> Bytes {
    let mut text = format!("{id}:").into_bytes();
    text.resize(text.len() + size, b'a' + u8::try_from(id % 26).unwrap());
    text.into()
}

/// What came of a request.
#[derive(Debug)]
enum End {
    Answered,
    Failed(BoxError),
    GivenUp,
}

async fn perform(client: Client, start: Instant, id: usize, ask: Ask) -> End {
    tokio::time::sleep_until(start + ms(ask.at)).await;
    let method = if ask.post { Method::POST } else { Method::GET };
    let request = Request::builder()
        .method(method)
        .uri("http://api.example/work")
        .header(ID, id)
        .body(Full::new(text(id, ask.size)))
        .unwrap();
    let patience = ask.patience.map_or(FOR_EVER, ms);
    let response = match timeout(patience, client.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return End::Failed(error),
        Err(_) => {
            assert!(ask.patience.is_some(), "request {id} waits for ever");
            return End::GivenUp;
        }
    };
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut read = Vec::new();
    let mut frames = 0;
    loop {
        if ask.frames == Some(frames) {
            return End::GivenUp;
        }
        // A connection can go silent in the middle of a body; only its reader can have enough of that.
        match timeout(PATIENCE, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Err(error))) => return End::Failed(error),
            Ok(Some(Ok(frame))) => read.extend_from_slice(frame.data_ref().unwrap()),
            Err(elapsed) => return End::Failed(elapsed.into()),
        }
        frames += 1;
    }
    assert_eq!(
        read,
        text(id, ask.size),
        "the answer to {id} is another one"
    );
    End::Answered
}

/// Whether somebody who reads this knows what went wrong.
fn says_why(error: &BoxError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = next {
        let known = error.is::<std::io::Error>()
            || error.is::<hyper::Error>()
            || error.is::<hyper_util::client::legacy::Error>()
            || error.is::<tower::timeout::error::Elapsed>()
            || error.is::<tokio::time::error::Elapsed>();
        if known && !error.to_string().is_empty() {
            return true;
        }
        next = error.source();
    }
    false
}

async fn run(case: &Case) {
    let work = Work::uniform(ms(case.work.0)..ms(case.work.1));
    let configured = Limit::per(N as usize, ms(PERIOD));
    let limit = match (case.judged, case.breaks) {
        (Judged::AsConfigured, Breaks::ServerSide) => configured.concurrency(AT_ONCE),
        (Judged::AsConfigured, Breaks::AnySide) => configured,
        (Judged::MoreStrictly, _) => Limit::per(2, ms(PERIOD * 2)).concurrency(1),
    };
    let judge = Judge::builder()
        .route(TEMPLATE, limit, work)
        .answer(TEMPLATE, |received| Response::new(received.body().clone()))
        .truthful_retry_after()
        .build();
    let witness = Witness::new();
    let network = Network::new(case.plans.clone(), serve(&judge, &witness));
    let (client, handles) = client(case, network.clone(), &witness);

    let start = Instant::now();
    let comings_and_goings = tokio::spawn({
        let (network, absences) = (network.clone(), case.absences.clone());
        async move {
            for (from, time) in absences {
                tokio::time::sleep_until(start + ms(from)).await;
                network.vanish();
                tokio::time::sleep(ms(time)).await;
                network.come_back();
            }
        }
    });
    let tasks = case.asks.iter().enumerate().map(|(id, ask)| {
        let client = client.clone();
        tokio::spawn(perform(client, start, id, ask.clone()))
    });
    let ends = join_all(tasks).await;
    comings_and_goings.await.unwrap();

    for (id, (end, ask)) in ends.into_iter().zip(&case.asks).enumerate() {
        match end.unwrap() {
            End::Answered => assert!(witness.arrivals(id) >= 1),
            End::Failed(error) => assert!(says_why(&error), "{id}: {error:?}"),
            End::GivenUp => {}
        }
        if ask.post {
            // Nobody knows whether it was carried out, so it is not sent again.
            let arrivals = witness.arrivals(id);
            assert!(arrivals <= 1, "POST {id} was carried out {arrivals} times");
        }
    }
    // L1, where requests leave.
    let window = ms(PERIOD + MARGIN);
    let dispatched = witness.dispatched();
    for group in dispatched.windows(N as usize + 1) {
        let (first, last) = (group[0], group[N as usize]);
        assert!(first + window <= last, "{group:?} of {dispatched:?}");
    }
    // L6, as far as both sides know.
    assert!(witness.most() <= AT_ONCE, "{} at once", witness.most());
    // L7 and L8. What the server has said to a connection that broke, nobody has heard.
    assert_eq!(witness.early(), 0);
    if case.judged == Judged::AsConfigured {
        judge.report().assert_compliant();
    }
    // L5: when everybody has gone, nothing is held, neither here nor there.
    for handle in &handles {
        support::assert_idle(handle);
    }
    assert_eq!(witness.left().0, 0);
    drop(client);
    network.vanish();
    tokio::time::sleep(ms(10)).await;
    assert_eq!(witness.left(), (0, 0));
}

proptest! {
    #![proptest_config(support::cases(50))]

    #[test]
    fn where_the_server_breaks_off_the_judge_has_nothing_to_object(
        case in case(Breaks::ServerSide, Judged::AsConfigured),
    ) {
        support::paused(run(&case));
    }

    #[test]
    fn where_anything_breaks_everybody_is_answered_once_or_told_why(
        case in case(Breaks::AnySide, Judged::AsConfigured),
    ) {
        support::paused(run(&case));
    }

    #[test]
    fn what_is_refused_comes_back_in_time_though_connections_break(
        case in case(Breaks::ServerSide, Judged::MoreStrictly),
    ) {
        support::paused(run(&case));
    }
}

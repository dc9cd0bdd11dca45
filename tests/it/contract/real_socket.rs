//! `ThrottleLayer` over hyper-util's client over a real socket, with HTTP/1.1 and HTTP/2.
//!
//! In real time, so with no exact instants: nothing here waits for a time to pass, only for something
//! to happen, and not for ever.

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt};
use tower_throttle::{
    BoxError, Endpoints, Handle, Quota, Throttle, ThrottleLayer,
    mock::{self, Judge, Limit, Work},
};

/// Longer than anything here takes on the busiest machine.
const LONG: Duration = Duration::from_secs(20);

const TEMPLATE: &str = "POST /a";

/// More than a client reads at once, or a socket holds.
const ANSWER: usize = 8 << 20;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

type Answer = Response<tower_throttle::Body<hyper::body::Incoming>>;

/// A judge behind a socket, and a throttled client before it.
struct Line {
    judge: Judge,
    server: JoinHandle<io::Result<()>>,
    uri: Uri,
    version: Version,
    client: Throttle<Client<HttpConnector, Full<Bytes>>>,
    handle: Handle,
}

impl Line {
    fn new(version: Version, quota: Quota, limit: Limit, work: Work) -> Self {
        let judge = Judge::builder()
            .route(TEMPLATE, limit, work)
            .answer(TEMPLATE, |_| Response::new(Bytes::from(vec![b'a'; ANSWER])))
            .build();
        let listener = mock::bind().unwrap();
        let uri = format!("http://{}/a", listener.local_addr().unwrap());
        let server = tokio::spawn(judge.clone().serve(listener));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .http2_only(version == Version::HTTP_2)
            .build(connector);
        let layer = ThrottleLayer::new(Endpoints::new().route(TEMPLATE, quota));
        Self {
            judge,
            server,
            uri: uri.parse().unwrap(),
            version,
            client: layer.layer(client),
            handle: layer.handle(),
        }
    }

    /// One request at a time, and a server that works on each for as long as it is told to.
    fn one_at_once(version: Version, work: Work) -> Self {
        Self::new(version, Quota::concurrent(1), Limit::unlimited(), work)
    }

    /// The head of an answer, and its body still to be read.
    fn send(&self) -> impl Future<Output = Result<Answer, BoxError>> + Send + use<> {
        let request = Request::post(self.uri.clone()).body(Full::from("question"));
        let (client, version) = (self.client.clone(), self.version);
        async move {
            let response = client.oneshot(request.unwrap()).await?;
            assert_eq!(
                (response.status(), response.version()),
                (StatusCode::OK, version)
            );
            Ok(response)
        }
    }

    /// How many requests wait, and how many hold a permit.
    fn counts(&self) -> (usize, usize) {
        let snapshot = self.handle.snapshot();
        let bucket = snapshot.bucket(TEMPLATE).unwrap();
        (bucket.waiting(), bucket.in_flight())
    }

    /// Waits until the judge has accepted so many requests and still works on so many.
    async fn judged(&self, accepted: usize, in_flight: usize) {
        let reached = async {
            loop {
                let report = self.judge.report();
                let endpoint = report.endpoint(TEMPLATE);
                if (endpoint.accepted, endpoint.in_flight) == (accepted, in_flight) {
                    break;
                }
                sleep(ms(1)).await;
            }
        };
        let waited = timeout(LONG, reached).await;
        waited.unwrap_or_else(|_| panic!("it never was like that:\n{}", self.judge.report()));
    }
}

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn the_permit_is_held_until_the_body_has_been_read() {
    for version in VERSIONS {
        let line = Line::one_at_once(version, Work::none());
        let mut first = line.send().await.unwrap();
        let mut second = pin!(line.send());
        assert!((&mut second).now_or_never().is_none());
        first.body_mut().frame().await.unwrap().unwrap();
        // Part of the answer has been read, and nobody else has been let through.
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(line.counts(), (1, 1));
        assert_eq!(line.judge.report().requests(), 1);

        first.body_mut().collect().await.unwrap();
        // The answer is still there, but its body is at its end.
        let second = timeout(LONG, second).await.unwrap().unwrap();
        assert_eq!(line.counts(), (0, 1));
        let body = second.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), ANSWER);
        assert_eq!(line.counts(), (0, 0));
        drop(first);
        line.judged(2, 0).await;
    }
}

#[tokio::test]
async fn a_body_dropped_half_read_passes_its_permit_on() {
    for version in VERSIONS {
        let line = Line::one_at_once(version, Work::none());
        let mut first = line.send().await.unwrap();
        first.body_mut().frame().await.unwrap().unwrap();
        let mut second = pin!(line.send());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = timeout(LONG, second).await.unwrap().unwrap();
        second.into_body().collect().await.unwrap();
        assert_eq!(line.counts(), (0, 0));
        line.judged(2, 0).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_passes_its_permit_on() {
    for version in VERSIONS {
        let line = Line::one_at_once(version, Work::fixed(LONG * 2));
        let first = tokio::spawn(line.send());
        line.judged(1, 1).await;
        let mut second = Box::pin(line.send());
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(line.counts(), (1, 1));

        first.abort();
        let second = tokio::spawn(second);
        // The judge sees one arrive and the other leave, in whichever order.
        line.judged(2, 1).await;
        assert_eq!(line.counts(), (0, 1));
        second.abort();
        line.judged(2, 0).await;
        assert_eq!(line.counts(), (0, 0));
    }
}

#[tokio::test]
async fn a_server_that_goes_away_takes_no_permit_with_it() {
    for version in VERSIONS {
        let line = Line::one_at_once(version, Work::fixed(LONG * 2));
        let calls = [(); 3].map(|()| tokio::spawn(line.send()));
        line.judged(1, 1).await;
        line.server.abort();
        for call in calls {
            timeout(LONG, call).await.unwrap().unwrap().unwrap_err();
        }
        assert_eq!(line.counts(), (0, 0));
    }
}

#[tokio::test]
async fn a_burst_keeps_to_the_window_and_to_the_concurrency() {
    // What a busy machine may hold up a request between its dispatch and its arrival.
    let margin = ms(250);
    let period = ms(200);
    join_all(VERSIONS.map(async |version| {
        let quota = Quota::per(5, period).concurrency(4).margin(margin);
        let limit = Limit::per(5, period).concurrency(4);
        let line = Line::new(version, quota, limit, Work::uniform(ms(20)..ms(40)));
        join_all((0..20).map(async |_| {
            let answer = line.send().await.unwrap();
            answer.into_body().collect().await.unwrap();
        }))
        .await;
        line.judge.report().assert_compliant();
        assert_eq!(line.judge.report().accepted(), 20);
    }))
    .await;
}

/// A server hears late that a client has gone, and works on meanwhile. With a grace the next request waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_grace_callers_that_cancel_never_exceed_the_servers_concurrency() {
    const CALLERS: u64 = 12;
    const ROUNDS: usize = 4;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let quota = Quota::concurrent(4).grace(ms(700));
        let work = Work::uniform(ms(5)..ms(40));
        let line = Line::new(version, quota, Limit::unlimited().concurrency(4), work);
        let callers = (0..CALLERS).map(|caller| {
            let line = &line;
            let mut random = fastrand::Rng::with_seed(caller);
            async move {
                let mut cancelled = 0;
                for _ in 0..ROUNDS {
                    let patience = if random.bool() {
                        ms(random.u64(1..40))
                    } else {
                        LONG
                    };
                    let answer = timeout(patience, line.send());
                    match answer.await {
                        Ok(answer) if random.bool() => {
                            answer.unwrap().into_body().collect().await.unwrap();
                        }
                        Ok(answer) => drop(answer.unwrap()),
                        Err(_) => cancelled += 1,
                    }
                }
                cancelled
            }
        });
        let cancelled: usize = timeout(LONG, join_all(callers)).await.unwrap().iter().sum();
        let report = line.judge.report();
        let endpoint = report.endpoint(TEMPLATE);
        assert!(cancelled > 0, "{version:?}");
        assert_eq!(endpoint.refused_by_concurrency, 0, "{version:?}");
        assert!(endpoint.most_in_flight <= 4, "{version:?}");
    }
}

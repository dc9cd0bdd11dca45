//! A process that has something to send.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{task::JoinSet, time::sleep};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_throttle::{
    Cost, Endpoints, Terms, ThrottleLayer,
    store::{RedisStore, WhenAway},
};

use super::{
    judge::TAG,
    loads::{self, Demand, Load, UNIT, Way},
    stamp::{self, End, Stamp, Tag},
};

/// Which of the workers it is, and where the others are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) index: usize,
    /// When the load began, in microseconds.
    pub(crate) begin: u64,
    /// The URL of the API, or of the gateway.
    pub(crate) api: String,
    /// The URL of the store.
    pub(crate) store: String,
}

/// For how long each half of a fleet has its turn, in microseconds.
const TURN: u64 = 2_000_000;

type Http = BoxCloneSyncService<Request<Empty<Bytes>>, Bytes, BoxError>;

#[derive(Clone)]
struct Worker {
    load: Arc<Load>,
    place: Arc<Place>,
    client: Http,
    next: Arc<AtomicU64>,
}

pub(crate) async fn run(load: Load, place: Place) -> Result<(), BoxError> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let store = match load.way {
        Way::Store => {
            let store = RedisStore::connect(&place.store).await?;
            let store = store.reservation(load.reservation);
            Some(store.when_away(WhenAway::Stop, Duration::ZERO))
        }
        Way::Divided | Way::Gateway => None,
    };
    let endpoints = match load.way {
        Way::Store => load.endpoints(1),
        Way::Divided => load.endpoints(load.workers),
        Way::Gateway => Endpoints::new(),
    };
    let layer = ThrottleLayer::new(endpoints);
    let layer = match &store {
        Some(store) => layer.store(store.clone()),
        None => layer,
    };
    open_connections(&http, &load, &place.api).await;
    let client = layer.layer(Stamped(http));
    let client = service_fn(move |request| {
        let client = client.clone();
        async move {
            let answer = client.oneshot(request).await?;
            Ok(answer.into_body().collect().await?.to_bytes())
        }
    });
    let worker = Worker {
        load: Arc::new(load),
        place: Arc::new(place),
        client: BoxCloneSyncService::new(client),
        next: Arc::default(),
    };
    let end = worker.place.begin + micros(worker.load.time);
    // What is still under way then is called off.
    _ = tokio::time::timeout(until(end), worker.send(end)).await;
    if let Some(store) = store {
        store.leave().await;
    }
    Ok(())
}

/// Opens as many connections as it may need: where the first requests of all had to, they would arrive later than all
/// others, by more than the margin, and the next ones would seem too early to the API.
async fn open_connections(http: &Client<HttpConnector, Empty<Bytes>>, load: &Load, api: &str) {
    let many = match load.demand {
        Demand::Backlog(n) | Demand::OneBacklog(n, _) | Demand::Turns(n) => n,
        Demand::Random(_) => 50,
    };
    let mut tasks = JoinSet::new();
    for _ in 0..many * load.leaves.len() {
        let request = Request::get(format!("{api}/warm")).body(Empty::new());
        let answer = http.request(request.expect("a request"));
        tasks.spawn(async move {
            // It answers that there is nothing.
            if let Ok(answer) = answer.await {
                _ = answer.into_body().collect().await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn until(at: u64) -> Duration {
    Duration::from_micros(at.saturating_sub(stamp::now()))
}

impl Worker {
    async fn send(&self, end: u64) {
        let leaves = (0..).take(self.load.leaves.len());
        let mut tasks = JoinSet::new();
        let others = self.load.workers - 1;
        match self.load.demand {
            Demand::OneBacklog(backlog, _) if self.place.index == 0 => {
                self.have_ready(&mut tasks, backlog);
            }
            Demand::Backlog(backlog) => self.have_ready(&mut tasks, backlog),
            Demand::OneBacklog(_, rate) => self.at_random(rate / others as f64).await,
            Demand::Random(rate) => self.at_random(rate / self.load.workers as f64).await,
            Demand::Turns(backlog) => {
                for leaf in leaves {
                    for _ in 0..backlog {
                        let worker = self.clone();
                        tasks.spawn(async move { worker.take_turns(leaf, end).await });
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    fn have_ready(&self, tasks: &mut JoinSet<()>, backlog: usize) {
        for leaf in (0..).take(self.load.leaves.len()) {
            for _ in 0..backlog {
                let worker = self.clone();
                tasks.spawn(async move {
                    loop {
                        worker.request(leaf, Arc::default()).await;
                    }
                });
            }
        }
    }

    async fn at_random(&self, rate: f64) {
        let mut tasks = JoinSet::new();
        // A store settles from the first call on; what came meanwhile would go at once.
        self.request(0, Arc::default()).await;
        let settled = self.place.begin + micros(self.load.warm()) - 1_000_000;
        let mut next = settled as f64;
        loop {
            next -= fastrand::f64().max(1e-9).ln() / rate * 1e6;
            sleep(until(next as u64)).await;
            for leaf in (0..).take(self.load.leaves.len()) {
                let worker = self.clone();
                tasks.spawn(async move { worker.request(leaf, Arc::default()).await });
            }
        }
    }

    async fn take_turns(&self, leaf: u64, end: u64) {
        let half = (self.place.index % 2) as u64;
        loop {
            let now = stamp::now();
            let turn = now.saturating_sub(self.place.begin) / TURN;
            let over = self.place.begin + (turn + 1) * TURN;
            if now >= end {
                return;
            }
            if turn % 2 != half {
                sleep(until(over)).await;
                continue;
            }
            let went = Arc::new(AtomicBool::new(false));
            let mut request = std::pin::pin!(self.request(leaf, Arc::clone(&went)));
            let done = tokio::time::timeout(until(over), &mut request).await;
            if done.is_err() && went.load(Ordering::Relaxed) {
                request.await;
            }
        }
    }

    async fn request(&self, leaf: u64, went: Arc<AtomicBool>) {
        let cost = match self.load.leaves[leaf as usize].costs {
            Some(_) if fastrand::u8(..100) < 5 => 4_000,
            Some(_) => fastrand::u64(100..=900),
            None => 1,
        };
        let tag = Tag {
            worker: self.place.index as u64,
            id: self.next.fetch_add(1, Ordering::Relaxed),
            leaf,
            cost,
            came: stamp::now(),
        };
        let request = Request::get(format!("{}{}", self.place.api, loads::path(leaf)))
            .header(TAG, tag.to_string())
            .extension(Went(went))
            .extension(Terms::new().cost(Cost::new().of(UNIT, cost)))
            .body(Empty::new())
            .expect("a request");
        match self.client.clone().oneshot(request).await {
            Ok(_) => {
                let (worker, id, at) = (tag.worker, tag.id, stamp::now());
                println!("{}", End { worker, id, at });
            }
            Err(error) => {
                eprintln!("worker {}: {error}", tag.worker);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Went(Arc<AtomicBool>);

/// Says on standard output when each request goes.
#[derive(Clone, Debug)]
struct Stamped<S>(S);

impl<S, B> Service<Request<B>> for Stamped<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let went = stamp::now();
        if let Some(Went(flag)) = request.extensions().get() {
            flag.store(true, Ordering::Relaxed);
        }
        let tag = request.headers().get(TAG).and_then(|tag| tag.to_str().ok());
        if let Some(tag) = tag.and_then(|tag| tag.parse().ok()) {
            let ended = None;
            println!("{}", Stamp { tag, went, ended });
        }
        Box::pin(self.0.call(request))
    }
}

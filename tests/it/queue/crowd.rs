//! Thousands waiting for one bucket: what it costs, in which order they go, what a cancellation costs.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, Service, ServiceExt};
use tower_throttle::{ConcurrencyLayer, Endpoints, Quota, RpsLayer, ThrottleLayer};

/// Writes down which request went out when.
#[derive(Clone, Debug)]
struct Journal(Arc<Mutex<Vec<(usize, Instant)>>>);

impl Journal {
    fn new() -> Self {
        Self(Arc::default())
    }
}

impl Service<Request<usize>> for Journal {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<usize>) -> Self::Future {
        let entry = (*request.body(), Instant::now());
        self.0.lock().unwrap().push(entry);
        ready(Ok(Response::new(String::new())))
    }
}

fn endpoints() -> Endpoints {
    Endpoints::new().route("/a", Quota::per_second(20).concurrency(1_000))
}

/// Sends `crowd` requests at once, drops those that `leaves` names half a second later, and returns the
/// polls per admission.
async fn run<S>(service: S, crowd: usize, leaves: impl Fn(usize) -> bool) -> f64
where
    S: Service<Request<usize>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: std::fmt::Debug,
{
    let polls = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let mut leaving = Vec::new();
    for id in 0..crowd {
        let (mut service, polls) = (service.clone(), Arc::clone(&polls));
        let handle = tasks.spawn(async move {
            let request = Request::get("/a").body(id).unwrap();
            let mut call = Box::pin(service.ready().await.unwrap().call(request));
            poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                call.as_mut().poll(cx)
            })
            .await
            .unwrap();
        });
        if leaves(id) {
            leaving.push(handle);
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for task in &leaving {
        task.abort();
    }
    let mut admitted = 0;
    while let Some(done) = tasks.join_next().await {
        admitted += usize::from(done.is_ok());
    }
    #[expect(clippy::cast_precision_loss, reason = "some ten thousand")]
    let per_admission = polls.load(Ordering::Relaxed) as f64 / admitted as f64;
    per_admission
}

#[tokio::test(start_paused = true)]
async fn an_admission_takes_two_polls_and_nobody_is_overtaken() {
    for crowd in [200, 1_000, 4_000, 16_000] {
        let (rps, joint) = (Journal::new(), Journal::new());
        let windowed = run(RpsLayer::new(endpoints()).layer(rps.clone()), crowd, |_| {
            false
        })
        .await;
        let throttle = ThrottleLayer::new(endpoints()).without_retry();
        let throttled = run(throttle.layer(joint.clone()), crowd, |_| false).await;
        println!("{crowd} waiting: {windowed:.3} and {throttled:.3} polls per admission");
        assert!(
            windowed <= 2.1 && throttled <= 2.1,
            "{windowed}, {throttled}"
        );
        for journal in [rps, joint] {
            let journal = journal.0.lock().unwrap();
            let start = journal[0].1;
            for (place, &(id, at)) in journal.iter().enumerate() {
                assert_eq!(id, place);
                let second = u64::try_from(place / 20).unwrap();
                assert_eq!(at - start, Duration::from_secs(second));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permits_alone_take_two_polls_each_as_well() {
    let journal = Journal::new();
    let layer = ConcurrencyLayer::new(Endpoints::new().route("/a", Quota::concurrent(3)));
    let polls = run(layer.layer(journal.clone()), 16_000, |_| false).await;
    assert!(polls <= 2.1, "{polls}");
    assert!(journal.0.lock().unwrap().is_sorted_by_key(|(id, _)| *id));
}

#[tokio::test(start_paused = true)]
async fn half_of_a_queue_that_leaves_costs_nobody_a_slot() {
    let journal = Journal::new();
    let layer = RpsLayer::new(endpoints());
    // The first twenty have gone before anyone can leave.
    run(layer.layer(journal.clone()), 4_000, |id| {
        id >= 20 && id % 2 == 1
    })
    .await;
    let journal = journal.0.lock().unwrap();
    let stayed: Vec<_> = (0..4_000).filter(|id| *id < 20 || id % 2 == 0).collect();
    assert_eq!(
        journal.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        stayed
    );
    let start = journal[0].1;
    for (place, (_, at)) in journal.iter().enumerate() {
        let second = u64::try_from(place / 20).unwrap();
        assert_eq!(*at - start, Duration::from_secs(second));
    }
    assert_eq!(layer.handle().snapshot().bucket("/a").unwrap().waiting(), 0);
}

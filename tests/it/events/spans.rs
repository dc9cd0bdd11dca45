//! The caller's span stays the caller's: over the queue, over retries, and in what is logged.

use std::time::Duration;

use crate::observed::logs::{Line, Logs};
use crate::support::{self, assert_idle, ms, paused, per};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_throttle::{BoxError, Endpoints, Quota, ThrottleLayer, Tracing};
use tracing::{Instrument, info, info_span, instrument::WithSubscriber};
use tracing_subscriber::layer::SubscriberExt as _;

type Req = Request<String>;

/// Runs with a paused clock, and returns what was logged.
fn logged(run: impl Future<Output = ()>) -> Logs {
    let logs = Logs::default();
    let subscriber = tracing_subscriber::registry().with(logs.clone());
    tracing::subscriber::with_default(subscriber, || paused(run.with_current_subscriber()));
    logs
}

/// Says when it is called, polled, and done.
async fn serve(request: Req) -> Result<Response<String>, BoxError> {
    info!(at = request.uri().path(), "served");
    tokio::time::sleep(ms(50)).await;
    info!(at = request.uri().path(), "done");
    Ok(Response::new("x".to_owned()))
}

/// Sends a request in a span of this name, call and all.
fn send<S>(client: &S, path: &str, span: tracing::Span) -> tokio::task::JoinHandle<StatusCode>
where
    S: Service<Req, Response = Response<tower_throttle::Body<String>>, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let mut client = client.clone();
    let request = Request::get(path).body(String::new()).unwrap();
    let sending = async move {
        let response = client.ready().await.unwrap().call(request).await.unwrap();
        response.status()
    };
    tokio::spawn(sending.instrument(span).with_current_subscriber())
}

/// The messages that were logged in these spans.
fn messages(lines: &[Line], spans: &[&str]) -> Vec<String> {
    let there = lines.iter().filter(|line| line.spans == spans);
    there.map(|line| line.message.clone()).collect()
}

/// A request that was queued is served in its own span, and what itself decides is logged there. What the end of
/// another request decides about it is logged in no span, and never in that of the other.
#[test]
fn a_queued_request_is_served_and_logged_in_its_callers_span() {
    let logs = logged(async {
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let layer = ThrottleLayer::new(endpoints).observe(Tracing::new("test"));
        let handle = layer.handle();
        let client = layer.layer(service_fn(serve));
        let first = send(&client, "/a", info_span!("first"));
        tokio::task::yield_now().await;
        let second = send(&client, "/a", info_span!("second"));
        assert_eq!(first.await.unwrap(), StatusCode::OK);
        assert_eq!(second.await.unwrap(), StatusCode::OK);
        assert_idle(&handle);
    });
    let all = logs.all();
    let own = ["dispatched", "served", "done", "answered", "ended"];
    let first: Vec<_> = ["admitted"].into_iter().chain(own).collect();
    let second: Vec<_> = ["queued"].into_iter().chain(own).collect();
    assert_eq!(messages(&all, &["first"]), first);
    assert_eq!(messages(&all, &["second"]), second);
    assert_eq!(messages(&all, &[]), ["admitted"]);
}

/// A refusal by the timer is logged in no span; one on entry in that of the request.
#[test]
fn a_refusal_is_logged_where_it_was_decided() {
    let logs = logged(async {
        let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
        let layer = ThrottleLayer::new(endpoints)
            .observe(Tracing::new("test"))
            .max_wait(ms(20));
        let hasty = layer.clone().max_wait(Duration::ZERO);
        let client = layer.layer(service_fn(serve));
        let hasty = hasty.layer(service_fn(serve));
        let first = send(&client, "/a", info_span!("first"));
        tokio::task::yield_now().await;
        let second = send(&client, "/a", info_span!("second"));
        let third = send(&hasty, "/a", info_span!("third"));
        assert_eq!(first.await.unwrap(), StatusCode::OK);
        second.await.expect_err("it is refused");
        third.await.expect_err("it is refused");
    });
    let all = logs.ours();
    assert_eq!(messages(&all, &["second"]), ["queued"]);
    assert_eq!(messages(&all, &["third"]), ["refused a request"]);
    assert_eq!(messages(&all, &[]), ["refused a request"]);
}

/// Each attempt of a retried request is made in the caller's span, and so is what is decided about it logged. Spans that
/// a layer below opens are children of that.
#[test]
fn retries_stay_in_the_callers_span() {
    let logs = logged(async {
        let endpoints = Endpoints::new().route("/a", per(1, 100));
        let layer = ThrottleLayer::new(endpoints).observe(Tracing::new("test"));
        let attempts = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let client = layer.layer(service_fn(move |_: Req| {
            let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                info!("served");
                let mut response = Response::new(String::new());
                if attempt == 0 {
                    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                }
                Ok::<_, BoxError>(response)
            }
            .instrument(info_span!("attempt"))
        }));
        let sent = send(&client, "/a", info_span!("whole"));
        assert_eq!(sent.await.unwrap(), StatusCode::OK);
    });
    let all = logs.all();
    assert_eq!(messages(&all, &["whole", "attempt"]), ["served", "served"]);
    let of_request = messages(&all, &["whole"]);
    let expected = [
        "admitted",
        "dispatched",
        "answered",
        "the server throttled a request",
        "paused",
    ];
    assert_eq!(of_request[..expected.len()], expected);
    let retried = "a request failed and is sent again".to_owned();
    assert!(of_request.contains(&retried), "{of_request:?}");
    assert_eq!(of_request.last().unwrap(), "ended");
}

/// While a request waits, its span is not kept: it closes when the caller drops it.
#[test]
fn the_queue_keeps_no_span() {
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::{Layer as SubscriberLayer, layer::Context, registry::LookupSpan};

    #[derive(Clone, Default)]
    struct Closed(Arc<Mutex<Vec<&'static str>>>);

    impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> SubscriberLayer<S> for Closed {
        fn on_close(&self, id: tracing::Id, cx: Context<'_, S>) {
            let name = cx.span(&id).expect("it closes").name();
            self.0.lock().unwrap().push(name);
        }
    }

    let closed = Closed::default();
    let subscriber = tracing_subscriber::registry().with(closed.clone());
    tracing::subscriber::with_default(subscriber, || {
        paused(async {
            let endpoints = Endpoints::new().route("/a", Quota::concurrent(1));
            let layer = ThrottleLayer::new(endpoints).observe(Tracing::new("test"));
            let mut client = layer.layer(service_fn(serve));
            let request = || Request::get("/a").body(String::new()).unwrap();
            let _first = support::call(&mut client, request());
            let mut waiting = {
                let span = info_span!("passing");
                let _entered = span.enter();
                let mut waiting = support::call(&mut client, request());
                assert!(waiting.poll().is_pending());
                waiting
            };
            assert_eq!(*closed.0.lock().unwrap(), ["passing"]);
            assert!(waiting.poll().is_pending());
        });
    });
}

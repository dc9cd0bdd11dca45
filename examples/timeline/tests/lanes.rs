//! What is recorded of requests, at exact instants under a paused clock, and what the picture shows of it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use timeline::{Heading, Lane, Outcome, Part, PartKind, Timeline, story};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_throttle::{
    BoxError, Endpoints, Quota, RetryLayer, ThrottleLayer,
    mock::{Fault, Judge, Limit, Work},
};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An API whose answers begin after 100 ms and end after 300.
fn api() -> Judge {
    Judge::builder()
        .route("GET /{it}", Limit::unlimited(), Work::fixed(ms(300)))
        .streaming("GET /{it}", ms(100))
        .build()
}

fn one_at_once() -> ThrottleLayer {
    let endpoints = Endpoints::new().route("GET /{it}", Quota::concurrent(1));
    ThrottleLayer::new(endpoints)
}

async fn get(
    client: impl Service<
        Request<Full<Bytes>>,
        Response = http::Response<impl http_body::Body>,
        Error = BoxError,
    >,
) -> Result<(), BoxError> {
    let request = Request::get("/it").body(Full::default())?;
    let answer = client.oneshot(request).await?;
    let read = answer.into_body().collect().await;
    read.map(drop).map_err(|_| "the body failed".into())
}

fn part(kind: PartKind, from: u64, until: u64) -> Part {
    let (from, until) = (ms(from), ms(until));
    Part { kind, from, until }
}

fn answered(parts: impl Into<Vec<Part>>) -> Lane {
    let parts = parts.into();
    let outcome = Outcome::Answered(StatusCode::OK);
    Lane { parts, outcome }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_is_sent_and_is_read() {
    let timeline = Timeline::new();
    let client = ServiceBuilder::new()
        .layer(timeline.layer())
        .layer(one_at_once().observe(timeline.clone()))
        .service(api());
    let (first, second) = tokio::join!(get(client.clone()), get(client));
    first.and(second).unwrap();
    let first = [
        part(PartKind::Sent, 0, 100),
        part(PartKind::Answered, 100, 300),
    ];
    let second = [
        part(PartKind::Queued, 0, 300),
        part(PartKind::Sent, 300, 400),
        part(PartKind::Answered, 400, 600),
    ];
    assert_eq!(timeline.lanes(), [answered(first), answered(second)]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_splits_the_time_in_the_queue() {
    let timeline = Timeline::new();
    let layer = one_at_once().observe(timeline.clone());
    let handle = layer.handle();
    let client = timeline.layer().layer(layer.layer(api()));
    let calls = async { tokio::join!(get(client.clone()), get(client)) };
    let pauses = async {
        sleep(ms(50)).await;
        // Of all endpoints, and longer at this one; both are over before it ends by itself.
        handle.pause(Endpoints::OVERALL, ms(400)).unwrap();
        sleep(ms(100)).await;
        handle.pause("GET /{it}", ms(1_000)).unwrap();
        sleep(ms(350)).await;
        handle.resume("GET /{it}").unwrap();
    };
    let ((first, second), ()) = tokio::join!(calls, pauses);
    first.and(second).unwrap();
    let second = [
        part(PartKind::Queued, 0, 50),
        part(PartKind::Paused, 50, 450),
        part(PartKind::Paused, 450, 500),
        part(PartKind::Sent, 500, 600),
        part(PartKind::Answered, 600, 800),
    ];
    assert_eq!(timeline.lanes()[1], answered(second));
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_or_fails_is_sent_again() {
    for (status, kind) in [(429, PartKind::Throttled), (500, PartKind::Failed)] {
        let timeline = Timeline::new();
        let api = api();
        api.fault(Fault::status(status).delayed(ms(20)));
        let client = ServiceBuilder::new()
            .layer(timeline.layer())
            .layer(one_at_once().observe(timeline.clone()))
            .service(api);
        get(client).await.unwrap();
        let [lane] = <[Lane; 1]>::try_from(timeline.lanes()).unwrap();
        assert_eq!(lane.outcome, Outcome::Answered(StatusCode::OK));
        assert_eq!(lane.attempts(), 2);
        assert_eq!(lane.parts[0], part(kind, 0, 20));
        let meanwhile = lane.parts[1];
        assert_eq!(meanwhile.from, ms(20));
        let expected = match kind {
            PartKind::Throttled => PartKind::Paused,
            _ => PartKind::BackingOff,
        };
        assert_eq!(meanwhile.kind, expected);
        // Timers have whole milliseconds, and delays have parts of them.
        let sent = lane.parts.iter().find(|part| part.kind == PartKind::Sent);
        let delay = sent.unwrap().from.saturating_sub(meanwhile.until);
        assert!(delay < ms(1), "{lane:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn how_a_lane_ends() {
    let timeline = Timeline::new();
    let layer = one_at_once()
        .max_waiting(1)
        .retry(RetryLayer::new().max_attempts(1))
        .observe(timeline.clone());
    let api = api();
    api.fault(Fault::reset().delayed(ms(10)));
    let client = timeline.layer().layer(layer.layer(api));
    let drops = async {
        let call = tokio::time::timeout(ms(5), get(client.clone()));
        call.await.unwrap_err();
    };
    let (failed, (), refused) = tokio::join!(get(client.clone()), drops, get(client.clone()));
    failed.and(refused).unwrap_err();
    let open = get(client);
    tokio::time::timeout(ms(50), open).await.unwrap_err();
    let outcomes: Vec<_> = timeline
        .lanes()
        .into_iter()
        .map(|lane| lane.outcome)
        .collect();
    let expected = [
        Outcome::Failed,
        Outcome::Dropped,
        Outcome::Refused,
        Outcome::Dropped,
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test(start_paused = true)]
async fn a_client_within_a_client_has_lanes_of_its_own() {
    let (outer, inner) = (Timeline::new(), Timeline::new());
    let below = ServiceBuilder::new()
        .layer(inner.layer())
        .layer(one_at_once().observe(inner.clone()))
        .service(api());
    let client = ServiceBuilder::new()
        .layer(outer.layer())
        .layer(one_at_once().observe(outer.clone()))
        .service(below);
    get(client).await.unwrap();
    let parts = [
        part(PartKind::Sent, 0, 100),
        part(PartKind::Answered, 100, 300),
    ];
    assert_eq!(outer.lanes(), [answered(parts)]);
    assert_eq!(inner.lanes(), [answered(parts)]);
}

#[tokio::test(start_paused = true)]
async fn requests_that_go_another_way_are_counted() {
    let timeline = Timeline::new();
    let layer = one_at_once().observe(timeline.clone());
    get(layer.layer(api())).await.unwrap();
    assert_eq!((timeline.lanes(), timeline.strangers()), (vec![], 1));
    let svg = timeline.svg(&Heading::new("None", ["None."]));
    assert!(svg.contains("Not drawn: 1 requests"), "{svg}");
}

#[tokio::test(start_paused = true)]
async fn a_picture_explains_what_is_in_it_and_nothing_else() {
    let timeline = Timeline::new();
    let client = ServiceBuilder::new()
        .layer(timeline.layer())
        .layer(one_at_once().observe(timeline.clone()))
        .service(api());
    get(client).await.unwrap();
    let svg = timeline.svg(&Heading::new("<One> & only", ["It goes at once."]));
    assert!(svg.contains("&lt;One&gt; &amp; only"), "{svg}");
    for (words, is_there) in [
        ("sent, no answer yet", true),
        ("answer being read", true),
        (">queued<", false),
        ("throttled", false),
    ] {
        assert_eq!(svg.contains(words), is_there, "{words} in {svg}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_story_shows_what_its_sentences_say() {
    let lanes = story::run().await.unwrap().lanes();
    let dispatched = |lane: &Lane| {
        let sent = lane.parts.iter().rfind(|part| part.kind == PartKind::Sent);
        sent.unwrap().from
    };
    let throttled: Vec<_> = (1..)
        .zip(&lanes)
        .filter(|(_, lane)| lane.attempts() > 1)
        .map(|(number, _)| number)
        .collect();
    assert_eq!(throttled, [7]);
    let later = lanes
        .iter()
        .filter(|lane| lane.parts[0].from > Duration::ZERO);
    assert_eq!((lanes.len(), later.count()), (16, 4));
    // No request that waits is passed, and nobody is sent before the pause ends.
    let after: Vec<_> = lanes[9..].iter().map(dispatched).collect();
    assert!(after.is_sorted(), "{after:?}");
    let again = dispatched(&lanes[6]);
    assert!(after.iter().all(|at| *at >= again), "{again:?}, {after:?}");
    assert!(
        lanes
            .iter()
            .all(|lane| lane.outcome == Outcome::Answered(StatusCode::OK))
    );
}

//! What programs outside this repository are compiled against: names and signatures, as they use them.

use std::{ops::Range, time::Duration};

use http::{Request, Response};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_throttle::{
    Admission, Backoff, BoxError, BucketSnapshot, ConcurrencyLayer, Cost, Deadline, EndpointName,
    Endpoints, Handle, InvalidEndpoint, Permit, Quota, Refused, RefusedReason, RetryLayer,
    RpsLayer, Snapshot, ThrottleLayer, UnknownEndpoint,
    mock::{
        EndpointReport, Judge, JudgeBuilder, Limit, Report, Work,
        elevenlabs::{MockBuilder, MockElevenLabs},
    },
    signal::Signal,
};

fn endpoints() -> Endpoints {
    Endpoints::new()
        .route(
            "POST /v1/text-to-speech/{voice_id}",
            Quota::per_second(5).concurrency(4),
        )
        .route("POST /v1/voices/add", Quota::per_second(1).concurrency(1))
        .route(
            "api.other.example/v2/{*rest}",
            Quota::per(100, Duration::from_secs(120)).and_per(20, Duration::from_secs(1)),
        )
        .named("flash", Quota::concurrent(8))
        .group(
            "tts",
            Quota::concurrent(4),
            [
                "POST /v1/text-to-speech/{voice_id}",
                "POST /v1/text-to-speech/{voice_id}/stream",
            ],
        )
        .overall(Quota::per_second(50))
        .each_other_path(Quota::per_second(10))
}

fn http_client()
-> impl tower::Service<Request<String>, Response = Response<String>, Error = BoxError, Future: Send>
+ Clone {
    service_fn(|request: Request<String>| async { Ok(Response::new(request.into_body())) })
}

#[test]
fn a_stack_is_built_as_the_documentation_shows() {
    let client = ServiceBuilder::new()
        .layer(ThrottleLayer::new(endpoints().clone()))
        .service(http_client());
    let by_hand = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(ConcurrencyLayer::new(endpoints().clone()))
        .layer(RpsLayer::new(endpoints()))
        .service(http_client());
    drop((client, by_hand));
}

#[test]
fn names_and_signatures_are_what_they_were() {
    const QUOTA: Quota = Quota::per_minute(5)
        .and_per(1, Duration::from_secs(1))
        .concurrency(4)
        .margin(Duration::from_millis(1))
        .release_at_head();
    const NONE: Quota = Quota::unlimited();
    assert_ne!(QUOTA.clone(), NONE);

    let _: fn(Endpoints, &str, Quota) -> Result<Endpoints, InvalidEndpoint> = Endpoints::try_route;
    let _: fn(Endpoints, Quota) -> Endpoints = Endpoints::all_other_paths;
    let _: fn(Endpoints, &'static str) -> Endpoints = Endpoints::partition_by_header;
    let _: fn(Endpoints, Quota) -> Endpoints = Endpoints::across_partitions;
    let _ = EndpointName::new("flash");

    let _: fn(RpsLayer, usize) -> RpsLayer = RpsLayer::max_waiting;
    let _: fn(ConcurrencyLayer, Duration) -> ConcurrencyLayer = ConcurrencyLayer::max_wait;
    let _: fn(&ThrottleLayer) -> Handle = ThrottleLayer::handle;
    let _: fn(ThrottleLayer, RetryLayer) -> ThrottleLayer = ThrottleLayer::retry;
    let _: fn(ThrottleLayer) -> ThrottleLayer = ThrottleLayer::without_retry;
    let _: fn(RetryLayer, u32) -> RetryLayer = RetryLayer::max_attempts;
    let _: fn(RetryLayer, Duration) -> RetryLayer = RetryLayer::max_total;
    let _: fn(RetryLayer, Backoff) -> RetryLayer = RetryLayer::backoff;

    let _: fn(&Handle) -> Snapshot = Handle::snapshot;
    let _: fn(&Handle, &str, Quota) -> Result<(), UnknownEndpoint> = Handle::set_quota;
    let _: fn(&Handle, &str, Duration) -> Result<(), UnknownEndpoint> = Handle::pause;
    let _: fn(&Handle, &str) -> Result<(), UnknownEndpoint> = Handle::resume;
    let _: fn(&Handle) = Handle::sweep;
    let _: fn(&Handle, &Request<()>) -> Result<Option<Duration>, BoxError> = Handle::wait_for;
    let _: fn(Admission) -> Result<Permit, Admission> = Admission::dispatch;
    let _: fn(&Permit, &Signal) -> Option<tokio::time::Instant> = Permit::throttled;
    let _: fn(&Permit) = Permit::failed;
    let _: fn(&Permit, Cost) = Permit::settle;
    let _: fn(&Handle) = Handle::close;
    let _ = async |handle: &Handle| handle.drain().await;
    let snapshot = ThrottleLayer::new(endpoints()).handle().clone().snapshot();
    assert!(snapshot.buckets().count() > 1);
    let bucket: Option<&BucketSnapshot> = snapshot.bucket("tts");
    let bucket = bucket.unwrap();
    let _: (&str, usize, usize) = (bucket.name(), bucket.waiting(), bucket.in_flight());
    let _: (Option<usize>, Option<Duration>) = (bucket.concurrency(), bucket.paused_for());
    let _: (u64, u64, u64) = (bucket.admitted(), bucket.refused(), bucket.throttled());

    let _: fn(&BoxError) -> Option<&Refused> = Refused::in_error;
    let _: for<'a> fn(&'a (dyn std::error::Error + 'static)) -> Option<&'a Refused> =
        Refused::in_dyn;
    let _: fn(&Refused) -> &str = Refused::endpoint;
    let _: fn(&Refused) -> RefusedReason = Refused::reason;
    let _: fn(&Refused) -> Option<Duration> = Refused::retry_after;
    let _ = [
        RefusedReason::QueueFull,
        RefusedReason::WouldWaitTooLong,
        RefusedReason::DeadlineWouldPass,
        RefusedReason::WaitedTooLong,
        RefusedReason::NeverFits,
        RefusedReason::Closed,
        RefusedReason::ServerClosed,
    ];
    let _ = Deadline(tokio::time::Instant::now());

    let _: fn() -> JudgeBuilder = Judge::builder;
    let _: fn(JudgeBuilder, &str, Limit, Work) -> JudgeBuilder = JudgeBuilder::route;
    let _: fn(JudgeBuilder, u64) -> JudgeBuilder = JudgeBuilder::seed;
    let _: fn(JudgeBuilder, Range<Duration>) -> JudgeBuilder = JudgeBuilder::jitter;
    let _: fn(JudgeBuilder) -> Judge = JudgeBuilder::build;
    let _: fn(usize) -> Limit = Limit::rps;
    let _: fn(Limit, usize) -> Limit = Limit::concurrency;
    let _: fn() -> Limit = Limit::unlimited;
    let _: fn(&Judge) -> Report = Judge::report;
    let _: fn(&Report) = Report::assert_compliant;
    let _: for<'a> fn(&'a Report, &str) -> &'a EndpointReport = Report::endpoint;
    let _: fn() -> MockBuilder = MockElevenLabs::builder;
    let _: fn(&MockElevenLabs) -> Report = MockElevenLabs::report;
    let judge = Judge::builder()
        .route("/a", Limit::unlimited(), Work::none())
        .build();
    let report = judge.report();
    let a = report.endpoint("/a");
    assert_eq!(
        (a.accepted, a.refused_by_rate, a.refused_by_concurrency),
        (0, 0, 0)
    );
    assert_eq!((a.worst_window, a.most_in_flight, a.early), (0, 0, 0));
    assert_eq!((a.accepted(), a.early()), (0, 0));
}

/// Compiled, not run.
async fn _admits(handle: &Handle, head: &Request<()>) -> Result<Permit, BoxError> {
    let admission: Result<Admission, BoxError> = handle.admit(head).await;
    let permit = admission?.dispatch().expect("no pause");
    let admission: Result<Admission, BoxError> = handle.admit_again(permit).await;
    let mut admission = admission?;
    let again: Result<(), BoxError> = admission.admitted().await;
    again?;
    Ok(admission.dispatch().expect("no pause"))
}

/// Compiled, not run.
async fn _serves(judge: Judge, mock: MockElevenLabs, listener: TcpListener, other: TcpListener) {
    let _: std::io::Result<()> = judge.serve(listener).await;
    let _: std::io::Result<()> = mock.serve(other).await;
}
